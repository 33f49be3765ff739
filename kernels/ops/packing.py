"""Stored matrices into panels (`kernels.panels`), integer-quantised on the way; rounded copies; checksums.

Legend: K inner width, N outer width, P panels, W panel width, G groups of K.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch
import torch.nn.functional as F
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


def checksums(tensors: Iterable[Tensor]) -> list[int]:
    """Compute a checksum of each tensor's bytes; a change of 4 of them is always seen, others nearly so.

    All are read once. Equal bytes have one on one kind of device, in one process. Of tensors on a GPU, it is
    waited for once.
    """
    sums = []
    for x in tensors:
        byte_N = x.detach().contiguous().flatten().view(torch.uint8)
        if missing := -len(byte_N) % 4:
            byte_N = F.pad(byte_N, (0, missing))
        kernels = backend.find(x.device, torch.float32) or reference
        sums.append(kernels.checksum(byte_N.view(torch.int32)))
    if not sums:
        return []
    read = iter(torch.cat(sums).tolist())
    return [hash(tuple(islice(read, len(part)))) for part in sums]
