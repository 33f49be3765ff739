"""The one place that picks an implementation, from device and dtype alone.

float32 and bfloat16 on the CPU run our compiled kernels, those and float16 on a GPU the Triton ones, under
the row-invariance contract. Everything else (float64 to check structure, float16 on the CPU) runs the
plain-torch oracle, which promises no bits.

Legend: T packed tokens, R rows, K inner width, N outer width, C model width, F MLP width,
H query heads, K kv heads, D head dim, P pages, S page size.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from kernels import autograd, reference
from kernels.checks import GPU_DTYPES
from kernels.cpu import ops as cpu_ops
from kernels.cpu.scalars import SCALARS
from kernels.knobs import Activation, Norm, Scores
from kernels.matmul import unpack
from kernels.quantized import dequantize


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


def backend(device: torch.device, dtype: torch.dtype) -> Any:
    """The module whose kernels cover this device and dtype (`kernels.cpu.ops`, `kernels.gpu.ops`), or None.

    With one comes the row-invariance contract.
    """
    if device.type == "cpu":
        return cpu_ops if dtype in SCALARS else None
    if device.type == "cuda" and dtype in GPU_DTYPES:
        from kernels.gpu import ops  # Triton is not everywhere

        return ops
    return None


class _NoContext:
    """Takes what a forward would keep for its backward, and drops it."""

    def save_for_backward(self, *tensors: torch.Tensor) -> None:
        """Keep nothing."""


def run(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """`function.apply`, without its cost where no gradient is asked for: decode is many small calls."""
    if torch.is_grad_enabled():
        return function.apply(*arguments)
    return function.forward(_NoContext(), *arguments)


def matmul(
    x_RK: torch.Tensor,
    w_PKW: torch.Tensor,
    N: int,
    scales_PGW: torch.Tensor | None = None,
    bias_N: torch.Tensor | None = None,
) -> torch.Tensor:
    """x_RK @ w_KN (+ bias), (R, N), for w in panels (`kernels.matmul`), or codes and scales
    (`kernels.quantized`).

    Weights of whole numbers get no gradient, and pass none on.
    """
    if (ops := backend(x_RK.device, x_RK.dtype)) is None:
        w_KN = unpack(w_PKW, N) if scales_PGW is None else dequantize(w_PKW, scales_PGW, N).to(x_RK.dtype)
        return reference.matmul(x_RK, w_KN, bias_N)
    if scales_PGW is not None:
        return ops.matmul(x_RK.contiguous(), w_PKW, N, scales_PGW, bias_N)  # type: ignore[no-any-return]
    return run(autograd.Matmul, ops, x_RK.contiguous(), w_PKW, bias_N, N)  # type: ignore[no-any-return]


def add_norm(
    x_TC: torch.Tensor,
    residual_TC: torch.Tensor | None,
    w_C: torch.Tensor | None,
    b_C: torch.Tensor | None,
    norm: Norm,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x + residual, its norm), both (T, C); kernels norm in float32, the oracle in `norm.dtype`."""
    if (ops := backend(x_TC.device, x_TC.dtype)) is None:
        return reference.add_norm(x_TC, residual_TC, w_C, b_C, norm)
    given = [tensor if tensor is None else tensor.contiguous() for tensor in (x_TC, residual_TC, w_C, b_C)]
    return run(autograd.ByOracle, ops.add_norm, reference.add_norm, norm, *given)  # type: ignore[no-any-return]


def norm_qk(
    qkv_TX: torch.Tensor,
    weights: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None],
    widths: tuple[int, int],
    sizes: tuple[int, int],
    norm: Norm,
) -> torch.Tensor:
    """Queries and keys normed in pieces, the values beside them as they are; (T, X).

    `weights` are the queries' weight and bias and the keys', as long as a piece or as all of them; `widths`
    are those of all queries and of all keys, `sizes` those of a piece: a head, or all.
    """
    knobs = (widths, sizes, norm)
    if (ops := backend(qkv_TX.device, qkv_TX.dtype)) is None:
        return reference.norm_qk(qkv_TX, *weights, knobs)
    return run(  # type: ignore[no-any-return]
        autograd.ByOracle, ops.norm_qk, reference.norm_qk, knobs, qkv_TX.contiguous(), *weights
    )


def rope_store_attention(
    qkv_TX: torch.Tensor,
    heads: tuple[int, int, int],
    tables: tuple[torch.Tensor, torch.Tensor],
    k_PKDS: torch.Tensor,
    v_PKSD: torch.Tensor,
    batch: Paging,
    scores: Scores,
    sinks_H: torch.Tensor | None = None,
    growth_M1: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rotate q and k, write k and v into the cache, attend over each sequence's pages; out (T, H, Dv).

    `heads` is (H, K, D); values may have a head dim of their own, that of the cache. `tables` holds cosines
    and sines (positions, R <= D/2), `growth_M1` what each position's queries are multiplied by. A gradient
    flows only through tokens of this call, so under autograd every sequence must start at position 0.
    """
    (H, K, D), Dv = heads, v_PKSD.shape[3]
    if (ops := backend(qkv_TX.device, qkv_TX.dtype)) is not None:
        return run(  # type: ignore[no-any-return]
            autograd.RopeStoreAttention,
            ops,
            qkv_TX.contiguous(),
            sinks_H,
            heads,
            tables,
            growth_M1,
            k_PKDS,
            v_PKSD,
            batch,
            scores,
        )
    q_THD, k_TKD, v_TKD = (
        x.unflatten(1, (-1, width))
        for x, width in zip(qkv_TX.split((H * D, K * D, K * Dv), dim=1), (D, D, Dv), strict=True)
    )
    q_THD, k_TKD = (reference.rope(x, *tables, batch.position_T, scores.rope_dtype) for x in (q_THD, k_TKD))
    if growth_M1 is not None:
        q_THD = q_THD * growth_M1[batch.position_T].unsqueeze(1).to(q_THD.dtype)
    reference.store(k_TKD.detach(), v_TKD.detach(), batch.slot_T, k_PKDS, v_PKSD)
    if any(batch.starts):
        k_TKD, v_TKD = _gather(k_PKDS.transpose(2, 3), batch), _gather(v_PKSD, batch)
    k_TKD, v_TKD = k_TKD.to(q_THD.dtype), v_TKD.to(q_THD.dtype)
    return reference.attention(q_THD, k_TKD, v_TKD, batch.bounds, batch.starts, scores, sinks_H)


def _gather(x_PKSD: torch.Tensor, batch: Paging) -> torch.Tensor:
    """Each sequence's cached keys or values up to this batch's last token, one sequence after the other."""
    parts = []
    for b, page_P in enumerate(batch.page_BP):
        length = batch.starts[b] + batch.bounds[b + 1] - batch.bounds[b]
        pages = page_P[: -(-length // x_PKSD.shape[2])]
        parts.append(x_PKSD[pages].transpose(1, 2).flatten(0, 1)[:length])
    return torch.cat(parts)


def activate(x_TX: torch.Tensor, activation: Activation) -> torch.Tensor:
    """act(gate) * up for (gate, up) side by side, (T, 2F) -> (T, F); act(x) where it is not gated."""
    if (ops := backend(x_TX.device, x_TX.dtype)) is None:
        return reference.activate(x_TX, activation)
    return run(  # type: ignore[no-any-return]
        autograd.ByOracle, ops.activate, reference.activate, activation, x_TX.contiguous()
    )
