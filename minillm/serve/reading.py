"""Text of a model, told apart as it comes: reasoning, content, and calls of functions.

A reader is a coroutine that gets a character at a time, so what it makes of a text does not depend on how
the text is cut into pieces: a whole answer is what its pieces give, joined.
"""

from __future__ import annotations

import json
import string
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar

T = TypeVar("T")
# Yields for each character; what it returns has been read.
Reading = Generator[None, str, T]
Sink = Callable[[str], None]

ARGUMENTS = ("arguments", "parameters")


@dataclass
class Call:
    """A call of a function, or a piece of one: its first has `id` and `name`, later ones `arguments` alone.

    `arguments` is JSON as the model wrote it.
    """

    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass
class Delta:
    """What a piece of text adds to an answer; `calls` by their place in it."""

    reasoning: str = ""
    content: str = ""
    calls: dict[int, Call] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.reasoning or self.content or self.calls)

    def __iadd__(self, later: Delta) -> Delta:
        self.reasoning += later.reasoning
        self.content += later.content
        for i, piece in later.calls.items():
            call = self.calls.setdefault(i, Call(piece.id, piece.name))
            call.arguments += piece.arguments
        return self


class Parser(Protocol):
    """Reads one answer."""

    def add(self, text: str) -> Delta:
        """Read a piece of the text; return what it adds to the answer."""

    def flush(self) -> Delta:
        """Return what was held back, as it could have become something else."""


class Reader:
    """A `Parser` to which all text is content; others say in `_read` what is not.

    `_held` is text that may become a mark or a call, `_sink` where it goes if it does not.
    """

    def __init__(self) -> None:
        self._delta, self._held = Delta(), ""
        self._sink: Sink = self._content
        self._reading = self._read()
        next(self._reading)

    def add(self, text: str) -> Delta:
        """Read a piece of the text; return what it adds to the answer."""
        for character in text:
            self._reading.send(character)
        return self._taken()

    def flush(self) -> Delta:
        """Return what was held back, as it could have become something else."""
        self._give()
        return self._taken()

    @property
    def is_holding(self) -> bool:
        """Whether there is text that may become something else."""
        return bool(self._held)

    def _read(self) -> Reading[NoReturn]:
        while True:
            yield from self._until(self._content)

    def _taken(self) -> Delta:
        delta, self._delta = self._delta, Delta()
        return delta

    def _give(self) -> None:
        held, self._held = self._held, ""
        self._sink(held)

    def _hold(self, text: str) -> None:
        self._held += text

    def _content(self, text: str) -> None:
        self._delta.content += text

    def _reasoning(self, text: str) -> None:
        self._delta.reasoning += text

    def _until(self, sink: Sink, *marks: str) -> Reading[str]:
        """Give text to `sink`, what is held first, until one of the marks has come; hold that, return it."""
        self._sink = sink
        while True:
            while self._held and not any(mark.startswith(self._held) for mark in marks):
                sink(self._held[0])
                self._held = self._held[1:]
            if self._held in marks:
                return self._held
            self._held += yield

    def _token(self) -> Reading[str]:
        """Hold text up to the first character that is no space; return that."""
        while (character := (yield)).isspace():
            self._held += character
        self._held += character
        return character


class ThinkReader(Reader):
    """Reasoning up to `</think>`, then content; vLLM's `qwen3` and `deepseek_r1`.

    `<think>` may stand before it, in the text or at the end of the prompt.
    """

    opening, ending = "<think>", "</think>"
    marks: ClassVar[tuple[str, ...]] = (opening, ending)

    def _read(self) -> Reading[NoReturn]:
        while (yield from self._until(self._reasoning, *self.marks)) != self.ending:
            self._held = ""
        self._held = ""
        while True:
            yield from self._until(self._content)


class CallReader(Reader):
    """What readers of calls share. White space between calls, and around them, is not content.

    Attributes:
        marks: what shows where calls are; a tokenizer may have them as special tokens.
        separators: what may stand between calls besides white space.
    """

    marks: ClassVar[tuple[str, ...]] = ()
    separators: ClassVar[str] = ""

    def __init__(
        self,
        hidden: frozenset[str] = frozenset(),
        make_id: Callable[[], str] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Read an answer.

        Args:
            hidden: marks that are special tokens, and so are never content.
            make_id: makes ids of calls; by default the class's own.
            tools: that may be called, for those whose arguments are not JSON.
        """
        functions = [tool["function"] for tool in tools]
        self._schemas = {function["name"]: function.get("parameters") or {} for function in functions}
        self._hidden, self._new_id = hidden, make_id or self.make_id
        self._space, self._count = "", 0
        super().__init__()

    @staticmethod
    def make_id() -> str:
        """Make the id of a call."""
        return f"call_{uuid.uuid4().hex[:24]}"

    def flush(self) -> Delta:
        """Return what was held back, as it could have become something else."""
        self._give()
        if not self._count:
            self._delta.content += self._space
        self._space = ""
        return self._taken()

    def _content(self, text: str) -> None:
        self._space += text
        if text.strip(string.whitespace + (self.separators if self._count else "")):
            self._delta.content += self._space
            self._space = ""

    def _begin(self, name: str, call_id: str | None = None) -> None:
        """Begin a call; what is held is part of it."""
        self._delta.calls[self._count] = Call(call_id or self._new_id(), name)
        self._count += 1
        self._space = self._held = ""
        self._sink = drop

    def _arguments(self, text: str) -> None:
        self._delta.calls.setdefault(self._count - 1, Call()).arguments += text

    def _marked(self, *marks: str) -> Reading[str]:
        """Read content up to a mark, which is held if it may become content; return it."""
        mark = yield from self._until(self._content, *marks)
        if mark in self._hidden:
            self._held = ""
        return mark

    def _reject(self) -> None:
        """Make what is held content, but for its last character, with which a mark may begin."""
        last = self._held[-1:]
        self._held = self._held[:-1]
        self._give()
        self._held = last

    def _list(self) -> Reading[None]:
        """Read calls up to the end of their list, whose "[" is held."""
        while (character := (yield from self._token())) != "]":
            if character == "{":
                if not (yield from self._object()):
                    self._give()
            elif character != ",":
                return self._reject()
        self._held = ""

    def _object(self, strict: bool = False) -> Reading[bool]:
        """Read an object whose "{" is held, and tell whether it is a call; one that is none is content.

        A call has a name and arguments, or with `strict=False` maybe none; then there may be other keys.
        """
        name: str | None = None
        arguments: str | None = None
        begun = False
        character = yield from self._token()
        while character in '",':
            if character == ",":
                character = yield from self._token()
                continue
            key, _ = yield from self._value(character)
            colon = yield from self._token()
            character = yield from self._token()
            if colon != ":":
                break
            is_name, is_arguments = key == '"name"', key.strip('"') in ARGUMENTS
            if strict and not (is_name or is_arguments or key in ('"type"', '"id"')):
                self._give()
                return (yield from self._pass(character))
            if is_arguments and name is not None and not begun and character != '"':
                self._begin(name)
                self._arguments(character)
                begun = True
                character = yield from rest_of_value(character, self._arguments)
            else:
                value, character = yield from self._value(character)
                name = _text(value) if is_name and name is None else name
                arguments = value if is_arguments else arguments
            if name is not None and arguments is not None and not begun:
                self._begin(name)
                self._arguments(_decoded(arguments))
                begun = True
            self._held += character
            if not character or character.isspace():
                character = yield from self._token()
        if character == "}" and name is not None and not begun and not strict:
            self._begin(name)
            self._arguments("{}")
            begun = True
        if begun:
            self._held, self._sink = "", self._content
        else:
            self._reject()
        return begun

    def _value(self, first: str) -> Reading[tuple[str, str]]:
        """Hold a JSON value, whose first character is held; return it, and what of the next was read."""
        start = len(self._held) - 1
        after = yield from rest_of_value(first, self._hold)
        return self._held[start:], after

    def _pass(self, first: str) -> Reading[bool]:
        """Make the rest of an object content, from a value on whose first character is given."""
        after = yield from rest_of_value(first, self._content)
        yield from rest_of_value("{", self._content, after)
        return False


class ListedCalls(CallReader):
    """A list of calls and nothing else, as a grammar for required calls makes it."""

    def _read(self) -> Reading[NoReturn]:
        if (yield from self._token()) == "[":
            yield from self._list()
        while True:
            yield from self._until(self._content)


class NamedCall(CallReader):
    """The arguments of one function's call, and nothing else."""

    def __init__(self, name: str, make_id: Callable[[], str] | None = None) -> None:
        self._name = name
        super().__init__(make_id=make_id)

    def _read(self) -> Reading[NoReturn]:
        character = yield
        self._begin(self._name)
        while True:
            self._arguments(character)
            character = yield


class Chain:
    """One reader after another: what is content to the first is text to the second."""

    def __init__(self, first: Parser, second: Parser) -> None:
        self._first, self._second = first, second

    def add(self, text: str) -> Delta:
        """Read a piece of the text; return what it adds to the answer."""
        return self._read_on(self._first.add(text))

    def flush(self) -> Delta:
        """Return what was held back, as it could have become something else."""
        delta = self._read_on(self._first.flush())
        delta += self._second.flush()
        return delta

    def _read_on(self, first: Delta) -> Delta:
        delta = self._second.add(first.content)
        delta.reasoning = first.reasoning + delta.reasoning
        return delta


def rest_of_value(first: str, sink: Sink, ahead: str = "") -> Reading[str]:
    """Give a JSON value to `sink`, all after its first character, and return what was read past its end.

    That is one character after a number or a word, which ends with it, and none otherwise. Of a value's
    rest, `ahead` may have been read already.
    """
    if first not in '"{[':
        while (character := (yield)) not in ",}]" and not character.isspace():
            sink(character)
        return character
    depth, quoted, escaped = int(first != '"'), first == '"', False
    while depth or quoted:
        character = ahead or (yield)
        ahead = ""
        sink(character)
        if quoted:
            quoted = character != '"' or escaped
            escaped = character == "\\" and not escaped
        else:
            quoted = character == '"'
            depth += (character in "{[") - (character in "}]")
    return ""


def drop(text: str) -> None:
    """Take what is read of a call besides its name and arguments."""


def _text(value: str) -> str | None:
    """Return the text that a JSON value is, if it is one and not empty."""
    try:
        text = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return text if isinstance(text, str) and text else None


def _decoded(arguments: str) -> str:
    """Return arguments as an object's JSON where they are a text that holds that, as Granite writes them."""
    text = _text(arguments) or ""
    try:
        return text if isinstance(json.loads(text), dict) else arguments
    except (ValueError, RecursionError):
        return arguments
