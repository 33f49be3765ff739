"""Structured outputs: which tokens may come next, for a text to be JSON or to match a regex or a grammar.

`llguidance` does the parsing. It is told the bytes of each token and nothing else of the tokenizer: every
way to cut an allowed text into tokens is allowed, also where a grammar leaves no choice of text. Special
tokens are no text, so they are never allowed, not even where a grammar names them. A space that begins a
text counts, though the decoders of most SentencePiece models take it off.

Legend: V vocabulary.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from minillm.errors import MinillmError, check_values, install_hint, refusing
from minillm.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import llguidance

_KINDS = ("json", "regex", "choice", "grammar", "json_object")

# Otherwise bytes that the grammar forces become the tokens that encode() gives for them alone, which are
# others than in a text, and special ones where the bytes look so.
_NO_FORCING = '%llguidance {"no_forcing": true}'
_CACHED_GRAMMARS = 64
_LONE_BACKSLASH = re.compile(r"(?<!\\)(?:\\\\)*\\\Z")

# In llguidance's complaints, lines that point at a place in a grammar, and what is for its developers.
_EXCERPT = re.compile(r"\s*(\d+ \||\^+$)")
_DUMP = re.compile(r"\s*<(?:state|backtrace)>")


@refusing({"disable_additional_properties": False, "structural_tag": None})
@dataclass(frozen=True)
class StructuredOutputsParams:
    """What the text of a request must be; vLLM's names. Exactly one of the first five is given.

    Attributes:
        json: a JSON schema, as text or as a dict (kept as text). Properties come in the schema's order; what
            of JSON Schema llguidance lacks is an error. For `additionalProperties`, say so in the schema.
        regex: all of the text matches it. Rust's syntax: Unicode classes, no lookaround, no backreferences.
        choice: the text is one of these.
        grammar: a context-free grammar, either in llguidance's variant of Lark, with a rule `start:`, or in
            llama.cpp's GBNF, with a rule `root ::=`. A temperature that Lark gives to a rule has no effect.
        json_object: True for any JSON object.
        disable_any_whitespace: no white space between the parts of JSON; otherwise there may be any.
        whitespace_pattern: a regex of the white space that there may be in each such place.
        after_token_ids: what comes up to the last of these tokens in a row is free, such as a model's
            reasoning, and does not end; minillm's own. None where all of the text is meant.

    Raises:
        MinillmError: none or two of the five are given, or an argument is not what it must be.
    """

    json: str | dict[str, Any] | None = None
    regex: str | None = None
    choice: Sequence[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    disable_any_whitespace: bool = False
    whitespace_pattern: str | None = field(default=None, kw_only=True)
    after_token_ids: Sequence[int] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        kinds = [name for name in _KINDS if getattr(self, name) is not None]
        if len(kinds) != 1:
            got = " and ".join(kinds) or "none"
            raise MinillmError(f"structured outputs take exactly one of {', '.join(_KINDS)}, got {got}")
        check_values(self, self._rules())
        if self.json is not None:
            object.__setattr__(self, "json", _schema_text(self.json))
        if self.choice is not None:
            object.__setattr__(self, "choice", tuple(self.choice))
        if self.after_token_ids is not None:
            object.__setattr__(self, "after_token_ids", tuple(self.after_token_ids))

    def _rules(self) -> dict[str, tuple[bool, str]]:
        """Return for each argument whether it holds, and what it must be."""
        is_json = self.json is not None or self.json_object is not None
        return {
            "json": (isinstance(self.json, str | dict | None), "a JSON schema, as text or as a dict"),
            # llguidance would take a lone backslash off the end, and say nothing.
            "regex": (
                self.regex is None
                or (isinstance(self.regex, str) and _LONE_BACKSLASH.search(self.regex) is None),
                "a string that does not end in a lone backslash",
            ),
            "choice": (
                self.choice is None
                or (
                    isinstance(self.choice, list | tuple)
                    and len(self.choice) > 0
                    and all(isinstance(text, str) for text in self.choice)
                ),
                "a list of strings, of which there is at least one",
            ),
            "grammar": (isinstance(self.grammar, str | None), "a string"),
            "json_object": (self.json_object is None or self.json_object is True, "True or left out"),
            "disable_any_whitespace": (
                self.disable_any_whitespace is False or (is_json and self.disable_any_whitespace is True),
                "True or False, and left out without json or json_object",
            ),
            "whitespace_pattern": (
                self.whitespace_pattern is None
                or (is_json and isinstance(self.whitespace_pattern, str) and not self.disable_any_whitespace),
                "a string with json or json_object, and left out with disable_any_whitespace",
            ),
            "after_token_ids": (
                self.after_token_ids is None
                or (
                    isinstance(self.after_token_ids, Sequence)
                    and len(self.after_token_ids) > 0
                    and all(type(token) is int and token >= 0 for token in self.after_token_ids)
                ),
                "token ids, of which there is at least one, or None",
            ),
        }


class Grammars:
    """Compiles grammars for one tokenizer, and keeps those that were used last.

    Args:
        tokenizer: its `eos_token_ids` are what may come where the text may end.
        vocab_size: that of the model; ids that the tokenizer has no token for are never allowed.

    Raises:
        MinillmError: llguidance is not installed, or the bytes of the tokenizer's tokens are not known.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        try:
            import llguidance
        except ImportError as error:
            hint = install_hint("structured")
            raise MinillmError(f"structured outputs need the package llguidance; {hint}") from error
        eos = [i for i in tokenizer.eos_token_ids if i < vocab_size]
        tokens = [token if b"\xff" not in token else b"" for token in tokenizer.token_bytes()[:vocab_size]]
        tokens += [b""] * (vocab_size - len(tokens))
        for i in eos:
            tokens[i] = b""
        # The end of a text is an id of its own, past the vocabulary: a tokenizer can have several, or none.
        ids = {"eos_token_id": vocab_size, "bos_token_id": None, "special_token_ids": [vocab_size]}
        known = SimpleNamespace(tokens=[*tokens, b"<end>"], **ids)
        self._tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(known))
        self._text_V = np.array([bool(token) for token in tokens])
        self._eos = eos
        self._matcher = lru_cache(_CACHED_GRAMMARS)(self._compile)

    def start(self, params: StructuredOutputsParams) -> Constraint:
        """Place a sample at the start of its grammar.

        Raises:
            MinillmError: the grammar is not one, or llguidance lacks a part of it, or no token can begin it.
        """
        after = tuple(params.after_token_ids or ())
        return Constraint(self._matcher(params).deep_copy(), _name(params), self._text_V, self._eos, after)

    def _compile(self, params: StructuredOutputsParams) -> llguidance.LLMatcher:
        from llguidance import LLMatcher

        # The conversion from GBNF raises bare exceptions too.
        with _refusing(f"{_name(params)} is refused", "correct it"):
            grammar = LLMatcher.grammar_from_lark(f"{_lark(params)}\n{_NO_FORCING}")
            matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
            if complaint := matcher.get_error():
                raise ValueError(complaint)
        return matcher


class Constraint:
    """Where one sample stands in its grammar, or before it; made by `Grammars.start`.

    Attributes:
        finished: whether nothing but the end can follow; so it may be before the first token.
    """

    def __init__(
        self,
        matcher: llguidance.LLMatcher,
        name: str,
        text_V: npt.NDArray[np.bool_],
        eos: list[int],
        after: tuple[int, ...] = (),
    ) -> None:
        self._matcher, self._name = matcher, name
        self._text_V, self._eos = text_V, eos
        self._allowed_V = self._next()
        # Tokens that are still to come before the grammar holds, and the last that came.
        self._after, self._last = after, deque[int](maxlen=len(after))
        if after:
            self._allowed_V = torch.ones(len(text_V), dtype=torch.bool)
            self._allowed_V[eos] = self.finished = False

    def allowed(self) -> torch.Tensor:
        """(V,) bool, on the CPU: which tokens may come next; not to be written to.

        Those that end a text are among them exactly where it may end. At the end it is those alone, or none
        where the tokenizer has no such token.
        """
        return self._allowed_V

    def accept(self, token_id: int) -> None:
        """Take the token that was sampled.

        Raises:
            MinillmError: it is not allowed, or with it the grammar becomes too complex, or the text is one
                that no token of the tokenizer can go on with.
        """
        if self._after:
            self._last.append(token_id)
            if tuple(self._last) == self._after:
                self._after, self._allowed_V = (), self._next()
            return
        if not (0 <= token_id < len(self._allowed_V) and self._allowed_V[token_id]):
            raise MinillmError(f"{self._name}: token {token_id} cannot come here; take one that is allowed")
        if self._text_V[token_id]:
            with _refusing(f"{self._name} cannot be followed further", "change it"):
                self._matcher.consume_token(token_id)
            self._allowed_V = self._next()
        else:
            self._allowed_V = self._allowed_V & torch.from_numpy(~self._text_V)
            self.finished = True

    def _next(self) -> torch.Tensor:
        with _refusing(f"{self._name} cannot be followed further", "change it"):
            # A byte a token, and one for the end. Torch would take most of the time of a step here.
            bias = np.frombuffer(self._matcher.compute_logit_bias(), dtype=np.uint8)
            allowed_V = (bias[:-1] != 0) & self._text_V
            more, ends = bool(allowed_V.any()), self._matcher.is_accepting()
            if self._matcher.is_error() or not (more or ends):
                complaint = _brief(self._matcher.get_error())
                nothing = complaint in ("", "NoExtensionBias")
                raise ValueError("no token of the tokenizer can come next" if nothing else complaint)
        allowed_V[self._eos] = ends
        self.finished = not more
        return torch.from_numpy(allowed_V)


def _schema_text(schema: str | dict[str, Any]) -> str:
    try:
        content = json.loads(schema) if isinstance(schema, str) else schema
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        text = json.dumps(content, allow_nan=False)
        _check_keys(content)
        return text
    except (ValueError, TypeError, RecursionError) as error:
        raise MinillmError(
            f"json={reprlib.repr(schema)} is not a JSON schema ({error}); give one as text or as a dict"
        ) from error


def _check_keys(content: Any) -> None:
    """Raise `TypeError` for a key that is no text, which JSON would write as one."""
    parts = [content]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if wrong := [key for key in part if not isinstance(key, str)]:
                raise TypeError(f"the key {reprlib.repr(wrong[0])} is no text")
            parts += part.values()
        elif isinstance(part, list | tuple):
            parts += part


@contextmanager
def _refusing(what: str, remedy: str) -> Iterator[None]:
    """Put what llguidance complains of between two parts of a sentence, and raise it as `MinillmError`."""
    try:
        yield
    # It raises bare exceptions, and a panic of its own is not even that.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise MinillmError(f"{what}: {_brief(str(error))}; {remedy}") from error


def _lark(params: StructuredOutputsParams) -> str:
    from llguidance import regex_to_lark
    from llguidance.gbnf_to_lark import any_to_lark

    if params.regex is not None:
        return f"start: /{regex_to_lark(params.regex, use_ascii='')}/"
    if params.choice is not None:
        return f"start: {' | '.join(map(json.dumps, params.choice))}"
    if params.grammar is not None:
        return any_to_lark(params.grammar)
    schema: dict[str, Any] = {"type": "object"} if params.json is None else json.loads(str(params.json))
    options: dict[str, Any] = {}
    if params.disable_any_whitespace:
        options = {"whitespace_flexible": False, "whitespace_pattern": None}
    if params.whitespace_pattern is not None:
        options = {"whitespace_pattern": params.whitespace_pattern}
    if options:
        schema["x-guidance"] = {**schema.get("x-guidance", {}), **options}
    return f"start: %json {json.dumps(schema)}"


def _name(params: StructuredOutputsParams) -> str:
    """How errors name a grammar."""
    name = next(name for name in _KINDS if getattr(params, name) is not None)
    return f"{name}={reprlib.repr(getattr(params, name))}"


def _brief(complaint: str) -> str:
    """llguidance's complaint as one line, without its excerpts and dumps."""
    lines = _DUMP.split(complaint, maxsplit=1)[0].splitlines()
    return " ".join(line.strip() for line in lines if not _EXCERPT.match(line))
