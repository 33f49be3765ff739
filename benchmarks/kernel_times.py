"""Times of kernels on this machine, a GPU or its CPU: contenders in turns, and medians of bursts.

A burst is a number of calls, each on the next of several sets of inputs that together exceed the cache that
all cores share. On a GPU it lies between two CUDA events, and its launches are queued behind a kernel that
spins, so the time to launch is not in it.

Import this module before anything that imports Triton: without a GPU its kernels run in its interpreter,
which says whether they are right, and nothing about time.
"""

from __future__ import annotations

import gc
import os
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from benchmarks.record import Verdict

ON_GPU = torch.cuda.is_available()
if not ON_GPU:
    os.environ.setdefault("TRITON_INTERPRET", "1")
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
TRITON = find_spec("triton") is not None  # not on every system

# Dense, as the vendors' data sheets give them: operations a second by kind of product, bytes a second.
PEAKS = {
    "H200": {"bf16": 989e12, "tf32": 494e12, "fp32": 67e12, "bytes": 4.8e12},
    "H100 80GB HBM3": {"bf16": 989e12, "tf32": 494e12, "fp32": 67e12, "bytes": 3.35e12},
    "A100-SXM4-80GB": {"bf16": 312e12, "tf32": 156e12, "fp32": 19.5e12, "bytes": 2.039e12},
}
# A burst is at least so long, and of so many calls at most: the driver's queue holds about a thousand
# launches, and a call may be a dozen.
BURST_SECONDS, BURST_CALLS = 0.004, 48
# Past these seconds a contender has no further burst.
MOST_SECONDS = 1.5
MOST_SETS = 64
DRAWN = 1 << 24
# Of a CPU that does not tell the size of its last cache.
CACHE_BYTES = 1 << 25

Call = Callable[[], Any]
# Makes the calls of one contender, one a set of inputs; what it needs for them is not timed.
Maker = Callable[[], Sequence[Call]]


@dataclass(frozen=True)
class Timing:
    """Seconds of a call: the median, lowest and highest of bursts of `calls` calls."""

    seconds: float
    low: float
    high: float
    bursts: int
    calls: int


@dataclass(frozen=True)
class Work:
    """What a call has to do: operations, of a kind of PEAKS or three products of tf32, and bytes to move."""

    operations: float
    bytes: float
    kind: str

    def floor(self, peaks: Mapping[str, float]) -> float | None:
        """Seconds below which no kernel of this arithmetic gets; None on a device of unknown peaks."""
        if not peaks:
            return None
        rate = peaks["tf32"] / 3 if self.kind == "tf32x3" else peaks[self.kind]
        return max(self.operations / rate, self.bytes / peaks["bytes"])


@dataclass(frozen=True)
class Row:
    """One case: `ours`, the peers (or why one has no time), the floor, and what was aimed at.

    `panel`, `line` and `x` say where the plot has it.
    """

    panel: str
    line: str
    x: int
    work: Work
    ours: Timing
    peers: dict[str, Timing | str]
    floor: float | None
    verdicts: list[Verdict]

    @property
    def over_floor(self) -> float | None:
        """Our time over the floor."""
        return None if self.floor is None else self.ours.seconds / self.floor

    def ratio(self, peer: str) -> float | None:
        """How many times ours is as fast as a peer."""
        found = self.peers.get(peer)
        return found.seconds / self.ours.seconds if isinstance(found, Timing) else None


def exact() -> None:
    """Float32 products in float32, and bf16 products summed in float32, for plain torch and the peers."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


def noise(*shape: int, dtype: torch.dtype, seed: int, scale: float = 1.0) -> torch.Tensor:
    """Draw normal numbers on the device; past DRAWN of them a CPU, which takes its time, has them again."""
    generator, count = torch.Generator(DEVICE).manual_seed(seed), torch.Size(shape).numel()
    drawn = count if ON_GPU else min(count, DRAWN)
    found = (torch.randn(drawn, generator=generator, device=DEVICE) * scale).to(dtype)
    return found.repeat(-(-count // max(1, drawn)))[:count].view(shape)


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Norm of the difference over the norm of the exact values, in float64."""
    exact = exact.double()
    return ((found.double() - exact).norm() / exact.norm()).item()


def reason(error: BaseException, warned: Sequence[warnings.WarningMessage] = ()) -> str:
    """One line of what went wrong; SDPA says in warnings why a backend did not run."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
    said = [str(w.message).splitlines()[0] for w in warned if "because" in str(w.message)]
    said = [line.split(" (Triggered internally")[0] for line in said]
    return " | ".join([text[:200], *(line[:200] for line in said[:2])])


def synchronize() -> None:
    """Wait for the device."""
    if ON_GPU:
        torch.cuda.synchronize()


def cleared() -> None:
    """Give memory that nothing refers to back to the device."""
    gc.collect()
    if ON_GPU:
        torch.cuda.empty_cache()


def sets_of(nbytes: float) -> int:
    """How many sets of inputs of so many bytes exceed the last cache twice over; not for sizes of tests."""
    return min(MOST_SETS, max(1, ceil(2 * cache_bytes() / nbytes)))


def cache_bytes() -> int:
    """Find the size of a GPU's L2, or of the cache that all of a CPU's cores share."""
    if ON_GPU:
        return getattr(torch.cuda.get_device_properties(DEVICE), "L2_cache_size", 0) or 1 << 26
    path = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    return int(path.read_text().strip().removesuffix("K")) * 1024 if path.is_file() else CACHE_BYTES


@cache
def _spins_per_second() -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(1_000_000)
    begin.record()
    torch.cuda._sleep(20_000_000)
    end.record()
    end.synchronize()
    return 20_000_000 / (begin.elapsed_time(end) / 1000)


class Bursts:
    """Calls of one contender in rotation, so many a burst that its length can be measured well."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls, self.at = calls, 0
        for call in calls:
            begin = time.perf_counter()
            call()  # compiles, and fills caches of the allocator and of the libraries' choices
            seconds = time.perf_counter() - begin
        synchronize()
        self.count, self.queueing = len(calls), 0.0
        # On a GPU twice: the first burst's launches may find the driver's own caches cold.
        for _ in range(2 if ON_GPU else 0):
            seconds = self.sample()
        self.count = min(BURST_CALLS, max(1, ceil(BURST_SECONDS / max(seconds, 1e-7))))
        if ON_GPU:
            self.sample()

    def _run(self) -> None:
        for _ in range(self.count):
            self.calls[self.at % len(self.calls)]()
            self.at += 1

    def sample(self) -> float:
        """Seconds a call, of one burst."""
        if not ON_GPU:
            start = time.perf_counter()
            self._run()
            return (time.perf_counter() - start) / self.count
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(int((self.queueing * 1.3 + 2e-4) * _spins_per_second()))
        begin.record()
        start = time.perf_counter()
        self._run()
        queueing = time.perf_counter() - start
        end.record()
        end.synchronize()
        # A burst that fills the driver's queue waits for the device; no spinning would help that.
        self.queueing = min(queueing, 0.02)
        return begin.elapsed_time(end) / 1000 / self.count


def race(contenders: Mapping[str, Maker], rounds: int) -> dict[str, Timing | str]:
    """Return the time of each contender, measured in turns; of one that fails, the reason."""
    ready: dict[str, Bursts] = {}
    failed: dict[str, str] = {}
    for name, make in contenders.items():
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                ready[name] = Bursts(make())
            except Exception as error:  # a peer may fail in any way of its own
                failed[name] = reason(error, warned)
        if name in failed:
            cleared()
    samples: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(rounds):
        for name in [name for name in ready if name not in failed]:
            if sum(samples[name]) * ready[name].count > MOST_SECONDS:
                continue
            try:
                samples[name].append(ready[name].sample())
            except Exception as error:  # as above
                failed[name] = reason(error)
    found: dict[str, Timing | str] = {}
    for name in contenders:
        if name in failed:
            found[name] = failed[name]
            continue
        seconds = samples[name]
        found[name] = Timing(
            statistics.median(seconds), min(seconds), max(seconds), len(seconds), ready[name].count
        )
    ready.clear()
    cleared()
    return found


def bandwidth(rounds: int) -> float:
    """Bytes a second of a device copy, read and written, that exceeds the cache; of a CPU, those it reads."""
    if not ON_GPU:
        return peaks()["bytes"]
    source = noise(1 << 28, dtype=torch.float32, seed=0)
    target = torch.empty_like(source)
    found = race({"copy": lambda: [lambda: target.copy_(source)]}, rounds)["copy"]
    if isinstance(found, str):
        raise RuntimeError(found)
    return 2 * source.nbytes / found.seconds


_measured: list[machine.Peaks] = []


def measure_peaks() -> None:
    """Measure what this CPU does, once more: the best that was seen counts."""
    if not ON_GPU:
        _measured.append(machine.measure())


def peaks() -> dict[str, float]:
    """Return the GPU's entry of PEAKS, empty if it has none, or what this CPU was measured to do."""
    if not ON_GPU:
        if not _measured:
            measure_peaks()
        return machine.best(_measured).floors()
    name = torch.cuda.get_device_name(DEVICE)
    return next((found for key, found in PEAKS.items() if key in name), {})


def kernels(interpreted: bool = False) -> Any:
    """Return the `kernels.backend.Kernels` of this machine, or the Triton kernels, which run anywhere."""
    if ON_GPU or interpreted:
        from kernels.gpu import ops as gpu_ops  # Triton is not everywhere

        return gpu_ops
    from kernels.cpu import ops as cpu_ops

    return cpu_ops
