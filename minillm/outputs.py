"""What `LLM.generate` returns, under vLLM's names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Logprob:
    """A token's logprob (after temperature), its rank in the vocabulary (1 is the likeliest), its text."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    """One sample of a request.

    `logprobs` has a dict per token, token id -> Logprob, holding the sampled token and the asked-for
    likeliest ones; None, like `cumulative_logprob`, where none were asked for. `finish_reason` is "stop"
    (end of sequence, a stop token or a stop string: `stop_reason` says which, None for end of sequence)
    or "length".
    """

    index: int
    text: str
    token_ids: list[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    """A request with its samples; `num_cached_tokens` prompt tokens came from the prefix cache."""

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = True
    num_cached_tokens: int = 0
