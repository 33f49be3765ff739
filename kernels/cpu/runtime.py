"""Ground of the CPU kernels: scalar intrinsics for numba, compilation, and the launch.

A kernel here is a compiled function over one array of 64-bit words: word 0 is the next task, word 1 the
number of tasks, the rest are pointers and sizes, which `Arguments` names. Threads draw tasks until none is
left; every task writes outputs of its own, so results do not depend on the number of threads. The threads are
our own (`kernels.cpu.pool`), and a row of launches can be kept and run again (`kernels.cpu.recording`).

No fast-math anywhere: an addition happens where it is written, and `fma` is one rounding on every CPU.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import re
from array import array
from collections import namedtuple
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.ir as ir
import torch
from numba import carray, njit, types
from numba.core import cgutils, sigutils
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

from kernels.cpu import pool
from kernels.cpu.recording import current

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


def _call(module: Any, builder: Any, name: str, args: Any) -> Any:
    kind = ir.FunctionType(args[0].type, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(module, kind, name), args)


def splat(b: Any, scalar: Any, lanes: int) -> Any:
    """A vector whose every lane is `scalar`."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    lane = b.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return b.shuffle_vector(lane, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c in float32 with one rounding."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder.module, builder, "llvm.fma.f32", args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@intrinsic
def floor(typingctx: Any, a: Any) -> Any:
    """Largest whole float32 not above a."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder.module, builder, "llvm.floor.f32", args)

    return types.float32(types.float32), codegen


@intrinsic
def _power_of_two(typingctx: Any, n: Any) -> Any:
    """2**n in float32 for a whole float32 n from -126 to 127, by writing the exponent bits."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        exponent = builder.add(builder.fptosi(args[0], I32), ir.Constant(I32, 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(I32, 23)), F32)

    return types.float32(types.float32), codegen


@intrinsic
def load_bf16(typingctx: Any, a: Any) -> Any:
    """The float32 that a bf16 bit pattern (uint16) stands for; exact."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(builder.shl(builder.zext(args[0], I32), ir.Constant(I32, 16)), F32)

    return types.float32(types.uint16), codegen


def round_to_bf16(b: Any, bits: Any) -> Any:
    """Code that turns float32 bit patterns, one or a vector, into bf16 ones in their low halves.

    To nearest, ties to even; NaN becomes the quiet NaN, as in torch.
    """

    def number(n: int) -> Any:
        return ir.Constant(bits.type, [n] * bits.type.count if isinstance(bits.type, ir.VectorType) else n)

    odd = b.and_(b.lshr(bits, number(16)), number(1))
    rounded = b.lshr(b.add(bits, b.add(odd, number(0x7FFF))), number(16))
    is_nan = b.icmp_unsigned(">", b.and_(bits, number(0x7FFFFFFF)), number(0x7F800000))
    return b.select(is_nan, number(0x7FC0), rounded)


@intrinsic
def store_bf16(typingctx: Any, a: Any) -> Any:
    """float32 to the bf16 bit pattern (uint16), as `round_to_bf16` does."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.trunc(round_to_bf16(builder, builder.bitcast(args[0], I32)), ir.IntType(16))

    return types.uint16(types.float32), codegen


@njit(inline="always")
def load_f32(a: Any) -> Any:
    return a


@njit(inline="always")
def store_f32(a: Any) -> Any:
    return a


@njit(inline="always")
def exp(x: Any) -> Any:
    """exp(x) in float32 for x <= 88, within 1.5 units in the last place; 0 below -87, exp(0) is 1.

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
    """tanh(x) in float32, rounded from the C library's in float64."""
    return types.float32(math.tanh(types.float64(x)))


@njit(inline="always")
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) in float32; past -88, where the exponential would overflow, what it is at -88."""
    return types.float32(1.0) / (
        types.float32(1.0) + exp(-x if x > types.float32(-88.0) else types.float32(88.0))
    )


@intrinsic
def next_task(typingctx: Any, words: Any) -> Any:
    """Draw the next task, by an atomic increment of word 0; -1 where none is left."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        task = builder.atomic_rmw("add", args[0], ir.Constant(I64, 1), "monotonic")
        tasks = builder.load(builder.gep(args[0], [ir.Constant(I64, 1)]))
        return builder.select(builder.icmp_signed("<", task, tasks), task, ir.Constant(I64, -1))

    return types.int64(types.CPointer(types.int64)), codegen


@intrinsic
def address(typingctx: Any, word: Any) -> Any:
    """The pointer that a 64-bit word holds, for `numba.carray`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), codegen


class _KernelCache(FunctionCache):  # type: ignore[misc]
    """numba's cache on disk, under a key that is the same in every process.

    numba's own key pickles what a closure holds, and compiled functions pickle with a random number: it
    would never be found again. Ours is the text of all kernels and the variant, which say the same.
    """

    def __init__(self, function: Any, variant: str) -> None:
        super().__init__(function)
        self._variant = variant

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple(), _sources(), self._variant


@cache
def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _name(function: Any, variant: tuple[Any, ...]) -> None:
    """Give one variant of a function a name of its own, the same in every process.

    Machine code that comes from the cache is linked with what this process compiles, by name. numba tells
    functions of one name apart by a count that starts anew in each process: two variants, compiled in two
    processes, could have the same name, and one be called for the other.
    """
    function.__qualname__ += "_" + re.sub(r"\W+", "_", repr(variant)).strip("_")


def variant_njit(*variant: Any) -> Callable[[Any], Any]:
    """`njit` for a function inside a kernel's factory; `variant` tells apart those of one name."""

    def compiled(function: Any) -> Any:
        _name(function, variant)
        return njit(error_model="numpy")(function)

    return compiled


class Arguments:
    """The one declaration of what a kernel is launched with, by name.

    Args:
        sizes: names of integers: sizes, and addresses of what is no array to the kernel.
        floats: names of float32 numbers.
        arrays: name -> numba's type of its elements. The end of a name is its shape: each letter is one of
            `sizes`, a digit itself. A tensor may be left out (None).

    Attributes:
        names: of the words, in their order.
        unpack: for the kernel: words -> a named tuple of arrays and numbers.
    """

    def __init__(self, sizes: str, floats: str = "", **arrays: Any) -> None:
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
        self.unpack = variant_njit(self.names, tuple(map(str, arrays.values())))(scope["unpack"])


@variant_njit()
def given(array: Any) -> Any:
    """Tell whether a tensor was given for an array."""
    return array.ctypes.data != 0


class Kernel:
    """A compiled `function(words)`, and the names of its words."""

    def __init__(self, function: Any, arguments: Arguments, *variant: Any) -> None:
        """Compile, or fetch from the cache; `variant` tells apart functions of one name."""
        self.names = arguments.names
        _name(function, variant)
        signature = sigutils.normalize_signature(types.void(types.CPointer(types.int64)))
        # numpy's division: Python's would branch on a zero divisor, and no loop with a branch vectorises.
        options = {"nopython": True, "error_model": "numpy"}
        compiled: Any = CFunc(function, signature, locals={}, options=options)
        compiled._cache = _KernelCache(function, repr(variant))
        compiled.compile()
        self._compiled = compiled  # owns the machine code
        self.address: int = compiled.address


@cache
def _held(value: float) -> Any:
    return ctypes.c_float(value)


@cache
def float_address(value: float) -> int:
    """Where `value`, rounded to float32, stands in memory for good: how a kernel gets a number."""
    return ctypes.addressof(_held(value))


def _word(value: torch.Tensor | float | None) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return float_address(value)
    return 0 if value is None else value.data_ptr()


def launch(kernel: Kernel, tasks: int, **values: torch.Tensor | float | None) -> None:
    """Run `kernel` over `tasks` tasks, on as many threads as torch is set to use.

    `values` are its `Arguments`: contiguous tensors or None, floats, and integers. Raises TypeError unless
    there is one for each name.
    """
    if values.keys() != set(kernel.names):
        raise TypeError(f"{sorted(values.keys() ^ set(kernel.names))} are missing or unknown")
    job = array("q", (kernel.address, 0, 0, tasks, *[_word(values[name]) for name in kernel.names]))
    if (recording := current()) is not None:
        recording.add(job)
    pool.run(job)
