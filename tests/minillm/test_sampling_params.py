"""What vLLM's parameters and methods do, case by case, on a tiny model."""

from __future__ import annotations

import copy
import inspect
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import tyro
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from minillm import (
    LLM,
    BeamSearchParams,
    CompletionOutput,
    FlatLogprobs,
    Logprob,
    MinillmError,
    RequestOutput,
    RequestOutputKind,
    SamplingParams,
    StructuredOutputsParams,
    Tokenizer,
    Transformer,
    save_model,
    token_logprobs,
)
from minillm.api.engine_arguments import FOREIGN
from minillm.api.parameters import NUMBER, http_fields, number, param, parameters
from minillm.cli_options import offering, options
from minillm.engine.metrics import Counter, Gauge
from minillm.model.batch import Batch
from minillm.serve.protocol import SAMPLING

VOCABULARY = 131
BOS, EOS = 129, 130
PROMPT = [5, 17, 40, 99, 3]
PROMPTS = [PROMPT, [8] * 70, [1, 2, 3], list(range(20, 60))]
TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    "{% if tools %}[{{ tools | length }}]{% endif %}{{ extra }}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
PAGE_BYTES = 2 * 2 * 2 * 16 * 64 * 4


def backend() -> tokenizers.Tokenizer:
    """131 tokens: the bytes of ASCII and of "é", the space, pairs of letters, two special ones."""
    characters = [*map(chr, range(33, 127)), "Ġ", "Ã", "©"]
    pairs = ["Ġt", *[a + b for a in "etaoin" for b in "shrdlu"]]
    words = [*characters, *pairs][: VOCABULARY - 2]
    merges = [(word[0], word[1]) for word in words if len(word) == 2]
    made = tokenizers.Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_tokens([AddedToken(text, special=True) for text in ("<s>", "</s>")])
    assert made.token_to_id("</s>") == EOS
    return made


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Transformer]) -> Transformer:
    return tiny_llama("fp32")


def make_llm(model: Transformer, **options: Any) -> LLM:
    """`eos`: the tokens that end a sequence."""
    tokenizer = Tokenizer(backend(), eos_token_ids=options.pop("eos", ()), chat_template=TEMPLATE)
    return LLM(model, tokenizer, **{"kv_cache_memory_bytes": 1 << 23, "max_logprobs": -1, **options})


@pytest.fixture
def llm(model: Transformer) -> LLM:
    return make_llm(model, max_model_len=200)


def one(llm: LLM, prompt: Any = PROMPT, **params: Any) -> CompletionOutput:
    """The one sample of one request."""
    (request,) = llm.generate(prompt, SamplingParams(**{"seed": 0, "max_tokens": 20, **params}))
    (output,) = request.outputs
    assert llm._engine.scheduler.pool.held == 0
    return output


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(MinillmError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def chosen(output: CompletionOutput) -> list[float]:
    """What is reported of the sampled tokens."""
    assert output.logprobs is not None
    return [entries[token].logprob for token, entries in zip(output.token_ids, output.logprobs, strict=True)]


@torch.no_grad()
def logits_after(model: Transformer, ids: Sequence[int]) -> torch.Tensor:
    return model.logits(model(torch.tensor(ids), Batch.packed([len(ids)])))[-1]


def finish(llm: LLM) -> dict[str, list[RequestOutput]]:
    """What all further steps give, by request."""
    seen: dict[str, list[RequestOutput]] = {}
    while llm.has_unfinished_requests():
        for output in llm.step():
            seen.setdefault(output.request_id, []).append(output)
    assert llm.step() == []
    assert llm._engine.scheduler.pool.held == 0
    return seen


# -------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 0), ("n", 1.5), ("n", True), ("n", None),
        ("presence_penalty", 2.1), ("presence_penalty", "a"), ("frequency_penalty", -2.1),
        ("frequency_penalty", math.nan), ("repetition_penalty", 0), ("repetition_penalty", -1.0),
        ("repetition_penalty", math.inf), ("temperature", -0.1), ("temperature", 2.5),
        ("temperature", math.nan), ("temperature", None), ("top_p", 0), ("top_p", 1.1), ("top_k", -2),
        ("top_k", 1.5), ("min_p", -0.1), ("min_p", 1.1), ("seed", 1.5), ("seed", "a"), ("stop", ""),
        ("stop", ["a", ""]), ("stop", [3]), ("stop", 5), ("stop_token_ids", ["a"]), ("stop_token_ids", [-1]),
        ("stop_token_ids", 5), ("max_tokens", 0), ("max_tokens", 1.5), ("max_tokens", "5"),
        ("min_tokens", -1), ("min_tokens", 17), ("min_tokens", "a"), ("logprobs", -2), ("logprobs", 1.5),
        ("prompt_logprobs", -2), ("prompt_logprobs", "a"), ("logprob_token_ids", []),
        ("logprob_token_ids", [1.5]), ("logprob_token_ids", 7), ("output_kind", "delta"),
        ("structured_outputs", {"regex": "a"}), ("logit_bias", {"5": 1.0}), ("logit_bias", {5: 101}),
        ("logit_bias", {-1: 1}), ("logit_bias", [5]), ("allowed_token_ids", []), ("allowed_token_ids", [-3]),
        ("allowed_token_ids", 7), ("bad_words", [""]), ("bad_words", [" "]), ("bad_words", [3]),
        ("bad_words", 5), ("trace_decode_token_ids", []), ("trace_decode_token_ids", ["a"]),
        ("logits_processors", [3]), ("logits_processors", 3),
    ],
)  # fmt: skip
def test_a_value_out_of_range_names_its_argument(name: str, value: Any) -> None:
    message = refusal(lambda: SamplingParams(**{name: value}))
    assert message.startswith(f"{name} must be ")
    assert repr(value) in message


@pytest.mark.parametrize(
    "arguments",
    [
        {"n": 7}, {"presence_penalty": -2}, {"frequency_penalty": 2}, {"repetition_penalty": 0.01},
        {"temperature": 0}, {"temperature": 2}, {"top_p": 1e-6}, {"top_p": 1}, {"top_k": -1}, {"min_p": 1},
        {"seed": -5}, {"stop": []}, {"stop": ("\x00a", "\x00b")}, {"stop_token_ids": []},
        {"max_tokens": None}, {"max_tokens": None, "min_tokens": 30}, {"min_tokens": 16},
        {"logprobs": 0}, {"logprobs": -1}, {"logit_bias": {}}, {"logit_bias": {3: -100, 4: 100}},
        {"bad_words": []}, {"logits_processors": []}, {"output_kind": RequestOutputKind.DELTA},
        {"skip_reading_prefix_cache": True},
    ],
)  # fmt: skip
def test_what_vllm_takes_is_taken(arguments: dict[str, Any], llm: LLM) -> None:
    params = SamplingParams(**{"max_tokens": 16, **arguments})
    for name, value in arguments.items():
        if name not in ("stop_token_ids", "stop"):
            assert getattr(params, name) == value
    (request,) = llm.generate([PROMPT], params)
    assert {output.finish_reason for output in request.outputs} == {"length"}


@dataclass
class WithCaution(SamplingParams):
    """A parameter more, declared and nothing else."""

    caution: float = param(0.5, check=number(0, 1), changes=lambda x: x > 0.5, cli="be careful.", http=NUMBER)


def test_a_parameter_is_declared_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(lambda: WithCaution(caution=1.5)) == "caution must be a number from 0 to 1, got 1.5"
    assert refusal(lambda: WithCaution(caution=math.nan)).startswith("caution must be ")
    params = WithCaution(max_tokens=3)
    assert params.is_plain and not replace(params, caution=0.75).is_plain
    assert replace(params, caution=0.75) == WithCaution(max_tokens=3, caution=0.75)
    assert http_fields(WithCaution) == {**SAMPLING, "caution": NUMBER}
    assert options(WithCaution).keys() - options(SamplingParams).keys() == {"caution"}

    @dataclass(frozen=True)
    @offering(WithCaution)
    class Toy:
        pass

    given = tyro.cli(Toy, args=["--caution", "0.25", "--stop", "a", "--stop", "b", "--ignore-eos"])
    assert vars(given) == dict.fromkeys(options(WithCaution)) | {
        "caution": 0.25, "stop": ("a", "b"), "ignore_eos": True
    }  # fmt: skip
    with pytest.raises(SystemExit):
        tyro.cli(Toy, args=["--help"])
    assert "be careful." in capsys.readouterr().out


def test_a_parameter_says_all_there_is_to_say_of_it() -> None:
    declared = {"check": None, "changes": None, "cli": None, "http": None}
    for name in declared:
        with pytest.raises(TypeError, match=name):
            param(0, **{key: None for key in declared if key != name})

    @dataclass
    class Undeclared(SamplingParams):
        caution: float = 0.5

    with pytest.raises(TypeError, match=r"Undeclared\.caution must be declared by param\(\)"):
        Undeclared()
    assert parameters(SamplingParams).keys() == {f.name for f in fields(SamplingParams) if f.init}


# vLLM's arguments, with a value that asks for nothing and one that asks for something.
OTHERS: dict[str, tuple[Any, Any]] = {
    "best_of": (None, 2), "output_text_buffer_length": (0, 3),
    "repetition_detection": (None, {}), "thinking_token_budget": (-1, 3), "truncate_prompt_tokens": (None, 3),
    "prompt_logprob_token_ids": (None, [1]), "prompt_logprob_start": (None, 1), "stream_interval": (1, 2),
    "routed_experts_prompt_start": (0, 2), "guided_decoding": (None, {"regex": "a"}),
    "use_beam_search": (False, True),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_unsupported_sampling_params_are_refused_unless_they_ask_for_nothing(name: str) -> None:
    nothing, something = OTHERS[name]
    assert SamplingParams(**{name: nothing}) == SamplingParams()
    message = refusal(lambda: SamplingParams(**{name: something}))
    assert message.startswith(f"SamplingParams({name}={something!r})")
    assert "does not support it" in message


def test_unsupported_arguments_of_llm_are_refused_unless_they_ask_for_nothing(model: Transformer) -> None:
    assert len(FOREIGN) > 130
    plain = make_llm(model, **{name: foreign.default for name, foreign in FOREIGN.items()})
    assert one(plain).token_ids == one(make_llm(model)).token_ids
    asking = [name for name, foreign in FOREIGN.items() if foreign.harmless is not None]
    assert 70 < len(asking) < len(FOREIGN)
    for name in asking:
        message = refusal(lambda name=name: make_llm(model, **{name: "something else"}))  # type: ignore[misc]
        assert message.startswith(f"LLM({name}='something else')")
        assert message.endswith(f"does not support it; {FOREIGN[name].remedy}")
    assert "LLM(tensor_parallel_size=2)" in refusal(lambda: make_llm(model, tensor_parallel_size=2))


# Values that vLLM has by default.
@pytest.mark.parametrize(
    ("name", "value"),
    [("enable_sleep_mode", False), ("trust_remote_code", False), ("enable_lora", False),
     ("hf_overrides", None), ("revision", None), ("task", "auto"), ("runner", "auto")],
)  # fmt: skip
def test_vllms_own_defaults_of_llm_pass(name: str, value: Any, model: Transformer) -> None:
    assert len(one(make_llm(model, **{name: value}), max_tokens=3).token_ids) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("beam_width", 0), ("beam_width", 1.5), ("max_tokens", 0), ("max_tokens", None), ("temperature", -1),
     ("temperature", 2.5), ("temperature", "a"), ("length_penalty", "a"), ("length_penalty", math.nan)],
)  # fmt: skip
def test_a_bad_beam_search_argument_is_named(name: str, value: Any) -> None:
    message = refusal(lambda: BeamSearchParams(**{"beam_width": 2, "max_tokens": 3, name: value}))
    assert message.startswith(f"{name} must be ")
    assert repr(value) in message


@pytest.mark.parametrize("name", ["allowed_token_ids", "logprob_token_ids", "stop_token_ids"])
def test_ids_outside_the_vocabulary_are_refused(name: str, llm: LLM) -> None:
    for value in ([VOCABULARY], [3, 10**6]):
        message = refusal(lambda value=value: one(llm, **{name: value}))  # type: ignore[misc]
        assert message == f"{name}: token id {value[-1]} is outside the vocabulary of {VOCABULARY}"
    assert "logit_bias" in refusal(lambda: one(llm, logit_bias={VOCABULARY: 1.0}))
    assert "trace_decode_token_ids" in refusal(lambda: one(llm, trace_decode_token_ids=[VOCABULARY]))


def test_more_logprobs_than_allowed_are_refused(model: Transformer) -> None:
    llm = make_llm(model, max_logprobs=3)
    for name in ("logprobs", "prompt_logprobs"):
        assert refusal(lambda name=name: one(llm, **{name: 4})).startswith(f"{name} = 4 is more than")  # type: ignore[misc]
        assert refusal(lambda name=name: one(llm, **{name: -1})).startswith(f"{name} = -1 is more than")  # type: ignore[misc]
    output = one(llm, logprobs=3)
    assert output.logprobs is not None
    assert all(3 <= len(entries) <= 4 for entries in output.logprobs)


def test_temperatures_near_0_are_raised_and_greedy_samples_stand_alone() -> None:
    assert SamplingParams(temperature=0.001).temperature == 0.01
    assert SamplingParams(temperature=0.01).temperature == 0.01
    assert SamplingParams(temperature=0).temperature == 0
    assert "temperature must be a number from 0 to 2" in refusal(lambda: SamplingParams(temperature=2.5))
    greedy = SamplingParams(temperature=0, top_p=0.5, top_k=3, min_p=0.25)
    assert (greedy.top_p, greedy.top_k, greedy.min_p) == (1.0, 0, 0.0)
    assert greedy.is_plain and not greedy.truncates
    assert refusal(lambda: SamplingParams(temperature=0, n=2)).startswith("n must be 1 at temperature 0")


def test_truncation_means_nothing_to_greedy_samples(llm: LLM) -> None:
    free = one(llm, temperature=0)
    assert one(llm, temperature=0, top_k=1, top_p=0.1, min_p=0.9).token_ids == free.token_ids
    # Yet what changes the order of tokens counts.
    assert one(llm, temperature=0, logit_bias={7: 100}).token_ids == [7] * 20


def test_fields_can_be_assigned_to_and_nothing_goes_stale() -> None:
    params = SamplingParams(seed=0)
    assert params.is_plain and not params.truncates and params.stop_strings == ()
    params.top_k = 3
    assert not params.is_plain and params.truncates
    params.top_k, params.bad_words = 0, ["x"]
    assert not params.is_plain and not params.truncates
    params.bad_words, params.stop = [], "ab"
    assert params.is_plain and params.stop_strings == ("ab",)
    assert params.sampling_type.name == "RANDOM_SEED"
    params.seed, params.logprob_token_ids = None, [3]
    assert params.sampling_type.name == "RANDOM" and params.wants_logprobs
    params.temperature = 0
    assert params.sampling_type.name == "GREEDY"


def test_what_was_assigned_is_checked_when_a_request_is_made(llm: LLM) -> None:
    params = SamplingParams(seed=0, max_tokens=8)
    (before,) = llm.generate(PROMPT, params)
    params.temperature = 3.0
    message = refusal(lambda: llm.generate(PROMPT, params))
    assert message == "temperature must be a number from 0 to 2, got 3.0"
    params.temperature, params.detokenize = 1.0, False
    (without,) = llm.generate(PROMPT, params)
    assert without.outputs[0].token_ids == before.outputs[0].token_ids
    assert (before.outputs[0].text != "", without.outputs[0].text) == (True, "")
    params.stop = "a"
    assert refusal(lambda: llm.enqueue(PROMPT, params)).startswith("stop needs text")
    assert not llm.has_unfinished_requests()


def test_a_request_keeps_the_parameters_that_it_came_with(llm: LLM) -> None:
    bias = {7: 100.0}
    params = SamplingParams(temperature=0, max_tokens=6, logit_bias=bias, stop=["zz"])
    llm.add_request("a", PROMPT, params)
    bias[7] = params.logit_bias[7] = -100.0  # type: ignore[index]
    params.max_tokens, params.stop[0] = 2, "a"  # type: ignore[index]
    assert finish(llm)["a"][-1].outputs[0].token_ids == [7] * 6


def test_copies_share_no_list() -> None:
    params = SamplingParams(
        stop="a", stop_token_ids=(3, 3, 4), bad_words=("x", "x", "y"), allowed_token_ids=(5, 6),
        logit_bias={3: 1.0}, structured_outputs=StructuredOutputsParams(regex="a+"), logits_processors=[int],
    )  # fmt: skip
    assert (params.stop, params.stop_token_ids, params.bad_words) == (["a"], [3, 4], ["x", "y"])
    assert params.allowed_token_ids == [5, 6]
    for copied in (params.clone(), copy.deepcopy(params), replace(params)):
        assert copied == params
        for name in ("stop", "stop_token_ids", "bad_words", "allowed_token_ids", "logit_bias"):
            assert getattr(copied, name) is not getattr(params, name)
        copied.stop.append("b")  # type: ignore[union-attr]
        copied.temperature = 0.5
    assert params.stop == ["a"] and params.temperature == 1.0
    assert (SamplingParams().stop, SamplingParams().stop_token_ids, SamplingParams().bad_words) == (
        [],
        [],
        [],
    )


def test_true_is_one_logprob_and_numbers_of_numpy_are_numbers(llm: LLM) -> None:
    params = SamplingParams(logprobs=True, prompt_logprobs=True)
    assert (params.logprobs, params.prompt_logprobs) == (1, 1)
    assert type(params.logprobs) is int
    entries = one(llm, logprobs=True, temperature=0).logprobs
    assert entries is not None and all(len(entry) == 1 for entry in entries)
    params = SamplingParams(temperature=np.float32(0.5), max_tokens=np.int64(7))  # type: ignore[arg-type]
    assert (params.temperature, params.max_tokens) == (0.5, 7)
    assert refusal(lambda: SamplingParams(logprobs=False)).startswith("logprobs must be ")


def test_from_optional() -> None:
    """vLLM: None is the default where a field cannot be None."""
    assert SamplingParams.from_optional() == SamplingParams()
    names = [*parameters(SamplingParams), "stream_interval", "extra_args", "skip_clone"]
    nones = SamplingParams.from_optional(**dict.fromkeys(names))
    assert nones == replace(SamplingParams(), max_tokens=None)
    params = SamplingParams.from_optional(n=3, temperature=None, top_p=0.5, logit_bias={"7": 500, 8: -1.5})
    assert params == SamplingParams(n=3, top_p=0.5, logit_bias={7: 100.0, 8: -1.5})
    assert "logit_bias" in refusal(lambda: SamplingParams.from_optional(logit_bias={"a": 1}))
    assert "did you mean top_p?" in refusal(lambda: SamplingParams.from_optional(top_pp=None))
    # Whoever passes on what it takes looks here.
    of_class = inspect.signature(SamplingParams).parameters
    taken = inspect.signature(SamplingParams.from_optional).parameters
    assert [*taken] == [*of_class] == [*parameters(SamplingParams)]
    assert all(taken[name].default == of_class[name].default for name in taken)
    assert (
        SamplingParams.from_optional(**{name: one.default for name, one in taken.items()}) == SamplingParams()
    )


def test_extra_args_are_carried() -> None:
    given = {"a": [1]}
    params = SamplingParams(extra_args=given)
    given["b"] = [2]
    assert params.extra_args == params.clone().extra_args == {"a": [1]}
    assert params.is_plain and SamplingParams.from_optional(extra_args=given).extra_args == given
    assert refusal(lambda: SamplingParams(extra_args=[1])).startswith("extra_args must be a dict")  # type: ignore[arg-type]


def test_update_from_generation_config() -> None:
    """vLLM: its end tokens end a sample too, but the tokenizer's own, which has no stop reason."""
    params = SamplingParams(stop_token_ids=[9])
    params.update_from_generation_config({"eos_token_id": [1, 2, 3, 9]}, eos_token_id=2)
    assert sorted(params.stop_token_ids or ()) == [1, 3, 9]
    params.update_from_generation_config({"temperature": 3})
    params.update_from_generation_config({"eos_token_id": 5})
    assert sorted(params.stop_token_ids or ()) == [1, 3, 5, 9]
    ignoring = SamplingParams(ignore_eos=True)
    ignoring.update_from_generation_config({"eos_token_id": 5}, 6)
    assert ignoring == SamplingParams(ignore_eos=True)
    assert "generation_config must be a dict" in refusal(lambda: params.update_from_generation_config(3))  # type: ignore[arg-type]


def test_num_logprobs() -> None:
    """vLLM: those that were asked for by number, else those of chosen tokens."""
    for asked, expected in (
        ({}, None), ({"logprobs": 0}, 0), ({"logprobs": -1}, -1), ({"logprob_token_ids": [4, 5]}, 2),
    ):  # fmt: skip
        assert SamplingParams(**asked).num_logprobs == expected  # type: ignore[arg-type]


def test_more_samples_than_vllm_takes_are_refused() -> None:
    assert refusal(lambda: SamplingParams(n=16385)) == "n must be a whole number from 1 to 16384, got 16385"
    assert refusal(lambda: BeamSearchParams(16385, 1)).startswith("beam_width must be a whole number from 1")


def test_nobody_gets_a_bare_type_error(llm: LLM) -> None:
    assert "'temprature'; did you mean temperature?" in refusal(lambda: SamplingParams(temprature=1))  # type: ignore[call-arg]
    assert "did you mean max_model_len?" in refusal(lambda: LLM(llm.model, max_modellen=3))  # type: ignore[call-arg]
    assert refusal(LLM) == "LLM(): missing a required argument: 'model'"
    assert refusal(lambda: LLM(llm.model, None, 3)) == "LLM(): too many positional arguments"  # type: ignore[misc]
    assert refusal(lambda: llm.generate(PROMPT, foo=1)) == "generate() has no argument 'foo'; leave it out"  # type: ignore[call-arg]
    assert "give token ids as the prompts" in refusal(lambda: llm.generate(prompt_token_ids=[PROMPT]))  # type: ignore[call-arg]
    assert "generate(tokenization_kwargs=" in refusal(
        lambda: llm.generate(PROMPT, tokenization_kwargs={"truncate_prompt_tokens": 3})  # type: ignore[call-arg]
    )
    assert refusal(lambda: llm.generate(PROMPT, {"temperature": 0})).startswith("sampling_params must be ")  # type: ignore[arg-type]
    assert refusal(lambda: llm.beam_search(PROMPT, SamplingParams())).startswith("params must be ")  # type: ignore[arg-type]
    for name, value in {
        "max_num_seqs": "8",
        "seed": 1.5,
        "max_model_len": "long",
        "max_logprobs": [3],
    }.items():
        message = refusal(lambda name=name, value=value: LLM(llm.model, **{name: value}))  # type: ignore[misc]
        assert message.startswith(f"{name} must be a whole number")


def test_an_argument_that_asks_for_nothing_is_noted_once(
    model: Transformer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minillm.errors._noted", set())
    harmless: dict[str, Any] = {
        "enforce_eager": True, "gpu_memory_utilization": 0.9, "trust_remote_code": True, "swap_space": 0,
        "load_format": "safetensors", "distributed_executor_backend": "mp", "block_size": 16,
        "tensor_parallel_size": 1,
    }  # fmt: skip
    expected = one(make_llm(model), max_tokens=3)
    for _ in range(2):
        assert one(make_llm(model, kv_cache_memory_bytes=None, **harmless), max_tokens=3) == expected
    noted = [record.getMessage() for record in caplog.records if record.name == "minillm"]
    assert len(noted) == 7  # of tensor_parallel_size=1, vLLM's default, there is nothing to say
    assert "LLM(enforce_eager=True) asks for nothing here" in noted
    for name in harmless.keys() - {"tensor_parallel_size"}:
        assert sum(f"{name}=" in message for message in noted) == 1
    assert "gpu_memory_utilization must be " in refusal(lambda: make_llm(model, gpu_memory_utilization=1.5))


def test_flat_logprobs_read_like_a_list(llm: LLM) -> None:
    flat = FlatLogprobs()
    entries = [
        {1: Logprob(-0.1, 10, "a")},
        {2: Logprob(-0.2, 20), 3: Logprob(-0.3, None, "c")},
        {4: Logprob(-0.4)},
    ]
    flat.append(None)
    flat.extend(entries)
    assert (flat.start_indices, flat.end_indices) == ([0, 0, 1, 3], [0, 1, 3, 4])
    assert (flat.token_ids, flat.logprobs) == ([1, 2, 3, 4], [-0.1, -0.2, -0.3, -0.4])
    assert (flat.ranks, flat.decoded_tokens) == ([10, 20, None, None], ["a", None, "c", None])
    assert list(flat) == [{}, *entries] and len(flat) == 4 and flat[-1] == entries[2]
    assert flat[2:].start_indices == [0, 2] and flat[2:].token_ids == [2, 3, 4]
    for index in (slice(1, 3), slice(None, None, 2), slice(9, 9), slice(-2, None)):
        assert list(flat[index]) == [{}, *entries][index]
        assert isinstance(flat[index], FlatLogprobs)
    with pytest.raises(TypeError):
        flat[0] = entries[0]
    with pytest.raises(IndexError):
        flat[4]


@pytest.mark.parametrize("kind", RequestOutputKind)
def test_flat_logprobs_hold_the_same(kind: RequestOutputKind, llm: LLM) -> None:
    options: dict[str, Any] = {"seed": 0, "max_tokens": 9, "logprobs": 2, "prompt_logprobs": 1, "n": 2}
    seen = []
    for flat in (False, True):
        params = SamplingParams(**options, flat_logprobs=flat, output_kind=kind)
        seen.append(list(llm.stream([PROMPT], params)))
    for nested, flat_one in zip(*seen, strict=True):
        for a, b in zip(nested.outputs, flat_one.outputs, strict=True):
            assert isinstance(b.logprobs, FlatLogprobs)
            assert list(b.logprobs) == a.logprobs and b.token_logprobs == a.token_logprobs
            assert (b.token_ids, b.cumulative_logprob) == (a.token_ids, a.cumulative_logprob)
        if nested.prompt_logprobs is not None:
            assert isinstance(flat_one.prompt_logprobs, FlatLogprobs)
            assert list(flat_one.prompt_logprobs) == [{}, *nested.prompt_logprobs[1:]]


def test_a_seed_of_minus_1_is_none(llm: LLM) -> None:
    """vLLM: as if no seed had been given."""
    outputs = llm.generate([PROMPT] * 3, SamplingParams(seed=-1, max_tokens=12))
    assert len({tuple(request.outputs[0].token_ids) for request in outputs}) == 3


def test_a_tokenizer_whose_bytes_are_not_known_is_good_for_all_but_grammars(model: Transformer) -> None:
    words = tokenizers.Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    llm = LLM(model, Tokenizer(words), kv_cache_memory_bytes=1 << 22)
    output = one(llm, "w3 w4", max_tokens=4)
    assert output.text.split() == [f"w{i}" for i in output.token_ids]


def test_without_llguidance_all_but_grammars_is_there(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    llm = make_llm(model)
    assert len(one(llm, max_tokens=3).token_ids) == 3
    grammar = StructuredOutputsParams(regex="a+")
    assert "pip install" in refusal(lambda: one(llm, structured_outputs=grammar))


@pytest.mark.parametrize("ids", [["a"], [1.5], "abc", 5, None, [[1, 2]]])
def test_prompts_that_are_no_token_ids_are_refused(ids: Any, llm: LLM) -> None:
    assert "prompt" in refusal(lambda: one(llm, {"prompt_token_ids": ids}))
    assert one(llm, {"prompt_token_ids": tuple(PROMPT)}) == one(llm)


# -------------------------------------------------------------------- logprobs


@pytest.mark.parametrize("temperature", [1.3, 0.0])
@pytest.mark.parametrize(
    "mode", ["tempered_logprobs", "raw_logprobs", "processed_logprobs", "raw_logits", "processed_logits"]
)
def test_logprobs_are_of_what_the_mode_says(mode: str, temperature: float, model: Transformer) -> None:
    llm, heat = make_llm(model, logprobs_mode=mode), temperature or 1.0
    bias = {3: 4.0, 50: -2.0}
    output = one(
        llm,
        temperature=temperature,
        logprobs=-1,
        max_tokens=4,
        logit_bias=bias,
        presence_penalty=0.5,
        top_k=9,
    )
    assert output.logprobs is not None
    for i, (token, entries) in enumerate(zip(output.token_ids, output.logprobs, strict=True)):
        raw = logits_after(model, [*PROMPT, *output.token_ids[:i]]).double()
        processed = raw.clone()
        for j, b in bias.items():
            processed[j] += b
        for j in set(output.token_ids[:i]):
            processed[j] -= 0.5
        processed /= heat
        if temperature:
            processed[processed.argsort(descending=True)[9:]] = -torch.inf
        expected = {
            "tempered_logprobs": torch.log_softmax(raw / heat, dim=-1),
            "raw_logprobs": torch.log_softmax(raw, dim=-1),
            "processed_logprobs": torch.log_softmax(processed, dim=-1),
            "raw_logits": raw,
            "processed_logits": processed,
        }[mode]
        assert next(iter(entries)) == token
        assert entries.keys() == set(range(VOCABULARY))
        found = torch.tensor([entries[j].logprob for j in range(VOCABULARY)], dtype=torch.float64)
        assert torch.equal(found == -torch.inf, expected == -torch.inf)
        finite = expected > -torch.inf
        assert float((found - expected)[finite].abs().max()) < 2e-5
        order = sorted(expected[finite].tolist(), reverse=True)
        for j in finite.nonzero().squeeze(1).tolist():
            assert abs(order[(entries[j].rank or 0) - 1] - float(expected[j])) < 2e-5
    assert output.cumulative_logprob == pytest.approx(math.fsum(chosen(output)))


@pytest.mark.parametrize("mode", ["tempered_logprobs", "raw_logprobs", "raw_logits"])
def test_prompt_logprobs(mode: str, model: Transformer) -> None:
    llm = make_llm(model, logprobs_mode=mode, max_num_batched_tokens=16)
    params = SamplingParams(temperature=0.7, prompt_logprobs=2, max_tokens=2)
    for request, prompt in zip(llm.generate([*PROMPTS, [9]], params), [*PROMPTS, [9]], strict=True):
        assert request.prompt_logprobs is not None
        assert request.prompt_logprobs[0] is None
        assert len(request.prompt_logprobs) == len(prompt)
        assert request.outputs[0].logprobs is None
        for i in range(1, len(prompt)):
            entries, raw = request.prompt_logprobs[i], logits_after(model, prompt[:i])
            assert entries is not None
            heat = 0.7 if mode == "tempered_logprobs" else 1.0
            expected = raw if mode == "raw_logits" else torch.log_softmax(raw / heat, dim=-1)
            assert next(iter(entries)) == prompt[i]
            assert set(entries) == {prompt[i], *expected.topk(2)[1].tolist()}
            for j, entry in entries.items():
                assert abs(entry.logprob - float(expected[j])) < 2e-5
                assert entry.rank == int((expected > expected[j]).sum()) + 1


def test_prompt_logprobs_are_the_trainers_bits(llm: LLM, model: Transformer) -> None:
    params = SamplingParams(temperature=0.7, prompt_logprobs=0, n=2, max_tokens=2, seed=1)
    expected = token_logprobs(model, PROMPTS, 0.7)
    for _ in range(2):  # what the prefix cache holds, it holds without logprobs
        for request, row in zip(llm.generate(PROMPTS, params), expected, strict=True):
            assert request.prompt_logprobs is not None
            pairs = zip(request.prompt_token_ids[1:], request.prompt_logprobs[1:], strict=True)
            found = [entries[token].logprob for token, entries in pairs if entries is not None]
            assert torch.equal(torch.tensor(found), row.detach())
            assert request.num_cached_tokens == 0


def test_logprobs_of_chosen_tokens(llm: LLM, model: Transformer) -> None:
    wanted = [7, 130, 0]
    output = one(llm, logprob_token_ids=wanted, max_tokens=5, temperature=0.8)
    assert output.logprobs is not None
    for i, (token, entries) in enumerate(zip(output.token_ids, output.logprobs, strict=True)):
        row = torch.log_softmax(logits_after(model, [*PROMPT, *output.token_ids[:i]]) / 0.8, dim=-1)
        assert next(iter(entries)) == token
        assert set(entries) == {token, *wanted}
        for j, entry in entries.items():
            assert abs(entry.logprob - float(row[j])) < 1e-5
            assert entry.rank == int((row > row[j]).sum()) + 1
            assert entry.decoded_token == llm.get_tokenizer().decode([j], skip_special_tokens=False)
    # In one batch each request has its own.
    both = llm.generate(
        [PROMPT] * 3,
        [
            SamplingParams(seed=0, max_tokens=1, logprobs=2),
            SamplingParams(seed=0, max_tokens=1, logprob_token_ids=[5]),
            SamplingParams(seed=0, max_tokens=1),
        ],
    )
    counts = [None if o.logprobs is None else len({*o.logprobs[0]}) for (o,) in (r.outputs for r in both)]
    assert counts[0] in (2, 3)
    assert counts[1:] == [2, None]


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
def test_forced_tokens_have_the_trainers_logprobs(temperature: float, model: Transformer) -> None:
    llm = make_llm(model, eos=[EOS])
    trace = [1, EOS, 7, 7, 33, EOS, 2]
    output = one(
        llm,
        temperature=temperature,
        trace_decode_token_ids=trace,
        max_tokens=2,
        stop_token_ids=[7],
        stop=["#"],
        top_k=2,
        logprobs=0,
    )
    assert output.token_ids == trace
    assert (output.finish_reason, output.stop_reason) == ("length", None)
    (expected,) = token_logprobs(model, [PROMPT + trace], temperature or 1.0)
    assert torch.equal(torch.tensor(chosen(output)), expected[len(PROMPT) - 1 :].detach())
    assert output.text == llm.get_tokenizer().decode(trace)


def test_forced_tokens_go_with_what_has_no_say_in_them(llm: LLM) -> None:
    assert one(llm, trace_decode_token_ids=[4, 5], min_tokens=8).token_ids == [4, 5]
    for name, value in (("prompt_logprobs", 1), ("bad_words", ["a"]), ("n", 2)):
        assert name in refusal(
            lambda name=name, value=value: one(llm, trace_decode_token_ids=[4], **{name: value})  # type: ignore[misc]
        )


def test_forced_tokens_end_with_the_context(model: Transformer) -> None:
    output = one(make_llm(model, max_model_len=8), trace_decode_token_ids=[1, 2, 3, 4, 5])
    assert (output.token_ids, output.finish_reason) == ([1, 2, 3], "length")


# -------------------------------------------------------------------- what ends a sample


def sampled(llm: LLM, **params: Any) -> CompletionOutput:
    """30 tokens of one character each, few of them twice: where text ends, tokens do."""
    free: dict[str, Any] = {
        "temperature": 2.0,
        "frequency_penalty": 1.0,
        "allowed_token_ids": range(94),
        "max_tokens": 30,
    }
    return one(llm, **free, **params)


def test_stop_strings(llm: LLM) -> None:
    free = sampled(llm)
    assert len(free.text) == len(free.token_ids) == 30
    stop = free.text[10:13]
    at = free.text.index(stop)
    for include in (False, True):
        output = sampled(llm, stop=["\x00" * 20, stop], include_stop_str_in_output=include)
        assert output.text == free.text[: at + 3 * include]
        assert output.token_ids == free.token_ids[: at + 3]
        assert (output.finish_reason, output.stop_reason) == ("stop", stop)


def test_min_tokens_and_stop_strings(llm: LLM) -> None:
    free = sampled(llm)
    again = next(i for i in range(29, 0, -1) if free.text[i] in free.text[: i - 2])
    stop = free.text[again]
    first, last = free.text.index(stop), free.text.rindex(stop)
    assert first + 2 <= last
    assert sampled(llm, stop=stop, min_tokens=first).text == free.text[:first]
    output = sampled(llm, stop=stop, min_tokens=last)
    # What stood there before counts no more.
    assert (output.text, output.stop_reason) == (free.text[:last], stop)
    assert sampled(llm, stop=stop, min_tokens=30).text.startswith(free.text[:29])


def test_min_tokens_and_the_end_of_sequence(model: Transformer, llm: LLM) -> None:
    free = one(llm, max_tokens=10)
    ending = make_llm(model, eos=[free.token_ids[3], 12])
    first = free.token_ids.index(free.token_ids[3])
    output = one(ending, max_tokens=10)
    assert output.token_ids == free.token_ids[: first + 1]
    assert (output.finish_reason, output.stop_reason) == ("stop", None)
    later = one(ending, max_tokens=10, min_tokens=8)
    # It is not sampled at all before.
    assert not {free.token_ids[3], 12} & {*later.token_ids[:8]}
    assert later.token_ids[:first] == free.token_ids[:first]
    assert len(later.token_ids) > 8
    # Nor where it would not end the sample; nor are stop tokens.
    ignoring = one(ending, max_tokens=10, min_tokens=8, ignore_eos=True, stop_token_ids=[free.token_ids[0]])
    assert not {free.token_ids[3], 12, free.token_ids[0]} & {*ignoring.token_ids[:8]}


def test_ends_of_sequence_that_the_model_has_no_row_for(model: Transformer, llm: LLM) -> None:
    """As where a tokenizer has more tokens than the embedding."""
    output = one(make_llm(model, eos=[500, EOS]), min_tokens=5, max_tokens=5)
    assert (output.finish_reason, len(output.token_ids)) == ("length", 5)


def test_the_end_of_sequence_can_be_ignored(model: Transformer, llm: LLM) -> None:
    free = one(llm)
    ending = make_llm(model, eos=[free.token_ids[3]])
    assert one(ending, ignore_eos=True).token_ids == free.token_ids
    output = one(ending, ignore_eos=True, stop_token_ids=[free.token_ids[3]])
    assert output.stop_reason == free.token_ids[3]
    assert output.token_ids == free.token_ids[: len(output.token_ids)]


@pytest.mark.parametrize("include", [False, True])
def test_the_text_of_a_token_that_stops_is_left_out(include: bool, llm: LLM) -> None:
    """vLLM: the last token's id stays, its text goes with `include_stop_str_in_output`."""
    free = sampled(llm)
    token = free.token_ids[8]
    first = free.token_ids.index(token)
    output = sampled(llm, stop_token_ids=[token], include_stop_str_in_output=include)
    assert (output.finish_reason, output.stop_reason) == ("stop", token)
    assert output.token_ids == free.token_ids[: first + 1]
    assert output.text == free.text[: first + include]


def test_without_detokenization_there_are_ids_alone(llm: LLM) -> None:
    free = one(llm, logprobs=1)
    output = one(llm, detokenize=False, logprobs=1, stop_token_ids=[free.token_ids[5]])
    assert output.text == ""
    assert output.token_ids == free.token_ids[: free.token_ids.index(free.token_ids[5]) + 1]
    assert chosen(output) == chosen(free)[: len(output.token_ids)]
    assert "detokenize" in refusal(lambda: one(llm, detokenize=False, stop="a"))


def test_special_tokens_can_be_shown(llm: LLM) -> None:
    trace = [7, BOS, 8, EOS, 9]
    assert one(llm, trace_decode_token_ids=trace).text == "()*"
    assert one(llm, trace_decode_token_ids=trace, skip_special_tokens=False).text == "(<s>)</s>*"


def even(output: list[int], logits: torch.Tensor) -> torch.Tensor:
    return torch.where(logits == -torch.inf, logits, 0.0)


def test_bad_words_are_banned_at_the_start_and_after_a_space(llm: LLM) -> None:
    tokenizer = llm.get_tokenizer()
    t, spaced = tokenizer.encode("t", add_special_tokens=False)[0], tokenizer.encode(" t")[0]
    assert tokenizer.decode([spaced]) == " t"
    kept: dict[str, Any] = {
        "allowed_token_ids": [t, spaced, 9],
        "n": 20,
        "max_tokens": 10,
        "logits_processors": [even],
    }
    tokens = {i for o in llm.generate([PROMPT], SamplingParams(**kept))[0].outputs for i in o.token_ids}
    assert tokens == {t, spaced, 9}
    params = SamplingParams(**kept, bad_words=["t"])
    assert {i for o in llm.generate([PROMPT], params)[0].outputs for i in o.token_ids} == {9}
    # Of a longer one the last token is banned, and only after the others.
    params = SamplingParams(**kept, bad_words=["t*"])
    texts = [o.text for o in llm.generate([PROMPT], params)[0].outputs]
    assert not any("t*" in text for text in texts)
    assert any("*t" in text for text in texts)


@pytest.mark.parametrize("max_tokens", [None, 500])
def test_max_model_len(max_tokens: int | None, model: Transformer) -> None:
    llm = make_llm(model, max_model_len=12)
    assert llm.max_model_len == 12
    output = one(llm, max_tokens=max_tokens)
    assert (len(output.token_ids), output.finish_reason) == (7, "length")
    assert len(one(llm, [1] * 11, max_tokens=max_tokens).token_ids) == 1
    assert "max_model_len = 12" in refusal(lambda: one(llm, [1] * 12))
    (found,) = llm.beam_search([PROMPT], BeamSearchParams(2, 50))
    assert {len(sequence.tokens) for sequence in found.sequences} == {12}
    assert "max_model_len must be 1 to" in refusal(lambda: make_llm(model, max_model_len=513))
    assert "kv_cache_memory_bytes" in refusal(
        lambda: make_llm(model, max_model_len=500, kv_cache_memory_bytes=2 * PAGE_BYTES)
    )


# -------------------------------------------------------------------- processors


def test_processors_see_the_tokens_and_change_the_logits(llm: LLM) -> None:
    seen: list[tuple[Any, ...]] = []

    def two(output: list[int], logits: torch.Tensor) -> torch.Tensor:
        seen.append((list(output), tuple(logits.shape)))
        return logits.index_fill(0, torch.tensor([7]), 1000.0 if len(output) % 2 else -1000.0)

    def three(prompt: list[int], output: list[int], logits: torch.Tensor) -> torch.Tensor:
        seen.append((list(prompt), list(output)))
        return logits.index_fill(0, torch.tensor([11]), 500.0)

    output = one(llm, max_tokens=4, logits_processors=[two, three])
    assert output.token_ids == [11, 7, 11, 7]
    assert seen == [
        entry
        for i in range(4)
        for entry in ((output.token_ids[:i], (VOCABULARY,)), (PROMPT, output.token_ids[:i]))
    ]


def test_a_processor_that_writes_into_its_logits_changes_no_reported_logprob(
    llm: LLM, model: Transformer
) -> None:
    def write(output: list[int], logits: torch.Tensor) -> torch.Tensor:
        logits[:60] = -torch.inf
        return logits

    output = one(llm, max_tokens=6, logits_processors=[write], logprobs=0)
    assert min(output.token_ids) >= 60
    (expected,) = token_logprobs(model, [PROMPT + output.token_ids])
    assert torch.equal(torch.tensor(chosen(output)), expected[len(PROMPT) - 1 :].detach())


def fail_at_the_third(output: list[int], logits: torch.Tensor) -> torch.Tensor:
    if len(output) == 2:
        raise RuntimeError("no more of this")
    return logits


def none_left(output: list[int], logits: torch.Tensor) -> torch.Tensor:
    return torch.full_like(logits, -torch.inf) if len(output) == 2 else logits


def of_another_shape(output: list[int], logits: torch.Tensor) -> torch.Tensor:
    return logits[:-1] if len(output) == 2 else logits


def forgotten(output: list[int], logits: torch.Tensor) -> Any:
    return None if len(output) == 2 else logits


@pytest.mark.parametrize("processor", [fail_at_the_third, none_left, of_another_shape, forgotten])
def test_what_goes_wrong_in_a_processor_ends_its_own_request(processor: Callable[..., Any], llm: LLM) -> None:
    params = [SamplingParams(seed=i, max_tokens=9, logprobs=1, temperature=0.5 * i) for i in range(4)]
    expected = [request.outputs for request in llm.generate(PROMPTS, params)]
    for at in range(4):
        mixed = [*params]
        mixed[at] = replace(params[at], logits_processors=[processor])
        found = [request.outputs for request in llm.generate(PROMPTS, mixed)]
        assert found[:at] + found[at + 1 :] == expected[:at] + expected[at + 1 :]
        (output,) = found[at]
        assert output.finish_reason == "error"
        assert output.token_ids == expected[at][0].token_ids[:2]
        assert output.text == llm.get_tokenizer().decode(output.token_ids)
        if processor is fail_at_the_third:
            assert output.stop_reason == "RuntimeError: no more of this"
        assert llm._engine.scheduler.pool.held == 0


# -------------------------------------------------------------------- outputs as they grow


def joined(outputs: Iterable[RequestOutput]) -> list[CompletionOutput]:
    """Deltas put together, sample by sample."""
    whole: list[CompletionOutput] = []
    for request in outputs:
        whole = whole or [CompletionOutput(o.index, "", [], None, None) for o in request.outputs]
        for new in request.outputs:
            all_ = whole[new.index]
            assert all_.finish_reason is None  # the end is said once, and nothing after it
            all_.text += new.text
            all_.token_ids += new.token_ids
            if new.logprobs is not None:
                all_.logprobs = (all_.logprobs or []) + new.logprobs
            all_.cumulative_logprob = new.cumulative_logprob
            all_.finish_reason, all_.stop_reason = new.finish_reason, new.stop_reason
    return whole


# By what part of the free text is a stop string, or a string that never comes.
STOPS: dict[str, list[Any]] = {
    "none": [],
    "absent": ["\x00" * 7],
    "short": [(6, 7)],
    "long": [(9, 14), "\x00" * 9],
}


@pytest.mark.parametrize("through", ["stream", "step"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("kind", RequestOutputKind)
def test_outputs_as_they_grow(kind: RequestOutputKind, stop: str, n: int, through: str, llm: LLM) -> None:
    params = SamplingParams(
        seed=3, n=n, max_tokens=25, logprobs=1, output_kind=kind, temperature=1.5, frequency_penalty=1.0
    )
    free = llm.generate([PROMPT], params)[0].outputs[0].text
    strings = [s if isinstance(s, str) else free[slice(*s)] for s in STOPS[stop]]
    params = replace(params, stop=strings)
    expected = llm.generate(PROMPTS, params)
    assert (expected[0].outputs[0].finish_reason == "stop") == (stop in ("short", "long"))
    seen: dict[str, list[RequestOutput]] = {}
    if through == "stream":
        for output in llm.stream(PROMPTS, params):
            seen.setdefault(output.request_id, []).append(output)
        assert set(seen) == {"0", "1", "2", "3"}
    else:
        ids = [llm.add_request(f"r{i}", prompt, params) for i, prompt in enumerate(PROMPTS)]
        assert ids == ["r0", "r1", "r2", "r3"]
        seen = dict(sorted(finish(llm).items()))
    for outputs, request in zip((seen[i] for i in sorted(seen)), expected, strict=True):
        assert [output.finished for output in outputs] == [False] * (len(outputs) - 1) + [True]
        assert {tuple(output.prompt_token_ids) for output in outputs} == {tuple(request.prompt_token_ids)}
        if kind is RequestOutputKind.DELTA:
            assert joined(outputs) == request.outputs
            assert sum(len(o.token_ids) for o in outputs[0].outputs) <= n
        else:
            assert outputs[-1].outputs == request.outputs
        if kind is RequestOutputKind.FINAL_ONLY:
            assert len(outputs) == 1
            continue
        assert len(outputs) >= max(len(o.token_ids) for o in request.outputs)
        if kind is RequestOutputKind.CUMULATIVE:
            for before, after in pairwise(outputs):
                for old, new in zip(before.outputs, after.outputs, strict=True):
                    assert new.text.startswith(old.text)
                    assert new.token_ids[: len(old.token_ids)] == old.token_ids
                    assert (new.logprobs or [])[: len(old.logprobs or [])] == (old.logprobs or [])


def test_half_a_character_is_never_shown(llm: LLM) -> None:
    first, second = 95, 96
    assert llm.get_tokenizer().decode([first, second]) == "é"
    params = SamplingParams(
        trace_decode_token_ids=[7, first, second, first, second, 8, first],
        output_kind=RequestOutputKind.DELTA,
    )
    texts = [output.outputs[0].text for output in llm.stream([PROMPT], params)]
    assert texts == ["(", "", "é", "", "é", ")", "\ufffd"]


def test_deltas_give_prompt_logprobs_once(llm: LLM) -> None:
    """vLLM: when the prompt has been read."""
    params = SamplingParams(prompt_logprobs=1, max_tokens=4, seed=0)
    (expected,) = llm.generate([PROMPT], params)
    for kind in (RequestOutputKind.DELTA, RequestOutputKind.CUMULATIVE):
        found = [o.prompt_logprobs for o in llm.stream([PROMPT], replace(params, output_kind=kind))]
        assert len(found) == 4
        assert found[0] == expected.prompt_logprobs
        if kind is RequestOutputKind.CUMULATIVE:
            assert found[1:] == [expected.prompt_logprobs] * 3
        else:
            assert not any(found[1:])


def test_num_cached_tokens(llm: LLM) -> None:
    prompt = [(7 * i) % VOCABULARY for i in range(100)]
    params = SamplingParams(max_tokens=3, seed=0)
    assert llm.generate([prompt], params)[0].num_cached_tokens == 0
    assert llm.generate([prompt], params)[0].num_cached_tokens == 99
    assert llm.generate([[*prompt[:80], 1, 2]], params)[0].num_cached_tokens == 80
    skipping = replace(params, skip_reading_prefix_cache=True)
    assert llm.generate([prompt], skipping)[0].num_cached_tokens == 0
    assert llm.reset_prefix_cache() is True
    assert llm.generate([prompt], params)[0].num_cached_tokens == 0
    # As soon as anything is shown.
    assert [output.num_cached_tokens for output in llm.stream([prompt], params)] == [99] * 3


def test_a_stream_that_is_left_aborts_the_rest(llm: LLM) -> None:
    params = SamplingParams(seed=1, max_tokens=9)
    for _ in llm.stream(PROMPTS, params):
        with pytest.raises(MinillmError, match="unfinished requests"):
            llm.generate([PROMPT], params)
        break
    assert not llm.has_unfinished_requests()
    assert llm._engine.scheduler.pool.held == 0


# -------------------------------------------------------------------- step by step


@pytest.mark.parametrize("slots", [2, 64])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("gone", [0, 1, 3])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_an_abort_leaves_the_others_alone(
    steps: int, gone: int, n: int, slots: int, model: Transformer
) -> None:
    llm = make_llm(model, max_num_seqs=slots, max_num_batched_tokens=48)
    params = [SamplingParams(seed=i, n=n, max_tokens=8, logprobs=0) for i in range(4)]
    expected = [request.outputs for request in llm.generate(PROMPTS, params)]
    llm.reset_prefix_cache()
    ids = [llm.add_request(None, prompt, one_) for prompt, one_ in zip(PROMPTS, params, strict=True)]
    for _ in range(steps):
        llm.step()
    (aborted,) = llm.abort_request(ids[gone])
    assert aborted.finished
    assert {output.finish_reason for output in aborted.outputs} == {"abort"}
    for output, whole in zip(aborted.outputs, expected[gone], strict=True):
        assert output.token_ids == whole.token_ids[: len(output.token_ids)]
        assert output.text == llm.get_tokenizer().decode(output.token_ids)
    assert llm.abort_request([ids[gone], "never heard of"]) == []
    seen = finish(llm)
    for i, (request_id, outputs) in enumerate(zip(ids, expected, strict=True)):
        if i != gone:
            assert seen[request_id][-1].outputs == outputs


def test_request_ids(llm: LLM) -> None:
    params = SamplingParams(max_tokens=4, seed=0)
    llm.add_request("mine", PROMPT, params)
    assert "'mine' is taken" in refusal(lambda: llm.add_request("mine", PROMPT, params))
    assert len(finish(llm)["mine"]) == 4
    assert llm.add_request("mine", PROMPT, params) == "mine"
    assert len(finish(llm)["mine"]) == 4


def test_an_id_that_is_made_up_is_not_one_that_is_taken(llm: LLM) -> None:
    params = SamplingParams(max_tokens=4, seed=0)
    ids = [llm.add_request(str(i), PROMPT, params) for i in (1, 2, 3)]
    ids += [llm.add_request(None, PROMPT, params) for _ in range(4)]
    assert len(set(ids)) == 7
    seen = finish(llm)
    assert {name: outputs[-1].finished for name, outputs in seen.items()} == dict.fromkeys(ids, True)


def test_requests_join_those_that_run(llm: LLM) -> None:
    params = [SamplingParams(seed=i, max_tokens=6 + i) for i in range(4)]
    expected = {str(i): r.outputs for i, r in enumerate(llm.generate(PROMPTS, params))}
    seen: dict[str, RequestOutput] = {}
    for i, prompt in enumerate(PROMPTS):
        llm.add_request(str(i), prompt, params[i])
        for output in llm.step() + llm.step():
            seen[output.request_id] = output
    for name, outputs in finish(llm).items():
        seen[name] = outputs[-1]
    assert {name: output.outputs for name, output in seen.items()} == expected
    assert all(output.metrics is not None and output.finished for output in seen.values())


def test_what_is_refused_leaves_nothing_behind(llm: LLM) -> None:
    llm.add_request("good", PROMPT, SamplingParams(max_tokens=5, seed=0))
    refusal(lambda: llm.add_request(None, [], SamplingParams()))
    refusal(lambda: llm.enqueue([VOCABULARY], SamplingParams()))
    refusal(lambda: llm.enqueue(PROMPT, SamplingParams(allowed_token_ids=[VOCABULARY])))
    assert set(finish(llm)) == {"good"}


# -------------------------------------------------------------------- chats


CHAT = [{"role": "user", "content": "to be"}, {"role": "assistant", "content": "or not"}]


def test_chat(llm: LLM) -> None:
    params = SamplingParams(max_tokens=4, seed=0)
    text = "<s>user: to be</s><s>assistant: or not</s><s>assistant: "
    (request,) = llm.chat(CHAT, params)
    assert request.prompt == text
    assert request.prompt_token_ids == llm.get_tokenizer().encode(text, add_special_tokens=False)
    assert request.prompt_token_ids.count(BOS) == 3
    assert request.outputs == llm.generate([request.prompt_token_ids], params)[0].outputs
    several = llm.chat([CHAT, CHAT[:1]], [params, replace(params, max_tokens=2)], use_tqdm=False)
    assert [r.prompt for r in several] == [text, "<s>user: to be</s><s>assistant: "]
    assert [len(r.outputs[0].token_ids) for r in several] == [4, 2]
    (closed,) = llm.chat(CHAT, params, add_generation_prompt=False)
    assert closed.prompt == text.removesuffix("<s>assistant: ")
    (request,) = llm.chat(CHAT, params, tools=[{"name": "a"}], chat_template_kwargs={"extra": "!"})
    assert request.prompt == text.removesuffix("<s>assistant: ") + "[1]!<s>assistant: "


def test_chat_by_another_template(llm: LLM) -> None:
    params = SamplingParams(max_tokens=2, seed=0)
    (request,) = llm.chat(CHAT, params, chat_template="{{ messages[0].content }}?")
    assert request.prompt == "to be?"
    without = LLM(llm.model, Tokenizer(backend()), kv_cache_memory_bytes=1 << 22)
    assert "chat template" in refusal(lambda: without.chat(CHAT, params))
    (request,) = without.chat(CHAT, params, chat_template="{{ messages[0].content }}!")
    assert request.prompt == "to be!"


@pytest.mark.parametrize("content", ["or not", " or not", "or not: ", "s", ""])
@pytest.mark.parametrize("trims", [False, True])
def test_the_last_message_goes_on(trims: bool, content: str, llm: LLM) -> None:
    """As in transformers: what the template kept of the message, spaces at its ends too, is there."""
    template = TEMPLATE.replace("m.content", "m.content | trim") if trims else TEMPLATE
    chat = [CHAT[0], {"role": "assistant", "content": content}]
    expected = "<s>user: to be</s><s>assistant: " + content
    if trims:
        expected = ("<s>user: to be</s><s>assistant: " + content.strip()).rstrip()
    options: dict[str, Any] = {"add_generation_prompt": False, "continue_final_message": True}
    params = SamplingParams(max_tokens=2, seed=0)
    (request,) = llm.chat(chat, params, chat_template=template, **options)
    assert request.prompt == expected
    transformers: Any = pytest.importorskip("transformers")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=backend())
    assert expected == theirs.apply_chat_template(chat, chat_template=template, tokenize=False, **options)


def test_a_last_message_that_cannot_go_on(llm: LLM) -> None:
    params = SamplingParams(max_tokens=2)
    message = refusal(lambda: llm.chat(CHAT, params, continue_final_message=True))
    assert "add_generation_prompt=False" in message
    message = refusal(
        lambda: llm.chat(
            CHAT,
            params,
            chat_template="{{ messages[0].role }}",
            add_generation_prompt=False,
            continue_final_message=True,
        )
    )
    assert "the last message" in message


# -------------------------------------------------------------------- around it


def write_folder(folder: Path, model: Transformer, generation: str) -> Path:
    folder.mkdir()
    save_model(model, folder)
    backend().save(str(folder / "tokenizer.json"))
    (folder / "generation_config.json").write_text(generation)
    return folder


def test_default_sampling_params(model: Transformer, tmp_path: Path) -> None:
    stored = {
        "temperature": 0.6, "top_p": 0.9, "top_k": 7, "min_p": 0.02, "repetition_penalty": 1.1,
        "max_new_tokens": 5, "do_sample": True, "eos_token_id": [EOS, 7], "pad_token_id": 0,
    }  # fmt: skip
    folder = write_folder(tmp_path / "a", model, json.dumps(stored))
    size: dict[str, Any] = {"kv_cache_memory_bytes": 1 << 22}
    expected = SamplingParams(
        temperature=0.6, top_p=0.9, top_k=7, min_p=0.02, repetition_penalty=1.1, max_tokens=5
    )
    llm = LLM(folder, **size)
    assert llm.get_default_sampling_params() == expected
    assert llm.get_tokenizer().eos_token_ids == (EOS, 7)
    (request,) = llm.generate([PROMPT])
    (same,) = LLM(folder, **size).generate([PROMPT], expected)
    assert request.outputs == same.outputs
    assert LLM(folder, generation_config="vllm", **size).get_default_sampling_params() == SamplingParams()
    assert LLM(model, **size).get_default_sampling_params() == SamplingParams()
    other = write_folder(tmp_path / "b", model, '{"top_k": 3, "top_p": null}')
    assert LLM(folder, generation_config=other, **size).get_default_sampling_params() == SamplingParams(
        top_k=3
    )
    assert "generation_config" in refusal(lambda: LLM(folder, generation_config=tmp_path, **size))


@pytest.mark.filterwarnings("ignore:.*generation_config.json is not valid JSON")
@pytest.mark.parametrize("content", ["not JSON", "[]", "3", '{"temperature": "hot"}', '{"top_p": 7}'])
def test_a_generation_config_that_makes_no_sense(content: str, model: Transformer, tmp_path: Path) -> None:
    """It is no part of the weights: it is passed over, or named."""
    folder = write_folder(tmp_path / "a", model, content)
    try:
        llm = LLM(folder, kv_cache_memory_bytes=1 << 22)
    except MinillmError as error:
        assert "generation_config.json" in str(error)
    else:
        assert llm.get_default_sampling_params() == SamplingParams()


def test_sleep_and_wake_up(llm: LLM) -> None:
    before = one(llm, logprobs=0)
    assert not llm.is_sleeping()
    llm.enqueue(PROMPT, SamplingParams(max_tokens=3, seed=0))
    refusal(llm.sleep)
    finish(llm)
    llm.sleep()
    assert llm.is_sleeping()
    llm.sleep()
    assert metrics(llm)["vllm:kv_cache_usage_perc"] == 0
    for call in (
        lambda: llm.generate([PROMPT], SamplingParams(max_tokens=3)),
        lambda: llm.enqueue(PROMPT, SamplingParams(max_tokens=3)),
        lambda: list(llm.stream([PROMPT], SamplingParams(max_tokens=3))),
        lambda: llm.beam_search([PROMPT], BeamSearchParams(2, 3)),
        lambda: llm.next_token_logprobs([PROMPT]),
    ):
        assert "wake_up()" in refusal(call)
        assert not llm.has_unfinished_requests()
    llm.wake_up(tags=["weights"])
    assert llm.is_sleeping()
    llm.wake_up(tags=["kv_cache"])
    assert not llm.is_sleeping()
    llm.wake_up()
    assert one(llm, logprobs=0) == before
    assert llm.generate([[*range(90)]], SamplingParams(max_tokens=1))[0].num_cached_tokens == 0
    assert "level" in refusal(lambda: llm.sleep(level=2))
    assert "tags" in refusal(lambda: llm.wake_up(tags=["all"]))


def metrics(llm: LLM) -> dict[str, float]:
    numbers = [m for m in llm.get_metrics() if isinstance(m, Counter | Gauge)]
    return {"/".join([m.name, *m.labels.values()]): m.value for m in numbers}


def test_metrics(model: Transformer, llm: LLM) -> None:
    eos = one(llm, max_tokens=10).token_ids[4]
    llm = make_llm(model, eos=[eos], max_num_seqs=2)
    prompt = [(7 * i) % 100 for i in range(90)]
    first = llm.generate([prompt, PROMPT], SamplingParams(max_tokens=10, seed=0, n=2))
    second = llm.generate([prompt], SamplingParams(max_tokens=3, seed=1, ignore_eos=True))
    outputs = [output for request in (*first, *second) for output in request.outputs]
    reasons = [output.finish_reason for output in outputs]
    assert set(reasons) == {"stop", "length"}
    ids = llm.enqueue(PROMPTS[:3], SamplingParams(max_tokens=50, seed=5, ignore_eos=True))
    llm.step()
    llm.step()
    found = metrics(llm)
    assert found["vllm:num_requests_running"] == 2
    assert found["vllm:num_requests_waiting"] == 1
    held = llm._engine.scheduler.pool.held
    assert held > 0
    assert found["vllm:kv_cache_usage_perc"] == held / llm._engine.scheduler.pool.num_pages
    (aborted, *_) = llm.abort_request(ids)
    tokens = sum(len(output.token_ids) for output in outputs)
    found = metrics(llm)
    assert found["vllm:generation_tokens"] >= tokens + len(aborted.outputs[0].token_ids)
    assert found["vllm:generation_tokens"] <= tokens + 4
    assert found["vllm:prompt_tokens"] == 90 + len(PROMPT) + 90 + sum(len(p) for p in PROMPTS[:3])
    assert found["vllm:request_success/stop"] == reasons.count("stop")
    assert found["vllm:request_success/length"] == reasons.count("length")
    assert found["vllm:request_success/abort"] == 3
    assert found["vllm:prefix_cache_hits"] >= second[0].num_cached_tokens == 89
    assert found["vllm:kv_cache_usage_perc"] == found["vllm:num_requests_running"] == 0
    assert found["vllm:engine_steps"] >= 10


def test_counters_only_grow(model: Transformer) -> None:
    """Through sleep too, which throws the cache away."""
    llm = make_llm(model, kv_cache_memory_bytes=3 * PAGE_BYTES)
    llm.generate([[i] * 50 for i in range(3)], SamplingParams(max_tokens=40, seed=0, ignore_eos=True))
    before = metrics(llm)
    assert before["vllm:num_preemptions"] > 0
    llm.sleep()
    llm.wake_up()
    after = metrics(llm)
    for name, value in before.items():
        assert after[name] >= value, name


def test_request_metrics(llm: LLM) -> None:
    (request,) = llm.generate([PROMPT], SamplingParams(max_tokens=3))
    metrics = request.metrics
    assert metrics is not None
    assert metrics.first_token_time is not None
    assert metrics.last_token_time is not None
    assert metrics.finished_time is not None
    times = [
        metrics.arrival_time, metrics.first_token_time, metrics.last_token_time, metrics.finished_time,
    ]  # fmt: skip
    assert times == sorted(times)
    assert metrics.preemptions == 0
