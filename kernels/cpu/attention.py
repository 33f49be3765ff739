"""Causal attention over paged keys and values on the CPU: prefill, decode and training in one kernel.

Legend: T packed query tokens, B sequences, H query heads, K kv heads, D head dim, P pages, S page size.

Keys are visited page by page from position 0 with a running (max, sum, accumulator), as in Milakov and
Gimelshein, "Online normalizer calculation for softmax" (2018), and FlashAttention-2 (Dao, 2023). Every
chain of additions is spelt out, and none of them crosses rows, so a row's bits depend on its own
sequence alone. Keys are stored transposed within a page (D, S): both products then run over contiguous
vectors with one chain of fused multiply-adds per output and page (`kernels.cpu.tile`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, njit, types

from kernels.cpu.recording import empty
from kernels.cpu.runtime import Kernel, address, exp, float_address, fma, launch, next_task
from kernels.cpu.scalars import SCALARS
from kernels.cpu.tile import COLUMNS, LANES, block_product

NEGATIVE = np.float32(-np.inf)


@cache
def _kernel(dtype: torch.dtype, kv_dtype: torch.dtype) -> Any:
    kind, load, store = SCALARS[dtype]
    kv_kind, load_kv, _ = SCALARS[kv_dtype]
    product, kv_size = block_product(kv_dtype), kv_dtype.itemsize

    @njit(error_model="numpy")
    def softmax_step(
        row: Any, lanes: Any, m: Any, total: Any, acc: Any, r: int, last: int, scale: Any
    ) -> None:
        """One row's products become weights; its running max, sum and accumulator are rescaled.

        Keys after `last` get no weight. Sums and maxima run in LANES parallel chains, so that they
        vectorise; keys past the valid ones add zero to them.
        """
        columns = row.shape[0]
        for n in range(columns):
            row[n] *= scale
        for n in range(last + 1, columns):
            row[n] = NEGATIVE
        for j in range(LANES):
            lanes[j] = m[r]
        for n0 in range(0, columns, LANES):
            part = row[n0 : n0 + LANES]
            for j in range(LANES):
                lanes[j] = part[j] if part[j] > lanes[j] else lanes[j]
        top = lanes[0]
        for j in range(1, LANES):
            top = lanes[j] if lanes[j] > top else top
        shrink = exp(m[r] - top)
        for n in range(columns):
            row[n] = exp(row[n] - top)
        for j in range(LANES):
            lanes[j] = 0
        for n0 in range(0, columns, LANES):
            part = row[n0 : n0 + LANES]
            for j in range(LANES):
                lanes[j] += part[j]
        added = lanes[0]
        for j in range(1, LANES):
            added += lanes[j]
        m[r] = top
        total[r] = total[r] * shrink + added
        a = acc[r]
        for d in range(a.shape[0]):
            a[d] *= shrink

    def kernel(words: Any) -> None:
        args = carray(words, 21)
        T, H, K, D, P, S, B, max_pages, tiles = (
            args[11], args[12], args[13], args[14], args[15], args[16], args[17], args[18], args[19],
        )  # fmt: skip
        q_THD = carray(address(args[2]), (T, H, D), kind)
        v_PKSD = carray(address(args[4]), (P, K, S, D), kv_kind)
        out_THD = carray(address(args[5]), (T, H, D), kind)
        softmax_2TH = carray(address(args[6]), (2, T, H), types.float32)
        position_T = carray(address(args[7]), (T,), types.int64)
        page_BP = carray(address(args[8]), (B, max_pages), types.int64)
        tile_N3 = carray(address(args[9]), (tiles, 3), types.int64)  # sequence, first token, tokens
        scale = carray(address(args[10]), (1,), types.float32)[0]
        # Dimensions that whole vectors cover; the same chains of additions run over the others.
        whole = D // COLUMNS * COLUMNS
        G = H // K
        page_bytes = S * D * kv_size
        most = args[20] * G
        q = np.empty((most, D), np.float32)
        s = np.empty((most, S), np.float32)
        acc = np.empty((most, D), np.float32)
        m = np.empty(most, np.float32)
        total = np.empty(most, np.float32)
        lanes = np.empty(LANES, np.float32)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            # Last tiles first: they have the most keys, and a long task at the end leaves a thread idle.
            tile, head = tiles - 1 - i // K, i % K
            b, t0, tokens = tile_N3[tile, 0], tile_N3[tile, 1], tile_N3[tile, 2]
            rows = tokens * G
            for r in range(rows):
                for d in range(D):
                    q[r, d] = load(q_THD[t0 + r // G, head * G + r % G, d])
                    acc[r, d] = 0
                m[r] = NEGATIVE
                total[r] = 0
            end = position_T[t0 + tokens - 1] + 1
            pages = (end + S - 1) // S
            for j in range(pages):
                page = page_BP[b, j]
                valid = min(S, end - j * S)
                # Whole vectors of keys: what stands past the valid ones is computed and masked.
                columns = (valid + COLUMNS - 1) // COLUMNS * COLUMNS
                keys = args[3] + (page * K + head) * page_bytes
                values = args[4] + (page * K + head) * page_bytes
                after = args[3] + (page_BP[b, min(j + 1, pages - 1)] * K + head) * page_bytes
                product(
                    q.ctypes.data, D, keys, S, s.ctypes.data, S, rows, columns, D, 0, values, page_bytes, 0
                )
                for r in range(rows):
                    last = min(valid - 1, position_T[t0 + r // G] - j * S)
                    softmax_step(s[r, :columns], lanes, m, total, acc, r, last, scale)
                product(
                    s.ctypes.data,
                    S,
                    values,
                    D,
                    acc.ctypes.data,
                    D,
                    rows,
                    whole,
                    valid,
                    1,
                    after,
                    page_bytes,
                    0,
                )
                for r in range(rows):
                    for d in range(whole, D):
                        part = np.float32(0)
                        for n in range(valid):
                            part = fma(s[r, n], load_kv(v_PKSD[page, head, n, d]), part)
                        acc[r, d] += part
            for r in range(rows):
                t, h = t0 + r // G, head * G + r % G
                for d in range(D):
                    out_THD[t, h, d] = store(acc[r, d] / total[r])
                softmax_2TH[0, t, h] = m[r]
                softmax_2TH[1, t, h] = total[r]

    return Kernel(kernel, dtype, kv_dtype)


def attention(
    q_THD: torch.Tensor,
    k_PKDS: torch.Tensor,
    v_PKSD: torch.Tensor,
    position_T: torch.Tensor,
    page_BP: torch.Tensor,
    tile_N3: torch.Tensor,
    tile_tokens: int,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of packed queries over their sequences' pages; returns out_THD and softmax_2TH.

    A query at position p sees the keys at positions 0 to p of its sequence. `tile_N3` (int64) splits the
    tokens into runs (sequence, first token, number of tokens <= tile_tokens) that no sequence's border
    crosses. The tiling changes no bit of the result. S is a multiple of 16. `softmax_2TH` (float32) holds
    each row's largest score and the sum of its exponentials relative to that.
    """
    T, H, D = q_THD.shape
    P, K, _, S = k_PKDS.shape
    out_THD = empty((T, H, D), q_THD.dtype)
    softmax_2TH = empty((2, T, H), torch.float32)
    tiles, (B, max_pages) = tile_N3.shape[0], page_BP.shape
    pointers = (q_THD, k_PKDS, v_PKSD, out_THD, softmax_2TH, position_T, page_BP, tile_N3)
    launch(
        _kernel(q_THD.dtype, k_PKDS.dtype),
        tiles * K,
        *(tensor.data_ptr() for tensor in pointers),
        float_address(scale),
        *(T, H, K, D, P, S, B, max_pages, tiles, tile_tokens),
    )
    return out_THD, softmax_2TH
