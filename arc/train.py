"""Single-token reinforcement learning of a small model on ARC tasks.

Golden solutions are cut off some tokens before their end. In each such state the model tries several
next tokens and completes each several times; the programs are run, and tokens that lead to right ones
more often than the others are made likelier. As a task's rewards rise, more of its solution is cut off.

    python -m arc.train                         # the demo model, three tasks
    python -m arc.train --tasks 74dd1130 --run runs/mine --iterations 20

A run that was stopped goes on where it was: give the same command again.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import tyro
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from arc.errors import ArcError
from arc.problem import ArcProblem
from arc.prompt import PromptOptions
from arc.sandbox import Limits
from minillm import LLM, MinillmError, Tokenizer, hub, load_model
from minillm._shadow import require_own
from minillm.hub import DEMO_MODEL
from minillm.parity import probe

require_own("rl")

from rl.journal import Journal
from rl.trainer import MethodConfig, Summary, Trainer


@dataclass(frozen=True)
class Config:
    """Options of a training run.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        tasks: ids of tasks that have a golden solution.
        run: folder of the run: journal, checkpoint, configuration. Not shared between configurations.
        iterations: how many rounds of rollouts and updates in all, those of earlier starts included.
        precision: fp32, bf16, fp32-attn-bf16 or bf16-master-fp32.
        method: how actions are sampled, judged and trained.
        prompt: how a task is shown to the model.
        limits: of each run of a program in the sandbox.
    """

    model: str = DEMO_MODEL
    tasks: tuple[str, ...] = ("6150a2bd", "d631b094", "e9afcf9a")
    run: Path = Path("runs/arc")
    iterations: int = 6
    precision: str = "fp32"
    method: MethodConfig = field(default_factory=MethodConfig)
    prompt: PromptOptions = field(default_factory=PromptOptions)
    limits: Limits = field(default_factory=Limits)

    def fixed(self) -> dict[str, object]:
        """What a run folder is bound to: everything but where it lies and how long it goes on."""
        return {key: value for key, value in asdict(self).items() if key not in ("run", "iterations")}


def train(config: Config, console: Console) -> list[Summary]:
    """Run or resume `config`, showing progress on `console`; returns how each task fared.

    Raises `MinillmError` or `ArcError` for what the user can mend.
    """
    if len(set(config.tasks)) != len(config.tasks):
        raise ArcError(f"tasks are named twice: {' '.join(config.tasks)}")
    folder = hub.resolve(config.model)
    tokenizer = Tokenizer.from_folder(folder)

    def encode(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False)

    problems = [
        ArcProblem(
            task_id,
            tokenizer.encode_chat,
            encode,
            tokenizer.decode,
            config.prompt,
            config.limits,
        )
        for task_id in config.tasks
    ]
    console.print(f"loading {config.model} in {config.precision}")
    llm = LLM(load_model(folder, config.precision), tokenizer)
    console.print(str(probe(llm.model)))
    trainer = Trainer(llm, problems, config.method, folder)
    columns = (
        SpinnerColumn(),
        TextColumn("iterations"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    # The folder is opened last, so that a mistake above leaves none behind.
    with (
        Journal.open(config.run, config.fixed()) as journal,
        Progress(*columns, console=console) as bar,
    ):
        if journal.iteration:
            console.print(f"going on after iteration {journal.iteration} of {config.run}")
        task = bar.add_task("", total=config.iterations)

        def show(done: int, message: str) -> None:
            bar.update(task, completed=done, description=message)
            if not message and not console.is_terminal:
                console.print(f"iteration {done} of {config.iterations} done")

        return trainer.run(journal, config.iterations, show)


def table(summaries: list[Summary]) -> Table:
    """The outcome, a row a task."""
    result = Table(title="state reward is measured at the first k, before and after training")
    result.add_column("task")
    for name in ("k at start", "k at end", "reward before", "reward after", "moves confirmed"):
        result.add_column(name, justify="right")
    for s in summaries:
        result.add_row(
            s.problem_id,
            str(s.k_start),
            str(s.k_end),
            f"{s.reward_before:.2f}",
            f"{s.reward_after:.2f}",
            f"{s.moves_confirmed} of {s.moves_checked}",
        )
    return result


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    console = Console()
    config = tyro.cli(Config, description=__doc__, args=arguments)
    try:
        summaries = train(config, console)
    except (MinillmError, ArcError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from {config.run}", file=sys.stderr)
        return 130
    console.print(table(summaries))
    console.print(f"all rollouts: {config.run / 'journal.jsonl'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
