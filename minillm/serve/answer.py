"""An answer of a chat in the making, and what OpenAI's protocol shows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from minillm.serve.reading import Call, Delta, Parser

Json = dict[str, Any]


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
