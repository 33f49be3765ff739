"""The layout that matrices are kept in: panels of PANEL output columns, each contiguous.

A matrix of K inputs and N outputs is a tensor (P, K, W) with W = PANEL and P = ceil(N / W); columns past
N are zero, and stay zero under any optimizer whose step is zero where the gradient always was.

Legend: K inner width, N outer width, P panels, W panel width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from kernels.cpu.matmul import PANEL


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
