"""The only functions that turn logits into logprobs: full vocabulary, after temperature, in float32.

Legend: R rows, C model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kernels import logprob
from kernels.logprob import Rows as Rows
from kernels.logprob import logprobs as logprobs
from kernels.matmul import pack, unpack
from minillm.batch import Batch
from minillm.errors import MinillmError
from minillm.model import Transformer


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
        heat_R = torch.full(token_R.shape, temperature, dtype=model.precision.logits, device=token_R.device)
        ctx.save_for_backward(hidden_RC, head_PCW, token_R, heat_R)
        ctx.model, ctx.bias_dtype = model, None if bias_V is None else bias_V.dtype
        return logprob.chosen(hidden_RC, token_R, heat_R, model.logits)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        hidden_RC, head_PCW, token_R, heat_R = ctx.saved_tensors
        config = ctx.model.config
        wide = torch.promote_types(head_PCW.dtype, torch.float32)
        head_CV = unpack(head_PCW.to(wide), config.vocab_size)
        knobs = (config.logit_multiplier, config.final_softcap)
        dhidden_RC, dhead_CV, dbias_V = logprob.gradients(
            grads[0], hidden_RC, head_CV, token_R, heat_R, ctx.model.logits, *knobs, ctx.needs_input_grad[1]
        )
        dbias = dbias_V.to(ctx.bias_dtype) if ctx.bias_dtype is not None else None
        dhead_PCW = None if dhead_CV is None else pack(dhead_CV.to(head_PCW.dtype))
        return dhidden_RC, dhead_PCW, dbias, None, None, None


def chosen_logprobs(
    model: Transformer, hidden_RC: torch.Tensor, token_R: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """The logprob of token_R[r] after row r, (R,), differentiable; no (R, V) matrix is kept."""
    bias = model.head_bias if model.config.head_bias else None
    result: torch.Tensor = _ChosenLogprobs.apply(hidden_RC, model.head, bias, model, token_R, temperature)
    return result


def token_logprobs(
    model: Transformer, sequences: Sequence[Sequence[int]], temperature: float = 1.0
) -> list[torch.Tensor]:
    """For each list of n token ids, a differentiable tensor of its n - 1 logprobs.

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
    ends = torch.tensor(batch.bounds[1:], device=device) - 1
    inner = torch.ones(len(tokens_T), dtype=torch.bool, device=device).index_fill_(0, ends, False)
    row_R = inner.nonzero().squeeze(1)
    chosen_R = chosen_logprobs(model, hidden_TC[row_R], tokens_T[row_R + 1], temperature)
    return list(chosen_R.split([len(s) - 1 for s in sequences]))
