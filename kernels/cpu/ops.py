"""The CPU's `kernels.backend.Backend`.

The forward is under the row-invariance contract. Gradients are plain torch in float32, deterministic.

Legend: T packed tokens, R rows, K inner width or kv heads, N outer width, H query heads, D head dim,
E head dim of values, P panels or pages, W panel width, S page size, M positions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels import reference
from kernels.blockwise import attention_gradients as attention_gradients
from kernels.cpu.activation import activate as activate
from kernels.cpu.activation import xielu as xielu
from kernels.cpu.attention import packed_attention as packed_attention
from kernels.cpu.attention import paged_attention as paged_attention
from kernels.cpu.matmul import matmul as matmul
from kernels.cpu.optim import adamw as adamw
from kernels.cpu.packing import pack_into as pack_into
from kernels.cpu.rowwise import add_norm as add_norm
from kernels.cpu.rowwise import checksum as checksum
from kernels.cpu.rowwise import norm_qk as norm_qk
from kernels.cpu.rowwise import rope_qk as rope_qk
from kernels.cpu.rowwise import rope_store as rope_store
from kernels.cpu.rowwise import round_into as round_into
from kernels.cpu.softmax import argmax as argmax
from kernels.cpu.softmax import draw as draw
from kernels.cpu.softmax import log_softmax as log_softmax
from kernels.cpu.softmax import log_softmax_at as log_softmax_at
from kernels.cpu.softmax import masked as masked
from kernels.cpu.softmax import ranks as ranks
from kernels.knobs import XIELU_BETA, XIELU_EPS, Activation, Norm
from kernels.panels import pack, unpack

aten = torch.ops.aten


def matmul_gradients(
    x_RK: Tensor, w_PKW: Tensor, dy_RN: Tensor, need_x: bool, need_w: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Compute (dx, dw), dw in panels, each if it is needed."""
    dy_RN = dy_RN.float()
    dx_RK = (dy_RN @ unpack(w_PKW.float(), dy_RN.shape[1]).t()).to(x_RK.dtype) if need_x else None
    return dx_RK, pack((x_RK.float().t() @ dy_RN).to(w_PKW.dtype)) if need_w else None


grouped_matmul = partial(reference.by_expert, matmul)


def grouped_matmul_gradients(
    x_RK: Tensor, w_EPKW: Tensor, dy_RN: Tensor, bound_E1: Tensor, need_x: bool, need_w: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Compute (dx, dw), dw in panels and zero for an expert without rows, each if it is needed."""
    dx_RK = torch.empty_like(x_RK) if need_x else None
    dw_EPKW = torch.zeros_like(w_EPKW) if need_w else None
    for e, rows in reference.groups(bound_E1):
        dx, dw = matmul_gradients(x_RK[rows], w_EPKW[e], dy_RN[rows], need_x, need_w)
        if dx_RK is not None and dx is not None:
            dx_RK[rows] = dx
        if dw_EPKW is not None and dw is not None:
            dw_EPKW[e] = dw
    return dx_RK, dw_EPKW


def add_norm_gradient(
    sum_TC: Tensor,
    w_C: Tensor | None,
    b_C: Tensor | None,
    dsum_TC: Tensor | None,
    dout_TC: Tensor,
    norm: Norm,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Compute (d x, d w, d b) of `add_norm`, from its sum and output gradients; d x is d residual too."""
    x_TC, d_TC = sum_TC.float(), dout_TC.float()
    if norm.layer:
        x_TC = x_TC - x_TC.mean(-1, keepdim=True)
    rstd_T1 = torch.rsqrt(x_TC.square().mean(-1, keepdim=True) + norm.eps)
    y_TC = x_TC * rstd_T1
    dw_C = None if w_C is None else (d_TC * y_TC).sum(0).to(w_C.dtype)
    db_C = None if b_C is None else d_TC.sum(0).to(b_C.dtype)
    if w_C is not None:
        d_TC = d_TC * (w_C.float() + norm.offset)
    dx_TC = d_TC - y_TC * (d_TC * y_TC).mean(-1, keepdim=True)
    if norm.layer:
        dx_TC -= d_TC.mean(-1, keepdim=True)
    dx_TC *= rstd_T1
    if dsum_TC is not None:
        dx_TC += dsum_TC.float()
    return dx_TC.to(sum_TC.dtype), dw_C, db_C


def activate_gradient(x_TX: Tensor, dout_TF: Tensor, activation: Activation) -> Tensor:
    """Compute dx_TX of `activate`."""
    d_TF = dout_TF.float()
    if not activation.gated:
        return SLOPES[activation.name](d_TF, x_TX.float())[0].to(x_TX.dtype)
    gate, up = x_TX.float().chunk(2, dim=-1)
    if (limit := activation.limit) is None:
        dgate, y = SLOPES[activation.name](d_TF * up, gate)
        return torch.cat((dgate, d_TF * y), dim=-1).to(x_TX.dtype)
    inside = (gate <= limit, up.abs() <= limit)
    gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    s = torch.sigmoid(gate * 1.702)
    dgate = d_TF * (up + 1) * s * (1 + gate * (1 - s) * 1.702) * inside[0]
    return torch.cat((dgate, d_TF * gate * s * inside[1]), dim=-1).to(x_TX.dtype)


def xielu_gradient(
    x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor, dout_TF: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute (dx_TF, d alpha_p, d alpha_n) of `xielu`; the learned numbers' are summed in float64."""
    x_TF, d_TF, alpha_p, alpha_n = (y.float() for y in (x_TF, dout_TF, alpha_p_1, alpha_n_1))
    above_TF, bent_TF = x_TF > 0, torch.expm1(x_TF.clamp(max=XIELU_EPS))
    below_TF = bent_TF.masked_fill(x_TF > XIELU_EPS, -1) * (XIELU_BETA + F.softplus(alpha_n))
    slope_TF = XIELU_BETA + torch.where(above_TF, 2 * F.softplus(alpha_p) * x_TF, below_TF)
    # What the output is of each number's softplus, whose slope is the sigmoid.
    share_p_TF = (d_TF * x_TF * x_TF).masked_fill(~above_TF, 0)
    share_n_TF = (d_TF * (bent_TF - x_TF)).masked_fill(above_TF, 0)
    dp, dn = (
        share.sum(dtype=torch.float64) * torch.sigmoid(alpha.double())
        for share, alpha in ((share_p_TF, alpha_p), (share_n_TF, alpha_n))
    )
    return (d_TF * slope_TF).to(dout_TF.dtype), dp.to(alpha_p_1.dtype), dn.to(alpha_n_1.dtype)


def rope_gradient(
    dq_THD: Tensor,
    dk_TKD: Tensor,
    dv_TKE: Tensor,
    cos_MR: Tensor,
    sin_MR: Tensor,
    position_T: Tensor,
    growth_M1: Tensor | None,
) -> Tensor:
    """Compute dqkv_TX from the gradients of what `rope_store` rotated and of values; it writes to them."""
    if growth_M1 is not None:
        dq_THD *= growth_M1[position_T].unsqueeze(1)
    # The rotation's transpose is the rotation by the opposite angle.
    cos, sin = cos_MR[position_T].unsqueeze(1), sin_MR[position_T].unsqueeze(1)
    R = cos.shape[-1]
    for rotated in (dq_THD, dk_TKD):
        a, b = (x.clone() for x in rotated[..., : 2 * R].chunk(2, dim=-1))
        rotated[..., :R] = a * cos + b * sin
        rotated[..., R : 2 * R] = b * cos - a * sin
    return torch.cat([x.flatten(1) for x in (dq_THD, dk_TKD, dv_TKE)], dim=1)


TANH: Any = {"approximate": "tanh"}
# (gradient of f(x), x) -> (gradient of x, f(x)), in float32.
SLOPES: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "silu": lambda d, x: (aten.silu_backward(d, x), F.silu(x)),
    "gelu": lambda d, x: (aten.gelu_backward(d, x), F.gelu(x)),
    "gelu_tanh": lambda d, x: (aten.gelu_backward(d, x, **TANH), F.gelu(x, **TANH)),
    "gelu_bloom": lambda d, x: SLOPES["gelu_tanh"](d, x),
    "relu": lambda d, x: (d * (x > 0), F.relu(x)),
    "relu2": lambda d, x: (2 * d * F.relu(x), F.relu(x).square()),
    "sigmoid": lambda d, x: (aten.sigmoid_backward(d, y := torch.sigmoid(x)), y),
    "tanh": lambda d, x: (aten.tanh_backward(d, y := torch.tanh(x)), y),
}
