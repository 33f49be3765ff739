"""Logits -> logprobs: all of a row's, those of chosen tokens, and draws.

Where kernels cover float32, a logprob is (logit / temperature - maximum) - log of the sum of exponentials,
with the kernel's order of the sum, for whoever asks: a whole row, one token, the sampler, the trainer. Other
dtypes go by torch's own log_softmax.

Legend: R rows, C model width, V vocabulary, X columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from kernels import ops, reference

# Rows whose logits are held at a time.
ROWS = 128
# hidden_RC -> logits_RV
Logits = Callable[[torch.Tensor], torch.Tensor]


def logprobs(logits_RV: torch.Tensor, temperature: float | torch.Tensor = 1.0) -> torch.Tensor:
    """log softmax(logits / temperature), (R, V), in the logits' dtype; differentiable in the logits.

    `temperature` is above 0: one for all, or (R, 1), one a row.
    """
    heat = torch.as_tensor(temperature, dtype=logits_RV.dtype, device=logits_RV.device)
    if not _has_kernel(logits_RV):
        return torch.log_softmax(logits_RV / heat, dim=-1)
    heat_R = heat.expand(logits_RV.shape[0], 1).flatten().contiguous()
    return ops.log_softmax(logits_RV.contiguous(), heat_R)  # type: ignore[no-any-return]


class Rows:
    """Rows of logits over temperatures, ready to be asked for logprobs, (R, V) and (R,)."""

    def __init__(self, logits_RV: torch.Tensor, heat_R: torch.Tensor) -> None:
        self.logits_RV, self.heat_R = logits_RV.contiguous(), heat_R.contiguous()
        self._kernels = ops.backend(logits_RV.device, logits_RV.dtype) if _has_kernel(logits_RV) else None

    def at(self, column_RX: torch.Tensor) -> torch.Tensor:
        """Logprobs of some columns, (R, X)."""
        if self._kernels is None:
            return logprobs(self.logits_RV, self.heat_R.unsqueeze(1)).gather(1, column_RX)
        top_R, log_R = self._kernels.softmax(self.logits_RV, self.heat_R)
        scaled_RX = self.logits_RV.gather(1, column_RX) / self.heat_R.unsqueeze(1)
        return (scaled_RX - top_R.unsqueeze(1)) - log_R.unsqueeze(1)  # type: ignore[no-any-return]

    def ranks(self, token_R: torch.Tensor) -> torch.Tensor:
        """1 for the likeliest token of a row, (R,)."""
        if self._kernels is None:
            return reference.ranks(self.logits_RV, token_R)
        return self._kernels.ranks(self.logits_RV, token_R)  # type: ignore[no-any-return]

    def likeliest(self) -> torch.Tensor:
        """The first token with the largest logit of each row, (R,) int64; -1 where a logit is NaN."""
        if self._kernels is None:
            return reference.argmax(self.logits_RV)
        return self._kernels.argmax(self.logits_RV)  # type: ignore[no-any-return]

    def draw(self, uniforms: Sequence[float]) -> torch.Tensor:
        """One token per row by inverting the cumulative distribution, summed in float64; (R,) int64."""
        uniform_R = torch.tensor(uniforms, dtype=torch.float64, device=self.logits_RV.device)
        if self._kernels is None:
            return reference.draw(logprobs(self.logits_RV, self.heat_R.unsqueeze(1)), uniform_R)
        return self._kernels.draw(self.logits_RV, self.heat_R, uniform_R)  # type: ignore[no-any-return]


def chosen(
    hidden_RC: torch.Tensor, token_R: torch.Tensor, heat_R: torch.Tensor, logits: Logits
) -> torch.Tensor:
    """logprobs(logits(hidden), heat)[r, token_R[r]], (R,)."""
    parts = [
        Rows(logits(hidden), heat).at(token.unsqueeze(1)).squeeze(1)
        for hidden, token, heat in zip(
            hidden_RC.split(ROWS), token_R.split(ROWS), heat_R.split(ROWS), strict=True
        )
    ]
    return torch.cat(parts)


def _has_kernel(logits_RV: torch.Tensor) -> bool:
    # Logits are float32 wherever kernels made them, and float64 to check.
    known = ops.backend(logits_RV.device, logits_RV.dtype) is not None
    return known and logits_RV.dtype == torch.float32


def gradients(
    grad_R: torch.Tensor,
    hidden_RC: torch.Tensor,
    head_CV: torch.Tensor,
    token_R: torch.Tensor,
    heat_R: torch.Tensor,
    logits: Logits,
    multiplier: float,
    softcap: float | None,
    need_head: bool = True,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """(d hidden in its dtype, d head_CV if it is needed, d bias_V) of `chosen`, summed in `head_CV`'s dtype.

    `logits` are cap((hidden @ head + bias) * multiplier), cap(x) = softcap * tanh(x / softcap).
    """
    dhidden_RC, wide = torch.empty_like(hidden_RC), head_CV.dtype
    dhead_CV = torch.zeros_like(head_CV) if need_head else None
    dbias_V = head_CV.new_zeros(head_CV.shape[1])
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
        if dhead_CV is not None:
            dhead_CV.addmm_(hidden.to(wide).t(), dlogits)
    return dhidden_RC, dhead_CV, dbias_V
