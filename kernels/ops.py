"""`torch.library` custom ops: what autograd and torch.compile see of the kernels.

An op picks the kernels by device and dtype, checks nothing (`kernels.dispatch` does), and has a fake
implementation and, where it is differentiable, a formula. Only the forward is under the row-invariance
contract: a gradient is a sum over rows by nature. All of it is deterministic.

An op puts out tensors alone, and none that shares memory with an input: what is not there has no elements.

Legend: T packed tokens, R rows, K inner width or kv heads, N outer width, C model width, F MLP width,
X columns side by side, E experts or head dim of values, P panels or pages, W panel width, G groups of
inputs with one scale, H query heads, D head dim, S page size, M positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from kernels.checks import GPU_DTYPES
from kernels.cpu import ops as cpu_ops
from kernels.cpu.scalars import SCALARS
from kernels.knobs import Activation, Norm


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


def _kernels(x: Tensor) -> Any:
    if (found := backend(x.device, x.dtype)) is None:
        raise ValueError(f"there is no kernel for {x.dtype} on {x.device}: kernels.dispatch has the oracle")
    return found


def _some(x: Tensor | None, like: Tensor) -> Tensor:
    return like.new_empty(0) if x is None else x


def _like(x: Tensor | None, like: Tensor) -> Tensor:
    return like.new_empty(0) if x is None else torch.empty_like(x)


# --- products ---


@custom_op("minillm::matmul", mutates_args=())
def matmul(
    x_RK: Tensor, w_PKW: Tensor, scales_PGW: Tensor | None, bias_N: Tensor | None, N: int, wide: bool
) -> Tensor:
    """x_RK @ w_KN (+ bias), (R, N), for w in panels, or codes and scales; in float32 where `wide`."""
    return _kernels(x_RK).matmul(x_RK, w_PKW, N, scales_PGW, bias_N, wide)  # type: ignore[no-any-return]


@matmul.register_fake
def _(x_RK: Tensor, w: Tensor, scales: Tensor | None, bias: Tensor | None, N: int, wide: bool) -> Tensor:
    return x_RK.new_empty(x_RK.shape[0], N, dtype=torch.float32 if wide else x_RK.dtype)


@custom_op("minillm::matmul_backward", mutates_args=())
def matmul_backward(
    x_RK: Tensor, w_PKW: Tensor, dy_RN: Tensor, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """(dx, dw in panels), each if it is needed."""
    dx_RK, dw_PKW = _kernels(x_RK).matmul_gradients(x_RK, w_PKW, dy_RN, need_x, need_w)
    return _some(dx_RK, x_RK), _some(dw_PKW, x_RK)


@matmul_backward.register_fake
def _(x_RK: Tensor, w_PKW: Tensor, dy_RN: Tensor, need_x: bool, need_w: bool) -> tuple[Tensor, Tensor]:
    return _like(x_RK if need_x else None, x_RK), _like(w_PKW if need_w else None, x_RK)


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
    return _kernels(x_RK).grouped_matmul(  # type: ignore[no-any-return]
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
    found = _kernels(x_RK).grouped_matmul_gradients(x_RK, w_EPKW, dy_RN, bound_E1, need_x, need_w)
    return _some(found[0], x_RK), _some(found[1], x_RK)


@grouped_matmul_backward.register_fake
def _(
    x_RK: Tensor, w_EPKW: Tensor, dy_RN: Tensor, bound_E1: Tensor, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    return _like(x_RK if need_x else None, x_RK), _like(w_EPKW if need_w else None, x_RK)


grouped_matmul.register_autograd(_product_gradients, setup_context=_keep_product)


# --- norms ---


@custom_op("minillm::add_norm", mutates_args=())
def add_norm(
    x_TC: Tensor, residual_TC: Tensor | None, w_C: Tensor | None, b_C: Tensor | None,
    eps: float, layer: bool, offset: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(x + residual, its norm); with no residual the first has no elements, since the sum is x."""
    sum_TC, out_TC = _kernels(x_TC).add_norm(x_TC, residual_TC, w_C, b_C, Norm(eps, layer, offset))
    return _some(None if residual_TC is None else sum_TC, x_TC), out_TC


@add_norm.register_fake
def _(x_TC: Tensor, residual_TC: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
    return _like(residual_TC, x_TC), torch.empty_like(x_TC)


@custom_op("minillm::add_norm_backward", mutates_args=())
def add_norm_backward(
    sum_TC: Tensor, w_C: Tensor | None, b_C: Tensor | None, dsum_TC: Tensor | None, dout_TC: Tensor,
    eps: float, layer: bool, offset: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(d x, which is d residual too, d w, d b)."""
    gradient = _kernels(sum_TC).add_norm_gradient
    dx_TC, dw_C, db_C = gradient(sum_TC, w_C, b_C, dsum_TC, dout_TC, Norm(eps, layer, offset))
    return dx_TC, _some(dw_C, dx_TC), _some(db_C, dx_TC)


@add_norm_backward.register_fake
def _(sum_TC: Tensor, w_C: Tensor | None, b_C: Tensor | None, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(sum_TC), _like(w_C, sum_TC), _like(b_C, sum_TC)


def _keep_norm(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x_TC, residual_TC, w_C, b_C, *ctx.norm = inputs
    ctx.added = residual_TC is not None
    ctx.save_for_backward(output[0] if ctx.added else x_TC, w_C, b_C)


def _norm_gradients(ctx: Any, dsum_TC: Tensor, dout_TC: Tensor) -> tuple[Tensor | None, ...]:
    sum_TC, w_C, b_C = ctx.saved_tensors
    given = dsum_TC.contiguous() if ctx.added else None
    dx_TC, dw_C, db_C = add_norm_backward(sum_TC, w_C, b_C, given, dout_TC.contiguous(), *ctx.norm)
    dw, db = None if w_C is None else dw_C, None if b_C is None else db_C
    return dx_TC, dx_TC if ctx.added else None, dw, db, None, None, None


add_norm.register_autograd(_norm_gradients, setup_context=_keep_norm)


@custom_op("minillm::norm_qk", mutates_args=())
def norm_qk(
    qkv_TX: Tensor, q_w: Tensor | None, q_b: Tensor | None, k_w: Tensor | None, k_b: Tensor | None,
    widths: Sequence[int], sizes: Sequence[int], eps: float, layer: bool, offset: float,
) -> Tensor:  # fmt: skip
    """Queries and keys normed in pieces, the values beside them as they are."""
    knobs = (tuple(widths), tuple(sizes), Norm(eps, layer, offset))
    return _kernels(qkv_TX).norm_qk(qkv_TX, q_w, q_b, k_w, k_b, knobs)  # type: ignore[no-any-return]


@norm_qk.register_fake
def _(qkv_TX: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(qkv_TX)


@custom_op("minillm::norm_qk_backward", mutates_args=())
def norm_qk_backward(
    qkv_TX: Tensor, dout_TX: Tensor,
    q_w: Tensor | None, q_b: Tensor | None, k_w: Tensor | None, k_b: Tensor | None,
    widths: Sequence[int], sizes: Sequence[int], eps: float, layer: bool, offset: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(d qkv, d q_w, d q_b, d k_w, d k_b): each piece is a row of `add_norm`."""
    gradient, norm = _kernels(qkv_TX).add_norm_gradient, Norm(eps, layer, offset)
    parts, found, start = [], [], 0
    for width, size, w, b in ((widths[0], sizes[0], q_w, q_b), (widths[1], sizes[1], k_w, k_b)):
        # Pieces of one weight are normed together: all of them, or those of one head.
        own = 1 if w is None else w.numel() // size
        x_OXD, d_OXD = (
            z[:, start : start + width].unflatten(1, (-1, own, size)).permute(2, 0, 1, 3).flatten(1, 2)
            for z in (qkv_TX, dout_TX)
        )
        w_OD, b_OD = ([None] * own if p is None else p.view(own, size) for p in (w, b))
        rows = [
            gradient(x.contiguous(), w_D, b_D, None, d.contiguous(), norm)
            for x, d, w_D, b_D in zip(x_OXD, d_OXD, w_OD, b_OD, strict=True)
        ]
        dx_OTXD = torch.stack([row[0] for row in rows]).unflatten(1, (qkv_TX.shape[0], -1))
        parts.append(dx_OTXD.permute(1, 2, 0, 3).flatten(1))
        for i, p in ((1, w), (2, b)):
            found.append(_some(None if p is None else torch.cat([row[i] for row in rows]), qkv_TX))
        start += width
    dqkv_TX = torch.cat((*parts, dout_TX[:, start:]), dim=1)
    return dqkv_TX, found[0], found[1], found[2], found[3]


@norm_qk_backward.register_fake
def _(
    qkv_TX: Tensor, dout_TX: Tensor,
    q_w: Tensor | None, q_b: Tensor | None, k_w: Tensor | None, k_b: Tensor | None, *_: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    dw = [_like(p, qkv_TX) for p in (q_w, q_b, k_w, k_b)]
    return torch.empty_like(qkv_TX), dw[0], dw[1], dw[2], dw[3]


def _keep_qk(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    qkv_TX, q_w, q_b, k_w, k_b, *ctx.knobs = inputs
    ctx.save_for_backward(qkv_TX, q_w, q_b, k_w, k_b)


def _qk_gradients(ctx: Any, dout_TX: Tensor) -> tuple[Tensor | None, ...]:
    qkv_TX, *weights = ctx.saved_tensors
    dqkv_TX, *found = norm_qk_backward(qkv_TX, dout_TX.contiguous(), *weights, *ctx.knobs)
    dw = [None if p is None else d for p, d in zip(weights, found, strict=True)]
    return dqkv_TX, *dw, None, None, None, None, None


norm_qk.register_autograd(_qk_gradients, setup_context=_keep_qk)


# --- activations ---


@custom_op("minillm::activate", mutates_args=())
def activate(x_TX: Tensor, name: str, gated: bool, limit: float | None) -> Tensor:
    """act(gate) * up, (T, 2F) -> (T, F); act(x) where it is not gated."""
    return _kernels(x_TX).activate(x_TX, Activation(name, gated, limit))  # type: ignore[no-any-return]


@activate.register_fake
def _(x_TX: Tensor, name: str, gated: bool, limit: float | None) -> Tensor:
    return x_TX.new_empty(x_TX.shape[0], x_TX.shape[1] // (1 + gated))


@custom_op("minillm::activate_backward", mutates_args=())
def activate_backward(x_TX: Tensor, dout_TF: Tensor, name: str, gated: bool, limit: float | None) -> Tensor:
    """dx (T, X)."""
    gradient = _kernels(x_TX).activate_gradient
    return gradient(x_TX, dout_TF, Activation(name, gated, limit))  # type: ignore[no-any-return]


@activate_backward.register_fake
def _(x_TX: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x_TX)


def _keep_activation(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x_TX, *ctx.activation = inputs
    ctx.save_for_backward(x_TX)


def _activation_gradients(ctx: Any, dout_TF: Tensor) -> tuple[Tensor | None, ...]:
    return activate_backward(ctx.saved_tensors[0], dout_TF.contiguous(), *ctx.activation), None, None, None


activate.register_autograd(_activation_gradients, setup_context=_keep_activation)


@custom_op("minillm::xielu", mutates_args=())
def xielu(x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor) -> Tensor:
    """xIELU of two learned numbers."""
    return _kernels(x_TF).xielu(x_TF, alpha_p_1, alpha_n_1)  # type: ignore[no-any-return]


@xielu.register_fake
def _(x_TF: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x_TF)


@custom_op("minillm::xielu_backward", mutates_args=())
def xielu_backward(
    x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor, dout_TF: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, d alpha_p, d alpha_n)."""
    return _kernels(x_TF).xielu_gradient(x_TF, alpha_p_1, alpha_n_1, dout_TF)  # type: ignore[no-any-return]


@xielu_backward.register_fake
def _(x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x_TF), torch.empty_like(alpha_p_1), torch.empty_like(alpha_n_1)


def _keep_xielu(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _xielu_gradients(ctx: Any, dout_TF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return xielu_backward(*ctx.saved_tensors, dout_TF.contiguous())  # type: ignore[no-any-return]


xielu.register_autograd(_xielu_gradients, setup_context=_keep_xielu)


# --- rope, by itself and into the cache ---


@custom_op("minillm::rope", mutates_args=())
def rope(qkv_TX: Tensor, heads: Sequence[int], cos_MR: Tensor, sin_MR: Tensor, position_T: Tensor) -> Tensor:
    """Queries and keys turned, the values beside them as they are."""
    H, K, D = heads
    return _kernels(qkv_TX).rope(qkv_TX, (H, K, D), cos_MR, sin_MR, position_T)  # type: ignore[no-any-return]


@rope.register_fake
def _(qkv_TX: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(qkv_TX)


@custom_op("minillm::rope_backward", mutates_args=())
def rope_backward(
    dout_TX: Tensor, heads: Sequence[int], cos_MR: Tensor, sin_MR: Tensor, position_T: Tensor
) -> Tensor:
    """d qkv."""
    (H, K, D), X = heads, dout_TX.shape[1]
    parts = dout_TX.split((H * D, K * D, X - (H + K) * D), dim=1)
    # Copies, which the gradient may write to.
    dq_THD, dk_TKD, dv_TKE = (
        d.clone(memory_format=torch.contiguous_format).unflatten(1, (n, -1))
        for d, n in zip(parts, (H, K, K), strict=True)
    )
    gradient = _kernels(dout_TX).rope_gradient
    return gradient(dq_THD, dk_TKD, dv_TKE, cos_MR, sin_MR, position_T, None)  # type: ignore[no-any-return]


@rope_backward.register_fake
def _(dout_TX: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(dout_TX)


def _keep_rope(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, ctx.heads, *tensors = inputs
    ctx.save_for_backward(*tensors)


def _rope_gradient(ctx: Any, dout_TX: Tensor) -> tuple[Tensor | None, ...]:
    return rope_backward(dout_TX.contiguous(), ctx.heads, *ctx.saved_tensors), None, None, None, None


rope.register_autograd(_rope_gradient, setup_context=_keep_rope)


@custom_op("minillm::rope_store", mutates_args=("k_PKDS", "v_PKSE"))
def rope_store(
    qkv_TX: Tensor, heads: Sequence[int], cos_MR: Tensor, sin_MR: Tensor, position_T: Tensor,
    slot_T: Tensor, k_PKDS: Tensor, v_PKSE: Tensor, growth_M1: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(q_THD, k_TKD) rotated; keys and values are written into their slots. Not differentiable by itself."""
    H, K, D = heads
    return _kernels(qkv_TX).rope_store(  # type: ignore[no-any-return]
        qkv_TX, (H, K, D), cos_MR, sin_MR, position_T, slot_T, k_PKDS, v_PKSE, growth_M1
    )


@rope_store.register_fake
def _(qkv_TX: Tensor, heads: Sequence[int], *_: Any) -> tuple[Tensor, Tensor]:
    T, (H, K, D) = qkv_TX.shape[0], heads
    return qkv_TX.new_empty(T, H, D), qkv_TX.new_empty(T, K, D)


# --- logprobs ---


@custom_op("minillm::log_softmax", mutates_args=())
def log_softmax(logits_RV: Tensor, heat_R: Tensor) -> Tensor:
    """log softmax(logits / heat), (R, V), of float32 logits and temperatures."""
    return _kernels(logits_RV).log_softmax(logits_RV, heat_R)  # type: ignore[no-any-return]


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
    return _kernels(hidden_RC).chosen_logprobs(  # type: ignore[no-any-return]
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
    gradient = _kernels(hidden_RC).chosen_logprobs_gradient
    dhidden_RC, dhead_PCW, dbias_V = gradient(
        hidden_RC, head_PCW, V, token_R, kept_2R, grad_R, heat_R, bias_V, multiplier, softcap
    )
    return dhidden_RC, dhead_PCW, _some(dbias_V, hidden_RC)


@chosen_logprobs_backward.register_fake
def _(hidden_RC: Tensor, head_PCW: Tensor, bias_V: Tensor | None, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(hidden_RC), torch.empty_like(head_PCW), _like(bias_V, hidden_RC)


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
