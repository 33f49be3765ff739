"""Advantage: the properties of the verdicts, their error rate, and the cases that named them."""

from __future__ import annotations

import random
from math import comb, exp, isclose, log

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minillm.errors import MinillmError
from rl.advantage import advantages, p_as_good, state_reward

CONFIDENCE = st.sampled_from([0.6, 0.8, 0.9, 0.95, 0.99])
MIN_GAIN = st.sampled_from([0.0, 0.01, 0.1])


@st.composite
def counts(draw: st.DrawFn) -> tuple[list[int], list[int], list[float]]:
    trials = draw(st.lists(st.integers(0, 16), min_size=1, max_size=6))
    successes = [draw(st.integers(0, n)) for n in trials]
    masses = [draw(st.floats(1e-6, 1)) for _ in trials]
    return successes, trials, [mass / (sum(masses) + 1e-6) for mass in masses]


def fisher(s: int, f: int, other_s: int, other_f: int) -> float:
    """One-sided p-value of Fisher's exact test, from the hypergeometric distribution."""
    n, wins, total = s + f, s + other_s, s + f + other_s + other_f
    ways = sum(comb(wins, x) * comb(total - wins, n - x) for x in range(s, min(n, wins) + 1))
    return ways / comb(total, n)


@given(counts(), CONFIDENCE, MIN_GAIN)
def test_swapping_success_and_failure_flips_the_signs(
    state: tuple[list[int], list[int], list[float]], confidence: float, min_gain: float
) -> None:
    s, n, probs = state
    f = [b - a for a, b in zip(s, n, strict=True)]
    straight = advantages(s, n, probs, confidence=confidence, min_gain=min_gain)
    swapped = advantages(f, n, probs, confidence=confidence, min_gain=min_gain)
    assert straight == [-v for v in swapped]


@given(counts(), CONFIDENCE, MIN_GAIN, st.data())
def test_monotone_in_counts(
    state: tuple[list[int], list[int], list[float]],
    confidence: float,
    min_gain: float,
    data: st.DataObject,
) -> None:
    s, n, probs = state
    i = data.draw(st.integers(0, len(s) - 1))
    assume(s[i] < n[i])
    more = [*s[:i], data.draw(st.integers(s[i] + 1, n[i])), *s[i + 1 :]]
    before = advantages(s, n, probs, confidence=confidence, min_gain=min_gain)
    after = advantages(more, n, probs, confidence=confidence, min_gain=min_gain)
    for j in range(len(s)):
        assert after[j] >= before[j] if j == i else after[j] <= before[j]


@given(counts(), CONFIDENCE, MIN_GAIN, st.randoms(use_true_random=False))
def test_order_of_actions_does_not_matter(
    state: tuple[list[int], list[int], list[float]],
    confidence: float,
    min_gain: float,
    rng: random.Random,
) -> None:
    s, n, probs = state
    straight = advantages(s, n, probs, confidence=confidence, min_gain=min_gain)
    order = list(range(len(s)))
    rng.shuffle(order)
    s, n, probs = [s[i] for i in order], [n[i] for i in order], [probs[i] for i in order]
    shuffled = advantages(s, n, probs, confidence=confidence, min_gain=min_gain)
    assert shuffled == [straight[i] for i in order]


@given(counts(), CONFIDENCE)
def test_no_evidence_is_zero(state: tuple[list[int], list[int], list[float]], confidence: float) -> None:
    _, n, probs = state
    none = [0] * len(n)
    assert advantages(none, none, probs, confidence=confidence) == none
    for same in (none, n):  # all fail, or all succeed, in whatever numbers
        assert advantages(same, n, probs, confidence=confidence, min_gain=0.0) == none


@given(counts(), CONFIDENCE)
def test_an_action_without_trials_changes_nothing(
    state: tuple[list[int], list[int], list[float]], confidence: float
) -> None:
    s, n, probs = state
    straight = advantages(s, n, probs, confidence=confidence)
    assert advantages([*s, 0], [*n, 0], [*probs, 0.5], confidence=confidence) == [*straight, 0]


@given(*[st.integers(0, 12)] * 4)
def test_p_value_is_fishers_for_whole_counts(s: int, f: int, other_s: int, other_f: int) -> None:
    assert isclose(p_as_good(s, f, other_s, other_f), fisher(s, f, other_s, other_f), rel_tol=1e-9)


@given(st.integers(0, 9), st.integers(0, 9), st.floats(0, 99), st.floats(0, 99), st.floats(0, 9))
def test_p_value_is_monotone_for_fractions(
    s: int, f: int, other_s: float, other_f: float, more: float
) -> None:
    p = p_as_good(s, f, other_s, other_f)
    assert 0 <= p <= 1
    assert p_as_good(s, f, other_s + more, other_f) >= p - 1e-9
    assert p_as_good(s, f, other_s, other_f + more) <= p + 1e-9


FLAT = [0.2] * 5
GOLDEN_RARE = [1e-4, 0.7, 0.1, 0.1, 0.05]


@pytest.mark.parametrize(
    ("successes", "probs", "expected"),
    [
        ([8, 0, 0, 0, 0], FLAT, [1, 0, 0, 0, 0]),
        ([8, 0, 0, 0, 0], GOLDEN_RARE, [1, 0, 0, 0, 0]),
        ([0, 4, 4, 3, 3], FLAT, [-1, 0, 0, 0, 0]),
        ([4, 5, 4, 5, 4], FLAT, [0, 0, 0, 0, 0]),
        # One of eight beside the failures of all others is within chance, four are not.
        ([1, 0, 0, 0, 0], GOLDEN_RARE, [0, 0, 0, 0, 0]),
        ([4, 0, 0, 0, 0], GOLDEN_RARE, [1, 0, 0, 0, 0]),
        # The favourite of the policy is the alternative that counts.
        ([5, 4, 0, 0, 0], [0.05, 0.93, 0.005, 0.005, 0.005], [0, 0, -1, -1, -1]),
        # An action that has all the probability has nothing to win.
        ([8, 0, 0, 0, 0], [0.996, 0.001, 0.001, 0.001, 0.001], [0, -1, -1, -1, -1]),
    ],
)
def test_verdicts_of_eight_rollouts(successes: list[int], probs: list[float], expected: list[int]) -> None:
    assert advantages(successes, [8] * 5, probs) == expected


def test_four_of_eight_against_five_of_eight_is_no_evidence() -> None:
    assert advantages([4, 5], [8, 8], [0.5, 0.5], confidence=0.9) == [0, 0]


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("favourite", [0.2, 0.6, 0.9])
def test_false_verdicts_under_equal_rewards(confidence: float, favourite: float) -> None:
    rng = random.Random(0)
    probs = [favourite, *[(1 - favourite) / 4] * 4]
    states, verdicts = 400, []
    for chance in (0.05, 0.5, 0.8):
        found: list[int] = []
        for _ in range(states):
            successes = [sum(rng.random() < chance for _ in range(8)) for _ in probs]
            found += advantages(successes, [8] * 5, probs, confidence=confidence, min_gain=0.0)
        verdicts.append(found)
    for found in verdicts:
        for sign in (-1, 1):
            assert found.count(sign) / len(found) <= 1 - confidence


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-800, 0)), min_size=1, max_size=8))
def test_state_reward_is_a_weighted_mean(actions: list[tuple[float, float]]) -> None:
    rewards, logprobs = map(list, zip(*actions, strict=True))
    value = state_reward(rewards, logprobs)
    assert min(rewards) - 1e-12 <= value <= max(rewards) + 1e-12
    # Only ratios of the probabilities count.
    assert isclose(value, state_reward(rewards, [lp - 5 for lp in logprobs]), abs_tol=1e-9)


def test_state_reward_by_hand() -> None:
    assert isclose(state_reward([1.0, 0.0, 0.5], [log(0.1), log(0.6), log(0.2)]), 0.2 / 0.9)
    assert isclose(state_reward([0.25], [exp(1)]), 0.25)


def test_bad_input_is_named() -> None:
    with pytest.raises(MinillmError, match="3 successes in 2 trials"):
        advantages([3], [2], [0.5])
    with pytest.raises(MinillmError, match=r"-1\.5 is not a probability"):
        advantages([1, 1], [2, 2], [0.5, -1.5])
    with pytest.raises(MinillmError, match="one count and one probability"):
        advantages([1], [2, 2], [0.5])
    with pytest.raises(MinillmError, match="confidence"):
        advantages([1], [2], [0.5], confidence=0.5)
    with pytest.raises(MinillmError, match="min_gain"):
        advantages([1], [2], [0.5], min_gain=-0.1)
    with pytest.raises(MinillmError, match="at least one of each"):
        state_reward([], [])
    with pytest.raises(MinillmError, match="finite"):
        state_reward([1.0], [float("nan")])
