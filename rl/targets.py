"""Where should each action's logprob go, and did it get there? Second decision of the method.

An action that is better than its alternatives is asked for half its logprob (the square root of its
probability p), one that is worse for the double (the square), and the others are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, expm1, fsum, isfinite

from minillm.errors import MinillmError

# The weakest raise worth a step, as a share of the logprob: below it fp32 shows no move.
_LEAST_RAISE = 1e-6

# A move that is gone at serving precision kept less than this share of what it was with nothing rounded ...
_VANISHED = 0.1
# ... where that was more than this, in nats: below are float32's own last digits.
_NOTICED = 1e-5


def target_logprobs(
    logprobs: Sequence[float], advantages: Sequence[int], *, min_prob: float = 1e-3
) -> list[float | None]:
    """Set a target logprob for each action of a state; None where the action is not to be trained.

    `logprobs` are the policy's of distinct actions, `advantages` are -1, 0 or +1.

    The *rest* is the probability of all that has no target, sampled or not. It keeps at least half of what it
    has: raised targets + lowered targets + rest / 2 <= 1. A lone raised action always fits, since sqrt(p) <=
    (1 + p) / 2. Where several do not, all their logprobs are multiplied by the smallest factor in [1/2, 1]
    that fits, which keeps their order. Where no factor below 1 fits, they get None.

    What is not worth a step gets None as well: lowering an action of probability below `min_prob` (the move
    is large in logprob and nothing in probability, and moves its neighbours too), raising one that lacks
    `min_prob` or less to certainty, and doubling a logprob of 0.

    Raises `MinillmError` for lengths that differ, an advantage that is none, logprobs that are not logprobs
    of distinct actions, or a `min_prob` outside [0, 1).
    """
    _check(logprobs, advantages, min_prob)
    probs = [exp(min(logprob, 0.0)) for logprob in logprobs]
    raised, lowered = [], []
    for i, (logprob, advantage) in enumerate(zip(logprobs, advantages, strict=True)):
        if advantage == 1 and -expm1(logprob) > min_prob:
            raised.append(i)
        elif advantage == -1 and probs[i] >= min_prob and logprob < 0:
            lowered.append(i)
    rest = max(0.0, 1 - fsum(probs[i] for i in (*raised, *lowered)))
    room = 1 - fsum(probs[i] ** 2 for i in lowered) - rest / 2
    factor = _smallest_factor([logprobs[i] for i in raised], room)
    targets: list[float | None] = [None] * len(logprobs)
    for i in lowered:
        targets[i] = 2 * logprobs[i]
    if factor <= 1 - _LEAST_RAISE:
        for i in raised:
            targets[i] = factor * logprobs[i]
    return targets


def reached(logprob: float, target: float, advantage: int, tolerance: float) -> bool:
    """Tell whether a logprob is past its target or at most `tolerance` nats short; always for advantage 0."""
    return advantage * (target - logprob) <= tolerance


def moved_as_intended(before: float, after: float, advantage: int) -> bool:
    """Tell whether a logprob rose for +1, or fell for -1; an advantage of 0 intends nothing."""
    return advantage == 0 or advantage * (after - before) > 0


def verdict(
    before: float, after: float, target: float | None, exact_change: float, close: float = 0.05
) -> str:
    """Judge a move by the sampler's logprobs before and after, and the change in exact arithmetic.

    "reached" is at most `close` short of the target, or beyond it; "vanished" is there in exact arithmetic
    and gone at serving precision; else "on its way", "wrong way", "did not move", or without a target
    "watched".
    """
    change = after - before
    if abs(exact_change) > _NOTICED and abs(change) < _VANISHED * abs(exact_change):
        return "vanished"
    if target is None:
        return "watched"
    way = 1 if target >= before else -1
    if reached(after, target, way, close):
        return "reached"
    if change == 0:
        return "did not move"
    return "on its way" if way * change > 0 else "wrong way"


def _smallest_factor(logprobs: Sequence[float], room: float) -> float:
    """Find the smallest factor in [1/2, 1] by which probabilities sum to at most `room`, else 1."""

    def fits(factor: float) -> bool:
        return fsum(exp(factor * logprob) for logprob in logprobs) <= room

    if fits(0.5):
        return 0.5
    low, high = 0.5, 1.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _check(logprobs: Sequence[float], advantages: Sequence[int], min_prob: float) -> None:
    if len(logprobs) != len(advantages):
        raise MinillmError(f"targets need one advantage a logprob, not {len(advantages)} for {len(logprobs)}")
    if not all(map(isfinite, logprobs)):
        raise MinillmError(f"targets need finite logprobs, not {list(logprobs)}")
    if not set(advantages) <= {-1, 0, 1}:
        raise MinillmError(f"advantages are -1, 0 or 1, not {sorted(set(advantages))}")
    # A sum of fp32 probabilities may pass one by rounding, but not by this much.
    if not fsum(exp(min(logprob, 1.0)) for logprob in logprobs) <= 1 + 1e-3:
        raise MinillmError("these are not logprobs of distinct actions: they sum to more than one")
    if not 0 <= min_prob < 1:
        raise MinillmError(f"min_prob must lie in [0, 1), not at {min_prob}")
