"""What a sampler has done so far, under vLLM's names."""

from __future__ import annotations

from dataclasses import dataclass, field

from minillm.engine.engine import Engine
from minillm.engine.request import Request


@dataclass(frozen=True)
class Metric:
    """A number with a name; `labels` tell apart those of one name."""

    name: str
    value: float
    labels: dict[str, str] = field(default_factory=dict)


class Counter(Metric):
    """A number that only grows."""


class Gauge(Metric):
    """A number as it is now."""


class EngineMetrics:
    """Counts of one `LLM`."""

    def __init__(self) -> None:
        self.steps = self.prompt_tokens = self.generation_tokens = self._queries = self._hits = 0
        self._finished: dict[str, int] = {}

    def count_request(self, request: Request) -> None:
        """Count a request that has finished, by why, and what of its prompt was in the prefix cache."""
        for sample in request.samples:
            reason = sample.output.finish_reason or "abort"
            self._finished[reason] = self._finished.get(reason, 0) + 1
        self._queries += len(request.output.prompt_token_ids)
        self._hits += request.output.num_cached_tokens

    def snapshot(self, engine: Engine) -> list[Metric]:
        """Return all metrics as they are now."""
        scheduler = engine.scheduler
        used = 0.0 if engine.is_sleeping else scheduler.pool.held / scheduler.pool.num_pages
        return [
            Gauge("vllm:num_requests_running", len(scheduler.running)),
            Gauge("vllm:num_requests_waiting", len(scheduler.waiting)),
            Gauge("vllm:kv_cache_usage_perc", used),
            Counter("vllm:num_preemptions", scheduler.preemptions),
            Counter("vllm:prompt_tokens", self.prompt_tokens),
            Counter("vllm:generation_tokens", self.generation_tokens),
            Counter("vllm:prefix_cache_queries", self._queries),
            Counter("vllm:prefix_cache_hits", self._hits),
            Counter("vllm:engine_steps", self.steps),
            *(
                Counter("vllm:request_success", count, {"finished_reason": reason})
                for reason, count in sorted(self._finished.items())
            ),
        ]
