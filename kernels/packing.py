"""Stored matrices into panels (`kernels.panels`), and integer-quantised on the way.

Legend: K inner width, N outer width, P panels, W panel width, G groups of K.
"""

from __future__ import annotations

import torch

from kernels.cpu import packing
from kernels.cpu.scalars import SCALARS


def pack_rows(out_PKW: torch.Tensor, w_NK: torch.Tensor, start: int = 0) -> None:
    """Write rows of a matrix stored (N, K) as the outputs from `start` on of panels, rounded."""
    on_cpu = out_PKW.device.type == w_NK.device.type == "cpu"
    if on_cpu and {out_PKW.dtype, w_NK.dtype} <= SCALARS.keys() and out_PKW.is_contiguous():
        packing.pack_into(out_PKW, w_NK.contiguous(), start)
        return
    W, N = out_PKW.shape[2], w_NK.shape[0]
    place_N = torch.arange(start, start + N, device=out_PKW.device)
    out_PKW[place_N // W, :, place_N % W] = w_NK.to(out_PKW.device, out_PKW.dtype)


def quantize_rows(
    codes_PKW: torch.Tensor, scales_PGW: torch.Tensor, w_NK: torch.Tensor, start: int = 0
) -> None:
    """Write rows of a matrix stored (N, K) as the outputs from `start` on, rounded; any float dtype."""
    rows_NK = w_NK.cpu() if w_NK.dtype in SCALARS else w_NK.cpu().float()
    if codes_PKW.device.type == "cpu":
        packing.quantize_into(codes_PKW, scales_PGW, rows_NK.contiguous(), start)
        return
    codes, scales = codes_PKW.cpu(), scales_PGW.cpu()
    packing.quantize_into(codes, scales, rows_NK.contiguous(), start)
    codes_PKW.copy_(codes)
    scales_PGW.copy_(scales)
