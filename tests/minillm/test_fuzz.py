"""The server under requests that nobody sane would send: no 5xx, nothing left running, memory flat.

MINILLM_FUZZ=2000 is how much is sent: that many bodies and queries made by hand, and by schemathesis a
twentieth of it for each path, of values that fit the description and of values that do not: some 4,400
requests in three minutes. By default it is a tenth, to be quick.
"""

from __future__ import annotations

import copy
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from minillm import Transformer, save_model

ROOT = Path(__file__).parents[2]
HAND_MADE = int(os.environ.get("MINILLM_FUZZ", "200"))
GENERATED = max(2, HAND_MADE // 20)  # for each path, fitting or not
MOST_GROWTH = 32 << 20  # bytes, from after the warm-up on; most of it is of what stays of /v1/responses

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 2**31, 2**33, 2**63, 2**70, -(2**70), 10**400, 0.5, -0.0, 1e308, 1e-320,
    float("nan"), float("inf"), "", "a", " ", "\n", "\ud800", "\x00", "é" * 50, "\U0001f600", "[", "\\",
    "{{", "{%",
    "{{ messages[0].x.y }}", "</think>", "<tool_call>", "a" * 2000, [], [[]], [None], [0], [-1], [2**70],
    [1, "a"], [[1], "a"], ["\ud800"], [""], {}, {"a": 1}, {"": {}}, {"1": 5}, {"-1": 5}, {"\ud800": 1},
    {"99999999999999999999": 1}, {"type": "text"}, {"type": "json_schema"}, {"json": {}}, {"regex": "("},
    {"regex": "(a{9999}){9999}"}, {"grammar": "root ::= root"}, {"choice": []}, {"choice": ["\ud800", ""]},
    {"json": {"$ref": "#"}}, {"json": {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}},
    {"path": "/nowhere"}, {"path": "\x00"}, "~nobody", [{"role": 1}], [{}],
    [{"role": "user", "content": "a"}],
    [{"role": "user", "content": [{"type": "text", "text": "\ud800"}]}],
]  # fmt: skip
for depth in (50, 99, 300):
    nested: Any = 1
    for _ in range(depth):
        nested = [nested] if depth % 2 else {"items": nested}
    ODD.append(nested)

BODIES = [
    b"", b"{", b"[]", b"null", b"5", b"\xff\xfe", b'"\xed\xa0\x80"', b"[" * 50_000, b'{"a":' * 5_000,
    b"1" * 5000, b"{}" * 2, b'{"prompt": "a", "prompt": "b"}', b'{"prompt": NaN}', b'{"temperature": 1e999}',
    b"\xef\xbb\xbf{}",
    '{"prompt": "a"}'.encode("utf-16"), b'{"prompt": ' + b"9" * 4400 + b"}",
]  # fmt: skip
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Tell it", "parameters": PARAMETERS}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}
# By path, bodies that are right, of which each part is replaced in turn.
SEEDS: dict[str, list[dict[str, Any]]] = {
    "/v1/completions": [
        {"prompt": "a", "max_tokens": 2, "stop": ["b"], "logit_bias": {"5": 1}, "logprobs": 1, "echo": True},
        {"prompt": [[1, 2], [3]], "max_tokens": 2, "stream": True, "stream_options": {"include_usage": True}},
        {"prompt": "a", "max_tokens": 2, "structured_outputs": {"json": PARAMETERS}, "seed": 1, "n": 2},
        {"prompt": "a", "max_tokens": 2, "allowed_token_ids": [5], "bad_words": ["b"], "prompt_logprobs": 1},
        {
            "prompt": ["a", [1, 2]], "max_tokens": 3, "use_beam_search": True, "n": 3, "length_penalty": 0.5,
            "logprobs": 1, "guided_choice": ["a", "b"],
        },
    ],
    "/v1/chat/completions": [
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}]},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "content": "fine", "tool_call_id": "call_1"},
            ],
            "max_tokens": 2, "tools": [{"type": "function", "function": FUNCTION}], "tool_choice": "auto",
        },
        {
            "messages": [{"role": "user", "content": "a"}], "max_tokens": 2, "logprobs": True,
            "top_logprobs": 2,
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": PARAMETERS}},
        },
        {
            "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            "max_tokens": 2, "stream": True, "add_generation_prompt": False, "continue_final_message": True,
            "echo": True,
            "chat_template": "{{ messages[0].content }}", "chat_template_kwargs": {"x": 1},
        },
        {
            "messages": [{"role": "user", "content": "a"}], "max_tokens": 2, "stream": True,
            "tools": [{"type": "function", "function": FUNCTION}],
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
        },
    ],
    "/v1/responses": [
        {"input": "a", "max_output_tokens": 2, "stream": True, "instructions": "b"},
        {
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}],
            "max_output_tokens": 2,
            "tools": [{"type": "function", **FUNCTION}], "tool_choice": "auto", "metadata": {"a": "b"},
            "text": {"format": {"type": "json_schema", "name": "a", "schema": PARAMETERS}},
        },
        {"input": [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "a"}]},
    ],
    "/invocations": [{"prompt": "a", "max_tokens": 2}, {"messages": [{"role": "user", "content": "a"}]}],
    "/inference/v1/generate": [{"token_ids": [1, 2], "sampling_params": {"max_tokens": 2, "logprobs": 1}}],
    "/tokenize": [
        {"prompt": "a", "add_special_tokens": True, "return_token_strs": True},
        {
            "messages": [{"role": "user", "content": "a"}],
            "tools": [{"type": "function", "function": FUNCTION}],
        },
    ],
    "/detokenize": [{"tokens": [1, 2, 3]}],
    "/update_weights": [{"update_info": {"path": "/nowhere"}}],
    "/v1/load_lora_adapter": [{"lora_name": "a", "lora_path": "/nowhere", "load_inplace": True}],
    "/v1/unload_lora_adapter": [{"lora_name": "a", "lora_int_id": 1}],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(
    tiny_llama: Callable[..., Transformer], demo_model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    made = tmp_path_factory.mktemp("fuzz") / "tiny"
    save_model(tiny_llama("fp32", vocab_size=49152), made)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(demo_model_path / name, made)
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    """`minillm serve` in a process of its own, and its address."""
    command = [sys.executable, "-m", "minillm", "serve", str(folder), "--served-model-name", "tiny"]
    command += ["--port", "0", "--kv-cache-memory-bytes", "8388608"]
    command += ["--trust-request-chat-template", "--server-dev-mode", "--enable-lora"]
    command += ["--enable-tokenizer-info-endpoint"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1].removesuffix("/v1")
            for _ in range(10):  # what is made once has been made, when memory is looked at
                for path, bodies in SEEDS.items():
                    for body in bodies:
                        send(url, "POST", path, json.dumps(body).encode())
            longest = {"prompt": "a" * 2000, "prompt_logprobs": 1, "max_tokens": 2}
            assert send(url, "POST", "/v1/completions", json.dumps(longest).encode())[0] == 200
            yield psutil.Process(process.pid), url
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


@pytest.fixture
def url(server: tuple[psutil.Process, str]) -> str:
    return server[1]


def send(url: str, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def description(url: str) -> dict[str, Any]:
    return dict(json.loads(send(url, "GET", "/openapi.json")[1])["paths"])


def go_on(url: str) -> None:
    """Undo what a request may have stopped."""
    assert send(url, "POST", "/wake_up")[0] == send(url, "POST", "/resume")[0] == 200


def assert_idle(url: str) -> None:
    go_on(url)
    gauges = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
    left = [f'vllm:{name}{{model_name="tiny"}} 0.0' for name in gauges]
    for _ in range(500):  # those who hung up
        text, load = send(url, "GET", "/metrics")[1].decode(), json.loads(send(url, "GET", "/load")[1])
        if all(line in text for line in left) and load == {"server_load": 0}:
            return
        time.sleep(0.01)
    raise AssertionError(f"something is left: {load}, {text}")


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key or index) of a JSON value."""
    found: list[tuple[Any, Any]] = []
    within = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
    for key, inner in within:
        found += [(value, key), *places(inner)]
    return found


def mutated(rng: random.Random, body: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    """A right body with one to three of its parts, or of the other fields, replaced or left out."""
    body = copy.deepcopy(body)
    for _ in range(rng.choice([1, 1, 2, 3])):
        within, key = rng.choice(places(body) or [(body, rng.choice(fields))])
        match rng.random():
            case x if x < 0.25:
                body[rng.choice(fields)] = copy.deepcopy(rng.choice(ODD))
            case x if x < 0.35 and type(within) is dict:
                within.pop(key, None)
            case x if x < 0.45 and type(within) is list:
                within *= 2
            case _:
                within[key] = copy.deepcopy(rng.choice(ODD))
    return body


def assert_sane(sent: object, status: int, text: bytes) -> None:
    """No fault of the server's, and an error as OpenAI's clients know it."""
    assert status < 500, (sent, status, text)
    assert b'"server_error"' not in text, (sent, text)
    if status >= 400:
        (error,) = json.loads(text).values()
        assert error.keys() == {"message", "type", "param", "code"}, (sent, text)
        assert error["message"] and "\n" not in error["message"], (sent, text)


@pytest.fixture(autouse=True)
def nothing_stays(server: tuple[psutil.Process, str]) -> Iterator[None]:
    """After each test nothing runs, and memory is what it was."""
    process, url = server
    start = process.memory_info().rss
    yield
    assert_idle(url)
    grown = process.memory_info().rss - start
    print(f"memory {start >> 20} MiB, grown by {grown >> 10} KiB")
    assert grown < MOST_GROWTH


def test_hostile_requests_by_hand(url: str) -> None:
    rng, statuses = random.Random(0), Counter[int]()
    operations = [
        (method.upper(), path, operation)
        for path, methods in description(url).items()
        for method, operation in methods.items()
    ]
    bodies = [(path, operation) for _, path, operation in operations if "requestBody" in operation]
    assert set(SEEDS) <= {path for path, _ in bodies}
    for i in range(HAND_MADE):
        if i % 5:
            path, operation = rng.choice(bodies)
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            body = mutated(rng, rng.choice(SEEDS.get(path, [{}])), sorted(schema["properties"]))
            method, data = rng.choice(["POST"] * 9 + ["PUT"]), json.dumps(body).encode()
            if i % 10 == 9:
                data = rng.choice([*BODIES, data[: rng.randrange(len(data))]])
        else:
            method, path, operation = rng.choice(operations)
            path = path.replace("{name}", rng.choice(["tiny", "resp_1", "%00", "a/b", "%ff"]))
            names = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
            if names or rng.random() < 0.3:
                values = [
                    "",
                    "true",
                    "1",
                    "-1",
                    "9" * 5000,
                    "%ff",
                    "%00",
                    "abort",
                    "kv_cache",
                    "%C3%A9",
                ]
                path += f"?{rng.choice([*names, 'x', ''])}={rng.choice(values)}"
            method = rng.choice([method, method, "DELETE", "OPTIONS"])
            data = rng.choice(BODIES)
        kind = rng.choice(["application/json"] * 30 + ["text/plain", "", "application/json; charset=x"])
        status, text = send(url, method, path, data, **{"Content-Type": kind, "x-request-id": "é"})
        assert_sane((method, path, data[:2000]), status, text)
        statuses[status] += 1
        if i % 5 == 0:
            go_on(url)
    print(f"{HAND_MADE} requests by hand: {dict(statuses)}")
    assert statuses[200] > HAND_MADE // 20 and statuses[400] > HAND_MADE // 5


def test_bytes_that_are_no_http_and_clients_that_leave(url: str) -> None:
    host = urlsplit(url)
    body = json.dumps({"prompt": "a", "max_tokens": 200, "ignore_eos": True, "stream": True}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    for sent in (
        b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 100, b"GET " + b"/a" * 50_000,
        head + b"X: " + b"a" * 100_000 + b"\r\n\r\n", head + b"Content-Length: -5\r\n\r\n",
        head + b"Content-Length: 9\r\nContent-Length: 8\r\n\r\n{}", chunked + b"zz\r\n{}\r\n0\r\n\r\n",
        chunked + b"2\r\n{}\r\n", head + b"Content-Length: 500\r\n\r\n{",
        b"GET /%zz%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        *[head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body] * 8,
    ):  # fmt: skip
        with socket.create_connection((host.hostname, host.port), timeout=30) as client:
            client.sendall(sent)
            client.settimeout(0.2)
            try:
                answer = client.recv(1000)
            except (TimeoutError, ConnectionError):
                continue  # it waits for more, or has gone
            assert not answer.startswith(b"HTTP/1.1 5"), (sent[:100], answer)


def test_what_the_description_allows_and_forbids(url: str) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.specs.openapi import checks as rules

    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    checks = [
        rules.status_code_conformance, rules.content_type_conformance, rules.response_schema_conformance,
        rules.negative_data_rejection,
    ]  # fmt: skip
    statuses = Counter[int]()
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    for operation in [found.ok() for found in schema.get_all_operations()]:
        for mode in modes:

            @given(case=operation.as_strategy(mode))
            @settings(
                max_examples=GENERATED, derandomize=True, database=None, deadline=None,
                suppress_health_check=list(HealthCheck), phases=[Phase.generate],
            )  # fmt: skip
            def no_fault(case: Any) -> None:
                if isinstance(case.body, dict) and type(case.body.get("max_tokens")) is int:
                    case.body["max_tokens"] = min(case.body["max_tokens"], 2)
                response = case.call(timeout=60)
                assert_sane(case.as_curl_command()[:2000], response.status_code, response.content)
                case.validate_response(response, checks=checks)
                statuses[response.status_code] += 1
                if case.operation.path in ("/pause", "/sleep"):
                    go_on(url)

            with nullcontext() if mode is modes[0] else suppress(Unsatisfiable):  # where anything fits
                no_fault()
    print(f"{statuses.total()} requests of the description: {dict(statuses)}")
