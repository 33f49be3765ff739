"""What this CPU can do at most: multiply-adds a second in float32 and by its bf16 instruction, bytes read.

The kernels are made to be bound by one thing each: sums that stay in registers, in enough chains that none
waits for another; and one pass over memory larger than the caches. They run on the threads that the library's
kernels run on. Floors of the benchmarks are made of these figures, so each is the best of several.

    python -m benchmarks.machine
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import llvmlite.ir as ir
import torch
import tyro
from numba import types

from kernels.cpu.recording import launch
from kernels.cpu.runtime import F32, I32, I64, Kernel, call, code, splat, tasks
from kernels.cpu.tile import VECTOR, WIDTH

# Chains of a thread: more than the latency of a multiply-add times those that begin in a cycle, and few
# enough for sixteen registers with the two that are multiplied.
CHAINS = 12
STEPS = 50_000
# Larger than any cache; a task reads a chunk.
READ_BYTES, CHUNK = 1 << 28, 1 << 20
# Part of the name of compiled code: the cache on disk knows when a file of `kernels` changes, not this one.
SOURCE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Peaks:
    """What was measured: operations (two a multiply-add) and bytes a second, on all threads together.

    `bf16` is that of the CPU's instruction, None where it has none.
    """

    fp32: float
    bf16: float | None
    bytes: float

    def floors(self) -> dict[str, float]:
        """Operations a second by dtype, and bytes: where there is no instruction, bf16 is fp32 arithmetic."""
        return {"fp32": self.fp32, "bf16": self.bf16 or self.fp32, "bytes": self.bytes}

    def __str__(self) -> str:
        bf16 = "none" if self.bf16 is None else f"{self.bf16 / 1e9:.0f}"
        return (
            f"measured peaks: {self.fp32 / 1e9:.0f} GFLOP/s in fp32, by a bf16 instruction {bf16}, "
            f"{self.bytes / 1e9:.1f} GB/s read"
        )


def has_bf16_instruction() -> bool:
    """Tell whether the CPU that kernels are compiled for has `vdpbf16ps`."""
    from numba.core.registry import cpu_target

    return "+avx512bf16" in cpu_target.target_context.codegen().magic_tuple()[2]


def _multiply_add(b: Any, total: Any, x: Any, y: Any) -> Any:
    """Write total + x * y, for each of a vector's float32 numbers."""
    return call(b, f"llvm.fma.v{WIDTH}f32", x, y, total)


def _multiply_pairs(b: Any, total: Any, x: Any, y: Any) -> Any:
    """Write total + the sum of a pair's products, for each of a vector's pairs of bf16 numbers."""
    kind = ir.FunctionType(total.type, [total.type, x.type, y.type])
    return b.asm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", [total, x, y], side_effect=False)


@cache
def _chains(bf16: bool) -> Any:
    """Compile steps of CHAINS chains, each of one vector."""
    step, factor = (_multiply_pairs, ir.VectorType(I32, WIDTH)) if bf16 else (_multiply_add, VECTOR)

    @code(types.float32(types.float32, types.int64))
    def run(b: Any, x: Any, steps: Any) -> Any:
        # From the argument, so that nothing is known before the loop runs.
        spread = splat(b, x, WIDTH)
        x, y = (b.bitcast(v, factor) for v in (spread, b.fmul(spread, spread)))
        before, loop, after = b.block, b.append_basic_block("steps"), b.append_basic_block("end")
        b.branch(loop)
        b.position_at_end(loop)
        count = b.phi(I64)
        totals = [b.phi(VECTOR) for _ in range(CHAINS)]
        next_totals = [step(b, total, x, y) for total in totals]
        next_count = b.add(count, ir.Constant(I64, 1))
        count.add_incoming(ir.Constant(I64, 0), before)
        count.add_incoming(next_count, loop)
        for total, following in zip(totals, next_totals, strict=True):
            total.add_incoming(ir.Constant(VECTOR, [0.0] * WIDTH), before)
            total.add_incoming(following, loop)
        b.cbranch(b.icmp_signed("<", next_count, steps), loop, after)
        b.position_at_end(after)
        whole = next_totals[0]
        for total in next_totals[1:]:
            whole = b.fadd(whole, total)
        result = b.extract_element(whole, ir.Constant(I32, 0))
        for j in range(1, WIDTH):
            result = b.fadd(result, b.extract_element(whole, ir.Constant(I32, j)))
        assert result.type == F32
        return result

    def kernel(words: Any, a: Any) -> None:
        for i in tasks(words):
            a.out_T[i] = run(a.x_1[0], a.steps)

    if bf16:
        llvm.initialize_native_asmparser()
    return Kernel(kernel, ("machine", bf16, SOURCE), "T steps", out_T=types.float32, x_1=types.float32)


@cache
def _reading() -> Any:
    """Compile a pass over memory."""

    def kernel(words: Any, a: Any) -> None:
        for i in tasks(words):
            # Four streams a thread: one leaves memory idle where prefetching stops at a page's end.
            row, quarter = a.x_TN[i], a.N // 4
            one, two = row[:quarter], row[quarter : 2 * quarter]
            three, four = row[2 * quarter : 3 * quarter], row[3 * quarter :]
            first = second = third = fourth = 0
            for n in range(quarter):
                first ^= one[n]
                second ^= two[n]
                third ^= three[n]
                fourth ^= four[n]
            a.out_T[i] = first ^ second ^ third ^ fourth

    return Kernel(kernel, ("machine", "read", SOURCE), "T N", x_TN=types.int64, out_T=types.int64)


def _rate(amount: float, run: Callable[[], None], rounds: int) -> float:
    """Amount a second, of the fastest of some runs after one that does not count."""
    run()
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return amount / min(seconds)


def multiply_adds(bf16: bool = False, rounds: int = 5) -> float:
    """Measure operations a second of float32 multiply-adds, or of the instruction on pairs of bf16."""
    T = 4 * torch.get_num_threads()
    out_T, x_1 = torch.empty(T), torch.full((1,), 0.5)
    run = partial(launch, _chains(bf16), T, out_T=out_T, x_1=x_1, T=T, steps=STEPS)
    return _rate(2.0 * (2 if bf16 else 1) * WIDTH * CHAINS * STEPS * T, run, rounds)


def read_bandwidth(memory: torch.Tensor | None = None, rounds: int = 5) -> float:
    """Measure bytes a second that are read of a tensor, or of a new one that is larger than the caches."""
    memory = torch.ones(READ_BYTES // 4) if memory is None else memory
    x_TN = memory.view(torch.int64).view(-1, CHUNK // 8)
    T, N = x_TN.shape
    out_T = torch.empty(T, dtype=torch.int64)
    return _rate(x_TN.nbytes, partial(launch, _reading(), T, x_TN=x_TN, out_T=out_T, T=T, N=N), rounds)


def measure(rounds: int = 5) -> Peaks:
    """Measure all three."""
    bf16 = multiply_adds(True, rounds) if has_bf16_instruction() else None
    return Peaks(multiply_adds(False, rounds), bf16, read_bandwidth(rounds=rounds))


def best(found: list[Peaks]) -> Peaks:
    """Take the highest of each figure of several measurements: a floor must bound them all."""
    bf16 = [peaks.bf16 for peaks in found if peaks.bf16 is not None]
    fp32, read = (max(getattr(peaks, name) for peaks in found) for name in ("fp32", "bytes"))
    return Peaks(fp32, max(bf16) if bf16 else None, read)


def main() -> None:
    """Print what is measured, three times over, and how far apart the times are."""
    found = [measure() for _ in range(3)]
    for peaks in found:
        print(peaks)
    for name, value in asdict(best(found)).items():
        if value is not None:
            middle = statistics.median(getattr(peaks, name) for peaks in found)
            print(f"{name}: best {value:.4g}, median {middle:.4g}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
