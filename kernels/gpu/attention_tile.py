"""What the attention kernels share: one step of the running softmax and launch choices.

Legend: T packed tokens, B sequences, H query heads, K kv heads, G = H / K, D head dim of queries and keys,
E head dim of values, N runs of tokens, P pages, S page size.
In kernels: p_ pointer, b_ tile in registers, o_ offsets, m_ mask, i_ program index.

The softmax runs in base 2: a score is counted in units of ln 2, and `to_log2` turns a product of query and
key (or, with a softcap, its tanh) into one. A row's state is (max, sum, accumulator) in float32.

Multiplications that meet an addition are spelt as `tl.fma`. Left to the compiler, whether the two contract
would depend on what stands around them, and a block with a mask would round differently from one without.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from kernels.gpu import launch
from kernels.gpu.language import dot, rounded, tanh
from kernels.gpu.variant import REFERENCE

LOG2_E = 1.4426950408889634


@triton.jit
def first_seen(b_position: tl.tensor, window: tl.tensor, CHUNKED: tl.constexpr) -> tl.tensor:
    """Find the first key that queries at these positions see: of their last `window`, or of their chunk."""
    if CHUNKED:
        b_first = b_position // window * window
    else:
        b_first = b_position - window + 1
    return b_first


@triton.jit
def seen(o_key: tl.tensor, b_position: tl.tensor, window: tl.tensor, CHUNKED: tl.constexpr) -> tl.tensor:
    """Tell which keys queries at these positions see (`kernels.knobs.first_seen`)."""
    if CHUNKED:
        m_seen = (o_key <= b_position) & (o_key >= first_seen(b_position, window, CHUNKED))
    else:
        m_seen = (o_key <= b_position) & (o_key > b_position - window)
    return m_seen


@triton.jit
def products(
    b_a: tl.tensor,
    b_b: tl.tensor,
    p_a: tl.tensor,
    m_a: tl.tensor,
    p_b: tl.tensor,
    m_b: tl.tensor,
    STEP_B: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """(M, N) products along a head dim of rows b_a (M, BLOCK_W) and columns b_b (BLOCK_W, N).

    BLOCK_C < BLOCK_W: rows, from p_a (M, 1), and columns, from p_b (1, N) in steps of STEP_B, are instead
    walked in chunks of BLOCK_C, since a product without matrix units, or of three products of tf32, keeps
    all its operands in registers, which a whole head dim would not fit.
    """
    if BLOCK_C == BLOCK_W:
        b_s = dot(b_a, b_b, None, PRECISION)
    else:
        b_s = tl.zeros((b_a.shape[0], b_b.shape[1]), tl.float32)
        for i in range(BLOCK_W // BLOCK_C):
            o_w = i * BLOCK_C + tl.arange(0, BLOCK_C)
            b_rows = tl.load(p_a + o_w[None, :], mask=m_a & (o_w < WIDTH)[None, :], other=0.0)
            b_columns = tl.load(p_b + o_w[:, None] * STEP_B, mask=m_b & (o_w < WIDTH)[:, None], other=0.0)
            b_s = dot(b_rows.to(b_a.dtype), b_columns.to(b_a.dtype), b_s, PRECISION)
    return b_s


@triton.jit
def tilt(p_slope: tl.tensor, o_ahead: tl.tensor) -> tl.tensor:
    """Compute what ALiBi adds to scores, in base 2: slopes times how far ahead keys stand."""
    return tl.load(p_slope) * 1.4426950408889634 * o_ahead.to(tl.float32)


@triton.jit
def step(
    b_max: tl.tensor,
    b_sum: tl.tensor,
    b_acc: tl.tensor,
    b_s: tl.tensor,
    b_v: tl.tensor,
    m_seen: tl.tensor,
    b_tilt: tl.tensor,
    to_tanh: tl.tensor,
    to_log2: tl.tensor,
    SOFTCAP: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The state of rows after one more block of keys: products (M, N) and values (N, E).

    Keys outside `m_seen` (M, N; None: there are none) get no weight; a row that sees no key of the block
    keeps its state bit for bit, a row that has seen no key yet included. b_tilt (M, N; None: nothing) is
    added to the scores, in base 2.
    """
    if SOFTCAP:
        b_s = tanh(b_s * to_tanh)
    if m_seen is not None:
        b_s = tl.where(m_seen, b_s, float("-inf"))
    if b_tilt is not None:
        b_s = tl.fma(b_s, to_log2, b_tilt)
        to_log2 = 1.0
    b_top = tl.maximum(b_max, tl.max(b_s, 1) * to_log2)
    b_base = tl.where(b_top == float("-inf"), 0.0, b_top)
    b_p = tl.exp2(tl.fma(b_s, to_log2, -b_base[:, None]))
    b_shrink = tl.exp2(b_max - b_base)
    b_sum = tl.fma(b_sum, b_shrink, tl.sum(b_p, 1))
    b_acc = dot(rounded(b_p, b_v.dtype), b_v, b_acc * b_shrink[:, None], PRECISION)
    return b_top, b_sum, b_acc


@dataclass(frozen=True)
class Config:
    """Rows of a tile (tokens times query heads of one kv head), keys of a block, how a program runs.

    BLOCK_C is how much of a head dim is multiplied at a time (None: all of it).
    """

    BLOCK_M: int
    BLOCK_N: int
    BLOCK_C: int | None
    num_warps: int
    num_stages: int

    def constants(self, D: int, E: int) -> dict[str, int]:
        """The constexpr arguments that say it to a kernel."""
        block_D, block_E = block_width(D), block_width(E)
        return {
            "BLOCK_M": self.BLOCK_M,
            "BLOCK_N": self.BLOCK_N,
            "BLOCK_D": block_D,
            "BLOCK_E": block_E,
            "CHUNK_D": min(self.BLOCK_C or block_D, block_D),
            "CHUNK_E": min(self.BLOCK_C or block_E, block_E),
        }

    def launch(self, D: int, E: int) -> dict[str, int]:
        """The keyword arguments of a launch: `constants` and what the compiler is told."""
        # Fusion is the default, but for an environment variable.
        how = {"num_warps": self.num_warps, "num_stages": self.num_stages, "enable_fp_fusion": True}
        return {**self.constants(D, E), **how}


def config(kernel: str, dtype: torch.dtype, D: int, E: int, input_precision: str, target: str) -> Config:
    """How `kernel` ("forward", "dq" or "dkdv") is launched: a function of what is named here alone.

    The numbers of rows, tokens and sequences have no say, since tiles of another shape may run other
    instructions, and a row must have the same bits in a batch of any size.
    """
    wide = block_width(max(D, E)) > 128
    if target == "interpret":
        return Config(32, 64, None, 1, 1)
    if dtype != torch.float32:
        chunk = None
        if target == "gfx942" or (wide and kernel != "forward"):
            chunk = 64
        elif min(D, E) > 128:
            chunk = 128
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


def score_factors(scale: float, softcap: float | None) -> tuple[float, float]:
    """(to_tanh, to_log2) of a scale and a softcap."""
    if softcap is None:
        return 1.0, scale * LOG2_E
    return scale / softcap, softcap * LOG2_E


def block_width(D: int) -> int:
    """The power of two, 16 or more, that a head dim is padded to in registers."""
    return max(16, int(triton.next_power_of_2(D)))


def choices() -> Iterator[tuple[int, int, torch.dtype, str, str]]:
    """(D, E, dtype, input precision, target) of what `variants()` of the kernels lists.

    The usual head dim everywhere; the widest, which takes the most memory, in bf16; others once.
    """
    for dtype, precision, target in launch.choices():
        shapes = [(128, 128)]
        if dtype == torch.bfloat16 or (dtype == torch.float32 and target == REFERENCE):
            shapes.append((256, 256))
        if dtype == torch.bfloat16 and target == REFERENCE:
            shapes += [(64, 64), (192, 128)]
        for D, E in shapes:
            yield D, E, dtype, precision, target
