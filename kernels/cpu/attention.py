"""Causal attention over paged keys and values on the CPU: prefill, decode and training in one kernel.

Legend: T packed query tokens, B sequences, H query heads, K kv heads, D head dim, E head dim of values,
P pages, S page size, N pages of a sequence.

Keys are visited page by page from position 0 with a running (max, sum, accumulator), as in Milakov and
Gimelshein, "Online normalizer calculation for softmax" (2018), and FlashAttention-2 (Dao, 2023). Every
chain of additions is spelt out, and none of them crosses rows, so a row's bits depend on its own
sequence alone. Keys are stored transposed within a page (D, S): both products then run over contiguous
vectors with one chain of fused multiply-adds per output and page, or D_CHUNK dimensions (`kernels.cpu.tile`).
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import carray, types

from kernels.cpu.recording import empty
from kernels.cpu.runtime import (
    Kernel,
    address,
    exp,
    float_address,
    fma,
    launch,
    load_bf16,
    next_task,
    tanh,
    variant_njit,
)
from kernels.cpu.scalars import SCALARS
from kernels.cpu.tile import COLUMNS, LANES, block_product
from kernels.knobs import Scores
from kernels.tiling import KEY_BLOCK, positions, work_list

NEGATIVE = np.float32(-np.inf)
# Dimensions that one chain of additions runs over: longer ones round worse.
D_CHUNK = 128
# Query tokens of a run of `packed`.
TILE_TOKENS = 16


@cache
def _kernel(dtype: torch.dtype, kv_dtype: torch.dtype, capped: bool, tilted: bool) -> Any:
    kind, load, store = SCALARS[dtype]
    kv_kind, load_kv, _ = SCALARS[kv_dtype]
    product, kv_size = block_product(kv_dtype), kv_dtype.itemsize

    @variant_njit(dtype, kv_dtype, capped, tilted)
    def softmax_step(
        row: Any,
        lanes: Any,
        m: Any,
        total: Any,
        acc: Any,
        r: int,
        first: int,
        last: int,
        scale: Any,
        cap: Any,
        slope: Any,
        steps: Any,
        place: Any,
    ) -> None:
        """One row's products become weights; its running max, sum and accumulator are rescaled.

        Keys before `first` and after `last` get no weight; where none is left, the state stays as it was.
        Sums and maxima run in LANES parallel chains, so that they vectorise; masked keys add zero to them.
        """
        columns = row.shape[0]
        if last < first:
            row[:] = 0
            return
        for n in range(columns):
            row[n] *= scale
        if capped:
            for n in range(columns):
                row[n] = cap * tanh(row[n] / cap)
        if tilted:
            # A difference of whole numbers, exact up to 2**24.
            for n in range(columns):
                row[n] = fma(slope, steps[n] - place, row[n])
        for n in range(first):
            row[n] = NEGATIVE
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

    @variant_njit(dtype, kv_dtype, capped)
    def first_key(position: int, window: int) -> int:
        """`kernels.knobs.first_seen`."""
        if window < 0:
            return position - position % -window
        return position + 1 - window if window > 0 else 0

    def kernel(words: Any) -> None:
        args = carray(words, 26)
        T, H, K, D, E, P, S, B, max_pages, tiles, window = (
            args[13], args[14], args[15], args[16], args[17], args[18], args[19], args[20], args[21],
            args[22], args[24],
        )  # fmt: skip
        q_THD = carray(address(args[2]), (T, H, D), kind)
        v_PKSE = carray(address(args[4]), (P, K, S, E), kv_kind)
        out_THE = carray(address(args[5]), (T, H, E), kind)
        position_T = carray(address(args[6]), (T,), types.int64)
        page_BP = carray(address(args[7]), (B, max_pages), types.int64)
        tile_N3 = carray(address(args[8]), (tiles, 3), types.int64)  # sequence, first token, tokens
        scale = carray(address(args[9]), (1,), types.float32)[0]
        cap = carray(address(args[10]), (1,), types.float32)[0]
        sinks_f32 = carray(address(args[11]), (H,), types.float32)
        sinks_bf16 = carray(address(args[11]), (H,), types.uint16)
        slopes_H = carray(address(args[25]), (H,), types.float32)
        # Dimensions that whole vectors cover; the same chains of additions run over the others.
        whole = E // COLUMNS * COLUMNS
        G = H // K
        k_bytes, v_bytes = S * D * kv_size, S * E * kv_size
        most = args[23] * G
        q = np.empty((most, D), np.float32)
        s = np.empty((most, S), np.float32)
        acc = np.empty((most, E), np.float32)
        m = np.empty(most, np.float32)
        total = np.empty(most, np.float32)
        lanes = np.empty(LANES, np.float32)
        steps, slope = np.arange(S).astype(np.float32), np.float32(0)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            # Last tiles first: they have the most keys, and a long task at the end leaves a thread idle.
            tile, head = tiles - 1 - i // K, i % K
            b, t0, tokens = tile_N3[tile, 0], tile_N3[tile, 1], tile_N3[tile, 2]
            if tokens == 0:
                continue
            rows = tokens * G
            for r in range(rows):
                h = head * G + r % G
                for d in range(D):
                    q[r, d] = load(q_THD[t0 + r // G, h, d])
                acc[r] = 0
                # A sink is a key of this score whose value is zero.
                m[r], total[r] = NEGATIVE, 0
                if args[11] != 0:
                    m[r], total[r] = load_bf16(sinks_bf16[h]) if args[12] != 0 else sinks_f32[h], 1
            end = position_T[t0 + tokens - 1] + 1
            pages = (end + S - 1) // S
            # Pages that lie before every row's window are not looked at.
            for j in range(max(0, first_key(position_T[t0], window)) // S, pages):
                page = page_BP[b, j]
                valid = min(S, end - j * S)
                # Whole vectors of keys: what stands past the valid ones is computed and masked.
                columns = (valid + COLUMNS - 1) // COLUMNS * COLUMNS
                keys = args[3] + (page * K + head) * k_bytes
                values = args[4] + (page * K + head) * v_bytes
                after = args[3] + (page_BP[b, min(j + 1, pages - 1)] * K + head) * k_bytes
                for d in range(0, D, D_CHUNK):
                    x, part, count = q.ctypes.data + 4 * d, keys + d * S * kv_size, min(D_CHUNK, D - d)
                    product(x, D, part, S, s.ctypes.data, S, rows, columns, count, d, values, v_bytes, 0)
                for r in range(rows):
                    position = position_T[t0 + r // G] - j * S
                    first = max(0, first_key(position_T[t0 + r // G], window) - j * S)
                    last = min(valid - 1, position)
                    if tilted:
                        slope = slopes_H[head * G + r % G]
                    softmax_step(
                        s[r, :columns], lanes, m, total, acc, r, first, last, scale, cap, slope, steps,
                        np.float32(position),
                    )  # fmt: skip
                product(
                    s.ctypes.data, S, values, E, acc.ctypes.data, E, rows, whole, valid, 1, after, k_bytes, 0
                )
                for r in range(rows):
                    for d in range(whole, E):
                        part = np.float32(0)
                        for n in range(valid):
                            part = fma(s[r, n], load_kv(v_PKSE[page, head, n, d]), part)
                        acc[r, d] += part
            for r in range(rows):
                t, h = t0 + r // G, head * G + r % G
                for d in range(E):
                    out_THE[t, h, d] = store(acc[r, d] / total[r])

    return Kernel(kernel, dtype, kv_dtype, capped, tilted)


def attention(
    q_THD: torch.Tensor,
    k_PKDS: torch.Tensor,
    v_PKSE: torch.Tensor,
    position_T: torch.Tensor,
    page_BP: torch.Tensor,
    tile_N3: torch.Tensor,
    tile_tokens: int,
    scores: Scores,
    sinks_H: torch.Tensor | None = None,
) -> torch.Tensor:
    """Attention of packed queries over their sequences' pages; returns out_THE.

    A query at position p sees the keys at positions 0 to p of its sequence, or the last `scores.window` of
    them. `tile_N3` (int64) splits the tokens into runs (sequence, first token, number of tokens <=
    tile_tokens), some perhaps empty, that no sequence's border crosses. The tiling changes no bit of the
    result. S is a multiple of 16. Sinks are float32 or bfloat16.
    """
    T, H, D = q_THD.shape
    P, K, S, E = v_PKSE.shape
    out_THE = empty((T, H, E), q_THD.dtype)
    tiles, (B, max_pages) = tile_N3.shape[0], page_BP.shape
    pointers = (q_THD, k_PKDS, v_PKSE, out_THE, position_T, page_BP, tile_N3)
    launch(
        _kernel(q_THD.dtype, k_PKDS.dtype, scores.softcap is not None, scores.slopes_H is not None),
        tiles * K,
        *(tensor.data_ptr() for tensor in pointers),
        *(float_address(scores.scale), float_address(scores.softcap or 0.0)),
        0 if sinks_H is None else sinks_H.data_ptr(),
        int(sinks_H is not None and sinks_H.dtype == torch.bfloat16),
        *(T, H, K, D, E, P, S, B, max_pages, tiles, tile_tokens, scores.window),
        0 if scores.slopes_H is None else scores.slopes_H.data_ptr(),
    )
    return out_THE


def packed(
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKE: torch.Tensor,
    bounds_B1: torch.Tensor,
    scores: Scores,
    sinks_H: torch.Tensor | None = None,
) -> torch.Tensor:
    """`attention` of packed sequences over themselves, through pages of their own; all of one dtype."""
    T, (K, D), E = q_THD.shape[0], k_TKD.shape[1:], v_TKE.shape[2]
    bounds = bounds_B1.tolist()
    counts = [-(-(end - start) // KEY_BLOCK) for start, end in pairwise(bounds)]
    firsts = list(accumulate(counts, initial=0))
    k_PKDS = k_TKD.new_empty(firsts[-1], K, D, KEY_BLOCK)
    v_PKSE = v_TKE.new_empty(firsts[-1], K, KEY_BLOCK, E)
    for (start, end), first, count in zip(pairwise(bounds), firsts, counts, strict=False):
        # Zeros, since what stands past a sequence's end is read, to no effect.
        missing = (0, 0, 0, 0, 0, count * KEY_BLOCK - (end - start))
        k_NSKD, v_NSKE = (
            F.pad(x[start:end], missing).unflatten(0, (count, KEY_BLOCK)) for x in (k_TKD, v_TKE)
        )
        k_PKDS[first : first + count] = k_NSKD.permute(0, 2, 3, 1)
        v_PKSE[first : first + count] = v_NSKE.transpose(1, 2)
    page_BP = torch.tensor(firsts[:-1]).unsqueeze(1) + torch.arange(max(counts))
    position_T, tile_N3 = positions(bounds_B1, T), work_list(bounds_B1, T, TILE_TOKENS)
    return attention(q_THD, k_PKDS, v_PKSE, position_T, page_BP, tile_N3, TILE_TOKENS, scores, sinks_H)
