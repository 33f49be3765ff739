from __future__ import annotations

from arc.features import Component, background, components, describe, symmetries

# Two components of color 2 that touch at a corner only, one of color 5 beside one of them.
GRID = [
    [0, 2, 2, 0],
    [0, 0, 2, 5],
    [2, 0, 0, 5],
    [2, 2, 0, 0],
]


def test_background() -> None:
    assert background(GRID) == 0
    assert background([[3, 1], [1, 3]]) == 1
    assert background([[7]]) == 7


def test_components() -> None:
    found = components(GRID)
    assert [(c.color, len(c.cells), c.size, c.top_left) for c in found] == [
        (2, 3, (2, 2), (0, 1)),
        (5, 2, (2, 1), (1, 3)),
        (2, 3, (2, 2), (2, 0)),
    ]
    assert found[1] == Component(5, frozenset({(1, 3), (2, 3)}))
    assert components([[4, 4]]) == []


def test_symmetries() -> None:
    assert symmetries(GRID) == []
    assert symmetries([[1, 2, 1]]) == ["left-right", "up-down", "half turn"]
    assert symmetries([[1, 2], [2, 1]]) == ["half turn", "diagonal", "other diagonal"]
    assert len(symmetries([[0]])) == 7


def test_in_words() -> None:
    assert describe([[0, 3], [3, 3]], "colors") == "Colors: 0 x 1, 3 x 3"
    assert describe([[3, 3], [0, 3]], "components") == "Components: color 0, 1 cells in 1x1 at row 1 column 0"
    assert (
        describe([[0, 1, 1], [0, 0, 0]], "components")
        == "Components: color 1, 2 cells in 1x2 at row 0 column 1"
    )
    assert describe([[4]], "components") == "Components: none"
    assert describe([[1, 2, 3]], "symmetries") == "Symmetries: up-down"
    assert describe(GRID, "symmetries") == "Symmetries: none"
    noise = [[(r * c + r + c) % 2 for c in range(30)] for r in range(30)]
    assert describe(noise, "components") == f"Components: {len(components(noise))}"
