"""Adapters served a request each: the merged model's bits whatever shares the batch, and what is refused."""

from __future__ import annotations

import asyncio
import json
import random
import runpy
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from minillm import (
    LLM,
    AsyncLLM,
    LoRARequest,
    MinillmError,
    RequestOutput,
    SamplingParams,
    Tokenizer,
    Transformer,
    save_model,
    token_logprobs,
)
from minillm.api.sampling_params import BeamSearchParams, RequestOutputKind
from minillm.api.structured_outputs import StructuredOutputsParams
from minillm.checkpoint.peft import files as peft_files
from minillm.lora import LoRA
from minillm.model.kv_cache import KVCache
from minillm.parity import compare
from minillm.serve.control import Control
from minillm.serve.tool_use import ToolUse

script = runpy.run_path(str(Path(__file__).with_name("test_parity.py")))
small_llm, prompts_of, is_parity = script["small_llm"], script["prompts_of"], script["is_parity"]
adamw_step, tokens_of = script["adamw_step"], script["tokens_of"]

MakeModel = Callable[..., Transformer]


def write(
    folder: Path, model: Transformer, seed: int, rank: int = 3, targets: Any = ("qkv", "o", "down")
) -> str:
    """An adapter's folder; the model is left as it was."""
    lora = LoRA(model, rank, 5.0, targets, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adapter in lora.adapters.values():
            adapter.B_RN.copy_(0.2 * torch.randn(adapter.B_RN.shape, generator=generator))
    lora.save(folder)
    lora.remove(merge=False)
    return str(folder)


@pytest.fixture
def requests(tiny_llama: MakeModel, tmp_path: Path) -> list[LoRARequest | None]:
    model = tiny_llama()
    paths = [write(tmp_path / str(i), model, i, targets=t) for i, t in ((1, ("qkv", "o")), (2, ("gate_up",)))]
    return [None, *(LoRARequest(f"adapter-{i}", i, path) for i, path in enumerate(paths, start=1))]


def params_of(count: int, **more: Any) -> list[SamplingParams]:
    each: dict[str, Any] = {"max_tokens": 12, "logprobs": 0, "ignore_eos": True, **more}
    return [SamplingParams(seed=i, **each) for i in range(count)]


def is_trainers(
    model: Transformer, outputs: Sequence[RequestOutput], requests: Sequence[LoRARequest | None]
) -> bool:
    """Whether each output's logprobs are those of a model with its adapter merged, each of which is there."""
    holds = True
    for request in requests:
        own = [output for output in outputs if output.lora_request is request]
        assert own
        if request is None:
            holds &= is_parity(model, own, 1.0)
            continue
        lora = LoRA.from_folder(model, request.lora_path)
        holds &= is_parity(model, own, 1.0)
        lora.remove(merge=False)
    return holds


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-master-fp32"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_loras": 1},
        {"max_num_batched_tokens": 16, "enable_prefix_caching": False},
        {"kv_cache_memory_bytes": 1 << 17},
    ],
)
def test_bits_are_the_merged_models(
    precision: str, options: Any, tiny_llama: MakeModel, requests: list[LoRARequest | None]
) -> None:
    model = tiny_llama(precision)
    prompts = prompts_of(21, model.config.vocab_size)
    # Prompts that start alike have other adapters, so a prefix of another's would be seen.
    prompts = [prompt for prompt in prompts for _ in requests]
    loras = requests * 21
    llm = small_llm(model, enable_lora=True, **{"max_loras": 2, **options})
    for _ in range(2):
        outputs = llm.generate(prompts, params_of(63, n=2), lora_request=loras)
        assert [output.lora_request for output in outputs] == loras
        assert is_trainers(model, outputs, requests)
    assert llm._engine.scheduler.pool.held == 0
    (alone,) = llm.generate([prompts[1]], params_of(2, n=2)[1], lora_request=requests[1])
    assert tokens_of([alone]) == tokens_of([outputs[1]])
    # An update of the base makes merged copies again.
    adamw_step(model, outputs[:3])
    assert is_trainers(model, llm.generate(prompts, params_of(63), lora_request=loras), requests)


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-master-fp32"])
def test_parity_of_everything_at_once(
    precision: str, seed: int, tiny_llama: MakeModel, demo_model_path: Path, tmp_path: Path
) -> None:
    """Adapters, calls of tools, grammars, n, stop strings, priorities and preemption in one batch."""
    pytest.importorskip("llguidance")
    tokenizer, rng = Tokenizer.from_folder(demo_model_path), random.Random(seed)
    model = tiny_llama(precision, vocab_size=len(tokenizer))
    paths = [write(tmp_path / str(i), model, i) for i in (1, 2, 3)]
    adapters = [None, *(LoRARequest(path, i, path) for i, path in enumerate(paths, start=1))]
    call = ToolUse.of({"tools": [WEATHER], "tool_choice": "required"}).grammar()
    structures = [None, call, StructuredOutputsParams(choice=["red", "green"]),
                  StructuredOutputsParams(regex="[a-z]{60,90}")]  # fmt: skip
    prompts = [prompt[:50] for prompt in prompts_of(32, len(tokenizer), seed)]
    params = [
        SamplingParams(
            n=rng.choice([1, 1, 2, 3]), max_tokens=rng.choice([1, 40, 80]), seed=i,
            logprobs=rng.choice([0, 2]), structured_outputs=rng.choice(structures),
            stop=rng.choice([[], ["e"]]), ignore_eos=rng.random() < 0.5,
        )
        for i in range(len(prompts))
    ]  # fmt: skip
    loras = [adapters[i % 4] for i in range(len(prompts))]
    priorities = [rng.randrange(-2, 3) for _ in prompts]
    options: Any = {"tokenizer": tokenizer, "enable_lora": True, "max_loras": 2, "max_cpu_loras": 3}
    roomy = small_llm(model, **options)
    page = KVCache.page_bytes(model.config, model.precision)
    tight = small_llm(
        model,
        scheduling_policy="priority",
        kv_cache_memory_bytes=6 * page,
        max_num_batched_tokens=48,
        **options,
    )
    outputs = tight.generate(prompts, params, lora_request=loras, priority=priorities)
    assert tight._engine.scheduler.preemptions > 0 and tight._engine.scheduler.pool.held == 0
    assert is_trainers(model, outputs, adapters)
    assert tokens_of(outputs) == tokens_of(roomy.generate(prompts, params, lora_request=loras))
    called = [output for output, p in zip(outputs, params, strict=True) if p.structured_outputs is call]
    texts = [
        o.text for output in called for o in output.outputs if o.finish_reason == "stop" and not o.stop_reason
    ]
    assert texts and all(json.loads(text)[0]["name"] == "weather" for text in texts)


def test_prompt_logprobs_are_the_adapters(tiny_llama: MakeModel, tmp_path: Path) -> None:
    model = tiny_llama(tie_word_embeddings=False)
    path = write(tmp_path / "a", model, 1)
    request = LoRARequest("a", 1, path)
    llm = small_llm(model, enable_lora=True)
    prompt = prompts_of(1, model.config.vocab_size)[0]
    (output,) = llm.generate(
        [prompt], SamplingParams(max_tokens=3, prompt_logprobs=0, logprobs=0), lora_request=request
    )
    lora = LoRA.from_folder(model, path)
    (trained,) = token_logprobs(model, [prompt])
    entries = (output.prompt_logprobs or [])[1:]
    found = [entry[t].logprob for t, entry in zip(prompt[1:], entries, strict=True) if entry is not None]
    assert found == trained.tolist()
    assert compare(model, [output]).differing == 0
    lora.remove(merge=False)


def test_beams_are_the_merged_models(tiny_llama: MakeModel, requests: list[Any]) -> None:
    model = tiny_llama()
    llm, params = small_llm(model, enable_lora=True), BeamSearchParams(beam_width=3, max_tokens=5)
    prompts = prompts_of(2, model.config.vocab_size)
    served = llm.beam_search(prompts, params, requests[1])
    lora = LoRA.from_folder(model, requests[1].lora_path)
    merged = small_llm(model).beam_search(prompts, params)
    lora.remove(merge=False)
    assert served == merged != llm.beam_search(prompts, params)


def test_what_is_refused(tiny_llama: MakeModel, requests: list[Any], tmp_path: Path) -> None:
    model = tiny_llama()
    with pytest.raises(MinillmError, match="LoRA is not enabled"):
        small_llm(model).generate([[1]], lora_request=requests[1])
    with pytest.raises(MinillmError, match="lora_int_id must be"):
        LoRARequest("a", 0, "x")
    with pytest.raises(MinillmError, match="max_cpu_loras = 1"):
        small_llm(model, enable_lora=True, max_loras=2, max_cpu_loras=1)
    llm = small_llm(model, enable_lora=True, max_lora_rank=3, max_cpu_loras=2)
    with pytest.raises(MinillmError, match="2 prompts but 1 of lora_request"):
        llm.generate([[1], [2]], lora_request=requests[1:2])
    with pytest.raises(MinillmError, match="not a folder"):
        llm.generate([[1]], lora_request=LoRARequest("a", 9, str(tmp_path / "none")))
    with pytest.raises(MinillmError, match="rank 4 is greater than max_lora_rank = 3"):
        llm.generate([[1]], lora_request=LoRARequest("a", 9, write(tmp_path / "r", model, 1, rank=4)))
    llm.generate([[1]], params_of(1), lora_request=requests[1])
    other = LoRARequest("b", 1, requests[2].lora_path)
    with pytest.raises(MinillmError, match="lora_int_id 1 is the adapter in"):
        llm.generate([[1]], lora_request=other)
    other.load_inplace = True
    outputs = llm.generate([[1]] * 2, params_of(2), lora_request=other)
    assert is_trainers(model, outputs, [other])


def test_least_recently_used_adapters_go(tiny_llama: MakeModel, requests: list[Any]) -> None:
    llm = small_llm(tiny_llama(), enable_lora=True, max_loras=1, max_cpu_loras=2)
    loras, path = llm._engine.loras, requests[1].lora_path
    for i in (1, 2):
        loras.get(LoRARequest(str(i), i, path))
    loras.pin(1)
    loras.get(LoRARequest("3", 3, path))
    assert loras.numbers() == {1, 3}
    assert loras.remove(1) and not loras.remove(1)
    with pytest.raises(MinillmError, match="there is no adapter with lora_int_id 7"):
        loras.pin(7)


def merged_of(llm: LLM) -> list[weakref.ref[Transformer]]:
    """The merged copies that are there."""
    assert llm._engine.loras is not None
    return [weakref.ref(model) for model, _ in llm._engine.loras._merged.values()]


def test_a_merged_copy_goes_with_the_last_that_needs_its_adapter(
    tiny_llama: MakeModel, requests: list[Any]
) -> None:
    model = tiny_llama()
    llm = small_llm(model, enable_lora=True, max_loras=2)
    prompts = prompts_of(2, model.config.vocab_size)
    llm.generate(prompts, params_of(2), lora_request=requests[1:])
    first, second = merged_of(llm)
    assert llm.remove_lora(1)
    assert first() is None and second() is not None and llm.list_loras() == {2}
    llm.add_request("a", prompts[0], params_of(1)[0], lora_request=requests[2])
    llm.step()
    assert llm.remove_lora(2) and not llm.remove_lora(2)
    assert second() is not None  # which the request runs with to its end
    outputs = llm.wait_for_completion()
    assert second() is None and llm.list_loras() == set()
    assert is_trainers(model, outputs, requests[2:])


def test_a_folder_is_read_again_where_it_has_changed(
    tiny_llama: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama()
    read, files = peft_files.read, []

    def counting(config: Any, parameters: Any, folder: Path) -> Any:
        files.append(folder)
        return read(config, parameters, folder)

    request = LoRARequest("a", 1, write(tmp_path / "a", model, 1), load_inplace=True)
    llm = small_llm(model, enable_lora=True, max_loras=2)
    prompt = prompts_of(1, model.config.vocab_size)[0]
    monkeypatch.setattr(peft_files, "read", counting)

    def sampled() -> list[RequestOutput]:
        for params in params_of(3):
            llm.add_request(None, prompt, params, lora_request=request)
        return llm.wait_for_completion()

    first, second = sampled(), sampled()
    assert len(files) == 1 and len(merged_of(llm)) == 1
    assert is_trainers(model, first, [request]) and second[0].num_cached_tokens > 0
    files.clear()  # the trainer has read it too
    write(tmp_path / "a", model, 2)
    third = sampled()
    assert len(files) == 1 and third[0].num_cached_tokens == 0
    assert tokens_of(third) != tokens_of(first) == tokens_of(second)
    assert is_trainers(model, third, [request])
    files.clear()
    request.load_inplace = False
    write(tmp_path / "a", model, 3)
    assert tokens_of(sampled()) == tokens_of(third) and not files


def test_streams_run_with_adapters_of_their_own(tiny_llama: MakeModel, requests: list[Any]) -> None:
    model = tiny_llama()
    prompts = [prompt for prompt in prompts_of(3, model.config.vocab_size) for _ in requests]
    loras = requests * 3
    llm = small_llm(model, enable_lora=True, max_loras=2)
    ends = {output.request_id: output for output in llm.stream(prompts, params_of(9), loras)}
    outputs = [ends[str(i)] for i in range(9)]
    assert is_trainers(model, outputs, requests)

    async def joined(engine: AsyncLLM, i: int) -> RequestOutput:
        params = replace(params_of(9)[i], output_kind=RequestOutputKind.DELTA)
        pieces = [x async for x in engine.generate(prompts[i], params, str(i), lora_request=loras[i])]
        assert len(pieces) > 3 and all(piece.lora_request is loras[i] for piece in pieces)
        (whole,) = pieces[-1].outputs
        whole.token_ids = [token for piece in pieces for token in piece.outputs[0].token_ids]
        whole.logprobs = [entry for piece in pieces for entry in piece.outputs[0].logprobs or []]
        return pieces[-1]

    async def main() -> None:
        async with AsyncLLM(llm) as engine:
            assert await engine.remove_lora(1) and await engine.remove_lora(2)
            assert await engine.list_loras() == set()
            assert await engine.add_lora(requests[1]) and await engine.pin_lora(1)
            assert await engine.list_loras() == {1}
            with pytest.raises(MinillmError, match="there is no adapter with lora_int_id 2"):
                await engine.pin_lora(2)
            streamed = await asyncio.gather(*(joined(engine, i) for i in range(9)))
            assert await engine.list_loras() == {1, 2}
            assert await engine.remove_lora(1) and not await engine.remove_lora(1)
            assert tokens_of(streamed) == tokens_of(outputs)
            assert is_trainers(model, streamed, requests)

    asyncio.run(main())


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-master-fp32"])
def test_every_way_to_write_the_base_is_seen_by_its_adapters(
    precision: str, tiny_llama: MakeModel, requests: list[Any]
) -> None:
    model = tiny_llama(precision)
    llm = small_llm(model, enable_lora=True, max_loras=2)
    prompts, loras = prompts_of(6, model.config.vocab_size), requests * 2
    seen: list[Any] = []

    def norm_by_numpy() -> None:
        twice = 2 * model.norm.detach()
        model.norm.data.view(torch.uint8).numpy()[...] = twice.view(torch.uint8).numpy()

    writes: list[Callable[[], Any]] = [
        lambda: [w.data.mul_(0.9) for w in model.weights()],
        lambda: [setattr(p, "data", p.data * 1.2) for p in model.parameters()],
        lambda: llm.apply_model(lambda live: [w.detach().mul_(1.1) for w in live.weights()]),
        lambda: model.load_state_dict({n: x * 0.9 for n, x in model.state_dict().items()}, assign=True),
        norm_by_numpy,
    ]
    for write_base in writes:
        # What a trainer's LoRA does to the base below is a write too, and is seen here.
        seen.append(tokens_of(llm.generate(prompts, params_of(6), lora_request=loras)))
        write_base()
        outputs = llm.generate(prompts, params_of(6), lora_request=loras)
        assert tokens_of(outputs) not in seen
        assert is_trainers(model, outputs, requests)


def test_updates_over_async_llm_keep_parity(
    tiny_llama: MakeModel, requests: list[Any], tmp_path: Path
) -> None:
    model, other = tiny_llama(), tiny_llama()
    with torch.no_grad():
        for w in other.weights():
            w.mul_(0.75)
    save_model(other, tmp_path / "new")
    llm = small_llm(model, enable_lora=True)
    prompts = prompts_of(3, model.config.vocab_size)
    before = llm.generate(prompts, params_of(3), lora_request=requests)

    async def sampled(engine: AsyncLLM, i: int) -> RequestOutput:
        *_, last = [
            x async for x in engine.generate(prompts[i], params_of(3)[i], str(i), lora_request=requests[i])
        ]
        return last

    async def main() -> list[RequestOutput]:
        async with AsyncLLM(llm) as engine:
            await Control(engine).update_weights({"update_info": {"path": str(tmp_path / "new")}})
            return await asyncio.gather(*(sampled(engine, i) for i in range(3)))

    after = asyncio.run(main())
    assert all(torch.equal(a, b) for a, b in zip(model.weights(), other.weights(), strict=True))
    assert all(a != b for a, b in zip(tokens_of(before), tokens_of(after), strict=True))
    assert is_trainers(model, after, requests)
