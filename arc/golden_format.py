"""The format of golden solutions: their text, their docstring, and what their code may hold.

A solution computes its rule. What only remembers the examples is refused where it is seen: data instead of
code (grids, long texts, large numbers), and ways to hide it (hashes, `eval`, modules beyond a few).
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

from arc.prompt import CODE_PREFIX, FENCE

MAX_LINE = 100
# Golden solutions stay well below these: at most 15 constants in a list, no text, no number above 9.
MAX_CONSTANTS_TOGETHER = 24
MAX_CONSTANTS = 80
MAX_TEXT = 20
MAX_NUMBER = 999
# Different words of a docstring; the shortest of ours has 23.
LEAST_WORDS = 16
MODULES = {
    "bisect",
    "collections",
    "copy",
    "functools",
    "heapq",
    "itertools",
    "math",
    "operator",
    "string",
    "typing",
}
_HIDING = frozenset(
    {
        "__import__",
        "compile",
        "dir",
        "eval",
        "exec",
        "getattr",
        "globals",
        "hash",
        "id",
        "locals",
        "open",
        "vars",
    }
)
_ITEM = re.compile(r"( *)(\d+)\. \S")


def check_format(source: str) -> list[str]:
    """List what keeps the source from being in the golden format."""
    problems = _check_text(source)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return [*problems, f"it does not compile: {error}"]
    match tree.body:
        case [ast.FunctionDef(name="solve") as function]:
            return problems + _check_function(function, source) + list(_check_constants(function))
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
    if (words := len(set(re.findall(r"[a-z]+", docstring.lower())))) < LEAST_WORDS:
        problems.append(f"the docstring has {words} different words; a rule takes {LEAST_WORDS} to tell")
    return problems + [f"{name} has no numbered line" for name, count in sections if not count]


def _check_constants(function: ast.FunctionDef) -> Iterator[str]:
    """List what looks like data in place of a rule, or like a way to hide it."""
    nodes = [node for statement in function.body[1:] for node in ast.walk(statement)]
    constants = [node for node in nodes if isinstance(node, ast.Constant)]
    if len(constants) > MAX_CONSTANTS:
        yield f"it has {len(constants)} constants; a rule needs {MAX_CONSTANTS} at the most"
    for node in nodes:
        match node:
            case ast.List() | ast.Tuple() | ast.Dict() | ast.Set():
                count = sum(isinstance(part, ast.Constant) for part in ast.walk(node))
                if count > MAX_CONSTANTS_TOGETHER:
                    yield f"line {node.lineno} lists {count} constants: data in place of a rule"
            case ast.Constant(value=str() | bytes() as text) if len(text) > MAX_TEXT:
                yield f"line {node.lineno} holds a text of {len(text)} characters: data in place of a rule"
            case ast.Constant(value=int() | float() | complex() as number) if abs(number) > MAX_NUMBER:
                yield f"line {node.lineno} holds a large number: data in place of a rule"
            case ast.Import(names=names):
                yield from (_module(node.lineno, name.name) for name in names if name.name not in MODULES)
            case ast.ImportFrom(module=module) if module not in MODULES:
                yield _module(node.lineno, str(module))
            case ast.Name(id=name) if name in _HIDING:
                yield f"line {node.lineno} uses {name}, which can hide what is computed"
            case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
                yield f"line {node.lineno} sets {name}, which outlives a call and can hide what is computed"
            case ast.Attribute(attr=name) if name.startswith("__"):
                yield f"line {node.lineno} uses {name}, which can hide what is computed"


def _module(line: int, name: str) -> str:
    return f"line {line} imports {name}; a rule needs no more than {', '.join(sorted(MODULES))}"


def literal_grids(source: str) -> list[tuple[int, list[list[int]]]]:
    """Find the lists of lists of ints that are written out in a source, each with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.List | ast.Tuple):
            try:
                rows = [list(row) for row in ast.literal_eval(node)]
            except (ValueError, TypeError):
                continue
            found.append((node.lineno, rows))
    return found


def code_lines(source: str) -> int:
    """Count the lines after the docstring, blank ones left out."""
    function = ast.parse(source).body[0]
    first = function.body[0] if isinstance(function, ast.FunctionDef) else function
    return sum(bool(line.strip()) for line in source.split("\n")[first.end_lineno :])
