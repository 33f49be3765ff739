"""`AsyncLLM`: an `LLM` for callers in an asyncio loop, under vLLM's names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from minillm.api.configs import ModelInfo
from minillm.api.lora_request import LoRARequest
from minillm.api.outputs import RequestOutput
from minillm.api.sampling_params import BeamSearchParams, SamplingParams
from minillm.api.vllm_names import ASYNC_ABSENT, ASYNC_ARGUMENTS
from minillm.engine.metrics import Metric
from minillm.engine_thread import EngineError, EngineThread, Inbox
from minillm.errors import MinillmError, in_vllms_place
from minillm.inputs import Prompt
from minillm.llm import LLM
from minillm.llm_engine import check_level
from minillm.tokenizer.tokenizer import Tokenizer

__all__ = ["AsyncLLM", "EngineError"]

T = TypeVar("T")

PAUSE_MODES = ("abort", "wait", "keep")


@in_vllms_place(ASYNC_ABSENT, ASYNC_ARGUMENTS)
class AsyncLLM(EngineThread):
    """An `LLM` that many tasks of asyncio sample from; nobody else may use it meanwhile.

    Its thread starts when it is first used, or with `async with AsyncLLM(llm) as async_llm:`, and ends with
    `shutdown`, or at the end of the block.

    Attributes:
        error: what made the last step fail; None once a step has succeeded again.
    """

    @classmethod
    def from_engine_args(cls, engine_args: Any) -> Self:
        """Make one of `EngineArgs`, with an `LLM` of its own."""
        return cls(LLM.from_engine_args(engine_args))

    async def __aenter__(self) -> Self:
        with self._lock:
            self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.shutdown)

    # ---------------------------------------------------------------- sampling

    async def generate(
        self,
        prompt: Prompt,
        sampling_params: SamplingParams | BeamSearchParams,
        request_id: str,
        *,
        lora_request: LoRARequest | None = None,
        priority: int = 0,
    ) -> AsyncGenerator[RequestOutput]:
        """Yield outputs of one request as it grows, as `output_kind` has it; the last one is `finished`.

        Leaving the loop aborts it. Raises what `LLM.add_request` does, and `EngineError` where a step fails.
        """
        ids = None if request_id is None else [request_id]
        async with self.requests([prompt], sampling_params, priority, ids, lora_request) as outputs:
            async for _, output in outputs:
                yield output

    async def beam_search(
        self,
        prompt: Prompt,
        request_id: str,
        params: BeamSearchParams,
        lora_request: LoRARequest | None = None,
    ) -> AsyncGenerator[RequestOutput]:
        """Yield one output, of the best sequences that go on from a prompt, the best first."""
        if not isinstance(params, BeamSearchParams):
            raise MinillmError(f"params must be BeamSearchParams, got {params!r}")
        async for output in self.generate(prompt, params, request_id, lora_request=lora_request):
            yield output

    @asynccontextmanager
    async def requests(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams | BeamSearchParams,
        priority: int = 0,
        request_ids: Sequence[str] | None = None,
        lora_request: LoRARequest | None = None,
    ) -> AsyncIterator[AsyncIterator[tuple[int, RequestOutput]]]:
        """Sample from prompts: an iterator of (place of the prompt, output).

        Leaving the block aborts what has not finished. Raises what `LLM.add_request` does, before anything of
        these prompts runs, and `EngineError` where a step fails. `request_ids` are by default numbers.
        """
        inbox = Inbox()

        def add(llm: LLM) -> int:
            if self._is_dead:
                raise EngineError(f"the sampler has stopped for good ({self.error}); start it again")
            try:
                for place, prompt in enumerate(prompts):
                    asked = None if request_ids is None else request_ids[place]
                    request_id = llm.add_request(
                        asked, prompt, params, lora_request=lora_request, priority=priority
                    )
                    self._owners[request_id] = inbox
                    inbox.running[request_id] = place
            except Exception:
                self._abort(inbox)
                raise
            return len(inbox.running)

        held = None  # the grammar, for as long as somebody may look for it
        if not (self._is_stopped or self._llm.is_prepared(params)):
            loop = asyncio.get_running_loop()
            held = await loop.run_in_executor(self._preparing, self._llm.prepare, params)
        try:
            yield _until_finished(inbox, await self._call(add, when_open=True))
        finally:
            del held
            inbox.is_left = True
            # Commands keep their order: should `add` still be waiting, it comes first.
            self._commands.put(lambda: self._abort(inbox))

    async def abort(self, request_id: str | Iterable[str]) -> None:
        """End requests where they are: their last output has the finish reason "abort"."""
        ids = [request_id] if isinstance(request_id, str) else list(request_id)
        await self.call(lambda llm: self._give(llm.abort_request(ids)))

    async def pause_generation(self, mode: str = "abort", clear_cache: bool = True) -> None:
        """Let nothing be sampled until `resume_generation`; requests that come meanwhile wait for it.

        Args:
            mode: what becomes of requests that run: "abort" ends them where they are, with what they have;
                "wait" lets them finish first; "keep" holds them until then, with their keys and values.
            clear_cache: forget prefixes too; not with "keep".

        Raises:
            MinillmError: there is no such mode.
        """
        if mode not in PAUSE_MODES:
            raise MinillmError(f"mode must be one of {', '.join(PAUSE_MODES)}, got {mode!r}")
        drained: Future[None] = Future()

        def pause(llm: LLM) -> None:
            self._is_open, self._is_frozen = False, mode == "keep"
            if mode == "abort":
                self._give(llm.abort_request(list(self._owners)))
            self._drained.append(drained)

        await self.call(pause)
        if mode == "wait":
            await asyncio.wrap_future(drained)
        if mode != "keep" and clear_cache:
            await self.reset_prefix_cache()

    async def resume_generation(self) -> None:
        """Go on after `pause_generation`; nothing where there was none."""

        def resume(_: LLM) -> None:
            self._is_open, self._is_frozen = True, False
            held_back, self._held_back = self._held_back, []
            for command in held_back:
                command()

        await self.call(resume)

    async def is_paused(self) -> bool:
        """Tell whether `pause_generation` holds."""
        return not self._is_open

    # ---------------------------------------------------------------- the LLM

    async def get_metrics(self) -> list[Metric]:
        """Return what `LLM.get_metrics` does."""
        return await self.call(LLM.get_metrics)

    async def reset_prefix_cache(self) -> bool:
        """Forget all cached prefixes; return True."""
        return await self.call(LLM.reset_prefix_cache)

    async def reset_mm_cache(self) -> None:
        """Note that there is no cache of images."""
        self._llm.reset_mm_cache()

    reset_encoder_cache = reset_mm_cache

    async def sleep(self, level: int = 1, mode: str = "abort") -> None:
        """Let nothing be sampled until `wake_up`; from level 1, give the KV cache's memory back too.

        `mode` says what becomes of requests that run, as of `pause_generation`; kept ones keep the cache.
        """
        check_level(level)
        if level and mode == "keep":
            raise MinillmError("mode must be abort or wait: kept requests need the KV cache")
        await self.pause_generation(mode, clear_cache=level > 0)
        await self.call(lambda llm: llm.sleep(level))

    async def wake_up(self, tags: Sequence[str] | None = None) -> None:
        """Make the KV cache again, as `LLM.wake_up` does, and go on once it is there."""
        await self.call(lambda llm: llm.wake_up(tags))
        if not await self.is_sleeping():
            await self.resume_generation()

    async def is_sleeping(self) -> bool:
        """Tell whether the KV cache's memory was given back."""
        return await self.call(LLM.is_sleeping)

    async def collective_rpc(
        self,
        method: str | Callable[..., Any],
        timeout: float | None = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> list[Any]:
        """Call a function of the worker between two steps, as `LLM.collective_rpc` does."""
        return await self.call(lambda llm: llm.collective_rpc(method, timeout, args, kwargs))

    async def apply_model(self, func: Callable[..., T]) -> list[T]:
        """Return a list of one, `func(model)`, called between two steps."""
        return await self.call(lambda llm: llm.apply_model(func))

    async def start_profile(self, profile_prefix: str | None = None) -> None:
        """Record what torch does until `stop_profile`, as `LLM.start_profile` does."""
        await self.call(lambda llm: llm.start_profile(profile_prefix))

    async def stop_profile(self) -> None:
        """Write the trace."""
        await self.call(LLM.stop_profile)

    async def add_lora(self, lora_request: LoRARequest) -> bool:
        """Read an adapter for requests to come, as `LLM.add_lora` does."""
        return await self.call(lambda llm: llm.add_lora(lora_request))

    async def remove_lora(self, lora_id: int) -> bool:
        """Forget an adapter, but for requests that run with it; tell whether it was known."""
        return await self.call(lambda llm: llm.remove_lora(lora_id))

    async def pin_lora(self, lora_id: int) -> bool:
        """Keep an adapter until it is removed; `MinillmError` where it is not known."""
        return await self.call(lambda llm: llm.pin_lora(lora_id))

    async def list_loras(self) -> set[int]:
        """List the `lora_int_id`s of known adapters."""
        return await self.call(LLM.list_loras)

    async def do_log_stats(self) -> None:
        """Note that counters are not logged."""
        self._llm.do_log_stats()

    async def get_supported_tasks(self) -> tuple[str, ...]:
        """Return what can be asked for: "generate"."""
        return self._llm.get_supported_tasks()

    def get_tokenizer(self) -> Tokenizer:
        """Return the tokenizer; raise `MinillmError` where there is none."""
        return self._llm.get_tokenizer()

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer, if there is one."""
        return self._llm.tokenizer

    @property
    def vllm_config(self) -> LLM:
        """Where vLLM keeps what the model, the KV cache and a step are."""
        return self._llm

    @property
    def model_config(self) -> ModelInfo:
        """What the model is."""
        return self._llm.model_config

    # ---------------------------------------------------------------- how it is

    @property
    def is_running(self) -> bool:
        """Whether requests are taken."""
        return not (self._is_dead or self._is_stopped)

    @property
    def errored(self) -> bool:
        """Whether it has stopped, by `shutdown` or for good by an error."""
        return not self.is_running

    @property
    def is_stopped(self) -> bool:
        """Whether it has stopped."""
        return self.errored

    @property
    def dead_error(self) -> EngineError:
        """What is raised where it has stopped or its last step failed."""
        return EngineError(f"the sampler has failed: {self.error}" if self.error else "it was shut down")

    async def check_health(self) -> None:
        """Raise `EngineError` where it has stopped, or its last step failed."""
        if self.errored or self.error is not None:
            raise self.dead_error

    async def wait_for_requests_to_drain(self, drain_timeout: float = 300) -> None:
        """Return once nothing runs; raise `TimeoutError` after so many seconds."""
        drained: Future[None] = Future()
        await self.call(lambda _: self._drained.append(drained))
        await asyncio.wait_for(asyncio.wrap_future(drained), drain_timeout)

    @property
    def output_processor(self) -> Self:
        """Where vLLM counts requests: here."""
        return self

    def has_unfinished_requests(self) -> bool:
        """Tell whether a request runs that somebody waits for."""
        return self.get_num_unfinished_requests() > 0

    def get_num_unfinished_requests(self) -> int:
        """Count the requests that run and that somebody waits for."""
        return sum(not inbox.is_left for inbox in list(self._owners.values()))


async def _until_finished(inbox: Inbox, left: int) -> AsyncIterator[tuple[int, RequestOutput]]:
    while left:
        item = await inbox.items.get()
        if isinstance(item, Exception):
            raise item
        left -= item[1].finished
        yield item
