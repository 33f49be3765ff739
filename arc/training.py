"""The work of `arc.train`: a model, tasks made problems for it, and a trainer; all that needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

from arc.errors import ArcError
from arc.problem import ArcProblem
from arc.tasks import golden_source, read_tasks
from arc.train_options import Config
from minillm import LLM, Tokenizer, load_model
from minillm.checkpoint import hub
from minillm.lora import LoRA
from minillm.parity import probe
from rl.grpo import GRPO
from rl.journal import Journal
from rl.reference import Reference
from rl.run import Method
from rl.sft import SFT
from rl.single_token import SingleToken
from rl.trainer import Summary, Trainer

# Text that has nothing to do with the tasks, and should stay as likely as it is.
PROBE = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "Water boils at one hundred degrees at sea level, and at less on a mountain.",
    "def add(a, b):\n    return a + b\n\nprint(add(2, 3))",
    "import json\n\nwith open(path) as file:\n    data = json.load(file)\n",
)


def make_method(config: Config) -> Method:
    """Make the algorithm; raise `MinillmError` for options that make no sense."""
    if config.algorithm == "single-token":
        return SingleToken(config.method, config.warm_start, config.stale)
    return SFT(config.sft) if config.algorithm == "sft" else GRPO(config.grpo)


def make_problems(names: Sequence[str], tokenizer: Tokenizer, config: Config) -> list[ArcProblem]:
    """Make tasks problems for a tokenizer's model. Raises `ArcError` for those without a solution."""
    encode = partial(tokenizer.encode, add_special_tokens=False)
    codec = tokenizer.encode_chat, encode, tokenizer.decode
    return [
        ArcProblem(
            task,
            golden_source(task.id, config.golden),
            *codec,
            config.prompt,
            config.limits,
            config.reward_on,
        )
        for task in read_tasks(names, config.golden)
    ]


def train(config: Config, console: Console) -> list[Summary]:
    """Run or resume `config`, showing progress on `console`; return how each task fared.

    Raises `MinillmError` or `ArcError` for what the user can mend.
    """
    method = make_method(config)
    folder = hub.resolve(config.model)
    tokenizer = Tokenizer.from_folder(folder)
    problems = make_problems(config.tasks, tokenizer, config)
    held_out = make_problems(config.held_out, tokenizer, config)
    if both := {problem.id for problem in problems} & {problem.id for problem in held_out}:
        raise ArcError(f"task {min(both)} is named twice: it cannot be trained and held out")
    console.print(f"loading {config.model} in {config.precision}")
    llm = LLM(load_model(folder, config.precision), tokenizer)
    console.print(str(probe(llm.model)))
    lora = LoRA(llm.model, **asdict(config.lora)) if config.lora.rank else None
    reference = None
    if config.reference:  # a LoRA's base is there already; of all weights a copy is made
        reference = (
            Reference.of_lora(llm, lora) if lora else Reference.copy_of(llm.model, llm.model.precision)
        )
    trainer = Trainer(
        llm,
        problems,
        method,
        folder,
        settings=config.settings,
        held_out=held_out,
        probe=[tokenizer.encode(text) for text in PROBE],
        lora=lora,
        reference=reference,
    )
    # The folder is opened last, so that a mistake above leaves none behind.
    with Journal.open(config.run, config.fixed(), config.keep_last, config.keep_every) as journal:
        return _run(trainer, journal, config, console)


def _run(trainer: Trainer, journal: Journal, config: Config, console: Console) -> list[Summary]:
    """Run a trainer, after a line on what is to come, with a bar of its iterations."""
    done, total = trainer.iterations_done(journal), config.iterations
    if journal.iteration:
        console.print(f"going on in {config.run}: {done} of {max(done, total)} iterations are done")
    seconds = trainer.expected_seconds(journal, total)
    console.print(
        f"this will take about {duration(seconds)}: {max(0, total - done)} iterations and evaluations"
    )
    columns = SpinnerColumn(), "iterations", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, "{task.description}", console=console) as bar:
        task = bar.add_task("", total=total, completed=done)

        def show(done: int, message: str) -> None:
            bar.update(task, completed=done, description=message)
            if not message and not console.is_terminal:
                console.print(f"iteration {done} of {total} done")

        return trainer.run(journal, total, show)


def duration(seconds: float) -> str:
    """Write a time as one would say it: "40 s", "7 min", "2 h 10 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
