"""Calls of functions in tags, an argument each: a text stands there as it is, all else as JSON.

Which of the two an argument is, is for the function's schema to say. A text is given on as it comes; of
anything else the whole must be there.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from minillm.serve.reading import CallReader, Reading, drop

# Brackets within brackets that are looked at, in a value or a schema.
MAX_NESTING = 100
_BY_TYPE = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
_WORDS = {"None": "null", "True": "true", "False": "false"}


class TaggedReader(CallReader):
    """What readers of calls in tags share.

    Attributes:
        guesses: whether an argument of which the schema says nothing may be JSON; else it is a text.
    """

    guesses: ClassVar[bool] = False
    _NAME: ClassVar[re.Pattern[str]] = re.compile(r"[\w.:/-]+")

    def _begin_function(self, name: str) -> None:
        self._begin(name)
        self._separator = "{"

    def _end_function(self) -> None:
        self._arguments("{}" if self._separator == "{" else "}")
        self._held = ""

    def _argument(self, function: str, name: str, *ends: str) -> Reading[None]:
        """Read the value of an argument up to one of these marks."""
        opening, self._separator = f"{self._separator}{json.dumps(name)}: ", ", "
        kinds = kinds_of_argument(self._schemas.get(function, {}), name)
        if kinds == {"string"} or not (kinds or self.guesses):
            self._arguments(f'{opening}"')
            yield from self._until(self._quoted, *ends)
            self._arguments('"')
        else:
            pieces: list[str] = []
            yield from self._until(pieces.append, *ends)
            self._arguments(opening + as_json("".join(pieces), kinds))
        self._held = ""

    def _quoted(self, text: str) -> None:
        self._arguments(json.dumps(text, ensure_ascii=False)[1:-1])

    def _text_up_to(self, mark: str) -> Reading[str]:
        """Take a text up to a mark, which is held then."""
        pieces: list[str] = []
        yield from self._until(pieces.append, mark)
        self._held = ""
        return "".join(pieces)

    def _tag(self, start: int, *tags: str) -> Reading[str]:
        """Hold one of these tags, after `start` and space, and return it; "" where another text comes."""
        while True:
            found = self._held[start:].lstrip()
            if found in tags:
                return found
            if not any(tag.startswith(found) for tag in tags):
                return ""
            self._held += yield

    def _is_no_call(self, start: int) -> None:
        """Make what is held content, but for what may begin a mark, past the first `start` characters."""
        at = self._held.rfind("<", start)
        at = len(self._held) if at < 0 else at
        for character in self._held[:at]:  # of which space at the end may not be content
            self._content(character)
        self._held = self._held[at:]


class QwenCoderReader(TaggedReader):
    r"""`<tool_call>`, `<function=NAME>`, `<parameter=NAME>\n...\n</parameter>`, ...: Qwen3-Coder.

    `<tool_call>` around it may be missing.
    """

    marks = ("<tool_call>", "</tool_call>")
    _FUNCTION, _PARAMETER = "<function=", "<parameter="

    def _read(self) -> Reading[NoReturn]:
        in_call = False
        while True:
            mark = yield from self._marked(*self.marks, self._FUNCTION)
            if mark == "</tool_call>":
                self._held = "" if in_call else self._held
                in_call = False
                self._give()
                continue
            start = len(self._held)
            if mark != self._FUNCTION and not (yield from self._tag(start, self._FUNCTION)):
                self._is_no_call(start)
                continue
            start = len(self._held)
            while self._held[-1] not in ">\n<":
                self._held += yield
            name = self._held[start:-1].strip()
            if self._held[-1] == ">" and self._NAME.fullmatch(name):
                in_call = yield from self._function(name)
            else:
                self._is_no_call(start)

    def _function(self, name: str) -> Reading[bool]:
        """Read a function's arguments; tell whether the end of the call is still to come."""
        self._begin_function(name)
        while True:
            mark = yield from self._until(drop, self._PARAMETER, "</function>", "</tool_call>")
            if mark != self._PARAMETER:
                self._end_function()
                return mark == "</function>"
            self._held = ""
            argument = yield from self._text_up_to(">")
            first = yield
            self._held = "" if first == "\n" else first
            yield from self._argument(name, argument.strip(), "\n</parameter>", "</parameter>")


class GlmReader(TaggedReader):
    r"""`<tool_call>NAME\n<arg_key>...</arg_key>\n<arg_value>...</arg_value>\n</tool_call>`: GLM-4.5.

    Newer ones leave the line feeds out.
    """

    marks = ("<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")
    guesses = True

    def _read(self) -> Reading[NoReturn]:
        while True:
            yield from self._marked("<tool_call>")
            start = len(self._held)
            yield from self._token()
            while self._held[-1] not in "\n<":
                self._held += yield
            name = self._held[start:-1].strip()
            tag = yield from self._tag(len(self._held) - 1, "<arg_key>", "</tool_call>")
            if not (tag and self._NAME.fullmatch(name)):
                self._is_no_call(start)
                continue
            self._begin_function(name)
            while tag == "<arg_key>":
                self._held = ""
                key = yield from self._text_up_to("</arg_key>")
                if (yield from self._until(drop, "<arg_value>", "</tool_call>")) == "</tool_call>":
                    break
                self._held = ""
                yield from self._argument(name, key.strip(), "</arg_value>")
                tag = yield from self._until(drop, "<arg_key>", "</tool_call>")
            self._end_function()


def kinds_of_argument(parameters: Mapping[str, Any], name: str) -> frozenset[str]:
    """Tell of which of JSON's types an argument may be, by a function's schema; of none: it does not say."""
    properties = parameters.get("properties")
    schema = properties.get(name) if isinstance(properties, Mapping) else None
    return _kinds(parameters.get("additionalProperties") if schema is None else schema, parameters)


def _kinds(schema: Any, root: Mapping[str, Any], depth: int = 0) -> frozenset[str]:
    if not isinstance(schema, Mapping) or depth > MAX_NESTING:
        return frozenset()
    if isinstance(reference := schema.get("$ref"), str):
        found: Any = root
        for part in reference.removeprefix("#").split("/")[1:]:
            found = found.get(part) if isinstance(found, Mapping) else None
        return _kinds(found, root, depth + 1)
    if (kinds := schema.get("type")) is not None:
        listed = kinds if isinstance(kinds, list) else [kinds]
        return frozenset(kind for kind in listed if isinstance(kind, str))
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list):
        return frozenset(_kind_of(value) for value in values)
    for several in ("anyOf", "oneOf", "allOf"):
        if isinstance(options := schema.get(several), list):
            return frozenset().union(*(_kinds(option, root, depth + 1) for option in options))
    return frozenset(kind for key, kind in (("properties", "object"), ("items", "array")) if key in schema)


def _kind_of(value: Any) -> str:
    return _BY_TYPE.get(type(value), "null")


def as_json(text: str, kinds: frozenset[str]) -> str:
    """Write a value as JSON of one of these types, or of any where there are none; else as a text.

    As in vLLM, a text that may be one is one, but for null where that may be; None, True and False are read
    too, and lists and dicts as Python writes them.
    """
    bare = text.strip()
    if "string" in kinds:
        is_null = "null" in kinds and bare.lower() in ("null", "none")
        return "null" if is_null else json.dumps(text, ensure_ascii=False)
    for read in (_WORDS.get(bare, bare), _of_python(bare)):
        try:
            value = json.loads(read, parse_constant=_no_json)
        except (ValueError, RecursionError):
            continue
        kind = _kind_of(value)
        is_whole = isinstance(value, float) and value.is_integer()
        fits = (
            {kind, "number"} & kinds if kind == "integer" else {kind, "integer" if is_whole else kind} & kinds
        )
        if not kinds or kind == "null" or fits:
            return read
    return json.dumps(text, ensure_ascii=False)


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")


def _of_python(text: str) -> str:
    """Write a list or a dict of Python's as JSON; "" for anything else."""
    if text[:1] not in ("[", "{") or sum(map(text.count, "[{(")) > MAX_NESTING:
        return ""
    try:
        return json.dumps(ast.literal_eval(text), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ""
