"""What all benchmarks share: the command line, the machine, a table, the saved record and the last line."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch
import tyro
from rich.console import Console
from rich.table import Table

C = TypeVar("C")
RESULTS = Path(__file__).parent / "results"
VERSIONS = ("numba", "transformers", "triton", "pytorch-triton-rocm")


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
        sign = ">=" if self.at_least else "<="
        return f"{self.name} {self.value:.3g}: {'met' if self.met else 'MISSED'} ({sign} {self.aim:g})"


def main(run: Callable[[C, Console], int], options: type[C], description: str | None) -> int:
    """Read the options from the command line and run; returns the exit status, 1 after an error."""
    # On use: `benchmarks.kernel_times`, which imports this, comes before all that imports Triton.
    from minillm import MinillmError

    config = tyro.cli(options, description=description)
    try:
        return run(config, screen())
    except (MinillmError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def screen(width: int = 140) -> Console:
    """Make a console that does not break the lines of tables in a file."""
    return Console(width=None if sys.stdout.isatty() else width)


def machine() -> dict[str, Any]:
    """Describe what the figures are measured on: `device` is the GPU, where there is one."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.is_file() else ""

    def field(name: str) -> str | None:
        match = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
        return match[1].strip() if match else None

    flags = (field("flags") or field("Features") or "").split()
    cpu = field("model name") or platform.processor() or platform.machine()
    found: dict[str, Any] = {
        "date": date.today().isoformat(),
        "device": cpu,
        "cpu": cpu,
        "cpu_family_model": f"{field('cpu family')}/{field('model')}",
        "vector_flags": [f for f in flags if f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    for name in VERSIONS:
        try:
            found["triton" if "triton" in name else name] = version(name)
        except PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {"device": properties.name, "cuda": torch.version.cuda}
        found |= {"cudnn": torch.backends.cudnn.version(), "memory": properties.total_memory}
        found["multiprocessors"] = properties.multi_processor_count
    return found


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> Table:
    """Make a table whose first `left` columns are flush left, and the others, which are figures, right."""
    result = Table(title=title)
    for i, name in enumerate(columns):
        result.add_column(name, justify="left" if i < left else "right")
    for row in rows:
        result.add_row(*row)
    return result


def save(record: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write <benchmark>-<date>-<machine>.json, and never over an earlier one; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    found = record["machine"]
    name = found["device"]
    if name == found["cpu"]:
        name = f"{name} {found['cpu_family_model']} {found['cores']} cores"
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    stem, count = f"{record['benchmark']}-{found['date']}-{slug}", 1
    path = folder / f"{stem}.json"
    while path.exists():
        count += 1
        path = folder / f"{stem}-{count}.json"
    path.write_text(json.dumps(record, indent=2, default=str) + "\n")
    return path


def finish(console: Console, benchmark: str, config: Any, **results: Any) -> None:
    """Save a benchmark's results where `config.save` says so, and print them as the last line, in JSON."""
    options = {name: value for name, value in asdict(config).items() if name != "save"}
    record = {"benchmark": benchmark, "machine": machine(), "config": options, **results}
    if config.save:
        console.print(f"saved to {save(record)}")
    print(json.dumps(record, default=str))
