"""The same task in another guise: its symmetries and its colors changed, and answers turned back.

A rule that knows no direction and no color by name is the same in every guise, so each is another chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from arc.errors import ArcError
from arc.tasks import Example, Grid, Task

# The symmetries of a square, by name; each turns a grid into another.
SYMMETRIES: dict[str, Callable[[Grid], Grid]] = {
    "as it is": lambda grid: [list(row) for row in grid],
    "left-right": lambda grid: [row[::-1] for row in grid],
    "up-down": lambda grid: [list(row) for row in grid[::-1]],
    "half turn": lambda grid: [row[::-1] for row in grid[::-1]],
    "diagonal": lambda grid: [list(column) for column in zip(*grid, strict=True)],
    "other diagonal": lambda grid: [list(column)[::-1] for column in zip(*grid, strict=True)][::-1],
    "quarter turn": lambda grid: [list(column)[::-1] for column in zip(*grid, strict=True)],
    "quarter turn back": lambda grid: [list(column) for column in zip(*grid, strict=True)][::-1],
}
# Of those that are not their own inverse, the inverse.
_INVERSE = {"quarter turn": "quarter turn back", "quarter turn back": "quarter turn"}
_COLORS = tuple(range(10))


@dataclass(frozen=True)
class Guise:
    """A symmetry by its name, and the color that each of the ten becomes.

    Raises `ArcError` for a symmetry that is not in `SYMMETRIES`, and colors that are not the ten in some
    order.
    """

    symmetry: str = "as it is"
    colors: tuple[int, ...] = _COLORS

    def __post_init__(self) -> None:
        if self.symmetry not in SYMMETRIES:
            raise ArcError(f"unknown symmetry {self.symmetry!r}; they are {', '.join(SYMMETRIES)}")
        if sorted(self.colors) != list(_COLORS):
            raise ArcError(f"colors must be 0 to 9 in some order, and not {self.colors}")

    def put_on(self, grid: Grid) -> Grid:
        """Turn a grid into this guise; `[]`, an output that is not known, stays."""
        return [[self.colors[cell] for cell in row] for row in SYMMETRIES[self.symmetry](grid)]

    def take_off(self, grid: Grid) -> Grid:
        """Turn a grid of this guise back: the inverse of `put_on`."""
        plain = {color: plain for plain, color in enumerate(self.colors)}
        back = SYMMETRIES[_INVERSE.get(self.symmetry, self.symmetry)](grid)
        return [[plain[cell] for cell in row] for row in back]

    def of(self, task: Task) -> Task:
        """Make a task in this guise, under the same id."""

        def dressed(examples: tuple[Example, ...]) -> tuple[Example, ...]:
            return tuple(Example(self.put_on(e.input), self.put_on(e.output)) for e in examples)

        return Task(task.id, dressed(task.train), dressed(task.test))


def guises(count: int, seed: int) -> list[Guise]:
    """List `count` different guises: the plain one, the symmetries, then both with drawn colors.

    Color 0 stays, since it is the background of most tasks. Raises `ArcError` for a count below 1.
    """
    if count < 1:
        raise ArcError(f"there must be at least 1 guise, and not {count}")
    draw = random.Random(seed)
    found = dict.fromkeys(Guise(name) for name in SYMMETRIES)
    while len(found) < count:
        for name in SYMMETRIES:
            found.setdefault(Guise(name, (0, *draw.sample(_COLORS[1:], 9))))
    return list(found)[:count]
