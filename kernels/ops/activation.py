"""The MLP's activation, gated or not, and xIELU.

Legend: T packed tokens, F MLP width, X columns that go in: 2F, gate and up side by side, or F.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from kernels import backend, reference
from kernels.checks import FLOATS, check_tensor
from kernels.knobs import Activation
from kernels.library import custom_op, fake_like


def activate(x_TX: Tensor, activation: Activation) -> Tensor:
    """Compute act(gate) * up for (gate, up) side by side, (T, 2F) -> (T, F); act(x) where it is not gated.

    Raises ValueError for an unknown name, and for an odd number of columns where it is gated.
    """
    x_TX = x_TX.contiguous()
    check_tensor("x_TX", x_TX, (None, None), FLOATS, x_TX.device)
    if activation.name not in reference.FUNCTIONS:
        known = ", ".join(reference.FUNCTIONS)
        raise ValueError(f"activation.name must be one of {known}, got {activation.name!r}")
    if activation.gated and x_TX.shape[1] % 2:
        raise ValueError(f"x_TX must have an even number of columns, gate and up, got {x_TX.shape[1]}")
    if backend.traced(kernels := backend.of(x_TX)):
        return _activate(x_TX, activation.name, activation.gated, activation.limit)
    return kernels.activate(x_TX, activation)


def xielu(x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor) -> Tensor:
    """Compute xIELU (Huang and Schlag, 2024) with a layer's two learned numbers, (T, F).

    They are read where they stand at each call. Raises ValueError for arguments that do not belong together.
    """
    x_TF, alpha_p_1, alpha_n_1 = (x.contiguous() for x in (x_TF, alpha_p_1, alpha_n_1))
    check_tensor("x_TF", x_TF, (None, None), FLOATS, x_TF.device)
    for name, alpha in (("alpha_p_1", alpha_p_1), ("alpha_n_1", alpha_n_1)):
        check_tensor(name, alpha, (1,), (x_TF.dtype,), x_TF.device)
    if backend.traced(kernels := backend.of(x_TF)):
        return _xielu(x_TF, alpha_p_1, alpha_n_1)
    return kernels.xielu(x_TF, alpha_p_1, alpha_n_1)


@custom_op("activate")
def _activate(x_TX: Tensor, name: str, gated: bool, limit: float | None) -> Tensor:
    return backend.of(x_TX).activate(x_TX, Activation(name, gated, limit))


_activate.register_fake(
    lambda x_TX, name, gated, limit: x_TX.new_empty(x_TX.shape[0], x_TX.shape[1] // (1 + gated))
)


@custom_op("activate_backward")
def _activate_backward(x_TX: Tensor, dout_TF: Tensor, name: str, gated: bool, limit: float | None) -> Tensor:
    return backend.kernels_of(x_TX).activate_gradient(x_TX, dout_TF, Activation(name, gated, limit))


_activate_backward.register_fake(fake_like(0))


def _keep_activation(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x_TX, *ctx.activation = inputs
    ctx.save_for_backward(x_TX)


def _activation_gradients(ctx: Any, dout_TF: Tensor) -> tuple[Tensor | None, ...]:
    return _activate_backward(ctx.saved_tensors[0], dout_TF.contiguous(), *ctx.activation), None, None, None


_activate.register_autograd(_activation_gradients, setup_context=_keep_activation)


@custom_op("xielu")
def _xielu(x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor) -> Tensor:
    return backend.of(x_TF).xielu(x_TF, alpha_p_1, alpha_n_1)


_xielu.register_fake(fake_like(0))


@custom_op("xielu_backward")
def _xielu_backward(
    x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor, dout_TF: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (dx, d alpha_p, d alpha_n)."""
    return backend.kernels_of(x_TF).xielu_gradient(x_TF, alpha_p_1, alpha_n_1, dout_TF)


_xielu_backward.register_fake(fake_like(0, 1, 2))


def _xielu_gradients(ctx: Any, dout_TF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x_TF, alpha_p_1, alpha_n_1 = ctx.saved_tensors
    return _xielu_backward(x_TF, alpha_p_1, alpha_n_1, dout_TF.contiguous())


_xielu.register_autograd(
    _xielu_gradients, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs)
)
