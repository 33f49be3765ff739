"""What the attention kernels share: records that they pass on, a step of the online softmax, launch choices.

Legend: T packed tokens, B sequences, H query heads, K kv heads, G = H / K, D head dim of queries and keys,
E head dim of values, N runs of tokens, P pages, S page size.

The softmax runs in base 2: a score is counted in units of ln 2, and `to_log2` turns a product of query and
key (or, with a softcap, its tanh) into one. A row's state is (max, sum, accumulator) in float32.

Multiplications that meet an addition are spelt as `tl.fma`. Left to the compiler, whether the two contract
would depend on what stands around them, and a block with a mask would round differently from one without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.checks import NO_WINDOW, check_knobs
from kernels.gpu.language import dot, rounded, tanh
from kernels.gpu.launch import TYPES, choices, expect, expect_precision, variant
from kernels.gpu.variant import REFERENCE, Variant
from kernels.knobs import Scores

LOG2_E = 1.4426950408889634


class Sizes(NamedTuple):
    """Sizes of the heads and of the blocks that a kernel works in, known when it is compiled."""

    K: tl.constexpr
    G: tl.constexpr
    D: tl.constexpr
    E: tl.constexpr
    BLOCK_M: tl.constexpr
    BLOCK_N: tl.constexpr
    BLOCK_D: tl.constexpr
    BLOCK_E: tl.constexpr
    CHUNK_D: tl.constexpr
    CHUNK_E: tl.constexpr
    PRECISION: tl.constexpr


class Scoring(NamedTuple):
    """How a score is made of a product: capped, tilted (p_slopes, or None) and hidden outside a window."""

    p_slopes: tl.tensor
    window: tl.tensor
    to_tanh: tl.tensor
    to_log2: tl.tensor
    SOFTCAP: tl.constexpr
    CHUNKED: tl.constexpr


class Operand(NamedTuple):
    """A side of products along a head dim: the tile, and the pointers and mask that its chunks load by."""

    tile: tl.tensor
    base: tl.tensor
    mask: tl.tensor


class Rows(NamedTuple):
    """Rows of a tile, tokens of a run times the query heads of one kv head, and the keys that they see.

    `place` counts (token, query head), `head` the G heads; `position` is (M, 1), -1 where `mask` is false.
    `first` and `last` are the least and greatest position; all keys seen are in key blocks `begin` to `end`.
    """

    place: tl.tensor
    head: tl.tensor
    mask: tl.tensor
    position: tl.tensor
    sequence: tl.tensor
    start: tl.tensor
    first: tl.tensor
    last: tl.tensor
    begin: tl.tensor
    end: tl.tensor


class Softmax(NamedTuple):
    """The state of rows' online softmax: largest score, sum of exponentials, sum of weighted values."""

    max: tl.tensor
    sum: tl.tensor
    acc: tl.tensor


@triton.jit
def first_seen(b_position: tl.tensor, window: tl.tensor, CHUNKED: tl.constexpr) -> tl.tensor:
    """Find the first key that queries at these positions see: of their last `window`, or of their chunk."""
    return b_position // window * window if CHUNKED else b_position - window + 1


@triton.jit
def seen(o_key: tl.tensor, b_position: tl.tensor, scoring: Scoring) -> tl.tensor:
    """Tell which keys queries at these positions see (`kernels.knobs.first_seen`)."""
    if scoring.CHUNKED:
        m_seen = (o_key <= b_position) & (o_key >= first_seen(b_position, scoring.window, True))
    else:
        m_seen = (o_key <= b_position) & (o_key > b_position - scoring.window)
    return m_seen


@triton.jit
def rows_of(p_position: tl.tensor, p_tile: tl.tensor, scoring: Scoring, size: Sizes) -> Rows:
    """Find the rows of this program (run, kv head, block of the run's rows)."""
    # Last runs first: they tend to have the most keys, and a long program at the end runs alone.
    i_tile, i_head = tl.num_programs(0) - 1 - tl.program_id(0), tl.program_id(1)
    i_token = tl.load(p_tile + i_tile * 3 + 1)
    rows = tl.load(p_tile + i_tile * 3 + 2).to(tl.int32) * size.G
    o_m = tl.program_id(2) * size.BLOCK_M + tl.arange(0, size.BLOCK_M)
    m_m = o_m < rows
    b_position = tl.load(p_position + i_token + o_m // size.G, mask=m_m, other=-1).to(tl.int32)
    last = tl.max(b_position, 0)
    first = tl.min(tl.where(m_m, b_position, 1 << 30), 0)
    return Rows(
        place=(i_token + o_m // size.G) * (size.K * size.G) + i_head * size.G + o_m % size.G,
        head=o_m % size.G,
        mask=m_m,
        position=b_position[:, None],
        sequence=tl.load(p_tile + i_tile * 3),
        start=i_token - tl.load(p_position + i_token),
        first=first,
        last=last,
        begin=tl.maximum(first_seen(first, scoring.window, scoring.CHUNKED), 0) // size.BLOCK_N,
        end=(last + size.BLOCK_N) // size.BLOCK_N,
    )


@triton.jit
def read(p_x: tl.tensor, mask: tl.tensor, WIDTH: tl.constexpr, BLOCK: tl.constexpr) -> Operand:
    """Read rows of WIDTH numbers that begin at p_x (M, 1), where `mask` (M, 1)."""
    o_x = tl.arange(0, BLOCK)
    return Operand(tl.load(p_x + o_x[None, :], mask=mask & (o_x < WIDTH)[None, :], other=0.0), p_x, mask)


@triton.jit
def products(
    a: Operand, b: Operand, STEP: tl.constexpr, WIDTH: tl.constexpr, CHUNK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Compute (M, N) products along a head dim of a's rows, bases (M, 1), and b's columns, bases (1, N).

    A CHUNK below the tiles' width: rows and columns, the latter in steps of STEP, are instead walked in
    chunks, since a product without matrix units, or of three products of tf32, keeps all its operands in
    registers, which a whole head dim would not fit.
    """
    if a.tile.shape[1] == CHUNK:
        b_s = dot(a.tile, b.tile, None, PRECISION)
    else:
        b_s = tl.zeros((a.tile.shape[0], b.tile.shape[1]), tl.float32)
        for i in range(a.tile.shape[1] // CHUNK):
            o_w = i * CHUNK + tl.arange(0, CHUNK)
            b_rows = tl.load(a.base + o_w[None, :], mask=a.mask & (o_w < WIDTH)[None, :], other=0.0)
            b_columns = tl.load(b.base + o_w[:, None] * STEP, mask=b.mask & (o_w < WIDTH)[:, None], other=0.0)
            b_s = dot(b_rows.to(a.tile.dtype), b_columns.to(a.tile.dtype), b_s, PRECISION)
    return b_s


@triton.jit
def tilt(p_slope: tl.tensor, o_ahead: tl.tensor) -> tl.tensor:
    """Compute what ALiBi adds to scores, in base 2: slopes times how far ahead keys stand."""
    return tl.load(p_slope) * 1.4426950408889634 * o_ahead.to(tl.float32)


@triton.jit
def step(
    state: Softmax, b_s: tl.tensor, b_v: tl.tensor, m_seen: tl.tensor, b_tilt: tl.tensor, scoring: Scoring,
    PRECISION: tl.constexpr,
) -> Softmax:  # fmt: skip
    """Advance the state of rows by one block of keys: products (M, N) and values (N, E).

    Keys outside `m_seen` (M, N; None: there are none) get no weight; a row that sees no key of the block
    keeps its state bit for bit, a row that has seen no key yet included. b_tilt (M, N; None: nothing) is
    added to the scores, in base 2.
    """
    to_log2 = scoring.to_log2
    if scoring.SOFTCAP:
        b_s = tanh(b_s * scoring.to_tanh)
    if m_seen is not None:
        b_s = tl.where(m_seen, b_s, float("-inf"))
    if b_tilt is not None:
        b_s = tl.fma(b_s, to_log2, b_tilt)
        to_log2 = 1.0
    b_top = tl.maximum(state.max, tl.max(b_s, 1) * to_log2)
    b_base = tl.where(b_top == float("-inf"), 0.0, b_top)
    b_p = tl.exp2(tl.fma(b_s, to_log2, -b_base[:, None]))
    b_shrink = tl.exp2(state.max - b_base)
    b_sum = tl.fma(state.sum, b_shrink, tl.sum(b_p, 1))
    b_acc = dot(rounded(b_p, b_v.dtype), b_v, state.acc * b_shrink[:, None], PRECISION)
    return Softmax(b_top, b_sum, b_acc)


@dataclass(frozen=True)
class Config:
    """Rows of a tile (tokens times query heads of one kv head), keys of a block, how a program runs."""

    BLOCK_M: int
    BLOCK_N: int
    BLOCK_C: int | None  # how much of a head dim is multiplied at a time (None: all of it)
    num_warps: int
    num_stages: int

    def launch(self, D: int, E: int) -> dict[str, int]:
        """Make the keyword arguments of a launch for these head dims."""
        block_D, block_E = block_width(D), block_width(E)
        return {
            **{"D": D, "BLOCK_D": block_D, "CHUNK_D": min(self.BLOCK_C or block_D, block_D)},
            **{"E": E, "BLOCK_E": block_E, "CHUNK_E": min(self.BLOCK_C or block_E, block_E)},
            **{"BLOCK_M": self.BLOCK_M, "BLOCK_N": self.BLOCK_N},
            **{"num_warps": self.num_warps, "num_stages": self.num_stages},
        }


def config(kernel: str, dtype: torch.dtype, D: int, E: int, input_precision: str, target: str) -> Config:
    """Choose how `kernel` ("forward", "dq" or "dkdv") is launched, by what is named here alone.

    The numbers of rows, tokens and sequences have no say, since tiles of another shape may run other
    instructions, and a row must have the same bits in a batch of any size.
    """
    wide = block_width(max(D, E)) > 128
    if target == "interpret":
        return Config(32, 64, None, 1, 1)
    if dtype != torch.float32:
        chunk = 128 if min(D, E) > 128 else None
        if target == "gfx942" or (wide and kernel != "forward"):
            chunk = 64
        return Config(64, 64, chunk, 4 if max(D, E) <= 64 else 8, 2)
    if input_precision == "ieee":
        # Fused multiply-adds: registers decide.
        if kernel == "dkdv":
            return Config(16 if wide else 32, 32 if wide else 64, 16, 8, 1)
        return Config(32, 32, 16, 4, 1)
    if input_precision == "tf32":
        return Config(32, 64, 32, 8, 2) if kernel == "dkdv" else Config(64, 32, 32, 8, 2)
    if kernel == "dkdv":
        return Config(16 if wide else 32, 32, 32, 8, 2)
    return Config(32 if wide else 64, 32, 16 if wide and kernel == "dq" else 32, 8, 2)


def score_arguments(scores: Scores) -> dict[str, Any]:
    """Make the arguments of a launch that say how scores are made."""
    cap = scores.softcap
    return {
        **{"p_slopes": scores.slopes_H, "window": abs(scores.window) or NO_WINDOW},
        "to_tanh": 1.0 if cap is None else scores.scale / cap,
        "to_log2": (scores.scale if cap is None else cap) * LOG2_E,
        **{"SOFTCAP": cap is not None, "CHUNKED": scores.window < 0},
    }


def check(
    q_THD: Tensor, scores: Scores, sinks_H: Tensor | None, input_precision: str
) -> tuple[int, int, int]:
    """Return (T, H, D); raise ValueError for queries and knobs that no kernel is written for."""
    check_knobs(scores.scale, scores.window, scores.softcap, input_precision)
    expect("q", q_THD, (None, None, None))
    T, H, D = q_THD.shape
    expect_precision(input_precision, q_THD.device)
    expect("sinks_H", sinks_H, (H,), (q_THD.dtype, torch.float32), like=q_THD, optional=True)
    expect("slopes_H", scores.slopes_H, (H,), torch.float32, like=q_THD, optional=True)
    return T, H, D


def block_width(D: int) -> int:
    """Round a head dim up to the power of two, 16 or more, that it has in registers."""
    return max(16, int(triton.next_power_of_2(D)))


def variants_of(kernel: Any, key: str, uses: Mapping[str, tuple[str, dict[str, Any]]]) -> Iterator[Variant]:
    """Yield variants of a kernel of Qwen3's grouping, with a softcap where the sizes are Gemma's.

    A use is (the arguments that are None, constants). The first is compiled in every dtype and size: the
    usual head dim everywhere; the widest, which takes the most memory, in bf16; others once. The other uses,
    which change little of a kernel, are compiled in the usual sizes.
    """
    for dtype, precision, target in choices():
        shapes, kind = [(128, 128)], TYPES[dtype]
        if dtype == torch.bfloat16 or (dtype == torch.float32 and target == REFERENCE):
            shapes.append((256, 256))
        if dtype == torch.bfloat16 and target == REFERENCE:
            shapes += [(64, 64), (192, 128)]
        for D, E in shapes:
            how = config(key, dtype, D, E, precision, target)
            usual = D == 128 == E and precision == "ieee" and dtype != torch.float16 and target == REFERENCE
            for use in list(uses) if usual else list(uses)[:1]:
                absent, more = uses[use]
                types = {
                    "p_slopes p_softmax p_delta p_acc_in p_softmax_in": "*fp32",
                    "p_position p_tile p_page p_blocks p_bounds": "*i64",
                    "scale to_tanh to_log2": "fp32",
                    **({} if more.get("FINAL", True) else {"p_out": "*fp32"}),
                }
                constants = {"K": 8, "G": 2, "SOFTCAP": D == 256, "CHUNKED": False, "PRECISION": precision}
                label = f"attention_{key} {use} {kind} {precision} {D}/{E}"
                choice = {**constants, **how.launch(D, E), **more}
                yield variant(label, kernel, kind, types, choice, absent, [target])
