"""Supervised fine-tuning on golden solutions: a baseline that reinforcement learning is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from minillm.model.logprobs import token_logprobs
from rl.config import SFTConfig as SFTConfig
from rl.estimate import Work
from rl.run import AdamWMethod, Round, Run, RunState, batches
from rl.types import Entry, Problem, redact


@dataclass(kw_only=True)
class SFTEntry(Entry):
    """A problem's last golden tokens, and their mean loss before the step."""

    kind: str = "sft"
    loss: float


class SFT(AdamWMethod[SFTConfig]):
    """One optimizer step an iteration, over all problems: the mean of their mean losses of a golden token."""

    def work(self, states: Sequence[tuple[Problem, int]]) -> Work:
        """Count the tokens of all solutions."""
        return Work(trained=sum(len(p.prompt_ids) + len(p.golden_ids) for p, _ in states))

    def iterate(self, run: Run, state: RunState, iteration: int) -> Round:
        """Step down the gradient of the golden tokens' loss."""
        run.progress("training")
        problems = self.config.turn(run.problems, state.trained)
        redactions = [state.problems[problem.id].k for problem in problems]
        sequences = [[*problem.prompt_ids, *problem.golden_ids] for problem in problems]
        losses: list[float] = []
        with run.clock.on("training"):
            run.trainable.forget_gradients()
            for part in batches([len(ids) for ids in sequences], run.settings.batch_tokens):
                rows = token_logprobs(run.trainable.model, [sequences[i] for i in part])
                part_losses = [-row[-redactions[i] :].mean() for i, row in zip(part, rows, strict=True)]
                losses += [loss.item() for loss in part_losses]
                (torch.stack(part_losses).sum() / len(problems)).backward()
            run.trainable.step(self.optimizer)
        entry = partial(SFTEntry, iteration=iteration, model_version=state.model_version)
        trained = zip(problems, redactions, losses, strict=True)
        entries = [entry(state=redact(problem, k), loss=loss) for problem, k, loss in trained]
        metrics = {"loss": sum(losses) / len(losses), "trained_tokens": float(sum(redactions))}
        return Round(entries, metrics, steps=1)
