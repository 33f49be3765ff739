"""What the benchmarks of kernels share: checks first, then times, then a table, JSON and a plot.

They are about the kernels of this machine: a GPU's, or else the CPU's. A kernel is timed once all its checks
are green, and its peers in the same process and in turns with it (`benchmarks.kernel_times`). Without a GPU
the Triton kernels are checked too, at tiny sizes in Triton's interpreter, and not timed.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from benchmarks import kernel_plot, kernel_times
from benchmarks.kernel_times import (
    ON_GPU,
    TRITON,
    Maker,
    Row,
    Timing,
    Work,
    cleared,
    exact,
    race,
    reason,
    synchronize,
)
from benchmarks.record import RESULTS, Verdict, machine, save, screen
from benchmarks.shapes import MODELS, TINY, Shape


@dataclass(frozen=True)
class Config:
    """Options that the benchmarks of kernels share.

    Attributes:
        models: whose sizes are taken, of `benchmarks.shapes`, or "tiny".
        rounds: bursts of each contender, in turns.
        seed: of the inputs.
        save: keep the result and its plot.
        folder: where; None is benchmarks/results/.
        processes: that run checks, those of a kernel in one of its own; 0 for this one alone.
    """

    models: tuple[str, ...] = tuple(MODELS)
    rounds: int = 7 if ON_GPU else 3
    seed: int = 0
    save: bool = True
    folder: Path | None = None
    processes: int = 8 if ON_GPU else 0

    def shapes(self) -> dict[str, Shape]:
        """Look the models up; exits where there is none of a name."""
        known = MODELS | TINY
        for name in self.models:
            if name not in known:
                sys.exit(f"error: unknown model {name}; there are {', '.join(known)}")
        return {name: known[name] for name in self.models}


@dataclass(frozen=True)
class Check:
    """One claim about a kernel, whether it held, and figures for people; `errors` are relative, by name."""

    kernel: str
    name: str
    passed: bool
    detail: str = ""
    errors: dict[str, dict[str, float]] = field(default_factory=dict)


# Returns what failed (None: nothing did), or a whole `Check`.
Test = Callable[[], Check | str | None]


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


class KernelReport:
    """Collects checks and rows of one benchmark, prints them as they come, and ends the run.

    Table and plot show operations a second besides times, or bytes where `moves`; `size` says what a row's
    x is.
    """

    def __init__(self, benchmark: str, config: Config, size: str, moves: bool = False) -> None:
        self.benchmark, self.config, self.moves, self.size = benchmark, config, moves, size
        self.unit, what = (1e12, "T") if ON_GPU else (1e9, "G")
        self.rate = f"{what}B/s" if moves else f"{what}FLOP/s"
        self.console = screen(170)
        self.checks: list[Check] = []
        self.rows: list[Row] = []
        self.failures: list[str] = []
        self.summary: list[Verdict] = []
        self.figures: dict[str, float] = {}
        self.notes: list[str] = []
        self.begin = time.perf_counter()
        exact()
        if not ON_GPU:
            self.say("no GPU: the CPU's kernels, which are checked and timed")
            peaks = ", ".join(f"{name} {value / 1e9:.4g}" for name, value in kernel_times.peaks().items())
            self.say(f"measured peaks, GFLOP/s and GB/s: {peaks}")

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

    def check_interpreted(self, kernels: Mapping[str, Sequence[tuple[str, Test]]]) -> None:
        """Without a GPU, run checks of Triton kernels at tiny sizes, in the interpreter."""
        if ON_GPU:
            return
        if not TRITON:
            self.note("Triton is not installed: its kernels are not checked")
        for kernel, tests in kernels.items():
            self._add(checked(kernel, tests))

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
        place: tuple[str, str, int],
        work: Work,
        contenders: Mapping[str, Maker],
        aims: Mapping[str, float] | None = None,
        verdicts: Callable[[Timing], list[Verdict]] | None = None,
    ) -> Row | None:
        """Time "ours" and its peers, if the kernel's checks are green.

        `place` is (panel, line, x) in the plot, `aims` are the least ratios to peers, `verdicts` makes others
        of our time.
        """
        case = named(*place)
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
        floor = work.floor(kernel_times.peaks())
        judged = []
        for peer, aim in (aims or {}).items():
            timing = found.get(peer, "")
            if isinstance(timing, Timing):
                judged.append(Verdict(f"x {peer}", timing.seconds / ours.seconds, aim))
        judged += verdicts(ours) if verdicts else []
        row = Row(*place, work, ours, found, floor, judged)
        self.rows.append(row)
        ratios = [f"{name} {ratio:.2f}x" for name in found if (ratio := row.ratio(name)) is not None]
        said = [f"{ours.seconds * 1e3:.4g} ms", *ratios, *map(str, judged)]
        self.say(f"timed {case}: {'; '.join(said)}")
        return row

    def summarise(self, peer: str, mean_aim: float, least_aim: float) -> None:
        """Add geometric mean and lowest of the ratios to a peer, for each kind of work and each line."""
        for kind, line in dict.fromkeys((row.work.kind, row.line) for row in self.rows):
            found = {
                named(row.panel, row.line, row.x): ratio
                for row in self.rows
                if (row.work.kind, row.line) == (kind, line) and (ratio := row.ratio(peer)) is not None
            }
            if found:
                lowest, label = min(found, key=lambda case: found[case]), f"{kind} {line}".strip()
                mean = statistics.geometric_mean(found.values())
                self.summary.append(Verdict(f"{label}, x {peer}, geometric mean", mean, mean_aim))
                self.summary.append(
                    Verdict(f"{label}, x {peer}, lowest ({lowest})", found[lowest], least_aim)
                )

    def _rate(self, row: Row, seconds: float) -> float:
        return (row.work.bytes if self.moves else row.work.operations) / seconds / self.unit

    def _table(self) -> Table:
        title = (
            f"{self.benchmark}: medians of {self.config.rounds} bursts; a peer's time, and ours in its terms"
        )
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
                named(row.panel, row.line, row.x),
                f"{ours.seconds * 1e3:.4g}\n{ours.low * 1e3:.4g} to {ours.high * 1e3:.4g}",
                f"{self._rate(row, ours.seconds):.3g}",
                "-" if row.floor is None else f"{row.floor * 1e3:.4g}",
                "-" if row.over_floor is None else f"{row.over_floor:.2f}x",
                *cells,
                "\n".join(map(str, row.verdicts)),
            )
        return table

    def _plot(self, path: Path) -> None:
        found = machine()
        title = f"{self.benchmark} on {found['device']}, torch {found['torch']}"
        if ON_GPU:
            title += f", Triton {found.get('triton')}"
        # From one row to thousands, a product's rates are of many sizes.
        labels, log = (self.size, self.rate), self.benchmark == "matmul"
        kernel_plot.draw(path, self.rows, self._rate, labels, f"{title}, {found['date']}", log)

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
        # Beside other work a first measurement is low, and a floor too high.
        kernel_times.measure_peaks()
        self.rows = [replace(row, floor=row.work.floor(kernel_times.peaks())) for row in self.rows]
        found = machine()
        red = [f"{check.kernel}: {check.name}" for check in self.checks if not check.passed]
        record = {
            "benchmark": self.benchmark,
            "machine": found,
            "config": asdict(self.config),
            "peaks": kernel_times.peaks(),
            "figures": self.figures,
            "checks": [asdict(check) for check in self.checks],
            "red": red,
            "failures": self.failures,
            "notes": self.notes,
            "rows": [
                {
                    **asdict(row),
                    "over_floor": row.over_floor,
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
        if not kernel_times.peaks():
            self.say("no floors: the peak figures of this device are not in benchmarks/kernel_times.py")
        for verdict in self.summary:
            self.say(str(verdict))
        judged = [v for row in self.rows for v in row.verdicts] + self.summary
        self.say(f"{sum(v.met for v in judged)} of {len(judged)} aims met; {record['seconds']:.0f} s in all")
        for name in red:
            self.say(f"RED {name}")
        for text in self.failures:
            self.say(f"FAILED {text}")
        self.say(", ".join(f"{key} {value}" for key, value in found.items()))
        if self.config.save:
            self._save(record)
        print(json.dumps(record, default=str), flush=True)
        return 1 if red or self.failures or not self.checks else 0


def named(panel: str, line: str, x: int) -> str:
    """Write where a case stands: "SmolLM2-135M qkv fp32 forward, 64"."""
    return f"{panel} {line}".strip() + f", {x}"


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
