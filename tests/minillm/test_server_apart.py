"""What may take long before a request is sampled: others go on meanwhile, and it ends."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from minillm import LLM, AsyncLLM, MinillmError, SamplingParams, Tokenizer, Transformer
from minillm.apart import process
from minillm.apart.process import Apart
from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.serve.options import ServerOptions
from minillm.serve.server import READERS, make_app
from minillm.tokenizer import jinja_templates
from minillm.tokenizer.jinja_templates import UntrustedTemplate
from tests.minillm import server_thread
from tests.minillm.test_server_options import ASK, GREEDY, PROMPT, Asked

ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TEMPLATE = "{% for m in messages %}{% for part in m.content %}[{{ part.text }}]{% endfor %}{% endfor %}"


@pytest.fixture(scope="module")
def tokenizer(demo_model_path: Path) -> Tokenizer:
    return Tokenizer.from_folder(demo_model_path)


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Transformer]) -> Transformer:
    return tiny_llama("fp32", vocab_size=49152)


@pytest.fixture(scope="module")
def server(model: Transformer, tokenizer: Tokenizer) -> Iterator[Asked]:
    llm = LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23)
    options = ServerOptions(trust_request_chat_template=True)
    with server_thread.running(make_app(llm, "tiny", options=options)) as running:
        yield Asked(running.url)


class Gate:
    """Holds whoever asks a process, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._opened, self.held = threading.Event(), threading.Semaphore(0)
        ask = Apart.ask

        def held(apart: Apart, question: Any) -> Any:
            self.held.release()
            assert self._opened.wait(60)
            return ask(apart, question)

        monkeypatch.setattr(Apart, "ask", held)
        self.open = self._opened.set


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    made.open()


CHOICE = {"structured_outputs": {"choice": ["yes"]}}
SLOW: list[tuple[str, dict[str, Any]]] = [
    ("/v1/completions", {"prompt": PROMPT, "structured_outputs": {"regex": "[ab]{7}"}}),
    (
        "/v1/chat/completions",
        {"messages": ASK, "chat_template": "{{ messages[0].content }}!", "max_tokens": 2},
    ),
    ("/tokenize", {"messages": ASK, "chat_template": "{{ messages[0].content }}?"}),
]


@pytest.mark.parametrize(("path", "body"), SLOW, ids=lambda x: x if type(x) is str else "")
def test_others_go_on_while_a_grammar_or_a_template_is_tried(
    server: Asked, path: str, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = server.get("/v1/completions", {"prompt": PROMPT, **GREEDY})["choices"]
    server.get("/v1/completions", {"prompt": PROMPT, **CHOICE})  # compiled from now on
    gate = Gate(monkeypatch)
    # More than there are threads for what others need.
    with ThreadPoolExecutor(READERS + 4) as pool:
        slow: list[Future[Any]] = [pool.submit(server.get, path, body) for _ in range(READERS + 4)]
        try:
            assert gate.held.acquire(timeout=60)
            assert server.get("/v1/completions", {"prompt": PROMPT, **GREEDY})["choices"] == expected
            streamed = server.get("/v1/completions", {"prompt": PROMPT, **GREEDY, "stream": True})
            assert "".join(event["choices"][0]["text"] for event in streamed) == expected[0]["text"]
            assert server.get("/v1/chat/completions", {"messages": ASK, **GREEDY})["choices"]
            assert server.get("/v1/responses", {"input": "a", "max_output_tokens": 2})["status"]
            chosen = server.get("/v1/completions", {"prompt": PROMPT, **CHOICE})
            assert chosen["choices"][0]["text"] == "yes"
            assert server.get("/tokenize", {"messages": ASK})["count"] > 0
            assert server.get("/load") == {"server_load": len(slow)}
            assert not any(one.done() for one in slow)
        finally:
            gate.open()
        found = [one.result(timeout=60) for one in slow]
    if path == "/tokenize":
        assert server.get("/detokenize", {"tokens": found[0]["tokens"]}) == {"prompt": "Name a colour.?"}
    elif path == "/v1/completions":
        assert {len(one["choices"][0]["text"]) for one in found} == {7}


def test_a_client_that_leaves_waits_no_longer(server: Asked, gate: Gate) -> None:
    import http.client

    connection = http.client.HTTPConnection(server._place, timeout=30)
    body = json.dumps({"prompt": PROMPT, "structured_outputs": {"regex": "[cd]{9}"}})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    assert gate.held.acquire(timeout=60)
    assert server.get("/load") == {"server_load": 1}
    connection.close()
    for _ in range(3000):
        if server.get("/load") == {"server_load": 0}:
            return
    raise AssertionError("it is still there")


def test_an_async_llm_goes_on_too(model: Transformer, tokenizer: Tokenizer, gate: Gate) -> None:
    llm = LLM(model, tokenizer, kv_cache_memory_bytes=1 << 23)
    structure = StructuredOutputsParams(choice=["no"])

    async def text(engine: AsyncLLM, name: str, **more: Any) -> str:
        params = SamplingParams(**GREEDY, **more)
        *_, last = [x async for x in engine.generate("Is it?", params, name)]
        return last.outputs[0].text

    async def main() -> None:
        async with AsyncLLM(llm) as engine:
            held = asyncio.create_task(text(engine, "a", structured_outputs=structure))
            assert await asyncio.to_thread(gate.held.acquire, timeout=60)
            assert await text(engine, "b") == await text(engine, "c")
            assert not held.done()
            gate.open()
            assert await held == "no"
            with pytest.raises(MinillmError, match="unclosed group"):
                await text(engine, "d", structured_outputs=StructuredOutputsParams(regex="("))

    asyncio.run(main())


# ---------------------------------------------------------------- templates of requests


def test_a_template_without_an_end_is_ended(server: Asked) -> None:
    for path, more in (("/tokenize", {}), ("/v1/chat/completions", {"max_tokens": 1})):
        message = server.error(path, {"messages": ASK, "chat_template": ENDLESS, **more})
        assert "it takes more than 3 s, a gigabyte or a deep stack to lay out the messages" in message
    message = server.error("/tokenize", {"messages": ASK, "chat_template": "{{ 'a' * 10**10 }}"})
    assert message.startswith("chat_template refuses the messages: ")
    assert server.get("/tokenize", {"messages": ASK, "chat_template": "a b"})["count"] == 2


def test_a_template_of_a_request_gives_what_it_gives_here(server: Asked, tokenizer: Tokenizer) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "Ωa"}, {"type": "text", "text": "b"}]}]
    for template in (TEMPLATE, "{{ messages[0].content }}|{{ bos_token }}|{{ x }}{{ tools | tojson }}"):
        tools = [{"type": "function", "function": {"name": "f"}}]
        body = {"messages": messages, "chat_template": template, "chat_template_kwargs": {"x": [1, None]}}
        ids = server.get("/tokenize", {**body, "tools": tools})["tokens"]
        here = tokenizer.chat_text(messages, template, tools=tools, x=[1, None])
        apart = tokenizer.chat_text(messages, UntrustedTemplate(template), tools=tools, x=[1, None])
        assert tokenizer.decode(ids, skip_special_tokens=False) == here == apart
    for template in ("{% if %}", "{{ raise_exception('no') }}", "{{ messages[9].a.b }}"):
        errors = set()
        for text in (template, UntrustedTemplate(template)):
            with pytest.raises(MinillmError) as error:
                tokenizer.chat_text(messages, text)
            errors.add(str(error.value))
        assert len(errors) == 1


def test_a_process_that_dies_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noting(*args: Any, **options: Any) -> Any:
        started.append(popen(*args, **options))
        return started[-1]

    monkeypatch.setattr(process.subprocess, "Popen", noting)
    apart = Apart(jinja_templates.__file__)
    question = {"template": "{{ a }}", "variables": {"a": 5}}
    assert apart.ask(question) == {"text": "5"}
    assert apart.ask({"template": TEMPLATE}) == {"reads": True}
    started[0].kill()
    started[0].wait()
    assert apart.ask(question) == {"text": "5"}
    assert len(started) == 2 and sys.executable in started[1].args
