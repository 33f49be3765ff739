"""Matmul with integer-quantised weights in Triton, in the layout of `kernels.panels`.

The products of a group are summed in float32 from zero, and each group's sum is added to the total as
fma(sum, scale, total), from the first group to the last: one order for any number of rows, one tile.

Legend: R rows, K inner width, N outer width, P panels, W bytes of a panel's row, G groups.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import panels
from kernels.gpu.language import dot, rounded
from kernels.gpu.launch import TYPES, choices, expect, expect_precision, launch, target, variant
from kernels.gpu.matmul import PANEL, Tile, panel_offsets
from kernels.gpu.variant import Variant
from kernels.panels import GROUP

HALF = tl.constexpr(panels.HALF)
# Bytes of a row of int4 codes in a panel.
BYTES = tl.constexpr(panels.PANEL // 2)


def config(target: str, dtype: torch.dtype, precision: str) -> Tile:
    """Choose one tile for any number of rows: what is quantised is read for decode, where rows are few."""
    if target == "interpret":
        return Tile(32, 64, GROUP // (1 + (dtype == torch.float32)), 1, 1)
    if dtype == torch.float32:
        # Without matrix units a block's operands are in registers: half a group of them at a time.
        return Tile(64, 32, GROUP // 2 if precision == "ieee" else GROUP, 8, 2)
    return Tile(64, 64, GROUP, 4, 2 if target == "gfx942" else 4, programs=2)


@triton.jit(do_not_specialize=["R"])
def _quantized_matmul(
    p_x: tl.tensor, p_code: tl.tensor, p_scale: tl.tensor, p_out: tl.tensor,
    R: tl.tensor, K: tl.tensor, N: tl.tensor, INT4: tl.constexpr, GROUP: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Pass over a column tile with one row tile after the other; BLOCK_K divides GROUP."""
    P = (N + (PANEL - 1)) // PANEL
    heights = tl.cdiv(R, BLOCK_M)
    o_k = tl.arange(0, BLOCK_K)
    # Bytes are half as many as columns.
    o_byte = tl.arange(0, BLOCK_N // 2)
    for i_tile in range(tl.program_id(0), heights * tl.cdiv(N, BLOCK_N), tl.num_programs(0)):
        o_m = i_tile % heights * BLOCK_M + tl.arange(0, BLOCK_M)
        first = i_tile // heights * BLOCK_N
        o_n = first + tl.arange(0, BLOCK_N)
        m_n = o_n < P * PANEL
        p_x_tile = p_x + o_m.to(tl.int64)[:, None] * K + o_k[None, :]
        p_scale_tile = p_scale + panel_offsets(0, o_n, tl.cdiv(K, GROUP))
        if INT4:
            o_b = first // 2 + o_byte
            p_code_tile = p_code + (o_b // BYTES).to(tl.int64)[None, :] * (K * BYTES)
            p_code_tile += o_k[:, None] * BYTES + (o_b % BYTES)[None, :]
            m_code = o_b < P * BYTES
        else:
            p_code_tile = p_code + panel_offsets(o_k[:, None], o_n[None, :], K)
            m_code = m_n
        b_total = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        b_sum = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for k0 in range(0, tl.cdiv(K, GROUP) * GROUP, BLOCK_K):
            m_k = k0 + o_k < K
            b_x = tl.load(p_x_tile, mask=(o_m < R)[:, None] & m_k[None, :], other=0)
            b_code = tl.load(p_code_tile, mask=m_k[:, None] & m_code[None, :], other=0)
            if INT4:
                b_pair = tl.join(b_code & 15, b_code >> 4)
                b_pair = tl.reshape(b_pair, (BLOCK_K, BLOCK_N // (2 * HALF), HALF, 2))
                b_code = tl.reshape(tl.permute(b_pair, (0, 1, 3, 2)), (BLOCK_K, BLOCK_N)).to(tl.int8) - 8
            # Codes are exact in every dtype. Where k is past K, x is zero, so theirs do not matter.
            b_w = b_code.to(tl.float32).to(b_x.dtype)
            b_sum = dot(b_x, b_w, b_sum, PRECISION)
            # Known when compiled where a block is a group.
            ends = (k0 + BLOCK_K) % GROUP == 0 if BLOCK_K < GROUP else True
            if ends:
                b_scale = tl.load(p_scale_tile, mask=m_n, other=0).to(tl.float32)
                b_total = tl.fma(b_sum, tl.broadcast_to(b_scale[None, :], b_sum.shape), b_total)
                b_sum = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
                p_scale_tile += PANEL
            p_x_tile += BLOCK_K
            p_code_tile += BLOCK_K * (BYTES if INT4 else PANEL)
        p_tile = p_out + o_m.to(tl.int64)[:, None] * N + o_n[None, :]
        m_tile = (o_m < R)[:, None] & (o_n < N)[None, :]
        tl.store(p_tile, rounded(b_total, p_out.dtype.element_ty), mask=m_tile)


def quantized_matmul(
    x_RK: Tensor, code_PKW: Tensor, scale_PGW: Tensor, N: int, precision: str = "ieee", wide: bool = False
) -> Tensor:
    """Compute x_RK @ (codes * scales), (R, N) in x's dtype, for int8 or int4 (uint8, two a byte) codes.

    Where `wide`, the sums come as they are, in float32. x is float32, bfloat16 or float16, scales are
    bfloat16, one for GROUP inputs of an output. Row-invariant. Raises ValueError for shapes that do not
    belong together, other dtypes, devices that differ, and tensors that are not contiguous.
    """
    expect("x_RK", x_RK, (None, None))
    (R, K), int4 = x_RK.shape, code_PKW.dtype == torch.uint8
    codes, scales = panels.packed_shapes(K, N, 4 if int4 else 8)
    expect("code_PKW", code_PKW, codes, (torch.int8, torch.uint8), like=x_RK)
    expect("scale_PGW", scale_PGW, scales, torch.bfloat16, like=x_RK)
    expect_precision(precision, x_RK.device)
    out_RN = x_RK.new_empty(R, N, dtype=torch.float32 if wide else x_RK.dtype)
    tile = config(target(x_RK.device), x_RK.dtype, precision)
    tiles = triton.cdiv(R, tile.BLOCK_M) * triton.cdiv(N, tile.BLOCK_N)
    launch(
        _quantized_matmul, tile.grid(tiles, x_RK.device), x_RK, code_PKW, scale_PGW, out_RN, R, K, N,
        INT4=int4, GROUP=GROUP, PRECISION=precision, **tile.launch,
    )  # fmt: skip
    return out_RN


def variants() -> Iterator[Variant]:
    """Yield every dtype and precision of x, with int4 and int8."""
    for dtype, precision, name in choices():
        kind = TYPES[dtype]
        for bits, code in ((4, "*u8"), (8, "*i8")):
            types = {"p_code": code, "p_scale": "*bf16", "K N": "i32:16"}
            label = f"quantized_matmul int{bits} {kind}" + f" {precision}" * (dtype == torch.float32)
            knobs = {"INT4": bits == 4, "GROUP": GROUP, "PRECISION": precision}
            choice = {**config(name, dtype, precision).launch, **knobs}
            yield variant(label, _quantized_matmul, kind, types, choice, targets=[name])
