"""A golden solution for reading: what was observed, the procedure, and where the code follows which step."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from arc.golden_format import code_lines
from arc.site.highlight import Line, highlight

_ITEM = re.compile(r"\s*(\d+)\. (.*)")
_HEADINGS = ("Observation:", "Procedure:")


@dataclass(frozen=True)
class Solution:
    """A solution's text and its parts. Lines count from 0, and ranges leave their end out."""

    lines: list[Line]
    """The text as (kind, text), by line."""
    docstring: tuple[int, int]
    """The lines of the docstring."""
    observations: list[str]
    procedure: list[str]
    steps: list[tuple[int, int, int]]
    """(step of the procedure from 0, first line, end): comments that repeat a step, and what follows them."""
    code_lines: int
    """After the docstring, blank ones left out."""


def read_solution(source: str) -> Solution:
    """Read a solution's text; one that is no function with a docstring has neither lists nor steps."""
    marked = highlight(source)
    try:
        function = ast.parse(source).body[0]
        first = function.body[0] if isinstance(function, ast.FunctionDef) else function
        text = ast.get_docstring(function) if isinstance(function, ast.FunctionDef) else None
    except (SyntaxError, ValueError, IndexError):
        text = None
    if text is None:
        return Solution(marked, (0, 0), [], [], [], sum(bool(line.strip()) for line in source.split("\n")))
    observations, procedure = _lists(text)
    inside = first.lineno - 1, first.end_lineno or first.lineno
    steps = _steps(source.rstrip("\n").split("\n"), inside[1], procedure)
    return Solution(marked, inside, observations, procedure, steps, code_lines(source))


def _lists(docstring: str) -> tuple[list[str], list[str]]:
    """Read the numbered lines under each heading, those that go on joined."""
    lists: dict[str, list[str]] = {heading: [] for heading in _HEADINGS}
    current: list[str] = []
    for line in docstring.split("\n"):
        if line in lists:
            current = lists[line]
        elif item := _ITEM.fullmatch(line):
            current.append(item[2])
        elif line.strip() and current:
            current[-1] += f" {line.strip()}"
    return lists[_HEADINGS[0]], lists[_HEADINGS[1]]


def _steps(lines: list[str], begin: int, procedure: list[str]) -> list[tuple[int, int, int]]:
    """Find the comments that open with a step's number, and the lines from each to the next one.

    What is indented less than a comment is no part of its step, nor are the last two lines, which return.
    """
    starts = []
    for number, line in enumerate(lines[begin:], begin):
        item = _ITEM.fullmatch(line.strip().removeprefix("#")) if line.strip().startswith("#") else None
        if item and 1 <= int(item[1]) <= len(procedure):
            starts.append((int(item[1]) - 1, number))
    steps = []
    for (step, start), (_, following) in zip(starts, [*starts[1:], (0, len(lines))], strict=True):
        indent, end = _indent(lines[start]), start + 1
        while end < following and (not lines[end].strip() or _indent(lines[end]) >= indent):
            if lines[end].strip().startswith(("result =", "return result")) and end >= len(lines) - 2:
                break
            end += 1
        while not lines[end - 1].strip():
            end -= 1
        steps.append((step, start, end))
    return steps


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
