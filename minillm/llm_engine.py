"""`LLMEngine`: requests step by step, and what else vLLM's scripts find on the engine below an `LLM`."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Self, TypeVar

import torch

from minillm.api.configs import CacheInfo, ModelInfo, SchedulerInfo
from minillm.api.lora_request import LoRARequest
from minillm.api.outputs import RequestOutput
from minillm.api.parameters import is_list, is_whole
from minillm.api.sampling_params import BeamSearchParams, RequestOutputKind, SamplingParams
from minillm.api.vllm_names import ABSENT, ARGUMENTS
from minillm.engine.beam_search import BeamSearch, Searches
from minillm.engine.engine import Engine, Step
from minillm.engine.metrics import EngineMetrics, Metric
from minillm.engine.request import Request, SampleState
from minillm.engine.sampler import Sampler
from minillm.engine.sequence import EngineSequence
from minillm.engine.served_loras import ServedLoRA, ServedLoRAs
from minillm.errors import MinillmError, in_vllms_place, note, nothing, refusing
from minillm.inputs import Prompt, expect_params, expect_tokenizer
from minillm.model.batch import PAGE_SIZE
from minillm.model.transformer import Transformer
from minillm.request_builder import RequestBuilder
from minillm.tokenizer.tokenizer import Tokenizer
from minillm.worker import Profiler, Worker, call

T = TypeVar("T")
POLICIES = ("fcfs", "priority")
WAKE_TAGS = ("weights", "kv_cache", "scheduling")
_FROM_ARGS = nothing(None, remedy="call from_engine_args()")


@refusing({"vllm_config": _FROM_ARGS, "executor_class": _FROM_ARGS, "log_stats": _FROM_ARGS})
@in_vllms_place(ABSENT, ARGUMENTS)
class LLMEngine:
    """Requests that were added run together, in one batch, while somebody calls `step`.

    An `LLM` is its own engine, under the names of vLLM's: `llm.llm_engine` is `llm`, and what
    `from_engine_args` makes is an `LLM`.

    Attributes:
        model: the live model.
        tokenizer: its tokenizer, if there is one.
        max_model_len: most tokens of a sequence.
        scheduling_policy: "fcfs" or "priority".
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer | None,
        engine: Engine,
        builder: RequestBuilder,
        sampler: Sampler,
        scheduling_policy: str,
        profiler: Profiler,
    ) -> None:
        self.model, self.tokenizer, self.scheduling_policy = model, tokenizer, scheduling_policy
        self.max_model_len = builder.max_model_len
        self._engine, self._builder, self._sampler, self._profiler = engine, builder, sampler, profiler
        self._metrics = EngineMetrics(self.max_model_len)
        self._requests: dict[str, Request | BeamSearch] = {}
        self._searches = Searches(engine)
        self._owners: dict[EngineSequence, tuple[Request, SampleState]] = {}

    @classmethod
    def from_engine_args(cls, engine_args: Any) -> Self:
        """Make an `LLM` of `EngineArgs`."""
        if not hasattr(engine_args, "create_llm"):
            raise MinillmError(f"engine_args must be EngineArgs, got {type(engine_args).__name__}")
        llm: Self = engine_args.create_llm()
        return llm

    @property
    def llm_engine(self) -> Self:
        """The engine, which is this `LLM` itself."""
        return self

    @property
    def engine_class(self) -> type[LLMEngine]:
        """The class of the engine."""
        return type(self)

    # ---------------------------------------------------------------- step by step

    def add_request(
        self,
        request_id: str | None,
        prompt: Prompt,
        params: SamplingParams | BeamSearchParams,
        *,
        lora_request: LoRARequest | None = None,
        priority: int = 0,
    ) -> str:
        """Queue one request for `step`, among those that run already; return its id, by default a number.

        With `BeamSearchParams` it is a beam search: one output at its end, the best sequence first.

        Raises `MinillmError` as `LLM.generate` does, for an id that is taken, and for a priority other than 0
        without `scheduling_policy="priority"`; what runs is left alone.
        """
        if request_id is not None and not isinstance(request_id, str):
            raise MinillmError(f"request_id must be a string, got {request_id!r}")
        if request_id in self._requests:
            raise MinillmError(f"request_id {request_id!r} is taken by a request that has not finished")
        served = self._engine.lora(lora_request)
        params = params if isinstance(params, BeamSearchParams) else expect_params(params)
        request = self._request(prompt, params, request_id, lora_request, served, priority)
        self._submit(request)
        return request.output.request_id

    def is_prepared(self, params: SamplingParams | BeamSearchParams) -> bool:
        """Tell whether `add_request` takes no time for such parameters."""
        return self._builder.is_prepared(params)

    def prepare(self, params: SamplingParams | BeamSearchParams) -> object:
        """Compile the grammar of a request to come, which can take seconds; this alone may be on any thread.

        What it returns is to be held until the request is added. Raises `MinillmError` as that does.
        """
        return self._builder.prepare(params)

    @torch.no_grad()
    def step(self) -> list[RequestOutput]:
        """Run one forward; return what the `output_kind` of each request that got a token shows."""
        if not self._requests:
            return []
        step = self._engine.step()
        self._metrics.steps += 1
        for sequence, start, hidden_TC, model in step.prompts:
            self._sampler.add_prompt_logprobs(self._owners[sequence][0], start, hidden_TC, model)
        if not step.ready:
            return []
        found: list[RequestOutput] = []
        if self._searches:
            step, found = self._search(step)
            if not step.ready:
                return found
        owners = [self._owners[sequence] for sequence in step.ready]
        self._metrics.count_step(owners)
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
                self._end(sample, "error", _sentence(error))
            else:
                if ended:
                    self._end(sample)
        touched = {request.output.request_id: request for request, _ in owners}
        return [*found, *(output for request in touched.values() for output in self._seen(request))]

    def _search(self, step: Step) -> tuple[Step, list[RequestOutput]]:
        """Let beam searches go on by their rows; return the step without them, and what has been found."""
        others, ended = self._searches.advance(step)
        outputs = [
            self._found(search) if error is None else self._given_up(search, "error", _sentence(error))
            for search, error in ended.items()
        ]
        return step.part(others), outputs

    def _found(self, search: BeamSearch) -> RequestOutput:
        """Give what a beam search has found, and forget it."""
        search.complete(self.tokenizer)
        return self._forgotten(search)

    def _given_up(self, search: BeamSearch, reason: str, detail: str | None = None) -> RequestOutput:
        """Give why a beam search has found nothing, and forget it."""
        search.fail(reason, detail)
        return self._forgotten(search)

    def _forgotten(self, search: BeamSearch) -> RequestOutput:
        del self._requests[search.output.request_id]
        self._metrics.count_search(search)
        return search.output

    def abort_request(self, request_ids: str | Sequence[str]) -> list[RequestOutput]:
        """End requests where they are, with the finish reason "abort"; passes over ids that are not there."""
        ids = [request_ids] if isinstance(request_ids, str) else request_ids
        if not is_list(ids) or not all(isinstance(one, str) for one in ids):
            raise MinillmError(f"request_ids must be an id or a list of them, got {request_ids!r}")
        outputs = []
        for request_id in ids:
            if (request := self._requests.get(request_id)) is None:
                continue
            if isinstance(request, BeamSearch):
                self._searches.remove(request)
                outputs.append(self._given_up(request, "abort"))
                continue
            for sample in request.samples:
                if not sample.output.finished():
                    self._end(sample, "abort")
            outputs += self._seen(request)
        return outputs

    def has_unfinished_requests(self) -> bool:
        """Tell whether `step` has something to do."""
        return bool(self._requests)

    def get_num_unfinished_requests(self) -> int:
        """Count the requests that have not finished."""
        return len(self._requests)

    def _expect_idle(self, what: str) -> None:
        if self._requests:
            raise MinillmError(
                f"{what}() found {len(self._requests)} unfinished requests; wait_for_completion() or step() "
                "until they are done, or abort_request() them"
            )

    def _request(
        self,
        prompt: Prompt,
        params: SamplingParams | BeamSearchParams,
        request_id: str | None,
        lora: LoRARequest | None,
        served: ServedLoRA | None,
        priority: int,
    ) -> Request | BeamSearch:
        if not isinstance(priority, int) or (priority and self.scheduling_policy != "priority"):
            need = "need" if isinstance(priority, int) else "be whole numbers, and need"
            raise MinillmError(
                f"priority={priority!r}: priorities other than 0 {need} LLM(scheduling_policy='priority')"
            )
        request: Request | BeamSearch
        if isinstance(params, BeamSearchParams):
            request = self._builder.build_search(prompt, params, request_id, self._requests, priority, served)
        else:
            request = self._builder.build(prompt, params, request_id, self._requests, priority, served)
        request.output.lora_request = lora
        return request

    def _run(self, requests: Sequence[Request | BeamSearch]) -> Generator[RequestOutput]:
        """Step until these requests have finished; abort what has not when the caller leaves."""
        try:
            for request in requests:
                self._submit(request)
            while self._requests:
                yield from self.step()
        finally:
            self.abort_request(list(self._requests))

    def _submit(self, request: Request | BeamSearch) -> None:
        if isinstance(request, BeamSearch):
            self._searches.add(request)
        else:
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

    # ---------------------------------------------------------------- adapters

    def add_lora(self, lora_request: LoRARequest) -> bool:
        """Read an adapter for requests to come, which otherwise the first of them does; return True."""
        self._loras()
        if lora_request is None:
            raise MinillmError("lora_request must be a LoRARequest, got None")
        self._engine.lora(lora_request)
        return True

    def remove_lora(self, lora_id: int) -> bool:
        """Forget an adapter, but for requests that run with it; tell whether it was known."""
        return self._loras(lora_id).remove(lora_id)

    def pin_lora(self, lora_id: int) -> bool:
        """Keep an adapter until it is removed; `MinillmError` where it is not known."""
        return self._loras(lora_id).pin(lora_id)

    def list_loras(self) -> set[int]:
        """List the `lora_int_id`s of known adapters."""
        return self._loras().numbers()

    def _loras(self, number: int = 1) -> ServedLoRAs:
        if self._engine.loras is None:
            raise MinillmError("LoRA is not enabled; make the LLM with enable_lora=True")
        if not is_whole(number, 1):
            raise MinillmError(f"lora_id must be a whole number above 0, got {number!r}")
        return self._engine.loras

    # ---------------------------------------------------------------- memory

    def reset_prefix_cache(self) -> bool:
        """Forget all cached prefixes, return True; an in-place update of the weights does so by itself."""
        self._engine.reset_prefix_cache()
        return True

    def reset_mm_cache(self) -> None:
        """Note that there is no cache of images."""
        note("reset_mm_cache", "reset_mm_cache() asks for nothing here: there are no images")

    reset_encoder_cache = reset_mm_cache

    def weights_changed(self) -> None:
        """Forget what was made of the weights: prefixes and rounded copies.

        An update between requests is found without it, by versions and a checksum. Raises `MinillmError`
        while sequences are being sampled.
        """
        self._engine.weights_changed()

    def sleep(self, level: int = 1) -> None:
        """Give the KV cache's memory back. The weights stay, since they are a trainer's too (vLLM's level 1).

        Level 0 gives nothing back: requests are queued, and wait for somebody to `step` anyway. Raises
        `MinillmError` while requests run, and for another level.
        """
        check_level(level)
        if level:
            self._engine.sleep()

    def wake_up(self, tags: Sequence[str] | None = None) -> None:
        """Make the KV cache again; `tags`, if given, are "weights", "kv_cache" and "scheduling"."""
        known = is_list(tags) and all(isinstance(x, str) and x in WAKE_TAGS for x in tags or ())
        if tags is not None and not known:
            raise MinillmError(f"tags must be a list of some of {', '.join(WAKE_TAGS)}, got {tags!r}")
        if tags is None or "kv_cache" in tags:
            self._engine.wake_up()

    def is_sleeping(self) -> bool:
        """Tell whether the KV cache's memory was given back."""
        return self._engine.is_sleeping

    def shutdown(self) -> None:
        """Abort what runs and give the KV cache's memory back; `wake_up` makes it again."""
        self.abort_request(list(self._requests))
        self._engine.sleep()

    # ---------------------------------------------------------------- what it is

    def get_tokenizer(self) -> Tokenizer:
        """Return the tokenizer; raise `MinillmError` where the `LLM` was made without one."""
        return expect_tokenizer(self.tokenizer)

    def get_metrics(self) -> list[Metric]:
        """Return counters, gauges and histograms since this `LLM` was made, under vLLM's names."""
        return self._metrics.snapshot(self._engine)

    def do_log_stats(self) -> None:
        """Note that counters are not logged."""
        note("do_log_stats", "do_log_stats() writes nothing here: call get_metrics()")

    do_log_stats_with_interval = do_log_stats

    def get_world_size(self) -> int:
        """Return 1, the number of devices."""
        return 1

    def get_supported_tasks(self) -> tuple[str, ...]:
        """Return what can be asked for: "generate"."""
        return ("generate",)

    @property
    def supported_tasks(self) -> tuple[str, ...]:
        """What can be asked for: "generate"."""
        return self.get_supported_tasks()

    @property
    def vllm_config(self) -> Self:
        """Where vLLM keeps the three that follow: this engine itself."""
        return self

    @property
    def model_config(self) -> ModelInfo:
        """What the model is."""
        config = self.model.config
        dtype = self.model.precision.compute
        return ModelInfo(self.max_model_len, dtype, config.vocab_size, config.hidden_size)

    @property
    def cache_config(self) -> CacheInfo:
        """What the KV cache is."""
        caching = self._engine.scheduler.enable_prefix_caching
        return CacheInfo(PAGE_SIZE, self._engine.num_pages, caching)

    @property
    def scheduler_config(self) -> SchedulerInfo:
        """What fits into a step, and what goes first."""
        scheduler = self._engine.scheduler
        limits = scheduler.max_num_seqs, scheduler.max_num_batched_tokens
        return SchedulerInfo(*limits, self.scheduling_policy)

    # ---------------------------------------------------------------- the live model

    def collective_rpc(
        self,
        method: str | Callable[..., T],
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> list[T]:
        """Call a function of the `Worker`, or a method of it by its name; return a list of one result.

        There is one worker, in this process, so that no `timeout` can pass. Raises `MinillmError` for a name
        that it has not, and what the function raises.
        """
        return [call(Worker(self.model), method, args, kwargs)]

    def apply_model(self, func: Callable[[Transformer], T]) -> list[T]:
        """Return a list of one, `func(model)`; what it writes into the weights is sampled from next."""
        return self.collective_rpc("apply_model", args=(func,))

    def start_profile(self, profile_prefix: str | None = None) -> None:
        """Record what torch does until `stop_profile`, for a trace in `profiler_config`'s folder.

        Raises `MinillmError` where there is none, and while it records.
        """
        self._profiler.start(profile_prefix)

    def stop_profile(self) -> None:
        """Write the trace; raise `MinillmError` where nothing records."""
        self._profiler.stop()


def check_level(level: int) -> None:
    """Raise `MinillmError` for a level of `sleep` that is not supported."""
    if not is_whole(level, 0) or level > 1:
        raise MinillmError(f"sleep(level={level!r}): levels 0 and 1 are supported, which keep the weights")


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
