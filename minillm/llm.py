"""`LLM`: text or token ids in, samples out, under vLLM's names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from minillm import inputs
from minillm.api.engine_arguments import FOREIGN
from minillm.api.lora_request import LoRARequest
from minillm.api.outputs import BeamSearchOutput, RequestOutput
from minillm.api.parameters import is_number
from minillm.api.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams
from minillm.api.vllm_names import ARGUMENTS
from minillm.arguments import flag, limits_whitespace, read_model, read_tokenizer, whole
from minillm.checkpoint.read_config import Overrides
from minillm.engine.beam_search import BeamSearch
from minillm.engine.engine import Engine, cache_bytes
from minillm.engine.request import Request
from minillm.engine.sampler import Sampler
from minillm.engine.sequence import EngineSequence
from minillm.engine.served_loras import ServedLoRAs
from minillm.errors import MinillmError, in_vllms_place, refusing
from minillm.inputs import Messages, Prompt
from minillm.llm_engine import POLICIES, LLMEngine
from minillm.model.logprobs import logprobs
from minillm.model.precision import Precision
from minillm.model.transformer import Transformer
from minillm.progress import progress
from minillm.request_builder import RequestBuilder
from minillm.worker import Profiler


@refusing(FOREIGN)
@in_vllms_place({}, ARGUMENTS)
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
        device: where the model is loaded to; the CPU by default.
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
        structured_outputs_config: {"disable_any_whitespace": True} for JSON without white space between its
            parts in all structured outputs. Whatever "backend" is named there, llguidance makes them.
    """

    def __init__(
        self,
        model: str | Path | Transformer,
        tokenizer: Any = None,
        *,
        dtype: str | torch.dtype | None = None,
        precision: str | Precision | None = None,
        device: torch.device | str | None = None,
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
        structured_outputs_config: Mapping[str, Any] | None = None,
    ) -> None:
        if scheduling_policy not in POLICIES:
            known = ", ".join(POLICIES)
            raise MinillmError(f"scheduling_policy must be one of {known}, got {scheduling_policy!r}")
        profiler = Profiler(profiler_config)
        skips = flag("skip_tokenizer_init", skip_tokenizer_init, False)
        adapts = flag("enable_lora", enable_lora, False)
        flag("enable_sleep_mode", enable_sleep_mode, True)  # it is there in any case
        model, folder = read_model(model, dtype, precision, device, hf_overrides)
        tokenizer = read_tokenizer(tokenizer, skips, folder)
        loras = ServedLoRAs(model, max_loras, max_lora_rank, max_cpu_loras) if adapts else None
        engine = Engine(
            model,
            cache_bytes(model.head.device, kv_cache_memory_bytes, gpu_memory_utilization),
            whole("max_num_seqs", max_num_seqs, 64),
            whole("max_num_batched_tokens", max_num_batched_tokens, 2048),
            flag("enable_prefix_caching", enable_prefix_caching, True),
            loras,
        )
        fits = max_model_len is None or (
            isinstance(max_model_len, int | str) and max_model_len in (-1, "auto")
        )
        longest = engine.checked_max_model_len(None if fits else whole("max_model_len", max_model_len, 0))
        model.set_context(longest)
        seed, most = whole("seed", seed, 0), whole("max_logprobs", max_logprobs, 20)
        ends = inputs.end_tokens(folder) if tokenizer is None and folder is not None else []
        is_tight = limits_whitespace(structured_outputs_config)
        builder = RequestBuilder(model, tokenizer, seed, longest, most, ends, is_tight)
        sampler = Sampler(tokenizer, logprobs_mode)
        super().__init__(model, tokenizer, engine, builder, sampler, scheduling_policy, profiler)
        self._defaults = inputs.default_params(folder, generation_config, override_generation_config)

    def __repr__(self) -> str:
        return f"LLM({self.model!r})"

    def get_default_sampling_params(self) -> SamplingParams:
        """Return vLLM's defaults, changed by the model's generation_config.json."""
        return self._defaults.clone()

    # ---------------------------------------------------------------- whole batches

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
        requests = self._batch(prompts, sampling_params, lora_request, priority)
        with progress(use_tqdm, len(requests)) as advance, closing(self._run(requests)) as outputs:
            for _ in outputs:
                advance()
        return [request.output for request in requests]

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
        options = inputs.template_options(tools, chat_template_kwargs)
        template = (chat_template, add_generation_prompt, continue_final_message, options)
        prompts = inputs.chat_prompts(self.get_tokenizer(), messages, *template)
        return self.generate(prompts, sampling_params, use_tqdm, lora_request=lora_request, priority=priority)

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
        served = self._engine.lora(lora_request)
        searches = [
            self._request(prompt, params, None, lora_request, served, 0) for prompt in inputs.as_list(prompts)
        ]
        with closing(self._run(searches)) as outputs:
            for output in outputs:
                if output.outputs and output.outputs[0].finish_reason == "error":
                    raise MinillmError(f"beam_search() failed: {output.outputs[0].stop_reason}")
        return [BeamSearchOutput(search.found) for search in searches if isinstance(search, BeamSearch)]

    @torch.no_grad()
    def next_token_logprobs(
        self, prompts: Prompt | Sequence[Prompt], temperature: float = 1.0
    ) -> torch.Tensor:
        """Compute the policy after each prompt: logprobs of the whole vocabulary, (B, V)."""
        self._expect_idle("next_token_logprobs")
        batch = [inputs.parse(prompt, self.tokenizer)[1] for prompt in inputs.as_list(prompts)]
        if not batch or not is_number(temperature, 0, 1e9) or not temperature > 0:
            raise MinillmError(f"{len(batch)} prompts at temperature {temperature!r}: neither may be 0")
        sequences = [EngineSequence(token_ids, max_tokens=1) for token_ids in batch]
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

    # ---------------------------------------------------------------- one after the other

    def enqueue(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        lora_request: LoRARequest | Sequence[LoRARequest | None] | None = None,
        priority: int | Sequence[int] | None = None,
    ) -> list[str]:
        """Queue prompts for `wait_for_completion`, among those that wait or run already; return their ids.

        Arguments are those of `generate`. Raises `MinillmError` as it does, before any of them is queued.
        """
        requests = self._batch(prompts, sampling_params, lora_request, priority)
        for request in requests:
            self._submit(request)
        return [request.output.request_id for request in requests]

    def enqueue_chat(
        self,
        messages: Messages | Sequence[Messages],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        lora_request: LoRARequest | Sequence[LoRARequest | None] | None = None,
        priority: int | Sequence[int] | None = None,
        *,
        chat_template: str | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Queue chats as `enqueue` does prompts; arguments as of `chat`."""
        options = inputs.template_options(tools, chat_template_kwargs)
        template = (chat_template, add_generation_prompt, continue_final_message, options)
        prompts = inputs.chat_prompts(self.get_tokenizer(), messages, *template)
        return self.enqueue(prompts, sampling_params, lora_request, priority)

    def wait_for_completion(
        self, output_type: Any = None, *, use_tqdm: bool | Callable[..., Any] = True
    ) -> list[RequestOutput]:
        """Sample until all that was queued has finished; outputs in the order in which it was.

        `output_type`, if given, must be `RequestOutput`, since nothing else comes.
        """
        if output_type not in (None, RequestOutput, (RequestOutput,)):
            raise MinillmError(f"output_type must be RequestOutput, got {output_type!r}")
        requests = list(self._requests.values())
        with progress(use_tqdm, len(requests)) as advance:
            while self._requests:
                for _ in range(sum(output.finished for output in self.step())):
                    advance()
        return [request.output for request in requests]

    def stream(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        lora_request: LoRARequest | Sequence[LoRARequest | None] | None = None,
        priority: int | Sequence[int] | None = None,
    ) -> Iterator[RequestOutput]:
        """Yield outputs of all prompts as they grow; request ids are the prompts' places, "0", "1" and so on.

        Arguments are those of `generate`. Leaving the loop aborts what has not finished.
        """
        self._expect_idle("stream")
        yield from self._run(self._batch(prompts, sampling_params, lora_request, priority, grows=True))

    def _batch(
        self,
        prompts: Prompt | Sequence[Prompt],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None,
        lora_request: LoRARequest | Sequence[LoRARequest | None] | None,
        priority: int | Sequence[int] | None,
        grows: bool = False,
    ) -> list[Request | BeamSearch]:
        """Make a request of each prompt: one whose end alone is seen, or one that grows, by its place."""
        pairs = list(inputs.with_params(prompts, sampling_params, self._defaults))
        order = inputs.priorities(priority, len(pairs))
        if self.scheduling_policy != "priority" and not self._requests and len(set(order)) == 1:
            order = [0] * len(order)  # all alike, and nothing else runs: they ask for nothing
        loras = inputs.one_each(lora_request, len(pairs), "lora_request")
        # Once for a request of all, which may ask for its folder to be read again.
        served = {id(lora): self._engine.lora(lora) for lora in loras}
        requests: list[Request | BeamSearch] = []
        for place, ((prompt, params), lora) in enumerate(zip(pairs, loras, strict=True)):
            if not grows:
                params = replace(params, output_kind=RequestOutputKind.FINAL_ONLY)
            name = str(place) if grows else None
            requests.append(self._request(prompt, params, name, lora, served[id(lora)], order[place]))
        return requests
