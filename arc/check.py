"""Checks golden solutions: their format, their task's pairs, and hidden inputs.

Hidden inputs are siblings of the task's own (`arc.siblings`), made by the golden solution that ships with the
task, or else by the solution itself: what only remembers the task's pairs is wrong on them, or has no answer.

    python -m arc.check                         # all golden solutions
    python -m arc.check 007bbfb7 --golden mine  # or some of one's own, files <task id>.py in a folder
    python -m arc.check --pairs re_arc/tasks    # and how many of other people's pairs come out right
    python -m arc.check --pairs re_arc/tasks --write   # ... also in arc/README.md of a checkout
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from arc.catalogue import LARGE, largest, write_between
from arc.errors import ArcError
from arc.golden_format import check_format, code_lines, literal_grids
from arc.interrupt import one_line_on_interrupt
from arc.prompt import completion_text
from arc.sandbox import Limits, run_solve, warm_sandboxes
from arc.siblings import Sibling, changed_inputs, find_kept, run_all, siblings
from arc.tasks import Example, Task, golden_ids, golden_source, load_task, read_pairs

# Who answers a smaller share of changed inputs knows the examples alone: the lowest of ours is 0.33. The
# largest share of inputs that one of ours gives back as they are is 0.4.
LEAST_ANSWERED = 0.2
MOST_GIVEN_BACK = 0.7
# A literal grid of fewer cells may be a shape of the rule.
_LEAST_CELLS = 4
HIDDEN = 20
# Of other people's pairs, who has this share of them is said to agree with them.
AGREES = 0.95
BEGIN, END = "<!-- arc.check begins -->", "<!-- arc.check ends -->"


@dataclass(frozen=True)
class Report:
    """What was found of a solution; `problems` is empty for a good one."""

    task_id: str
    problems: tuple[str, ...]
    right: int
    """Of the task's own pairs, how many come out right, of `pairs`."""
    pairs: int
    hidden_right: int
    hidden: int
    kept: tuple[str, ...]
    """Symmetries that keep the rule, by their names in `arc.augment`."""
    lines: int
    """Of code, without signature and docstring."""
    cells: int
    """Of the task's largest grid."""
    others_right: int = 0
    """Of `others` pairs that came from elsewhere, how many come out right."""
    others: int = 0
    siblings: tuple[Sibling, ...] = ()
    """The hidden inputs, and what is right for them."""


def check_pairs(task: Task, source: str) -> tuple[list[str], int]:
    """List what is wrong in a solution's text and on its task's pairs, and count the pairs that are right.

    Raises `ArcError` without a sandbox.
    """
    problems = check_format(source)
    names = [f"{part} {i + 1}" for part in ("train", "test") for i in range(len(getattr(task, part)))]
    result = run_solve(source, [example.input for example in task.examples], Limits(seconds=10.0))
    if result.error:
        problems.append(f"a run failed: {result.error}")
    right = 0
    for name, output, example in zip(names, result.outputs, task.examples, strict=True):
        right += output == example.output
        if output is not None and output != example.output:
            problems.append(f"{name}: the output is not the expected one")
    return problems, right


def check_solution(
    task: Task,
    source: str,
    reference: str | None = None,
    seed: int = 0,
    others: Sequence[Example] = (),
) -> Report:
    """Check a solution: its format, the task's pairs, and hidden inputs.

    Args:
        task: that it is to solve.
        source: its text.
        reference: another solution, trusted to answer hidden inputs; without one the solution answers them
            itself, and only has to be a rule.
        seed: of the hidden inputs.
        others: further pairs, which are counted alone: their makers may read the rule otherwise.

    Raises `ArcError` without a sandbox.
    """
    problems, right = check_pairs(task, source)
    lines = 0
    if not any(problem.startswith("it does not compile") for problem in problems):
        lines = code_lines(source)
        problems += _literal_outputs(task, source)
    kept = find_kept(task, reference or source) if reference or not problems else None
    hidden = siblings(task, reference or source, HIDDEN, seed, kept=kept) if kept else []
    outputs = run_all(source, [pair.input for pair in hidden])
    hidden_right = sum(output == pair.output for output, pair in zip(outputs, hidden, strict=True))
    if hidden_right < len(hidden):
        problems.append(f"hidden inputs: {len(hidden) - hidden_right} of {len(hidden)} come out wrong")
    if not problems:
        problems += _memory(task, source, seed)
    if kept and not hidden:
        problems.append(
            "hidden inputs: none could be made: what it makes of changed inputs does not hang together"
        )
    answers = run_all(source, [pair.input for pair in others])
    others_right = sum(output == pair.output for output, pair in zip(answers, others, strict=True))
    return Report(
        task_id=task.id,
        problems=tuple(problems),
        right=right,
        pairs=len(task.examples),
        hidden_right=hidden_right,
        hidden=len(hidden),
        kept=kept.symmetries if kept else (),
        lines=lines,
        cells=largest(task),
        others_right=others_right,
        others=len(others),
        siblings=tuple(hidden),
    )


def _literal_outputs(task: Task, source: str) -> list[str]:
    """List the grids of the task that are written out in the code."""
    grids = [grid for e in task.examples for grid in (e.input, e.output)]
    return [
        f"line {line} holds a grid of the task"
        for line, rows in literal_grids(source)
        if rows in grids and sum(map(len, rows)) >= _LEAST_CELLS
    ]


def _memory(task: Task, source: str, seed: int) -> list[str]:
    """List the signs that a solution knows the task's examples, and not its rule."""
    inputs = changed_inputs(task, seed)
    outputs = run_all(source, inputs)
    answered = [(grid, output) for grid, output in zip(inputs, outputs, strict=True) if output is not None]
    problems = []
    if len(answered) < LEAST_ANSWERED * len(inputs):
        problems.append(f"it has an answer to {len(answered)} of {len(inputs)} changed inputs alone")
    back = sum(grid == output for grid, output in answered)
    if back > MOST_GIVEN_BACK * len(inputs):
        problems.append(f"it gives {back} of {len(inputs)} changed inputs back as they are")
    first = answered[0][1] if answered else None
    several = any(e.output != task.train[0].output for e in task.examples)
    if several and len(answered) > 1 and all(output == first for _, output in answered):
        problems.append(f"it has one answer for all of {len(answered)} changed inputs")
    return problems


def print_table(
    reports: Sequence[Report], tokens: Callable[[str], int], source_of: Callable[[str], str]
) -> None:
    """Print one row a solution, and what they come to."""
    from rich.console import Console
    from rich.table import Column, Table

    names = ["pairs", "hidden", "symmetries", "cells", "lines", "tokens"]
    has_others = any(r.others for r in reports)
    names.insert(2, "others") if has_others else None
    table = Table("task", *(Column(name, justify="right") for name in names), "problems", box=None)
    for r in reports:
        numbers = [f"{r.right}/{r.pairs}", f"{r.hidden_right}/{r.hidden}", len(r.kept), r.cells, r.lines]
        if has_others:
            numbers.insert(2, f"{r.others_right}/{r.others}" if r.others else "-")
        problems = "; ".join(r.problems).replace("[", r"\[") or "ok"
        table.add_row(r.task_id, *map(str, numbers), str(tokens(source_of(r.task_id))), problems)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    good = [r for r in reports if not r.problems]
    median = sorted(r.lines for r in reports)[len(reports) // 2]
    large = sum(r.cells >= LARGE for r in reports)
    console.print(
        f"{len(good)} of {len(reports)} solutions are good; median of {median} lines of code; "
        f"{large} have a grid of {LARGE} cells or more"
    )
    if sentence := others_sentence(reports):
        console.print(sentence)


def others_sentence(reports: Sequence[Report]) -> str:
    """Say how many of other people's pairs come out right; nothing where there are none."""
    asked = [r for r in reports if r.others]
    right, total = sum(r.others_right for r in asked), sum(r.others for r in asked)
    if not total:
        return ""
    most = len(asked) - len(_disagreeing(asked))
    return (
        f"others' pairs of {len(asked)} tasks: {right} of {total} come out right ({right / total:.1%}); "
        f"{most} solutions have {AGREES:.0%} or more"
    )


def _disagreeing(reports: Sequence[Report]) -> list[Report]:
    return [r for r in reports if r.others_right < AGREES * r.others]


def results(reports: Sequence[Report]) -> str:
    """Write in Markdown how many solutions are good, and which of them others' pairs do not bear out."""
    good = sum(not r.problems for r in reports)
    own, hidden = sum(r.right for r in reports), sum(r.hidden_right for r in reports)
    rows = [
        f"{good} of {len(reports)} solutions are good: {own} of {sum(r.pairs for r in reports)} of the "
        f"tasks' own pairs come out right, and {hidden} of {sum(r.hidden for r in reports)} hidden ones. "
        f"{others_sentence(reports).capitalize()}, and these have less:",
        "",
        "| task | right | pairs | share |",
        "|---|---:|---:|---:|",
        *(
            f"| {r.task_id} | {r.others_right} | {r.others} | {r.others_right / r.others:.0%} |"
            for r in _disagreeing(reports)
        ),
    ]
    return "\n".join(rows) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 0 where every solution is right."""
    parser = argparse.ArgumentParser(
        prog="python -m arc.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", nargs="*", metavar="id", help="task ids (default: all that have a solution)")
    parser.add_argument(
        "--golden", type=Path, metavar="FOLDER", help="solutions of one's own: files <task id>.py"
    )
    parser.add_argument(
        "--pairs", type=Path, metavar="FOLDER", help="more pairs, in re-arc's layout, files <id>.json"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the hidden inputs (default: 0)")
    parser.add_argument(
        "--tokenizer", metavar="MODEL", help="whose tokens are counted (default: the demo model)"
    )
    parser.add_argument(
        "--write", action="store_true", help="put the results of all and of --pairs into arc/README.md"
    )
    options = parser.parse_args(arguments)
    try:
        if options.write and (options.ids or options.golden or not options.pairs):
            raise ArcError("--write is for all golden solutions and --pairs: name no others")
        ids = options.ids or golden_ids(options.golden)
        sources = {task_id: golden_source(task_id, options.golden) for task_id in ids}
        tasks = [load_task(task_id) for task_id in ids]
        if options.pairs and not any((options.pairs / f"{task_id}.json").exists() for task_id in ids):
            raise ArcError(f"{options.pairs} has no file <task id>.json of any of the {len(ids)} tasks")
        shipped = set(golden_ids()) if options.golden else set()

        def check(task: Task) -> Report:
            reference = golden_source(task.id) if task.id in shipped else None
            others = _others(options.pairs, task.id)
            return check_solution(task, sources[task.id], reference, options.seed, others)

        with one_line_on_interrupt("stopped"):
            with warm_sandboxes() as threads:
                reports = list(_progress(threads.map(check, tasks), len(tasks)))
            tokens = _token_counter(options.tokenizer)
        if options.write:
            write_between(BEGIN, END, results(reports))
    except ArcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print_table(reports, tokens, sources.__getitem__)
    return int(any(report.problems for report in reports))


def _others(folder: Path | None, task_id: str) -> list[Example]:
    """Read other people's pairs of a task, where there are any."""
    if folder is None or not (path := folder / f"{task_id}.json").exists():
        return []
    return read_pairs(path)


def _progress(reports: Iterable[Report], total: int) -> Iterable[Report]:
    from rich.console import Console
    from rich.progress import track

    return track(reports, "checking", total, console=Console(stderr=True), transient=True)


def _token_counter(model: str | None) -> Callable[[str], int]:
    """Make what counts the tokens of a solution as a completion; here, since it imports torch."""
    from minillm import MinillmError, Tokenizer
    from minillm.checkpoint import hub

    try:
        tokenizer = Tokenizer.from_folder(hub.resolve(model or hub.DEMO_MODEL))
    except MinillmError as error:
        raise ArcError(str(error)) from error

    def count(source: str) -> int:
        try:
            text = completion_text(source)
        except ArcError:  # its format is wrong, and the table says so
            text = source
        return len(tokenizer.encode(text, add_special_tokens=False))

    return count


if __name__ == "__main__":
    sys.exit(main())
