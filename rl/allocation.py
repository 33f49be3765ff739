"""How many more rollouts does each action of a state get? A decision of the method, a pure function.

Rollouts are most of an iteration's time, and most actions need few: a state whose first rollouts all fail, or
all succeed, seldom turns into evidence, and an action that is decided needs no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from math import fsum

from minillm.errors import MinillmError
from rl.advantage import Alternative, alternative, beta_binomial_tail, check_counts


def more_rollouts(
    successes: Sequence[float],
    trials: Sequence[int],
    probs: Sequence[float],
    *,
    round_size: int,
    max_rollouts: int,
    confidence: float = 0.9,
    min_gain: float = 0.01,
    min_prob: float = 0.01,
    hope: float = 0.25,
    caution: float = 0.5,
) -> list[int]:
    """Allot each action its further rollouts; all zeros where the state is done.

    Counts and thresholds are those of `rl.advantage.advantages`. An action's rollouts end at `max_rollouts`,
    or with a verdict that would hold at `caution` times the rate of errors that `confidence` allows: an
    action is tested once a round, and several tests are wrong more often than one. An action without such a
    verdict gets `round_size` more rollouts while the chance that it will have a verdict at `max_rollouts` is
    at least `hope`: the beta-binomial tail of its next rollouts beyond the count that the verdict takes,
    under a prior of one rollout that went as the others' did, with the others taken to go on as they have. A
    verdict that leads to no target (`rl.targets`) does not count. Where the others are known less well than
    the action will be, the one that adds most to their uncertainty gets rollouts too.

    Raises `MinillmError` as `advantages` does, and for a `round_size` or `max_rollouts` below 1.
    """
    check_counts(successes, trials, probs, confidence, min_gain)
    if min(round_size, max_rollouts) < 1:
        raise MinillmError(
            f"round_size and max_rollouts must be at least 1, not {round_size} and {max_rollouts}"
        )
    reasons = stop_reasons(
        successes,
        trials,
        probs,
        max_rollouts=max_rollouts,
        confidence=confidence,
        min_gain=min_gain,
        min_prob=min_prob,
        hope=hope,
        caution=caution,
    )
    more = [0] * len(trials)

    def give(i: int) -> None:
        more[i] = min(round_size, max_rollouts - trials[i])

    for i in [i for i, reason in enumerate(reasons) if reason is None]:
        give(i)
        others = alternative(i, successes, trials, probs)
        if trials[i] and others is not None and others.size < trials[i] + round_size:
            unfinished = [(w * w / trials[j], j) for j, w in others.weights if trials[j] < max_rollouts]
            if unfinished:
                give(max(unfinished)[1])
    return more


def stop_reasons(
    successes: Sequence[float],
    trials: Sequence[int],
    probs: Sequence[float],
    *,
    max_rollouts: int,
    confidence: float = 0.9,
    min_gain: float = 0.01,
    min_prob: float = 0.01,
    hope: float = 0.25,
    caution: float = 0.5,
) -> list[str | None]:
    """Say of each action why it needs no more rollouts of its own; None where it needs some.

    Arguments and errors are those of `more_rollouts`. The reasons are "most rollouts", "no alternative",
    "decided", and "no hope": a verdict is too unlikely to come.
    """
    check_counts(successes, trials, probs, confidence, min_gain)
    sure = 1 - caution * (1 - confidence)

    def reason(i: int, wins: float, n: int) -> str | None:
        others = alternative(i, successes, trials, probs)
        if n >= max_rollouts:
            return "most rollouts"
        if others is None:
            return "no alternative"
        if n == 0:
            return None
        sides = [(wins, n - wins, others)] if 1 - probs[i] > min_prob else []
        if probs[i] >= min_prob:
            sides.append((n - wins, wins, others.exchanged()))
        if any(side.beaten_by(good, bad, sure, min_gain) for good, bad, side in sides):
            return "decided"
        typical = fsum(trials[j] for j, _ in others.weights) / len(others.weights)
        goal = max_rollouts, max(1.0, max_rollouts / typical), confidence, min_gain
        hopeful = any(_chance(good, bad, side, *goal) >= hope for good, bad, side in sides)
        return None if hopeful else "no hope"

    return [reason(i, *counts) for i, counts in enumerate(zip(successes, trials, strict=True))]


def _chance(
    wins: float,
    losses: float,
    others: Alternative,
    max_rollouts: int,
    grown: float,
    confidence: float,
    min_gain: float,
) -> float:
    """Compute the chance that `wins` beat the others at `max_rollouts`, with `grown` times their rollouts."""
    left = max_rollouts - round(wins + losses)
    later = replace(others, size=others.size * grown)

    def enough(more: int) -> bool:
        return later.beaten_by(wins + more, losses + left - more, confidence, min_gain)

    fewest = bisect_left(range(left + 1), True, key=enough)
    # One rollout as the others', and half a win among one more of theirs, so that no chance is 0 or 1.
    prior = (others.good * others.size + 0.5) / (others.size + 1)
    return beta_binomial_tail(fewest, left, wins + prior, losses + 1 - prior)
