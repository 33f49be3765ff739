"""Rows of logits on the CPU: what their softmax is made of, all logprobs, draws, ranks, the likeliest token.

A row is one task, read from its first column to its last: its maximum first, then exponentials of the
differences to it, in float32, summed over blocks of BLOCK columns in LANES chains; the blocks' sums are added
up in order, in float64. No other row enters.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import types

from kernels.cpu.runtime import Arguments, Kernel, exp, given, launch, next_task
from kernels.cpu.tile import LANES

# Columns whose exponentials are summed in float32.
BLOCK = 256


@cache
def _kernel() -> Any:
    arguments = Arguments(
        "R V",
        logits_RV=types.float32, temperature_R=types.float32, uniform_R=types.float64,
        softmax_2R=types.float32, token_R=types.int64, out_RV=types.float32,
    )  # fmt: skip
    unpack = arguments.unpack

    def kernel(words: Any) -> None:
        a = unpack(words)
        V = a.V
        row = np.empty((V + BLOCK - 1) // BLOCK * BLOCK, np.float32)
        lanes = np.empty(LANES, np.float32)
        ends = np.empty(row.shape[0] // BLOCK, np.float64)
        while True:
            r = next_task(words)
            if r < 0:
                break
            logits, temperature = a.logits_RV[r], a.temperature_R[r]
            for j in range(LANES):
                lanes[j] = -np.inf
            row[V:] = -np.inf
            for v in range(V):
                row[v] = logits[v] / temperature
            for v0 in range(0, row.shape[0], LANES):
                part = row[v0 : v0 + LANES]
                for j in range(LANES):
                    lanes[j] = max(lanes[j], part[j])
            top = lanes[0]
            for j in range(1, LANES):
                top = max(top, lanes[j])
            total = 0.0
            for b in range(ends.shape[0]):
                for j in range(LANES):
                    lanes[j] = 0
                for v0 in range(b * BLOCK, (b + 1) * BLOCK, LANES):
                    part = row[v0 : v0 + LANES]
                    for j in range(LANES):
                        lanes[j] += exp(part[j] - top)
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
                found, running = -1, ends[b - 1] if b > 0 else 0.0
                for v in range(b * BLOCK, min((b + 1) * BLOCK, V)):
                    mass = exp(row[v] - top)
                    running += types.float64(mass)
                    if mass > 0:
                        found = v
                        if running > aim:
                            break
                a.token_R[r] = found
            if given(a.out_RV):
                out = a.out_RV[r]
                for v in range(V):
                    out[v] = (row[v] - top) - log_sum

    return Kernel(kernel, arguments)


def softmax(
    logits_RV: torch.Tensor,
    temperature_R: torch.Tensor,
    uniform_R: torch.Tensor | None = None,
    whole: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """(softmax_2R, token_R, logprobs_RV) of float32 logits over temperatures, all contiguous, on the CPU.

    The first is a row's maximum and the log of its sum of exponentials of differences to that. The second,
    int64, is what `uniform_R` (float64, in [0, 1)) draws, by inverting the cumulative distribution. The
    third, if `whole`, is all logprobs.
    """
    R, V = logits_RV.shape
    softmax_2R = torch.empty(2, R)
    token_R = None if uniform_R is None else torch.empty(R, dtype=torch.int64)
    out_RV = torch.empty_like(logits_RV) if whole else None
    launch(
        _kernel(), R, logits_RV=logits_RV, temperature_R=temperature_R, uniform_R=uniform_R,
        softmax_2R=softmax_2R, token_R=token_R, out_RV=out_RV, R=R, V=V,
    )  # fmt: skip
    return softmax_2R, token_R, out_RV


@cache
def _argmax() -> Any:
    arguments = Arguments("R V", logits_RV=types.float32, token_R=types.int64)
    unpack = arguments.unpack

    def kernel(words: Any) -> None:
        a = unpack(words)
        V = a.V
        lanes = np.empty(LANES, np.float32)
        while True:
            r = next_task(words)
            if r < 0:
                break
            logits = a.logits_RV[r]
            # The block with the largest number, then the first place of that number in it.
            top, best, missing = types.float32(-np.inf), 0, types.int32(0)
            for v0 in range(0, V, BLOCK):
                block = logits[v0 : min(v0 + BLOCK, V)]
                whole = block.shape[0] // LANES * LANES
                for j in range(LANES):
                    lanes[j] = -np.inf
                for n0 in range(0, whole, LANES):
                    part = block[n0 : n0 + LANES]
                    for j in range(LANES):
                        lanes[j] = part[j] if part[j] > lanes[j] else lanes[j]
                for n in range(block.shape[0]):
                    missing += types.int32(block[n] != block[n])
                for n in range(whole, block.shape[0]):
                    lanes[0] = max(lanes[0], block[n])
                largest = lanes[0]
                for j in range(1, LANES):
                    largest = max(largest, lanes[j])
                if largest > top:
                    top, best = largest, v0
            while best < V and logits[best] != top:
                best += 1
            a.token_R[r] = -1 if missing > 0 or best == V else best

    return Kernel(kernel, arguments)


def argmax(logits_RV: torch.Tensor) -> torch.Tensor:
    """The first column with the largest number of each row, (R,) int64; -1 where a number is NaN."""
    R, V = logits_RV.shape
    token_R = torch.empty(R, dtype=torch.int64)
    launch(_argmax(), R, logits_RV=logits_RV, token_R=token_R, R=R, V=V)
    return token_R


@cache
def _ranks() -> Any:
    arguments = Arguments("R V", logits_RV=types.float32, token_R=types.int64, rank_R=types.int64)
    unpack = arguments.unpack

    def kernel(words: Any) -> None:
        a = unpack(words)
        while True:
            r = next_task(words)
            if r < 0:
                break
            logits = a.logits_RV[r]
            value, count = logits[a.token_R[r]], types.int32(0)
            for v in range(a.V):
                count += types.int32(logits[v] > value)
            a.rank_R[r] = count + 1

    return Kernel(kernel, arguments)


def ranks(logits_RV: torch.Tensor, token_R: torch.Tensor) -> torch.Tensor:
    """One more than the number of columns of row r that are larger than column token_R[r], (R,) int64."""
    R, V = logits_RV.shape
    rank_R = torch.empty(R, dtype=torch.int64)
    launch(_ranks(), R, logits_RV=logits_RV, token_R=token_R, rank_R=rank_R, R=R, V=V)
    return rank_R
