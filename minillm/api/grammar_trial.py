"""A program that tries grammars, each in a process of its own: of one that is hostile, it is that which dies.

Compiling a grammar can take llguidance forever, or all memory, or its stack, and nothing can stop it from
within. `minillm.api.grammars` starts this file by itself, so it imports nothing of minillm's: first it reads
a line of the bytes of all tokens, then a line for each grammar, and it answers each by a line. All are JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llguidance
from llguidance import LLMatcher, regex_to_lark
from llguidance.gbnf_to_lark import any_to_lark

SECONDS, MEMORY = 3, 1 << 30
# Less than threads have: what fits here fits where the grammar is compiled again.
_STACK = 4 << 20

# Otherwise bytes that the grammar forces become the tokens that encode() gives for them alone, which are
# others than in a text, and special ones where the bytes look so.
_NO_FORCING = '%llguidance {"no_forcing": true}'


def make_tokenizer(tokens: list[bytes]) -> llguidance.LLTokenizer:
    """Tell llguidance the bytes of all tokens.

    The end of a text is an id of its own, past the vocabulary: a tokenizer can have several ends, or none.
    """
    end = len(tokens)
    ids = {"eos_token_id": end, "bos_token_id": None, "special_token_ids": [end]}
    return llguidance.LLTokenizer(
        llguidance.TokenizerWrapper(SimpleNamespace(tokens=[*tokens, b"<end>"], **ids))
    )


def compiled(tokenizer: llguidance.LLTokenizer, grammar: str) -> LLMatcher:
    """Compile a grammar as `grammar_of` writes it; raise `ValueError` with llguidance's complaint."""
    matcher = LLMatcher(tokenizer, grammar, log_level=0)
    if complaint := matcher.get_error():
        raise ValueError(complaint)
    return matcher


def grammar_of(asked: Mapping[str, Any]) -> str:
    """Write what is asked for, by the names of `StructuredOutputsParams`, as llguidance's own grammar."""
    return LLMatcher.grammar_from_lark(f"{_lark(asked)}\n{_NO_FORCING}")


def _lark(asked: Mapping[str, Any]) -> str:
    if (regex := asked["regex"]) is not None:
        return f"start: /{regex_to_lark(regex, use_ascii='')}/"
    if (choice := asked["choice"]) is not None:
        # In capitals it is one token of the grammar, and no more than that to follow.
        return f"start: CHOICE\nCHOICE: {' | '.join(map(json.dumps, choice))}"
    if (grammar := asked["grammar"]) is not None:
        return any_to_lark(grammar)
    schema: dict[str, Any] = {"type": "object"} if asked["json"] is None else json.loads(asked["json"])
    options: dict[str, Any] = {}
    if asked["disable_any_whitespace"]:
        options = {"whitespace_flexible": False, "whitespace_pattern": None}
    if asked["whitespace_pattern"] is not None:
        options = {"whitespace_pattern": asked["whitespace_pattern"]}
    if options:
        schema["x-guidance"] = {**schema.get("x-guidance", {}), **options}
    return f"start: %json {json.dumps(schema)}"


def _try(tokenizer: llguidance.LLTokenizer, asked: Mapping[str, Any]) -> dict[str, str]:
    try:
        grammar = grammar_of(asked)
        compiled(tokenizer, grammar).compute_bitmask()
        return {"grammar": grammar}
    # The conversion from GBNF raises bare exceptions, and a panic of the library is not even that.
    except BaseException as error:
        return {"complaint": str(error)}


def _answer(tokenizer: llguidance.LLTokenizer, line: bytes) -> None:
    """Try one grammar within the limits, in this process."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if (statm := Path("/proc/self/statm")).exists():  # elsewhere, time and stack alone are limited
        in_use = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, in_use + MEMORY))
    answers: list[dict[str, str]] = []
    thread = threading.Thread(target=lambda: answers.append(_try(tokenizer, json.loads(line))))
    thread.start()
    thread.join()
    _write(answers[0])


def _write(answer: Mapping[str, str]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Answer until there is nothing more to read."""
    threading.stack_size(_STACK)
    lines = iter(sys.stdin.buffer.readline, b"")
    tokenizer = make_tokenizer([text.encode("latin-1") for text in json.loads(next(lines))])
    for line in lines:
        if (child := os.fork()) == 0:
            try:
                _answer(tokenizer, line)
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1] != 0:
            _write({"complaint": f"it takes more than {SECONDS} s, a gigabyte or a deep stack to compile"})


if __name__ == "__main__":
    main()
