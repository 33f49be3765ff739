"""Logits -> logprobs: all of a row's, those of chosen tokens, and draws.

Where kernels cover float32, a logprob is (logit / temperature - maximum) - log of the sum of exponentials, in
the kernel's order, for whoever asks: a whole row, one token, sampler, trainer. Else torch's log_softmax.

Legend: R rows, C model width, V vocabulary, X columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from kernels import backend, reference
from kernels.library import custom_op, fake_like

# Rows whose logits are held at a time.
ROWS = 128
# hidden_RC -> logits_RV
Logits = Callable[[Tensor], Tensor]


def logprobs(logits_RV: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Compute log softmax(logits / temperature), (R, V), in the logits' dtype; differentiable in the logits.

    `temperature` is above 0: one for all, or (R, 1), one a row.
    """
    temperature = torch.as_tensor(temperature, dtype=logits_RV.dtype, device=logits_RV.device)
    temperature_R = temperature.expand(logits_RV.shape[0], 1).flatten().contiguous()
    if backend.traced(kernels := _kernels(logits_RV)):
        return _log_softmax(logits_RV.contiguous(), temperature_R)
    return kernels.log_softmax(logits_RV.contiguous(), temperature_R)


def masked(logits_RV: Tensor, bit_RW: Tensor) -> Tensor:
    """Return the logits, -inf where a bit of uint8 is 0, the lowest of a byte first; (R, V), 8 W >= V."""
    return _kernels(logits_RV).masked(logits_RV.contiguous(), bit_RW.contiguous())


class Rows:
    """Rows of logits over temperatures, ready to be asked for logprobs, (R, V) and (R,)."""

    def __init__(self, logits_RV: Tensor, temperature_R: Tensor) -> None:
        self.logits_RV, self.temperature_R = logits_RV.contiguous(), temperature_R.contiguous()
        self._kernels = _kernels(logits_RV)

    def at(self, column_RX: Tensor) -> Tensor:
        """Compute the logprobs of some columns, (R, X)."""
        return self._kernels.log_softmax_at(self.logits_RV, self.temperature_R, column_RX)

    def ranks(self, token_R: Tensor) -> Tensor:
        """Count from 1, for the likeliest token of a row, (R,)."""
        return self._kernels.ranks(self.logits_RV, token_R)

    def likeliest(self) -> Tensor:
        """Find the first token with the largest logit of each row, (R,) int64; -1 where a logit is NaN."""
        return self._kernels.argmax(self.logits_RV)

    def draw(self, uniforms: Sequence[float]) -> Tensor:
        """Draw one token per row by inverting the cumulative distribution, summed in float64; (R,) int64."""
        uniform_R = torch.tensor(uniforms, dtype=torch.float64, device=self.logits_RV.device)
        return self._kernels.draw(self.logits_RV, self.temperature_R, uniform_R)


def chosen(hidden_RC: Tensor, token_R: Tensor, temperature_R: Tensor, logits: Logits) -> Tensor:
    """Compute logprobs(logits(hidden), temperature)[r, token_R[r]], (R,)."""
    rows = zip(*(x.split(ROWS) for x in (hidden_RC, token_R.unsqueeze(1), temperature_R)), strict=True)
    chosen_R1 = [Rows(logits(hidden), temperature).at(token) for hidden, token, temperature in rows]
    return torch.cat(chosen_R1).squeeze(1)


def _kernels(logits_RV: Tensor) -> backend.Backend:
    # Logits are float32 wherever kernels made them, and float64 to check.
    return backend.of(logits_RV) if logits_RV.dtype == torch.float32 else reference


def gradients(
    grad_R: Tensor,
    hidden_RC: Tensor,
    head_CV: Tensor,
    token_R: Tensor,
    temperature_R: Tensor,
    logits: Logits,
    multiplier: float,
    softcap: float | None,
    need_head: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Compute the gradients of `chosen`: (d hidden in its dtype, d head_CV if it is needed, d bias_V).

    They are summed in `head_CV`'s dtype. `logits` are cap((hidden @ head + bias) * multiplier) with
    cap(x) = softcap * tanh(x / softcap).
    """
    dhidden_RC, wide = torch.empty_like(hidden_RC), head_CV.dtype
    dhead_CV = torch.zeros_like(head_CV) if need_head else None
    dbias_V = head_CV.new_zeros(head_CV.shape[1])
    for start in range(0, hidden_RC.shape[0], ROWS):
        rows = slice(start, start + ROWS)
        hidden, grad = hidden_RC[rows], grad_R[rows].unsqueeze(1).to(wide)
        temperature = temperature_R[rows].unsqueeze(1)
        # d logprob[chosen] / d logits = onehot(chosen) - softmax.
        made = logits(hidden)
        dlogits = logprobs(made, temperature).exp_().mul_(-grad)
        dlogits.scatter_add_(1, token_R[rows].unsqueeze(1), grad)
        dlogits.div_(temperature)
        if softcap is not None:
            dlogits.mul_(1 - (made / softcap).square())
        if multiplier != 1:
            dlogits.mul_(multiplier)
        dbias_V += dlogits.sum(0)
        dhidden_RC[rows] = (dlogits @ head_CV.t()).to(hidden.dtype)
        if dhead_CV is not None:
            dhead_CV.addmm_(hidden.to(wide).t(), dlogits)
    return dhidden_RC, dhead_CV, dbias_V


@custom_op("log_softmax")
def _log_softmax(logits_RV: Tensor, temperature_R: Tensor) -> Tensor:
    return backend.of(logits_RV).log_softmax(logits_RV, temperature_R)


_log_softmax.register_fake(fake_like(0))


def _log_softmax_gradient(ctx: Any, grad_RV: Tensor) -> tuple[Tensor, None]:
    out_RV, temperature_R = ctx.saved_tensors
    return (grad_RV - out_RV.exp() * grad_RV.sum(1, keepdim=True)) / temperature_R.unsqueeze(1), None


_log_softmax.register_autograd(
    _log_softmax_gradient, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(output, inputs[1])
)
