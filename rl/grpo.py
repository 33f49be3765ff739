"""Sequence-level GRPO (Shao et al., 2024): a baseline that single-token learning is compared with.

A completion's advantage is its reward less its group's mean, and goes to all of its tokens alike. Options
have the original's divisions by the group's deviation and by a completion's length, which Liu et al. (2025)
show to bias it, and its penalty for leaving the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import Any, Literal

import torch

from minillm.errors import MinillmError, check_values
from minillm.model.logprobs import token_logprobs
from rl.curriculum import Curriculum
from rl.rollout import Start, roll_out, seed_of
from rl.run import Round, Run, Tell, batches
from rl.types import redact


@dataclass(frozen=True)
class GRPOConfig(Curriculum):
    """Options of GRPO.

    Attributes:
        group: completions of each problem in an iteration.
        divide_by_deviation: whether advantages are divided by the group's standard deviation.
        length: what a completion's summed loss is divided by: its "own" length, the mean one of the
            iteration ("mean"), or the most tokens it could have had ("most").
        kl: weight of the penalty for leaving the reference, in each token that is trained; 0 for none.
            Completions without an advantage are not.
        clip: a token's ratio to the policy that sampled it counts from 1 - clip to 1 + clip.
        inner_steps: optimizer steps on each group.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
    """

    group: int = 16
    divide_by_deviation: bool = True
    length: Literal["own", "mean", "most"] = "own"
    kl: float = 0.0
    clip: float = 0.2
    inner_steps: int = 1
    learning_rate: float = 1e-5
    weight_decay: float = 0.0

    def rules(self) -> dict[str, tuple[bool, str]]:
        """For each option whether it makes sense, and what would."""
        return {
            **super().rules(),
            "group": (self.group >= 2, "at least 2"),
            "length": (self.length in ("own", "mean", "most"), '"own", "mean" or "most"'),
            "kl": (self.kl >= 0, "not negative"),
            "clip": (self.clip > 0, "above 0"),
            "inner_steps": (self.inner_steps >= 1, "at least 1"),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "weight_decay": (self.weight_decay >= 0, "not negative"),
        }


@dataclass(frozen=True)
class Sample:
    """A completion that is trained on, `count` times over: equal ones are one forward."""

    prefix_ids: list[int]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    advantage: float
    count: int
    divisor: float


def group_advantages(rewards: list[float], divide_by_deviation: bool) -> list[float]:
    """Each reward less the mean, divided by the standard deviation on request; zeros where all are equal."""
    mean = fsum(rewards) / len(rewards)
    deviation = (fsum((r - mean) ** 2 for r in rewards) / len(rewards)) ** 0.5
    if deviation < 1e-9:
        return [0.0] * len(rewards)
    return [(r - mean) / (deviation if divide_by_deviation else 1.0) for r in rewards]


class GRPO:
    """Groups of completions, and a clipped policy gradient.

    Raises `MinillmError` for options that make no sense.
    """

    optimizer: torch.optim.Optimizer | None = None

    def __init__(self, config: GRPOConfig) -> None:
        check_values(config, config.rules())
        self.config = self.curriculum = config

    def begin(self, run: Run) -> None:
        """Make the optimizer. Raises `MinillmError` for a penalty without a reference."""
        config = self.config
        if config.kl and run.reference is None:
            raise MinillmError("kl is a penalty for leaving the reference; give the trainer one, or kl=0")
        self.optimizer = run.trainable.optimizer(
            config.learning_rate, config.weight_decay, config.seed & 0xFFFFFFFF
        )

    def iterate(self, run: Run, state: dict[str, Any], iteration: int, tell: Tell) -> Round:
        """A group of each problem, steps on all of them, and the next redactions."""
        config = self.config
        problems = config.turn(run.problems, state["trained"])
        starts = [Start(p, redact(p, state["k"][p.id])) for p in problems]
        roll_out(
            run.llm,
            starts,
            [config.group] * len(starts),
            extra_tokens=config.extra_tokens,
            seed=seed_of(config.seed, iteration),
            reward_seconds=run.settings.reward_seconds,
            clock=run.clock,
            advance=tell,
        )
        rewards = [[rollout.reward for rollout in start.rollouts] for start in starts]
        advantages = [group_advantages(own, config.divide_by_deviation) for own in rewards]
        samples = self._samples(starts, advantages)
        with run.clock.on("training"):
            steps = self._train(run, samples, tell)
        records = [
            {
                "kind": "grpo",
                "iteration": iteration,
                "state": start.state.to_dict(),
                "rollouts": [rollout.to_dict() for rollout in start.rollouts],
                "advantages": own,
                "state_reward": fsum(r) / len(r),
                "model_version": state["model_version"],
            }
            for start, own, r in zip(starts, advantages, rewards, strict=True)
        ]
        tokenizer = run.llm.get_tokenizer()
        for start, record in zip(starts, records, strict=True):
            stops = config.stops(start.problem, tokenizer)
            state["k"][start.problem.id] = config.next(start.state.k, record["state_reward"], stops)
        rollouts = [rollout for start in starts for rollout in start.rollouts]
        return Round(
            records=records,
            metrics={
                "state_reward": fsum(record["state_reward"] for record in records) / len(records),
                "k": sum(state["k"].values()) / len(state["k"]),
                "rollouts": float(len(rollouts)),
                "sampled_tokens": float(sum(len(rollout.token_ids) for rollout in rollouts)),
                "groups_with_signal": float(sum(any(own) for own in advantages)),
                "steps": float(steps),
            },
            steps=steps,
        )

    def _samples(self, starts: list[Start], advantages: list[list[float]]) -> list[Sample]:
        """What has an advantage, equal completions of a group as one."""
        config = self.config
        lengths = [len(rollout.token_ids) for start in starts for rollout in start.rollouts]
        mean = max(1.0, fsum(lengths) / len(lengths))
        found = []
        for start, own in zip(starts, advantages, strict=True):
            counts: dict[tuple[tuple[int, ...], float], int] = {}
            logprobs = {}
            for rollout, advantage in zip(start.rollouts, own, strict=True):
                ids = tuple(rollout.token_ids)
                if advantage and ids:
                    counts[ids, advantage] = counts.get((ids, advantage), 0) + 1
                    logprobs[ids] = tuple(rollout.logprobs)
            for (ids, advantage), count in counts.items():
                most = start.most_tokens + config.extra_tokens
                divisor = {"own": float(len(ids)), "mean": mean, "most": float(most)}[config.length]
                found.append(Sample(start.state.prefix_ids, ids, logprobs[ids], advantage, count, divisor))
        return found

    def _train(self, run: Run, samples: list[Sample], tell: Tell) -> int:
        """The optimizer steps that were taken."""
        config = self.config
        assert self.optimizer is not None
        if not samples:
            return 0
        total = sum(sample.count for sample in samples)
        whole = [[*sample.prefix_ids, *sample.token_ids] for sample in samples]
        reference = None
        if config.kl and run.reference is not None:
            reference = run.reference.token_logprobs(whole)
        for step in range(config.inner_steps):
            tell(f"step {step + 1} of {config.inner_steps}")
            run.trainable.forget_gradients()
            for part in batches([len(ids) for ids in whole], run.settings.batch_tokens):
                rows = token_logprobs(run.trainable.model, [whole[i] for i in part])
                losses = []
                for i, row in zip(part, rows, strict=True):
                    sample = samples[i]
                    new_T = row[len(sample.prefix_ids) - 1 :]
                    ratio_T = (new_T - torch.tensor(sample.logprobs).to(new_T)).exp()
                    clipped_T = ratio_T.clamp(1 - config.clip, 1 + config.clip)
                    loss_T = -torch.minimum(ratio_T * sample.advantage, clipped_T * sample.advantage)
                    if reference is not None:
                        gap_T = reference[i][len(sample.prefix_ids) - 1 :] - new_T
                        loss_T = loss_T + config.kl * (gap_T.exp() - gap_T - 1)
                    losses.append(loss_T.sum() * (sample.count / sample.divisor))
                (torch.stack(losses).sum() / total).backward()
            run.trainable.step(self.optimizer)
        return config.inner_steps
