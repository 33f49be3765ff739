"""Allocation: who gets more rollouts, bounds, and the error rates of looking several times."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import MinillmError
from rl.advantage import advantages
from rl.allocation import more_rollouts

ROUND, MOST = 4, 16


@st.composite
def counts(draw: st.DrawFn) -> tuple[list[int], list[int], list[float]]:
    trials = draw(st.lists(st.integers(0, MOST), min_size=1, max_size=6))
    successes = [draw(st.integers(0, n)) for n in trials]
    masses = [draw(st.floats(1e-6, 1)) for _ in trials]
    return successes, trials, [mass / (sum(masses) + 1e-6) for mass in masses]


def more(
    successes: list[int],
    trials: list[int],
    probs: list[float],
    round_size: int = ROUND,
    max_rollouts: int = MOST,
) -> list[int]:
    return more_rollouts(successes, trials, probs, round_size=round_size, max_rollouts=max_rollouts)


@given(counts())
def test_bounded_and_symmetric(state: tuple[list[int], list[int], list[float]]) -> None:
    s, n, probs = state
    given_ = more(s, n, probs)
    assert all(0 <= a <= ROUND and b + a <= MOST for a, b in zip(given_, n, strict=True))
    swapped = more([b - a for a, b in zip(s, n, strict=True)], n, probs)
    if all(0.01 <= p <= 0.99 for p in probs):  # both verdicts lead to a target
        assert given_ == swapped


@given(st.lists(st.sampled_from([0, 8]), min_size=2, max_size=5), st.data())
def test_what_is_decided_gets_no_more(wins: list[int], data: st.DataObject) -> None:
    probs = [1 / len(wins)] * len(wins)
    verdicts = advantages(wins, [8] * len(wins), probs, confidence=0.95)
    if all(verdicts):
        assert not any(more(wins, [8] * len(wins), probs))


def test_all_alike_is_hopeless_soon() -> None:
    # At 8 of 16 at the most, four failures each leave little hope; eight leave none.
    assert not any(more([0] * 4, [8] * 4, [0.25] * 4))
    assert not any(more([8] * 4, [8] * 4, [0.25] * 4))


def test_an_open_question_gets_a_round() -> None:
    # 3 of 4 against 1 of 4 is no evidence yet.
    assert advantages([3, 1], [4, 4], [0.5, 0.5]) == [0, 0]
    assert more([3, 1], [4, 4], [0.5, 0.5]) == [ROUND, ROUND]
    assert more([3, 1], [14, 14], [0.5, 0.5], max_rollouts=16)[0] in (0, 2)


def test_a_verdict_that_leads_to_no_target_is_not_pursued() -> None:
    # Whether an action of probability 0.001 is worse does not matter; whether it is better does.
    worse, better = [0, 6, 6], [6, 0, 0]
    probs = [0.001, 0.6, 0.39]
    assert advantages(worse, [8] * 3, probs)[0] == -1
    assert more([0, 2, 2], [4] * 3, probs)[0] == 0
    assert more(better, [8] * 3, probs)[0] == 0  # decided
    assert more([1, 0, 0], [4] * 3, probs)[0] == ROUND


def test_who_is_compared_with_gets_rollouts_too() -> None:
    # The first action has been looked at much, what stands against it hardly.
    given_ = more([5, 1, 0], [8, 2, 2], [0.4, 0.4, 0.2])
    assert given_[0] > 0 and given_[1] > 0


def test_it_ends_and_errs_no_more_often_than_allowed() -> None:
    generator = random.Random(3)
    wrong = {1: 0, -1: 0}
    verdicts = spent = 0
    for i in range(600):
        chance = (0.0, 0.1, 0.3, 0.5, 0.8, 1.0)[i % 6]
        masses = [generator.random() + 0.05 for _ in range(4)]
        probs = [mass / sum(masses) for mass in masses]
        s, n, add = [0] * 4, [0] * 4, [ROUND] * 4
        while any(add):
            for j, count in enumerate(add):
                n[j] += count
                s[j] += sum(generator.random() < chance for _ in range(count))
            add = more(s, n, probs)
        found = advantages(s, n, probs)
        for sign in wrong:
            wrong[sign] += found.count(sign)
        verdicts += 4
        spent += sum(n)
    assert all(count / verdicts < 0.1 for count in wrong.values()), wrong
    assert spent / verdicts < 0.75 * MOST  # all alike: less than the most


@pytest.mark.parametrize("arguments", [{"round_size": 0}, {"max_rollouts": 0}])
def test_sizes_that_make_no_sense(arguments: dict[str, int]) -> None:
    with pytest.raises(MinillmError, match="round_size and max_rollouts"):
        more([1], [2], [0.5], **arguments)


def test_bad_counts_are_refused() -> None:
    with pytest.raises(MinillmError, match="cannot be"):
        more([3], [2], [0.5])
