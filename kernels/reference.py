"""The plain-torch oracle of every kernel: any device, any dtype up to float64, differentiable.

Legend: T packed tokens, R rows, K inner width, N outer width, C model width, F MLP width, B sequences,
H query heads, K kv heads, D head dim, P pages, S page size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def matmul(x_RK: torch.Tensor, w_KN: torch.Tensor) -> torch.Tensor:
    """x @ w in the inputs' dtype."""
    return x_RK @ w_KN


def add_rms_norm(
    x_TC: torch.Tensor,
    residual_TC: torch.Tensor | None,
    w_C: torch.Tensor,
    eps: float,
    norm_dtype: torch.dtype | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x + residual, RMSNorm(x + residual) * w), Zhang and Sennrich (2019).

    The norm runs in `norm_dtype`, by default that of x, and is rounded to x's before it meets w.
    """
    sum_TC = x_TC if residual_TC is None else x_TC + residual_TC
    C = sum_TC.shape[-1]
    if norm_dtype is None:
        return sum_TC, F.rms_norm(sum_TC, (C,), w_C, eps)
    return sum_TC, w_C * F.rms_norm(sum_TC.to(norm_dtype), (C,), eps=eps).to(sum_TC.dtype)


def rope(
    x_THD: torch.Tensor, cos_MD: torch.Tensor, sin_MD: torch.Tensor, position_T: torch.Tensor
) -> torch.Tensor:
    """Half-split rotary embedding (Su et al., 2021): pairs (d, d + D/2) turned by position * frequency.

    The tables hold D/2 columns; the rotation runs in the tables' dtype and is rounded to x's at the end.
    """
    cos, sin = cos_MD[position_T].unsqueeze(1), sin_MD[position_T].unsqueeze(1)
    a, b = x_THD.to(cos.dtype).chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x_THD.dtype)


def store(
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    slot_T: torch.Tensor,
    k_PKDS: torch.Tensor,
    v_PKSD: torch.Tensor,
) -> None:
    """Write each token's key and value into its slot (page * S + offset) of the paged cache."""
    S = k_PKDS.shape[3]
    page_T, offset_T = slot_T // S, slot_T % S
    k_PKDS[page_T, :, :, offset_T] = k_TKD.to(k_PKDS.dtype)
    v_PKSD[page_T, :, offset_T] = v_TKD.to(v_PKSD.dtype)


def attention(
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    bounds_B1: list[int],
    positions_B: list[int],
    scale: float,
) -> torch.Tensor:
    """Causal grouped-query attention, one sequence after the other; q and keys may differ in number.

    Sequence b has the queries bounds[b] to bounds[b + 1], the first of them at position positions[b], and
    the keys 0 to its last position, which stand one sequence after the other in k and v.
    """
    group = q_THD.shape[1] // k_TKD.shape[1]
    outs, start = [], 0
    for b, first in enumerate(positions_B):
        q = q_THD[bounds_B1[b] : bounds_B1[b + 1]].transpose(0, 1)
        keys = first + q.shape[1]
        k = k_TKD[start : start + keys].transpose(0, 1).repeat_interleave(group, 0)
        v = v_TKD[start : start + keys].transpose(0, 1).repeat_interleave(group, 0)
        start += keys
        s = q @ k.transpose(1, 2) * scale
        hidden = torch.ones(s.shape[1:], dtype=torch.bool, device=s.device).triu(first + 1)
        p = torch.softmax(s.masked_fill(hidden, -torch.inf), dim=-1)
        outs.append((p @ v).transpose(0, 1))
    return torch.cat(outs)


def swiglu(x_TX: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up for x = (gate, up) side by side (Shazeer, 2020): (T, 2F) -> (T, F)."""
    gate, up = x_TX.chunk(2, dim=-1)
    return F.silu(gate) * up
