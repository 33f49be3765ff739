"""Symmetries of a grid and exchanges of its colors, each a function from grid to grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from arc.tasks import Grid


def transpose(grid: Grid) -> Grid:
    """Turn rows into columns."""
    return [list(column) for column in zip(*grid, strict=True)]


def flip_rows(grid: Grid) -> Grid:
    """Put the last row first."""
    return [list(row) for row in reversed(grid)]


def flip_columns(grid: Grid) -> Grid:
    """Put the last column first."""
    return [row[::-1] for row in grid]


SYMMETRIES: Mapping[str, Callable[[Grid], Grid]] = {
    "as it is": lambda grid: [list(row) for row in grid],
    "transposed": transpose,
    "rows flipped": flip_rows,
    "columns flipped": flip_columns,
    "turned by 90": lambda grid: flip_columns(transpose(grid)),
    "turned by 180": lambda grid: flip_rows(flip_columns(grid)),
    "turned by 270": lambda grid: flip_rows(transpose(grid)),
    "transposed along the other diagonal": lambda grid: flip_rows(flip_columns(transpose(grid))),
}
"""The eight symmetries of a square, by name. All but the two turns by 90 and 270 undo themselves."""

INVERSE = {name: name for name in SYMMETRIES} | {
    "turned by 90": "turned by 270",
    "turned by 270": "turned by 90",
}
"""The name of the symmetry that undoes one."""


def recolor(grid: Grid, color_of: Sequence[int]) -> Grid:
    """Give each cell of color c the color `color_of[c]`."""
    return [[color_of[cell] for cell in row] for row in grid]
