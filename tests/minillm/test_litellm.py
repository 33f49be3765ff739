"""litellm as a client of the server: its calls are understood, and what it gives is what `LLM` gives."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minillm import LLM, SamplingParams, Tokenizer, Transformer

# At its import litellm fetches a table of prices, unless it is told to take its own.
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_OFFLINE_MODE="True")
litellm: Any = pytest.importorskip("litellm", reason="litellm is not installed")

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour."}]
TEXT = "Once upon a time there was"
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 8}
PARAMETERS = {
    "type": "object",
    "properties": {"town": {"enum": ["Bern", "Oslo"]}},
    "required": ["town"],
    "additionalProperties": False,
}
# By the second name litellm knows that vLLM answers.
PREFIXES = pytest.mark.parametrize("prefix", ["openai", "hosted_vllm"])


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is reached but this machine."""
    look_up = socket.getaddrinfo

    def local(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise AssertionError(f"{host} was to be reached")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", local)


@pytest.fixture(scope="module")
def at(served: str) -> dict[str, Any]:
    """Where the server is, as litellm takes it."""
    return {"api_base": f"{served}/v1", "api_key": "none", "max_retries": 0}


@pytest.fixture(scope="module")
def reference(tiny_llama: Callable[..., Transformer], demo_model_path: Path) -> LLM:
    """The model that is served, in an `LLM` of its own."""
    model = tiny_llama("fp32", vocab_size=49152)
    return LLM(model, Tokenizer.from_folder(demo_model_path), kv_cache_memory_bytes=1 << 23)


@pytest.fixture(scope="module")
def expected(reference: LLM) -> Any:
    """What comes of `MESSAGES`."""
    (output,) = reference.chat(MESSAGES, SamplingParams(temperature=0, max_tokens=8, logprobs=2))
    return output


@PREFIXES
def test_a_chat(at: dict[str, Any], expected: Any, prefix: str) -> None:
    answer = litellm.completion(f"{prefix}/tiny", MESSAGES, **GREEDY, **at)
    assert answer.choices[0].message.content == expected.outputs[0].text
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(expected.prompt_token_ids), 8)


@PREFIXES
def test_a_streamed_chat(at: dict[str, Any], expected: Any, prefix: str) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = [*litellm.completion(f"{prefix}/tiny", MESSAGES, **GREEDY, **options, **at)]
    whole = litellm.stream_chunk_builder(chunks, messages=MESSAGES)
    assert whole.choices[0].message.content == expected.outputs[0].text
    assert len(chunks) > 3
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (len(expected.prompt_token_ids), 8)


@PREFIXES
def test_an_async_stream(at: dict[str, Any], expected: Any, prefix: str) -> None:
    async def ask() -> list[Any]:
        stream = await litellm.acompletion(f"{prefix}/tiny", MESSAGES, stream=True, **GREEDY, **at)
        return [chunk.choices[0].delta.content async for chunk in stream]

    assert "".join(text or "" for text in asyncio.run(ask())) == expected.outputs[0].text


@PREFIXES
def test_chats_at_the_same_time(at: dict[str, Any], reference: LLM, prefix: str) -> None:
    chats = [[{"role": "user", "content": f"Count to {i}."}] for i in range(8)]
    wanted = [
        one.outputs[0].text for one in reference.chat(chats, SamplingParams(temperature=0, max_tokens=8))
    ]

    async def ask() -> list[Any]:
        calls = [litellm.acompletion(f"{prefix}/tiny", chat, **GREEDY, **at) for chat in chats]
        return await asyncio.gather(*calls)

    assert [answer.choices[0].message.content for answer in asyncio.run(ask())] == wanted


@PREFIXES
def test_logprobs(at: dict[str, Any], expected: Any, prefix: str) -> None:
    answer = litellm.completion(f"{prefix}/tiny", MESSAGES, logprobs=True, top_logprobs=2, **GREEDY, **at)
    content = answer.choices[0].logprobs.content
    sample = expected.outputs[0]
    pairs = [*zip(sample.token_ids, sample.logprobs, strict=True)]
    assert [entry.logprob for entry in content] == [entry[token].logprob for token, entry in pairs]
    top = [sorted((one.logprob for one in entry.values()), reverse=True)[:2] for _, entry in pairs]
    assert [[one.logprob for one in entry.top_logprobs] for entry in content] == top


@PREFIXES
def test_vllms_parameters(at: dict[str, Any], prefix: str) -> None:
    extra = {"structured_outputs": {"choice": ["red", "green"]}, "top_k": 20}
    answer = litellm.completion(f"{prefix}/tiny", MESSAGES, extra_body=extra, seed=1, **at)
    assert answer.choices[0].message.content in ("red", "green")


@PREFIXES
def test_a_response_format(at: dict[str, Any], no_spaces: dict[str, float], prefix: str) -> None:
    schema = {"name": "place", "schema": PARAMETERS, "strict": True}
    wanted = {"type": "json_schema", "json_schema": schema}
    answer = litellm.completion(
        f"{prefix}/tiny", MESSAGES, response_format=wanted, logit_bias=no_spaces, **at
    )
    assert json.loads(answer.choices[0].message.content)["town"] in ("Bern", "Oslo")


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion(at: dict[str, Any], reference: LLM, stream: bool) -> None:
    (wanted,) = reference.generate([TEXT], SamplingParams(temperature=0, max_tokens=8, logprobs=1))
    name = "text-completion-openai/tiny"
    answer = litellm.text_completion(model=name, prompt=TEXT, stream=stream, logprobs=1, **GREEDY, **at)
    parts = [*answer] if stream else [answer]
    assert "".join(part.choices[0].text or "" for part in parts) == wanted.outputs[0].text
    if not stream:
        tokens = zip(wanted.outputs[0].token_ids, wanted.outputs[0].logprobs or [], strict=True)
        assert answer.choices[0].logprobs.token_logprobs == [entry[i].logprob for i, entry in tokens]


def test_what_the_server_refuses_is_litellms_error(at: dict[str, Any]) -> None:
    with pytest.raises(litellm.BadRequestError, match="temperature must be"):
        litellm.completion("hosted_vllm/tiny", MESSAGES, temperature=-1, **at)
    with pytest.raises(litellm.NotFoundError, match="there is no model 'huge'"):
        litellm.completion("hosted_vllm/huge", MESSAGES, **at)
    with pytest.raises(litellm.BadRequestError, match="background = True"):
        litellm.responses("Hi", "openai/tiny", background=True, **at)


@PREFIXES
def test_what_is_not_served_is_refused_by_its_path(at: dict[str, Any], prefix: str) -> None:
    # litellm makes a 400 of hosted_vllm's 404.
    with pytest.raises(
        (litellm.NotFoundError, litellm.BadRequestError), match="POST /v1/embeddings: Not Found"
    ):
        litellm.embedding(f"{prefix}/tiny", input=["Hi"], **at)


@PREFIXES
def test_a_response(at: dict[str, Any], expected: Any, prefix: str) -> None:
    asked = {"instructions": "Be brief.", "temperature": 0, "max_output_tokens": 8}
    name = f"{prefix}/tiny"
    answer = litellm.responses(input="Name a colour.", model=name, **asked, **at)
    assert answer.output[0].content[0].text == expected.outputs[0].text
    assert answer.status == "incomplete"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (len(expected.prompt_token_ids), 8)
    again = litellm.get_responses(answer.id, **at)
    assert (again.status, again.output[0].content[0].text) == (answer.status, expected.outputs[0].text)
    assert litellm.delete_responses(answer.id, **at).deleted


@PREFIXES
def test_a_streamed_response(at: dict[str, Any], expected: Any, prefix: str) -> None:
    asked = {"instructions": "Be brief.", "temperature": 0, "max_output_tokens": 8}

    def ask() -> list[Any]:
        return [
            *litellm.responses(input="Name a colour.", model=f"{prefix}/tiny", stream=True, **asked, **at)
        ]

    def text(events: list[Any]) -> str:
        return "".join(event.delta for event in events if event.type == "response.output_text.delta")

    # Of a model that it does not know litellm makes the stream itself.
    assert text(ask()) == expected.outputs[0].text
    litellm.register_model({f"{prefix}/tiny": {"litellm_provider": prefix, "mode": "chat"}})
    events = ask()
    assert text(events) == expected.outputs[0].text
    assert events[0].type == "response.created"
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output[0].content[0].text == expected.outputs[0].text


@PREFIXES
def test_responses_at_the_same_time(at: dict[str, Any], expected: Any, prefix: str) -> None:
    asked = {"instructions": "Be brief.", "temperature": 0, "max_output_tokens": 8}

    async def ask() -> list[Any]:
        calls = [litellm.aresponses("Name a colour.", f"{prefix}/tiny", **asked, **at) for _ in range(4)]
        return await asyncio.gather(*calls)

    assert {answer.output[0].content[0].text for answer in asyncio.run(ask())} == {expected.outputs[0].text}


@PREFIXES
def test_a_response_to_a_response(at: dict[str, Any], prefix: str) -> None:
    asked: dict[str, Any] = {"model": f"{prefix}/tiny", "max_output_tokens": 4, "seed": 1, **at}
    first = litellm.responses(input="Name a colour.", **asked)
    second = litellm.responses(input="Another.", previous_response_id=first.id, **asked)
    assert second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens


@PREFIXES
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool(at: dict[str, Any], prefix: str, stream: bool) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
    asked: dict[str, Any] = {"tools": [tool], "tool_choice": "required", "seed": 1, **at}
    answer = litellm.completion(f"{prefix}/tiny", MESSAGES, stream=stream, **asked)
    message = (litellm.stream_chunk_builder([*answer]) if stream else answer).choices[0].message
    call = message.tool_calls[0]
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["town"] in ("Bern", "Oslo")
    # The answer goes back as it came.
    told = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
    calls = message.model_dump()
    calls["tool_calls"] = calls["tool_calls"][:1]
    asked |= {"tool_choice": "none", "max_tokens": 4}
    later = litellm.completion(f"{prefix}/tiny", [*MESSAGES, calls, told], **asked)
    assert later.choices[0].finish_reason in ("length", "stop")


@PREFIXES
def test_a_tool_of_a_response(at: dict[str, Any], prefix: str) -> None:
    tool = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}
    asked: dict[str, Any] = {"model": f"{prefix}/tiny", "tools": [tool], "seed": 1, **at}
    answer = litellm.responses(input="How is the weather?", tool_choice="required", **asked)
    call = answer.output[0]
    assert (call.type, call.name) == ("function_call", "weather")
    assert json.loads(call.arguments)["town"] in ("Bern", "Oslo")
    told = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    later = litellm.responses(
        input=[told], previous_response_id=answer.id, tool_choice="none", max_output_tokens=4, **asked
    )
    assert later.status in ("completed", "incomplete")
