"""Row-invariant matmul on the CPU: x_RK @ w_KN with the order along K spelt out.

Each output is summed over chunks of K_CHUNK along K. Inside a chunk it is one chain of fused
multiply-adds from the first k to the last, starting at zero; the chunks' sums are added in order. No
other row and no number of rows enters, so a row's bits are its own.

BLAS libraries compute many rows in much this order too, but change it for few rows, and some know
bfloat16 only in software. One kernel for any number of rows costs nothing: see benchmarks/LOG.md.

The weight is kept in panels of PANEL output columns, (panels, K, PANEL): a panel is read from its first
byte to its last, which is what memory does best, and a tile of some rows by some of its columns stays
in registers while it walks along K. Columns past N are zero.

Floor: the weight is read once, so time >= bytes / bandwidth; from some 16 rows on arithmetic
(2 R K N / peak) weighs more.

Legend: R rows, K inner width, N outer width, W panel width, P panels.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, njit

from kernels.cpu.recording import empty
from kernels.cpu.runtime import Kernel, address, launch, next_task
from kernels.cpu.scalars import SCALARS
from kernels.cpu.tile import block_product

PANEL = 32
# A panel's chunk of K, 24 kB in float32, stays in the first cache level while all rows pass over it.
K_CHUNK = 192


@cache
def _kernel(dtype: torch.dtype) -> Any:
    kind, load, store = SCALARS[dtype]
    product, size = block_product(dtype), dtype.itemsize

    @njit(error_model="numpy")
    def panel(x: Any, w: int, out: Any, total: Any, n0: int, width: int) -> None:
        """One panel at address w: out[:, n0 : n0 + width] = x @ panel."""
        R, K = x.shape
        x_address, total_address = x.ctypes.data, total.ctypes.data
        for k0 in range(0, K, K_CHUNK):
            count = min(K_CHUNK, K - k0)
            part, length = w + k0 * PANEL * size, count * PANEL * size
            # What follows in memory is the next chunk, or the next panel's first.
            after, xk = part + length, x_address + 4 * k0
            product(xk, K, part, PANEL, total_address, PANEL, R, PANEL, count, k0, after, length)
        for r in range(R):
            o, t = out[r], total[r]
            for n in range(width):
                o[n0 + n] = store(t[n])

    def kernel(words: Any) -> None:
        args = carray(words, 9)
        R, K, N, panels = args[5], args[6], args[7], args[8]
        given = carray(address(args[2]), (R, K), kind)
        out = carray(address(args[4]), (R, N), kind)
        x = np.empty((R, K), np.float32)
        for r in range(R):
            for k in range(K):
                x[r, k] = load(given[r, k])
        total = np.empty((R, PANEL), np.float32)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            for p in range(i * panels, min((i + 1) * panels, (N + PANEL - 1) // PANEL)):
                n0 = p * PANEL
                w = args[3] + p * PANEL * K * size
                panel(x, w, out, total, n0, min(PANEL, N - n0))

    return Kernel(kernel, dtype)


def matmul(x_RK: torch.Tensor, w_PKW: torch.Tensor, N: int) -> torch.Tensor:
    """x_RK @ w_KN, (R, N), for w in panels, summed as this module's docstring says, rounded once.

    Both contiguous, on the CPU, of one dtype (float32 or bfloat16); sums are kept in float32.
    """
    R, K = x_RK.shape
    out_RN = empty((R, N), x_RK.dtype)
    # A few tasks a thread, so that none waits long for the other.
    panels = -(-w_PKW.shape[0] // (4 * torch.get_num_threads()))
    launch(
        _kernel(x_RK.dtype),
        -(-w_PKW.shape[0] // panels),
        x_RK.data_ptr(),
        w_PKW.data_ptr(),
        out_RN.data_ptr(),
        *(R, K, N, panels),
    )
    return out_RN
