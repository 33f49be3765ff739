"""The `openai` client as people use it: parsed answers, helpers for streams, calls, reasoning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
import torch
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from minillm import LLM, Tokenizer, Transformer
from minillm.serve import server as serving
from minillm.serve.parsers import ParserOptions
from tests.minillm.server_thread import running

Json = dict[str, Any]
ASK: Any = [{"role": "user", "content": "Name a colour."}]


class Paint(BaseModel):
    colour: Literal["red", "green"]
    matt: bool


class Weather(BaseModel):
    """Tell the weather of a town."""

    town: Literal["Bern", "Oslo"]


TOOL: Any = openai.pydantic_function_tool(Weather)
NAMED: Any = {"type": "function", "function": {"name": "Weather"}}


@pytest.fixture(scope="module")
def client(served: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served}/v1", api_key="none", max_retries=0)


# ---------------------------------------------------------------- chats


def test_a_parsed_chat_is_of_its_class(client: openai.OpenAI, no_spaces: dict[str, int]) -> None:
    options: Json = {"model": "tiny", "response_format": Paint, "logit_bias": no_spaces}
    for parse in (client.chat.completions.parse, client.beta.chat.completions.parse):
        message = parse(messages=ASK, **options).choices[0].message
        assert message.parsed == Paint.model_validate_json(message.content or "")
    with client.chat.completions.stream(messages=ASK, **options) as stream:
        *_, last = [event for event in stream if event.type == "content.delta"]
    streamed = stream.get_final_completion().choices[0].message
    assert last.snapshot == streamed.content
    assert isinstance(streamed.parsed, Paint)
    # It goes back as it came, `parsed` and all.
    later = client.chat.completions.create(model="tiny", messages=[*ASK, message, *ASK], max_tokens=2)
    plain = [*ASK, {"role": "assistant", "content": message.content}, *ASK]
    again = client.chat.completions.create(model="tiny", messages=plain, max_tokens=2)
    assert later.usage and again.usage
    assert later.usage.prompt_tokens == again.usage.prompt_tokens


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_parsed_calls_are_of_their_class(client: openai.OpenAI, choice: Any) -> None:
    options: Json = {"model": "tiny", "tools": [TOOL], "parallel_tool_calls": False}
    whole = client.chat.completions.parse(messages=ASK, tool_choice=choice, **options)
    with client.chat.completions.stream(messages=ASK, tool_choice=choice, **options) as stream:
        pieces = [e.arguments_delta for e in stream if e.type == "tool_calls.function.arguments.delta"]
    streamed = stream.get_final_completion()
    for completion in (whole, streamed):
        (call,) = completion.choices[0].message.tool_calls or []
        assert (call.function.name, call.type) == ("Weather", "function")
        assert isinstance(call.function.parsed_arguments, Weather)
    assert "".join(pieces) == call.function.arguments
    told: Any = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
    messages = [*ASK, streamed.choices[0].message, told]
    later = client.chat.completions.create(
        model="tiny", messages=messages, tools=[TOOL], tool_choice="none", max_tokens=2
    )
    assert later.choices[0].message.tool_calls is None


@pytest.mark.parametrize("more", [{"logprobs": True, "top_logprobs": 2}, {"n": 3}])
def test_the_helper_for_streams_joins_them(client: openai.OpenAI, more: Json) -> None:
    options: Json = {"model": "tiny", "messages": ASK, "seed": 3, **more}
    options["extra_body"] = {"structured_outputs": {"choice": ["red", "green"]}}
    whole = client.chat.completions.create(**options)
    with client.chat.completions.stream(**options, stream_options={"include_usage": True}) as stream:
        for _ in stream:
            pass
    final = stream.get_final_completion()

    def content(completion: Any) -> list[tuple[str, str, Any]]:
        return [(one.message.content, one.finish_reason, one.logprobs) for one in completion.choices]

    assert content(final) == content(whole)
    assert final.usage and whole.usage
    assert final.usage.completion_tokens == whole.usage.completion_tokens


def test_raw_answers_and_models(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="tiny", messages=ASK, max_tokens=2)
    assert raw.status_code == 200
    assert isinstance(raw.parse(), ChatCompletion)
    streaming = client.chat.completions.with_streaming_response
    with streaming.create(model="tiny", messages=ASK, max_tokens=2, stream=True) as lines:
        assert [line for line in lines.iter_lines() if line][-1] == "data: [DONE]"
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").object == "model"
    with pytest.raises(openai.NotFoundError, match="there is no model 'huge'"):
        client.models.retrieve("huge")


def test_what_is_not_served_is_refused_by_its_path(client: openai.OpenAI) -> None:
    for call, path in (
        (lambda: client.embeddings.create(model="tiny", input="Hi"), "POST /v1/embeddings: Not Found"),
        (lambda: client.images.generate(model="tiny", prompt="Hi"), "POST /v1/images/generations: Not Found"),
        (lambda: client.files.list(), "GET /v1/files: Not Found"),
        (lambda: client.models.delete("tiny"), "DELETE /v1/models/tiny: Method Not Allowed"),
        (
            lambda: client.responses.input_tokens.count(model="tiny", input="Hi"),
            "POST /v1/responses/input_tokens: Method Not Allowed",
        ),
    ):
        with pytest.raises(
            openai.APIStatusError, match=f"{path}; /openapi.json lists what is served"
        ) as caught:
            call()
        assert caught.value.status_code in (404, 405)


def test_clients_that_give_up_leave_nothing_running(served: str) -> None:
    """Tasks that are cancelled, calls that time out, streams that are closed; others beside them go on."""
    endless: Json = {"model": "tiny", "extra_body": {"ignore_eos": True}}

    async def run() -> None:
        async with openai.AsyncOpenAI(base_url=f"{served}/v1", api_key="none", max_retries=0) as client:
            calls = [
                client.chat.completions.create(messages=ASK, max_tokens=450, **endless),
                client.responses.create(input="Hi", max_output_tokens=450, **endless),
            ]
            tasks = [asyncio.create_task(call) for call in calls]
            stream = await client.responses.create(input="Hi", stream=True, max_output_tokens=450, **endless)
            async for event in stream:
                if event.type == "response.output_text.delta":
                    break
            beside = asyncio.create_task(
                client.responses.create(model="tiny", input="Hi", max_output_tokens=3, temperature=0)
            )
            for task in tasks:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await stream.close()
            with pytest.raises(openai.APITimeoutError):
                await client.with_options(timeout=0.05).responses.create(
                    input="Hi", max_output_tokens=450, **endless
                )
            assert (await beside).usage.output_tokens == 3  # type: ignore[union-attr]
            load: Any = None
            while load != {"server_load": 0}:
                load = await client.get(f"{served}/load", cast_to=object)
            await client.responses.create(model="tiny", input="Hi", max_output_tokens=1)

    asyncio.run(asyncio.wait_for(run(), 60))


# ---------------------------------------------------------------- responses to what a model writes


class Scripted(LLM):
    """Samples the tokens of `script`, then the end."""

    script = ""

    def add_request(self, request_id: str | None, prompt: Any, params: Any, **options: Any) -> str:
        ids = [*self.get_tokenizer().encode(self.script, add_special_tokens=False), 2]

        def follow(output_ids: list[int], logits_V: torch.Tensor) -> torch.Tensor:
            chosen = torch.tensor([ids[len(output_ids)]])
            return torch.full_like(logits_V, -torch.inf).index_fill(0, chosen, 0.0)

        params = replace(params, logits_processors=[follow])
        return super().add_request(request_id, prompt, params, **options)


class Hermes:
    """A client of a server of a `Scripted` model, which reasons and calls."""

    def __init__(self, llm: Scripted, url: str) -> None:
        self.llm, self.client = llm, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    def says(self, script: str) -> openai.resources.Responses:
        self.llm.script = script
        return self.client.responses


@pytest.fixture(scope="module")
def hermes(tiny_llama: Callable[..., Transformer], demo_model_path: Path) -> Iterator[Hermes]:
    llm = Scripted(tiny_llama("fp32", vocab_size=49152), Tokenizer.from_folder(demo_model_path))
    parsers = ParserOptions(tool_call_parser="hermes", reasoning_parser="qwen3")
    app = serving.make_app(llm, "tiny", options=serving.ServerOptions(parsers=parsers))
    with running(app) as server:
        yield Hermes(llm, server.url)


CALL = '<tool_call>\n{"name": "Weather", "arguments": {"town": "Bern"}}\n</tool_call>'
THOUGHT = f"<think>\nHm.\n</think>\n\nWait.\n{CALL}\n{CALL.replace('Bern', 'Oslo')}"
FUNCTION: Any = {"type": "function", **TOOL["function"]}


def shape(output: list[Any]) -> list[Any]:
    """What items hold, without their ids."""
    names = {"reasoning": ("content", "summary"), "message": ("role", "content")}
    names["function_call"] = ("name", "arguments")
    found = []
    for item in output:
        one = item.to_dict()
        for call in one.get("content") or []:
            call.pop("parsed", None)
        found.append((one["type"], one["status"], *(one[name] for name in names[one["type"]])))
    return found


def test_reasoning_and_calls_are_items(hermes: Hermes) -> None:
    """Whole, streamed, and by the client's own helper, which all give the same."""
    asked: Json = {"model": "tiny", "input": "How is the weather?", "tools": [FUNCTION]}
    whole = hermes.says(THOUGHT).create(**asked)
    text = {"annotations": [], "logprobs": [], "text": "\n\nWait.", "type": "output_text"}
    assert shape(whole.output) == [
        ("reasoning", "completed", [{"text": "\nHm.\n", "type": "reasoning_text"}], []),
        ("message", "completed", "assistant", [text]),
        ("function_call", "completed", "Weather", '{"town": "Bern"}'),
        ("function_call", "completed", "Weather", '{"town": "Oslo"}'),
    ]
    assert whole.status == "completed"
    tokenizer = hermes.llm.get_tokenizer()
    usage = whole.usage
    assert usage is not None
    assert usage.output_tokens == len(tokenizer.encode(THOUGHT, add_special_tokens=False)) + 1
    texts = [tokenizer.decode([i]) for i in tokenizer.encode(THOUGHT, add_special_tokens=False)]
    ends = list(accumulate(map(len, texts)))
    first, last = len("<think>"), THOUGHT.index("</think>")  # the marks are several tokens each
    thought = sum(end > first and end - len(text) < last for text, end in zip(texts, ends, strict=True))
    assert usage.output_tokens_details.reasoning_tokens == thought > 2
    with hermes.says(THOUGHT).stream(**asked) as stream:
        events = [*stream]
    final = stream.get_final_response()
    assert shape(final.output) == shape(whole.output)
    calls = [item for item in final.output if item.type == "function_call"]
    assert [call.parsed_arguments for call in calls] == [{"town": "Bern"}, {"town": "Oslo"}]
    arguments = [event.snapshot for event in events if event.type == "response.function_call_arguments.delta"]
    assert arguments[-1] == calls[1].arguments
    assert [event.sequence_number for event in events] == [*range(len(events))]
    reasoning = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert "".join(reasoning) == "\nHm.\n"


def test_a_conversation_with_reasoning_and_calls_goes_on(hermes: Hermes) -> None:
    """By the items, and by the id; the prompt is that of the chat."""
    asked: Json = {"model": "tiny", "tools": [FUNCTION], "instructions": "Be kind."}
    first = hermes.says(THOUGHT).parse(input="How is the weather?", **asked)
    calls = [item for item in first.output if item.type == "function_call"]
    told: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."} for call in calls
    ]
    items: Any = [{"role": "user", "content": "How is the weather?"}, *first.output, *told]
    by_hand = hermes.says("Bad.").create(input=items, **asked)
    by_id = hermes.says("Bad.").create(input=told, previous_response_id=first.id, **asked)
    chat = hermes.client.chat.completions.create(
        model="tiny",
        tools=[TOOL],
        messages=[
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "How is the weather?"},
            {
                "role": "assistant",
                "content": "\n\nWait.",
                "tool_calls": [
                    {
                        "id": call.call_id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": call.arguments},
                    }
                    for call in calls
                ],
            },
            *({"role": "tool", "tool_call_id": call.call_id, "content": "Rain."} for call in calls),  # type: ignore[list-item]
        ],
    )
    assert chat.usage
    for later in (by_hand, by_id):
        assert later.usage
        assert later.usage.input_tokens == chat.usage.prompt_tokens
        # Without "</think>" it all is reasoning, as of the chat.
        assert [item.type for item in later.output] == ["reasoning"]


@pytest.mark.parametrize("effort", [None, "none"])
def test_logprobs_of_a_message_after_reasoning(hermes: Hermes, effort: Any) -> None:
    script = "Fine." if effort else "Hm.</think>Fine."
    asked: Json = {"model": "tiny", "input": "Hi", "include": ["message.output_text.logprobs"]}
    asked |= {"reasoning": {"effort": effort}, "top_logprobs": 2}
    response = hermes.says(script).create(**asked)
    message = response.output[-1]
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    assert part.text == "Fine."
    # Those of the mark before it make no text, and so count to what comes next.
    mark = [] if effort else ["</", "think", ">"]
    assert [entry.token for entry in part.logprobs or []] == [*mark, "Fine", ".", "<|im_end|>"]
    stream = hermes.says(script).create(stream=True, **asked)
    deltas = [event for event in stream if event.type == "response.output_text.delta"]
    streamed = [entry.to_dict() for event in deltas for entry in event.logprobs]
    assert streamed == [entry.to_dict() for entry in part.logprobs or []]


def test_a_long_text_is_cut_where_that_is_asked_for(client: openai.OpenAI) -> None:
    text = "colour " * 600
    with pytest.raises(openai.BadRequestError, match="512"):
        client.responses.create(model="tiny", input=text, max_output_tokens=4)
    response = client.responses.create(model="tiny", input=text, max_output_tokens=4, truncation="auto")
    assert response.usage
    assert response.usage.input_tokens == 508
    assert response.truncation == "auto"
    assert response.status == "incomplete"
