"""How well candidates and attempts did, by task and in all: scores, pass@k, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import comb, fsum
from typing import Any

from rich.table import Column, Table

from arc.candidates import Candidate
from arc.submission import Attempts, right, score
from arc.tasks import Task

# The k of pass@k that are reported, as far as every task has that many samples.
_KS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Estimate without bias how likely one of k samples is right, where `right` of `samples` are.

    It is 1 - C(n - c, k) / C(n, k), after Chen et al. (2021). Raises `ValueError` unless
    0 <= right <= samples and 1 <= k <= samples.
    """
    if not (0 <= right <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} of {samples} samples of which {right} are right does not exist")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


@dataclass(frozen=True)
class Counts:
    """Samples of one task: how many there are, are right on train, and on all pairs (None: not known)."""

    samples: int
    fit: int
    solve: int | None

    @classmethod
    def of(cls, candidates: Sequence[Candidate], task: Task) -> Counts:
        """Count a task's candidates."""
        solve = sum(c.solves(task) for c in candidates) if task.answered else None
        return cls(len(candidates), sum(c.fits for c in candidates), solve)


def pass_rates(counts: Sequence[Counts]) -> dict[str, float]:
    """Average pass@k over tasks, for each k of which every task has as many samples; none for no tasks.

    Right is a program that is right on all pairs. Tasks whose answers are not known do not count.
    """
    known = [(c.samples, c.solve) for c in counts if c.solve is not None]
    most = min((samples for samples, _ in known), default=0)
    return {
        f"pass@{k}": fsum(pass_at_k(samples, solve, k) for samples, solve in known) / len(known)
        for k in _KS
        if k <= most
    }


@dataclass(frozen=True)
class TaskReport:
    """What became of one task.

    Attributes:
        task_id: its id.
        counts: of its candidates, by phase; those of the phase "given" are in no attempt.
        right: of each test input, whether an attempt is right; None where the answers are not known.
        note: why it has no candidates, if there is a reason.
    """

    task_id: str
    counts: Mapping[str, Counts]
    right: tuple[bool, ...] | None
    note: str | None


@dataclass(frozen=True)
class Report:
    """What became of an evaluation; `seconds` is the time that it took, over all starts."""

    tasks: Sequence[TaskReport]
    score: str | None
    rates: Mapping[str, Mapping[str, float]]
    seconds: float

    def data(self) -> dict[str, Any]:
        """Write it as JSON data."""
        return asdict(self)

    def table(self) -> Table:
        """Tabulate it, a row a task."""
        names = ("samples", "right on train", "right on all", "given the golden docstring", "attempts right")
        table = Table("task", *(Column(name, justify="right") for name in names), "note")
        for task in self.tasks:
            own = [counts for phase, counts in task.counts.items() if phase != GIVEN]
            given = task.counts.get(GIVEN)
            solved = [counts.solve for counts in own if counts.solve is not None]
            table.add_row(
                task.task_id,
                str(sum(counts.samples for counts in own)),
                str(sum(counts.fit for counts in own)),
                str(sum(solved)) if task.right is not None else "-",
                f"{given.solve} of {given.samples}" if given and given.solve is not None else "-",
                f"{sum(task.right)} of {len(task.right)}" if task.right is not None else "-",
                task.note or "",
            )
        return table

    def lines(self) -> list[str]:
        """Say in a few lines how it went."""
        phases = {"sampled": "of one program", GIVEN: "given the golden docstring"}
        lines = [f"score: {self.score}"] if self.score else ["score: no answers are known"]
        for phase, rates in self.rates.items():
            counts = [task.counts[phase] for task in self.tasks if phase in task.counts]
            values = ", ".join(f"{name} {value:.4f}" for name, value in rates.items())
            where = f"{len(counts)} tasks, {sum(c.samples for c in counts)} samples"
            lines.append(f"pass rate {phases.get(phase, phase)}: {values or 'too few samples'} ({where})")
        return lines


GIVEN = "given"


def make_report(
    tasks: Sequence[Task],
    candidates: Sequence[Candidate],
    attempts: Attempts,
    notes: Mapping[str, str],
    seconds: float,
) -> Report:
    """Report on all tasks; `notes` says of some why they have no candidates."""
    phases = list(dict.fromkeys(candidate.phase for candidate in candidates))
    by_task: dict[str, dict[str, list[Candidate]]] = {task.id: {} for task in tasks}
    for candidate in candidates:
        by_task[candidate.task_id].setdefault(candidate.phase, []).append(candidate)
    reports = [
        TaskReport(
            task.id,
            {phase: Counts.of(some, task) for phase, some in by_task[task.id].items()},
            tuple(right(attempts[task.id], task)) if task.answered else None,
            notes.get(task.id),
        )
        for task in tasks
    ]
    rates = {
        phase: pass_rates([report.counts[phase] for report in reports if phase in report.counts])
        for phase in phases
    }
    known = [task for task in tasks if task.answered]
    return Report(reports, str(score(attempts, known)) if known else None, rates, seconds)
