"""What the pages show, as plain data: an index of all tasks, small pictures of them, and a record of each.

A grid is text: a digit a cell, rows joined by "/"; an output that is not known is "".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from arc.catalogue import KINDS, largest
from arc.prompt import ASSISTANT_PREFIX, completion_text, user_message
from arc.sandbox import RunResult
from arc.site.findings import Finding
from arc.site.solution import Solution, read_solution
from arc.tasks import Example, Grid, Split, Task

SPLITS: dict[Split, str] = {
    "arc2-training": "ARC-AGI-2 training",
    "arc2-evaluation": "ARC-AGI-2 evaluation",
    "arc1-training": "ARC-AGI-1 training",
    "arc1-evaluation": "ARC-AGI-1 evaluation",
}
SETS: dict[str, str] = dict([*SPLITS.items(), ("own", "own tasks")])
# Pictures that one file holds: some screens of a phone, one of a desktop.
PICTURES = 48


@dataclass(frozen=True)
class Tokens:
    """Counts tokens by the tokenizer of the model `of`: of a text, and of all before a task's program."""

    of: str
    text: Callable[[str], int]
    prompt: Callable[[Task], int]


@dataclass(frozen=True)
class Golden:
    """A golden solution, what it made of the task's inputs, and what is known of it."""

    source: str
    result: RunResult
    kinds: tuple[str, ...]
    finding: Finding | None
    """None where it was not checked."""
    solution: Solution = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "solution", read_solution(self.source))


def cells(grid: Grid) -> str:
    """Write a grid as text."""
    return "/".join("".join(map(str, row)) for row in grid)


def index(tasks: Sequence[Task], sets: Mapping[str, Sequence[str]], golden: Mapping[str, Golden]) -> Any:
    """Make what the list needs to search, filter and sort; the pictures are by themselves."""
    used = [name for name in SETS if any(name in sets[task.id] for task in tasks)]
    rows = []
    for task in tasks:
        grids = [grid for e in task.examples for grid in (e.input, e.output)]
        solved = golden.get(task.id)
        rows.append(
            [
                task.id,
                [used.index(name) for name in sets[task.id]],
                largest(task),
                "".join(sorted({str(cell) for grid in grids for row in grid for cell in row})),
                [list(KINDS).index(kind) for kind in solved.kinds] if solved else None,
                solved.solution.code_lines if solved else None,
            ]
        )
    return {
        "sets": [[name, SETS[name]] for name in used],
        "kinds": list(KINDS.items()),
        "pictures": PICTURES,
        "tasks": rows,
    }


def pictures(tasks: Sequence[Task]) -> list[list[list[str]]]:
    """Cut the tasks' first pairs into lists that are loaded when they come into sight."""
    pairs = [[cells(task.train[0].input), cells(task.train[0].output)] for task in tasks]
    return [pairs[i : i + PICTURES] for i in range(0, len(pairs), PICTURES)]


def record(task: Task, sets: Sequence[str], golden: Golden | None, tokens: Tokens) -> Any:
    """Make what a task's own page shows."""
    return {
        "id": task.id,
        "sets": [SETS[name] for name in sets],
        "train": _pairs(task.train),
        "test": _pairs(task.test),
        "prompt": f"{user_message(task)}\n\n{ASSISTANT_PREFIX}",
        "tokens": {"of": tokens.of, "prompt": tokens.prompt(task)},
        "golden": _golden(task, golden, tokens) if golden else None,
    }


def _golden(task: Task, golden: Golden, tokens: Tokens) -> Any:
    solution, finding = golden.solution, golden.finding
    outputs = [
        True if output and output == example.output else cells(output or [])
        for output, example in zip(golden.result.outputs, task.examples, strict=True)
    ]
    shown = finding and {
        "problems": finding.problems,
        "hidden_right": finding.hidden_right,
        "hidden": finding.hidden,
        "kept": finding.kept,
        "siblings": [[*_pairs([pair])[0], pair.how] for pair in finding.siblings],
    }
    return {
        "kinds": [KINDS[kind] for kind in golden.kinds],
        "lines": [[part for piece in line for part in piece] for line in solution.lines],
        "docstring": solution.docstring,
        "observations": solution.observations,
        "procedure": solution.procedure,
        "steps": solution.steps,
        "codeLines": solution.code_lines,
        "tokens": tokens.text(_completion(golden.source)),
        "outputs": outputs,
        "error": golden.result.error,
        "finding": shown,
    }


def _completion(source: str) -> str:
    """Make a solution a completion; one of a wrong format, which its check says, stays as it is."""
    try:
        return completion_text(source)
    except ValueError:
        return source


def _pairs(examples: Sequence[Example]) -> list[list[str]]:
    return [[cells(example.input), cells(example.output)] for example in examples]
