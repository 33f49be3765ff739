"""Beam search over the engine; a beam that goes on in several ways is forked, and its pages are shared.

Ends and scores are transformers': of each step's best (number of ends + 1) * width continuations, those among
the first `width` that end a sequence are kept with their summed logprob over length ** length_penalty, the
length counting sampled tokens; the best `width` of the others go on. It ends at `max_tokens`, or when the
best that goes on is no better, at its length, than the worst of `width` that have ended.

With structured outputs, tokens that may not come are no continuations, and the others keep the logprobs of
the full distribution; a sequence ends where nothing can follow, too.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from minillm.api.grammars import Constraint, constrain
from minillm.api.outputs import BeamSearchSequence, CompletionOutput, Logprob, Logprobs, RequestOutput
from minillm.api.sampling_params import BeamSearchParams
from minillm.engine.engine import Engine, Step
from minillm.engine.sequence import EngineSequence
from minillm.errors import MinillmError
from minillm.model.logprobs import logprobs
from minillm.tokenizer.tokenizer import IncrementalDecoder, Tokenizer


@dataclass(eq=False)
class _Beam:
    """A sequence, its continuation's summed logprob and entries, and the logprobs of what may come next."""

    sequence: EngineSequence
    constraint: Constraint | None
    total: float = 0.0
    entries: Logprobs = field(default_factory=list)
    row_V: torch.Tensor | None = None

    def entry(self, token: int, likeliest: int) -> dict[int, Logprob]:
        """Give the logprobs of a token, and of so many of the likeliest."""
        assert self.row_V is not None
        value = self.row_V[token]
        entry = {token: Logprob(value.item(), int((self.row_V > value).sum()) + 1)}
        values, ids = self.row_V.topk(min(likeliest, len(self.row_V)))
        for place, (other, logprob) in enumerate(zip(ids.tolist(), values.tolist(), strict=True), 1):
            entry.setdefault(other, Logprob(logprob, place))
        return entry


@dataclass(eq=False)
class _Choice:
    """A way for a beam to go on: the next token, the summed logprob with it, its place in a grammar."""

    beam: _Beam
    token: int
    total: float
    constraint: Constraint | None


class BeamSearch:
    """The search of one prompt, among whatever else the engine runs.

    Attributes:
        output: where the best sequences stand at the end, the best first.
        end_ids: tokens that end a sequence.
        params: how to search.
    """

    def __init__(
        self,
        output: RequestOutput,
        params: BeamSearchParams,
        sequence: EngineSequence,
        end_ids: frozenset[int],
        constraint: Constraint | None = None,
    ) -> None:
        self.output, self.params, self.end_ids = output, params, end_ids
        self._first, self._max_tokens, self._length = sequence, sequence.max_tokens, 0
        self._beams = [_Beam(sequence, constraint)]
        # (score, sequence), the best first.
        self._ended: list[tuple[float, BeamSearchSequence]] = []

    @property
    def sequences(self) -> list[EngineSequence]:
        """Those that the engine runs; none at the end."""
        return [beam.sequence for beam in self._beams]

    @property
    def found(self) -> list[BeamSearchSequence]:
        """What has ended, the best first."""
        return [sequence for _, sequence in self._ended]

    def advance(self, engine: Engine, rows: Mapping[EngineSequence, torch.Tensor]) -> None:
        """Take rows of logprobs, (V,), of some sequences; once all are there, let each go on or end.

        A row is of the full distribution after the temperature. Raises `MinillmError` for what a grammar
        cannot follow further.
        """
        for beam in self._beams:
            beam.row_V = rows.get(beam.sequence, beam.row_V)
        if all(beam.row_V is not None for beam in self._beams):
            self._fork(engine, self._choose())

    def stop(self, engine: Engine) -> None:
        """Take what still runs out of the engine."""
        for sequence in self.sequences:
            engine.remove(sequence)
        self._beams = []

    def complete(self, tokenizer: Tokenizer | None) -> None:
        """Write what was found into the output."""
        start = len(self.output.prompt_token_ids)
        self.output.finished, self.output.outputs = True, []
        self.output.num_cached_tokens = self._first.cached
        for i, found in enumerate(self.found):
            ids, text = found.tokens[start:], ""
            if (is_end := found.tokens[-1] in self.end_ids) and tokenizer is not None:
                found.stop_reason = ids[-1] if ids[-1] != tokenizer.eos_token_id else None
            shown = -1 if is_end and not self.params.include_stop_str_in_output else None
            if tokenizer is not None:
                decoder = IncrementalDecoder(tokenizer)
                text = decoder.add(ids[:shown]) + decoder.flush()
                found.text = tokenizer.decode(found.tokens[:shown])
            why = found.finish_reason, found.stop_reason
            completion = CompletionOutput(i, text, ids, found.cum_logprob, found.logprobs, *why)
            self.output.outputs.append(completion)

    def fail(self, reason: str, detail: str | None = None) -> None:
        """Write why nothing was found into the output."""
        self.output.finished = True
        self.output.outputs = [CompletionOutput(0, "", [], None, None, reason, detail)]

    def _choose(self) -> list[_Choice]:
        """Choose what goes on; note what ends."""
        width, self._length = self.params.beam_width, self._length + 1
        rows_RV = torch.stack([beam.row_V.add(beam.total) for beam in self._beams if beam.row_V is not None])
        if constraints := [beam.constraint for beam in self._beams if beam.constraint is not None]:
            rows_RV = constrain(constraints, rows_RV)
        count, V = max(2, len(self.end_ids) + 1) * width, rows_RV.shape[1]
        best, index = rows_RV.flatten().topk(min(count, rows_RV.numel()))
        scale = self._scale()
        going: list[_Choice] = []
        failure: MinillmError | None = None
        for place, (total, i) in enumerate(zip(best.tolist(), index.tolist(), strict=True)):
            beam, token = self._beams[i // V], i % V
            if total == -torch.inf or (place >= width and len(going) == width):
                break
            constraint = beam.constraint
            if constraint is not None and token not in self.end_ids:
                constraint = constraint.fork()
                try:
                    constraint.accept(token)
                except MinillmError as error:  # with this token nothing can follow; others may go on
                    failure = error
                    continue
            ends = token in self.end_ids or (constraint is not None and constraint.finished)
            if not ends and self._length < self._max_tokens:
                going.append(_Choice(beam, token, total, constraint))
            elif place < width:
                entries = [*beam.entries, beam.entry(token, self.params.logprobs)]
                ended = BeamSearchSequence([*beam.sequence.token_ids, token], entries, total)
                ended.finish_reason = "stop" if ends else "length"
                self._ended.append((total / scale, ended))
        self._ended = sorted(self._ended, key=lambda pair: -pair[0])[:width]
        if failure is not None and not (going or self._ended):
            raise failure
        if len(self._ended) == width and going and going[0].total / scale <= self._ended[-1][0]:
            return []
        return going[:width]

    def _scale(self) -> float:
        """Return what a summed logprob of this length is divided by, within what a float can hold."""
        try:
            return max(math.pow(self._length, self.params.length_penalty), sys.float_info.min)
        except OverflowError:
            return sys.float_info.max

    def _fork(self, engine: Engine, going: Sequence[_Choice]) -> None:
        """Let beams go on: the first way of a beam takes its sequence, the others share its pages."""
        beams, first = [], dict[EngineSequence, int]()
        for way in going:
            sequence, token = way.beam.sequence, way.token
            if first.setdefault(sequence, token) != token:  # a beam's ways differ in their tokens
                sequence = EngineSequence(
                    [*sequence.token_ids, token],
                    self._max_tokens - self._length,
                    parent=sequence,
                    lora=sequence.lora,
                    priority=sequence.priority,
                )
                engine.add(sequence)
            entries = [*way.beam.entries, way.beam.entry(token, self.params.logprobs)]
            beams.append(_Beam(sequence, way.constraint, way.total, entries))
        for beam in self._beams:
            if beam.sequence in first:
                beam.sequence.token_ids.append(first[beam.sequence])
            else:
                engine.remove(beam.sequence)
        self._beams = beams


class Searches:
    """The searches that run over an engine, each known by its sequences."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._owners: dict[EngineSequence, BeamSearch] = {}

    def __bool__(self) -> bool:
        return bool(self._owners)

    def add(self, search: BeamSearch) -> None:
        """Queue the sequence that a search begins with; raise `MinillmError` as `Engine.add` does."""
        for sequence in search.sequences:
            self._engine.add(sequence)
            self._owners[sequence] = search

    def remove(self, search: BeamSearch) -> None:
        """Take out what still runs of a search."""
        for sequence in search.sequences:
            del self._owners[sequence]
        search.stop(self._engine)

    def advance(self, step: Step) -> tuple[list[int], dict[BeamSearch, Exception | None]]:
        """Let searches go on by the rows of a step.

        Returns the places of the rows that are no search's, and the searches that have ended with it, each
        with what made it fail, if something did.
        """
        rows: dict[BeamSearch, dict[EngineSequence, int]] = {}
        others: list[int] = []
        for i, sequence in enumerate(step.ready):
            if (search := self._owners.get(sequence)) is None:
                others.append(i)
            else:
                rows.setdefault(search, {})[sequence] = i
        ended: dict[BeamSearch, Exception | None] = {}
        for search, places in rows.items():
            row_RV = logprobs(step.part([*places.values()]).logits_RV, search.params.temperature or 1.0)
            before = search.sequences
            try:
                search.advance(self._engine, dict(zip(places, row_RV, strict=True)))
            except Exception as error:  # of its own grammar
                ended[search] = error
                self.remove(search)
                continue
            for sequence in before:
                del self._owners[sequence]
            self._owners |= dict.fromkeys(search.sequences, search)
            if not search.sequences:
                ended[search] = None
        return others, ended
