"""Gradients of the CPU kernels. Forward runs the kernel, backward is plain torch in float32.

Only the forward is under the row-invariance contract: a gradient is a sum over rows by nature. All of
it is deterministic.

Legend: T packed tokens, R rows, K inner width, N outer width, C model width, F MLP width,
H query heads, K kv heads, G = H / K, D head dim, P pages, S page size.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels.cpu import attention as cpu_attention
from kernels.cpu import rowwise
from kernels.cpu.matmul import matmul
from kernels.matmul import pack, unpack

# Queries that the attention's backward takes at a time: its scores are (H, QUERY_TILE, T), never (T, T).
QUERY_TILE = 256


class Matmul(torch.autograd.Function):
    """x_RK @ w_KN for w in panels."""

    @staticmethod
    def forward(ctx: Any, x_RK: torch.Tensor, w_PKW: torch.Tensor, N: int) -> torch.Tensor:
        ctx.save_for_backward(x_RK, w_PKW)
        return matmul(x_RK, w_PKW, N)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        x_RK, w_PKW = ctx.saved_tensors
        dy_RN = grads[0].float()
        dx_RK = dw_PKW = None
        if ctx.needs_input_grad[0]:
            dx_RK = (dy_RN @ unpack(w_PKW.float(), dy_RN.shape[1]).t()).to(x_RK.dtype)
        if ctx.needs_input_grad[1]:
            dw_PKW = pack((x_RK.float().t() @ dy_RN).to(w_PKW.dtype))
        return dx_RK, dw_PKW, None


class AddRmsNorm(torch.autograd.Function):
    """(x + residual, RMSNorm(x + residual) * w)."""

    @staticmethod
    def forward(
        ctx: Any, x_TC: torch.Tensor, residual_TC: torch.Tensor, w_C: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        sum_TC, out_TC = rowwise.add_rms_norm(x_TC, residual_TC, w_C, eps)
        ctx.save_for_backward(sum_TC, w_C)
        ctx.eps = eps
        return sum_TC, out_TC

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        sum_TC, w_C = ctx.saved_tensors
        dsum_TC, dout_TC = grads
        x_TC, dy_TC = sum_TC.float(), dout_TC.float()
        rstd_T1 = torch.rsqrt(x_TC.square().mean(-1, keepdim=True) + ctx.eps)
        normed_TC, dn_TC = x_TC * rstd_T1, dy_TC * w_C.float()
        along_T1 = (dn_TC * normed_TC).mean(-1, keepdim=True)
        dx_TC = (dsum_TC.float() + rstd_T1 * (dn_TC - normed_TC * along_T1)).to(sum_TC.dtype)
        return dx_TC, dx_TC, (dy_TC * normed_TC).sum(0).to(w_C.dtype), None


class RopeStoreAttention(torch.autograd.Function):
    """q, k, v side by side -> rotated, written into pages, attended to: (T, (H + 2K) D) -> (T, H, D).

    One function, since the pages that the forward reads are not what the gradient flows through: it flows
    through this call's own keys and values. So a graph is for sequences that start at position 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        qkv_TX: torch.Tensor,
        heads: tuple[int, int, int],
        tables: tuple[torch.Tensor, torch.Tensor],
        k_PKDS: torch.Tensor,
        v_PKSD: torch.Tensor,
        batch: Any,
        scale: float,
    ) -> torch.Tensor:
        q_THD, k_TKD = rowwise.rope_store(
            qkv_TX, heads, *tables, batch.position_T, batch.slot_T, k_PKDS, v_PKSD
        )
        tile_N3, tile_tokens = batch.tiles
        out_THD, softmax_2TH = cpu_attention.attention(
            q_THD, k_PKDS, v_PKSD, batch.position_T, batch.page_BP, tile_N3, tile_tokens, scale
        )
        if qkv_TX.requires_grad:
            H, K, D = heads
            lse_TH = softmax_2TH[0] + softmax_2TH[1].log()
            v_TKD = qkv_TX[:, (H + K) * D :].unflatten(1, (K, D))
            # The cache's dtype is part of the forward; the gradient must see what the scores saw.
            k_TKD, v_TKD = k_TKD.to(k_PKDS.dtype), v_TKD.to(k_PKDS.dtype)
            ctx.save_for_backward(q_THD, k_TKD, v_TKD, out_THD, lse_TH, *tables, batch.position_T)
            ctx.bounds, ctx.scale = batch.bounds, scale
        return out_THD

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        q_THD, k_TKD, v_TKD, out_THD, lse_TH, cos_MD, sin_MD, position_T = ctx.saved_tensors
        (T, H, D), K, dtype = q_THD.shape, k_TKD.shape[1], q_THD.dtype
        grad_THD = grads[0].float()
        dqkv_TXD = torch.zeros(T, H + 2 * K, D)
        delta_TH = (grad_THD * out_THD.float()).sum(-1)
        for start, end in zip(ctx.bounds, ctx.bounds[1:], strict=False):
            k_KND, v_KND = (x[start:end].float().transpose(0, 1) for x in (k_TKD, v_TKD))
            dk_KND, dv_KND = torch.zeros_like(k_KND), torch.zeros_like(v_KND)
            for t0 in range(start, end, QUERY_TILE):
                t1, n = min(end, t0 + QUERY_TILE), min(end, t0 + QUERY_TILE) - start

                def rows(x: torch.Tensor, a: int = t0, b: int = t1) -> torch.Tensor:
                    """(T, H, ...) -> (K, G * tile, ...): a kv head's query heads stand together."""
                    return x[a:b].float().transpose(0, 1).reshape(K, -1, *x.shape[2:])

                q, do = rows(q_THD), rows(grad_THD)
                lse, delta = rows(lse_TH).unsqueeze(-1), rows(delta_TH).unsqueeze(-1)
                k, v = k_KND[:, :n], v_KND[:, :n]
                p = (q @ k.transpose(1, 2) * ctx.scale - lse).exp_()
                later = torch.ones(t1 - t0, n, dtype=torch.bool).triu(t0 - start + 1)
                p.masked_fill_(later.repeat(H // K, 1), 0)
                dv_KND[:, :n] += p.transpose(1, 2) @ do
                ds = p.mul_(do @ v.transpose(1, 2) - delta).mul_(ctx.scale)
                dk_KND[:, :n] += ds.transpose(1, 2) @ q
                dqkv_TXD[t0:t1, :H] = (ds @ k).reshape(H, t1 - t0, D).transpose(0, 1)
            dqkv_TXD[start:end, H : H + K] = dk_KND.transpose(0, 1)
            dqkv_TXD[start:end, H + K :] = dv_KND.transpose(0, 1)
        # The rotation's transpose is the rotation by the opposite angle.
        cos, sin = cos_MD[position_T].unsqueeze(1), sin_MD[position_T].unsqueeze(1)
        a, b = (x.clone() for x in dqkv_TXD[:, : H + K].chunk(2, dim=-1))
        dqkv_TXD[:, : H + K, : D // 2] = a * cos + b * sin
        dqkv_TXD[:, : H + K, D // 2 :] = b * cos - a * sin
        return dqkv_TXD.flatten(1).to(dtype), None, None, None, None, None, None


class Swiglu(torch.autograd.Function):
    """silu(gate) * up for (gate, up) side by side."""

    @staticmethod
    def forward(ctx: Any, x_TX: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x_TX)
        return rowwise.swiglu(x_TX)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (x_TX,) = ctx.saved_tensors
        gate, up = x_TX.float().chunk(2, dim=-1)
        d, sigmoid = grads[0].float(), torch.sigmoid(gate)
        dgate = d * up * sigmoid * (1 + gate * (1 - sigmoid))
        return torch.cat((dgate, d * gate * sigmoid), dim=-1).to(x_TX.dtype)
