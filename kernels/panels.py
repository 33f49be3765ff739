"""The layout that matrices are kept in: panels of PANEL output columns, each contiguous.

A matrix of K inputs and N outputs is a tensor (P, K, W) with W = PANEL and P = ceil(N / W); columns past
N are zero, and stay zero under any optimizer whose step is zero where the gradient always was.

An integer-quantised matrix has 8 or 4 bits a weight, and a scale for each GROUP inputs of an output:
w = code * scale, where scale is the group's largest weight, with its sign, over -2^(bits - 1), rounded to
bfloat16: the largest weight gets the one code that has no negative (as in llama.cpp's Q4_0). Codes stand in
panels too: int8 (P, K, W), or two codes of four bits in a uint8, (P, K, W / 2), 8 added to each: byte j of
a row holds column j // 8 * 16 + j % 8 in its low half, and the column 8 further in its high half.

Legend: K inner width, N outer width, T tokens, P panels, W panel width, G groups of K.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PANEL = 32
# Inputs that share a scale, in integer-quantised weights.
GROUP = 64
CODES = {8: torch.int8, 4: torch.uint8}
HALF = 8  # columns in the low halves of a run of bytes, and in their high halves


def packed_shape(K: int, N: int) -> tuple[int, int, int]:
    """(P, K, W) of a (K, N) matrix."""
    return -(-N // PANEL), K, PANEL


def pack(w_KN: Tensor) -> Tensor:
    """(..., K, N) -> (..., P, K, W), contiguous, of the same dtype."""
    *rows, K, N = w_KN.shape
    P, _, W = packed_shape(K, N)
    return F.pad(w_KN, (0, P * W - N)).view(*rows, K, P, W).transpose(-3, -2).contiguous()


def unpack(w_PKW: Tensor, N: int) -> Tensor:
    """(..., P, K, W) -> (..., K, N): the inverse of `pack`, differentiable."""
    return w_PKW.transpose(-3, -2).flatten(-2)[..., :N]


def packed_shapes(K: int, N: int, bits: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Shapes of the codes (P, K, W * bits / 8) and of the scales (P, G, W) of a (K, N) matrix."""
    P = -(-N // PANEL)
    return (P, K, PANEL * bits // 8), (P, -(-K // GROUP), PANEL)


def dequantize(codes_PKW: Tensor, scales_PGW: Tensor, N: int) -> Tensor:
    """(..., P, K, W) and (..., P, G, W) -> (..., K, N) in float32."""
    scale = scales_PGW.float().repeat_interleave(GROUP, dim=-2)[..., : codes_PKW.shape[-2], :]
    return (_whole(codes_PKW) * scale).transpose(-3, -2).flatten(-2)[..., :N]


def columns(codes_PKW: Tensor, scales_PGW: Tensor, index_T: Tensor) -> Tensor:
    """Return some outputs of the matrix as rows, (T, K) in float32: what a tied embedding looks up."""
    panel_T, place_T = index_T // PANEL, index_T % PANEL
    scale_TK = scales_PGW[panel_T, :, place_T].float().repeat_interleave(GROUP, dim=1)
    if codes_PKW.dtype == torch.int8:
        code_TK = codes_PKW[panel_T, :, place_T]
    else:
        shift_T1 = (place_T // HALF % 2 * 4).unsqueeze(1).to(torch.uint8)
        pair_TK = codes_PKW[panel_T, :, place_T // (2 * HALF) * HALF + place_T % HALF]
        code_TK = (pair_TK >> shift_T1 & 15).to(torch.int8) - 8
    return code_TK * scale_TK[:, : code_TK.shape[1]]


def _whole(codes_PKW: Tensor) -> Tensor:
    """(..., W) float32 of the codes themselves."""
    if codes_PKW.dtype == torch.int8:
        return codes_PKW.float()
    runs = codes_PKW.unflatten(-1, (-1, HALF))
    return (torch.stack((runs & 15, runs >> 4), dim=-2).flatten(-3).to(torch.int8) - 8).float()
