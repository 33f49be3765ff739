"""An answer of a chat in the making, and what OpenAI's protocol shows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from minillm.serve.reading import Call, Delta, Parser, Reader
from minillm.tokenizer.tokenizer import IncrementalDecoder

Json = dict[str, Any]


class ReasoningTokens:
    """Counts the tokens of reasoning in an answer, whose marks are not among them.

    A token without a text of its own, as of half a character, goes with the next that has one. By the tokens
    themselves it is the same count however their text is cut, and whatever of it is held back.

    Attributes:
        count: so many there were.
    """

    def __init__(self, parser: Reader, decoder: IncrementalDecoder) -> None:
        self._parser, self._decoder = parser, decoder
        self.count = self._waiting = 0

    def add(self, token_ids: Sequence[int], is_last: bool) -> None:
        """Take the next tokens."""
        for token in token_ids:
            self._waiting += 1
            self._read(self._decoder.add([token]))
        if is_last:
            self._read(self._decoder.flush())
            self._take(self._parser.flush())

    def _read(self, text: str) -> None:
        self._take(self._parser.add(text))
        if text and not self._parser.is_holding:  # of a mark nothing is given
            self._waiting = 0

    def _take(self, delta: Delta) -> None:
        if delta.reasoning:
            self.count += self._waiting
        if delta:
            self._waiting = 0


@dataclass
class Answer:
    """What of a sample has been parsed.

    Attributes:
        parser: reads it.
        shows_reasoning: whether reasoning is part of the message.
        parallel: whether there may be more calls than one; others are left out.
        new: what its last piece of text has added.
        has_calls: whether there was a call.
    """

    parser: Parser
    shows_reasoning: bool = True
    parallel: bool = True
    new: Delta = field(default_factory=Delta)
    has_calls: bool = False

    def read(self, text: str, is_last: bool) -> None:
        """Parse a piece of its text."""
        self.new = self.parser.add(text)
        if is_last:
            self.new += self.parser.flush()
        if not self.shows_reasoning:
            self.new.reasoning = ""
        if not self.parallel:
            self.new.calls = {i: call for i, call in self.new.calls.items() if i == 0}
        self.has_calls = self.has_calls or bool(self.new.calls)

    def message(self, is_piece: bool) -> Json:
        """Write what is new, as a piece of a message or a whole one.

        Reasoning has the name that vLLM gives it now, and the one that it gave before, which others keep.
        """
        message: Json = {}
        if self.new.reasoning:
            message |= {"reasoning": self.new.reasoning, "reasoning_content": self.new.reasoning}
        if self.new.content:
            message["content"] = self.new.content
        if self.new.calls:
            places = self.new.calls.items()
            message["tool_calls"] = [
                {**({"index": i} if is_piece else {}), **_call(one)} for i, one in places
            ]
        return message


def _call(call: Call) -> Json:
    if call.id is None:
        return {"function": {"arguments": call.arguments}}
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}
