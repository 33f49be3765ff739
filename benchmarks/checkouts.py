"""Are decoding and training as fast in one checkout of this library as in another?

    python -m benchmarks.checkouts ../before .
    python -m benchmarks.checkouts ../before . --only training --rounds 15

One process a checkout runs this file with that checkout's packages, both on the same random model (of
SmolLM2-135M's shape) or the same folder, and the same tokens. They take turns, a measurement each, and who
goes first alternates; the other one waits. A ratio is of two neighbouring measurements, new over old, so that
what slows the machine for a while slows both.

Where in memory a process finds room for its weights makes a step up to 30% slower or faster, for as long as
it lives: one checkout against itself showed it. So both are started several times, in alternating order.
Exit status 1 where a case is slower than `tolerance` allows by the median of its ratios and by the fastest
measurements of both sides, too.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import torch
import tyro
from rich.console import Console
from rich.table import Table

SMOLLM2 = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
PROMPT_TOKENS = 64
TRAINED_TOKENS = (290, 300, 310)
# Name -> precision, and sequences that decode at a time; None for a training step.
CASES: dict[str, tuple[str, int | None]] = {
    "decoding, fp32, batch 1": ("fp32", 1),
    "decoding, fp32, batch 16": ("fp32", 16),
    "decoding, bf16, batch 1": ("bf16", 1),
    "decoding, bf16, batch 16": ("bf16", 16),
    "training, fp32": ("fp32", None),
    "training, bf16": ("bf16", None),
}


@dataclass(frozen=True)
class Config:
    """Options of the comparison.

    Attributes:
        old, new: roots of the two checkouts.
        model: folder of a model; None makes a random one.
        layers: of the random model.
        starts: how often the two processes are started.
        rounds: pairs of measurements of a case in each start, after one that does not count.
        steps: decode steps of a measurement.
        clock: "wall", or "cpu" for the time that the process computes, where others use the machine too.
        threads: of torch and of the kernels; None leaves the default.
        tolerance: share by which the new checkout may be slower.
        only: leave out cases whose name does not begin so.
        save: keep the result in benchmarks/results/.
    """

    old: tyro.conf.Positional[Path]
    new: tyro.conf.Positional[Path]
    model: Path | None = None
    layers: int = 30
    starts: int = 4
    rounds: int = 7
    steps: int = 16
    clock: str = "wall"
    threads: int | None = None
    tolerance: float = 0.03
    only: str = ""
    save: bool = False


# ---------------------------------------------------------------- the worker: a process in a checkout


def decoding(folder: Path, precision: str, batch: int, steps: int, most: int) -> Callable[[], None]:
    """Prefill `batch` prompts, and return what takes the next `steps` decode steps of all of them."""
    from minillm import LLM, RequestOutputKind, SamplingParams, load_model

    llm = LLM(load_model(folder, precision), kv_cache_memory_bytes=1 << 28)
    params = SamplingParams(
        max_tokens=(most + 1) * steps + batch + 8,
        ignore_eos=True,
        logprobs=0,
        seed=0,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    for i in range(batch):
        llm.enqueue([(7 * t + 31 * i) % 1000 + 1 for t in range(PROMPT_TOKENS + i)], params)
    for _ in range(4):  # the prompts are through, and what is compiled or recorded is
        llm.step()

    def run() -> None:
        for _ in range(steps):
            llm.step()

    return run


def training(folder: Path, precision: str) -> Callable[[], None]:
    """Return what takes one step: forward, backward, optimizer."""
    from minillm import load_model, token_logprobs
    from rl.optim import make_optimizer

    model = load_model(folder, precision)
    optimizer = make_optimizer(model, 1e-6)
    sequences = [[(11 * t + n) % 1000 + 1 for t in range(n)] for n in TRAINED_TOKENS]

    def run() -> None:
        optimizer.zero_grad()
        (-torch.cat(token_logprobs(model, sequences)).mean()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return run


def work(folder: Path, config: Config) -> None:
    """Answer lines of the standard input: the name of a case prepares it, an empty line measures it once."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    clock = time.perf_counter if config.clock == "wall" else time.process_time
    import minillm

    print(Path(minillm.__file__).parents[1], file=answers, flush=True)
    run: Callable[[], None] | None = None
    for line in sys.stdin:
        if name := line.strip():
            run = None  # frees the model before
            precision, batch = CASES[name]
            run = (
                training(folder, precision)
                if batch is None
                else decoding(folder, precision, batch, config.steps, config.rounds + 1)
            )
            print("ready", file=answers, flush=True)
        elif run is not None:
            begin = clock()
            run()
            print(clock() - begin, file=answers, flush=True)


# ---------------------------------------------------------------- the driver


class Worker:
    """The process of one checkout."""

    def __init__(self, root: Path, folder: Path, config: Config) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root), "CHECKOUTS_FOLDER": str(folder)}
        options = [f"--{name}={getattr(config, name)}" for name in ("rounds", "steps", "clock")]
        options += [f"--threads={config.threads}"]
        command = [sys.executable, "-P", str(Path(__file__).resolve()), *options, str(root), str(root)]
        self.process = subprocess.Popen(
            command, env=environment, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if Path(self._answer()) != root:
            raise SystemExit(f"error: {root} does not hold the packages that its process imported")

    def ask(self, line: str) -> str:
        """Send a line, and wait for the answer."""
        to: IO[str] | None = self.process.stdin
        assert to is not None
        to.write(line + "\n")
        to.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise SystemExit(f"error: a worker ended with exit status {self.process.wait()}")
        return line.strip()

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


@contextmanager
def workers(config: Config, folder: Path, order: Sequence[int]) -> Iterator[list[Worker]]:
    """Start a process in each checkout, in that order; old and new."""
    roots = (config.old.resolve(), config.new.resolve())
    started: dict[int, Worker] = {}
    try:
        for side in order:
            started[side] = Worker(roots[side], folder, config)
        yield [started[0], started[1]]
    finally:
        for worker in started.values():
            worker.close()


def measure(case: str, both: list[Worker], rounds: int, order: Sequence[int]) -> list[tuple[float, float]]:
    """Let both measure a case in turns: seconds of old and new."""
    for side in order:
        both[side].ask(case)
    pairs = []
    for i in range(rounds + 1):
        found = {side: float(both[side].ask("")) for side in (order if i % 2 else order[::-1])}
        if i:
            pairs.append((found[0], found[1]))
    return pairs


def summary(case: str, pairs: list[tuple[float, float]]) -> dict[str, Any]:
    """Sum up a case: medians, quartiles of the ratios, and the ratio of the fastest measurements."""
    old, new = zip(*pairs, strict=True)
    ratios = [y / x for x, y in pairs]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    row = {"case": case, "old": statistics.median(old), "new": statistics.median(new)}
    return {**row, "ratio": middle, "low": low, "high": high, "fastest": min(new) / min(old)}


def main() -> int:
    """Run the command line; returns the exit status."""
    config = tyro.cli(Config, description=__doc__)
    if "CHECKOUTS_FOLDER" in os.environ:
        work(Path(os.environ["CHECKOUTS_FOLDER"]), config)
        return 0
    from benchmarks.digests import write_model
    from benchmarks.record import machine, save

    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(
        title=f"{config.clock} time, {config.starts} starts of {config.rounds} rounds in turns, medians"
    )
    for title in ("", "old", "new", "new over old", "half of the rounds", "fastest of each"):
        table.add_column(title, justify="right" if title else "left")
    pairs: dict[str, list[tuple[float, float]]] = {case: [] for case in CASES if case.startswith(config.only)}
    with tempfile.TemporaryDirectory() if config.model is None else nullcontext(str(config.model)) as name:
        folder = Path(name).resolve()
        if config.model is None:
            write_model(folder, {**SMOLLM2, "num_hidden_layers": config.layers})
        for start in range(config.starts):
            order = (start % 2, 1 - start % 2)
            with workers(config, folder, order) as both:
                for case, measured in pairs.items():
                    measured += measure(case, both, config.rounds, order)
    rows = [summary(case, measured) for case, measured in pairs.items()]
    for row in rows:
        each = config.steps if CASES[row["case"]][1] else 1
        table.add_row(
            row["case"],
            f"{row['old'] / each * 1e3:.1f} ms a step",
            f"{row['new'] / each * 1e3:.1f} ms a step",
            f"{row['ratio']:.3f}x",
            f"{row['low']:.3f} to {row['high']:.3f}",
            f"{row['fastest']:.3f}x",
        )
    console.print(table)
    slower = [row["case"] for row in rows if min(row["ratio"], row["fastest"]) > 1 + config.tolerance]
    if slower:
        console.print(f"more than {config.tolerance:.0%} slower: {'; '.join(slower)}")
    record = {"benchmark": "checkouts", "machine": machine(), "config": asdict(config), "rows": rows}
    if config.save:
        console.print(f"saved to {save(record)}")
    print(json.dumps({**record, "slower": slower}, default=str))
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
