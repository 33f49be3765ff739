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

from collections import namedtuple
from functools import cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numba import types

from kernels.cpu.recording import empty
from kernels.cpu.runtime import (
    Arguments,
    Kernel,
    exp,
    fma,
    given,
    launch,
    load_bf16,
    next_task,
    tanh,
    variant_njit,
)
from kernels.cpu.scalars import SCALARS
from kernels.cpu.tile import COLUMNS, LANES, block_product
from kernels.knobs import Scores
from kernels.tiling import KEY_BLOCK, TILE_TOKENS, Kept, positions, whole_bounds, work_list

NEGATIVE = np.float32(-np.inf)
# Dimensions that one chain of additions runs over: longer ones round worse.
D_CHUNK = 128


# What a tile's rows have gone through: their running maximum, sum and accumulator; and scratch for one row.
State = namedtuple("State", "top_M total_M acc_ME lanes steps")


@cache
def _softmax_step(capped: bool, tilted: bool) -> Any:
    @variant_njit(capped, tilted)
    def softmax_step(
        state: Any, r: int, row: Any, first: int, last: int, scale: Any, cap: Any, slope: Any, place: Any
    ) -> None:
        """Row r's products become weights; its running max, sum and accumulator are rescaled.

        Keys before `first` and after `last` get no weight; where none is left, the state stays as it was.
        Sums and maxima run in LANES parallel chains, so that they vectorise; masked keys add zero to them.
        """
        columns, lanes = row.shape[0], state.lanes
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
                row[n] = fma(slope, state.steps[n] - place, row[n])
        for n in range(first):
            row[n] = NEGATIVE
        for n in range(last + 1, columns):
            row[n] = NEGATIVE
        for j in range(LANES):
            lanes[j] = state.top_M[r]
        for n0 in range(0, columns, LANES):
            part = row[n0 : n0 + LANES]
            for j in range(LANES):
                lanes[j] = part[j] if part[j] > lanes[j] else lanes[j]
        top = lanes[0]
        for j in range(1, LANES):
            top = lanes[j] if lanes[j] > top else top
        shrink = exp(state.top_M[r] - top)
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
        state.top_M[r] = top
        state.total_M[r] = state.total_M[r] * shrink + added
        acc = state.acc_ME[r]
        for d in range(acc.shape[0]):
            acc[d] *= shrink

    return softmax_step


@variant_njit()
def _first_key(position: int, window: int) -> int:
    """`kernels.knobs.first_seen`."""
    if window < 0:
        return position - position % -window
    return position + 1 - window if window > 0 else 0


@cache
def _start(dtype: torch.dtype) -> Any:
    load = SCALARS[dtype][1]

    @variant_njit(dtype)
    def start(a: Any, state: Any, q_MD: Any, t0: int, tokens: int, head: int) -> None:
        """Read a tile's queries as float32 rows, which have seen nothing but their sink."""
        G = a.H // a.K
        for r in range(tokens * G):
            h = head * G + r % G
            for d in range(a.D):
                q_MD[r, d] = load(a.q_THD[t0 + r // G, h, d])
            state.acc_ME[r] = 0
            # A sink is a key of this score whose value is zero.
            state.top_M[r], state.total_M[r] = NEGATIVE, 0
            if given(a.sinks_H):
                state.top_M[r] = load_bf16(a.rounded_sinks_H[h]) if a.sinks_bf16 != 0 else a.sinks_H[h]
                state.total_M[r] = 1

    return start


@cache
def _visit(kv_dtype: torch.dtype, capped: bool, tilted: bool) -> Any:
    load_kv, kv_size = SCALARS[kv_dtype][1], kv_dtype.itemsize
    product, softmax_step = block_product(kv_dtype), _softmax_step(capped, tilted)

    @variant_njit(kv_dtype, capped, tilted)
    def visit(
        a: Any, state: Any, q_MD: Any, s_MS: Any, t0: int, rows: int, head: int, b: int, j: int
    ) -> None:
        """Take page j of sequence b into the state of a tile's rows."""
        D, S, E, G = a.D, a.S, a.E, a.H // a.K
        k_bytes, v_bytes = S * D * kv_size, S * E * kv_size
        end = a.position_T[t0 + rows // G - 1] + 1
        page, valid = a.page_BN[b, j], min(S, end - j * S)
        # Whole vectors of keys: what stands past the valid ones is computed and masked.
        columns = (valid + COLUMNS - 1) // COLUMNS * COLUMNS
        keys = a.k_PKDS.ctypes.data + (page * a.K + head) * k_bytes
        values = a.v_PKSE.ctypes.data + (page * a.K + head) * v_bytes
        following = a.page_BN[b, min(j + 1, (end + S - 1) // S - 1)]
        after = a.k_PKDS.ctypes.data + (following * a.K + head) * k_bytes
        scores = (s_MS.ctypes.data, S)
        for d in range(0, D, D_CHUNK):
            x, part, count = (q_MD.ctypes.data + 4 * d, D), (keys + d * S * kv_size, S), min(D_CHUNK, D - d)
            product(x, part, scores, rows, columns, count, d, (values, v_bytes), 0)
        slope = np.float32(0)
        for r in range(rows):
            position = a.position_T[t0 + r // G]
            first = max(0, _first_key(position, a.window) - j * S)
            last, place = min(valid - 1, position - j * S), np.float32(position - j * S)
            if tilted:
                slope = a.slopes_H[head * G + r % G]
            softmax_step(state, r, s_MS[r, :columns], first, last, a.scale, a.cap, slope, place)
        # Dimensions that whole vectors cover; the same chains of additions run over the others.
        whole = E // COLUMNS * COLUMNS
        out = (state.acc_ME.ctypes.data, E)
        product(scores, (values, E), out, rows, whole, valid, 1, (after, k_bytes), 0)
        for r in range(rows):
            for d in range(whole, E):
                part_sum = np.float32(0)
                for n in range(valid):
                    part_sum = fma(s_MS[r, n], load_kv(a.v_PKSE[page, head, n, d]), part_sum)
                state.acc_ME[r, d] += part_sum

    return visit


@cache
def _kernel(dtype: torch.dtype, kv_dtype: torch.dtype, capped: bool, tilted: bool) -> Any:
    kind, _, store = SCALARS[dtype]
    kv_kind = SCALARS[kv_dtype][0]
    start, visit = _start(dtype), _visit(kv_dtype, capped, tilted)
    # Sinks are declared in both of their dtypes.
    arguments = Arguments(
        "T H K D E P S B N I tile_tokens window sinks_bf16", "scale cap",
        q_THD=kind, k_PKDS=kv_kind, v_PKSE=kv_kind, out_THE=kind, position_T=types.int64,
        page_BN=types.int64, tile_I3=types.int64, sinks_H=types.float32, rounded_sinks_H=types.uint16,
        slopes_H=types.float32,
    )  # fmt: skip
    unpack = arguments.unpack

    def kernel(words: Any) -> None:
        a = unpack(words)
        K, S, G = a.K, a.S, a.H // a.K
        M = a.tile_tokens * G
        q_MD, s_MS = np.empty((M, a.D), np.float32), np.empty((M, S), np.float32)
        state = State(
            np.empty(M, np.float32), np.empty(M, np.float32), np.empty((M, a.E), np.float32),
            np.empty(LANES, np.float32), np.arange(S).astype(np.float32),
        )  # fmt: skip
        while True:
            i = next_task(words)
            if i < 0:
                break
            # Last tiles first: they have the most keys, and a long task at the end leaves a thread idle.
            tile, head = a.I - 1 - i // K, i % K
            b, t0, tokens = a.tile_I3[tile, 0], a.tile_I3[tile, 1], a.tile_I3[tile, 2]
            if tokens == 0:
                continue
            start(a, state, q_MD, t0, tokens, head)
            pages = (a.position_T[t0 + tokens - 1] + S) // S
            # Pages that lie before every row's window are not looked at.
            for j in range(max(0, _first_key(a.position_T[t0], a.window)) // S, pages):
                visit(a, state, q_MD, s_MS, t0, tokens * G, head, b, j)
            for r in range(tokens * G):
                out = a.out_THE[t0 + r // G, head * G + r % G]
                for d in range(a.E):
                    out[d] = store(state.acc_ME[r, d] / state.total_M[r])

    return Kernel(kernel, arguments, dtype, kv_dtype, capped, tilted)


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
    launch(
        _kernel(q_THD.dtype, k_PKDS.dtype, scores.softcap is not None, scores.slopes_H is not None),
        tile_N3.shape[0] * K,
        q_THD=q_THD, k_PKDS=k_PKDS, v_PKSE=v_PKSE, out_THE=out_THE, position_T=position_T, page_BN=page_BP,
        tile_I3=tile_N3, sinks_H=sinks_H, rounded_sinks_H=sinks_H, slopes_H=scores.slopes_H,
        scale=scores.scale, cap=scores.softcap or 0.0,
        T=T, H=H, K=K, D=D, E=E, P=P, S=S, B=page_BP.shape[0], N=page_BP.shape[1], I=tile_N3.shape[0],
        tile_tokens=tile_tokens, window=scores.window,
        sinks_bf16=int(sinks_H is not None and sinks_H.dtype == torch.bfloat16),
    )  # fmt: skip
    return out_THE


def packed(
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKE: torch.Tensor,
    bounds_B1: torch.Tensor,
    scores: Scores,
    sinks_H: torch.Tensor | None,
    input_precision: str,
) -> tuple[torch.Tensor, Kept]:
    """Compute (`attention`, ()) of packed sequences over themselves, through pages; all of one dtype."""
    T, (K, D), E = q_THD.shape[0], k_TKD.shape[1:], v_TKE.shape[2]
    bounds = whole_bounds(bounds_B1, T)
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
    tiles = (tile_N3, TILE_TOKENS)
    return attention(q_THD, k_PKDS, v_PKSE, position_T, page_BP, *tiles, scores, sinks_H), ()
