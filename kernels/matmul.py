"""Row-invariant matmul: a row's bits depend on that row and the weight, never on the rows beside it.

Few rows go to our own kernel, many to the BLAS library of torch, which sums in the same order; that the
two agree bit for bit is checked once for each weight shape on the machine at hand, never assumed. Where
no chunk makes them agree, every row goes to our kernel: slower for many rows, and just as invariant.
"""

from __future__ import annotations

import warnings
from functools import cache

import torch

from kernels.cpu.matmul import matmul as few_rows_matmul

# Above this many rows the library is faster; below, it is slower and changes its order with the rows.
FEW_ROWS = 32
_PROBE_ROWS = (FEW_ROWS + 1, 64, 131, 301)
_CHUNKS = (192, 256, 384, 320, 336, 448, 512, 128, 768, 1024, 96, 64, 640, 2048)


@cache
def k_chunk(K: int, N: int, threads: int) -> tuple[int, bool]:
    """(chunk along K, whether the library agrees with it bit for bit) for weights of shape (K, N).

    Tries the chunks that BLAS libraries use, on random float32 matrices of the very shape. A library may
    treat shapes differently, and may split work by threads, so both are part of the question.
    """
    generator = torch.Generator().manual_seed(0)
    # Wide weights are probed by their number of rows of x once, on fewer rows, to keep this under 0.5 s.
    rows = _PROBE_ROWS if K * N < 1 << 23 else _PROBE_ROWS[:3]
    x_RK = torch.randn(rows[-1], K, generator=generator)
    w_KN = torch.randn(K, N, generator=generator)
    products = [torch.mm(x_RK[:r], w_KN) for r in rows]
    for chunk in dict.fromkeys(min(chunk, K) for chunk in (*_CHUNKS, K)):
        if not torch.equal(few_rows_matmul(x_RK[:4], w_KN, chunk), products[0][:4]):
            continue
        ours = torch.cat([few_rows_matmul(part, w_KN, chunk) for part in x_RK.split(FEW_ROWS)])
        if all(torch.equal(ours[:r], product) for r, product in zip(rows, products, strict=True)):
            return chunk, True
    warnings.warn(
        f"the BLAS library of this torch sums a ({K}, {N}) product in an order that minillm does not "
        "know; its own kernel takes every row, so results stay bitwise equal but long prompts are slower",
        stacklevel=2,
    )
    return min(256, K), False


def invariant_matmul(x_RK: torch.Tensor, w_KN: torch.Tensor) -> torch.Tensor:
    """x_RK @ w_KN on the CPU, both contiguous float32 or bfloat16; sums in float32, rounded once."""
    (R, K), N = x_RK.shape, w_KN.shape[1]
    chunk, library_agrees = k_chunk(K, N, torch.get_num_threads())
    if R <= FEW_ROWS:
        return few_rows_matmul(x_RK, w_KN, chunk)
    if library_agrees:
        # A product of two bf16 is exact in float32, so the sum in float32 is the kernel's own.
        return torch.mm(x_RK.float(), w_KN.float()).to(x_RK.dtype)
    return torch.cat([few_rows_matmul(part, w_KN, chunk) for part in x_RK.split(FEW_ROWS)])
