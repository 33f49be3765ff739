from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arc.augment import SYMMETRIES, Guise, guises
from arc.errors import ArcError
from arc.tasks import Example, Grid, Task, load_task

GRID = [[1, 2, 3], [4, 5, 6]]
GRIDS = st.integers(1, 5).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 9), min_size=width, max_size=width), min_size=1, max_size=5
    )
)
GUISES = st.builds(Guise, st.sampled_from(list(SYMMETRIES)), st.permutations(range(10)).map(tuple))


def test_symmetries() -> None:
    turned = {name: turn(GRID) for name, turn in SYMMETRIES.items()}
    assert turned == {
        "as it is": GRID,
        "left-right": [[3, 2, 1], [6, 5, 4]],
        "up-down": [[4, 5, 6], [1, 2, 3]],
        "half turn": [[6, 5, 4], [3, 2, 1]],
        "diagonal": [[1, 4], [2, 5], [3, 6]],
        "other diagonal": [[6, 3], [5, 2], [4, 1]],
        "quarter turn": [[4, 1], [5, 2], [6, 3]],
        "quarter turn back": [[3, 6], [2, 5], [1, 4]],
    }


@given(GUISES, GRIDS)
def test_taking_off_undoes_putting_on(guise: Guise, grid: Grid) -> None:
    before = [list(row) for row in grid]
    there = guise.put_on(grid)
    assert guise.take_off(there) == grid == before
    assert guise.put_on(guise.take_off(grid)) == grid
    there[0][0] = 77
    assert grid == before


def test_a_task_in_a_guise() -> None:
    guise = Guise("quarter turn", (0, 2, 1, *range(3, 10)))
    task = guise.of(Task("x", (Example(GRID, [[1]]),), (Example([[0, 2]], []),)))
    assert task == Task("x", (Example([[4, 2], [5, 1], [6, 3]], [[2]]),), (Example([[0], [1]], []),))


def test_guises_are_different_and_the_same_by_seed() -> None:
    many = guises(50, seed=3)
    assert len(set(many)) == 50 and many == guises(50, seed=3) != guises(50, seed=4)
    assert many[0] == Guise() and [guise.symmetry for guise in many[:8]] == list(SYMMETRIES)
    assert guises(5, seed=3) == many[:5]
    assert all(guise.colors[0] == 0 for guise in many)
    task = load_task("007bbfb7")
    assert all(guise.of(task) != task for guise in many[1:])


def test_what_is_no_guise() -> None:
    with pytest.raises(ArcError, match="unknown symmetry 'upside'; they are as it is, left-right"):
        Guise("upside")
    with pytest.raises(ArcError, match="colors must be 0 to 9 in some order"):
        Guise(colors=(0, 0, *range(2, 10)))
    with pytest.raises(ArcError, match="at least 1 guise, and not 0"):
        guises(0, seed=0)
