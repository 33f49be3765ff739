"""Causal attention over packed sequences, for users: differentiable, and whole under torch.compile.

Legend: T packed tokens, B sequences, H query heads, K kv heads, D head dim of queries and keys,
E head dim of values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels import backend
from kernels.checks import FLOATS, check_heads, check_knobs, check_tensor
from kernels.knobs import Scores
from kernels.library import custom_op, fake_like, some


def attention(
    q_THD: Tensor,
    k_TKD: Tensor,
    v_TKE: Tensor,
    bounds_B1: Tensor,
    scores: Scores | None = None,
    sinks_H: Tensor | None = None,
    input_precision: str = "ieee",
) -> Tensor:
    """Compute causal grouped-query attention of packed sequences over themselves: out_THE, in q's dtype.

    Args:
        q_THD, k_TKD, v_TKE: of one dtype: float32, bfloat16, float16 or float64. K divides H; D and E are at
            most 256.
        bounds_B1: int64, on q's device: sequence b has the tokens bounds[b] to bounds[b + 1]; it may have
            none.
        scores: scale, window, softcap and float32 slopes; by default the scale is D ** -0.5.
        sinks_H: in q's dtype, one logit per query head that joins the softmax and has no value
            (Xiao et al., 2023; gpt-oss); learned, if it requires a gradient.
        input_precision: of float32's products on a GPU: "ieee", "tf32x3" (three products of tf32) or "tf32".

    Softmax and sums are in float32 at least. A row's bits depend on its own sequence alone, not on the
    packing. Gradients are deterministic. Raises ValueError for arguments that do not fit.
    """
    q_THD, k_TKD, v_TKE = (x.contiguous() for x in (q_THD, k_TKD, v_TKE))
    scores = check_queries(q_THD, scores, sinks_H, input_precision)
    T, H, D = q_THD.shape
    check_tensor("k", k_TKD, (T, None, D), (q_THD.dtype,), q_THD.device)
    check_tensor("v", v_TKE, (T, k_TKD.shape[1], None), (q_THD.dtype,), q_THD.device)
    check_heads(H, k_TKD.shape[1], D, v_TKE.shape[2])
    check_tensor("bounds_B1", bounds_B1, (None,), (torch.int64,), q_THD.device)
    if bounds_B1.shape[0] < 2:
        raise ValueError("bounds_B1 must hold two numbers or more")
    knobs = (scores.scale, scores.window, scores.softcap)
    return _attention(q_THD, k_TKD, v_TKE, bounds_B1, *knobs, sinks_H, input_precision, scores.slopes_H)[0]


def check_queries(
    q_THD: Tensor, scores: Scores | None, sinks_H: Tensor | None, input_precision: str
) -> Scores:
    """Return the scores, or those of D ** -0.5; raise ValueError for what no kernel is written for."""
    check_tensor("q", q_THD, (None, None, None), FLOATS, q_THD.device)
    _, H, D = q_THD.shape
    scores = scores or Scores(D**-0.5)
    check_knobs(scores.scale, scores.window, scores.softcap, input_precision)
    if sinks_H is not None:
        check_tensor("sinks_H", sinks_H, (H,), (q_THD.dtype,), q_THD.device)
    if scores.slopes_H is not None:
        check_tensor("slopes_H", scores.slopes_H, (H,), (torch.float32,), q_THD.device)
    return scores


@custom_op("attention")
def _attention(
    q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, scale: float, window: int, softcap: float | None,
    sinks: Tensor | None, input_precision: str, slopes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return (out_THE, softmax_2TH), the second for the gradients alone: zeros where they do not read it."""
    scores = Scores(scale, window, softcap, slopes_H=slopes)
    out, kept = backend.of(q, k).packed_attention(q, k, v, bounds, scores, sinks, input_precision)
    return out, kept[1] if kept else q.new_zeros((2, *q.shape[:2]), dtype=torch.float32)


_attention.register_fake(
    lambda q, k, v, *_: (q.new_empty((*q.shape[:2], v.shape[2])), q.new_empty((2, *q.shape[:2])).float())
)


@custom_op("attention_backward")
def _attention_gradients(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, softmax: Tensor, bounds: Tensor,
    sinks: Tensor | None, slopes: Tensor | None, scale: float, window: int, softcap: float | None,
    input_precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return (dq, dk, dv, dsinks), the last of no elements where there are no sinks."""
    scores, kept = Scores(scale, window, softcap, slopes_H=slopes), (out, softmax)
    dq, dk, dv, dsinks = backend.of(q, k).attention_gradients(
        dout, q, k, v, kept, bounds, scores, sinks, input_precision
    )
    return dq.to(q.dtype), dk.to(q.dtype), dv.to(q.dtype), some(dsinks, q)


_attention_gradients.register_fake(fake_like(1, 2, 3, 7))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, bounds, *knobs, sinks, input_precision, slopes = inputs
    ctx.knobs = (*knobs, input_precision)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(q, k, v, *output, bounds, sinks, slopes)


def _gradients(ctx: Any, dout: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    tensors = ctx.saved_tensors
    dq, dk, dv, dsinks = _attention_gradients(dout.contiguous(), *tensors, *ctx.knobs)
    return dq, dk, dv, None, None, None, None, None if tensors[6] is None else dsinks, None, None


_attention.register_autograd(_gradients, setup_context=_keep)
