"""Beam search beside other requests, and of texts that must be of a form; its own scores stand in
`test_against_transformers`."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models

from minillm import (
    LLM,
    AsyncLLM,
    BeamSearchParams,
    MinillmError,
    RequestOutput,
    SamplingParams,
    StructuredOutputsParams,
    Tokenizer,
    Transformer,
    token_logprobs,
)
from minillm.model.kv_cache import KVCache

VOCABULARY, EOS = 131, 7


def words() -> Tokenizer:
    """A tokenizer of w0, w1 and so on, without spaces."""
    known = {f"w{i}": i for i in range(VOCABULARY)}
    backend = tokenizers.Tokenizer(models.WordLevel(known, unk_token="w0"))
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend, eos_token_ids=[EOS])


@pytest.fixture
def llm(tiny_llama: Callable[..., Transformer]) -> LLM:
    return LLM(tiny_llama("fp32"), words(), kv_cache_memory_bytes=1 << 24)


def prompts(*lengths: int) -> list[list[int]]:
    rng = random.Random(5)
    return [[rng.randrange(VOCABULARY) for _ in range(length)] for length in lengths]


def score(llm: LLM, prompt: list[int], ids: tuple[int, ...]) -> float:
    """The summed logprob of tokens that go on from a prompt, by the trainer's function."""
    (logprobs,) = token_logprobs(llm.model, [[*prompt, *ids]])
    return float(logprobs[len(prompt) - 1 :].detach().double().sum())


CHOICES = [(3, 5, 9), (3, 5, 11), (3, 8, 9), (12, 5, 9), (40, 41, 42), (99, 1, 2)]


@pytest.mark.parametrize("length_penalty", [1.0, 0.0])
def test_of_some_choices_all_are_found_with_their_logprobs(llm: LLM, length_penalty: float) -> None:
    texts = ["".join(f"w{i}" for i in ids) for ids in CHOICES]
    structure = StructuredOutputsParams(choice=texts)
    # Wide enough for ways that lead nowhere, such as w9 for w99.
    params = BeamSearchParams(12, 20, length_penalty=length_penalty, structured_outputs=structure)
    for prompt, found in zip(prompts(1, 70), llm.beam_search(prompts(1, 70), params), strict=True):
        expected = sorted(((score(llm, prompt, ids), ids) for ids in CHOICES), reverse=True)
        # Nothing can follow a choice, so that each ends with its last token, and not after it.
        assert [tuple(one.tokens[len(prompt) :]) for one in found.sequences] == [ids for _, ids in expected]
        for one, (value, _) in zip(found.sequences, expected, strict=True):
            assert one.cum_logprob == pytest.approx(value, abs=1e-4)
            assert (one.finish_reason, one.stop_reason) == ("stop", None)
    # A narrow search finds less of it, and nothing else.
    narrow = BeamSearchParams(2, 20, length_penalty=length_penalty, structured_outputs=structure)
    for prompt, found in zip(prompts(1, 70), llm.beam_search(prompts(1, 70), narrow), strict=True):
        assert 1 <= len(found.sequences) <= 2
        assert {tuple(one.tokens[len(prompt) :]) for one in found.sequences} < {*CHOICES}


def test_a_text_that_may_go_on_ends_with_the_end_token(llm: LLM) -> None:
    """Of (w3|w5){1,3}: the 14 texts, each with an end where it could go on."""
    params = BeamSearchParams(14, 9, structured_outputs=StructuredOutputsParams(regex="(w3|w5){1,3}"))
    (prompt,) = prompts(20)
    (found,) = llm.beam_search([prompt], params)
    texts = [ids for n in (1, 2, 3) for ids in itertools.product((3, 5), repeat=n)]
    ways = [ids if len(ids) == 3 else (*ids, EOS) for ids in texts]
    scores = {ids: score(llm, prompt, ids) / len(ids) for ids in ways}
    assert {tuple(one.tokens[20:]) for one in found.sequences} <= scores.keys()
    best = max(scores, key=lambda ids: scores[ids])
    assert tuple(found.sequences[0].tokens[20:]) == best
    for one in found.sequences:
        assert one.cum_logprob / len(one.tokens[20:]) == pytest.approx(
            scores[tuple(one.tokens[20:])], abs=1e-4
        )
        assert one.text == "".join(
            f"w{i}" for i in [*prompt, *one.tokens[20:]][: -1 if one.tokens[-1] == EOS else None]
        )
    kept = BeamSearchParams(
        1, 1, structured_outputs=StructuredOutputsParams(regex="(w3)?"), include_stop_str_in_output=True
    )
    (found,) = llm.beam_search([prompt], kept)
    assert found.sequences[0].tokens[20:] in ([3], [EOS])


def test_what_is_cut_off_is_of_the_length(llm: LLM) -> None:
    params = BeamSearchParams(3, 4, structured_outputs=StructuredOutputsParams(regex="(w3|w5|w9)*w11"))
    (found,) = llm.beam_search(prompts(5), params)
    for one in found.sequences:
        text = "".join(f"w{i}" for i in one.tokens[5:])
        whole = re.fullmatch("(w3|w5|w9)*w11", text)
        assert one.finish_reason == ("stop" if whole else "length")
        assert whole or re.fullmatch("(w3|w5|w9){4}", text)


@pytest.mark.parametrize("length_penalty", [1000, -1000, 1e3, -999.5])
def test_a_length_penalty_beyond_floats_is_no_error(llm: LLM, length_penalty: float) -> None:
    params = BeamSearchParams(2, 6, length_penalty=length_penalty, ignore_eos=True)
    for prompt, found in zip(prompts(3, 9), llm.beam_search(prompts(3, 9), params), strict=True):
        assert [len(one.tokens) - len(prompt) for one in found.sequences] == [6, 6]


def test_a_hopeless_grammar_and_wrong_parameters_are_refused(llm: LLM) -> None:
    with pytest.raises(MinillmError, match="no token of the tokenizer can come next"):
        structure = StructuredOutputsParams(regex="zzz")
        llm.beam_search(prompts(5), BeamSearchParams(2, 5, structured_outputs=structure))
    with pytest.raises(MinillmError, match="structured_outputs must be StructuredOutputsParams or None"):
        BeamSearchParams(2, 5, structured_outputs={"choice": ["a"]})  # type: ignore[arg-type]
    with pytest.raises(MinillmError, match="logprobs = 21 is more than max_logprobs = 20"):
        llm.beam_search(prompts(5), BeamSearchParams(2, 5, logprobs=21))
    # What fails on the way is an error too, and leaves nothing behind.
    with pytest.raises(MinillmError, match="no token of the tokenizer can come next"):
        structure = StructuredOutputsParams(regex="w3zzz")
        llm.beam_search(prompts(5), BeamSearchParams(2, 5, structured_outputs=structure))
    assert llm.get_num_unfinished_requests() == 0 and llm._engine.scheduler.pool.held == 0


def test_the_likeliest_are_given_beside_each_token(llm: LLM) -> None:
    (prompt,) = prompts(9)
    (found,) = llm.beam_search([prompt], BeamSearchParams(2, 4, logprobs=3))
    (sampled,) = llm.generate([prompt], SamplingParams(temperature=0, max_tokens=1, logprobs=3))
    (first,) = sampled.outputs[0].logprobs or []
    for one in found.sequences:
        assert {len(entries) for entries in one.logprobs} <= {3, 4}
        likeliest = {
            token: entry.logprob for token, entry in one.logprobs[0].items() if (entry.rank or 9) <= 3
        }
        assert likeliest == {token: entry.logprob for token, entry in first.items()}


@pytest.mark.parametrize("pages", [6, 60])
def test_searches_run_among_other_requests(tiny_llama: Callable[..., Transformer], pages: int) -> None:
    """None of them sees that others are there, not even where pages are given back and forth."""
    model = tiny_llama("fp32")
    room = pages * KVCache.page_bytes(model.config, model.precision)

    def make() -> LLM:
        return LLM(
            model, words(), kv_cache_memory_bytes=room, max_num_seqs=6, max_num_batched_tokens=50,
            scheduling_policy="priority",
        )  # fmt: skip

    asked: list[tuple[list[int], Any]] = [
        (prompt, params)
        for prompt, params in zip(
            prompts(3, 40, 64, 90, 5, 33),
            [
                BeamSearchParams(4, 9),
                SamplingParams(seed=1, max_tokens=30, logprobs=2, n=2),
                BeamSearchParams(3, 12, temperature=0.5, ignore_eos=True),
                SamplingParams(temperature=0, max_tokens=9, prompt_logprobs=0),
                BeamSearchParams(2, 20, structured_outputs=StructuredOutputsParams(regex="(w3|w5|w9)*w11")),
                SamplingParams(seed=2, max_tokens=5, ignore_eos=True),
            ],
            strict=True,
        )
    ]

    def seen(output: RequestOutput) -> list[Any]:
        return [(one.token_ids, one.logprobs, one.text, one.finish_reason) for one in output.outputs]

    alone = []
    for i, (prompt, params) in enumerate(asked):
        llm = make()
        llm.add_request(str(i), prompt, params)
        while llm.has_unfinished_requests():
            outputs = llm.step()
        alone.append(seen(outputs[-1]))
    llm, finished = make(), dict[str, list[Any]]()
    for i, (prompt, params) in enumerate(asked):
        llm.add_request(str(i), prompt, params, priority=-i)
    while llm.has_unfinished_requests():
        finished |= {output.request_id: seen(output) for output in llm.step() if output.finished}
    assert [finished[str(i)] for i in range(len(asked))] == alone
    assert llm._engine.scheduler.pool.held == 0
    assert (llm._engine.scheduler.preemptions > 0) == (pages == 6)
    (found,) = make().beam_search([asked[0][0]], asked[0][1])
    assert [one.tokens[3:] for one in found.sequences] == [ids for ids, *_ in alone[0]]


def test_a_search_that_is_aborted_leaves_nothing(llm: LLM) -> None:
    (prompt,) = prompts(30)
    name = llm.add_request(None, prompt, BeamSearchParams(4, 100, ignore_eos=True))
    with pytest.raises(MinillmError, match="unfinished requests"):
        llm.generate([prompt])
    for _ in range(5):
        assert llm.step() == []
    (output,) = llm.abort_request(name)
    assert output.finished and [one.finish_reason for one in output.outputs] == ["abort"]
    assert llm.step() == [] and llm._engine.scheduler.pool.held == 0
    assert not (llm._engine.scheduler.running or llm._engine.scheduler.waiting)


def test_async_beam_search(llm: LLM) -> None:
    async def go() -> tuple[list[RequestOutput], list[RequestOutput]]:
        async with AsyncLLM(llm) as served:
            params = BeamSearchParams(3, 6)

            async def search(prompt: list[int], name: str) -> list[RequestOutput]:
                return [output async for output in served.beam_search(prompt, name, params)]

            found = await asyncio.gather(*(search(p, f"r{i}") for i, p in enumerate(prompts(8, 70))))
            assert not served.has_unfinished_requests()
            return found[0], found[1]

    together = asyncio.run(go())
    for prompt, (output,) in zip(prompts(8, 70), together, strict=True):
        (alone,) = llm.beam_search([prompt], BeamSearchParams(3, 6))
        assert output.finished and output.prompt_token_ids == prompt
        assert [one.index for one in output.outputs] == [0, 1, 2]
        for one, expected in zip(output.outputs, alone.sequences, strict=True):
            assert one.token_ids == expected.tokens[len(prompt) :]
            assert one.cumulative_logprob == expected.cum_logprob
            assert one.text == "".join(f"w{i}" for i in one.token_ids if i != EOS)
