"""What does a training step cost, forward and backward, next to transformers and to what the CPU can do?

    python -m benchmarks.train_step                              # fp32, bf16, LoRA, experts; 8 minutes
    python -m benchmarks.train_step --cases fp32 --rounds 7
    python -m benchmarks.train_step --cases bf16-lora bf16-experts --no-save

A step is the forward of some sequences of random tokens and the backward of the sum of their tokens'
logprobs, with no optimizer. Ours is `token_logprobs`; theirs is AutoModelForCausalLM, log_softmax in float32
and the choice of tokens by torch's fused `cross_entropy`. Theirs goes one sequence after the other and in one
padded batch, in each round; the faster one counts (a case with LoRA goes that of the case without). A case is
a precision, alone, with LoRA of rank 8 on every matrix of a layer (PEFT on their side), or with a random
mixture of experts of 311 million parameters.

Checked first, on the model's first layers and short sequences: our logprobs have the sampler's bits, and our
gradients are at most twice as far from transformers' in float64 as transformers' own in the same precision.
A case that fails is not timed.

Each side runs in a process of its own and they take turns, so that what slows the machine slows both; the
other one sleeps. Times are medians over rounds, with quartiles. Memory is the largest resident set of the
whole process during its steps. In the same rounds the machine is measured (`benchmarks.machine`):
multiply-adds a second, those of the bf16 instruction where there is one, bytes read a second.

GFLOP/s count what the mathematics asks for, two operations a multiply-add, so that whoever computes something
twice is the slower for it. Products are measured by themselves, too, as a share of the machine's peak.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import machine, record
from benchmarks import train_sides as sides
from benchmarks.record import Verdict
from benchmarks.train_sides import CASES, Case, Operations, Step
from minillm import MinillmError
from minillm.checkpoint import hub
from minillm.checkpoint.hub import DEMO_MODEL
from minillm.checkpoint.read_config import read_config

# Of the check: sequences' lengths, layers, and those of the mixture, whose loop in float64 takes its time.
CHECK_LENGTHS, CHECK_LAYERS, CHECK_EXPERT_LAYERS = (40, 25), 8, 2
# Seconds between two turns, in which threads of torch that wait for work by looking for it go to sleep.
PAUSE = 0.3
# What was aimed at: time and memory over transformers', our backward's rate over our forward's, that of
# products over the peak. bf16's time is another one where the CPU has no instruction for it.
TIME_AIMS, BF16_AIM_WITHOUT = {"fp32": 0.75, "bf16": 0.8}, 0.3
MEMORY_AIM, BACKWARD_AIM, PRODUCTS_AIM = 1.0, 0.85, 0.85


@dataclass(frozen=True)
class Config:
    """Options of the benchmark.

    Attributes:
        model: a folder of safetensors, a Hugging Face hub id, or the packaged demo model.
        cases: of fp32, bf16, fp32-lora, bf16-lora, fp32-experts and bf16-experts.
        lengths: of the sequences, in tokens.
        rounds: of each case at least; there are more while a case has a share of `minutes` left.
        minutes: for all cases.
        seed: of tokens and random weights.
        save: keep the result in benchmarks/results/.
    """

    model: str = DEMO_MODEL
    cases: tuple[str, ...] = ("fp32", "bf16", "fp32-lora", "fp32-experts")
    lengths: tuple[int, ...] = (700, 620, 540)
    rounds: int = 3
    minutes: float = 8.0
    seed: int = 0
    save: bool = True


@dataclass(frozen=True)
class Spread:
    """A median and quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up some numbers, one or more."""
        low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else [*values] * 3
        return cls(middle, max(low, min(values)), min(high, max(values)))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class SideResult:
    """One side of a case: seconds, operations a second, and the most bytes that its process held."""

    way: str
    step: Spread
    forward: Spread
    backward: Spread
    forward_rate: float
    backward_rate: float
    peak: int


@dataclass(frozen=True)
class Row:
    """A case; ratios are ours over transformers', of each round, but for memory's."""

    case: str
    rounds: int
    operations: Operations
    ours: SideResult
    transformers: SideResult
    step_ratio: Spread
    forward_ratio: Spread
    backward_ratio: Spread
    memory_ratio: float
    products: dict[str, float]


# A side and its way.
Who = tuple[str, str]


def in_turns(
    steps: dict[Who, Callable[[], Step]], least: int, more: Callable[[], bool], between: Callable[[], Any]
) -> dict[Who, list[Step]]:
    """Take rounds of all sides, each from the other end: `least` of them, and while there is `more` time."""
    found: dict[Who, list[Step]] = {who: [] for who in steps}
    order = list(steps)
    while min(map(len, found.values())) < least or more():
        for name in order:
            time.sleep(PAUSE)
            found[name].append(steps[name]())
        order.reverse()
        between()
    return found


def summary(case: Case, work: Operations, found: dict[Who, list[Step]], products: dict[str, float]) -> Row:
    """Sum up a case; of a side that goes several ways, the fastest counts."""
    ours, theirs = (
        min(
            (who for who in found if who[0] == name),
            key=lambda who: statistics.median(step.seconds for step in found[who]),
        )
        for name in sides.SIDES
    )

    def side(who: Who) -> SideResult:
        whole, forward, backward = (
            Spread.of([getattr(step, name) for step in found[who]])
            for name in ("seconds", "forward", "backward")
        )
        rates = (work.forward / forward.median, work.backward / backward.median)
        return SideResult(who[1], whole, forward, backward, *rates, max(step.peak for step in found[who]))

    def ratio(name: str) -> Spread:
        pairs = zip(found[ours], found[theirs], strict=True)
        return Spread.of([getattr(mine, name) / getattr(other, name) for mine, other in pairs])

    mine, other = side(ours), side(theirs)
    ratios = map(ratio, ("seconds", "forward", "backward"))
    return Row(case.name, len(found[ours]), work, mine, other, *ratios, mine.peak / other.peak, products)


def verdicts(rows: Sequence[Row], peaks: machine.Peaks) -> list[Verdict]:
    """Compare with what was aimed at."""
    found = []
    for row in rows:
        precision = CASES[row.case].precision
        aim = TIME_AIMS[precision] if precision == "fp32" or peaks.bf16 is not None else BF16_AIM_WITHOUT
        found.append(Verdict(f"{row.case}: time over transformers'", row.step_ratio.median, aim, False))
        found.append(Verdict(f"{row.case}: memory over transformers'", row.memory_ratio, MEMORY_AIM, False))
        share = row.ours.backward_rate / row.ours.forward_rate
        found.append(Verdict(f"{row.case}: backward's rate over our forward's", share, BACKWARD_AIM))
        if row.products:
            share = row.products["all"] / peaks.floors()[precision]
            found.append(Verdict(f"{row.case}: products' rate over the peak", share, PRODUCTS_AIM))
    return found


def report(rows: Sequence[Row], peaks: machine.Peaks, lengths: Sequence[int], console: Console) -> None:
    """Print times, then rates and memory, then what was aimed at."""
    sizes = " + ".join(map(str, lengths))
    timed, cells = [], []
    for row in rows:
        for name in ("step", "forward", "backward"):
            mine, theirs = (str(getattr(side, name)) for side in (row.ours, row.transformers))
            ratio = str(getattr(row, f"{name}_ratio"))
            timed.append((row.case if name == "step" else "", name, mine, theirs, ratio))
        best = peaks.floors()[CASES[row.case].precision]
        for name, side in (("ours", row.ours), ("transformers", row.transformers)):
            product = row.products if name == "ours" else {}
            rates = [
                side.forward_rate,
                side.backward_rate,
                *(product.get(n) for n in ("forward", "backward")),
            ]
            cells.append(
                (
                    row.case,
                    f"{name}, {side.way}",
                    *("-" if rate is None else f"{rate / 1e9:.0f} ({rate / best:.0%})" for rate in rates),
                    f"{side.peak / 1e9:.2f}",
                )
            )
    rounds = min(row.rounds for row in rows)
    title = f"sequences of {sizes} tokens, seconds: medians of {rounds} rounds or more (quartiles)"
    console.print(record.table(title, ("", "", "ours", "transformers", "ours over theirs"), timed, left=2))
    columns = ("", "", "forward", "backward", "products forward", "products backward", "memory, GB")
    console.print(record.table("GFLOP/s (of the measured peak)", columns, cells, left=2))
    console.print(str(peaks), highlight=False)
    for verdict in verdicts(rows, peaks):
        console.print(str(verdict), highlight=False)


@contextmanager
def processes() -> Iterator[dict[str, Executor]]:
    """Start a process for each side."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for name in sides.SIDES
        }


def measure(
    config: Config,
    case: Case,
    folder: Path,
    more: Callable[[], bool],
    peaks: list[machine.Peaks],
    way: str,
    console: Console,
) -> Row:
    """Time a case in turns; transformers goes one `way`, or all where it is empty."""
    settings = read_config(folder)
    sequences = sides.draw(config.lengths, settings.vocab_size, config.seed)
    with processes() as started:
        for name, process in started.items():
            sides.call(process, sides.begin, name, folder, case, sequences)

        def timed(who: Who) -> Step:
            found: Step = sides.call(started[who[0]], sides.step, who[1])
            said = (
                f"{found.forward:.2f} s forward, {found.backward:.2f} s backward, {found.peak / 1e9:.2f} GB"
            )
            console.print(f"{case.name}: {', '.join(who)}: {said}", highlight=False)
            return found

        whos = [("ours", own) for own in sides.Ours.ways]
        whos += [("transformers", own) for own in sides.Theirs.ways if way in ("", own)]
        steps = {who: partial(timed, who) for who in whos}
        found = in_turns(steps, config.rounds, more, lambda: peaks.append(machine.measure(rounds=2)))
        products = {} if case.lora else sides.call(started["ours"], sides.products)
    work = sides.operations(settings, config.lengths, case.lora)
    return summary(case, work, found, products)


def checked(case: Case, folder: Path, temporary: Path, seed: int, console: Console) -> sides.Checks:
    """Check a case on its model's first layers."""
    small = temporary / f"piece-{folder.name}"
    if not small.exists():
        sides.piece(folder, CHECK_EXPERT_LAYERS if case.experts else CHECK_LAYERS, small)
    found = sides.check(small, case, CHECK_LENGTHS, seed)
    console.print(f"{'ok ' if found.passed else 'RED'} {found}", highlight=False)
    return found


def run(config: Config, console: Console) -> int:
    """Check, measure, print and save; returns the exit status, 1 where a check failed."""
    if unknown := [name for name in config.cases if name not in CASES]:
        raise MinillmError(f"unknown case {unknown[0]}; there are {', '.join(CASES)}")
    if not config.cases or config.rounds < 1 or min(config.lengths, default=0) < 2:
        raise MinillmError("there must be a case, a round and sequences of two tokens or more")
    begin, rows, checks, peaks = time.monotonic(), [], [], [machine.measure()]
    console.print(str(peaks[0]), highlight=False)
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        for i, case in enumerate(CASES[name] for name in config.cases):
            folder = temporary / "experts" if case.experts else hub.resolve(config.model)
            if case.experts and not folder.exists():
                sides.write_mixture(folder, seed=config.seed)
            checks.append(checked(case, folder, temporary, config.seed, console))
            if checks[-1].passed:
                end = begin + 60 * config.minutes * (i + 1) / len(config.cases)
                last = (end - time.monotonic()) / (config.rounds + 1)

                def more(end: float = end, last: float = last) -> bool:
                    return time.monotonic() + last < end

                known = [row.transformers.way for row in rows if case.lora and row.case == case.precision]
                rows.append(measure(config, case, folder, more, peaks, "".join(known), console))
    best = machine.best(peaks)
    if rows:
        report(rows, best, config.lengths, console)
    for failed in (found for found in checks if not found.passed):
        console.print(f"RED {failed}", highlight=False)
    record.finish(
        console,
        "train-step",
        config,
        rows=[asdict(row) for row in rows],
        peaks=asdict(best),
        verdicts=[{**asdict(verdict), "met": verdict.met} for verdict in verdicts(rows, best)],
        checks=[{**asdict(found), "passed": found.passed} for found in checks],
        seconds=time.monotonic() - begin,
    )
    return 0 if all(found.passed for found in checks) else 1


if __name__ == "__main__":
    sys.exit(record.main(run, Config, __doc__))
