"""Draw tasks, their golden solutions' outputs and any program's side by side; print prompts.

Cells that are not as expected end in `!`. Golden solutions and programs run in the sandbox.

    python -m arc.show 007bbfb7
    python -m arc.show 007bbfb7 --program mine.py other.py
    python -m arc.show mytasks/ --golden mysolutions/
    python -m arc.show 007bbfb7 --prompt --options.transposed --options.features components symmetries
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.text import Text

from arc.draw import difference, draw, size
from arc.errors import ArcError
from arc.interrupt import one_line_on_interrupt
from arc.problem import check_limits
from arc.prompt import ASSISTANT_PREFIX, PromptOptions, completion_text, messages, user_message
from arc.sandbox import Limits, RunResult, run_many
from arc.tasks import Example, Task, golden_ids, golden_source, read_tasks
from minillm.checkpoint.hub import DEMO_MODEL
from minillm.errors import MinillmError

if TYPE_CHECKING:
    from minillm import Tokenizer


@dataclass(frozen=True)
class Config:
    """Options of `arc.show`.

    Attributes:
        tasks: task ids, "all", "golden", a set's name, or files and folders of tasks.
        program: files with a function `solve`, whose outputs are shown too.
        golden: a folder of golden solutions of one's own, `<task id>.py`; by default those that ship.
        prompt: print what a model reads of the tasks, and how many tokens that is, in place of drawings.
        model: whose tokens they are.
        options: of the prompt.
        limits: of each run of a program in the sandbox.
    """

    tasks: Annotated[tuple[str, ...], tyro.conf.Positional]
    program: tuple[Path, ...] = ()
    golden: Path | None = None
    prompt: bool = False
    model: str = DEMO_MODEL
    options: PromptOptions = field(default_factory=PromptOptions)
    limits: Limits = field(default_factory=lambda: Limits(seconds=10.0))


def show(config: Config, console: Console) -> None:
    """Draw the tasks, or print their prompts. Raises `ArcError` and `MinillmError` for what one can mend."""
    check_limits(config.limits)
    if not config.tasks:
        raise ArcError("there is no task to show; name one, such as 007bbfb7")
    tasks = read_tasks(config.tasks, config.golden)
    names = [path.name for path in config.program]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ArcError(f"two programs are called {min(twice)}, which names its column; rename one")
    programs = {path.name: _read(path) for path in config.program}
    solved = set(golden_ids(config.golden))
    tokenizer = _tokenizer(config.model) if config.prompt else None
    for task in tasks:
        golden = {"golden": golden_source(task.id, config.golden)} if task.id in solved else {}
        if tokenizer is not None:
            print(prompt_text(task, golden.get("golden"), config.options, tokenizer))
            print(f"with the tokenizer of {config.model}")
        else:
            console.print(drawing(task, {**golden, **programs}, config.limits))


def drawing(task: Task, programs: dict[str, str], limits: Limits) -> RenderableType:
    """Draw each pair of a task with the outputs of programs, which are named."""
    jobs = [(source, [example.input for example in task.examples]) for source in programs.values()]
    results = dict(zip(programs, run_many(jobs, limits), strict=True))
    lines: list[RenderableType] = [Text(f"task {task.id}", style="bold")]
    lines += [
        Text(f"{name}: {result.error}", style="red") for name, result in results.items() if result.error
    ]
    names = [f"{part} {i + 1}" for part in ("train", "test") for i in range(len(getattr(task, part)))]
    for number, (name, example) in enumerate(zip(names, task.examples, strict=True)):
        lines += [Text(), Text(name, style="bold"), Columns(_pair(example, results, number), padding=(0, 3))]
    return Group(*lines, Text())


def prompt_text(task: Task, golden: str | None, options: PromptOptions, tokenizer: Tokenizer) -> str:
    """Write what a model reads before it writes a program, with a last line that counts tokens."""

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False))

    whole = len(tokenizer.encode_chat(messages(task, options))) + count(ASSISTANT_PREFIX)
    counts = f"{whole} tokens, {count(user_message(task, options))} of them the task's"
    if golden is not None:
        counts += f"; its golden solution has {count(completion_text(golden))} more"
    return f"{user_message(task, options)}\n\n{ASSISTANT_PREFIX}\n\ntask {task.id}: {counts}"


def _pair(example: Example, results: dict[str, RunResult], number: int) -> list[RenderableType]:
    """Draw one pair, and what each program made of its input."""
    known = example.output or None
    drawn: list[RenderableType] = [_titled(f"input {size(example.input)}", draw(example.input))]
    if known:
        drawn.append(_titled(f"output {size(known)}", draw(known)))
    for name, result in results.items():
        output = result.outputs[number]
        if output is None:
            drawn.append(_titled(f"{name}: no output", Text()))
        else:
            verdict = difference(output, known) if known else size(output)
            drawn.append(_titled(f"{name}: {verdict}", draw(output, known)))
    return drawn


def _titled(title: str, drawn: Text) -> RenderableType:
    return Group(Text(title, style="dim", no_wrap=True), drawn)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.reason
        raise ArcError(f"cannot read the program {path}: {reason}") from None


def _tokenizer(model: str) -> Tokenizer:
    from minillm import Tokenizer  # here, since it is slow to import, and drawings need none
    from minillm.checkpoint.hub import resolve_tokenizer

    return Tokenizer.from_folder(resolve_tokenizer(model))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    config = tyro.cli(Config, description=__doc__, args=arguments)
    with one_line_on_interrupt("stopped"):
        try:
            show(config, Console())
        except (ArcError, MinillmError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
