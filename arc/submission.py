"""`submission.json` in ARC Prize's format: two attempts for each test input of each task.

    {"007bbfb7": [{"attempt_1": [[0, 1], [2, 3]], "attempt_2": [[0]]}], ...}

Each task's list has one entry for each of its test inputs, in their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from arc.errors import ArcError
from arc.tasks import Grid, Task, grid_fault

ATTEMPTS = ("attempt_1", "attempt_2")
# Of each task, of each of its test inputs, the two attempts.
Attempts: TypeAlias = Mapping[str, Sequence[tuple[Grid, Grid]]]


def write_submission(path: Path, attempts: Attempts) -> None:
    """Write attempts in ARC Prize's format, whole or not at all. Raises `ArcError` where it cannot."""
    content = {
        task_id: [dict(zip(ATTEMPTS, pair, strict=True)) for pair in of_task]
        for task_id, of_task in attempts.items()
    }
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_text(json.dumps(content))
        temporary.replace(path)
    except OSError as error:
        raise ArcError(f"cannot write {path}: {error.strerror or error}") from None


def read_submission(path: Path, tasks: Sequence[Task]) -> dict[str, list[tuple[Grid, Grid]]]:
    """Read a submission that answers exactly these tasks.

    Raises `ArcError`, which names the culprit, for a file that is no JSON or no object, an id that is
    missing, unknown or there twice, a list that has not one entry for each test input, an entry that lacks an
    attempt or has another key, and an attempt that is no grid.
    """
    try:
        raw = json.loads(path.read_bytes(), object_pairs_hook=lambda pairs: _object(pairs, path))
    except OSError as error:
        raise ArcError(f"cannot read {path}: {error.strerror or error}") from None
    except ArcError:
        raise
    except (ValueError, RecursionError) as error:
        raise ArcError(f"{path} is no JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ArcError(f"{path} holds no JSON object of tasks by id")
    known = {task.id: task for task in tasks}
    for task_id in raw:
        if task_id not in known:
            near = get_close_matches(task_id, known)
            hint = f"; near it are {', '.join(near)}" if near else ""
            raise ArcError(f"{path}: {task_id!r} is none of the {len(known)} tasks{hint}")
    for task_id in known:
        if task_id not in raw:
            missing = len(known) - len(raw)
            more = f", one of {missing} that are" if missing > 1 else ""
            raise ArcError(f"{path}: task {task_id} is missing{more}")
    return {task.id: _task_attempts(raw[task.id], task, f"{path}: task {task.id}") for task in tasks}


def right(attempts: Sequence[tuple[Grid, Grid]], task: Task) -> list[bool]:
    """Tell of each of a task's test inputs whether one of the two attempts is its output."""
    return [example.output in pair for pair, example in zip(attempts, task.test, strict=True)]


@dataclass(frozen=True)
class Score:
    """How many test outputs were right with one of two attempts, and for how many tasks all of them."""

    outputs_right: int
    outputs: int
    tasks_right: int
    tasks: int

    def __str__(self) -> str:
        outputs = f"{self.outputs_right} of {self.outputs} test outputs"
        tasks = f"{self.tasks_right} of {self.tasks} whole tasks"
        shares = _percent(self.outputs_right, self.outputs), _percent(self.tasks_right, self.tasks)
        return f"{outputs} ({shares[0]}) and {tasks} ({shares[1]})"


def score(attempts: Attempts, tasks: Sequence[Task]) -> Score:
    """Score attempts on the tasks whose answers are known; the others do not count."""
    found = [right(attempts[task.id], task) for task in tasks if task.answered]
    outputs = [one for of_task in found for one in of_task]
    return Score(sum(outputs), len(outputs), sum(map(all, found)), len(found))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _object(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    """Make a JSON object, in which Python would keep the last of two equal keys."""
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ArcError(f"{path}: the key {twice!r} is there twice")
    return result


def _task_attempts(raw: Any, task: Task, where: str) -> list[tuple[Grid, Grid]]:
    if not isinstance(raw, list):
        raise ArcError(f"{where} has no list of entries, one for each test input")
    if len(raw) != len(task.test):
        raise ArcError(f"{where} has {len(raw)} entries, and the task has {len(task.test)} test inputs")
    result = []
    for number, entry in enumerate(raw, 1):
        place = f"{where}, test {number}"
        if not isinstance(entry, dict):
            raise ArcError(f"{place} is no object with {' and '.join(ATTEMPTS)}")
        for name in ATTEMPTS:
            if name not in entry:
                raise ArcError(f"{place} lacks {name}")
            if fault := grid_fault(entry[name]):
                raise ArcError(f"{place}: {name} is no grid: {fault}")
        if other := [name for name in entry if name not in ATTEMPTS]:
            raise ArcError(f"{place} has the key {other[0]!r}, which is no attempt")
        first, second = (entry[name] for name in ATTEMPTS)
        result.append((first, second))
    return result
