"""Norms: of the residual after an addition, and of queries and keys.

Legend: T packed tokens, C model width, X columns side by side, D head dim, O pieces with a weight each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kernels import backend
from kernels.checks import FLOATS, check_tensor
from kernels.knobs import Norm
from kernels.library import custom_op, fake_like, like, some


def add_norm(
    x_TC: Tensor, residual_TC: Tensor | None, w_C: Tensor | None, b_C: Tensor | None, norm: Norm
) -> tuple[Tensor, Tensor]:
    """Compute (x + residual, its norm), both (T, C); kernels norm in float32, the oracle in `norm.dtype`.

    Raises ValueError for arguments that do not belong together.
    """
    x_TC = x_TC.contiguous()
    check_tensor("x_TC", x_TC, (None, None), FLOATS, x_TC.device)
    residual_TC, w_C, b_C = (x if x is None else x.contiguous() for x in (residual_TC, w_C, b_C))
    shapes = {"residual_TC": x_TC.shape, "w_C": x_TC.shape[1:], "b_C": x_TC.shape[1:]}
    for (name, shape), x in zip(shapes.items(), (residual_TC, w_C, b_C), strict=True):
        if x is not None:
            check_tensor(name, x, shape, (x_TC.dtype,), x_TC.device)
    if backend.traced(kernels := backend.of(x_TC)):
        sum_TC, out_TC = _add_norm(x_TC, residual_TC, w_C, b_C, norm.eps, norm.layer, norm.offset)
        return x_TC if residual_TC is None else sum_TC, out_TC
    return kernels.add_norm(x_TC, residual_TC, w_C, b_C, norm)


def norm_qk(
    qkv_TX: Tensor,
    weights: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None],
    widths: tuple[int, int],
    sizes: tuple[int, int],
    norm: Norm,
) -> Tensor:
    """Norm queries and keys in pieces, and leave the values beside them as they are; (T, X).

    `weights` are the queries' weight and bias and the keys', as long as a piece or as all of them; `widths`
    are those of all queries and of all keys, `sizes` those of a piece: a head, or all. Raises ValueError for
    arguments that do not belong together.
    """
    qkv_TX = qkv_TX.contiguous()
    check_tensor("qkv_TX", qkv_TX, (None, None), FLOATS, qkv_TX.device)
    if sum(widths) > qkv_TX.shape[1] or any(w % s for w, s in zip(widths, sizes, strict=True)):
        raise ValueError(f"widths must be whole pieces of {sizes} in {qkv_TX.shape[1]} columns, got {widths}")
    q_w, q_b, k_w, k_b = flat = tuple(p if p is None else p.flatten() for p in weights)
    for i, p in enumerate(flat):
        if p is not None:
            width, size = widths[i // 2], sizes[i // 2]
            length = width if p.numel() == width else size
            check_tensor(f"weights[{i}]", p, (length,), (qkv_TX.dtype,), qkv_TX.device)
    if backend.traced(kernels := backend.of(qkv_TX)):
        return _norm_qk(qkv_TX, q_w, q_b, k_w, k_b, (*widths, *sizes), norm.eps, norm.layer, norm.offset)
    return kernels.norm_qk(qkv_TX, q_w, q_b, k_w, k_b, (widths, sizes, norm))


@custom_op("add_norm")
def _add_norm(
    x_TC: Tensor, residual_TC: Tensor | None, w_C: Tensor | None, b_C: Tensor | None,
    eps: float, layer: bool, offset: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return (x + residual, its norm); with no residual the first has no elements, since the sum is x."""
    sum_TC, out_TC = backend.of(x_TC).add_norm(x_TC, residual_TC, w_C, b_C, Norm(eps, layer, offset))
    return some(None if residual_TC is None else sum_TC, x_TC), out_TC


_add_norm.register_fake(lambda x, residual, *_: (like(residual, x), torch.empty_like(x)))


@custom_op("add_norm_backward")
def _add_norm_backward(
    sum_TC: Tensor, w_C: Tensor | None, b_C: Tensor | None, dsum_TC: Tensor | None, dout_TC: Tensor,
    eps: float, layer: bool, offset: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return (d x, which is d residual too, d w, d b)."""
    gradient = backend.kernels_of(sum_TC).add_norm_gradient
    dx_TC, dw_C, db_C = gradient(sum_TC, w_C, b_C, dsum_TC, dout_TC, Norm(eps, layer, offset))
    return dx_TC, some(dw_C, dx_TC), some(db_C, dx_TC)


_add_norm_backward.register_fake(fake_like(0, 1, 2))


def _keep_norm(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x_TC, residual_TC, w_C, b_C, *ctx.norm = inputs
    ctx.added = residual_TC is not None
    ctx.save_for_backward(output[0] if ctx.added else x_TC, w_C, b_C)


def _norm_gradients(ctx: Any, dsum_TC: Tensor, dout_TC: Tensor) -> tuple[Tensor | None, ...]:
    sum_TC, w_C, b_C = ctx.saved_tensors
    dsum = dsum_TC.contiguous() if ctx.added else None
    dx_TC, dw_C, db_C = _add_norm_backward(sum_TC, w_C, b_C, dsum, dout_TC.contiguous(), *ctx.norm)
    dw, db = None if w_C is None else dw_C, None if b_C is None else db_C
    return dx_TC, dx_TC if ctx.added else None, dw, db, None, None, None


_add_norm.register_autograd(_norm_gradients, setup_context=_keep_norm)


@custom_op("norm_qk")
def _norm_qk(
    qkv_TX: Tensor, q_w: Tensor | None, q_b: Tensor | None, k_w: Tensor | None, k_b: Tensor | None,
    pieces: Sequence[int], eps: float, layer: bool, offset: float,
) -> Tensor:  # fmt: skip
    q_width, k_width, q_size, k_size = pieces
    knobs = ((q_width, k_width), (q_size, k_size), Norm(eps, layer, offset))
    return backend.of(qkv_TX).norm_qk(qkv_TX, q_w, q_b, k_w, k_b, knobs)


_norm_qk.register_fake(fake_like(0))


@custom_op("norm_qk_backward")
def _norm_qk_backward(
    qkv_TX: Tensor, dout_TX: Tensor,
    q_w: Tensor | None, q_b: Tensor | None, k_w: Tensor | None, k_b: Tensor | None,
    pieces: Sequence[int], eps: float, layer: bool, offset: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return (d qkv, d q_w, d q_b, d k_w, d k_b): each piece is a row of `add_norm`."""
    gradient, norm = backend.kernels_of(qkv_TX).add_norm_gradient, Norm(eps, layer, offset)
    dsides, dweights, start = [], [], 0
    for width, size, w, b in ((pieces[0], pieces[2], q_w, q_b), (pieces[1], pieces[3], k_w, k_b)):
        # Pieces of one weight are normed together: all of them, or those of one head.
        count = 1 if w is None else w.numel() // size
        x_OXD, d_OXD = (
            z[:, start : start + width].unflatten(1, (-1, count, size)).permute(2, 0, 1, 3).flatten(1, 2)
            for z in (qkv_TX, dout_TX)
        )
        w_OD, b_OD = ([None] * count if p is None else p.view(count, size) for p in (w, b))
        rows = [
            gradient(x.contiguous(), w_D, b_D, None, d.contiguous(), norm)
            for x, d, w_D, b_D in zip(x_OXD, d_OXD, w_OD, b_OD, strict=True)
        ]
        dx_OTXD = torch.stack([row[0] for row in rows]).unflatten(1, (qkv_TX.shape[0], -1))
        dsides.append(dx_OTXD.permute(1, 2, 0, 3).flatten(1))
        for i in (1, 2):
            dpieces = [d for row in rows if (d := row[i]) is not None]
            dweights.append(some(torch.cat(dpieces) if dpieces else None, qkv_TX))
        start += width
    dqkv_TX = torch.cat((*dsides, dout_TX[:, start:]), dim=1)
    return dqkv_TX, dweights[0], dweights[1], dweights[2], dweights[3]


_norm_qk_backward.register_fake(fake_like(0, 2, 3, 4, 5))


def _keep_qk(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    qkv_TX, q_w, q_b, k_w, k_b, *ctx.knobs = inputs
    ctx.save_for_backward(qkv_TX, q_w, q_b, k_w, k_b)


def _qk_gradients(ctx: Any, dout_TX: Tensor) -> tuple[Tensor | None, ...]:
    qkv_TX, *weights = ctx.saved_tensors
    dqkv_TX, *dweights = _norm_qk_backward(qkv_TX, dout_TX.contiguous(), *weights, *ctx.knobs)
    dw = [None if p is None else d for p, d in zip(weights, dweights, strict=True)]
    return dqkv_TX, *dw, None, None, None, None


_norm_qk.register_autograd(_qk_gradients, setup_context=_keep_qk)
