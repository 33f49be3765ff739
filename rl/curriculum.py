"""How much of the solution should be redacted next? Third decision of the method."""

from __future__ import annotations

from minillm.errors import MinillmError


def next_k(
    k: int,
    state_reward: float,
    *,
    grow_above: float,
    shrink_below: float,
    max_k: int,
    step: int = 1,
) -> int:
    """The number of tokens to redact next, in [1, max_k], after `state_reward` was seen at `k`.

    k grows by `step` tokens where the state reward is above `grow_above`, shrinks by as many where
    it is below `shrink_below`, and stays in between.

    No oscillation on a fixed policy whose state reward V does not rise with k, as long as V drops
    by at most grow_above - shrink_below within `step` tokens: what was grown into is then not
    below the band, nor what was shrunk into above it, so k moves one way and stops. At a steeper
    cliff a rule with no memory goes to and fro between the last k that is solved and the first
    that is not, which are the two worth training there; a wider band or a smaller step avoids it.

    Raises `MinillmError` for a state reward outside [0, 1], thresholds out of order, or a `k`,
    `step` or `max_k` below 1.
    """
    if not 0 <= state_reward <= 1:
        raise MinillmError(f"a state reward lies in [0, 1], not at {state_reward}")
    if not 0 <= shrink_below < grow_above <= 1:
        raise MinillmError(
            f"shrink_below must be below grow_above, both in [0, 1], "
            f"but they are {shrink_below} and {grow_above}"
        )
    if min(k, step, max_k) < 1:
        raise MinillmError(f"k, step and max_k must be at least 1, not {k}, {step} and {max_k}")
    if state_reward > grow_above:
        k += step
    elif state_reward < shrink_below:
        k -= step
    return max(1, min(k, max_k))
