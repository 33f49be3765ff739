"""Decode steps without Python: recorded once for each number of sequences, then run again.

Legend: T tokens, one a sequence; C model width; P pages of the longest sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from kernels.backend import Recorder, recorder
from minillm.model.batch import Batch
from minillm.model.kv_cache import KVCache
from minillm.model.transformer import Transformer

# Pages of the smallest table.
PAGES = 8


class DecodeGraphs:
    """The decode steps of one model over one KV cache.

    The first step of T sequences is recorded (`kernels.cpu.recording`) with inputs of its own; later ones
    write theirs there and run the recording: the same kernels, so the same bits. On a GPU it is a CUDA graph.
    Where torch computes a part of a step on the CPU (float64, a `Precision` that converts on the way), or
    the host is waited for on a GPU (integer-quantised experts), every step runs as written.
    """

    def __init__(self, model: Transformer, cache: KVCache) -> None:
        self._model, self._blocks = model, partial(model.blocks, cache.layers)
        self._recorder = recorder(model.head.device)
        self._steps: dict[tuple[int, int], _RecordedStep] = {}
        self._places: list[int] = []

    def run(self, tokens_T: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the model's forward of one token a sequence over the cache, hidden_TC."""
        model = self._model
        x_TC = model.embed_tokens(tokens_T, batch.position_T)
        model.round_weights()
        places = [w.data_ptr() for w in model.weights()]
        if places != self._places:  # a recording holds addresses; what is written there is seen
            self._steps.clear()
            self._places = places
        # Tables grow by doubling, so that a longer one rarely needs a recording of its own.
        key = batch.page_BP.shape[0], max(PAGES, 1 << (batch.page_BP.shape[1] - 1).bit_length())
        if (step := self._steps.get(key)) is None:
            step = self._steps[key] = _RecordedStep(self._blocks, x_TC, batch, key, self._recorder)
            return step.hidden_TC.clone()
        if step.recording is None:
            return self._blocks(x_TC, torch.zeros_like(x_TC), batch)
        step.write(x_TC, batch)
        step.recording.run()
        return step.hidden_TC.clone()


class _RecordedStep:
    """A recording and its inputs and output."""

    def __init__(
        self,
        blocks: Callable[..., torch.Tensor],
        x_TC: torch.Tensor,
        batch: Batch,
        shape: tuple[int, int],
        recorder: Recorder,
    ) -> None:
        # Tensors made in inference mode could not be written outside of it.
        with torch.inference_mode(False), torch.no_grad():
            self.x_TC, self.residual_TC = torch.empty_like(x_TC), torch.zeros_like(x_TC)
            self.batch = replace(
                batch,
                position_T=torch.empty_like(batch.position_T),
                slot_T=torch.empty_like(batch.slot_T),
                page_BP=batch.page_BP.new_zeros(shape),
            )
            self.write(x_TC, batch)
            self.hidden_TC, self.recording = recorder(lambda: blocks(self.x_TC, self.residual_TC, self.batch))

    def write(self, x_TC: torch.Tensor, batch: Batch) -> None:
        """Put another step's inputs where the kernels read them."""
        self.x_TC.copy_(x_TC)
        self.batch.position_T.copy_(batch.position_T)
        self.batch.slot_T.copy_(batch.slot_T)
        self.batch.page_BP[:, : batch.page_BP.shape[1]] = batch.page_BP
