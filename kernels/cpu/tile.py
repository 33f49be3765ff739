"""A product in registers: a few rows by a few vectors of columns, walking along k.

The order is part of the result: each output is one chain of fused multiply-adds over k, from zero, and
the chain's sum is stored, or added to what stands there.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.ir as ir
import torch
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.cpu.runtime import F32, I32, I64

# Float32 numbers in a vector of the code we emit; the compiler splits or joins them for its CPU.
LANES = 8
VECTOR = ir.VectorType(F32, LANES)
BYTES = ir.IntType(8).as_pointer()
# Columns that one tile takes at the least.
COLUMNS = 2 * LANES


def _tile(rows: int, vectors: int, half: bool) -> Any:
    """Code for `rows` rows by `vectors` vectors of columns: out (+)= x[:, :count] @ w[:count].

    Written as instructions since the order of a chain of additions, and what stays in registers, must
    not be left to a compiler's taste: rows * vectors sums and what feeds them are at most 16 registers.
    Arguments are addresses of float32 x and out and of w (bfloat16 where `half`), row strides in elements,
    the number of k, whether out is to be added to, and an address to ask the second cache level for with
    the bytes by which it advances at each k.
    """

    @intrinsic
    def tile(
        typingctx: Any,
        x: Any,
        x_stride: Any,
        w: Any,
        w_stride: Any,
        out: Any,
        out_stride: Any,
        count: Any,
        add: Any,
        ahead: Any,
        ahead_step: Any,
    ) -> Any:
        def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
            x, x_stride, w, w_stride, out, out_stride, count, add, ahead, ahead_step = args
            prefetch = cgutils.get_or_insert_function(
                b.module, ir.FunctionType(ir.VoidType(), [BYTES, I32, I32, I32]), "llvm.prefetch.p0"
            )
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
                offset = b.add(b.mul(b.mul(k, w_stride), number(size)), number(size * LANES * j))
                if half:
                    bits = read(at(w, offset, ir.VectorType(ir.IntType(16), LANES)))
                    wide = ir.VectorType(I32, LANES)
                    shifted = b.shl(b.zext(bits, wide), ir.Constant(wide, [16] * LANES))
                    weights.append(b.bitcast(shifted, VECTOR))
                else:
                    weights.append(read(at(w, offset, VECTOR)))
            if rows > 2:
                coming = at(ahead, b.mul(k, ahead_step), ir.IntType(8))
                b.call(prefetch, [coming, *(ir.Constant(I32, n) for n in (0, 2, 1))])  # read, level 2, data
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

        return types.void(*[types.int64] * 10), codegen

    return tile


@cache
def block_product(dtype: torch.dtype) -> Any:
    """Compiled code for out (+)= x @ w over `rows` rows and `columns` (a multiple of COLUMNS) columns.

    x (float32) and out (float32) are addresses with row strides in elements; w is the address of a
    matrix of `dtype`, `count` rows with a stride in elements; `add` not 0 adds to out. On the way it asks
    for the `ahead_bytes` bytes at `ahead`, which whoever calls next will read.
    """
    half = dtype == torch.bfloat16
    size = 2 if half else 4
    one, two = _tile(1, 4, half), _tile(2, 4, half)
    one_narrow, two_narrow, three, four, five, six = (_tile(rows, 2, half) for rows in range(1, 7))

    @njit(error_model="numpy")
    def product(
        x: int,
        x_stride: int,
        w: int,
        w_stride: int,
        out: int,
        out_stride: int,
        rows: int,
        columns: int,
        count: int,
        add: int,
        ahead: int,
        ahead_bytes: int,
    ) -> None:
        # Tiles of one or two rows wait for memory anyway; the others share the asking, step by step.
        steps = max(1, count * ((rows + 3) // 6) * (columns // COLUMNS))
        step = (ahead_bytes + steps - 1) // steps
        for r in range(0, rows, 6):
            m = min(6, rows - r)
            xr = x + 4 * r * x_stride
            n = 0
            while n < columns:
                wn = w + size * n
                o = out + 4 * (r * out_stride + n)
                # One or two rows need four vectors in flight to hide the latency of an addition.
                wide = m <= 2 and columns - n >= 2 * COLUMNS
                if m == 1:
                    if wide:
                        one(xr, x_stride, wn, w_stride, o, out_stride, count, add, ahead, step)
                    else:
                        one_narrow(xr, x_stride, wn, w_stride, o, out_stride, count, add, ahead, step)
                elif m == 2:
                    if wide:
                        two(xr, x_stride, wn, w_stride, o, out_stride, count, add, ahead, step)
                    else:
                        two_narrow(xr, x_stride, wn, w_stride, o, out_stride, count, add, ahead, step)
                elif m == 3:
                    three(xr, x_stride, wn, w_stride, o, out_stride, count, add, ahead, step)
                elif m == 4:
                    four(xr, x_stride, wn, w_stride, o, out_stride, count, add, ahead, step)
                elif m == 5:
                    five(xr, x_stride, wn, w_stride, o, out_stride, count, add, ahead, step)
                else:
                    six(xr, x_stride, wn, w_stride, o, out_stride, count, add, ahead, step)
                ahead += step * count
                n += 2 * COLUMNS if wide else COLUMNS

    return product
