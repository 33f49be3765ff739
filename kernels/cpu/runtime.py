"""Ground of the CPU kernels: scalar functions for numba, how each dtype is read and written, compilation.

A kernel here is a compiled function over one array of 64-bit words: word 0 is the next task, word 1 the
number of tasks, the rest are pointers and sizes, which `Kernel` names. Threads draw tasks until none is
left; every task writes outputs of its own, so results do not depend on the number of threads.
`kernels.cpu.recording` launches them, on threads of our own (`kernels.cpu.pool`).

No fast-math anywhere: an addition happens where it is written, and `fma` is one rounding on every CPU.
"""

from __future__ import annotations

import math
import re
from collections import namedtuple
from collections.abc import Callable
from functools import wraps
from typing import Any

import llvmlite.ir as ir
import torch
from numba import carray, njit, types
from numba.core import cgutils, sigutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from kernels.cpu.code_cache import CodeCache

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


def code(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a function that writes LLVM code, `emit(builder, *values)`, one that kernels can call."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            result = emit(builder, *values)
            return context.get_dummy_value() if result is None else result

        @wraps(emit)  # numba takes the names of the arguments, all but the first, from there
        def typed(typingctx: Any, *arguments: Any) -> Any:
            return signature, codegen

        return intrinsic(typed)

    return decorate


def call(b: Any, name: str, *values: Any) -> Any:
    """Write a call of one of LLVM's functions of numbers of one type, to that type."""
    kind = ir.FunctionType(values[0].type, [value.type for value in values])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), values)


def splat(b: Any, scalar: Any, lanes: int) -> Any:
    """Write a vector whose every lane is `scalar`."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    lane = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(lane, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


@code(types.float32(types.float32, types.float32, types.float32))
def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Compute a * b + c in float32 with one rounding."""
    return call(builder, "llvm.fma.f32", a, b, c)


@code(types.float32(types.float32))
def floor(builder: Any, a: Any) -> Any:
    """Find the largest whole float32 not above a."""
    return call(builder, "llvm.floor.f32", a)


@code(types.float32(types.float32))
def _power_of_two(builder: Any, n: Any) -> Any:
    """Compute 2**n in float32 for a whole float32 n from -126 to 127, by writing the exponent bits."""
    exponent = builder.add(builder.fptosi(n, I32), ir.Constant(I32, 127))
    return builder.bitcast(builder.shl(exponent, ir.Constant(I32, 23)), F32)


@code(types.float32(types.uint16))
def load_bf16(builder: Any, a: Any) -> Any:
    """Return the float32 that a bf16 bit pattern stands for; exact."""
    return builder.bitcast(builder.shl(builder.zext(a, I32), ir.Constant(I32, 16)), F32)


def round_to_bf16(b: Any, bits: Any) -> Any:
    """Write code that turns float32 bit patterns, one or a vector, into bf16 ones in their low halves.

    To nearest, ties to even; NaN becomes the quiet NaN, as in torch.
    """

    def number(n: int) -> Any:
        return ir.Constant(bits.type, [n] * bits.type.count if isinstance(bits.type, ir.VectorType) else n)

    odd = b.and_(b.lshr(bits, number(16)), number(1))
    rounded = b.lshr(b.add(bits, b.add(odd, number(0x7FFF))), number(16))
    is_nan = b.icmp_unsigned(">", b.and_(bits, number(0x7FFFFFFF)), number(0x7F800000))
    return b.select(is_nan, number(0x7FC0), rounded)


@code(types.uint16(types.float32))
def store_bf16(builder: Any, a: Any) -> Any:
    """Round float32 to the bf16 bit pattern, as `round_to_bf16` does."""
    return builder.trunc(round_to_bf16(builder, builder.bitcast(a, I32)), ir.IntType(16))


@njit(inline="always")
def _same(a: Any) -> Any:
    return a


# How kernels read and write each dtype as float32: numba's type of what memory holds, load, store.
SCALARS: dict[torch.dtype, tuple[Any, Any, Any]] = {
    torch.float32: (types.float32, _same, _same),
    torch.bfloat16: (types.uint16, load_bf16, store_bf16),
}


@njit(inline="always")
def exp(x: Any) -> Any:
    """Compute exp(x) in float32 for x <= 88, to 1.5 units in the last place; 0 below -87, exp(0) is 1.

    Range reduction by ln 2 in two parts and the degree-5 polynomial of the Cephes library's `expf`.
    """
    n = floor(fma(x, types.float32(1.44269504088896341), types.float32(0.5)))
    r = fma(n, types.float32(-0.693359375), x)
    r = fma(n, types.float32(2.12194440e-4), r)
    p = fma(types.float32(1.9875691500e-4), r, types.float32(1.3981999507e-3))
    p = fma(p, r, types.float32(8.3334519073e-3))
    p = fma(p, r, types.float32(4.1665795894e-2))
    p = fma(p, r, types.float32(1.6666665459e-1))
    p = fma(p, r, types.float32(5.0000001201e-1))
    p = fma(p, r * r, r) + types.float32(1.0)
    small = x < types.float32(-87.0)
    safe = types.float32(0.0) if small else n
    return types.float32(0.0) if small else p * _power_of_two(safe)


@njit(inline="always")
def tanh(x: Any) -> Any:
    """Compute tanh(x) in float32, rounded from the C library's in float64."""
    return types.float32(math.tanh(types.float64(x)))


@njit(inline="always")
def sigmoid(x: Any) -> Any:
    """Compute 1 / (1 + exp(-x)) in float32; past -88, where exp would overflow, what it is at -88."""
    return types.float32(1.0) / (
        types.float32(1.0) + exp(-x if x > types.float32(-88.0) else types.float32(88.0))
    )


# Chains of a sum along a row: part of the result, and so the same on every CPU.
LANES = 8


def _summing(squared: bool) -> Any:
    @njit(inline="always")
    def lane_sum(row: Any, lanes: Any) -> Any:
        """Add a row's numbers, or their squares, in LANES chains, and then those; `lanes` is scratch."""
        lanes[:] = 0
        for n0 in range(0, row.shape[0], LANES):
            part = row[n0 : n0 + LANES]
            for j in range(LANES):
                lanes[j] += part[j] * part[j] if squared else part[j]
        total = lanes[0]
        for j in range(1, LANES):
            total += lanes[j]
        return total

    return lane_sum


lane_sum, lane_squares = _summing(False), _summing(True)


@njit(inline="always")
def lane_max(row: Any, lanes: Any, least: Any) -> Any:
    """Find the largest of `least` and of a row's numbers, past NaN; `lanes` is scratch."""
    lanes[:] = least
    for n0 in range(0, row.shape[0], LANES):
        part = row[n0 : n0 + LANES]
        for j in range(LANES):
            lanes[j] = max(lanes[j], part[j])
    top = lanes[0]
    for j in range(1, LANES):
        top = max(top, lanes[j])
    return top


@code(types.int64(types.CPointer(types.int64)))
def _next_task(builder: Any, words: Any) -> Any:
    """Draw the next task, by an atomic increment of word 0; -1 where none is left."""
    task = builder.atomic_rmw("add", words, ir.Constant(I64, 1), "monotonic")
    tasks = builder.load(builder.gep(words, [ir.Constant(I64, 1)]))
    return builder.select(builder.icmp_signed("<", task, tasks), task, ir.Constant(I64, -1))


@njit
def tasks(words: Any) -> Any:
    """Draw tasks until none is left."""
    while True:
        task = _next_task(words)
        if task < 0:
            return
        yield task


@code(types.voidptr(types.int64))
def address(builder: Any, word: Any) -> Any:
    """Make a pointer of the 64-bit word that holds it, for `numba.carray`."""
    return builder.inttoptr(word, cgutils.voidptr_t)


def _name(function: Any, variant: tuple[Any, ...]) -> None:
    """Give one variant of a function a name of its own, the same in every process.

    Machine code that comes from the cache is linked with what this process compiles, by name. numba tells
    functions of one name apart by a count that starts at 0 in each process: two variants, compiled in two
    processes, could have the same name, and one be called for the other.
    """
    function.__qualname__ += "_" + re.sub(r"\W+", "_", repr(variant)).strip("_")


def variant_njit(*variant: Any) -> Callable[[Any], Any]:
    """Make `njit` for a function inside a kernel's factory; `variant` tells apart those of one name."""

    def compiled(function: Any) -> Any:
        _name(function, variant)
        return njit(error_model="numpy")(function)

    return compiled


def compiled(function: Any, signature: Any, *variant: Any) -> Any:
    """Compile a function for C, or fetch it from the cache: `address` is where it stands while this lives."""
    _name(function, variant)
    # numpy's division: Python's would branch on a zero divisor, and no loop with a branch vectorises.
    options = {"nopython": True, "error_model": "numpy"}
    made: Any = CFunc(function, sigutils.normalize_signature(signature), locals={}, options=options)
    made._cache = CodeCache(function, repr(variant))
    made.compile()
    return made


@variant_njit()
def given(array: Any) -> Any:
    """Tell whether a tensor was given for an array."""
    return array.ctypes.data != 0


class Kernel:
    """A compiled function, and the names of what it is launched with.

    Args:
        function: takes the words, for `tasks`, and a named tuple of all arguments.
        variant: tells apart functions of one name.
        sizes: names of integers: sizes, and addresses of what is no array to the kernel.
        floats: names of float32 numbers.
        arrays: name -> numba's type of its elements. The end of a name is its shape: each letter is one of
            `sizes`, a digit itself. A tensor may be left out (None).
    """

    def __init__(
        self, function: Any, variant: tuple[Any, ...], sizes: str, floats: str = "", **arrays: Any
    ) -> None:
        self.names = (*arrays, *floats.split(), *sizes.split())
        place = {name: f"w[{i}]" for i, name in enumerate(self.names, start=2)}
        fields = []
        for i, name in enumerate(arrays):
            shape = "".join(f"{c if c.isdigit() else place[c]}, " for c in name.rpartition("_")[2])
            fields.append(f"carray(address({place[name]}), ({shape}), kind_{i})")
        fields += [f"carray(address({place[name]}), (1,), float32)[0]" for name in floats.split()]
        fields += [place[name] for name in sizes.split()]
        body = f" w = carray(words, {len(place) + 2})\n return Words({', '.join(fields)})"
        scope: dict[str, Any] = {f"kind_{i}": kind for i, kind in enumerate(arrays.values())}
        scope |= {"carray": carray, "address": address, "float32": types.float32}
        scope["Words"] = namedtuple("Words", self.names)
        exec(f"def unpack(words):\n{body}", scope)
        unpack = variant_njit(self.names, tuple(map(str, arrays.values())))(scope["unpack"])
        compute = njit(inline="always", error_model="numpy")(function)

        def kernel(words: Any) -> None:
            compute(words, unpack(words))

        kernel.__module__, kernel.__qualname__ = function.__module__, function.__qualname__
        self._compiled = compiled(kernel, types.void(types.CPointer(types.int64)), *variant)
        self.address: int = self._compiled.address
