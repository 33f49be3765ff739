"""The CPU's `kernels.backend.Backend`.

The forward is under the row-invariance contract. Gradients are plain torch in float32, deterministic.

Legend: T packed tokens, R rows, K inner width or kv heads, N outer width, H query heads, D head dim,
E head dim of values, P panels or pages, W panel width, S page size, M positions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from kernels import blockwise, reference
from kernels.cpu import activation as cpu_activation
from kernels.cpu import attention as cpu_attention
from kernels.cpu import optim as cpu_optim
from kernels.cpu import packing, rowwise
from kernels.cpu import softmax as cpu_softmax
from kernels.cpu.matmul import matmul as matmul
from kernels.knobs import XIELU_BETA, XIELU_EPS, Activation, Norm, Scores
from kernels.panels import pack, unpack
from kernels.tiling import Kept, SharedPrefix, Tiles

aten = torch.ops.aten

add_norm = rowwise.add_norm
argmax = cpu_softmax.argmax
ranks = cpu_softmax.ranks
norm_qk = rowwise.norm_qk
activate = cpu_activation.activate
xielu = cpu_activation.xielu
rope_store = rowwise.rope_store
adamw = cpu_optim.adamw
pack_into = packing.pack_into
packed_attention = cpu_attention.packed
attention_gradients = blockwise.attention_gradients


def matmul_gradients(
    x_RK: torch.Tensor, w_PKW: torch.Tensor, dy_RN: torch.Tensor, need_x: bool, need_w: bool
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """(dx, dw), dw in panels, each if it is needed."""
    dy_RN = dy_RN.float()
    dx_RK = (dy_RN @ unpack(w_PKW.float(), dy_RN.shape[1]).t()).to(x_RK.dtype) if need_x else None
    return dx_RK, pack((x_RK.float().t() @ dy_RN).to(w_PKW.dtype)) if need_w else None


def grouped_matmul(
    x_RK: torch.Tensor,
    w_EPKW: torch.Tensor,
    N: int,
    bound_E1: torch.Tensor,
    scales_EPGW: torch.Tensor | None = None,
    bias_EN: torch.Tensor | None = None,
) -> torch.Tensor:
    """`matmul` of rows bound[e] to bound[e + 1] with the matrix of expert e, for each expert."""
    return reference.by_expert(matmul, x_RK, w_EPKW, N, bound_E1, scales_EPGW, bias_EN)


def grouped_matmul_gradients(
    x_RK: torch.Tensor,
    w_EPKW: torch.Tensor,
    dy_RN: torch.Tensor,
    bound_E1: torch.Tensor,
    need_x: bool,
    need_w: bool,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """(dx, dw), dw in panels and zero for an expert without rows, each if it is needed."""
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
    sum_TC: torch.Tensor,
    w_C: torch.Tensor | None,
    b_C: torch.Tensor | None,
    dsum_TC: torch.Tensor | None,
    dout_TC: torch.Tensor,
    norm: Norm,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """(d x, d w, d b) of `add_norm`, from its sum and its outputs' gradients; d x is d residual too."""
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


def activate_gradient(x_TX: torch.Tensor, dout_TF: torch.Tensor, activation: Activation) -> torch.Tensor:
    """dx_TX of `activate`."""
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
    x_TF: torch.Tensor, alpha_p_1: torch.Tensor, alpha_n_1: torch.Tensor, dout_TF: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
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


def log_softmax(logits_RV: torch.Tensor, temperature_R: torch.Tensor) -> torch.Tensor:
    """log softmax(logits / temperature), (R, V)."""
    out_RV = cpu_softmax.softmax(logits_RV, temperature_R, whole=True)[2]
    assert out_RV is not None
    return out_RV


def log_softmax_at(
    logits_RV: torch.Tensor, temperature_R: torch.Tensor, column_RX: torch.Tensor
) -> torch.Tensor:
    """Compute some columns of `log_softmax`, (R, X)."""
    softmax_2R = cpu_softmax.softmax(logits_RV, temperature_R)[0]
    return reference.from_softmax(softmax_2R, logits_RV, temperature_R, column_RX)


def draw(logits_RV: torch.Tensor, temperature_R: torch.Tensor, uniform_R: torch.Tensor) -> torch.Tensor:
    """The token of each row that a number in [0, 1) draws, (R,)."""
    token_R = cpu_softmax.softmax(logits_RV, temperature_R, uniform_R)[1]
    assert token_R is not None
    return token_R


def rope_qk(
    qkv_TX: torch.Tensor,
    heads: tuple[int, int, int],
    cos_MR: torch.Tensor,
    sin_MR: torch.Tensor,
    position_T: torch.Tensor,
    dtype: torch.dtype | None,
) -> torch.Tensor:
    """Rotate queries and keys, in float32, and leave the values beside them as they are; (T, X)."""
    return rowwise.rope(qkv_TX, heads, cos_MR, sin_MR, position_T)


def rope_gradient(
    dq_THD: torch.Tensor,
    dk_TKD: torch.Tensor,
    dv_TKE: torch.Tensor,
    cos_MR: torch.Tensor,
    sin_MR: torch.Tensor,
    position_T: torch.Tensor,
    growth_M1: torch.Tensor | None,
) -> torch.Tensor:
    """dqkv_TX from the gradients of what `rope_store` rotated and of the values; it writes to them."""
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


def paged_attention(
    q_THD: torch.Tensor,
    k_PKDS: torch.Tensor,
    v_PKSE: torch.Tensor,
    paging: tuple[torch.Tensor, torch.Tensor],
    tiles: Tiles,
    scores: Scores,
    sinks_H: torch.Tensor | None,
    input_precision: str,
    prefix: SharedPrefix | None,
) -> tuple[torch.Tensor, Kept]:
    """Return (out_THE, ()) over pages; a prefix is read anew by each of its sequences, with the same bits."""
    return cpu_attention.attention(q_THD, k_PKDS, v_PKSE, *paging, *tiles, scores, sinks_H), ()


def round_into(x: torch.Tensor, out: torch.Tensor) -> None:
    """Write x, rounded to out's dtype."""
    if (x.dtype, out.dtype) == (torch.float32, torch.bfloat16) and x.is_contiguous():
        rowwise.round_into(x, out)
        torch.autograd.graph.increment_version(out)
    else:
        out.copy_(x)


# (gradient of f(x), x) -> (gradient of x, f(x)), in float32.
SLOPES: dict[str, Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]] = {
    "silu": lambda d, x: (aten.silu_backward(d, x), F.silu(x)),
    "gelu": lambda d, x: (aten.gelu_backward(d, x), F.gelu(x)),
    "gelu_tanh": lambda d, x: (
        aten.gelu_backward(d, x, approximate="tanh"),
        F.gelu(x, approximate="tanh"),
    ),
    "gelu_bloom": lambda d, x: SLOPES["gelu_tanh"](d, x),
    "relu": lambda d, x: (d * (x > 0), F.relu(x)),
    "relu2": lambda d, x: (2 * d * F.relu(x), F.relu(x).square()),
    "sigmoid": lambda d, x: (aten.sigmoid_backward(d, y := torch.sigmoid(x)), y),
    "tanh": lambda d, x: (aten.tanh_backward(d, y := torch.tanh(x)), y),
}
