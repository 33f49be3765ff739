"""Custom ops of what treats each token by itself: norms, activations, rope; as `kernels.ops` has them.

Legend: T packed tokens, K kv heads, C model width, F MLP width, X columns side by side, E head dim of values,
P pages, H query heads, D head dim, S page size, R pairs that rope turns, M positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from kernels import ops
from kernels.knobs import Activation, Norm

# --- norms ---


@custom_op("minillm::add_norm", mutates_args=())
def add_norm(
    x_TC: Tensor, residual_TC: Tensor | None, w_C: Tensor | None, b_C: Tensor | None,
    eps: float, layer: bool, offset: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(x + residual, its norm); with no residual the first has no elements, since the sum is x."""
    sum_TC, out_TC = ops.kernels_of(x_TC).add_norm(x_TC, residual_TC, w_C, b_C, Norm(eps, layer, offset))
    return ops.some(None if residual_TC is None else sum_TC, x_TC), out_TC


@add_norm.register_fake
def _(x_TC: Tensor, residual_TC: Tensor | None, *_: Any) -> tuple[Tensor, Tensor]:
    return ops.like(residual_TC, x_TC), torch.empty_like(x_TC)


@custom_op("minillm::add_norm_backward", mutates_args=())
def add_norm_backward(
    sum_TC: Tensor, w_C: Tensor | None, b_C: Tensor | None, dsum_TC: Tensor | None, dout_TC: Tensor,
    eps: float, layer: bool, offset: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(d x, which is d residual too, d w, d b)."""
    gradient = ops.kernels_of(sum_TC).add_norm_gradient
    dx_TC, dw_C, db_C = gradient(sum_TC, w_C, b_C, dsum_TC, dout_TC, Norm(eps, layer, offset))
    return dx_TC, ops.some(dw_C, dx_TC), ops.some(db_C, dx_TC)


@add_norm_backward.register_fake
def _(sum_TC: Tensor, w_C: Tensor | None, b_C: Tensor | None, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(sum_TC), ops.like(w_C, sum_TC), ops.like(b_C, sum_TC)


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
    return ops.kernels_of(qkv_TX).norm_qk(qkv_TX, q_w, q_b, k_w, k_b, knobs)  # type: ignore[no-any-return]


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
    gradient, norm = ops.kernels_of(qkv_TX).add_norm_gradient, Norm(eps, layer, offset)
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
            found.append(ops.some(None if p is None else torch.cat([row[i] for row in rows]), qkv_TX))
        start += width
    dqkv_TX = torch.cat((*parts, dout_TX[:, start:]), dim=1)
    return dqkv_TX, found[0], found[1], found[2], found[3]


@norm_qk_backward.register_fake
def _(
    qkv_TX: Tensor, dout_TX: Tensor,
    q_w: Tensor | None, q_b: Tensor | None, k_w: Tensor | None, k_b: Tensor | None, *_: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    dw = [ops.like(p, qkv_TX) for p in (q_w, q_b, k_w, k_b)]
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
    return ops.kernels_of(x_TX).activate(x_TX, Activation(name, gated, limit))  # type: ignore[no-any-return]


@activate.register_fake
def _(x_TX: Tensor, name: str, gated: bool, limit: float | None) -> Tensor:
    return x_TX.new_empty(x_TX.shape[0], x_TX.shape[1] // (1 + gated))


@custom_op("minillm::activate_backward", mutates_args=())
def activate_backward(x_TX: Tensor, dout_TF: Tensor, name: str, gated: bool, limit: float | None) -> Tensor:
    """dx (T, X)."""
    gradient = ops.kernels_of(x_TX).activate_gradient
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
    return ops.kernels_of(x_TF).xielu(x_TF, alpha_p_1, alpha_n_1)  # type: ignore[no-any-return]


@xielu.register_fake
def _(x_TF: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x_TF)


@custom_op("minillm::xielu_backward", mutates_args=())
def xielu_backward(
    x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor, dout_TF: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(dx, d alpha_p, d alpha_n)."""
    return ops.kernels_of(x_TF).xielu_gradient(x_TF, alpha_p_1, alpha_n_1, dout_TF)  # type: ignore[no-any-return]


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
    return ops.kernels_of(qkv_TX).rope(qkv_TX, (H, K, D), cos_MR, sin_MR, position_T)  # type: ignore[no-any-return]


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
    gradient = ops.kernels_of(dout_TX).rope_gradient
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
    return ops.kernels_of(qkv_TX).rope_store(  # type: ignore[no-any-return]
        qkv_TX, (H, K, D), cos_MR, sin_MR, position_T, slot_T, k_PKDS, v_PKSE, growth_M1
    )


@rope_store.register_fake
def _(qkv_TX: Tensor, heads: Sequence[int], *_: Any) -> tuple[Tensor, Tensor]:
    T, (H, K, D) = qkv_TX.shape[0], heads
    return qkv_TX.new_empty(T, H, D), qkv_TX.new_empty(T, K, D)
