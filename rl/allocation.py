"""How many more rollouts does each action of a state get? A decision of the method, a pure function.

Rollouts are most of an iteration's time, and most actions need few: a state whose first rollouts all fail, or
all succeed, seldom turns into evidence, and an action that is decided needs no more. So rollouts are made in
rounds: after each, an action gets more only while it may still come to a verdict that has none yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, fsum, lgamma

from minillm.errors import MinillmError
from rl.advantage import Alternative, alternative, check_counts


def more_rollouts(
    successes: Sequence[float],
    trials: Sequence[int],
    probs: Sequence[float],
    *,
    round_size: int,
    most: int,
    confidence: float = 0.9,
    min_gain: float = 0.01,
    min_prob: float = 0.01,
    hope: float = 0.25,
    caution: float = 0.5,
) -> list[int]:
    """How many more rollouts each action should get; all zeros where the state is done.

    Counts and thresholds are those of `rl.advantage.advantages`. An action's rollouts end at `most`, or with
    a verdict that would hold at `caution` times the rate of errors that `confidence` allows: an action is
    looked at once a round, and would else be called different at one of them more often than in one look.
    An action without such a verdict goes on by `round_size` rollouts while the chance that it will have a
    verdict at `most` is at least `hope`. That chance is the beta-binomial tail of its next rollouts beyond
    the count that the verdict takes, under a prior of one rollout that went as the others' did, with the
    others taken to go on as they have. A verdict that leads to no target does not count: -1 for an action of
    a probability below `min_prob`, +1 for one that lacks `min_prob` or less to certainty (`rl.targets`).

    Where the others are known less well than the action will be, the one that adds most to their uncertainty
    gets rollouts too.

    `benchmarks/advantage.py` measures the rates of errors, and how many rollouts a fixed number takes that
    finds as much with no more of them.

    Raises `MinillmError` as `advantages` does, and for a `round_size` or `most` below 1.
    """
    check_counts(successes, trials, probs, confidence, min_gain)
    if min(round_size, most) < 1:
        raise MinillmError(f"round_size and most must be at least 1, not {round_size} and {most}")
    more = [0] * len(trials)
    sure = 1 - caution * (1 - confidence)

    def give(i: int) -> None:
        more[i] = min(round_size, most - trials[i])

    for i, (wins, n) in enumerate(zip(successes, trials, strict=True)):
        others = alternative(i, successes, trials, probs)
        if n >= most or others is None:
            continue
        if n == 0:
            give(i)
            continue
        sides = []
        if 1 - probs[i] > min_prob:
            sides.append((wins, n - wins, others))
        if probs[i] >= min_prob:
            sides.append((n - wins, wins, others.turned()))
        if any(side.beaten_by(good, bad, sure, min_gain) for good, bad, side in sides):
            continue
        typical = fsum(trials[j] for j, _ in others.weights) / len(others.weights)
        grown = max(1.0, most / typical)
        if any(
            _chance(good, bad, most, side, grown, confidence, min_gain) >= hope for good, bad, side in sides
        ):
            give(i)
            if others.size < n + round_size:
                open_ = [(w * w / trials[j], j) for j, w in others.weights if trials[j] < most]
                if open_:
                    give(max(open_)[1])
    return more


def _chance(
    wins: float,
    losses: float,
    most: int,
    others: Alternative,
    grown: float,
    confidence: float,
    min_gain: float,
) -> float:
    """The chance that `wins` beat the others once there are `most` rollouts, and `grown` times theirs."""
    left = most - round(wins + losses)
    later = Alternative(others.good, others.bad, others.size * grown, others.share, others.weights)
    low, high = 0, left + 1  # the fewest further wins that are enough
    while low < high:
        middle = (low + high) // 2
        if later.beaten_by(wins + middle, losses + left - middle, confidence, min_gain):
            high = middle
        else:
            low = middle + 1
    # One rollout as the others', and half a win among one more of theirs, so that no chance is 0 or 1.
    prior = (others.good * others.size + 0.5) / (others.size + 1)
    a, b = wins + prior, losses + 1 - prior
    log_scale = lgamma(left + 1) - lgamma(left + a + b) + lgamma(a + b) - lgamma(a) - lgamma(b)
    return fsum(
        exp(log_scale + lgamma(x + a) + lgamma(left - x + b) - lgamma(x + 1) - lgamma(left - x + 1))
        for x in range(low, left + 1)
    )
