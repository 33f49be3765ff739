"""How good a policy is at fixed redactions: the chance that what it samples from there is right."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from rl.rollout import RolloutContext, Start, roll_out
from rl.types import Entry, Problem, Rollout, redact


@dataclass(frozen=True, kw_only=True)
class Measurement(Entry):
    """A state with completions that were sampled from its prefix, golden action or not.

    Their mean reward estimates the state reward with all of the vocabulary for actions, without bias.
    `split` is "trained" or "held out".
    """

    kind: str = "measurement"
    split: str
    rollouts: list[Rollout]
    state_reward: float


def evaluate(
    context: RolloutContext, problems: Sequence[tuple[Problem, Sequence[int]]], *, rollouts: int, seed: int
) -> list[Start]:
    """Sample `rollouts` completions of each problem at each of its redactions that its solution has.

    The same `seed` gives the same draws, so that what differs between two evaluations is the policy.
    """
    starts = [
        Start(problem, redact(problem, k))
        for problem, redactions in problems
        for k in redactions
        if k <= len(problem.golden_ids)
    ]
    roll_out(context, starts, [rollouts] * len(starts), seed)
    return starts


def interval(
    rewards: Sequence[Sequence[float]], confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap an interval of the mean over problems of their mean rewards (Efron, 1979: percentiles).

    Problems are drawn with replacement, and then each one's rewards: both are a sample.
    """
    generator = random.Random(seed)
    means = []
    for _ in range(draws):
        drawn = generator.choices(rewards, k=len(rewards))
        means.append(fsum(fsum(generator.choices(r, k=len(r))) / len(r) for r in drawn) / len(drawn))
    means.sort()
    low = int((1 - confidence) / 2 * draws)
    return means[low], means[draws - 1 - low]
