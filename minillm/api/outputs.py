"""What `LLM` returns, under vLLM's names."""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from minillm.api.lora_request import LoRARequest
from minillm.errors import MinillmError


@dataclass
class Logprob:
    """A token's logprob, its rank in the vocabulary (1 is the likeliest), its text."""

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


# Of one token: token id -> Logprob, the token itself first.
Entries = dict[int, Logprob]


@dataclass
class FlatLogprobs(MutableSequence[Any]):
    """Logprobs of many tokens in six plain lists, which read like a list of dicts and can only grow.

    The entries of token i stand from `start_indices[i]` to `end_indices[i]` of the other four lists. There
    are so few objects that garbage collection does not feel them. A token without entries has an empty dict.
    """

    start_indices: list[int] = field(default_factory=list)
    end_indices: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ranks: list[int | None] = field(default_factory=list)
    decoded_tokens: list[str | None] = field(default_factory=list)

    def append(self, value: Entries | None) -> None:
        """Add the entries of the next token."""
        self.start_indices.append(len(self.token_ids))
        for token, entry in (value or {}).items():
            self.token_ids.append(token)
            self.logprobs.append(entry.logprob)
            self.ranks.append(entry.rank)
            self.decoded_tokens.append(entry.decoded_token)
        self.end_indices.append(len(self.token_ids))

    def __len__(self) -> int:
        return len(self.start_indices)

    def __iter__(self) -> Iterator[Entries]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1 or start >= stop:
                part = FlatLogprobs()
                part.extend(self[i] for i in range(start, stop, step))
                return part
            first, last = self.start_indices[start], self.end_indices[stop - 1]
            return FlatLogprobs(
                [i - first for i in self.start_indices[start:stop]],
                [i - first for i in self.end_indices[start:stop]],
                self.token_ids[first:last],
                self.logprobs[first:last],
                self.ranks[first:last],
                self.decoded_tokens[first:last],
            )
        columns = (self.token_ids, self.logprobs, self.ranks, self.decoded_tokens)
        at = slice(self.start_indices[index], self.end_indices[index])
        return {
            token: Logprob(logprob, rank, text)
            for token, logprob, rank, text in zip(*(column[at] for column in columns), strict=True)
        }

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError("FlatLogprobs can only grow")

    def __delitem__(self, index: Any) -> NoReturn:
        raise TypeError("FlatLogprobs can only grow")

    def insert(self, index: int, value: Any) -> NoReturn:
        """Raise `TypeError`: entries are added at the end alone."""
        raise TypeError("FlatLogprobs can only grow")


# Of each token that was sampled; of each token of a prompt, of which the first comes after nothing.
Logprobs = list[Entries] | FlatLogprobs
PromptLogprobs = list[Entries | None] | FlatLogprobs


@dataclass
class CompletionOutput:
    """One sample of a request.

    `logprobs` has a dict per token, token id -> Logprob, holding the sampled token and the asked-for
    likeliest ones, in a list or in `FlatLogprobs`; None, like `cumulative_logprob`, where none were asked
    for. `finish_reason` is "stop" (end of sequence, a stop token or a stop string: `stop_reason` says which,
    None for the tokenizer's own end of sequence),
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

    `prompt_logprobs`, if asked for, has None for the first token, which comes after nothing (an empty dict
    in `FlatLogprobs`).
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = True
    num_cached_tokens: int = 0
    prompt_logprobs: PromptLogprobs | None = None
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
