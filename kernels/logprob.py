"""Logprobs of chosen tokens, some rows of logits at a time, in plain torch.

Legend: R rows, C model width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

# Rows whose logits are held at a time.
ROWS = 128
# hidden_RC -> logits_RV
Logits = Callable[[torch.Tensor], torch.Tensor]


def logprobs(logits_RV: torch.Tensor, temperature: float | torch.Tensor = 1.0) -> torch.Tensor:
    """log softmax(logits / temperature), (R, V), in the logits' dtype (float32, or float64 to check).

    `temperature` is above 0: one for all, or (R, 1), one a row.
    """
    # As a tensor in both cases: dividing by a Python number may round otherwise.
    heat = torch.as_tensor(temperature, dtype=logits_RV.dtype, device=logits_RV.device)
    return torch.log_softmax(logits_RV / heat, dim=-1)


def chosen(
    hidden_RC: torch.Tensor, token_R: torch.Tensor, heat_R: torch.Tensor, logits: Logits
) -> torch.Tensor:
    """logprobs(logits(hidden), heat)[r, token_R[r]], (R,)."""
    parts = [
        logprobs(logits(hidden), heat.unsqueeze(1)).gather(1, token.unsqueeze(1)).squeeze(1)
        for hidden, token, heat in zip(
            hidden_RC.split(ROWS), token_R.split(ROWS), heat_R.split(ROWS), strict=True
        )
    ]
    return torch.cat(parts)


def gradients(
    grad_R: torch.Tensor,
    hidden_RC: torch.Tensor,
    head_CV: torch.Tensor,
    token_R: torch.Tensor,
    heat_R: torch.Tensor,
    logits: Logits,
    multiplier: float,
    softcap: float | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(d hidden in its dtype, d head_CV, d bias_V) of `chosen`, summed in the dtype of `head_CV`.

    `logits` are cap((hidden @ head + bias) * multiplier), cap(x) = softcap * tanh(x / softcap).
    """
    dhidden_RC, wide = torch.empty_like(hidden_RC), head_CV.dtype
    dhead_CV, dbias_V = torch.zeros_like(head_CV), head_CV.new_zeros(head_CV.shape[1])
    for start in range(0, hidden_RC.shape[0], ROWS):
        rows = slice(start, start + ROWS)
        hidden, grad = hidden_RC[rows], grad_R[rows].unsqueeze(1).to(wide)
        heat = heat_R[rows].unsqueeze(1)
        # d logprob[chosen] / d logits = onehot(chosen) - softmax.
        made = logits(hidden)
        dlogits = logprobs(made, heat).exp_().mul_(-grad)
        dlogits.scatter_add_(1, token_R[rows].unsqueeze(1), grad)
        dlogits.div_(heat)
        if softcap is not None:
            dlogits.mul_(1 - (made / softcap).square())
        if multiplier != 1:
            dlogits.mul_(multiplier)
        dbias_V += dlogits.sum(0)
        dhidden_RC[rows] = (dlogits @ head_CV.t()).to(hidden.dtype)
        dhead_CV.addmm_(hidden.to(wide).t(), dlogits)
    return dhidden_RC, dhead_CV, dbias_V
