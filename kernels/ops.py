"""`torch.library` custom ops: what autograd and torch.compile see of the kernels.

An op picks the kernels by device and dtype, checks nothing (`kernels.dispatch` does), and has a fake
implementation and, where it is differentiable, a formula. Only the forward is under the row-invariance
contract: a gradient is a sum over rows by nature. All of it is deterministic.

An op puts out tensors alone, and none that shares memory with an input: what is not there has no elements.

Products and logprobs stand here, what treats each token by itself in `kernels.rowwise_ops`.

Legend: R rows, K inner width, N outer width, C model width, E experts, P panels, W panel width, G groups of
inputs with one scale, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from kernels.checks import GPU_DTYPES
from kernels.cpu import ops as cpu_ops
from kernels.cpu.scalars import SCALARS


def backend(device: torch.device, dtype: torch.dtype) -> Any:
    """The module whose kernels cover this device and dtype (`kernels.cpu.ops`, `kernels.gpu.ops`), or None.

    With one comes the row-invariance contract.
    """
    if device.type == "cpu":
        return cpu_ops if dtype in SCALARS else None
    if device.type == "cuda" and dtype in GPU_DTYPES:
        from kernels.gpu import ops  # Triton is not everywhere

        return ops
    return None


def kernels_of(x: Tensor) -> Any:
    """The kernels for a tensor; ValueError where there are none."""
    if (found := backend(x.device, x.dtype)) is None:
        raise ValueError(f"there is no kernel for {x.dtype} on {x.device}: kernels.dispatch has the oracle")
    return found


def some(x: Tensor | None, beside: Tensor) -> Tensor:
    """x, or no elements where it is not there."""
    return beside.new_empty(0) if x is None else x


def like(x: Tensor | None, beside: Tensor) -> Tensor:
    """What a fake puts out in x's place."""
    return beside.new_empty(0) if x is None else torch.empty_like(x)


# --- products ---


@custom_op("minillm::matmul", mutates_args=())
def matmul(
    x_RK: Tensor, w_PKW: Tensor, scales_PGW: Tensor | None, bias_N: Tensor | None, N: int, wide: bool
) -> Tensor:
    """x_RK @ w_KN (+ bias), (R, N), for w in panels, or codes and scales; in float32 where `wide`."""
    return kernels_of(x_RK).matmul(x_RK, w_PKW, N, scales_PGW, bias_N, wide)  # type: ignore[no-any-return]


@matmul.register_fake
def _(x_RK: Tensor, w: Tensor, scales: Tensor | None, bias: Tensor | None, N: int, wide: bool) -> Tensor:
    return x_RK.new_empty(x_RK.shape[0], N, dtype=torch.float32 if wide else x_RK.dtype)


@custom_op("minillm::matmul_backward", mutates_args=())
def matmul_backward(
    x_RK: Tensor, w_PKW: Tensor, dy_RN: Tensor, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """(dx, dw in panels), each if it is needed."""
    dx_RK, dw_PKW = kernels_of(x_RK).matmul_gradients(x_RK, w_PKW, dy_RN, need_x, need_w)
    return some(dx_RK, x_RK), some(dw_PKW, x_RK)


@matmul_backward.register_fake
def _(x_RK: Tensor, w_PKW: Tensor, dy_RN: Tensor, need_x: bool, need_w: bool) -> tuple[Tensor, Tensor]:
    return like(x_RK if need_x else None, x_RK), like(w_PKW if need_w else None, x_RK)


def _keep_product(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, w, scales, bias, *others = inputs
    ctx.save_for_backward(x, w, *(p for p in others if isinstance(p, Tensor)))
    ctx.whole, ctx.bias_dtype = scales is not None, None if bias is None else bias.dtype


def _product_gradients(ctx: Any, dy_RN: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.whole:
        raise RuntimeError("weights of whole numbers (int8, int4) pass no gradient on: train in fp32 or bf16")
    x_RK, w, *bound = ctx.saved_tensors
    (need_x, need_w, _, need_bias, *_), dy_RN = ctx.needs_input_grad, dy_RN.contiguous()
    op = grouped_matmul_backward if bound else matmul_backward
    dx_RK, dw = op(x_RK, w, dy_RN, *bound, need_x, need_w)
    dbias = None
    if need_bias and bound:
        # By a product with zeros and ones: sums in order, with no atomics.
        row_R = torch.arange(dy_RN.shape[0], device=dy_RN.device)
        own_ER = (row_R >= bound[0][:-1, None]) & (row_R < bound[0][1:, None])
        dbias = (own_ER.float() @ dy_RN.float()).to(ctx.bias_dtype)
    elif need_bias:
        dbias = dy_RN.float().sum(0).to(ctx.bias_dtype)
    nothing = [None] * (len(ctx.needs_input_grad) - 4)
    return dx_RK if need_x else None, dw if need_w else None, None, dbias, *nothing


matmul.register_autograd(_product_gradients, setup_context=_keep_product)


@custom_op("minillm::grouped_matmul", mutates_args=())
def grouped_matmul(
    x_RK: Tensor,
    w_EPKW: Tensor,
    scales_EPGW: Tensor | None,
    bias_EN: Tensor | None,
    bound_E1: Tensor,
    N: int,
) -> Tensor:
    """`matmul` of rows bound[e] to bound[e + 1] with the matrix of expert e, for each expert."""
    return kernels_of(x_RK).grouped_matmul(  # type: ignore[no-any-return]
        x_RK, w_EPKW, N, bound_E1, scales_EPGW, bias_EN
    )


@grouped_matmul.register_fake
def _(x_RK: Tensor, *others: Any) -> Tensor:
    return x_RK.new_empty(x_RK.shape[0], others[-1])


@custom_op("minillm::grouped_matmul_backward", mutates_args=())
def grouped_matmul_backward(
    x_RK: Tensor, w_EPKW: Tensor, dy_RN: Tensor, bound_E1: Tensor, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """(dx, dw in panels), each if it is needed; dw is zero for an expert without rows."""
    found = kernels_of(x_RK).grouped_matmul_gradients(x_RK, w_EPKW, dy_RN, bound_E1, need_x, need_w)
    return some(found[0], x_RK), some(found[1], x_RK)


@grouped_matmul_backward.register_fake
def _(
    x_RK: Tensor, w_EPKW: Tensor, dy_RN: Tensor, bound_E1: Tensor, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    return like(x_RK if need_x else None, x_RK), like(w_EPKW if need_w else None, x_RK)


grouped_matmul.register_autograd(_product_gradients, setup_context=_keep_product)


# --- logprobs ---


@custom_op("minillm::log_softmax", mutates_args=())
def log_softmax(logits_RV: Tensor, heat_R: Tensor) -> Tensor:
    """log softmax(logits / heat), (R, V), of float32 logits and temperatures."""
    return kernels_of(logits_RV).log_softmax(logits_RV, heat_R)  # type: ignore[no-any-return]


@log_softmax.register_fake
def _(logits_RV: Tensor, heat_R: Tensor) -> Tensor:
    return torch.empty_like(logits_RV)


def _keep_logprobs(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(output, inputs[1])


def _log_softmax_gradient(ctx: Any, grad_RV: Tensor) -> tuple[Tensor, None]:
    out_RV, heat_R = ctx.saved_tensors
    return (grad_RV - out_RV.exp() * grad_RV.sum(1, keepdim=True)) / heat_R.unsqueeze(1), None


log_softmax.register_autograd(_log_softmax_gradient, setup_context=_keep_logprobs)


@custom_op("minillm::chosen_logprobs", mutates_args=())
def chosen_logprobs(
    hidden_RC: Tensor, head_PCW: Tensor, bias_V: Tensor | None, token_R: Tensor, heat_R: Tensor, V: int,
    multiplier: float, softcap: float | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(logprob of token_R[r] after row r, in float32; what the backward wants of each row)."""
    knobs = (multiplier, softcap)
    return kernels_of(hidden_RC).chosen_logprobs(  # type: ignore[no-any-return]
        hidden_RC, head_PCW, V, token_R, heat_R, bias_V, *knobs
    )


@chosen_logprobs.register_fake
def _(hidden_RC: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    R = hidden_RC.shape[0]
    return hidden_RC.new_empty(R, dtype=torch.float32), hidden_RC.new_empty((2, R), dtype=torch.float32)


@custom_op("minillm::chosen_logprobs_backward", mutates_args=())
def chosen_logprobs_backward(
    hidden_RC: Tensor, head_PCW: Tensor, bias_V: Tensor | None, token_R: Tensor, heat_R: Tensor,
    kept_2R: Tensor, grad_R: Tensor, V: int, multiplier: float, softcap: float | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(d hidden, d head in panels, d bias)."""
    gradient = kernels_of(hidden_RC).chosen_logprobs_gradient
    dhidden_RC, dhead_PCW, dbias_V = gradient(
        hidden_RC, head_PCW, V, token_R, kept_2R, grad_R, heat_R, bias_V, multiplier, softcap
    )
    return dhidden_RC, dhead_PCW, some(dbias_V, hidden_RC)


@chosen_logprobs_backward.register_fake
def _(hidden_RC: Tensor, head_PCW: Tensor, bias_V: Tensor | None, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(hidden_RC), torch.empty_like(head_PCW), like(bias_V, hidden_RC)


def _keep_rows(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, V, multiplier, softcap = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*tensors, output[1])
    ctx.knobs = (V, multiplier, softcap)


def _logprob_gradients(ctx: Any, grad_R: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    bias_V = ctx.saved_tensors[2]
    dhidden_RC, dhead_PCW, dbias_V = chosen_logprobs_backward(
        *ctx.saved_tensors, grad_R.contiguous(), *ctx.knobs
    )
    return dhidden_RC, dhead_PCW, None if bias_V is None else dbias_V, *[None] * 5


chosen_logprobs.register_autograd(_logprob_gradients, setup_context=_keep_rows)
