"""Targets: they fit into one, none is 1, order is kept, and only what is worth it is trained."""

from __future__ import annotations

from math import exp, fsum, isclose, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import MinillmError
from rl.targets import moved_as_intended, reached, target_logprobs, verdict

ADVANTAGE = st.sampled_from([-1, 0, 1])
MIN_PROB = st.sampled_from([0.0, 1e-3, 0.1])


@st.composite
def states(draw: st.DrawFn) -> tuple[list[float], list[int]]:
    masses = draw(st.lists(st.floats(1e-12, 1), min_size=1, max_size=8))
    total = fsum(masses) + draw(st.sampled_from([0.0, 1e-9, 0.1, 3.0]))  # what is not sampled
    return [log(m / total) for m in masses], [draw(ADVANTAGE) for _ in masses]


@given(states(), MIN_PROB)
def test_targets_leave_the_rest_half_its_room(state: tuple[list[float], list[int]], min_prob: float) -> None:
    logprobs, advantages = state
    targets = target_logprobs(logprobs, advantages, min_prob=min_prob)
    asked = fsum(exp(t) for t in targets if t is not None)
    has = fsum(exp(lp) for lp, t in zip(logprobs, targets, strict=True) if t is not None)
    assert asked + (1 - has) / 2 <= 1 + 1e-9


@given(states(), MIN_PROB)
def test_each_target_is_on_its_side_and_none_is_one(
    state: tuple[list[float], list[int]], min_prob: float
) -> None:
    logprobs, advantages = state
    targets = target_logprobs(logprobs, advantages, min_prob=min_prob)
    for logprob, advantage, target in zip(logprobs, advantages, targets, strict=True):
        if advantage == 0:
            assert target is None
        if target is None:
            continue
        assert target < 0
        if advantage == 1:
            assert logprob < target <= logprob / 2
        else:
            assert target == 2 * logprob
            assert exp(logprob) >= min_prob


@given(states(), MIN_PROB)
def test_order_is_kept_among_the_raised(state: tuple[list[float], list[int]], min_prob: float) -> None:
    logprobs, advantages = state
    targets = target_logprobs(logprobs, advantages, min_prob=min_prob)
    rows = zip(logprobs, advantages, targets, strict=True)
    raised = sorted((lp, t) for lp, a, t in rows if a == 1 and t is not None)
    assert [t for _, t in raised] == sorted(t for _, t in raised)


@given(st.floats(-50, -0.0011))
def test_a_lone_raised_action_gets_its_square_root(logprob: float) -> None:
    assert target_logprobs([logprob], [1]) == [logprob / 2]


@given(states(), MIN_PROB)
def test_order_of_actions_does_not_matter(state: tuple[list[float], list[int]], min_prob: float) -> None:
    logprobs, advantages = state
    straight = target_logprobs(logprobs, advantages, min_prob=min_prob)
    turned = target_logprobs(logprobs[::-1], advantages[::-1], min_prob=min_prob)
    assert turned == straight[::-1]


def test_targets_by_hand() -> None:
    half, tenth = log(0.5), log(0.1)
    assert target_logprobs([half, tenth, log(0.2)], [1, -1, 0]) == [half / 2, 2 * tenth, None]
    # Two raised ones, 0.45 each: the 0.1 beside them keeps 0.05, so they share 0.95.
    targets = target_logprobs([log(0.45), log(0.45)], [1, 1])
    assert all(t is not None and isclose(exp(t), 0.475) for t in targets)


def test_nothing_is_asked_where_it_buys_nothing() -> None:
    assert target_logprobs([-8.0], [-1]) == [None]
    assert target_logprobs([-8.0], [-1], min_prob=0.0) == [-16.0]
    assert target_logprobs([-8.0], [1]) == [-4.0]
    assert target_logprobs([-0.0005], [1]) == [None]
    assert target_logprobs([0.0], [1], min_prob=0.0) == [None]
    assert target_logprobs([log(0.5), log(0.5)], [1, 1]) == [None, None]
    assert target_logprobs([], []) == []


@given(st.floats(-50, 0), st.floats(-50, 0), st.floats(0, 1))
def test_reached_and_moved(a: float, b: float, tolerance: float) -> None:
    assert reached(a, a, 1, tolerance)
    assert reached(a, a, -1, tolerance)
    assert reached(a, b, 0, tolerance)
    assert reached(a, b, 1, 0.0) == (a >= b)
    assert reached(a, b, -1, 0.0) == (a <= b)
    assert reached(a, b, 1, tolerance) or not reached(a, b, 1, 0.0)
    assert moved_as_intended(a, b, 1) == (b > a)
    assert moved_as_intended(a, b, -1) == (b < a)
    assert moved_as_intended(a, b, 0)


def test_bad_input_is_named() -> None:
    with pytest.raises(MinillmError, match="one advantage a logprob"):
        target_logprobs([-1.0], [])
    with pytest.raises(MinillmError, match="advantages are -1, 0 or 1"):
        target_logprobs([-1.0], [2])
    with pytest.raises(MinillmError, match="more than one"):
        target_logprobs([-0.1, -0.1], [1, 0])
    with pytest.raises(MinillmError, match="finite"):
        target_logprobs([float("-inf")], [1])
    with pytest.raises(MinillmError, match="min_prob"):
        target_logprobs([-1.0], [1], min_prob=1.0)


@pytest.mark.parametrize(
    ("before", "after", "target", "exact", "said"),
    [
        (-2.0, -1.0, -1.0, 1.0, "reached"),
        (-2.0, -0.5, -1.0, 1.5, "reached"),
        (-2.0, -1.5, -1.0, 0.5, "on its way"),
        (-2.0, -2.5, -1.0, -0.5, "wrong way"),
        (-1.0, -2.0, -2.0, -1.0, "reached"),
        (-1.0, -0.5, -2.0, 0.5, "wrong way"),
        (-2.0, -2.0, -1.0, 0.0, "did not move"),
        (-2.0, -2.0, -1.0, 0.01, "vanished"),
        (-2.0, -1.9995, -1.0, 0.01, "vanished"),
        (-2.0, -1.0, None, 1.0, "watched"),
    ],
)
def test_verdicts(before: float, after: float, target: float | None, exact: float, said: str) -> None:
    assert verdict(before, after, target, exact) == said
