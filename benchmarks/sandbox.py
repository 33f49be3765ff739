"""How many programs a second does the sandbox run, one after the other, next to a fresh sandbox for each?

Three kinds of short programs, each with two grids: right ones, wrong ones (an error, or no grid), and endless
ones, which the limit of 0.5 s ends. `fresh` is `run_solve` for each, as many at a time as `served`, which is
`run_many`, has workers. The sides take turns, and must have the same results. With `--checkout` another
checkout's `run_many`, in a process of its own, is a third side.

    python -m benchmarks.sandbox
    python -m benchmarks.sandbox --checkout ../before --no-save
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from arc.sandbox import Limits, RunResult, run_many, run_solve
from arc.tasks import Grid
from benchmarks import record

GRIDS = [[[1, 2, 3], [4, 5, 6]], [[0] * 10] * 10]
# Numbered, so that no two are equal: equal ones run once.
RIGHT = (
    "def solve(grid):  # {}\n    return [row[::-1] for row in grid]\n",
    "def solve(grid):  # {}\n    return [list(column) for column in zip(*grid)]\n",
    "from collections import Counter\n\n\ndef solve(grid):  # {}\n"
    "    (color, _), = Counter(cell for row in grid for cell in row).most_common(1)\n"
    "    return [[color if cell == 0 else cell for cell in row] for row in grid]\n",
)
WRONG = (
    "def solve(grid):  # {}\n    return grid[len(grid)]\n",
    "def solve(grid):  # {}\n    return grid[0]\n",
    "def solve(grid:  # {}\n    return grid\n",
)
ENDLESS = ("def solve(grid):  # {}\n    while True:\n        pass\n",)
Jobs = Sequence[tuple[str, Sequence[Grid]]]


@dataclass(frozen=True)
class Config:
    """Options of the benchmark.

    Attributes:
        batch: right programs in a batch, and wrong ones.
        endless: endless programs in a batch.
        workers: programs at a time.
        rounds: rounds of all sides, in turns, after one that is not counted.
        checkout: another checkout of the project, for a third side.
        save: keep the result in benchmarks/results/.
        only: run a batch of this kind in this process and print its figures (the benchmark's own use).
    """

    batch: int = 100
    endless: int = 12
    workers: int = 2
    rounds: int = 5
    checkout: Path | None = None
    save: bool = True
    only: str | None = None


def jobs(kind: str, config: Config) -> Jobs:
    """Make the programs of a kind, no two alike."""
    sources = {"right": RIGHT, "wrong": WRONG, "endless": ENDLESS}[kind]
    count = config.endless if kind == "endless" else config.batch
    return [(sources[i % len(sources)].format(i), GRIDS) for i in range(count)]


def served(jobs: Jobs, limits: Limits, workers: int) -> list[RunResult]:
    """Run all in one call."""
    return run_many(jobs, limits, workers)


def fresh(jobs: Jobs, limits: Limits, workers: int) -> list[RunResult]:
    """Run each by a call of its own."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda job: run_solve(*job, limits), jobs))


def measure(
    run: Callable[[Jobs, Limits, int], list[RunResult]], kind: str, config: Config
) -> tuple[dict[str, float], list[RunResult]]:
    """Return programs a second and CPU milliseconds a program, of all processes; and the results."""
    batch, limits = jobs(kind, config), Limits(seconds=0.5 if kind == "endless" else 10.0)
    begin, before = time.perf_counter(), cpu_seconds()
    results = run(batch, limits, config.workers)
    seconds, cpu = time.perf_counter() - begin, cpu_seconds() - before
    return {"per_second": len(batch) / seconds, "cpu_ms": 1000 * cpu / len(batch)}, results


def cpu_seconds() -> float:
    """Read the CPU time of this process and of those it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def elsewhere(kind: str, config: Config) -> dict[str, float]:
    """Measure `served` with the package `arc` of another checkout."""
    assert config.checkout is not None
    here = Path(__file__).resolve().parents[1]
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; del sys.argv[1:3]; import arc.sandbox; "
        "from benchmarks import record, sandbox; sys.exit(record.main(sandbox.run, sandbox.Config, None))"
    )
    sizes = ("--batch", str(config.batch), "--endless", str(config.endless), "--workers", str(config.workers))
    command = [sys.executable, "-P", "-c", code, str(config.checkout), str(here), "--only", kind, *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", env={**os.environ})
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(config: Config, console: Console) -> int:
    """Measure, print and save; returns the exit status."""
    # The first run of a process also tries whether the sandbox works.
    run_solve(RIGHT[0], GRIDS)
    if config.only is not None:
        print(json.dumps(measure(served, config.only, config)[0]))
        return 0
    rows: list[dict[str, object]] = []
    for kind in ("right", "wrong", "endless"):
        sides = {"fresh": partial(measure, fresh), "served": partial(measure, served)}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        if config.checkout is not None:
            found["checkout"] = []
        for _ in range(config.rounds + 1):
            results = []
            for name, side in sides.items():
                figures, result = side(kind, config)
                found[name].append(figures)
                results.append(result)
            if results[0] != results[1]:
                console.print(f"error: fresh and served differ on {kind} programs")
                return 1
            if config.checkout is not None:
                found["checkout"].append(elsewhere(kind, config))
        row: dict[str, object] = {"programs": kind}
        for name, runs in found.items():
            for figure in ("per_second", "cpu_ms"):
                row[f"{name}_{figure}"] = statistics.median(run[figure] for run in runs[1:])
        for name in found:
            ratios = [
                a["per_second"] / b["per_second"] for a, b in zip(found["served"], found[name], strict=True)
            ]
            row[f"over_{name}"] = statistics.median(ratios[1:])
        rows.append(row)
    sides_of = [name for name in ("fresh", "checkout", "served") if f"{name}_per_second" in rows[0]]
    columns = ["programs", *(f"{name} /s" for name in sides_of), *(f"{name} CPU ms" for name in sides_of)]
    columns += [f"served over {name}" for name in sides_of[:-1]]
    lines = []
    for row in rows:
        figures = [f"{row[f'{name}_per_second']:.1f}" for name in sides_of]
        figures += [f"{row[f'{name}_cpu_ms']:.1f}" for name in sides_of]
        lines.append(
            [str(row["programs"]), *figures, *(f"{row[f'over_{name}']:.1f}x" for name in sides_of[:-1])]
        )
    title = f"{config.workers} at a time, batches of {config.batch} ({config.endless} endless)"
    console.print(record.table(title, columns, lines))
    record.finish(console, "sandbox", config, rows=rows)
    return 0


if __name__ == "__main__":
    sys.exit(record.main(run, Config, __doc__))
