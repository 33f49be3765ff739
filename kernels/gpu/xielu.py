"""xIELU (Huang and Schlag, 2024) in Triton, an activation with two learned numbers, and its gradients.

In float32, rounded once. The gradients of the learned numbers are sums over all numbers, in float64: by each
program over its block, then over programs. Deterministic, with no atomics.

Legend: T rows, F MLP width, G blocks of a row.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.activation import config
from kernels.gpu.language import rounded
from kernels.gpu.launch import TYPES, expect, launch, target, variant
from kernels.gpu.variant import REFERENCE, Variant
from kernels.knobs import XIELU_BETA, XIELU_EPS, XIELU_SERIES

BETA, EPS = tl.constexpr(XIELU_BETA), tl.constexpr(XIELU_EPS)
SERIES = tl.constexpr(XIELU_SERIES)
TERMS = tl.constexpr(len(XIELU_SERIES))


@triton.jit
def _softplus(x: tl.tensor) -> tl.tensor:
    """Compute log(1 + exp(x)), in float64 on the way: one number, which multiplies all others."""
    wide = x.to(tl.float64)
    return (tl.maximum(wide, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(wide)))).to(tl.float32)


@triton.jit
def _expm1(b_z: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Compute (expm1(z), expm1(z) - z) for z <= 0; near zero, where they cancel, by the second's series."""
    b_near = tl.maximum(b_z, -1.0)
    b_p = tl.full(b_z.shape, SERIES[TERMS - 1], tl.float32)
    for i in tl.static_range(TERMS - 1):
        b_p = tl.fma(b_p, b_near, SERIES[TERMS - 2 - i])
    b_less, b_far = b_near * b_near * b_p, tl.exp(b_z) - 1.0
    return tl.where(b_z > -1.0, b_less + b_z, b_far), tl.where(b_z > -1.0, b_less, b_far - b_z)


@triton.jit
def _read(
    p_x: tl.tensor, p_alpha_p: tl.tensor, p_alpha_n: tl.tensor, F: tl.tensor, BLOCK_F: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Read (places, mask, x, min(x, eps)) of this program's block of a row, and the numbers p and n."""
    o_f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    m_f = o_f < F
    o_x = tl.program_id(0).to(tl.int64) * F + o_f
    b_x = tl.load(p_x + o_x, mask=m_f, other=0).to(tl.float32)
    p = _softplus(tl.load(p_alpha_p).to(tl.float32))
    n = BETA + _softplus(tl.load(p_alpha_n).to(tl.float32))
    return o_x, m_f, b_x, tl.minimum(b_x, EPS), p, n


@triton.jit
def _xielu(
    p_x: tl.tensor, p_alpha_p: tl.tensor, p_alpha_n: tl.tensor, p_out: tl.tensor, F: tl.tensor,
    BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    o_x, m_f, b_x, b_z, p, n = _read(p_x, p_alpha_p, p_alpha_n, F, BLOCK_F)
    _, b_less = _expm1(b_z)
    b_bent = tl.where(b_x > 0, p * b_x * b_x, n * (b_less + (b_z - b_x)))
    tl.store(p_out + o_x, rounded(tl.fma(b_x, BETA, b_bent), p_out.dtype.element_ty), mask=m_f)


@triton.jit
def _gradient(
    p_x: tl.tensor, p_alpha_p: tl.tensor, p_alpha_n: tl.tensor, p_dout: tl.tensor, p_dx: tl.tensor,
    p_parts: tl.tensor, F: tl.tensor, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    o_x, m_f, b_x, b_z, p, n = _read(p_x, p_alpha_p, p_alpha_n, F, BLOCK_F)
    b_d = tl.load(p_dout + o_x, mask=m_f, other=0).to(tl.float32)
    b_expm1, b_less = _expm1(b_z)
    m_above = b_x > 0
    b_slope = tl.where(m_above, 2 * p * b_x, n * tl.where(b_x > EPS, -1.0, b_expm1))
    tl.store(p_dx + o_x, rounded(b_d * (b_slope + BETA), p_dx.dtype.element_ty), mask=m_f)
    # Past the row's end x and its gradient are zero, and so is their share.
    p_parts += (tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)) * 2
    b_d, b_share = b_d.to(tl.float64), (b_less + (b_z - b_x)).to(tl.float64)
    b_square = b_x.to(tl.float64) * b_x
    tl.store(p_parts, tl.sum(tl.where(m_above, b_d * b_square, 0.0), 0))
    tl.store(p_parts + 1, tl.sum(tl.where(m_above, 0.0, b_d * b_share), 0))


def _check(x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor) -> tuple[tuple[int, int], dict[str, int]]:
    """Return (grid, choice) of a launch; raise ValueError for what does not belong together."""
    expect("x_TF", x_TF, (None, None))
    expect("alpha_p_1", alpha_p_1, (1,), like=x_TF)
    expect("alpha_n_1", alpha_n_1, (1,), like=x_TF)
    choice = config(target(x_TF.device))
    return (x_TF.shape[0], triton.cdiv(x_TF.shape[1], choice["BLOCK_F"])), choice


def xielu(x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor) -> Tensor:
    """Compute `kernels.reference.xielu`, (T, F).

    Raises ValueError for tensors that are not contiguous, or not of one dtype and device that kernels take.
    """
    grid, choice = _check(x_TF, alpha_p_1, alpha_n_1)
    out_TF = torch.empty_like(x_TF)
    launch(_xielu, grid, x_TF, alpha_p_1, alpha_n_1, out_TF, x_TF.shape[1], **choice)
    return out_TF


def xielu_gradient(
    x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor, dout_TF: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute (dx_TF, d alpha_p, d alpha_n) from inputs and gradient of `xielu`. Raises as it does."""
    grid, choice = _check(x_TF, alpha_p_1, alpha_n_1)
    expect("dout_TF", dout_TF, x_TF.shape, like=x_TF)
    dx_TF = torch.empty_like(x_TF)
    sums_TG2 = torch.zeros((*grid, 2), dtype=torch.float64, device=x_TF.device)
    launch(_gradient, grid, x_TF, alpha_p_1, alpha_n_1, dout_TF, dx_TF, sums_TG2, x_TF.shape[1], **choice)
    # softplus' slope is the sigmoid.
    alpha_2 = torch.cat((alpha_p_1, alpha_n_1)).double()
    dalpha_2 = (sums_TG2.sum((0, 1)) * torch.sigmoid(alpha_2)).to(x_TF.dtype)
    return dx_TF, dalpha_2[:1].clone(), dalpha_2[1:].clone()


def variants() -> Iterator[Variant]:
    """Yield both directions in every dtype."""
    types = {"p_parts": "*fp64", "F": "i32:16"}
    for kind in TYPES.values():
        targets = None if kind == "bf16" else [REFERENCE]
        for what, kernel in (("xielu", _xielu), ("xielu_gradient", _gradient)):
            yield variant(f"{what} {kind}", kernel, kind, types, config("sm_90"), targets=targets)
