"""What scripts for vLLM's server send beside OpenAI's fields, and what they start it with."""

from __future__ import annotations

import http.client
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import tyro

from minillm import (
    LLM,
    BeamSearchParams,
    MinillmError,
    SamplingParams,
    StructuredOutputsParams,
    Tokenizer,
    Transformer,
)
from minillm.cli_serve import Serve
from minillm.serve.flags import own_flags
from minillm.serve.middleware import imported
from minillm.serve.options import ServerOptions
from minillm.serve.protocol import IGNORED
from minillm.serve.server import make_app
from tests.minillm import server_thread

Json = dict[str, Any]
TEXT = "Once upon a time there was"
ASK: list[Any] = [{"role": "user", "content": "Name a colour."}]


@pytest.fixture(scope="module")
def tokenizer(demo_model_path: Path) -> Tokenizer:
    return Tokenizer.from_folder(demo_model_path)


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Transformer]) -> Transformer:
    return tiny_llama("fp32", vocab_size=49152)


@pytest.fixture(scope="module")
def reference(model: Transformer, tokenizer: Tokenizer) -> LLM:
    return LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23)


@pytest.fixture(scope="module")
def url(model: Transformer, tokenizer: Tokenizer) -> Iterator[str]:
    llm = LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23)
    with server_thread.running(make_app(llm, "tiny")) as server:
        yield server.url


def ask(url: str, path: str, body: Json | None = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
    """Status, JSON or else text, and headers."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    data, method = (None, "GET") if body is None else (json.dumps(body), "POST")
    connection.request(method, path, data, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    text, found = answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    is_json = found.get("content-type") == "application/json"
    return answer.status, json.loads(text) if is_json else text, found


def error(url: str, path: str, body: Json) -> str:
    status, answer, _ = ask(url, path, body)
    assert status == 400, answer
    return str(answer["error"]["message"])


# ---------------------------------------------------------------- fields that nobody knows


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        ("completions", {"prompt": TEXT, "temprature": 9, "min_characters": 5}, "temprature, min_characters"),
        ("completions", {"prompt": TEXT, "stream": True, "unheard\nof": None}, '"unheard\\nof"'),
        ("completions", {"prompt": TEXT, "stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ("chat/completions", {"messages": [{**ASK[0], "extra_field": "0"}]}, "messages[0].extra_field"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}]}]},
            "messages[0].content.cache_control",
        ),
        ("responses", {"input": "a", "top_a": 1}, "top_a"),
    ],
)
def test_a_field_that_nobody_knows_is_passed_over(
    url: str, path: str, body: Json, names: str, caplog: pytest.LogCaptureFixture
) -> None:
    most = "max_output_tokens" if path == "responses" else "max_tokens"
    status, _, headers = ask(url, f"/v1/{path}", {**body, most: 1})
    assert status == 200 and headers[IGNORED] == names
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == len(names.split(", ")) and all("is not known, and ignored" in w for w in warnings)
    assert not any("\n" in warning for warning in warnings)
    if "temprature" in names:
        assert "did you mean temperature?" in warnings[0]


def test_where_all_fields_are_known_there_is_no_such_header(url: str) -> None:
    assert IGNORED not in ask(url, "/v1/completions", {"prompt": TEXT, "max_tokens": 1})[2]
    assert ask(url, "/tokenize", {"prompt": TEXT, "unheard_of": 1})[0] == 200
    many = {f"x{i}": i for i in range(5000)}
    _, _, headers = ask(url, "/v1/completions", {"prompt": TEXT, "max_tokens": 1, **many})
    assert headers[IGNORED].count(",") == 19
    odd = {"\U0001f600" * 500: 1, "\udfff\x00": 2, "": 3, " ": 4}
    _, _, headers = ask(url, "/v1/completions", {"prompt": TEXT, "max_tokens": 1, **odd})
    assert headers[IGNORED] == ", ".join(map(json.dumps, ["\U0001f600" * 25, "\udfff\x00", "", " "]))


@pytest.mark.parametrize("field", [{"best_of": 3}, {"logits_processors": ["a.b"]}, {"early_stopping": True}])
def test_what_would_change_the_answer_is_refused(url: str, field: Json) -> None:
    said = error(url, "/v1/completions", {"prompt": TEXT, **field})
    assert "minillm does not support it" in said


# ---------------------------------------------------------------- numbers and flags as text


def test_numbers_and_flags_may_come_as_text(url: str) -> None:
    plain = {"prompt": TEXT, "temperature": 0, "max_tokens": 4, "logprobs": 1, "echo": True, "stream": False}
    as_text = {**plain, "temperature": "0.0", "max_tokens": "4", "logprobs": 1.0, "echo": "true", "stream": 0}
    answers = [ask(url, "/v1/completions", body)[1]["choices"] for body in (plain, as_text)]
    assert answers[0] == answers[1] and answers[0][0]["text"].startswith(TEXT)
    status, answer, _ = ask(
        url,
        "/v1/chat/completions",
        {"messages": ASK, "max_tokens": 1, "logprobs": "true", "top_logprobs": "2"},
    )
    assert status == 200 and len(answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_tokens", "four"), ("max_tokens", 1.5), ("max_tokens", "9" * 40), ("max_tokens", True),
     ("temperature", "hot"), ("temperature", "1e0"), ("echo", "yes"), ("echo", 2), ("stop", 5)],
)  # fmt: skip
def test_other_text_is_none(url: str, field: str, value: Any) -> None:
    assert error(url, "/v1/completions", {"prompt": TEXT, field: value}).startswith(f"{field} must be")


# ---------------------------------------------------------------- older names of structured outputs


@pytest.mark.parametrize(
    ("field", "value", "structure"),
    [
        ("guided_choice", ["red", "green"], {"choice": ["red", "green"]}),
        ("guided_regex", "[0-9]{3}", {"regex": "[0-9]{3}"}),
        ("guided_json", {"const": 1}, {"json": {"const": 1}}),
        ("guided_json", '{"const": 1}', {"json": {"const": 1}}),
        ("guided_grammar", 'root ::= "yes"', {"grammar": 'root ::= "yes"'}),
    ],
)
def test_guided_fields_are_structured_outputs(
    url: str, reference: LLM, field: str, value: Any, structure: Json
) -> None:
    structure_params = StructuredOutputsParams(**structure)
    params = SamplingParams(temperature=0, max_tokens=9, structured_outputs=structure_params)
    (expected,) = reference.generate([TEXT], params)
    body = {"prompt": TEXT, "temperature": 0, "max_tokens": 9, field: value}
    status, answer, headers = ask(url, "/v1/completions", {**body, "guided_decoding_backend": "xgrammar"})
    assert status == 200 and IGNORED not in headers
    assert answer["choices"][0]["text"] == expected.outputs[0].text
    both = error(url, "/v1/completions", {**body, "structured_outputs": structure})
    assert both == f"give {field} or structured_outputs, not both"


# ---------------------------------------------------------------- beam search


def test_beams_over_http_are_those_of_beam_search(url: str, reference: LLM) -> None:
    prompts = [TEXT, "The sea is"]
    found = reference.beam_search(prompts, BeamSearchParams(3, 5, length_penalty=0.5))
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    beams: Json = {"use_beam_search": True, "length_penalty": 0.5}
    answer = client.completions.create(
        model="tiny", prompt=prompts, n=3, max_tokens=5, temperature=0, logprobs=2,
        extra_body={**beams, "return_token_ids": True},
    )  # fmt: skip
    assert [choice.index for choice in answer.choices] == list(range(6))
    tokens = 0
    for choice, one in zip(answer.choices, [s for o in found for s in o.sequences], strict=True):
        given: Any = choice
        prompt_ids = given.prompt_token_ids
        assert [*prompt_ids, *given.token_ids] == one.tokens
        assert reference.get_tokenizer().decode(one.tokens) == prompts[choice.index // 3] + choice.text
        assert choice.finish_reason == one.finish_reason and choice.logprobs is not None
        expected = [
            entries[token].logprob for token, entries in zip(given.token_ids, one.logprobs, strict=True)
        ]
        assert choice.logprobs.token_logprobs == expected
        assert all(len(top) in (2, 3) for top in choice.logprobs.top_logprobs or [])
        tokens += len(given.token_ids)
    assert answer.usage is not None and answer.usage.completion_tokens == tokens
    # Streamed, each sequence comes whole, with the same text.
    texts = [""] * 6
    stream = client.completions.create(
        model="tiny", prompt=prompts, n=3, max_tokens=5, stream=True, extra_body=beams
    )
    for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].text
        assert chunk.choices[0].finish_reason in ("length", "stop")
    assert texts == [choice.text for choice in answer.choices]


def test_a_chat_by_beams(url: str, reference: LLM) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    body: Json = {"use_beam_search": True, "structured_outputs": {"choice": ["red", "blue", "green"]}}
    answer = client.chat.completions.create(model="tiny", messages=ASK, n=2, max_tokens=9, extra_body=body)
    text = reference.get_tokenizer().chat_text(ASK)
    prompt = reference.get_tokenizer().encode(text, add_special_tokens=False)
    structure = StructuredOutputsParams(choice=["red", "blue", "green"])
    (found,) = reference.beam_search([prompt], BeamSearchParams(2, 9, structured_outputs=structure))
    decode = reference.get_tokenizer().decode
    expected = [decode(one.tokens[len(prompt) :]) for one in found.sequences]
    assert [choice.message.content for choice in answer.choices] == expected
    assert {*expected} <= {"red", "blue", "green"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"top_p": 0.5}, "top_p does not go with use_beam_search"),
        ({"stop": ["a"]}, "stop does not go with use_beam_search"),
        ({"prompt_logprobs": 1}, "prompt_logprobs does not go with use_beam_search"),
        ({"echo": True, "logprobs": 1}, "echo with logprobs does not go with use_beam_search"),
        ({"n": 65}, "n must be at most 64 with use_beam_search"),
        ({"logprobs": 21}, "logprobs = 21 is more than max_logprobs = 20"),
        ({"temperature": 3}, "temperature must be a number from 0 to 2"),
        ({"use_beam_search": False, "length_penalty": 0.5}, "length_penalty goes with use_beam_search: true"),
        ({"length_penalty": 1e9}, "length_penalty must be a number from -1000 to 1000"),
    ],
)
def test_what_does_not_go_with_beams_is_said(url: str, fields: Json, said: str) -> None:
    body = {"prompt": TEXT, "max_tokens": 2, "use_beam_search": True, **fields}
    assert error(url, "/v1/completions", body).startswith(said)


def test_what_asks_for_nothing_goes_with_beams(url: str) -> None:
    body = {"prompt": TEXT, "max_tokens": 2, "use_beam_search": True, "top_p": 1.0, "seed": 3, "top_k": 0}
    assert ask(url, "/v1/completions", body)[0] == 200


# ---------------------------------------------------------------- chat templates, middleware, ids, flags

TEMPLATE = "{{ messages[-1].content }} {{ enable_thinking }} {{ tone }}"


def test_what_a_chat_template_is_given_by_default(model: Transformer, demo_model_path: Path) -> None:
    """A request's own word comes first, then its effort, then the server's default."""
    tokenizer = Tokenizer.from_folder(demo_model_path)
    tokenizer.chat_template = TEMPLATE
    llm = LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23)
    options = ServerOptions(default_chat_template_kwargs={"enable_thinking": False, "tone": "low"})
    with server_thread.running(make_app(llm, "tiny", options=options)) as server:
        for fields, text in (
            ({}, "Hi False low"),
            ({"chat_template_kwargs": {"tone": "high"}}, "Hi False high"),
            ({"reasoning_effort": "high"}, "Hi True low"),
            ({"reasoning_effort": "high", "chat_template_kwargs": {"enable_thinking": "no"}}, "Hi no low"),
        ):
            body: Json = {"messages": [{"role": "user", "content": "Hi"}], **fields}
            asked = {**body, "max_tokens": 1, "return_token_ids": True}
            ids = ask(server.url, "/v1/chat/completions", asked)[1]["prompt_token_ids"]
            assert tokenizer.decode(ids) == text
            if "reasoning_effort" not in fields:
                assert ask(server.url, "/tokenize", body)[1]["tokens"] == ids


MIDDLEWARE = """
class Stamp:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def stamped(message):
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-stamp", b"class"))
            await send(message)

        await self.app(scope, receive, stamped)


async def guard(request, call_next):
    from starlette.responses import JSONResponse

    if request.url.path == "/version":
        return JSONResponse({"version": "guarded"})
    return await call_next(request)


NUMBER = 5
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "their_middleware.py").write_text(MIDDLEWARE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "their_middleware"
    sys.modules.pop("their_middleware", None)


def test_middleware_by_import_path(model: Transformer, tokenizer: Tokenizer, module: str) -> None:
    llm = LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23)
    paths = [f"{module}.guard", f"{module}.Stamp"]
    options = ServerOptions(middleware=paths, enable_request_id_headers=True)
    with server_thread.running(make_app(llm, "tiny", "key", options=options)) as server:
        status, answer, headers = ask(server.url, "/version")  # before the key is looked at
        assert (status, answer, headers["x-stamp"]) == (200, {"version": "guarded"}, "class")
        status, _, headers = ask(server.url, "/v1/models", **{"X-Request-Id": "mine"})
        assert (status, headers["x-stamp"], headers["x-request-id"]) == (401, "class", "mine")
        key = {"Authorization": "Bearer key"}
        body = {"prompt": TEXT, "max_tokens": 3, "stream": True}
        status, text, headers = ask(server.url, "/v1/completions", body, **key)
        assert status == 200 and text.endswith("data: [DONE]\n\n") and len(headers["x-request-id"]) == 32


def test_middleware_that_is_none_is_refused(module: str) -> None:
    assert [one.cls.__name__ for one in imported([f"{module}.guard", f"{module}.Stamp"])] == [  # type: ignore[attr-defined]
        "Stamp",
        "BaseHTTPMiddleware",
    ]
    with pytest.raises(MinillmError, match="NUMBER must be a class or a coroutine function, got 5"):
        imported([f"{module}.NUMBER"])
    for path in (f"{module}.nothing", "no_such_module.Name", "nodots", ""):
        with pytest.raises(MinillmError, match="cannot be imported"):
            imported([path])


def test_flags_of_vllm_that_make_something(model: Transformer) -> None:
    arguments = ["m", "--middleware", "a.b", "--middleware", "c.d", "--enable-request-id-headers"]
    arguments += ["--default-chat-template-kwargs", '{"enable_thinking": false}']
    arguments += ["--attention-backend", "FLASH_ATTN", "--guided-decoding-backend", "outlines"]
    config = "--structured-outputs-config"
    arguments += [f"{config}.backend", "xgrammar", f"{config}.disable_any_whitespace=true"]
    read = tyro.cli(Serve, args=own_flags(arguments, Serve))
    assert read.middleware == ("a.b", "c.d") and read.enable_request_id_headers
    assert read.default_chat_template_kwargs == {"enable_thinking": False}
    assert read.structured_outputs_config == {"backend": "xgrammar", "disable_any_whitespace": True}
