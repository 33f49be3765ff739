"""A GPU's `kernels.backend.Backend`, by the Triton kernels.

Legend: T packed tokens, R rows, K inner width or kv heads, N outer width, H query heads, D head dim,
E head dim of values, P panels or pages, W panel width, S page size.
"""

from __future__ import annotations

import torch

from kernels import reference
from kernels.gpu import activation, norm
from kernels.gpu import attention as gpu_attention
from kernels.gpu import matmul as gpu_matmul
from kernels.gpu import rope as gpu_rope
from kernels.gpu import softmax as gpu_softmax
from kernels.gpu import xielu as gpu_xielu
from kernels.gpu.attention_backward import backward
from kernels.gpu.quantized import quantized_matmul
from kernels.knobs import PieceNorms, Scores
from kernels.tiling import Kept, SharedPrefix, Tiles, positions, work_list

# Of float32's products: no rounding but float32's own.
PRECISION = "ieee"
# Query tokens of a run of whole sequences by themselves.
RUN_TOKENS = 64

add_norm = norm.add_norm
add_norm_gradient = norm.add_norm_gradient
activate = activation.activate
activate_gradient = activation.activate_gradient
xielu = gpu_xielu.xielu
xielu_gradient = gpu_xielu.xielu_gradient
log_softmax = gpu_softmax.log_softmax
rope_store = gpu_rope.rope_store
rope_gradient = gpu_rope.rope_gradient
argmax = reference.argmax
ranks = reference.ranks
adamw = reference.adamw
pack_into = reference.pack_into
round_into = reference.round_into


def log_softmax_at(
    logits_RV: torch.Tensor, temperature_R: torch.Tensor, column_RX: torch.Tensor
) -> torch.Tensor:
    """Compute some columns of `log_softmax`, (R, X)."""
    softmax_2R = gpu_softmax.softmax(logits_RV, temperature_R)
    return reference.from_softmax(softmax_2R, logits_RV, temperature_R, column_RX)


def draw(logits_RV: torch.Tensor, temperature_R: torch.Tensor, uniform_R: torch.Tensor) -> torch.Tensor:
    """Draw a token of each row by a number in [0, 1), (R,)."""
    return reference.invert(log_softmax(logits_RV, temperature_R), uniform_R)


def matmul(
    x_RK: torch.Tensor,
    w_PKW: torch.Tensor,
    N: int,
    scales_PGW: torch.Tensor | None = None,
    bias_N: torch.Tensor | None = None,
    wide: bool = False,
) -> torch.Tensor:
    """x_RK @ w_KN (+ bias), (R, N), for w in panels, or codes and scales; in float32 where `wide`."""
    if scales_PGW is None:
        return gpu_matmul.matmul(x_RK, w_PKW, N, bias_N, PRECISION, wide)
    out_RN = quantized_matmul(x_RK, w_PKW, scales_PGW, N, PRECISION, wide)
    return out_RN if bias_N is None else out_RN + bias_N


def matmul_gradients(
    x_RK: torch.Tensor, w_PKW: torch.Tensor, dy_RN: torch.Tensor, need_x: bool, need_w: bool
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """(dx, dw), dw in panels, each if it is needed."""
    dy_RN = dy_RN.to(x_RK.dtype).contiguous()
    dx_RK = gpu_matmul.matmul_gradient_x(dy_RN, w_PKW, PRECISION) if need_x else None
    return dx_RK, gpu_matmul.matmul_gradient_w(x_RK, dy_RN, PRECISION) if need_w else None


def grouped_matmul(
    x_RK: torch.Tensor,
    w_EPKW: torch.Tensor,
    N: int,
    bound_E1: torch.Tensor,
    scales_EPGW: torch.Tensor | None = None,
    bias_EN: torch.Tensor | None = None,
) -> torch.Tensor:
    """`matmul` of rows bound[e] to bound[e + 1] with the matrix of expert e, for each expert."""
    if scales_EPGW is None:
        work = gpu_matmul.work_list(x_RK, bound_E1.int(), PRECISION)
        return gpu_matmul.grouped_matmul(x_RK, w_EPKW, N, work, bias_EN, PRECISION)
    return reference.by_expert(matmul, x_RK, w_EPKW, N, bound_E1, scales_EPGW, bias_EN)


def grouped_matmul_gradients(
    x_RK: torch.Tensor,
    w_EPKW: torch.Tensor,
    dy_RN: torch.Tensor,
    bound_E1: torch.Tensor,
    need_x: bool,
    need_w: bool,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """(dx, dw), dw in panels and zero for an expert without rows, each if it is needed."""
    work = gpu_matmul.work_list(x_RK, bound_E1.int(), PRECISION)
    dx_RK = gpu_matmul.grouped_matmul_gradient_x(dy_RN, w_EPKW, work, PRECISION) if need_x else None
    return dx_RK, gpu_matmul.grouped_matmul_gradient_w(x_RK, dy_RN, work, PRECISION) if need_w else None


def norm_qk(
    qkv_TX: torch.Tensor,
    q_w: torch.Tensor | None,
    q_b: torch.Tensor | None,
    k_w: torch.Tensor | None,
    k_b: torch.Tensor | None,
    knobs: PieceNorms,
) -> torch.Tensor:
    """`kernels.reference.norm_qk`, each piece a row of `add_norm`."""
    widths, sizes, kind = knobs
    parts = list(qkv_TX.split((*widths, qkv_TX.shape[1] - sum(widths)), dim=1))
    for i, (w, b) in enumerate(((q_w, q_b), (k_w, k_b))):
        size = sizes[i]
        if w is None or w.numel() == size:
            rows = parts[i].reshape(-1, size).contiguous()
            parts[i] = add_norm(rows, None, w, b, kind)[1].view(parts[i].shape)
        else:  # a weight for each head
            heads = zip(parts[i].split(size, dim=1), w.view(-1, size), strict=True)
            parts[i] = torch.cat([add_norm(x.contiguous(), None, w_D, b, kind)[1] for x, w_D in heads], dim=1)
    return torch.cat(parts, dim=1)


def rope_qk(
    qkv_TX: torch.Tensor,
    heads: tuple[int, int, int],
    cos_MR: torch.Tensor,
    sin_MR: torch.Tensor,
    position_T: torch.Tensor,
    dtype: torch.dtype | None,
) -> torch.Tensor:
    """Rotate queries and keys as `rope_store` does, and leave the values beside them as they are; (T, X)."""
    q_THD, k_TKD = rope_store(qkv_TX, heads, cos_MR, sin_MR, position_T)
    H, K, D = heads
    return torch.cat((q_THD.flatten(1), k_TKD.flatten(1), qkv_TX[:, (H + K) * D :]), dim=1)


def packed_attention(
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKE: torch.Tensor,
    bounds_B1: torch.Tensor,
    scores: Scores,
    sinks_H: torch.Tensor | None,
    input_precision: str,
) -> tuple[torch.Tensor, Kept]:
    """Return (out_THE, (out_THE, softmax_2TH)) over packed sequences."""
    T = q_THD.shape[0]
    tiles, position_T = (work_list(bounds_B1, T, RUN_TOKENS), RUN_TOKENS), positions(bounds_B1, T)
    kept = gpu_attention.forward(q_THD, k_TKD, v_TKE, position_T, tiles, scores, sinks_H, input_precision)
    return kept[0], kept


def paged_attention(
    q_THD: torch.Tensor,
    k_PKDS: torch.Tensor,
    v_PKSE: torch.Tensor,
    paging: tuple[torch.Tensor, torch.Tensor],
    tiles: Tiles,
    scores: Scores,
    sinks_H: torch.Tensor | None,
    input_precision: str,
    prefix: SharedPrefix | None,
) -> tuple[torch.Tensor, Kept]:
    """Return (out_THE, (out_THE, softmax_2TH)) over pages; a shared prefix is read once a group."""
    position_T, page_BP = paging
    sinks_H = _read_as(sinks_H, q_THD.dtype)
    kept = gpu_attention.paged(
        q_THD, k_PKDS, v_PKSE, position_T, page_BP, tiles, scores, sinks_H, input_precision, prefix
    )
    return kept[0], kept


def attention_gradients(
    dout_THE: torch.Tensor,
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKE: torch.Tensor,
    kept: Kept,
    bounds_B1: torch.Tensor,
    scores: Scores,
    sinks_H: torch.Tensor | None,
    input_precision: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return (dq, dk, dv, dsinks) over whole sequences, in the dtypes of q and of the sinks."""
    k_TKD, v_TKE = (x.to(q_THD.dtype).contiguous() for x in (k_TKD, v_TKE))
    out_THE, softmax_2TH = kept
    knobs = (scores, _read_as(sinks_H, q_THD.dtype), input_precision)
    dq_THD, dk_TKD, dv_TKE, dsinks_H = backward(
        dout_THE.contiguous(), q_THD, k_TKD, v_TKE, out_THE, softmax_2TH, bounds_B1, *knobs
    )
    if sinks_H is not None and dsinks_H is not None:
        dsinks_H = dsinks_H.to(sinks_H.dtype)
    return dq_THD, dk_TKD, dv_TKE, dsinks_H


def _read_as(sinks_H: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor | None:
    """Return the sinks in a dtype that goes with queries of this one."""
    return sinks_H if sinks_H is None or sinks_H.dtype == dtype else sinks_H.float()
