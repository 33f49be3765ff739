"""Options of a run and of its methods, without torch: to list them, a command line needs no more.

`rl.curriculum` has those that all methods share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rl.curriculum import K_RULE, Curriculum, Redaction
from rl.options import option


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
        audit_every: iterations between two whose updates are audited (`rl.audit`), 0 for none; with
            a second copy of the weights meanwhile.
    """

    reward_seconds: float = option(600.0, "above 0", lambda self: self.reward_seconds > 0)
    batch_tokens: int = option(4096, "at least 1", lambda self: self.batch_tokens >= 1)
    evaluate_every: int = option(0, "not negative", lambda self: self.evaluate_every >= 0)
    evaluate_k: tuple[int, ...] = option(
        (), "at least 1 each", lambda self: all(k >= 1 for k in self.evaluate_k)
    )
    evaluate_rollouts: int = option(16, "at least 1", lambda self: self.evaluate_rollouts >= 1)
    patience: int = option(
        0,
        "0, or above 0 with evaluate_every above 0",
        lambda self: self.patience == 0 or (self.patience > 0 and self.evaluate_every > 0),
    )
    audit_every: int = option(0, "not negative", lambda self: self.audit_every >= 0)


@dataclass(frozen=True)
class AdamWConfig(Redaction):
    """Options of a method that keeps one AdamW for a whole run.

    Attributes:
        learning_rate: of AdamW.
        weight_decay: of AdamW.
    """

    learning_rate: float = option(1e-5, "above 0", lambda self: self.learning_rate > 0)
    weight_decay: float = option(0.0, "not negative", lambda self: self.weight_decay >= 0)


@dataclass(frozen=True)
class SFTConfig(AdamWConfig):
    """Options of supervised fine-tuning; a solution's last `k` golden tokens are trained, 0 for all."""

    k: int = option(0, *K_RULE)


@dataclass(frozen=True)
class GRPOConfig(Curriculum, AdamWConfig):
    """Options of GRPO.

    Attributes:
        group: completions of each problem in an iteration.
        divide_by_deviation: whether advantages are divided by the group's standard deviation.
        length: what a completion's summed loss is divided by: its "own" length, the mean one of the iteration
            ("mean"), or the most tokens it could have had ("most").
        kl: weight of the penalty for leaving the reference, in each token that is trained; 0 for none.
            Completions without an advantage are not.
        clip: a token's ratio to the policy that sampled it counts from 1 - clip to 1 + clip.
        inner_steps: optimizer steps on each group.
    """

    group: int = option(16, "at least 2", lambda self: self.group >= 2)
    divide_by_deviation: bool = True
    length: Literal["own", "mean", "most"] = option(
        "own", '"own", "mean" or "most"', lambda self: self.length in ("own", "mean", "most")
    )
    kl: float = option(0.0, "not negative", lambda self: self.kl >= 0)
    clip: float = option(0.2, "above 0", lambda self: self.clip > 0)
    inner_steps: int = option(1, "at least 1", lambda self: self.inner_steps >= 1)


@dataclass(frozen=True)
class UpdateOptions:
    """Options of an update.

    Attributes:
        learning_rate: of AdamW, at the most: where steps go too far it is halved. It is the largest change of
            a weight in one optimizer step.
        inner_steps: most optimizer steps in one iteration.
        tolerance: how close to its target a logprob counts as there, in nats.
        overshoot: a step that carries a logprob past its target by more than this share of its way is taken
            back.
        max_drift: so is one after which the probe's distributions are further than this from what they were
            before the iteration: mean KL in nats.
    """

    learning_rate: float = option(3e-6, "above 0", lambda self: self.learning_rate > 0)
    inner_steps: int = option(6, "at least 1", lambda self: self.inner_steps >= 1)
    tolerance: float = option(0.05, "not negative", lambda self: self.tolerance >= 0)
    overshoot: float = option(0.5, "not negative", lambda self: self.overshoot >= 0)
    max_drift: float = option(0.05, "above 0", lambda self: self.max_drift > 0)


@dataclass(frozen=True)
class MethodConfig(UpdateOptions, Curriculum):
    """Options of single-token reinforcement learning: what decides its course, and may not change on resume.

    Attributes:
        states: states of a problem in an iteration: one at k, the others at redactions drawn below it.
        actions: next tokens sampled in a state; the golden one comes on top.
        rollouts: completions of each action at first, and in each further round.
        max_rollouts: the most that an action gets while it is undecided (`rl.allocation`).
        confidence: how sure an action must be better or worse than the others to be trained.
        min_prob: actions less likely than this are not pushed down: nothing is gained by it.
    """

    states: int = option(1, "at least 1", lambda self: self.states >= 1)
    actions: int = option(4, "at least 1", lambda self: self.actions >= 1)
    rollouts: int = option(4, "at least 1", lambda self: self.rollouts >= 1)
    max_rollouts: int = option(48, "at least rollouts", lambda self: self.max_rollouts >= self.rollouts)
    confidence: float = option(0.9, "between 0.5 and 1", lambda self: 0.5 < self.confidence < 1)
    min_prob: float = option(0.01, "from 0 to below 1", lambda self: 0 <= self.min_prob < 1)
