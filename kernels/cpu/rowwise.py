"""Kernels that treat each token by itself, on the CPU: residual with RMSNorm, rope into the cache, SwiGLU.

Legend: T tokens, C model width, F MLP width, H query heads, K kv heads, D head dim, P pages, S page size.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, types

from kernels.cpu.recording import empty
from kernels.cpu.runtime import Kernel, address, exp, float_address, launch, next_task
from kernels.cpu.scalars import SCALARS
from kernels.cpu.tile import LANES

ONE = np.float32(1)


def _rows_per_task(rows: int) -> int:
    # One task (no other thread is woken) as long as the work is smaller than waking one.
    return max(16, -(-rows // (4 * torch.get_num_threads())))


@cache
def _add_rms_norm(dtype: torch.dtype) -> Any:
    kind, load, store = SCALARS[dtype]

    def kernel(words: Any) -> None:
        args = carray(words, 11)
        T, C, chunk = args[8], args[9], args[10]
        x_TC = carray(address(args[2]), (T, C), kind)
        r_TC = carray(address(args[3]), (T, C), kind)
        w_C = carray(address(args[4]), (C,), kind)
        sum_TC = carray(address(args[5]), (T, C), kind)
        out_TC = carray(address(args[6]), (T, C), kind)
        eps = carray(address(args[7]), (1,), types.float32)[0]
        row = np.empty((C + LANES - 1) // LANES * LANES, np.float32)
        lanes = np.empty(LANES, np.float32)
        row[C:] = 0
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            for t in range(i * chunk, min(T, (i + 1) * chunk)):
                x, r, total, out = x_TC[t], r_TC[t], sum_TC[t], out_TC[t]
                for c in range(C):
                    rounded = store(load(x[c]) + load(r[c]))
                    total[c] = rounded
                    row[c] = load(rounded)
                for j in range(LANES):
                    lanes[j] = 0
                for c in range(0, C, LANES):
                    part = row[c : c + LANES]
                    for j in range(LANES):
                        lanes[j] += part[j] * part[j]
                squares = lanes[0]
                for j in range(1, LANES):
                    squares += lanes[j]
                rstd = ONE / np.sqrt(squares / np.float32(C) + eps)
                for c in range(C):
                    out[c] = store(row[c] * rstd * load(w_C[c]))

    return Kernel(kernel, dtype)


def add_rms_norm(
    x_TC: torch.Tensor, residual_TC: torch.Tensor, w_C: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x + residual, RMSNorm(x + residual) * w); the sum is rounded to the dtype before it is normed."""
    T, C = x_TC.shape
    sum_TC, out_TC = (empty((T, C), x_TC.dtype) for _ in range(2))
    chunk = _rows_per_task(T)
    pointers = (x_TC, residual_TC, w_C, sum_TC, out_TC)
    launch(
        _add_rms_norm(x_TC.dtype),
        -(-T // chunk),
        *(tensor.data_ptr() for tensor in pointers),
        float_address(eps),
        *(T, C, chunk),
    )
    return sum_TC, out_TC


@cache
def _rope_store(dtype: torch.dtype, kv_dtype: torch.dtype) -> Any:
    kind, load, store = SCALARS[dtype]
    kv_kind, _, store_kv = SCALARS[kv_dtype]

    def kernel(words: Any) -> None:
        args = carray(words, 19)
        T, H, K, D, P, S, M, chunk = (
            args[11], args[12], args[13], args[14], args[15], args[16], args[17], args[18],
        )  # fmt: skip
        half = D // 2
        qkv = carray(address(args[2]), (T, H + 2 * K, D), kind)
        cos_MD = carray(address(args[3]), (M, half), types.float32)
        sin_MD = carray(address(args[4]), (M, half), types.float32)
        position_T = carray(address(args[5]), (T,), types.int64)
        slot_T = carray(address(args[6]), (T,), types.int64)
        q_THD = carray(address(args[7]), (T, H, D), kind)
        k_TKD = carray(address(args[8]), (T, K, D), kind)
        k_PKDS = carray(address(args[9]), (P, K, D, S), kv_kind)
        v_PKSD = carray(address(args[10]), (P, K, S, D), kv_kind)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            for t in range(i * chunk, min(T, (i + 1) * chunk)):
                cos, sin = cos_MD[position_T[t]], sin_MD[position_T[t]]
                page, offset = slot_T[t] // S, slot_T[t] % S
                for h in range(H + K):
                    x = qkv[t, h]
                    y = q_THD[t, h] if h < H else k_TKD[t, h - H]
                    for d in range(half):
                        a, b = load(x[d]), load(x[half + d])
                        y[d] = store(a * cos[d] - b * sin[d])
                        y[half + d] = store(b * cos[d] + a * sin[d])
                for h in range(K):
                    k, v = k_TKD[t, h], qkv[t, H + K + h]
                    k_page, v_page = k_PKDS[page, h], v_PKSD[page, h, offset]
                    for d in range(D):
                        k_page[d, offset] = store_kv(load(k[d]))
                        v_page[d] = store_kv(load(v[d]))

    return Kernel(kernel, dtype, kv_dtype)


def rope_store(
    qkv_TX: torch.Tensor,
    heads: tuple[int, int, int],
    cos_MD: torch.Tensor,
    sin_MD: torch.Tensor,
    position_T: torch.Tensor,
    slot_T: torch.Tensor,
    k_PKDS: torch.Tensor,
    v_PKSD: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate q and k (half-split rope, in float32), write k and v into their slots; returns q_THD, k_TKD.

    `qkv_TX` holds q, k and v of (H, K, D) = `heads` side by side; slot = page * S + offset.
    """
    T, (H, K, D) = qkv_TX.shape[0], heads
    q_THD, k_TKD = (empty((T, heads, D), qkv_TX.dtype) for heads in (H, K))
    P, S, M = k_PKDS.shape[0], k_PKDS.shape[3], cos_MD.shape[0]
    chunk = _rows_per_task(T)
    pointers = (qkv_TX, cos_MD, sin_MD, position_T, slot_T, q_THD, k_TKD, k_PKDS, v_PKSD)
    launch(
        _rope_store(qkv_TX.dtype, k_PKDS.dtype),
        -(-T // chunk),
        *(tensor.data_ptr() for tensor in pointers),
        *(T, H, K, D, P, S, M, chunk),
    )
    return q_THD, k_TKD


@cache
def _swiglu(dtype: torch.dtype) -> Any:
    kind, load, store = SCALARS[dtype]

    def kernel(words: Any) -> None:
        args = carray(words, 7)
        T, F, chunk = args[4], args[5], args[6]
        x_T2F = carray(address(args[2]), (T, 2, F), kind)
        out_TF = carray(address(args[3]), (T, F), kind)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            for t in range(i * chunk, min(T, (i + 1) * chunk)):
                gate, up, out = x_T2F[t, 0], x_T2F[t, 1], out_TF[t]
                for f in range(F):
                    g = load(gate[f])
                    # Past 88 the exponential would overflow, and silu(g) is 0 to float32 long before.
                    e = exp(-g if g > np.float32(-88) else np.float32(88))
                    out[f] = store(g / (ONE + e) * load(up[f]))

    return Kernel(kernel, dtype)


def swiglu(x_TX: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up in float32, rounded once, for x = (gate, up) side by side: (T, 2F) -> (T, F)."""
    T, F = x_TX.shape[0], x_TX.shape[1] // 2
    out_TF = empty((T, F), x_TX.dtype)
    chunk = _rows_per_task(T)
    launch(_swiglu(x_TX.dtype), -(-T // chunk), x_TX.data_ptr(), out_TF.data_ptr(), T, F, chunk)
    return out_TF
