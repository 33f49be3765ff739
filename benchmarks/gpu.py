"""What the benchmarks of the GPU kernels share: checks first, then times, then a table, JSON and a plot.

A kernel is timed once all its checks are green, and its peers in the same process and in turns with it.
A sample is a burst of calls between two CUDA events, each call on the next of several sets of inputs that
together exceed the L2 cache; the launches of a burst are queued behind a kernel that spins, so the time to
launch is not in it. A time is the median of the bursts.

Where there is no GPU, the same scripts run tiny sizes under Triton's interpreter, to show that they work:
import this module before anything that imports Triton. The times of such a run mean nothing.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import islice
from math import ceil
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks.record import RESULTS, machine, save, screen

SMOKE = not torch.cuda.is_available()
if SMOKE:
    os.environ.setdefault("TRITON_INTERPRET", "1")
DEVICE = torch.device("cpu" if SMOKE else "cuda")

# Dense, as the vendors' data sheets give them: operations a second by kind of product, bytes a second.
PEAKS = {
    "H200": {"bf16": 989e12, "tf32": 494e12, "fp32": 67e12, "bytes": 4.8e12},
    "H100 80GB HBM3": {"bf16": 989e12, "tf32": 494e12, "fp32": 67e12, "bytes": 3.35e12},
    "A100-SXM4-80GB": {"bf16": 312e12, "tf32": 156e12, "fp32": 19.5e12, "bytes": 2.039e12},
}
# A burst is at least so long, and of so many calls at most: the driver's queue holds about a thousand
# launches, and a call may be a dozen.
BURST_SECONDS, BURST_CALLS = 0.004, 48

Call = Callable[[], Any]
# Makes the calls of one contender, one a set of inputs; what it needs for them is not timed.
Maker = Callable[[], Sequence[Call]]


@dataclass(frozen=True)
class Config:
    """Options that the benchmarks of GPU kernels share.

    Attributes:
        rounds: bursts of each contender, in turns.
        seed: of the inputs.
        save: keep the result and its plot.
        folder: where; None is benchmarks/results/, or nowhere in a run without a GPU.
        processes: that run checks, those of a kernel in one of its own; 0 for this one alone.
    """

    rounds: int = 7
    seed: int = 0
    save: bool = True
    folder: Path | None = None
    processes: int = 0 if SMOKE else 8


@dataclass(frozen=True)
class Check:
    """One claim about a kernel, whether it held, and figures for people; `errors` are relative, by name."""

    kernel: str
    name: str
    passed: bool
    detail: str = ""
    errors: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """Seconds of a call: the median, lowest and highest of bursts of `calls` calls."""

    seconds: float
    low: float
    high: float
    bursts: int
    calls: int


@dataclass(frozen=True)
class Verdict:
    """A figure next to the aim that was set for it; nothing depends on whether it is met."""

    name: str
    value: float
    aim: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether the value is on the aim's side."""
        return self.value >= self.aim if self.at_least else self.value <= self.aim

    def __str__(self) -> str:
        if SMOKE:
            return f"{self.name}: not judged"
        sign = ">=" if self.at_least else "<="
        return f"{self.name} {self.value:.3g}: {'met' if self.met else 'MISSED'} ({sign} {self.aim:g})"


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

    `panel` and `x` say where the plot has it.
    """

    panel: str
    x: int
    work: Work
    ours: Timing
    peers: dict[str, Timing | str]
    floor: float | None
    over_floor: float | None
    verdicts: list[Verdict]

    def ratio(self, peer: str) -> float | None:
        """How many times ours is as fast as a peer."""
        found = self.peers.get(peer)
        return found.seconds / self.ours.seconds if isinstance(found, Timing) else None


# Returns what failed (None: nothing did), or a whole `Check`.
Test = Callable[[], Check | str | None]


def exact() -> None:
    """Float32 products in float32, and bf16 products summed in float32, for plain torch and the peers."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


def checked(kernel: str, tests: Sequence[tuple[str, Test]]) -> list[Check]:
    """Run the checks of one kernel."""
    checks = []
    for name, test in tests:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = test()
                synchronize()
            if not isinstance(found, Check):
                found = Check(kernel, name, found is None, found or "")
        except Exception as error:  # a kernel that does not compile or launch is red, not the end
            found = Check(kernel, name, False, reason(error))
        checks.append(found)
        cleared()
    return checks


def noise(*shape: int, dtype: torch.dtype, seed: int, scale: float = 1.0) -> torch.Tensor:
    """Draw normal numbers on the device."""
    generator = torch.Generator(DEVICE).manual_seed(seed)
    return (torch.randn(*shape, generator=generator, device=DEVICE) * scale).to(dtype)


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
    if not SMOKE:
        torch.cuda.synchronize()


def cleared() -> None:
    """Give memory that nothing refers to back to the device."""
    gc.collect()
    if not SMOKE:
        torch.cuda.empty_cache()


def sets_of(nbytes: float) -> int:
    """How many sets of inputs of so many bytes exceed the L2 cache twice over."""
    if SMOKE:
        return 1
    cache_bytes = getattr(torch.cuda.get_device_properties(DEVICE), "L2_cache_size", 0) or 1 << 26
    return max(1, ceil(2 * cache_bytes / nbytes))


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
            call()  # compiles, and fills caches of the allocator and of the libraries' choices
        synchronize()
        self.count, self.queueing = len(calls), 0.0
        if SMOKE:
            self.count = 1
            return
        # Twice: the first burst's launches may find the driver's own caches cold.
        for _ in range(2):
            seconds = self.sample()
        self.count = min(BURST_CALLS, max(1, ceil(BURST_SECONDS / max(seconds, 1e-7))))
        self.sample()

    def _run(self) -> None:
        for _ in range(self.count):
            self.calls[self.at % len(self.calls)]()
            self.at += 1

    def sample(self) -> float:
        """Seconds a call, of one burst."""
        if SMOKE:
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
    for _ in range(1 if SMOKE else rounds):
        for name in [name for name in ready if name not in failed]:
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


def copy_bandwidth(rounds: int) -> float:
    """Bytes a second, read and written, of a device copy much larger than the L2 cache."""
    source = noise(1 << (12 if SMOKE else 28), dtype=torch.float32, seed=0)
    target = torch.empty_like(source)
    found = race({"copy": lambda: [lambda: target.copy_(source)]}, rounds)["copy"]
    if isinstance(found, str):
        raise RuntimeError(found)
    return 2 * source.nbytes / found.seconds


def peaks() -> dict[str, float]:
    """Return the device's entry of PEAKS, empty if it has none."""
    name = "" if SMOKE else torch.cuda.get_device_name(DEVICE)
    return next((found for key, found in PEAKS.items() if key in name), {})


class KernelReport:
    """Collects checks and rows of one benchmark, prints them as they come, and ends the run.

    `rate` is "TFLOP/s" or "TB/s": what table and plot show besides times; `size` says what a row's x is.
    """

    def __init__(self, benchmark: str, config: Config, rate: str, size: str) -> None:
        self.benchmark, self.config, self.rate, self.size = benchmark, config, rate, size
        self.console = screen(170)
        self.checks: list[Check] = []
        self.rows: list[Row] = []
        self.failures: list[str] = []
        self.summary: list[Verdict] = []
        self.figures: dict[str, float] = {}
        self.notes: list[str] = []
        self.begin = time.perf_counter()
        exact()
        if SMOKE:
            self.say("no GPU: tiny sizes under Triton's interpreter; the times mean NOTHING")

    def say(self, text: str) -> None:
        """Print a line, as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Something that a reader of the figures must know, said once."""
        if text not in self.notes:
            self.notes.append(text)
            self.say(f"note: {text}")

    def check(self, kernels: Mapping[str, Sequence[tuple[str, Test]]]) -> None:
        """Run the named checks of each kernel, those of one kernel in a process of its own.

        So kernels are compiled side by side, and one that breaks the device's context spoils only its own.
        """
        if not self.config.processes:
            for kernel, tests in kernels.items():
                self._add(checked(kernel, tests))
            return
        with ProcessPoolExecutor(
            self.config.processes, get_context("spawn"), initializer=exact, max_tasks_per_child=1
        ) as pool:
            futures = {kernel: pool.submit(checked, kernel, tests) for kernel, tests in kernels.items()}
            for kernel, future in futures.items():
                try:
                    self._add(future.result())
                except Exception as error:  # the process died
                    self._add([Check(kernel, "a process for its checks", False, reason(error))])

    def _add(self, checks: Sequence[Check]) -> None:
        for check in checks:
            self.checks.append(check)
            text = f"{'ok ' if check.passed else 'RED'} {check.kernel}: {check.name}"
            self.say(text + (f": {check.detail}" if check.detail else ""))

    def green(self, kernel: str) -> bool:
        """Whether a kernel was checked and every check held."""
        mine = [check.passed for check in self.checks if check.kernel == kernel]
        return bool(mine) and all(mine)

    @contextmanager
    def going_on(self, what: str) -> Iterator[None]:
        """Where something fails, a lost device say, the report still comes, with the failure in it."""
        try:
            yield
        except Exception as error:
            self.failures.append(f"{what}: {reason(error)}")
            self.say(f"FAILED {self.failures[-1]}")

    def skip(self, kernel: str, case: str) -> None:
        """Say that a kernel is not timed, and why."""
        red = [check.name for check in self.checks if check.kernel == kernel and not check.passed]
        self.say(f"skipped {case}: {kernel} is red ({', '.join(red) or 'not checked'})")

    def time(
        self,
        kernel: str,
        panel: str,
        x: int,
        work: Work,
        contenders: Mapping[str, Maker],
        aims: Mapping[str, float] | None = None,
        verdicts: Callable[[Timing], list[Verdict]] | None = None,
    ) -> Row | None:
        """Time "ours" and its peers, if the kernel's checks are green.

        `aims` are the least ratios to peers, `verdicts` makes others of our time.
        """
        case = f"{panel}, {x}"
        if not self.green(kernel):
            self.skip(kernel, case)
            return None
        found = race(contenders, self.config.rounds)
        ours = found.pop("ours")
        for name, timing in found.items():
            if isinstance(timing, str):
                self.note(f"no time of {name} ({kernel}): {timing}")
        if isinstance(ours, str):
            self.failures.append(f"{case}: {ours}")
            self.say(f"FAILED {case}: {ours}")
            return None
        floor = work.floor(peaks())
        judged = []
        for peer, aim in (aims or {}).items():
            timing = found.get(peer, "")
            if isinstance(timing, Timing):
                judged.append(Verdict(f"x {peer}", timing.seconds / ours.seconds, aim))
        judged += verdicts(ours) if verdicts else []
        over = None if floor is None else ours.seconds / floor
        row = Row(panel, x, work, ours, found, floor, over, judged)
        self.rows.append(row)
        self.say(f"timed {case}: {ours.seconds * 1e3:.4g} ms" + "".join(f"; {v}" for v in judged))
        return row

    def _rate(self, row: Row, seconds: float) -> float:
        amount = row.work.bytes if self.rate == "TB/s" else row.work.operations
        return amount / seconds / 1e12

    def _table(self) -> Table:
        title = (
            f"{self.benchmark}: medians of {self.config.rounds} bursts; a peer's time, and ours in its terms"
        )
        if SMOKE:
            title = f"{self.benchmark}: NOT a measurement (Triton's interpreter)"
        table = Table(title=title)
        names = list(dict.fromkeys(name for row in self.rows for name in row.peers))
        table.add_column("case")
        for name in ("ours, ms", self.rate, "floor, ms", "over floor", *names):
            table.add_column(name, justify="right")
        table.add_column("aims")
        for row in self.rows:
            cells = []
            for name in names:
                timing, ratio = row.peers.get(name), row.ratio(name)
                cells.append(
                    f"{timing.seconds * 1e3:.4g}\n{ratio:.2f}x" if isinstance(timing, Timing) else "-"
                )
            ours = row.ours
            table.add_row(
                f"{row.panel}, {row.x}",
                f"{ours.seconds * 1e3:.4g}\n{ours.low * 1e3:.4g} to {ours.high * 1e3:.4g}",
                f"{self._rate(row, ours.seconds):.3g}",
                "-" if row.floor is None else f"{row.floor * 1e3:.4g}",
                "-" if row.over_floor is None else f"{row.over_floor:.2f}x",
                *cells,
                "\n".join(map(str, row.verdicts)),
            )
        return table

    def _plot(self, path: Path) -> None:
        """Draw a panel a group of cases: rate over size, ours, the peers and the floor."""
        os.environ.setdefault("MPLBACKEND", "Agg")
        import matplotlib.pyplot as plt

        panels: dict[str, list[Row]] = {}
        for row in self.rows:
            panels.setdefault(row.panel, []).append(row)
        names = list(dict.fromkeys(name for row in self.rows for name in row.peers))
        colours = {name: f"C{i + 1}" for i, name in enumerate(names)}
        columns = min(len(panels), 5 if len(panels) > 9 else 4)
        heights = -(-len(panels) // columns)
        figure, axes = plt.subplots(
            heights,
            columns,
            figsize=(4.2 * columns, 3.4 * heights + 0.9),
            squeeze=False,
            layout="constrained",
        )
        for axis in axes.flat[len(panels) :]:
            axis.axis("off")
        for axis, (panel, rows) in zip(axes.flat, panels.items(), strict=False):
            for name in ("ours", *names):
                points = []
                for row in rows:
                    timing = row.ours if name == "ours" else row.peers.get(name)
                    if isinstance(timing, Timing):
                        points.append((row.x, self._rate(row, timing.seconds)))
                if points:
                    style = {"color": "black", "linewidth": 2.2, "zorder": 3} if name == "ours" else {}
                    axis.plot(
                        *zip(*points, strict=True), marker="o", markersize=4, label=name,
                        **(style or {"color": colours[name]}),
                    )  # fmt: skip
            floors = [(row.x, self._rate(row, row.floor)) for row in rows if row.floor]
            if floors:
                axis.plot(*zip(*floors, strict=True), color="grey", linestyle="--", marker="_", label="floor")
            sizes = sorted({row.x for row in rows})
            axis.set_xscale("log", base=2)
            axis.set_xticks(sizes, [str(x) for x in sizes], rotation=45 if len(sizes) > 6 else 0)
            axis.minorticks_off()
            if self.benchmark == "matmul":  # from one row to thousands
                axis.set_yscale("log")
            else:
                axis.set_ylim(bottom=0)
            axis.set_title(panel, fontsize=10)
            axis.set_xlabel(self.size)
            axis.set_ylabel(self.rate)
            axis.grid(alpha=0.3)
        entries: dict[str, Any] = {}
        for axis in axes.flat:
            handles, labels = axis.get_legend_handles_labels()
            entries |= {label: handle for handle, label in zip(handles, labels, strict=True)}
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside lower center",
            ncols=len(entries),
            frameon=False,
        )
        found = machine()
        text = f"{self.benchmark} on {found['device']}, torch {found['torch']}, Triton {found.get('triton')}"
        figure.suptitle(f"{text}, {found['date']}" + (" (NOT a measurement)" if SMOKE else ""))
        figure.savefig(path, dpi=110)
        plt.close(figure)

    def _save(self, record: dict[str, Any]) -> None:
        """<benchmark>-<date>-<device>.json and .png, never over earlier ones."""
        path = save(record, self.config.folder or RESULTS)
        self.say(f"saved to {path}")
        if self.rows:
            try:
                self._plot(path.with_suffix(".png"))
                self.say(f"plot in {path.with_suffix('.png')}")
            except Exception as error:  # the figures are safe by now
                self.say(f"no plot: {reason(error)}")

    def finish(self) -> int:
        """Table, verdicts, files and the JSON line; returns the exit status."""
        found = machine()
        red = [f"{check.kernel}: {check.name}" for check in self.checks if not check.passed]
        record = {
            "benchmark": self.benchmark,
            "smoke": SMOKE,
            "machine": found,
            "config": asdict(self.config),
            "peaks": peaks(),
            "figures": self.figures,
            "checks": [asdict(check) for check in self.checks],
            "red": red,
            "failures": self.failures,
            "notes": self.notes,
            "rows": [
                {
                    **asdict(row),
                    "ratios": {peer: row.ratio(peer) for peer in row.peers},
                    "verdicts": [{**asdict(v), "met": v.met} for v in row.verdicts],
                }
                for row in self.rows
            ],
            "summary": [{**asdict(v), "met": v.met} for v in self.summary],
            "seconds": time.perf_counter() - self.begin,
        }
        self.console.print(self._table())
        for text in self.notes:
            self.say(f"note: {text}")
        if not peaks():
            self.say("no floors: the peak figures of this device are not in benchmarks/gpu.py")
        for verdict in self.summary:
            self.say(str(verdict))
        judged = [v for row in self.rows for v in row.verdicts] + self.summary
        if not SMOKE:
            self.say(
                f"{sum(v.met for v in judged)} of {len(judged)} aims met; {record['seconds']:.0f} s in all"
            )
        for name in red:
            self.say(f"RED {name}")
        for text in self.failures:
            self.say(f"FAILED {text}")
        self.say(", ".join(f"{key} {value}" for key, value in found.items()))
        if self.config.save and (not SMOKE or self.config.folder is not None):
            self._save(record)
        if SMOKE:
            self.say("no GPU: the times above mean NOTHING")
        print(json.dumps(record, default=str), flush=True)
        return 1 if red or self.failures or not self.checks else 0


def different(name: str, found: torch.Tensor, expected: torch.Tensor) -> str | None:
    """None if two tensors have the same bits, else how many rows, the first of them, and how far apart."""
    if torch.equal(found, expected):
        return None
    if found.shape != expected.shape:
        return f"{name}: shape {tuple(found.shape)}, not {tuple(expected.shape)}"
    rows = (found != expected).flatten(1).any(1).nonzero().flatten().tolist()
    gap = (found.double() - expected.double()).abs().max().item()
    first = ", ".join(map(str, islice(rows, 3)))
    return f"{name}: {len(rows)} of {found.shape[0]} rows differ (first {first}), by {gap:.1e} at most"


def first_of(*found: str | None) -> str | None:
    """Return the first that is not None."""
    return next((text for text in found if text is not None), None)
