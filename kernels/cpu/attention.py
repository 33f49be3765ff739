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
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numba import types
from torch import Tensor

from kernels.blockwise import through_pages
from kernels.cpu.recording import empty, launch
from kernels.cpu.runtime import (
    LANES,
    SCALARS,
    Kernel,
    exp,
    fma,
    given,
    lane_max,
    lane_sum,
    load_bf16,
    tanh,
    tasks,
    variant_njit,
)
from kernels.cpu.tile import COLUMNS, block_product
from kernels.knobs import Scores
from kernels.tiling import TILE_TOKENS, Kept, SharedPrefix, Tiles

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
        """Turn row r's products into weights; its running max, sum and accumulator are rescaled.

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
        row[:first] = NEGATIVE
        row[last + 1 :] = NEGATIVE
        top = lane_max(row, lanes, state.top_M[r])
        shrink = exp(state.top_M[r] - top)
        for n in range(columns):
            row[n] = exp(row[n] - top)
        state.top_M[r] = top
        state.total_M[r] = state.total_M[r] * shrink + lane_sum(row, lanes)
        acc = state.acc_ME[r]
        for d in range(acc.shape[0]):
            acc[d] *= shrink

    return softmax_step


@variant_njit()
def _first_key(position: int, window: int) -> int:
    """Compute `kernels.knobs.first_seen`."""
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

    def kernel(words: Any, a: Any) -> None:
        K, S, G = a.K, a.S, a.H // a.K
        M = a.tile_tokens * G
        q_MD, s_MS = np.empty((M, a.D), np.float32), np.empty((M, S), np.float32)
        state = State(
            np.empty(M, np.float32), np.empty(M, np.float32), np.empty((M, a.E), np.float32),
            np.empty(LANES, np.float32), np.arange(S).astype(np.float32),
        )  # fmt: skip
        for i in tasks(words):
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

    # Sinks are declared in both of their dtypes.
    return Kernel(
        kernel, (dtype, kv_dtype, capped, tilted),
        "T H K D E P S B N I tile_tokens window sinks_bf16", "scale cap",
        q_THD=kind, k_PKDS=kv_kind, v_PKSE=kv_kind, out_THE=kind, position_T=types.int64,
        page_BN=types.int64, tile_I3=types.int64, sinks_H=types.float32, rounded_sinks_H=types.uint16,
        slopes_H=types.float32,
    )  # fmt: skip


def paged_attention(
    q_THD: Tensor,
    k_PKDS: Tensor,
    v_PKSE: Tensor,
    paging: tuple[Tensor, Tensor],
    tiles: Tiles,
    scores: Scores,
    sinks_H: Tensor | None,
    input_precision: str,
    prefix: SharedPrefix | None,
) -> tuple[Tensor, Kept]:
    """Compute (out_THE, ()) of packed queries over their sequences' pages; `paging` is (position_T, page_BP).

    A query at position p sees the keys at positions 0 to p of its sequence, or the last `scores.window` of
    them. `tiles` splits the tokens into runs, some perhaps empty, that no sequence's border crosses; neither
    they nor a prefix, which each of its sequences reads again, change a bit of the result. S is a multiple of
    16. Sinks are float32 or bfloat16.
    """
    (T, H, D), (P, K, S, E) = q_THD.shape, v_PKSE.shape
    (position_T, page_BP), (tile_N3, tile_tokens) = paging, tiles
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
    return out_THE, ()


packed_attention = partial(through_pages, paged_attention, TILE_TOKENS)
