"""A trainer in another process: pause, sleep, and new weights, while requests run."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from safetensors.torch import load_file, save_file

from minillm import LLM, MinillmError, RequestOutput, SamplingParams, Transformer, save_model
from minillm.async_llm import AsyncLLM
from minillm.serve.control import Control
from minillm.serve.protocol import ApiError

ROOT = Path(__file__).parents[2]
PROMPT = [5, 17, 3]


def params(tokens: int) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)


async def ask(llm: AsyncLLM, tokens: int) -> RequestOutput:
    async with llm.requests([PROMPT], params(tokens)) as outputs:
        *_, (_, last) = [pair async for pair in outputs]
    return last


@pytest.mark.parametrize(("mode", "reason"), [("abort", "abort"), ("wait", "length"), ("keep", "length")])
def test_what_becomes_of_requests_in_a_pause(
    tiny_llama: Callable[..., Transformer], mode: str, reason: str
) -> None:
    llm = LLM(tiny_llama(), kv_cache_memory_bytes=1 << 22)
    (expected,) = LLM(llm.model, kv_cache_memory_bytes=1 << 22).generate([PROMPT], params(300))

    async def run() -> None:
        async with AsyncLLM(llm) as served:
            running = asyncio.create_task(ask(served, 300))
            while not await served.call(LLM.has_unfinished_requests):
                await asyncio.sleep(0)
            await served.pause_generation(mode)
            assert await served.is_paused()
            waiting = asyncio.create_task(ask(served, 4))
            steps = await served.call(lambda one: one._metrics.steps)
            await asyncio.sleep(0.2)
            assert await served.call(lambda one: one._metrics.steps) == steps
            assert not waiting.done()
            assert await served.call(LLM.has_unfinished_requests) == (mode == "keep")
            await served.resume_generation()
            output = (await running).outputs[0]
            assert output.finish_reason == reason
            assert output.token_ids == expected.outputs[0].token_ids[: len(output.token_ids)]
            assert (await waiting).outputs[0].token_ids == expected.outputs[0].token_ids[:4]

    asyncio.run(run())


def test_new_weights_come_whole_or_not_at_all(tiny_llama: Callable[..., Transformer], tmp_path: Path) -> None:
    model, other = tiny_llama(), tiny_llama()
    with torch.no_grad():
        for w in other.weights():
            w.mul_(0.5)
    save_model(other, tmp_path / "new")
    save_model(tiny_llama(intermediate_size=64), tmp_path / "wider")
    save_model(other, tmp_path / "cut")
    weights = next((tmp_path / "cut").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    llm = LLM(model, kv_cache_memory_bytes=1 << 22)
    (before,) = llm.generate([PROMPT], params(20))
    (after,) = LLM(other, kv_cache_memory_bytes=1 << 22).generate([PROMPT], params(20))

    async def run() -> None:
        async with AsyncLLM(llm) as served:
            trainer = Control(served)

            async def update(name: str) -> None:
                await trainer.update_weights({"update_info": {"path": str(tmp_path / name)}})

            for name in ("wider", "cut", "nowhere"):
                with pytest.raises(MinillmError):
                    await update(name)
                assert (await ask(served, 20)).outputs[0].token_ids == before.outputs[0].token_ids
            running = asyncio.create_task(ask(served, 400))
            while not await served.call(LLM.has_unfinished_requests):
                await asyncio.sleep(0)
            await trainer.pause({"mode": "keep"})
            with pytest.raises(ApiError) as refused:
                await update("new")
            assert refused.value.status == 409
            await trainer.pause({"mode": "abort"})
            assert (await running).outputs[0].finish_reason == "abort"
            await update("new")
            await trainer.resume({})
            assert (await ask(served, 20)).outputs[0].token_ids == after.outputs[0].token_ids
            assert await trainer.sleep({}) == {"is_sleeping": True}
            assert await trainer.wake_up({"tags": ["kv_cache"]}) == {"is_sleeping": False}
            assert (await ask(served, 20)).outputs[0].token_ids == after.outputs[0].token_ids

    asyncio.run(run())
    assert all(torch.equal(a, b) for a, b in zip(model.weights(), other.weights(), strict=True))


# ---------------------------------------------------------------- from another process, over HTTP


@pytest.fixture(scope="module")
def folders(
    tiny_llama: Callable[..., Transformer], demo_model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folders "old" and "new" of one model before and after an update, and some that do not fit it."""
    made = tmp_path_factory.mktemp("trainer")
    sizes = {"vocab_size": 49152}
    model = tiny_llama("fp32", **sizes)
    save_model(model, made / "old")
    save_model(tiny_llama("fp32", **sizes, intermediate_size=64), made / "wider")
    with torch.no_grad():
        for w in model.weights():
            w.add_(torch.randn(w.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    for name in ("new", "cut", "torn", "extra", "words"):
        save_model(model, made / name)
    weights = {name: made / name / "model.safetensors" for name in ("cut", "torn", "extra")}
    weights["cut"].write_bytes(weights["cut"].read_bytes()[:-100])
    tensors = load_file(weights["torn"])
    save_file({name: x for name, x in tensors.items() if name != "model.norm.weight"}, weights["torn"])
    save_file({**tensors, "model.more": torch.ones(3)}, weights["extra"])
    (made / "words" / "config.json").write_text("{")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(demo_model_path / name, made / "old")
    return made


class Trainer:
    """A client of a server in another process."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url).netloc

    def ask(self, method: str, path: str, body: Any = None, key: str = "k") -> tuple[int, Any]:
        """Status and JSON; of a stream, its events."""
        connection = http.client.HTTPConnection(self._place, timeout=60)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.getheader("content-type") == "application/json":
            return answer.status, json.loads(text)
        lines = [
            line.removeprefix("data: ") for line in text.split("\n\n") if line not in ("", "data: [DONE]")
        ]
        return answer.status, [json.loads(line) for line in lines]

    def sample(self, tokens: int, **more: Any) -> dict[str, Any]:
        body = {"prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "logprobs": 0}
        status, answer = self.ask("POST", "/v1/completions", {**body, "return_token_ids": True, **more})
        assert status == 200, answer
        return dict(answer)

    def sample_events(self, tokens: int) -> list[dict[str, Any]]:
        body = {"prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
        status, events = self.ask("POST", "/v1/completions", {**body, "return_token_ids": True})
        assert status == 200, events
        return list(events)

    def logprobs(self, tokens: int) -> tuple[list[int], list[float]]:
        (choice,) = self.sample(tokens)["choices"]
        return choice["token_ids"], choice["logprobs"]["token_logprobs"]

    def running(self) -> int:
        connection = http.client.HTTPConnection(self._place, timeout=60)
        connection.request("GET", "/metrics", headers={"Authorization": "Bearer k"})
        text = connection.getresponse().read().decode()
        connection.close()
        line = next(x for x in text.splitlines() if x.startswith("vllm:num_requests_running{"))
        return int(float(line.split()[-1]))

    def wait_until(self, holds: Callable[[], bool]) -> None:
        for _ in range(3000):
            if holds():
                return
            time.sleep(0.01)
        raise AssertionError("it did not come to hold")


@pytest.fixture(scope="module")
def trainer(folders: Path) -> Iterator[Trainer]:
    command = [sys.executable, "-m", "minillm", "serve", str(folders / "old"), "--port", "0"]
    command += ["--kv-cache-memory-bytes", "8388608", "--server-dev-mode"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "VLLM_API_KEY": "k"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Trainer(process.stdout.readline().split()[-1])
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


def expected(folder: Path, tokens: int) -> tuple[list[int], list[float]]:
    llm = LLM(folder, skip_tokenizer_init=True, kv_cache_memory_bytes=1 << 23)
    params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, logprobs=0, detokenize=False)
    (sample,) = llm.generate([PROMPT], params)[0].outputs
    return sample.token_ids, sample.token_logprobs or []


def test_trainers_need_the_key(trainer: Trainer) -> None:
    for path in ("/pause", "/resume", "/sleep", "/wake_up", "/reset_prefix_cache", "/update_weights"):
        status, answer = trainer.ask("POST", path, {"update_info": {"path": "/"}}, key="wrong")
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    for path in ("/is_paused", "/is_sleeping"):
        assert trainer.ask("GET", path, key="")[0] == 401
    assert trainer.ask("GET", "/is_paused") == (200, {"is_paused": False})


def test_a_stream_is_held_by_a_pause_and_goes_on(trainer: Trainer, folders: Path) -> None:
    tokens, _ = expected(folders / "old", 400)
    with ThreadPoolExecutor(2) as pool:
        stream = pool.submit(trainer.sample_events, 400)
        trainer.wait_until(lambda: trainer.running() == 1)
        assert trainer.ask("POST", "/pause?mode=keep") == (200, {"status": "paused"})
        assert trainer.ask("GET", "/is_paused") == (200, {"is_paused": True})
        later = pool.submit(trainer.sample, 3)
        body = {"update_info": {"path": str(folders / "new")}}
        status, answer = trainer.ask("POST", "/update_weights", body)
        assert status == 409 and "pause with mode=wait" in answer["error"]["message"]
        assert trainer.running() == 1 and not stream.done() and not later.done()
        assert trainer.ask("POST", "/resume") == (200, {"status": "resumed"})
        assert [i for event in stream.result() for i in event["choices"][0]["token_ids"]] == tokens
        assert later.result()["choices"][0]["token_ids"] == tokens[:3]


def test_what_runs_ends_with_a_pause_or_before_it(trainer: Trainer, folders: Path) -> None:
    tokens, _ = expected(folders / "old", 400)
    with ThreadPoolExecutor(2) as pool:
        for query, reason in (
            ("", "abort"),
            ("?mode=wait", "length"),
            ("?wait_for_inflight_requests=true", "length"),
        ):
            runs = pool.submit(trainer.sample, 400)
            trainer.wait_until(lambda: trainer.running() == 1)
            assert trainer.ask("POST", f"/pause{query}")[0] == 200
            (choice,) = runs.result()["choices"]
            assert choice["finish_reason"] == reason
            assert choice["token_ids"] == tokens[: len(choice["token_ids"])]
            waits = pool.submit(trainer.sample, 2)
            assert trainer.ask("POST", "/resume")[0] == 200
            assert waits.result()["choices"][0]["token_ids"] == tokens[:2]
    status, answer = trainer.ask("POST", "/pause?mode=never")
    assert (status, answer["error"]["param"]) == (400, "mode")
    assert trainer.ask("GET", "/is_paused") == (200, {"is_paused": False})


def test_prefixes_are_forgotten_and_memory_is_given_back(trainer: Trainer) -> None:
    def cached() -> int:
        usage = trainer.sample(1, prompt=[i % 90 for i in range(200)])["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    cached()
    assert cached() > 0
    assert trainer.ask("POST", "/reset_prefix_cache") == (200, {"success": True})
    assert cached() == 0
    before = trainer.logprobs(20)
    assert trainer.ask("POST", "/sleep?level=1&mode=wait") == (200, {"is_sleeping": True})
    assert trainer.ask("GET", "/is_sleeping") == (200, {"is_sleeping": True})
    assert trainer.running() == 0  # counted while it sleeps too
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(trainer.logprobs, 20)
        assert trainer.ask("POST", "/wake_up?tags=weights") == (200, {"is_sleeping": True})
        assert trainer.ask("POST", "/wake_up?tags=kv_cache") == (200, {"is_sleeping": False})
        assert waits.result() == before
    assert cached() == 0
    status, answer = trainer.ask("POST", "/sleep?level=2")
    assert (status, answer["error"]["param"]) == (400, "level")


def test_new_weights_give_the_bits_of_an_llm_that_is_loaded_from_them(
    trainer: Trainer, folders: Path
) -> None:
    old, new = expected(folders / "old", 60), expected(folders / "new", 60)
    assert old != new
    assert trainer.logprobs(60) == old
    with ThreadPoolExecutor(4) as pool:
        for name in ("wider", "cut", "torn", "extra", "words", "nowhere"):
            # Requests beside it are answered by the weights that were there.
            beside = [pool.submit(trainer.logprobs, 60) for _ in range(3)]
            status, answer = trainer.ask(
                "POST", "/update_weights", {"update_info": {"path": str(folders / name)}}
            )
            assert status in (400, 409), (name, answer)
            assert all(one.result() == old for one in beside), name
            status, answer = trainer.ask(
                "POST", "/update_weights", {"update_info": {"path": str(folders / name)}}
            )
            assert status == 400 and str(folders / name) in answer["error"]["message"], (name, answer)
            assert trainer.logprobs(60) == old, name
        for wrong in ({}, {"path": "old"}, {"path": 5}, {"path": str(folders / "new"), "more": 1}):
            status, answer = trainer.ask("POST", "/update_weights", {"update_info": wrong})
            assert (status, answer["error"]["param"]) == (400, "update_info"), wrong
        beside = [pool.submit(trainer.logprobs, 60) for _ in range(3)]
        assert trainer.ask("POST", "/pause?mode=wait")[0] == 200
        assert (
            trainer.ask("POST", "/update_weights", {"update_info": {"path": str(folders / "new")}})[0] == 200
        )
        later = [pool.submit(trainer.logprobs, 60) for _ in range(3)]
        assert trainer.ask("POST", "/resume")[0] == 200
        assert all(one.result() in (old, new) for one in beside)
        assert all(one.result() == new for one in later)
    assert trainer.logprobs(60) == new
    assert trainer.ask("POST", "/update_weights", {"update_info": {"path": str(folders / "old")}})[0] == 200
    assert trainer.logprobs(60) == old
