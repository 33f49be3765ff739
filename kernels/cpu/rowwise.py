"""Kernels that treat each token by itself, on the CPU: norms, rope into the cache, rounding.

Legend: T tokens, C model width, H query heads, K kv heads, D head dim, E head dim of values, R pairs that
rope turns, P pages, S page size.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, types

from kernels.cpu.recording import empty
from kernels.cpu.runtime import Kernel, address, float_address, launch, next_task, variant_njit
from kernels.cpu.scalars import SCALARS
from kernels.cpu.tile import LANES
from kernels.knobs import Norm

ONE = np.float32(1)


def rows_per_task(rows: int) -> int:
    """Choose how many rows a task has: all of them while the work is smaller than waking another thread."""
    return max(16, -(-rows // (4 * torch.get_num_threads())))


def _pointer(tensor: torch.Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


@cache
def _lane_sum(squared: bool) -> Any:
    """Code for the sum of a row's numbers, or of their squares, in LANES chains that are added at the end."""

    @variant_njit(squared)
    def total(row: Any, lanes: Any) -> Any:
        for j in range(LANES):
            lanes[j] = 0
        for c in range(0, row.shape[0], LANES):
            part = row[c : c + LANES]
            for j in range(LANES):
                lanes[j] += part[j] * part[j] if squared else part[j]
        result = lanes[0]
        for j in range(1, LANES):
            result += lanes[j]
        return result

    return total


@cache
def _normed(dtype: torch.dtype, layer: bool) -> Any:
    """Code for one norm: of row[: C], zero from C on, by rms or, where `layer`, by mean and deviation."""
    _, _, store = SCALARS[dtype]
    total, squares = _lane_sum(False), _lane_sum(True)

    @variant_njit(dtype, layer)
    def normed(row: Any, C: int, lanes: Any, eps: Any, gain: Any, shift: Any, out: Any) -> None:
        if layer:
            mean = total(row, lanes) / np.float32(C)
            for c in range(C):
                row[c] -= mean
        rstd = ONE / np.sqrt(squares(row, lanes) / np.float32(C) + eps)
        for c in range(C):
            out[c] = store(row[c] * rstd * gain[c] + shift[c])

    return normed


@cache
def _add_norm(dtype: torch.dtype, layer: bool) -> Any:
    kind, load, store = SCALARS[dtype]
    normed = _normed(dtype, layer)

    def kernel(words: Any) -> None:
        args = carray(words, 13)
        T, C, chunk = args[10], args[11], args[12]
        x_TC = carray(address(args[2]), (T, C), kind)
        r_TC = carray(address(args[3]), (T, C), kind)
        w_C = carray(address(args[4]), (C,), kind)
        b_C = carray(address(args[5]), (C,), kind)
        sum_TC = carray(address(args[6]), (T, C), kind)
        out_TC = carray(address(args[7]), (T, C), kind)
        eps = carray(address(args[8]), (1,), types.float32)[0]
        offset = carray(address(args[9]), (1,), types.float32)[0]
        row = np.empty((C + LANES - 1) // LANES * LANES, np.float32)
        lanes = np.empty(LANES, np.float32)
        gain, shift = np.empty(C, np.float32), np.empty(C, np.float32)
        for c in range(C):
            gain[c] = load(w_C[c]) + offset if args[4] != 0 else ONE
            shift[c] = load(b_C[c]) if args[5] != 0 else 0
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            for t in range(i * chunk, min(T, (i + 1) * chunk)):
                x, r, total = x_TC[t], r_TC[t], sum_TC[t]
                if args[3] != 0:
                    for c in range(C):
                        rounded = store(load(x[c]) + load(r[c]))
                        total[c] = rounded
                        row[c] = load(rounded)
                else:
                    for c in range(C):
                        row[c] = load(x[c])
                row[C:] = 0
                normed(row, C, lanes, eps, gain, shift, out_TC[t])

    return Kernel(kernel, dtype, layer)


def add_norm(
    x_TC: torch.Tensor,
    residual_TC: torch.Tensor | None,
    w_C: torch.Tensor | None,
    b_C: torch.Tensor | None,
    norm: Norm,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x + residual, its norm), in float32; the sum is rounded to the dtype before it is normed."""
    T, C = x_TC.shape
    out_TC = empty((T, C), x_TC.dtype)
    sum_TC = x_TC if residual_TC is None else empty((T, C), x_TC.dtype)
    chunk = rows_per_task(T)
    tensors = (x_TC, residual_TC, w_C, b_C, sum_TC, out_TC)
    launch(
        _add_norm(x_TC.dtype, norm.layer),
        -(-T // chunk),
        *map(_pointer, tensors),
        *(float_address(norm.eps), float_address(norm.offset)),
        *(T, C, chunk),
    )
    return sum_TC, out_TC


@cache
def _norm_qk(dtype: torch.dtype, layer: bool) -> Any:
    kind, load, _ = SCALARS[dtype]
    normed = _normed(dtype, layer)

    @variant_njit(dtype, layer)
    def fill(target: Any, pointer: int, length: int, offset: Any, otherwise: Any) -> None:
        """The `length` numbers at an address, repeated, plus an offset; one number where there are none."""
        given = carray(address(pointer), (length,), kind)
        for c in range(target.shape[0]):
            target[c] = load(given[c % length]) + offset if pointer != 0 else otherwise

    def kernel(words: Any) -> None:
        args = carray(words, 21)
        T, X, chunk, width = args[10], args[11], args[12], args[13] + args[14]
        x_TX = carray(address(args[2]), (T, X), kind)
        out_TX = carray(address(args[7]), (T, X), kind)
        eps = carray(address(args[8]), (1,), types.float32)[0]
        offset = carray(address(args[9]), (1,), types.float32)[0]
        gain, shift = np.empty(width, np.float32), np.empty(width, np.float32)
        lanes = np.empty(LANES, np.float32)
        begin = 0
        for part in range(2):
            end = begin + args[13 + part]
            fill(gain[begin:end], args[3 + 2 * part], args[17 + 2 * part], offset, ONE)
            fill(shift[begin:end], args[4 + 2 * part], args[18 + 2 * part], np.float32(0), np.float32(0))
            begin = end
        row = np.empty((max(args[15], args[16]) + LANES - 1) // LANES * LANES, np.float32)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            for t in range(i * chunk, min(T, (i + 1) * chunk)):
                x, out = x_TX[t], out_TX[t]
                c = 0
                while c < width:
                    size = args[15] if c < args[13] else args[16]
                    for d in range(size):
                        row[d] = load(x[c + d])
                    row[size:] = 0
                    normed(row, size, lanes, eps, gain[c:], shift[c:], out[c:])
                    c += size
                out[width:] = x[width:]

    return Kernel(kernel, dtype, layer)


def norm_qk(
    qkv_TX: torch.Tensor,
    q_w: torch.Tensor | None,
    q_b: torch.Tensor | None,
    k_w: torch.Tensor | None,
    k_b: torch.Tensor | None,
    knobs: tuple[tuple[int, int], tuple[int, int], Norm],
) -> torch.Tensor:
    """`kernels.reference.norm_qk` in float32, rounded once."""
    widths, sizes, norm = knobs
    T, X = qkv_TX.shape
    out_TX = empty((T, X), qkv_TX.dtype)
    chunk = rows_per_task(T)
    lengths = [1 if tensor is None else tensor.numel() for tensor in (q_w, q_b, k_w, k_b)]
    launch(
        _norm_qk(qkv_TX.dtype, norm.layer),
        -(-T // chunk),
        *map(_pointer, (qkv_TX, q_w, q_b, k_w, k_b, out_TX)),
        *(float_address(norm.eps), float_address(norm.offset)),
        *(T, X, chunk, *widths, *sizes, *lengths),
    )
    return out_TX


@cache
def _turned(dtype: torch.dtype) -> Any:
    """Code for one head turned by an angle a pair: pairs (d, d + R), dimensions past 2 R as they are."""
    _, load, store = SCALARS[dtype]

    @variant_njit(dtype)
    def turned(x: Any, cos: Any, sin: Any, out: Any) -> None:
        R = cos.shape[0]
        for d in range(R):
            a, b = load(x[d]), load(x[R + d])
            out[d] = store(a * cos[d] - b * sin[d])
            out[R + d] = store(b * cos[d] + a * sin[d])
        for d in range(2 * R, x.shape[0]):
            out[d] = x[d]

    return turned


@cache
def _rope(dtype: torch.dtype) -> Any:
    kind, turned = SCALARS[dtype][0], _turned(dtype)

    def kernel(words: Any) -> None:
        args = carray(words, 14)
        T, X, heads, D, R, M, chunk = args[7], args[8], args[9], args[10], args[11], args[12], args[13]
        x_TX = carray(address(args[2]), (T, X), kind)
        cos_MR = carray(address(args[3]), (M, R), types.float32)
        sin_MR = carray(address(args[4]), (M, R), types.float32)
        position_T = carray(address(args[5]), (T,), types.int64)
        out_TX = carray(address(args[6]), (T, X), kind)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            for t in range(i * chunk, min(T, (i + 1) * chunk)):
                x, out = x_TX[t], out_TX[t]
                cos, sin = cos_MR[position_T[t]], sin_MR[position_T[t]]
                for h in range(heads):
                    turned(x[h * D : (h + 1) * D], cos, sin, out[h * D : (h + 1) * D])
                for c in range(heads * D, X):
                    out[c] = x[c]

    return Kernel(kernel, dtype)


def rope(
    qkv_TX: torch.Tensor,
    heads: tuple[int, int, int],
    cos_MR: torch.Tensor,
    sin_MR: torch.Tensor,
    position_T: torch.Tensor,
) -> torch.Tensor:
    """Turn queries and keys as `rope_store` does, and leave the values beside them as they are; (T, X)."""
    (T, X), (H, K, D), (M, R) = qkv_TX.shape, heads, cos_MR.shape
    out_TX = empty((T, X), qkv_TX.dtype)
    chunk = rows_per_task(T)
    tensors = (qkv_TX, cos_MR, sin_MR, position_T, out_TX)
    launch(_rope(qkv_TX.dtype), -(-T // chunk), *map(_pointer, tensors), *(T, X, H + K, D, R, M, chunk))
    return out_TX


@cache
def _rope_store(dtype: torch.dtype, kv_dtype: torch.dtype) -> Any:
    kind, load, store = SCALARS[dtype]
    kv_kind, _, store_kv = SCALARS[kv_dtype]
    turned = _turned(dtype)

    def kernel(words: Any) -> None:
        args = carray(words, 22)
        T, H, K, D, E, R, P, S, M, chunk = (
            args[12], args[13], args[14], args[15], args[16], args[17], args[18], args[19], args[20],
            args[21],
        )  # fmt: skip
        keys = (H + K) * D
        qkv_TX = carray(address(args[2]), (T, keys + K * E), kind)
        cos_MR = carray(address(args[3]), (M, R), types.float32)
        sin_MR = carray(address(args[4]), (M, R), types.float32)
        growth_M = carray(address(args[5]), (M,), types.float32)
        position_T = carray(address(args[6]), (T,), types.int64)
        slot_T = carray(address(args[7]), (T,), types.int64)
        q_THD = carray(address(args[8]), (T, H, D), kind)
        k_TKD = carray(address(args[9]), (T, K, D), kind)
        k_PKDS = carray(address(args[10]), (P, K, D, S), kv_kind)
        v_PKSE = carray(address(args[11]), (P, K, S, E), kv_kind)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            for t in range(i * chunk, min(T, (i + 1) * chunk)):
                cos, sin = cos_MR[position_T[t]], sin_MR[position_T[t]]
                page, offset = slot_T[t] // S, slot_T[t] % S
                for h in range(H + K):
                    x = qkv_TX[t, h * D : (h + 1) * D]
                    y = q_THD[t, h] if h < H else k_TKD[t, h - H]
                    turned(x, cos, sin, y)
                    if args[5] != 0 and h < H:
                        growth = growth_M[position_T[t]]
                        for d in range(D):
                            y[d] = store(load(y[d]) * growth)
                for h in range(K):
                    k, v = k_TKD[t, h], qkv_TX[t, keys + h * E : keys + (h + 1) * E]
                    k_page, v_page = k_PKDS[page, h], v_PKSE[page, h, offset]
                    for d in range(D):
                        k_page[d, offset] = store_kv(load(k[d]))
                    for d in range(E):
                        v_page[d] = store_kv(load(v[d]))

    return Kernel(kernel, dtype, kv_dtype)


def rope_store(
    qkv_TX: torch.Tensor,
    heads: tuple[int, int, int],
    cos_MR: torch.Tensor,
    sin_MR: torch.Tensor,
    position_T: torch.Tensor,
    slot_T: torch.Tensor,
    k_PKDS: torch.Tensor,
    v_PKSE: torch.Tensor,
    growth_M1: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate q and k (half-split rope, in float32), write k and v into their slots; returns q_THD, k_TKD.

    `qkv_TX` holds q, k and v side by side, of (H, K, D) = `heads`, values of head dim E; pairs (d, d + R)
    are turned, dimensions past 2 R pass; a query is multiplied by its position's growth. The tables are
    float32; slot = page * S + offset.
    """
    T, (H, K, D) = qkv_TX.shape[0], heads
    q_THD, k_TKD = (empty((T, heads, D), qkv_TX.dtype) for heads in (H, K))
    (P, _, S, E), (M, R) = v_PKSE.shape, cos_MR.shape
    chunk = rows_per_task(T)
    tensors = (qkv_TX, cos_MR, sin_MR, growth_M1, position_T, slot_T, q_THD, k_TKD, k_PKDS, v_PKSE)
    launch(
        _rope_store(qkv_TX.dtype, k_PKDS.dtype),
        -(-T // chunk),
        *map(_pointer, tensors),
        *(T, H, K, D, E, R, P, S, M, chunk),
    )
    return q_THD, k_TKD


# Numbers of one task of a rounding.
ROUNDED = 1 << 16


@cache
def _rounded() -> Any:
    _, _, store = SCALARS[torch.bfloat16]

    def kernel(words: Any) -> None:
        args = carray(words, 5)
        size = args[4]
        x = carray(address(args[2]), (size,), types.float32)
        out = carray(address(args[3]), (size,), types.uint16)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            # Counted from 0: an index that may be negative, for all the compiler knows, is gathered.
            part_x, part_out = x[i * ROUNDED : (i + 1) * ROUNDED], out[i * ROUNDED : (i + 1) * ROUNDED]
            for j in range(len(part_x)):
                part_out[j] = store(part_x[j])

    return Kernel(kernel)


def round_into(x: torch.Tensor, out: torch.Tensor) -> None:
    """out <- x, from float32 to bfloat16, both contiguous, as `Tensor.copy_` does."""
    launch(_rounded(), -(-x.numel() // ROUNDED), x.data_ptr(), out.data_ptr(), x.numel())
