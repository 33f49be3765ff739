"""The background of a grid, and its objects: cells that hang together."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

from arc.tasks import Grid

Cell: TypeAlias = tuple[int, int]


def background(grid: Grid) -> int:
    """Find the color of most cells; of several such colors the smallest."""
    counts = Counter(cell for row in grid for cell in row)
    return min(counts, key=lambda color: (-counts[color], color))


def objects(grid: Grid, base: int, one_color: bool, diagonal: bool) -> list[list[Cell]]:
    """Find the groups of cells off the color `base` that touch each other, as (row, column), top left first.

    Cells touch at their sides, or also at their corners (`diagonal`); of different colors they may be in one
    group, or not (`one_color`).
    """
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)] + [(1, 1), (1, -1), (-1, 1), (-1, -1)] * diagonal
    free = {(r, c): cell for r, row in enumerate(grid) for c, cell in enumerate(row) if cell != base}
    found = []
    while free:
        start = next(iter(free))
        group, color = [start], free.pop(start)
        for r, c in group:  # which grows meanwhile
            for i, j in steps:
                place = r + i, c + j
                if place in free and (not one_color or free[place] == color):
                    del free[place]
                    group.append(place)
        found.append(group)
    return found
