"""Samples follow the distribution that the parameters define: chi-square against the exact one in float64."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
import tokenizers
import torch
from hypothesis import HealthCheck, Phase, given, settings
from tokenizers import decoders, models, pre_tokenizers

from minillm import LLM, SamplingParams, Tokenizer, Transformer
from minillm.engine import sampler as sampler_module
from minillm.engine.draw import penalize, truncate, uniform
from minillm.model.batch import Batch

VOCABULARY = 131
PROMPT = [5, 17, 40, 99, 3, 17]
# Few enough that all sequences of three can be counted; half of them stand in the prompt, one twice.
FEW = [3, 5, 17, 60, 61, 62]
ENDS = (60, 5)  # the ends of sequence of the `LLM` below
SAMPLES = 1500
# Some 50 tests: a right sampler fails one of them with a probability of 0.5% (and by its seeds, always or
# never).
THRESHOLD = 1e-4

deterministic = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # a counterexample is no smaller for being shrunk
    suppress_health_check=list(HealthCheck),
)


def byte_tokenizer() -> Tokenizer:
    """131 tokens of a byte each."""
    letters = ["Ġ", *sorted({*pre_tokenizers.ByteLevel.alphabet()} - {"Ġ"})][:VOCABULARY]
    backend = tokenizers.Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return Tokenizer(backend, eos_token_ids=ENDS)


@pytest.fixture(scope="module")
def llm(tiny_llama: Callable[..., Transformer]) -> LLM:
    model = tiny_llama("fp32")
    with torch.no_grad():
        model.head.mul_(0.5)  # flatter, so that more tokens are common enough to be counted
    return LLM(
        model,
        byte_tokenizer(),
        kv_cache_memory_bytes=1 << 26,
        max_num_seqs=4096,
        max_num_batched_tokens=1 << 14,
        enable_prefix_caching=False,  # to look for each of so many samples among all the others takes time
    )


@torch.no_grad()
def last_logits(model: Transformer, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """The logits after each sequence, (R, V) in float64."""
    tokens = torch.tensor([token for sequence in sequences for token in sequence])
    batch = Batch.packed([len(sequence) for sequence in sequences])
    ends = torch.tensor(batch.bounds[1:]) - 1
    return model.logits(model(tokens, batch)[ends]).double()


def exact(
    logits_V: torch.Tensor, params: SamplingParams, output: Sequence[int], bad: Sequence[Sequence[int]]
) -> torch.Tensor:
    """The distribution of the next token by its definition, in vLLM's order, (V,) in float64."""
    x = logits_V.clone()
    ids = range(len(x))
    if params.allowed_token_ids is not None:
        x[[i for i in ids if i not in params.allowed_token_ids]] = -torch.inf
    for *before, last in bad:
        if list(output[len(output) - len(before) :]) == before:
            x[last] = -torch.inf
    if len(output) < params.min_tokens:
        x[[*ENDS, *(params.stop_token_ids or ())]] = -torch.inf
    for i, bias in (params.logit_bias or {}).items():
        x[i] += bias
    for i in {*PROMPT, *output}:
        x[i] = x[i] / params.repetition_penalty if x[i] > 0 else x[i] * params.repetition_penalty
    for i, count in Counter(output).items():
        x[i] -= params.frequency_penalty * count + params.presence_penalty
    p = torch.softmax(x / params.temperature, dim=-1)
    p[p < params.min_p * p.max()] = 0
    order = p.argsort(descending=True).tolist()
    if params.top_k > 0:
        p[order[params.top_k :]] = 0
    p /= p.sum()
    mass = 0.0
    for i in order:
        if mass >= params.top_p:
            p[i] = 0
        mass += float(p[i])
    return p / p.sum()


def outcomes(llm: LLM, params: SamplingParams, bad: Sequence[Sequence[int]]) -> dict[tuple[int, ...], float]:
    """Every sequence that can be sampled, with its probability."""
    found: dict[tuple[int, ...], float] = {}
    growing: dict[tuple[int, ...], float] = {(): 1.0}
    stops = {*(params.stop_token_ids or ()), *(() if params.ignore_eos else ENDS)}
    for length in range(1, (params.max_tokens or 0) + 1):
        if not growing:
            break
        rows = last_logits(llm.model, [[*PROMPT, *start] for start in growing])
        grown: dict[tuple[int, ...], float] = {}
        for (start, mass), row in zip(growing.items(), rows, strict=True):
            p = exact(row, params, start, bad)
            for token in p.nonzero().squeeze(1).tolist():
                ends = length == params.max_tokens or token in stops
                (found if ends else grown)[(*start, token)] = mass * float(p[token])
        growing = grown
    assert sum(found.values()) == pytest.approx(1)
    return found


def p_value(counts: Mapping[tuple[int, ...], int], expected: Mapping[tuple[int, ...], float]) -> float:
    """Pearson's chi-square; the rarest outcomes are taken together until 5 are expected of each bin."""
    if not counts.keys() <= expected.keys():
        return 0.0  # what cannot be was sampled
    total = sum(counts.values())
    bins: list[tuple[float, int]] = []
    wanted, seen = 0.0, 0
    for outcome in sorted(expected, key=lambda outcome: expected[outcome]):
        wanted, seen = wanted + expected[outcome] * total, seen + counts.get(outcome, 0)
        if wanted >= 5:
            bins.append((wanted, seen))
            wanted, seen = 0.0, 0
    bins[-1] = (bins[-1][0] + wanted, bins[-1][1] + seen)
    if len(bins) == 1:
        return 1.0
    statistic = sum((seen - wanted) ** 2 / wanted for wanted, seen in bins)
    halves = torch.tensor([(len(bins) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(halves[0], halves[1]))


def fit(llm: LLM, params: SamplingParams, bad: Sequence[Sequence[int]] = (), known: Any = None) -> float:
    """How likely samples as far from the exact distribution are."""
    words = [llm.get_tokenizer().decode(ids) for ids in bad] or None
    (request,) = llm.generate([PROMPT], replace(params, n=SAMPLES, bad_words=words))
    counts = Counter(tuple(output.token_ids) for output in request.outputs)
    assert sum(counts.values()) == SAMPLES
    return p_value(counts, known or outcomes(llm, params, bad))


def tenths(low: int, high: int, but: int | None = None) -> st.SearchStrategy[float]:
    return st.sampled_from([i / 10 for i in range(low, high + 1) if i != but])


few = {
    "allowed_token_ids": st.just(FEW),
    "max_tokens": st.just(3),
    "ignore_eos": st.just(True),
    "temperature": st.just(2.0),  # none of the few is rare then
}
one = {"max_tokens": st.just(1)}
bias = st.dictionaries(st.sampled_from([*FEW, *range(9)]), tenths(-40, 40, but=0), min_size=4, max_size=8)
ids = st.lists(st.integers(0, VOCABULARY - 1), min_size=5, max_size=40, unique=True)
CASES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "nothing": one,
    "temperature": {**one, "temperature": tenths(3, 20, but=10)},
    "top_k": {**one, "top_k": st.integers(3, 60)},
    "top_p": {**one, "top_p": st.sampled_from([0.9, 0.5, 0.75, 0.97, 0.3, 0.99])},
    "min_p": {**one, "min_p": st.integers(2, 40).map(lambda i: i / 100)},
    "truncation": {
        **one,
        "temperature": tenths(5, 20),
        "min_p": st.sampled_from([0.03, 0.0, 0.1]),
        "top_k": st.integers(9, 60),
        "top_p": tenths(5, 9),
    },
    "presence_penalty": {**few, "presence_penalty": tenths(-20, 20, but=0)},
    "frequency_penalty": {**few, "frequency_penalty": tenths(-20, 20, but=0)},
    "repetition_penalty": {**few, "repetition_penalty": tenths(5, 25, but=10)},
    "logit_bias": {**one, "logit_bias": bias},
    "allowed_token_ids": {**one, "allowed_token_ids": ids},
    "bad_words": few,
    "min_tokens": {
        **few,
        "ignore_eos": st.booleans(),
        "min_tokens": st.sampled_from([2, 1, 3]),
        "stop_token_ids": st.sampled_from([(62,), (17, 62), ()]),
    },
    "everything": {
        **few,
        "ignore_eos": st.booleans(),
        "temperature": tenths(10, 20),
        "top_p": tenths(7, 9),
        "top_k": st.sampled_from([5, 4, 0]),
        "min_p": st.sampled_from([0.05, 0.0]),
        "presence_penalty": tenths(-10, 10, but=0),
        "frequency_penalty": tenths(-10, 10, but=0),
        "repetition_penalty": tenths(7, 15, but=10),
        "logit_bias": st.dictionaries(st.sampled_from(FEW), tenths(-9, 9, but=0), min_size=1),
        "min_tokens": st.sampled_from([1, 0, 2]),
        "stop_token_ids": st.sampled_from([(62,), ()]),
    },
}
# At most one of a token alone, so that something is left.
some_words = st.lists(
    st.lists(st.sampled_from([17, 61, 62]), min_size=2, max_size=3), min_size=2, max_size=4, unique_by=tuple
).map(lambda words: [words[0][:1], *words[1:]])


@pytest.mark.parametrize("name", CASES)
@settings(deterministic, max_examples=3)
@given(data=st.data())
def test_samples_follow(name: str, llm: LLM, data: st.DataObject) -> None:
    params = SamplingParams(
        seed=data.draw(st.integers(0, 999)), **data.draw(st.fixed_dictionaries(CASES[name]))
    )
    bad = data.draw(some_words) if name in ("bad_words", "everything") else []
    assert fit(llm, params, bad) > THRESHOLD, (params, bad)


def short_top_p(logits_V: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """One token fewer than top_p keeps."""
    kept_V = truncate(logits_V, params)
    least = kept_V.masked_fill(kept_V == -torch.inf, torch.inf).argmin()
    return kept_V.index_fill(0, least, -torch.inf)


def long_top_k(logits_V: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """One token more than top_k keeps."""
    return truncate(logits_V, replace(params, top_k=params.top_k + 1))


def warm(logits_V: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """A temperature that is a quarter too high."""
    return truncate(logits_V / 1.25, params)


def loose_min_p(logits_V: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Half of min_p."""
    return truncate(logits_V, replace(params, min_p=params.min_p / 2))


def presence_of_the_prompt(
    logits_V: torch.Tensor, params: SamplingParams, prompt: Sequence[int], output: Sequence[int]
) -> torch.Tensor:
    """A presence penalty that counts the prompt."""
    return penalize(logits_V, params, prompt, [*prompt, *output])


def no_count(
    logits_V: torch.Tensor, params: SamplingParams, prompt: Sequence[int], output: Sequence[int]
) -> torch.Tensor:
    """A frequency penalty that does not count."""
    return penalize(logits_V, params, prompt, list(set(output)))


def repetition_of_the_output(
    logits_V: torch.Tensor, params: SamplingParams, prompt: Sequence[int], output: Sequence[int]
) -> torch.Tensor:
    """A repetition penalty that leaves out the prompt."""
    return penalize(logits_V, params, [], output) if output else logits_V


def skewed(seed: int, request: int, position: int) -> float:
    """Draws that are a little too small."""
    return float(uniform(seed, request, position) ** 1.3)


FAULTS: list[tuple[str, Callable[..., Any], dict[str, Any]]] = [
    ("truncate", short_top_p, {"top_p": 0.5, "max_tokens": 1}),
    ("truncate", long_top_k, {"top_k": 10, "max_tokens": 1}),
    ("truncate", warm, {"temperature": 0.8, "top_k": 100, "max_tokens": 1}),
    ("truncate", loose_min_p, {"min_p": 0.1, "max_tokens": 1}),
    ("penalize", presence_of_the_prompt, {"presence_penalty": 1.0, "max_tokens": 3}),
    ("penalize", no_count, {"frequency_penalty": -1.0, "max_tokens": 3}),
    ("penalize", repetition_of_the_output, {"repetition_penalty": 1.3, "max_tokens": 3}),
    ("uniform", skewed, {"max_tokens": 1}),
]


@pytest.mark.parametrize(
    ("replaced", "fault", "arguments"), FAULTS, ids=[fault.__name__ for _, fault, _ in FAULTS]
)
def test_a_planted_fault_is_caught(
    replaced: str,
    fault: Callable[..., Any],
    arguments: dict[str, Any],
    llm: LLM,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if arguments["max_tokens"] > 1:
        arguments = {**arguments, "allowed_token_ids": FEW, "ignore_eos": True}
    params = SamplingParams(seed=7, **arguments)
    known = outcomes(llm, params, ())
    assert fit(llm, params, known=known) > THRESHOLD
    monkeypatch.setattr(sampler_module, replaced, fault)
    assert fit(llm, params, known=known) < THRESHOLD
