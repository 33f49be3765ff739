"""Does it learn, and does it carry over? Single-token learning, fine-tuning and GRPO, for the same time each.

The shortest ARC tasks that have a golden solution; every third one is held out. Each method starts from the
same model and trains for the same time. Before and after, each task's solution is cut off at fixed redactions
k and completed by the policy: the mean share of right completions, with a bootstrap interval over tasks and
completions, and what each task gained, on trained and on held-out tasks, beside the drift on text that has
nothing to do with them.

    python -m benchmarks.learning                       # 90 minutes on two cores
    python -m benchmarks.learning --methods single-token --minutes 10 --folder /tmp/learning

Every run is kept and gone on with: a benchmark that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table

from arc.prompt import PromptOptions
from arc.tasks import golden_ids
from arc.train_options import Config
from arc.training import PROBE, make_problems
from benchmarks import record
from benchmarks.record import RESULTS
from minillm import LLM, MinillmError, Tokenizer, load_model
from minillm.checkpoint import hub
from minillm.checkpoint.durable import write_atomically
from minillm.checkpoint.hub import DEMO_MODEL
from rl.evaluate import interval
from rl.grpo import GRPO, GRPOConfig
from rl.journal import Journal, read_records
from rl.metrics import read_metrics
from rl.reference import Reference
from rl.run import Method, Settings
from rl.sft import SFT, SFTConfig
from rl.single_token import MethodConfig, SingleToken, saved_entries
from rl.targets import reached
from rl.trainer import Trainer

METHODS = ("single-token", "sft", "grpo")
SPLITS = ("trained", "held out")
TIMES = ("before", "after", "gain")


@dataclass(frozen=True)
class Learning:
    """Options of the benchmark.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        precision: of training and sampling.
        methods: that are compared.
        minutes: of training, each.
        trained: tasks that are trained on.
        held_out: tasks that are not.
        evaluate_k: redactions at which all are measured.
        rollouts: completions of each task and redaction in a measurement.
        single_token: options of single-token learning.
        sft: options of fine-tuning.
        grpo: options of GRPO.
        prompt: how a task is shown.
        folder: where the report is kept.
        runs: where runs are kept, and gone on with.
    """

    model: str = DEMO_MODEL
    precision: str = "fp32"
    methods: tuple[str, ...] = METHODS
    minutes: float = 23.0
    trained: int = 16
    held_out: int = 8
    evaluate_k: tuple[int, ...] = (4, 8, 16, 32)
    rollouts: int = 6
    single_token: MethodConfig = field(
        default_factory=lambda: MethodConfig(
            k=8,
            k_step=8,
            states=5,
            batch=8,
            actions=3,
            max_rollouts=16,
            inner_steps=3,
            learning_rate=1.2e-5,
            # Of forty pulls in an update one is always dragged along: a tight bound on each holds all up.
            overshoot=4.0,
        )
    )
    sft: SFTConfig = field(default_factory=lambda: SFTConfig(batch=8, learning_rate=1e-5))
    grpo: GRPOConfig = field(
        default_factory=lambda: GRPOConfig(k=4, k_step=4, batch=4, group=8, learning_rate=5e-6)
    )
    prompt: PromptOptions = field(default_factory=lambda: PromptOptions(max_examples=2))
    folder: Path = RESULTS / "learning"
    runs: Path = Path("runs/learning")

    def make(self, name: str) -> Method:
        """Make the method of a name."""
        if name == "single-token":
            return SingleToken(self.single_token)
        if name == "sft":
            return SFT(self.sft)
        if name == "grpo":
            return GRPO(self.grpo)
        raise MinillmError(f"unknown method {name!r}; there are {', '.join(METHODS)}")


class _TimeIsUp(Exception):
    pass


def split(tokenizer: Tokenizer, config: Learning) -> tuple[list[str], list[str]]:
    """Ids of tasks that are trained, and held out: the shortest, every third of them for the latter."""
    made = make_problems(golden_ids(), tokenizer, Config(prompt=config.prompt))
    shortest = sorted(made, key=lambda p: (len(p.prompt_ids) + len(p.golden_ids), p.id))
    ids = [problem.id for problem in shortest]
    held_out = ids[2::3][: config.held_out]
    trained = [id for id in ids if id not in held_out][: config.trained]
    if (len(trained), len(held_out)) != (config.trained, config.held_out):
        raise MinillmError(f"{len(ids)} tasks have golden solutions: too few to split them so")
    return trained, held_out


def train(name: str, config: Learning, console: Console) -> Path:
    """Train by one method until its time is up, and measure; the run's folder."""
    folder = hub.resolve(config.model)
    tokenizer = Tokenizer.from_folder(folder)
    tasks = split(tokenizer, config)
    trained, held_out = (make_problems(ids, tokenizer, Config(prompt=config.prompt)) for ids in tasks)
    llm = LLM(load_model(folder, config.precision), tokenizer)
    trainer = Trainer(
        llm,
        trained,
        config.make(name),
        folder,
        settings=Settings(evaluate_k=config.evaluate_k, evaluate_rollouts=config.rollouts),
        held_out=held_out,
        probe=[tokenizer.encode(text) for text in PROBE],
        reference=Reference.copy_of(llm.model, config.precision),
    )
    run = config.runs / name
    fixed = {k: v for k, v in asdict(config).items() if k not in ("folder", "runs", "methods", "minutes")}
    with Journal.open(run, {"method": name, "tasks": tasks, **fixed}) as journal:

        def show(done: int, message: str) -> None:
            if message:
                return
            spent = seconds_trained(run)
            last = read_metrics(run)[-1]
            numbers = ", ".join(
                f"{k} {last[k]:.3g}" for k in ("loss", "state_reward", "k", "steps") if k in last
            )
            console.print(f"{name}: iteration {done}, {spent / 60:.1f} min, {numbers}")
            if spent >= 60 * config.minutes:
                raise _TimeIsUp

        begin = time.perf_counter()
        try:
            if not journal.iteration or seconds_trained(run) < 60 * config.minutes:
                trainer.run(journal, 1_000_000, show)
        except _TimeIsUp:
            pass
        trainer.run(journal, trainer.state.trained)
        console.print(f"{name}: done after {(time.perf_counter() - begin) / 60:.1f} min")
    return run


def seconds_trained(run: Path) -> float:
    """Of all iterations; evaluations do not count."""
    return sum(
        value
        for line in read_metrics(run)
        for name, value in line.items()
        if name.startswith("seconds/") and name != "seconds/evaluation"
    )


def measured(run: Path, config: Learning) -> dict[str, Any]:
    """Summarise a run: rewards by time, split and k with intervals, moves, drift, cost."""
    records = [record for record in read_records(run) if record["kind"] == "measurement"]
    times = sorted({record["iteration"] for record in records})
    rewards: dict[str, dict[str, dict[str, Any]]] = {when: {} for when in TIMES}
    for part in SPLITS:
        mine = [record for record in records if record["split"] == part]
        for k in config.evaluate_k:
            before, after = (
                {
                    record["state"]["problem_id"]: [x["reward"] for x in record["rollouts"]]
                    for record in mine
                    if (record["iteration"], record["state"]["k"]) == (when, k)
                }
                for when in (times[0], times[-1])
            )
            if not before:  # every solution is shorter
                continue
            # Each task is its own control: what tasks differ in from the start is no doubt about the gain.
            gains = [[fmean(after[task]) - fmean(before[task])] for task in before]
            for when, each in zip(TIMES, (before.values(), after.values(), gains), strict=True):
                low, high = interval(list(each))
                mean = fmean(fmean(own) for own in each)
                rewards[when].setdefault(part, {})[str(k)] = {
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "tasks": len(each),
                }
    lines = read_metrics(run)
    trained = [line for line in lines if "seconds/training" in line]
    return {
        "rewards": rewards,
        "iterations": len(trained),
        "minutes": seconds_trained(run) / 60,
        "sampled_tokens": sum(line.get("sampled_tokens", 0.0) for line in trained),
        "k": [line["k"] for line in trained if "k" in line],
        "drift": [line["evaluation/drift"] for line in lines if "evaluation/drift" in line][-1],
        "moves": moves(run, config.single_token.tolerance),
    }


def moves(run: Path, tolerance: float) -> dict[str, Any]:
    """Count moves that the trainer called done, those that the sampler confirms, and why others failed."""
    done = confirmed = targets = 0
    others: dict[str, int] = {}
    entries = [entry for group in saved_entries(run) for entry in group]
    for action in (action for entry in entries for action in entry.actions):
        target, trained, verdict = action.target, action.logprob_trained, action.verdict
        if target is None or trained is None or verdict == "there already":
            continue
        targets += 1
        if reached(trained, target, action.advantage, tolerance):
            done += 1
            confirmed += trained == action.logprob_after and verdict == "reached"
        if verdict != "reached":
            others[str(verdict)] = others.get(str(verdict), 0) + 1
    return {"targets": targets, "done": done, "confirmed": confirmed, "not_reached": others}


def table(found: dict[str, dict[str, Any]]) -> Table:
    """Rewards before and after, and what each task gained, a row a method, split and k."""
    result = Table(title="share of right completions at k redacted tokens, with 95% intervals")
    for name in ("method", "tasks", "k", *TIMES):
        result.add_column(name, justify="left" if name in ("method", "tasks") else "right")
    for method, one in found.items():
        for part in SPLITS:
            for k, first in one["rewards"]["before"].get(part, {}).items():
                numbers = [one["rewards"][when][part][k] for when in TIMES]
                result.add_row(
                    method,
                    f"{first['tasks']} {part}",
                    k,
                    *(f"{x['mean']:.2f} ({x['low']:.2f} to {x['high']:.2f})" for x in numbers),
                )
    return result


def draw(found: dict[str, dict[str, Any]], path: Path) -> None:
    """Bars before and after by k, a row a split, a column a method."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MinillmError("pictures need matplotlib: pip install -e '.[bench]'") from None
    figure = Figure(figsize=(4 * len(found), 6), layout="constrained")
    grid = figure.subplots(len(SPLITS), len(found), sharey=True, squeeze=False)
    for column, (method, one) in enumerate(found.items()):
        for row, part in enumerate(SPLITS):
            axes = grid[row][column]
            for shift, when, colour in ((-0.2, "before", "lightsteelblue"), (0.2, "after", "steelblue")):
                values = one["rewards"][when].get(part, {})
                means = [v["mean"] for v in values.values()]
                errors = [
                    [v["mean"] - v["low"] for v in values.values()],
                    [v["high"] - v["mean"] for v in values.values()],
                ]
                places = [i + shift for i in range(len(values))]
                axes.bar(places, means, 0.4, yerr=errors, capsize=3, label=when, color=colour)
                axes.set_xticks(range(len(values)), values)
            axes.set(ylim=(0, 1), title=f"{method}, {part}", xlabel="k redacted tokens")
            if column == 0:
                axes.set_ylabel("right completions")
    grid[0][0].legend()
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=110, format="png"))


def report(runs: Sequence[tuple[str, Path]], config: Learning, console: Console) -> None:
    """Write the table, the picture and the numbers."""
    found = {name: measured(run, config) for name, run in runs}
    console.print(table(found))
    for name, one in found.items():
        said = f"{name}: {one['iterations']} iterations in {one['minutes']:.0f} min"
        said += f", {one['sampled_tokens']:,.0f} tokens sampled, drift on other text {one['drift']:.2g} nats"
        if one["moves"]["targets"]:
            move = one["moves"]
            said += (
                f"; {move['confirmed']} of {move['done']} moves that the trainer called done are confirmed"
            )
            said += f" with equal bits, of {move['targets']} asked for; the others: {move['not_reached']}"
        console.print(said)
    config.folder.mkdir(parents=True, exist_ok=True)
    options = {k: v for k, v in asdict(config).items() if k not in ("folder", "runs")}
    saved = {"benchmark": "learning", "machine": record.machine(), "config": options, "methods": found}
    text = json.dumps(saved, indent=1)
    write_atomically(config.folder / "learning.json", lambda path: path.write_text(text))
    draw(found, config.folder / "learning.png")
    console.print(f"kept in {config.folder}")


def run(config: Learning, console: Console) -> int:
    """Train by each method and report; returns the exit status."""
    report([(name, train(name, config, console)) for name in config.methods], config, console)
    return 0


if __name__ == "__main__":
    sys.exit(record.main(run, Learning, __doc__))
