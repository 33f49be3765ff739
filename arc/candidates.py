"""Programs that were sampled for a task, and what they make of its inputs in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from arc.augment import Guise
from arc.sandbox import Limits, RunResult, run_many
from arc.tasks import Grid, Task


@dataclass(frozen=True)
class Draft:
    """A sampled program that was not run yet.

    Attributes:
        task_id: of the task that it was sampled for.
        phase: what it was sampled in: "sampled", "refined 1", ... or "given", with the golden docstring.
        guise: in which the task was shown, and in which the program solves it.
        source: the program.
        tokens: that were sampled.
        finish: "stop", or "length" where the program was cut off.
    """

    task_id: str
    phase: str
    guise: Guise
    source: str
    tokens: int
    finish: str


@dataclass(frozen=True)
class Candidate(Draft):
    """A sampled program with its outputs.

    Attributes:
        train: of each train pair, whether its output came out.
        test: of each test input the output, turned back from the guise; None where there is none.
        error: of the first input that failed, in one line.
    """

    train: tuple[bool, ...]
    test: tuple[Grid | None, ...]
    error: str | None

    @property
    def fits(self) -> bool:
        """Whether it is right on all train pairs, which is all that can be known of a test task."""
        return all(self.train)

    @property
    def share(self) -> float:
        """Share of the train pairs that it is right on."""
        return sum(self.train) / len(self.train)

    def solves(self, task: Task) -> bool:
        """Tell whether it is right on all pairs, train and test."""
        return self.fits and list(self.test) == [example.output for example in task.test]

    def record(self) -> dict[str, Any]:
        """Write it as JSON data, with grids as rows of digits."""
        test = [None if grid is None else ["".join(map(str, row)) for row in grid] for grid in self.test]
        return {**asdict(self), "test": test}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Candidate:
        """Read what `record` wrote."""
        values = dict(record)
        guise = Guise(values["guise"]["symmetry"], tuple(values["guise"]["colors"]))
        test = [rows and [[int(digit) for digit in row] for row in rows] for rows in values["test"]]
        return cls(**{**values, "guise": guise, "train": tuple(values["train"]), "test": tuple(test)})


def run_drafts(drafts: Sequence[Draft], tasks: Mapping[str, Task], limits: Limits) -> list[Candidate]:
    """Run programs on all inputs of their tasks, in the guise of each."""
    dressed = [draft.guise.of(tasks[draft.task_id]) for draft in drafts]
    jobs = [
        (draft.source, [example.input for example in task.examples])
        for draft, task in zip(drafts, dressed, strict=True)
    ]
    results = run_many(jobs, limits)
    return [_judge(draft, task, result) for draft, task, result in zip(drafts, dressed, results, strict=True)]


def best(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """Choose up to `count` different programs, those right on most train pairs first.

    Of equally good ones an earlier comes before a later, and one that ran before one that failed.
    """
    found: dict[tuple[str, Guise], Candidate] = {}
    for candidate in sorted(candidates, key=lambda c: (-c.share, c.error is not None)):
        found.setdefault((candidate.source, candidate.guise), candidate)
    return list(found.values())[:count]


def _judge(draft: Draft, task: Task, result: RunResult) -> Candidate:
    split = len(task.train)
    pairs = zip(result.outputs[:split], task.train, strict=True)
    return Candidate(
        **vars(draft),
        train=tuple(output == example.output for output, example in pairs),
        test=tuple(output and draft.guise.take_off(output) for output in result.outputs[split:]),
        error=result.error,
    )
