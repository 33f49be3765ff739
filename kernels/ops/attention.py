"""Causal attention over packed sequences, for users: differentiable, and whole under torch.compile.

Legend: T packed tokens, B sequences, H query heads, K kv heads, D head dim of queries and keys,
E head dim of values.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels import backend
from kernels.checks import check_heads, check_knobs, check_tensor
from kernels.knobs import Scores
from kernels.library import custom_op, like, some


def attention(
    q_THD: Tensor,
    k_TKD: Tensor,
    v_TKE: Tensor,
    bounds_B1: Tensor,
    *,
    scale: float | None = None,
    window: int = 0,
    softcap: float | None = None,
    sinks_H: Tensor | None = None,
    slopes_H: Tensor | None = None,
    input_precision: str = "ieee",
) -> Tensor:
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
    dtypes = backend.attention_dtypes(q_THD.device)
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
    return _attention(
        q_THD, k_TKD, v_TKE, bounds_B1, scale, window, softcap, sinks_H, input_precision, slopes_H
    )[0]


@custom_op("attention")
def _attention(
    q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, scale: float, window: int, softcap: float | None,
    sinks: Tensor | None, input_precision: str, slopes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(out_THE, softmax_2TH), the second for the gradients alone."""
    scores = Scores(scale, window, softcap, slopes_H=slopes)
    return backend.attention_of(q, k).packed_attention(q, k, v, bounds, scores, sinks, input_precision)


@_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    T, H, _D = q.shape
    return q.new_empty((T, H, v.shape[2])), q.new_empty((2, T, H), dtype=torch.float32)


@custom_op("attention_backward")
def _attention_gradients(
    dout: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, softmax: Tensor, bounds: Tensor, scale: float,
    window: int, softcap: float | None, sinks: Tensor | None, input_precision: str,
    slopes: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(dq, dk, dv, dsinks), the last of no elements where there are no sinks."""
    scores, kept = Scores(scale, window, softcap, slopes_H=slopes), (out, softmax)
    dq, dk, dv, dsinks = backend.attention_of(q, k).packed_attention_gradients(
        dout, q, k, v, kept, bounds, scores, sinks, input_precision
    )
    return dq, dk, dv, some(dsinks, q)


@_attention_gradients.register_fake
def _(dout: Tensor, q: Tensor, k: Tensor, v: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v), like(others[6], q)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, bounds, *ctx.knobs, sinks, ctx.input_precision, slopes = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(q, k, v, *output, bounds, sinks, slopes)


def _gradients(ctx: Any, dout: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    *tensors, sinks, slopes = ctx.saved_tensors
    q, k, v, out, softmax, bounds = tensors
    scale, window, softcap = ctx.knobs
    dq, dk, dv, dsinks = _attention_gradients(
        dout.contiguous(), q, k, v, out, softmax, bounds, scale, window, softcap, sinks, ctx.input_precision,
        slopes,
    )  # fmt: skip
    return dq, dk, dv, None, None, None, None, None if sinks is None else dsinks, None, None


_attention.register_autograd(_gradients, setup_context=_keep)
