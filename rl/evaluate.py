"""How good a policy is at fixed redactions: the chance that what it samples from there is right."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

from minillm.llm import LLM
from rl.rollout import Start, roll_out
from rl.types import Problem, State, redact


@dataclass(frozen=True)
class Measurement:
    """A state with completions that were sampled from its prefix, golden action or not.

    Their mean reward estimates the state reward with all of the vocabulary for actions, without bias.
    """

    state: State
    start: Start

    @property
    def rewards(self) -> list[float]:
        """One for each completion."""
        return [rollout.reward for rollout in self.start.rollouts]

    @property
    def mean(self) -> float:
        """Mean reward."""
        return fsum(self.rewards) / len(self.rewards)

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return {
            "state": self.state.to_dict(),
            "rollouts": [rollout.to_dict() for rollout in self.start.rollouts],
            "state_reward": self.mean,
        }


def evaluate(
    llm: LLM,
    problems: Sequence[tuple[Problem, Sequence[int]]],
    *,
    rollouts: int,
    extra_tokens: int,
    seed: int,
    reward_seconds: float,
    advance: Callable[[str], None] = lambda message: None,
) -> list[Measurement]:
    """`rollouts` completions of each problem at each of its redactions, shorter ones than the solution only.

    The same `seed` gives the same draws, so that what differs between two evaluations is the policy.
    """
    found = [
        Measurement(state := redact(problem, k), Start(problem, state))
        for problem, ks in problems
        for k in ks
        if k <= len(problem.golden_ids)
    ]
    roll_out(
        llm,
        [one.start for one in found],
        [rollouts] * len(found),
        extra_tokens=extra_tokens,
        seed=seed,
        reward_seconds=reward_seconds,
        advance=advance,
    )
    return found


def interval(
    rewards: Sequence[Sequence[float]], confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """A bootstrap interval of the mean over problems of their mean rewards (Efron, 1979: percentiles).

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
