"""Rewards: whatever a reward function does wrong is an error that names the problem."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from minillm.errors import MinillmError
from rl.rewards import rewards_of


class Graded:
    """A problem whose reward function is given."""

    id, prompt_ids, golden_ids, stop = "p", [1], [2], ()

    def __init__(self, rewards: Callable[[Sequence[Sequence[int]]], Any]) -> None:
        self._rewards = rewards

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        return self._rewards(completions)  # type: ignore[no-any-return]


def rewards(function: Callable[[Sequence[Sequence[int]]], Any], timeout: float = 10.0) -> list[float]:
    return rewards_of(Graded(function), [[1], [2]], timeout)


def test_numbers_from_0_to_1_pass() -> None:
    assert rewards(lambda ids: [0, 0.25]) == [0.0, 0.25]
    assert rewards(lambda ids: np.array([1, 0.5], dtype=np.float32)) == [1.0, 0.5]
    assert rewards(lambda ids: (True, False)) == [1.0, 0.0]
    assert rewards_of(Graded(lambda ids: [len(x) / 4 for x in ids]), [[1, 2], []], 10.0) == [0.5, 0.0]


@pytest.mark.parametrize(
    "given",
    [
        [np.bool_(True), np.bool_(False)],
        [np.float32(1), np.int64(0)],
        np.array([True, False]),
        [torch.tensor(1.0), torch.tensor(False)],
        torch.tensor([1.0, 0.0], dtype=torch.bfloat16, requires_grad=True),
        [torch.tensor([1]), np.array([0.0])],
        (x for x in (1, 0)),
    ],
)
def test_scalars_of_numpy_and_torch_are_numbers(given: Any) -> None:
    assert rewards(lambda ids: given) == [1.0, 0.0]


def test_a_dict_is_refused() -> None:
    with pytest.raises(MinillmError, match="returned a dict; return a number for each completion"):
        rewards(lambda ids: {"1": 1.0, "2": 0.5})


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.5, float("inf"), None, "1"])
def test_other_rewards_are_refused(wrong: Any) -> None:
    with pytest.raises(MinillmError, match=r"problem p: .* for completion 1; rewards lie in \[0, 1\]"):
        rewards(lambda ids: [1.0, wrong])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_reward_for_each_completion(count: int) -> None:
    with pytest.raises(MinillmError, match=f"problem p: .* {count} rewards for 2 completions"):
        rewards(lambda ids: [1.0] * count)


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), SystemExit(3), KeyError("grid")])
def test_what_it_raises_is_named(error: BaseException) -> None:
    def broken(ids: Sequence[Sequence[int]]) -> list[float]:
        raise error

    with pytest.raises(MinillmError, match=f"problem p: its reward function raised {type(error).__name__}"):
        rewards(broken)


def test_nothing_is_waited_for_without_end() -> None:
    begin = time.perf_counter()
    with pytest.raises(MinillmError, match=r"problem p: .* did not return within 0\.2 s for 2 completions"):
        rewards(lambda ids: time.sleep(5) or [1.0, 1.0], timeout=0.2)
    assert time.perf_counter() - begin < 4
