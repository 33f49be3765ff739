"""A request in the making: its samples, when they end, and what of them is shown."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from minillm.api.outputs import CompletionOutput, Logprob, Logprobs, RequestMetrics, RequestOutput
from minillm.api.sampling_params import RequestOutputKind, SamplingParams
from minillm.api.structured_outputs import Constraint
from minillm.engine.sequence import EngineSequence
from minillm.tokenizer.tokenizer import IncrementalDecoder


@dataclass(eq=False)
class SampleState:
    """One sample in the making.

    `noise` seeds its draws; `end_ids` end it, `eos_id` is the tokenizer's own of them; `bad_ids` are the
    token ids of its bad words.
    """

    params: SamplingParams
    output: CompletionOutput
    sequence: EngineSequence
    noise: tuple[int, int]
    end_ids: frozenset[int]
    eos_id: int | None
    bad_ids: list[list[int]]
    decoder: IncrementalDecoder | None
    constraint: Constraint | None
    text: str = ""
    logprobs: Logprobs = field(default_factory=list)
    logprob_sum: float = 0.0
    first_token_time: float | None = None
    last_token_time: float | None = None

    def __post_init__(self) -> None:
        # Each row of each step asks for them, and a request's parameters stay as they are.
        self.is_plain, self.truncates = self.params.is_plain, self.params.truncates

    def take(self, token: int, entries: dict[int, Logprob] | None) -> bool:
        """Append a token with its logprobs; tell whether the sample ends with it."""
        self.sequence.token_ids.append(token)
        self.output.token_ids.append(token)
        if entries is not None:
            self.logprobs.append(entries)
            self.logprob_sum += entries[token].logprob
        if self.constraint is not None and token not in self.end_ids:
            self.constraint.accept(token)
        count, output, params = len(self.output.token_ids), self.output, self.params
        ends = token in self.end_ids and not (params.ignore_eos and self.constraint is None)
        stops = count >= params.min_tokens and token in (params.stop_token_ids or ())
        # A token that ends the sample by its id is in the text only if it is asked for.
        hidden = (ends or stops) and not params.include_stop_str_in_output
        shown = params.trace_decode_token_ids is not None or not hidden
        if shown and self.decoder is not None:
            self._add(self.decoder.add([token]))
        ends = ends or (self.constraint is not None and self.constraint.finished)
        if params.trace_decode_token_ids is not None:
            ends = stops = False
        if output.finish_reason is None and (ends or stops or count >= self.sequence.max_tokens):
            self._flush()
        if output.finish_reason is not None:
            pass  # by a stop string
        elif stops:
            output.finish_reason, output.stop_reason = "stop", token
        elif ends:
            is_other = token in self.end_ids and token != self.eos_id
            output.finish_reason, output.stop_reason = "stop", token if is_other else None
        elif count >= self.sequence.max_tokens:
            output.finish_reason = "length"
        return output.finish_reason is not None

    def _add(self, text: str) -> None:
        """Add new text, and end the sample where that completes a stop string: the one it completes first."""
        before, params = len(self.text), self.params
        self.text += text
        if len(self.output.token_ids) < params.min_tokens or params.trace_decode_token_ids is not None:
            return
        stops = params.stop_strings
        starts = {stop: self.text.find(stop, max(0, before - len(stop) + 1)) for stop in stops}
        if completed := [stop for stop in stops if starts[stop] >= 0]:
            stop = min(completed, key=lambda stop: starts[stop] + len(stop))
            end = starts[stop] + (len(stop) if params.include_stop_str_in_output else 0)
            self.text, self.decoder = self.text[:end], None
            self.output.finish_reason, self.output.stop_reason = "stop", stop

    def _flush(self) -> None:
        """Add the text that was held back."""
        if self.decoder is not None:
            self._add(self.decoder.flush())
            self.decoder = None

    def end(self, reason: str | None = None, detail: str | None = None) -> None:
        """Complete the output; `reason` where nothing in the sample says one."""
        self._flush()
        if reason is not None:
            self.output.finish_reason, self.output.stop_reason = reason, detail
        self.show()

    def show(self) -> None:
        """Bring the output up to date, but for an end that may become a stop string's beginning."""
        held = 0 if self.output.finished() else max((len(s) - 1 for s in self.params.stop_strings), default=0)
        self.output.text = self.text[: max(0, len(self.text) - held)]
        if self.params.wants_logprobs:
            self.output.logprobs, self.output.cumulative_logprob = self.logprobs, self.logprob_sum


@dataclass(eq=False)
class Request:
    """A request: its samples, and what of them has been given out."""

    output: RequestOutput
    samples: list[SampleState]
    params: SamplingParams
    metrics: RequestMetrics = field(default_factory=lambda: RequestMetrics(time.time()))
    given: list[tuple[int, int]] = field(default_factory=list)
    ended: list[SampleState] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether all samples have ended."""
        return all(sample.output.finished() for sample in self.samples)

    def note_token(self, now: float) -> None:
        """Note the time of a token."""
        self.metrics.last_token_time = now
        if self.metrics.first_token_time is None:
            self.metrics.first_token_time = now

    def complete(self) -> None:
        """Complete the output of a request that has finished."""
        self.metrics.finished_time = time.time()
        self.metrics.preemptions = sum(sample.sequence.preemptions for sample in self.samples)
        self.output.finished, self.output.metrics = True, self.metrics
        self.output.num_cached_tokens = self.samples[0].sequence.cached

    def view(self) -> RequestOutput:
        """Copy what is there to be seen now, as `output_kind` has it; later tokens leave the copy alone.

        Of new text alone (DELTA), a sample is seen for the last time with its finish reason.
        """
        is_delta = self.params.output_kind is RequestOutputKind.DELTA
        given = self.given if is_delta and self.given else [(0, 0)] * len(self.samples)
        outputs = []
        for sample, (characters, tokens) in zip(self.samples, given, strict=True):
            if is_delta and sample in self.ended:
                continue
            sample.show()
            output, logprobs = sample.output, sample.output.logprobs
            new_logprobs = None if logprobs is None else logprobs[tokens:]
            new_text, new_ids = output.text[characters:], output.token_ids[tokens:]
            outputs.append(replace(output, text=new_text, token_ids=new_ids, logprobs=new_logprobs))
        cached = self.samples[0].sequence.cached
        view = replace(self.output, outputs=outputs, finished=self.finished, num_cached_tokens=cached)
        if is_delta and self.given:
            view.prompt_logprobs = None
        self.given = [(len(sample.output.text), len(sample.output.token_ids)) for sample in self.samples]
        self.ended = [sample for sample in self.samples if sample.output.finished()]
        return view
