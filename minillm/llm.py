"""`LLM`: text or token ids in, samples out, under vLLM's names."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from minillm import inputs
from minillm.api.engine_arguments import FOREIGN, OF_CALLS
from minillm.api.lora_request import LoRARequest
from minillm.api.outputs import BeamSearchOutput, RequestOutput
from minillm.api.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams
from minillm.checkpoint import hub
from minillm.checkpoint.load import checkpoint_dtype, load_model
from minillm.checkpoint.read_config import Overrides
from minillm.engine import beam_search as beam
from minillm.engine.engine import Engine, cache_bytes
from minillm.engine.metrics import EngineMetrics, Metric
from minillm.engine.request import Request, SampleState
from minillm.engine.sampler import Sampler
from minillm.engine.sequence import EngineSequence
from minillm.engine.served_loras import ServedLoRA, ServedLoRAs
from minillm.errors import MinillmError, anything, nothing, refusing
from minillm.inputs import Messages, Prompt
from minillm.llm_engine import LLMEngine, trace_folder
from minillm.model.logprobs import logprobs
from minillm.model.precision import Precision, preset_of_dtype
from minillm.model.transformer import Transformer
from minillm.progress import progress
from minillm.tokenizer.tokenizer import Tokenizer

POLICIES = ("fcfs", "priority")


@refusing(FOREIGN)
class LLM(LLMEngine):
    """A sampler over a live model.

    Arguments have vLLM's names. Of those that only vLLM has, values that ask for nothing here are noted in
    the log, once; others are an error.

    Args:
        model: a folder, a hub id or the demo model's name (loaded at `precision` onto `device`), or a
            `Transformer` that stays shared: what a trainer writes into it is sampled from next.
        tokenizer: a `Tokenizer`, or the folder or hub id of one, which needs no model, or one of
            transformers or `tokenizers`, as it then is; by default the model's. Its end tokens are those of
            the model's folder too. With a `Transformer` and without a tokenizer, prompts and outputs are
            token ids only.
        dtype: instead of a precision, "float32" ("float"), "bfloat16", "float16" ("half") or "float64"
            ("double"); "auto" is the checkpoint's. float16 is held and computed as float32, in which its
            weights are exact, and a warning says so.
        precision: a preset or a `Precision`; "fp32" by default.
        seed: seeds the requests that bring no seed of their own.
        max_model_len: most tokens of a sequence, prompt and output; by default, or with -1, the model's
            context, or what the KV cache holds if that is less.
        max_num_seqs: most sequences in one step.
        max_num_batched_tokens: most tokens in one step.
        enable_prefix_caching: reuse the keys and values of prompts that start alike.
        gpu_memory_utilization: share of a GPU's memory that weights and KV cache may take, 0.9 by default;
            on a CPU it asks for nothing.
        kv_cache_memory_bytes: size of the KV cache; by default 1 GiB on a CPU.
        max_logprobs: most logprobs of a token that a request may ask for; -1 for any number.
        logprobs_mode: what reported logprobs are of: "tempered_logprobs" (the full distribution after the
            temperature, whatever else is done to it; at temperature 0, of temperature 1), or vLLM's
            "raw_logprobs" (before the temperature), "processed_logprobs" (what is drawn from), "raw_logits",
            "processed_logits".
        generation_config: where defaults of sampling parameters come from: "auto" (the model's
            generation_config.json), "vllm" (vLLM's own), or a folder.
        override_generation_config: what takes the place of what stands there: temperature, top_p, top_k,
            min_p, repetition_penalty, max_new_tokens.
        skip_tokenizer_init: load no tokenizer: prompts and outputs are token ids only.
        hf_overrides: what takes the place of values in config.json, dicts in it part by part; or a function
            of its content, whose keys are attributes too, that returns it changed. The architecture is read
            from it; end tokens, tokenizer and generation_config.json are not.
        scheduling_policy: "fcfs" (first come, first served) or "priority": see `generate`.
        profiler_config: {"profiler": "torch", "torch_profiler_dir": folder}, for `start_profile`.
        enable_sleep_mode: accepted for compatibility; no effect, since `sleep` is always there.
        enable_lora: requests may have a `lora_request`, an adapter of PEFT's; the three below are for it.
        max_loras: most adapters that run at a time; each takes as much memory as the weights it changes.
        max_lora_rank: most of an adapter's ranks.
        max_cpu_loras: most adapters that are remembered, by default `max_loras`.
    """

    def __init__(
        self,
        model: str | Path | Transformer,
        tokenizer: Any = None,
        *,
        dtype: str | torch.dtype | None = None,
        precision: str | Precision | None = None,
        device: torch.device | str = "cpu",
        seed: int | None = 0,
        max_model_len: int | None = None,
        max_num_seqs: int | None = 64,
        max_num_batched_tokens: int | None = 2048,
        enable_prefix_caching: bool | None = True,
        gpu_memory_utilization: float | None = None,
        kv_cache_memory_bytes: int | None = None,
        max_logprobs: int = 20,
        logprobs_mode: str = "tempered_logprobs",
        generation_config: str | Path = "auto",
        override_generation_config: Mapping[str, Any] | None = None,
        skip_tokenizer_init: bool = False,
        hf_overrides: Overrides | None = None,
        scheduling_policy: str = "fcfs",
        profiler_config: Mapping[str, Any] | None = None,
        enable_sleep_mode: bool = True,
        enable_lora: bool = False,
        max_loras: int = 1,
        max_lora_rank: int = 16,
        max_cpu_loras: int | None = None,
    ) -> None:
        if scheduling_policy not in POLICIES:
            known = ", ".join(POLICIES)
            raise MinillmError(f"scheduling_policy must be one of {known}, got {scheduling_policy!r}")
        if skip_tokenizer_init and tokenizer is not None:
            raise MinillmError("give tokenizer or skip_tokenizer_init, not both")
        self._trace_folder = trace_folder(profiler_config)
        folder, is_models_tokenizer = None, tokenizer is None
        if not isinstance(model, Transformer):
            folder = hub.resolve(model)
            if is_models_tokenizer and not skip_tokenizer_init:
                tokenizer = folder
            policy = _precision(dtype, precision, folder)
            model = load_model(folder, policy, device, hf_overrides=hf_overrides)
        elif dtype is not None or precision is not None or hf_overrides:
            raise MinillmError("a Transformer is as it is; leave out dtype, precision and hf_overrides")
        if isinstance(tokenizer, str | Path):
            tokenizer = Tokenizer.from_folder(hub.resolve_tokenizer(tokenizer))
        elif tokenizer is not None:
            tokenizer = Tokenizer.from_hf(tokenizer)
        if tokenizer is not None and folder is not None and not is_models_tokenizer:
            tokenizer = tokenizer.with_end_tokens(folder)
        self.model, self.scheduling_policy = model, scheduling_policy
        self.tokenizer: Tokenizer | None = tokenizer
        self._engine = Engine(
            model,
            cache_bytes(model.head.device, kv_cache_memory_bytes, gpu_memory_utilization),
            _whole("max_num_seqs", max_num_seqs, 64),
            _whole("max_num_batched_tokens", max_num_batched_tokens, 2048),
            enable_prefix_caching is None or bool(enable_prefix_caching),
            ServedLoRAs(model, max_loras, max_lora_rank, max_cpu_loras) if enable_lora else None,
        )
        asked = None if max_model_len in (None, -1, "auto") else _whole("max_model_len", max_model_len, 0)
        self.max_model_len = self._engine.checked_max_model_len(asked)
        model.set_context(self.max_model_len)
        seed, most = _whole("seed", seed, 0), _whole("max_logprobs", max_logprobs, 20)
        ends = inputs.end_tokens(folder) if tokenizer is None and folder is not None else []
        self._builder = inputs.RequestBuilder(model, tokenizer, seed, self.max_model_len, most, ends)
        self._sampler = Sampler(tokenizer, logprobs_mode)
        self._defaults = inputs.default_params(folder, generation_config, override_generation_config)
        self._metrics = EngineMetrics(self.max_model_len)
        self._requests: dict[str, Request] = {}
        self._owners: dict[EngineSequence, tuple[Request, SampleState]] = {}

    # ---------------------------------------------------------------- whole batches

    @refusing(OF_CALLS)
    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool | Callable[..., Any] = True,
        *,
        priority: int | Sequence[int] | None = None,
        lora_request: LoRARequest | Sequence[LoRARequest | None] | None = None,
    ) -> list[RequestOutput]:
        """Sample from each prompt; outputs in the order of the prompts.

        A prompt is a string, a list of token ids, or {"prompt": ...} or {"prompt_token_ids": ...};
        `sampling_params` is one for all or one each, by default `get_default_sampling_params()`. `use_tqdm`
        shows progress on stderr, if that is a terminal, or is called in place of tqdm. `priority` is one for
        all or one each; of prompts that do not fit into a step together, the lowest goes first, and the
        highest is preempted first. It needs `scheduling_policy="priority"` where priorities differ.

        Raises `MinillmError` before anything runs for a prompt that is empty, too long, or has ids outside
        the vocabulary; what goes wrong later in one request ends that one, with the finish reason "error".
        """
        self._expect_idle("generate")
        final = RequestOutputKind.FINAL_ONLY
        pairs = list(inputs.with_params(prompts, sampling_params, self._defaults))
        order = inputs.priorities(priority, len(pairs), self.scheduling_policy)
        loras = inputs.one_each(lora_request, len(pairs), "lora_request")
        # Once for a request of all, which may ask for its folder to be read again.
        served = {id(lora): self._engine.lora(lora) for lora in loras}
        requests = [
            self._request(prompt, replace(params, output_kind=final), None, lora, served[id(lora)], first)
            for (prompt, params), lora, first in zip(pairs, loras, order, strict=True)
        ]
        with progress(use_tqdm, len(requests)) as advance, closing(self._run(requests)) as outputs:
            for _ in outputs:
                advance()
        return [request.output for request in requests]

    @refusing({**OF_CALLS, "chat_template_content_format": nothing("auto", "string")})
    def chat(
        self,
        messages: Messages | Sequence[Messages],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        use_tqdm: bool | Callable[..., Any] = True,
        lora_request: LoRARequest | Sequence[LoRARequest | None] | None = None,
        *,
        chat_template: str | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        priority: int | Sequence[int] | None = None,
    ) -> list[RequestOutput]:
        """Sample from one chat, or from several, that the model's chat template writes, as `generate` does.

        `chat_template` is the name of another of its templates, or Jinja text; without it, a model that has
        a template "tool_use" is given that one where there are `tools`.

        `continue_final_message` goes on with the last message, which then is not closed.
        """
        chats: Any = [messages] if messages and isinstance(messages[0], Mapping) else messages
        options = {"tools": tools, **(chat_template_kwargs or {})}
        template = (chat_template, add_generation_prompt, continue_final_message, options)
        prompts = [inputs.chat_prompt(self.get_tokenizer(), chat, *template) for chat in chats]
        return self.generate(prompts, sampling_params, use_tqdm, lora_request=lora_request, priority=priority)

    @refusing({**OF_CALLS, "concurrency_limit": anything(), "use_tqdm": anything(False)})
    def beam_search(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: BeamSearchParams,
        lora_request: LoRARequest | None = None,
    ) -> list[BeamSearchOutput]:
        """Search for the `beam_width` best continuations of each prompt."""
        self._expect_idle("beam_search")
        if not isinstance(params, BeamSearchParams):
            raise MinillmError(f"params must be BeamSearchParams, got {params!r}")
        params = replace(params)  # checked anew: somebody may have assigned to it
        batch = [inputs.parse(prompt, self.tokenizer)[1] for prompt in inputs.as_list(prompts)]
        for token_ids in batch:
            self._builder.check_prompt(token_ids)
        lora = self._engine.lora(lora_request)
        ends = frozenset[int]() if params.ignore_eos else self._builder.end_ids
        outputs = beam.search(self._engine, batch, params, ends, self.max_model_len, lora)
        if self.tokenizer is not None:
            for sequence in (sequence for output in outputs for sequence in output.sequences):
                hides_end = sequence.finish_reason == "stop" and not params.include_stop_str_in_output
                sequence.text = self.tokenizer.decode(sequence.tokens[: -1 if hides_end else None])
        return outputs

    @torch.no_grad()
    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], temperature: float = 1.0) -> torch.Tensor:
        """Compute the policy after each list of token ids: logprobs of the whole vocabulary, (B, V)."""
        self._expect_idle("next_token_logprobs")
        if not prompts or not temperature > 0:
            raise MinillmError(f"{len(prompts)} prompts at temperature {temperature}: neither may be 0")
        sequences = [EngineSequence(list(prompt), max_tokens=1) for prompt in prompts]
        rows: dict[EngineSequence, torch.Tensor] = {}
        try:
            for sequence in sequences:
                self._builder.check_prompt(sequence.token_ids)
                self._engine.add(sequence)
            while len(rows) < len(sequences):
                step = self._engine.step()
                for sequence, row_V in zip(step.ready, logprobs(step.logits_RV, temperature), strict=True):
                    rows[sequence] = row_V
                    self._engine.remove(sequence)
        finally:
            self._engine.clear()
        return torch.stack([rows[sequence] for sequence in sequences])

    # ---------------------------------------------------------------- step by step

    @refusing(OF_CALLS)
    def enqueue(
        self,
        prompt: Prompt,
        sampling_params: SamplingParams | None = None,
        request_id: str | None = None,
        lora_request: LoRARequest | None = None,
        *,
        priority: int = 0,
    ) -> str:
        """Queue one request for `step`, among those that run already; return its id.

        Raises `MinillmError` as `generate` does, for an id that is taken, and for a priority other than 0
        without `scheduling_policy="priority"`; what runs is left alone.
        """
        if request_id is not None and request_id in self._requests:
            raise MinillmError(f"request_id {request_id!r} is taken by a request that has not finished")
        ((_, params),) = inputs.with_params([prompt], sampling_params, self._defaults)
        served = self._engine.lora(lora_request)
        request = self._request(prompt, params, request_id, lora_request, served, priority)
        self._submit(request)
        return request.output.request_id

    @torch.no_grad()
    def step(self) -> list[RequestOutput]:
        """Run one forward; return what the `output_kind` of each request that got a token shows."""
        if not self._requests:
            return []
        step = self._engine.step()
        self._metrics.count_step(step.num_tokens)
        for sequence, start, hidden_TC, model in step.prompts:
            self._sampler.add_prompt_logprobs(self._owners[sequence][0], start, hidden_TC, model)
        if not step.ready:
            return []
        owners = [self._owners[sequence] for sequence in step.ready]
        results = self._sampler([sample for _, sample in owners], step.logits_RV)
        now = time.time()
        for (request, sample), result in zip(owners, results, strict=True):
            try:
                if isinstance(result, Exception):
                    raise result
                request.note_token(now)
                self._metrics.count_token(request, sample, now)
                ended = sample.take(*result)
            except Exception as error:  # of the request's own processors or grammar
                self._end(sample, "error", f"{type(error).__name__}: {error}")
            else:
                if ended:
                    self._end(sample)
        touched = {request.output.request_id: request for request, _ in owners}
        return [output for request in touched.values() for output in self._seen(request)]

    def stream(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
    ) -> Iterator[RequestOutput]:
        """Yield outputs of all prompts as they grow; request ids are the prompts' places, "0", "1" and so on.

        Leaving the loop aborts what has not finished.
        """
        self._expect_idle("stream")
        pairs = inputs.with_params(prompts, sampling_params, self._defaults)
        yield from self._run([self._request(*pair, str(i)) for i, pair in enumerate(pairs)])

    def abort_request(self, request_ids: str | Sequence[str]) -> list[RequestOutput]:
        """End requests where they are, with the finish reason "abort"; passes over ids that are not there."""
        outputs = []
        for request_id in [request_ids] if isinstance(request_ids, str) else request_ids:
            if (request := self._requests.get(request_id)) is None:
                continue
            for sample in request.samples:
                if not sample.output.finished():
                    self._end(sample, "abort")
            outputs += self._seen(request)
        return outputs

    # ---------------------------------------------------------------- around them

    def get_tokenizer(self) -> Tokenizer:
        """Return the tokenizer; raise `MinillmError` where the `LLM` was made without one."""
        return inputs.expect_tokenizer(self.tokenizer)

    def get_default_sampling_params(self) -> SamplingParams:
        """Return vLLM's defaults, changed by the model's generation_config.json."""
        return self._defaults.clone()

    def reset_prefix_cache(self) -> bool:
        """Forget all cached prefixes, return True; an in-place update of the weights does so by itself."""
        self._engine.reset_prefix_cache()
        return True

    def weights_changed(self) -> None:
        """Forget what was made of the weights: prefixes and rounded copies.

        An update between requests is found without it, by versions and a checksum. Raises `MinillmError`
        while sequences are being sampled.
        """
        self._engine.weights_changed()

    def sleep(self, level: int = 1) -> None:
        """Give the KV cache's memory back. The weights stay, since they are a trainer's too (vLLM's level 1).

        Raises `MinillmError` while requests run, and for another level.
        """
        if level != 1:
            raise MinillmError(f"sleep(level={level}): only level 1 is supported, which keeps the weights")
        self._engine.sleep()

    def wake_up(self, tags: Sequence[str] | None = None) -> None:
        """Make the KV cache again; `tags`, if given, are "weights" and "kv_cache"."""
        if unknown := set(tags or ()) - {"weights", "kv_cache"}:
            raise MinillmError(f"tags must be 'weights' or 'kv_cache', got {sorted(unknown)}")
        if tags is None or "kv_cache" in tags:
            self._engine.wake_up()

    def is_sleeping(self) -> bool:
        """Tell whether the KV cache's memory was given back."""
        return self._engine.is_sleeping

    def get_metrics(self) -> list[Metric]:
        """Return counters, gauges and histograms since this `LLM` was made, under vLLM's names."""
        return self._metrics.snapshot(self._engine)

    # ---------------------------------------------------------------- requests

    def _expect_idle(self, what: str) -> None:
        if self._requests:
            raise MinillmError(
                f"{what}() found {len(self._requests)} unfinished requests of enqueue() or stream(); "
                "step() until they are done, or abort_request() them"
            )

    def _request(
        self,
        prompt: Prompt,
        params: SamplingParams,
        request_id: str | None = None,
        lora: LoRARequest | None = None,
        served: ServedLoRA | None = None,
        priority: int = 0,
    ) -> Request:
        if not isinstance(priority, int) or (priority and self.scheduling_policy != "priority"):
            need = "need" if isinstance(priority, int) else "be whole numbers, and need"
            raise MinillmError(
                f"priority={priority!r}: priorities other than 0 {need} LLM(scheduling_policy='priority')"
            )
        request = self._builder.build(prompt, params, request_id, self._requests, priority, served)
        request.output.lora_request = lora
        return request

    def _run(self, requests: Sequence[Request]) -> Generator[RequestOutput]:
        """Step until these requests have finished; abort what has not when the caller leaves."""
        try:
            for request in requests:
                self._submit(request)
            while self._requests:
                yield from self.step()
        finally:
            self.abort_request(list(self._requests))

    def _submit(self, request: Request) -> None:
        for sample in request.samples:
            self._engine.add(sample.sequence)
            self._owners[sample.sequence] = (request, sample)
        self._requests[request.output.request_id] = request
        self._metrics.prompt_tokens += len(request.output.prompt_token_ids)

    def _end(self, sample: SampleState, reason: str | None = None, detail: str | None = None) -> None:
        self._engine.remove(sample.sequence)
        del self._owners[sample.sequence]
        sample.end(reason, detail)

    def _seen(self, request: Request) -> list[RequestOutput]:
        """Give what `step` shows of a request; forget one that has finished."""
        output = None
        if request.finished:
            request.complete()
            del self._requests[request.output.request_id]
            self._metrics.count_request(request)
            output = request.output
        if request.params.output_kind is not RequestOutputKind.FINAL_ONLY:
            output = request.view()
        return [] if output is None else [output]


def _precision(
    dtype: str | torch.dtype | None, precision: str | Precision | None, folder: Path
) -> str | Precision:
    if dtype is None:
        return precision or "fp32"
    if precision is not None:
        raise MinillmError("give dtype or precision, not both")
    return preset_of_dtype(checkpoint_dtype(folder) if dtype == "auto" else dtype)


def _whole(name: str, value: object, default: int) -> int:
    """Return a whole number, or its default for None; what it may be is checked where it is used."""
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise MinillmError(f"{name} must be a whole number, got {value!r}")
    return value
