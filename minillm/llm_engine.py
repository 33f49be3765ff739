"""`LLMEngine`: what `LLM` has that vLLM's scripts find on the engine below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

import torch

from minillm.api.lora_request import LoRARequest
from minillm.api.outputs import RequestOutput
from minillm.api.sampling_params import SamplingParams
from minillm.engine.engine import Engine
from minillm.engine.request import Request
from minillm.errors import MinillmError, anything, refusing
from minillm.inputs import Prompt
from minillm.model.batch import PAGE_SIZE
from minillm.model.transformer import Transformer

T = TypeVar("T")


@dataclass(frozen=True)
class ModelInfo:
    """What vLLM's `model_config` says of a model."""

    max_model_len: int
    dtype: torch.dtype
    vocab_size: int
    hidden_size: int

    def get_vocab_size(self) -> int:
        """Return the number of tokens that have logits."""
        return self.vocab_size

    def get_hidden_size(self) -> int:
        """Return the model's width."""
        return self.hidden_size


@dataclass(frozen=True)
class CacheInfo:
    """What vLLM's `cache_config` says of the KV cache."""

    block_size: int
    num_gpu_blocks: int
    enable_prefix_caching: bool


@dataclass(frozen=True)
class SchedulerInfo:
    """What vLLM's `scheduler_config` says of a step."""

    max_num_seqs: int
    max_num_batched_tokens: int
    policy: str


@dataclass(frozen=True)
class Worker:
    """What functions of `collective_rpc` are given, the only one there is."""

    engine: LLMEngine
    rank: int = 0
    local_rank: int = 0

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.engine.model.head.device

    def get_model(self) -> Transformer:
        """Return the live model."""
        return self.engine.model

    def apply_model(self, func: Callable[[Transformer], T]) -> T:
        """Return `func(model)`."""
        return func(self.engine.model)

    def check_health(self) -> None:
        """Return: it runs in this process."""


class PoolingParams:
    """vLLM's parameters of pooling models; making them raises `MinillmError`, for there are none here."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise MinillmError("PoolingParams are for pooling models; minillm generates text: use SamplingParams")


class LLMEngine:
    """The names of vLLM's engine. An `LLM` is its own engine: `llm.llm_engine` is `llm`.

    Steps are those of `LLM`: requests that were added run together, in one batch, while somebody calls
    `step`.
    """

    model: Transformer
    max_model_len: int
    scheduling_policy: str
    _engine: Engine
    _requests: dict[str, Request]
    _trace_folder: Path | None
    _profiler: torch.profiler.profile | None = None

    @classmethod
    @refusing({"enable_multiprocessing": anything(), "stat_loggers": None, "usage_context": anything()})
    def from_engine_args(cls, engine_args: Any) -> Self:
        """Make an `LLM` of `EngineArgs`."""
        llm: Self = engine_args.create_llm()
        return llm

    @property
    def llm_engine(self) -> Self:
        """The engine, which is this `LLM` itself."""
        return self

    # ---------------------------------------------------------------- requests

    @refusing(
        {
            "arrival_time": None,
            "data_parallel_rank": None,
            "prompt_text": None,
            "tokenization_kwargs": None,
            "trace_headers": None,
        }
    )
    def add_request(
        self,
        request_id: str,
        prompt: Prompt,
        params: SamplingParams,
        *,
        lora_request: LoRARequest | None = None,
        priority: int = 0,
    ) -> str:
        """Queue one request for `step`; return its id. Raises `MinillmError` as `LLM.enqueue` does."""
        if not isinstance(request_id, str):
            raise MinillmError(f"request_id must be a string, got {request_id!r}")
        return self.enqueue(prompt, params, request_id, lora_request, priority=priority)

    def enqueue(
        self,
        prompt: Prompt,
        sampling_params: SamplingParams | None = None,
        request_id: str | None = None,
        lora_request: LoRARequest | None = None,
        *,
        priority: int = 0,
    ) -> str:
        """Queue one request, as `LLM` does."""
        raise NotImplementedError

    def has_unfinished_requests(self) -> bool:
        """Tell whether `step` has something to do."""
        return bool(self._requests)

    def get_num_unfinished_requests(self) -> int:
        """Count the requests that have not finished."""
        return len(self._requests)

    def abort_request(self, request_ids: str | Sequence[str]) -> list[RequestOutput]:
        """End requests where they are, as `LLM` does."""
        raise NotImplementedError

    @refusing({"timeout": anything()})
    def shutdown(self) -> None:
        """Abort what runs and give the KV cache's memory back; `wake_up` makes it again."""
        self.abort_request(list(self._requests))
        self._engine.sleep()

    # ---------------------------------------------------------------- what it is

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
        """Call a function of the worker, or a method of `Worker` by its name; return a list of one result.

        There is one worker, in this process, so that no `timeout` can pass. Raises `MinillmError` for a name
        that it has not, and what the function raises.
        """
        worker = Worker(self)
        if isinstance(method, str):
            if method.startswith("_") or not callable(bound := getattr(worker, method, None)):
                known = [name for name, x in vars(Worker).items() if callable(x) and name[0] != "_"]
                raise MinillmError(
                    f"the worker has no method {method!r}, only {', '.join(known)}; give a function"
                )
            return [bound(*args, **(kwargs or {}))]
        return [method(worker, *args, **(kwargs or {}))]

    def apply_model(self, func: Callable[[Transformer], T]) -> list[T]:
        """Return a list of one, `func(model)`; what it writes into the weights is sampled from next."""
        return [func(self.model)]

    def start_profile(self, profile_prefix: str | None = None) -> None:
        """Record what torch does until `stop_profile`, for a trace in `profiler_config`'s folder.

        Raises `MinillmError` where there is none, and while it records.
        """
        if self._trace_folder is None:
            raise MinillmError(
                "start_profile() has no folder to write to; make the LLM with "
                "profiler_config={'profiler': 'torch', 'torch_profiler_dir': ...}"
            )
        if self._profiler is not None:
            raise MinillmError("start_profile() was called already; call stop_profile() first")
        self._trace_prefix = profile_prefix or "minillm"
        self._profiler = torch.profiler.profile()
        self._profiler.start()

    def stop_profile(self) -> None:
        """Write the trace; raise `MinillmError` where nothing records."""
        if self._profiler is None or self._trace_folder is None:
            raise MinillmError("stop_profile() without start_profile()")
        self._profiler.stop()
        self._trace_folder.mkdir(parents=True, exist_ok=True)
        number = sum(1 for _ in self._trace_folder.glob(f"{self._trace_prefix}.*.json"))
        self._profiler.export_chrome_trace(str(self._trace_folder / f"{self._trace_prefix}.{number}.json"))
        self._profiler = None

    # ---------------------------------------------------------------- what it is not

    def encode(self, *_: Any, **__: Any) -> NoReturn:
        """Raise `MinillmError`: this is no pooling model."""
        raise MinillmError(
            "encode(), embed(), classify(), score() and reward() are for pooling models; minillm generates "
            "text: use generate(), or next_token_logprobs() for scores"
        )

    embed = classify = score = reward = encode


def trace_folder(profiler_config: Mapping[str, Any] | None) -> Path | None:
    """Return the folder of `profiler_config`; `MinillmError` where it asks for anything but torch's."""
    if profiler_config is None:
        return None
    rule = "profiler_config must be {'profiler': 'torch', 'torch_profiler_dir': folder}"
    keys = {"profiler", "torch_profiler_dir"}
    if not isinstance(profiler_config, Mapping) or profiler_config.keys() - keys:
        raise MinillmError(f"{rule}, got {profiler_config!r}")
    folder = profiler_config.get("torch_profiler_dir")
    if profiler_config.get("profiler", "torch") != "torch" or not folder:
        raise MinillmError(f"{rule}, got {profiler_config!r}")
    return Path(folder)
