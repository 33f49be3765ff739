"""The only functions that turn logits into logprobs: full vocabulary, after temperature, in float32.

Legend: R rows, C model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from kernels.ops import logprobs as logprob_ops
from kernels.ops.logprobs import Rows as Rows
from kernels.ops.logprobs import logprobs as logprobs
from kernels.panels import pack, unpack
from minillm.errors import MinillmError
from minillm.model.batch import Batch
from minillm.model.transformer import Transformer


class _ChosenLogprobs(torch.autograd.Function):
    """logprobs(hidden @ head)[r, token_R[r]], keeping no (R, V) matrix for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_RC: torch.Tensor,
        head_PCW: torch.Tensor,
        bias_V: torch.Tensor | None,
        model: Transformer,
        token_R: torch.Tensor,
        temperature: float,
    ) -> torch.Tensor:
        temperature_R = torch.full(
            token_R.shape, temperature, dtype=model.precision.logits, device=token_R.device
        )
        ctx.save_for_backward(hidden_RC, head_PCW, token_R, temperature_R)
        ctx.model, ctx.bias_dtype = model, None if bias_V is None else bias_V.dtype
        return logprob_ops.chosen(hidden_RC, token_R, temperature_R, model.logits)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        hidden_RC, head_PCW, token_R, temperature_R = ctx.saved_tensors
        config = ctx.model.config
        wide = torch.promote_types(head_PCW.dtype, torch.float32)
        head_CV = unpack(head_PCW.to(wide), config.vocab_size)
        rows = grads[0], hidden_RC, head_CV, token_R, temperature_R
        knobs = ctx.model.logits, config.logit_multiplier, config.final_softcap
        dhidden_RC, dhead_CV, dbias_V = logprob_ops.gradients(*rows, *knobs, ctx.needs_input_grad[1])
        dbias = dbias_V.to(ctx.bias_dtype) if ctx.bias_dtype is not None else None
        dhead_PCW = None if dhead_CV is None else pack(dhead_CV.to(head_PCW.dtype))
        return dhidden_RC, dhead_PCW, dbias, None, None, None


def chosen_logprobs(
    model: Transformer, hidden_RC: torch.Tensor, token_R: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Compute the logprob of token_R[r] after row r, (R,), differentiable, keeping no (R, V) matrix."""
    bias = model.head_bias if model.config.head_bias else None
    result: torch.Tensor = _ChosenLogprobs.apply(hidden_RC, model.head, bias, model, token_R, temperature)
    return result


def token_logprobs(
    model: Transformer, sequences: Sequence[Sequence[int]], temperature: float = 1.0
) -> list[torch.Tensor]:
    """Compute for each list of n token ids a differentiable tensor of its n - 1 logprobs.

    Entry i is the logprob of token i + 1 given tokens 0 to i, at `temperature`: the sampler's forward, so
    the sampler's bits. Raises `MinillmError` for an empty list, a sequence longer than the model's
    context, ids outside the vocabulary, and a temperature that is not above 0.
    """
    if not sequences:
        return []
    if not temperature > 0:
        raise MinillmError(f"temperature must be above 0 for logprobs, got {temperature}")
    for sequence in sequences:
        model.check_tokens(sequence)
    device = model.head.device
    tokens_T = torch.tensor([t for s in sequences for t in s], device=device)
    batch = Batch.packed([len(s) for s in sequences], device)
    hidden_TC = model(tokens_T, batch)
    # Of each sequence all rows but the last; made here, since a GPU would have to be waited for.
    rows = [row for start, end in pairwise(batch.bounds) for row in range(start, end - 1)]
    row_R = torch.tensor(rows, dtype=torch.int64, device=device)
    chosen_R = chosen_logprobs(model, hidden_TC[row_R], tokens_T[row_R + 1], temperature)
    return list(chosen_R.split([len(s) - 1 for s in sequences]))


def next_logprobs(
    model: Transformer, prefixes: Sequence[Sequence[int]], temperature: float = 1.0
) -> torch.Tensor:
    """Compute the policy after each prefix: differentiable logprobs of the whole vocabulary, (R, V).

    Prefixes that begin others' are read off the others' forward: the states of one solution, cut off at
    several places, cost what the longest costs. A row does not depend on what it is computed with.

    In the dtype of the precision's logits, float32 but for fp64. Raises `MinillmError` for no prefixes, an
    empty one or one that the model cannot read, and a temperature that is not above 0.
    """
    if not prefixes or not temperature > 0:
        raise MinillmError(f"{len(prefixes)} prefixes at temperature {temperature}: neither may be 0")
    for prefix in prefixes:
        model.check_tokens(prefix)
    sequences, place_R = nested(prefixes)
    device = model.head.device
    tokens_T = torch.tensor([t for s in sequences for t in s], device=device)
    hidden_TC = model(tokens_T, Batch.packed([len(s) for s in sequences], device))
    return logprobs(model.logits(hidden_TC[torch.tensor(place_R, device=device)]), temperature)


def nested(prefixes: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[int]]:
    """Find sequences of which each prefix begins one, and where each ends in them, packed one by one.

    In sorted order a prefix stands right before what it begins, or before another such prefix.
    """
    order = sorted(range(len(prefixes)), key=lambda i: list(prefixes[i]), reverse=True)
    sequences: list[list[int]] = []
    places, start = [0] * len(prefixes), 0
    for i in order:
        prefix = list(prefixes[i])
        if not sequences or sequences[-1][: len(prefix)] != prefix:
            start += len(sequences[-1]) if sequences else 0
            sequences.append(prefix)
        places[i] = start + len(prefix) - 1
    return sequences, places
