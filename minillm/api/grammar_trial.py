"""Grammars as llguidance has them; and whether it can compile one, tried in a process of its own first.

Compiling a grammar can take llguidance forever, or all memory, or its stack, and nothing can stop it from
within. `minillm.apart` runs this file by itself, so it imports nothing of minillm's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import llguidance
from llguidance import LLMatcher, regex_to_lark
from llguidance.gbnf_to_lark import any_to_lark

TASK = "to compile"

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


def prepare(tokens: Sequence[str]) -> llguidance.LLTokenizer:
    """Make the tokenizer of the bytes of all tokens, which stand there as characters."""
    return make_tokenizer([text.encode("latin-1") for text in tokens])


def answer(tokenizer: llguidance.LLTokenizer, asked: Mapping[str, Any]) -> dict[str, str]:
    """Try a grammar: write it as llguidance's own, or what it complains of."""
    try:
        grammar = grammar_of(asked)
        compiled(tokenizer, grammar).compute_bitmask()
        return {"grammar": grammar}
    # The conversion from GBNF raises bare exceptions, and a panic of the library is not even that.
    except BaseException as error:
        return {"complaint": str(error)}
