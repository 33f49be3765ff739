"""Row-invariant matmul on the CPU: x_RK @ w_KN with the order along K spelt out.

Each output is summed over chunks of K_CHUNK along K. Inside a chunk it is one chain of fused
multiply-adds from the first k to the last, starting at zero; the chunks' sums are added in order. No
other row and no number of rows enters, so a row's bits are its own.

BLAS libraries compute many rows in much this order too, but change it for few rows, and some know
bfloat16 only in software. One kernel for any number of rows costs nothing: see benchmarks/LOG.md.

The weight is kept in panels of PANEL output columns, (panels, K, PANEL): a panel is read from its first
byte to its last, which is what memory does best, and a tile of some rows by some of its columns stays
in registers while it walks along K. Columns past N are zero.

Floor: the weight is read once, so time >= bytes / bandwidth; from some 16 rows on arithmetic
(2 R K N / peak) weighs more.

Legend: R rows, K inner width, N outer width, W panel width, P panels.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.ir as ir
import numpy as np
import torch
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.cpu.runtime import F32, I32, I64, address, compile_kernel, launch, next_task
from kernels.cpu.scalars import SCALARS

PANEL = 32
# A panel's chunk of K, 24 kB in float32, stays in the first cache level while all rows pass over it.
K_CHUNK = 192
# Float32 numbers in a vector of the code we emit; the compiler splits or joins them for its CPU.
LANES = 8
VECTOR = ir.VectorType(F32, LANES)


def _tile(rows: int, vectors: int, half: bool) -> Any:
    """Code for `rows` rows by `vectors` vectors of a panel: out (+)= x[:, :count] @ w[:count].

    Written as instructions since the order of a chain of additions, and what stays in registers, must
    not be left to a compiler's taste: rows * vectors sums and what feeds them are at most 16 registers.
    Arguments are addresses of float32 x and out and of the panel
    (bfloat16 where `half`), row strides in elements, the number of k, and whether out is to be added to.
    """

    @intrinsic
    def tile(
        typingctx: Any, x: Any, x_stride: Any, w: Any, out: Any, out_stride: Any, count: Any, add: Any
    ) -> Any:
        def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
            x, x_stride, w, out, out_stride, count, add = args
            fma = cgutils.get_or_insert_function(
                b.module, ir.FunctionType(VECTOR, [VECTOR] * 3), f"llvm.fma.v{LANES}f32"
            )

            def at(base: Any, offset: Any, kind: Any) -> Any:
                return b.inttoptr(b.add(base, offset), kind.as_pointer())

            def number(n: int) -> Any:
                return ir.Constant(I64, n)

            def read(pointer: Any) -> Any:
                value = b.load(pointer)
                value.align = 2 if half else 4
                return value

            before, loop, after = b.block, b.append_basic_block("k"), b.append_basic_block("end")
            x_rows = [b.add(x, b.mul(x_stride, number(4 * m))) for m in range(rows)]
            b.branch(loop)
            b.position_at_end(loop)
            k = b.phi(I64)
            sums = [[b.phi(VECTOR) for _ in range(vectors)] for _ in range(rows)]
            size = 2 if half else 4
            weights = []
            for j in range(vectors):
                offset = b.add(b.mul(k, number(size * PANEL)), number(size * LANES * j))
                if half:
                    bits = read(at(w, offset, ir.VectorType(ir.IntType(16), LANES)))
                    wide = ir.VectorType(I32, LANES)
                    shifted = b.shl(b.zext(bits, wide), ir.Constant(wide, [16] * LANES))
                    weights.append(b.bitcast(shifted, VECTOR))
                else:
                    weights.append(read(at(w, offset, VECTOR)))
            undefined = ir.Constant(VECTOR, ir.Undefined)
            first_lane = ir.Constant(ir.VectorType(I32, LANES), [0] * LANES)
            next_sums = []
            for m in range(rows):
                scalar = b.load(at(x_rows[m], b.mul(k, number(4)), F32))
                lane = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
                spread = b.shuffle_vector(lane, undefined, first_lane)
                next_sums.append([b.call(fma, [spread, weights[j], sums[m][j]]) for j in range(vectors)])
            next_k = b.add(k, number(1))
            k.add_incoming(number(0), before)
            k.add_incoming(next_k, loop)
            for m in range(rows):
                for old, new in zip(sums[m], next_sums[m], strict=True):
                    old.add_incoming(ir.Constant(VECTOR, [0.0] * LANES), before)
                    old.add_incoming(new, loop)
            b.cbranch(b.icmp_signed("<", next_k, count), loop, after)
            b.position_at_end(after)
            adds = b.icmp_signed("!=", add, number(0))
            for m in range(rows):
                row = b.add(out, b.mul(out_stride, number(4 * m)))
                for j in range(vectors):
                    pointer = at(row, number(4 * LANES * j), VECTOR)
                    before_it = b.load(pointer)
                    before_it.align = 4
                    total = b.select(adds, b.fadd(before_it, next_sums[m][j]), next_sums[m][j])
                    b.store(total, pointer).align = 4
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), codegen

    return tile


@cache
def _kernel(dtype: torch.dtype) -> Any:
    kind, load, store = SCALARS[dtype]
    half = dtype == torch.bfloat16
    tile_1, tile_2 = _tile(1, 4, half), _tile(2, 4, half)
    tile_3, tile_4, tile_5, tile_6 = (_tile(rows, 2, half) for rows in (3, 4, 5, 6))
    size = 2 if half else 4
    half_panel = PANEL // 2

    @njit(error_model="numpy")
    def tiles(x: int, K: int, w: int, total: int, rows: int, count: int, add: int) -> None:
        """`rows` (1 to 6) rows by the whole panel, over `count` k."""
        if rows == 1:
            tile_1(x, K, w, total, PANEL, count, add)
        elif rows == 2:
            tile_2(x, K, w, total, PANEL, count, add)
        else:
            for side in range(2):
                w_side, total_side = w + side * half_panel * size, total + side * half_panel * 4
                if rows == 3:
                    tile_3(x, K, w_side, total_side, PANEL, count, add)
                elif rows == 4:
                    tile_4(x, K, w_side, total_side, PANEL, count, add)
                elif rows == 5:
                    tile_5(x, K, w_side, total_side, PANEL, count, add)
                else:
                    tile_6(x, K, w_side, total_side, PANEL, count, add)

    @njit(error_model="numpy")
    def panel(x: Any, w: int, out: Any, total: Any, n0: int, width: int) -> None:
        """One panel at address w: out[:, n0 : n0 + width] = x @ panel."""
        R, K = x.shape
        x_address, total_address = x.ctypes.data, total.ctypes.data
        for k0 in range(0, K, K_CHUNK):
            count = min(K_CHUNK, K - k0)
            part = w + k0 * PANEL * size
            for r in range(0, R, 6):
                rows = min(6, R - r)
                tiles(x_address + 4 * (r * K + k0), K, part, total_address + 4 * r * PANEL, rows, count, k0)
        for r in range(R):
            o, t = out[r], total[r]
            for n in range(width):
                o[n0 + n] = store(t[n])

    def kernel(words: Any) -> None:
        args = carray(words, 9)
        R, K, N, panels = args[5], args[6], args[7], args[8]
        given = carray(address(args[2]), (R, K), kind)
        out = carray(address(args[4]), (R, N), kind)
        x = np.empty((R, K), np.float32)
        for r in range(R):
            for k in range(K):
                x[r, k] = load(given[r, k])
        total = np.empty((R, PANEL), np.float32)
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            for p in range(i * panels, min((i + 1) * panels, (N + PANEL - 1) // PANEL)):
                n0 = p * PANEL
                w = args[3] + p * PANEL * K * size
                panel(x, w, out, total, n0, min(PANEL, N - n0))

    return compile_kernel(kernel)


def matmul(x_RK: torch.Tensor, w_PKW: torch.Tensor, N: int) -> torch.Tensor:
    """x_RK @ w_KN, (R, N), for w in panels, summed as this module's docstring says, rounded once.

    Both contiguous, on the CPU, of one dtype (float32 or bfloat16); sums are kept in float32.
    """
    R, K = x_RK.shape
    out_RN = torch.empty(R, N, dtype=x_RK.dtype)
    # A few tasks a thread, so that none waits long for the other.
    panels = max(1, w_PKW.shape[0] // (4 * torch.get_num_threads()))
    launch(
        _kernel(x_RK.dtype),
        -(-w_PKW.shape[0] // panels),
        x_RK.data_ptr(),
        w_PKW.data_ptr(),
        out_RN.data_ptr(),
        *(R, K, N, panels),
    )
    return out_RN
