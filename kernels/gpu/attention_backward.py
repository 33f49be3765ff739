"""Causal attention over packed sequences: the gradients.

Legend: T packed tokens, B sequences, H query heads, K kv heads, G = H / K, D head dim of queries and keys,
E head dim of values, N runs of tokens.
In kernels: p_ pointer, b_ tile in registers, o_ offsets, m_ mask, i_ program index.

FlashAttention-2's recomputation (Dao, 2023): probabilities come anew from the softmax's (max, sum), tile by
tile. One kernel owns rows of queries and walks over keys, for dq; one owns keys and walks over the rows of
all query heads of their kv head, for dk and dv. Each number is written once, by one program: no atomics, so
the gradients are the same in every run.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.checks import NO_WINDOW, check_heads, check_knobs
from kernels.gpu.attention_tile import (
    LOG2_E,
    choices,
    config,
    first_seen,
    products,
    score_factors,
    seen,
    tilt,
)
from kernels.gpu.language import dot, rounded, tanh
from kernels.gpu.launch import TYPES, expect, expect_precision, on, target, variant
from kernels.gpu.variant import REFERENCE, Variant
from kernels.tiling import positions, work_list

# Blocks of keys for which a row's delta is summed from weights.
FEW_BLOCKS = 2


@triton.jit
def gradient(
    b_s: tl.tensor,
    b_dp: tl.tensor,
    b_max: tl.tensor,
    b_sum: tl.tensor,
    b_delta: tl.tensor,
    m_seen: tl.tensor,
    b_tilt: tl.tensor,
    to_tanh: tl.tensor,
    to_log2: tl.tensor,
    SOFTCAP: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """(probabilities, gradient of the scaled products) from products and the gradient of probabilities.

    A row's max, sum and delta come broadcast along the keys; b_tilt is as in the forward.
    """
    if SOFTCAP:
        b_s = tanh(b_s * to_tanh)
    if b_tilt is None:
        b_e = tl.fma(b_s, to_log2, -b_max)
    else:
        b_e = tl.fma(b_s, to_log2, b_tilt) - b_max
    b_p = tl.exp2(tl.where(m_seen, b_e, float("-inf"))) / b_sum
    b_ds = b_p * (b_dp - b_delta)
    if SOFTCAP:
        b_ds = b_ds * tl.fma(-b_s, b_s, 1.0)
    return b_p, b_ds


@triton.jit
def look(
    b_q: tl.tensor,
    b_dout: tl.tensor,
    p_q: tl.tensor,
    p_dout: tl.tensor,
    m_m: tl.tensor,
    p_k: tl.tensor,
    p_v: tl.tensor,
    i_start: tl.tensor,
    i_head: tl.tensor,
    j: tl.tensor,
    last: tl.tensor,
    K: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK_D: tl.constexpr,
    CHUNK_E: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """(keys (D, N), products, gradients of probabilities) of rows with the keys of block j."""
    o_d, o_e, o_n = tl.arange(0, BLOCK_D), tl.arange(0, BLOCK_E), tl.arange(0, BLOCK_N)[None, :]
    m_n = j * BLOCK_N + o_n <= last
    o_first = ((i_start + j * BLOCK_N) * K + i_head).to(tl.int64)
    p_k += o_first * D + o_n * (K * D)
    p_v += o_first * E + o_n * (K * E)
    b_k = tl.load(p_k + o_d[:, None], mask=m_n & (o_d < D)[:, None], other=0.0)
    b_v = tl.load(p_v + o_e[:, None], mask=m_n & (o_e < E)[:, None], other=0.0)
    b_s = products(b_q, b_k, p_q, m_m, p_k, m_n, 1, D, BLOCK_D, CHUNK_D, PRECISION)
    b_dp = products(b_dout, b_v, p_dout, m_m, p_v, m_n, 1, E, BLOCK_E, CHUNK_E, PRECISION)
    return b_k, b_s, b_dp


@triton.jit
def attention_dq(
    p_q: tl.tensor,
    p_k: tl.tensor,
    p_v: tl.tensor,
    p_out: tl.tensor,
    p_dout: tl.tensor,
    p_softmax: tl.tensor,
    p_delta: tl.tensor,
    p_dq: tl.tensor,
    p_position: tl.tensor,
    p_tile: tl.tensor,
    p_slopes: tl.tensor,
    T: tl.tensor,
    window: tl.tensor,
    scale: tl.tensor,
    to_tanh: tl.tensor,
    to_log2: tl.tensor,
    K: tl.constexpr,
    G: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    SOFTCAP: tl.constexpr,
    CHUNKED: tl.constexpr,
    FEW_BLOCKS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK_D: tl.constexpr,
    CHUNK_E: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """One program: BLOCK_M rows of a run of tokens with the query heads of one kv head.

    delta is what all of a row's weights share, the sum of weight * gradient over its keys, and as well that
    of out * dout over E. The second is cheap; but where keys are few, most of a gradient is what the first's
    roundings leave when they cancel, so for at most FEW_BLOCKS blocks of keys it is worth a pass.
    """
    i_tile = tl.num_programs(0) - 1 - tl.program_id(0)
    i_head = tl.program_id(1)
    i_token = tl.load(p_tile + i_tile * 3 + 1)
    rows = tl.load(p_tile + i_tile * 3 + 2).to(tl.int32) * G

    o_m = tl.program_id(2) * BLOCK_M + tl.arange(0, BLOCK_M)
    m_m = o_m < rows
    o_d = tl.arange(0, BLOCK_D)
    o_e = tl.arange(0, BLOCK_E)
    o_n = tl.arange(0, BLOCK_N)
    m_d = m_m[:, None] & (o_d < D)[None, :]
    m_e = m_m[:, None] & (o_e < E)[None, :]
    o_row = (i_token + o_m // G) * (K * G) + i_head * G + o_m % G
    b_position = tl.load(p_position + i_token + o_m // G, mask=m_m, other=-1).to(tl.int32)[:, None]
    p_q += o_row[:, None] * D
    p_dout += o_row[:, None] * E
    b_q = tl.load(p_q + o_d[None, :], mask=m_d, other=0.0)
    b_dout = tl.load(p_dout + o_e[None, :], mask=m_e, other=0.0)
    b_max = tl.load(p_softmax + o_row, mask=m_m, other=0.0)[:, None]
    b_sum = tl.load(p_softmax + T.to(tl.int64) * (K * G) + o_row, mask=m_m, other=1.0)[:, None]

    last = tl.max(b_position)
    first = tl.min(tl.where(m_m[:, None], b_position, 1 << 30))
    begin = tl.maximum(first_seen(first, window, CHUNKED), 0) // BLOCK_N
    end = (last + BLOCK_N) // BLOCK_N
    i_start = i_token - tl.load(p_position + i_token)
    if p_slopes is not None:
        p_slopes += (i_head * G + o_m % G)[:, None]
    b_delta = tl.zeros((BLOCK_M,), tl.float32)
    if end - begin <= FEW_BLOCKS:
        for j in range(begin, end):
            _, b_s, b_dp = look(
                b_q, b_dout, p_q, p_dout, m_m[:, None], p_k, p_v, i_start, i_head, j, last,
                K, D, E, BLOCK_N, BLOCK_D, BLOCK_E, CHUNK_D, CHUNK_E, PRECISION,
            )  # fmt: skip
            o_key = j * BLOCK_N + o_n[None, :]
            m_seen = seen(o_key, b_position, window, CHUNKED)
            b_tilt = None
            if p_slopes is not None:
                b_tilt = tilt(p_slopes, o_key - b_position)
            b_p, _ = gradient(b_s, b_dp, b_max, b_sum, b_max, m_seen, b_tilt, to_tanh, to_log2, SOFTCAP)
            b_delta += tl.sum(b_p * b_dp, 1)
    else:
        b_out = tl.load(p_out + o_row[:, None] * E + o_e[None, :], mask=m_e, other=0.0)
        b_delta += tl.sum(b_out.to(tl.float32) * b_dout.to(tl.float32), 1)
    tl.store(p_delta + o_row, b_delta, mask=m_m)

    b_dq = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for j in range(begin, end):
        b_k, b_s, b_dp = look(
            b_q, b_dout, p_q, p_dout, m_m[:, None], p_k, p_v, i_start, i_head, j, last,
            K, D, E, BLOCK_N, BLOCK_D, BLOCK_E, CHUNK_D, CHUNK_E, PRECISION,
        )  # fmt: skip
        o_key = j * BLOCK_N + o_n[None, :]
        m_seen = seen(o_key, b_position, window, CHUNKED)
        b_tilt = None
        if p_slopes is not None:
            b_tilt = tilt(p_slopes, o_key - b_position)
        _, b_ds = gradient(
            b_s, b_dp, b_max, b_sum, b_delta[:, None], m_seen, b_tilt, to_tanh, to_log2, SOFTCAP
        )
        b_dq = dot(rounded(b_ds, b_k.dtype), tl.trans(b_k), b_dq, PRECISION)
    p_dq += o_row[:, None] * D + o_d[None, :]
    tl.store(p_dq, rounded(b_dq * scale, p_dq.dtype.element_ty), mask=m_d)


@triton.jit
def attention_dkdv(
    p_q: tl.tensor,
    p_k: tl.tensor,
    p_v: tl.tensor,
    p_dout: tl.tensor,
    p_softmax: tl.tensor,
    p_delta: tl.tensor,
    p_dk: tl.tensor,
    p_dv: tl.tensor,
    p_position: tl.tensor,
    p_tile: tl.tensor,
    p_bounds: tl.tensor,
    p_slopes: tl.tensor,
    T: tl.tensor,
    window: tl.tensor,
    scale: tl.tensor,
    to_tanh: tl.tensor,
    to_log2: tl.tensor,
    K: tl.constexpr,
    G: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    SOFTCAP: tl.constexpr,
    CHUNKED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK_D: tl.constexpr,
    CHUNK_E: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """One program: a run of at most BLOCK_N keys of one kv head, over the rows of its G query heads.

    A sequence's rows are its tokens times the G heads, token by token. Tiles stand keys by rows.
    """
    # The first runs of a sequence have the most rows.
    i_tile = tl.program_id(0)
    i_head = tl.program_id(1)
    i_seq = tl.load(p_tile + i_tile * 3)
    i_token = tl.load(p_tile + i_tile * 3 + 1)
    keys = tl.load(p_tile + i_tile * 3 + 2).to(tl.int32)
    position = tl.load(p_position + i_token).to(tl.int32)
    i_start = tl.load(p_bounds + i_seq)
    length = (tl.load(p_bounds + i_seq + 1) - i_start).to(tl.int32)

    o_n = tl.arange(0, BLOCK_N)
    m_n = (o_n < keys)[:, None]
    o_d = tl.arange(0, BLOCK_D)
    o_e = tl.arange(0, BLOCK_E)
    o_m = tl.arange(0, BLOCK_M)
    o_key = ((i_token + o_n) * K + i_head)[:, None]
    m_k = m_n & (o_d < D)[None, :]
    m_v = m_n & (o_e < E)[None, :]
    p_k += o_key * D
    p_v += o_key * E
    b_k = tl.load(p_k + o_d[None, :], mask=m_k, other=0.0)
    b_v = tl.load(p_v + o_e[None, :], mask=m_v, other=0.0)
    b_dk = tl.zeros((BLOCK_N, BLOCK_D), tl.float32)
    b_dv = tl.zeros((BLOCK_N, BLOCK_E), tl.float32)

    # The tokens that see some key of the run: from its first to the end of its last's window or chunk, but
    # for the runs at the list's end, which are empty.
    if CHUNKED:
        past = tl.minimum(length, (position + BLOCK_N - 1) // window * window + window)
    else:
        past = tl.minimum(length, position + BLOCK_N - 1 + tl.minimum(window, length))
    past = tl.where(keys > 0, past, 0)
    for i in range(position * G // BLOCK_M, (past * G + BLOCK_M - 1) // BLOCK_M):
        o_r = i * BLOCK_M + o_m
        m_r = o_r < length * G
        o_row = (i_start + o_r // G) * (K * G) + i_head * G + o_r % G
        p_q_m = p_q + o_row * D
        p_dout_m = p_dout + o_row * E
        b_q = tl.load(p_q_m[:, None] + o_d[None, :], mask=m_r[:, None] & (o_d < D)[None, :], other=0.0)
        b_dout = tl.load(p_dout_m[:, None] + o_e[None, :], mask=m_r[:, None] & (o_e < E)[None, :], other=0.0)
        b_max = tl.load(p_softmax + o_row, mask=m_r, other=0.0)[None, :]
        b_sum = tl.load(p_softmax + T.to(tl.int64) * (K * G) + o_row, mask=m_r, other=1.0)[None, :]
        b_delta = tl.load(p_delta + o_row, mask=m_r, other=0.0)[None, :]
        b_s = products(
            b_k, tl.trans(b_q), p_k, m_n, p_q_m[None, :], m_r[None, :], 1, D, BLOCK_D, CHUNK_D,
            PRECISION,
        )  # fmt: skip
        b_dp = products(
            b_v, tl.trans(b_dout), p_v, m_n, p_dout_m[None, :], m_r[None, :], 1, E, BLOCK_E, CHUNK_E,
            PRECISION,
        )  # fmt: skip
        o_back = (o_r // G)[None, :] - (position + o_n)[:, None]
        if CHUNKED:
            m_seen = seen((position + o_n)[:, None], (o_r // G)[None, :], window, CHUNKED) & m_r[None, :]
        else:
            m_seen = (o_back >= 0) & (o_back < window) & m_r[None, :]
        b_tilt = None
        if p_slopes is not None:
            b_tilt = tilt(p_slopes + (i_head * G + o_r % G)[None, :], -o_back)
        b_p, b_ds = gradient(b_s, b_dp, b_max, b_sum, b_delta, m_seen, b_tilt, to_tanh, to_log2, SOFTCAP)
        b_dv = dot(rounded(b_p, b_dout.dtype), b_dout, b_dv, PRECISION)
        b_dk = dot(rounded(b_ds, b_q.dtype), b_q, b_dk, PRECISION)
    p_dk += o_key * D + o_d[None, :]
    p_dv += o_key * E + o_e[None, :]
    tl.store(p_dk, rounded(b_dk * scale, p_dk.dtype.element_ty), mask=m_k)
    tl.store(p_dv, rounded(b_dv, p_dv.dtype.element_ty), mask=m_v)


def backward(
    dout_THE: torch.Tensor,
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKE: torch.Tensor,
    out_THE: torch.Tensor,
    softmax_2TH: torch.Tensor,
    bounds_B1: torch.Tensor,
    *,
    scale: float,
    window: int = 0,
    softcap: float | None = None,
    sinks_H: torch.Tensor | None = None,
    slopes_H: torch.Tensor | None = None,
    input_precision: str = "ieee",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Gradients (dq_THD, dk_TKD, dv_TKE, dsinks_H) of `kernels.gpu.attention.forward` over packed keys.

    `out_THE` and `softmax_2TH` are what it returned, `bounds_B1` (int64) says where sequences begin and the
    last ends; the rest is as it was there. Gradients have their inputs' dtypes and are summed in float32.
    Raises ValueError, before any launch, for arguments that do not fit.
    """
    check_knobs(scale, window, softcap, input_precision)
    expect("q", q_THD, (None, None, None))
    (T, H, D), dtype, device = q_THD.shape, q_THD.dtype, q_THD.device
    expect_precision(input_precision, device)
    expect("k", k_TKD, (T, None, D), like=q_THD)
    expect("v", v_TKE, (T, k_TKD.shape[1], None), like=q_THD)
    K, E = v_TKE.shape[1:]
    check_heads(H, K, D, E)
    expect("out", out_THE, (T, H, E), like=q_THD)
    expect("dout", dout_THE, (T, H, E), like=q_THD)
    expect("softmax_2TH", softmax_2TH, (2, T, H), torch.float32, like=q_THD)
    expect("bounds_B1", bounds_B1, (None,), torch.int64, like=q_THD)
    if sinks_H is not None:
        expect("sinks_H", sinks_H, (H,), (dtype, torch.float32), like=q_THD)
    if slopes_H is not None:
        expect("slopes_H", slopes_H, (H,), torch.float32, like=q_THD)
    dq_THD, dk_TKD, dv_TKE = (torch.empty_like(x) for x in (q_THD, k_TKD, v_TKE))
    if T == 0:
        return dq_THD, dk_TKD, dv_TKE, None if sinks_H is None else torch.zeros_like(sinks_H)

    G = H // K
    delta_TH = torch.empty((T, H), dtype=torch.float32, device=device)
    position_T = positions(bounds_B1, T)
    tensors = (q_THD, k_TKD, v_TKE)
    shared = (dout_THE, softmax_2TH, delta_TH)
    numbers = (T, abs(window) or NO_WINDOW, scale, *score_factors(scale, softcap))
    constants = {
        **{"K": K, "G": G, "D": D, "E": E, "SOFTCAP": softcap is not None},
        "CHUNKED": window < 0,
        **{"PRECISION": input_precision},
    }

    choice = config("dq", dtype, D, E, input_precision, target(device))
    tile_tokens = max(1, choice.BLOCK_M // G)
    tile_N3 = work_list(bounds_B1, T, tile_tokens)
    grid = (tile_N3.shape[0], K, triton.cdiv(tile_tokens * G, choice.BLOCK_M))
    with on(device):
        attention_dq[grid](
            *tensors,
            out_THE,
            *shared,
            dq_THD,
            position_T,
            tile_N3,
            slopes_H,
            *numbers,
            FEW_BLOCKS=FEW_BLOCKS,
            **constants,
            **choice.launch(D, E),
        )

    choice = config("dkdv", dtype, D, E, input_precision, target(device))
    tile_N3 = work_list(bounds_B1, T, choice.BLOCK_N)
    with on(device):
        attention_dkdv[(tile_N3.shape[0], K)](
            *tensors,
            *shared,
            dk_TKD,
            dv_TKE,
            position_T,
            tile_N3,
            bounds_B1,
            slopes_H,
            *numbers,
            **constants,
            **choice.launch(D, E),
        )
    if sinks_H is None:
        return dq_THD, dk_TKD, dv_TKE, None
    # A sink's value is nothing: its gradient is that of a weight whose share of dout is zero.
    weight_TH = torch.exp2(sinks_H.float() * LOG2_E - softmax_2TH[0]) / softmax_2TH[1]
    return dq_THD, dk_TKD, dv_TKE, (-weight_TH * delta_TH).sum(0).to(sinks_H.dtype)


def variants() -> list[Variant]:
    """Every dtype and size, with Qwen3's grouping, and Gemma's softcap where the sizes are Gemma's."""
    found = []
    for D, E, dtype, precision, name in choices():
        kind = TYPES[dtype]
        types = {
            **dict.fromkeys(("p_q", "p_k", "p_v", "p_out", "p_dout", "p_dq", "p_dk", "p_dv"), f"*{kind}"),
            **dict.fromkeys(("p_softmax", "p_delta", "p_slopes"), "*fp32"),
            **dict.fromkeys(("p_position", "p_tile", "p_bounds"), "*i64"),
            **dict.fromkeys(("T", "window"), "i32"),
            **dict.fromkeys(("scale", "to_tanh", "to_log2"), "fp32"),
        }
        for kernel, key, more in (
            (attention_dq, "dq", {"FEW_BLOCKS": FEW_BLOCKS}),
            (attention_dkdv, "dkdv", {}),
        ):
            choice = config(key, dtype, D, E, precision, name)
            constants = {
                **{"K": 8, "G": 2, "D": D, "E": E, "SOFTCAP": D == 256, "PRECISION": precision},
                "CHUNKED": False,
                **choice.constants(D, E),
                **more,
            }
            label = f"attention_{key} {kind} {precision} {D}/{E}"
            how = (choice.num_warps, choice.num_stages, [name])
            found.append(variant(label, kernel, types, constants | {"p_slopes": None}, *how))
            if D == 128 and precision == "ieee" and dtype != torch.float16 and name == REFERENCE:
                found.append(variant(f"{label} tilted", kernel, types, constants, *how))
                chunked = constants | {"p_slopes": None, "CHUNKED": True}
                found.append(variant(f"{label} chunked", kernel, types, chunked, *how))
    return found
