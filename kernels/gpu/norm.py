"""Residual add with RMSNorm (Zhang and Sennrich, 2019) or LayerNorm (Ba et al., 2016), and its gradients.

A program holds whole rows, and the way that a row is added up depends on its width alone, so a row's bits
are its own. Norms run in float32, and each output is rounded once. The gradients of w and b are summed by
each of a fixed number of programs over its rows, then over programs: deterministic, with no atomics.

Legend: T rows, C model width, G programs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.language import rounded
from kernels.gpu.launch import TYPES, expect, launch, target, variant
from kernels.gpu.variant import REFERENCE, Variant
from kernels.knobs import Norm

# Programs that the gradients of w and b are split among, whatever the device: the split enters their bits.
PROGRAMS = 128
# The widest row that a program is given.
MAX_WIDTH = 65536


def config(target: str, width: int) -> dict[str, int]:
    """Choose a program's rows and warps: about 1024 numbers of narrow rows, 8 to 16 a thread of wide ones."""
    BLOCK_C = triton.next_power_of_2(width)
    BLOCK_T = 8 if target == "interpret" else max(1, 1024 // BLOCK_C)
    return {"BLOCK_T": BLOCK_T, "BLOCK_C": BLOCK_C, "num_warps": min(16, max(4, BLOCK_C // 512))}


@triton.jit
def _normed(b_x: tl.tensor, m_c: tl.tensor, C: tl.tensor, eps: tl.tensor, LAYER: tl.constexpr) -> tl.tensor:
    """Compute (rows normed, their 1 / deviation); columns past C of b_x are zero, of the normed ones too."""
    if LAYER:
        b_x = tl.where(m_c, b_x - (tl.sum(b_x, 1) / C)[:, None], 0)
    b_rstd = 1 / tl.sqrt_rn(tl.sum(b_x * b_x, 1) / C + eps)
    return b_x * b_rstd[:, None], b_rstd


@triton.jit(do_not_specialize=["T"])
def _add_norm(
    p_x: tl.tensor, p_residual: tl.tensor, p_w: tl.tensor, p_b: tl.tensor, p_sum: tl.tensor, p_out: tl.tensor,
    T: tl.tensor, C: tl.tensor, eps: tl.tensor, offset: tl.tensor,
    LAYER: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr,
) -> None:  # fmt: skip
    o_t, o_c = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_C)
    m_c = o_c < C
    m_x = (o_t < T)[:, None] & m_c[None, :]
    o_x = o_t.to(tl.int64)[:, None] * C + o_c[None, :]
    b_x = tl.load(p_x + o_x, mask=m_x, other=0).to(tl.float32)
    if p_residual is not None:
        b_x += tl.load(p_residual + o_x, mask=m_x, other=0).to(tl.float32)
        # The sum is an output of its own: what is normed is what a reader of it would norm.
        b_sum = rounded(b_x, p_sum.dtype.element_ty)
        tl.store(p_sum + o_x, b_sum, mask=m_x)
        b_x = b_sum.to(tl.float32)
    b_y, _ = _normed(b_x, m_c[None, :], C, eps, LAYER)
    if p_w is not None:
        b_y *= (tl.load(p_w + o_c, mask=m_c, other=0).to(tl.float32) + offset)[None, :]
    if p_b is not None:
        b_y += tl.load(p_b + o_c, mask=m_c, other=0).to(tl.float32)[None, :]
    tl.store(p_out + o_x, rounded(b_y, p_out.dtype.element_ty), mask=m_x)


@triton.jit(do_not_specialize=["T"])
def _gradient(
    p_sum: tl.tensor, p_w: tl.tensor, p_dsum: tl.tensor, p_dout: tl.tensor, p_dx: tl.tensor, p_dw: tl.tensor,
    p_db: tl.tensor, T: tl.tensor, C: tl.tensor, eps: tl.tensor, offset: tl.tensor,
    LAYER: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_C: tl.constexpr,
) -> None:  # fmt: skip
    o_c = tl.arange(0, BLOCK_C)
    m_c = o_c < C
    if p_w is not None:
        b_w = tl.load(p_w + o_c, mask=m_c, other=0).to(tl.float32) + offset
    b_dw = tl.zeros((BLOCK_T, BLOCK_C), tl.float32)
    b_db = tl.zeros((BLOCK_T, BLOCK_C), tl.float32)
    for t0 in range(tl.program_id(0) * BLOCK_T, T, tl.num_programs(0) * BLOCK_T):
        o_t = t0 + tl.arange(0, BLOCK_T)
        m_x = (o_t < T)[:, None] & m_c[None, :]
        o_x = o_t.to(tl.int64)[:, None] * C + o_c[None, :]
        b_x = tl.load(p_sum + o_x, mask=m_x, other=0).to(tl.float32)
        b_d = tl.load(p_dout + o_x, mask=m_x, other=0).to(tl.float32)
        b_y, b_rstd = _normed(b_x, m_c[None, :], C, eps, LAYER)
        if p_dw is not None:
            b_dw += b_d * b_y
        if p_db is not None:
            b_db += b_d
        if p_w is not None:
            b_d *= b_w[None, :]
        b_dx = b_d - b_y * (tl.sum(b_d * b_y, 1) / C)[:, None]
        if LAYER:
            b_dx -= (tl.sum(b_d, 1) / C)[:, None]
        b_dx *= b_rstd[:, None]
        if p_dsum is not None:
            b_dx += tl.load(p_dsum + o_x, mask=m_x, other=0).to(tl.float32)
        tl.store(p_dx + o_x, rounded(b_dx, p_dx.dtype.element_ty), mask=m_x)
    o_part = tl.program_id(0) * C + o_c
    if p_dw is not None:
        tl.store(p_dw + o_part, tl.sum(b_dw, 0), mask=m_c)
    if p_db is not None:
        tl.store(p_db + o_part, tl.sum(b_db, 0), mask=m_c)


def _check(name: str, x_TC: Tensor, w_C: Tensor | None, b_C: Tensor | None, norm: Norm) -> dict[str, int]:
    """Return the choice of a launch; raise ValueError for what does not belong together."""
    expect(name, x_TC, (None, None))
    C = x_TC.shape[1]
    if not 0 < C <= MAX_WIDTH:
        raise ValueError(f"{name} must have 1 to {MAX_WIDTH} columns, got {C}")
    expect("w_C", w_C, (C,), like=x_TC, optional=True)
    expect("b_C", b_C, (C,), like=x_TC, optional=True)
    if b_C is not None and (w_C is None or not (norm.layer or norm.offset)):
        raise ValueError("b_C must be None for a norm without weight and for RMSNorm without offset")
    return config(target(x_TC.device), C)


def add_norm(
    x_TC: Tensor, residual_TC: Tensor | None, w_C: Tensor | None, b_C: Tensor | None, norm: Norm
) -> tuple[Tensor, Tensor]:
    """Compute (x + residual, its norm), both (T, C) in x's dtype; the sum is rounded before it is normed.

    With no residual the sum is x itself. Norms run in float32 for any `norm.dtype`, and the product with w is
    not rounded before. Raises ValueError for shapes, dtypes or devices that do not belong together, tensors
    that are not contiguous, rows wider than MAX_WIDTH, and a bias where the oracle takes none.
    """
    choice = _check("x_TC", x_TC, w_C, b_C, norm)
    expect("residual_TC", residual_TC, x_TC.shape, like=x_TC, optional=True)
    out_TC = torch.empty_like(x_TC)
    sum_TC = x_TC if residual_TC is None else torch.empty_like(x_TC)
    T, C = x_TC.shape
    launch(
        _add_norm, (triton.cdiv(T, choice["BLOCK_T"]),), x_TC, residual_TC, w_C, b_C, sum_TC, out_TC, T, C,
        norm.eps, float(norm.offset), LAYER=norm.layer, **choice,
    )  # fmt: skip
    return sum_TC, out_TC


def add_norm_gradient(
    sum_TC: Tensor,
    w_C: Tensor | None,
    b_C: Tensor | None,
    dsum_TC: Tensor | None,
    dout_TC: Tensor,
    norm: Norm,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Compute (d x and d residual, d w, d b) from `add_norm`'s sum and the gradients of its two outputs.

    `dsum_TC` is None where only the norm was used. Raises ValueError as `add_norm` does.
    """
    choice = _check("sum_TC", sum_TC, w_C, b_C, norm)
    expect("dout_TC", dout_TC, sum_TC.shape, like=sum_TC)
    expect("dsum_TC", dsum_TC, sum_TC.shape, like=sum_TC, optional=True)
    (T, C), dx_TC = sum_TC.shape, torch.empty_like(sum_TC)
    G = min(PROGRAMS, triton.cdiv(T, choice["BLOCK_T"]))
    dw_GC, db_GC = (None if p is None else sum_TC.new_empty((G, C), dtype=torch.float32) for p in (w_C, b_C))
    launch(
        _gradient, (G,), sum_TC, w_C, dsum_TC, dout_TC, dx_TC, dw_GC, db_GC, T, C, norm.eps,
        float(norm.offset), LAYER=norm.layer, **choice,
    )  # fmt: skip
    dw_C, db_C = (None if sums is None else sums.sum(0).to(sum_TC.dtype) for sums in (dw_GC, db_GC))
    return dx_TC, dw_C, db_C


def variants() -> Iterator[Variant]:
    """Yield both directions at Qwen3's head dim and widths; LayerNorm with bias, and no weight, at one."""
    types = {"p_dw p_db": "*fp32", "C": "i32:16", "eps offset": "fp32"}
    cases = [
        ("rms", 1024, False, "p_b p_db"),
        ("rms", 128, False, "p_residual p_dsum p_b p_db"),
        ("rms", 2560, False, "p_b p_db"),
        ("layer", 2560, True, ""),
        ("bare rms", 1024, False, "p_w p_b p_dw p_db"),
    ]
    for kind in TYPES.values():
        # To a compiler, fp16 is bf16 again: one width of it will do.
        for i, (name, width, layer, absent) in enumerate(cases if kind != "fp16" else cases[:1]):
            choice = {"LAYER": layer, **config("sm_90", width)}
            targets = [REFERENCE] if i else None
            for what, kernel in (("add_norm", _add_norm), ("add_norm_gradient", _gradient)):
                yield variant(f"{what} {name} {kind} {width}", kernel, kind, types, choice, absent, targets)
