"""Which parsers a server reads the answers of chats with, and what they need of the sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minillm.errors import MinillmError
from minillm.serve.reading import Chain, ListedCalls, NamedCall, Parser, Reader, ThinkReader
from minillm.serve.tool_parsers import TOOL_PARSERS, HarmonyReader, guess_tool_parser
from minillm.serve.tool_use import ToolUse
from minillm.tokenizer.tokenizer import Tokenizer

# By the names of vLLM's `--reasoning-parser`.
REASONING_PARSERS: dict[str, type[Reader]] = {
    "qwen3": ThinkReader,
    "deepseek_r1": ThinkReader,
    "glm45": ThinkReader,
    "openai": HarmonyReader,
    "openai_gptoss": HarmonyReader,
}
# Tokens that end reasoning: from there on, a grammar holds.
_THINK_END = (ThinkReader.ending,)
_HARMONY_FINAL = ("<|channel|>", "final", "<|message|>")


@dataclass(frozen=True)
class ParserOptions:
    """Which parsers to use, by vLLM's names.

    Attributes:
        tool_call_parser: one of `TOOL_PARSERS`; by default that of the model's chat template.
        reasoning_parser: one of `REASONING_PARSERS`; by default none, but for gpt-oss.
        enable_auto_tool_choice: whether a server without a parser of calls is an error.

    Raises:
        MinillmError: there is no parser of that name.
    """

    tool_call_parser: str | None = None
    reasoning_parser: str | None = None
    enable_auto_tool_choice: bool = False

    def __post_init__(self) -> None:
        known: dict[str, Mapping[str, Any]] = {
            "tool_call_parser": TOOL_PARSERS, "reasoning_parser": REASONING_PARSERS
        }  # fmt: skip
        for name, parsers in known.items():
            value = getattr(self, name)
            if value is not None and value not in parsers:
                raise MinillmError(f"{name} must be one of {', '.join(parsers)}, got {value!r}")


class Parsers:
    """The parsers of one model.

    Raises:
        MinillmError: calls are to be parsed, and nobody says how.
    """

    def __init__(self, tokenizer: Tokenizer, options: ParserOptions) -> None:
        name = options.tool_call_parser
        if name is None:
            name = guess_tool_parser("\n".join(tokenizer.chat_templates.values()))
        if name is None and options.enable_auto_tool_choice:
            raise MinillmError(
                "enable_auto_tool_choice: the chat template does not show how the model writes calls; give "
                f"--tool-call-parser {', '.join(TOOL_PARSERS)}"
            )
        self._tokenizer = tokenizer
        self._calls = None if name is None else TOOL_PARSERS[name]
        reasoning = REASONING_PARSERS.get(options.reasoning_parser or "")
        self.is_harmony = HarmonyReader in (self._calls, reasoning)
        self._thinks = reasoning is ThinkReader

    def check(self, use: ToolUse) -> None:
        """Raise `MinillmError` for calls in free text that nothing here parses."""
        if use.mode == "auto" and self._calls is None:
            raise MinillmError(
                "tools with tool_choice 'auto' need a parser of calls; start the server with "
                f"--enable-auto-tool-choice --tool-call-parser {', '.join(TOOL_PARSERS)}, or choose "
                "'required' or a function"
            )

    def opening(self, use: ToolUse) -> str:
        """Return what goes to the end of a prompt, for a grammar to go on from; gpt-oss needs a header."""
        if not self.is_harmony or not use.is_forced:
            return ""
        if use.name is None:
            return "<|channel|>final<|message|>"
        return f"<|channel|>commentary to=functions.{use.name} <|constrain|>json<|message|>"

    def reasons(self, prompt: str, continued: str | None, template_options: Mapping[str, Any]) -> bool:
        """Tell whether an answer begins with reasoning between `<think>` and `</think>`.

        As in vLLM it does, unless the template closes it in the prompt or `enable_thinking` is false. Of a
        message that is `continued`, the last mark counts.
        """
        if not self._thinks:
            return False
        start, end = ThinkReader.marks
        if continued is not None:
            return continued.rfind(start) > continued.rfind(end)
        prompt = prompt.rstrip()
        if prompt.endswith(ThinkReader.marks):
            return prompt.endswith(start)
        return template_options.get("enable_thinking") is not False

    def parser(self, use: ToolUse, reasons: bool) -> Parser:
        """Make the parser of one answer."""
        calls: Parser
        make_id = None if self._calls is None else self._calls.make_id
        if use.name is not None:
            calls = NamedCall(use.name, make_id)
        elif use.is_forced:
            calls = ListedCalls(make_id=make_id)
        elif self.is_harmony:
            calls = HarmonyReader(takes_calls=use.mode == "auto")
        elif use.mode == "auto" and self._calls is not None:
            calls = self._calls(self._hidden(self._calls.marks), tools=use.tools)
        else:
            calls = Reader()
        return Chain(ThinkReader(), calls) if reasons else calls

    def reasoning_reader(self, reasons: bool) -> Reader | None:
        """Make what tells an answer's reasoning from all the rest; None where no parser here knows any."""
        return ThinkReader() if reasons else HarmonyReader(takes_calls=False) if self.is_harmony else None

    @property
    def know_reasoning(self) -> bool:
        """Whether answers can have reasoning."""
        return self._thinks or self.is_harmony

    def shown_ids(self, use: ToolUse, reasons: bool) -> list[int]:
        """List the special tokens that a parser must see in the text."""
        marks = ThinkReader.marks if reasons else ()
        if self.is_harmony:
            marks += HarmonyReader.marks
        elif use.mode == "auto" and self._calls is not None:
            marks += self._calls.marks
        return [self._ids(mark)[0] for mark in sorted(self._hidden(marks))]

    def end_of_reasoning(self, use: ToolUse, reasons: bool) -> list[int]:
        """List the tokens after which a grammar holds; none where it holds from the first on.

        Raises:
            MinillmError: the tokenizer has no such tokens.
        """
        if reasons:
            texts: tuple[str, ...] = _THINK_END
        elif self.is_harmony and not use.is_forced:
            texts = _HARMONY_FINAL
        else:
            return []
        ids = [self._ids(text) for text in texts]
        if wrong := [text for text, one in zip(texts, ids, strict=True) if len(one) != 1]:
            raise MinillmError(
                f"structured outputs after reasoning need {wrong[0]!r} to be one token, which it is not for "
                "this tokenizer; turn reasoning off in chat_template_kwargs, or leave them out"
            )
        return [one for (one,) in ids]

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)

    def _hidden(self, marks: Sequence[str]) -> frozenset[str]:
        """Return those marks that are special tokens."""
        return frozenset(
            mark for mark in marks if len(ids := self._ids(mark)) == 1 and self._tokenizer.decode(ids) == ""
        )
