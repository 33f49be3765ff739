"""Rotary embedding (Su et al., 2021) in Triton, and keys and values into the paged cache.

Rotated in float32 with float32 tables and rounded once. The gradient of a rotation is the rotation by the
opposite angle, so one kernel is both.

Legend: T packed tokens, H query heads, K kv heads, D head dim, E values' head dim, R pairs that are rotated,
M positions, P pages, S page size, X columns of q, k and v side by side.
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
from kernels.knobs import Heads


def config(target: str, D: int, E: int, R: int) -> dict[str, int]:
    """Choose a program's tokens, of which it has one head each: about 1024 numbers; and its warps."""
    BLOCK_R, BLOCK_D, BLOCK_E = (triton.next_power_of_2(size) for size in (R, D, E))
    BLOCK_T = 32 if target == "interpret" else max(1, 1024 // BLOCK_D)
    return {"BLOCK_T": BLOCK_T, "BLOCK_R": BLOCK_R, "BLOCK_D": BLOCK_D, "BLOCK_E": BLOCK_E, "num_warps": 4}


@triton.jit(do_not_specialize=["T"])
def _rope_store(
    p_qkv: tl.tensor, p_cos: tl.tensor, p_sin: tl.tensor, p_growth: tl.tensor, p_position: tl.tensor,
    p_slot: tl.tensor, p_q: tl.tensor, p_k: tl.tensor, p_v: tl.tensor, p_k_pages: tl.tensor,
    p_v_pages: tl.tensor,
    T: tl.tensor, H: tl.tensor, K: tl.tensor, D: tl.tensor, E: tl.tensor, R: tl.tensor, S: tl.tensor,
    BACKWARD: tl.constexpr,
    BLOCK_T: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
) -> None:  # fmt: skip
    """Rotate one head of some tokens: qkv -> q, k, pages; BACKWARD: dq, dk, dv -> dqkv."""
    TYPE: tl.constexpr = p_qkv.dtype.element_ty
    o_t = tl.program_id(0).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    m_t = o_t < T
    i_head = tl.program_id(1)
    p_side = p_qkv + o_t[:, None] * ((H + K) * D + K * E)
    if p_slot is not None:
        b_slot = tl.load(p_slot + o_t, mask=m_t, other=0).to(tl.int64)
        b_page, b_offset = (b_slot // S)[:, None] * K, (b_slot % S)[:, None]
    if i_head < H + K:
        is_key = i_head >= H
        p_side += i_head * D
        if is_key:
            p_heads = p_k + (o_t[:, None] * K + (i_head - H)) * D
        else:
            p_heads = p_q + (o_t[:, None] * H + i_head) * D
        p_from, p_to = (p_heads, p_side) if BACKWARD else (p_side, p_heads)
        o_r, o_d = tl.arange(0, BLOCK_R)[None, :], tl.arange(0, BLOCK_D)[None, :]
        m_r = m_t[:, None] & (o_r < R)
        b_position = tl.load(p_position + o_t, mask=m_t, other=0).to(tl.int64)[:, None]
        b_cos = tl.load(p_cos + b_position * R + o_r, mask=m_r, other=0)
        b_sin = tl.load(p_sin + b_position * R + o_r, mask=m_r, other=0)
        if BACKWARD:
            b_sin = -b_sin
        o_b = o_r + R
        b_a = tl.load(p_from + o_r, mask=m_r, other=0).to(tl.float32)
        b_b = tl.load(p_from + o_b, mask=m_r, other=0).to(tl.float32)
        b_a, b_b = b_a * b_cos - b_b * b_sin, b_b * b_cos + b_a * b_sin
        # What is not rotated; often nothing.
        m_d = m_t[:, None] & (o_d >= 2 * R) & (o_d < D)
        b_d = tl.load(p_from + o_d, mask=m_d, other=0).to(tl.float32)
        if p_growth is not None:  # noqa: SIM102
            if not is_key:
                b_growth = tl.load(p_growth + b_position, mask=m_t[:, None], other=1)
                b_a, b_b, b_d = b_a * b_growth, b_b * b_growth, b_d * b_growth
        b_a, b_b, b_d = rounded(b_a, TYPE), rounded(b_b, TYPE), rounded(b_d, TYPE)
        tl.store(p_to + o_r, b_a, mask=m_r)
        tl.store(p_to + o_b, b_b, mask=m_r)
        tl.store(p_to + o_d, b_d, mask=m_d)
        if p_slot is not None:  # noqa: SIM102
            if is_key:
                # A cache of another dtype holds the rounded key, rounded again, as a reader of k would.
                p_page = p_k_pages + (b_page + (i_head - H)) * D * S + b_offset
                tl.store(p_page + o_r * S, rounded(b_a.to(tl.float32), p_k_pages.dtype.element_ty), mask=m_r)
                tl.store(p_page + o_b * S, rounded(b_b.to(tl.float32), p_k_pages.dtype.element_ty), mask=m_r)
                tl.store(p_page + o_d * S, rounded(b_d.to(tl.float32), p_k_pages.dtype.element_ty), mask=m_d)
    elif BACKWARD or p_slot is not None:
        i_kv = i_head - H - K
        o_e = tl.arange(0, BLOCK_E)[None, :]
        m_e = m_t[:, None] & (o_e < E)
        p_side_v = p_side + (H + K) * D + i_kv * E + o_e
        if BACKWARD:
            p_heads_v = p_v + (o_t[:, None] * K + i_kv) * E + o_e
            tl.store(p_side_v, tl.load(p_heads_v, mask=m_e, other=0), mask=m_e)
        else:
            b_v = tl.load(p_side_v, mask=m_e, other=0).to(tl.float32)
            p_page_v = p_v_pages + ((b_page + i_kv) * S + b_offset) * E + o_e
            tl.store(p_page_v, rounded(b_v, p_v_pages.dtype.element_ty), mask=m_e)


def _check_tables(
    x: Tensor, T: int, D: int, cos_MR: Tensor, sin_MR: Tensor, position_T: Tensor, growth_M1: Tensor | None
) -> int:
    """Return R; raise ValueError for tables or positions that do not belong to (T, heads, D)."""
    expect("cos_MR", cos_MR, (None, None), torch.float32, like=x)
    expect("sin_MR", sin_MR, cos_MR.shape, torch.float32, like=x)
    expect("position_T", position_T, (T,), (torch.int64, torch.int32), like=x)
    M, R = cos_MR.shape
    expect("growth_M1", growth_M1, (M, 1), torch.float32, like=x, optional=True)
    if not 1 <= R <= D // 2:
        raise ValueError(f"cos_MR must have 1 to {D // 2} columns for a head dim of {D}, got {R}")
    return R


def rope_store(
    qkv_TX: Tensor,
    heads: Heads,
    cos_MR: Tensor,
    sin_MR: Tensor,
    position_T: Tensor,
    slot_T: Tensor | None = None,
    k_PKDS: Tensor | None = None,
    v_PKSE: Tensor | None = None,
    growth_M1: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return (q_THD, k_TKD) rotated; put k and v into their slots (page * S + offset) of the pages, if any.

    `qkv_TX` holds the (H, K, D) = `heads` of q and k and the K of v, E wide, side by side. The first 2 R
    dimensions are rotated, in pairs (r, r + R); q is multiplied by its position's growth. Tables and growth
    are float32, pages of any dtype of ours. Raises ValueError for shapes that do not belong together, other
    dtypes or devices, and tensors that are not contiguous.
    """
    expect("qkv_TX", qkv_TX, (None, None))
    (T, X), (H, K, D) = qkv_TX.shape, heads
    E = (X - (H + K) * D) // K
    if E < 1 or (H + K) * D + K * E != X:
        raise ValueError(f"qkv_TX must be {H} + {K} heads of {D} and {K} of some width wide, got {X} columns")
    R = _check_tables(qkv_TX, T, D, cos_MR, sin_MR, position_T, growth_M1)
    S, cached = 1, slot_T is not None
    if (k_PKDS is None) == cached or (v_PKSE is None) == cached:
        raise ValueError("slot_T, k_PKDS and v_PKSE must be given together, or none of them")
    if slot_T is not None and k_PKDS is not None and v_PKSE is not None:
        expect("slot_T", slot_T, (T,), (torch.int64, torch.int32), like=qkv_TX)
        expect("k_PKDS", k_PKDS, (None, K, D, None), tuple(TYPES), like=qkv_TX)
        P, S = k_PKDS.shape[0], k_PKDS.shape[3]
        expect("v_PKSE", v_PKSE, (P, K, S, E), k_PKDS.dtype, like=qkv_TX)
    q_THD, k_TKD = qkv_TX.new_empty(T, H, D), qkv_TX.new_empty(T, K, D)
    choice = config(target(qkv_TX.device), D, E, R)
    # The values' heads only go into pages.
    launch(
        _rope_store, (triton.cdiv(T, choice["BLOCK_T"]), H + K + K * cached),
        qkv_TX, cos_MR, sin_MR, growth_M1, position_T, slot_T, q_THD, k_TKD, None, k_PKDS, v_PKSE,
        T, H, K, D, E, R, S, BACKWARD=False, **choice,
    )  # fmt: skip
    return q_THD, k_TKD


def rope_gradient(
    dq_THD: Tensor,
    dk_TKD: Tensor,
    dv_TKE: Tensor,
    cos_MR: Tensor,
    sin_MR: Tensor,
    position_T: Tensor,
    growth_M1: Tensor | None = None,
) -> Tensor:
    """Compute dqkv_TX from the gradients of what `rope_store` rotated and of values. Raises as it does."""
    expect("dq_THD", dq_THD, (None, None, None))
    T, H, D = dq_THD.shape
    expect("dk_TKD", dk_TKD, (T, None, D), like=dq_THD)
    expect("dv_TKE", dv_TKE, (T, dk_TKD.shape[1], None), like=dq_THD)
    K, E = dv_TKE.shape[1:]
    R = _check_tables(dq_THD, T, D, cos_MR, sin_MR, position_T, growth_M1)
    dqkv_TX = dq_THD.new_empty(T, (H + K) * D + K * E)
    choice = config(target(dq_THD.device), D, E, R)
    launch(
        _rope_store, (triton.cdiv(T, choice["BLOCK_T"]), H + 2 * K),
        dqkv_TX, cos_MR, sin_MR, growth_M1, position_T, None, dq_THD, dk_TKD, dv_TKE, None, None,
        T, H, K, D, E, R, 1, BACKWARD=True, **choice,
    )  # fmt: skip
    return dqkv_TX


def variants() -> Iterator[Variant]:
    """Yield Qwen3's heads (D = 128) with and without a cache, half of the dimensions, backward."""
    types = {"p_cos p_sin p_growth": "*fp32", "p_position p_slot": "*i64", "D E R S": "i32:16"}
    for kind in TYPES.values():
        for name, R, backward, absent in (
            ("rope_store", 64, False, "p_growth p_v"),
            ("rope_store partial growth", 32, False, "p_v"),
            ("rope_store without pages", 64, False, "p_growth p_v p_slot p_k_pages p_v_pages"),
            ("rope_gradient", 64, True, "p_growth p_slot p_k_pages p_v_pages"),
        ):
            choice = {"BACKWARD": backward, **config("sm_90", 128, 128, R)}
            targets = None if name in ("rope_store", "rope_gradient") else [REFERENCE]
            yield variant(f"{name} {kind} 128", _rope_store, kind, types, choice, absent, targets)
