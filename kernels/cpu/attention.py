"""Causal attention over paged keys and values on the CPU: prefill, decode and training in one kernel.

Legend: T packed query tokens, B sequences, H query heads, K kv heads, D head dim, P pages, S page size.

Keys are visited page by page from position 0 with a running (max, sum, accumulator), as in Milakov and
Gimelshein, "Online normalizer calculation for softmax" (2018), and FlashAttention-2 (Dao, 2023). Every
chain of additions is spelt out, and none of them crosses rows, so a row's bits depend on its own
sequence alone. Keys are stored transposed within a page (D, S): both products then run over contiguous
vectors with one chain of fused multiply-adds per output.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, njit, types

from kernels.cpu.runtime import address, compile_kernel, exp, fma, launch, next_task
from kernels.cpu.scalars import SCALARS

LANES = 8
NEGATIVE = np.float32(-np.inf)


@cache
def _kernel(dtype: torch.dtype, kv_dtype: torch.dtype) -> Any:
    kind, load, store = SCALARS[dtype]
    kv_kind, load_kv, _ = SCALARS[kv_dtype]

    @njit(error_model="numpy")
    def scores(q: Any, keys: Any, s: Any, rows: int, valid: int, scale: Any) -> None:
        """s[r, n] = scale * sum over d of q[r, d] * keys[d, n]."""
        D = q.shape[1]
        s[:rows, :valid] = 0
        d = 0
        while d + 8 <= D:
            k0, k1, k2, k3 = keys[d], keys[d + 1], keys[d + 2], keys[d + 3]
            k4, k5, k6, k7 = keys[d + 4], keys[d + 5], keys[d + 6], keys[d + 7]
            for r in range(rows):
                a = s[r]
                q0, q1, q2, q3 = q[r, d], q[r, d + 1], q[r, d + 2], q[r, d + 3]
                q4, q5, q6, q7 = q[r, d + 4], q[r, d + 5], q[r, d + 6], q[r, d + 7]
                for n in range(valid):
                    v = fma(q0, load_kv(k0[n]), a[n])
                    v = fma(q1, load_kv(k1[n]), v)
                    v = fma(q2, load_kv(k2[n]), v)
                    v = fma(q3, load_kv(k3[n]), v)
                    v = fma(q4, load_kv(k4[n]), v)
                    v = fma(q5, load_kv(k5[n]), v)
                    v = fma(q6, load_kv(k6[n]), v)
                    a[n] = fma(q7, load_kv(k7[n]), v)
            d += 8
        while d < D:
            kd = keys[d]
            for r in range(rows):
                a, qd = s[r], q[r, d]
                for n in range(valid):
                    a[n] = fma(qd, load_kv(kd[n]), a[n])
            d += 1
        for r in range(rows):
            a = s[r]
            for n in range(valid):
                a[n] *= scale

    @njit(error_model="numpy")
    def weigh(p: Any, values: Any, acc: Any, rows: int, valid: int) -> None:
        """acc[r] += p[r, n] * values[n] for n in order."""
        D = acc.shape[1]
        n = 0
        while n + 8 <= valid:
            v0, v1, v2, v3 = values[n], values[n + 1], values[n + 2], values[n + 3]
            v4, v5, v6, v7 = values[n + 4], values[n + 5], values[n + 6], values[n + 7]
            for r in range(rows):
                a = acc[r]
                p0, p1, p2, p3 = p[r, n], p[r, n + 1], p[r, n + 2], p[r, n + 3]
                p4, p5, p6, p7 = p[r, n + 4], p[r, n + 5], p[r, n + 6], p[r, n + 7]
                for d in range(D):
                    v = fma(p0, load_kv(v0[d]), a[d])
                    v = fma(p1, load_kv(v1[d]), v)
                    v = fma(p2, load_kv(v2[d]), v)
                    v = fma(p3, load_kv(v3[d]), v)
                    v = fma(p4, load_kv(v4[d]), v)
                    v = fma(p5, load_kv(v5[d]), v)
                    v = fma(p6, load_kv(v6[d]), v)
                    a[d] = fma(p7, load_kv(v7[d]), v)
            n += 8
        while n < valid:
            vn = values[n]
            for r in range(rows):
                a, pn = acc[r], p[r, n]
                for d in range(D):
                    a[d] = fma(pn, load_kv(vn[d]), a[d])
            n += 1

    @njit(error_model="numpy")
    def softmax_step(s: Any, lanes: Any, m: Any, total: Any, acc: Any, r: int, last: int) -> None:
        """One row's scores become weights; its running max, sum and accumulator are rescaled.

        Keys after `last` get no weight. Sums and maxima run in LANES parallel chains, so that they
        vectorise; what is past the valid keys adds zero to them.
        """
        row = s[r]
        S = row.shape[0]
        for n in range(last + 1, S):
            row[n] = NEGATIVE
        for j in range(LANES):
            lanes[j] = m[r]
        for n0 in range(0, S, LANES):
            part = row[n0 : n0 + LANES]
            for j in range(LANES):
                lanes[j] = part[j] if part[j] > lanes[j] else lanes[j]
        top = lanes[0]
        for j in range(1, LANES):
            top = lanes[j] if lanes[j] > top else top
        shrink = exp(m[r] - top)
        for n in range(S):
            row[n] = exp(row[n] - top)
        for j in range(LANES):
            lanes[j] = 0
        for n0 in range(0, S, LANES):
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
        args = carray(words, 22)
        T, H, K, D, P, S, B, max_pages, tiles = (
            args[12], args[13], args[14], args[15], args[16], args[17], args[18], args[19], args[20],
        )  # fmt: skip
        q_THD = carray(address(args[2]), (T, H, D), kind)
        k_PKDS = carray(address(args[3]), (P, K, D, S), kv_kind)
        v_PKSD = carray(address(args[4]), (P, K, S, D), kv_kind)
        out_THD = carray(address(args[5]), (T, H, D), kind)
        max_TH = carray(address(args[6]), (T, H), types.float32)
        sum_TH = carray(address(args[7]), (T, H), types.float32)
        position_T = carray(address(args[8]), (T,), types.int64)
        page_BP = carray(address(args[9]), (B, max_pages), types.int64)
        tile_N3 = carray(address(args[10]), (tiles, 3), types.int64)  # sequence, first token, tokens
        scale = carray(address(args[11]), (1,), types.float32)[0]
        G = H // K
        most = args[21] * G
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
            for j in range(0, (end + S - 1) // S):
                page = page_BP[b, j]
                valid = min(S, end - j * S)
                scores(q, k_PKDS[page, head], s, rows, valid, scale)
                for r in range(rows):
                    last = min(valid - 1, position_T[t0 + r // G] - j * S)
                    softmax_step(s, lanes, m, total, acc, r, last)
                weigh(s, v_PKSD[page, head], acc, rows, valid)
            for r in range(rows):
                t, h = t0 + r // G, head * G + r % G
                for d in range(D):
                    out_THD[t, h, d] = store(acc[r, d] / total[r])
                max_TH[t, h] = m[r]
                sum_TH[t, h] = total[r]

    return compile_kernel(kernel)


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
    """Attention of packed queries over their sequences' pages; returns out_THD and lse_TH (float32).

    A query at position p sees the keys at positions 0 to p of its sequence. `tile_N3` (int64) splits the
    tokens into runs (sequence, first token, number of tokens <= tile_tokens) that no sequence's border
    crosses. The tiling changes no bit of the result.
    """
    T, H, D = q_THD.shape
    P, K, _, S = k_PKDS.shape
    out_THD = torch.empty_like(q_THD)
    max_TH, sum_TH = torch.empty(T, H), torch.empty(T, H)
    tiles, (B, max_pages) = tile_N3.shape[0], page_BP.shape
    scale_1 = np.array([scale], np.float32)
    pointers = (q_THD, k_PKDS, v_PKSD, out_THD, max_TH, sum_TH, position_T, page_BP, tile_N3)
    launch(
        _kernel(q_THD.dtype, k_PKDS.dtype),
        tiles * K,
        *(tensor.data_ptr() for tensor in pointers),
        scale_1.ctypes.data,
        *(T, H, K, D, P, S, B, max_pages, tiles, tile_tokens),
    )
    return out_THD, max_TH.add_(sum_TH.log_())
