"""Beam search over the engine; a beam that goes on in several ways is forked, and its pages are shared.

Ends and scores are transformers': of each step's best (number of ends + 1) * width continuations, those among
the first `width` that end a sequence are kept with their summed logprob over length ** length_penalty, the
length counting sampled tokens; the best `width` of the others go on. It ends at `max_tokens`, or when the
best that goes on is no better, at its length, than the worst of `width` that have ended.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from minillm.api.outputs import BeamSearchOutput, BeamSearchSequence, Logprob, Logprobs
from minillm.api.sampling_params import BeamSearchParams
from minillm.engine.engine import Engine
from minillm.engine.sequence import EngineSequence
from minillm.model.logprobs import logprobs


@dataclass(eq=False)
class _Beam:
    """A sequence, its continuation's summed logprob and entries, and the logprobs of what may come next."""

    sequence: EngineSequence
    total: float = 0.0
    entries: Logprobs = field(default_factory=list)
    row_V: torch.Tensor | None = None

    def entry(self, token: int) -> dict[int, Logprob]:
        assert self.row_V is not None
        value = self.row_V[token]
        return {token: Logprob(value.item(), int((self.row_V > value).sum()) + 1)}


@dataclass
class _Search:
    """One prompt's beams, most tokens, and what has ended: (score, sequence), the best first."""

    beams: list[_Beam]
    most: int
    length: int = 0
    ended: list[tuple[float, BeamSearchSequence]] = field(default_factory=list)


def search(
    engine: Engine,
    prompts: Sequence[list[int]],
    params: BeamSearchParams,
    end_ids: frozenset[int],
    max_model_len: int,
) -> list[BeamSearchOutput]:
    """The best sequences of each prompt; all prompts are searched side by side."""
    searches: list[_Search] = []
    live: set[EngineSequence] = set()
    try:
        for token_ids in prompts:
            most = min(params.max_tokens, max_model_len - len(token_ids))
            sequence = EngineSequence(list(token_ids), most)
            engine.add(sequence)
            live.add(sequence)
            searches.append(_Search([_Beam(sequence)], most))
        while running := [beam for one in searches for beam in one.beams]:
            rows: dict[EngineSequence, torch.Tensor] = {}
            while len(rows) < len(running):
                step = engine.step()
                made = logprobs(step.logits_RV, params.temperature or 1.0)
                rows.update(zip(step.ready, made, strict=True))
            for beam in running:
                beam.row_V = rows[beam.sequence]
            for one in searches:
                if one.beams:
                    going = _choose(one, params, end_ids)
                    one.beams = _fork(engine, one, going, live)
    finally:
        for sequence in live:
            engine.remove(sequence)
    return [BeamSearchOutput([sequence for _, sequence in one.ended]) for one in searches]


def _choose(
    one: _Search, params: BeamSearchParams, end_ids: frozenset[int]
) -> list[tuple[_Beam, int, float]]:
    """(beam, next token, summed logprob) of what goes on; what ends is noted."""
    width, one.length = params.beam_width, one.length + 1
    rows_RV = torch.stack([beam.row_V.add(beam.total) for beam in one.beams if beam.row_V is not None])
    count, V = max(2, len(end_ids) + 1) * width, rows_RV.shape[1]
    best, index = rows_RV.flatten().topk(min(count, rows_RV.numel()))
    scale = one.length**params.length_penalty
    going: list[tuple[_Beam, int, float]] = []
    for place, (total, i) in enumerate(zip(best.tolist(), index.tolist(), strict=True)):
        beam, token = one.beams[i // V], i % V
        if token not in end_ids and one.length < one.most:
            going.append((beam, token, total))
        elif place < width:
            entries = [*beam.entries, beam.entry(token)]
            ended = BeamSearchSequence([*beam.sequence.token_ids, token], entries, total)
            ended.finish_reason = "stop" if token in end_ids else "length"
            one.ended.append((total / scale, ended))
    one.ended = sorted(one.ended, key=lambda pair: -pair[0])[:width]
    if len(one.ended) == width and going and going[0][2] / scale <= one.ended[-1][0]:
        return []
    return going[:width]


def _fork(
    engine: Engine, one: _Search, going: list[tuple[_Beam, int, float]], live: set[EngineSequence]
) -> list[_Beam]:
    """The beams that go on: the first way of a beam takes its sequence, the others share its pages."""
    made, first = [], dict[EngineSequence, int]()
    for beam, token, total in going:
        sequence = beam.sequence
        if sequence in first:
            sequence = EngineSequence([*sequence.token_ids, token], one.most - one.length, parent=sequence)
            engine.add(sequence)
            live.add(sequence)
        else:
            first[sequence] = token
        made.append(_Beam(sequence, total, [*beam.entries, beam.entry(token)]))
    for beam in one.beams:
        if beam.sequence in first:
            beam.sequence.token_ids.append(first[beam.sequence])
        else:
            engine.remove(beam.sequence)
            live.discard(beam.sequence)
    return made
