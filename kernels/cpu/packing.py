"""A stored matrix into panels, on all threads: what loading a checkpoint spends its time on.

Legend: N outputs, K inputs, P panels, W panel width, G groups of K.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.ir as ir
import numpy as np
import torch
from numba import types
from torch import Tensor

from kernels.cpu.memory import populate
from kernels.cpu.recording import launch
from kernels.cpu.runtime import I32, I64, SCALARS, Kernel, code, round_to_bf16, tasks, variant_njit
from kernels.panels import GROUP, PANEL

# A square of this many rows and columns is transposed in registers.
SIDE = 8
HALF, WORD = (ir.VectorType(ir.IntType(bits), SIDE) for bits in (16, 32))


def _convert(b: Any, vector: Any, source: torch.dtype, target: torch.dtype) -> Any:
    """Turn bit patterns of one dtype into those of the other, exact or rounded."""
    if source == target:
        return vector
    if target == torch.float32:
        return b.shl(b.zext(vector, WORD), ir.Constant(WORD, [16] * SIDE))
    return b.trunc(round_to_bf16(b, vector), HALF)


def _transpose(source: torch.dtype, target: torch.dtype) -> Any:
    """Compile out[k, n] = w[n, k], SIDE by SIDE; addresses, and row strides in elements."""
    kinds = [HALF if dtype == torch.bfloat16 else WORD for dtype in (source, target)]

    @code(types.void(*[types.int64] * 4))
    def transpose(b: Any, w: Any, w_stride: Any, out: Any, out_stride: Any) -> None:
        def at(base: Any, stride: Any, row: int, kind: Any, size: int) -> Any:
            offset = b.mul(stride, ir.Constant(I64, row * size))
            return b.inttoptr(b.add(base, offset), kind.as_pointer())

        rows = []
        for r in range(SIDE):
            rows.append(b.load(at(w, w_stride, r, kinds[0], source.itemsize)))
            rows[-1].align = source.itemsize
        # Riffling rows r and r + SIDE / 2, log2(SIDE) times, transposes the square.
        picks = [[i // 2 + SIDE * (i % 2) + half for i in range(SIDE)] for half in (0, SIDE // 2)]
        masks = [ir.Constant(ir.VectorType(I32, SIDE), pick) for pick in picks]
        for _ in range(SIDE.bit_length() - 1):
            pairs = [(rows[r], rows[r + SIDE // 2]) for r in range(SIDE // 2)]
            rows = [b.shuffle_vector(x, y, mask) for x, y in pairs for mask in masks]
        for r, row in enumerate(rows):
            pointer = at(out, out_stride, r, kinds[1], target.itemsize)
            b.store(_convert(b, row, source, target), pointer).align = target.itemsize

    return transpose


@cache
def _kernel(source: torch.dtype, target: torch.dtype) -> Any:
    kind, load, _ = SCALARS[source]
    target_kind, _, store = SCALARS[target]
    transpose, size, target_size = _transpose(source, target), source.itemsize, target.itemsize

    @variant_njit(source, target)
    def panel(w: Any, out: Any, first: int, column: int, width: int) -> None:
        """Write rows first to first + width of w as columns from `column` on of one panel."""
        K = w.shape[1]
        for m in range(0, width, SIDE):
            from_row, to_column = w[first + m].ctypes.data, out.ctypes.data + (column + m) * target_size
            squares = K // SIDE if m + SIDE <= width else 0
            for i in range(squares):
                k = i * SIDE
                transpose(from_row + k * size, K, to_column + k * PANEL * target_size, PANEL)
            for n in range(m, min(m + SIDE, width)):
                for k in range(squares * SIDE, K):
                    out[k, column + n] = store(load(w[first + n, k]))

    def kernel(words: Any, a: Any) -> None:
        start, source_row, panel_bytes = a.start, a.K * size, a.K * PANEL * target_size
        for i in tasks(words):
            p = start // PANEL + i
            begin, end = max(start, p * PANEL), min(start + a.N, (p + 1) * PANEL)
            populate(a.w_NK.ctypes.data + (begin - start) * source_row, (end - begin) * source_row, False)
            populate(a.out_PKW.ctypes.data + p * panel_bytes, panel_bytes, True)
            panel(a.w_NK, a.out_PKW[p], begin - start, begin - p * PANEL, end - begin)

    return Kernel(kernel, (source, target), "N K P W start", w_NK=kind, out_PKW=target_kind)


def pack_into(out_PKW: Tensor, w_NK: Tensor, start: int = 0) -> None:
    """Write the rows of w_NK, (N, K), as the outputs from `start` on of panels, rounded to their dtype.

    Both contiguous on the CPU, float32 or bfloat16 each; other outputs stay as they are.
    """
    (N, K), panels = w_NK.shape, out_PKW.shape[0]
    sizes = {"N": N, "K": K, "P": panels, "W": PANEL, "start": start}
    launch(_kernel(w_NK.dtype, out_PKW.dtype), _tasks(start, N), w_NK=w_NK, out_PKW=out_PKW, **sizes)
    torch.autograd.graph.increment_version(out_PKW)  # written past torch, which others go by


@cache
def _quantizer(source: torch.dtype, codes_dtype: torch.dtype) -> Any:
    kind, load, _ = SCALARS[source]
    _, load_scale, store_scale = SCALARS[torch.bfloat16]
    four = codes_dtype == torch.uint8
    top = 8 if four else 128
    low, high = np.float32(-top), np.float32(top - 1)

    @variant_njit(source, codes_dtype)
    def column(row: Any, codes: Any, scales: Any, n: int) -> None:
        """Write `row`, rounded, as one output: column n of a panel's codes and scales."""
        K = row.shape[0]
        byte = n // 16 * 8 + n % 8 if four else n
        for g in range(scales.shape[0]):
            begin, end = g * GROUP, min(K, (g + 1) * GROUP)
            smallest = largest = np.float32(0)
            for k in range(begin, end):
                smallest, largest = min(smallest, row[k]), max(largest, row[k])
            scales[g, n] = store_scale((largest if largest >= -smallest else smallest) / low)
            scale = load_scale(scales[g, n])
            for k in range(begin, end):
                code = np.float32(0) if scale == 0 else np.rint(row[k] / scale)
                whole = int(min(high, max(low, code)))
                if not four:
                    codes[k, byte] = whole
                elif n % 16 < 8:
                    codes[k, byte] = (codes[k, byte] & 0xF0) | (whole + 8)
                else:
                    codes[k, byte] = (codes[k, byte] & 0x0F) | ((whole + 8) << 4)

    def kernel(words: Any, a: Any) -> None:
        row = np.empty(a.K, np.float32)
        for i in tasks(words):
            p = a.start // PANEL + i
            for n in range(max(a.start, p * PANEL), min(a.start + a.N, (p + 1) * PANEL)):
                for k in range(a.K):
                    row[k] = load(a.w_NK[n - a.start, k])
                column(row, a.codes_PKB[p], a.scales_PGW[p], n - p * PANEL)

    arrays = {"w_NK": kind, "codes_PKB": types.uint8 if four else types.int8, "scales_PGW": types.uint16}
    return Kernel(kernel, (source, codes_dtype), "N K P G B W start", **arrays)


def quantize_into(codes_PKW: Tensor, scales_PGW: Tensor, w_NK: Tensor, start: int = 0) -> None:
    """Write the rows of w_NK as the outputs from `start` on of codes and bfloat16 scales.

    w is float32 or bfloat16; all contiguous on the CPU, laid out as `kernels.panels` says.
    """
    (N, K), (panels, groups, _) = w_NK.shape, scales_PGW.shape
    kernel = _quantizer(w_NK.dtype, codes_PKW.dtype)
    sizes = {"N": N, "K": K, "P": panels, "G": groups, "B": codes_PKW.shape[2], "W": PANEL, "start": start}
    launch(kernel, _tasks(start, N), w_NK=w_NK, codes_PKB=codes_PKW, scales_PGW=scales_PGW, **sizes)
    for out in (codes_PKW, scales_PGW):
        torch.autograd.graph.increment_version(out)


def _tasks(start: int, N: int) -> int:
    """Count the panels that the outputs from `start` to `start` + N touch."""
    return (start + N - 1) // PANEL - start // PANEL + 1
