"""`torch.library` custom ops with types: what autograd and torch.compile see of the kernels.

An op picks the kernels by device and dtype, checks nothing (the function in front of it does), and has a fake
implementation and, where it is differentiable, a formula. Only the forward is under the row-invariance
contract: a gradient is a sum over rows by nature. All of it is deterministic.

An op puts out tensors alone, and none that shares memory with an input: what is not there has no elements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


class Op(Protocol[P, R]):
    """A function that is an op."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it."""

    def register_fake(self, function: Callable[..., R]) -> Callable[..., R]:
        """Set what it puts out for tensors without memory."""

    def register_autograd(
        self, backward: Callable[..., object], *, setup_context: Callable[..., None]
    ) -> None:
        """Set its gradient, and what that keeps of the forward."""


def custom_op(name: str, writes: tuple[str, ...] = ()) -> Callable[[Callable[P, R]], Op[P, R]]:
    """Make a function the op `minillm::name`, which writes to these arguments alone."""
    make: Any = torch.library.custom_op(f"minillm::{name}", mutates_args=writes)
    return cast(Callable[[Callable[P, R]], Op[P, R]], make)


def some(x: Tensor | None, beside: Tensor) -> Tensor:
    """Return x, or no elements where it is not there."""
    return beside.new_empty(0) if x is None else x


def like(x: Tensor | None, beside: Tensor) -> Tensor:
    """Return what a fake puts out in x's place."""
    return beside.new_empty(0) if x is None else torch.empty_like(x)


def fake_like(*places: int) -> Callable[..., Any]:
    """Make the fake of an op whose outputs are like these of its arguments."""

    def fake(*arguments: Any) -> Any:
        outputs = tuple(like(arguments[i], arguments[0]) for i in places)
        return outputs if len(outputs) > 1 else outputs[0]

    return fake
