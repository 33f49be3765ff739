"""Rewards from a problem, whose code may return nonsense, raise, or never come back."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch

from minillm.errors import MinillmError
from minillm.llm import LLM
from rl.types import Explains, Problem


def rewards_of(problem: Problem, completions: Sequence[Sequence[int]], timeout: float) -> list[float]:
    """Ask a problem for the reward of each completion, a number in [0, 1].

    The problem is asked in a thread of its own, which is left behind after `timeout` seconds: Python cannot
    end it. Nor can it leave one that keeps the interpreter to itself (a regular expression that backtracks
    without end): what may do so belongs in a process of its own.

    Raises `MinillmError`, with the problem's name, where the function raises or does not return in time, and
    where what it returns is not one number in [0, 1] for each completion.
    """
    results: list[Any] = []

    def ask() -> None:
        try:
            rewards = problem.rewards(completions)
            results.append(rewards if isinstance(rewards, Mapping) else list(map(_number, rewards)))
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=ask, name=f"rewards of {problem.id}", daemon=True)
    thread.start()
    thread.join(timeout)
    who = f"problem {problem.id}: its reward function"
    if not results:
        raise MinillmError(
            f"{who} did not return within {timeout:g} s for {len(completions)} completions; "
            "mend it, or give it more time with reward_seconds"
        )
    if isinstance(rewards := results[0], BaseException):
        raise MinillmError(f"{who} raised {type(rewards).__name__}: {rewards}") from rewards
    if isinstance(rewards, Mapping):
        raise MinillmError(f"{who} returned a dict; return a number for each completion, in their order")
    if len(rewards) != len(completions):
        raise MinillmError(f"{who} returned {len(rewards)} rewards for {len(completions)} completions")
    for i, reward in enumerate(rewards):
        # NaN fails every comparison, too.
        if not isinstance(reward, Real) or not 0 <= float(reward) <= 1:
            raise MinillmError(f"{who} returned {reward!r} for completion {i}; rewards lie in [0, 1]")
    return [float(reward) for reward in rewards]


def _number(reward: Any) -> Any:
    """Return a scalar of numpy or torch, or a tensor of one, as Python's number; others as they are."""
    return reward.item() if isinstance(reward, np.generic | np.ndarray | torch.Tensor) else reward


def check_problems(
    problems: Sequence[Problem], held_out: Sequence[Problem], llm: LLM, extra_tokens: int, timeout: float
) -> None:
    """Raise `MinillmError`, with the problem's name, for what cannot be trained on.

    That is: no problem to train on, two of one name, a prompt or a solution that is empty or does not fit in
    the sampler with `extra_tokens` to spare, and a golden solution that does not earn 1.
    """
    if not problems:
        raise MinillmError("there is no problem to train on; name at least one")
    problems = [*problems, *held_out]
    names = [problem.id for problem in problems]
    if twice := {name for name in names if names.count(name) > 1}:
        raise MinillmError(f"two problems are called {min(twice)}; names tell them apart in the journal")
    for problem in problems:
        who = f"problem {problem.id}:"
        for ids, what in ((problem.prompt_ids, "prompt"), (problem.golden_ids, "golden solution")):
            if not ids:
                raise MinillmError(f"{who} its {what} is empty")
        whole = [*problem.prompt_ids, *problem.golden_ids]
        try:
            llm.model.check_tokens(whole, max_tokens=extra_tokens)
        except MinillmError as error:
            raise MinillmError(f"{who} {error}") from None
        if len(whole) + extra_tokens > llm.max_model_len:
            raise MinillmError(
                f"{who} its {len(whole)} tokens and {extra_tokens} more are above the sampler's max_model_len"
                f" of {llm.max_model_len}: rollouts would be cut short; give it more kv_cache_memory_bytes"
            )
        (reward,) = rewards_of(problem, [problem.golden_ids], timeout)
        if reward != 1.0:
            why = f": {problem.explain(problem.golden_ids)}" if isinstance(problem, Explains) else ""
            raise MinillmError(f"{who} its golden solution earns {reward:g}, not 1{why}")
