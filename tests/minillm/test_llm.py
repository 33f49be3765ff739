"""`LLM.generate` under vLLM's names, how tokens are drawn, and who holds which page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import pytest
import tokenizers
import torch
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from minillm import (
    LLM,
    CompletionOutput,
    MinillmError,
    RequestOutput,
    SamplingParams,
    Tokenizer,
    Transformer,
)
from minillm.api.sampling_params import RequestOutputKind
from minillm.engine import page_pool as cache_module
from minillm.engine.draw import uniform
from minillm.engine.page_pool import PagePool
from minillm.model.logprobs import Rows

PROMPT = [5, 17, 40, 99, 3]
VOCABULARY = 131


def words() -> list[str]:
    """Printable ASCII, the space as byte-level BPE writes it, and pairs of letters: all but 2 ids."""
    characters = [*map(chr, range(33, 127)), "Ġ"]
    pairs = [a + b for a in "etaoin" for b in "shrdlu"]
    return [*characters, *pairs][: VOCABULARY - 2]


def make_tokenizer(eos_token_ids: Sequence[int] = ()) -> Tokenizer:
    """131 tokens, each some ASCII text of one or two characters, but for the two special ones."""
    vocabulary = words()
    merges = [(word[0], word[1]) for word in vocabulary if len(word) == 2]
    backend = tokenizers.Tokenizer(models.BPE({word: i for i, word in enumerate(vocabulary)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken(text, special=True) for text in ("<s>", "</s>")])
    assert backend.get_vocab_size() == VOCABULARY
    return Tokenizer(backend, eos_token_ids=eos_token_ids)


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Transformer]) -> Transformer:
    return tiny_llama("fp32")


def make_llm(model: Transformer, eos: Sequence[int] = (), **options: Any) -> LLM:
    options = {"kv_cache_memory_bytes": 1 << 22, "max_logprobs": -1, **options}
    return LLM(model, make_tokenizer(eos), **options)


@pytest.fixture
def llm(model: Transformer) -> LLM:
    return make_llm(model)


def only(outputs: Sequence[RequestOutput]) -> CompletionOutput:
    ((output,),) = [request.outputs for request in outputs]
    return output


def test_every_form_of_prompt_is_understood(llm: LLM) -> None:
    text = "so the hour"
    ids = llm.get_tokenizer().encode(text)
    params = SamplingParams(seed=1, max_tokens=5)
    forms: list[Any] = [
        text,
        ids,
        tuple(ids),
        {"prompt": text},
        {"prompt_token_ids": ids},
        {"prompt": "shown, not encoded", "prompt_token_ids": ids},
    ]
    alone = [llm.generate(form, params) for form in forms]
    together = llm.generate(forms, params)
    assert all(len(outputs) == 1 for outputs in alone)
    assert len(together) == len(forms)
    for request in (*together, *(outputs[0] for outputs in alone)):
        assert request.prompt_token_ids == ids
        assert request.finished
        assert only([request]).token_ids == only([together[0]]).token_ids
    shown = [text, None, None, text, None, "shown, not encoded"]
    assert [request.prompt for request in together] == shown
    assert [outputs[0].prompt for outputs in alone] == shown


def test_one_prompt_in_a_list_is_one_prompt(llm: LLM) -> None:
    params = SamplingParams(temperature=0, max_tokens=3)
    outputs = [llm.generate(form, params) for form in (["to"], [llm.get_tokenizer().encode("to")])]
    assert [len(requests) for requests in outputs] == [1, 1]
    assert only(outputs[0]).token_ids == only(outputs[1]).token_ids


def test_no_prompts_give_no_outputs(llm: LLM) -> None:
    assert llm.generate([]) == []


def test_outputs_stand_in_the_order_of_the_prompts(llm: LLM) -> None:
    """Whatever finishes first: lengths and parameters differ."""
    prompts = [[i] * (1 + 7 * (i % 4)) for i in range(9)]
    params = [SamplingParams(max_tokens=1 + (5 * i) % 11, seed=i, n=1 + i % 3) for i in range(9)]
    outputs = llm.generate(prompts, params)
    assert [request.prompt_token_ids for request in outputs] == prompts
    for request, one in zip(outputs, params, strict=True):
        assert [output.index for output in request.outputs] == list(range(one.n))
        assert {len(output.token_ids) for output in request.outputs} == {one.max_tokens}
        assert {output.finish_reason for output in request.outputs} == {"length"}
        assert {output.stop_reason for output in request.outputs} == {None}
    assert len({request.request_id for request in outputs}) == 9


def test_text_is_the_decoded_tokens(llm: LLM) -> None:
    output = only(llm.generate([PROMPT], SamplingParams(max_tokens=40, seed=2)))
    assert output.text == llm.get_tokenizer().decode(output.token_ids)
    without = LLM(llm.model, kv_cache_memory_bytes=1 << 22)
    plain = only(without.generate([PROMPT], SamplingParams(max_tokens=40, seed=2, logprobs=0)))
    assert plain.token_ids == output.token_ids
    assert plain.text == ""
    assert plain.logprobs is not None
    assert plain.logprobs[0][plain.token_ids[0]].decoded_token is None


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("start", [0, 7, 12])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_stop_string_ends_the_text_before_it(llm: LLM, start: int, length: int, include: bool) -> None:
    free = only(llm.generate([PROMPT], SamplingParams(max_tokens=30, seed=3)))
    decode = llm.get_tokenizer().decode
    # Longer than any token's text is what only several tokens can spell.
    stop = free.text[start : start + length]
    at = free.text.index(stop)
    params = SamplingParams(
        max_tokens=30, seed=3, stop=["\x00absent", stop], include_stop_str_in_output=include
    )
    output = only(llm.generate([PROMPT], params))
    assert output.text == free.text[: at + (length if include else 0)]
    assert (output.finish_reason, output.stop_reason) == ("stop", stop)
    # It ended with the first token that completes the string.
    assert output.token_ids == free.token_ids[: len(output.token_ids)]
    assert stop in decode(output.token_ids)
    assert stop not in decode(output.token_ids[:-1])


def test_of_several_stop_strings_in_one_token_the_earliest_text_is_safe(llm: LLM) -> None:
    """A string and its own start: the text ends before both."""
    free = only(llm.generate([PROMPT], SamplingParams(max_tokens=30, seed=4)))
    stop = free.text[9:12]
    params = SamplingParams(max_tokens=30, seed=4, stop=(stop, stop[:2]))
    output = only(llm.generate([PROMPT], params))
    assert output.finish_reason == "stop"
    assert output.text == free.text[: free.text.index(stop[:2])]


WORDS = [
    "<unk>",
    "</s>",
    "\u2581I",
    "\u2581am",
    "\u2581understanding",
    "\u2581a",
    "b",
    "<0x0A>",
    "<0xE2>",
    "<0x82>",
    "<0xAC>",
]


def spelling(model: Transformer, tokens: Sequence[str], **options: Any) -> tuple[LLM, SamplingParams]:
    """An LLM of a tokenizer with byte tokens, as SentencePiece has them, and params that sample these."""
    words = [*WORDS, *(f"w{i}" for i in range(VOCABULARY - len(WORDS)))]
    backend = tokenizers.Tokenizer(
        models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True)
    )
    steps = [
        decoders.Replace("\u2581", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    backend.decoder = decoders.Sequence(steps)
    backend.add_tokens([AddedToken("</s>", special=True)])
    tokenizer = Tokenizer(backend, eos_token_ids=(words.index("</s>"),))

    def forced(output_ids: list[int], logits_V: torch.Tensor) -> torch.Tensor:
        return torch.full_like(logits_V, -torch.inf).index_fill_(
            0, torch.tensor([words.index(tokens[len(output_ids)])]), 0.0
        )

    options = {"max_tokens": len(tokens), **options}
    return LLM(model, tokenizer, kv_cache_memory_bytes=1 << 22), SamplingParams(
        logits_processors=[forced], **options
    )


AM = ("\u2581I", "\u2581am")


@pytest.mark.parametrize(
    ("tokens", "stop", "text", "count", "reason"),
    [
        # The newline is a byte token: it ends the sample by itself, as the last token, before more of a run.
        ((*AM, "<0x0A>", "b", "b"), "\n", "I am", 3, "\n"),
        ((*AM, "<0x0A>"), "\n", "I am", 3, "\n"),
        ((*AM, "<0x0A>", "</s>"), "\n", "I am", 3, "\n"),
        ((*AM, "<0x0A>", "<0x0A>", "b"), "\n\n", "I am", 4, "\n\n"),
        ((*AM, "<0x0A>", "<0xE2>", "<0x82>", "<0xAC>"), "\u20ac", "I am\n", 6, "\u20ac"),
        ((*AM, "<0xE2>", "<0x82>", "<0xAC>", "b"), "\u20ac", "I am", 5, "\u20ac"),
        # Half a character, which the end of the sample makes text.
        ((*AM, "<0xE2>"), "\ufffd", "I am", 3, "\ufffd"),
        ((*AM, "<0xE2>", "</s>"), "\ufffd", "I am", 4, "\ufffd"),
        # The one that is completed first, whatever their order; of two completed at once, the first given.
        ((*AM, "\u2581understanding"), ("stand", "under"), "I am ", 3, "under"),
        ((*AM, "\u2581understanding"), ("standing", "ing"), "I am under", 3, "standing"),
        ((*AM, "b"), "\n", "I amb", 3, None),
    ],
)
def test_stop_strings_end_a_sample_at_once(
    model: Transformer, tokens: tuple[str, ...], stop: Any, text: str, count: int, reason: str | None
) -> None:
    llm, params = spelling(model, tokens, stop=stop)
    output = only(llm.generate([[5, 6]], params))
    assert (output.text, len(output.token_ids), output.stop_reason) == (text, count, reason)
    assert output.finish_reason == ("length" if reason is None else "stop")


def test_newlines_stream(model: Transformer) -> None:
    tokens = (*AM, "<0x0A>", "\u2581a", "<0xE2>", "<0x82>", "<0xAC>", "<0x0A>", "<0xE2>", "b")
    llm, params = spelling(model, tokens, output_kind=RequestOutputKind.DELTA)
    parts = [output.outputs[0].text for output in llm.stream([[5, 6]], params)]
    assert parts == ["I", " am", "\n", " a", "", "", "\u20ac", "\n", "", "\ufffdb"]


def test_a_finish_reason_is_streamed_once(model: Transformer) -> None:
    params = SamplingParams(n=4, seed=1, temperature=2.0, max_tokens=12, output_kind=RequestOutputKind.DELTA)
    llm = make_llm(model, eos=range(40))
    seen = [sample for output in llm.stream([PROMPT], params) for sample in output.outputs]
    assert len({len(whole.token_ids) for whole in llm.generate([PROMPT], params)[0].outputs}) > 1
    for i in range(4):
        reasons = [sample.finish_reason for sample in seen if sample.index == i]
        assert reasons[-1] is not None and set(reasons[:-1]) <= {None}


def test_a_stop_string_as_plain_text_is_one_string(llm: LLM) -> None:
    assert SamplingParams(stop="abc").stop_strings == ("abc",)
    assert SamplingParams(stop=["a", "b"]).stop_strings == ("a", "b")
    assert SamplingParams().stop_strings == ()


def test_stop_token_ids_end_a_sample_and_stay_in_it(llm: LLM) -> None:
    free = only(llm.generate([PROMPT], SamplingParams(max_tokens=20, seed=5)))
    token = free.token_ids[6]
    first = free.token_ids.index(token)
    params = SamplingParams(max_tokens=20, seed=5, stop_token_ids=[token])
    output = only(llm.generate([PROMPT], params))
    assert output.token_ids == free.token_ids[: first + 1]
    assert (output.finish_reason, output.stop_reason) == ("stop", token)


def test_end_of_sequence_ends_a_sample_unless_ignored(model: Transformer, llm: LLM) -> None:
    free = only(llm.generate([PROMPT], SamplingParams(max_tokens=20, seed=6)))
    eos = free.token_ids[8]
    first = free.token_ids.index(eos)
    other = make_llm(model, eos=(130, eos))
    output = only(other.generate([PROMPT], SamplingParams(max_tokens=20, seed=6)))
    assert output.token_ids == free.token_ids[: first + 1]
    assert (output.finish_reason, output.stop_reason) == ("stop", eos)  # not the tokenizer's first, so named
    first_of_two = make_llm(model, eos=(eos, 130))
    output = only(first_of_two.generate([PROMPT], SamplingParams(max_tokens=20, seed=6)))
    assert (output.finish_reason, output.stop_reason) == ("stop", None)
    ignoring = SamplingParams(max_tokens=20, seed=6, ignore_eos=True)
    output = only(other.generate([PROMPT], ignoring))
    assert output.token_ids == free.token_ids
    assert output.finish_reason == "length"
    asked = SamplingParams(max_tokens=20, seed=6, ignore_eos=True, stop_token_ids=(eos,))
    output = only(other.generate([PROMPT], asked))
    assert (len(output.token_ids), output.stop_reason) == (first + 1, eos)


def test_the_last_token_that_stops_is_a_stop(llm: LLM) -> None:
    """Stopped and out of tokens at once: the reason is the stop."""
    free = only(llm.generate([PROMPT], SamplingParams(max_tokens=9, seed=7))).token_ids
    new = max(i for i, token in enumerate(free) if token not in free[:i])
    assert new > 0
    params = SamplingParams(max_tokens=new + 1, seed=7, stop_token_ids=(free[new],))
    output = only(llm.generate([PROMPT], params))
    assert output.token_ids == free[: new + 1]
    assert (output.finish_reason, output.stop_reason) == ("stop", free[new])


@pytest.mark.parametrize("max_tokens", [None, 10_000])
def test_samples_end_with_the_context(tiny_llama: Callable[..., Transformer], max_tokens: int | None) -> None:
    llm = make_llm(tiny_llama("fp32", max_position_embeddings=70))
    params = SamplingParams(max_tokens=max_tokens, seed=8)
    for length in (1, 65, 69):
        output = only(llm.generate([[1] * length], params))
        assert length + len(output.token_ids) == 70
        assert output.finish_reason == "length"


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("count", [0, 1, 4, -1])
def test_logprobs_hold_the_sampled_token_and_the_likeliest(llm: LLM, temperature: float, count: int) -> None:
    params = SamplingParams(max_tokens=6, seed=9, temperature=temperature, logprobs=count)
    output = only(llm.generate([PROMPT], params))
    assert output.logprobs is not None
    assert len(output.logprobs) == len(output.token_ids) == 6
    decode = llm.get_tokenizer().decode
    for i, (token, entries) in enumerate(zip(output.token_ids, output.logprobs, strict=True)):
        prefix = PROMPT + output.token_ids[:i]
        (row,) = llm.next_token_logprobs([prefix], temperature or 1.0)
        ranked = row.argsort(descending=True, stable=True).tolist()
        assert next(iter(entries)) == token
        k = VOCABULARY if count == -1 else count
        assert set(entries) == {token, *ranked[:k]}
        assert k <= len(entries) <= k + 1
        for candidate, entry in entries.items():
            assert entry.logprob == row[candidate].item()
            assert entry.rank == ranked.index(candidate) + 1
            assert entry.decoded_token == decode([candidate], skip_special_tokens=False)
        if temperature == 0:
            assert entries[token].rank == 1
    expected = math.fsum(e[t].logprob for t, e in zip(output.token_ids, output.logprobs, strict=True))
    assert output.cumulative_logprob == pytest.approx(expected, rel=1e-12)


def test_logprobs_that_nobody_asked_for_are_none(llm: LLM) -> None:
    output = only(llm.generate([PROMPT], SamplingParams(max_tokens=3)))
    assert output.logprobs is None
    assert output.cumulative_logprob is None


def test_asking_for_logprobs_changes_no_token(llm: LLM) -> None:
    with_, without = (
        only(llm.generate([PROMPT], SamplingParams(max_tokens=20, seed=10, logprobs=k))) for k in (5, None)
    )
    assert with_.token_ids == without.token_ids


def test_seeds(model: Transformer) -> None:
    llm = make_llm(model)

    def tokens(llm: LLM, seed: int | None, n: int = 1) -> list[list[int]]:
        params = SamplingParams(max_tokens=16, seed=seed, n=n)
        return [output.token_ids for output in llm.generate([PROMPT], params)[0].outputs]

    assert tokens(llm, 11) == tokens(llm, 11)
    assert tokens(llm, 11) != tokens(llm, 12)
    several = tokens(llm, 11, n=5)
    assert several[:1] == tokens(llm, 11)
    assert len({tuple(one) for one in several}) == 5
    # Without a seed every request draws others, and a sampler made alike draws alike.
    first, second = tokens(llm, None), tokens(llm, None)
    assert first != second
    fresh = make_llm(model)
    again = [tokens(fresh, None), tokens(fresh, None)]
    reborn = make_llm(model)
    assert again == [tokens(reborn, None), tokens(reborn, None)]
    assert again[0] != tokens(make_llm(model, seed=1), None)


def test_equal_prompts_without_seeds_draw_apart(llm: LLM) -> None:
    outputs = llm.generate([PROMPT] * 4, SamplingParams(max_tokens=16))
    assert len({tuple(only([request]).token_ids) for request in outputs}) == 4


def test_greedy_takes_the_likeliest_whatever_the_seed(llm: LLM) -> None:
    params = [SamplingParams(temperature=0, max_tokens=8, seed=seed) for seed in (1, 2)]
    first, second = (only(llm.generate([PROMPT], one)) for one in params)
    assert first.token_ids == second.token_ids
    sequence = list(PROMPT)
    for token in first.token_ids:
        (row,) = llm.next_token_logprobs([sequence])
        assert token == int(row.argmax())
        sequence.append(token)


def test_num_cached_tokens(model: Transformer) -> None:
    prompt = [(7 * i) % VOCABULARY for i in range(200)]
    params = SamplingParams(max_tokens=2, seed=0)
    llm = make_llm(model)

    def cached(tokens: list[int]) -> int:
        return llm.generate([tokens], params)[0].num_cached_tokens

    assert cached(prompt) == 0
    # The last token is computed anyway: its row makes the first logits.
    assert cached(prompt) == 199
    assert cached(prompt[:64]) == 63
    assert cached([*prompt[:100], 1, 2, 3]) == 100
    assert cached([1, *prompt]) == 0
    llm.reset_prefix_cache()
    assert cached(prompt) == 0
    off = make_llm(model, enable_prefix_caching=False)
    for _ in range(2):
        assert off.generate([prompt], params)[0].num_cached_tokens == 0


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(MinillmError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "empty"),
        ("", "empty"),
        ({"prompt_token_ids": []}, "empty"),
        ([1] * 512, "longer than the model's context of 512"),
        ([1, 2, VOCABULARY], f"token id {VOCABULARY} is out of vocabulary"),
        ([1, -1], "token id -1 is out of vocabulary"),
        ({"text": "hello"}, "'prompt' or 'prompt_token_ids'"),
        ({"prompt": "a", "multi_modal_data": {"image": 1}}, "'multi_modal_data' is not supported"),
        ({"prompt_token_ids": [1], "cache_salt": "x"}, "'cache_salt' is not supported"),
        ([7] * 400, "give more kv_cache_memory_bytes"),
    ],
)
def test_a_bad_prompt_is_refused_before_anything_runs(
    model: Transformer, monkeypatch: pytest.MonkeyPatch, prompt: Any, message: str
) -> None:
    page_bytes = 2 * 2 * 2 * 16 * 64 * 4
    llm = make_llm(model, kv_cache_memory_bytes=5 * page_bytes)
    good = PROMPT

    def step() -> None:
        raise AssertionError("a forward ran")

    with monkeypatch.context() as patched:
        patched.setattr(llm._engine, "step", step)
        assert message in refusal(lambda: llm.generate([good, prompt]))
        assert message in refusal(lambda: llm.generate([prompt, good]))
    # What was refused is not left behind.
    assert llm._engine.scheduler.pool.held == 0
    assert len(only(llm.generate([good], SamplingParams(max_tokens=3))).token_ids) == 3


def test_an_empty_list_of_ids_among_others_is_an_empty_prompt(llm: LLM) -> None:
    assert "empty" in refusal(lambda: llm.generate([[]]))


def test_next_token_logprobs_refuses_bad_prompts_too(llm: LLM) -> None:
    assert "empty" in refusal(lambda: llm.next_token_logprobs([PROMPT, []]))
    assert "out of vocabulary" in refusal(lambda: llm.next_token_logprobs([[VOCABULARY]]))
    assert llm._engine.scheduler.pool.held == 0
    assert llm.next_token_logprobs([PROMPT]).shape == (1, VOCABULARY)


def test_as_many_params_as_prompts(llm: LLM) -> None:
    message = refusal(lambda: llm.generate([PROMPT] * 3, [SamplingParams()] * 2))
    assert message == "3 prompts but 2 sampling_params"


def test_without_a_tokenizer_text_is_refused(model: Transformer) -> None:
    llm = LLM(model, kv_cache_memory_bytes=1 << 22)
    assert "tokenizer" in refusal(lambda: llm.generate("hello"))
    assert "tokenizer" in refusal(lambda: llm.generate([PROMPT], SamplingParams(stop="x")))
    assert "tokenizer" in refusal(llm.get_tokenizer)


def test_a_cache_of_less_than_a_page_is_refused(model: Transformer) -> None:
    message = refusal(lambda: LLM(model, kv_cache_memory_bytes=1000))
    assert "kv_cache_memory_bytes = 1000 holds not one page" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0),
        ("temperature", -0.1),
        ("temperature", math.inf),
        ("temperature", math.nan),
        ("max_tokens", 0),
        ("max_tokens", -3),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", [3]),
        ("stop_token_ids", ["a"]),
        ("logprobs", -2),
    ],
)
def test_a_parameter_out_of_its_range_is_named(field: str, value: Any) -> None:
    message = refusal(lambda: SamplingParams(**{field: value}))
    assert message.startswith(f"{field} must be ")
    assert repr(value) in message


def test_an_exception_in_the_middle_leaves_no_page_held(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    step, steps = llm._engine.step, 0

    def failing() -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        return step()

    with monkeypatch.context() as patched:
        patched.setattr(llm._engine, "step", failing)
        with pytest.raises(KeyboardInterrupt):
            llm.generate([PROMPT] * 3, SamplingParams(max_tokens=9))
    assert llm._engine.scheduler.pool.held == 0
    params = SamplingParams(max_tokens=9, seed=1)
    after, fresh = (only(one.generate([PROMPT], params)) for one in (llm, make_llm(llm.model)))
    assert after.token_ids == fresh.token_ids


def quantile(freedom: int, z: float = 3.72) -> float:
    """Chi-square's 1 - 1e-4 quantile, by Wilson and Hilferty (1931)."""
    h = 2 / (9 * freedom)
    return float(freedom * (1 - h + z * math.sqrt(h)) ** 3)


def chi_square(counts: Sequence[int], probabilities: Sequence[float]) -> tuple[float, int]:
    """(statistic, degrees of freedom); outcomes rarer than 5 in expectation are taken together."""
    total = sum(counts)
    pairs = sorted(zip(probabilities, counts, strict=True), reverse=True)
    cells = [(p, c) for p, c in pairs if p * total >= 5]
    rare = [(p, c) for p, c in pairs if p * total < 5]
    if rare and sum(p for p, _ in rare) * total >= 5:
        cells.append((sum(p for p, _ in rare), sum(c for _, c in rare)))
    statistic = sum((c - p * total) ** 2 / (p * total) for p, c in cells)
    return statistic, len(cells) - 1


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_draws_follow_the_softmax(seed: int) -> None:
    logits = torch.tensor([0.3, -2.0, 1.7, -torch.inf, 0.0, -4.0, 1.69])
    draws = 20_000
    rows = torch.log_softmax(logits, dim=-1).expand(draws, -1)
    tokens = Rows(rows, torch.ones(len(rows))).draw([uniform(seed, 5, i) for i in range(draws)])
    counts = Counter(tokens.tolist())
    assert counts[3] == 0
    probabilities = torch.softmax(logits.double(), dim=-1).tolist()
    statistic, freedom = chi_square([counts[i] for i in range(7)], probabilities)
    assert freedom == 5
    assert statistic < quantile(freedom)
    # The test has power: another temperature is seen.
    warmer = torch.softmax(logits.double() / 1.1, dim=-1).tolist()
    assert chi_square([counts[i] for i in range(7)], warmer)[0] > quantile(freedom)


def test_the_ends_of_the_unit_interval_draw_tokens_that_have_mass() -> None:
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 2.0, -torch.inf]]).expand(2, -1)
    tokens = Rows(logits, torch.ones(len(logits))).draw([0.0, 1 - 2.0**-53])
    assert tokens.tolist() == [1, 3]


def test_uniforms_are_functions_of_their_arguments_and_look_independent() -> None:
    assert uniform(1, 2, 3) == uniform(1, 2, 3)
    assert uniform(1, 23, 4) != uniform(12, 3, 4)
    by_position = [uniform(0, 0, i) for i in range(8000)]
    by_request = [uniform(0, i, 0) for i in range(8000)]
    by_seed = [uniform(i, 0, 0) for i in range(8000)]
    for numbers in (by_position, by_request, by_seed):
        assert min(numbers) >= 0
        assert max(numbers) < 1
        cells = Counter((int(4 * a), int(4 * b)) for a, b in pairwise(numbers))
        counts = [cells[i, j] for i in range(4) for j in range(4)]
        statistic, freedom = chi_square(counts, [1 / 16] * 16)
        assert freedom == 15
        assert statistic < quantile(freedom)


def test_samples_follow_the_models_distribution(llm: LLM) -> None:
    (row,) = llm.next_token_logprobs([PROMPT], temperature=1.3)
    params = SamplingParams(n=2000, temperature=1.3, max_tokens=1, seed=0)
    counts = Counter(o.token_ids[0] for o in llm.generate([PROMPT], params)[0].outputs)
    probabilities = row.double().exp().tolist()
    statistic, freedom = chi_square([counts[i] for i in range(VOCABULARY)], probabilities)
    assert freedom >= 5
    assert statistic < quantile(freedom)


S = 4  # page size of the machine below
Tokens = st.lists(st.integers(0, 1), min_size=1, max_size=14)


class Held:
    """A sequence as the engine holds it: some of its tokens are written into its pages."""

    def __init__(self, tokens: list[int], pages: list[int], written: int) -> None:
        self.tokens, self.pages, self.written = tokens, pages, written


class PagePoolMachine(RuleBasedStateMachine):
    """Engine-like use of a pool, beside a model of what every page's memory holds.

    A key depends on all tokens before it too, so a page's memory is modelled as its sequence's
    tokens from the first one to the last that was written to the page.
    """

    NUM_PAGES = 7

    @initialize()
    def start(self) -> None:
        self.pool = PagePool(self.NUM_PAGES)
        self.memory: dict[int, list[int]] = {}
        self.live: list[Held] = []

    def check_match(self, tokens: list[int]) -> tuple[list[int], tuple[int, int]]:
        full, (partial, count) = self.pool.match(tokens)
        for i, page in enumerate(full):
            assert self.memory[page][: (i + 1) * S] == tokens[: (i + 1) * S]
        assert 0 <= count < S
        if count:
            end = len(full) * S + count
            assert self.memory[partial][:end] == tokens[:end]
        return full, (partial, count)

    def write(self, held: Held, upto: int) -> None:
        for i, page in enumerate(held.pages):
            if i * S < upto and held.written < (i + 1) * S:
                self.memory[page] = held.tokens[: min(upto, (i + 1) * S)]
        held.written = max(held.written, upto)

    def holders(self) -> Counter[int]:
        return Counter(page for held in self.live for page in held.pages)

    @rule(tokens=Tokens, extra=st.integers(0, 6), first=st.integers(1, 14))
    def admit(self, tokens: list[int], extra: int, first: int) -> None:
        full, (partial, count) = self.check_match(tokens[:-1])
        for page in full:
            self.pool.hold(page)
        needed = -(-(len(tokens) + extra) // S) - len(full)
        if needed > self.pool.available:
            self.pool.drop(full)
            return
        if count:
            self.pool.hold(partial)
        if count and needed > self.pool.available:
            self.pool.drop([partial])
            count = 0
        taken = self.pool.take(needed)
        assert len(set(taken)) == needed
        busy = {*self.holders(), *full, *([partial] if count else [])}
        assert not busy.intersection(taken), "a held page was given out"
        for page in taken:
            self.memory.pop(page, None)
        held = Held(list(tokens), full + taken, len(full) * S)
        if count:
            self.memory[taken[0]] = list(self.memory[partial][: len(full) * S + count])
            held.written += count
            self.pool.drop([partial])
        self.live.append(held)
        self.compute(held, first)

    def compute(self, held: Held, count: int) -> None:
        upto = min(len(held.tokens), held.written + count)
        self.write(held, upto)
        self.pool.index(held.tokens[:upto], held.pages)

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 99), count=st.integers(1, 9))
    def prefill(self, which: int, count: int) -> None:
        held = self.live[which % len(self.live)]
        if held.written < len(held.tokens):
            self.compute(held, count)

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 99), token=st.integers(0, 1))
    def decode(self, which: int, token: int) -> None:
        """A sampled token is written and not indexed."""
        held = self.live[which % len(self.live)]
        if held.written == len(held.tokens) < len(held.pages) * S:
            held.tokens.append(token)
            self.write(held, len(held.tokens))

    @precondition(lambda self: self.live)
    @rule(which=st.integers(0, 99))
    def finish(self, which: int) -> None:
        self.pool.drop(self.live.pop(which % len(self.live)).pages)

    @rule()
    def reset(self) -> None:
        self.pool.reset()
        assert self.pool.match([0, 1, 0, 1, 1]) == ([], (-1, 0))

    @rule(tokens=Tokens)
    def look_up(self, tokens: list[int]) -> None:
        self.check_match(tokens)

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "pool"):
            held = self.holders()
            assert self.pool.held == len(held)
            assert self.pool.available == self.NUM_PAGES - len(held)

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            for held in self.live:
                self.pool.drop(held.pages)
            assert self.pool.held == 0
            assert sorted(self.pool.take(self.NUM_PAGES)) == list(range(self.NUM_PAGES))
            assert self.pool.available == 0
            assert self.pool.match([0] * 9) == ([], (-1, 0))


def test_pages_are_never_lost_shared_by_mistake_or_mislabelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache_module, "PAGE_SIZE", S)
    run_state_machine_as_test(
        PagePoolMachine,
        settings=settings(max_examples=150, stateful_step_count=40, deadline=None),
    )


def test_idle_pages_go_least_recently_used_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "PAGE_SIZE", S)
    pool = PagePool(3)
    first, second = pool.take(1), pool.take(1)
    pool.index([1, 1, 1, 1], first)
    pool.index([2, 2, 2, 2], second)
    pool.drop(first)
    pool.drop(second)
    pool.take(1)  # the free one
    assert pool.take(1) == first
    assert pool.match([1, 1, 1, 1]) == ([], (-1, 0))
    assert pool.match([2, 2, 2, 2]) == (second, (-1, 0))
