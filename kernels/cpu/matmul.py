"""Row-invariant matmul on the CPU: x_RK @ w_KN with the order along K spelt out.

Each output is summed over equal chunks along K (multiples of 8, at most K_CHUNK, the last one shorter).
Inside a chunk it is one chain of fused multiply-adds from the first k to the last, starting at zero; the
chunks' sums are added in order. No other row and no number of rows enters, so a row's bits are its own.

BLAS libraries compute many rows in much this order too, but change it for few rows, and some know
bfloat16 only in software. One kernel for any number of rows costs nothing: see benchmarks/LOG.md.

The weight is kept in panels of PANEL output columns, (panels, K, PANEL): a panel is read from its first
byte to its last, which is what memory does best, and a tile of some rows by some of its columns stays
in registers while it walks along K. Columns past N are zero.

Floor: the weight is read once, so time >= bytes / bandwidth; from some 16 rows on arithmetic
(2 R K N / peak) weighs more.

Integer-quantised weights (`kernels.panels`) are summed in the same way over the groups of K that share a
scale, and each group's sum enters the total times its scale, in one fused multiply-add.

Legend: R rows, K inner width, N outer width, W panel width, P panels, G groups of K.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernels.cpu.recording import empty, launch
from kernels.cpu.runtime import SCALARS, Kernel, given, tasks, variant_njit
from kernels.cpu.tile import ROWS, WEIGHT_BITS, block_product, widening
from kernels.panels import GROUP, PANEL

# A panel's chunk of K, 24 kB in float32, stays in the first cache level while all rows pass over it.
K_CHUNK = 192
# Rows whose inputs and sums stay in the second cache level while a task's panels pass over them.
ROW_BLOCK = 192


@cache
def _panel(w_dtype: torch.dtype) -> Any:
    """Compile the sums of one panel: total = x @ w for some rows of float32 x."""
    bits = WEIGHT_BITS[w_dtype]
    quantised = bits <= 8  # codes with scales
    product, wide_product = block_product(w_dtype, quantised), block_product(torch.float32, quantised)
    widen, row = widening(w_dtype, PANEL), PANEL * bits // 8

    @variant_njit(w_dtype)
    def panel(x: Any, w: int, scales: int, total: Any, wide: Any) -> None:
        R, K = x.shape
        chunks = (K + K_CHUNK - 1) // K_CHUNK
        chunk = GROUP if quantised else (K + 8 * chunks - 1) // (8 * chunks) * 8
        out = (total.ctypes.data, PANEL)
        for k0 in range(0, K, chunk):
            count = min(chunk, K - k0)
            part, length = w + k0 * row, count * row
            # What follows in memory is the next chunk, or the next panel's first.
            ahead, xk = (part + length, length), (x.ctypes.data + 4 * k0, K)
            scale = scales + 2 * PANEL * (k0 // chunk)
            # Several tiles of rows: converted once for all, the arithmetic is the same.
            if quantised and R > ROWS:
                for k in range(count):
                    widen(part + k * row, wide.ctypes.data + 4 * k * PANEL)
                wide_product(xk, (wide.ctypes.data, PANEL), out, R, PANEL, count, k0, ahead, scale)
            else:
                product(xk, (part, PANEL), out, R, PANEL, count, k0, ahead, scale)

    return panel


@cache
def _kernel(dtype: torch.dtype, w_dtype: torch.dtype, out_dtype: torch.dtype) -> Any:
    kind, load, _ = SCALARS[dtype]
    out_kind, _, store = SCALARS[out_dtype]
    bits = WEIGHT_BITS[w_dtype]
    panel, row, held_rows = _panel(w_dtype), PANEL * bits // 8, GROUP if bits <= 8 else 0

    def kernel(words: Any, a: Any) -> None:
        R, K, N = a.R, a.K, a.N
        scale_row = 2 * PANEL * ((K + GROUP - 1) // GROUP)
        height = min(R, ROW_BLOCK)
        x = np.empty((height, K), np.float32)
        total = np.empty((height, PANEL), np.float32)
        wide = np.empty((held_rows, PANEL), np.float32)
        groups = ((N + PANEL - 1) // PANEL + a.panels - 1) // a.panels  # of panels: a task's columns
        held = -1
        for i in tasks(words):
            first = i // groups * ROW_BLOCK
            last, group = min(first + ROW_BLOCK, R), i % groups
            if first != held:
                held = first
                for r in range(first, last):
                    for k in range(K):
                        x[r - first, k] = load(a.x_RK[r, k])
            for p in range(group * a.panels, min((group + 1) * a.panels, (N + PANEL - 1) // PANEL)):
                n0 = p * PANEL
                width = min(PANEL, N - n0)
                panel(x[: last - first], a.w + p * K * row, a.scales + p * scale_row, total, wide)
                for r in range(last - first):
                    o, t = a.out_RN[first + r], total[r]
                    if given(a.bias_N):
                        for n in range(width):
                            t[n] += load(a.bias_N[n0 + n])
                    for n in range(width):
                        o[n0 + n] = store(t[n])

    return Kernel(
        kernel, (dtype, w_dtype, out_dtype), "w scales R K N panels", x_RK=kind, bias_N=kind, out_RN=out_kind
    )


def matmul(
    x_RK: Tensor,
    w_PKW: Tensor,
    N: int,
    scales_PGW: Tensor | None = None,
    bias_N: Tensor | None = None,
    wide: bool = False,
) -> Tensor:
    """Compute x_RK @ w_KN (+ bias), (R, N), for w in panels, summed as this module says, rounded once.

    All contiguous, on the CPU; x, w and bias of one dtype (float32 or bfloat16), or w integers with
    bfloat16 scales. Sums are kept in float32, and put out so where `wide`.
    """
    R, K = x_RK.shape
    out_RN = empty((R, N), torch.float32 if wide else x_RK.dtype)
    # A few tasks a thread, so that none waits long for the other.
    panels = -(-w_PKW.shape[0] // (4 * torch.get_num_threads()))
    launch(
        _kernel(x_RK.dtype, w_PKW.dtype, out_RN.dtype), -(-w_PKW.shape[0] // panels) * -(-R // ROW_BLOCK),
        x_RK=x_RK, bias_N=bias_N, out_RN=out_RN, w=w_PKW, scales=scales_PGW, R=R, K=K, N=N, panels=panels,
    )  # fmt: skip
    return out_RN
