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

Weights of whole numbers (`kernels.panels`) are summed in the same way over the groups of K that share a
scale, and each group's sum enters the total times its scale, in one fused multiply-add.

Legend: R rows, K inner width, N outer width, W panel width, P panels, G groups of K.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray

from kernels.cpu.recording import empty
from kernels.cpu.runtime import Kernel, address, launch, next_task, variant_njit
from kernels.cpu.scalars import SCALARS
from kernels.cpu.tile import ROWS, WEIGHT_BITS, block_product, widening
from kernels.panels import GROUP, PANEL

# A panel's chunk of K, 24 kB in float32, stays in the first cache level while all rows pass over it.
K_CHUNK = 192
# Rows whose inputs and sums stay in the second cache level while a task's panels pass over them.
ROW_BLOCK = 192


@cache
def _kernel(dtype: torch.dtype, w_dtype: torch.dtype, out_dtype: torch.dtype) -> Any:
    kind, load, _ = SCALARS[dtype]
    out_kind, _, store = SCALARS[out_dtype]
    bits = WEIGHT_BITS[w_dtype]
    whole = bits <= 8  # numbers with scales
    product, wide_product = block_product(w_dtype, whole), block_product(torch.float32, whole)
    widen = widening(w_dtype, PANEL)
    row = PANEL * bits // 8

    @variant_njit(dtype, w_dtype, out_dtype)
    def panel(
        x: Any,
        w: int,
        scales: int,
        has_bias: bool,
        bias: Any,
        out: Any,
        total: Any,
        wide: Any,
        n0: int,
        width: int,
    ) -> None:
        """One panel at address w: out[:, n0 : n0 + width] = x @ panel."""
        R, K = x.shape
        chunks = (K + K_CHUNK - 1) // K_CHUNK
        chunk = GROUP if whole else (K + 8 * chunks - 1) // (8 * chunks) * 8
        x_address, total_address, wide_address = x.ctypes.data, total.ctypes.data, wide.ctypes.data
        for k0 in range(0, K, chunk):
            count = min(chunk, K - k0)
            part, length = w + k0 * row, count * row
            # What follows in memory is the next chunk, or the next panel's first.
            after, xk, scale = part + length, x_address + 4 * k0, scales + 2 * PANEL * (k0 // chunk)
            if (
                whole and R > ROWS
            ):  # several tiles of rows: converted once for all, the arithmetic is the same
                for k in range(count):
                    widen(part + k * row, wide_address + 4 * k * PANEL)
                wide_product(
                    xk,
                    K,
                    wide.ctypes.data,
                    PANEL,
                    total_address,
                    PANEL,
                    R,
                    PANEL,
                    count,
                    k0,
                    after,
                    length,
                    scale,
                )
            else:
                product(xk, K, part, PANEL, total_address, PANEL, R, PANEL, count, k0, after, length, scale)
        for r in range(R):
            o, t = out[r], total[r]
            if has_bias:
                for n in range(width):
                    t[n] += load(bias[n0 + n])
            for n in range(width):
                o[n0 + n] = store(t[n])

    def kernel(words: Any) -> None:
        args = carray(words, 11)
        R, K, N, panels = args[6], args[7], args[8], args[9]
        scale_row = 2 * PANEL * ((K + GROUP - 1) // GROUP)
        out = carray(address(args[5]), (R, N), out_kind)
        bias = carray(address(args[10]), (N,), kind)
        given = carray(address(args[2]), (R, K), kind)
        height = min(R, ROW_BLOCK)
        x = np.empty((height, K), np.float32)
        total = np.empty((height, PANEL), np.float32)
        wide = np.empty((GROUP if whole else 0, PANEL), np.float32)
        groups = ((N + PANEL - 1) // PANEL + panels - 1) // panels  # of panels: a task's columns
        held = -1
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            first = i // groups * ROW_BLOCK
            last, group = min(first + ROW_BLOCK, R), i % groups
            if first != held:
                held = first
                for r in range(first, last):
                    for k in range(K):
                        x[r - first, k] = load(given[r, k])
            for p in range(group * panels, min((group + 1) * panels, (N + PANEL - 1) // PANEL)):
                n0 = p * PANEL
                w, scales = args[3] + p * K * row, args[4] + p * scale_row
                rows, width = x[: last - first], min(PANEL, N - n0)
                panel(rows, w, scales, args[10] != 0, bias, out[first:last], total, wide, n0, width)

    return Kernel(kernel, dtype, w_dtype, out_dtype)


def matmul(
    x_RK: torch.Tensor,
    w_PKW: torch.Tensor,
    N: int,
    scales_PGW: torch.Tensor | None = None,
    bias_N: torch.Tensor | None = None,
    wide: bool = False,
) -> torch.Tensor:
    """x_RK @ w_KN (+ bias), (R, N), for w in panels, summed as this module's docstring says, rounded once.

    All contiguous, on the CPU; x, w and bias of one dtype (float32 or bfloat16), or w whole numbers with
    bfloat16 scales. Sums are kept in float32, and put out so where `wide`.
    """
    R, K = x_RK.shape
    out_RN = empty((R, N), torch.float32 if wide else x_RK.dtype)
    # A few tasks a thread, so that none waits long for the other.
    panels = -(-w_PKW.shape[0] // (4 * torch.get_num_threads()))
    launch(
        _kernel(x_RK.dtype, w_PKW.dtype, out_RN.dtype),
        -(-w_PKW.shape[0] // panels) * -(-R // ROW_BLOCK),
        x_RK.data_ptr(),
        w_PKW.data_ptr(),
        0 if scales_PGW is None else scales_PGW.data_ptr(),
        out_RN.data_ptr(),
        *(R, K, N, panels),
        0 if bias_N is None else bias_N.data_ptr(),
    )
    return out_RN
