"""The only functions that turn logits into logprobs: full vocabulary, after temperature, in float32.

Legend: R rows, C model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from kernels.matmul import pack, unpack
from minillm.batch import Batch
from minillm.errors import MinillmError
from minillm.model import Transformer

# Rows whose logits are held at a time when only chosen tokens' logprobs are wanted.
ROWS = 128


def logprobs(logits_RV: torch.Tensor, temperature: float | torch.Tensor = 1.0) -> torch.Tensor:
    """log softmax(logits / temperature), (R, V), in the logits' dtype (float32, or float64 to check).

    `temperature` is above 0: one for all, or (R, 1), one a row.
    """
    # As a tensor in both cases: dividing by a Python number may round otherwise.
    heat = torch.as_tensor(temperature, dtype=logits_RV.dtype, device=logits_RV.device)
    return torch.log_softmax(logits_RV / heat, dim=-1)


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
        ctx.save_for_backward(hidden_RC, head_PCW, token_R)
        ctx.model, ctx.temperature = model, temperature
        ctx.bias_dtype = None if bias_V is None else bias_V.dtype
        parts = [
            logprobs(model.logits(hidden), temperature).gather(1, token.unsqueeze(1)).squeeze(1)
            for hidden, token in zip(hidden_RC.split(ROWS), token_R.split(ROWS), strict=True)
        ]
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        hidden_RC, head_PCW, token_R = ctx.saved_tensors
        dhidden = torch.empty_like(hidden_RC)
        wide = torch.promote_types(head_PCW.dtype, torch.float32)
        head_CV = unpack(head_PCW.to(wide), ctx.model.config.vocab_size)
        dhead_CV, dbias_V = torch.zeros_like(head_CV), head_CV.new_zeros(head_CV.shape[1])
        cap, multiplier = ctx.model.config.final_softcap, ctx.model.config.logit_multiplier
        for start in range(0, hidden_RC.shape[0], ROWS):
            rows = slice(start, start + ROWS)
            hidden, grad = hidden_RC[rows], grads[0][rows].unsqueeze(1).to(wide)
            # d logprob[chosen] / d logits = onehot(chosen) - softmax.
            logits = ctx.model.logits(hidden)
            dlogits = logprobs(logits, ctx.temperature).exp_().mul_(-grad)
            dlogits.scatter_add_(1, token_R[rows].unsqueeze(1), grad)
            dlogits.div_(ctx.temperature)
            if cap is not None:
                dlogits.mul_(1 - (logits / cap).square())
            if multiplier != 1:
                dlogits.mul_(multiplier)
            dbias_V += dlogits.sum(0)
            dhidden[rows] = (dlogits @ head_CV.t()).to(hidden.dtype)
            dhead_CV.addmm_(hidden.to(wide).t(), dlogits)
        dbias = dbias_V.to(ctx.bias_dtype) if ctx.bias_dtype is not None else None
        return dhidden, pack(dhead_CV.to(head_PCW.dtype)), dbias, None, None, None


def chosen_logprobs(
    model: Transformer, hidden_RC: torch.Tensor, token_R: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """The logprob of token_R[r] after row r, (R,), differentiable; ROWS rows of logits at a time."""
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
