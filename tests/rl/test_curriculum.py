"""Curriculum: bounded, in the right direction, and at rest on a fixed policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import MinillmError
from rl.curriculum import next_k

GROW, SHRINK = 0.6, 0.2


@given(st.integers(1, 100), st.floats(0, 1), st.integers(1, 9), st.integers(1, 60))
def test_bounded_and_in_the_right_direction(k: int, reward: float, step: int, max_k: int) -> None:
    new = next_k(k, reward, grow_above=GROW, shrink_below=SHRINK, step=step, max_k=max_k)
    assert 1 <= new <= max_k
    inside = min(k, max_k)
    if reward > GROW:
        assert new == min(k + step, max_k)
    elif reward < SHRINK:
        assert new == max(1, min(k - 1, max_k))
    else:
        assert new == inside


@given(
    st.lists(st.floats(0, (GROW - SHRINK) / 3), min_size=1, max_size=40),
    st.integers(1, 3),
    st.integers(1, 40),
)
def test_comes_to_rest_on_a_fixed_policy(drops: list[float], step: int, start: int) -> None:
    # A state reward that falls with k, by no more than the band within one step.
    rewards = [1.0]
    for drop in drops:
        rewards.append(max(0.0, rewards[-1] - drop))
    max_k = len(rewards)
    path = [min(start, max_k)]
    for _ in range(2 * max_k):
        k = path[-1]
        path.append(
            next_k(
                k,
                rewards[k - 1],
                grow_above=GROW,
                shrink_below=SHRINK,
                step=step,
                max_k=max_k,
            )
        )
    assert path[-1] == path[-2]
    assert path in (sorted(path), sorted(path, reverse=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"state_reward": 1.5}, "state reward"),
        ({"state_reward": float("nan")}, "state reward"),
        ({"grow_above": 0.2}, "shrink_below must be below"),
        ({"step": 0}, "at least 1"),
        ({"k": 0}, "at least 1"),
        ({"max_k": 0}, "at least 1"),
    ],
)
def test_bad_input_is_named(arguments: dict[str, float], message: str) -> None:
    good = {"k": 1, "state_reward": 0.5, "grow_above": GROW, "shrink_below": SHRINK, "max_k": 9}
    with pytest.raises(MinillmError, match=message):
        next_k(**(good | arguments))  # type: ignore[arg-type]
