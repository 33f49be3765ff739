"""Requests for programs that run together in one `LLM`, begun in bulks that will end in time.

While prompts are read, programs that are being sampled hardly move on; so requests are not begun one by one
as others end, but many at a time, when half of them have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from arc.augment import Guise
from arc.pace import Pace
from minillm import LLM, CompletionOutput, MinillmError, RequestOutput, SamplingParams

# Steps after which their time is taken.
_STEPS = 10


@dataclass(frozen=True)
class Variant:
    """A way to ask for a program: the guise of the task, the prompt, and how the program begins."""

    guise: Guise
    prompt_ids: list[int]
    given: str = ""


@dataclass(frozen=True)
class Ask:
    """A request of some samples of a task, of which it has `number` already."""

    task_id: str
    phase: str
    variant: Variant
    number: int
    count: int


class Sampling:
    """Requests in an `LLM`.

    Args:
        llm: the sampler, in which nothing else runs.
        pace: what is measured of it.
        most: programs that are sampled at a time.
        params: sampling parameters of a request.
    """

    def __init__(self, llm: LLM, pace: Pace, most: int, params: Callable[[Ask], SamplingParams]) -> None:
        self._llm, self._pace, self._most, self._params = llm, pace, most, params
        self.flying: dict[str, Ask] = {}
        self._held: Ask | None = None
        # Programs after the last bulk; before the first, as if all places were taken.
        self._peak = most
        # Of a bulk that is being read: its beginning, its prompts' tokens, and the first tokens to wait for.
        self._bulk: tuple[float, int, int] | None = None
        self._mark = (time.monotonic(), 0)
        self._steps = 0

    @property
    def begun(self) -> int:
        """Count the programs that are being sampled."""
        return sum(ask.count for ask in self.flying.values())

    def fill(self, asks: Iterator[Ask], seconds: float) -> None:
        """Begin a bulk of requests that will end within `seconds`, once half of the last one has ended.

        Before anything is known it is one request. Where nothing runs one is begun in any case: it may be
        short.
        """
        if self.flying and (self._bulk or self.begun > self._peak // 2):
            return
        known = self._pace.fits(seconds, 0, 0) is not None
        prompts = samples = 0
        while self.begun < self._most and (ask := self._held or next(asks, None)):
            length = len(ask.variant.prompt_ids)
            fits = self._pace.fits(seconds, prompts + length, self.begun + ask.count)
            self._held = ask if self.flying and not fits else None
            if self._held:
                break
            prompt: Any = {"prompt_token_ids": ask.variant.prompt_ids}
            self.flying[self._llm.add_request(None, prompt, self._params(ask))] = ask
            prompts += length
            samples += ask.count
        if samples:
            self._peak = self.begun if known else self._most
            self._bulk = time.monotonic(), prompts, self._counts()[1] + samples

    def step(self) -> list[tuple[Ask, CompletionOutput]]:
        """Run one step; return the programs that ended, each with its request."""
        ended = self._ended(self._llm.step())
        for _, completion in ended:
            self._pace.ended(len(completion.token_ids))
        self._steps += 1
        if self._bulk:
            begin, prompts, firsts = self._bulk
            tokens, had = self._counts()
            if had >= firsts:
                self._pace.read(prompts, time.monotonic() - begin)
                self._bulk, self._steps, self._mark = None, 0, (time.monotonic(), tokens)
        elif self._steps == _STEPS:
            (begin, before), tokens, now = self._mark, self._counts()[0], time.monotonic()
            if tokens > before:
                self._pace.step((now - begin) / _STEPS, (tokens - before) / _STEPS)
            self._steps, self._mark = 0, (now, tokens)
        return ended

    def abort(self) -> list[tuple[Ask, CompletionOutput]]:
        """End all requests; return the programs that had ended by themselves."""
        return self._ended(self._llm.abort_request(list(self.flying)))

    def _ended(self, outputs: Sequence[RequestOutput]) -> list[tuple[Ask, CompletionOutput]]:
        found = []
        for output in outputs:
            if not output.finished:
                continue
            ask = self.flying.pop(output.request_id)
            for completion in output.outputs:
                if completion.finish_reason == "error":
                    raise MinillmError(f"task {ask.task_id}: sampling failed: {completion.stop_reason}")
                if completion.finish_reason in ("stop", "length"):
                    found.append((ask, completion))
        return found

    def _counts(self) -> tuple[int, int]:
        """Count the tokens that were sampled so far, and the programs that have their first one."""
        metrics: dict[str, Any] = {metric.name: metric for metric in self._llm.get_metrics()}
        firsts = metrics["vllm:time_to_first_token_seconds"]
        return metrics["vllm:generation_tokens"].value, firsts.count
