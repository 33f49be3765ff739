"""What autograd sees of the kernels. `ops` is the module that has them: `kernels.cpu.ops`, `kernels.gpu.ops`.

Only the forward is under the row-invariance contract: a gradient is a sum over rows by nature. All of
it is deterministic.

Legend: T packed tokens, R rows, K inner width, N outer width, C model width, F MLP width,
H query heads, K kv heads, D head dim, E head dim of values, P pages, S page size, M positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kernels.knobs import Scores

Kernel = Callable[..., Any]


class Matmul(torch.autograd.Function):
    """x_RK @ w_KN, plus a bias if there is one, for w in panels."""

    @staticmethod
    def forward(
        ctx: Any, ops: Any, x_RK: torch.Tensor, w_PKW: torch.Tensor, bias_N: torch.Tensor | None, N: int
    ) -> torch.Tensor:
        ctx.save_for_backward(x_RK, w_PKW)
        ctx.ops, ctx.bias_dtype = ops, None if bias_N is None else bias_N.dtype
        return ops.matmul(x_RK, w_PKW, N, bias_N=bias_N)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        x_RK, w_PKW = ctx.saved_tensors
        _, need_x, need_w, *_ = ctx.needs_input_grad
        dx_RK, dw_PKW = ctx.ops.matmul_gradients(x_RK, w_PKW, grads[0], need_x, need_w)
        dbias_N = None if ctx.bias_dtype is None else grads[0].float().sum(0).to(ctx.bias_dtype)
        return None, dx_RK, dw_PKW, dbias_N, None


class ByOracle(torch.autograd.Function):
    """A kernel that treats rows by themselves; its gradient is that of its oracle, in float32."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, oracle: Kernel, knobs: Any, *inputs: torch.Tensor | None) -> Any:
        ctx.save_for_backward(*inputs)
        ctx.oracle, ctx.knobs = oracle, knobs
        return kernel(*inputs, knobs)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        inputs = ctx.saved_tensors
        wide = [x if x is None else x.detach().float().requires_grad_() for x in inputs]
        with torch.enable_grad():
            out = ctx.oracle(*wide, ctx.knobs)
        outs = out if isinstance(out, tuple) else (out,)
        given = [x for x in wide if x is not None]
        found = iter(torch.autograd.grad(outs, given, [g.float() for g in grads]))
        return None, None, None, *(x if x is None else next(found).to(x.dtype) for x in inputs)


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
