"""What scripts written for vLLM import and call beyond `LLM.generate`: engines, arguments, priorities."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers

from minillm import (
    LLM,
    AsyncEngineArgs,
    AsyncLLM,
    AsyncLLMEngine,
    EngineArgs,
    LLMEngine,
    MinillmError,
    PoolingParams,
    RequestOutput,
    RequestOutputKind,
    SamplingParams,
    StructuredOutputsParams,
    TextPrompt,
    TokensPrompt,
    Transformer,
    save_model,
    token_logprobs,
)
from minillm.async_llm import EngineError
from minillm.model.batch import PAGE_SIZE

T = TypeVar("T")

VOCABULARY = 131
PROMPT = [5, 17, 40, 99, 3]
PAGE_BYTES = 2 * 2 * 2 * 16 * PAGE_SIZE * 4
GREEDY = SamplingParams(temperature=0, max_tokens=8)


@pytest.fixture(scope="module")
def model(tiny_llama: Callable[..., Transformer]) -> Transformer:
    return tiny_llama("fp32")


@pytest.fixture(scope="module")
def folder(model: Transformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder with a tokenizer of 131 tokens and a generation_config.json."""
    folder = tmp_path_factory.mktemp("published")
    save_model(model, folder)
    characters = [*map(chr, range(33, 127)), "Ġ"]
    words = [*characters, *[a + b for a in "etaoin" for b in "shrdlu"]][:VOCABULARY]
    merges = [(word[0], word[1]) for word in words if len(word) == 2]
    backend = tokenizers.Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.save(str(folder / "tokenizer.json"))
    settings = {"temperature": 0.5, "top_k": 7, "max_new_tokens": 9, "eos_token_id": [77]}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


def make_llm(model: Any, **options: Any) -> LLM:
    return LLM(model, **{"kv_cache_memory_bytes": 1 << 23, "max_logprobs": -1, **options})


@pytest.fixture
def llm(model: Transformer) -> LLM:
    return make_llm(model)


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(MinillmError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tokens_of(outputs: Sequence[RequestOutput]) -> list[list[int]]:
    return [sample.token_ids for request in outputs for sample in request.outputs]


# ---------------------------------------------------------------- names


def test_the_engine_is_the_llm_under_vllms_names(llm: LLM) -> None:
    engine = llm.llm_engine
    assert isinstance(engine, LLMEngine) and engine.llm_engine is llm
    (expected,) = llm.generate([PROMPT], GREEDY)
    assert engine.add_request("a", TokensPrompt(prompt_token_ids=PROMPT), GREEDY) == "a"
    engine.add_request("b", {"prompt_token_ids": PROMPT}, SamplingParams(max_tokens=200), arrival_time=None)
    assert (engine.get_num_unfinished_requests(), engine.has_unfinished_requests()) == (2, True)
    assert "is taken" in refusal(lambda: engine.add_request("a", PROMPT, GREEDY))
    assert "request_id must be a string" in refusal(lambda: engine.add_request(3, PROMPT, GREEDY))  # type: ignore[arg-type]
    seen: dict[str, RequestOutput] = {}
    while not (seen and seen["a"].finished):
        seen |= {output.request_id: output for output in engine.step()}
    assert seen["a"].outputs[0].token_ids == expected.outputs[0].token_ids
    (ended,) = engine.abort_request(["b", "nobody"])
    assert ended.outputs[0].finish_reason == "abort" and len(ended.outputs[0].token_ids) == 8
    assert (engine.get_num_unfinished_requests(), engine.step()) == (0, [])
    assert engine.vllm_config.model_config.get_vocab_size() == VOCABULARY
    assert engine.model_config.max_model_len == llm.max_model_len
    assert engine.cache_config.block_size * engine.cache_config.num_gpu_blocks >= llm.max_model_len
    assert engine.cache_config.enable_prefix_caching
    assert engine.scheduler_config.max_num_seqs == 64 and engine.scheduler_config.policy == "fcfs"


def test_pooling_is_refused_by_name(llm: LLM) -> None:
    assert "PoolingParams" in refusal(PoolingParams)
    assert "use SamplingParams" in refusal(lambda: PoolingParams(dimensions=3))
    for name in ("encode", "embed", "classify", "score", "reward"):
        assert f"LLM.{name}: " in refusal(lambda name=name: getattr(llm, name)(["a"]))  # type: ignore[misc]
        assert not hasattr(llm, name)


def test_prompts_have_types(folder: Path) -> None:
    llm = make_llm(folder)
    ids = llm.get_tokenizer().encode("no idea")
    prompts = [TextPrompt(prompt="no idea"), TokensPrompt(prompt_token_ids=ids), "no idea", ids]
    assert len({tuple(tokens) for tokens in tokens_of(llm.generate(prompts, GREEDY))}) == 1


# ---------------------------------------------------------------- a queue


def test_what_is_queued_comes_in_its_order(llm: LLM) -> None:
    prompts = [[7, i] for i in range(5)]
    params = [SamplingParams(max_tokens=9 - i, seed=i, n=1 + i % 2) for i in range(5)]
    expected = llm.generate(prompts, params)
    ids = llm.enqueue(prompts[:1], params[0]) + llm.enqueue(prompts[1:4], params[1:4])
    ids += llm.enqueue(prompts[4], params[4])
    assert len(set(ids)) == 5 and llm.get_num_unfinished_requests() == 5
    assert "found 5 unfinished requests; wait_for_completion()" in refusal(lambda: llm.generate(prompts))
    llm.step()
    outputs = llm.wait_for_completion(use_tqdm=False)
    assert [output.request_id for output in outputs] == ids
    assert [output.outputs for output in outputs] == [output.outputs for output in expected]
    assert all(output.finished for output in outputs)
    assert llm.wait_for_completion() == []


def test_a_queue_refuses_all_or_nothing(llm: LLM) -> None:
    assert "vocabulary" in refusal(lambda: llm.enqueue([PROMPT, [999]], GREEDY))
    assert "2 prompts but 1 sampling_params" in refusal(lambda: llm.enqueue([PROMPT, PROMPT], [GREEDY]))
    assert not llm.has_unfinished_requests()
    llm.enqueue(PROMPT, GREEDY, use_tqdm=False)  # type: ignore[call-arg]
    assert "output_type must be RequestOutput" in refusal(lambda: llm.wait_for_completion(str))
    # Others of the queue are given whole, however they are seen as they grow.
    llm.add_request("mine", PROMPT, params_of(RequestOutputKind.DELTA))
    first, mine = llm.wait_for_completion(RequestOutput)
    assert (len(first.outputs[0].token_ids), len(mine.outputs[0].token_ids)) == (8, 12)
    assert mine.request_id == "mine"


def test_scheduling_may_be_held_back(llm: LLM) -> None:
    """vLLM: level 0 queues and gives nothing back."""
    expected = tokens_of(llm.generate([PROMPT], GREEDY))
    llm.sleep(level=0)
    llm.enqueue([PROMPT], GREEDY)
    assert not llm.is_sleeping()
    llm.wake_up(tags=["scheduling"])
    assert tokens_of(llm.wait_for_completion()) == expected
    assert "levels 0 and 1" in refusal(lambda: llm.sleep(level=2))
    assert "tags must be a list of some of weights, kv_cache, scheduling" in refusal(
        lambda: llm.wake_up(["a"])
    )


def test_chats_are_queued_as_they_are_answered(folder: Path) -> None:
    llm = make_llm(folder)
    llm.get_tokenizer().chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    chats = [[{"role": "user", "content": text}] for text in ("no", "idea")]
    expected = llm.chat(chats, GREEDY)
    assert [output.prompt for output in expected] == ["no", "idea"]
    llm.enqueue_chat(chats, GREEDY)
    llm.enqueue_chat(chats[0], GREEDY, chat_template="a{{ messages[0].content }}")
    outputs = llm.wait_for_completion()
    assert [output.prompt for output in outputs] == ["no", "idea", "ano"]
    assert tokens_of(outputs[:2]) == tokens_of(expected)
    for wrong in (3, "no", [3], [[3]], None):
        assert "messages must be a chat" in refusal(lambda wrong=wrong: llm.chat(wrong, GREEDY))  # type: ignore[misc]


# ---------------------------------------------------------------- arguments


def test_options_of_a_command_line_become_engine_args(folder: Path) -> None:
    parser = AsyncEngineArgs.add_cli_args(argparse.ArgumentParser())
    parser.add_argument("--mine", default=3)
    line = [
        "--model", str(folder), "--max-num-seqs", "5", "--gpu-memory-utilization", "0.5", "--enforce-eager",
        "--no-enable-prefix-caching", "--enable-chunked-prefill", "--max-model-len", "-1",
        "--precision", "bf16", "--override-generation-config", '{"temperature": 0.5}',
        "--kv-cache-memory-bytes", "1000000",
    ]  # fmt: skip
    args = EngineArgs.from_cli_args(parser.parse_args(line))
    assert args == EngineArgs(
        model=str(folder),
        max_num_seqs=5,
        gpu_memory_utilization=0.5,
        enforce_eager=True,
        enable_prefix_caching=False,
        enable_chunked_prefill=True,
        max_model_len=-1,
        precision="bf16",
        override_generation_config={"temperature": 0.5},
        kv_cache_memory_bytes=1000000,
    )
    llm = args.create_llm()
    assert (llm.scheduler_config.max_num_seqs, llm.cache_config.enable_prefix_caching) == (5, False)
    assert llm.model.precision.compute is torch.bfloat16
    assert type(AsyncEngineArgs.from_cli_args(parser.parse_args(line))) is AsyncEngineArgs
    assert "must have a model" in refusal(lambda: EngineArgs.from_cli_args(argparse.Namespace()))


def test_configs_without_an_engine_are_refused(llm: LLM) -> None:
    args = EngineArgs(model="m")
    assert "make an engine" in refusal(lambda: args.create_engine_config())
    assert "call from_engine_args()" in refusal(lambda: LLMEngine(vllm_config=args))  # type: ignore[call-arg]
    assert "call from_engine_args()" in refusal(lambda: AsyncLLM.from_vllm_config(args))  # type: ignore[attr-defined]
    assert "from_engine_args()" in refusal(lambda: AsyncLLM("m"))  # type: ignore[arg-type]
    for cls in (LLM, LLMEngine, AsyncLLM):
        assert "engine_args must be EngineArgs" in refusal(lambda cls=cls: cls.from_engine_args("m"))  # type: ignore[misc]


def test_a_device_must_be_the_models(llm: LLM, folder: Path) -> None:
    for device in (None, "auto", "cpu", torch.device("cpu")):
        assert make_llm(llm.model, device=device).model is llm.model
        assert make_llm(folder, device=device).model.head.device == torch.device("cpu")
    assert "the model is on cpu, not on device='meta'" in refusal(lambda: make_llm(llm.model, device="meta"))
    assert "device must be a torch device" in refusal(lambda: make_llm(folder, device="gpu"))


def test_engine_args_are_the_arguments_of_llm(folder: Path) -> None:
    args = EngineArgs(model=str(folder), max_num_seqs=3, kv_cache_memory_bytes=1 << 22, enforce_eager=True)
    names = {field.name for field in fields(args)}
    assert {"model", "tokenizer", "precision", "tensor_parallel_size", "swap_space"} < names
    assert (args.max_num_seqs, args.enforce_eager, args.tensor_parallel_size) == (3, True, 1)
    args.max_num_batched_tokens = 100
    engine = LLMEngine.from_engine_args(args)
    assert isinstance(engine, LLM) and engine.scheduler_config.max_num_batched_tokens == 100
    assert LLM(**asdict(args)).scheduler_config == engine.scheduler_config
    args.tensor_parallel_size = 2
    assert "LLM(tensor_parallel_size=2)" in refusal(args.create_llm)
    assert "did you mean max_num_seqs?" in refusal(lambda: EngineArgs(model="m", max_num_seq=3))
    assert isinstance(AsyncEngineArgs(model="m", enable_log_requests=False), EngineArgs)
    assert AsyncLLMEngine is AsyncLLM


def test_vllms_defaults_that_are_none_are_defaults(model: Transformer) -> None:
    names = ("seed", "max_num_seqs", "max_num_batched_tokens", "enable_prefix_caching", "max_model_len")
    plain, none = make_llm(model), make_llm(model, **dict.fromkeys(names))
    assert (none.scheduler_config, none.cache_config) == (plain.scheduler_config, plain.cache_config)
    params = SamplingParams(max_tokens=6)
    assert tokens_of(none.generate([PROMPT], params)) == tokens_of(plain.generate([PROMPT], params))


def test_minus_1_is_the_longest_that_fits(model: Transformer) -> None:
    assert make_llm(model, max_model_len=-1).max_model_len == model.config.max_position_embeddings
    small = make_llm(model, max_model_len=-1, kv_cache_memory_bytes=3 * PAGE_BYTES)
    assert small.max_model_len == 3 * PAGE_SIZE + 1
    assert "max_model_len must be 1 to" in refusal(lambda: make_llm(model, max_model_len=0))


def test_defaults_are_the_models_own_and_can_be_overridden(folder: Path, model: Transformer) -> None:
    found = make_llm(folder).get_default_sampling_params()
    assert found == SamplingParams(temperature=0.5, top_k=7, max_tokens=9)
    overrides = {"temperature": 0.25, "top_p": 0.5, "max_new_tokens": None}
    llm = make_llm(folder, override_generation_config=overrides)
    assert llm.get_default_sampling_params() == SamplingParams(
        temperature=0.25, top_k=7, top_p=0.5, max_tokens=9
    )
    plain = make_llm(folder, override_generation_config=overrides, generation_config="vllm")
    assert plain.get_default_sampling_params() == SamplingParams(temperature=0.25, top_p=0.5)
    # Whoever gets them may change them.
    llm.get_default_sampling_params().temperature = 2.0
    assert llm.get_default_sampling_params().temperature == 0.25
    for wrong in ({"temprature": 1}, [3], "a"):
        message = refusal(lambda wrong=wrong: make_llm(model, override_generation_config=wrong))  # type: ignore[misc]
        assert message.startswith("override_generation_config must be a dict of ")
    message = refusal(lambda: make_llm(model, override_generation_config={"temperature": 7}))
    assert message.startswith("override_generation_config: temperature must be ")


def test_without_its_tokenizer_a_model_takes_and_gives_ids(folder: Path) -> None:
    whole, bare = make_llm(folder), make_llm(folder, skip_tokenizer_init=True)
    assert tokens_of(bare.generate([PROMPT], GREEDY)) == tokens_of(whole.generate([PROMPT], GREEDY))
    assert bare.generate([PROMPT], GREEDY)[0].outputs[0].text == ""
    assert "without a tokenizer" in refusal(lambda: bare.generate(["abc"], GREEDY))
    grammar = SamplingParams(structured_outputs=StructuredOutputsParams(regex="[0-9]+"))
    assert "without a tokenizer" in refusal(lambda: bare.generate([PROMPT], grammar))
    assert "not both" in refusal(lambda: make_llm(folder, tokenizer=folder, skip_tokenizer_init=True))
    # The model's configs still say what ends a sequence.
    (output,) = bare.generate([PROMPT], SamplingParams(logit_bias={77: 100.0}))[0].outputs
    assert (output.token_ids, output.finish_reason, output.stop_reason) == ([77], "stop", 77)


def test_values_of_config_json_can_be_overridden(folder: Path) -> None:
    plain = make_llm(folder)
    changed = make_llm(folder, hf_overrides={"max_position_embeddings": 64, "rope_theta": 500.0})
    assert (plain.max_model_len, changed.max_model_len) == (512, 64)
    assert not torch.equal(changed.next_token_logprobs([PROMPT]), plain.next_token_logprobs([PROMPT]))

    def shorten(config: Any) -> Any:
        config.max_position_embeddings //= 4
        config.update({"rope_theta": 500.0})
        assert config.model_type == config["model_type"] == "llama"
        return config

    called = make_llm(folder, hf_overrides=shorten)
    assert called.max_model_len == 128
    assert tokens_of(called.generate([PROMPT], GREEDY)) == tokens_of(changed.generate([PROMPT], GREEDY))
    # What is saved of it is the changed one.
    assert json.loads(changed.model.config.source)["rope_theta"] == 500.0
    merged = {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}
    assert tokens_of(make_llm(folder, hf_overrides=merged).generate([PROMPT], GREEDY))
    for wrong, says in (
        ({"model_type": "nobody"}, "model_type 'nobody' is not supported"),
        ({"num_hidden_layers": "two"}, "config.json"),
        (lambda config: None, "hf_overrides must return the config"),
        ([3], "hf_overrides must be a dict or a function"),
    ):
        assert says in refusal(lambda wrong=wrong: make_llm(folder, hf_overrides=wrong))  # type: ignore[misc]
    assert "a Transformer is as it is" in refusal(lambda: make_llm(plain.model, hf_overrides={"a": 1}))


def test_progress_can_be_anybodys(llm: LLM) -> None:
    class Bar:
        made: ClassVar[list[Bar]] = []

        def __init__(self, total: int, desc: str) -> None:
            self.total, self.count, self.closed = total, 0, False
            self.made.append(self)

        def update(self, n: int) -> None:
            self.count += n

        def close(self) -> None:
            self.closed = True

    llm.generate([PROMPT, [3]], GREEDY, use_tqdm=Bar)
    llm.generate([PROMPT], GREEDY, Bar)
    assert [(bar.total, bar.count, bar.closed) for bar in Bar.made] == [(2, 2, True), (1, 1, True)]


# ---------------------------------------------------------------- the live model


def test_functions_run_on_the_worker_and_on_the_model(llm: LLM) -> None:
    assert llm.apply_model(lambda model: type(model)) == [Transformer]
    assert llm.collective_rpc(lambda worker: worker.rank) == [0]
    assert llm.collective_rpc("get_model") == [llm.model]
    assert llm.collective_rpc("apply_model", args=(lambda model: model.config.vocab_size,)) == [VOCABULARY]
    assert llm.collective_rpc(lambda worker, a, b: (a, b), args=(1,), kwargs={"b": 2}) == [(1, 2)]
    assert llm.collective_rpc(lambda worker: worker.device) == [torch.device("cpu")]
    message = refusal(lambda: llm.collective_rpc("save_sharded_state"))
    assert "no method 'save_sharded_state'" in message and "apply_model" in message


def test_what_apply_model_writes_is_sampled_from(tiny_llama: Callable[..., Transformer]) -> None:
    llm = make_llm(tiny_llama("fp32"))

    def write(model: Transformer) -> None:
        with torch.no_grad():
            model.head *= -1

    before = llm.next_token_logprobs([PROMPT])
    llm.apply_model(write)
    assert not torch.equal(llm.next_token_logprobs([PROMPT]), before)
    after = llm.generate([PROMPT], SamplingParams(max_tokens=8, logprobs=0, seed=0))
    (logprobs,) = token_logprobs(llm.model, [PROMPT + after[0].outputs[0].token_ids])
    assert after[0].outputs[0].token_logprobs == logprobs[len(PROMPT) - 1 :].tolist()


def test_a_profile_is_a_trace_of_torchs(model: Transformer, tmp_path: Path) -> None:
    llm = make_llm(
        model, profiler_config={"profiler": "torch", "torch_profiler_dir": str(tmp_path / "traces")}
    )
    for number in range(2):
        llm.start_profile()
        assert "was called already" in refusal(llm.start_profile)
        llm.generate([PROMPT], GREEDY)
        llm.stop_profile()
        trace = json.loads((tmp_path / "traces" / f"minillm.{number}.json").read_text())
        assert trace["traceEvents"]
    assert "without start_profile()" in refusal(llm.stop_profile)
    assert "profiler_config=" in refusal(make_llm(model).start_profile)
    for wrong in ({"profiler": "cuda", "torch_profiler_dir": "a"}, {"torch_profiler_dir": ""}, {"a": 1}, 3):
        message = refusal(lambda wrong=wrong: make_llm(model, profiler_config=wrong))  # type: ignore[misc]
        assert message.startswith("profiler_config must be ")


def test_shutdown_gives_the_cache_back(llm: LLM) -> None:
    llm.enqueue(PROMPT, GREEDY)
    llm.step()
    llm.shutdown()
    assert llm.is_sleeping() and not llm.has_unfinished_requests()
    assert "wake_up()" in refusal(lambda: llm.generate([PROMPT], GREEDY))
    llm.shutdown(timeout=3)  # type: ignore[call-arg]
    llm.wake_up()
    assert len(tokens_of(llm.generate([PROMPT], GREEDY))[0]) == 8


# ---------------------------------------------------------------- priorities


def order_of_ends(llm: LLM, requests: Sequence[tuple[str, int]], max_tokens: int = 3) -> list[str]:
    """The ids of requests in the order in which they finish, of one sequence a step."""
    for name, priority in requests:
        llm.add_request(name, PROMPT, SamplingParams(max_tokens=max_tokens, seed=0), priority=priority)
    ended = []
    while llm.has_unfinished_requests():
        ended += [output.request_id for output in llm.step() if output.finished]
    return ended


def test_the_lowest_priority_goes_first_and_ties_by_arrival(model: Transformer) -> None:
    llm = make_llm(model, scheduling_policy="priority", max_num_seqs=1)
    requests = [("a", 1), ("b", 0), ("c", -3), ("d", 1), ("e", 0)]
    assert order_of_ends(llm, requests) == ["c", "b", "e", "a", "d"]
    assert order_of_ends(make_llm(model, max_num_seqs=1), [(name, 0) for name, _ in requests]) == list(
        "abcde"
    )


def test_without_the_policy_a_priority_is_refused(llm: LLM, model: Transformer) -> None:
    assert "scheduling_policy='priority'" in refusal(
        lambda: llm.add_request(None, PROMPT, GREEDY, priority=1)
    )
    assert "scheduling_policy='priority'" in refusal(
        lambda: llm.generate([PROMPT] * 2, GREEDY, priority=[0, 1])
    )
    # Of prompts that run alone, priorities that are all alike ask for nothing.
    expected = tokens_of(llm.generate([PROMPT, [3, 4]], GREEDY))
    for alike in (None, 0, 1, [0, 0], [5, 5]):
        assert tokens_of(llm.generate([PROMPT, [3, 4]], GREEDY, priority=alike)) == expected
    assert tokens_of(llm.generate(PROMPT, GREEDY, priority=[0])) == expected[:1]
    for wrong in ([0], [], [0, 0, 0], [0, 1.5], "01", 1.5):
        message = refusal(lambda wrong=wrong: llm.generate([PROMPT, [3]], GREEDY, priority=wrong))  # type: ignore[misc]
        assert message.startswith("priority must be a whole number")
    assert "scheduling_policy must be one of fcfs, priority" in refusal(
        lambda: make_llm(model, scheduling_policy="lifo")
    )
    assert not llm.has_unfinished_requests()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_priorities_and_preemption_change_no_bit(
    tiny_llama: Callable[..., Transformer], precision: str
) -> None:
    """The sampler's logprobs are the trainer's, whatever went first and was sent back."""
    model = tiny_llama(precision)
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 60, (12,), generator=generator).tolist()
    prompts = [torch.randint(0, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]
    params = [
        SamplingParams(max_tokens=70, seed=i, logprobs=0, n=1 + i % 3, ignore_eos=True) for i in range(12)
    ]
    page = PAGE_BYTES // (2 if precision == "bf16" else 1)
    plain = make_llm(model).generate(prompts, params)
    small = make_llm(
        model, scheduling_policy="priority", kv_cache_memory_bytes=9 * page, max_num_batched_tokens=48
    )
    for order in ([0] * 12, list(range(12)), list(range(12, 0, -1)), [3, -1, 2, 0] * 3):
        before = small._engine.scheduler.preemptions
        outputs = small.generate(prompts, params, priority=order)
        assert small._engine.scheduler.preemptions > before
        assert small._engine.scheduler.pool.held == 0
        assert tokens_of(outputs) == tokens_of(plain)
        for request in outputs:
            for sample in request.outputs:
                (logprobs,) = token_logprobs(model, [[*request.prompt_token_ids, *sample.token_ids]])
                expected = logprobs[len(request.prompt_token_ids) - 1 :].detach()
                assert torch.equal(torch.tensor(sample.token_logprobs), expected)


def test_the_urgent_is_not_sent_back_for_others(model: Transformer) -> None:
    """Four sequences of 3 pages in a cache of 6: those of lower priority give up their pages."""
    llm = make_llm(model, scheduling_policy="priority", kv_cache_memory_bytes=6 * PAGE_BYTES)
    params = SamplingParams(max_tokens=2 * PAGE_SIZE, seed=0, ignore_eos=True)
    prompts = [[i] * (PAGE_SIZE - 2) for i in range(4)]
    outputs = llm.generate(prompts, params, priority=[2, 0, 1, 0])
    preemptions = [output.metrics.preemptions for output in outputs if output.metrics is not None]
    assert preemptions[1] == preemptions[3] == 0
    assert preemptions[0] > 0 and sum(preemptions) == llm._engine.scheduler.preemptions
    ends = [output.metrics.finished_time or 0 for output in outputs if output.metrics is not None]
    assert max(ends[1], ends[3]) <= ends[2] <= ends[0]


# ---------------------------------------------------------------- AsyncLLM


@asynccontextmanager
async def running(llm: LLM) -> AsyncIterator[AsyncLLM]:
    """An engine as vLLM's scripts have it: made, used, and shut down."""
    engine = AsyncLLM(llm)
    try:
        yield engine
    finally:
        engine.shutdown()
        assert not engine._thread.is_alive()
        assert not llm.has_unfinished_requests()


async def collect(
    engine: AsyncLLM, name: str, params: SamplingParams, prompt: Any = None
) -> list[RequestOutput]:
    return [output async for output in engine.generate(prompt or PROMPT, params, request_id=name)]


async def begun(engine: AsyncLLM, request: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task of the engine's only request, once that is there."""
    task = asyncio.create_task(request)
    while not engine.has_unfinished_requests():
        await asyncio.sleep(0.001)
    return task


def params_of(kind: RequestOutputKind, **options: Any) -> SamplingParams:
    return SamplingParams(**{"seed": 3, "max_tokens": 12, "output_kind": kind, "ignore_eos": True, **options})


def test_async_requests_are_the_llms(folder: Path) -> None:
    args = AsyncEngineArgs(model=str(folder), kv_cache_memory_bytes=1 << 23, enforce_eager=True)
    kinds = list(RequestOutputKind)
    expected = make_llm(folder).generate([[7, i] for i in range(9)], params_of(kinds[0], n=2))

    async def main() -> list[list[RequestOutput]]:
        engine = AsyncLLM.from_engine_args(args)
        assert engine.is_running and not engine.errored
        tasks = [collect(engine, f"r{i}", params_of(kinds[i % 3], n=2), [7, i]) for i in range(9)]
        seen = await asyncio.gather(*tasks)
        assert not engine.output_processor.has_unfinished_requests()
        assert engine.get_tokenizer().decode([3]) and engine.tokenizer is not None
        assert engine.model_config.get_vocab_size() == VOCABULARY
        assert await engine.collective_rpc(lambda worker: worker.rank) == [0]
        assert {metric.name for metric in await engine.get_metrics()} > {"vllm:generation_tokens"}
        await engine.check_health()
        engine.shutdown()
        engine.shutdown()
        assert engine.errored and engine.is_stopped and not engine.is_running
        with pytest.raises(EngineError, match="shut down"):
            await engine.check_health()
        with pytest.raises(EngineError, match="shut down"):
            await collect(engine, "late", GREEDY)
        return seen

    for i, (outputs, wanted) in enumerate(zip(asyncio.run(main()), expected, strict=True)):
        assert [output.finished for output in outputs] == [False] * (len(outputs) - 1) + [True]
        assert {output.request_id for output in outputs} == {f"r{i}"}
        for place, sample in enumerate(wanted.outputs):
            if kinds[i % 3] is RequestOutputKind.DELTA:
                ids = [t for o in outputs for s in o.outputs if s.index == place for t in s.token_ids]
            else:
                ids = outputs[-1].outputs[place].token_ids
                assert (len(outputs) == 1) == (kinds[i % 3] is RequestOutputKind.FINAL_ONLY)
            assert ids == sample.token_ids


def test_aborted_requests_give_what_they_have(model: Transformer) -> None:
    async def main() -> None:
        async with running(make_llm(model)) as engine:
            long = [
                asyncio.create_task(collect(engine, f"{kind.name}", params_of(kind, max_tokens=400)))
                for kind in RequestOutputKind
            ]
            short = asyncio.create_task(collect(engine, "short", params_of(RequestOutputKind.DELTA)))
            await short
            assert engine.get_num_unfinished_requests() == 3
            await engine.abort([kind.name for kind in RequestOutputKind])
            await engine.abort("nobody")
            for outputs in await asyncio.gather(*long):
                assert outputs[-1].finished and outputs[-1].outputs[0].finish_reason == "abort"
                count = sum(len(o.outputs[0].token_ids) for o in outputs if o.outputs)
                assert count > 0
                assert len(outputs[-1].outputs[0].token_ids) < 400
            assert not engine.has_unfinished_requests()

    asyncio.run(main())


def test_leaving_or_cancelling_ends_a_request(model: Transformer) -> None:
    async def some(engine: AsyncLLM, name: str, count: int) -> int:
        async for output in engine.generate(
            PROMPT, params_of(RequestOutputKind.CUMULATIVE, max_tokens=400), name
        ):
            if len(output.outputs[0].token_ids) >= count:
                return len(output.outputs[0].token_ids)
        raise AssertionError("it ended by itself")

    async def main() -> None:
        async with running(make_llm(model)) as engine:
            assert await asyncio.gather(*(some(engine, str(i), 5) for i in range(6))) == [5] * 6
            gc.collect()
            await asyncio.sleep(0)
            assert not engine.has_unfinished_requests()
            task = await begun(engine, some(engine, "0", 399))
            assert "is taken" in str((await asyncio.gather(some(engine, "0", 3), return_exceptions=True))[0])
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not engine.has_unfinished_requests()
            # The id is free again.
            assert await some(engine, "0", 3) == 3

    asyncio.run(main())


def test_bad_requests_raise_and_leave_the_others_alone(model: Transformer) -> None:
    async def main() -> None:
        async with running(make_llm(model)) as engine:
            other = asyncio.create_task(collect(engine, "other", params_of(RequestOutputKind.DELTA)))
            for prompt, params in (
                ([], GREEDY),
                ([999], GREEDY),
                (PROMPT, SamplingParams(logprob_token_ids=[500])),
            ):
                with pytest.raises(MinillmError):
                    await collect(engine, "bad", params, prompt or [[]])
            assert "did you mean prompt?" in refusal(lambda: engine.generate(promt=PROMPT))  # type: ignore[call-arg]
            with pytest.raises(MinillmError, match="lora_request must be a LoRARequest, got int"):
                await anext(engine.generate(PROMPT, GREEDY, "a", lora_request=3))  # type: ignore[arg-type]
            assert "generates text" in refusal(lambda: engine.encode(PROMPT))  # type: ignore[attr-defined]
            assert sum(len(output.outputs[0].token_ids) for output in await other) == 12

    asyncio.run(main())


def test_a_step_that_fails_ends_what_runs_and_the_next_goes_well(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = make_llm(model)
    step = llm._engine.step
    expected = tokens_of(llm.generate([PROMPT], GREEDY))

    def fail() -> Any:
        monkeypatch.setattr(llm._engine, "step", step)
        raise RuntimeError("out of memory")

    async def main() -> None:
        async with running(llm) as engine:
            monkeypatch.setattr(llm._engine, "step", fail)
            with pytest.raises(EngineError, match="out of memory"):
                await collect(engine, "a", GREEDY)
            with pytest.raises(EngineError, match="out of memory"):
                await engine.check_health()
            assert not engine.errored
            assert tokens_of((await collect(engine, "a", GREEDY))[-1:]) == expected
            await engine.check_health()

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["abort", "wait", "keep"])
def test_a_pause_holds_requests_back(mode: str, model: Transformer) -> None:
    params = params_of(RequestOutputKind.FINAL_ONLY, max_tokens=150)
    (expected,) = tokens_of(make_llm(model).generate([PROMPT], params))

    async def main() -> None:
        async with running(make_llm(model)) as engine:
            first = await begun(engine, collect(engine, "first", params))
            await engine.pause_generation(mode=mode)
            assert await engine.is_paused()
            late = asyncio.create_task(collect(engine, "late", params))
            if mode != "keep":
                ((ended,),) = [(await first)[-1].outputs]
                assert ended.finish_reason == {"abort": "abort", "wait": "length"}[mode]
            steps = await engine.call(lambda llm: llm._metrics.steps)
            assert steps == await engine.call(lambda llm: llm._metrics.steps)
            assert not late.done()
            await engine.resume_generation()
            assert not await engine.is_paused()
            assert tokens_of((await late)[-1:]) == [expected]
            if mode != "abort":
                assert tokens_of((await first)[-1:]) == [expected]
            with pytest.raises(MinillmError, match="mode must be one of abort, wait, keep"):
                await engine.pause_generation(mode="now")

    asyncio.run(main())


@pytest.mark.parametrize(("level", "mode"), [(0, "keep"), (0, "abort"), (1, "abort"), (1, "wait")])
def test_an_engine_that_sleeps_lets_requests_wait(level: int, mode: str, model: Transformer) -> None:
    params = params_of(RequestOutputKind.FINAL_ONLY, max_tokens=150)
    (expected,) = tokens_of(make_llm(model).generate([PROMPT], params))

    async def main() -> None:
        async with running(make_llm(model)) as engine:
            first = await begun(engine, collect(engine, "first", params))
            await engine.sleep(level, mode)
            assert await engine.is_sleeping() == (level == 1)
            late = asyncio.create_task(collect(engine, "late", params))
            await asyncio.sleep(0.01)
            assert not late.done()
            assert first.done() == (mode != "keep")
            await engine.wake_up(["scheduling"])
            assert await engine.is_paused() == (level == 1)  # there is no cache yet
            await engine.wake_up()
            assert not (await engine.is_sleeping() or await engine.is_paused())
            assert tokens_of((await late)[-1:]) == [expected]
            (tokens,) = tokens_of((await first)[-1:])
            assert tokens == expected[: len(tokens)] and (len(tokens) == 150 or mode == "abort")
            for wrong in ((2, "abort"), (1, "keep"), (1, "now")):
                with pytest.raises(MinillmError):
                    await engine.sleep(*wrong)
            assert not (await engine.is_sleeping() or await engine.is_paused())

    asyncio.run(main())


def test_an_engine_can_be_drained(model: Transformer) -> None:
    async def main() -> None:
        async with running(make_llm(model)) as engine:
            await engine.wait_for_requests_to_drain()
            params = params_of(RequestOutputKind.FINAL_ONLY, max_tokens=100)
            tasks = [asyncio.create_task(collect(engine, str(i), params)) for i in range(3)]
            while engine.get_num_unfinished_requests() < 3:
                await asyncio.sleep(0.001)
            with pytest.raises(TimeoutError):
                await engine.wait_for_requests_to_drain(0)
            await engine.wait_for_requests_to_drain()
            assert not await engine.call(LLM.has_unfinished_requests)
            for task in tasks:
                assert len(tokens_of((await task)[-1:])[0]) == 100

    asyncio.run(main())


def test_several_loops_share_an_engine(model: Transformer) -> None:
    engine = AsyncLLM(make_llm(model))
    found: list[list[list[int]]] = []

    def use(i: int) -> None:
        for j in range(3):
            found.append(tokens_of(asyncio.run(collect(engine, f"{i}.{j}", GREEDY))[-1:]))

    threads = [threading.Thread(target=use, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 9 and all(tokens == found[0] for tokens in found)
    engine.shutdown()


def test_shutdown_ends_what_waits(model: Transformer) -> None:
    async def main() -> None:
        engine = AsyncLLM(make_llm(model))
        tasks = [
            asyncio.create_task(collect(engine, str(i), params_of(RequestOutputKind.DELTA, max_tokens=400)))
            for i in range(3)
        ]
        while engine.get_num_unfinished_requests() < 3:
            await asyncio.sleep(0.001)
        await engine.pause_generation(mode="keep")
        tasks.append(asyncio.create_task(collect(engine, "held back", GREEDY)))
        await asyncio.sleep(0.01)
        await asyncio.to_thread(engine.shutdown)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, EngineError)

    asyncio.run(main())


def test_an_engine_that_was_never_used_can_be_shut_down(llm: LLM) -> None:
    engine = AsyncLLM(llm)
    engine.shutdown()
    with pytest.raises(EngineError, match="shut down"):
        asyncio.run(collect(engine, "a", GREEDY))


def test_priorities_of_async_requests(model: Transformer) -> None:
    ended: list[str] = []

    async def one(engine: AsyncLLM, name: str, priority: int) -> None:
        params = params_of(RequestOutputKind.FINAL_ONLY)
        async for _ in engine.generate(PROMPT, params, name, priority=priority):
            ended.append(name)

    async def main() -> None:
        async with running(make_llm(model, scheduling_policy="priority", max_num_seqs=1)) as engine:
            await engine.pause_generation()
            tasks = [asyncio.create_task(one(engine, *x)) for x in (("a", 1), ("b", 0), ("c", -1))]
            await asyncio.sleep(0.01)
            await engine.resume_generation()
            await asyncio.gather(*tasks)

    asyncio.run(main())
    assert ended == ["c", "b", "a"]
