"""The attention block: rope, store and attention as one operation, with a gradient.

Not a custom op as a whole, since it writes to the cache, and an op that writes can have no formula.

Legend: T packed tokens, B sequences, X columns side by side, H query heads, K kv heads, D head dim,
E head dim of values, P pages, S page size, M positions.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from kernels import backend, reference
from kernels.checks import FLOATS, check_heads, check_tensor
from kernels.knobs import Heads, Scores
from kernels.ops.paged_attention import paged_attention
from kernels.ops.rope import check_tables, rope_store
from kernels.tiling import Paging

# Of float32's products on a GPU: no rounding but float32's own.
PRECISION = "ieee"


def rope_store_attention(
    qkv_TX: Tensor,
    heads: Heads,
    tables: tuple[Tensor, Tensor],
    k_PKDS: Tensor,
    v_PKSE: Tensor,
    batch: Paging,
    scores: Scores,
    sinks_H: Tensor | None = None,
    growth_M1: Tensor | None = None,
) -> Tensor:
    """Rotate q and k, write k and v into the cache, attend over each sequence's pages; out (T, H, E).

    `heads` is (H, K, D); values may have a head dim of their own, that of the cache. `tables` holds cosines
    and sines (positions, R <= D/2), `growth_M1` what each position's queries are multiplied by. A gradient
    flows only through tokens of this call, so under autograd every sequence must start at position 0. Raises
    ValueError where one does not, and for arguments that do not belong together.
    """
    (H, K, D), device, qkv_TX = heads, qkv_TX.device, qkv_TX.contiguous()
    check_tensor("k_PKDS", k_PKDS, (None, K, D, None), FLOATS, device)
    P, S, E = k_PKDS.shape[0], k_PKDS.shape[3], v_PKSE.shape[-1]
    check_tensor("v_PKSE", v_PKSE, (P, K, S, E), (k_PKDS.dtype,), device)
    check_heads(H, K, D, E)
    check_tensor("qkv_TX", qkv_TX, (None, (H + K) * D + K * E), FLOATS, device)
    wide, T = check_tables(tables, D, qkv_TX), qkv_TX.shape[0]
    check_tensor("batch.position_T", batch.position_T, (T,), (torch.int64,), device)
    check_tensor("batch.slot_T", batch.slot_T, (T,), (torch.int64,), device)
    check_tensor("batch.page_BP", batch.page_BP, (len(batch.starts), None), (torch.int64,), device)
    if sinks_H is not None:
        check_tensor("sinks_H", sinks_H, (H,), FLOATS, device)
    if growth_M1 is not None:
        check_tensor("growth_M1", growth_M1, (None, 1), wide, device)
    if scores.slopes_H is not None:
        check_tensor("scores.slopes_H", scores.slopes_H, (H,), wide, device)
    if (kernels := backend.find(qkv_TX.device, qkv_TX.dtype)) is None:
        return reference.rope_store_attention(
            qkv_TX, heads, tables, k_PKDS, v_PKSE, batch, scores, sinks_H, growth_M1
        )
    if torch.is_grad_enabled():
        if any(batch.starts) and qkv_TX.requires_grad:
            raise ValueError(
                "batch.starts must be 0 under autograd, which sees the tokens of one call alone; use "
                f"torch.no_grad() to go on from a cache. Got {batch.starts}"
            )
        inputs = (qkv_TX, sinks_H, kernels, heads, tables, growth_M1, k_PKDS, v_PKSE, batch, scores)
        attend = _attend if torch.compiler.is_compiling() else _RopeStoreAttention.apply
        return cast(Tensor, attend(*inputs))
    slots, paging = (batch.position_T, batch.slot_T, k_PKDS, v_PKSE), (batch.position_T, batch.page_BP)
    if torch.compiler.is_compiling():
        q_THD, _ = rope_store(qkv_TX, heads, *tables, *slots, growth_M1)
        return paged_attention(q_THD, k_PKDS, v_PKSE, *paging, batch.tiles, scores, sinks_H)
    q_THD, _ = kernels.rope_store(qkv_TX, heads, *tables, *slots, growth_M1)
    knobs = (scores, sinks_H, PRECISION, None)
    return kernels.paged_attention(q_THD, k_PKDS, v_PKSE, paging, batch.tiles, *knobs)[0]


# `torch.compiler.disable`, but for one thing: that would import the whole compiler here and now, in as much
# time as torch itself takes.
@_disable_dynamo
def _attend(*inputs: Any) -> Tensor:
    # Apart, since torch.compile cannot follow an autograd.Function that writes to the cache.
    return cast(Tensor, _RopeStoreAttention.apply(*inputs))


class _RopeStoreAttention(torch.autograd.Function):
    """q, k, v side by side -> rotated, written into pages, attended to: (T, (H + K) D + K E) -> (T, H, E).

    One function, since the pages that the forward reads are not what the gradient flows through: it flows
    through this call's own keys and values. So a graph is for sequences that start at position 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        qkv_TX: Tensor,
        sinks_H: Tensor | None,
        kernels: backend.Kernels,
        heads: Heads,
        tables: tuple[Tensor, Tensor],
        growth_M1: Tensor | None,
        k_PKDS: Tensor,
        v_PKSE: Tensor,
        batch: Paging,
        scores: Scores,
    ) -> Tensor:
        slots = (batch.position_T, batch.slot_T, k_PKDS, v_PKSE)
        q_THD, k_TKD = kernels.rope_store(qkv_TX, heads, *tables, *slots, growth_M1)
        paging, knobs = (batch.position_T, batch.page_BP), (scores, sinks_H, PRECISION, None)
        out_THE, kept = kernels.paged_attention(q_THD, k_PKDS, v_PKSE, paging, batch.tiles, *knobs)
        if qkv_TX.requires_grad or (sinks_H is not None and sinks_H.requires_grad):
            H, K, D = heads
            v_TKE = qkv_TX[:, (H + K) * D :].unflatten(1, (K, -1))
            # The cache's dtype is part of the forward; the gradient must see what the scores saw.
            k_TKD, v_TKE = k_TKD.to(k_PKDS.dtype), v_TKE.to(k_PKDS.dtype)
            ctx.save_for_backward(q_THD, k_TKD, v_TKE, sinks_H, *tables, growth_M1, batch.position_T, *kept)
            ctx.kernels, ctx.bounds, ctx.scores = kernels, batch.bounds, scores
        return out_THE

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q_THD, k_TKD, v_TKE, sinks_H, cos_MR, sin_MR, growth_M1, position_T, *kept = ctx.saved_tensors
        bounds_B1 = torch.tensor(ctx.bounds, device=q_THD.device)
        dq_THD, dk_TKD, dv_TKE, dsinks_H = ctx.kernels.attention_gradients(
            grads[0], q_THD, k_TKD, v_TKE, tuple(kept), bounds_B1, ctx.scores, sinks_H, PRECISION
        )
        dqkv_TX = ctx.kernels.rope_gradient(dq_THD, dk_TKD, dv_TKE, cos_MR, sin_MR, position_T, growth_M1)
        return dqkv_TX.to(q_THD.dtype), dsinks_H, *[None] * 8
