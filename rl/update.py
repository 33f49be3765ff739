"""Moving logprobs to their targets, and nothing else far: the optimizer steps of one iteration.

Legend: R pulls' prefixes, V vocabulary.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from minillm.model.logprobs import nested, next_logprobs
from rl.config import UpdateOptions as UpdateOptions
from rl.evaluate import ProbeTexts, kl
from rl.metrics import ProgressCallback, ignore
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
        """Tell whether it is further than `tolerance` on this side of its target."""
        return not reached(logprob, self.target, self.sign, tolerance)

    def past(self, logprob: float) -> float:
        """Measure how far it is beyond the target, in nats; negative before it."""
        return self.sign * (logprob - self.target)


@dataclass(frozen=True)
class Outcome:
    """What an update came to: optimizer steps that stand, and those taken back.

    `logprobs` has the trainer's logprob of each pull now, `drift` is the mean KL over the probe from before
    the update to after it, `learning_rate` what the update ended with.
    """

    steps: int
    taken_back: int
    logprobs: list[float]
    drift: float
    learning_rate: float


def move(
    trainable: Trainable,
    pulls: Sequence[Pull],
    options: UpdateOptions,
    *,
    learning_rate: float,
    probe: ProbeTexts,
    batch_tokens: int,
    seed: int,
    progress: ProgressCallback = ignore,
) -> Outcome:
    """Pull logprobs until none is short of its target, in at most `inner_steps` optimizer steps.

    The loss is the summed Huber distance of the pulls that are short; one that has arrived does not pull. One
    forward over a solution holds all pulls on it (`next_logprobs`), in batches of about `batch_tokens`. AdamW
    starts afresh: the momentum of moves that are done would carry their neighbours on.

    A step that `_fault` objects to is taken back, bit for bit, and tried at half the learning rate, which
    begins at `learning_rate`; it counts against `inner_steps`. A step that closed less than a quarter of the
    distance doubles the rate, up to the options'.
    """
    rate, tries, stand, drift, tolerance = learning_rate, 0, 0, 0.0, options.tolerance
    if not pulls:
        return Outcome(0, 0, [], drift, rate)
    before_RV = probe.rows()
    optimizer = trainable.optimizer(rate, seed=seed)
    saved: list[torch.Tensor] | None = None
    good = [pull.before for pull in pulls]
    while True:
        trainable.forget_gradients()
        last = tries == options.inner_steps
        now = pull(trainable, pulls, tolerance=tolerance, batch_tokens=batch_tokens, backward=not last)
        if saved is not None:  # a step was made
            now_drift = kl(before_RV, probe.rows())
            if fault := _fault(pulls, good, now, now_drift, options):
                progress(f"step {tries} taken back: {fault}")
                trainable.put_back(saved)
                saved, rate = None, rate / 2
                if last:
                    break
                optimizer = trainable.optimizer(rate, seed=seed + tries)
                continue
            gained = 1 - _distance(pulls, now, tolerance) / (_distance(pulls, good, tolerance) or 1.0)
            if gained < 0.25 and rate < options.learning_rate:
                rate = min(2 * rate, options.learning_rate)
                for group in optimizer.param_groups:
                    group["lr"] = rate
            stand, drift = stand + 1, now_drift
        good = now
        if last or not any(p.short(x, tolerance) for p, x in zip(pulls, now, strict=True)):
            break
        tries += 1
        progress(f"step {tries} of at most {options.inner_steps}")
        saved = trainable.copy()
        optimizer.step()
    trainable.forget_gradients()
    return Outcome(stand, tries - stand, good, drift, rate)


def _fault(
    pulls: Sequence[Pull], before: list[float], after: list[float], drift: float, options: UpdateOptions
) -> str | None:
    """Say what was wrong with a step, by the pulls' logprobs before and after it; None for a good one.

    Wrong is a larger summed distance, a pull far past its target (`overshoot`), or too much drift.
    """
    tolerance = options.tolerance
    # Comparisons are written so that a policy that is no number any more fails them.
    if not _distance(pulls, after, tolerance) <= _distance(pulls, before, tolerance):
        return "distance grew"
    for p, was, now in zip(pulls, before, after, strict=True):
        if p.past(now) > max(tolerance + options.overshoot * abs(p.target - p.before), p.past(was)):
            return "went past a target"
    return None if drift <= options.max_drift else "the probe drifted"


def pull(
    trainable: Trainable, pulls: Sequence[Pull], *, tolerance: float, batch_tokens: int, backward: bool
) -> list[float]:
    """Compute the trainer's logprob of each pull; `backward` adds the loss's gradients to the weights'."""
    logprobs = [0.0] * len(pulls)
    for part in _parts(pulls, batch_tokens):
        with torch.set_grad_enabled(backward):
            rows: dict[tuple[int, ...], int] = {}  # pulls on one prefix share its row
            places = [rows.setdefault(tuple(pulls[i].prefix_ids), len(rows)) for i in part]
            chosen = next_logprobs(trainable.model, list(rows))[places, [pulls[i].token_id for i in part]]
            losses = []
            for i, value, logprob in zip(part, chosen.tolist(), chosen, strict=True):
                logprobs[i] = value
                if pulls[i].short(value, tolerance):
                    target = torch.full_like(logprob, pulls[i].target)
                    losses.append(torch.nn.functional.huber_loss(logprob, target))
            if losses and backward:
                torch.stack(losses).sum().backward()
    return logprobs


def _distance(pulls: Sequence[Pull], logprobs: Sequence[float], tolerance: float) -> float:
    """Sum the distances of the pulls that are short."""
    return sum(abs(p.target - x) for p, x in zip(pulls, logprobs, strict=True) if p.short(x, tolerance))


def _parts(pulls: Sequence[Pull], batch_tokens: int) -> list[list[int]]:
    """Group pulls into batches: those on one solution together, the longest prefixes first."""
    sequences, places = nested([pull.prefix_ids for pull in pulls])
    lengths = [len(sequence) for sequence in sequences]
    ends = list(accumulate(lengths))
    sequence_of = [bisect_right(ends, place) for place in places]
    order = sorted(range(len(pulls)), key=lambda i: (sequence_of[i], -places[i]))
    return [[i for i in order if sequence_of[i] in group] for group in batches(lengths, batch_tokens)]
