"""What the text of a request must be: JSON, or what matches a regex or a grammar, or one of some choices."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from minillm.errors import MinillmError, check_values, refusing

_KINDS = ("json", "regex", "choice", "grammar", "json_object")
# Compiled, a character takes up to a hundred bytes.
_MOST_CHARACTERS = 1 << 20
_LONE_BACKSLASH = re.compile(r"(?<!\\)(?:\\\\)*\\\Z")


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
        MinillmError: none or two of the five are given, or an argument is not what it must be, or has more
            than a million characters.
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
        if self.characters > _MOST_CHARACTERS:
            raise MinillmError(
                f"{self.named} has more than {_MOST_CHARACTERS:,} characters, too many to compile; shorten it"
            )
        if self.json is not None:
            object.__setattr__(self, "json", _schema_text(self.json))
        if self.choice is not None:
            object.__setattr__(self, "choice", tuple(self.choice))
        if self.after_token_ids is not None:
            object.__setattr__(self, "after_token_ids", tuple(self.after_token_ids))

    @property
    def named(self) -> str:
        """What errors call it."""
        name = next(name for name in _KINDS if getattr(self, name) is not None)
        return f"{name}={reprlib.repr(getattr(self, name))}"

    @property
    def characters(self) -> int:
        """How much text there is to compile; of a schema that is no text yet, nothing."""
        texts = (self.json, self.regex, self.grammar, self.whitespace_pattern, *(self.choice or ()))
        return sum(len(text) + 1 for text in texts if isinstance(text, str))

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


def _schema_text(schema: str | dict[str, Any]) -> str:
    try:
        content = json.loads(schema) if isinstance(schema, str) else schema
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        # In parts: one value in many places can be endless as text.
        parts, length = list[str](), 0
        for part in json.JSONEncoder(allow_nan=False).iterencode(content):
            parts.append(part)
            if (length := length + len(part)) > _MOST_CHARACTERS:
                raise ValueError(f"more than {_MOST_CHARACTERS:,} characters, too many to compile")
        _check_keys(content)
        return "".join(parts)
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
