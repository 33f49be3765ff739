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
from minillm.engine.served_loras import ServedLoRA
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


# A beam, its next token, and the summed logprob with it.
Choice = tuple[_Beam, int, float]


@dataclass
class _Search:
    """One prompt's beams, most tokens, and what has ended: (score, sequence), the best first."""

    beams: list[_Beam]
    max_tokens: int
    length: int = 0
    ended: list[tuple[float, BeamSearchSequence]] = field(default_factory=list)


def search(
    engine: Engine,
    prompts: Sequence[list[int]],
    params: BeamSearchParams,
    end_ids: frozenset[int],
    max_model_len: int,
    lora: ServedLoRA | None = None,
) -> list[BeamSearchOutput]:
    """Find the best sequences of each prompt; all prompts are searched side by side."""
    searches: list[_Search] = []
    try:
        for token_ids in prompts:
            max_tokens = min(params.max_tokens, max_model_len - len(token_ids))
            sequence = EngineSequence(list(token_ids), max_tokens, lora=lora)
            engine.add(sequence)
            searches.append(_Search([_Beam(sequence)], max_tokens))
        while running := [beam for search in searches for beam in search.beams]:
            rows: dict[EngineSequence, torch.Tensor] = {}
            while len(rows) < len(running):
                step = engine.step()
                row_RV = logprobs(step.logits_RV, params.temperature or 1.0)
                rows.update(zip(step.ready, row_RV, strict=True))
            for beam in running:
                beam.row_V = rows[beam.sequence]
            for search in searches:
                if search.beams:
                    _fork(engine, search, _choose(search, params, end_ids))
    finally:
        engine.clear()
    return [BeamSearchOutput([sequence for _, sequence in search.ended]) for search in searches]


def _choose(search: _Search, params: BeamSearchParams, end_ids: frozenset[int]) -> list[Choice]:
    """Choose what goes on; note what ends."""
    width, search.length = params.beam_width, search.length + 1
    rows_RV = torch.stack([beam.row_V.add(beam.total) for beam in search.beams if beam.row_V is not None])
    count, V = max(2, len(end_ids) + 1) * width, rows_RV.shape[1]
    best, index = rows_RV.flatten().topk(min(count, rows_RV.numel()))
    scale = search.length**params.length_penalty
    going: list[Choice] = []
    for place, (total, i) in enumerate(zip(best.tolist(), index.tolist(), strict=True)):
        beam, token = search.beams[i // V], i % V
        if token not in end_ids and search.length < search.max_tokens:
            going.append((beam, token, total))
        elif place < width:
            entries = [*beam.entries, beam.entry(token)]
            ended = BeamSearchSequence([*beam.sequence.token_ids, token], entries, total)
            ended.finish_reason = "stop" if token in end_ids else "length"
            search.ended.append((total / scale, ended))
    search.ended = sorted(search.ended, key=lambda pair: -pair[0])[:width]
    if len(search.ended) == width and going and going[0][2] / scale <= search.ended[-1][0]:
        return []
    return going[:width]


def _fork(engine: Engine, search: _Search, going: list[Choice]) -> None:
    """Let beams go on: the first way of a beam takes its sequence, the others share its pages."""
    beams, first = [], dict[EngineSequence, int]()
    for beam, token, total in going:
        sequence = beam.sequence
        if first.setdefault(sequence, token) != token:  # a beam's ways differ in their tokens
            room = search.max_tokens - search.length
            sequence = EngineSequence([*sequence.token_ids, token], room, parent=sequence, lora=sequence.lora)
            engine.add(sequence)
        beams.append(_Beam(sequence, total, [*beam.entries, beam.entry(token)]))
    for beam in search.beams:
        if beam.sequence in first:
            beam.sequence.token_ids.append(first[beam.sequence])
        else:
            engine.remove(beam.sequence)
    search.beams = beams
