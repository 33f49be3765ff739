"""What every method of training finds in a run, and what it leaves of an iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from minillm.llm import LLM
from rl.clock import Clock
from rl.curriculum import Curriculum
from rl.drift import Probe
from rl.reference import Reference
from rl.trainable import Trainable
from rl.types import Problem

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How a run goes about its work.

    Attributes:
        reward_seconds: how long a problem's reward function may take for one call.
        batch_tokens: about as many tokens go through one forward and backward of the trainer.
        evaluate_every: iterations between two evaluations; 0 for one before and one after training.
        evaluate_k: redactions at which problems are evaluated; none for each one's first k.
        evaluate_rollouts: completions of each problem and redaction in an evaluation.
        patience: training ends after so many evaluations without a better one; 0 for never.
    """

    reward_seconds: float = 600.0
    batch_tokens: int = 4096
    evaluate_every: int = 0
    evaluate_k: tuple[int, ...] = ()
    evaluate_rollouts: int = 16
    patience: int = 0

    def rules(self) -> dict[str, tuple[bool, str]]:
        """For each option whether it makes sense, and what would."""
        return {
            "reward_seconds": (self.reward_seconds > 0, "above 0"),
            "batch_tokens": (self.batch_tokens >= 1, "at least 1"),
            "evaluate_every": (self.evaluate_every >= 0, "not negative"),
            "evaluate_k": (all(k >= 1 for k in self.evaluate_k), "at least 1 each"),
            "evaluate_rollouts": (self.evaluate_rollouts >= 1, "at least 1"),
            "patience": (
                self.patience == 0 or (self.patience > 0 and self.evaluate_every > 0),
                "0, or above 0 with evaluate_every above 0",
            ),
        }


def batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Indices in order, in groups whose lengths come to at most `tokens`, or of one that is longer."""
    groups: list[list[int]] = []
    size = 0
    for i, length in enumerate(lengths):
        if not groups or size + length > tokens:
            groups.append([])
            size = 0
        groups[-1].append(i)
        size += length
    return groups


@dataclass
class Run:
    """What a method works on."""

    llm: LLM
    trainable: Trainable
    problems: Sequence[Problem]
    probe: Probe
    reference: Reference | None
    settings: Settings
    clock: Clock = field(default_factory=Clock)


@dataclass
class Round:
    """What one iteration left.

    Attributes:
        records: for the journal, JSON data that depends on nothing but seeds and weights.
        metrics: numbers by name.
        steps: optimizer steps that were taken.
        sampled: whether it counts as an iteration; one of saved entries does not.
    """

    records: list[dict[str, Any]]
    metrics: dict[str, float]
    steps: int
    sampled: bool = True


class Method(Protocol):
    """A way to train on problems."""

    @property
    def curriculum(self) -> Curriculum:
        """Where solutions are cut off."""
        ...

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """Kept from one iteration to the next, and with checkpoints; None where each starts afresh."""
        ...

    def begin(self, run: Run) -> None:
        """Called once, before the state of an earlier process is loaded."""
        ...

    def iterate(self, run: Run, state: dict[str, Any], iteration: int, tell: Tell) -> Round:
        """One iteration: `state` is JSON data that is kept; "k" in it has each problem's redaction."""
        ...
