"""Stored matrices into panels (`kernels.panels`), integer-quantised on the way, and rounded copies.

Legend: K inner width, N outer width, P panels, W panel width, G groups of K.
"""

from __future__ import annotations

from torch import Tensor

from kernels import backend, reference
from kernels.checks import FLOATS, check_tensor
from kernels.cpu import packing
from kernels.cpu.runtime import SCALARS


def pack_rows(out_PKW: Tensor, w_NK: Tensor, start: int = 0) -> None:
    """Write rows of a matrix stored (N, K) as the outputs from `start` on of panels, rounded."""
    here = out_PKW.device == w_NK.device and out_PKW.is_contiguous()
    (backend.of(out_PKW, w_NK) if here else reference).pack_into(out_PKW, w_NK.contiguous(), start)


def quantize_rows(codes_PKW: Tensor, scales_PGW: Tensor, w_NK: Tensor, start: int = 0) -> None:
    """Write rows of a matrix stored (N, K) as the outputs from `start` on, rounded; any float dtype."""
    rows_NK = w_NK.cpu() if w_NK.dtype in SCALARS else w_NK.cpu().float()
    codes, scales = codes_PKW.cpu(), scales_PGW.cpu()  # themselves, where they are there already
    packing.quantize_into(codes, scales, rows_NK.contiguous(), start)
    codes_PKW.copy_(codes)
    scales_PGW.copy_(scales)


def round_into(x: Tensor, out: Tensor) -> None:
    """Write x, rounded to the nearest of out's dtype, ties to even.

    Raises ValueError unless they are of one shape and device, and `out` is contiguous.
    """
    check_tensor("out", out, x.shape, FLOATS, x.device)
    backend.of(out).round_into(x, out)
