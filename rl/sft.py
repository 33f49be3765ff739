"""Supervised fine-tuning on golden solutions: a baseline that reinforcement learning is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from minillm.errors import check_values
from minillm.model.logprobs import token_logprobs
from rl.curriculum import Curriculum
from rl.run import Round, Run, Tell, batches
from rl.types import redact


@dataclass(frozen=True)
class SFTConfig(Curriculum):
    """Options of supervised fine-tuning; a solution's last `k` golden tokens are trained, 0 for all.

    Attributes:
        learning_rate: of AdamW.
        weight_decay: of AdamW.
    """

    k: int = 0
    learning_rate: float = 1e-5
    weight_decay: float = 0.0

    def rules(self) -> dict[str, tuple[bool, str]]:
        """For each option whether it makes sense, and what would."""
        return {
            **super().rules(),
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "weight_decay": (self.weight_decay >= 0, "not negative"),
        }


class SFT:
    """One optimizer step an iteration, over all problems: the mean of their mean losses of a golden token.

    Raises `MinillmError` for options that make no sense.
    """

    optimizer: torch.optim.Optimizer | None = None

    def __init__(self, config: SFTConfig) -> None:
        check_values(config, config.rules())
        self.config = self.curriculum = config

    def begin(self, run: Run) -> None:
        """Make the optimizer."""
        config = self.config
        self.optimizer = run.trainable.optimizer(
            config.learning_rate, config.weight_decay, config.seed & 0xFFFFFFFF
        )

    def iterate(self, run: Run, state: dict[str, Any], iteration: int, tell: Tell) -> Round:
        """A step down the gradient of the golden tokens' loss."""
        assert self.optimizer is not None
        tell("training")
        losses: dict[str, float] = {}
        problems = self.config.turn(run.problems, state["trained"])
        sequences = {p.id: [*p.prompt_ids, *p.golden_ids] for p in problems}
        with run.clock.on("training"):
            run.trainable.forget_gradients()
            for part in batches([len(ids) for ids in sequences.values()], run.settings.batch_tokens):
                mine = [problems[i] for i in part]
                rows = token_logprobs(run.trainable.model, [sequences[p.id] for p in mine])
                each = [-row[-state["k"][p.id] :].mean() for p, row in zip(mine, rows, strict=True)]
                losses |= {p.id: loss.item() for p, loss in zip(mine, each, strict=True)}
                (torch.stack(each).sum() / len(problems)).backward()
            run.trainable.step(self.optimizer)
        return Round(
            records=[
                {
                    "kind": "sft",
                    "iteration": iteration,
                    "state": redact(problem, state["k"][problem.id]).to_dict(),
                    "loss": losses[problem.id],
                    "model_version": state["model_version"],
                }
                for problem in problems
            ],
            metrics={
                "loss": sum(losses.values()) / len(losses),
                "trained_tokens": float(sum(state["k"][problem.id] for problem in problems)),
            },
            steps=1,
        )
