"""A stored matrix into panels, on all threads: what loading a checkpoint spends its time on.

Legend: N outputs, K inputs, P panels, W panel width, G groups of K.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.ir as ir
import numpy as np
import torch
from numba import carray, types
from numba.extending import intrinsic

from kernels.cpu.memory import populate
from kernels.cpu.runtime import I32, I64, Kernel, address, launch, next_task, round_to_bf16, variant_njit
from kernels.cpu.scalars import SCALARS
from kernels.panels import GROUP, PANEL

# A square of this many rows and columns is turned in registers.
SIDE = 8
HALF, WORD = (ir.VectorType(ir.IntType(bits), SIDE) for bits in (16, 32))


def _convert(b: Any, vector: Any, source: torch.dtype, target: torch.dtype) -> Any:
    """Bit patterns of one dtype to those of the other, exact or rounded."""
    if source == target:
        return vector
    if target == torch.float32:
        return b.shl(b.zext(vector, WORD), ir.Constant(WORD, [16] * SIDE))
    return b.trunc(round_to_bf16(b, vector), HALF)


def _turn(source: torch.dtype, target: torch.dtype) -> Any:
    """Code for out[k, n] = w[n, k], SIDE by SIDE; addresses, and row strides in elements."""
    kinds = [HALF if dtype == torch.bfloat16 else WORD for dtype in (source, target)]

    @intrinsic
    def turn(typingctx: Any, w: Any, w_stride: Any, out: Any, out_stride: Any) -> Any:
        def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
            w, w_stride, out, out_stride = args

            def at(base: Any, stride: Any, row: int, kind: Any, size: int) -> Any:
                offset = b.mul(stride, ir.Constant(I64, row * size))
                return b.inttoptr(b.add(base, offset), kind.as_pointer())

            rows = []
            for r in range(SIDE):
                rows.append(b.load(at(w, w_stride, r, kinds[0], source.itemsize)))
                rows[-1].align = source.itemsize
            # Riffling rows r and r + SIDE / 2, log2(SIDE) times, turns the square.
            picks = [[i // 2 + SIDE * (i % 2) + half for i in range(SIDE)] for half in (0, SIDE // 2)]
            masks = [ir.Constant(ir.VectorType(I32, SIDE), pick) for pick in picks]
            for _ in range(SIDE.bit_length() - 1):
                pairs = [(rows[r], rows[r + SIDE // 2]) for r in range(SIDE // 2)]
                rows = [b.shuffle_vector(x, y, mask) for x, y in pairs for mask in masks]
            for r, row in enumerate(rows):
                pointer = at(out, out_stride, r, kinds[1], target.itemsize)
                b.store(_convert(b, row, source, target), pointer).align = target.itemsize
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), codegen

    return turn


@cache
def _kernel(source: torch.dtype, target: torch.dtype) -> Any:
    kind, load, _ = SCALARS[source]
    target_kind, _, store = SCALARS[target]
    turn, size, target_size = _turn(source, target), source.itemsize, target.itemsize

    @variant_njit(source, target)
    def panel(w: Any, out: Any, first: int, column: int, width: int) -> None:
        """Rows first to first + width of w become columns from `column` on of one panel."""
        K = w.shape[1]
        for m in range(0, width, SIDE):
            from_row, to_column = w[first + m].ctypes.data, out.ctypes.data + (column + m) * target_size
            squares = K // SIDE if m + SIDE <= width else 0
            for i in range(squares):
                k = i * SIDE
                turn(from_row + k * size, K, to_column + k * PANEL * target_size, PANEL)
            for n in range(m, min(m + SIDE, width)):
                for k in range(squares * SIDE, K):
                    out[k, column + n] = store(load(w[first + n, k]))

    def kernel(words: Any) -> None:
        args = carray(words, 8)
        N, K, panels, start = args[4], args[5], args[6], args[7]
        source_row, panel_bytes = K * size, K * PANEL * target_size
        w_NK = carray(address(args[2]), (N, K), kind)
        out_PKW = carray(address(args[3]), (panels, K, PANEL), target_kind)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            p = start // PANEL + i
            begin, end = max(start, p * PANEL), min(start + N, (p + 1) * PANEL)
            populate(args[2] + (begin - start) * source_row, (end - begin) * source_row, False)
            populate(args[3] + p * panel_bytes, panel_bytes, True)
            panel(w_NK, out_PKW[p], begin - start, begin - p * PANEL, end - begin)

    return Kernel(kernel, source, target)


def pack_into(out_PKW: torch.Tensor, w_NK: torch.Tensor, start: int = 0) -> None:
    """Write the rows of w_NK, (N, K), as the outputs from `start` on of panels, rounded to their dtype.

    Both contiguous on the CPU, float32 or bfloat16 each; other outputs stay as they are.
    """
    (N, K), panels = w_NK.shape, out_PKW.shape[0]
    kernel = _kernel(w_NK.dtype, out_PKW.dtype)
    launch(kernel, _tasks(start, N), w_NK.data_ptr(), out_PKW.data_ptr(), N, K, panels, start)
    torch.autograd.graph.increment_version(out_PKW)  # written past torch, which others go by


@cache
def _quantizer(source: torch.dtype, codes_dtype: torch.dtype) -> Any:
    kind, load, _ = SCALARS[source]
    _, load_scale, store_scale = SCALARS[torch.bfloat16]
    four = codes_dtype == torch.uint8
    width, top = (PANEL // 2, 8) if four else (PANEL, 128)
    low, high = np.float32(-top), np.float32(top - 1)

    @variant_njit(source, codes_dtype)
    def column(row: Any, codes: Any, scales: Any, n: int) -> None:
        """One output: `row` rounded into column n of a panel's codes and scales."""
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

    def kernel(words: Any) -> None:
        args = carray(words, 10)
        N, K, panels, groups, start = args[5], args[6], args[7], args[8], args[9]
        w_NK = carray(address(args[2]), (N, K), kind)
        codes_PKW = carray(address(args[3]), (panels, K, width), types.uint8 if four else types.int8)
        scales_PGW = carray(address(args[4]), (panels, groups, PANEL), types.uint16)
        row = np.empty(K, np.float32)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            p = start // PANEL + i
            for n in range(max(start, p * PANEL), min(start + N, (p + 1) * PANEL)):
                for k in range(K):
                    row[k] = load(w_NK[n - start, k])
                column(row, codes_PKW[p], scales_PGW[p], n - p * PANEL)

    return Kernel(kernel, source, codes_dtype)


def quantize_into(
    codes_PKW: torch.Tensor, scales_PGW: torch.Tensor, w_NK: torch.Tensor, start: int = 0
) -> None:
    """Write the rows of w_NK as the outputs from `start` on of codes and bfloat16 scales.

    w is float32 or bfloat16; all contiguous on the CPU, laid out as `kernels.panels` says.
    """
    (N, K), (panels, groups, _) = w_NK.shape, scales_PGW.shape
    pointers = (w_NK.data_ptr(), codes_PKW.data_ptr(), scales_PGW.data_ptr())
    kernel = _quantizer(w_NK.dtype, codes_PKW.dtype)
    launch(kernel, _tasks(start, N), *pointers, N, K, panels, groups, start)
    for out in (codes_PKW, scales_PGW):
        torch.autograd.graph.increment_version(out)


def _tasks(start: int, N: int) -> int:
    """Panels that the outputs from `start` to `start` + N touch."""
    return (start + N - 1) // PANEL - start // PANEL + 1
