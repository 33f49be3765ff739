"""Map what each of the last states of golden solutions is worth: the atlas that the dashboard shows.

State k is a solution without its last k tokens, and its value how often the model completes it rightly.
Values come with exact intervals; most rollouts go where the value changes from one token to the next.

    python -m arc.atlas --tasks 6150a2bd d631b094 --seconds 600    # of the demo model
    python -m arc.atlas --run runs/arc          # of a run's last checkpoint, in its folder
    python -m arc.atlas --tasks golden --model HuggingFaceTB/SmolLM2-360M-Instruct --out runs/atlas-360m

The same command goes on where it stopped, with `--seconds` more; tasks can be added to an atlas.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc.errors import ArcError
from arc.interrupt import end_on_interrupt, one_line_on_interrupt

if __name__ == "__main__":  # before anything that takes time
    end_on_interrupt("stopped before anything was done")

import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from arc.problem import RewardOn, check_limits
from arc.prompt import PromptOptions
from arc.sandbox import Limits
from arc.train_options import Config as Training
from minillm.checkpoint.hub import DEMO_MODEL
from minillm.errors import MinillmError
from rl.atlas import AtlasConfig, ProblemAtlas

if TYPE_CHECKING:
    from minillm import LLM

# Options that a run brings along.
_OF_RUN = ("model", "golden", "reward_on", "precision", "prompt", "limits")


@dataclass(frozen=True)
class Config:
    """Options of `arc.atlas`.

    Attributes:
        tasks: ids of tasks that have a golden solution, "golden" for all of those, or files and folders of
            tasks; by default those of the run, or those that `arc.train` has by default.
        seconds: time for rollouts; those that are being made at its end are finished and kept.
        budget: most rollouts drawn for a task, those of earlier starts included; by default no such bound.
        run: a run of `arc.train`, whose last checkpoint is measured; the options from `model` to `limits`
            are those of the run.
        out: folder of the atlas; by default runs/atlas, or in the run's folder atlas-<iteration>.
        model: a folder, a Hugging Face hub id, or the packaged demo model.
        golden: a folder of golden solutions of one's own, `<task id>.py`; by default those that ship.
        reward_on: pairs that a program has to get right: all, or those of train alone.
        precision: fp32, bf16, fp32-attn-bf16 or bf16-master-fp32.
        prompt: how a task is shown to the model.
        limits: of each run of a program in the sandbox.
        device: where the model is loaded to.
        reward_seconds: how long the programs of one batch of a task may take.
        atlas: which states, how many rollouts.
    """

    tasks: tuple[str, ...] = ()
    seconds: float = 600.0
    budget: int | None = None
    run: Path | None = None
    out: Path | None = None
    model: str = DEMO_MODEL
    golden: Path | None = None
    reward_on: RewardOn = "all"
    precision: str = "fp32"
    prompt: PromptOptions = field(default_factory=PromptOptions)
    limits: Limits = field(default_factory=Limits)
    device: str = "cpu"
    reward_seconds: float = 600.0
    atlas: AtlasConfig = field(default_factory=AtlasConfig)

    def training(self) -> Training:
        """Give the options as those of a run. Raises `ArcError` and `MinillmError` for impossible ones."""
        given = {name: getattr(self, name) for name in _OF_RUN}
        if self.run is None:
            training = replace(Training(**given), tasks=self.tasks or Training.tasks)
        else:
            default = Config()
            if own := [name for name, value in given.items() if value != getattr(default, name)]:
                raise ArcError(f"--run brings its own {own[0]}: leave out --{own[0].replace('_', '-')}")
            training = _of_run(self.run)
            if self.tasks:
                training = replace(training, tasks=self.tasks, held_out=())
        check_limits(training.limits)
        return training


def _of_run(run: Path) -> Training:
    """Read what a run was started with."""
    from rl.journal import FORMAT
    from rl.run_folder import read_config
    from rl.types import from_dict

    training = from_dict(Training, read_config(run, FORMAT))
    return replace(training, golden=Path(training.golden) if training.golden else None)


def make(config: Config, console: Console) -> list[ProblemAtlas]:
    """Make an atlas or go on with it, showing progress on `console`. Raises what `main` prints."""
    training = config.training()
    from arc.training import make_problems  # here and below, so that --help need not wait for torch
    from rl.atlas_rollouts import make_atlas

    llm, name, out = _load(config, training, console)
    problems = make_problems((*training.tasks, *training.held_out), llm.get_tokenizer(), training)
    made_with: dict[str, Any] = {"model": name, "golden": training.golden and str(training.golden)}
    made_with |= {name: getattr(training, name) for name in ("reward_on", "precision")}
    made_with |= {name: asdict(getattr(training, name)) for name in ("prompt", "limits")}
    columns = SpinnerColumn(), BarColumn(), TimeElapsedColumn(), "{task.description}"
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=config.seconds)

        def show(drawn: int, message: str) -> None:
            bar.update(task, completed=bar.tasks[0].elapsed or 0, description=f"{drawn} rollouts: {message}")

        return make_atlas(
            llm,
            problems,
            config.atlas,
            out,
            made_with,
            seconds=config.seconds,
            budget=config.budget,
            reward_seconds=config.reward_seconds,
            progress=show,
        )


def _load(config: Config, training: Training, console: Console) -> tuple[LLM, str, Path]:
    """Load the policy; return it with its name, and the folder of its atlas."""
    from minillm import LLM, Tokenizer, load_model
    from minillm.checkpoint import hub
    from minillm.lora import LoRA
    from rl.journal import last_checkpoint

    folder = hub.resolve(training.model)
    tokenizer, name, out = Tokenizer.from_folder(folder), training.model, Path("runs/atlas")
    if config.run is not None:
        iteration, checkpoint = last_checkpoint(config.run)
        name, out = f"{training.model}, {checkpoint.name}", config.run / f"atlas-{iteration}"
        folder = folder if training.lora.rank else checkpoint
    console.print(f"loading {name} in {training.precision}")
    llm = LLM(load_model(folder, training.precision, config.device), tokenizer)
    if config.run is not None and training.lora.rank:
        LoRA(llm.model, **asdict(training.lora)).load(checkpoint)
    return llm, name, config.out or out


def table(parts: Sequence[ProblemAtlas]) -> Table:
    """Tabulate an atlas: of each problem its rollouts, the value of its first state, and its largest jump."""
    names = ("states", "drawn", "with shared", "value at the first", "largest jump", "at k")
    result = Table("task", *(Column(name, justify="right") for name in names), "token")
    for part in parts:
        first = part.entries[0]
        top = max(part.entries, key=lambda entry: entry.jump or 0.0)
        counts = len(part.entries), part.drawn, sum(entry.rollouts for entry in part.entries)
        known = first.value is not None
        value = f"{first.value:.2f} ({first.low:.2f} to {first.high:.2f})" if known else "-"
        jump = (f"{top.jump:+.2f}", str(top.k), Text(repr(top.text))) if known else ("-", "-", "-")
        result.add_row(part.problem_id, *map(str, counts), value, *jump)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    console = Console()
    config = tyro.cli(Config, description=__doc__, args=arguments)
    with one_line_on_interrupt("stopped; the same command goes on"):
        try:
            parts = make(config, console)
        except (MinillmError, ArcError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    console.print(table(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
