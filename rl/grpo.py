"""Sequence-level GRPO (Shao et al., 2024): a baseline that single-token learning is compared with.

A completion's advantage is its reward less its group's mean, and goes to all of its tokens alike. The
original's divisions by the group's deviation and by a completion's length, which Liu et al. (2025) show to
bias it, and its penalty for leaving the reference are options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import fsum
from typing import Any, TypeAlias

import torch

from minillm.errors import MinillmError
from minillm.model.logprobs import token_logprobs
from rl.config import GRPOConfig as GRPOConfig
from rl.estimate import Work
from rl.rollout import Start, roll_out, seed_of
from rl.run import AdamWMethod, Round, Run, RunState, batches, rollout_metrics
from rl.types import Entry, Problem, Rollout, redact


@dataclass(frozen=True)
class GroupRollout(Rollout):
    """A completion, and by how much it did better than its group."""

    advantage: float


@dataclass(kw_only=True)
class GRPOEntry(Entry):
    """A state and its group of completions; `state_reward` is their mean reward."""

    kind: str = "grpo"
    rollouts: list[GroupRollout]
    state_reward: float


# What comes before a completion that is trained on, its equals in the group, which are one forward, and what
# its loss is divided by.
TrainedCompletion: TypeAlias = tuple[list[int], list[GroupRollout], float]


def group_advantages(rewards: list[float], divide_by_deviation: bool) -> list[float]:
    """Subtract the mean, and divide by the standard deviation on request; zeros where all are equal."""
    mean = fsum(rewards) / len(rewards)
    deviation = (fsum((r - mean) ** 2 for r in rewards) / len(rewards)) ** 0.5
    if deviation < 1e-9:
        return [0.0] * len(rewards)
    return [(r - mean) / (deviation if divide_by_deviation else 1.0) for r in rewards]


class GRPO(AdamWMethod[GRPOConfig]):
    """Groups of completions, and a clipped policy gradient."""

    def begin(self, run: Run, kept: Mapping[str, Any]) -> None:
        """Make the optimizer. Raises `MinillmError` for a penalty without a reference."""
        if self.config.kl and run.reference is None:
            raise MinillmError("kl is a penalty for leaving the reference; give the trainer one, or kl=0")
        super().begin(run, kept)

    def work(self, states: Sequence[tuple[Problem, int]]) -> Work:
        """Count prefixes, completions as long as they may be, and steps on all of them."""
        config = self.config
        prefixes = [len(p.prompt_ids) + len(p.golden_ids) - k for p, k in states]
        longest = [k + config.extra_tokens for _, k in states]
        return Work(
            read=sum(prefixes),
            sampled=config.group * sum(longest),
            trained=config.inner_steps * config.group * (sum(prefixes) + sum(longest)),
        )

    def iterate(self, run: Run, state: RunState, iteration: int) -> Round:
        """Sample a group of each problem, step on all of them, and set the next redactions."""
        config = self.config
        problems = config.turn(run.problems, state.trained)
        starts = [Start(p, redact(p, state.problems[p.id].k)) for p in problems]
        roll_out(run, starts, [config.group] * len(starts), seed_of(config.seed, iteration))
        entry = partial(GRPOEntry, iteration=iteration, model_version=state.model_version)
        entries = [
            entry(state=start.state, rollouts=self._judged(start.rollouts), state_reward=start.mean_reward)
            for start in starts
        ]
        with run.clock.on("training"):
            steps = self._train(run, self._completions(entries))
        for start in starts:
            stops = config.stops(start.problem, run.llm.get_tokenizer())
            state.problems[start.problem.id].k = config.next(start.state.k, start.mean_reward, stops)
        metrics = {
            "state_reward": fsum(entry.state_reward for entry in entries) / len(entries),
            **rollout_metrics([rollout for start in starts for rollout in start.rollouts]),
            "k": state.mean_k,
            "groups_with_signal": float(sum(any(r.advantage for r in e.rollouts) for e in entries)),
            "steps": float(steps),
        }
        return Round(entries, metrics, steps)

    def _judged(self, group: list[Rollout]) -> list[GroupRollout]:
        """Give each completion of a group its advantage."""
        rewards = [rollout.reward for rollout in group]
        pairs = zip(group, group_advantages(rewards, self.config.divide_by_deviation), strict=True)
        return [GroupRollout(**vars(rollout), advantage=advantage) for rollout, advantage in pairs]

    def _completions(self, entries: list[GRPOEntry]) -> list[TrainedCompletion]:
        """Take the completions with an advantage, equal ones of a group as one."""
        lengths = [len(rollout.token_ids) for entry in entries for rollout in entry.rollouts]
        mean = max(1.0, fsum(lengths) / len(lengths))
        completions = []
        for entry in entries:
            equal: dict[tuple[tuple[int, ...], float], list[GroupRollout]] = {}
            for rollout in entry.rollouts:
                if rollout.advantage and rollout.token_ids:
                    equal.setdefault((tuple(rollout.token_ids), rollout.advantage), []).append(rollout)
            longest = float(entry.state.k + self.config.extra_tokens)
            for (ids, _), copies in equal.items():
                divisor = {"own": float(len(ids)), "mean": mean, "most": longest}[self.config.length]
                completions.append((entry.state.prefix_ids, copies, divisor))
        return completions

    def _train(self, run: Run, completions: list[TrainedCompletion]) -> int:
        """Take the optimizer steps, and count them."""
        config = self.config
        if not completions:
            return 0
        total = sum(len(copies) for _, copies, _ in completions)
        whole = [[*prefix_ids, *copies[0].token_ids] for prefix_ids, copies, _ in completions]
        reference = run.reference.token_logprobs(whole) if config.kl and run.reference else None
        for step in range(config.inner_steps):
            run.progress(f"step {step + 1} of {config.inner_steps}")
            run.trainable.forget_gradients()
            for part in batches([len(ids) for ids in whole], run.settings.batch_tokens):
                rows = token_logprobs(run.trainable.model, [whole[i] for i in part])
                losses = []
                for i, row in zip(part, rows, strict=True):
                    prefix_ids, copies, divisor = completions[i]
                    first, advantage = len(prefix_ids) - 1, copies[0].advantage
                    new_T = row[first:]
                    ratio_T = (new_T - torch.tensor(copies[0].logprobs).to(new_T)).exp()
                    clipped_T = ratio_T.clamp(1 - config.clip, 1 + config.clip)
                    loss_T = -torch.minimum(ratio_T * advantage, clipped_T * advantage)
                    if reference is not None:
                        gap_T = reference[i][first:] - new_T
                        loss_T = loss_T + config.kl * (gap_T.exp() - gap_T - 1)
                    losses.append(loss_T.sum() * (len(copies) / divisor))
                (torch.stack(losses).sum() / total).backward()
            run.trainable.step(self.optimizer)
        return config.inner_steps
