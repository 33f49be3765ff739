"""The one place that picks an implementation, from device and dtype alone.

float32 and bfloat16 on the CPU run our kernels, under the row-invariance contract. Everything else
(float64 to check structure; other devices until their kernels are written) runs the plain-torch oracle,
which promises no bits.

Legend: T packed tokens, R rows, K inner width, N outer width, C model width, F MLP width,
H query heads, K kv heads, D head dim, P pages, S page size.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from kernels import autograd, reference
from kernels.cpu.scalars import SCALARS
from kernels.matmul import unpack


class Paging(Protocol):
    """What attention asks of a batch: where each token stands, and which pages its sequence owns."""

    @property
    def position_T(self) -> torch.Tensor: ...

    @property
    def slot_T(self) -> torch.Tensor: ...

    @property
    def page_BP(self) -> torch.Tensor: ...

    @property
    def bounds(self) -> list[int]: ...

    @property
    def starts(self) -> list[int]: ...

    @property
    def tiles(self) -> tuple[torch.Tensor, int]:
        """Runs of tokens (N, 3): sequence, first token, number of tokens; and the largest number."""
        ...


def has_kernels(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether our kernels, and with them the row-invariance contract, cover this device and dtype."""
    return device.type == "cpu" and dtype in SCALARS


class _NoContext:
    """Takes what a forward would keep for its backward, and drops it."""

    def save_for_backward(self, *tensors: torch.Tensor) -> None:
        """Keep nothing."""


def run(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """`function.apply`, without its cost where no gradient is asked for: decode is many small calls."""
    if torch.is_grad_enabled():
        return function.apply(*arguments)
    return function.forward(_NoContext(), *arguments)


def matmul(x_RK: torch.Tensor, w_PKW: torch.Tensor, N: int) -> torch.Tensor:
    """x_RK @ w_KN, (R, N), for w in panels (`kernels.matmul.pack`)."""
    if has_kernels(x_RK.device, x_RK.dtype):
        return run(autograd.Matmul, x_RK.contiguous(), w_PKW, N)  # type: ignore[no-any-return]
    return reference.matmul(x_RK, unpack(w_PKW, N))


def add_rms_norm(
    x_TC: torch.Tensor,
    residual_TC: torch.Tensor,
    w_C: torch.Tensor,
    eps: float,
    norm_dtype: torch.dtype | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x + residual, RMSNorm(x + residual) * w), both (T, C).

    Kernels norm in float32; the oracle in `norm_dtype`, by default that of x.
    """
    if has_kernels(x_TC.device, x_TC.dtype):
        tensors = (tensor.contiguous() for tensor in (x_TC, residual_TC, w_C))
        return run(autograd.AddRmsNorm, *tensors, eps)  # type: ignore[no-any-return]
    return reference.add_rms_norm(x_TC, residual_TC, w_C, eps, norm_dtype)


def rope_store_attention(
    qkv_TX: torch.Tensor,
    heads: tuple[int, int, int],
    tables: tuple[torch.Tensor, torch.Tensor],
    k_PKDS: torch.Tensor,
    v_PKSD: torch.Tensor,
    batch: Paging,
    scale: float,
) -> torch.Tensor:
    """Rotate q and k, write k and v into the cache, attend over each sequence's pages; out (T, H, D).

    `heads` is (H, K, D), `tables` the cosines and sines (positions, D/2). A gradient flows only through
    tokens of this call, so under autograd every sequence must start at position 0.
    """
    if has_kernels(qkv_TX.device, qkv_TX.dtype):
        return run(  # type: ignore[no-any-return]
            autograd.RopeStoreAttention, qkv_TX.contiguous(), heads, tables, k_PKDS, v_PKSD, batch, scale
        )
    H, K, D = heads
    q_THD, k_TKD, v_TKD = qkv_TX.unflatten(1, (H + 2 * K, D)).split((H, K, K), dim=1)
    q_THD, k_TKD = (reference.rope(x, *tables, batch.position_T) for x in (q_THD, k_TKD))
    reference.store(k_TKD.detach(), v_TKD.detach(), batch.slot_T, k_PKDS, v_PKSD)
    if any(batch.starts):
        k_TKD, v_TKD = _gather(k_PKDS.transpose(2, 3), batch), _gather(v_PKSD, batch)
    return reference.attention(
        q_THD, k_TKD.to(q_THD.dtype), v_TKD.to(q_THD.dtype), batch.bounds, batch.starts, scale
    )


def _gather(x_PKSD: torch.Tensor, batch: Paging) -> torch.Tensor:
    """Each sequence's cached keys or values up to this batch's last token, one sequence after the other."""
    parts = []
    for b, page_P in enumerate(batch.page_BP):
        length = batch.starts[b] + batch.bounds[b + 1] - batch.bounds[b]
        pages = page_P[: -(-length // x_PKSD.shape[2])]
        parts.append(x_PKSD[pages].transpose(1, 2).flatten(0, 1)[:length])
    return torch.cat(parts)


def swiglu(x_TX: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up for (gate, up) side by side: (T, 2F) -> (T, F)."""
    if has_kernels(x_TX.device, x_TX.dtype):
        return run(autograd.Swiglu, x_TX.contiguous())  # type: ignore[no-any-return]
    return reference.swiglu(x_TX)
