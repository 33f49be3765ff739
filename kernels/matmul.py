"""The layout that matrices are kept in: panels of PANEL output columns, each contiguous.

A matrix of K inputs and N outputs is a tensor (P, K, W) with W = PANEL and P = ceil(N / W); columns past
N are zero, and stay zero under any optimizer whose step is zero where the gradient always was.

Legend: K inner width, N outer width, P panels, W panel width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from kernels.cpu import packing
from kernels.cpu.matmul import PANEL as PANEL
from kernels.cpu.scalars import SCALARS


def packed_shape(K: int, N: int) -> tuple[int, int, int]:
    """(P, K, W) of a (K, N) matrix."""
    return -(-N // PANEL), K, PANEL


def pack(w_KN: torch.Tensor) -> torch.Tensor:
    """(..., K, N) -> (..., P, K, W), contiguous, of the same dtype."""
    *rows, K, N = w_KN.shape
    P, _, W = packed_shape(K, N)
    return F.pad(w_KN, (0, P * W - N)).view(*rows, K, P, W).transpose(-3, -2).contiguous()


def unpack(w_PKW: torch.Tensor, N: int) -> torch.Tensor:
    """(..., P, K, W) -> (..., K, N): the inverse of `pack`, differentiable."""
    return w_PKW.transpose(-3, -2).flatten(-2)[..., :N]


def pack_rows(out_PKW: torch.Tensor, w_NK: torch.Tensor, start: int = 0) -> None:
    """Write rows of a matrix stored (N, K) as the outputs from `start` on of panels, rounded."""
    on_cpu = out_PKW.device.type == w_NK.device.type == "cpu"
    if on_cpu and {out_PKW.dtype, w_NK.dtype} <= SCALARS.keys() and out_PKW.is_contiguous():
        packing.pack_into(out_PKW, w_NK.contiguous(), start)
        return
    W, N = out_PKW.shape[2], w_NK.shape[0]
    place_N = torch.arange(start, start + N, device=out_PKW.device)
    out_PKW[place_N // W, :, place_N % W] = w_NK.to(out_PKW.device, out_PKW.dtype)
