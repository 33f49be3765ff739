"""A trainer in another process: pause, sleep, and new weights, while requests run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minillm import LLM, MinillmError, RequestOutput, SamplingParams, Transformer, save_model
from minillm.async_llm import AsyncLLM
from minillm.serve.control import Control
from minillm.serve.protocol import ApiError

PROMPT = [5, 17, 3]


def params(tokens: int) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)


async def ask(llm: AsyncLLM, tokens: int) -> RequestOutput:
    async with llm.requests(lambda _: [PROMPT], params(tokens)) as outputs:
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
