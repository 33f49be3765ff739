"""`/v1/responses`: what a request asks of the chat, what becomes of its chunks, and OpenAI's own client."""

from __future__ import annotations

import copy
import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, ConfigDict, TypeAdapter

from minillm import LLM, MinillmError, SamplingParams, Tokenizer, Transformer
from minillm.serve.protocol import ApiError
from minillm.serve.response_store import ResponseStore
from minillm.serve.responses import ResponseWriter
from minillm.serve.responses_request import FIELDS, UNSUPPORTED, chat_body, given_fields, in_our_names

Json = dict[str, Any]

PART = {"type": "input_text", "text": "Hi"}
LOGPROBS = "message.output_text.logprobs"
WEATHER: Json = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a town.",
    "parameters": {
        "type": "object",
        "properties": {"town": {"enum": ["Bern", "Oslo"]}, "metric": {"type": "boolean"}},
        "required": ["town", "metric"],
        "additionalProperties": False,
    },
    "strict": True,
}


def chat_of(**body: Any) -> Json:
    """The chat that a request asks for, without what it always has."""
    arguments = given_fields(body)
    given = arguments["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    chat = chat_body(arguments, items)
    assert chat.pop("stream") is True
    assert chat.pop("stream_options") == {"include_usage": True}
    return chat


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"max_output_tokens": 7, "temperature": 0.5, "top_p": 0.9}, {
            "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.9}),
        ({"top_k": 3, "seed": 1, "stop": ["a"], "model": "tiny"}, {
            "top_k": 3, "seed": 1, "stop": ["a"], "model": "tiny"}),
        ({"include": [LOGPROBS], "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        ({"include": ["reasoning.encrypted_content"]}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {"verbosity": "medium"}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {
                "type": "json_schema", "name": "a", "schema": {"type": "null"}, "strict": True}}},
            {"response_format": {"type": "json_schema", "json_schema": {
                "name": "a", "schema": {"type": "null"}, "strict": True}}},
        ),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"truncation": "disabled"}, {}),
        ({"truncation": "auto"}, {"truncate_prompt_tokens": -1}),
        ({"tools": [], "tool_choice": "auto"}, {}),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"},
             "parallel_tool_calls": False},
            {
                "tools": [{"type": "function",
                           "function": {name: WEATHER[name] for name in WEATHER if name != "type"}}],
                "tool_choice": {"type": "function", "function": {"name": "weather"}},
                "parallel_tool_calls": False,
            },
        ),
        # Shown in the response, without effect.
        ({"user": "u", "metadata": {"a": "b"}, "service_tier": "flex", "store": False}, {}),
        ({"max_tool_calls": 3, "prompt_cache_key": "k", "safety_identifier": "s"}, {}),
    ],
)  # fmt: skip
def test_fields_become_those_of_a_chat(fields: Json, expected: Json) -> None:
    assert chat_of(input="Hi", **fields) == {"messages": [{"role": "user", "content": "Hi"}], **expected}


def test_items_become_messages() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "id": "fc_1"}
    items: list[Json] = [
        {"role": "user", "content": "One"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": x} for x in "ab"]},
        {"type": "reasoning", "id": "rs_1", "summary": [],
         "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {
            "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Yes.", "annotations": [], "logprobs": []}],
        },
        {**call, "status": "completed"},
        {**call, "call_id": "c2", "name": "g", "arguments": '{"x":1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
        {"type": "reasoning", "encrypted_content": None,
         "summary": [{"type": "summary_text", "text": "So."}]},
        {**call, "call_id": "c3"},
        {"type": "function_call_output", "call_id": "c3", "output": ""},
        {"type": "reasoning", "id": "rs_3", "summary": []},
        {"role": "assistant", "content": "A"},
        {"role": "assistant", "content": "B"},
    ]  # fmt: skip

    def calls(*wanted: tuple[str, str, str]) -> list[Json]:
        return [
            {"id": name, "type": "function", "function": {"name": function, "arguments": arguments}}
            for name, function, arguments in wanted
        ]

    assert chat_of(input=items)["messages"] == [
        {"role": "user", "content": "One"},
        {"role": "user", "content": "a\nb"},
        {
            "role": "assistant",
            "reasoning_content": "Hm.",
            "content": "Yes.",
            "tool_calls": calls(("c1", "f", "{}"), ("c2", "g", '{"x":1}')),
        },
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "assistant", "reasoning_content": "So.", "tool_calls": calls(("c3", "f", "{}"))},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
        {"role": "assistant", "content": "A"},
        {"role": "assistant", "content": "B"},
    ]


def test_instructions_and_what_developers_say_are_one_system_message() -> None:
    items = [
        {"role": "user", "content": "Hi"},
        {"role": "developer", "content": "Be kind."},
        {"role": "system", "content": "S"},
    ]
    others = [{"role": "user", "content": "Hi"}, {"role": "system", "content": "S"}]
    assert chat_of(input=items)["messages"] == [{"role": "system", "content": "Be kind."}, *others]
    first = {"role": "system", "content": "Be brief.\n\nBe kind."}
    assert chat_of(input=items, instructions="Be brief.")["messages"] == [first, *others]


@pytest.mark.parametrize(("status", "continues"), [("incomplete", True), ("completed", False), (None, False)])
def test_a_message_that_was_cut_is_continued(status: str | None, continues: bool) -> None:
    last = {"role": "assistant", "content": [{"type": "output_text", "text": "Once"}], "status": status}
    chat = chat_of(input=[{"role": "user", "content": "Hi"}, last])
    assert chat["messages"][-1] == {"role": "assistant", "content": "Once"}
    assert chat.get("continue_final_message", False) is continues
    assert chat.get("add_generation_prompt", True) is not continues


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"nonsense": 1}, "there is no field 'nonsense'"),
        ({"max_tokens": 3}, "max_tokens; it is called max_output_tokens here"),
        ({"response_format": None}, "response_format; it is called text.format here"),
        ({"n": 2}, "there is no field 'n'"),
        ({"background": True}, "background = True"),
        ({"conversation": "c"}, "conversation = 'c'"),
        ({"prompt": {"id": "p"}}, "prompt = {'id': 'p'}"),
        ({"input": 3}, "input must be a string or a list, got 3"),
        ({"input": []}, "input holds nothing"),
        ({"input": [3]}, r"input\[0\] must be an object"),
        ({"input": [{"role": "user"}]}, r"input\[0\] needs content"),
        ({"input": [{"role": "king", "content": ""}]}, r"input\[0\]: role must be 'user', .* got 'king'"),
        ({"input": [{"role": "user", "content": "", "name": "x"}]}, r"input\[0\]: 'name' is not supported"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            r"input\[0\]: content must be made",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            r"input\[0\]: content needs text",
        ),
        (
            {"input": [{"role": "user", "content": ["Hi"]}]},
            r"input\[0\]: content must be made of .* got 'Hi'",
        ),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "type 'item_reference' is not supported"),
        ({"input": [{"type": []}]}, r"input\[0\]: an item of type \[\]|must be"),
        ({"input": [{"type": ["x"]}]}, r"an item of type \['x'\] is not supported"),
        ({"input": [{"type": "function_call", "name": "f"}]}, r"input\[0\] needs call_id"),
        (
            {"input": [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]},
            "'encrypted_content' is not supported",
        ),
        ({"include": ["everything"]}, "include has no 'everything'"),
        ({"top_logprobs": 2}, "top_logprobs go with include"),
        ({"text": {"format": {"type": "yaml"}}}, "text: format must be"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format needs schema"),
        ({"text": {"format": {"type": "json_schema", "schema": {}, "x": 1}}}, "text.format: 'x' is not"),
        ({"text": {"shape": 1}}, "text: 'shape' is not supported"),
        ({"tools": ["f"]}, r"tools\[0\] must be an object"),
        ({"tools": [{"type": "web_search"}]}, r"tools\[0\] must be of type 'function', got 'web_search'"),
        ({"tools": [{"type": "function"}]}, r"tools\[0\] needs name"),
        ({"tools": [{**WEATHER, "function": {}}]}, r"tools\[0\]: 'function' is not supported"),
        ({"tools": [{**WEATHER, "name": ""}]}, r"tools\[0\]: name must not be empty"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice must be"),
        (
            {"tool_choice": "any"},
            "tool_choice must be 'auto', .* {'type': 'function', 'name': ...}, got 'any'",
        ),
        ({"reasoning": {"summary": "detailed"}}, "reasoning: summary must be 'auto'"),
        ({"reasoning": {"mode": "pro"}}, "reasoning: 'mode' is not supported"),
        ({"truncation": "left"}, "truncation must be 'auto' or 'disabled'"),
        (
            {"text": {"format": {"type": "json_object"}}, "structured_outputs": {"regex": "a"}},
            "give text.format or structured_outputs, not both",
        ),
    ],
)
def test_what_is_not_understood_is_refused(fields: Json, sentence: str) -> None:
    with pytest.raises(MinillmError, match=sentence) as caught:
        chat_of(**{"input": "Hi", **fields})
    error = ApiError.of(caught.value, fields) if not isinstance(caught.value, ApiError) else caught.value
    wrong = next(iter(fields)) if "structured_outputs" not in fields else "structured_outputs"
    assert (error.status, error.param) == (400, wrong)


def test_no_field_of_openais_or_vllms_is_forgotten() -> None:
    from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

    theirs = ResponseCreateParamsStreaming.__annotations__.keys()
    assert theirs <= FIELDS.keys() | UNSUPPORTED.keys()
    assert not FIELDS.keys() & UNSUPPORTED.keys()


def test_errors_of_the_chat_have_our_names() -> None:
    error = in_our_names(ApiError("max_tokens must be at least 1", param="max_tokens"))
    assert isinstance(error, ApiError)
    assert (str(error), error.param) == ("max_output_tokens must be at least 1", "max_output_tokens")
    plain = in_our_names(MinillmError("response_format: json_schema has no 'x'"))
    assert str(plain) == "text.format: json_schema has no 'x'"
    assert str(in_our_names(MinillmError("top_k must be 1"))) == "top_k must be 1"


# ---------------------------------------------------------------- chunks


def chunks(*deltas: Json, finish: str = "stop", logprobs: list[list[Json]] | None = None) -> Iterator[Json]:
    """A chat's stream: choices with these deltas, the last with the reason, then the usage."""
    for i, delta in enumerate(deltas):
        is_last = i == len(deltas) - 1
        choice: Json = {"index": 0, "delta": delta, "finish_reason": finish if is_last else None}
        if logprobs is not None:
            choice["logprobs"] = {"content": logprobs[i]}
        yield {"id": "chatcmpl-1", "choices": [choice], "usage": None}
    usage: Json = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    details = {
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    yield {"id": "chatcmpl-1", "choices": [], "usage": usage | details}


def written(*stream: Json) -> list[Json]:
    """The events of a stream of chunks, checked by `expect_order`, and each by OpenAI's own type."""
    writer = ResponseWriter({
        "id": "resp_1", "object": "response", "created_at": 1, "model": "tiny", "status": "in_progress",
        "output": [], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True,
    })  # fmt: skip
    events = [copy.deepcopy(event) for event in writer.start()]
    for chunk in stream:
        events += [copy.deepcopy(event) for event in writer.add(chunk)]
    events += [copy.deepcopy(event) for event in writer.finish()]
    expect_order(events)
    return events


def expect_order(events: list[Json]) -> None:
    """Events are numbered and of OpenAI's shape; each item is opened, written and closed before the next is.

    What items hold when they are done is the joined deltas, and stands in the last event's response.
    """
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for event in events:
        assert unknown(adapter.validate_python(event)) <= MORE
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    end = events[-1]["response"]
    assert events[-1]["type"] == f"response.{end['status']}"
    done: list[Json] = []
    stack: list[Json] = []
    text, logprobs = "", []
    for event in events[2:-1]:
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert not stack
            assert event["item"]["status"] == "in_progress"
            assert event["output_index"] == len(done)
            stack, text, logprobs = [event["item"]], "", []
            continue
        assert event["output_index"] == len(done)
        if kind == "output_item.done":
            (added,) = stack
            item = event["item"]
            assert {name: item[name] for name in ("id", "type")} == {
                name: added[name] for name in ("id", "type")
            }
            assert text == (item["content"][0]["text"] if "content" in item else item["arguments"])
            done.append(item)
            stack = []
            continue
        assert event["item_id"] == stack[0]["id"]
        assert event.get("content_index") == (None if "function_call" in kind else 0)
        if kind == "content_part.added":
            assert len(stack) == 1
            assert event["part"]["text"] == ""
            stack.append(event["part"])
        elif kind.endswith(".delta"):
            text += event["delta"]
            logprobs += event.get("logprobs", [])
        elif kind == "content_part.done":
            assert event["part"]["text"] == text
            assert event["part"].get("logprobs", []) == logprobs
            stack.pop()
        else:
            assert kind in ("output_text.done", "reasoning_text.done", "function_call_arguments.done")
            assert text == event["arguments" if "arguments" in kind else "text"]
            assert event.get("logprobs", []) == logprobs
    assert not stack
    assert done == end["output"]


# What we write and the client's types do not have: as OpenAI's own server does, and of the chat's logprobs.
MORE = {"store", "bytes"}


def unknown(value: Any) -> set[str]:
    """The fields that the client's types do not have."""
    if isinstance(value, list):
        return {name for one in value for name in unknown(one)}
    if not isinstance(value, BaseModel):
        return set()
    return {*(value.model_extra or {}), *(name for _, one in value for name in unknown(one))}


def without(value: Any, *names: str) -> Any:
    """JSON without what the client writes into it."""
    if isinstance(value, list):
        return [without(one, *names) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: without(one, *names) for name, one in value.items() if name not in names}


def kinds(events: list[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_text_becomes_a_message() -> None:
    events = written(*chunks({"role": "assistant", "content": ""}, {"content": "He"}, {"content": "y"}, {}))
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    response = events[-1]["response"]
    (item,) = response["output"]
    part = {"type": "output_text", "text": "Hey", "annotations": [], "logprobs": []}
    expected = {"type": "message", "role": "assistant", "status": "completed", "content": [part]}
    assert item == {"id": item["id"], **expected}
    assert item["id"].startswith("msg_")
    assert response["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 3},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},  # as the chat counts them
        "total_tokens": 9,
    }
    assert events[0]["response"]["status"] == "in_progress"
    assert events[0]["response"]["output"] == []


def test_reasoning_and_calls_become_items() -> None:
    def call(index: int, name: str | None = None, arguments: str | None = None) -> Json:
        head = {} if name is None else {"id": f"call_{index}", "type": "function"}
        function = {"name": name, "arguments": arguments}
        given = {key: value for key, value in function.items() if value is not None}
        return {"tool_calls": [{"index": index, **head, "function": given}]}

    events = written(
        *chunks(
            {"role": "assistant", "content": ""},
            {"reasoning_content": "Let "},
            {},
            {"reasoning_content": "us."},
            {},
            {"content": "Now:"},
            call(0, "f", ""),
            call(0, None, '{"a":'),
            call(0, None, "1}"),
            call(1, "g", "{}"),
            {"content": "Done."},
            finish="tool_calls",
        )
    )
    first, second, third, fourth, fifth = events[-1]["response"]["output"]
    assert (first["type"], first["content"]) == ("reasoning", [{"type": "reasoning_text", "text": "Let us."}])
    assert first["summary"] == []
    assert second["content"][0]["text"] == "Now:"
    assert {
        "type": "function_call",
        "status": "completed",
        "call_id": "call_0",
        "name": "f",
    }.items() <= third.items()
    assert third["arguments"] == '{"a":1}'
    assert (fourth["call_id"], fourth["name"], fourth["arguments"]) == ("call_1", "g", "{}")
    assert fifth["content"][0]["text"] == "Done."
    assert [item["id"].split("_")[0] for item in events[-1]["response"]["output"]] == [
        "rs",
        "msg",
        "fc",
        "fc",
        "msg",
    ]
    assert events[-1]["response"]["status"] == "completed"
    assert events[-1]["response"]["usage"]["output_tokens_details"] == {"reasoning_tokens": 1}


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "Once"},
        {"reasoning_content": "Once"},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "Once"}}]},
    ],
)
def test_what_is_cut_is_incomplete(delta: Json) -> None:
    events = written(*chunks(delta, finish="length"))
    response = events[-1]["response"]
    assert (response["status"], response["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    (item,) = response["output"]
    assert item["status"] == "incomplete"
    assert (item["content"][0]["text"] if "content" in item else item["arguments"]) == "Once"


def test_where_nothing_comes_there_is_an_empty_message() -> None:
    (item,) = written(*chunks({"role": "assistant", "content": ""}))[-1]["response"]["output"]
    assert item["content"][0]["text"] == ""


def test_logprobs_go_to_the_text_that_their_tokens_make() -> None:
    def entry(token: str) -> Json:
        return {"token": token, "logprob": -1.0, "bytes": [1], "top_logprobs": []}

    thought, half, whole, mark, name, end = (entry(token) for token in ["a", "b", "c", "d", "e", "f"])
    call = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    events = written(
        *chunks(
            {"reasoning_content": "So."},
            {"content": ""},
            {"content": "é"},
            {"content": ""},
            call,
            {},
            logprobs=[[thought], [half], [whole], [mark], [name], [end]],
            finish="tool_calls",
        )
    )
    _, message, _ = events[-1]["response"]["output"]
    assert message["content"][0]["logprobs"] == [half, whole]
    # The end of a text is a token of it.
    events = written(*chunks({"content": "é"}, {}, logprobs=[[half, whole], [end]]))
    (message,) = events[-1]["response"]["output"]
    assert message["content"][0]["logprobs"] == [half, whole, end]


@pytest.mark.parametrize(("status", "code"), [(400, "invalid_prompt"), (500, "server_error")])
def test_what_fails_says_so_in_the_last_event(status: int, code: str) -> None:
    writer = ResponseWriter({"id": "resp_1", "output": []})
    events = [*writer.start(), *writer.add(next(chunks({"content": "On"}, {"content": "ce"})))]
    last = writer.fail(ApiError("it broke", status=status))
    assert last["sequence_number"] == len(events)
    assert last["type"] == "response.failed"
    response = last["response"]
    assert (response["status"], response["error"]) == ("failed", {"code": code, "message": "it broke"})
    (item,) = response["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "On")


# ---------------------------------------------------------------- the store


def test_the_oldest_responses_go() -> None:
    def response(name: str) -> Json:
        return {"id": name, "output": [{"text": "x" * 300}]}

    store = ResponseStore(max_bytes=1500)
    for name in ("a", "b", "c"):
        store.add(response(name), [{"role": "user"}])
    assert store.response("c") == response("c")
    assert store.items("b") == [{"role": "user"}, {"text": "x" * 300}]
    with pytest.raises(ApiError, match="Response with id 'a' not found") as caught:
        store.response("a")
    assert caught.value.status == 404
    with pytest.raises(ApiError, match="Previous response with id 'a' not found") as caught:
        store.items("a")
    assert (caught.value.param, caught.value.code) == ("previous_response_id", "previous_response_not_found")
    store.add({"id": "d", "output": [{"text": "x" * 2000}]}, [])  # larger than all that may be kept
    with pytest.raises(ApiError):
        store.response("d")
    with pytest.raises(ApiError):
        store.response("c")
    store.add(response("e"), [])
    assert store.response("e") == response("e")


def test_a_response_is_kept_once_an_id_and_can_be_removed() -> None:
    store = ResponseStore(max_bytes=1000)
    for i in range(20):  # the one of this name goes, not the other
        store.add({"id": "a", "output": [{"text": "x" * 100}], "i": i}, [])
        store.add({"id": "b", "output": [{"text": "x" * 100}], "i": i}, [])
    assert (store.response("a")["i"], store.response("b")["i"]) == (19, 19)
    store.remove("a")
    for call in (store.response, store.remove):
        with pytest.raises(ApiError, match="Response with id 'a' not found"):
            call("a")
    assert store.response("b")["i"] == 19


# ---------------------------------------------------------------- OpenAI's client


@pytest.fixture(scope="module")
def client(served: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def reference(tiny_llama: Callable[..., Transformer], demo_model_path: Path) -> LLM:
    """The model that is served, in an `LLM` of its own."""
    model = tiny_llama("fp32", vocab_size=49152)
    return LLM(model, Tokenizer.from_folder(demo_model_path), kv_cache_memory_bytes=1 << 23)


def post(served: str, path: str, body: Json) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(urlsplit(served).netloc, timeout=30)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    text, headers = response.read().decode(), {name.lower(): value for name, value in response.getheaders()}
    connection.close()
    return response.status, text, headers


def comparable(response: Any) -> Json:
    """A response without its ids and times."""
    found: Json = response.to_dict()
    for place in (found, *found["output"]):
        place.pop("id")
    for name in ("created_at", "completed_at", "store"):
        found.pop(name)
    found["usage"].pop("input_tokens_details")  # the second of two finds more in the cache
    return found


def test_a_response_is_that_of_the_chat(client: openai.OpenAI, reference: LLM) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour."}]
    (expected,) = reference.chat(messages, SamplingParams(temperature=0, max_tokens=12))
    response = client.responses.create(
        model="tiny",
        instructions="Be brief.",
        input="Name a colour.",
        temperature=0,
        max_output_tokens=12,
        metadata={"a": "b"},
        user="me",
    )
    assert response.output_text == expected.outputs[0].text
    assert (response.status, response.object, response.model) == ("incomplete", "response", "tiny")
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.input_tokens == len(expected.prompt_token_ids)
    assert (response.usage.output_tokens, response.usage.total_tokens) == (
        12,
        len(expected.prompt_token_ids) + 12,
    )
    assert (response.instructions, response.metadata, response.user) == ("Be brief.", {"a": "b"}, "me")
    assert (response.temperature, response.max_output_tokens) == (0, 12)
    assert unknown(Response.model_validate(response.to_dict())) <= MORE  # strictly of OpenAI's type
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": "Name a colour."}]}]
    again = client.responses.create(
        model="tiny", instructions="Be brief.", input=items, temperature=0, max_output_tokens=12
    )
    assert again.output_text == response.output_text


FORMATS: list[Json] = [
    {"extra_body": {"seed": 3}, "max_output_tokens": 20},
    {"extra_body": {"seed": 4}, "max_output_tokens": 9, "include": [LOGPROBS], "top_logprobs": 2},
    {"temperature": 0, "extra_body": {"structured_outputs": {"choice": ["red", "green"]}}},
]


@pytest.mark.parametrize("fields", FORMATS)
def test_the_last_event_of_a_stream_is_the_whole(client: openai.OpenAI, fields: Json) -> None:
    whole = client.responses.create(model="tiny", input="Name a colour.", **fields)
    stream = client.responses.create(model="tiny", input="Name a colour.", stream=True, **fields)
    events = [event.to_dict() for event in stream]
    expect_order(events)
    last = Response.construct(**events[-1]["response"])
    stored = client.responses.retrieve(last.id)
    assert stored.to_dict() == events[-1]["response"]
    assert comparable(stored) == comparable(whole)
    assert len([kind for kind in kinds(events) if kind == "output_text.delta"]) > 1


def test_a_stream_has_named_events_and_no_other_end(served: str) -> None:
    body = {"model": "tiny", "input": "Hi", "max_output_tokens": 2, "stream": True}
    status, text, headers = post(served, "/v1/responses", body)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    for event in text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        assert json.loads(data.removeprefix("data: "))["type"] == name.removeprefix("event: ")
    assert name == "event: response.incomplete"


def test_the_clients_own_stream_adds_up(client: openai.OpenAI) -> None:
    choice = {"structured_outputs": {"choice": ["red", "green"]}}
    with client.responses.stream(model="tiny", input="Name a colour.", extra_body=choice) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
    assert snapshots[-1] == stream.get_final_response().output_text
    assert snapshots[-1] in ("red", "green")


def test_logprobs_are_those_of_the_chat(client: openai.OpenAI) -> None:
    text = "Name a colour."
    response = client.responses.create(
        model="tiny",
        input=text,
        extra_body={"seed": 5},
        max_output_tokens=8,
        include=[LOGPROBS],
        top_logprobs=3,
    )  # type: ignore[call-overload]
    chat = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": text}],
        seed=5,
        max_tokens=8,
        logprobs=True,
        top_logprobs=3,
    )
    assert chat.choices[0].logprobs is not None
    expected = [entry.to_dict() for entry in chat.choices[0].logprobs.content or []]
    assert len(expected) == 8
    assert [entry.to_dict() for entry in response.output[0].content[0].logprobs] == expected


class Paint(BaseModel):
    model_config = ConfigDict(extra="forbid")
    colour: Literal["red", "green"]
    matt: bool


def test_a_parsed_response_is_of_its_class(client: openai.OpenAI, no_spaces: dict[str, float]) -> None:
    options: Json = {"text_format": Paint, "extra_body": {"logit_bias": no_spaces}}
    response = client.responses.parse(model="tiny", input="Choose a paint.", **options)
    assert response.status == "completed"
    assert response.output_parsed == Paint.model_validate_json(response.output_text)
    with client.responses.stream(model="tiny", input="Choose.", **options) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Paint)
    # What was parsed goes back as it is.
    items: list[Any] = [{"role": "user", "content": "Choose."}, *response.output]
    items += [{"role": "user", "content": "Why?"}]
    assert client.responses.create(model="tiny", input=items, max_output_tokens=1).usage


def test_a_response_can_be_gone_on_from(client: openai.OpenAI, reference: LLM) -> None:
    first = client.responses.create(
        model="tiny",
        instructions="Be brief.",
        input="Name a colour.",
        extra_body={"seed": 1},
        max_output_tokens=5,
    )
    second = client.responses.create(
        model="tiny", input="Another.", previous_response_id=first.id, temperature=0, max_output_tokens=5
    )
    messages = [
        {"role": "user", "content": "Name a colour."},  # instructions are not carried over
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "Another."},
    ]
    (expected,) = reference.chat(messages, SamplingParams(temperature=0, max_tokens=5))
    assert second.output_text == expected.outputs[0].text
    assert second.previous_response_id == first.id
    # The same by hand: the output of a response is input.
    items: list[Any] = [{"role": "user", "content": "Name a colour."}, *first.output]
    items += [{"role": "user", "content": "Another."}]
    by_hand = client.responses.create(model="tiny", input=items, temperature=0, max_output_tokens=5)
    assert by_hand.output_text == second.output_text
    # A third knows what was said before the second.
    third = client.responses.create(
        model="tiny", input="More.", previous_response_id=second.id, temperature=0, max_output_tokens=1
    )
    more = [{"role": "assistant", "content": second.output_text}, {"role": "user", "content": "More."}]
    (expected,) = reference.chat([*messages, *more], SamplingParams(temperature=0, max_tokens=1))
    assert third.usage is not None
    assert third.usage.input_tokens == len(expected.prompt_token_ids)


def test_a_text_that_was_cut_goes_on(client: openai.OpenAI, reference: LLM) -> None:
    cut = client.responses.create(model="tiny", input="Hi", extra_body={"seed": 2}, max_output_tokens=4)
    assert cut.output[0].status == "incomplete"  # type: ignore[union-attr]
    items: list[Any] = [{"role": "user", "content": "Hi"}, *cut.output]
    rest = client.responses.create(model="tiny", input=items, temperature=0, max_output_tokens=4)
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": cut.output_text}]
    (expected,) = reference.chat(
        messages,
        SamplingParams(temperature=0, max_tokens=4),
        add_generation_prompt=False,
        continue_final_message=True,
    )
    assert rest.output_text == expected.outputs[0].text


def test_what_is_stored_can_be_had_again(client: openai.OpenAI) -> None:
    kept = client.responses.create(model="tiny", input="Hi", max_output_tokens=2)
    assert client.responses.retrieve(kept.id).to_dict() == kept.to_dict()
    with pytest.raises(openai.BadRequestError, match="'stream' is not supported"):
        client.responses.retrieve(kept.id, stream=True)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(kept.id)
    passing = client.responses.create(model="tiny", input="Hi", max_output_tokens=2, store=False)
    assert passing.to_dict()["store"] is False
    calls: list[Callable[[str], object]] = [
        client.responses.retrieve, client.responses.cancel, client.responses.delete
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(openai.NotFoundError, match=r"Response with id .* not found"):
            call(passing.id)
    with pytest.raises(openai.NotFoundError, match=r"Previous response with id .* not found") as caught:
        client.responses.create(model="tiny", input="Hi", previous_response_id=passing.id)
    assert (caught.value.param, caught.value.code) == ("previous_response_id", "previous_response_not_found")


def test_items_that_led_to_a_response_are_listed(client: openai.OpenAI) -> None:
    said: list[Any] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hey"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is it?"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "5"},
    ]
    first = client.responses.create(model="tiny", input=said, max_output_tokens=2, background=False)
    second = client.responses.create(
        model="tiny", input="More.", previous_response_id=first.id, max_output_tokens=2
    )
    items = client.responses.input_items.list(second.id, order="asc").data
    kinds = [*["message"] * 3, "function_call", "function_call_output", "message", "message"]
    assert [item.type for item in items] == kinds
    ids = [item.id for item in items]
    assert len({*ids}) == 7 and ids[5] == first.output[0].id
    texts = [item.content[0].text for item in items if item.type == "message"]  # type: ignore[union-attr]
    assert texts == ["Hi", "Hey", "What is it?", first.output_text, "More."]
    # An item has one id wherever it is listed.
    assert [item.id for item in client.responses.input_items.list(first.id)] == ids[4::-1]
    pages = client.responses.input_items.list(second.id, limit=3)
    assert [item.id for item in pages.data] == ids[:3:-1] and pages.has_next_page()
    assert [item.id for item in pages] == ids[::-1]
    later = client.responses.input_items.list(second.id, after=ids[1], order="asc", limit=2)
    assert ([item.id for item in later.data], later.first_id, later.last_id) == (ids[2:4], ids[2], ids[3])
    for wrong in ({"limit": 0}, {"limit": 101}, {"order": "up"}, {"after": "msg_none"}):
        with pytest.raises(openai.BadRequestError) as error:
            client.responses.input_items.list(second.id, **wrong)
        assert error.value.param == next(iter(wrong))
    client.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        client.responses.input_items.list(second.id)


def test_input_can_refer_to_items_that_are_kept(client: openai.OpenAI) -> None:
    options: Any = {"model": "tiny", "temperature": 0, "max_output_tokens": 5}
    first = client.responses.create(input="Name a colour.", **options)
    by_id = client.responses.create(input="Another.", previous_response_id=first.id, **options)
    asked, *_ = client.responses.input_items.list(first.id)
    for kind in ({"type": "item_reference"}, {}):
        input_items: list[Any] = [{**kind, "id": asked.id}, {**kind, "id": first.output[0].id}]
        referred = client.responses.create(
            input=[*input_items, {"role": "user", "content": "Another."}], **options
        )
        assert referred.output_text == by_id.output_text
        assert referred.usage and by_id.usage and referred.usage.input_tokens == by_id.usage.input_tokens
    client.responses.delete(first.id)  # the others have it still
    again = client.responses.create(input=[{"type": "item_reference", "id": asked.id}], **options)
    assert again.output_text == first.output_text
    unkept = client.responses.create(input="Hi", store=False, **options)
    for name in ("msg_none", unkept.output[0].id):
        with pytest.raises(openai.NotFoundError, match=r"item with id .* not found") as error:
            client.responses.create(input=[{"type": "item_reference", "id": name}], **options)
        assert error.value.param == "input"


def test_items_go_with_the_last_response_that_has_them() -> None:
    store, item = ResponseStore(max_bytes=400), {"id": "i", "text": "x"}
    store.add({"id": "a", "output": []}, [item])
    store.add({"id": "b", "output": [item]}, [])
    store.remove("a")
    assert store.item("i") == item
    store.add({"id": "c", "output": [{"id": "j", "text": "y" * 300}]}, [])  # for which b has to go
    for name in ("i", "j"):
        with pytest.raises(ApiError, match=f"item with id '{name}' not found"):
            store.item(name)
    assert not store._places and not store._bytes


@pytest.mark.parametrize(
    ("fields", "param", "sentence"),
    [
        ({"max_output_tokens": 0}, "max_output_tokens", "max_output_tokens must be a whole number"),
        ({"temperature": -1}, "temperature", "temperature must be"),
        ({"input": None}, "input", "input is missing"),
        ({"include": [LOGPROBS], "top_logprobs": 10**6}, None, "logprobs"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options", "go with stream"),
        ({"stream": True, "stream_options": {"include_usage": True}}, "stream_options", "'include_usage'"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options", "obfuscation"),
        ({"text": {"format": {"type": "json_schema", "schema": {"type": 3}}}}, None, ""),
        ({"background": True}, "background", "does not support"),
        ({"priority": -3}, "priority", "need LLM(scheduling_policy='priority')"),
        ({"chat_template_kwargs": {"messages": 1}}, "chat_template_kwargs", "may not hold"),
        ({"metadata": {"a": float("nan")}}, None, "NaN is no number"),
        (
            {"input": [{"role": "user", "content": [{**PART, "logprobs": [float("inf")]}]}]},
            None,
            "Infinity is no number",
        ),
    ],
)
def test_what_is_wrong_is_a_400_that_says_so(
    served: str, fields: Json, param: str | None, sentence: str
) -> None:
    status, text, _ = post(served, "/v1/responses", {"model": "tiny", "input": "Hi", **fields})
    error = json.loads(text)["error"]
    assert status == 400
    assert sentence in error["message"]
    if param is not None:
        assert error["param"] == param


def test_a_response_can_have_an_id_and_be_deleted(client: openai.OpenAI) -> None:
    mine: Json = {"request_id": "resp_mine", "priority": 0}
    kept = client.responses.create(model="tiny", input="Hi", max_output_tokens=2, extra_body=mine)
    assert kept.id == "resp_mine"
    assert client.responses.retrieve("resp_mine", stream=False).to_dict() == kept.to_dict()
    client.responses.delete("resp_mine")
    with pytest.raises(openai.NotFoundError, match=r"Response with id 'resp_mine' not found"):
        client.responses.retrieve("resp_mine")


def test_json_of_any_depth_is_taken_or_refused(served: str) -> None:
    """What is taken can be given again, and gone on from; arguments of calls are text of any depth."""
    statuses = set()
    for levels in (20, *range(50, 1010, 50), 10**5):
        deep = "[" * levels + "]" * levels
        call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": deep}
        text = json.dumps(
            {"model": "tiny", "input": [call], "max_output_tokens": 1, "metadata": {"a": "DEEP"}}
        )
        connection = http.client.HTTPConnection(urlsplit(served).netloc, timeout=30)
        headers = {"Content-Type": "application/json"}
        for body in (text, text.replace('"DEEP"', deep)):
            connection.request("POST", "/v1/responses", body, headers)
            answer = connection.getresponse()
            found = answer.read()
            statuses.add(answer.status)
            if answer.status == 200:
                name = json.loads(found)["id"]
                connection.request("GET", f"/v1/responses/{name}")
                again = connection.getresponse()
                assert (again.status, again.read()) == (200, found)
                later = {"input": "Hi", "previous_response_id": name, "max_output_tokens": 1}
                connection.request("POST", "/v1/responses", json.dumps(later), headers)
                after = connection.getresponse()
                assert (after.status, after.read()[:1]) == (200, b"{")
        connection.close()
    assert statuses == {200, 400}


def test_another_model_is_not_there(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there is no model 'huge'"):
        client.responses.create(model="huge", input="Hi")


# ---------------------------------------------------------------- tools


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}])
def test_a_loop_of_two_turns_with_a_tool(client: openai.OpenAI, choice: Any) -> None:
    items: list[Any] = [{"role": "user", "content": "How is the weather in Bern?"}]
    fields: Json = {"model": "tiny", "tools": [WEATHER], "extra_body": {"seed": 1}}
    first = client.responses.create(input=items, tool_choice=choice, **fields)
    assert first.status == "completed"
    calls = [item for item in first.output if item.type == "function_call"]
    assert calls
    for call in calls:
        arguments = json.loads(call.arguments)
        assert call.name == "weather"
        assert arguments.keys() == {"town", "metric"}
        assert arguments["town"] in ("Bern", "Oslo")
    outputs = [{"type": "function_call_output", "call_id": call.call_id, "output": "Rain."} for call in calls]
    by_hand = client.responses.create(
        input=[*items, *first.output, *outputs], max_output_tokens=6, tool_choice="none", **fields
    )
    by_id = client.responses.create(
        input=outputs, previous_response_id=first.id, max_output_tokens=6, tool_choice="none", **fields
    )  # type: ignore[arg-type]
    assert by_hand.output_text == by_id.output_text
    assert by_hand.usage is not None
    assert by_id.usage is not None
    assert by_hand.usage.input_tokens == by_id.usage.input_tokens > first.usage.input_tokens  # type: ignore[union-attr]


def test_a_call_is_streamed(client: openai.OpenAI) -> None:
    fields: Json = {
        "input": "Weather?",
        "tools": [WEATHER],
        "tool_choice": "required",
        "extra_body": {"seed": 1},
    }
    whole = client.responses.create(model="tiny", **fields)
    with client.responses.stream(model="tiny", **fields) as stream:
        events = [event.to_dict() for event in stream]
    final = stream.get_final_response()
    expect_order([without(event, "snapshot", "parsed_arguments") for event in events])
    arguments = [item.arguments for item in whole.output if item.type == "function_call"]
    assert [item.arguments for item in final.output if item.type == "function_call"] == arguments
