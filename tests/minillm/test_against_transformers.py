"""What `LLM` gives beside what transformers gives: greedy tokens, logprobs and ranks, beam search."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from tokenizers import decoders, models

from minillm import LLM, BeamSearchParams, Logprob, SamplingParams, Tokenizer, Transformer, save_model
from minillm.model.kv_cache import KVCache

GOLDEN = Path(__file__).parents[1] / "golden"
# Logits nearer than this may change places.
NEAR = 1e-4
LONGEST = 1500
NEW_TOKENS = 8

Greedy = list[tuple[list[int], list[int]]]  # (prompt, tokens after it)


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def theirs(transformers: Any, demo_model_path: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(demo_model_path, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def text_ids(demo_model_path: Path) -> list[int]:
    tokenizer = Tokenizer.from_folder(demo_model_path)
    texts = [(GOLDEN / f"smollm2_{name}.txt").read_text() for name in ("english", "python")]
    return [token for text in texts for token in tokenizer.encode(text)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Of two OpenMP threads that share a core with other work, each spins while the other waits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)


def their_logits(theirs: Any, prompt: Sequence[int], tokens: Sequence[int]) -> torch.Tensor:
    """Logits that each of `tokens` is chosen from, (len(tokens), V)."""
    ids = torch.tensor([[*prompt, *tokens[:-1]]])
    with one_thread():
        return theirs(ids, use_cache=False, logits_to_keep=len(tokens)).logits[0]  # type: ignore[no-any-return]


def their_logits_of_prefixes(
    transformers: Any, theirs: Any, document: Sequence[int], greedy: Greedy
) -> Iterator[torch.Tensor]:
    """The same for prompts that start `document`, the longest first: its keys are computed once."""
    cache = transformers.DynamicCache(config=theirs.config)
    with one_thread():
        theirs(torch.tensor([list(document)]), past_key_values=cache, logits_to_keep=1)
        for prompt, tokens in greedy:
            assert list(document[: len(prompt)]) == prompt
            cache.crop(len(prompt) - 1 - cache.get_seq_length())
            ids = torch.tensor([[prompt[-1], *tokens[:-1]]])
            yield theirs(ids, past_key_values=cache).logits[0]


def compare(logits_RV: torch.Tensor, tokens: Sequence[int], tied: list[float], where: object) -> None:
    """Asserts that each token is the likeliest of its row; notes the lead of one that loses a near tie."""
    for i, token in enumerate(tokens):
        lead = float(logits_RV[i].max() - logits_RV[i, token])
        if token != int(logits_RV[i].argmax()):
            assert lead < NEAR, (where, i, token, lead)
            tied.append(lead)


def mixed_documents(text_ids: list[int], vocabulary: int, rng: random.Random) -> list[list[int]]:
    """Text, random ids, and pieces of both."""
    text = (text_ids * 2)[:LONGEST]
    noise = [rng.randrange(vocabulary) for _ in range(LONGEST)]
    pieces = [token for i in range(0, LONGEST, 60) for token in (text[i : i + 40] + noise[i : i + 20])]
    return [text, noise, pieces]


def test_greedy_tokens_of_200_prompts_in_one_batch(
    text_ids: list[int],
    transformers: Any,
    theirs: Any,
    load_demo_model: Callable[[str], Transformer],
    record_property: Callable[[str, object], None],
) -> None:
    """Of 1 to 1,500 tokens: 40 of their own, and 160 that start one of three documents."""
    model, rng = load_demo_model("fp32"), random.Random(0)
    documents = mixed_documents(text_ids, model.config.vocab_size, rng)

    def lengths(count: int, *some: int) -> list[int]:
        return [*some, *(int(math.exp(rng.uniform(0, math.log(LONGEST)))) for _ in range(count - len(some)))]

    slices: list[list[int]] = []
    for i, length in enumerate(lengths(40, 1, 2, 63, 64, 65, 127, 129, LONGEST)):
        start = rng.randrange(len(text_ids))
        text = (text_ids[start:] + text_ids)[:length]
        slices.append(text if i % 2 else [rng.randrange(model.config.vocab_size) for _ in range(length)])
    prefixes = [sorted(lengths(n, 1, 64, LONGEST), reverse=True) for n in (54, 53, 53)]
    started = [
        (documents[d], [documents[d][:length] for length in wanted]) for d, wanted in enumerate(prefixes)
    ]
    prompts = slices + [prompt for _, some in started for prompt in some]
    assert len(prompts) == 200
    order = rng.sample(range(200), 200)
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
    llm = LLM(model)
    outputs = llm.generate([prompts[i] for i in order], params)
    assert llm._engine.scheduler.pool.held == 0
    tokens = {i: output.outputs[0].token_ids for i, output in zip(order, outputs, strict=True)}
    assert {len(found) for found in tokens.values()} == {NEW_TOKENS}

    tied: list[float] = []
    for i, prompt in enumerate(slices):
        compare(their_logits(theirs, prompt, tokens[i]), tokens[i], tied, (i, len(prompt)))
    at = len(slices)
    for document, some in started:
        greedy = [(prompt, tokens[at + j]) for j, prompt in enumerate(some)]
        rows = their_logits_of_prefixes(transformers, theirs, document, greedy)
        for (prompt, found), logits_RV in zip(greedy, rows, strict=True):
            compare(logits_RV, found, tied, (at, len(prompt)))
        at += len(some)
    record_property("near_ties", tied)
    # Some in a thousand tokens at most: what loses is as likely, but for the last bits.
    assert len(tied) <= 3, tied


def check_entries(
    entries: dict[int, Logprob], logits_V: torch.Tensor, token: int, count: int, heat: float
) -> None:
    """A token's logprobs and ranks, and those of the `count` likeliest, beside transformers' logits."""
    expected_V = torch.log_softmax(logits_V / heat, dim=-1)
    assert next(iter(entries)) == token
    assert count <= len(entries) <= count + 1
    for i, entry in entries.items():
        assert abs(entry.logprob - float(expected_V[i])) < 1e-4
        # Either rank, where another logit is as near as that.
        least = int((logits_V > logits_V[i] + NEAR).sum()) + 1
        most = int((logits_V > logits_V[i] - NEAR).sum())
        assert entry.rank is not None
        assert least <= entry.rank <= most
    # The token's own rank may be any; of the others there is one each.
    assert sorted(entry.rank or 0 for entry in list(entries.values())[1:]) == [
        rank for rank in range(1, count + 1) if entries[token].rank != rank
    ]


@pytest.mark.parametrize("heat", [1.0, 0.7])
def test_logprobs_and_ranks(
    heat: float, text_ids: list[int], theirs: Any, load_demo_model: Callable[[str], Transformer]
) -> None:
    model, rng = load_demo_model("fp32"), random.Random(1)
    lengths = (1, 2, 17, 64, 65, 130) if heat == 1 else (3, 80)
    prompts = [text_ids[9 * n : 10 * n] for n in lengths[:-1]]
    prompts.append([rng.randrange(model.config.vocab_size) for _ in range(lengths[-1])])
    params = SamplingParams(
        temperature=heat, max_tokens=6, seed=2, logprobs=4, prompt_logprobs=3, ignore_eos=True
    )
    # Chunks of 48 tokens: a prompt's rows come from several steps.
    for request in LLM(model, max_num_batched_tokens=48).generate(prompts, params):
        prompt, (output,) = request.prompt_token_ids, request.outputs
        assert request.prompt_logprobs is not None
        assert output.logprobs is not None
        assert request.prompt_logprobs[0] is None
        assert len(request.prompt_logprobs) == len(prompt)
        assert len(output.logprobs) == len(output.token_ids) == 6
        tokens = [*prompt, *output.token_ids]
        logits_RV = their_logits(theirs, prompt[:1], tokens[1:])
        found = [*request.prompt_logprobs[1:], *output.logprobs]
        for i, (token, entries) in enumerate(zip(tokens[1:], found, strict=True)):
            assert entries is not None
            check_entries(entries, logits_RV[i], token, 3 if i < len(prompt) - 1 else 4, heat)
        chosen = [
            entries[token].logprob for token, entries in zip(output.token_ids, output.logprobs, strict=True)
        ]
        assert output.cumulative_logprob == pytest.approx(math.fsum(chosen), rel=1e-9)


def plain_tokenizer(vocabulary: int, eos: Sequence[int]) -> Tokenizer:
    backend = tokenizers.Tokenizer(models.WordLevel({f"w{i}": i for i in range(vocabulary)}, unk_token="w0"))
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend, eos_token_ids=eos)


def their_beams(
    theirs: Any, prompt: Sequence[int], params: BeamSearchParams, eos: Sequence[int]
) -> list[tuple[list[int], float]]:
    """(continuation, score), the best first."""
    width = params.beam_width
    with one_thread():
        found = theirs.generate(
            torch.tensor([list(prompt)]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            num_beams=width,
            num_return_sequences=width,
            do_sample=False,
            max_new_tokens=params.max_tokens,
            length_penalty=params.length_penalty,
            early_stopping=False,
            eos_token_id=list(eos) if eos else None,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
        )
    rows = found.sequences[:, len(prompt) :].tolist()
    if width == 1:  # transformers then goes another way, and gives no score
        (row,) = rows
        end = next((i + 1 for i, token in enumerate(row) if token in eos), len(row))
        return [(row[:end], math.nan)]
    lengths = (found.beam_indices >= 0).sum(1).tolist()
    scores = found.sequences_scores.tolist()
    return [(row[:n], score) for row, n, score in zip(rows, lengths, scores, strict=True)]


def compare_beams(
    llm: LLM, theirs: Any, prompts: Sequence[list[int]], params: BeamSearchParams, eos: Sequence[int]
) -> list[str]:
    """Asserts that each prompt has the same sequences in the same order; why they ended."""
    reasons = []
    outputs = llm.beam_search(prompts, params)
    assert llm._engine.scheduler.pool.held == 0
    for prompt, output in zip(prompts, outputs, strict=True):
        expected = their_beams(theirs, prompt, params, eos)
        assert [sequence.tokens for sequence in output.sequences] == [prompt + row for row, _ in expected]
        for sequence, (row, score) in zip(output.sequences, expected, strict=True):
            ended = row[-1] in eos
            assert sequence.finish_reason == ("stop" if ended else "length")
            reasons.append(sequence.finish_reason)
            assert len(sequence.logprobs) == len(row)
            values = [entries[token].logprob for token, entries in zip(row, sequence.logprobs, strict=True)]
            assert sequence.cum_logprob == pytest.approx(math.fsum(values), abs=1e-4)
            if params.beam_width > 1:
                mine = sequence.cum_logprob / len(row) ** params.length_penalty
                assert mine == pytest.approx(score, abs=1e-4 * max(1, abs(score)))
    return reasons


TINY_EOS = {"none": (), "one": (7,), "many": tuple(range(0, 131, 2)), "most": tuple(range(100))}


@pytest.mark.parametrize("length_penalty", [1.0, 0.0, 0.6, 2.0, -1.0])
@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("eos", TINY_EOS)
def test_beam_search_of_a_tiny_model(
    eos: str,
    width: int,
    length_penalty: float,
    transformers: Any,
    tiny_llama: Callable[..., Transformer],
    tmp_path: Path,
) -> None:
    model, rng = tiny_llama("fp32"), random.Random(3)
    save_model(model, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    llm = LLM(model, plain_tokenizer(131, TINY_EOS[eos]), kv_cache_memory_bytes=1 << 24)
    prompts = [[rng.randrange(131) for _ in range(n)] for n in (1, 5, 63, 64, 90)]
    params = BeamSearchParams(width, max_tokens=9, length_penalty=length_penalty)
    reasons = compare_beams(llm, theirs, prompts, params, TINY_EOS[eos])
    assert len(reasons) == 5 * width
    if eos in ("many", "most"):
        assert "stop" in reasons
    if eos != "none":
        ignoring = BeamSearchParams(width, max_tokens=9, length_penalty=length_penalty, ignore_eos=True)
        assert set(compare_beams(llm, theirs, prompts[:2], ignoring, ())) == {"length"}


@pytest.mark.parametrize(("slots", "pages", "budget"), [(1, 4, 2048), (3, 6, 7), (64, 2, 64)])
def test_beam_search_where_there_is_little_room(
    slots: int,
    pages: int,
    budget: int,
    transformers: Any,
    tiny_llama: Callable[..., Transformer],
    tmp_path: Path,
) -> None:
    """Beams wait for one another, and give their pages back and forth."""
    model, rng = tiny_llama("fp32"), random.Random(4)
    save_model(model, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    llm = LLM(
        model,
        plain_tokenizer(131, (7,)),
        kv_cache_memory_bytes=pages * KVCache.page_bytes(model.config, model.precision),
        max_num_seqs=slots,
        max_num_batched_tokens=budget,
    )
    prompts = [[rng.randrange(131) for _ in range(n)] for n in (1, 63, 90)]
    compare_beams(llm, theirs, prompts, BeamSearchParams(4, max_tokens=9), (7,))
    assert llm._engine.scheduler.preemptions > 0


@pytest.mark.parametrize(("width", "length_penalty"), [(1, 1.0), (2, 1.0), (4, 0.0), (4, 1.5)])
def test_beam_search_of_the_demo_model(
    width: int,
    length_penalty: float,
    text_ids: list[int],
    theirs: Any,
    demo_model_path: Path,
    load_demo_model: Callable[[str], Transformer],
) -> None:
    tokenizer = Tokenizer.from_folder(demo_model_path)
    eos = tokenizer.eos_token_ids
    short = tokenizer.encode("<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\nYes")
    llm = LLM(load_demo_model("fp32"), tokenizer, kv_cache_memory_bytes=1 << 28)
    params = BeamSearchParams(width, max_tokens=10, length_penalty=length_penalty)
    reasons = compare_beams(llm, theirs, [text_ids[:30], text_ids[700:710], short], params, eos)
    assert set(reasons) == {"stop", "length"}
