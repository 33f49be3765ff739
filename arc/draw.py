"""Grids in a terminal, in ARC's colors and with their digits, so that they read without color as well."""

from __future__ import annotations

from rich.text import Text

from arc.tasks import Grid

# ARC's palette, 0 to 9, and the ink that is legible on each.
_PAPER = (
    *("#000000", "#0074D9", "#FF4136", "#2ECC40", "#FFDC00"),
    *("#AAAAAA", "#F012BE", "#FF851B", "#7FDBFF", "#870C25"),
)
_INK = ("#777777", "#FFFFFF", "#FFFFFF", "#000000", "#000000", *("#000000",) * 4, "#FFFFFF")
WRONG = "!"


def draw(grid: Grid, expected: Grid | None = None) -> Text:
    """Draw a grid, two characters a cell; where it differs from the expected one, a cell ends in `WRONG`."""
    text = Text(no_wrap=True)
    for r, row in enumerate(grid):
        if r:
            text.append("\n")
        for c, cell in enumerate(row):
            wrong = expected is not None and _at(expected, r, c) != cell
            style = f"{_INK[cell]} on {_PAPER[cell]}{' bold' if wrong else ''}"
            text.append(f"{cell}{WRONG if wrong else ' '}", style)
    return text


def size(grid: Grid) -> str:
    """Name a grid's size, rows x columns."""
    return f"{len(grid)}x{len(grid[0])}"


def difference(grid: Grid, expected: Grid) -> str:
    """Say in a few words how a grid differs from the expected one; "right" where it does not."""
    if grid == expected:
        return "right"
    if size(grid) != size(expected):
        return f"{size(grid)}, not {size(expected)}"
    pairs = (p for rows in zip(grid, expected, strict=True) for p in zip(*rows, strict=True))
    return f"{sum(a != b for a, b in pairs)} cells wrong"


def _at(grid: Grid, row: int, column: int) -> int | None:
    return grid[row][column] if row < len(grid) and column < len(grid[row]) else None
