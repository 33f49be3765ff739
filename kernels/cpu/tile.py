"""A product in registers: a few rows by a few vectors of columns, walking along k.

The order is part of the result: each output is one chain of fused multiply-adds over k, from zero, and
the chain's sum is stored, or added to what stands there; times a scale where weights are integer-quantised.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import llvmlite.ir as ir
import torch
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target

from kernels.cpu.runtime import F32, I32, I64, call, code, splat, variant_njit

# Vectors of twice the width, and twice as many of them; NUMBA_CPU_NAME and NUMBA_CPU_FEATURES are heeded.
AVX512 = "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
# Float32 numbers in a vector of a tile. Each has a chain of its own: not part of the result.
WIDTH = 16 if AVX512 else 8
VECTOR = ir.VectorType(F32, WIDTH)
BYTES = ir.IntType(8).as_pointer()
HALVES, WORDS = (ir.VectorType(ir.IntType(bits), WIDTH) for bits in (16, 32))
# Columns that a tile takes, or twice as many.
COLUMNS = 16
# Rows that a tile takes at the most, and those that it takes with twice the columns: as registers allow.
ROWS = 6
BROAD_ROWS = ROWS if AVX512 else 2
# Columns of tiles of many rows.
TALL_COLUMNS = 2 * COLUMNS if BROAD_ROWS == ROWS else COLUMNS

WEIGHT_BITS = {torch.float32: 32, torch.bfloat16: 16, torch.int8: 8, torch.uint8: 4}
"""Bits of a weight by its tensor's dtype; a uint8 holds two of four bits (`kernels.panels`)."""


def _from_bf16(b: Any, bits: Any) -> Any:
    shifted = b.shl(b.zext(bits, WORDS), ir.Constant(WORDS, [16] * WIDTH))
    return b.bitcast(shifted, VECTOR)


def _width(kind: Any) -> int:
    return kind.element.width // 8 if isinstance(kind.element, ir.IntType) else 4


def _read(b: Any, base: Any, kind: Any, place: int = 0) -> Any:
    """Load the place-th vector of a kind from an address."""
    width = _width(kind)
    offset = b.add(base, ir.Constant(I64, width * kind.count * place))
    value = b.load(b.inttoptr(offset, kind.as_pointer()))
    value.align = width
    return value


def _write(b: Any, vector: Any, base: Any, place: int) -> None:
    """Store a vector as the place-th from an address."""
    width = _width(vector.type)
    offset = b.add(base, ir.Constant(I64, width * vector.type.count * place))
    b.store(vector, b.inttoptr(offset, vector.type.as_pointer())).align = width


def _weights(b: Any, dtype: torch.dtype, read: Any, vectors: int) -> list[Any]:
    """Read one k's weights as vectors of float32; `read(kind, place)` loads the place-th vector."""
    if dtype == torch.float32:
        return [read(VECTOR, j) for j in range(vectors)]
    if dtype == torch.bfloat16:
        return [_from_bf16(b, read(HALVES, j)) for j in range(vectors)]
    codes = ir.VectorType(ir.IntType(8), WIDTH)
    if dtype == torch.int8:
        return [b.sitofp(b.sext(read(codes, j), WORDS), VECTOR) for j in range(vectors)]
    eight_bytes, eight_words = (ir.VectorType(ir.IntType(bits), 8) for bits in (8, 32))
    fifteen, four = (ir.Constant(eight_words, [n] * 8) for n in (15, 4))
    unpacked = []
    for j in range(vectors * WIDTH // 16):  # eight columns in low halves of bytes, the next in high ones
        pair = b.zext(read(eight_bytes, j), eight_words)
        codes = [b.and_(pair, fifteen), b.lshr(pair, four)]
        if WIDTH == 16:
            codes = [b.shuffle_vector(*codes, ir.Constant(WORDS, [*range(16)]))]
        unpacked += [b.sitofp(b.sub(code, ir.Constant(WORDS, [8] * WIDTH)), VECTOR) for code in codes]
    return unpacked


def widening(dtype: torch.dtype, columns: int) -> Any:
    """Compile the reading of one k's weights of `dtype`, at an address, into float32 at another."""

    @code(types.void(types.int64, types.int64))
    def widen(b: Any, w: Any, out: Any) -> None:
        for j, vector in enumerate(_weights(b, dtype, partial(_read, b, w), columns // WIDTH)):
            _write(b, vector, out, j)

    return widen


def _at(b: Any, base: Any, offset: Any, kind: Any) -> Any:
    return b.inttoptr(b.add(base, offset), kind.as_pointer())


def _emit(b: Any, rows: int, columns: int, dtype: torch.dtype, scaled: bool, args: Any) -> None:
    """Write the tile of so many rows, from the present block to one that has no end yet."""
    *pairs, count, add, pair, scales = args
    (x, x_stride), (w, w_stride), (out, out_stride), (ahead, ahead_step) = (
        [b.extract_value(pair, j) for j in range(2)] for pair in (*pairs, pair)
    )
    vectors, number = columns // WIDTH, partial(ir.Constant, I64)
    prefetch = cgutils.get_or_insert_function(
        b.module, ir.FunctionType(ir.VoidType(), [BYTES, I32, I32, I32]), "llvm.prefetch.p0"
    )
    fma = partial(call, b, f"llvm.fma.v{WIDTH}f32")
    before, loop, after = b.block, b.append_basic_block("k"), b.append_basic_block("end")
    x_rows = [b.add(x, b.mul(x_stride, number(4 * m))) for m in range(rows)]
    b.branch(loop)
    b.position_at_end(loop)
    k = b.phi(I64)
    sums = [[b.phi(VECTOR) for _ in range(vectors)] for _ in range(rows)]
    row = b.add(w, b.udiv(b.mul(b.mul(k, w_stride), number(WEIGHT_BITS[dtype])), number(8)))
    weights = _weights(b, dtype, partial(_read, b, row), vectors)
    if rows > 2:
        coming = _at(b, ahead, b.mul(k, ahead_step), ir.IntType(8))
        b.call(prefetch, [coming, *(ir.Constant(I32, n) for n in (0, 2, 1))])  # read, level 2, data
    next_sums = []
    for m in range(rows):
        scalar = b.load(_at(b, x_rows[m], b.mul(k, number(4)), F32))
        spread = splat(b, scalar, WIDTH)
        next_sums.append([fma(spread, weights[j], sums[m][j]) for j in range(vectors)])
    next_k = b.add(k, number(1))
    k.add_incoming(number(0), before)
    k.add_incoming(next_k, loop)
    for m in range(rows):
        for old, new in zip(sums[m], next_sums[m], strict=True):
            old.add_incoming(ir.Constant(VECTOR, [0.0] * WIDTH), before)
            old.add_incoming(new, loop)
    b.cbranch(b.icmp_signed("<", next_k, count), loop, after)
    b.position_at_end(after)
    adds = b.icmp_signed("!=", add, number(0))
    for m in range(rows):
        row = b.add(out, b.mul(out_stride, number(4 * m)))
        for j in range(vectors):
            stored = _read(b, row, VECTOR, j)
            if not scaled:
                total = b.select(adds, b.fadd(stored, next_sums[m][j]), next_sums[m][j])
            else:
                scale = _from_bf16(b, _read(b, scales, HALVES, j))
                base = b.select(adds, stored, ir.Constant(VECTOR, [0.0] * WIDTH))
                total = fma(next_sums[m][j], scale, base)
            _write(b, total, row, j)


def _tiles(most_rows: int, columns: int, dtype: torch.dtype, scaled: bool) -> Any:
    """Compile for `rows` rows, 1 to `most_rows`, by `columns` columns: out (+)= x[:, :count] @ w[:count].

    Written as instructions since the order of a chain of additions, and what stays in registers, must
    not be left to a compiler's taste: a tile's sums and what feeds them fit the CPU's registers.
    Arguments are the number of rows; float32 x, w of `dtype` and float32 out, each as an address and a row
    stride in elements; the number of k; whether out is to be added to; an address to ask the second cache
    level for with the bytes by which it advances at each k; and the address of the columns' bfloat16
    scales if it is `scaled`.
    """

    one, two = types.int64, types.UniTuple(types.int64, 2)

    @code(types.void(one, two, two, two, one, one, two, one))
    def tile(
        b: Any, rows: Any, x: Any, w: Any, out: Any, count: Any, add: Any, ahead: Any, scales: Any
    ) -> None:
        done = b.append_basic_block("done")
        choice = b.switch(rows, done)
        for m in range(1, most_rows + 1):
            block = b.append_basic_block(f"rows_{m}")
            choice.add_case(ir.Constant(I64, m), block)
            b.position_at_end(block)
            _emit(b, m, columns, dtype, scaled, (x, w, out, count, add, ahead, scales))
            b.branch(done)
        b.position_at_end(done)

    return tile


@cache
def block_product(dtype: torch.dtype, scaled: bool = False) -> Any:
    """Compile code for out (+)= x @ w over `rows` rows and `columns` (a multiple of COLUMNS) columns.

    x (float32), w (a matrix of `dtype` of `count` rows) and out (float32) are pairs of an address and a row
    stride in elements; `add` not 0 adds to out. On the way it asks for the bytes of `ahead`, (address,
    number), which whoever calls next will read. `scales` is the address of one bfloat16 a column, by which
    the chain's sum is multiplied, if it is `scaled`.
    """
    bits = WEIGHT_BITS[dtype]
    narrow, broad = (_tiles(*shape, dtype, scaled) for shape in ((ROWS, COLUMNS), (BROAD_ROWS, 2 * COLUMNS)))

    @variant_njit(dtype, scaled)
    def product(
        x: Any, w: Any, out: Any, rows: int, columns: int, count: int, add: int, ahead: Any, scales: int
    ) -> None:
        # Tiles of one or two rows wait for memory anyway; the others share the asking, step by step.
        tiles = (columns + TALL_COLUMNS - 1) // TALL_COLUMNS
        steps = max(1, count * ((rows + 3) // ROWS) * tiles)
        coming, step = ahead[0], (ahead[1] + steps - 1) // steps
        for r in range(0, rows, ROWS):
            m = min(ROWS, rows - r)
            xr = (x[0] + 4 * r * x[1], x[1])
            n = 0
            while n < columns:
                wn, o = (w[0] + bits * n // 8, w[1]), (out[0] + 4 * (r * out[1] + n), out[1])
                # One or two rows need many columns in flight to hide the latency of an addition.
                if m <= BROAD_ROWS and columns - n >= 2 * COLUMNS:
                    broad(m, xr, wn, o, count, add, (coming, step), scales + 2 * n)
                    n += 2 * COLUMNS
                else:
                    narrow(m, xr, wn, o, count, add, (coming, step), scales + 2 * n)
                    n += COLUMNS
                coming += step * count

    return product
