"""Rotary embedding, by itself and into the cache.

Legend: T packed tokens, H query heads, K kv heads, D head dim, E head dim of values, X columns side by side,
R pairs that rope rotates, M positions, P pages, S page size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kernels import backend
from kernels.checks import FLOATS, check_tensor
from kernels.knobs import Heads
from kernels.library import custom_op, fake_like


def rope(
    qkv_TX: Tensor,
    heads: Heads,
    tables: tuple[Tensor, Tensor],
    position_T: Tensor,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Rotate queries and keys as `rope_store_attention` does, the values beside them as they are; (T, X).

    For norms that come after the rotation. The oracle rotates from `dtype`, as with `Scores.rope_dtype`.
    Raises ValueError for arguments that do not belong together.
    """
    (H, K, D), device, qkv_TX = heads, qkv_TX.device, qkv_TX.contiguous()
    check_tensor("qkv_TX", qkv_TX, (None, None), FLOATS, device)
    T, X = qkv_TX.shape
    if X <= (H + K) * D or (X - (H + K) * D) % K:
        raise ValueError(f"qkv_TX must hold {H} + {K} heads of {D} and {K} of some width, got {X} columns")
    check_tables(tables, D, qkv_TX)
    check_tensor("position_T", position_T, (T,), (torch.int64,), device)
    if backend.traced(kernels := backend.of(qkv_TX)):
        return _rope(qkv_TX, heads, *tables, position_T)
    return kernels.rope_qk(qkv_TX, heads, *tables, position_T, dtype)


def check_tables(tables: tuple[Tensor, Tensor], D: int, qkv_TX: Tensor) -> tuple[torch.dtype, ...]:
    """Raise ValueError for tables that are not cosines and sines for heads of D; the dtypes they may have."""
    # Not by torch.promote_types: a recording (`kernels.cpu.recording`) would take it for a computation.
    wide = (torch.float64, torch.float32)[qkv_TX.dtype != torch.float64 :]
    M, R = tables[0].shape
    if 2 * R > D:
        raise ValueError(f"tables must have at most {D // 2} columns for heads of {D}, got {R}")
    for i in range(2):
        check_tensor(f"tables[{i}]", tables[i], (M, R), wide, qkv_TX.device)
    return wide


@custom_op("rope")
def _rope(qkv_TX: Tensor, heads: Sequence[int], cos_MR: Tensor, sin_MR: Tensor, position_T: Tensor) -> Tensor:
    H, K, D = heads
    return backend.of(qkv_TX).rope_qk(qkv_TX, (H, K, D), cos_MR, sin_MR, position_T, None)


_rope.register_fake(fake_like(0))


@custom_op("rope_backward")
def _rope_backward(
    dout_TX: Tensor, heads: Sequence[int], cos_MR: Tensor, sin_MR: Tensor, position_T: Tensor
) -> Tensor:
    (H, K, D), X = heads, dout_TX.shape[1]
    sides = dout_TX.split((H * D, K * D, X - (H + K) * D), dim=1)
    # Copies, which the gradient may write to.
    copies = (d.clone(memory_format=torch.contiguous_format) for d in sides)
    dq_THD, dk_TKD, dv_TKE = (d.unflatten(1, (n, -1)) for d, n in zip(copies, (H, K, K), strict=True))
    gradient = backend.kernels_of(dout_TX).rope_gradient
    return gradient(dq_THD, dk_TKD, dv_TKE, cos_MR, sin_MR, position_T, None)


_rope_backward.register_fake(fake_like(0))


def _keep_rope(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, ctx.heads, *tensors = inputs
    ctx.save_for_backward(*tensors)


def _rope_gradient(ctx: Any, dout_TX: Tensor) -> tuple[Tensor | None, ...]:
    return _rope_backward(dout_TX.contiguous(), ctx.heads, *ctx.saved_tensors), None, None, None, None


_rope.register_autograd(_rope_gradient, setup_context=_keep_rope)


@custom_op("rope_store", writes=("k_PKDS", "v_PKSE"))
def rope_store(
    qkv_TX: Tensor, heads: Sequence[int], cos_MR: Tensor, sin_MR: Tensor, position_T: Tensor,
    slot_T: Tensor, k_PKDS: Tensor, v_PKSE: Tensor, growth_M1: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return (q_THD, k_TKD) rotated; write keys and values into their slots. Not differentiable by itself."""
    H, K, D = heads
    return backend.kernels_of(qkv_TX).rope_store(
        qkv_TX, (H, K, D), cos_MR, sin_MR, position_T, slot_T, k_PKDS, v_PKSE, growth_M1
    )


@rope_store.register_fake
def _(qkv_TX: Tensor, heads: Sequence[int], *_: Any) -> tuple[Tensor, Tensor]:
    T, (H, K, D) = qkv_TX.shape[0], heads
    return qkv_TX.new_empty(T, H, D), qkv_TX.new_empty(T, K, D)
