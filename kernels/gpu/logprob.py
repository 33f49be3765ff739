"""Logprobs of chosen tokens from hidden states, without keeping (R, V), and their gradients, in Triton.

Forward: a program takes some rows and CHUNK columns of the vocabulary, tile after tile, and keeps each row's
running maximum and sum of exponentials (online softmax: Milakov and Gimelshein, 2018); a second kernel adds
up a row's chunks, from the first to the last. Tiles and chunks have one size for any number of rows, so a
row's bits are its own. Logits are never rounded: they stay in float32 from the product on.

Backward: SPAN columns of the vocabulary at a time are made again as d logits, in the hidden states' dtype
as autograd would have them, and multiplied by the kernels of `kernels.gpu.matmul`: d hidden is a sum over
spans, in order, in float32; each part of d head is written once. No atomics.

Legend: R rows, C model width, V vocabulary, P panels, W panel width, G chunks of the vocabulary.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kernels.gpu.language import rounded, tanh
from kernels.gpu.launch import (
    TYPES,
    choices,
    expect,
    expect_precision,
    on,
    target,
    variant,
)
from kernels.gpu.matmul import Span, Tile, matmul_gradient_w, matmul_gradient_x, product
from kernels.gpu.variant import REFERENCE, Variant
from kernels.panels import PANEL

# Columns of the vocabulary whose d logits are there at a time: a whole number of tiles, for any target.
SPAN = 16384
# Columns of given logits that a program takes at a time.
BLOCK_V = 4096


def config(target: str, dtype: torch.dtype, precision: str) -> tuple[Tile, int]:
    """The one tile for any number of rows, and CHUNK, a whole number of its columns."""
    if target == "interpret":
        return Tile(32, 64, 32, 1, 1), 128
    if dtype != torch.float32:
        return Tile(64, 128, 64, 4, 2 if target == "gfx942" else 3), 1024
    if precision == "ieee":
        return Tile(64, 64, 32, 8, 2), 1024
    return Tile(64, 64, 32, 4, 2 if target == "gfx942" else 3), 1024


@triton.jit
def _logits(
    p_hidden: tl.tensor,
    p_head: tl.tensor,
    p_bias: tl.tensor,
    o_m: tl.tensor,
    m_m: tl.tensor,
    o_n: tl.tensor,
    C: tl.tensor,
    V: tl.tensor,
    multiplier: tl.tensor,
    softcap: tl.tensor,
    SOFTCAP: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """A tile of logits, capped, before the temperature; what stands past V is not for use."""
    b_logits = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    m_n = o_n < (V + 31) // 32 * 32
    rows, columns = Span(o_m, m_m), Span(o_n, m_n)
    b_logits = product(b_logits, p_hidden, p_head, rows, columns, C, C, False, BLOCK_K, PRECISION)
    if p_bias is not None:
        b_logits += tl.load(p_bias + o_n, mask=o_n < V, other=0).to(tl.float32)[None, :]
    b_logits *= multiplier
    if SOFTCAP:
        b_logits = tanh(b_logits / softcap) * softcap
    return b_logits


@triton.jit(do_not_specialize=["R"])
def _chunks(
    p_hidden: tl.tensor,
    p_head: tl.tensor,
    p_bias: tl.tensor,
    p_token: tl.tensor,
    p_heat: tl.tensor,
    p_max: tl.tensor,
    p_sum: tl.tensor,
    p_chosen: tl.tensor,
    R: tl.tensor,
    C: tl.tensor,
    V: tl.tensor,
    multiplier: tl.tensor,
    softcap: tl.tensor,
    SOFTCAP: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Program (rows, chunk): each row's maximum, sum of exponentials, and chosen logit if it is here."""
    o_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    m_m = o_m < R
    i_chunk = tl.program_id(1)
    b_token = tl.load(p_token + o_m, mask=m_m, other=-1).to(tl.int32)
    b_heat = tl.load(p_heat + o_m, mask=m_m, other=1)[:, None]
    b_max = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    b_sum = tl.zeros((BLOCK_M,), tl.float32)
    b_chosen = tl.zeros((BLOCK_M,), tl.float32)
    last = min((i_chunk + 1) * CHUNK, V)
    for n0 in range(i_chunk * CHUNK, last, BLOCK_N):
        o_n = n0 + tl.arange(0, BLOCK_N)
        b_x = _logits(
            p_hidden, p_head, p_bias, o_m, m_m, o_n, C, V, multiplier, softcap,
            SOFTCAP, BLOCK_M, BLOCK_N, BLOCK_K, PRECISION,
        )  # fmt: skip
        b_x = tl.where((o_n < V)[None, :], b_x / b_heat, float("-inf"))
        b_chosen += tl.sum(tl.where(o_n[None, :] == b_token[:, None], b_x, 0), 1)
        b_new = tl.maximum(b_max, tl.max(b_x, 1))
        b_sum = b_sum * tl.exp(b_max - b_new) + tl.sum(tl.exp(b_x - b_new[:, None]), 1)
        b_max = b_new
    o_part = i_chunk.to(tl.int64) * R + o_m
    tl.store(p_max + o_part, b_max, mask=m_m)
    tl.store(p_sum + o_part, b_sum, mask=m_m)
    m_here = (b_token >= i_chunk * CHUNK) & (b_token < last)
    tl.store(p_chosen + o_m, b_chosen, mask=m_m & m_here)


@triton.jit(do_not_specialize=["R"])
def _merge(
    p_token: tl.tensor,
    p_max: tl.tensor,
    p_sum: tl.tensor,
    p_chosen: tl.tensor,
    p_softmax: tl.tensor,
    R: tl.tensor,
    V: tl.tensor,
    chunks: tl.tensor,
    BLOCK_R: tl.constexpr,
) -> None:
    """Maximum and log of the sum of a row, one row a thread; p_chosen, the logit, becomes the logprob."""
    o_r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    m_r = o_r < R
    b_max = tl.full((BLOCK_R,), float("-inf"), tl.float32)
    b_sum = tl.zeros((BLOCK_R,), tl.float32)
    for i_chunk in range(0, chunks):
        o_part = tl.cast(i_chunk, tl.int64) * R + o_r
        b_part = tl.load(p_max + o_part, mask=m_r, other=0)
        b_new = tl.maximum(b_max, b_part)
        b_part_sum = tl.load(p_sum + o_part, mask=m_r, other=1)
        b_sum = b_sum * tl.exp(b_max - b_new) + b_part_sum * tl.exp(b_part - b_new)
        b_max = b_new
    b_log = tl.log(b_sum)
    tl.store(p_softmax + o_r, b_max, mask=m_r)
    tl.store(p_softmax + R + o_r, b_log, mask=m_r)
    b_token = tl.load(p_token + o_r, mask=m_r, other=0)
    b_chosen = tl.load(p_chosen + o_r, mask=m_r, other=0)
    # A token that is none was in no chunk; there is no other way to say so from a device.
    m_known = (b_token >= 0) & (b_token < V)
    tl.store(p_chosen + o_r, tl.where(m_known, b_chosen - b_max - b_log, float("nan")), mask=m_r)


@triton.jit
def _softmax(
    p_logits: tl.tensor,
    p_heat: tl.tensor,
    p_softmax: tl.tensor,
    p_out: tl.tensor,
    R: tl.tensor,
    V: tl.tensor,
    BLOCK_V: tl.constexpr,
) -> None:
    """Program (row): maximum and log of the sum, BLOCK_V columns at a time, and all logprobs if asked for."""
    i_r = tl.program_id(0).to(tl.int64)
    p_row = p_logits + i_r * V
    b_heat = tl.load(p_heat + i_r)
    b_max = tl.full((BLOCK_V,), float("-inf"), tl.float32)
    for v0 in range(0, V, BLOCK_V):
        o_v = v0 + tl.arange(0, BLOCK_V)
        b_max = tl.maximum(b_max, tl.load(p_row + o_v, mask=o_v < V, other=float("-inf")) / b_heat)
    b_top = tl.max(b_max, 0)
    b_sum = tl.zeros((BLOCK_V,), tl.float32)
    for v0 in range(0, V, BLOCK_V):
        o_v = v0 + tl.arange(0, BLOCK_V)
        b_x = tl.load(p_row + o_v, mask=o_v < V, other=float("-inf")) / b_heat
        b_sum += tl.exp(b_x - b_top)
    b_log = tl.log(tl.sum(b_sum, 0))
    tl.store(p_softmax + i_r, b_top)
    tl.store(p_softmax + R + i_r, b_log)
    if p_out is not None:
        for v0 in range(0, V, BLOCK_V):
            o_v = v0 + tl.arange(0, BLOCK_V)
            b_x = tl.load(p_row + o_v, mask=o_v < V, other=0) / b_heat
            tl.store(p_out + i_r * V + o_v, (b_x - b_top) - b_log, mask=o_v < V)


@triton.jit(do_not_specialize=["R"])
def _dlogits(
    p_hidden: tl.tensor,
    p_head: tl.tensor,
    p_bias: tl.tensor,
    p_token: tl.tensor,
    p_heat: tl.tensor,
    p_softmax: tl.tensor,
    p_grad: tl.tensor,
    p_out: tl.tensor,
    R: tl.tensor,
    C: tl.tensor,
    V: tl.tensor,
    start: tl.tensor,
    width: tl.tensor,
    multiplier: tl.tensor,
    softcap: tl.tensor,
    SOFTCAP: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Program (rows, columns): grad * d logprob / d product, for `width` columns from `start` on."""
    o_m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    m_m = o_m < R
    o_place = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    o_n = start + o_place
    b_x = _logits(
        p_hidden, p_head, p_bias, o_m, m_m, o_n, C, V, multiplier, softcap,
        SOFTCAP, BLOCK_M, BLOCK_N, BLOCK_K, PRECISION,
    )  # fmt: skip
    b_token = tl.load(p_token + o_m, mask=m_m, other=-1).to(tl.int32)
    b_heat = tl.load(p_heat + o_m, mask=m_m, other=1)[:, None]
    b_max = tl.load(p_softmax + o_m, mask=m_m, other=0)[:, None]
    b_log = tl.load(p_softmax + R + o_m, mask=m_m, other=0)[:, None]
    b_grad = tl.load(p_grad + o_m, mask=m_m, other=0)[:, None]
    b_d = tl.where(o_n[None, :] == b_token[:, None], 1.0, 0.0) - tl.exp(b_x / b_heat - b_max - b_log)
    b_d = b_d * b_grad / b_heat * multiplier
    if SOFTCAP:
        b_tanh = b_x / softcap
        b_d *= 1 - b_tanh * b_tanh
    p_tile = p_out + o_m.to(tl.int64)[:, None] * width + o_place[None, :]
    tl.store(p_tile, rounded(b_d, p_out.dtype.element_ty), mask=m_m[:, None] & (o_place < width)[None, :])


def _check(
    hidden_RC: torch.Tensor,
    head_PCW: torch.Tensor,
    V: int,
    token_R: torch.Tensor,
    temperature: float | torch.Tensor,
    bias_V: torch.Tensor | None,
    softcap: float | None,
    precision: str,
) -> torch.Tensor:
    """Each row's temperature; raises ValueError for what does not belong together."""
    expect("hidden_RC", hidden_RC, (None, None))
    R, C = hidden_RC.shape
    expect("head_PCW", head_PCW, (triton.cdiv(V, PANEL), C, PANEL), like=hidden_RC)
    expect("token_R", token_R, (R,), (torch.int64, torch.int32), like=hidden_RC)
    if bias_V is not None:
        expect("bias_V", bias_V, (V,), like=hidden_RC)
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap must be above 0, or None for none, got {softcap}")
    expect_precision(precision, hidden_RC.device)
    if isinstance(temperature, torch.Tensor):
        expect("temperature", temperature, (R,), torch.float32, like=hidden_RC)
        return temperature
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    return torch.full((R,), temperature, dtype=torch.float32, device=hidden_RC.device)


def softmax(logits_RV: torch.Tensor, heat_R: torch.Tensor) -> torch.Tensor:
    """Each row's maximum over temperature, and the log of its sum of exponentials of differences; (2, R).

    Of float32 logits, and temperatures above 0. Row-invariant. Raises ValueError as `chosen_logprobs` does.
    """
    return _rows(logits_RV, heat_R, whole=False)[0]


def log_softmax(logits_RV: torch.Tensor, heat_R: torch.Tensor) -> torch.Tensor:
    """log softmax(logits / heat), (R, V): what `softmax` gives is what a logit over its heat is less."""
    out_RV = _rows(logits_RV, heat_R, whole=True)[1]
    assert out_RV is not None
    return out_RV


def _rows(
    logits_RV: torch.Tensor, heat_R: torch.Tensor, whole: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    expect("logits_RV", logits_RV, (None, None), torch.float32)
    R, V = logits_RV.shape
    expect("heat_R", heat_R, (R,), torch.float32, like=logits_RV)
    softmax_2R = torch.empty(2, R, dtype=torch.float32, device=logits_RV.device)
    out_RV = torch.empty_like(logits_RV) if whole else None
    if R:
        with on(logits_RV.device):
            _softmax[(R,)](logits_RV, heat_R, softmax_2R, out_RV, R, V, BLOCK_V=BLOCK_V, num_warps=8)
    return softmax_2R, out_RV


def chosen_logprobs(
    hidden_RC: torch.Tensor,
    head_PCW: torch.Tensor,
    V: int,
    token_R: torch.Tensor,
    temperature: float | torch.Tensor = 1.0,
    bias_V: torch.Tensor | None = None,
    multiplier: float = 1.0,
    softcap: float | None = None,
    precision: str = "ieee",
) -> tuple[torch.Tensor, torch.Tensor]:
    """(logprob of token_R[r] after row r, (R,); what the gradient needs, (2, R)), both float32.

    The second is each row's largest logit over temperature, and the log of its sum of exponentials of the
    differences to that: apart, they keep the digits that their sum would lose.

    Logits are cap((hidden @ head + bias) * multiplier) / temperature, cap(x) = softcap * tanh(x / softcap);
    the temperature is one number, or float32 (R,). Row-invariant. The logprob of an id outside 0 to V - 1 is
    NaN. Raises ValueError for shapes that do not belong together, mixed dtypes or devices, tensors that are
    not contiguous, and a temperature or softcap that is not above 0.
    """
    heat_R = _check(hidden_RC, head_PCW, V, token_R, temperature, bias_V, softcap, precision)
    (R, C), device = hidden_RC.shape, hidden_RC.device
    tile, CHUNK = config(target(device), hidden_RC.dtype, precision)
    G = triton.cdiv(V, CHUNK)
    chosen_R = torch.empty(R, dtype=torch.float32, device=device)
    softmax_2R = torch.empty(2, R, dtype=torch.float32, device=device)
    max_GR, sum_GR = (torch.empty(G, R, dtype=torch.float32, device=device) for _ in range(2))
    if not R:
        return chosen_R, softmax_2R
    with on(device):
        _chunks[(triton.cdiv(R, tile.BLOCK_M), G)](
            hidden_RC, head_PCW, bias_V, token_R, heat_R, max_GR, sum_GR, chosen_R, R, C, V,
            float(multiplier), softcap or 1.0, SOFTCAP=softcap is not None, CHUNK=CHUNK,
            **tile.constants, PRECISION=precision,
            num_warps=tile.num_warps, num_stages=tile.num_stages,
        )  # fmt: skip
        _merge[(triton.cdiv(R, 128),)](
            token_R, max_GR, sum_GR, chosen_R, softmax_2R, R, V, G, BLOCK_R=128, num_warps=4
        )
    return chosen_R, softmax_2R


def chosen_logprobs_gradient(
    hidden_RC: torch.Tensor,
    head_PCW: torch.Tensor,
    V: int,
    token_R: torch.Tensor,
    softmax_2R: torch.Tensor,
    grad_R: torch.Tensor,
    temperature: float | torch.Tensor = 1.0,
    bias_V: torch.Tensor | None = None,
    multiplier: float = 1.0,
    softcap: float | None = None,
    precision: str = "ieee",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """(d hidden, d head in panels, d bias) from the logprobs' gradient, in the dtypes of what they are of.

    `softmax_2R` is the forward's second output; the other arguments are the forward's. Holds SPAN columns of
    d logits at a time. Raises ValueError as the forward does.
    """
    heat_R = _check(hidden_RC, head_PCW, V, token_R, temperature, bias_V, softcap, precision)
    (R, C), dtype, device = hidden_RC.shape, hidden_RC.dtype, hidden_RC.device
    expect("softmax_2R", softmax_2R, (2, R), torch.float32, like=hidden_RC)
    expect("grad_R", grad_R, (R,), torch.float32, like=hidden_RC)
    tile, _ = config(target(device), dtype, precision)
    dhidden_RC = torch.zeros(R, C, dtype=torch.float32, device=device)
    dhead_PCW, dbias_V = torch.empty_like(head_PCW), None if bias_V is None else torch.empty_like(bias_V)
    for start in range(0, V, SPAN):
        width, panels = min(SPAN, V - start), slice(start // PANEL, (start + SPAN) // PANEL)
        d_RX = hidden_RC.new_empty(R, width)
        if R:
            with on(device):
                _dlogits[(triton.cdiv(R, tile.BLOCK_M), triton.cdiv(width, tile.BLOCK_N))](
                    hidden_RC, head_PCW, bias_V, token_R, heat_R, softmax_2R, grad_R, d_RX, R, C, V, start,
                    width, float(multiplier), softcap or 1.0, SOFTCAP=softcap is not None, **tile.constants,
                    PRECISION=precision,
                    num_warps=tile.num_warps, num_stages=tile.num_stages,
                )  # fmt: skip
        matmul_gradient_x(d_RX, head_PCW[panels], precision, add_to_RK=dhidden_RC)
        dhead_PCW[panels] = matmul_gradient_w(hidden_RC, d_RX, precision)
        if dbias_V is not None:
            dbias_V[start : start + width] = d_RX.sum(0, dtype=torch.float32)
    return dhidden_RC.to(dtype), dhead_PCW, dbias_V


def variants() -> list[Variant]:
    """Forward and backward of every dtype and precision; softcap and bias with bf16."""
    found = []
    for dtype, precision, name in choices():
        kind = TYPES[dtype]
        tile, CHUNK = config(name, dtype, precision)
        types = {
            **dict.fromkeys(("p_hidden", "p_head", "p_bias", "p_out"), f"*{kind}"),
            **dict.fromkeys(["p_heat", "p_max", "p_sum", "p_chosen", "p_softmax", "p_grad"], "*fp32"),
            **{"p_token": "*i64", "R": "i32", "C": "i32:16", "V": "i32:16"},
            **dict.fromkeys(("start", "width"), "i32:16"),
            **dict.fromkeys(("multiplier", "softcap"), "fp32"),
        }
        for softcap in (False, True) if dtype == torch.bfloat16 and name == REFERENCE else (False,):
            constants = {
                **tile.constants, "PRECISION": precision, "SOFTCAP": softcap,
                **({} if softcap else {"p_bias": None}),
            }  # fmt: skip
            label = f"{kind}{f' {precision}' * (dtype == torch.float32)}{' softcap bias' * softcap}"
            found += [
                variant(f"{what} {label}", kernel, types, more, tile.num_warps, tile.num_stages, [name])
                for what, kernel, more in (
                    ("chosen_logprobs", _chunks, {**constants, "CHUNK": CHUNK}),
                    ("chosen_logprobs_gradient", _dlogits, constants),
                )
            ]
    types = {**dict.fromkeys(("p_max", "p_sum", "p_chosen", "p_softmax"), "*fp32"), "p_token": "*i64"}
    types |= {"R": "i32", "V": "i32:16", "chunks": "i32"}
    found.append(variant("chosen_logprobs merge", _merge, types, {"BLOCK_R": 128}, 4, 1))
    types |= dict.fromkeys(("p_logits", "p_heat", "p_out"), "*fp32")
    found.append(variant("log_softmax", _softmax, types, {"BLOCK_V": BLOCK_V}, 8, 1))
    return found
