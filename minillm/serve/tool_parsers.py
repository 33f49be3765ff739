"""How families of models write calls of functions, by the names of vLLM's `--tool-call-parser`."""

from __future__ import annotations

import re
import secrets
import string
from typing import ClassVar, NoReturn

from minillm.serve.reading import CallReader, Reading, Sink, rest_of_value
from minillm.serve.xml_calls import GlmReader, QwenCoderReader


class HermesReader(CallReader):
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Hermes, Qwen, SmolLM3."""

    marks = ("<tool_call>", "</tool_call>")

    def _read(self) -> Reading[NoReturn]:
        in_call = False
        while True:
            if (yield from self._marked(*self.marks)) == "</tool_call>":
                self._held = "" if in_call else self._held
                in_call = False
                self._give()
                continue
            if (yield from self._token()) == "{":
                in_call = yield from self._object()
            else:
                self._reject()


class LlamaReader(CallReader):
    """`{"name": ..., "parameters": {...}}`, with `;` between, maybe after `<|python_tag|>`: Llama 3."""

    marks = ("<|python_tag|>",)
    separators = ";"

    def _read(self) -> Reading[NoReturn]:
        while True:
            mark = yield from self._marked(*self.marks, "{")
            if mark == "{" or (yield from self._token()) == "{":
                yield from self._object(strict=True)
            else:
                self._reject()


class MistralReader(CallReader):
    """`[TOOL_CALLS]` and a list of objects, or newer `[TOOL_CALLS]name[ARGS]{...}`: Mistral."""

    marks = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")
    _HEAD: ClassVar[re.Pattern[str]] = re.compile(r"\s*([^\s\[{]+)(?:\[CALL_ID\](\w+))?(?:\[ARGS\])?\s*")

    @staticmethod
    def make_id() -> str:
        """Make the id of a call: Mistral's templates refuse others than nine letters and digits."""
        return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))

    def _read(self) -> Reading[NoReturn]:
        while True:
            yield from self._marked("[TOOL_CALLS]")
            start = len(self._held)
            character = yield from self._token()
            if character == "[":
                yield from self._list()
            elif character == "{":
                yield from self._object()
            else:
                yield from self._named(start)

    def _named(self, start: int) -> Reading[None]:
        while not self._held.endswith("{"):
            self._held += yield
        if not (head := self._HEAD.fullmatch(self._held, start, len(self._held) - 1)):
            return self._reject()
        self._begin(head[1], head[2])
        self._arguments("{")
        yield from rest_of_value("{", self._arguments)
        self._sink = self._content


class HarmonyReader(CallReader):
    """gpt-oss: messages in channels, of which `analysis` is reasoning and `to=functions.NAME` a call.

    The prompt ends in `<|start|>assistant`, so a message's header comes first. Without `takes_calls`, calls
    are content.
    """

    marks = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>")
    _CHANNEL: ClassVar[re.Pattern[str]] = re.compile(r"<\|channel\|>\s*(\w+)")
    _FUNCTION: ClassVar[re.Pattern[str]] = re.compile(r"\bto=functions\.([^\s<]+)")

    def __init__(self, takes_calls: bool = True) -> None:
        self._takes_calls = takes_calls
        super().__init__()

    def _read(self) -> Reading[NoReturn]:
        while True:
            self._sink = self._unformatted
            while not self._held.endswith("<|message|>"):
                self._held += yield
            sink = self._opened(self._held)
            self._held = ""
            if (yield from self._until(sink, *self.marks)) not in ("<|start|>", "<|channel|>"):
                self._held = ""

    def _opened(self, header: str) -> Sink:
        """Say where the text of a message goes."""
        channel, function = self._CHANNEL.search(header), self._FUNCTION.search(header)
        if function and self._takes_calls:
            self._begin(function[1])
            return self._arguments
        return self._reasoning if channel and channel[1] == "analysis" else self._content

    def _unformatted(self, text: str) -> None:
        """Take text of which no message came: content, unless it is a header that was cut off."""
        if "<|channel|>" not in text and "<|start|>" not in text:
            self._content(text)


TOOL_PARSERS: dict[str, type[CallReader]] = {
    "hermes": HermesReader,
    "llama3_json": LlamaReader,
    "mistral": MistralReader,
    "openai": HarmonyReader,
    "qwen3_coder": QwenCoderReader,
    "qwen3_xml": QwenCoderReader,
    "glm45": GlmReader,
    "glm47": GlmReader,
}
# What the chat templates of each have, and what others have that are alike.
_SIGNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "openai": ("<|channel|>", ()),
    "mistral": ("[TOOL_CALLS]", ()),
    "llama3_json": ('"parameters": dictionary of argument name', ("<|header_start|>",)),
    "qwen3_coder": ("<parameter=", ("<seed:tool_call>",)),
    "glm45": ("<arg_key>", ()),
    "hermes": ("<tool_call>", ("<function=", "<arg_key>")),
}


def guess_tool_parser(template: str) -> str | None:
    """Name the parser for what a chat template lays out calls as; None where it is no known style."""
    found = (
        name
        for name, (sign, others) in _SIGNS.items()
        if sign in template and not any(other in template for other in others)
    )
    return next(found, None)
