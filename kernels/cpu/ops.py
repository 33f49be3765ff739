"""The operations of `kernels.dispatch` by the CPU kernels: what `kernels.gpu.ops` is on a GPU.

The forward is under the row-invariance contract. Gradients are plain torch in float32, deterministic.

Legend: T packed tokens, R rows, K inner width or kv heads, N outer width, H query heads, D head dim,
E head dim of values, P panels or pages, W panel width, S page size, M positions.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels import blockwise
from kernels.cpu import attention as cpu_attention
from kernels.cpu import rowwise
from kernels.cpu.matmul import matmul as matmul
from kernels.knobs import Scores
from kernels.matmul import pack, unpack

add_norm = rowwise.add_norm
norm_qk = rowwise.norm_qk
activate = rowwise.activate
rope_store = rowwise.rope_store


def matmul_gradients(
    x_RK: torch.Tensor, w_PKW: torch.Tensor, dy_RN: torch.Tensor, need_x: bool, need_w: bool
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """(dx, dw), dw in panels, each if it is needed."""
    dy_RN = dy_RN.float()
    dx_RK = (dy_RN @ unpack(w_PKW.float(), dy_RN.shape[1]).t()).to(x_RK.dtype) if need_x else None
    return dx_RK, pack((x_RK.float().t() @ dy_RN).to(w_PKW.dtype)) if need_w else None


def rope_gradient(
    dq_THD: torch.Tensor,
    dk_TKD: torch.Tensor,
    dv_TKE: torch.Tensor,
    cos_MR: torch.Tensor,
    sin_MR: torch.Tensor,
    position_T: torch.Tensor,
    growth_M1: torch.Tensor | None,
) -> torch.Tensor:
    """dqkv_TX from the gradients of what `rope_store` turned and of the values; it writes to them."""
    if growth_M1 is not None:
        dq_THD *= growth_M1[position_T].unsqueeze(1)
    # The rotation's transpose is the rotation by the opposite angle.
    cos, sin = cos_MR[position_T].unsqueeze(1), sin_MR[position_T].unsqueeze(1)
    R = cos.shape[-1]
    for turned in (dq_THD, dk_TKD):
        a, b = (x.clone() for x in turned[..., : 2 * R].chunk(2, dim=-1))
        turned[..., :R] = a * cos + b * sin
        turned[..., R : 2 * R] = b * cos - a * sin
    return torch.cat([x.flatten(1) for x in (dq_THD, dk_TKD, dv_TKE)], dim=1)


def attention(
    q_THD: torch.Tensor,
    k_PKDS: torch.Tensor,
    v_PKSE: torch.Tensor,
    batch: Any,
    scores: Scores,
    sinks_H: torch.Tensor | None,
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """(out_THE, what its gradient wants beside the inputs)."""
    tile_N3, tile_tokens = batch.tiles
    paging = (batch.position_T, batch.page_BP, tile_N3, tile_tokens)
    return cpu_attention.attention(q_THD, k_PKDS, v_PKSE, *paging, scores, sinks_H), ()


attention_gradients = blockwise.backward
