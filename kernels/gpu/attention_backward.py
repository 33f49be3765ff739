"""Causal attention over packed sequences: the gradients.

Legend: T packed tokens, B sequences, H query heads, K kv heads, G = H / K, D head dim of queries and keys,
E head dim of values, N runs of tokens.

FlashAttention-2's recomputation (Dao, 2023): probabilities come from the softmax's (max, sum), tile by
tile. One kernel owns rows of queries and walks over keys, for dq; one owns keys and walks over the rows of
all query heads of their kv head, for dk and dv. Each number is written once, by one program: no atomics, so
the gradients are the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.checks import check_heads
from kernels.gpu import attention_tile as tile
from kernels.gpu.attention_tile import config
from kernels.gpu.language import dot, rounded, tanh
from kernels.gpu.launch import expect, launch, target
from kernels.gpu.variant import Variant
from kernels.knobs import Scores
from kernels.tiling import positions, work_list

# Blocks of keys for which a row's delta is summed from weights.
FEW_BLOCKS = tl.constexpr(2)


class Inputs(NamedTuple):
    """What both kernels read; p_delta is written by the first."""

    p_q: tl.tensor
    p_k: tl.tensor
    p_v: tl.tensor
    p_dout: tl.tensor
    p_softmax: tl.tensor
    p_delta: tl.tensor
    T: tl.tensor


class Saved(NamedTuple):
    """The softmax of rows, and what a row's weights share of the gradient, to be broadcast along the keys."""

    max: tl.tensor
    sum: tl.tensor
    delta: tl.tensor


@triton.jit
def gradient(
    b_s: tl.tensor, b_dp: tl.tensor, saved: Saved, m_seen: tl.tensor, b_tilt: tl.tensor, scoring: tile.Scoring
) -> tuple[tl.tensor, tl.tensor]:
    """Compute (probabilities, gradient of the scaled products) from products and probabilities' gradients."""
    if scoring.SOFTCAP:
        b_s = tanh(b_s * scoring.to_tanh)
    if b_tilt is None:
        b_e = tl.fma(b_s, scoring.to_log2, -saved.max)
    else:
        b_e = tl.fma(b_s, scoring.to_log2, b_tilt) - saved.max
    b_p = tl.exp2(tl.where(m_seen, b_e, float("-inf"))) / saved.sum
    b_ds = b_p * (b_dp - saved.delta)
    if scoring.SOFTCAP:
        b_ds = b_ds * tl.fma(-b_s, b_s, 1.0)
    return b_p, b_ds


@triton.jit
def visit(
    q: tile.Operand, dout: tile.Operand, rows: tile.Rows, inputs: Inputs, saved: Saved, j: tl.tensor,
    scoring: tile.Scoring, size: tile.Sizes,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """Compute (keys (D, N), d probabilities, probabilities, d products) of rows and key block j."""
    D: tl.constexpr = size.D
    E: tl.constexpr = size.E
    o_d, o_e = tl.arange(0, size.BLOCK_D), tl.arange(0, size.BLOCK_E)
    o_n, i_head = tl.arange(0, size.BLOCK_N)[None, :], tl.program_id(1)
    o_key = j * size.BLOCK_N + o_n
    m_n = o_key <= rows.last
    o_first = ((rows.start + j * size.BLOCK_N) * size.K + i_head).to(tl.int64)
    p_k = inputs.p_k + (o_first * D + o_n * (size.K * D))
    p_v = inputs.p_v + (o_first * E + o_n * (size.K * E))
    b_k = tl.load(p_k + o_d[:, None], mask=m_n & (o_d < D)[:, None], other=0.0)
    b_v = tl.load(p_v + o_e[:, None], mask=m_n & (o_e < E)[:, None], other=0.0)
    b_s = tile.products(q, tile.Operand(b_k, p_k, m_n), 1, D, size.CHUNK_D, size.PRECISION)
    b_dp = tile.products(dout, tile.Operand(b_v, p_v, m_n), 1, E, size.CHUNK_E, size.PRECISION)
    m_seen = tile.seen(o_key, rows.position, scoring)
    b_tilt = None
    if scoring.p_slopes is not None:
        p_slopes = scoring.p_slopes + (i_head * size.G + rows.head)[:, None]
        b_tilt = tile.tilt(p_slopes, o_key - rows.position)
    b_p, b_ds = gradient(b_s, b_dp, saved, m_seen, b_tilt, scoring)
    return b_k, b_dp, b_p, b_ds


@triton.jit
def gradient_q(
    inputs: Inputs, p_out: tl.tensor, p_dq: tl.tensor, p_position: tl.tensor, p_tile: tl.tensor,
    scale: tl.tensor, scoring: tile.Scoring, size: tile.Sizes,
) -> None:  # fmt: skip
    """Sum this program's delta and dq over the keys that its rows see."""
    rows = tile.rows_of(p_position, p_tile, scoring, size)
    q = tile.read(inputs.p_q + rows.place[:, None] * size.D, rows.mask[:, None], size.D, size.BLOCK_D)
    dout = tile.read(inputs.p_dout + rows.place[:, None] * size.E, rows.mask[:, None], size.E, size.BLOCK_E)
    b_max = tl.load(inputs.p_softmax + rows.place, mask=rows.mask, other=0.0)[:, None]
    p_sum = inputs.p_softmax + inputs.T.to(tl.int64) * (size.K * size.G) + rows.place
    b_sum = tl.load(p_sum, mask=rows.mask, other=1.0)[:, None]

    BLOCK_M: tl.constexpr = size.BLOCK_M
    b_delta = tl.zeros((BLOCK_M,), tl.float32)
    if rows.end - rows.begin <= FEW_BLOCKS:
        unknown = Saved(b_max, b_sum, b_max)
        for j in range(rows.begin, rows.end):
            _, b_dp, b_p, _ = visit(q, dout, rows, inputs, unknown, j, scoring, size)
            b_delta += tl.sum(b_p * b_dp, 1)
    else:
        b_out = tile.read(p_out + rows.place[:, None] * size.E, rows.mask[:, None], size.E, size.BLOCK_E).tile
        b_delta += tl.sum(b_out.to(tl.float32) * dout.tile.to(tl.float32), 1)
    tl.store(inputs.p_delta + rows.place, b_delta, mask=rows.mask)

    saved = Saved(b_max, b_sum, b_delta[:, None])
    b_dq = tl.zeros((BLOCK_M, size.BLOCK_D), tl.float32)
    for j in range(rows.begin, rows.end):
        b_k, _, _, b_ds = visit(q, dout, rows, inputs, saved, j, scoring, size)
        b_dq = dot(rounded(b_ds, b_k.dtype), tl.trans(b_k), b_dq, size.PRECISION)
    o_d = tl.arange(0, size.BLOCK_D)
    p_dq += rows.place[:, None] * size.D + o_d[None, :]
    m_d = rows.mask[:, None] & (o_d < size.D)[None, :]
    tl.store(p_dq, rounded(b_dq * scale, p_dq.dtype.element_ty), mask=m_d)


@triton.jit(do_not_specialize=["T"])
def attention_dq(
    p_q: tl.tensor, p_k: tl.tensor, p_v: tl.tensor, p_out: tl.tensor, p_dout: tl.tensor,
    p_softmax: tl.tensor, p_delta: tl.tensor, p_dq: tl.tensor, p_position: tl.tensor, p_tile: tl.tensor,
    p_slopes: tl.tensor,
    T: tl.tensor, window: tl.tensor, scale: tl.tensor, to_tanh: tl.tensor, to_log2: tl.tensor,
    K: tl.constexpr, G: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
    SOFTCAP: tl.constexpr, CHUNKED: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    CHUNK_D: tl.constexpr, CHUNK_E: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Compute delta and dq of one tile: BLOCK_M rows of a run of tokens with the query heads of a kv head.

    delta is what all of a row's weights share, the sum of weight * gradient over its keys, and as well that
    of out * dout over E. The second is cheap; but where keys are few, most of a gradient is what the first's
    roundings leave when they cancel, so for at most FEW_BLOCKS blocks of keys it is worth a pass.
    """
    gradient_q(
        Inputs(p_q, p_k, p_v, p_dout, p_softmax, p_delta, T), p_out, p_dq, p_position, p_tile, scale,
        tile.Scoring(p_slopes, window, to_tanh, to_log2, SOFTCAP, CHUNKED),
        tile.Sizes(K, G, D, E, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_E, CHUNK_D, CHUNK_E, PRECISION),
    )  # fmt: skip


@triton.jit
def gradient_kv(
    inputs: Inputs, p_dk: tl.tensor, p_dv: tl.tensor, p_position: tl.tensor, p_tile: tl.tensor,
    p_bounds: tl.tensor, scale: tl.tensor, scoring: tile.Scoring, size: tile.Sizes,
) -> None:  # fmt: skip
    """Sum this program's dk and dv over the rows that see its keys."""
    BLOCK_M: tl.constexpr = size.BLOCK_M
    BLOCK_N: tl.constexpr = size.BLOCK_N
    D: tl.constexpr = size.D
    E: tl.constexpr = size.E
    # The first runs of a sequence have the most rows.
    i_tile, i_head = tl.program_id(0), tl.program_id(1)
    i_seq = tl.load(p_tile + i_tile * 3)
    i_token = tl.load(p_tile + i_tile * 3 + 1)
    keys = tl.load(p_tile + i_tile * 3 + 2).to(tl.int32)
    position = tl.load(p_position + i_token).to(tl.int32)
    i_start = tl.load(p_bounds + i_seq)
    length = (tl.load(p_bounds + i_seq + 1) - i_start).to(tl.int32)

    o_n = tl.arange(0, BLOCK_N)
    m_n = (o_n < keys)[:, None]
    o_key = ((i_token + o_n) * size.K + i_head)[:, None]
    k = tile.read(inputs.p_k + o_key * D, m_n, D, size.BLOCK_D)
    v = tile.read(inputs.p_v + o_key * E, m_n, E, size.BLOCK_E)
    b_dk = tl.zeros((BLOCK_N, size.BLOCK_D), tl.float32)
    b_dv = tl.zeros((BLOCK_N, size.BLOCK_E), tl.float32)

    # The tokens that see some key of the run: from its first to the end of its last's window or chunk, but
    # for the runs at the list's end, which are empty.
    if scoring.CHUNKED:
        past = (position + BLOCK_N - 1) // scoring.window * scoring.window + scoring.window
    else:
        past = position + BLOCK_N - 1 + tl.minimum(scoring.window, length)
    past = tl.where(keys > 0, tl.minimum(length, past), 0)
    for i in range(position * size.G // BLOCK_M, (past * size.G + BLOCK_M - 1) // BLOCK_M):
        o_r = i * BLOCK_M + tl.arange(0, BLOCK_M)
        m_r = o_r < length * size.G
        o_row = (i_start + o_r // size.G) * (size.K * size.G) + i_head * size.G + o_r % size.G
        p_q, p_dout = inputs.p_q + o_row * D, inputs.p_dout + o_row * E
        b_q = tile.read(p_q[:, None], m_r[:, None], D, size.BLOCK_D).tile
        b_dout = tile.read(p_dout[:, None], m_r[:, None], E, size.BLOCK_E).tile
        b_max = tl.load(inputs.p_softmax + o_row, mask=m_r, other=0.0)[None, :]
        p_sum = inputs.p_softmax + inputs.T.to(tl.int64) * (size.K * size.G) + o_row
        b_sum = tl.load(p_sum, mask=m_r, other=1.0)[None, :]
        saved = Saved(b_max, b_sum, tl.load(inputs.p_delta + o_row, mask=m_r, other=0.0)[None, :])
        q = tile.Operand(tl.trans(b_q), p_q[None, :], m_r[None, :])
        b_s = tile.products(k, q, 1, D, size.CHUNK_D, size.PRECISION)
        dout = tile.Operand(tl.trans(b_dout), p_dout[None, :], m_r[None, :])
        b_dp = tile.products(v, dout, 1, E, size.CHUNK_E, size.PRECISION)
        o_back = (o_r // size.G)[None, :] - (position + o_n)[:, None]
        if scoring.CHUNKED:
            m_seen = tile.seen((position + o_n)[:, None], (o_r // size.G)[None, :], scoring) & m_r[None, :]
        else:
            m_seen = (o_back >= 0) & (o_back < scoring.window) & m_r[None, :]
        b_tilt = None
        if scoring.p_slopes is not None:
            b_tilt = tile.tilt(scoring.p_slopes + (i_head * size.G + o_r % size.G)[None, :], -o_back)
        b_p, b_ds = gradient(b_s, b_dp, saved, m_seen, b_tilt, scoring)
        b_dv = dot(rounded(b_p, b_dout.dtype), b_dout, b_dv, size.PRECISION)
        b_dk = dot(rounded(b_ds, b_q.dtype), b_q, b_dk, size.PRECISION)
    o_d, o_e = tl.arange(0, size.BLOCK_D), tl.arange(0, size.BLOCK_E)
    p_dk += o_key * D + o_d[None, :]
    p_dv += o_key * E + o_e[None, :]
    tl.store(p_dk, rounded(b_dk * scale, p_dk.dtype.element_ty), mask=m_n & (o_d < D)[None, :])
    tl.store(p_dv, rounded(b_dv, p_dv.dtype.element_ty), mask=m_n & (o_e < E)[None, :])


@triton.jit(do_not_specialize=["T"])
def attention_dkdv(
    p_q: tl.tensor, p_k: tl.tensor, p_v: tl.tensor, p_dout: tl.tensor, p_softmax: tl.tensor,
    p_delta: tl.tensor, p_dk: tl.tensor, p_dv: tl.tensor, p_position: tl.tensor, p_tile: tl.tensor,
    p_bounds: tl.tensor, p_slopes: tl.tensor,
    T: tl.tensor, window: tl.tensor, scale: tl.tensor, to_tanh: tl.tensor, to_log2: tl.tensor,
    K: tl.constexpr, G: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
    SOFTCAP: tl.constexpr, CHUNKED: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    CHUNK_D: tl.constexpr, CHUNK_E: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Compute dk and dv of a run of at most BLOCK_N keys of one kv head, over the rows of its G query heads.

    A sequence's rows are its tokens times the G heads, token by token. Tiles stand keys by rows.
    """
    gradient_kv(
        Inputs(p_q, p_k, p_v, p_dout, p_softmax, p_delta, T), p_dk, p_dv, p_position, p_tile, p_bounds, scale,
        tile.Scoring(p_slopes, window, to_tanh, to_log2, SOFTCAP, CHUNKED),
        tile.Sizes(K, G, D, E, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_E, CHUNK_D, CHUNK_E, PRECISION),
    )  # fmt: skip


def backward(
    dout_THE: Tensor,
    q_THD: Tensor,
    k_TKD: Tensor,
    v_TKE: Tensor,
    out_THE: Tensor,
    softmax_2TH: Tensor,
    bounds_B1: Tensor,
    scores: Scores,
    sinks_H: Tensor | None = None,
    input_precision: str = "ieee",
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Compute the gradients (dq_THD, dk_TKD, dv_TKE, dsinks_H) of `kernels.gpu.attention.forward`, packed.

    `out_THE` and `softmax_2TH` are what it returned, `bounds_B1` (int64) says where sequences begin and the
    last ends. Gradients have their inputs' dtypes and are summed in float32. Raises as `forward` does.
    """
    T, H, D = tile.check(q_THD, scores, sinks_H, input_precision)
    expect("k", k_TKD, (T, None, D), like=q_THD)
    expect("v", v_TKE, (T, k_TKD.shape[1], None), like=q_THD)
    K, E = v_TKE.shape[1:]
    check_heads(H, K, D, E)
    expect("out", out_THE, (T, H, E), like=q_THD)
    expect("dout", dout_THE, (T, H, E), like=q_THD)
    expect("softmax_2TH", softmax_2TH, (2, T, H), torch.float32, like=q_THD)
    expect("bounds_B1", bounds_B1, (None,), torch.int64, like=q_THD)
    dq_THD, dk_TKD, dv_TKE = (torch.empty_like(x) for x in (q_THD, k_TKD, v_TKE))
    if T == 0:
        return dq_THD, dk_TKD, dv_TKE, None if sinks_H is None else torch.zeros_like(sinks_H)

    G, device = H // K, q_THD.device
    delta_TH = torch.empty((T, H), dtype=torch.float32, device=device)
    position_T = positions(bounds_B1, T)
    tensors, shared = (q_THD, k_TKD, v_TKE), (dout_THE, softmax_2TH, delta_TH)
    knobs = {"T": T, "scale": scores.scale, "K": K, "G": G, "PRECISION": input_precision}
    knobs |= tile.score_arguments(scores)

    choice = config("dq", q_THD.dtype, D, E, input_precision, target(device))
    tile_tokens = max(1, choice.BLOCK_M // G)
    tile_N3 = work_list(bounds_B1, T, tile_tokens)
    launch(
        attention_dq, (tile_N3.shape[0], K, triton.cdiv(tile_tokens * G, choice.BLOCK_M)),
        *tensors, out_THE, *shared, dq_THD, position_T, tile_N3, **knobs, **choice.launch(D, E),
    )  # fmt: skip
    choice = config("dkdv", q_THD.dtype, D, E, input_precision, target(device))
    tile_N3 = work_list(bounds_B1, T, choice.BLOCK_N)
    launch(
        attention_dkdv, (tile_N3.shape[0], K),
        *tensors, *shared, dk_TKD, dv_TKE, position_T, tile_N3, bounds_B1, **knobs, **choice.launch(D, E),
    )  # fmt: skip
    if sinks_H is None:
        return dq_THD, dk_TKD, dv_TKE, None
    # A sink's value is nothing: its gradient is that of a weight whose share of dout is zero.
    weight_TH = torch.exp2(sinks_H.float() * tile.LOG2_E - softmax_2TH[0]) / softmax_2TH[1]
    return dq_THD, dk_TKD, dv_TKE, (-weight_TH * delta_TH).sum(0).to(sinks_H.dtype)


def variants() -> Iterator[Variant]:
    """Yield both kernels in every dtype and size."""
    uses = {"packed": ("p_slopes", {}), "tilted": ("", {}), "chunked": ("p_slopes", {"CHUNKED": True})}
    yield from tile.variants_of(attention_dq, "dq", uses)
    yield from tile.variants_of(attention_dkdv, "dkdv", uses)
