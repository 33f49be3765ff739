"""What a sampler has done so far, under vLLM's names."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, count

from minillm.engine.beam_search import BeamSearch
from minillm.engine.engine import Engine
from minillm.engine.request import Request, SampleState
from minillm.model.batch import PAGE_SIZE

# Upper bounds of vLLM's buckets, in seconds.
FIRST_TOKEN = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
NEXT_TOKEN = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
REQUEST = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
    960.0, 1920.0, 7680.0,
)  # fmt: skip
SAMPLES = (1, 2, 5, 10, 20)
STEP = (1, *(2**k for k in range(3, 15)))


@dataclass
class Metric:
    """Something with a name; `labels` tell apart those of one name."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class Counter(Metric):
    """A number that only grows."""

    value: int = 0


@dataclass
class Gauge(Metric):
    """A number as it is now."""

    value: float = 0.0


@dataclass
class Histogram(Metric):
    """How values are spread: `count` of them and their `sum`.

    `buckets` has, by upper bound as text ("0.5", ..., "+Inf"), how many are at most that.
    """

    count: int = 0
    sum: float = 0.0
    buckets: dict[str, int] = field(default_factory=dict)


class _Observations:
    """A histogram in the making."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def snapshot(self, name: str) -> Histogram:
        at_most = list(accumulate(self._counts))
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = dict(zip(names, at_most, strict=True))
        return Histogram(name, count=at_most[-1], sum=self._sum, buckets=buckets)


def _up_to(most: int) -> Iterator[int]:
    """Count 1, 2, 5, 10, 20, 50 and so on, up to `most`."""
    for exponent in count():
        for digit in (1, 2, 5):
            if (bound := digit * 10**exponent) > most:
                return
            yield bound


class EngineMetrics:
    """Counts of one `LLM`, and how long things took; a request of n samples counts as n, as in vLLM."""

    def __init__(self, max_model_len: int) -> None:
        self.steps = self.prompt_tokens = self.generation_tokens = self._queries = self._hits = 0
        self._finished: dict[str, int] = {}
        self._max_model_len = max_model_len
        tokens = list(_up_to(max_model_len))
        bounds: dict[str, Sequence[float]] = {
            "time_to_first_token_seconds": FIRST_TOKEN,
            "inter_token_latency_seconds": NEXT_TOKEN,
            "request_time_per_output_token_seconds": NEXT_TOKEN,
            "e2e_request_latency_seconds": REQUEST,
            "request_queue_time_seconds": REQUEST,
            "request_inference_time_seconds": REQUEST,
            "request_prefill_time_seconds": REQUEST,
            "request_decode_time_seconds": REQUEST,
            "request_prompt_tokens": tokens,
            "request_generation_tokens": tokens,
            "request_max_num_generation_tokens": tokens,
            "iteration_tokens_total": STEP,
            "request_params_n": SAMPLES,
            "request_params_max_tokens": tokens,
        }
        self._spread = {name: _Observations(limits) for name, limits in bounds.items()}

    def count_step(self, owners: Sequence[tuple[Request, SampleState]]) -> None:
        """Count a step that gives these a token; as in vLLM, a whole prompt counts with its first."""
        prompts = (request.output.prompt_token_ids for request, one in owners if one.last_token_time is None)
        self._spread["iteration_tokens_total"].add(len(owners) + sum(map(len, prompts)))

    def count_token(self, request: Request, sample: SampleState, now: float) -> None:
        """Count a token of a sample, which came `now`."""
        self.generation_tokens += 1
        if sample.last_token_time is None:
            sample.first_token_time = now
            self._spread["time_to_first_token_seconds"].add(now - request.metrics.arrival_time)
        else:
            self._spread["inter_token_latency_seconds"].add(now - sample.last_token_time)
        sample.last_token_time = now

    def count_request(self, request: Request) -> None:
        """Count a request that has finished, by why, and what of its prompt was in the prefix cache."""
        for sample in request.samples:
            reason = sample.output.finish_reason or "abort"
            self._finished[reason] = self._finished.get(reason, 0) + 1
            for name, value in self._observed(request, sample).items():
                self._spread[name].add(value)
        self._spread["request_params_n"].add(request.params.n)
        longest = max(len(sample.output.token_ids) for sample in request.samples)
        self._spread["request_max_num_generation_tokens"].add(longest)
        if request.params.max_tokens is not None:
            # No more can come; a sum of numbers beyond that might be none that a float can hold.
            most = min(request.params.max_tokens, self._max_model_len)
            self._spread["request_params_max_tokens"].add(most)
        self._queries += len(request.output.prompt_token_ids)
        self._hits += request.output.num_cached_tokens

    def count_search(self, search: BeamSearch) -> None:
        """Count a beam search that has finished, each sequence that it found as a sample."""
        prompt = len(search.output.prompt_token_ids)
        for found in search.output.outputs:
            reason = found.finish_reason or "abort"
            self._finished[reason] = self._finished.get(reason, 0) + 1
            self.generation_tokens += len(found.token_ids)
            self._spread["request_prompt_tokens"].add(prompt)
            self._spread["request_generation_tokens"].add(len(found.token_ids))
        self._spread["request_params_n"].add(search.params.beam_width)
        self._spread["request_params_max_tokens"].add(min(search.params.max_tokens, self._max_model_len))
        self._queries += prompt
        self._hits += search.output.num_cached_tokens

    @staticmethod
    def _observed(request: Request, sample: SampleState) -> dict[str, float]:
        """Measure what is known of a sample that has finished; one that was aborted early has no times."""
        arrived, ended = request.metrics.arrival_time, request.metrics.finished_time
        first, last, scheduled = (
            sample.first_token_time,
            sample.last_token_time,
            sample.sequence.scheduled_time,
        )
        tokens = len(sample.output.token_ids)
        found: dict[str, float] = {
            "request_prompt_tokens": len(request.output.prompt_token_ids),
            "request_generation_tokens": tokens,
        }
        if ended is not None:
            found["e2e_request_latency_seconds"] = ended - arrived
        if scheduled is not None:
            found["request_queue_time_seconds"] = scheduled - arrived
            if first is not None and last is not None:
                found["request_prefill_time_seconds"] = first - scheduled
                found["request_decode_time_seconds"] = last - first
                found["request_inference_time_seconds"] = last - scheduled
                if tokens > 1:
                    found["request_time_per_output_token_seconds"] = (last - first) / (tokens - 1)
        return found

    def snapshot(self, engine: Engine) -> list[Metric]:
        """Return all metrics as they are now."""
        scheduler = engine.scheduler
        used = 0.0 if engine.is_sleeping else scheduler.pool.held / scheduler.pool.num_pages
        gauges = {
            "num_requests_running": len(scheduler.running),
            "num_requests_waiting": len(scheduler.waiting),
            "kv_cache_usage_perc": used,
        }
        counters = {
            "num_preemptions": scheduler.preemptions,
            "prompt_tokens": self.prompt_tokens,
            "generation_tokens": self.generation_tokens,
            "prefix_cache_queries": self._queries,
            "prefix_cache_hits": self._hits,
            "engine_steps": self.steps,
        }
        shown = {
            "block_size": PAGE_SIZE,
            "num_gpu_blocks": engine.num_pages,
            "enable_prefix_caching": scheduler.enable_prefix_caching,
        }
        return [
            Gauge("vllm:cache_config_info", {name: str(value) for name, value in shown.items()}, 1),
            *(Gauge(f"vllm:{name}", value=value) for name, value in gauges.items()),
            *(Counter(f"vllm:{name}", value=value) for name, value in counters.items()),
            *(
                Counter("vllm:request_success", {"finished_reason": reason}, count)
                for reason, count in sorted(self._finished.items())
            ),
            *(spread.snapshot(f"vllm:{name}") for name, spread in self._spread.items()),
        ]
