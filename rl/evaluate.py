"""How good a policy is at fixed redactions, and how far it moved where it was not meant to.

Legend: R probe tokens, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import torch

from minillm.errors import MinillmError
from minillm.model.logprobs import next_logprobs
from minillm.model.transformer import Transformer
from rl.rollout import RolloutContext, Start, roll_out
from rl.types import Entry, Problem, Rollout, redact


@dataclass(kw_only=True)
class Measurement(Entry):
    """A state with completions sampled from its prefix; `split` is "trained" or "held out".

    Their mean reward estimates the state reward with all of the vocabulary for actions, without bias.
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


class ProbeTexts:
    """Texts whose logprobs are not meant to move. Raises `MinillmError` for those without two tokens."""

    def __init__(self, model: Transformer, texts: Sequence[Sequence[int]]) -> None:
        for i, ids in enumerate(texts):
            if len(ids) < 2:
                raise MinillmError(f"probe text {i} has {len(ids)} tokens; a logprob needs at least two")
            model.check_tokens(ids)
        self.model, self.texts = model, [list(ids) for ids in texts]

    @torch.no_grad()
    def rows(self) -> torch.Tensor:
        """Compute the policy before each token of each text but the first ones, (R, V) logprobs."""
        if not self.texts:
            return torch.empty(0, self.model.config.vocab_size, device=self.model.head.device)
        return next_logprobs(self.model, [ids[:i] for ids in self.texts for i in range(1, len(ids))])


def kl(old_RV: torch.Tensor, new_RV: torch.Tensor) -> float:
    """Average the Kullback-Leibler divergences of the new rows from the old ones, in nats; 0 for no rows.

    Tokens of probability 0 in the old rows do not count. NaN where a row holds NaN.
    """
    if not len(old_RV):
        return 0.0
    old_RV = old_RV.double()
    kl_RV = old_RV.exp() * (old_RV - new_RV.double())
    return kl_RV.masked_fill(old_RV == -torch.inf, 0.0).sum(1).mean().item()


def interval(
    rewards: Sequence[Sequence[float]], confidence: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap an interval of the mean over problems of their mean rewards (Efron, 1979: percentiles).

    Problems are drawn with replacement, and then each one's rewards: both are a sample.
    """
    generator = random.Random(seed)

    def mean() -> float:
        drawn = generator.choices(rewards, k=len(rewards))
        return fsum(fsum(generator.choices(r, k=len(r))) / len(r) for r in drawn) / len(drawn)

    means = sorted(mean() for _ in range(draws))
    low = int((1 - confidence) / 2 * draws)
    return means[low], means[draws - 1 - low]
