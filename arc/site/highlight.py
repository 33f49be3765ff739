"""Python as lines of (kind, text), which a page colors without reading Python itself."""

from __future__ import annotations

import builtins
import io
import keyword
import tokenize
from collections.abc import Iterator
from typing import TypeAlias

# What a piece of text is: "" for plain text, else a letter, which is a class of the page's style sheet.
KEYWORD, FUNCTION, BUILTIN, NUMBER, STRING, COMMENT = "k", "f", "b", "n", "s", "c"
Line: TypeAlias = list[tuple[str, str]]
_CONSTANTS = frozenset(("True", "False", "None"))
_BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("_"))


def highlight(source: str) -> list[Line]:
    """Cut a source into lines of (kind, text), whose texts make up the line; plain where it is no Python."""
    lines = source.rstrip("\n").split("\n")
    marked: list[Line] = [[] for _ in lines]
    reached = [0] * len(lines)
    for kind, row, begin, end in _spans(source, lines):
        if begin < reached[row]:
            continue
        if begin > reached[row]:
            marked[row].append(("", lines[row][reached[row] : begin]))
        marked[row].append((kind, lines[row][begin:end]))
        reached[row] = end
    for row, line in enumerate(lines):
        if reached[row] < len(line):
            marked[row].append(("", line[reached[row] :]))
    return marked


def _spans(source: str, lines: list[str]) -> Iterator[tuple[str, int, int, int]]:
    """Yield kind, line, first column and end of each piece that is not plain."""
    before = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            kind = _kind(token, before)
            before = token.string
            if kind:
                (top, left), (bottom, right) = token.start, token.end
                for row in range(top - 1, bottom):
                    text = lines[row]
                    begin = left if row == top - 1 else len(text) - len(text.lstrip())
                    yield kind, row, begin, right if row == bottom - 1 else len(text)
    except (tokenize.TokenError, SyntaxError):
        return


def _kind(token: tokenize.TokenInfo, before: str) -> str:
    if tokenize.tok_name[token.type].startswith("FSTRING"):  # from Python 3.12 on
        return STRING
    match token.type:
        case tokenize.COMMENT:
            return COMMENT
        case tokenize.STRING:
            return STRING
        case tokenize.NUMBER:
            return NUMBER
        case tokenize.NAME if token.string in _CONSTANTS:
            return NUMBER
        case tokenize.NAME if keyword.iskeyword(token.string):
            return KEYWORD
        case tokenize.NAME if before == "def":
            return FUNCTION
        case tokenize.NAME if token.string in _BUILTINS and before != ".":
            return BUILTIN
    return ""
