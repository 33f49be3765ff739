"""Kernels that treat each token by itself, on the CPU: norms, rope into the cache, rounding.

Legend: T tokens, C model width, H query heads, K kv heads, D head dim, E head dim of values, R pairs that
rope rotates, P pages, S page size.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numba import types
from torch import Tensor

from kernels.cpu.recording import empty, launch, launch_rows
from kernels.cpu.runtime import LANES, SCALARS, Kernel, given, lane_squares, lane_sum, tasks, variant_njit
from kernels.knobs import Heads, Norm, PieceNorms

ONE = np.float32(1)


@cache
def _normed(dtype: torch.dtype, layer: bool) -> Any:
    """Compile one norm: of row[: C], zero from C on, by rms or, where `layer`, by mean and deviation."""
    store = SCALARS[dtype][2]

    @variant_njit(dtype, layer)
    def normed(row: Any, C: int, lanes: Any, eps: Any, gain: Any, shift: Any, out: Any) -> None:
        if layer:
            mean = lane_sum(row, lanes) / np.float32(C)
            for c in range(C):
                row[c] -= mean
        rstd = ONE / np.sqrt(lane_squares(row, lanes) / np.float32(C) + eps)
        for c in range(C):
            out[c] = store(row[c] * rstd * gain[c] + shift[c])

    return normed


@cache
def _add_norm(dtype: torch.dtype, layer: bool) -> Any:
    kind, load, store = SCALARS[dtype]
    normed = _normed(dtype, layer)

    def kernel(words: Any, a: Any) -> None:
        C = a.C
        row = np.empty((C + LANES - 1) // LANES * LANES, np.float32)
        lanes = np.empty(LANES, np.float32)
        gain, shift = np.empty(C, np.float32), np.empty(C, np.float32)
        for c in range(C):
            gain[c] = load(a.w_C[c]) + a.offset if given(a.w_C) else ONE
            shift[c] = load(a.b_C[c]) if given(a.b_C) else 0
        for i in tasks(words):
            for t in range(i * a.chunk, min(a.T, (i + 1) * a.chunk)):
                x, r, total = a.x_TC[t], a.residual_TC[t], a.sum_TC[t]
                if given(a.residual_TC):
                    for c in range(C):
                        rounded = store(load(x[c]) + load(r[c]))
                        total[c] = rounded
                        row[c] = load(rounded)
                else:
                    for c in range(C):
                        row[c] = load(x[c])
                row[C:] = 0
                normed(row, C, lanes, a.eps, gain, shift, a.out_TC[t])

    return Kernel(
        kernel, (dtype, layer), "T C chunk", "eps offset",
        x_TC=kind, residual_TC=kind, w_C=kind, b_C=kind, sum_TC=kind, out_TC=kind,
    )  # fmt: skip


def add_norm(
    x_TC: Tensor, residual_TC: Tensor | None, w_C: Tensor | None, b_C: Tensor | None, norm: Norm
) -> tuple[Tensor, Tensor]:
    """Compute (x + residual, its norm) in float32; the sum is rounded to the dtype before it is normed."""
    T, C = x_TC.shape
    out_TC = empty((T, C), x_TC.dtype)
    sum_TC = x_TC if residual_TC is None else empty((T, C), x_TC.dtype)
    launch_rows(
        _add_norm(x_TC.dtype, norm.layer), T,
        x_TC=x_TC, residual_TC=residual_TC, w_C=w_C, b_C=b_C, sum_TC=sum_TC, out_TC=out_TC,
        eps=norm.eps, offset=float(norm.offset), C=C,
    )  # fmt: skip
    return sum_TC, out_TC


@cache
def _norm_qk(dtype: torch.dtype, layer: bool) -> Any:
    kind, load, _ = SCALARS[dtype]
    normed = _normed(dtype, layer)

    @variant_njit(dtype, layer)
    def fill(target: Any, numbers: Any, offset: Any, otherwise: Any) -> None:
        """Write the numbers, repeated, plus an offset; one number where there are none."""
        for c in range(target.shape[0]):
            target[c] = load(numbers[c % numbers.shape[0]]) + offset if given(numbers) else otherwise

    def kernel(words: Any, a: Any) -> None:
        width = a.q_width + a.k_width
        gain, shift = np.empty(width, np.float32), np.empty(width, np.float32)
        lanes = np.empty(LANES, np.float32)
        fill(gain[: a.q_width], a.q_w_Q, a.offset, ONE)
        fill(gain[a.q_width :], a.k_w_K, a.offset, ONE)
        fill(shift[: a.q_width], a.q_b_R, np.float32(0), np.float32(0))
        fill(shift[a.q_width :], a.k_b_L, np.float32(0), np.float32(0))
        row = np.empty((max(a.q_size, a.k_size) + LANES - 1) // LANES * LANES, np.float32)
        for i in tasks(words):
            for t in range(i * a.chunk, min(a.T, (i + 1) * a.chunk)):
                x, out = a.qkv_TX[t], a.out_TX[t]
                c = 0
                while c < width:
                    size = a.q_size if c < a.q_width else a.k_size
                    for d in range(size):
                        row[d] = load(x[c + d])
                    row[size:] = 0
                    normed(row, size, lanes, a.eps, gain[c:], shift[c:], out[c:])
                    c += size
                out[width:] = x[width:]

    return Kernel(
        kernel, (dtype, layer), "T X chunk q_width k_width q_size k_size Q R K L", "eps offset",
        qkv_TX=kind, q_w_Q=kind, q_b_R=kind, k_w_K=kind, k_b_L=kind, out_TX=kind,
    )  # fmt: skip


def norm_qk(
    qkv_TX: Tensor,
    q_w: Tensor | None,
    q_b: Tensor | None,
    k_w: Tensor | None,
    k_b: Tensor | None,
    knobs: PieceNorms,
) -> Tensor:
    """Compute `kernels.reference.norm_qk` in float32, rounded once."""
    widths, sizes, norm = knobs
    T, X = qkv_TX.shape
    out_TX = empty((T, X), qkv_TX.dtype)
    Q, R, K, L = (1 if tensor is None else tensor.numel() for tensor in (q_w, q_b, k_w, k_b))
    launch_rows(
        _norm_qk(qkv_TX.dtype, norm.layer), T,
        qkv_TX=qkv_TX, q_w_Q=q_w, q_b_R=q_b, k_w_K=k_w, k_b_L=k_b, out_TX=out_TX,
        eps=norm.eps, offset=float(norm.offset), X=X, q_width=widths[0],
        k_width=widths[1], q_size=sizes[0], k_size=sizes[1], Q=Q, R=R, K=K, L=L,
    )  # fmt: skip
    return out_TX


@cache
def _rotated(dtype: torch.dtype) -> Any:
    """Compile the rotation of a head by an angle a pair: pairs (d, d + R), what is past 2 R as it is."""
    _, load, store = SCALARS[dtype]

    @variant_njit(dtype)
    def rotated(x: Any, cos: Any, sin: Any, out: Any) -> None:
        R = cos.shape[0]
        for d in range(R):
            a, b = load(x[d]), load(x[R + d])
            out[d] = store(a * cos[d] - b * sin[d])
            out[R + d] = store(b * cos[d] + a * sin[d])
        for d in range(2 * R, x.shape[0]):
            out[d] = x[d]

    return rotated


@cache
def _rope(dtype: torch.dtype) -> Any:
    kind, rotated = SCALARS[dtype][0], _rotated(dtype)

    def kernel(words: Any, a: Any) -> None:
        D = a.D
        for i in tasks(words):
            for t in range(i * a.chunk, min(a.T, (i + 1) * a.chunk)):
                x, out = a.qkv_TX[t], a.out_TX[t]
                cos, sin = a.cos_MR[a.position_T[t]], a.sin_MR[a.position_T[t]]
                for h in range(a.heads):
                    rotated(x[h * D : (h + 1) * D], cos, sin, out[h * D : (h + 1) * D])
                for c in range(a.heads * D, a.X):
                    out[c] = x[c]

    return Kernel(
        kernel, (dtype,), "T X heads D R M chunk",
        qkv_TX=kind, cos_MR=types.float32, sin_MR=types.float32, position_T=types.int64, out_TX=kind,
    )  # fmt: skip


def rope_qk(
    qkv_TX: Tensor,
    heads: Heads,
    cos_MR: Tensor,
    sin_MR: Tensor,
    position_T: Tensor,
    dtype: torch.dtype | None,
) -> Tensor:
    """Rotate queries and keys as `rope_store` does, and leave the values beside them as they are; (T, X)."""
    (T, X), (H, K, D), (M, R) = qkv_TX.shape, heads, cos_MR.shape
    out_TX = empty((T, X), qkv_TX.dtype)
    launch_rows(
        _rope(qkv_TX.dtype), T,
        qkv_TX=qkv_TX, cos_MR=cos_MR, sin_MR=sin_MR, position_T=position_T, out_TX=out_TX,
        X=X, heads=H + K, D=D, R=R, M=M,
    )  # fmt: skip
    return out_TX


@cache
def _rope_store(dtype: torch.dtype, kv_dtype: torch.dtype) -> Any:
    kind, load, store = SCALARS[dtype]
    kv_kind, _, store_kv = SCALARS[kv_dtype]
    rotated = _rotated(dtype)

    def kernel(words: Any, a: Any) -> None:
        H, K, D, E = a.H, a.K, a.D, a.E
        keys = (H + K) * D
        for i in tasks(words):
            for t in range(i * a.chunk, min(a.T, (i + 1) * a.chunk)):
                cos, sin = a.cos_MR[a.position_T[t]], a.sin_MR[a.position_T[t]]
                page, offset = a.slot_T[t] // a.S, a.slot_T[t] % a.S
                for h in range(H + K):
                    x = a.qkv_TX[t, h * D : (h + 1) * D]
                    y = a.q_THD[t, h] if h < H else a.k_TKD[t, h - H]
                    rotated(x, cos, sin, y)
                    if given(a.growth_M) and h < H:
                        growth = a.growth_M[a.position_T[t]]
                        for d in range(D):
                            y[d] = store(load(y[d]) * growth)
                for h in range(K):
                    k, v = a.k_TKD[t, h], a.qkv_TX[t, keys + h * E : keys + (h + 1) * E]
                    k_page, v_page = a.k_PKDS[page, h], a.v_PKSE[page, h, offset]
                    for d in range(D):
                        k_page[d, offset] = store_kv(load(k[d]))
                    for d in range(E):
                        v_page[d] = store_kv(load(v[d]))

    return Kernel(
        kernel, (dtype, kv_dtype), "T X H K D E R P S M chunk",
        qkv_TX=kind, cos_MR=types.float32, sin_MR=types.float32, growth_M=types.float32,
        position_T=types.int64, slot_T=types.int64, q_THD=kind, k_TKD=kind, k_PKDS=kv_kind, v_PKSE=kv_kind,
    )  # fmt: skip


def rope_store(
    qkv_TX: Tensor,
    heads: Heads,
    cos_MR: Tensor,
    sin_MR: Tensor,
    position_T: Tensor,
    slot_T: Tensor,
    k_PKDS: Tensor,
    v_PKSE: Tensor,
    growth_M1: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Rotate q and k (half-split rope, in float32), write k and v into their slots; returns q_THD, k_TKD.

    `qkv_TX` holds q, k and v side by side, of (H, K, D) = `heads`, values of head dim E; pairs (d, d + R)
    are rotated, dimensions past 2 R pass; a query is multiplied by its position's growth. The tables are
    float32; slot = page * S + offset.
    """
    (T, X), (H, K, D) = qkv_TX.shape, heads
    q_THD, k_TKD = (empty((T, heads, D), qkv_TX.dtype) for heads in (H, K))
    (P, _, S, E), (M, R) = v_PKSE.shape, cos_MR.shape
    launch_rows(
        _rope_store(qkv_TX.dtype, k_PKDS.dtype), T,
        qkv_TX=qkv_TX, cos_MR=cos_MR, sin_MR=sin_MR, growth_M=growth_M1, position_T=position_T,
        slot_T=slot_T, q_THD=q_THD, k_TKD=k_TKD, k_PKDS=k_PKDS, v_PKSE=v_PKSE,
        X=X, H=H, K=K, D=D, E=E, R=R, P=P, S=S, M=M,
    )  # fmt: skip
    return q_THD, k_TKD


# Numbers of one task of a rounding.
ROUNDED = 1 << 16


@cache
def _rounded() -> Any:
    store = SCALARS[torch.bfloat16][2]

    def kernel(words: Any, a: Any) -> None:
        for i in tasks(words):
            # Counted from 0: an index that may be negative, for all the compiler knows, is gathered.
            x, out = a.x_N[i * ROUNDED : (i + 1) * ROUNDED], a.out_N[i * ROUNDED : (i + 1) * ROUNDED]
            for j in range(len(x)):
                out[j] = store(x[j])

    return Kernel(kernel, (), "N", x_N=types.float32, out_N=types.uint16)


def round_into(x: Tensor, out: Tensor) -> None:
    """Write x, rounded to out's dtype, to a contiguous out, as `Tensor.copy_` does."""
    if (x.dtype, out.dtype) == (torch.float32, torch.bfloat16) and x.is_contiguous():
        launch(_rounded(), -(-x.numel() // ROUNDED), x_N=x, out_N=out, N=x.numel())
        torch.autograd.graph.increment_version(out)
    else:
        out.copy_(x)


# ---------------------------------------------------------------- checksums

CHECKSUM = 1 << 16  # numbers that have one sum
CHECKSUM_LANES = 16
CHECKSUM_FACTOR = np.uint32(0x9E3779B1)  # odd: a change of one number changes the sum


@cache
def _checksums() -> Kernel:
    def kernel(words: Any, a: Any) -> None:
        lanes = np.empty(CHECKSUM_LANES, np.uint32)
        for i in tasks(words):
            x = a.x_N[i * CHECKSUM : min(a.N, (i + 1) * CHECKSUM)]
            lanes[:] = 0
            whole = len(x) // CHECKSUM_LANES * CHECKSUM_LANES
            for n0 in range(0, whole, CHECKSUM_LANES):
                part = x[n0 : n0 + CHECKSUM_LANES]
                for j in range(CHECKSUM_LANES):
                    lanes[j] = lanes[j] * CHECKSUM_FACTOR + part[j]
            for n in range(whole, len(x)):
                lanes[n - whole] = lanes[n - whole] * CHECKSUM_FACTOR + x[n]
            total = np.uint64(0)
            for j in range(CHECKSUM_LANES):
                total = total * CHECKSUM_FACTOR + lanes[j]
            a.out_I[i] = total

    return Kernel(kernel, (), "N I", x_N=types.uint32, out_I=types.uint64)


def checksum(word_N: Tensor) -> Tensor:
    """Compute a checksum of each block of int32, int64: sums of CHECKSUM_FACTOR ** i x[i], modulo 2**32."""
    N = word_N.numel()
    out_I = torch.empty(-(-N // CHECKSUM), dtype=torch.int64)
    launch(_checksums(), len(out_I), x_N=word_N, out_I=out_I, N=N, I=len(out_I))
    return out_I
