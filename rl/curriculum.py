"""How much of the solution should be redacted next? Third decision of the method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from minillm.errors import MinillmError
from rl.options import option
from rl.types import Problem

if TYPE_CHECKING:
    from minillm.tokenizer.tokenizer import Tokenizer

K_RULE = "at least 1, or 0 for the whole solution", lambda self: self.k >= 0


@dataclass(frozen=True)
class Redaction:
    """Options of every method: which problems come when, and where their solutions are cut off.

    Attributes:
        k: tokens redacted at first; 0 for the whole solution.
        k_unit: "tokens", or "lines": solutions are cut off where a line begins ("redact the last line").
        extra_tokens: by how many tokens a rollout may be longer than the golden rest.
        batch: problems in an iteration, by turns; 0 for all.
        seed: of all draws.
    """

    k: int = option(3, *K_RULE)
    k_unit: Literal["tokens", "lines"] = option(
        "tokens", '"tokens" or "lines"', lambda self: self.k_unit in ("tokens", "lines")
    )
    extra_tokens: int = option(8, "at least 1", lambda self: self.extra_tokens >= 1)
    batch: int = option(0, "not negative", lambda self: self.batch >= 0)
    seed: int = 0

    def turn(self, problems: Sequence[Problem], iteration: int) -> list[Problem]:
        """Choose the problems of an iteration, counted from 0: all of them come up equally often."""
        count = min(self.batch or len(problems), len(problems))
        return [problems[(iteration * count + i) % len(problems)] for i in range(count)]

    def stops(self, problem: Problem, tokenizer: Tokenizer) -> list[int]:
        """List the redactions that k may take for a problem, ascending: all, or those before whole lines."""
        golden = problem.golden_ids
        if self.k_unit == "tokens":
            return list(range(1, len(golden) + 1))
        ends_line = ["\n" in tokenizer.decode([token]) for token in golden]
        return [k for k in range(1, len(golden)) if ends_line[-k - 1]] + [len(golden)]

    def first(self, problem: Problem, tokenizer: Tokenizer) -> int:
        """Choose k at first: the stop at `k`, or else the one after it."""
        stops = self.stops(problem, tokenizer)
        return next((stop for stop in stops if stop >= self.k), stops[-1]) if self.k else stops[-1]


@dataclass(frozen=True)
class Curriculum(Redaction):
    """Options of a method that redacts more of a solution as the policy gets better at it.

    Attributes:
        grow_above: state reward above which k grows.
        shrink_below: state reward under which k shrinks.
        k_step: tokens, or lines, by which k grows.
    """

    grow_above: float = option(
        0.7, "above shrink_below and below 1", lambda self: self.shrink_below < self.grow_above < 1
    )
    shrink_below: float = option(0.2, "not negative", lambda self: self.shrink_below >= 0)
    k_step: int = option(1, "at least 1", lambda self: self.k_step >= 1)

    def next(
        self, k: int, state_reward: float, stops: Sequence[int], golden_reward: float | None = None
    ) -> int:
        """Apply `next_k` under these options."""
        choose = partial(next_k, max_k=stops[-1], step=self.k_step, stops=stops, golden_reward=golden_reward)
        return choose(k, state_reward, grow_above=self.grow_above, shrink_below=self.shrink_below)


def next_k(
    k: int,
    state_reward: float,
    *,
    grow_above: float,
    shrink_below: float,
    max_k: int,
    step: int = 1,
    stops: Sequence[int] | None = None,
    golden_reward: float | None = None,
) -> int:
    """Choose how many tokens to redact next, in [1, max_k], after `state_reward` was seen at `k`.

    Where the state reward is above `grow_above`, k grows by `step` tokens, or with `stops`, ascending, to the
    `step`-th of those above it: where lines begin, say. Where the state reward is below `shrink_below`, k
    shrinks by one token, unless `golden_reward`, the mean reward of the golden action, is above `grow_above`:
    then what is left after that action is solved, and this state is where to learn. In between, k stays.

    k comes to rest on a fixed policy: the golden action's reward in a state is the state reward at k - 1, so
    on its way down k meets no redaction that it would grow from again. Without `golden_reward`, that holds as
    long as the state reward drops by at most grow_above - shrink_below from one k to the next.

    Raises `MinillmError` for a reward outside [0, 1], thresholds out of order, or a `k`, `step`, `max_k` or
    stop below 1.
    """
    for reward in (state_reward, golden_reward):
        if reward is not None and not 0 <= reward <= 1:
            raise MinillmError(f"a state reward lies in [0, 1], not at {reward}")
    if not 0 <= shrink_below < grow_above <= 1:
        bounds = f"{shrink_below} and {grow_above}"
        raise MinillmError(f"shrink_below must be below grow_above, both in [0, 1], but they are {bounds}")
    if min(k, step, max_k, *(stops or ())) < 1:
        raise MinillmError(f"k, step, max_k and stops must be at least 1, not {k}, {step} and {max_k}")
    if state_reward > grow_above:
        above = [k + step] if stops is None else [stop for stop in stops if stop > k][:step] or [k]
        k = above[-1]
    elif state_reward < shrink_below and not (golden_reward is not None and golden_reward > grow_above):
        k -= 1
    return max(1, min(k, max_k))
