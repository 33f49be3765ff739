"""Rows of logits on the CPU: masks, what their softmax is made of, all logprobs, draws, ranks, the likeliest.

A row is one task, read from its first column to its last: its maximum first, then exponentials of the
differences to it, in float32, summed over blocks of BLOCK columns in LANES chains; the blocks' sums are added
up in order, in float64. No other row enters.

Legend: R rows, V vocabulary, W bytes of a bit for each token.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import llvmlite.ir as ir
import numpy as np
import torch
from numba import types
from torch import Tensor

from kernels.cpu.recording import launch
from kernels.cpu.runtime import F32, I32, LANES, Kernel, code, exp, given, lane_max, splat, tasks
from kernels.reference import from_softmax

# Columns whose exponentials are summed in float32.
BLOCK = 256


@cache
def _kernel() -> Any:
    def kernel(words: Any, a: Any) -> None:
        V = a.V
        row = np.empty((V + BLOCK - 1) // BLOCK * BLOCK, np.float32)
        lanes = np.empty(LANES, np.float32)
        ends = np.empty(row.shape[0] // BLOCK, np.float64)
        for r in tasks(words):
            logits, temperature = a.logits_RV[r], a.temperature_R[r]
            row[V:] = -np.inf
            for v in range(V):
                row[v] = logits[v] / temperature
            top = lane_max(row, lanes, -np.inf)
            total = 0.0
            for b in range(ends.shape[0]):
                part = row[b * BLOCK : (b + 1) * BLOCK]
                for j in range(BLOCK):  # by itself, so that it vectorises
                    part[j] = exp(part[j] - top)
                for j in range(LANES):
                    lanes[j] = 0
                for v0 in range(0, BLOCK, LANES):
                    for j in range(LANES):
                        lanes[j] += part[v0 + j]
                for j in range(LANES):
                    total += types.float64(lanes[j])
                ends[b] = total
            log_sum = types.float32(math.log(total))
            a.softmax_2R[0, r], a.softmax_2R[1, r] = top, log_sum
            if given(a.uniform_R):
                # The first column at which the running sum is past the share of the total.
                aim = a.uniform_R[r] * total
                b = 0
                while b + 1 < ends.shape[0] and ends[b] <= aim:
                    b += 1
                drawn, running = -1, ends[b - 1] if b > 0 else 0.0
                for v in range(b * BLOCK, min((b + 1) * BLOCK, V)):
                    running += types.float64(row[v])
                    if row[v] > 0:
                        drawn = v
                        if running > aim:
                            break
                a.token_R[r] = drawn
            if given(a.out_RV):
                out = a.out_RV[r]
                for v in range(V):
                    out[v] = (logits[v] / temperature - top) - log_sum

    return Kernel(
        kernel, (), "R V",
        logits_RV=types.float32, temperature_R=types.float32, uniform_R=types.float64,
        softmax_2R=types.float32, token_R=types.int64, out_RV=types.float32,
    )  # fmt: skip


def softmax(
    logits_RV: Tensor, temperature_R: Tensor, uniform_R: Tensor | None = None, out_RV: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute (softmax_2R, token_R) of float32 logits over temperatures, all contiguous, on the CPU.

    The first is a row's maximum and the log of its sum of exponentials of differences to that. The second,
    int64, is what `uniform_R` (float64, in [0, 1)) draws, by inverting the cumulative distribution; it is
    not written without. `out_RV` takes all logprobs.
    """
    R, V = logits_RV.shape
    softmax_2R, token_R = torch.empty(2, R), torch.empty(R, dtype=torch.int64)
    launch(
        _kernel(), R, logits_RV=logits_RV, temperature_R=temperature_R, uniform_R=uniform_R,
        softmax_2R=softmax_2R, token_R=token_R, out_RV=out_RV, R=R, V=V,
    )  # fmt: skip
    return softmax_2R, token_R


def log_softmax(logits_RV: Tensor, temperature_R: Tensor) -> Tensor:
    """Compute log softmax(logits / temperature), (R, V)."""
    softmax(logits_RV, temperature_R, out_RV=(out_RV := torch.empty_like(logits_RV)))
    return out_RV


def log_softmax_at(logits_RV: Tensor, temperature_R: Tensor, column_RX: Tensor) -> Tensor:
    """Compute some columns of `log_softmax`, (R, X)."""
    return from_softmax(softmax(logits_RV, temperature_R)[0], logits_RV, temperature_R, column_RX)


def draw(logits_RV: Tensor, temperature_R: Tensor, uniform_R: Tensor) -> Tensor:
    """Draw the token of each row by a number in [0, 1), (R,)."""
    return softmax(logits_RV, temperature_R, uniform_R)[1]


@cache
def _argmax() -> Any:
    def kernel(words: Any, a: Any) -> None:
        V = a.V
        lanes = np.empty(LANES, np.float32)
        for r in tasks(words):
            logits = a.logits_RV[r]
            # The block with the largest number, then the first place of that number in it.
            top, best, missing = types.float32(-np.inf), 0, types.int32(0)
            for v0 in range(0, V, BLOCK):
                block = logits[v0 : v0 + BLOCK]
                whole = block.shape[0] // LANES * LANES
                for n in range(block.shape[0]):
                    missing += types.int32(block[n] != block[n])
                largest = lane_max(block[:whole], lanes, -np.inf)
                for n in range(whole, block.shape[0]):
                    largest = max(largest, block[n])
                if largest > top:
                    top, best = largest, v0
            while best < V and logits[best] != top:
                best += 1
            a.token_R[r] = -1 if missing > 0 or best == V else best

    return Kernel(kernel, (), "R V", logits_RV=types.float32, token_R=types.int64)


def argmax(logits_RV: Tensor) -> Tensor:
    """Find the first column with the largest number of each row, (R,) int64; -1 where a number is NaN."""
    R, V = logits_RV.shape
    token_R = torch.empty(R, dtype=torch.int64)
    launch(_argmax(), R, logits_RV=logits_RV, token_R=token_R, R=R, V=V)
    return token_R


@cache
def _ranks() -> Any:
    def kernel(words: Any, a: Any) -> None:
        for r in tasks(words):
            logits = a.logits_RV[r]
            value, count = logits[a.token_R[r]], types.int32(0)
            for v in range(a.V):
                count += types.int32(logits[v] > value)
            a.rank_R[r] = count + 1

    return Kernel(kernel, (), "R V", logits_RV=types.float32, token_R=types.int64, rank_R=types.int64)


def ranks(logits_RV: Tensor, token_R: Tensor) -> Tensor:
    """Return one more than the number of row r's columns that are larger than token_R[r], (R,) int64."""
    R, V = logits_RV.shape
    rank_R = torch.empty(R, dtype=torch.int64)
    launch(_ranks(), R, logits_RV=logits_RV, token_R=token_R, rank_R=rank_R, R=R, V=V)
    return rank_R


@code(types.void(types.int64, types.uint8, types.int64))
def _mask_eight(b: Any, source: Any, bits: Any, target: Any) -> None:
    """Copy eight float32 numbers from an address to another, -inf for those whose bit is 0."""
    numbers, words = (ir.VectorType(kind, 8) for kind in (F32, I32))
    value = b.load(b.inttoptr(source, numbers.as_pointer()))
    bit = b.and_(splat(b, b.zext(bits, I32), 8), ir.Constant(words, [1 << j for j in range(8)]))
    is_kept = b.icmp_unsigned("!=", bit, ir.Constant(words, [0] * 8))
    least = ir.Constant(numbers, [float("-inf")] * 8)
    store = b.store(b.select(is_kept, value, least), b.inttoptr(target, numbers.as_pointer()))
    value.align = store.align = 4


@cache
def _masked() -> Any:
    def kernel(words: Any, a: Any) -> None:
        whole = a.V // 8
        for r in tasks(words):
            logits, bits, out = a.logits_RV[r], a.bit_RW[r], a.out_RV[r]
            source, target = logits.ctypes.data, out.ctypes.data
            for w in range(whole):
                _mask_eight(source + 32 * w, bits[w], target + 32 * w)
            for v in range(8 * whole, a.V):
                out[v] = logits[v] if bits[whole] >> v % 8 & 1 else -np.inf

    return Kernel(kernel, (), "R V W", logits_RV=types.float32, bit_RW=types.uint8, out_RV=types.float32)


def masked(logits_RV: Tensor, bit_RW: Tensor) -> Tensor:
    """Return the logits, -inf where a bit is 0, the lowest of a byte first; (R, V)."""
    R, V = logits_RV.shape
    out_RV = torch.empty_like(logits_RV)
    launch(_masked(), R, logits_RV=logits_RV, bit_RW=bit_RW, out_RV=out_RV, R=R, V=V, W=bit_RW.shape[1])
    return out_RV
