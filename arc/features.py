"""What can be read off a grid without knowing the rule: colors, components, symmetries, in a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from arc.augment import SYMMETRIES
from arc.tasks import Grid

Feature = Literal["colors", "components", "symmetries"]
# More components than this are counted and not listed: noise has hundreds.
_MOST_LISTED = 12


@dataclass(frozen=True)
class Component:
    """Cells of one color that touch by their sides, and the rows and columns that they reach over."""

    color: int
    cells: frozenset[tuple[int, int]]

    @property
    def top_left(self) -> tuple[int, int]:
        """First row and first column."""
        return min(row for row, _ in self.cells), min(column for _, column in self.cells)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the smallest rectangle around it."""
        top, left = self.top_left
        return max(row for row, _ in self.cells) - top + 1, max(column for _, column in self.cells) - left + 1


def background(grid: Grid) -> int:
    """Take the most common color; of two that are equally common, the smaller one."""
    counts = Counter(cell for row in grid for cell in row)
    return min(counts, key=lambda color: (-counts[color], color))


def components(grid: Grid) -> list[Component]:
    """Find the components that are not of the background's color, from the top left on."""
    empty = background(grid)
    left = {(r, c) for r, row in enumerate(grid) for c, cell in enumerate(row) if cell != empty}
    found = []
    while left:
        start = min(left)
        color, cells, todo = grid[start[0]][start[1]], {start}, [start]
        while todo:
            r, c = todo.pop()
            near = {(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)} & left - cells
            new = {(y, x) for y, x in near if grid[y][x] == color}
            cells |= new
            todo += new
        left -= cells
        found.append(Component(color, frozenset(cells)))
    return found


def symmetries(grid: Grid) -> list[str]:
    """Name the symmetries that leave the grid as it is."""
    return [name for name, turn in SYMMETRIES.items() if name != "as it is" and turn(grid) == grid]


def describe(grid: Grid, feature: Feature) -> str:
    """Write a feature of a grid in one line; rows and columns count from 0."""
    return f"{feature.capitalize()}: {_WRITERS[feature](grid) or 'none'}"


def _colors(grid: Grid) -> str:
    counts = Counter(cell for row in grid for cell in row)
    return ", ".join(f"{color} x {counts[color]}" for color in sorted(counts))


def _components(grid: Grid) -> str:
    found = components(grid)
    if len(found) > _MOST_LISTED:
        return f"{len(found)}"
    return "; ".join(
        f"color {c.color}, {len(c.cells)} cells in {c.size[0]}x{c.size[1]} at row {c.top_left[0]} "
        f"column {c.top_left[1]}"
        for c in found
    )


def _symmetries(grid: Grid) -> str:
    return ", ".join(symmetries(grid))


_WRITERS: dict[Feature, Callable[[Grid], str]] = {
    "colors": _colors,
    "components": _components,
    "symmetries": _symmetries,
}
