"""Sampler and trainer agree bit for bit: `torch.equal` everywhere, and planted faults are seen."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels.ops.rope_store_attention import rope_store_attention
from minillm import LLM, RequestOutput, SamplingParams, Transformer, load_model, token_logprobs
from minillm.engine.engine import Engine
from minillm.model import transformer
from minillm.model.kv_cache import KVCache

PRECISIONS = ("fp32", "bf16", "fp32-attn-bf16", "bf16-master-fp32")
LENGTHS = (1, 15, 16, 63, 64, 65, 130)  # around the borders of tiles and pages

MakeModel = Callable[..., Transformer]


def small_llm(model: Transformer, **options: Any) -> LLM:
    """A sampler with a KV cache of 16 MiB: 512 pages of a tiny model."""
    return LLM(model, **{"kv_cache_memory_bytes": 1 << 24, **options})


def prompts_of(batch: int, vocabulary: int, seed: int = 0) -> list[list[int]]:
    """Prompts of mixed lengths; every third starts like the one before it."""
    rng = random.Random(seed)
    prompts: list[list[int]] = []
    for i in range(batch):
        length = LENGTHS[(5 + i) % len(LENGTHS)] if batch > 1 else 65
        prompt = [rng.randrange(vocabulary) for _ in range(length)]
        if i % 3 == 2:
            common = max(1, min(len(prompts[-1]), length) * 2 // 3)
            prompt[:common] = prompts[-1][:common]
        prompts.append(prompt)
    return prompts


def sample(
    llm: LLM, prompts: Sequence[Sequence[int]], temperature: float = 1.0, **params: Any
) -> list[RequestOutput]:
    each = [
        SamplingParams(
            **{"max_tokens": 12, "n": 1, **params},
            temperature=temperature,
            seed=i,
            logprobs=0,
            ignore_eos=True,
        )
        for i in range(len(prompts))
    ]
    return llm.generate(prompts, each)


def logprobs_of(outputs: Sequence[RequestOutput]) -> list[torch.Tensor]:
    """What the sampler reported for every sampled token, a tensor a sample."""
    found = []
    for request in outputs:
        for output in request.outputs:
            assert output.logprobs is not None
            pairs = zip(output.token_ids, output.logprobs, strict=True)
            found.append(torch.tensor([entries[token].logprob for token, entries in pairs]))
    return found


def tokens_of(outputs: Sequence[RequestOutput]) -> list[list[int]]:
    return [output.token_ids for request in outputs for output in request.outputs]


def trained_logprobs(
    model: Transformer, outputs: Sequence[RequestOutput], temperature: float
) -> list[torch.Tensor]:
    """What the trainer says of the same tokens, with a gradient attached."""
    prompts = [r.prompt_token_ids for r in outputs for _ in r.outputs]
    whole = [[*prompt, *tokens] for prompt, tokens in zip(prompts, tokens_of(outputs), strict=True)]
    logprobs = token_logprobs(model, whole, temperature)
    assert all(logprob.requires_grad for logprob in logprobs)
    return [logprob[len(prompt) - 1 :].detach() for logprob, prompt in zip(logprobs, prompts, strict=True)]


def equal(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def is_parity(model: Transformer, outputs: Sequence[RequestOutput], temperature: float) -> bool:
    return equal(logprobs_of(outputs), trained_logprobs(model, outputs, temperature))


def adamw_step(model: Transformer, outputs: Sequence[RequestOutput], rate: float = 1e-3) -> None:
    """One step that makes what was sampled less likely."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    sequences = [r.prompt_token_ids + o.token_ids for r in outputs for o in r.outputs]
    torch.cat(token_logprobs(model, sequences)).mean().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("batch", [1, 5, 16])
def test_sampler_and_trainer_agree_before_and_after_a_step(
    tiny_llama: MakeModel, precision: str, batch: int
) -> None:
    model = tiny_llama(precision)
    llm = small_llm(model)
    prompts = prompts_of(batch, model.config.vocab_size)
    # Temperatures of the trainer are one a call, so the sampler's are compared one by one too.
    before = {}
    for temperature in (1.0, 0.7):
        outputs = sample(llm, prompts, temperature)
        assert is_parity(model, outputs, temperature)
        before[temperature] = logprobs_of(outputs)
    assert not equal(before[1.0], before[0.7])
    warm = sample(llm, prompts)
    # Nobody resets the prefix cache here: the step alone must make it forget.
    adamw_step(model, warm)
    for temperature in (1.0, 0.7):
        outputs = sample(llm, prompts, temperature)
        assert is_parity(model, outputs, temperature)
        assert not equal(logprobs_of(outputs), before[temperature])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_forks_are_their_own_sequences(tiny_llama: MakeModel, precision: str) -> None:
    model = tiny_llama(precision, tie_word_embeddings=False)
    prompts = prompts_of(5, model.config.vocab_size)
    outputs = sample(small_llm(model), prompts, n=4)
    assert [len(request.outputs) for request in outputs] == [4] * 5
    assert len({tuple(tokens) for tokens in tokens_of(outputs)}) == 20
    assert is_parity(model, outputs, 1.0)
    # A fork alone draws as it did among its siblings.
    alone = sample(small_llm(model), prompts, n=1)
    assert tokens_of(alone) == [request.outputs[0].token_ids for request in outputs]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_prefix_cache_and_chunks_change_no_bit(tiny_llama: MakeModel, precision: str) -> None:
    model = tiny_llama(precision)
    prompts = prompts_of(16, model.config.vocab_size)
    tokens: list[list[int]] = []
    reported: list[torch.Tensor] = []
    for budget in (16, 64, 2048):
        for caching in (False, True):
            llm = small_llm(model, max_num_batched_tokens=budget, enable_prefix_caching=caching)
            for warm in (False, True):
                outputs = sample(llm, prompts)
                cached = [output.num_cached_tokens for output in outputs]
                if not caching:
                    assert not any(cached)
                elif warm:
                    most = [len(prompt) - 1 for prompt in prompts]
                    # Every prompt is whole in the cache, but for the token that makes the logits.
                    assert cached == most
                if not reported:
                    tokens, reported = tokens_of(outputs), logprobs_of(outputs)
                    assert is_parity(model, outputs, 1.0)
                assert tokens_of(outputs) == tokens
                assert equal(logprobs_of(outputs), reported)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_seed_gives_the_same_tokens_alone_and_among_others(tiny_llama: MakeModel, precision: str) -> None:
    model = tiny_llama(precision)
    prompts = prompts_of(16, model.config.vocab_size, seed=3)
    together = sample(small_llm(model), prompts)
    few = sample(small_llm(model, max_num_seqs=3), prompts)
    assert tokens_of(few) == tokens_of(together)
    assert equal(logprobs_of(few), logprobs_of(together))
    llm = small_llm(model)
    for i in (15, 3, 0):
        params = SamplingParams(max_tokens=12, seed=i, logprobs=0, ignore_eos=True)
        alone = llm.generate([prompts[i]], params)
        assert alone[0].outputs[0].token_ids == together[i].outputs[0].token_ids
        assert equal(logprobs_of(alone), logprobs_of([together[i]]))


def test_a_small_cache_that_evicts_changes_no_bit(tiny_llama: MakeModel) -> None:
    """Room for about three sequences: prompts wait, and pages are given out again and again."""
    model = tiny_llama("fp32")
    c = model.config
    page_bytes = 2 * c.num_layers * c.num_kv_heads * c.head_dim * 64 * 4
    prompts = prompts_of(16, c.vocab_size, seed=5)
    plenty = sample(small_llm(model), prompts)
    llm = small_llm(model, kv_cache_memory_bytes=7 * page_bytes)
    for _ in range(3):
        scarce = sample(llm, prompts)
        assert tokens_of(scarce) == tokens_of(plenty)
        assert equal(logprobs_of(scarce), logprobs_of(plenty))


@pytest.mark.parametrize("num_pages", [2, 3, 4])
def test_a_prefix_that_is_copied_and_evicted_at_once_changes_no_bit(
    tiny_llama: MakeModel, num_pages: int
) -> None:
    """The page to copy from is among the last that are left, and another prompt wants one too."""
    model = tiny_llama("fp32")
    c = model.config
    page_bytes = 2 * c.num_layers * c.num_kv_heads * c.head_dim * 64 * 4
    rng = random.Random(6)
    other, known, tail = ([rng.randrange(c.vocab_size) for _ in range(n)] for n in (40, 30, 70))
    # Two pages with what is sampled; the first 20 tokens stand in an idle page.
    batch = [known[:20] + tail, other[5:30], tail[:3]]
    llm = small_llm(model, kv_cache_memory_bytes=num_pages * page_bytes)
    sample(llm, [other])
    sample(llm, [known])
    outputs = sample(llm, batch)
    assert llm._engine.scheduler.pool.held == 0
    assert is_parity(model, outputs, 1.0)
    assert equal(logprobs_of(outputs), logprobs_of(sample(small_llm(model), batch)))


ONE = random.Random(11).choices(range(131), k=150)


MINE = SamplingParams(n=3, seed=5, temperature=0.8, max_tokens=80, logprobs=2, ignore_eos=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("way", ["64 others", "cached", 16, 64, 2048, "preempted", "uncached", "streamed"])
def test_a_request_is_the_same_whatever_is_done_with_it(
    tiny_llama: MakeModel, precision: str, way: str | int
) -> None:
    model = tiny_llama(precision)
    plain = small_llm(model).generate([ONE], MINE)
    assert is_parity(model, plain, 0.8)
    page_bytes = KVCache.page_bytes(model.config, model.precision)
    if way == "64 others":
        llm = small_llm(model, max_num_seqs=80)
        others = prompts_of(64, model.config.vocab_size)
        each = [
            SamplingParams(temperature=1.0, seed=i, max_tokens=30 + i, ignore_eos=True) for i in range(64)
        ]
        found = llm.generate([*others[:40], ONE, *others[40:]], [*each[:40], MINE, *each[40:]])[40:41]
    elif way == "cached":
        llm = small_llm(model)
        llm.generate([ONE], MINE)
        found = llm.generate([ONE], MINE)
        assert found[0].num_cached_tokens == len(ONE) - 1
    elif way == "preempted":
        # Three samples of four pages, two of which they share, want eight.
        llm = small_llm(model, kv_cache_memory_bytes=7 * page_bytes)
        found = llm.generate([ONE], MINE)
        assert found[0].metrics is not None and found[0].metrics.preemptions > 0
        assert llm._engine.scheduler.pool.held == 0
    elif way == "uncached":
        found = small_llm(model, enable_prefix_caching=False).generate([ONE], MINE)
    elif way == "streamed":
        found = [list(small_llm(model).stream([ONE], MINE))[-1]]
    else:
        found = small_llm(model, max_num_batched_tokens=int(way)).generate([ONE], MINE)
    assert tokens_of(found) == tokens_of(plain)
    assert equal(logprobs_of(found), logprobs_of(plain))
    assert [o.logprobs for o in found[0].outputs] == [o.logprobs for o in plain[0].outputs]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_prompt_logprobs_are_the_trainers(tiny_llama: MakeModel, precision: str) -> None:
    model = tiny_llama(precision)
    prompts = prompts_of(5, model.config.vocab_size)
    wanted = token_logprobs(model, prompts, 0.7)
    params = SamplingParams(temperature=0.7, max_tokens=3, prompt_logprobs=1)
    for options in ({}, {"max_num_batched_tokens": 16}):
        for output, logprobs in zip(
            small_llm(model, **options).generate(prompts, params), wanted, strict=True
        ):
            entries = output.prompt_logprobs
            assert entries is not None and entries[0] is None
            pairs = zip(output.prompt_token_ids[1:], entries[1:], strict=True)
            found = torch.tensor([entry[token].logprob for token, entry in pairs if entry is not None])
            assert torch.equal(found, logprobs.detach())


def test_many_threads_are_one_thread(tiny_llama: MakeModel) -> None:
    model = tiny_llama("fp32")
    prompts = prompts_of(5, model.config.vocab_size)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = logprobs_of(sample(small_llm(model), prompts))
        torch.set_num_threads(2)
        two = logprobs_of(sample(small_llm(model), prompts))
    finally:
        torch.set_num_threads(threads)
    assert equal(one, two)


def test_next_token_logprobs_are_the_trainers(tiny_llama: MakeModel) -> None:
    model = tiny_llama("bf16")
    prompts = prompts_of(7, model.config.vocab_size)
    rows = small_llm(model).next_token_logprobs(prompts, temperature=0.7)
    assert rows.shape == (7, model.config.vocab_size)
    for prompt, row in zip(prompts, rows, strict=True):
        for token in (0, 77, 130):
            (logprobs,) = token_logprobs(model, [[*prompt, token]], 0.7)
            assert torch.equal(logprobs[-1].detach(), row[token])


def test_a_cache_that_is_not_invalidated_is_caught(
    tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama("fp32")
    llm = small_llm(model)
    prompts = prompts_of(5, model.config.vocab_size)
    outputs = sample(llm, prompts)
    monkeypatch.setattr(Engine, "reset_prefix_cache", lambda self: None)
    adamw_step(model, outputs)
    assert not is_parity(model, sample(llm, prompts), 1.0)
    monkeypatch.undo()
    llm.reset_prefix_cache()
    assert is_parity(model, sample(llm, prompts), 1.0)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD, torch.optim.Adagrad])
@pytest.mark.parametrize("fused", [False, True])
def test_every_optimizers_step_is_seen(tiny_llama: MakeModel, kind: Any, fused: bool) -> None:
    """torch's fused ones write weights without a word; the prefix cache must not outlive their steps."""
    model = tiny_llama("fp32")
    llm = small_llm(model)
    prompts = prompts_of(5, model.config.vocab_size)
    outputs = sample(llm, prompts)
    optimizer = kind(model.parameters(), lr=1e-2, fused=fused)
    torch.cat(token_logprobs(model, [r.prompt_token_ids for r in outputs[:2]])).mean().backward()
    optimizer.step()
    assert is_parity(model, sample(llm, prompts), 1.0)


def test_attention_that_rounds_otherwise_in_decode_is_caught(
    tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decode kernel that is off by one unit in the last place of one head."""
    model = tiny_llama("fp32")
    prompts = prompts_of(5, model.config.vocab_size)
    exact = rope_store_attention

    def faulty(qkv_TX: torch.Tensor, *rest: Any) -> torch.Tensor:
        out_THD = exact(qkv_TX, *rest)
        if any(rest[4].starts):
            out_THD[:, 0] = torch.nextafter(out_THD[:, 0], torch.tensor(torch.inf))
        return out_THD

    monkeypatch.setattr(transformer, "rope_store_attention", faulty)
    outputs = sample(small_llm(model), prompts)
    assert not is_parity(model, outputs, 1.0)
    monkeypatch.undo()
    assert is_parity(model, sample(small_llm(model), prompts), 1.0)


def test_a_swapped_page_is_caught(tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests whose prompts are found under one another's pages."""
    model = tiny_llama("fp32")
    prompts = prompts_of(2, model.config.vocab_size)
    llm = small_llm(model)
    copy_page = llm._engine.cache.copy_page
    sample(llm, prompts)
    monkeypatch.setattr(llm._engine.cache, "copy_page", lambda source, target: copy_page(source ^ 1, target))
    assert not is_parity(model, sample(llm, prompts), 1.0)


@pytest.fixture(scope="module")
def text_ids(demo_model_path: Path) -> list[int]:
    from minillm import Tokenizer

    text = (Path(__file__).parents[1] / "golden" / "smollm2_english.txt").read_text()
    return Tokenizer.from_folder(demo_model_path).encode(text)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_demo_model_agrees_before_and_after_a_step(
    demo_model_path: Path, text_ids: list[int], precision: str
) -> None:
    model = load_model(demo_model_path, precision)
    llm = LLM(model, kv_cache_memory_bytes=1 << 28)
    lengths = (65, 15, 1, 16, 3, 7)
    prompts = [text_ids[9 * i : 9 * i + lengths[i % len(lengths)]] for i in range(16)]

    def parity() -> dict[int, list[list[int]]]:
        tokens = {}
        for batch in (16, 5, 1):
            outputs = sample(llm, prompts[:batch], max_tokens=8)
            assert is_parity(model, outputs, 1.0)
            tokens[batch] = tokens_of(outputs)
        assert tokens[16][:5] == tokens[5]
        assert tokens[5][:1] == tokens[1]
        return tokens

    before = parity()
    adamw_step(model, sample(llm, prompts[:2], max_tokens=8), rate=1e-4)
    assert parity() != before
