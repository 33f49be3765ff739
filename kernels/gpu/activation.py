"""The MLP's activation in Triton, gated (Shazeer, 2020) or not, and its gradient: in float32, rounded once.

Legend: T rows, F MLP width, X what goes in: 2F, gate and up side by side, or F.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.language import rounded, tanh
from kernels.gpu.launch import TYPES, expect, launch, target, variant
from kernels.gpu.variant import REFERENCE, Variant
from kernels.knobs import Activation

NAMES = ("silu", "gelu", "gelu_tanh", "gelu_bloom", "relu", "relu2", "sigmoid", "tanh")


def config(target: str) -> dict[str, int]:
    """Choose a program's columns of a row, and its warps."""
    BLOCK_F, num_warps = (512, 1) if target == "interpret" else (1024, 4)
    return {"BLOCK_F": BLOCK_F, "num_warps": num_warps}


@triton.jit
def _slope(b_x: tl.tensor, NAME: tl.constexpr) -> tl.tensor:
    """Compute (f(x), f'(x)) in float32."""
    if NAME == "relu":
        b_y, b_dy = tl.maximum(b_x, 0), tl.where(b_x > 0, 1.0, 0.0)
    elif NAME == "relu2":
        b_r = tl.maximum(b_x, 0)
        b_y, b_dy = b_r * b_r, 2 * b_r
    elif NAME == "sigmoid":
        b_y = tl.sigmoid(b_x)
        b_dy = b_y * tl.sigmoid(-b_x)
    elif NAME == "tanh":
        b_y = tanh(b_x)
        # Not 1 - y^2, a difference of nearly equal numbers where x is large.
        b_dy = 4 * tl.sigmoid(2 * b_x) * tl.sigmoid(-2 * b_x)
    elif NAME == "gelu":
        b_p = 0.5 * (1 + tl.erf(b_x * 0.7071067811865476))
        # The density of the normal distribution.
        b_y, b_dy = b_x * b_p, b_p + b_x * 0.3989422804014327 * tl.exp(-0.5 * b_x * b_x)
    else:
        # (1 + tanh(u)) / 2 = sigmoid(2 u): silu and gelu_tanh (gelu_bloom) differ in what the sigmoid is of.
        if NAME == "silu":
            b_u, b_du = b_x, 1.0
        else:
            b_u = 1.5957691216057308 * (b_x + 0.044715 * b_x * b_x * b_x)
            b_du = 1.5957691216057308 * (1 + 0.134145 * b_x * b_x)
        # sigmoid(-u), not 1 - sigmoid(u), which for large u is a difference of nearly equal numbers; and
        # where either is zero, the other factors, which may be infinite, do not count.
        b_s, b_o = tl.sigmoid(b_u), tl.sigmoid(-b_u)
        b_y, b_dy = b_x * b_s, tl.where(b_s * b_o == 0, b_s, b_s * (1 + b_x * b_o * b_du))
    return b_y, b_dy


@triton.jit
def _clamped(b_gate: tl.tensor, b_up: tl.tensor, limit: tl.tensor) -> tl.tensor:
    return tl.minimum(b_gate, limit), tl.minimum(tl.maximum(b_up, -limit), limit)


@triton.jit
def _activate(
    p_x: tl.tensor, p_out: tl.tensor, F: tl.tensor, limit: tl.tensor,
    NAME: tl.constexpr, GATED: tl.constexpr, CLAMPED: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    i_t = tl.program_id(0).to(tl.int64)
    o_f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    m_f = o_f < F
    p_gate = p_x + i_t * F * (2 if GATED else 1) + o_f
    b_gate = tl.load(p_gate, mask=m_f, other=0).to(tl.float32)
    if GATED:
        b_up = tl.load(p_gate + F, mask=m_f, other=0).to(tl.float32)
    if CLAMPED:
        b_gate, b_up = _clamped(b_gate, b_up, limit)
        b_y = (b_up + 1) * (b_gate * tl.sigmoid(b_gate * 1.702))
    else:
        b_y, _ = _slope(b_gate, NAME)
        if GATED:
            b_y *= b_up
    tl.store(p_out + i_t * F + o_f, rounded(b_y, p_out.dtype.element_ty), mask=m_f)


@triton.jit
def _gradient(
    p_x: tl.tensor, p_dout: tl.tensor, p_dx: tl.tensor, F: tl.tensor, limit: tl.tensor,
    NAME: tl.constexpr, GATED: tl.constexpr, CLAMPED: tl.constexpr, BLOCK_F: tl.constexpr,
) -> None:  # fmt: skip
    i_t = tl.program_id(0).to(tl.int64)
    o_f = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    m_f = o_f < F
    o_gate = i_t * F * (2 if GATED else 1) + o_f
    b_gate = tl.load(p_x + o_gate, mask=m_f, other=0).to(tl.float32)
    b_d = tl.load(p_dout + i_t * F + o_f, mask=m_f, other=0).to(tl.float32)
    if CLAMPED:
        b_up = tl.load(p_x + o_gate + F, mask=m_f, other=0).to(tl.float32)
        # As torch's clamp: the gradient passes at the bounds themselves.
        m_gate, m_up = b_gate <= limit, tl.abs(b_up) <= limit
        b_gate, b_up = _clamped(b_gate, b_up, limit)
        b_s = tl.sigmoid(b_gate * 1.702)
        b_slope = b_s * (1 + b_gate * (1 - b_s) * 1.702)
        b_d_up = tl.where(m_up, b_d * b_gate * b_s, 0)
        tl.store(p_dx + o_gate + F, rounded(b_d_up, p_dx.dtype.element_ty), mask=m_f)
        b_d = tl.where(m_gate, b_d * (b_up + 1) * b_slope, 0)
    else:
        b_y, b_slope = _slope(b_gate, NAME)
        if GATED:
            b_up = tl.load(p_x + o_gate + F, mask=m_f, other=0).to(tl.float32)
            tl.store(p_dx + o_gate + F, rounded(b_d * b_y, p_dx.dtype.element_ty), mask=m_f)
            b_d *= b_up
        b_d *= b_slope
    tl.store(p_dx + o_gate, rounded(b_d, p_dx.dtype.element_ty), mask=m_f)


def _check(x_TX: Tensor, activation: Activation) -> int:
    """Return F; raise ValueError for what is no activation, or not of these columns."""
    expect("x_TX", x_TX, (None, None))
    if activation.name not in NAMES:
        raise ValueError(f"activation.name must be one of {', '.join(NAMES)}, got {activation.name!r}")
    if activation.gated and x_TX.shape[1] % 2:
        raise ValueError(f"x_TX must have an even number of columns, gate and up, got {x_TX.shape[1]}")
    return x_TX.shape[1] // 2 if activation.gated else x_TX.shape[1]


def _constants(activation: Activation) -> dict[str, object]:
    clamped = activation.gated and activation.limit is not None
    # The clamped product has a function of its own.
    name = "silu" if clamped else activation.name
    return {"NAME": name, "GATED": activation.gated, "CLAMPED": clamped}


def _launch(kernel: Any, F: int, activation: Activation, *tensors: Tensor) -> None:
    choice, limit = config(target(tensors[0].device)), float(activation.limit or 0)
    grid = (tensors[0].shape[0], triton.cdiv(F, choice["BLOCK_F"]))
    launch(kernel, grid, *tensors, F, limit, **_constants(activation), **choice)


def activate(x_TX: Tensor, activation: Activation) -> Tensor:
    """Compute `kernels.reference.activate`: act(gate) * up, (T, 2F) -> (T, F), or act(x), (T, F) -> (T, F).

    Raises ValueError for an unknown name, an odd number of columns where it is gated, and a tensor that is
    not contiguous or not of a kernel's dtype and device.
    """
    F = _check(x_TX, activation)
    out_TF = x_TX.new_empty(x_TX.shape[0], F)
    _launch(_activate, F, activation, x_TX, out_TF)
    return out_TF


def activate_gradient(x_TX: Tensor, dout_TF: Tensor, activation: Activation) -> Tensor:
    """Compute dx (T, X) in x's dtype from x and the gradient of what came out. Raises as `activate`."""
    F = _check(x_TX, activation)
    expect("dout_TF", dout_TF, (x_TX.shape[0], F), like=x_TX)
    dx_TX = torch.empty_like(x_TX)
    _launch(_gradient, F, activation, x_TX, dout_TF, dx_TX)
    return dx_TX


def variants() -> Iterator[Variant]:
    """Yield both directions of each function, gated and not, and the clamped, in bf16; else the usual."""
    activations = [Activation(name, gated) for gated in (True, False) for name in NAMES]
    activations.append(Activation(limit=7.0))
    types = {"F": "i32:16", "limit": "fp32"}
    for kind in TYPES.values():
        for how in activations if kind == "bf16" else activations[:1]:
            targets = None if how is activations[0] else [REFERENCE]
            label = f"{how.name}{' gated' * how.gated}{' clamped' * bool(how.limit)} {kind}"
            choice = {**_constants(how), **config("sm_90")}
            for what, kernel in (("activate", _activate), ("activate_gradient", _gradient)):
                yield variant(f"{what} {label}", kernel, kind, types, choice, targets=targets)
