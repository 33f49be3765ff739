"""Exact intervals for a rate of success. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import ceil, exp, floor, fsum, lgamma, log, log1p

from minillm.errors import MinillmError


def exact_interval(successes: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Bound the chance of success from a count, at `confidence` or more (Clopper and Pearson, 1934).

    An end is the chance at which a count as far out, or further, has a probability of (1 - confidence) / 2;
    without trials the ends are 0 and 1. Rewards between 0 and 1 are summed, and the sum is rounded outwards:
    for them the interval is cautious, and not exact.

    Raises `MinillmError` for a count that cannot be, and for a confidence outside (0, 1).
    """
    if not 0 <= successes <= trials:
        raise MinillmError(f"{successes} successes in {trials} trials cannot be")
    if not 0 < confidence < 1:
        raise MinillmError(f"confidence must lie between 0 and 1, not at {confidence}")
    # Rounding in a sum of rewards must not cost a success.
    fewest, most = floor(successes + 1e-9), ceil(successes - 1e-9)
    return _low(fewest, trials, confidence), 1 - _low(trials - most, trials, confidence)


@lru_cache(maxsize=1 << 16)
def _low(successes: int, trials: int, confidence: float) -> float:
    """Find the chance at which `successes` or more have a probability of (1 - confidence) / 2."""
    if successes == 0:
        return 0.0
    tail = (1 - confidence) / 2
    if successes == trials:
        return exp(log(tail) / trials)
    choose = [
        lgamma(trials + 1) - lgamma(x + 1) - lgamma(trials - x + 1) for x in range(successes, trials + 1)
    ]

    def is_low(chance: float) -> bool:
        win, lose = log(chance), log1p(-chance)
        terms = (c + x * win + (trials - x) * lose for x, c in enumerate(choose, successes))
        return fsum(map(exp, terms)) < tail

    return _last(is_low)


def _last(holds: Callable[[float], bool]) -> float:
    """Find by halving where in (0, 1) a condition ceases to hold."""
    low, high = 0.0, 1.0
    while (middle := (low + high) / 2) not in (low, high) and high - low > 1e-15:
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
