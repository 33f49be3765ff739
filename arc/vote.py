"""Two attempts for each test input, from what the candidates of a task make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from arc.candidates import Candidate
from arc.tasks import Example, Grid, Task


def attempts(task: Task, candidates: Sequence[Candidate]) -> list[tuple[Grid, Grid]]:
    """Choose two different grids for each test input, whatever the candidates are.

    First come outputs of programs that are right on all train pairs, by how many gave them; then those of
    programs right on some, those of the best first; then, without any program, the input itself, the outputs
    of the train pairs, the most common first, and a grid of one cell.
    """
    result = []
    for number, example in enumerate(task.test):
        grids = _distinct(_ranked(task, example, candidates, number))
        result.append((next(grids), next(grids)))
    return result


def _ranked(task: Task, example: Example, candidates: Sequence[Candidate], number: int) -> Iterator[Grid]:
    """List grids for a test input, the most trusted first, some of them twice."""
    votes: Counter[str] = Counter()
    others: Counter[str] = Counter()
    shares: dict[str, float] = {}
    grids: dict[str, Grid] = {}
    for candidate in candidates:
        if (grid := candidate.test[number]) is not None and any(candidate.train):
            key = str(grid)
            grids[key] = grid
            shares[key] = max(candidate.share, shares.get(key, 0.0))
            votes[key] += candidate.fits
            others[key] += not candidate.fits
    for key in sorted(grids, key=lambda key: (-votes[key], -shares[key], -others[key])):
        yield grids[key]
    yield example.input
    outputs = Counter(str(e.output) for e in task.train)
    yield from (e.output for e in sorted(task.train, key=lambda e: -outputs[str(e.output)]))
    yield from ([[color]] for color in range(10))


def _distinct(grids: Iterator[Grid]) -> Iterator[Grid]:
    seen: list[Grid] = []
    for grid in grids:
        if grid not in seen:
            seen.append(grid)
            yield grid
