"""What `LLM` returns, under vLLM's names."""

from __future__ import annotations

from dataclasses import dataclass

from minillm.api.lora_request import LoRARequest
from minillm.errors import MinillmError


@dataclass
class Logprob:
    """A token's logprob, its rank in the vocabulary (1 is the likeliest), its text."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


# For each token: token id -> Logprob, the token itself first.
Logprobs = list[dict[int, Logprob]]


@dataclass
class CompletionOutput:
    """One sample of a request.

    `logprobs` has a dict per token, token id -> Logprob, holding the sampled token and the asked-for
    likeliest ones; None, like `cumulative_logprob`, where none were asked for. `finish_reason` is "stop"
    (end of sequence, a stop token or a stop string: `stop_reason` says which, None for end of sequence),
    "length", "abort", or "error" (`stop_reason` says what went wrong); None while it runs.
    """

    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: Logprobs | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None

    def finished(self) -> bool:
        """Whether no token will follow."""
        return self.finish_reason is not None

    @property
    def token_logprobs(self) -> list[float]:
        """The logprob of each of `token_ids`; raises `MinillmError` where none were asked for."""
        if self.logprobs is None:
            raise MinillmError("this sample has no logprobs; ask for them with SamplingParams(logprobs=0)")
        return [entry[t].logprob for t, entry in zip(self.token_ids, self.logprobs, strict=True)]


@dataclass
class RequestMetrics:
    """When what happened to a request, in seconds since the epoch; `preemptions` of its samples."""

    arrival_time: float
    first_token_time: float | None = None
    last_token_time: float | None = None
    finished_time: float | None = None
    preemptions: int = 0


@dataclass
class RequestOutput:
    """A request with its samples; `num_cached_tokens` prompt tokens came from the prefix cache.

    `prompt_logprobs`, if asked for, has None for the first token, which comes after nothing.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = True
    num_cached_tokens: int = 0
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None
    metrics: RequestMetrics | None = None
    lora_request: LoRARequest | None = None


@dataclass
class BeamSearchSequence:
    """A sequence of a beam search: prompt and continuation, and the continuation's summed logprob."""

    tokens: list[int]
    logprobs: Logprobs
    cum_logprob: float = 0.0
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class BeamSearchOutput:
    """The sequences of a beam search, the best first."""

    sequences: list[BeamSearchSequence]
