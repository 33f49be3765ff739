"""Calls of tools and reasoning: their parsers by themselves, and the server through OpenAI's client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import openai
import pytest
import tokenizers
import torch
from hypothesis import given
from hypothesis import strategies as st

from minillm import LLM, MinillmError, SamplingParams, Tokenizer, Transformer, token_logprobs
from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.inputs import chat_text
from minillm.serve import server as serving
from minillm.serve.parsers import ParserOptions, Parsers
from minillm.serve.reading import Call, Chain, Delta, ListedCalls, NamedCall, Parser, Reader, ThinkReader
from minillm.serve.tool_parsers import (
    TOOL_PARSERS,
    HarmonyReader,
    HermesReader,
    LlamaReader,
    MistralReader,
    guess_tool_parser,
)
from minillm.serve.tool_use import ToolUse
from minillm.serve.xml_calls import GlmReader, QwenCoderReader, as_json, kinds_of_argument
from tests.minillm.server_thread import running

# ---------------------------------------------------------------- parsers

# A parser, a text, its content, its calls as (name, arguments), its reasoning.
Case = tuple[Callable[[], Parser], str, str, list[tuple[str, str]], str]
HIDDEN = frozenset({"[TOOL_CALLS]", "<|python_tag|>"})
NESTED = '{"a": "x } \\" {", "b": [1, {"c": 2}], "d": "\\\\"}'
TYPED = {
    "type": "function",
    "function": {
        "name": "f",
        "parameters": {
            "properties": {
                "text": {"type": "string"}, "n": {"type": "integer"}, "x": {"type": "number"},
                "flag": {"type": "boolean"}, "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "list": {"items": {}}, "ref": {"$ref": "#/$defs/r"}, "colour": {"enum": [5, 7]},
            },
            "$defs": {"r": {"type": "object"}, "loop": {"$ref": "#/$defs/loop"}},
        },
    },
}  # fmt: skip
CASES: dict[str, Case] = {
    "plain text": (Reader, " <b> {} \n", " <b> {} \n", [], ""),
    "hermes": (
        HermesReader,
        'Sure.\n<tool_call>\n{"name": "f", "arguments": ' + NESTED + "}\n</tool_call>",
        "Sure.",
        [("f", NESTED)],
        "",
    ),
    "hermes, two and text after": (
        HermesReader,
        '<tool_call>{"arguments": {"q": 1}, "name": "g"}</tool_call>\n'
        '<tool_call>{"name":"h","arguments":{}}</tool_call>Done.',
        "Done.",
        [("g", '{"q": 1}'), ("h", "{}")],
        "",
    ),
    "hermes, no closing tag": (
        HermesReader,
        '<tool_call>\n{"name": "f", "arguments": {"trigger": true}}',
        "",
        [("f", '{"trigger": true}')],
        "",
    ),
    "hermes, cut off in the arguments": (
        HermesReader,
        '<tool_call>{"name": "f", "arguments": {"a": "b',
        "",
        [("f", '{"a": "b')],
        "",
    ),
    "hermes, cut off in the name": (HermesReader, '<tool_call>{"name": "f', '<tool_call>{"name": "f', [], ""),
    "hermes, no arguments": (HermesReader, '<tool_call>{"name": "f"}</tool_call>', "", [("f", "{}")], ""),
    "hermes, arguments as a text of JSON": (
        HermesReader,
        '<tool_call>{"name": "f", "arguments": "{\\"p\\": \\"q\\"}"}</tool_call>',
        "",
        [("f", '{"p": "q"}')],
        "",
    ),
    "hermes, arguments that are a text": (
        HermesReader,
        '<tool_call>{"name": "f", "arguments": "hello"}</tool_call>',
        "",
        [("f", '"hello"')],
        "",
    ),
    "hermes, a tag that is no call": (
        HermesReader,
        "a <tool_call> b </tool_call> <tool <tool_call>" + '<tool_call>{"name": "f", "arguments": {}}',
        "a <tool_call> b </tool_call> <tool <tool_call>",
        [("f", "{}")],
        "",
    ),
    "hermes, a name that is no text": (
        HermesReader,
        '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
        '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
        [],
        "",
    ),
    "llama": (
        LlamaReader,
        'Here is the result: {"name": "t", "parameters": {}} Would you like to know more?',
        "Here is the result: Would you like to know more?",
        [("t", "{}")],
        "",
    ),
    "llama, several": (
        LlamaReader,
        '{"name": "a", "parameters": {"q": "1"}}; {"name": "b", "parameters": {}} ;\n'
        '{"type": "function", "name": "c", "arguments": {"q": {"d": {}}}}',
        "",
        [("a", '{"q": "1"}'), ("b", "{}"), ("c", '{"q": {"d": {}}}')],
        "",
    ),
    "llama, tag": (
        lambda: LlamaReader(HIDDEN),
        '<|python_tag|>{"name": "a", "parameters": {"q": 1}}',
        "",
        [("a", '{"q": 1}')],
        "",
    ),
    "llama, a built-in tool": (
        lambda: LlamaReader(HIDDEN),
        '<|python_tag|>search.call(q="x")',
        'search.call(q="x")',
        [],
        "",
    ),
    "llama, no parameters": (LlamaReader, '{"name": "x"}', '{"name": "x"}', [], ""),
    "llama, no name": (LlamaReader, '{"parameters": {}}', '{"parameters": {}}', [], ""),
    "llama, JSON that is an answer": (
        LlamaReader,
        '{"tool": {"name": "n", "parameters": {}}, "s": "}", "n": 1} {b} {"name": "z", "parameters": {}}',
        '{"tool": {"name": "n", "parameters": {}}, "s": "}", "n": 1} {b}',
        [("z", "{}")],
        "",
    ),
    "mistral, a list": (
        lambda: MistralReader(HIDDEN),
        'Hi[TOOL_CALLS] [{"arguments":{"name": "John"}, "name": "get_age"}, {"name": "b", "arguments": {}}]',
        "Hi",
        [("get_age", '{"name": "John"}'), ("b", "{}")],
        "",
    ),
    "mistral, named": (
        MistralReader,
        '[TOOL_CALLS]add{"a": 3.5, "b": 4}[TOOL_CALLS]mul[CALL_ID]abcdefghi[ARGS]{"a": 1}',
        "",
        [("add", '{"a": 3.5, "b": 4}'), ("mul", '{"a": 1}')],
        "",
    ),
    "mistral, cut off": (MistralReader, '[TOOL_CALLS]add{"a": 3', "", [("add", '{"a": 3')], ""),
    "mistral, no JSON": (
        lambda: MistralReader(HIDDEN),
        "[TOOL_CALLS] not json at all",
        " not json at all",
        [],
        "",
    ),
    "gpt-oss": (
        HarmonyReader,
        "<|channel|>analysis<|message|>Hm <b>.<|end|><|start|>assistant<|channel|>commentary<|message|>I ask."
        "<|end|><|start|>assistant<|channel|>commentary to=functions.get_w <|constrain|>json<|message|>"
        '{"l": "T"}<|call|>',
        "I ask.",
        [("get_w", '{"l": "T"}')],
        "Hm <b>.",
    ),
    "gpt-oss, the function named before the channel": (
        HarmonyReader,
        ' to=functions.f<|channel|>commentary json<|message|>{"a": 1}<|end|>'
        "<|start|>assistant<|channel|>final<|message|>Hi",
        "Hi",
        [("f", '{"a": 1}')],
        "",
    ),
    "gpt-oss, calls not wanted": (
        lambda: HarmonyReader(takes_calls=False),
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}",
        "{}",
        [],
        "",
    ),
    "gpt-oss, no message": (HarmonyReader, "plain", "plain", [], ""),
    "gpt-oss, cut off in a header": (HarmonyReader, "<|channel|>ana", "", [], ""),
    "qwen3-coder": (
        lambda: QwenCoderReader(tools=[TYPED]),
        'Sure.\n<tool_call>\n<function=f>\n<parameter=text>\na "b"\n\n</para </parameter\n\n</parameter>\n'
        "<parameter=n>\n5\n</parameter>\n<parameter=flag>\nTrue\n</parameter>\n</function>\n</tool_call>\n"
        "<tool_call>\n<function=g>\n</function>\n</tool_call>",
        "Sure.",
        [("f", '{"text": "a \\"b\\"\\n\\n</para </parameter\\n", "n": 5, "flag": true}'), ("g", "{}")],
        "",
    ),
    "qwen3-coder, types": (
        lambda: QwenCoderReader(tools=[TYPED]),
        "<function=f><parameter=n>seven</parameter><parameter=x>\n1e999\n</parameter><parameter=maybe>None"
        "</parameter><parameter=maybe>5</parameter><parameter=list>['a', 1]</parameter><parameter=list>"
        '["\u00e9", null]</parameter><parameter=ref>{"a": NaN}</parameter><parameter=ref>{"a": [1]}'
        "</parameter><parameter=colour>5</parameter><parameter=other>5</parameter><parameter=n>null</parameter></function>",
        "",
        [
            (
                "f",
                '{"n": "seven", "x": 1e999, "maybe": null, "maybe": "5", "list": ["a", 1], '
                '"list": ["é", null], "ref": "{\\"a\\": NaN}", "ref": {"a": [1]}, "colour": 5, '
                '"other": "5", "n": null}',
            )
        ],
        "",
    ),
    "qwen3-coder, cut off in a text": (
        lambda: QwenCoderReader(tools=[TYPED]),
        "<tool_call><function=f><parameter=n>5</parameter><parameter=text>\nab\n</par",
        "",
        [("f", '{"n": 5, "text": "ab\\n</par')],
        "",
    ),
    "qwen3-coder, cut off in a number": (
        lambda: QwenCoderReader(tools=[TYPED]),
        "<tool_call><function=f><parameter=n>\n5",
        "",
        [("f", "")],
        "",
    ),
    "qwen3-coder, no call": (
        QwenCoderReader,
        "a <tool_call> b </tool_call> <tool_call><tool_call>\n<function=a b> <function=\n"
        "<function=f>\n</tool_call>c",
        "a <tool_call> b </tool_call> <tool_call><tool_call>\n<function=a b> <function=c",
        [("f", "{}")],
        "",
    ),
    "glm": (
        lambda: GlmReader(tools=[TYPED]),
        "Sure.\n<tool_call>f\n<arg_key>text</arg_key>\n<arg_value> a\n5</arg_val</arg_value>\n"
        "<arg_key>n</arg_key>\n<arg_value>5</arg_value>\n</tool_call>\n<tool_call>g</tool_call>Done.",
        "Sure.Done.",
        [("f", '{"text": " a\\n5</arg_val", "n": 5}'), ("g", "{}")],
        "",
    ),
    "glm, newer, and of arguments that no schema has": (
        GlmReader,
        '<tool_call>a.b<arg_key>x</arg_key><arg_value>{"c": [1]}</arg_value><arg_key>y</arg_key><arg_value>z'
        "</arg_value><arg_key>w</arg_key><arg_value>'z'</arg_value></tool_call>",
        "",
        [("a.b", '{"x": {"c": [1]}, "y": "z", "w": "\'z\'"}')],
        "",
    ),
    "glm, hidden marks and no call": (
        lambda: GlmReader(frozenset(GlmReader.marks)),
        "a <tool_call> b c\nd <tool_call>f\n<tool_call>g\n</tool_call>",
        "a  b c\nd f",
        [("g", "{}")],
        "",
    ),
    "glm, cut off in the name": (GlmReader, "<tool_call>ab", "<tool_call>ab", [], ""),
    "think": (
        lambda: Chain(ThinkReader(), Reader()),
        "<think>\nhm </thin <b>\n</think>\n\nText</think>",
        "\n\nText</think>",
        [],
        "\nhm </thin <b>\n",
    ),
    "think, opened by the prompt": (lambda: Chain(ThinkReader(), Reader()), "hm</think>x", "x", [], "hm"),
    "think, cut off": (lambda: Chain(ThinkReader(), Reader()), "hm</thi", "", [], "hm</thi"),
    "think, then a call": (
        lambda: Chain(ThinkReader(), HermesReader()),
        '<think>\n<tool_call>?\n</think>\n\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>',
        "",
        [("f", "{}")],
        "\n<tool_call>?\n",
    ),
    "required": (
        ListedCalls,
        '[{"name": "f", "parameters": {"a": 1}}, {"name": "g", "parameters": {}}]',
        "",
        [("f", '{"a": 1}'), ("g", "{}")],
        "",
    ),
    "named": (lambda: NamedCall("f"), '{"a": 1}', "", [("f", '{"a": 1}')], ""),
}
# What hypothesis cuts texts of: whole marks, halves of them, JSON, and anything.
PIECES = [
    "<tool_call>", "</tool_call>", "<tool_", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "<think>",
    "</think>", "<|channel|>", "analysis", "commentary to=functions.f ", "<|message|>", "<|end|>",
    "<|start|>assistant", '{"name": "f", "arguments": {"a": [1, "}"]}}', '{"name": "f"', ', "parameters": ',
    "{}", "}", "[", "]", ";", '"', "\\", " ", "\n", "text", "é", "<function=f>", "<function=",
    "<parameter=n>", "<parameter=text>", "</parameter>", "</function>", "<arg_key>", "</arg_key>",
    "<arg_value>", "</arg_value>",
]  # fmt: skip
MAKERS: list[Callable[[], Parser]] = [
    *TOOL_PARSERS.values(), lambda: QwenCoderReader(tools=[TYPED]), lambda: GlmReader(tools=[TYPED]),
    ThinkReader, ListedCalls, Reader, lambda: Chain(ThinkReader(), HermesReader()),
    lambda: MistralReader(HIDDEN), lambda: NamedCall("f"),
]  # fmt: skip


def read(parser: Parser, *pieces: str) -> tuple[str, list[tuple[str | None, str]], str]:
    """Content, calls and reasoning; ids are there, and differ."""
    answer = Delta()
    for piece in pieces:
        answer += parser.add(piece)
    answer += parser.flush()
    assert [*answer.calls] == [*range(len(answer.calls))]
    ids = [call.id for call in answer.calls.values()]
    assert all(ids) and len({*ids}) == len(ids)
    return answer.content, [(call.name, call.arguments) for call in answer.calls.values()], answer.reasoning


@pytest.mark.parametrize("case", CASES)
def test_a_parser_tells_calls_reasoning_and_content_apart(case: str) -> None:
    make, text, content, calls, reasoning = CASES[case]
    assert read(make(), text) == (content, calls, reasoning)
    assert read(make(), *text) == (content, calls, reasoning)


@given(st.data())
def test_how_a_text_is_cut_makes_no_difference(data: st.DataObject) -> None:
    make = data.draw(st.sampled_from(MAKERS))
    text = "".join(data.draw(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=12)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    expected = read(make(), text)
    assert read(make(), *pieces) == expected
    assert read(make(), *text) == expected


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_without_calls_the_text_is_the_content(pieces: list[str]) -> None:
    text = "".join(pieces)
    for make in (HermesReader, LlamaReader, MistralReader, QwenCoderReader, GlmReader):
        content, calls, _ = read(make(), text)
        assert calls or content == text


def test_the_first_piece_of_a_call_has_its_name_and_the_others_arguments() -> None:
    parser = HermesReader()
    pieces = [parser.add(char) for char in '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>']
    found = [delta.calls[0] for delta in pieces if delta.calls]
    assert (found[0].name, found[0].arguments) == ("f", "{")
    assert [(call.id, call.name, call.arguments) for call in found[1:]] == [
        (None, None, char) for char in '"a": 1}'
    ]


@pytest.mark.parametrize(
    ("make", "before", "after"),
    [
        (QwenCoderReader, "<tool_call>\n<function=f>\n<parameter=text>\n", "\n</parameter>\n</function>"),
        (GlmReader, "<tool_call>f\n<arg_key>text</arg_key>\n<arg_value>", "</arg_value></tool_call>"),
    ],
)
def test_a_text_in_tags_is_given_on_as_it_comes(make: Any, before: str, after: str) -> None:
    parser, text = make(tools=[TYPED]), 'one\ntwo "three" <four>'
    assert parser.add(before).calls[0].name == "f"
    pieces = [parser.add(char).calls.get(0, Call()).arguments for char in text]
    assert "".join(pieces) == json.dumps(text)[1:-1]
    assert sum(map(bool, pieces)) > len(text) - 3  # but for what may begin the end
    parser.add(after)
    assert parser.flush() == Delta()


def test_what_an_argument_may_be() -> None:
    schema = {
        "properties": {
            "a": {"type": ["integer", "null"]}, "b": {"oneOf": [{"type": "string"}, {"const": 5}]},
            "c": {"$ref": "#/$defs/loop"}, "d": {"$ref": "#/no/where"}, "e": {"enum": ["x", None, 1.5, True]},
            "f": True, "g": {"properties": {}},
        },
        "additionalProperties": {"type": "array"},
        "$defs": {"loop": {"$ref": "#/$defs/loop"}},
    }  # fmt: skip
    kinds = {name: set(kinds_of_argument(schema, name)) for name in "abcdefgh"}
    assert kinds == {
        "a": {"integer", "null"}, "b": {"string", "integer"}, "c": set(), "d": set(),
        "e": {"string", "null", "number", "boolean"}, "f": set(), "g": {"object"}, "h": {"array"},
    }  # fmt: skip
    assert kinds_of_argument({"properties": 5}, "a") == kinds_of_argument({}, "a") == set()


@given(
    st.text(max_size=30) | st.sampled_from(["[" * 9999, "{'a': " * 99, "9" * 5000, "-Infinity", "[1,", "b''"])
)
def test_whatever_a_model_writes_becomes_json(text: str) -> None:
    for kinds in ((), ("string", "null"), ("integer",), ("object", "array"), ("boolean",), ("number",)):
        value = json.loads(as_json(text, frozenset(kinds)))
        if kinds and kinds != ("object", "array") and value is not None and not isinstance(value, str):
            assert text.strip() in ("True", "False") or json.loads(text.strip()) == value


def test_ids_of_mistral_have_nine_letters_and_digits() -> None:
    parser = MistralReader()
    calls = parser.add("[TOOL_CALLS]f{}[TOOL_CALLS]g[CALL_ID]abcdefghi[ARGS]{}").calls
    made, given_id = calls[0].id, calls[1].id
    assert made is not None and len(made) == 9 and made.isalnum()
    assert given_id == "abcdefghi"


def test_pieces_join() -> None:
    answer = Delta(content="a")
    answer += Delta(reasoning="r", calls={0: Call("1", "f", "{")})
    answer += Delta(content="b", calls={0: Call(arguments="}"), 1: Call("2", "g")})
    assert answer == Delta("r", "ab", {0: Call("1", "f", "{}"), 1: Call("2", "g", "")})
    assert answer and not Delta()


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{ '<tool_call>\\n{\"name\": ' }}", "hermes"),
        ("<tool_call>\n<function=name>\n<parameter=a>", "qwen3_coder"),
        ("<seed:tool_call>\n<function=name>\n<parameter=a>", None),
        ("<tool_call>{name}\n<arg_key>", "glm45"),
        ('{"name": function name, "parameters": dictionary of argument name and its value}', "llama3_json"),
        ("{{ '[TOOL_CALLS]' }}", "mistral"),
        ("<|start|>assistant<|channel|>final<|message|>", "openai"),
        ("{{ messages }}", None),
    ],
)
def test_the_template_shows_how_calls_are_written(template: str, name: str | None) -> None:
    assert guess_tool_parser(template) == name


# ---------------------------------------------------------------- requests

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "enum": ["Oslo", "Rome"]},
                "days": {"$ref": "#/$defs/n"},
            },
            "required": ["city", "days"],
            "$defs": {"n": {"type": "integer", "minimum": 1, "maximum": 7}},
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time"}}
TOOLS: list[Any] = [WEATHER, TIME]
ASK: list[Any] = [{"role": "user", "content": "How is it in Rome?"}]
NAMED = {"type": "function", "function": {"name": "get_weather"}}


def test_what_a_request_asks_for() -> None:
    assert ToolUse.of({}) == ToolUse.of({"tools": [], "tool_choice": "auto"})
    assert ToolUse.of({"tools": TOOLS}).mode == "auto"
    assert ToolUse.of({"tools": TOOLS, "tool_choice": "none"}).mode == "none"
    assert not ToolUse.of({"tools": TOOLS, "parallel_tool_calls": False}).parallel
    named = ToolUse.of({"tools": TOOLS, "tool_choice": NAMED})
    assert (named.mode, named.name, named.is_forced) == ("named", "get_weather", True)
    assert ToolUse.of({"tools": [{"function": {"name": "f"}}]}).tools == [
        {"type": "function", "function": {"name": "f"}}
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tools": [{}]}, r"tools\[0\] must be"),
        ({"tools": [WEATHER, {"type": "web_search"}]}, r"tools\[1\] must be"),
        ({"tools": [{"type": "custom", "function": {"name": "f"}}]}, r"tools\[0\] must be"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, r"tools\[0\] must be"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            r"tools\[0\] must be",
        ),
        ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice must be 'none'"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice must be 'none'"),
        ({"tool_choice": "required"}, "tools has no function"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
            "tools has get_weather, get_time",
        ),
    ],
)
def test_tools_that_are_wrong_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(MinillmError, match=message):
        ToolUse.of(fields)


def accepts(grammar: str, text: str) -> bool:
    import llguidance

    lark = llguidance.LLMatcher.grammar_from_lark(grammar)
    matcher = llguidance.LLMatcher(llguidance.LLTokenizer("byte"), lark, log_level=0)
    assert not matcher.get_error()
    data = text.encode()
    return matcher.try_consume_tokens([*data]) == len(data) and matcher.is_accepting()


def test_the_grammar_of_required_calls() -> None:
    """What vLLM's test of its schema for required calls takes and refuses."""
    grammar = ToolUse.of({"tools": TOOLS, "tool_choice": "required"}).grammar().grammar
    assert grammar is not None
    weather: Any = {"name": "get_weather", "parameters": {"city": "Rome", "days": 7}}
    time: Any = {"name": "get_time", "parameters": {}}
    for calls in ([weather], [time], [weather, time, weather]):
        assert accepts(grammar, json.dumps(calls)), calls
    for wrong in (
        None, [], {}, [{}], weather, [{"name": "get_weather"}], [{**weather, "parameters": None}],
        [{**weather, "parameters": {}}], [{**weather, "parameters": {"city": "Rome"}}],
        [{**weather, "parameters": {"city": "Rome", "days": 8}}], [{**weather, "name": "get_snow"}],
        [{**weather, "parameters": {"city": "Rome", "days": 1, "more": 1}}],
        [{**time, "parameters": {"more": 1}}], [dict(reversed(weather.items()))], [weather, {}],
    ):  # fmt: skip
        assert not accepts(grammar, json.dumps(wrong)), wrong
    use = ToolUse.of({"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False})
    assert accepts(str(use.grammar().grammar), json.dumps([time]))
    assert not accepts(str(use.grammar().grammar), json.dumps([time, time]))
    odd = {"type": "function", "function": {"name": 'é "\\\n', "parameters": {"$ref": "#/$defs/x", "$defs": {
        "x": {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}}}}}  # fmt: skip
    use = ToolUse.of({"tools": [odd], "tool_choice": "required"})
    assert accepts(str(use.grammar().grammar), json.dumps([{"name": 'é "\\\n', "parameters": {"a": None}}]))


def test_templates_are_given_arguments_as_objects() -> None:
    template = "{% for m in messages %}{{ m.role }}{{ m.content }}{{ m.tool_calls | tojson }};{% endfor %}"
    tokenizer = Tokenizer(tokenizers.Tokenizer(tokenizers.models.BPE()), chat_template=template)
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    found = []
    for arguments in ('{"a": 1}', {"a": 1}, "", "no JSON"):
        message = {**call, "function": {"name": "f", "arguments": arguments}}
        text = chat_text(tokenizer, [{"role": "assistant", "content": "", "tool_calls": [message]}])
        found.append(json.loads(text.removeprefix("assistant").removesuffix(";"))[0]["function"]["arguments"])
    assert found == [{"a": 1}, {"a": 1}, {}, "no JSON"]
    assert call["function"]["arguments"] == '{"a": 1}'  # type: ignore[index]
    text = chat_text(tokenizer, [{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert text.startswith("assistant[{")


def test_what_a_tool_answers_is_one_text_to_every_template() -> None:
    template = "{% for m in messages %}{% for part in m.content %}[{{ part.text }}]{% endfor %}{% endfor %}"
    tokenizer = Tokenizer(tokenizers.Tokenizer(tokenizers.models.BPE()), chat_template=template)
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert tokenizer.chat_text([{"role": "user", "content": parts}]) == "[a][b]"
    assert tokenizer.chat_text([{"role": "tool", "content": parts}]) == "[]" * len("a\nb")


# ---------------------------------------------------------------- the server

MARKS = [*HarmonyReader.marks, *MistralReader.marks, *LlamaReader.marks, "<think>", "</think>"]
# It shows no style of calls.
TEMPLATE = """\
{%- if tools %}{{ tools | tojson }}
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{%- if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}
{{- "\n" + message.content }}
{%- for call in message.tool_calls or [] %} calls {{ call.function | tojson }}{% endfor %}
{%- if message.tool_call_id %} answers {{ message.tool_call_id }}{% endif %}
{%- if not loop.last or add_generation_prompt %}<|im_end|>
{% endif %}{% endfor %}
{%- if reasoning_effort %}effort {{ reasoning_effort }}
{% endif %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is false %}<think>

</think>

{% endif %}{% endif %}"""


@pytest.fixture(scope="module")
def tokenizer(demo_model_path: Path) -> Tokenizer:
    """A real one, with marks of several families as special tokens."""
    backend = tokenizers.Tokenizer.from_file(str(demo_model_path / "tokenizer.json"))
    backend.add_special_tokens(MARKS)
    return Tokenizer(backend, eos_token_ids=(2,), chat_template=TEMPLATE)


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Transformer], tokenizer: Tokenizer) -> Transformer:
    return tiny_llama("fp32", vocab_size=len(tokenizer), max_position_embeddings=2048)


class Scripted(LLM):
    """Samples the tokens of `script`, then the end; the logprobs are the model's."""

    script: str | None = None

    def add_request(self, request_id: str | None, prompt: Any, params: Any, **options: Any) -> str:
        if self.script is not None:
            ids = [*self.get_tokenizer().encode(self.script, add_special_tokens=False), 2]

            def follow(output_ids: list[int], logits_V: torch.Tensor) -> torch.Tensor:
                return torch.full_like(logits_V, -torch.inf).index_fill(
                    0, torch.tensor([ids[len(output_ids)]]), 0.0
                )

            params = replace(params, logits_processors=[follow])
        return super().add_request(request_id, prompt, params, **options)


@dataclass
class Running:
    """A server in a thread of this process, and a client of it."""

    llm: Scripted
    client: openai.OpenAI

    def ask(self, script: str | None = None, stream: bool = False, **fields: Any) -> list[dict[str, Any]]:
        """The choices of an answer, of a stream joined, as JSON; with the prompt's tokens and the usage."""
        self.llm.script = script
        extra = {name: fields.pop(name) for name in [*fields] if name in EXTRA}
        body: Any = {"model": "tiny", "messages": ASK, "max_tokens": 200, **fields, "extra_body": extra}
        if not stream:
            answer = self.client.chat.completions.create(**body).model_dump(exclude_unset=True)
            shared = {"usage": answer["usage"], "prompt_token_ids": answer.get("prompt_token_ids")}
            return [choice | shared for choice in answer["choices"]]
        chunks = self.client.chat.completions.create(
            **body, stream=True, stream_options={"include_usage": True}
        )
        return joined([chunk.model_dump(exclude_unset=True) for chunk in chunks])


EXTRA = ("return_token_ids", "include_reasoning", "chat_template_kwargs", "echo", "continue_final_message",
         "add_generation_prompt", "skip_special_tokens", "structured_outputs")  # fmt: skip


def joined(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choices as they are in a whole answer, made of the chunks of a stream."""
    *chunks, last = chunks
    assert last["choices"] == [] and all(chunk["usage"] is None for chunk in chunks)
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        (piece,) = chunk["choices"]
        delta = piece["delta"]
        is_new = piece["index"] not in choices
        choice = choices.setdefault(piece["index"], {"index": piece["index"], "message": {"content": None}})
        assert is_new == ("role" in delta)
        assert choice.get("finish_reason") is None
        message = choice["message"]
        for name in ("role", "content", "reasoning", "reasoning_content"):
            if name in delta:
                message[name] = ((message.get(name) or "") + delta[name]) or None
        for call in delta.get("tool_calls", []):
            calls = message.setdefault("tool_calls", [])
            if call["index"] == len(calls):
                assert call["id"] and call["type"] == "function" and call["function"]["name"]
                calls.append({"id": call["id"], "type": "function", "function": dict(call["function"])})
            else:
                assert call.keys() == {"index", "function"} and call["function"].keys() == {"arguments"}
                calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
        for name in ("finish_reason", "stop_reason"):
            choice[name] = piece[name]
        choice["token_ids"] = choice.get("token_ids", []) + piece.get("token_ids", [])
        if piece["logprobs"] is not None:
            choice.setdefault("logprobs", {"content": []})["content"] += piece["logprobs"]["content"]
        if "prompt_token_ids" in chunk:
            choice["prompt_token_ids"] = chunk["prompt_token_ids"]
        choice["usage"] = last["usage"]
    return [choices[i] for i in sorted(choices)]


def calls_of(choice: dict[str, Any]) -> list[tuple[str, str]]:
    calls = choice["message"].get("tool_calls", [])
    return [(call["function"]["name"], call["function"]["arguments"]) for call in calls]


@pytest.fixture(scope="module")
def serve(model: Transformer, tokenizer: Tokenizer) -> Iterator[Callable[..., Running]]:
    """`serve(tool_call_parser=..., reasoning_parser=...)`: one server for each choice of parsers."""
    with ExitStack() as stack:

        @cache
        def start(**parsers: Any) -> Running:
            llm = Scripted(model, tokenizer, kv_cache_memory_bytes=1 << 23)
            options = serving.ServerOptions(parsers=ParserOptions(**parsers))
            server = stack.enter_context(running(serving.make_app(llm, "tiny", options=options), 60))
            client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
            return Running(llm, client)

        yield start


ARGUMENTS = '{"city": "Rome", "days": 2}'
WRITTEN = {
    "hermes": f'Wait.\n<tool_call>\n{{"name": "get_weather", "arguments": {ARGUMENTS}}}\n</tool_call>',
    "llama3_json": f'Wait. <|python_tag|>{{"name": "get_weather", "parameters": {ARGUMENTS}}}',
    "mistral": f"Wait.[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}",
    "qwen3_coder": "Wait.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n"
    "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>",
    "glm45": "Wait.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n"
    "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
    "openai": "<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant<|channel|>commentary "
    f"to=functions.get_weather <|constrain|>json<|message|>{ARGUMENTS}",
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("parser", WRITTEN)
def test_calls_that_a_model_writes(serve: Callable[..., Running], parser: str, stream: bool) -> None:
    """With token ids, logprobs and several samples, which go on being those of all tokens, bit for bit."""
    server = serve(tool_call_parser=parser)
    options: dict[str, Any] = {"logprobs": True, "n": 2, "return_token_ids": True, "tools": TOOLS}
    choices = server.ask(WRITTEN[parser], stream, **options)
    ids = [*server.llm.get_tokenizer().encode(WRITTEN[parser], False), 2]
    assert len(choices) == 2
    for choice in choices:
        assert choice["message"]["content"] == "Wait."
        assert calls_of(choice) == [("get_weather", ARGUMENTS)]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["token_ids"] == ids
        (logprobs,) = token_logprobs(server.llm.model, [[*choice["prompt_token_ids"], *ids]])
        shown = [one["logprob"] for one in choice["logprobs"]["content"]]
        assert shown == logprobs[len(choice["prompt_token_ids"]) - 1 :].tolist()
        assert choice["usage"]["completion_tokens"] == 2 * len(ids)
    assert len({call["id"] for choice in choices for call in choice["message"]["tool_calls"]}) == 2


@pytest.mark.parametrize("parser", WRITTEN)
def test_without_tools_text_is_content_and_special_tokens_are_not_shown(
    serve: Callable[..., Running], parser: str
) -> None:
    server, script = serve(tool_call_parser=parser), WRITTEN[parser]
    expected = server.llm.get_tokenizer().decode(server.llm.get_tokenizer().encode(script, False))
    if parser == "openai":
        expected = f"Wait.{ARGUMENTS}"
    for fields in ({}, {"tools": TOOLS, "tool_choice": "none"}, {"tools": []}):
        for stream in (False, True):
            (choice,) = server.ask(script, stream, **fields)
            assert choice["message"] == {"role": "assistant", "content": expected}
            assert choice["finish_reason"] == "stop"


def test_a_call_that_is_cut_off_ends_by_its_length(serve: Callable[..., Running]) -> None:
    server = serve(tool_call_parser="hermes")
    for stream in (False, True):
        (choice,) = server.ask(WRITTEN["hermes"], stream, tools=TOOLS, max_tokens=25)
        ((name, arguments),) = calls_of(choice)
        assert name == "get_weather" and ARGUMENTS.startswith(arguments)
        assert choice["finish_reason"] == "length"


def test_a_stop_string_ends_a_call(serve: Callable[..., Running]) -> None:
    server = serve(tool_call_parser="hermes")
    for stream in (False, True):
        (choice,) = server.ask(WRITTEN["hermes"], stream, tools=TOOLS, stop=['"days"'])
        assert calls_of(choice) == [("get_weather", '{"city": "Rome", ')]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("tool_calls", '"days"')


def test_one_call_alone_where_several_are_not_wanted(serve: Callable[..., Running]) -> None:
    server = serve(tool_call_parser="llama3_json")
    script = '{"name": "get_time", "parameters": {}}; {"name": "get_weather", "parameters": {}}'
    for stream in (False, True):
        (choice,) = server.ask(script, stream, tools=TOOLS)
        assert calls_of(choice) == [("get_time", "{}"), ("get_weather", "{}")]
        (choice,) = server.ask(script, stream, tools=TOOLS, parallel_tool_calls=False)
        assert calls_of(choice) == [("get_time", "{}")]


def follows(name: str, arguments: str) -> bool:
    values = json.loads(arguments)
    if name == "get_time":
        return values == {}
    return [*values] == ["city", "days"] and values["city"] in ("Oslo", "Rome") and 1 <= values["days"] <= 7


@pytest.mark.parametrize("parsers", [{}, {"tool_call_parser": "mistral"}, {"tool_call_parser": "openai"}])
@pytest.mark.parametrize("stream", [False, True])
def test_required_and_named_calls_follow_their_schemas(
    serve: Callable[..., Running], parsers: dict[str, str], stream: bool
) -> None:
    """Of a random model, whatever it samples, and without a parser of its calls too."""
    server = serve(**parsers)
    options: dict[str, Any] = {"tools": TOOLS, "n": 4, "seed": 1, "return_token_ids": True, "logprobs": True}
    for choice in server.ask(stream=stream, tool_choice="required", parallel_tool_calls=False, **options):
        ((name, arguments),) = calls_of(choice)
        assert follows(name, arguments)
        assert choice["message"]["content"] is None
        assert choice["finish_reason"] == "tool_calls"
        (call,) = choice["message"]["tool_calls"]
        assert len(call["id"]) == (9 if parsers.get("tool_call_parser") == "mistral" else 29)
    for choice in server.ask(stream=stream, tool_choice=NAMED, **options):
        ((name, arguments),) = calls_of(choice)
        assert name == "get_weather" and follows(name, arguments)
        assert choice["finish_reason"] == "stop"  # as of OpenAI, and vLLM
        tokens = [*choice["prompt_token_ids"], *choice["token_ids"]]
        (logprobs,) = token_logprobs(server.llm.model, [tokens])
        shown = [one["logprob"] for one in choice["logprobs"]["content"]]
        assert shown == logprobs[len(choice["prompt_token_ids"]) - 1 :].tolist()


def test_several_required_calls(serve: Callable[..., Running]) -> None:
    (choice,) = serve().ask(tools=TOOLS, tool_choice="required", seed=0, max_tokens=150)
    calls = calls_of(choice)
    assert calls and all(follows(*call) for call in calls[:-1])


def test_gpt_oss_is_given_a_header_where_calls_are_forced(serve: Callable[..., Running]) -> None:
    server = serve(tool_call_parser="openai")
    for tool_choice, end in (
        ("required", "<|channel|>final<|message|>"),
        (NAMED, "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"),
    ):
        options: dict[str, Any] = {"tools": TOOLS, "tool_choice": tool_choice, "return_token_ids": True}
        (choice,) = server.ask(**options, seed=0)
        text = server.llm.get_tokenizer().decode(choice["prompt_token_ids"], skip_special_tokens=False)
        assert text.endswith(f"assistant\n{end}")


def test_the_streams_of_openais_own_helper(serve: Callable[..., Running]) -> None:
    """It joins the chunks, and reads the arguments, itself."""
    server = serve(tool_call_parser="hermes")
    server.llm.script = WRITTEN["hermes"]
    function: Any = WEATHER["function"]
    strict: Any = {"type": "function", "function": {**function, "strict": True}}
    with server.client.chat.completions.stream(model="tiny", messages=ASK, tools=[strict]) as stream:
        completion = stream.get_final_completion()
    (call,) = completion.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.parsed_arguments) == ("get_weather", json.loads(ARGUMENTS))
    assert completion.choices[0].message.content == "Wait."


def test_a_conversation_with_calls_goes_on(serve: Callable[..., Running]) -> None:
    """What a client got it sends back; the prompt is that of `LLM.chat`, with arguments as objects."""
    server = serve(tool_call_parser="hermes")
    server.llm.script = WRITTEN["hermes"].removeprefix("Wait.\n")
    options: dict[str, Any] = {"model": "tiny", "tools": TOOLS}
    answer = server.client.chat.completions.create(**options, messages=ASK)
    message = answer.choices[0].message.model_dump()
    assert message["content"] is None and message["refusal"] is None
    (call,) = message["tool_calls"]
    parts = [{"type": "text", "text": "Sunny."}, {"type": "text", "text": "20 C."}]
    messages = [
        *ASK,
        message | {"annotations": []},
        {"role": "tool", "tool_call_id": call["id"], "content": parts},
    ]
    more = {"role": "assistant", "content": "Fine.", "tool_calls": [], "refusal": None, "audio": None}
    messages += [more, *ASK]
    server.llm.script = "Good."
    answer = server.client.chat.completions.create(
        **options, messages=messages, extra_body={"return_token_ids": True}
    )
    assert answer.choices[0].message.content == "Good."
    ids = answer.model_dump()["prompt_token_ids"]
    shown = {"name": "get_weather", "arguments": json.loads(ARGUMENTS)}
    text = server.llm.get_tokenizer().decode(ids, skip_special_tokens=False)
    written = json.dumps({"arguments": shown["arguments"], "name": shown["name"]})
    assert f" calls {json.dumps(shown)}" in text or f" calls {written}" in text
    assert f"tool\nSunny.\n20 C. answers {call['id']}" in text
    llm = LLM(server.llm.model, server.llm.get_tokenizer(), kv_cache_memory_bytes=1 << 23)
    chat = [{name: value for name, value in one.items() if value is not None} for one in messages]
    for one in chat:
        one.setdefault("content", "")
    (output,) = llm.chat(chat, SamplingParams(max_tokens=1), tools=TOOLS)
    assert output.prompt_token_ids == ids


# ---------------------------------------------------------------- reasoning

THOUGHT = "<think>\nRome.\n</think>\n\nIt is sunny."


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("parser", ["qwen3", "deepseek_r1"])
def test_reasoning_is_apart_from_content(serve: Callable[..., Running], parser: str, stream: bool) -> None:
    server = serve(reasoning_parser=parser)
    for script in (THOUGHT, THOUGHT.removeprefix("<think>")):
        (choice,) = server.ask(script, stream, logprobs=True, return_token_ids=True)
        assert choice["message"] == {
            "role": "assistant",
            "reasoning": "\nRome.\n",
            "reasoning_content": "\nRome.\n",
            "content": "\n\nIt is sunny.",
        }
        ids = [*server.llm.get_tokenizer().encode(script, False), 2]
        assert choice["token_ids"] == ids and len(choice["logprobs"]["content"]) == len(ids)
    (choice,) = server.ask(THOUGHT, stream, include_reasoning=False)
    assert choice["message"] == {"role": "assistant", "content": "\n\nIt is sunny."}
    (choice,) = server.ask(THOUGHT, stream, max_tokens=3)
    assert choice["message"]["content"] is None and choice["message"]["reasoning"]
    # Where the template closes it, there is none.
    for fields in ({"chat_template_kwargs": {"enable_thinking": False}}, {"reasoning_effort": "none"}):
        (choice,) = server.ask("It is sunny.", stream, **fields)
        assert choice["message"] == {"role": "assistant", "content": "It is sunny."}


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_of_reasoning_are_counted(serve: Callable[..., Running], stream: bool) -> None:
    server = serve(reasoning_parser="qwen3")
    encode = server.llm.get_tokenizer().encode

    def counted(script: str, **fields: Any) -> int:
        choices = server.ask(script, stream, **fields)
        return int(choices[0]["usage"]["completion_tokens_details"]["reasoning_tokens"])

    for thought in ("\nRome.\n", "", "\n", "Ω≈ç√ 👩‍🚀 é", "a <b and </b> < thinking"):
        tokens = len(encode(thought, False))
        # The marks are no reasoning, wherever the first of them stands.
        for script in (f"<think>{thought}</think>\n\nIt is sunny.", f"{thought}</think>Sunny. </think>"):
            assert counted(script) == counted(script, include_reasoning=False) == tokens
        assert counted(f"{thought}</think>Sunny.", n=2) == 2 * tokens
        for most in range(1, tokens + 3):
            assert counted(f"<think>{thought}</think>", max_tokens=most) == min(most - 1, tokens)
        assert counted(f"{thought}</think>x", stop="x") == tokens
        assert counted(thought, chat_template_kwargs={"enable_thinking": False}) == 0
    server = serve(tool_call_parser="openai")
    script = (
        "<|channel|>analysis<|message|>In Rome.<|end|><|start|>assistant<|channel|>final<|message|>Sunny."
    )
    assert counted(script) == len(encode("In Rome.", False))
    assert "completion_tokens_details" not in serve().ask("a", stream)[0]["usage"]


def test_each_chunk_counts_the_tokens_of_reasoning_so_far(serve: Callable[..., Running]) -> None:
    server = serve(reasoning_parser="qwen3")
    server.llm.script = THOUGHT
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    body: Any = {"model": "tiny", "messages": ASK, "max_tokens": 200, "stream": True}
    chunks = server.client.chat.completions.create(**body, stream_options=options)
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    found = [usage.completion_tokens_details.reasoning_tokens or 0 for usage in usages]  # type: ignore[union-attr]
    most = len(server.llm.get_tokenizer().encode("\nRome.\n", False))
    assert found == sorted(found) and (found[0], found[-2], found[-1]) == (0, most, most)
    assert {*found} == {*range(most + 1)}


def test_without_a_reasoning_parser_it_is_content(serve: Callable[..., Running]) -> None:
    (choice,) = serve().ask(THOUGHT, skip_special_tokens=False)
    assert choice["message"]["content"] == f"{THOUGHT}"


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_and_calls(serve: Callable[..., Running], stream: bool) -> None:
    server = serve(reasoning_parser="qwen3", tool_call_parser="hermes")
    script = "<think>Rome.</think>\n\n" + WRITTEN["hermes"].removeprefix("Wait.\n")
    (choice,) = server.ask(script, stream, tools=TOOLS)
    assert calls_of(choice) == [("get_weather", ARGUMENTS)]
    assert (choice["message"]["reasoning_content"], choice["message"]["content"]) == ("Rome.", None)
    server = serve(tool_call_parser="openai")
    script = "<|channel|>analysis<|message|>Rome.<|end|><|start|>assistant<|channel|>final<|message|>Sunny."
    (choice,) = server.ask(script, stream, tools=TOOLS)
    assert (choice["message"]["reasoning_content"], choice["message"]["content"]) == ("Rome.", "Sunny.")
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_a_grammar_holds_after_reasoning(serve: Callable[..., Running], stream: bool) -> None:
    server = serve(reasoning_parser="qwen3")
    (end,) = server.llm.get_tokenizer().encode("</think>", False)
    soon: dict[str, Any] = {"logit_bias": {str(end): 12}, "seed": 3, "stream": stream, "max_tokens": 400}
    (choice,) = server.ask(**soon, tools=TOOLS, tool_choice=NAMED)
    ((name, arguments),) = calls_of(choice)
    assert follows(name, arguments) and choice["message"]["reasoning"]
    (choice,) = server.ask(**soon, structured_outputs={"choice": ["red", "green"]})
    assert choice["message"]["content"] in ("red", "green") and choice["message"]["reasoning"]
    script = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>red"
    server = serve(tool_call_parser="openai")
    (choice,) = server.ask(script, stream, structured_outputs={"choice": ["red"]})
    assert (choice["message"]["reasoning"], choice["message"]["content"]) == ("Hm.", "red")
    # From the first token on where there is none.
    server = serve(reasoning_parser="qwen3")
    off = {"chat_template_kwargs": {"enable_thinking": False}}
    (choice,) = server.ask(stream=stream, structured_outputs={"choice": ["red", "green"]}, **off)
    assert choice["message"]["content"] in ("red", "green") and "reasoning" not in choice["message"]


def test_a_message_is_continued_where_it_is(serve: Callable[..., Running]) -> None:
    server = serve(reasoning_parser="qwen3")
    options: dict[str, Any] = {"continue_final_message": True, "add_generation_prompt": False}
    for content, echo, expected in (
        ("<think>I", False, ("mm", " ok")),
        ("<think>I</think>So", False, (None, "mm</think> ok")),
        ("So", True, (None, "Somm</think> ok")),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], True, (None, "a\nbmm</think> ok")),
    ):
        messages = [*ASK, {"role": "assistant", "content": content}]
        for stream in (False, True):
            (choice,) = server.ask(
                "mm</think> ok", stream, messages=messages, echo=echo, skip_special_tokens=False, **options
            )
            message = choice["message"]
            assert (message.get("reasoning"), message["content"]) == expected


def test_templates_are_given_reasoning_and_its_effort(serve: Callable[..., Running]) -> None:
    server = serve(reasoning_parser="qwen3")
    for name in ("reasoning", "reasoning_content"):
        messages = [*ASK, {"role": "assistant", "content": "Fine.", name: "Hm."}, *ASK]
        (choice,) = server.ask("x", messages=messages, reasoning_effort="low", return_token_ids=True)
        text = server.llm.get_tokenizer().decode(choice["prompt_token_ids"], skip_special_tokens=False)
        assert "assistant<think>Hm.</think>\nFine." in text
        assert "effort low" in text


# ---------------------------------------------------------------- what is refused

BAD: list[tuple[dict[str, Any], str | None, str]] = [
    ({"tools": TOOLS}, "tools", "--enable-auto-tool-choice --tool-call-parser hermes, llama3_json"),
    ({"tools": [{}]}, "tools", "tools[0] must be"),
    ({"tools": ["f"]}, "tools", "a list of objects"),
    ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice", "must be 'none'"),
    ({"tools": TOOLS, "tool_choice": 5}, "tool_choice", "a string or an object"),
    ({"tool_choice": "required"}, "tool_choice", "tools has no function"),
    (
        {"tools": TOOLS, "tool_choice": NAMED, "response_format": {"type": "json_object"}},
        "tool_choice",
        "leave out response_format",
    ),
    ({"reasoning_effort": "huge"}, "reasoning_effort", "must be one of none, minimal"),
    ({"functions": [{"name": "f"}]}, "functions", "does not support it"),
    ({"messages": [{"role": "user", "content": "a", "tool_calls": [{}]}]}, "messages", "role 'assistant'"),
    ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages", "tool_calls must be a list of"),
    ({"messages": [{"role": "assistant", "tool_calls": "f"}]}, "messages", "tool_calls must be a list of"),
    ({"messages": [{"role": "assistant", "tool_calls": []}]}, "messages", "needs a content"),
    ({"messages": [{"role": "tool", "content": "a", "tool_call_id": 5}]}, "messages", "must be a string"),
    (
        {"messages": [{"role": "assistant", "content": "a", "prefix": True}]},
        "messages",
        "prefix is not supported",
    ),
    ({"messages": [{"role": ["user"], "content": "a"}]}, "messages", "role must be a string"),
]


@pytest.mark.parametrize(("fields", "param", "message"), BAD, ids=[message for _, _, message in BAD])
def test_what_is_wrong_is_said(
    serve: Callable[..., Running], fields: dict[str, Any], param: str | None, message: str
) -> None:
    server = serve()
    server.llm.script = None
    body = {"model": "tiny", "messages": ASK, **fields}
    with pytest.raises(openai.BadRequestError) as error:
        server.client.post("/chat/completions", body=body, cast_to=object)
    assert message in error.value.message
    assert error.value.param == param


def test_a_schema_that_no_grammar_can_hold_is_refused(serve: Callable[..., Running]) -> None:
    for parameters in ({"type": "object", "properties": {"a": {"type": "strange"}}}, {"x-guidance": "no"}):
        tool: Any = {"type": "function", "function": {"name": "f", "parameters": parameters}}
        with pytest.raises(openai.BadRequestError, match="refused"):
            serve().ask(tools=[tool], tool_choice="required")


def test_parsers_are_checked(tokenizer: Tokenizer) -> None:
    with pytest.raises(MinillmError, match="tool_call_parser must be one of hermes, llama3_json"):
        ParserOptions(tool_call_parser="json")
    with pytest.raises(MinillmError, match="reasoning_parser must be one of qwen3"):
        ParserOptions(reasoning_parser="think")
    plain = copy(tokenizer)
    plain.chat_template = "{{ messages }}"
    with pytest.raises(MinillmError, match="enable_auto_tool_choice: the chat template does not show"):
        Parsers(plain, ParserOptions(enable_auto_tool_choice=True))
    Parsers(tokenizer, ParserOptions(enable_auto_tool_choice=True, tool_call_parser="hermes"))
    # Of marks that are several tokens, none can be where a grammar begins.
    bare = Tokenizer(tokenizers.Tokenizer(tokenizers.models.BPE()), chat_template="x")
    with pytest.raises(MinillmError, match="'</think>' to be one token"):
        Parsers(bare, ParserOptions(reasoning_parser="qwen3")).end_of_reasoning(ToolUse(), reasons=True)


def test_a_grammar_after_tokens(model: Transformer, tokenizer: Tokenizer) -> None:
    llm = LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23)
    structure = StructuredOutputsParams(choice=["red", "green"], after_token_ids=[300, 301])
    begin = [301, 300, 7, 300, 301]

    def wanted(output_ids: list[int], logits_V: torch.Tensor) -> torch.Tensor:
        """These tokens, if the end of the text, which is wanted more, may not come before them."""
        if len(output_ids) >= len(begin):
            return logits_V
        bias_V = torch.zeros_like(logits_V)
        bias_V[2], bias_V[begin[len(output_ids)]] = 2e4, 1e4
        return logits_V + bias_V

    params = SamplingParams(seed=0, max_tokens=60, structured_outputs=structure, logits_processors=[wanted])
    for output in llm.generate(["a", "b"], params):
        ids = output.outputs[0].token_ids
        assert ids[: len(begin)] == begin
        assert tokenizer.decode(ids[len(begin) :]) in ("red", "green")
    for wrong in ((), [-1], "ab", [True]):
        with pytest.raises(MinillmError, match="after_token_ids must be token ids"):
            StructuredOutputsParams(choice=["a"], after_token_ids=wrong)  # type: ignore[arg-type]


def test_special_tokens_can_be_shown(model: Transformer, tokenizer: Tokenizer) -> None:
    llm = LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23)
    ids = tokenizer.encode("a[TOOL_CALLS]b<|channel|>c", False)
    for shown, text in ((None, "abc"), ([ids[1]], "a[TOOL_CALLS]bc")):
        params = SamplingParams(trace_decode_token_ids=ids, shown_special_token_ids=shown)
        (output,) = llm.generate(["x"], params)
        assert output.outputs[0].text == text
    with pytest.raises(MinillmError, match="shown_special_token_ids must be token ids"):
        SamplingParams(shown_special_token_ids=["a"])  # type: ignore[list-item]
