"""What vLLM's flags make of the server: paths that it then has, usage, names of tokens, no tokenizer."""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import tyro

from minillm import LLM, MinillmError, SamplingParams, Tokenizer, Transformer, cli, errors
from minillm.serve.options import ServerOptions
from minillm.serve.parsers import ParserOptions
from minillm.serve.server import make_app
from tests.minillm import server_thread

Json = dict[str, Any]
TEXT = "Once upon a time"
PROMPT = [5, 17, 3]
ASK = [{"role": "user", "content": "Name a colour."}]
GREEDY: Json = {"temperature": 0, "max_tokens": 6}


@pytest.fixture(scope="module")
def tokenizer(demo_model_path: Path) -> Tokenizer:
    return Tokenizer.from_folder(demo_model_path)


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Transformer]) -> Transformer:
    return tiny_llama("fp32", vocab_size=49152)


class Asked:
    """A server that answers to `ask`."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url).netloc

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON; of a stream, the JSON of its events."""
        connection = http.client.HTTPConnection(self._place, timeout=60)
        data = None if body is None else json.dumps(body)
        method = "GET" if body is None else "POST"
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.getheader("content-type") == "application/json":
            return answer.status, json.loads(text)
        lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
        return answer.status, [json.loads(line) for line in lines]

    def get(self, path: str, body: Any = None) -> Any:
        status, answer = self.ask(path, body)
        assert status == 200, answer
        return answer

    def error(self, path: str, body: Any = None, status: int = 400) -> str:
        found, answer = self.ask(path, body)
        assert found == status, answer
        return str(answer["error"]["message"])


@contextmanager
def serving(model: Transformer, tokenizer: Tokenizer | None, **options: Any) -> Iterator[Asked]:
    llm = LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23)
    with server_thread.running(make_app(llm, "tiny", options=ServerOptions(**options))) as server:
        yield Asked(server.url)


@pytest.fixture(scope="module")
def plain(model: Transformer, tokenizer: Tokenizer) -> Iterator[Asked]:
    with serving(model, tokenizer) as server:
        yield server


# ---------------------------------------------------------------- paths


def test_invocations_are_chats_and_completions(plain: Asked) -> None:
    for path, body in (("completions", {"prompt": TEXT}), ("chat/completions", {"messages": ASK})):
        for stream in (False, True):
            asked = {**body, **GREEDY, "stream": stream}
            whole, invoked = plain.get(f"/v1/{path}", asked), plain.get("/invocations", asked)
            for answers in (whole, invoked) if stream else ([whole], [invoked]):
                for answer in answers:
                    answer["id"] = answer["created"] = None
                    if not stream:
                        answer["usage"]["prompt_tokens_details"] = None
            assert whole == invoked
    assert "neither messages" in plain.error("/invocations", {"max_tokens": 3})
    assert "must be a JSON object" in plain.error("/invocations", [1])
    assert plain.error("/invocations", {"model": "b", "prompt": "a"}, 404).startswith("there is no model 'b'")


def test_the_tokenizer_is_shown_where_that_is_asked_for(
    plain: Asked, model: Transformer, tokenizer: Tokenizer
) -> None:
    assert "--enable-tokenizer-info-endpoint" in plain.error("/tokenizer_info", status=404)
    assert "/tokenizer_info" not in plain.get("/openapi.json")["paths"]
    with serving(model, tokenizer, enable_tokenizer_info_endpoint=True) as server:
        shown = server.get("/tokenizer_info")
        assert "/tokenizer_info" in server.get("/openapi.json")["paths"]
    assert (shown["tokenizer_class"], shown["eos_token"]) == ("Tokenizer", tokenizer.eos_token)
    assert shown["chat_template"] == tokenizer.chat_template
    assert shown["model_max_length"] == tokenizer.model_max_length
    assert tokenizer.eos_token is not None
    with serving(model, Tokenizer.from_hf(tokenizer), enable_tokenizer_info_endpoint=True) as server:
        assert server.get("/tokenizer_info")["padding_side"] == tokenizer.padding_side


# ---------------------------------------------------------------- usage and names


def test_usage_ends_every_stream_where_that_is_forced(
    plain: Asked, model: Transformer, tokenizer: Tokenizer
) -> None:
    bodies = {
        "/v1/completions": {"prompt": PROMPT, **GREEDY},
        "/v1/chat/completions": {"messages": ASK, **GREEDY},
        "/inference/v1/generate": {"token_ids": PROMPT, "sampling_params": GREEDY},
    }
    with serving(model, tokenizer, enable_force_include_usage=True) as server:
        for path, body in bodies.items():
            assert "usage" not in plain.get(path, {**body, "stream": True})[-1]
            for more in ({}, {"stream_options": {"include_usage": False}}):
                *chunks, last = server.get(path, {**body, "stream": True, **more})
                assert last["choices"] == [] and not any(chunk.get("usage") for chunk in chunks)
                whole = server.get(path, body)["usage"]
                for usage in (last["usage"], whole):
                    del usage["prompt_tokens_details"]  # one of the two finds more in the cache
                assert last["usage"] == whole
                assert last["usage"]["completion_tokens"] == 6
        options = {"include_usage": True, "continuous_usage_stats": True}
        body = {"prompt": PROMPT, **GREEDY, "stream": True, "stream_options": options}
        assert all(chunk["usage"] for chunk in server.get("/v1/completions", body))


def test_tokens_are_named_by_id_unless_a_request_says_otherwise(
    plain: Asked, model: Transformer, tokenizer: Tokenizer
) -> None:
    body = {"messages": ASK, **GREEDY, "logprobs": True, "return_token_ids": True}

    def names(server: Asked, **more: Any) -> tuple[list[str], list[int]]:
        (choice,) = server.get("/v1/chat/completions", {**body, **more})["choices"]
        return [one["token"] for one in choice["logprobs"]["content"]], choice["token_ids"]

    with serving(model, tokenizer, return_tokens_as_token_ids=True) as server:
        shown, ids = names(server)
        assert shown == [f"token_id:{token}" for token in ids]
        assert names(server, return_tokens_as_token_ids=False) == names(plain)
        (choice,) = server.get("/v1/completions", {"prompt": PROMPT, **GREEDY, "logprobs": 1})["choices"]
        assert all(name.startswith("token_id:") for name in choice["logprobs"]["tokens"])


# ---------------------------------------------------------------- no tokenizer


def test_without_a_tokenizer_ids_come_in_and_go_out(model: Transformer) -> None:
    bare = LLM(model, kv_cache_memory_bytes=1 << 23)
    ((sample,),) = (o.outputs for o in bare.generate([PROMPT], SamplingParams(**GREEDY, logprobs=1)))
    with serving(model, None) as server:
        for stream in (False, True):
            body = {"prompt": PROMPT, **GREEDY, "logprobs": 1, "stream": stream}
            answers = server.get("/v1/completions", body)
            choices = [answer["choices"][0] for answer in (answers if stream else [answers])]
            assert [i for choice in choices for i in choice["token_ids"]] == sample.token_ids
            assert "".join(choice["text"] for choice in choices) == ""
            found = [x for choice in choices for x in choice["logprobs"]["token_logprobs"]]
            assert found == sample.token_logprobs
            tokens = [x for choice in choices for x in choice["logprobs"]["tokens"]]
            assert tokens == [f"token_id:{token}" for token in sample.token_ids]
        # An echo without text is of names and logprobs, if those are asked for.
        body = {"prompt": PROMPT, **GREEDY, "logprobs": 1, "echo": True}
        (echoed,) = server.get("/v1/completions", body)["choices"]
        assert (echoed["text"], echoed["token_ids"]) == ("", sample.token_ids)
        assert echoed["prompt_token_ids"] == PROMPT
        names = [f"token_id:{token}" for token in [*PROMPT, *sample.token_ids]]
        assert echoed["logprobs"]["tokens"] == names
        assert echoed["logprobs"]["token_logprobs"][3:] == sample.token_logprobs
        cut = server.get(
            "/v1/completions", {"prompt": [9, 9, *PROMPT], **GREEDY, "truncate_prompt_tokens": 3}
        )
        assert cut["choices"][0]["token_ids"] == sample.token_ids
        generated = server.get("/inference/v1/generate", {"token_ids": PROMPT, "sampling_params": GREEDY})
        assert generated["choices"][0]["token_ids"] == sample.token_ids
        for path, wrong in (
            ("/v1/completions", {"prompt": "a"}),
            ("/v1/chat/completions", {"messages": ASK}),
            ("/v1/responses", {"input": "a"}),
            ("/tokenize", {"prompt": "a"}),
            ("/detokenize", {"tokens": [1]}),
        ):
            assert "this server has no tokenizer: send token ids" in server.error(path, wrong), path
        for fields in ({"stop": "a"}, {"bad_words": ["a"]}, {"structured_outputs": {"regex": "a"}}):
            assert "tokenizer" in server.error("/v1/completions", {"prompt": PROMPT, **fields})
        assert server.get("/v1/models")["data"][0]["id"] == "tiny"


def test_parsers_need_a_tokenizer(model: Transformer) -> None:
    with (
        pytest.raises(MinillmError, match="has no tokenizer"),
        serving(model, None, parsers=ParserOptions(tool_call_parser="hermes")),
    ):
        pass


def test_the_command_line_has_them_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    flags = ["--enable-force-include-usage", "--return-tokens-as-token-ids"]
    flags += ["--enable-tokenizer-info-endpoint", "--allowed-origins", "*"]
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "True")
    monkeypatch.delenv("VLLM_SERVER_DEV_MODE", raising=False)
    read = tyro.cli(cli.Serve, args=["M", *flags, "--enable-lora", "--lora-modules", "a=/a"])
    options = read._options(["M"])
    assert options.enable_force_include_usage and options.return_tokens_as_token_ids
    assert options.enable_tokenizer_info_endpoint and options.allow_runtime_lora_updating
    assert not options.dev_mode and not options.trust_request_chat_template
    assert options.allowed_origins == ["*"]
    assert [one.lora_name for one in options.lora_modules] == ["a"]
    plain = tyro.cli(cli.Serve, args=["M"])._options(["M"])
    assert plain == ServerOptions(
        parsers=ParserOptions(), allow_runtime_lora_updating=True, lora_modules=[],
        allowed_origins=[], allowed_methods=["*"], allowed_headers=["*"],
    )  # fmt: skip
    monkeypatch.setattr(errors, "_noted", set())
    with caplog.at_level(logging.WARNING, "minillm"):
        tyro.cli(cli.Serve, args=["M", "--max-loras", "1", "--max-lora-rank", "8"])._options(["M"])
    assert caplog.messages == ["--max-lora-rank 8 asks for nothing here without --enable-lora"]
    with pytest.raises(MinillmError, match="--chat-template needs a tokenizer"):
        tyro.cli(cli.Serve, args=["M", "--skip-tokenizer-init", "--chat-template", "{}"])._options(["M"])
