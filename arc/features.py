"""What can be read off a grid without knowing the rule: colors, components, symmetries, in a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from arc.augment import SYMMETRIES
from arc.objects import background, objects
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


def components(grid: Grid) -> list[Component]:
    """Find the components that are not of the background's color, from the top left on."""
    found = objects(grid, background(grid), one_color=True, diagonal=False)
    return [Component(grid[cells[0][0]][cells[0][1]], frozenset(cells)) for cells in found]


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
