"""Row-invariant matmul in Triton, by one matrix in panels or by one an expert, and its gradients.

Each output is a chain of `tl.dot` over blocks of BLOCK_K along K, in order, in float32: no split-K, and one
BLOCK_K for a dtype and precision, so that neither the number of rows nor the rows beside one enters its
bits. The kernel is persistent: as many programs as the device has multiprocessors walk over whole tiles, so
the grid does not enter either. Kernels are not specialised to the number of rows.

What may vary with the number of rows is the tile. On sm_100 and gfx942 the size of a tile decides which
matrix instruction it is made of: there is one for any number of rows. On sm_80 every tile is made of
mma.m16n8k16; on sm_90 of wgmma from 64 rows on, of which vLLM found the bits equal for every tile. There a
second tile, of 64 rows (fewer would be made of mma) and few columns, fills the device in decode.
`tests/kernels/test_gpu_ops.py` checks rows across the change on a device.

Legend: R rows, K inner width, N outer width, P panels, W panel width, E experts, I items of work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels import panels
from kernels.gpu.language import dot, rounded
from kernels.gpu.launch import TYPES, choices, expect, expect_precision, launch, processors, target, variant
from kernels.gpu.variant import REFERENCE, Variant

PANEL = tl.constexpr(panels.PANEL)


@dataclass(frozen=True)
class Tile:
    """Rows, columns and inner width of a block, its warps and pipeline stages, programs a multiprocessor."""

    BLOCK_M: int
    BLOCK_N: int
    BLOCK_K: int
    num_warps: int
    num_stages: int
    programs: int = 1

    @property
    def launch(self) -> dict[str, int]:
        """Make the keyword arguments of a launch."""
        return {name: size for name, size in vars(self).items() if name != "programs"}

    def grid(self, tiles: int, device: torch.device) -> tuple[int]:
        """Return a persistent kernel's grid: as many programs as run at a time, or as there are tiles."""
        return (min(tiles, processors(device) * self.programs),)


def config(target: str, dtype: torch.dtype, precision: str, rows: int) -> Tile:
    """Choose the tile for a number of rows; BLOCK_K depends on dtype and precision alone."""
    few = rows <= 64 and target in ("sm_80", "sm_90")
    if target == "interpret":
        return Tile(64, 32, 32, 1, 1)
    if dtype != torch.float32:
        if few:
            return Tile(64, 32, 64, 4, 5, programs=2)
        # AMD holds a stage in registers, not in shared memory.
        return Tile(128, 128, 64, 8, 2 if target == "gfx942" else 3)
    if precision == "ieee":
        # Fused multiply-adds without matrix units (matrix units on AMD): registers decide.
        return Tile(64, 32, 32, 4, 3, programs=2) if few else Tile(64, 64, 32, 8, 2)
    return Tile(64, 32, 32, 4, 4, programs=2) if few else Tile(128, 64, 32, 8, 3)


@triton.jit
def panel_offsets(o_k: tl.tensor, o_n: tl.tensor, K: tl.tensor) -> tl.tensor:
    """Compute where w[k, n] stands in panels (P, K, PANEL)."""
    return (o_n // PANEL).to(tl.int64) * (K * PANEL) + (o_k * PANEL + o_n % PANEL)


@triton.jit(do_not_specialize=["R", "items"])
def _matmul(
    p_x: tl.tensor, p_w: tl.tensor, p_bias: tl.tensor, p_out: tl.tensor, p_item: tl.tensor,
    R: tl.tensor, K: tl.tensor, N: tl.tensor, items: tl.tensor,
    TRANSPOSED: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Compute x @ w (or w^T); items are given, (expert, first row, rows), or are runs of BLOCK_M rows."""
    INNER, OUTER = (N, K) if TRANSPOSED else (K, N)
    P = (N + (PANEL - 1)) // PANEL
    columns = tl.cdiv(OUTER, BLOCK_N)
    for i_tile in range(tl.program_id(0), items * columns, tl.num_programs(0)):
        # Eight row tiles pass over a column tile before the next: its part of w is read from memory once.
        group = i_tile // (8 * columns)
        height = min(items - group * 8, 8)
        i_item = group * 8 + i_tile % (8 * columns) % height
        i_column = i_tile % (8 * columns) // height
        if p_item is None:
            expert, first = 0, i_item * BLOCK_M
            rows = min(R - first, BLOCK_M)
        else:
            expert = tl.load(p_item + i_item * 3)
            first = tl.load(p_item + i_item * 3 + 1)
            rows = tl.load(p_item + i_item * 3 + 2)
        if rows > 0:
            o_m, m_m = first + tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_M) < rows
            o_n = i_column * BLOCK_N + tl.arange(0, BLOCK_N)
            # Of panels, all columns are there: whole vectors are read.
            m_n = o_n < (K if TRANSPOSED else P * PANEL)
            p_expert = p_w + tl.cast(expert, tl.int64) * P * K * PANEL
            p_tile = p_out + o_m.to(tl.int64)[:, None] * OUTER + o_n[None, :]
            m_tile = m_m[:, None] & (o_n < OUTER)[None, :]
            b_acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
            o_k = tl.arange(0, BLOCK_K)
            p_rows = p_x + (o_m.to(tl.int64)[:, None] * INNER + o_k[None, :])
            if TRANSPOSED:
                p_columns = p_expert + panel_offsets(o_n[None, :], o_k[:, None], K)
            else:
                p_columns = p_expert + panel_offsets(o_k[:, None], o_n[None, :], K)
            for k0 in range(0, INNER, BLOCK_K):
                m_k = k0 + o_k < INNER
                b_x = tl.load(p_rows, mask=m_m[:, None] & m_k[None, :], other=0)
                b_w = tl.load(p_columns, mask=m_k[:, None] & m_n[None, :], other=0)
                b_acc = dot(b_x, b_w, b_acc, PRECISION)
                p_rows += BLOCK_K
                # BLOCK_K columns of w are BLOCK_K / PANEL panels of K * PANEL.
                p_columns += BLOCK_K * (K if TRANSPOSED else PANEL)
            if p_bias is not None:
                b_bias = tl.load(p_bias + expert * N + o_n, mask=o_n < N, other=0)
                b_acc += b_bias.to(tl.float32)[None, :]
            tl.store(p_tile, rounded(b_acc, p_out.dtype.element_ty), mask=m_tile)


@triton.jit(do_not_specialize=["R"])
def _gradient_w(
    p_x: tl.tensor, p_dy: tl.tensor, p_dw: tl.tensor, p_offset: tl.tensor,
    R: tl.tensor, K: tl.tensor, N: tl.tensor,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Compute dw = x^T dy in panels, rows in order; BLOCK_M is along K, BLOCK_N along N, BLOCK_K along R."""
    P = (N + (PANEL - 1)) // PANEL
    heights = tl.cdiv(K, BLOCK_M)
    i_expert = tl.program_id(1)
    o_k = tl.program_id(0) % heights * BLOCK_M + tl.arange(0, BLOCK_M)
    o_n = tl.program_id(0) // heights * BLOCK_N + tl.arange(0, BLOCK_N)
    first, last = 0, R
    if p_offset is not None:
        first, last = tl.load(p_offset + i_expert), tl.load(p_offset + i_expert + 1)
    b_acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for r0 in range(first, last, BLOCK_K):
        o_r = r0 + tl.arange(0, BLOCK_K)
        m_r = o_r < last
        o_row = o_r.to(tl.int64)[:, None]
        b_x = tl.load(p_x + o_row * K + o_k[None, :], mask=m_r[:, None] & (o_k < K)[None, :], other=0)
        b_dy = tl.load(p_dy + o_row * N + o_n[None, :], mask=m_r[:, None] & (o_n < N)[None, :], other=0)
        b_acc = dot(tl.trans(b_x), b_dy, b_acc, PRECISION)
    p_dw += i_expert.to(tl.int64) * P * K * PANEL + panel_offsets(o_k[:, None], o_n[None, :], K)
    m_w = (o_k < K)[:, None] & (o_n < P * PANEL)[None, :]
    tl.store(p_dw, rounded(b_acc, p_dw.dtype.element_ty), mask=m_w)


@dataclass(frozen=True)
class Work:
    """Rows sorted by expert, cut into items for the kernel: see `work_list`."""

    offset_E1: Tensor
    item_I3: Tensor
    tile: Tile


def work_list(x_RK: Tensor, offset_E1: Tensor, precision: str = "ieee") -> Work:
    """List items (expert, first row, rows) for rows sorted by expert, on the device, with no wait for it.

    Expert e has the rows offset[e] to offset[e + 1] (int32, rising from 0 to R). The list is as long as it
    can become for R rows and E experts; the items left over have no rows. It serves every product of rows
    of x's number, dtype and precision. Raises ValueError for arguments of other kinds.
    """
    expect("x_RK", x_RK, (None, None))
    expect("offset_E1", offset_E1, (None,), torch.int32, like=x_RK)
    expect_precision(precision, x_RK.device)
    R, E = x_RK.shape[0], offset_E1.shape[0] - 1
    if E < 1:
        raise ValueError("offset_E1 must have an entry for each expert and one more, got fewer than 2")
    tile = config(target(x_RK.device), x_RK.dtype, precision, -(-R // E))
    rows = tile.BLOCK_M
    items_E = (offset_E1.diff() + rows - 1) // rows
    end_E = items_E.cumsum(0)
    i_I = torch.arange(R // rows + E, device=x_RK.device)
    expert_I = torch.searchsorted(end_E, i_I, right=True).clamp_(max=E - 1)
    first_I = offset_E1[expert_I] + (i_I - (end_E - items_E)[expert_I]) * rows
    rows_I = (offset_E1[expert_I + 1] - first_I).clamp_(0, rows)
    return Work(offset_E1, torch.stack((expert_I, first_I, rows_I), dim=1).int(), tile)


def _check_and_launch(
    x_RX: Tensor, w: Tensor, N: int | None, work: Work | None, bias: Tensor | None, precision: str, wide: bool
) -> Tensor:
    """Compute x @ w (+ bias), or x @ w^T where N is None, for w in panels or one w an expert with `work`."""
    expect("dy_RN" if N is None else "x_RK", x_RX, (None, None))
    (R, inner), transposed = x_RX.shape, N is None
    N = inner if N is None else N
    experts: tuple[int, ...] = () if work is None else (work.offset_E1.shape[0] - 1,)
    shape = (*(None for _ in experts), None, None if transposed else inner, panels.PANEL)
    expect("w_EPKW" if experts else "w_PKW", w, shape, like=x_RX)
    P, K = w.shape[-3:-1]
    if P != -(-N // panels.PANEL):
        raise ValueError(f"N must belong to the {P} panels of {panels.PANEL} columns of w, got {N}")
    expect_precision(precision, x_RX.device)
    if work is not None and (w.shape[:1] != experts or work.offset_E1.device != w.device):
        listed = f"{experts[0]} on {work.offset_E1.device}"
        raise ValueError(
            f"work must be of the {w.shape[0]} experts of w_EPKW and on {w.device}, got {listed}"
        )
    expect("bias_EN" if experts else "bias_N", bias, (*experts, N), like=x_RX, optional=True)
    out_RX = x_RX.new_empty(R, K if transposed else N, dtype=torch.float32 if wide else x_RX.dtype)
    if work is None:
        tile, item_I3 = config(target(x_RX.device), x_RX.dtype, precision, R), None
        items = triton.cdiv(R, tile.BLOCK_M)
    else:
        tile, item_I3, items = work.tile, work.item_I3, work.item_I3.shape[0]
    launch(
        _matmul, tile.grid(items * triton.cdiv(out_RX.shape[1], tile.BLOCK_N), x_RX.device),
        x_RX, w, bias, out_RX, item_I3, R, K, N, items,
        TRANSPOSED=transposed, PRECISION=precision, **tile.launch,
    )  # fmt: skip
    return out_RX


def matmul(
    x_RK: Tensor,
    w_PKW: Tensor,
    N: int,
    bias_N: Tensor | None = None,
    precision: str = "ieee",
    wide: bool = False,
) -> Tensor:
    """Compute x_RK @ w_KN (+ bias), (R, N), for w in panels: summed in float32, rounded once; row-invariant.

    All of one dtype: float32 (multiplied as `precision` says: ieee, tf32x3, tf32), bfloat16 or float16; the
    sums as they are, in float32, where `wide`. Raises ValueError for shapes, dtypes or devices that do not
    belong together, tensors that are not contiguous, and panels that are not those of N columns.
    """
    return _check_and_launch(x_RK, w_PKW, N, None, bias_N, precision, wide)


def grouped_matmul(
    x_RK: Tensor, w_EPKW: Tensor, N: int, work: Work, bias_EN: Tensor | None = None, precision: str = "ieee"
) -> Tensor:
    """Compute `matmul` of rows sorted by expert, each with its expert's matrix: the bits of one by one.

    `work` is `work_list` of rows like x's. Raises ValueError as `matmul` does.
    """
    return _check_and_launch(x_RK, w_EPKW, N, work, bias_EN, precision, wide=False)


def matmul_gradient_x(dy_RN: Tensor, w_PKW: Tensor, precision: str = "ieee") -> Tensor:
    """Compute dx_RK = dy_RN @ w^T of a `matmul`, in dy's dtype; row-invariant. Raises as `matmul`."""
    return _check_and_launch(dy_RN, w_PKW, None, None, None, precision, wide=False)


def grouped_matmul_gradient_x(dy_RN: Tensor, w_EPKW: Tensor, work: Work, precision: str = "ieee") -> Tensor:
    """Compute dx_RK of a `grouped_matmul`, in dy's dtype. Raises as `matmul`."""
    return _check_and_launch(dy_RN, w_EPKW, None, work, None, precision, wide=False)


def matmul_gradient_w(x_RK: Tensor, dy_RN: Tensor, precision: str = "ieee") -> Tensor:
    """Compute dw = x^T dy (P, K, W) of a `matmul`, in x's dtype; zero past column N. Raises as `matmul`."""
    return _launch_gradient_w(x_RK, dy_RN, None, 1, precision)[0]


def grouped_matmul_gradient_w(x_RK: Tensor, dy_RN: Tensor, work: Work, precision: str = "ieee") -> Tensor:
    """Compute dw (E, P, K, W) of a `grouped_matmul`: zero for an expert without rows. Raises as `matmul`."""
    return _launch_gradient_w(x_RK, dy_RN, work.offset_E1, work.offset_E1.shape[0] - 1, precision)


def _launch_gradient_w(
    x_RK: Tensor, dy_RN: Tensor, offset_E1: Tensor | None, E: int, precision: str
) -> Tensor:
    expect("x_RK", x_RK, (None, None))
    (R, K), N = x_RK.shape, dy_RN.shape[-1]
    expect("dy_RN", dy_RN, (R, None), like=x_RK)
    expect_precision(precision, x_RK.device)
    dw_EPKW = x_RK.new_empty(E, *panels.packed_shape(K, N))
    tile = config(target(x_RK.device), x_RK.dtype, precision, R)
    grid = (triton.cdiv(K, tile.BLOCK_M) * triton.cdiv(N, tile.BLOCK_N), E)
    launch(_gradient_w, grid, x_RK, dy_RN, dw_EPKW, offset_E1, R, K, N, PRECISION=precision, **tile.launch)
    return dw_EPKW


def variants() -> Iterator[Variant]:
    """Yield product and gradient of every dtype and precision; for the reference both tiles, experts, d x."""
    types = {"p_item p_offset": "*i32", "K N": "i32:16"}
    cases: list[tuple[str, Any, bool, str]] = [
        ("matmul", _matmul, False, "p_item p_bias"),
        ("matmul_gradient_w", _gradient_w, False, "p_offset"),
        ("grouped_matmul", _matmul, False, ""),
        ("matmul_gradient_x", _matmul, True, "p_item p_bias"),
        ("grouped_matmul_gradient_w", _gradient_w, False, ""),
    ]
    for dtype, precision, name in choices():
        kind = TYPES[dtype]
        # To a compiler, fp16 is bf16 again: one tile of it will do.
        few = name == REFERENCE and kind != "fp16"
        tiles = {config(name, dtype, precision, rows) for rows in ((1, 4096) if few else (4096,))}
        for tile in sorted(tiles, key=lambda t: t.BLOCK_M * t.BLOCK_N):
            label = f"{kind} {precision}" if dtype == torch.float32 else kind
            label += f" {tile.BLOCK_M}x{tile.BLOCK_N}x{tile.BLOCK_K}"
            choice = {**tile.launch, "PRECISION": precision, "TRANSPOSED": False}
            for what, kernel, transposed, absent in cases if name == REFERENCE else cases[:2]:
                case = {**choice, "TRANSPOSED": transposed}
                yield variant(f"{what} {label}", kernel, kind, types, case, absent, [name])
        if kind == "bf16" and few:
            wide = {**types, "p_out": "*fp32"}
            yield variant(f"matmul wide {label}", _matmul, kind, wide, choice, "p_item p_bias", [name])
