"""Checks golden solutions: their format, and that they solve their task. Also scores programs."""

from __future__ import annotations

import argparse
import ast
import io
import re
import sys
import tokenize
from collections.abc import Sequence

from arc.errors import ArcError
from arc.prompt import CODE_PREFIX, FENCE
from arc.sandbox import Limits, RunResult, run_solve
from arc.tasks import Example, Task, golden_ids, golden_source, load_task

MAX_LINE = 100
_ITEM = re.compile(r"( *)(\d+)\. \S")


def reward(result: RunResult, examples: Sequence[Example]) -> float:
    """1.0 where the outputs are those of the examples, all and in order; else 0.0."""
    return float(list(result.outputs) == [example.output for example in examples])


def check_solution(task: Task, source: str) -> list[str]:
    """List what is wrong with a solution: format, wrong examples. Raises `ArcError` without a sandbox."""
    problems = check_format(source)
    names = [f"{part} {i + 1}" for part in ("train", "test") for i in range(len(getattr(task, part)))]
    result = run_solve(source, [example.input for example in task.examples], Limits(seconds=10.0))
    if result.error:
        problems.append(f"a run failed: {result.error}")
    for name, output, example in zip(names, result.outputs, task.examples, strict=True):
        if output is not None and output != example.output:
            problems.append(f"{name}: the output is not the expected one")
    return problems


def check_format(source: str) -> list[str]:
    """List what keeps the source from being in the golden format."""
    problems = _check_text(source)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return [*problems, f"it does not compile: {error}"]
    match tree.body:
        case [ast.FunctionDef(name="solve") as function]:
            return problems + _check_function(function, source)
        case _:
            return [*problems, "the function solve must be its one top-level statement"]


def _check_text(source: str) -> list[str]:
    rules = {
        f"it must start with {CODE_PREFIX!r} and a newline": source.startswith(CODE_PREFIX + "\n"),
        "it must be ASCII": source.isascii(),
        "it must have no tab and no carriage return": "\t" not in source and "\r" not in source,
        f"it must have no {FENCE}, which ends a completion": FENCE not in source,
        "it must end with one newline": source.endswith("\n") and not source.endswith("\n\n"),
    }
    problems = [rule for rule, holds in rules.items() if not holds]
    for number, line in enumerate(source.split("\n"), 1):
        if len(line) > MAX_LINE:
            problems.append(f"line {number} is longer than {MAX_LINE} characters")
        if number > 1 and line and line[0] != " ":
            problems.append(f"line {number} must be indented, since a completion ends before it")
    return problems


def _check_function(function: ast.FunctionDef, source: str) -> list[str]:
    problems = _check_docstring(ast.get_docstring(function) or "")
    match function.body:
        case [*_, ast.Assign(targets=[ast.Name(id="result")]), ast.Return(value=ast.Name(id="result"))]:
            pass
        case _:
            problems.append("its last two statements must be `result = ...` and `return result`")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    if not any(token.type == tokenize.COMMENT for token in tokens):
        problems.append("its code must have a comment")
    return problems


def _check_docstring(docstring: str) -> list[str]:
    """List where it is not `Observation:`, numbered lines, `Procedure:`, numbered lines.

    A line may go on in the next ones, which are indented deeper than its number.
    """
    headings = ["Observation:", "Procedure:"]
    sections: list[tuple[str, int]] = []
    problems = []
    indent = 0
    for line in docstring.split("\n"):
        item = _ITEM.match(line)
        if line in headings:
            sections.append((line, 0))
        elif item and sections:
            name, count = sections[-1]
            sections[-1] = name, count + 1
            indent = len(item[1])
            if int(item[2]) != count + 1:
                problems.append(f"under {name} number {count + 1} is missing before {line!r}")
        elif line and not (sections and sections[-1][1] and line.startswith(" " * (indent + 1))):
            problems.append(f"the docstring line {line!r} is no heading, number or continuation")
    if [name for name, _ in sections] != headings:
        problems.append("the docstring must have the headings Observation: and Procedure:, in this order")
    return problems + [f"{name} has no numbered line" for name, count in sections if not count]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 0 where every solution is right."""
    parser = argparse.ArgumentParser(prog="python -m arc.check", description="Check golden solutions.")
    parser.add_argument("ids", nargs="*", metavar="id", help="task ids (default: all)")
    try:
        ids = parser.parse_args(arguments).ids or golden_ids()
        problems = {task_id: check_solution(load_task(task_id), golden_source(task_id)) for task_id in ids}
    except ArcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for task_id, of_task in problems.items():
        print(f"{task_id}: {'; '.join(of_task) or 'ok'}")
    return int(any(problems.values()))


if __name__ == "__main__":
    sys.exit(main())
