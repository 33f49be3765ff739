"""Does an evaluation keep its time, go on after kill -9, and leave a submission that is valid?

`arc.evaluate` runs on some tasks, with golden solutions and without, is killed on its way and started again.
The time of both processes is compared with the budget; `arc.validate` reads the submission and broken ones.

    python -m benchmarks.evaluation
    python -m benchmarks.evaluation --minutes 3 --tasks 10
"""

from __future__ import annotations

import copy
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from arc.tasks import golden_ids, load_tasks
from benchmarks import record
from minillm.checkpoint.hub import DEMO_MODEL

Content = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Config:
    """Options of the benchmark.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        tasks: half of them with golden solutions, half of ARC-AGI-2's evaluation.
        minutes: the budget.
        kill_after: share of the budget after which the first process is killed.
        samples: of each task.
        max_tokens: of a program.
        save: keep the figures in benchmarks/results/.
    """

    model: str = DEMO_MODEL
    tasks: int = 20
    minutes: float = 6.0
    kill_after: float = 0.4
    samples: int = 16
    max_tokens: int = 400
    save: bool = False


def first(content: Content) -> list[dict[str, Any]]:
    """Take the entries of the first task."""
    return content[min(content)]


# Ways to break a submission, by name.
BREAKS: dict[str, Callable[[Content], object]] = {
    "a task is missing": lambda content: content.pop(min(content)),
    "an unknown task": lambda content: content.update({"ffffffff": first(content)}),
    "an entry too many": lambda content: first(content).append(first(content)[0]),
    "no entry": lambda content: first(content).clear(),
    "one attempt": lambda content: first(content)[0].pop("attempt_2"),
    "a third attempt": lambda content: first(content)[0].update(attempt_3=[[0]]),
    "a ragged grid": lambda content: first(content)[0].update(attempt_1=[[0, 1], [2]]),
    "a color 10": lambda content: first(content)[0].update(attempt_2=[[10]]),
    "a grid of 31 rows": lambda content: first(content)[0].update(attempt_2=[[0]] * 31),
}


def validate(path: Path, tasks: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `arc.validate`."""
    command = [sys.executable, "-m", "arc.validate", str(path), "--tasks", *tasks]
    return subprocess.run(command, capture_output=True, text=True)


def run(config: Config, console: Console) -> int:
    """Evaluate, kill, go on, validate, break; returns the exit status."""
    golden = golden_ids()[: config.tasks // 2]
    tasks = [*golden, *[task.id for task in load_tasks("arc2-evaluation")[: config.tasks - len(golden)]]]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        options = {
            "--model": config.model,
            "--run": place,
            "--minutes": config.minutes,
            "--samples": config.samples,
            "--max-tokens": config.max_tokens,
            "--refinements": 1,
            "--guises": 2,
            "--given-docstring": config.samples,
        }
        command = [sys.executable, "-m", "arc.evaluate", "--tasks", *tasks]
        command += [str(part) for pair in options.items() for part in pair]
        begin = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(60 * config.minutes * config.kill_after)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed = time.monotonic() - begin
        had = (place / "candidates.jsonl").read_text().count('"candidate"')
        again = subprocess.run(command, capture_output=True, text=True)
        seconds = time.monotonic() - begin
        console.print(again.stdout, again.stderr, markup=False, highlight=False)
        report = json.loads((place / "report.json").read_text())
        submission = place / "submission.json"
        valid = validate(submission, tasks)
        refusals: dict[str, str] = {}
        content: Content = json.loads(submission.read_text())
        for name, change in BREAKS.items():
            broken = copy.deepcopy(content)
            change(broken)
            path = Path(folder) / "broken.json"
            path.write_text(json.dumps(broken))
            refused = validate(path, tasks)
            if refused.returncode == 1 and refused.stderr.count("\n") == 1:
                refusals[name] = refused.stderr.strip().replace(str(path), path.name)
        empty = [task for task in report["tasks"] if not task["counts"]]
    rows = [
        ("seconds of the budget", f"{60 * config.minutes:.0f}"),
        ("seconds of both processes", f"{seconds:.1f}"),
        ("killed after", f"{killed:.1f}, with {had} programs logged"),
        ("programs in all", str(sum(c["samples"] for t in report["tasks"] for c in t["counts"].values()))),
        ("tasks without a program", f"{len(empty)}, with both attempts: {valid.returncode == 0}"),
        ("the validator", (valid.stdout or valid.stderr).strip().replace(folder, "")),
        *((f"broken: {name}", refusals.get(name, "NOT REFUSED")) for name in BREAKS),
    ]
    console.print(record.table("arc.evaluate, killed once", ("", ""), rows, left=2))
    figures = {
        "seconds": seconds,
        "killed_after": killed,
        "programs_at_kill": had,
        "tasks_without_program": len(empty),
        "valid": valid.returncode == 0,
        "refused": refusals,
        "score": report["score"],
        "rates": report["rates"],
    }
    record.finish(console, "evaluation", config, **figures)
    over = seconds > 60 * config.minutes + 60
    return int(over or again.returncode or valid.returncode or len(refusals) < len(BREAKS))


if __name__ == "__main__":
    sys.exit(record.main(run, Config, __doc__))
