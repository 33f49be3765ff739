"""Rewards from a problem that may be wrong, raise, or never come back.

A reward function is somebody else's code: what it gives is looked at, and it is not waited for without end.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from numbers import Real

from minillm.errors import MinillmError
from minillm.model import Transformer
from rl.types import Problem


def rewards_of(problem: Problem, completions: Sequence[Sequence[int]], timeout: float) -> list[float]:
    """The reward of each completion, a number in [0, 1].

    The problem is asked in a thread of its own, which is left behind after `timeout` seconds: Python
    cannot end it. Raises `MinillmError`, with the problem's name, where the function raises or does not
    return in time, and where what it returns is not one number in [0, 1] for each completion.
    """
    found: list[list[float]] = []
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            found.append(list(problem.rewards(completions)))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=ask, name=f"rewards of {problem.id}", daemon=True)
    thread.start()
    thread.join(timeout)
    who = f"problem {problem.id}: its reward function"
    if raised:
        kind = type(raised[0]).__name__
        raise MinillmError(f"{who} raised {kind}: {raised[0]}") from raised[0]
    if not found:
        raise MinillmError(
            f"{who} did not return within {timeout:g} s for {len(completions)} completions; "
            "mend it, or give it more time with reward_seconds"
        )
    if len(found[0]) != len(completions):
        raise MinillmError(f"{who} returned {len(found[0])} rewards for {len(completions)} completions")
    for i, reward in enumerate(found[0]):
        # Not a number fails every comparison, too.
        if not isinstance(reward, Real) or not 0 <= reward <= 1:
            raise MinillmError(f"{who} returned {reward!r} for completion {i}; rewards lie in [0, 1]")
    return [float(reward) for reward in found[0]]


def check_problems(
    problems: Sequence[Problem],
    held_out: Sequence[Problem],
    model: Transformer,
    extra_tokens: int,
    timeout: float,
) -> None:
    """Raise `MinillmError`, with the problem's name, for what cannot be trained on.

    That is: no problem to train on, two of one name, a solution that does not fit in the model's context with
    `extra_tokens` to spare, and a golden solution that does not earn 1.
    """
    if not problems:
        raise MinillmError("there is no problem to train on; name at least one")
    problems = [*problems, *held_out]
    names = [problem.id for problem in problems]
    if twice := {name for name in names if names.count(name) > 1}:
        raise MinillmError(f"two problems are called {min(twice)}; names tell them apart in the journal")
    for problem in problems:
        if not problem.golden_ids:
            raise MinillmError(f"problem {problem.id}: its golden solution is empty")
        try:
            model.check_tokens([*problem.prompt_ids, *problem.golden_ids], max_tokens=extra_tokens)
        except MinillmError as error:
            raise MinillmError(f"problem {problem.id}: {error}") from None
        (reward,) = rewards_of(problem, [problem.golden_ids], timeout)
        if reward != 1.0:
            raise MinillmError(f"problem {problem.id}: its golden solution earns {reward}, not 1")
