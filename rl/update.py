"""Moving logprobs to their targets, and nothing else far: the optimizer steps of one iteration.

Legend: R pulls' prefixes, V vocabulary.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from minillm.model.logprobs import nested, next_logprobs
from rl.drift import Probe, kl
from rl.run import batches
from rl.targets import reached
from rl.trainable import Trainable


@dataclass(frozen=True)
class Pull:
    """The logprob of `token_id` after `prefix_ids` should go from `before` to `target`."""

    prefix_ids: Sequence[int]
    token_id: int
    before: float
    target: float

    @property
    def sign(self) -> int:
        """+1 for up, -1 for down."""
        return 1 if self.target > self.before else -1

    def short(self, logprob: float, tolerance: float) -> bool:
        """Whether it is further than `tolerance` on this side of its target."""
        return not reached(logprob, self.target, self.sign, tolerance)

    def past(self, logprob: float) -> float:
        """How far it is beyond the target, in nats; negative before it."""
        return self.sign * (logprob - self.target)


@dataclass(frozen=True)
class Outcome:
    """What an update came to.

    Attributes:
        steps: optimizer steps that stand.
        taken_back: those that do not.
        logprobs: the trainer's logprob of each pull now.
        drift: mean KL over the probe, from before the update to after it.
        learning_rate: that the update ended with.
    """

    steps: int
    taken_back: int
    logprobs: list[float]
    drift: float
    learning_rate: float


def move(
    trainable: Trainable,
    pulls: Sequence[Pull],
    *,
    learning_rate: float,
    most: float,
    steps: int,
    tolerance: float,
    overshoot: float,
    max_drift: float,
    probe: Probe,
    batch_tokens: int,
    seed: int,
    tell: Callable[[str], None] = lambda message: None,
) -> Outcome:
    """Pull logprobs until none is short of its target, in at most `steps` optimizer steps.

    The loss is the summed Huber distance of the pulls that are short; one that has arrived does not pull. One
    forward over a solution holds all pulls on it (`next_logprobs`), in batches of about `batch_tokens`.
    AdamW starts afresh: the momentum of moves that are done would carry their neighbours on.

    After each step it is looked whether it was a good one, and if not, it is taken back, bit for bit, and
    tried at half the learning rate. It was not where the summed distance grew, where a pull went past its
    target by more than `tolerance` and `overshoot` of its way, or where the probe's mean KL from before the
    update is above `max_drift`. A step that closed less than a quarter of the distance doubles the rate, up
    to `most`. Steps that were taken back count against `steps`.
    """
    before_RV = probe.rows()
    rate, tries, stand, drift = learning_rate, 0, 0, 0.0
    optimizer = trainable.optimizer(rate, seed=seed)
    copy: list[torch.Tensor] | None = None
    good = [pull.before for pull in pulls]
    while True:
        trainable.forget_gradients()
        last = tries == steps
        now = pull(trainable, pulls, tolerance=tolerance, batch_tokens=batch_tokens, backward=not last)
        if copy is not None:  # a step was made: was it a good one?
            now_drift = kl(before_RV, probe.rows())
            # Comparisons are written so that a policy that is no number any more fails them.
            worse = not _distance(pulls, now, tolerance) <= _distance(pulls, good, tolerance)
            over = any(
                p.past(x) > max(tolerance + overshoot * abs(p.target - p.before), p.past(was))
                for p, x, was in zip(pulls, now, good, strict=True)
            )
            drifted = not now_drift <= max_drift
            if worse or over or drifted:
                why = "distance grew" if worse else "went past a target" if over else "the probe drifted"
                tell(f"step {tries} taken back: {why}")
                trainable.put_back(copy)
                copy, rate = None, rate / 2
                if last:
                    break
                optimizer = trainable.optimizer(rate, seed=seed + tries)
                continue
            gained = 1 - _distance(pulls, now, tolerance) / (_distance(pulls, good, tolerance) or 1.0)
            if gained < 0.25 and rate < most:
                rate = min(2 * rate, most)
                for group in optimizer.param_groups:
                    group["lr"] = rate
            stand, drift = stand + 1, now_drift
        good = now
        if last or not any(p.short(x, tolerance) for p, x in zip(pulls, now, strict=True)):
            break
        tries += 1
        tell(f"step {tries} of at most {steps}")
        copy = trainable.copy()
        optimizer.step()
    trainable.forget_gradients()
    return Outcome(stand, tries - stand, good, drift, rate)


def pull(
    trainable: Trainable, pulls: Sequence[Pull], *, tolerance: float, batch_tokens: int, backward: bool
) -> list[float]:
    """The trainer's logprob of each pull, and, on request, gradients of the loss added to what is there."""
    found = [0.0] * len(pulls)
    for part in _parts(pulls, batch_tokens):
        with torch.set_grad_enabled(backward):
            prefixes = list(dict.fromkeys(tuple(pulls[i].prefix_ids) for i in part))
            logprobs_RV = next_logprobs(trainable.model, prefixes)
            row = {prefix: r for r, prefix in enumerate(prefixes)}
            losses = []
            for i in part:
                logprob = logprobs_RV[row[tuple(pulls[i].prefix_ids)], pulls[i].token_id]
                found[i] = logprob.item()
                if pulls[i].short(found[i], tolerance):
                    goal = torch.full_like(logprob, pulls[i].target)
                    losses.append(torch.nn.functional.huber_loss(logprob, goal))
            if losses and backward:
                torch.stack(losses).sum().backward()
    return found


def _distance(pulls: Sequence[Pull], logprobs: Sequence[float], tolerance: float) -> float:
    """Summed distance of the pulls that are short."""
    return sum(abs(p.target - x) for p, x in zip(pulls, logprobs, strict=True) if p.short(x, tolerance))


def _parts(pulls: Sequence[Pull], batch_tokens: int) -> list[list[int]]:
    """Pulls in batches: those on one solution together, the longest prefixes first."""
    sequences, places = nested([pull.prefix_ids for pull in pulls])
    lengths = [len(sequence) for sequence in sequences]
    ends = list(accumulate(lengths))
    home = [bisect_right(ends, place) for place in places]
    order = sorted(range(len(pulls)), key=lambda i: (home[i], -places[i]))
    return [[i for i in order if home[i] in group] for group in batches(lengths, batch_tokens)]
