"""What a method of training works on, and what it returns of an iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import torch

from rl.config import AdamWConfig as AdamWConfig
from rl.config import Settings as Settings
from rl.curriculum import Redaction
from rl.estimate import Work
from rl.evaluate import ProbeTexts
from rl.options import check_options
from rl.reference import Reference
from rl.rollout import RolloutContext
from rl.trainable import Trainable
from rl.types import Entry, Problem, Rollout


@dataclass(kw_only=True)
class Run(RolloutContext):
    """What a method works on."""

    trainable: Trainable
    problems: Sequence[Problem]
    probe: ProbeTexts
    reference: Reference | None
    settings: Settings


@dataclass
class ProblemState:
    """A problem's next redaction, and the moves on it that were checked and confirmed."""

    k: int
    moves_checked: int = 0
    moves_confirmed: int = 0


@dataclass
class Evaluation:
    """The policy after `trained` iterations.

    `rewards` has each problem's mean reward at its first k, also of those held out, `means` that of each
    split's measurements; `drift` is the mean KL over the probe texts from the start of the run.
    """

    trained: int
    rewards: dict[str, float]
    means: dict[str, float]
    drift: float


@dataclass
class RunState:
    """What a run knows after an iteration, beside weights and optimizer.

    `base` is the fingerprint of the weights that it began with, `problems` go by id, `model_version` counts
    optimizer steps, and `trained` the iterations but those of saved entries.
    """

    base: str
    problems: dict[str, ProblemState]
    model_version: int = 0
    trained: int = 0
    evaluations: list[Evaluation] = field(default_factory=list)

    @property
    def mean_k(self) -> float:
        """Mean redaction of all problems."""
        return sum(problem.k for problem in self.problems.values()) / len(self.problems)


@dataclass
class Round:
    """What one iteration left: entries that depend on seeds and weights alone, numbers, optimizer steps.

    `moves` has the problem's id of each move that was checked, and whether the sampler confirmed it; `counts`
    says whether it counts as an iteration, as one of saved entries does not.
    """

    entries: Sequence[Entry]
    metrics: dict[str, float]
    steps: int
    moves: Sequence[tuple[str, bool]] = ()
    counts: bool = True


class Method(Protocol):
    """A way to train on problems."""

    @property
    def config(self) -> Redaction:
        """Its options, among them where solutions are cut off."""

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """Kept from one iteration to the next, and with checkpoints; None where each starts afresh."""

    def work(self, states: Sequence[tuple[Problem, int]]) -> Work:
        """Estimate what an iteration over these problems, with their redactions, asks for."""

    def begin(self, run: Run, kept: Mapping[str, Any]) -> None:
        """Make the optimizer, whose state is loaded later; resume from what an earlier `state_dict` gave."""

    def state_dict(self) -> dict[str, Any]:
        """Give the method's own state as JSON data, which the journal keeps after each iteration."""

    def iterate(self, run: Run, state: RunState, iteration: int) -> Round:
        """Run one iteration, and set each problem's next redaction in `state`."""


C = TypeVar("C", bound=AdamWConfig)


class AdamWMethod(Generic[C]):
    """A method that keeps one AdamW for a whole run. Raises `MinillmError` for options that make no sense."""

    optimizer: torch.optim.Optimizer

    def __init__(self, config: C) -> None:
        check_options(config)
        self.config = config

    def begin(self, run: Run, kept: Mapping[str, Any]) -> None:
        """Make the optimizer."""
        rates = self.config.learning_rate, self.config.weight_decay
        self.optimizer = run.trainable.optimizer(*rates, seed=self.config.seed & 0xFFFFFFFF)

    def state_dict(self) -> dict[str, Any]:
        """Give nothing: all that is kept is in the optimizer."""
        return {}


def batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Group indices in order, so that a group's lengths come to at most `tokens`, or it has one alone."""
    groups: list[list[int]] = []
    size = 0
    for i, length in enumerate(lengths):
        if not groups or size + length > tokens:
            groups.append([])
            size = 0
        groups[-1].append(i)
        size += length
    return groups


def rollout_metrics(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Count an iteration's rollouts and their tokens."""
    tokens = sum(len(rollout.token_ids) for rollout in rollouts)
    return {"rollouts": float(len(rollouts)), "sampled_tokens": float(tokens)}
