"""A GPU's `kernels.backend.Backend`, by the Triton kernels.

Legend: T packed tokens, R rows, K inner width or kv heads, N outer width, H query heads, D head dim,
E head dim of values, P panels or pages, W panel width, S page size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels import reference
from kernels.gpu import attention
from kernels.gpu import matmul as gpu_matmul
from kernels.gpu.activation import activate as activate
from kernels.gpu.activation import activate_gradient as activate_gradient
from kernels.gpu.attention_backward import backward
from kernels.gpu.norm import add_norm as add_norm
from kernels.gpu.norm import add_norm_gradient as add_norm_gradient
from kernels.gpu.quantized import quantized_matmul
from kernels.gpu.rope import rope_gradient as rope_gradient
from kernels.gpu.rope import rope_store as rope_store
from kernels.gpu.softmax import log_softmax as log_softmax
from kernels.gpu.softmax import softmax
from kernels.gpu.xielu import xielu as xielu
from kernels.gpu.xielu import xielu_gradient as xielu_gradient
from kernels.knobs import Heads, PieceNorms, Scores
from kernels.reference import adamw as adamw
from kernels.reference import argmax as argmax
from kernels.reference import checksum as checksum
from kernels.reference import masked as masked
from kernels.reference import pack_into as pack_into
from kernels.reference import ranks as ranks
from kernels.reference import round_into as round_into
from kernels.tiling import Kept, SharedPrefix, Tiles, positions, work_list

# Of float32's products: no rounding but float32's own.
PRECISION = "ieee"
# Query tokens of a run of whole sequences by themselves.
RUN_TOKENS = 64


def log_softmax_at(logits_RV: Tensor, temperature_R: Tensor, column_RX: Tensor) -> Tensor:
    """Compute some columns of `log_softmax`, (R, X)."""
    return reference.from_softmax(softmax(logits_RV, temperature_R), logits_RV, temperature_R, column_RX)


def draw(logits_RV: Tensor, temperature_R: Tensor, uniform_R: Tensor) -> Tensor:
    """Draw a token of each row by a number in [0, 1), (R,)."""
    return reference.invert(log_softmax(logits_RV, temperature_R), uniform_R)


def matmul(
    x_RK: Tensor, w_PKW: Tensor, N: int, scales_PGW: Tensor | None, bias_N: Tensor | None, wide: bool = False
) -> Tensor:
    """Compute x_RK @ w_KN (+ bias), (R, N), for w in panels, or codes and scales; in float32 where `wide`."""
    if scales_PGW is None:
        return gpu_matmul.matmul(x_RK, w_PKW, N, bias_N, PRECISION, wide)
    out_RN = quantized_matmul(x_RK, w_PKW, scales_PGW, N, PRECISION, wide)
    return out_RN if bias_N is None else out_RN + bias_N


def matmul_gradients(
    x_RK: Tensor, w_PKW: Tensor, dy_RN: Tensor, need_x: bool, need_w: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return (dx, dw), dw in panels, each if it is needed."""
    dy_RN = dy_RN.to(x_RK.dtype).contiguous()
    dx_RK = gpu_matmul.matmul_gradient_x(dy_RN, w_PKW, PRECISION) if need_x else None
    return dx_RK, gpu_matmul.matmul_gradient_w(x_RK, dy_RN, PRECISION) if need_w else None


def grouped_matmul(
    x_RK: Tensor, w_EPKW: Tensor, N: int, bound_E1: Tensor, scales_EPGW: Tensor | None, bias_EN: Tensor | None
) -> Tensor:
    """Compute `matmul` of rows bound[e] to bound[e + 1] with the matrix of expert e, for each expert."""
    if scales_EPGW is None:
        work = gpu_matmul.work_list(x_RK, bound_E1.int(), PRECISION)
        return gpu_matmul.grouped_matmul(x_RK, w_EPKW, N, work, bias_EN, PRECISION)
    return reference.by_expert(matmul, x_RK, w_EPKW, N, bound_E1, scales_EPGW, bias_EN)


def grouped_matmul_gradients(
    x_RK: Tensor, w_EPKW: Tensor, dy_RN: Tensor, bound_E1: Tensor, need_x: bool, need_w: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return (dx, dw), dw in panels and zero for an expert without rows, each if it is needed."""
    work = gpu_matmul.work_list(x_RK, bound_E1.int(), PRECISION)
    dx_RK = gpu_matmul.grouped_matmul_gradient_x(dy_RN, w_EPKW, work, PRECISION) if need_x else None
    return dx_RK, gpu_matmul.grouped_matmul_gradient_w(x_RK, dy_RN, work, PRECISION) if need_w else None


def norm_qk(
    qkv_TX: Tensor,
    q_w: Tensor | None,
    q_b: Tensor | None,
    k_w: Tensor | None,
    k_b: Tensor | None,
    knobs: PieceNorms,
) -> Tensor:
    """Compute `kernels.reference.norm_qk`, each piece a row of `add_norm`."""
    widths, sizes, kind = knobs
    sides = list(qkv_TX.split((*widths, qkv_TX.shape[1] - sum(widths)), dim=1))
    for i, (size, w, b) in enumerate(zip(sizes, (q_w, k_w), (q_b, k_b), strict=True)):
        if w is None or w.numel() == size:
            rows = sides[i].reshape(-1, size).contiguous()
            sides[i] = add_norm(rows, None, w, b, kind)[1].view(sides[i].shape)
        else:  # a weight for each head
            heads = zip(sides[i].split(size, dim=1), w.view(-1, size), strict=True)
            sides[i] = torch.cat([add_norm(x.contiguous(), None, w_D, b, kind)[1] for x, w_D in heads], dim=1)
    return torch.cat(sides, dim=1)


def rope_qk(
    qkv_TX: Tensor,
    heads: Heads,
    cos_MR: Tensor,
    sin_MR: Tensor,
    position_T: Tensor,
    dtype: torch.dtype | None,
) -> Tensor:
    """Rotate queries and keys as `rope_store` does, and leave the values beside them as they are; (T, X)."""
    q_THD, k_TKD = rope_store(qkv_TX, heads, cos_MR, sin_MR, position_T)
    H, K, D = heads
    return torch.cat((q_THD.flatten(1), k_TKD.flatten(1), qkv_TX[:, (H + K) * D :]), dim=1)


def packed_attention(
    q_THD: Tensor,
    k_TKD: Tensor,
    v_TKE: Tensor,
    bounds_B1: Tensor,
    scores: Scores,
    sinks_H: Tensor | None,
    input_precision: str,
) -> tuple[Tensor, Kept]:
    """Return (out_THE, (out_THE, softmax_2TH)) over packed sequences."""
    T = q_THD.shape[0]
    tiles, position_T = (work_list(bounds_B1, T, RUN_TOKENS), RUN_TOKENS), positions(bounds_B1, T)
    kept = attention.forward(q_THD, k_TKD, v_TKE, position_T, tiles, scores, sinks_H, input_precision)
    return kept[0], kept


def paged_attention(
    q_THD: Tensor,
    k_PKDS: Tensor,
    v_PKSE: Tensor,
    paging: tuple[Tensor, Tensor],
    tiles: Tiles,
    scores: Scores,
    sinks_H: Tensor | None,
    input_precision: str,
    prefix: SharedPrefix | None,
) -> tuple[Tensor, Kept]:
    """Return (out_THE, (out_THE, softmax_2TH)) over pages; a shared prefix is read once a group."""
    position_T, page_BP = paging
    knobs = (scores, _read_as(sinks_H, q_THD.dtype), input_precision, prefix)
    kept = attention.paged(q_THD, k_PKDS, v_PKSE, position_T, page_BP, tiles, *knobs)
    return kept[0], kept


def attention_gradients(
    dout_THE: Tensor,
    q_THD: Tensor,
    k_TKD: Tensor,
    v_TKE: Tensor,
    kept: Kept,
    bounds_B1: Tensor,
    scores: Scores,
    sinks_H: Tensor | None,
    input_precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return (dq, dk, dv, dsinks) over whole sequences, in the dtypes of q and of the sinks."""
    k_TKD, v_TKE = (x.to(q_THD.dtype).contiguous() for x in (k_TKD, v_TKE))
    (out_THE, softmax_2TH), dout_THE = kept, dout_THE.contiguous()
    knobs = (scores, _read_as(sinks_H, q_THD.dtype), input_precision)
    dq_THD, dk_TKD, dv_TKE, dsinks_H = backward(
        dout_THE, q_THD, k_TKD, v_TKE, out_THE, softmax_2TH, bounds_B1, *knobs
    )
    if sinks_H is not None and dsinks_H is not None:
        dsinks_H = dsinks_H.to(sinks_H.dtype)
    return dq_THD, dk_TKD, dv_TKE, dsinks_H


def _read_as(sinks_H: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return the sinks in a dtype that goes with queries of this one."""
    return sinks_H if sinks_H is None or sinks_H.dtype == dtype else sinks_H.float()
