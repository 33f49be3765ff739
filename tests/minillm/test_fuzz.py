"""The server under requests that nobody sane would send: no 5xx, nothing left running, memory flat."""

from __future__ import annotations

import http.client
import json
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from hypothesis import HealthCheck, given, settings

from minillm import LLM, Tokenizer, Transformer
from minillm.serve import server as serving

HAND_MADE, GENERATED = 1400, 100  # of the second so many for each operation
MOST_GROWTH = 64 << 20  # bytes, after a warm-up of a quarter of the requests

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**33, 2**63, 2**70, -(2**70), 0.5, -0.0, 1e308, float("nan"),
    float("inf"), "", "a", "\ud800", "\x00", "é" * 50, "[", "\\", [], [[]], [None], [0], [-1], [2**70],
    [1, "a"],
    [[1], "a"],
    {}, {"a": 1}, {"": {}}, {"1": 5}, {"-1": 5}, {"type": "text"}, {"type": "json_schema"},
    {"json": {}}, {"regex": "("}, {"choice": []}, {"path": "/nowhere"}, [{"role": "user", "content": "a"}],
    [{"role": "user", "content": [{"type": "text", "text": "a"}]}], [{"role": 1}], [{}],
]  # fmt: skip
BODIES = [
    b"", b"{", b"[]", b"null", b"\xff\xfe", b'"\xed\xa0\x80"', b"[" * 50_000, b'{"a":' * 5_000, b"1" * 5000,
    b"{}" * 2,
]  # fmt: skip


@pytest.fixture(scope="module")
def url(tiny_llama: Callable[..., Transformer], demo_model_path: Any) -> Iterator[str]:
    model = tiny_llama("fp32", vocab_size=49152)
    llm = LLM(model, Tokenizer.from_folder(demo_model_path), kv_cache_memory_bytes=1 << 23)
    options = serving.ServerOptions(trust_request_chat_template=True, dev_mode=True)
    with serving.bind("127.0.0.1", 0) as listener:
        listener.listen()
        found = serving.url(listener)
        server = serving.make_server(serving.make_app(llm, "tiny", options=options), 5)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield found
        finally:
            server.should_exit = True
            thread.join()


def send(url: str, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def schemas(url: str) -> dict[str, dict[str, Any]]:
    """By path, what a body may hold."""
    _, text = send(url, "GET", "/openapi.json")
    return {
        path: operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
        for path, methods in json.loads(text)["paths"].items()
        for operation in methods.values()
        if "requestBody" in operation
    }


def assert_idle(url: str) -> None:
    assert send(url, "POST", "/resume")[0] == 200
    assert send(url, "POST", "/wake_up")[0] == 200
    text = send(url, "GET", "/metrics")[1].decode()
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
        assert f'vllm:{name}{{model_name="tiny"}} 0.0' in text
    assert json.loads(send(url, "GET", "/load")[1]) == {"server_load": 0}


def test_hostile_requests_by_hand(url: str) -> None:
    rng, process = random.Random(0), psutil.Process()
    fields, start = schemas(url), 0
    seeds: dict[str, dict[str, Any]] = {
        "/v1/completions": {"prompt": "a", "max_tokens": 2},
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2},
        "/inference/v1/generate": {"token_ids": [1], "sampling_params": {"max_tokens": 2}},
    }
    for i in range(HAND_MADE):
        path = rng.choice(sorted(fields))
        body = dict(seeds.get(path, {}))
        for name in rng.sample(sorted(fields[path]), rng.randint(1, min(3, len(fields[path])))):
            body[name] = rng.choice(ODD)
        data = rng.choice(BODIES) if i % 10 == 0 else json.dumps(body).encode()
        status, text = send(url, rng.choice(["POST"] * 9 + ["PUT"]), path, data)
        assert status < 500, (path, body, text)
        assert b'"server_error"' not in text, (path, body, text)
        if i == HAND_MADE // 4:
            start = process.memory_info().rss
    assert process.memory_info().rss - start < MOST_GROWTH
    assert_idle(url)


def test_what_the_description_allows_and_forbids(url: str) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    for found in schema.get_all_operations():
        operation = found.ok()
        # What stops the server on purpose is for other tests; the rest goes on while it is paused.
        if operation.path in ("/pause", "/sleep"):
            continue

        @given(case=operation.as_strategy())
        @settings(
            max_examples=GENERATED, derandomize=True, database=None, deadline=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def no_fault(case: Any) -> None:
            if isinstance(case.body, dict) and "max_tokens" in case.body:
                case.body["max_tokens"] = 2
            assert case.call(timeout=30).status_code < 500

        no_fault()
    assert_idle(url)
