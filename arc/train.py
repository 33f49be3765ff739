"""Single-token reinforcement learning of a small model on ARC tasks.

Golden solutions are cut off some tokens before their end. In each such state the model tries several next
tokens and completes each several times; the programs are run, and tokens that lead to right ones more often
than the others are made likelier. As a task's rewards rise, more of its solution is cut off.

    python -m arc.train                         # the demo model, three tasks
    python -m arc.train --tasks 74dd1130 --run runs/mine --iterations 20
    python -m arc.train --held-out 68b16354 --settings.evaluate-k 4 8 16 --settings.evaluate-every 5
    python -m arc.train --algorithm grpo --run runs/grpo    # or sft: what it is compared with
    python -m arc.train --warm-start runs/arc --run runs/again
    python -m arc.train --lora.rank 16 --method.learning-rate 3e-4 --run runs/lora

A run that was stopped goes on where it was: give the same command again. `tensorboard --logdir runs` shows
the numbers of all runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Column, Table

from arc.errors import ArcError
from arc.problem import ArcProblem
from arc.prompt import PromptOptions
from arc.sandbox import Limits
from minillm import LLM, MinillmError, Tokenizer, load_model
from minillm._shadow import require_own
from minillm.checkpoint import hub
from minillm.checkpoint.hub import DEMO_MODEL
from minillm.lora import LoRA
from minillm.parity import probe

require_own("rl")

from rl.grpo import GRPO, GRPOConfig
from rl.journal import Journal
from rl.reference import Reference
from rl.run import Method, Settings
from rl.sft import SFT, SFTConfig
from rl.single_token import MethodConfig, SingleToken
from rl.trainer import Summary, Trainer

# Text that has nothing to do with the tasks, and should stay as likely as it is.
PROBE = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "Water boils at one hundred degrees at sea level, and at less on a mountain.",
    "def add(a, b):\n    return a + b\n\nprint(add(2, 3))",
    "import json\n\nwith open(path) as file:\n    data = json.load(file)\n",
)


# Options that may change when a run goes on.
FREE = ("run", "iterations", "keep_last", "keep_every")
FREE_SETTINGS = ("reward_seconds",)

# Of each algorithm the name of its options in `Config`, and its class.
ALGORITHMS: dict[str, tuple[str, Callable[[Any], Method]]] = {
    "single-token": ("method", SingleToken),
    "sft": ("sft", SFT),
    "grpo": ("grpo", GRPO),
}


@dataclass(frozen=True)
class LoRAConfig:
    """Options of LoRA.

    Attributes:
        rank: of the adapters; 0 to train all weights.
        alpha: adapters are multiplied by alpha / rank.
        targets: matrices that have one.
    """

    rank: int = 0
    alpha: float = 16.0
    targets: tuple[str, ...] = ("qkv", "o", "gate_up", "down")


@dataclass(frozen=True)
class Config:
    """Options of a training run.

    Attributes:
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        tasks: ids of tasks that have a golden solution.
        held_out: ids of tasks that are evaluated, and never trained.
        run: folder of the run: journal, checkpoint, configuration. Not shared between configurations.
        iterations: how many rounds of rollouts and updates in all, those of earlier starts included.
        precision: fp32, bf16, fp32-attn-bf16 or bf16-master-fp32.
        algorithm: single-token reinforcement learning, supervised fine-tuning on golden solutions, or GRPO.
        warm_start: folder of another run, whose entries are trained on before anything is sampled.
        stale: whether saved entries of another policy are judged again or left out.
        reference: keep a copy of the model as it was at first; entries have its logprobs, too.
        method: single-token learning: how actions are sampled, judged and trained.
        sft: supervised fine-tuning.
        grpo: GRPO.
        lora: adapters in place of all weights.
        settings: evaluation, and limits of the work.
        keep_last: checkpoints kept, the newest; the run goes on from the last.
        keep_every: every so many iterations a checkpoint is kept for good; 0 for none.
        prompt: how a task is shown to the model.
        limits: of each run of a program in the sandbox.
    """

    model: str = DEMO_MODEL
    tasks: tuple[str, ...] = ("6150a2bd", "d631b094", "e9afcf9a")
    held_out: tuple[str, ...] = ()
    run: Path = Path("runs/arc")
    iterations: int = 6
    precision: str = "fp32"
    algorithm: Literal["single-token", "sft", "grpo"] = "single-token"
    warm_start: Path | None = None
    stale: Literal["rescore", "drop"] = "rescore"
    reference: bool = True
    method: MethodConfig = field(default_factory=MethodConfig)
    sft: SFTConfig = field(default_factory=SFTConfig)
    grpo: GRPOConfig = field(default_factory=GRPOConfig)
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    settings: Settings = field(default_factory=Settings)
    keep_last: int = 1
    keep_every: int = 0
    prompt: PromptOptions = field(default_factory=PromptOptions)
    limits: Limits = field(default_factory=Limits)

    def fixed(self) -> dict[str, Any]:
        """List what a run folder is bound to: not its place, how long the run is, or other algorithms."""
        others = {options for name, (options, _) in ALGORITHMS.items() if name != self.algorithm}
        fixed = {k: v for k, v in asdict(self).items() if k not in {*FREE, *others}}
        settings = {k: v for k, v in fixed["settings"].items() if k not in FREE_SETTINGS}
        return {**fixed, "settings": settings, "warm_start": self.warm_start and str(self.warm_start)}

    def make_method(self) -> Method:
        """Make the algorithm; raise `MinillmError` for options that make no sense."""
        if self.algorithm == "single-token":
            return SingleToken(self.method, self.warm_start, self.stale)
        if self.warm_start is not None:
            raise MinillmError(f"--warm-start is for single-token learning, not for {self.algorithm}")
        options, make = ALGORITHMS[self.algorithm]
        return make(getattr(self, options))


def make_problems(tasks: Sequence[str], tokenizer: Tokenizer, config: Config) -> list[ArcProblem]:
    """Make tasks problems for a tokenizer's model. Raises `ArcError` for those without a solution."""
    encode = partial(tokenizer.encode, add_special_tokens=False)
    shared = tokenizer.encode_chat, encode, tokenizer.decode, config.prompt, config.limits
    return [ArcProblem(task_id, *shared) for task_id in tasks]


def train(config: Config, console: Console) -> list[Summary]:
    """Run or resume `config`, showing progress on `console`; return how each task fared.

    Raises `MinillmError` or `ArcError` for what the user can mend.
    """
    named = (*config.tasks, *config.held_out)
    if len(set(named)) != len(named):
        raise ArcError(f"tasks are named twice: {' '.join(named)}")
    if config.keep_last < 1 or config.keep_every < 0:
        kept = f"{config.keep_last} and {config.keep_every}"
        raise MinillmError(f"keep_last must be at least 1 and keep_every not negative, got {kept}")
    method = config.make_method()
    folder = hub.resolve(config.model)
    tokenizer = Tokenizer.from_folder(folder)
    problems = make_problems(config.tasks, tokenizer, config)
    held_out = make_problems(config.held_out, tokenizer, config)
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
    columns = SpinnerColumn(), "iterations", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    # The folder is opened last, so that a mistake above leaves none behind.
    with (
        Journal.open(config.run, config.fixed(), config.keep_last, config.keep_every) as journal,
        Progress(*columns, "{task.description}", console=console) as bar,
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
    """Tabulate the outcome, a row a task."""
    names = ("k at start", "k at end", "reward before", "reward after", "moves confirmed")
    columns = [Column(name, justify="right") for name in names]
    result = Table("task", *columns, title="rewards are measured at the first k, before and after training")
    for s in summaries:
        rewards = f"{s.reward_before:.2f}", f"{s.reward_after:.2f}"
        moves = f"{s.moves_confirmed} of {s.moves_checked}" if s.moves_checked else "-"
        result.add_row(s.problem_id, str(s.k_start), str(s.k_end), *rewards, moves)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
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
