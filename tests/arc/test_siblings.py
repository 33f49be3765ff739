from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from arc.augment import SYMMETRIES, Guise
from arc.check import check_pairs
from arc.objects import background, objects
from arc.siblings import Premise, changed_inputs, find_kept, main, run_all, sibling_task, siblings
from arc.tasks import Example, Task, golden_source, is_grid, load_task, read_tasks

FRACTAL = load_task("007bbfb7")
RIGHT = golden_source("007bbfb7")
HEAD = "def solve(grid: list[list[int]]) -> list[list[int]]:\n"
# Gravity: cells fall down, each in its column; 5 falls no further than the row above the last.
FALL = f"""{HEAD}    columns = []
    for column in zip(*grid):
        full = [cell for cell in column if cell]
        columns.append([0] * (len(column) - len(full)) + full)
    result = [list(row) for row in zip(*columns)]
    return result
"""
FALLING = Task(
    "fall",
    (
        Example([[1, 0, 0], [0, 2, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [1, 2, 0]]),
        Example([[0, 0, 3], [0, 4, 0], [0, 4, 0]], [[0, 0, 0], [0, 4, 0], [0, 4, 3]]),
    ),
    (Example([[6, 0], [0, 0], [0, 0]], [[0, 0], [0, 0], [6, 0]]),),
)


@pytest.mark.parametrize("task_id", ["007bbfb7", "6150a2bd", "1e0a9b12"])
def test_siblings_are_new_pairs_by_the_rule(task_id: str) -> None:
    task, source = load_task(task_id), golden_source(task_id)
    pairs = siblings(task, source, 20, seed=1)
    inputs = [json.dumps(pair.input) for pair in pairs]
    assert len(set(inputs)) == len(pairs) == 20
    assert not set(inputs) & {json.dumps(e.input) for e in task.examples}
    assert all(is_grid(pair.input) and is_grid(pair.output) for pair in pairs)
    assert run_all(source, [pair.input for pair in pairs]) == [pair.output for pair in pairs]
    assert len({pair.how for pair in pairs}) > 3


def test_siblings_depend_on_the_seed_alone() -> None:
    first, again, other = (siblings(FRACTAL, RIGHT, 8, seed) for seed in (0, 0, 1))
    assert first == again != other


def test_kept() -> None:
    """What falls down keeps a flip of the columns, and any exchange of colors but that of the background."""
    kept = find_kept(FALLING, FALL)
    assert kept.symmetries == ("as it is", "left-right")
    assert kept.colors == ((1, 2, 3, 4, 6, 5, 7, 8, 9),)
    marked = FALL.replace("if cell]", "if cell and cell != 2 or cell == 2]").replace("full)", "full[::-1])")
    assert "left-right" in find_kept(FALLING, marked).symmetries


def test_a_wrong_solution_that_passes_the_tasks_pairs_fails_on_siblings() -> None:
    """It is right for the colors and the sizes of the examples alone."""
    narrow = FALL.replace("if cell]", "if cell in (1, 2, 3, 4, 6)]")
    assert check_pairs(FALLING, narrow)[1] == 3
    pairs = siblings(FALLING, FALL, 20)
    outputs = run_all(narrow, [pair.input for pair in pairs])
    assert sum(a == b.output for a, b in zip(outputs, pairs, strict=True)) < len(pairs) == 20


def test_premise_is_the_range_of_the_examples() -> None:
    premise = Premise(FALLING.examples)
    assert all(premise.holds(e.input, e.output) for e in FALLING.examples)
    high = [[1, 0, 0], *[[0, 0, 0]] * 3], [*[[0, 0, 0]] * 3, [1, 0, 0]]
    assert not premise.holds(*high)  # four rows, where the examples have three
    assert not premise.holds([[0, 0, 0]] * 3, [[0, 0, 0]] * 3)  # no object at all


def test_a_sibling_task_has_the_shape_of_its_task() -> None:
    task = sibling_task(FRACTAL, RIGHT, seed=3)
    assert task is not None and task.id == FRACTAL.id
    assert (len(task.train), len(task.test)) == (len(FRACTAL.train), len(FRACTAL.test))
    stuck = f"{HEAD}    result = [[len(grid)]] * (grid[0][0] == 0)\n    return result\n"
    assert sibling_task(FALLING, stuck) is None


def test_changed_inputs_are_grids_of_many_kinds() -> None:
    grids = changed_inputs(FRACTAL)
    texts = [json.dumps(grid) for grid in grids]
    assert len(set(texts)) == len(texts) > 30 and all(map(is_grid, grids))
    assert not {json.dumps(e.input) for e in FRACTAL.examples} & set(texts)


def test_objects() -> None:
    grid = [[0, 1, 0, 0], [2, 0, 0, 3], [2, 0, 3, 3]]
    assert background(grid) == 0
    found = {
        (one, diagonal): sorted(sorted(cells) for cells in objects(grid, 0, one, diagonal))
        for one in (False, True)
        for diagonal in (False, True)
    }
    left, right, top = [(1, 0), (2, 0)], [(1, 3), (2, 2), (2, 3)], [(0, 1)]
    assert found[True, False] == found[True, True] == found[False, False] == sorted([top, left, right])
    assert found[False, True] == sorted([top + left, right])
    assert objects([[4, 4]], 4, True, True) == []


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["007bbfb7", "--count", "7", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "007bbfb7: 7 siblings\n"
    (task,) = read_tasks([str(tmp_path)])
    assert (task.id, len(task.train), len(task.test)) == ("007bbfb7", 6, 1)
    assert check_pairs(task, RIGHT) == ([], 7)
    assert [p.name for p in tmp_path.iterdir()] == ["007bbfb7.json"]
    assert main(["007bbfb7", "--count", "0"]) == 1
    assert "--count must be at least 1, got 0" in capsys.readouterr().err


def test_the_symmetries_are_a_group() -> None:
    """Any two of them, one after the other, are a third."""
    grid = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    images = [turn(grid) for turn in SYMMETRIES.values()]
    assert all(a != b for a, b in pairwise(sorted(images)))
    assert all(Guise(name).put_on(image) in images for name in SYMMETRIES for image in images)
