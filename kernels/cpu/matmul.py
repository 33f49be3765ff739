"""Row-invariant matmul of few rows on the CPU: x_RK @ w_KN with the order along K spelt out.

Each output is summed over chunks of `k_chunk` along K. Inside a chunk it is one chain of fused
multiply-adds from k = first to last, starting at zero; the chunks' sums are added in order. No other row
and no number of rows enters, so a row's bits are its own.

BLAS libraries compute many rows in this very order (the register tile walks along K; the chunk is the
library's cache block), but change it for few rows. So many rows go to the library, few rows come here,
and `find_k_chunk` learns the library's chunk by trying: the two then agree bit for bit (checked for each
weight shape by `kernels.dispatch`).

Floor: the weight is read once from memory, so time >= K * N * bytes / bandwidth; at 16 rows in float32
arithmetic (2 R K N / peak) weighs about the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, njit

from kernels.cpu.runtime import address, compile_kernel, fma, launch, next_task
from kernels.cpu.scalars import SCALARS


@cache
def _kernel(dtype: torch.dtype) -> Any:
    kind, load, store = SCALARS[dtype]

    @njit(error_model="numpy")
    def block(x: Any, w: Any, out: Any, acc: Any, n0: int, n1: int, k_chunk: int) -> None:
        rows, K = x.shape
        width = n1 - n0
        for k0 in range(0, K, k_chunk):
            k1 = min(K, k0 + k_chunk)
            acc[:rows, :width] = 0  # the totals stand in the lower half
            k = k0
            while k + 8 <= k1:
                # Eight rows of the weight stand in the first cache level while every row of x uses them.
                w0, w1, w2, w3 = w[k, n0:n1], w[k + 1, n0:n1], w[k + 2, n0:n1], w[k + 3, n0:n1]
                w4, w5, w6, w7 = w[k + 4, n0:n1], w[k + 5, n0:n1], w[k + 6, n0:n1], w[k + 7, n0:n1]
                for r in range(rows):
                    a = acc[r]
                    x0, x1, x2, x3 = load(x[r, k]), load(x[r, k + 1]), load(x[r, k + 2]), load(x[r, k + 3])
                    x4, x5, x6, x7 = load(x[r, k + 4]), load(x[r, k + 5]), load(x[r, k + 6]), load(x[r, k + 7])
                    for n in range(width):
                        v = fma(x0, load(w0[n]), a[n])
                        v = fma(x1, load(w1[n]), v)
                        v = fma(x2, load(w2[n]), v)
                        v = fma(x3, load(w3[n]), v)
                        v = fma(x4, load(w4[n]), v)
                        v = fma(x5, load(w5[n]), v)
                        v = fma(x6, load(w6[n]), v)
                        a[n] = fma(x7, load(w7[n]), v)
                k += 8
            while k < k1:
                wk = w[k, n0:n1]
                for r in range(rows):
                    a = acc[r]
                    xk = load(x[r, k])
                    for n in range(width):
                        a[n] = fma(xk, load(wk[n]), a[n])
                k += 1
            for r in range(rows):
                a, total = acc[r], acc[rows + r]
                if k0 == 0:
                    for n in range(width):
                        total[n] = a[n]
                else:
                    for n in range(width):
                        total[n] += a[n]
        for r in range(rows):
            o, total = out[r, n0:n1], acc[rows + r]
            for n in range(width):
                o[n] = store(total[n])

    def kernel(words: Any) -> None:
        args = carray(words, 10)
        R, K, N, k_chunk, n_block = args[5], args[6], args[7], args[8], args[9]
        x = carray(address(args[2]), (R, K), kind)
        w = carray(address(args[3]), (K, N), kind)
        out = carray(address(args[4]), (R, N), kind)
        acc = np.empty((2 * R, n_block), np.float32)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            block(x, w, out, acc, i * n_block, min(N, (i + 1) * n_block), k_chunk)

    return compile_kernel(kernel)


def matmul(x_RK: torch.Tensor, w_KN: torch.Tensor, k_chunk: int) -> torch.Tensor:
    """x_RK @ w_KN, summed along K as this module's docstring says, rounded once to the inputs' dtype.

    Both contiguous, on the CPU, of one dtype (float32 or bfloat16); sums are kept in float32.
    """
    (R, K), N = x_RK.shape, w_KN.shape[1]
    out_RN = torch.empty(R, N, dtype=x_RK.dtype)
    # The accumulators of a block stay in the first cache level; blocks share out evenly among threads.
    widest = 512 if R <= 8 else 256
    threads = torch.get_num_threads()
    rounds = -(-N // (widest * threads))
    n_block = max(16, -(-N // (rounds * threads * 16)) * 16)
    launch(
        _kernel(x_RK.dtype),
        -(-N // n_block),
        x_RK.data_ptr(),
        w_KN.data_ptr(),
        out_RN.data_ptr(),
        R,
        K,
        N,
        k_chunk,
        n_block,
    )
    return out_RN
