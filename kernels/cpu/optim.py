"""One step of AdamW for bfloat16 weights on the CPU: every number is read once and written once.

Floor: 14 bytes a weight (16 with a carry), against 28 of float32's. The formula is that of
`kernels.reference.adamw`, in its order, so that the bits are equal. It is written in vectors by hand: a
compiler makes none of a loop that writes four arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.np.unsafe.ndarray import to_fixed_tuple

from kernels.cpu.recording import launch
from kernels.cpu.runtime import F32, I32, I64, Kernel, call, code, splat, tasks
from kernels.knobs import Weight

# Of a row of the kernel's table: the five addresses of a weight, the size, the key, the first task.
FIELDS = 8
# Weights of one task.
CHUNK = 1 << 15
# Weights of a vector, which the compiler splits for its CPU: packing to 16 bits wants several.
# Those that are left over go one by one.
LANES = 32


def _noise(b: Any, lanes: int, place: Any, key: Any, rounds: int) -> Any:
    """Write one round of noise, or two: `kernels.reference.one_round`, `random_bits`."""
    words = ir.VectorType(I32, lanes)

    def number(n: int) -> Any:
        return ir.Constant(words, [n] * lanes)

    first = b.add(b.mul(b.trunc(place, I32), ir.Constant(I32, 0x9E3779B9)), key)
    steps = ir.Constant(words, [0x9E3779B9 * i & 0xFFFFFFFF for i in range(lanes)])
    noise = b.add(splat(b, first, lanes), steps)
    noise = b.mul(b.xor(noise, b.lshr(noise, number(16))), number(0x7FEB352D))
    if rounds == 2:
        noise = b.mul(b.xor(noise, b.lshr(noise, number(15))), number(0x846CA68B))
        noise = b.xor(noise, b.lshr(noise, number(16)))
    return noise


@cache
def _stepping(lanes: int, carried: bool) -> Any:
    """Compile the step of `lanes` weights from a place on.

    Arguments: the addresses of weights, gradients, both moments and carry; the place; the eight numbers of
    `kernels.reference.adamw`; the key.
    """
    floats, words, halves, bytes_ = (
        ir.VectorType(kind, lanes) for kind in (F32, I32, ir.IntType(16), ir.IntType(8))
    )

    @code(types.void(*[types.int64] * 6, types.UniTuple(types.float32, 8), types.uint32))
    def step(b: Any, w: Any, g: Any, m: Any, v: Any, carry: Any, place: Any, numbers: Any, key: Any) -> None:
        def number(n: int) -> Any:
            return ir.Constant(words, [n] * lanes)

        def at(base: Any, kind: Any) -> Any:
            width = kind.element.width // 8
            return b.inttoptr(b.add(base, b.mul(place, ir.Constant(I64, width))), kind.as_pointer())

        def read(base: Any, kind: Any) -> Any:
            value = b.load(at(base, kind))
            value.align = 1
            return value

        def write(bits: Any, base: Any, kind: Any) -> None:
            b.store(b.trunc(bits, kind), at(base, kind)).align = 1

        def wide(base: Any) -> Any:
            """Read bfloat16 numbers, as the bits of float32."""
            return b.shl(b.zext(read(base, halves), words), number(16))

        def store(x: Any, noise: Any, base: Any) -> None:
            """Write the upper halves of float32 numbers, after noise was added to the lower."""
            write(b.lshr(b.add(b.bitcast(x, words), noise), number(16)), base, halves)

        as_float = partial(b.bitcast, typ=floats)
        beta1, beta2, rest1, rest2, eps, rate, decay, root2 = (
            splat(b, b.extract_value(numbers, i), lanes) for i in range(8)
        )
        noise = _noise(b, lanes, place, key, rounds=1 if carried else 2)
        x = as_float(wide(g))
        m_new = b.fadd(b.fmul(as_float(wide(m)), beta1), b.fmul(x, rest1))
        v_new = b.fadd(b.fmul(as_float(wide(v)), beta2), b.fmul(b.fmul(x, x), rest2))
        store(m_new, b.lshr(noise, number(16)), m)
        store(v_new, b.and_(b.lshr(noise, number(8)), number(0xFFFF)), v)
        below = b.fadd(b.fmul(call(b, f"llvm.sqrt.v{lanes}f32", v_new), root2), eps)
        change = b.fmul(rate, b.fdiv(m_new, below))
        weight = wide(w)
        if carried:
            weight = b.add(weight, b.shl(b.sext(read(carry, bytes_), words), number(8)))
        x = b.fsub(b.fmul(as_float(weight), decay), change)
        if not carried:
            store(x, b.and_(noise, number(0xFFFF)), w)
            return
        bits = b.add(b.bitcast(x, words), b.lshr(noise, number(24)))
        high = b.lshr(b.add(bits, number(0x8000)), number(16))
        write(high, w, halves)
        write(b.lshr(b.sub(bits, b.shl(high, number(16))), number(8)), carry, bytes_)

    return step


@cache
def _adamw(carried: bool) -> Any:
    many, one = _stepping(LANES, carried), _stepping(1, carried)

    def kernel(words: Any, a: Any) -> None:
        table, numbers = a.table_CF, to_fixed_tuple(a.numbers_N, 8)
        t = 0
        for i in tasks(words):
            while t + 1 < a.C and table[t + 1, 7] <= i:
                t += 1
            w, g, m, v, carry = table[t, 0], table[t, 1], table[t, 2], table[t, 3], table[t, 4]
            size, key = table[t, 5], types.uint32(table[t, 6])
            place = (i - table[t, 7]) * CHUNK
            end = min(place + CHUNK, size)
            while place + LANES <= end:
                many(w, g, m, v, carry, place, numbers, key)
                place += LANES
            while place < end:
                one(w, g, m, v, carry, place, numbers, key)
                place += 1

    return Kernel(kernel, (carried,), "C F N", table_CF=types.int64, numbers_N=types.float32)


def adamw(weights: Sequence[Weight], numbers: tuple[float, ...], keys: Sequence[int]) -> None:
    """Take a step of `kernels.reference.adamw`, all weights in one launch."""
    table, tasks = np.empty((len(weights), FIELDS), np.int64), 0
    for i, (weight, key) in enumerate(zip(weights, keys, strict=True)):
        size = weight[0].numel()
        table[i] = (*(0 if x is None else x.data_ptr() for x in weight), size, key, tasks)
        tasks += -(-size // CHUNK)
    held = np.array(numbers, np.float32)
    sizes = {"C": len(weights), "F": FIELDS, "N": len(numbers)}
    addresses = {"table_CF": table.ctypes.data, "numbers_N": held.ctypes.data}
    launch(_adamw(weights[0][4] is not None), tasks, **addresses, **sizes)
