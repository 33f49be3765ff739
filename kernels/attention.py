"""Causal attention over packed sequences, for users: differentiable, and whole under torch.compile.

Legend: T packed tokens, B sequences, H query heads, K kv heads, D head dim of queries and keys,
E head dim of values.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels import blockwise
from kernels.checks import GPU_DTYPES, check_heads, check_knobs, check_tensor
from kernels.cpu import attention as cpu_attention
from kernels.cpu.scalars import SCALARS
from kernels.knobs import Scores
from kernels.tiling import TILE_TOKENS, positions, work_list


def attention(
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKE: torch.Tensor,
    bounds_B1: torch.Tensor,
    *,
    scale: float | None = None,
    window: int = 0,
    softcap: float | None = None,
    sinks_H: torch.Tensor | None = None,
    slopes_H: torch.Tensor | None = None,
    input_precision: str = "ieee",
) -> torch.Tensor:
    """Causal grouped-query attention of packed sequences over themselves: out_THE, in q's dtype.

    Args:
        q_THD, k_TKD, v_TKE: of one dtype: float32, bfloat16 or float16, on the CPU float64 too. K divides
            H; on a GPU D and E are at most 256.
        bounds_B1: int64, on q's device: sequence b has the tokens bounds[b] to bounds[b + 1]; it may have
            none.
        scale: of the products, positive; by default D ** -0.5.
        window: a query sees the last `window` keys, its own among them (Beltagy et al., 2020); 0 for all,
            and -n for those of its own chunk of n positions (Llama 4, 2025).
        softcap: scores are softcap * tanh(score / softcap) (Gemma 2).
        sinks_H: in q's dtype, one logit per query head that joins the softmax and has no value
            (Xiao et al., 2023; gpt-oss); learned, if it requires a gradient.
        slopes_H: float32, a number a head by which a score falls for each position that its key lies further
            back (ALiBi; Press et al., 2022); not learned.
        input_precision: of float32's products on a GPU: "ieee", "tf32x3" (three products of tf32) or "tf32".

    Softmax and sums are in float32 at least. A row's bits depend on its own sequence alone, not on the
    packing. Gradients are deterministic. Raises ValueError for arguments that do not fit.
    """
    scale = q_THD.shape[-1] ** -0.5 if scale is None else scale
    check_knobs(scale, window, softcap, input_precision)
    q_THD, k_TKD, v_TKE = (x.contiguous() for x in (q_THD, k_TKD, v_TKE))
    dtypes = (*GPU_DTYPES, torch.float64) if q_THD.device.type == "cpu" else GPU_DTYPES
    check_tensor("q", q_THD, (None, None, None), dtypes, q_THD.device)
    T, H, D = q_THD.shape
    check_tensor("k", k_TKD, (T, None, D), (q_THD.dtype,), q_THD.device)
    check_tensor("v", v_TKE, (T, k_TKD.shape[1], None), (q_THD.dtype,), q_THD.device)
    check_heads(H, k_TKD.shape[1], D, v_TKE.shape[2])
    check_tensor("bounds_B1", bounds_B1, (None,), (torch.int64,), q_THD.device)
    if bounds_B1.shape[0] < 2:
        raise ValueError("bounds_B1 must hold two numbers or more")
    if sinks_H is not None:
        check_tensor("sinks_H", sinks_H, (H,), (q_THD.dtype,), q_THD.device)
    if slopes_H is not None:
        check_tensor("slopes_H", slopes_H, (H,), (torch.float32,), q_THD.device)
    out_THE: torch.Tensor = _attention(
        q_THD, k_TKD, v_TKE, bounds_B1, scale, window, softcap, sinks_H, input_precision, slopes_H
    )[0]
    return out_THE


@torch.library.custom_op("minillm::attention", mutates_args=())
def _attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bounds: torch.Tensor,
    scale: float, window: int, softcap: float | None, sinks: torch.Tensor | None, input_precision: str,
    slopes: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """(out_THE, softmax_2TH), the second for the backward alone, on the CPU of no elements."""
    scores = Scores(scale, window, softcap, slopes_H=slopes)
    if q.device.type == "cpu":
        numbers = _bounds(bounds, q.shape[0])
        if q.dtype in SCALARS:
            out = cpu_attention.packed(q, k, v, bounds, scores, sinks)
        else:
            out = blockwise.packed(q, k, v, numbers, scores, sinks)
        return out, q.new_empty(0)
    from kernels.gpu.attention import forward  # Triton is not everywhere

    tiles = (work_list(bounds, q.shape[0], TILE_TOKENS), TILE_TOKENS)
    position_T = positions(bounds, q.shape[0])
    return forward(q, k, v, position_T, tiles, scores, sinks, input_precision)


@_attention.register_fake
def _(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bounds: torch.Tensor,
    scale: float, window: int, softcap: float | None, sinks: torch.Tensor | None, input_precision: str,
    slopes: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    T, H, _ = q.shape
    on_cpu = q.device.type == "cpu"
    softmax_2TH = q.new_empty(0) if on_cpu else q.new_empty((2, T, H), dtype=torch.float32)
    return q.new_empty((T, H, v.shape[2])), softmax_2TH


@torch.library.custom_op("minillm::attention_backward", mutates_args=())
def _attention_backward(
    dout: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor,
    softmax: torch.Tensor, bounds: torch.Tensor,
    scale: float, window: int, softcap: float | None, sinks: torch.Tensor | None, input_precision: str,
    slopes: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """(dq, dk, dv, dsinks), the last of no elements where there are no sinks."""
    scores = Scores(scale, window, softcap, slopes_H=slopes)
    if q.device.type == "cpu":
        dq, dk, dv, dsinks = blockwise.backward(dout, q, k, v, bounds.tolist(), scores, sinks)
        found = (dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype), dsinks)
    else:
        from kernels.gpu.attention_backward import backward

        found = backward(dout, q, k, v, out, softmax, bounds, scores, sinks, input_precision)
    dq, dk, dv, dsinks = found
    return dq, dk, dv, q.new_empty(0) if dsinks is None else dsinks


@_attention_backward.register_fake
def _(
    dout: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor,
    softmax: torch.Tensor, bounds: torch.Tensor,
    scale: float, window: int, softcap: float | None, sinks: torch.Tensor | None, input_precision: str,
    slopes: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    dsinks = q.new_empty(0) if sinks is None else torch.empty_like(sinks)
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), dsinks


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    q, k, v, bounds, scale, window, softcap, sinks, input_precision, slopes = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(q, k, v, *output, bounds, sinks, slopes)
    ctx.knobs = (scale, window, softcap, input_precision)


def _backward(ctx: Any, dout: torch.Tensor, _: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
    *tensors, sinks, slopes = ctx.saved_tensors
    scale, window, softcap, input_precision = ctx.knobs
    dq, dk, dv, dsinks = _attention_backward(
        dout.contiguous(), *tensors, scale, window, softcap, sinks, input_precision, slopes
    )
    return dq, dk, dv, None, None, None, None, None if sinks is None else dsinks, None, None


_attention.register_autograd(_backward, setup_context=_setup_context)


def _bounds(bounds_B1: torch.Tensor, T: int) -> list[int]:
    """As numbers; raises ValueError unless they cover T tokens in order."""
    bounds: list[int] = bounds_B1.tolist()
    if bounds[0] != 0 or bounds[-1] != T or sorted(bounds) != bounds:
        raise ValueError(f"bounds_B1 must rise from 0 to the {T} tokens of q, not be {bounds}")
    return bounds
