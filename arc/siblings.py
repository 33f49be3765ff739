"""Sibling tasks: new pairs of grids by the rule of a golden solution.

An example's input is changed, and the solution gives the output. A change is within the premise of the rule
by evidence, not by proof: the symmetries and exchanges of colors are those that the solution keeps on every
example; all that is measured of the new pair (sizes, colors, objects, changed cells) lies in the range that
the task's own examples span; and the solution keeps the symmetries on the new input too.

    python -m arc.siblings 007bbfb7 --count 20 --out siblings
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random

from arc.augment import SYMMETRIES, Guise
from arc.errors import ArcError
from arc.objects import Cell, background, objects
from arc.sandbox import Limits, run_many, warm_sandboxes
from arc.tasks import Example, Grid, Task, golden_source, is_grid, read_tasks

COLORS = range(10)
# Of each run, on up to `_TOGETHER` inputs: the slowest of ours takes some 3 s.
LIMITS = Limits(seconds=10.0)
# Inputs that one run of the solution gets: so many that its start is a small part, and few are lost with it.
_TOGETHER = 40
# Changed inputs that are tried for each sibling that is wanted, at most.
_TRIES = 12
_TRANSPOSE = SYMMETRIES["diagonal"]


@dataclass(frozen=True)
class Sibling(Example):
    """A new pair, and how its input was made."""

    how: str


@dataclass(frozen=True)
class Kept:
    """What a rule keeps: it turns each example's changed input into the output that is changed likewise."""

    symmetries: tuple[str, ...]
    """Names in `SYMMETRIES`, the identity among them."""
    colors: tuple[tuple[int, ...], ...]
    """Classes of colors, each of which may be permuted."""


def run_all(source: str, inputs: Sequence[Grid], limits: Limits = LIMITS) -> list[Grid | None]:
    """Run a solution on many inputs; None where it gives no grid. Raises `ArcError` without a sandbox."""
    parts = [inputs[i : i + _TOGETHER] for i in range(0, len(inputs), _TOGETHER)]
    results = run_many([(source, part) for part in parts], limits)
    return [output for result in results for output in result.outputs]


def find_kept(task: Task, source: str, limits: Limits = LIMITS) -> Kept:
    """Find the symmetries and the exchanges of colors that a solution keeps on all of a task's examples.

    Colors that no example has count as well, with each other. Raises `ArcError` without a sandbox.
    """

    def keeps(guises: Sequence[Guise]) -> list[bool]:
        pairs = [(guise.put_on(e.input), guise.put_on(e.output)) for guise in guises for e in task.examples]
        outputs = run_all(source, [pair[0] for pair in pairs], limits)
        right = [output == pair[1] for output, pair in zip(outputs, pairs, strict=True)]
        size = len(task.examples)
        return [all(right[i * size : (i + 1) * size]) for i in range(len(guises))]

    held = zip(SYMMETRIES, keeps([Guise(name) for name in SYMMETRIES]), strict=True)
    seen = {cell for e in task.examples for grid in (e.input, e.output) for row in grid for cell in row}
    # Of colors that no example has one stands for all, and only what is drawn is asked again.
    tried = [*sorted(seen), *[color for color in COLORS if color not in seen][:1]]
    swaps = list(combinations(tried, 2))
    results = zip(swaps, keeps([_exchange(a, b) for a, b in swaps]), strict=True)
    kept_swaps = {swap for swap, kept in results if kept}
    classes: list[list[int]] = []
    for color in tried:
        # With all of its members, so that any permutation of a class is made of exchanges that were seen.
        home = next((c for c in classes if all((other, color) in kept_swaps for other in c)), None)
        if home is None:
            classes.append([color])
        else:
            home.append(color)
    for members in classes:
        if tried[-1] in members and tried[-1] not in seen:
            members += [color for color in COLORS if color not in tried]
    return Kept(tuple(name for name, kept in held if kept), tuple(tuple(c) for c in classes if len(c) > 1))


def siblings(
    task: Task,
    source: str,
    count: int = 20,
    seed: int = 0,
    limits: Limits = LIMITS,
    kept: Kept | None = None,
) -> list[Sibling]:
    """Make up to `count` new pairs by a solution's rule, the same for the same seed.

    No two inputs are the same, and none is one of the task's. Fewer come out where the rule keeps little and
    its premise, as the examples show it, is narrow. `kept` is what `find_kept` finds, where it is known.
    Raises `ArcError` without a sandbox.
    """
    random = Random(f"{task.id} {seed}")
    kept = kept or find_kept(task, source, limits)
    premise = Premise(task.examples)
    taken = {json.dumps(example.input) for example in task.examples}
    made: list[Sibling] = []
    for _ in range(_TRIES):
        if len(made) >= count:
            break
        drafts = [draft for _ in range(count) if (draft := _draft(task, kept, random, taken))]
        outputs = iter(run_all(source, [grid for d in drafts for grid in (d.plain, d.input)], limits))
        for draft, plain, output in zip(drafts, outputs, outputs, strict=True):
            # The rule is asked before and after the symmetry, so one that holds here too is seen.
            if plain is None or output is None or draft.guise.put_on(plain) != output:
                continue
            if len(made) < count and premise.holds(draft.plain, plain):
                made.append(Sibling(draft.input, output, draft.how))
    return made


def sibling_task(task: Task, source: str, seed: int = 0, limits: Limits = LIMITS) -> Task | None:
    """Make a task of siblings alone, with as many pairs as the task's; None where there are too few."""
    pairs = siblings(task, source, len(task.examples), seed, limits)
    if len(pairs) < len(task.examples):
        return None
    return Task(task.id, tuple(pairs[: len(task.train)]), tuple(pairs[len(task.train) :]))


def changed_inputs(task: Task, seed: int = 0) -> list[Grid]:
    """Change a task's inputs in all ways that siblings try, within the rule or not; no two are the same."""
    random, inputs = Random(f"{task.id} {seed}"), [example.input for example in task.examples]
    grids = [change(grid) for change in SYMMETRIES.values() for grid in inputs]
    grids += [Guise(colors=tuple(random.sample(COLORS, len(COLORS)))).put_on(grid) for grid in inputs]
    grids += [g for change in _CONTENT.values() for grid in inputs if (g := change(grid, inputs, random))]
    distinct = {json.dumps(grid): grid for grid in grids if is_grid(grid) and grid not in inputs}
    return list(distinct.values())


class Premise:
    """The range of each measure of a task's examples, of which new ones may not step out."""

    def __init__(self, examples: Sequence[Example]) -> None:
        measured = [dict(_measures(e.input, e.output)) for e in examples]
        names = set.intersection(*map(set, measured))
        self._range = {n: (min(m[n] for m in measured), max(m[n] for m in measured)) for n in names}

    def holds(self, given: Grid, output: Grid) -> bool:
        """Tell whether a pair is within the range of the examples, in all measures."""
        for name, value in _measures(given, output):
            least, most = self._range.get(name, (value, value))
            if not least <= value <= most:
                return False
        return True


def _measures(given: Grid, output: Grid) -> Iterator[tuple[str, float]]:
    """Measure a pair: names and numbers, those that are quickly found first."""
    height, width, rows, columns = len(given), len(given[0]), len(output), len(output[0])
    base = background(given)
    yield from {
        "height": height,
        "width": width,
        "rows": rows,
        "columns": columns,
        "more rows": rows - height,
        "more columns": columns - width,
        "times as many rows": rows / height,
        "times as many columns": columns / width,
        "higher than wide": height - width,
        "odd height": height % 2,
        "odd width": width % 2,
        "background": base,
    }.items()
    before, after = (Counter(cell for row in grid for cell in row) for grid in (given, output))
    yield "colors", len(before)
    yield "colors of the output", len(after)
    yield "new colors", len(after.keys() - before.keys())
    yield "nothing changed", given == output
    for color in COLORS:
        yield f"has {color}", color in before
        yield f"output has {color}", color in after
        yield f"count of {color}", before[color]
        yield f"output's count of {color}", after[color]
    edge = [*given[0], *given[-1], *(row[0] for row in given), *(row[-1] for row in given)]
    yield "at the edge", sum(cell != base for cell in edge)
    if (height, width) == (rows, columns):
        cells = [(a, b) for r, s in zip(given, output, strict=True) for a, b in zip(r, s, strict=True)]
        yield "changed", sum(a != b for a, b in cells)
        yield "objects' cells changed", sum(a != b and a != base for a, b in cells)
    for one_color in (False, True):
        for diagonal in (False, True):
            sizes = [len(cells) for cells in objects(given, base, one_color, diagonal)] or [0]
            kind = f"{one_color} {diagonal}"
            yield f"objects {kind}", len(sizes)
            yield f"smallest object {kind}", min(sizes)
            yield f"largest object {kind}", max(sizes)


@dataclass(frozen=True)
class _Draft:
    plain: Grid
    """An example's input, changed in its content or not."""
    guise: Guise
    """A symmetry and colors that the rule keeps."""
    how: str

    @property
    def input(self) -> Grid:
        return self.guise.put_on(self.plain)


def _draft(task: Task, kept: Kept, random: Random, taken: set[str]) -> _Draft | None:
    """Change one example's input, or give None where this change cannot be made or was made before."""
    inputs = [example.input for example in task.examples]
    start = random.choice(inputs)
    name = random.choice(list(_CONTENT))
    plain = _CONTENT[name](start, inputs, random)
    if plain is None or not is_grid(plain):
        return None
    symmetry = random.choice(kept.symmetries or ("as it is",))
    color_of = list(COLORS)
    for colors in kept.colors:
        for color, other in zip(colors, random.sample(colors, len(colors)), strict=True):
            color_of[color] = other
    guise = Guise(symmetry, tuple(color_of))
    recolored = any(cell != color_of[cell] for row in plain for cell in row)
    words = [name, symmetry if symmetry != "as it is" else "", "recolored" if recolored else ""]
    draft = _Draft(plain, guise, ", ".join(filter(None, words)) or "as it is")
    key = json.dumps(draft.input)
    if key in taken:
        return None
    taken.add(key)
    return draft


def _exchange(a: int, b: int) -> Guise:
    color_of = list(COLORS)
    color_of[a], color_of[b] = b, a
    return Guise(colors=tuple(color_of))


# ---------------------------------------------------------------- changes of content


def _same(grid: Grid, inputs: Sequence[Grid], random: Random) -> Grid | None:
    return grid


def _stretched(grid: Grid, inputs: Sequence[Grid], random: Random) -> Grid | None:
    """Double one to three rows or columns that have one color."""
    for _ in range(random.randint(1, 3)):
        turned = random.random() < 0.5
        rows = _TRANSPOSE(grid) if turned else [list(row) for row in grid]
        if even := [i for i, row in enumerate(rows) if len(set(row)) == 1]:
            place = random.choice(even)
            rows.insert(place, list(rows[place]))
        grid = _TRANSPOSE(rows) if turned else rows
    return grid


def _shrunk(grid: Grid, inputs: Sequence[Grid], random: Random) -> Grid | None:
    """Take out one to three rows or columns that have one color and an equal neighbour."""
    for _ in range(random.randint(1, 3)):
        turned = random.random() < 0.5
        rows = _TRANSPOSE(grid) if turned else [list(row) for row in grid]
        twice = [i for i, row in enumerate(rows) if i and rows[i - 1] == row and len(set(row)) == 1]
        if twice:
            rows.pop(random.choice(twice))
        grid = _TRANSPOSE(rows) if turned else rows
    return grid


def _moved(grid: Grid, inputs: Sequence[Grid], random: Random) -> Grid | None:
    """Put an object where it touches no other."""
    base = background(grid)
    found = objects(grid, base, one_color=False, diagonal=True)
    if not found:
        return None
    chosen = random.choice(found)
    return _placed(_without(grid, chosen, base), base, [(r, c, grid[r][c]) for r, c in chosen], random)


def _fewer(grid: Grid, inputs: Sequence[Grid], random: Random) -> Grid | None:
    """Take an object out, of several."""
    base = background(grid)
    found = objects(grid, base, one_color=False, diagonal=True)
    return _without(grid, random.choice(found), base) if len(found) > 1 else None


def _recombined(grid: Grid, inputs: Sequence[Grid], random: Random) -> Grid | None:
    """Add an object of some example where it touches no other, or put it in the place of one."""
    base, other = background(grid), random.choice(list(inputs))
    found = objects(other, background(other), one_color=False, diagonal=True)
    if background(other) != base or not found:
        return None
    own = objects(grid, base, one_color=False, diagonal=True)
    if own and random.random() < 0.5:
        grid = _without(grid, random.choice(own), base)
    return _placed(grid, base, [(r, c, other[r][c]) for r, c in random.choice(found)], random)


def _exchanged(grid: Grid, inputs: Sequence[Grid], random: Random) -> Grid | None:
    """Give two objects of one color each other's."""
    found = objects(grid, background(grid), one_color=True, diagonal=True)
    if len(found) < 2:
        return None
    first, second = random.sample(found, 2)
    changed = [list(row) for row in grid]
    for cells, (r0, c0) in ((first, second[0]), (second, first[0])):
        for r, c in cells:
            changed[r][c] = grid[r0][c0]
    return changed


_CONTENT: dict[str, Callable[[Grid, Sequence[Grid], Random], Grid | None]] = {
    "": _same,
    "stretched": _stretched,
    "shrunk": _shrunk,
    "an object moved": _moved,
    "an object taken out": _fewer,
    "recombined": _recombined,
    "two objects' colors exchanged": _exchanged,
}


def _without(grid: Grid, cells: Sequence[Cell], base: int) -> Grid:
    changed = [list(row) for row in grid]
    for r, c in cells:
        changed[r][c] = base
    return changed


def _placed(grid: Grid, base: int, cells: Sequence[tuple[int, int, int]], random: Random) -> Grid | None:
    """Draw (row, column, color) cells at a random place where they touch no cell off the background."""
    height, width = len(grid), len(grid[0])
    top, left = min(r for r, _, _ in cells), min(c for _, c, _ in cells)
    down = height - (max(r for r, _, _ in cells) - top)
    right = width - (max(c for _, c, _ in cells) - left)
    if down < 1 or right < 1:
        return None
    for _ in range(20):
        r0, c0 = random.randrange(down) - top, random.randrange(right) - left
        around = {(r + r0 + i, c + c0 + j) for r, c, _ in cells for i in (-1, 0, 1) for j in (-1, 0, 1)}
        if all(grid[r][c] == base for r, c in around if 0 <= r < height and 0 <= c < width):
            changed = [list(row) for row in grid]
            for r, c, color in cells:
                changed[r + r0][c + c0] = color
            return changed
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m arc.siblings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "tasks",
        nargs="*",
        metavar="task",
        default=["golden"],
        help="ids or sets (default: all that have a golden solution)",
    )
    parser.add_argument(
        "--golden", type=Path, metavar="FOLDER", help="solutions of one's own: files <task id>.py"
    )
    parser.add_argument("--count", type=int, default=20, help="pairs a task (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="other pairs for each (default: 0)")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write a JSON file a task there, in ARC's layout"
    )
    options = parser.parse_args(arguments)
    try:
        if options.count < 1:
            raise ArcError(f"--count must be at least 1, got {options.count}")
        with warm_sandboxes():
            for task in read_tasks(options.tasks, options.golden):
                pairs = siblings(task, golden_source(task.id, options.golden), options.count, options.seed)
                print(f"{task.id}: {len(pairs)} siblings", flush=True)
                if options.out and len(pairs) > 1:
                    _write(options.out, task, pairs)
    except ArcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _write(folder: Path, task: Task, pairs: Sequence[Sibling]) -> None:
    """Write siblings as a task: as many test pairs as the task has, or one, and all others to learn from."""
    asked = min(len(task.test), len(pairs) - 1)
    raw = [{"input": pair.input, "output": pair.output} for pair in pairs]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{task.id}.json"
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(json.dumps({"train": raw[:-asked], "test": raw[-asked:]}))
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
