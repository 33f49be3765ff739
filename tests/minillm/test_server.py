"""The server through OpenAI's own client and through bare HTTP, against `LLM` itself."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from minillm import (
    LLM,
    MinillmError,
    RequestOutput,
    SamplingParams,
    Tokenizer,
    Transformer,
    __version__,
)
from minillm.async_llm import AsyncLLM
from minillm.serve import server as serving
from minillm.serve.parsers import ParserOptions
from minillm.serve.protocol import CHAT, COMPLETION, UNSUPPORTED
from tests.minillm import server_thread

GOLDEN = Path(__file__).parents[1] / "golden"
ROOT = Path(__file__).parents[2]
TEXT = "Once upon a time there was"
CHAT_MESSAGES: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a colour."},
]
GREEDY = SamplingParams(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def tokenizer(demo_model_path: Path) -> Tokenizer:
    return Tokenizer.from_folder(demo_model_path)


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Transformer]) -> Transformer:
    """A tiny model with the vocabulary of a real tokenizer."""
    return tiny_llama("fp32", vocab_size=49152)


@pytest.fixture(scope="module")
def make_llm(model: Transformer, tokenizer: Tokenizer) -> Callable[..., LLM]:
    return lambda **options: LLM(model, tokenizer, **{"kv_cache_memory_bytes": 1 << 23, **options})


@dataclass
class Running:
    """A server in a thread of this process."""

    llm: LLM
    url: str
    server: Any
    thread: threading.Thread

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON or else text, and headers."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        found = {name.lower(): value for name, value in response.getheaders()}
        is_json = found.get("content-type") == "application/json"
        return response.status, json.loads(text) if is_json else text, found

    def error(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        status, content, _ = self.call("POST", path, body)
        assert content.keys() == {"error"}
        assert content["error"].keys() == {"message", "type", "param", "code"}
        return status, content["error"]

    def metrics(self) -> dict[str, float]:
        status, text, headers = self.call("GET", "/metrics")
        assert status == 200
        assert headers["content-type"].startswith("text/plain")
        return {
            sample.name + sample.labels.get("finished_reason", sample.labels.get("le", "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def wait(self, holds: Callable[[], bool]) -> None:
        for _ in range(2000):
            if holds():
                return
            time.sleep(0.01)
        raise AssertionError("it did not come to hold")

    def is_idle(self) -> bool:
        metrics = self.metrics()
        return not metrics["vllm:num_requests_running"] and not metrics["vllm:num_requests_waiting"]


@contextmanager
def running(
    llm: LLM,
    api_key: str | None = None,
    options: serving.ServerOptions | None = None,
    **limits: int,
) -> Iterator[Running]:
    checked = serving.ServerLimits(**limits)
    app = serving.make_app(llm, "tiny", api_key, checked, options)
    with server_thread.running(app, checked.shutdown_timeout) as server:
        yield Running(llm, server.url, server.server, server.thread)


@pytest.fixture(scope="module")
def tiny(make_llm: Callable[..., LLM]) -> Iterator[Running]:
    with running(make_llm()) as server:
        yield server


@pytest.fixture(scope="module")
def reference(make_llm: Callable[..., LLM]) -> LLM:
    """The same model in an `LLM` of its own."""
    return make_llm()


@pytest.fixture
def slow(tiny: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """Steps that leave time to do something meanwhile."""
    step = tiny.llm.step

    def slowly() -> list[RequestOutput]:
        time.sleep(0.02)
        return step()

    monkeypatch.setattr(tiny.llm, "step", slowly)
    return tiny


# ---------------------------------------------------------------- completions


def test_a_completion_is_that_of_generate(tiny: Running, reference: LLM) -> None:
    (expected,) = reference.generate([TEXT], SamplingParams(temperature=0, max_tokens=12, logprobs=3))
    answer = tiny.client().completions.create(
        model="tiny", prompt=TEXT, temperature=0, max_tokens=12, logprobs=3
    )
    (sample,) = expected.outputs
    (choice,) = answer.choices
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert (choice.text, choice.finish_reason, choice.index) == (sample.text, "length", 0)
    assert choice.logprobs is not None
    assert sample.logprobs is not None
    entries = [entry[token] for token, entry in zip(sample.token_ids, sample.logprobs, strict=True)]
    assert choice.logprobs.token_logprobs == [entry.logprob for entry in entries]
    assert choice.logprobs.tokens == [entry.decoded_token for entry in entries]
    assert choice.logprobs.top_logprobs == [
        {one.decoded_token: one.logprob for one in entry.values()} for entry in sample.logprobs
    ]
    tokens, offsets = choice.logprobs.tokens, choice.logprobs.text_offset
    assert tokens is not None
    assert offsets == [len("".join(tokens[:i])) for i in range(12)]
    usage = answer.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(expected.prompt_token_ids), 12)
    assert usage.total_tokens == usage.prompt_tokens + 12


def test_every_form_of_prompt_is_understood(tiny: Running, reference: LLM) -> None:
    texts = [TEXT, "def f(x):"]
    ids = [reference.get_tokenizer().encode(text) for text in texts]
    expected = [request.outputs[0].text for request in reference.generate(texts, GREEDY)]
    create = tiny.client().completions.create
    for prompt, wanted in (
        (texts[0], expected[:1]),
        (texts, expected),
        (ids[0], expected[:1]),
        (ids, expected),
    ):
        answer = create(model="tiny", prompt=prompt, temperature=0, max_tokens=12)  # type: ignore[arg-type]
        assert [choice.text for choice in answer.choices] == wanted
        assert [choice.index for choice in answer.choices] == [*range(len(wanted))]


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 7},
        {"seed": 7, "n": 3},
        {"seed": 7, "top_k": 5, "top_p": 0.9, "min_p": 0.01},
        {"seed": 7, "presence_penalty": 1.5, "frequency_penalty": 0.5, "repetition_penalty": 1.3},
        {"temperature": 0, "logit_bias": {"17": 100}, "max_tokens": 3},
        {"seed": 7, "allowed_token_ids": [300, 301, 302]},
        {"seed": 7, "stop_token_ids": [300], "allowed_token_ids": [300, 301], "min_tokens": 2},
        {"seed": 7, "temperature": 2.0, "bad_words": ["the"]},
        {"temperature": 0, "ignore_eos": True, "max_tokens": 40},
        {"seed": 7, "allowed_token_ids": [2], "ignore_eos": True, "skip_special_tokens": False},
        {"seed": 7, "logprobs": 0, "logprob_token_ids": [5, 6]},
        {"seed": 7, "prompt_logprobs": 2},
    ],
    ids=lambda fields: ",".join(fields),
)
def test_a_field_is_the_parameter_of_that_name(tiny: Running, reference: LLM, fields: dict[str, Any]) -> None:
    kinds = {"logit_bias": lambda bias: {int(token): value for token, value in bias.items()}}
    params = SamplingParams(**{name: kinds.get(name, lambda x: x)(value) for name, value in fields.items()})
    (expected,) = reference.generate([TEXT], params)
    status, answer, _ = tiny.call(
        "POST", "/v1/completions", {"prompt": TEXT, "return_token_ids": True, **fields}
    )
    assert status == 200, answer
    assert len(answer["choices"]) == params.n
    for choice, sample in zip(answer["choices"], expected.outputs, strict=True):
        assert choice["token_ids"] == sample.token_ids
        assert choice["text"] == sample.text
        assert (choice["finish_reason"], choice["stop_reason"]) == (sample.finish_reason, sample.stop_reason)
        assert choice["prompt_token_ids"] == expected.prompt_token_ids
        assert (choice["prompt_logprobs"] is None) == (params.prompt_logprobs is None)
        if expected.prompt_logprobs is not None:
            assert choice["prompt_logprobs"] == [
                entry and {str(token): vars(one) for token, one in entry.items()}
                for entry in expected.prompt_logprobs
            ]
        if sample.logprobs is not None:
            assert [len(top) for top in choice["logprobs"]["top_logprobs"]] == [
                len({one.decoded_token for one in entry.values()}) for entry in sample.logprobs
            ]


@pytest.mark.parametrize("include", [False, True])
def test_stop_strings(tiny: Running, reference: LLM, include: bool) -> None:
    (free,) = reference.generate([TEXT], SamplingParams(seed=3, max_tokens=20))
    stop = free.outputs[0].text[10:14]
    body = {
        "prompt": TEXT,
        "seed": 3,
        "max_tokens": 20,
        "stop": [stop],
        "include_stop_str_in_output": include,
    }
    _, answer, _ = tiny.call("POST", "/v1/completions", body)
    (choice,) = answer["choices"]
    at = free.outputs[0].text.index(stop)
    assert choice["text"] == free.outputs[0].text[: at + len(stop) * include]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)


@pytest.mark.parametrize("max_tokens", [0, 3])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("as_ids", [False, True])
def test_echo_gives_the_prompt_with_its_logprobs(
    tiny: Running, reference: LLM, max_tokens: int, stream: bool, as_ids: bool
) -> None:
    params = SamplingParams(temperature=0, max_tokens=max(1, max_tokens), logprobs=2, prompt_logprobs=2)
    (expected,) = reference.generate([TEXT], params)
    (sample,) = expected.outputs
    entries = [*(expected.prompt_logprobs or []), *(sample.logprobs or [])]
    tokens = [*expected.prompt_token_ids, *sample.token_ids]
    if not max_tokens:
        entries, tokens = entries[:-1], tokens[:-1]
    body = {"prompt": expected.prompt_token_ids if as_ids else TEXT, "echo": True, "logprobs": 2}
    answer = whole(tiny, "/v1/completions", body | {"temperature": 0, "max_tokens": max_tokens}, stream)
    (choice,) = answer["choices"]
    assert choice["text"] == TEXT + (sample.text if max_tokens else "")
    shown = choice["logprobs"]
    assert "".join(shown["tokens"]) == choice["text"]
    assert shown["text_offset"] == [len("".join(shown["tokens"][:i])) for i in range(len(tokens))]
    assert shown["token_logprobs"] == [
        entry and entry[token].logprob for token, entry in zip(tokens, entries, strict=True)
    ]
    assert shown["top_logprobs"][0] is None
    assert answer["usage"]["completion_tokens"] == max_tokens
    assert choice.get("prompt_logprobs") is None


def test_tokens_can_be_named_by_id(tiny: Running) -> None:
    body = {"prompt": [5, 17], "max_tokens": 3, "logprobs": 1, "echo": True}
    more = {"return_tokens_as_token_ids": True, "return_token_ids": True}
    _, answer, _ = tiny.call("POST", "/v1/completions", body | more)
    (choice,) = answer["choices"]
    ids = [5, 17, *choice["token_ids"]]
    assert choice["logprobs"]["tokens"] == [f"token_id:{i}" for i in ids]
    assert all(
        f"token_id:{i}" in top for i, top in zip(ids[1:], choice["logprobs"]["top_logprobs"][1:], strict=True)
    )


def test_structured_outputs(tiny: Running) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}
    schema["additionalProperties"] = False
    wanted: list[dict[str, Any]] = [
        {"structured_outputs": {"choice": ["red", "green"]}},
        {"structured_outputs": {"json": schema, "disable_any_whitespace": True}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}},
        {"response_format": {"type": "text"}, "structured_outputs": None},
    ]
    texts = []
    for fields in wanted:
        body = {"messages": CHAT_MESSAGES, "seed": 0, "max_tokens": 100, "temperature": 0.5, **fields}
        _, answer, _ = tiny.call("POST", "/v1/chat/completions", body)
        (choice,) = answer["choices"]
        texts.append(choice["message"]["content"])
    assert texts[0] in ("red", "green")
    assert json.loads(texts[1])["a"] in ("x", "y")
    # White space may go on for ever in the third; what there is begins a JSON object.
    assert texts[2].startswith("{")
    assert not texts[3].startswith("{")


# ---------------------------------------------------------------- chat


def test_a_chat_completion_is_that_of_chat(tiny: Running, reference: LLM) -> None:
    params = SamplingParams(seed=5, max_tokens=8, logprobs=3)
    (expected,) = reference.chat(CHAT_MESSAGES, params)
    answer = tiny.client().chat.completions.create(
        model="tiny", messages=CHAT_MESSAGES, seed=5, max_completion_tokens=8, logprobs=True, top_logprobs=3
    )
    (choice,) = answer.choices
    (sample,) = expected.outputs
    assert (answer.object, choice.finish_reason) == ("chat.completion", "length")
    assert (choice.message.role, choice.message.content) == ("assistant", sample.text)
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert sample.logprobs is not None
    for shown, token, entry in zip(choice.logprobs.content, sample.token_ids, sample.logprobs, strict=True):
        assert (shown.token, shown.logprob) == (entry[token].decoded_token, entry[token].logprob)
        likeliest = sorted(entry.values(), key=lambda one: -one.logprob)[:3]
        assert [(one.token, one.logprob) for one in shown.top_logprobs] == [
            (one.decoded_token, one.logprob) for one in likeliest
        ]
    made = b"".join(bytes(shown.bytes or []) for shown in choice.logprobs.content)
    assert made.decode(errors="replace") == sample.text
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(expected.prompt_token_ids)


def test_without_a_limit_a_chat_goes_on_to_the_end_of_the_context(tiny: Running) -> None:
    body = {"messages": CHAT_MESSAGES, "ignore_eos": True, "max_tokens": None}
    _, answer, _ = tiny.call("POST", "/v1/chat/completions", body)
    assert answer["usage"]["total_tokens"] == tiny.llm.max_model_len
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_final_message_can_be_continued(tiny: Running, reference: LLM, echo: bool, stream: bool) -> None:
    messages = [*CHAT_MESSAGES, {"role": "assistant", "content": "It is"}]
    options = {"add_generation_prompt": False, "continue_final_message": True}
    (expected,) = reference.chat(messages, GREEDY, **options)
    body = {"messages": messages, "temperature": 0, "max_tokens": 12, "echo": echo, **options}
    answer = whole(tiny, "/v1/chat/completions", body, stream)
    text = answer["choices"][0]["text"]
    assert text == ("It is" if echo else "") + expected.outputs[0].text


def test_contents_of_several_parts_and_template_variables(tiny: Running, reference: LLM) -> None:
    parts = [{"type": "text", "text": "Name a"}, {"type": "text", "text": "colour."}]
    (expected,) = reference.chat([{"role": "user", "content": "Name a\ncolour."}], GREEDY)
    body = {
        "messages": [{"role": "user", "content": parts, "name": None}],
        "chat_template_kwargs": {"anything": 1},
        "temperature": 0,
        "max_tokens": 12,
        "return_token_ids": True,
        "prompt_logprobs": 0,
    }
    _, answer, _ = tiny.call("POST", "/v1/chat/completions", body)
    assert answer["choices"][0]["message"]["content"] == expected.outputs[0].text
    assert answer["prompt_token_ids"] == expected.prompt_token_ids
    assert answer["choices"][0]["token_ids"] == expected.outputs[0].token_ids
    assert answer["prompt_logprobs"][0] is None
    assert len(answer["prompt_logprobs"]) == len(expected.prompt_token_ids)


# ---------------------------------------------------------------- token ids


def test_token_ids_in_and_out(tiny: Running, reference: LLM) -> None:
    prompt = reference.get_tokenizer().encode(TEXT)
    params = SamplingParams(seed=4, max_tokens=6, logprobs=2)
    (expected,) = reference.generate([TEXT], params)
    (sample,) = expected.outputs
    sampling = {"seed": 4, "max_tokens": 6, "logprobs": 2, "detokenize": False}
    body = {"token_ids": prompt, "sampling_params": sampling, "request_id": "mine"}
    _, answer, _ = tiny.call("POST", "/inference/v1/generate", body)
    assert answer["request_id"] == "generate-tokens-mine"
    (choice,) = answer["choices"]
    assert (choice["token_ids"], choice["finish_reason"]) == (sample.token_ids, "length")
    shown = choice["logprobs"]["content"]
    assert [one["token"] for one in shown] == [f"token_id:{token}" for token in sample.token_ids]
    assert [one["logprob"] for one in shown] == sample.token_logprobs
    chunks = events(tiny, "/inference/v1/generate", body)
    assert [i for chunk in chunks for i in chunk["choices"][0]["token_ids"]] == sample.token_ids


def test_tokenize_and_detokenize(tiny: Running, reference: LLM) -> None:
    tokenizer = reference.get_tokenizer()
    ids = tokenizer.encode(TEXT)
    _, answer, _ = tiny.call("POST", "/tokenize", {"prompt": TEXT})
    assert answer == {"count": len(ids), "max_model_len": 512, "tokens": ids, "token_strs": None}
    assert tiny.call("POST", "/detokenize", {"tokens": ids})[1] == {"prompt": TEXT}
    _, answer, _ = tiny.call("POST", "/tokenize", {"prompt": "é 1", "return_token_strs": True})
    assert answer["token_strs"] == tokenizer.convert_ids_to_tokens(answer["tokens"]) == ["Ã©", "Ġ", "1"]
    _, answer, _ = tiny.call("POST", "/tokenize", {"messages": CHAT_MESSAGES})
    assert answer["tokens"] == tokenizer.encode_chat(CHAT_MESSAGES)


def test_a_chat_with_tools_is_tokenized_as_it_is_sampled_from(make_llm: Callable[..., LLM]) -> None:
    template = "{% for t in tools or [] %}<{{ t.function.name }}>{% endfor %}{{ messages[0].content }}"
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": tools, "chat_template": template}
    options = serving.ServerOptions(trust_request_chat_template=True, parsers=ParserOptions("hermes"))
    with running(make_llm(), options=options) as server:
        _, tokenized, _ = server.call("POST", "/tokenize", body)
        tokens = {"tokens": tokenized["tokens"]}
        assert server.call("POST", "/detokenize", tokens)[1] == {"prompt": "<weather>hi"}
        more = {"max_tokens": 1, "return_token_ids": True}
        _, answer, _ = server.call("POST", "/v1/chat/completions", body | more)
        assert answer.get("prompt_token_ids") == tokenized["tokens"], answer
        for wrong in (body | {"tools": [{"type": "function"}]}, {"prompt": "a", "tools": tools}):
            status, error = server.error("/tokenize", wrong)
            assert (status, error["param"]) == (400, "tools")


@pytest.mark.parametrize(("keep", "side"), [(2, "left"), (2, "right"), (-1, "left")])
def test_long_prompts_are_cut(tiny: Running, keep: int, side: str) -> None:
    ids = [i % 100 for i in range(600)]
    body = {"prompt": ids, "truncate_prompt_tokens": keep, "truncation_side": side, "max_tokens": 3}
    _, answer, _ = tiny.call("POST", "/v1/completions", {**body, "return_token_ids": True})
    kept = 512 - 3 if keep == -1 else keep
    assert answer["choices"][0]["prompt_token_ids"] == (ids[-kept:] if side == "left" else ids[:kept])


def test_usage_in_every_chunk_and_ids_of_requests(tiny: Running) -> None:
    body = {"prompt": [1, 2, 3], "max_tokens": 4, "ignore_eos": True, "request_id": "mine", "user": "me"}
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(tiny, "/v1/completions", {**body, "stream_options": options, "return_token_ids": True})
    assert {chunk["id"] for chunk in chunks} == {"cmpl-mine"}
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [1, 2, 3, 4, 4]
    assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {3}


# ---------------------------------------------------------------- streams


def events(server: Running, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    status, text, headers = server.call("POST", path, {**body, "stream": True})
    assert status == 200, text
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    lines = text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def whole(server: Running, path: str, body: dict[str, Any], stream: bool) -> dict[str, Any]:
    """The answer, of a stream joined; `text` is the text of a choice, of a chat too."""
    if not stream:
        _, answer, _ = server.call("POST", path, body)
        for choice in answer["choices"]:
            if "message" in choice:
                choice["text"] = choice["message"]["content"]
        return dict(answer)
    *chunks, last = events(server, path, {**body, "stream_options": {"include_usage": True}})
    assert last["choices"] == []
    joined: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        assert chunk["usage"] is None
        assert (chunk["id"], chunk["created"], chunk["model"]) == (last["id"], last["created"], "tiny")
        (choice,) = chunk["choices"]
        delta = choice.get("delta", {})
        if (one := joined.get(choice["index"])) is None:
            one = joined[choice["index"]] = {"index": choice["index"], "text": "", "logprobs": None}
            assert delta.get("role") == (None if "delta" not in choice else "assistant")
        else:
            assert one["finish_reason"] is None
            assert "role" not in delta
        one["text"] += choice.get("text", delta.get("content", ""))
        one["finish_reason"], one["stop_reason"] = choice["finish_reason"], choice["stop_reason"]
        if "token_ids" in choice:
            one["token_ids"] = one.get("token_ids", []) + choice["token_ids"]
        if (logprobs := choice["logprobs"]) is not None:
            before = one["logprobs"] or {}
            one["logprobs"] = {name: before.get(name, []) + values for name, values in logprobs.items()}
    return {"choices": [joined[i] for i in sorted(joined)], "usage": last["usage"]}


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": TEXT, "seed": 1, "max_tokens": 30}),
    ("/v1/completions", {"prompt": [TEXT, "def f"], "seed": 2, "n": 3, "max_tokens": 20, "logprobs": 2}),
    (
        "/v1/completions",
        {"prompt": [1, 2, 3], "seed": 3, "stop": ["e", "zz"], "max_tokens": 40, "logprobs": 0},
    ),
    ("/v1/completions", {"prompt": TEXT, "seed": 4, "n": 2, "echo": True, "return_token_ids": True}),
    ("/v1/chat/completions", {"messages": CHAT_MESSAGES, "seed": 5, "max_tokens": 25}),
    (
        "/v1/chat/completions",
        {"messages": CHAT_MESSAGES, "seed": 6, "n": 2, "max_tokens": 9, "logprobs": True, "top_logprobs": 2},
    ),
]


def test_streams_join_to_the_whole_whatever_else_runs(tiny: Running) -> None:
    alone = [whole(tiny, *request, stream=False) for request in REQUESTS]
    with ThreadPoolExecutor(len(REQUESTS)) as pool:
        together = list(pool.map(lambda request: whole(tiny, *request, stream=True), REQUESTS))
    for streamed, expected in zip(together, alone, strict=True):
        for choice in expected["choices"]:
            choice.pop("message", None)
            for name in ("prompt_token_ids", "prompt_logprobs"):
                choice.pop(name, None)
            if choice["token_ids"] is None:
                del choice["token_ids"]
        assert streamed["choices"] == expected["choices"]
        counts = ("prompt_tokens", "completion_tokens", "total_tokens")
        assert [streamed["usage"][name] for name in counts] == [expected["usage"][name] for name in counts]


def test_the_client_of_openai_reads_streams(tiny: Running, reference: LLM) -> None:
    requests = [*reference.generate([TEXT], GREEDY), *reference.chat(CHAT_MESSAGES, GREEDY)]
    expected = [request.outputs[0].text for request in requests]

    async def both() -> list[str]:
        client = openai.AsyncOpenAI(base_url=f"{tiny.url}/v1", api_key="none", max_retries=0)

        async def completion() -> str:
            stream = await client.completions.create(
                model="tiny", prompt=TEXT, temperature=0, max_tokens=12, stream=True
            )
            return "".join([chunk.choices[0].text async for chunk in stream])

        async def chat() -> str:
            stream = await client.chat.completions.create(
                model="tiny", messages=CHAT_MESSAGES, temperature=0, max_tokens=12, stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        return list(await asyncio.gather(completion(), chat()))

    assert asyncio.run(both()) == expected


# ---------------------------------------------------------------- errors

BAD: list[tuple[str, dict[str, Any], str | None, str]] = [
    ("completions", {}, "prompt", "prompt is missing"),
    ("completions", {"prompt": ""}, None, "a decoder prompt cannot be empty"),
    ("completions", {"prompt": []}, "prompt", "must be a string, a list of token ids"),
    ("completions", {"prompt": [True]}, "prompt", "must be a string, a list of token ids"),
    ("completions", {"prompt": ["a", 1]}, "prompt", "must be a string, a list of token ids"),
    ("completions", {"prompt": [[1], "a"]}, "prompt", "must be a string, a list of token ids"),
    ("completions", {"prompt": [49152]}, None, "out of vocabulary"),
    ("completions", {"prompt": ["fine", "x " * 600]}, None, "longer than the model's context"),
    ("completions", {"prompt": "a", "temperature": 3}, "temperature", "from 0 to 2"),
    ("completions", {"prompt": "a", "temperature": "hot"}, "temperature", "must be a number"),
    ("completions", {"prompt": "a", "temperature": float("nan")}, None, "NaN is no number"),
    ("completions", {"prompt": "a", "logit_bias": {"1": float("-inf")}}, None, "-Infinity is no number"),
    ("completions", {"prompt": "a", "temperature": 10**400}, "temperature", "from 0 to 2"),
    ("completions", {"prompt": "a", "max_tokens": 0}, "max_tokens", "at least 1"),
    ("completions", {"prompt": "a", "max_tokens": 1.5}, "max_tokens", "must be a whole number"),
    ("completions", {"prompt": "a", "max_tokens": 10**400}, "max_tokens", "of 64 bits"),
    ("completions", {"prompt": "a", "max_tokens": True}, "max_tokens", "must be a whole number"),
    ("completions", {"prompt": "a", "n": 2, "temperature": 0}, "n", "must be 1 at temperature 0"),
    ("completions", {"prompt": "a", "n": 2048}, "n", "that one request may ask for"),
    ("completions", {"prompt": ["a"] * 513, "n": 2}, "n", "that one request may ask for"),
    ("completions", {"prompt": "a", "logprobs": 21}, "logprobs", "max_logprobs"),
    ("completions", {"prompt": "a", "logprobs": True}, "logprobs", "must be a whole number"),
    ("completions", {"prompt": "a", "stop": [""]}, "stop", "non-empty"),
    ("completions", {"prompt": "a", "stop": 5}, "stop", "a string or a list of strings"),
    ("completions", {"prompt": "a", "seed": 2**63}, "seed", "64 bits"),
    ("completions", {"prompt": "a", "logit_bias": {"x": 1, "2": 1, "-1": 1}}, "logit_bias", "not 'x', '-1'"),
    ("completions", {"prompt": "a", "logit_bias": {"9" * 5000: 1}}, "logit_bias", "token ids"),
    ("completions", {"prompt": "a", "logit_bias": {"1": "x"}}, "logit_bias", "-100 to 100"),
    ("completions", {"prompt": "a", "logit_bias": {"50000": 1}}, "logit_bias", "outside the vocabulary"),
    ("completions", {"prompt": "a", "stop_token_ids": 5}, "stop_token_ids", "a list of token ids"),
    ("completions", {"prompt": "a", "stream": True, "prompt_logprobs": 1}, "prompt_logprobs", "stream"),
    ("completions", {"prompt": "a", "stream_options": {}}, "stream_options", "stream: true"),
    ("completions", {"prompt": "a", "suffix": "b"}, "suffix", "does not support it"),
    ("completions", {"prompt": "a", "best_of": 2}, "best_of", "does not support it"),
    ("completions", {"prompt": "a", "user": 5}, "user", "must be a string"),
    ("completions", {"prompt": "a", "metadata": "x"}, "metadata", "must be an object"),
    ("completions", {"prompt": "a", "truncate_prompt_tokens": -2}, "truncate_prompt_tokens", "or -1"),
    ("completions", {"prompt": "a", "truncate_prompt_tokens": 512}, "truncate_prompt_tokens", "at most"),
    ("completions", {"prompt": "a", "truncation_side": "up"}, "truncation_side", "'left' or 'right'"),
    ("completions", {"prompt": "a", "structured_outputs": {}}, "structured_outputs", "exactly one"),
    ("completions", {"prompt": "a", "structured_outputs": {"x": 1}}, "structured_outputs", "has no 'x'"),
    ("completions", {"prompt": "a", "structured_outputs": {"regex": "("}}, None, "refused"),
    ("completions", {"prompt": "a", "response_format": {"type": "xml"}}, "response_format", "must be"),
    (
        "completions",
        {"prompt": "a", "response_format": {"type": "json_schema"}},
        "response_format",
        "must be",
    ),
    (
        "completions",
        {"prompt": "a", "response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format",
        "'schema'",
    ),
    ("chat/completions", {}, "messages", "messages are missing"),
    ("chat/completions", {"messages": []}, "messages", "messages are missing"),
    ("chat/completions", {"messages": ["hi"]}, "messages", "must be a list of objects"),
    ("chat/completions", {"messages": [{"content": "hi"}]}, "messages", "needs a role"),
    ("chat/completions", {"messages": [{"role": "user"}]}, "messages", "needs a content"),
    (
        "chat/completions",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages",
        "a part of the content",
    ),
    ("chat/completions", {"messages": CHAT_MESSAGES, "logprobs": 3}, "logprobs", "true or false"),
    ("chat/completions", {"messages": CHAT_MESSAGES, "top_logprobs": 3}, "top_logprobs", "logprobs: true"),
    (
        "chat/completions",
        {"messages": CHAT_MESSAGES, "max_tokens": 3, "max_completion_tokens": 3},
        "max_tokens",
        "not both",
    ),
    (
        "chat/completions",
        {"messages": CHAT_MESSAGES, "chat_template_kwargs": {"messages": []}},
        "chat_template_kwargs",
        "may not hold 'messages'",
    ),
    (
        "chat/completions",
        {"messages": CHAT_MESSAGES, "continue_final_message": True},
        "continue_final_message",
        "add_generation_prompt",
    ),
    (
        "chat/completions",
        {"messages": CHAT_MESSAGES, "chat_template": "x"},
        "chat_template",
        "--trust-request",
    ),
]


@pytest.mark.parametrize(("path", "body", "param", "message"), BAD)
def test_what_is_wrong_with_a_request_is_said(
    tiny: Running, path: str, body: dict[str, Any], param: str | None, message: str
) -> None:
    status, error = tiny.error(f"/v1/{path}", {"model": "tiny", **body})
    assert status == 400
    assert message in error["message"]
    assert "\n" not in error["message"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert tiny.is_idle()


def test_every_field_of_openai_is_known(tiny: Running) -> None:
    from openai.types import completion_create_params as completion
    from openai.types.chat import completion_create_params as chat

    for params, known in (
        (completion.CompletionCreateParamsBase, COMPLETION),
        (chat.CompletionCreateParamsBase, CHAT),
    ):
        assert set(params.__annotations__) <= {*known, *UNSUPPORTED}
    assert not {*COMPLETION, *CHAT} & {*UNSUPPORTED}
    body = {"prompt": "a", "max_tokens": 1, **dict.fromkeys(UNSUPPORTED)}
    assert tiny.call("POST", "/v1/completions", body)[0] == 200
    assert tiny.call("POST", "/v1/completions", {**UNSUPPORTED, **body})[0] == 200


def test_other_errors(tiny: Running) -> None:
    status, error = tiny.error("/v1/completions", {"model": "gpt-4", "prompt": "a"})
    assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")
    for body, message in (
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"prompt": "a", "temperature": 1e999}', "1e999 is no number"),
        (b'{"prompt": "a", "metadata": {"x": 1, "x": 2}}', "has 'x' twice"),
        (b'{"prompt": ' + b"[" * 100 + b"]" * 100 + b"}", "nested deeper than 100 levels"),
        (b'{"prompt": ' + b"[" * 99 + b"]" * 99 + b"}", "prompt must be"),
        (b'\xef\xbb\xbf{"prompt": "a"}', "byte order mark"),
        ('{"prompt": "a"}'.encode("utf-16"), "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"", "not JSON"),
    ):
        status, error = tiny.error("/v1/completions", body)
        assert status == 400
        assert message in error["message"]
    assert tiny.error("/v1/embeddings", {})[0] == 404
    for path in ("/pause", "/resume", "/sleep", "/wake_up", "/reset_prefix_cache", "/update_weights"):
        status, error = tiny.error(path, {})
        assert status == 404 and "--server-dev-mode" in error["message"]
    for path, methods in (("/v1/completions", {"POST"}), ("/ping", {"GET", "HEAD", "POST"})):
        status, _, headers = tiny.call("PUT", path)
        assert (status, set(headers["allow"].split(", "))) == (405, methods)
    assert tiny.error("/tokenize", {"messages": []})[1]["param"] == "messages"
    status, content, _ = tiny.call("POST", "/v1/completions", b"{}", {"Content-Type": "text/plain"})
    assert status == 415
    assert "application/json" in content["error"]["message"]
    with pytest.raises(openai.NotFoundError) as not_found:
        tiny.client().completions.create(model="gpt-4", prompt="a")
    assert not_found.value.code == "model_not_found"


def test_half_a_surrogate_pair_does_no_harm(tiny: Running) -> None:
    body = rb'{"prompt": "a \ud800 b", "echo": true, "max_tokens": 1, "stop": "\udc00"}'
    status, answer, _ = tiny.call("POST", "/v1/completions", body)
    assert status == 200
    assert answer["choices"][0]["text"].startswith("a \ud800 b")


def test_a_bad_request_leaves_those_beside_it_alone(tiny: Running, reference: LLM) -> None:
    params = SamplingParams(seed=1, max_tokens=60)
    (expected,) = reference.generate([TEXT], params)
    good = {"prompt": TEXT, "seed": 1, "max_tokens": 60}
    word = reference.get_tokenizer().decode([300])
    bad = [
        {"prompt": ["fine", [1, 2]]},
        {"prompt": ["fine", ""]},
        {"prompt": "a", "structured_outputs": {"regex": "("}},
        {"prompt": "a", "allowed_token_ids": [300], "bad_words": [word]},
    ]
    with ThreadPoolExecutor(12) as pool:
        answers = pool.map(lambda body: tiny.call("POST", "/v1/completions", body), [good, *bad] * 3)
        found = [(status, answer) for status, answer, _ in answers]
    for i in (0, 5, 10):
        assert found[i][1]["choices"][0]["text"] == expected.outputs[0].text
        assert [status for status, _ in found[i + 1 : i + 5]] == [400, 400, 400, 400]
    assert tiny.is_idle()


def test_what_leaves_no_token_is_refused(tiny: Running, reference: LLM) -> None:
    word = reference.get_tokenizer().decode([300])
    body = {"prompt": "a", "allowed_token_ids": [300], "bad_words": [word], "max_tokens": 5}
    status, error = tiny.error("/v1/completions", body)
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", "allowed_token_ids")
    assert tiny.is_idle()


@pytest.mark.parametrize("token", [-1, 2**33, 2**70])
@pytest.mark.parametrize("echo", [False, True])
def test_odd_token_ids_are_refused(tiny: Running, token: int, echo: bool) -> None:
    status, error = tiny.error("/v1/completions", {"prompt": [1, token], "echo": echo, "max_tokens": 2})
    said = "must be a string, a list of token ids" if token < 0 else f"token id {token} is out of vocabulary"
    assert status == 400 and said in error["message"]
    assert tiny.is_idle()


# ---------------------------------------------------------------- limits and life


def test_the_api_key(make_llm: Callable[..., LLM]) -> None:
    with running(make_llm(), api_key="sécret") as server:
        for path in ("/v1/models", "/metrics", "/version", "/nowhere"):
            status, content, headers = server.call("GET", path)
            assert (status, content["error"]["code"]) == (401, "invalid_api_key")
            assert headers["www-authenticate"] == "Bearer"
        for given in ("Bearer wrong", "sécret", "Basic sécret", "Bearer  sécret"):
            headers = {"Authorization": given.encode().decode("latin-1")}
            assert server.call("GET", "/v1/models", headers=headers)[0] == 401
        for given in ("Bearer sécret", "bearer sécret"):
            headers = {"Authorization": given.encode().decode("latin-1")}
            assert server.call("GET", "/v1/models", headers=headers)[0] == 200
        assert server.call("GET", "/health")[0] == 200
        with pytest.raises(openai.AuthenticationError):
            server.client("wrong").completions.create(model="tiny", prompt="a")


def test_a_large_body_is_refused(make_llm: Callable[..., LLM]) -> None:
    with running(make_llm(), max_body_bytes=1000) as server:
        status, error = server.error("/v1/completions", {"prompt": "x" * 1000})
        assert status == 413
        assert "1000 bytes" in error["message"]
        body = json.dumps({"prompt": "x", "max_tokens": 1}).encode()
        assert server.call("POST", "/v1/completions", body + b" " * (1000 - len(body)))[0] == 200
        assert server.call("POST", "/v1/completions", body + b" " * (1001 - len(body)))[0] == 413
        # More than the sockets' buffers hold: whoever is still sending comes to read the answer.
        close = {"Connection": "close"}
        assert server.call("POST", "/v1/completions", b" " * (20 << 20), close)[0] == 413


def test_too_many_requests_are_refused(make_llm: Callable[..., LLM]) -> None:
    with running(make_llm(), max_concurrent_requests=2) as server:
        streams = [
            server.client().completions.create(model="tiny", prompt=TEXT, max_tokens=400, stream=True)
            for _ in range(2)
        ]
        status, content, headers = server.call("POST", "/v1/completions", {"prompt": "a"})
        assert (status, headers["retry-after"]) == (503, "1")
        assert "2 requests are running" in content["error"]["message"]
        assert server.call("GET", "/health")[0] == 200
        for stream in streams:
            assert len(list(stream)) > 1
        assert server.call("POST", "/v1/completions", {"prompt": "a"})[0] == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_its_request(slow: Running, stream: bool) -> None:
    before = slow.metrics()
    body = {"prompt": [TEXT, "def f"], "n": 2, "max_tokens": 450, "ignore_eos": True, "stream": stream}
    data = json.dumps(body).encode()
    with socket.create_connection(urlsplit(slow.url).netloc.split(":")) as client:  # type: ignore[arg-type]
        client.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data
        )
        if stream:
            assert b"200 OK" in client.recv(1000)
        slow.wait(lambda: slow.metrics()["vllm:num_requests_running"] == 4)
    slow.wait(slow.is_idle)
    after = slow.metrics()
    aborted = "vllm:request_success_totalabort"
    assert after[aborted] == before.get(aborted, 0) + 4
    assert after["vllm:generation_tokens_total"] - before["vllm:generation_tokens_total"] < 4 * 450
    assert after["vllm:kv_cache_usage_perc"] == 0


def test_models_health_and_version(tiny: Running) -> None:
    (card,) = tiny.client().models.list()
    assert (card.id, card.object, card.owned_by) == ("tiny", "model", "minillm")
    assert card.model_dump()["max_model_len"] == tiny.llm.max_model_len
    assert tiny.client().models.retrieve("tiny") == card
    with pytest.raises(openai.NotFoundError):
        tiny.client().models.retrieve("other")
    assert tiny.call("GET", "/health")[:2] == (200, {"status": "ok"})
    assert tiny.call("GET", "/version")[:2] == (200, {"version": __version__})


def test_the_largest_number_is_only_a_number(tiny: Running) -> None:
    before = tiny.metrics()
    body = {"prompt": "a", "max_tokens": 2**63 - 1, "stop_token_ids": [*range(49152)]}
    assert tiny.call("POST", "/v1/completions", body)[0] == 200
    name = "vllm:request_params_max_tokens_sum"
    assert tiny.metrics()[name] - before[name] == tiny.llm.max_model_len


def test_metrics_are_those_of_the_sampler(tiny: Running) -> None:
    before = tiny.metrics()
    tiny.call("POST", "/v1/completions", {"prompt": [1, 2, 3], "max_tokens": 7, "n": 2})
    after = tiny.metrics()
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    assert grown["vllm:prompt_tokens_total"] == 3
    assert grown["vllm:generation_tokens_total"] == 14
    assert grown["vllm:request_success_totallength"] == 2
    for name, count in (("time_to_first_token", 2), ("inter_token_latency", 12), ("e2e_request_latency", 2)):
        assert grown[f"vllm:{name}_seconds_count"] == grown[f"vllm:{name}_seconds_bucket+Inf"] == count
    assert grown["vllm:request_generation_tokens_sum"] == 14
    assert grown["vllm:request_prompt_tokens_bucket5.0"] - grown["vllm:request_prompt_tokens_bucket2.0"] == 2
    assert grown["vllm:request_max_num_generation_tokens_sum"] == 7
    _, text, _ = tiny.call("GET", "/metrics")
    assert 'vllm:num_requests_running{model_name="tiny"} 0.0' in text
    assert "vllm:num_preemptions_total" in after
    tiny.call("POST", "/v1/completions", {"prompt": [4, 5, 6], "max_tokens": 7, "ignore_eos": True})
    last = tiny.metrics()
    grown = {name: value - after.get(name, 0) for name, value in last.items()}
    # As vLLM counts: the prompt and the first token in one step, each other token in one of its own.
    steps = "vllm:iteration_tokens_total"
    assert (grown[f"{steps}_count"], grown[f"{steps}_sum"]) == (7, 3 + 7)
    assert (grown[f"{steps}_bucket1.0"], grown[f"{steps}_bucket8.0"]) == (6, 7)
    assert last["vllm:cache_config_info"] == 1
    for name in ("queue", "prefill", "decode", "inference"):
        assert grown[f"vllm:request_{name}_time_seconds_count"] == 1
    assert grown["vllm:request_time_per_output_token_seconds_count"] == 1


def test_a_step_that_fails_ends_what_runs_and_nothing_else(
    slow: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = slow.llm.step, iter(range(1000))

    def fail() -> list[RequestOutput]:
        if next(calls) == 5:
            raise RuntimeError("the device is on fire")
        return step()

    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as pool:
        patch.setattr(slow.llm, "step", fail)
        body = {"prompt": TEXT, "max_tokens": 100, "ignore_eos": True}
        plain = pool.submit(slow.error, "/v1/completions", body)
        (*_, last) = events(slow, "/v1/completions", body)
        assert "RuntimeError: the device is on fire" in last["error"]["message"]
        status, error = plain.result()
        assert (status, error["type"]) == (500, "server_error")
        assert "the device is on fire" in error["message"]
    assert slow.is_idle()
    status, content, _ = slow.call("GET", "/health")
    assert status == 503
    assert "the device is on fire" in content["error"]["message"]
    assert slow.call("POST", "/v1/completions", {"prompt": "a"})[0] == 200
    assert slow.call("GET", "/health")[0] == 200


def test_a_sampler_that_cannot_go_on_says_so(
    make_llm: Callable[..., LLM], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(make_llm()) as server:

        def fail(*_: object) -> Any:
            raise RuntimeError("nothing works")

        monkeypatch.setattr(server.llm, "step", fail)
        monkeypatch.setattr(server.llm, "abort_request", fail)
        for _ in range(2):
            status, error = server.error("/v1/completions", {"prompt": "a"})
            assert status == 500
            assert "nothing works" in error["message"]
        assert server.call("GET", "/health")[0] == 503
        assert server.call("GET", "/metrics")[0] == 200


def test_the_end_waits_for_running_requests_only_so_long(make_llm: Callable[..., LLM]) -> None:
    llm = make_llm()
    step = llm.step

    def slowly() -> list[RequestOutput]:
        time.sleep(0.05)
        return step()

    llm.step = slowly  # type: ignore[method-assign]
    with running(llm, shutdown_timeout=1) as server:
        body = {"prompt": TEXT, "max_tokens": 450, "ignore_eos": True}
        with ThreadPoolExecutor(2) as pool:
            streamed = pool.submit(events, server, "/v1/completions", body)
            plain = pool.submit(server.error, "/v1/completions", body)
            server.wait(lambda: server.metrics()["vllm:num_requests_running"] == 2)
            server.server.should_exit = True
            *before, last = streamed.result()
            status, error = plain.result()
        assert len(before) > 1
        assert (status, last) == (503, {"error": error})
        assert "the server was stopped" in error["message"]


def test_limits_and_addresses_are_checked() -> None:
    with pytest.raises(MinillmError, match="max_concurrent_requests must be at least 1"):
        serving.ServerLimits(max_concurrent_requests=0)
    with serving.bind("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(MinillmError, match=f"cannot serve at 127.0.0.1:{port}"):
            serving.bind("127.0.0.1", port)
    for host, port in (("no.such.host.invalid", 0), ("127.0.0.1", 70000)):
        with pytest.raises(MinillmError, match="cannot serve at"):
            serving.bind(host, port)


def test_an_async_llm_gives_what_the_llm_does(make_llm: Callable[..., LLM], reference: LLM) -> None:
    prompts = [TEXT, "def f(x):"]
    expected = reference.generate(prompts, GREEDY)

    async def sample() -> list[RequestOutput]:
        async with AsyncLLM(make_llm()) as llm:
            assert await llm.call(lambda one: one.max_model_len) == reference.max_model_len
            with pytest.raises(ZeroDivisionError):
                await llm.call(lambda one: 1 // 0)
            found: dict[int, RequestOutput] = {}
            async with llm.requests(prompts, GREEDY) as outputs:
                async for place, output in outputs:
                    found[place] = output
            return [found[0], found[1]]

    for output, wanted in zip(asyncio.run(sample()), expected, strict=True):
        assert output.outputs[0].token_ids == wanted.outputs[0].token_ids
        assert output.finished


# ---------------------------------------------------------------- the process


def test_the_demo_model_is_served_until_told_to_stop(demo_model_path: Path) -> None:
    """Tokens that transformers wrote; SIGTERM in the middle of a stream lets it finish."""
    golden = json.loads((GOLDEN / "smollm2_logprobs.json").read_text())["greedy"][0]
    command = [sys.executable, "-m", "minillm", "serve", "smollm2-135m-instruct", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MINILLM_API_KEY": "secret"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            found = re.fullmatch(r"serving smollm2-135m-instruct at (http://127.0.0.1:\d+/v1)\n", line)
            assert found, line
            client = openai.OpenAI(base_url=found[1], api_key="secret", max_retries=0)
            stream = client.completions.create(
                model="smollm2-135m-instruct",
                prompt=golden["prompt"],
                temperature=0,
                max_tokens=len(golden["continuation"]),
                stream=True,
                extra_body={"ignore_eos": True, "return_token_ids": True},
            )
            tokens: list[int] = []
            for chunk in stream:
                if not tokens:
                    process.send_signal(signal.SIGTERM)
                    time.sleep(0.3)
                    with pytest.raises(openai.APIConnectionError):
                        client.models.list()
                tokens += chunk.choices[0].model_dump()["token_ids"]
            assert tokens == golden["continuation"]
            assert process.wait(30) == 0
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == b"loading smollm2-135m-instruct in fp32\n"


def test_under_load_nothing_is_lost_and_nothing_stays(demo_model_path: Path) -> None:
    from benchmarks import serve

    config = serve.Config(model=str(demo_model_path), clients=8, seconds=4, max_tokens=6, disturbers=2)
    record = serve.measure(config)
    assert record["answered"] >= 8
    assert record["lost"] == []
    assert not any(record["left"].values())
    assert record["exit_status"] == 0
