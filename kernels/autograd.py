"""The attention block under autograd: rope, store and attention as one function.

Not a custom op (`kernels.ops`), since it writes to the cache, and an op that writes can have no formula.

Legend: T packed tokens, X columns side by side, H query heads, K kv heads, D head dim, E head dim of
values, P pages, S page size, M positions.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels.knobs import Scores


class RopeStoreAttention(torch.autograd.Function):
    """q, k, v side by side -> rotated, written into pages, attended to: (T, (H + K) D + K E) -> (T, H, E).

    One function, since the pages that the forward reads are not what the gradient flows through: it flows
    through this call's own keys and values. So a graph is for sequences that start at position 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        ops: Any,
        qkv_TX: torch.Tensor,
        sinks_H: torch.Tensor | None,
        heads: tuple[int, int, int],
        tables: tuple[torch.Tensor, torch.Tensor],
        growth_M1: torch.Tensor | None,
        k_PKDS: torch.Tensor,
        v_PKSE: torch.Tensor,
        batch: Any,
        scores: Scores,
    ) -> torch.Tensor:
        q_THD, k_TKD = ops.rope_store(
            qkv_TX, heads, *tables, batch.position_T, batch.slot_T, k_PKDS, v_PKSE, growth_M1
        )
        out_THE, kept = ops.attention(q_THD, k_PKDS, v_PKSE, batch, scores, sinks_H)
        if qkv_TX.requires_grad or (sinks_H is not None and sinks_H.requires_grad):
            H, K, D = heads
            v_TKE = qkv_TX[:, (H + K) * D :].unflatten(1, (K, -1))
            # The cache's dtype is part of the forward; the gradient must see what the scores saw.
            k_TKD, v_TKE = k_TKD.to(k_PKDS.dtype), v_TKE.to(k_PKDS.dtype)
            inputs = (q_THD, k_TKD, v_TKE, sinks_H, *tables, growth_M1, batch.position_T)
            ctx.save_for_backward(*inputs, *kept)
            ctx.ops, ctx.bounds, ctx.scores = ops, batch.bounds, scores
        return out_THE  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        q_THD, k_TKD, v_TKE, sinks_H, cos_MR, sin_MR, growth_M1, position_T, *kept = ctx.saved_tensors
        *parts, dsinks_H = ctx.ops.attention_gradients(
            grads[0], q_THD, k_TKD, v_TKE, ctx.bounds, ctx.scores, sinks_H, *kept
        )
        dqkv_TX = ctx.ops.rope_gradient(*parts, cos_MR, sin_MR, position_T, growth_M1)
        return None, dqkv_TX.to(q_THD.dtype), dsinks_H, *[None] * 7
