"""Log-softmax of rows of logits over temperatures, in Triton.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.launch import expect, launch, variant
from kernels.gpu.variant import Variant

# Columns of logits that a program takes at a time.
BLOCK_V = 4096


@triton.jit
def _softmax(
    p_logits: tl.tensor,
    p_temperature: tl.tensor,
    p_softmax: tl.tensor,
    p_out: tl.tensor,
    R: tl.tensor,
    V: tl.tensor,
    BLOCK_V: tl.constexpr,
) -> None:
    """Program (row): maximum and log of the sum, BLOCK_V columns at a time, and all logprobs if asked for."""
    i_r = tl.program_id(0).to(tl.int64)
    p_row = p_logits + i_r * V
    b_temperature = tl.load(p_temperature + i_r)
    b_max = tl.full((BLOCK_V,), float("-inf"), tl.float32)
    for v0 in range(0, V, BLOCK_V):
        o_v = v0 + tl.arange(0, BLOCK_V)
        b_max = tl.maximum(b_max, tl.load(p_row + o_v, mask=o_v < V, other=float("-inf")) / b_temperature)
    b_top = tl.max(b_max, 0)
    b_sum = tl.zeros((BLOCK_V,), tl.float32)
    for v0 in range(0, V, BLOCK_V):
        o_v = v0 + tl.arange(0, BLOCK_V)
        b_x = tl.load(p_row + o_v, mask=o_v < V, other=float("-inf")) / b_temperature
        b_sum += tl.exp(b_x - b_top)
    b_log = tl.log(tl.sum(b_sum, 0))
    tl.store(p_softmax + i_r, b_top)
    tl.store(p_softmax + R + i_r, b_log)
    if p_out is not None:
        for v0 in range(0, V, BLOCK_V):
            o_v = v0 + tl.arange(0, BLOCK_V)
            b_x = tl.load(p_row + o_v, mask=o_v < V, other=0) / b_temperature
            tl.store(p_out + i_r * V + o_v, (b_x - b_top) - b_log, mask=o_v < V)


def softmax(logits_RV: Tensor, temperature_R: Tensor, out_RV: Tensor | None = None) -> Tensor:
    """Compute each row's maximum over temperature, and log of the sum of exponentials of differences; (2, R).

    Temperatures are above 0; `out_RV` takes all logprobs. Row-invariant. Raises ValueError unless float32.
    """
    expect("logits_RV", logits_RV, (None, None), torch.float32)
    R, V = logits_RV.shape
    expect("temperature_R", temperature_R, (R,), torch.float32, like=logits_RV)
    softmax_2R = logits_RV.new_empty(2, R)
    launch(_softmax, (R,), logits_RV, temperature_R, softmax_2R, out_RV, R, V, BLOCK_V=BLOCK_V, num_warps=8)
    return softmax_2R


def log_softmax(logits_RV: Tensor, temperature_R: Tensor) -> Tensor:
    """Compute log softmax(logits / temperature), (R, V): `softmax` taken off. Raises as it does."""
    out_RV = torch.empty_like(logits_RV)
    softmax(logits_RV, temperature_R, out_RV)
    return out_RV


def variants() -> Iterator[Variant]:
    """Yield the one way in which it is launched."""
    yield variant("log_softmax", _softmax, "fp32", {"V": "i32:16"}, {"BLOCK_V": BLOCK_V, "num_warps": 8})
