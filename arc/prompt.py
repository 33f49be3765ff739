"""What a model reads of a task, and the way from a golden solution to a completion and back, as text.

The assistant's turn opens with `ASSISTANT_PREFIX`, so a completion begins inside the docstring of `solve`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from arc.errors import ArcError
from arc.features import Feature, describe
from arc.tasks import Example, Grid, Task

SIGNATURE = "def solve(grid: list[list[int]]) -> list[list[int]]:"
CODE_PREFIX = f'{SIGNATURE}\n    """\n    Observation:'
FENCE = "```"
ASSISTANT_PREFIX = f"{FENCE}python\n{CODE_PREFIX}"
STOP = (FENCE,)
QUOTES = '"""'
# Of the pairs that a program gets wrong, so many are shown to the model.
MOST_WRONG = 2


@dataclass(frozen=True)
class PromptOptions:
    """What the prompt shows of each grid, and which examples in which order."""

    transposed: bool = False
    """Also show each grid transposed, so that its columns can be read as rows."""
    size: bool = True
    """Name each grid's size, rows x columns."""
    max_examples: int | None = None
    """Show only the first this many train examples of their order; all of them where it is None."""
    order: Literal["given", "reversed", "smallest first", "largest first", "shuffled"] = "given"
    """Order of the train examples: as the task has them, or by the cells of input and output, or drawn."""
    seed: int = 0
    """Of the order "shuffled"."""
    features: tuple[Feature, ...] = ()
    """What is said of each grid in words: its colors, components, symmetries."""
    test_inputs: bool = True
    """Also show the test inputs."""

    def __post_init__(self) -> None:
        if self.max_examples is not None and self.max_examples < 1:
            raise ArcError(f"max_examples must be at least 1, and not {self.max_examples}")


def user_message(task: Task, options: PromptOptions = PromptOptions()) -> str:
    """Write the request: train examples, test inputs, and never a test output."""
    texts = [f"Write `{SIGNATURE}` that turns each input into its output."]
    for example in _ordered(task, options)[: options.max_examples]:
        texts.append(_grid_text("Input", example.input, options))
        texts.append(_grid_text("Output", example.output, options))
    if options.test_inputs:
        texts.extend(_grid_text("Test input", example.input, options) for example in task.test)
    return "\n\n".join(texts)


def messages(task: Task, options: PromptOptions = PromptOptions()) -> list[dict[str, str]]:
    """Make the conversation up to the assistant's turn, which `ASSISTANT_PREFIX` opens."""
    return [{"role": "user", "content": user_message(task, options)}]


def refinement(
    task: Task, source: str, outputs: Sequence[Grid | None], error: str | None, options: PromptOptions
) -> list[dict[str, str]]:
    """Go on with the conversation after a program that is wrong: it, and what it made of the train inputs.

    `outputs` are those of all train pairs, in the task's order; of the wrong ones the first two are shown.
    """
    wrong = [number for number, example in enumerate(task.train) if outputs[number] != example.output]
    texts = ["That is not right yet."]
    for number in wrong[:MOST_WRONG]:
        output, example = outputs[number], task.train[number]
        texts.append(_grid_text("For this input", example.input, options))
        texts.append("it gives no grid." if output is None else _grid_text("it gives", output, options))
        texts.append(_grid_text("and the output is", example.output, options))
    if error:
        texts.append(f"An error: {error}.")
    if right := len(task.train) - len(wrong):
        texts.append(f"It is right on {right} of {len(task.train)} examples.")
    texts.append(f"Write `{SIGNATURE}` again, corrected.")
    answer = {"role": "assistant", "content": f"{FENCE}python\n{source.rstrip()}\n{FENCE}"}
    return [*messages(task, options), answer, {"role": "user", "content": "\n\n".join(texts)}]


def golden_docstring(source: str) -> str:
    """Cut out of a golden solution what lies between `CODE_PREFIX` and its code: the docstring's rest."""
    text = completion_text(source)
    return text[: text.index(QUOTES) + len(QUOTES)] + "\n"


def completion_text(source: str) -> str:
    """Cut `CODE_PREFIX` off a source and close the fence. Raises `ArcError` where it starts otherwise."""
    if not source.startswith(CODE_PREFIX):
        first = source.split("\n", 1)[0]
        raise ArcError(f"a golden solution starts with {CODE_PREFIX!r}, and not with {first!r}")
    return f"{source.removeprefix(CODE_PREFIX).rstrip()}\n{FENCE}"


def program(completion: str) -> str:
    """Make a completion the source of a program: the inverse of `completion_text`.

    The program ends before the closing fence, and before the first later line that is neither blank nor
    indented: what follows the one function is no part of it.
    """
    first, *rest = completion.split(FENCE, 1)[0].split("\n")
    kept = takewhile(lambda line: not line or line[0].isspace(), rest)
    return CODE_PREFIX + "\n".join((first, *kept)).rstrip() + "\n"


def _ordered(task: Task, options: PromptOptions) -> list[Example]:
    """Put the train examples into the order of the options."""
    examples = list(task.train)
    match options.order:
        case "reversed":
            examples.reverse()
        case "smallest first" | "largest first":
            examples.sort(key=_cells, reverse=options.order == "largest first")
        case "shuffled":
            random.Random(f"{options.seed} {task.id}").shuffle(examples)
    return examples


def _cells(example: Example) -> int:
    return sum(len(row) for grid in (example.input, example.output) for row in grid)


def _grid_text(name: str, grid: Grid, options: PromptOptions) -> str:
    size = f" {len(grid)}x{len(grid[0])}" if options.size else ""
    text = f"{name}{size}:\n{_digits(grid)}"
    if options.transposed:
        text += f"\nTransposed:\n{_digits([list(column) for column in zip(*grid, strict=True)])}"
    return "\n".join([text, *(describe(grid, feature) for feature in options.features)])


def _digits(grid: Grid) -> str:
    return "\n".join("".join(map(str, row)) for row in grid)
