"""The plain-torch oracle of every kernel: any device, any dtype up to float64, differentiable.

It is a `kernels.backend.Backend`: what computes where there are no kernels.

Legend: T packed tokens, R rows, K inner width or kv heads, N outer width, C model width, F MLP width,
E experts or head dim of values, B sequences, X columns side by side, H query heads, D head dim, P panels or
pages, S page size, W panel width, G groups of inputs with one scale, M positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.blockwise import attention_gradients as attention_gradients
from kernels.blockwise import packed_attention as packed_attention
from kernels.blockwise import paged_attention as paged_attention
from kernels.knobs import (
    XIELU_BETA,
    XIELU_EPS,
    Activation,
    Heads,
    Norm,
    PieceNorms,
    Scores,
    Weight,
    first_seen,
)
from kernels.panels import dequantize, unpack
from kernels.tiling import Paging


def matmul(
    x_RK: Tensor,
    w_PKW: Tensor,
    N: int,
    scales_PGW: Tensor | None = None,
    bias_N: Tensor | None = None,
    wide: bool = False,
) -> Tensor:
    """Compute x @ w (+ bias) in the inputs' dtype, (R, N); where `wide`, it is in float32 at least."""
    w_KN = unpack(w_PKW, N) if scales_PGW is None else dequantize(w_PKW, scales_PGW, N).to(x_RK.dtype)
    out_RN = x_RK @ w_KN if bias_N is None else x_RK @ w_KN + bias_N
    return out_RN.float() if wide and out_RN.dtype != torch.float64 else out_RN


def groups(bound_E1: Tensor) -> Iterator[tuple[int, slice]]:
    """Yield each expert that has rows, and its rows: bound[e] to bound[e + 1]."""
    for e, (start, end) in enumerate(pairwise(bound_E1.tolist())):
        if start < end:
            yield e, slice(start, end)


def by_expert(
    product: Callable[..., Tensor],
    x_RK: Tensor,
    w_EPKW: Tensor,
    N: int,
    bound_E1: Tensor,
    scales_EPGW: Tensor | None = None,
    bias_EN: Tensor | None = None,
) -> Tensor:
    """Compute product(rows, w, N, scales, bias) of each expert's rows with the expert's weights, (R, N)."""
    parts = [x_RK.new_empty(0, N)]
    for e, rows in groups(bound_E1):
        scales, bias = (p if p is None else p[e] for p in (scales_EPGW, bias_EN))
        parts.append(product(x_RK[rows], w_EPKW[e], N, scales, bias))
    return torch.cat(parts)


grouped_matmul = partial(by_expert, matmul)


def log_softmax(logits_RV: Tensor, temperature_R: Tensor) -> Tensor:
    """Compute log softmax(logits / temperature), (R, V)."""
    return torch.log_softmax(logits_RV / temperature_R.unsqueeze(1), dim=-1)


def log_softmax_at(logits_RV: Tensor, temperature_R: Tensor, column_RX: Tensor) -> Tensor:
    """Compute some columns of `log_softmax`, (R, X)."""
    return log_softmax(logits_RV, temperature_R).gather(1, column_RX)


def from_softmax(softmax_2R: Tensor, logits_RV: Tensor, temperature_R: Tensor, column_RX: Tensor) -> Tensor:
    """Compute `log_softmax_at` from each row's maximum and log of the sum of exponentials, as kernels do."""
    scaled_RX = logits_RV.gather(1, column_RX) / temperature_R.unsqueeze(1)
    return (scaled_RX - softmax_2R[0].unsqueeze(1)) - softmax_2R[1].unsqueeze(1)


def argmax(logits_RV: Tensor) -> Tensor:
    """Find the first column with the largest number of each row, (R,) int64; -1 where a number is NaN."""
    return logits_RV.argmax(-1).masked_fill(logits_RV.isnan().any(-1), -1)


def ranks(logits_RV: Tensor, token_R: Tensor) -> Tensor:
    """Return one more than the number of row r's columns that are larger than token_R[r], (R,)."""
    return (logits_RV > logits_RV.gather(1, token_R.unsqueeze(1))).sum(1) + 1


def draw(logits_RV: Tensor, temperature_R: Tensor, uniform_R: Tensor) -> Tensor:
    """Draw a token of each row by a number in [0, 1), (R,): see `invert`."""
    return invert(log_softmax(logits_RV, temperature_R), uniform_R)


def masked(logits_RV: Tensor, bit_RW: Tensor) -> Tensor:
    """Return the logits, -inf where a bit is 0, the lowest of a byte first; (R, V)."""
    place_8 = torch.arange(8, dtype=torch.uint8, device=bit_RW.device)
    is_kept_RV = (bit_RW.unsqueeze(2) >> place_8 & 1).bool().flatten(1)[:, : logits_RV.shape[1]]
    return logits_RV.masked_fill(~is_kept_RV, -torch.inf)


def invert(logprobs_RV: Tensor, uniform_R: Tensor) -> Tensor:
    """Find the token of each row at which the cumulative distribution passes a number in [0, 1), (R,)."""
    mass_RV = logprobs_RV.double().exp_()
    sum_RV = mass_RV.cumsum(dim=-1)
    # Scaled by the row's own total, which rounding leaves beside 1; `right` skips what has no mass.
    token_R1 = torch.searchsorted(sum_RV, uniform_R.unsqueeze(1) * sum_RV[:, -1:], right=True)
    # Where rounding leaves nothing past it, the last token that has some.
    last_R1 = (mass_RV > 0).int().cumsum(dim=-1).argmax(dim=-1, keepdim=True)
    return torch.minimum(token_R1, last_R1).squeeze(1)


def add_norm(
    x_TC: Tensor, residual_TC: Tensor | None, w_C: Tensor | None, b_C: Tensor | None, norm: Norm
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Compute (x + residual, its norm): RMSNorm (Zhang and Sennrich, 2019) or LayerNorm (Ba et al., 2016).

    The norm runs in `norm.dtype`, by default that of x. Where transformers is in float32 for every dtype,
    its roundings are followed, so that float64 agrees with it: RMSNorm is rounded to x's dtype before it
    meets w, the norms with an offset and LayerNorm after.
    """
    sum_TC = x_TC if residual_TC is None else x_TC + residual_TC
    dtype = norm.dtype or sum_TC.dtype
    y_TC, shape = sum_TC.to(dtype), sum_TC.shape[-1:]
    if norm.layer and w_C is not None and dtype != sum_TC.dtype:
        y_TC = y_TC - y_TC.mean(-1, keepdim=True)
        y_TC = y_TC * torch.rsqrt(y_TC.pow(2).mean(-1, keepdim=True) + norm.eps)
    elif norm.layer:
        y_TC = F.layer_norm(y_TC, shape, eps=norm.eps)
    else:
        y_TC = F.rms_norm(y_TC, shape, eps=norm.eps)
    if w_C is None:
        return sum_TC, y_TC.to(sum_TC.dtype)
    if norm.layer or norm.offset:
        y_TC = y_TC * (w_C.to(dtype) + norm.offset)
        return sum_TC, (y_TC if b_C is None else y_TC + b_C.to(dtype)).to(sum_TC.dtype)
    return sum_TC, w_C * y_TC.to(sum_TC.dtype)


def norm_qk(
    qkv_TX: Tensor,
    q_w: Tensor | None,
    q_b: Tensor | None,
    k_w: Tensor | None,
    k_b: Tensor | None,
    knobs: PieceNorms,
) -> Tensor:
    """Norm queries and keys in pieces (Henry et al., 2020), leave the values beside them as they are; (T, X).

    Weights and biases are as long as a piece or as all of them.
    """
    widths, sizes, norm = knobs
    parts = list(qkv_TX.split((*widths, qkv_TX.shape[1] - sum(widths)), dim=1))
    for i, (w, b) in enumerate(((q_w, q_b), (k_w, k_b))):
        pieces = parts[i].unflatten(1, (-1, sizes[i]))
        w, b = (p if p is None else p.reshape(-1, sizes[i]) for p in (w, b))
        parts[i] = add_norm(pieces, None, w, b, norm)[1].flatten(1)
    return torch.cat(parts, dim=1)


def rope(
    x_THD: Tensor, cos_MR: Tensor, sin_MR: Tensor, position_T: Tensor, dtype: torch.dtype | None = None
) -> Tensor:
    """Apply the rotary embedding (Su et al., 2021): pairs rotated by position * frequency.

    The tables hold R columns; pairs are (d, d + R), and dimensions past 2 R pass. The rotation runs in the
    tables' dtype, from x rounded to `dtype` if there is one, and is rounded to x's at the end.
    """
    cos, sin = cos_MR[position_T].unsqueeze(1), sin_MR[position_T].unsqueeze(1)
    R = cos.shape[-1]
    pairs = x_THD[..., : 2 * R].to(dtype or cos.dtype)
    a, b = pairs.chunk(2, dim=-1)
    rotated = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    return torch.cat((rotated.to(x_THD.dtype), x_THD[..., 2 * R :]), dim=-1)


def rope_qk(
    qkv_TX: Tensor,
    heads: Heads,
    cos_MR: Tensor,
    sin_MR: Tensor,
    position_T: Tensor,
    dtype: torch.dtype | None,
) -> Tensor:
    """Apply `rope` to the H query and K key heads of D = `heads`; the values beside them stay; (T, X)."""
    H, K, D = heads
    *parts, v_TX = qkv_TX.split((H * D, K * D, qkv_TX.shape[1] - (H + K) * D), dim=1)
    rotated = (rope(x.unflatten(1, (-1, D)), cos_MR, sin_MR, position_T, dtype).flatten(1) for x in parts)
    return torch.cat((*rotated, v_TX), dim=1)


def store(k_TKD: Tensor, v_TKE: Tensor, slot_T: Tensor, k_PKDS: Tensor, v_PKSE: Tensor) -> None:
    """Write each token's key and value into its slot (page * S + offset) of the paged cache."""
    S = k_PKDS.shape[3]
    page_T, offset_T = slot_T // S, slot_T % S
    k_PKDS[page_T, :, :, offset_T] = k_TKD.to(k_PKDS.dtype)
    v_PKSE[page_T, :, offset_T] = v_TKE.to(v_PKSE.dtype)


def attention(
    q_THD: Tensor,
    k_TKD: Tensor,
    v_TKE: Tensor,
    bounds_B1: list[int],
    positions_B: list[int],
    scores: Scores,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """Causal grouped-query attention, one sequence after the other; q and keys may differ in number.

    Sequence b has the queries bounds[b] to bounds[b + 1], the first of them at position positions[b], and
    the keys 0 to its last position, which stand one sequence after the other in k and v.
    """
    group = q_THD.shape[1] // k_TKD.shape[1]
    outs, start = [], 0
    for b, first in enumerate(positions_B):
        q = q_THD[bounds_B1[b] : bounds_B1[b + 1]].transpose(0, 1)
        keys = first + q.shape[1]
        k = k_TKD[start : start + keys].transpose(0, 1).repeat_interleave(group, 0)
        v = v_TKE[start : start + keys].transpose(0, 1).repeat_interleave(group, 0)
        start += keys
        s = q @ k.transpose(1, 2) * scores.scale
        if scores.softcap:
            s = torch.tanh(s / scores.softcap) * scores.softcap
        if scores.slopes_H is not None:
            s = s + tilt(scores.slopes_H, scores, first, keys, s.dtype)
        seen = torch.ones(s.shape[1:], dtype=torch.bool, device=s.device).tril(first)
        if scores.window:
            position_N = torch.arange(keys, device=s.device)
            seen &= position_N >= first_seen(position_N[first:].unsqueeze(1), scores.window)
        s = s.masked_fill(~seen, -torch.inf)
        if sinks_H is not None:
            s = torch.cat((s, sinks_H.to(s.dtype).view(-1, 1, 1).expand(-1, s.shape[1], 1)), dim=-1)
        p = torch.softmax(s, dim=-1, dtype=scores.softmax_dtype).to(s.dtype)[..., :keys]
        outs.append((p @ v).transpose(0, 1))
    return torch.cat(outs)


def rope_store_attention(
    qkv_TX: Tensor,
    heads: Heads,
    tables: tuple[Tensor, Tensor],
    k_PKDS: Tensor,
    v_PKSE: Tensor,
    batch: Paging,
    scores: Scores,
    sinks_H: Tensor | None,
    growth_M1: Tensor | None,
) -> Tensor:
    """Apply `rope`, `store` and `attention`; see `kernels.ops.rope_store_attention`."""
    (H, K, D), E = heads, v_PKSE.shape[3]
    q_THD, k_TKD, v_TKE = (
        x.unflatten(1, (-1, width))
        for x, width in zip(qkv_TX.split((H * D, K * D, K * E), dim=1), (D, D, E), strict=True)
    )
    q_THD, k_TKD = (rope(x, *tables, batch.position_T, scores.rope_dtype) for x in (q_THD, k_TKD))
    if growth_M1 is not None:
        q_THD = q_THD * growth_M1[batch.position_T].unsqueeze(1).to(q_THD.dtype)
    store(k_TKD.detach(), v_TKE.detach(), batch.slot_T, k_PKDS, v_PKSE)
    if any(batch.starts):
        k_TKD, v_TKE = _cached(k_PKDS.transpose(2, 3), batch), _cached(v_PKSE, batch)
    k_TKD, v_TKE = k_TKD.to(q_THD.dtype), v_TKE.to(q_THD.dtype)
    return attention(q_THD, k_TKD, v_TKE, batch.bounds, batch.starts, scores, sinks_H)


def _cached(x_PKSD: Tensor, batch: Paging) -> Tensor:
    """Collect each sequence's cached keys or values up to this batch's last token, one after the other."""
    parts = []
    for b, page_P in enumerate(batch.page_BP):
        length = batch.starts[b] + batch.bounds[b + 1] - batch.bounds[b]
        pages = page_P[: -(-length // x_PKSD.shape[2])]
        parts.append(x_PKSD[pages].transpose(1, 2).flatten(0, 1)[:length])
    return torch.cat(parts)


def tilt(slopes_H: Tensor, scores: Scores, first: int, keys: int, dtype: torch.dtype) -> Tensor:
    """Compute what ALiBi adds to the scores, (H, queries, keys), or (H, 1, keys) for all queries alike.

    Source: Press et al. (2022). What all scores of a query share does not change its softmax, so positions
    may be counted from any place.
    """
    slope_H11 = slopes_H.view(-1, 1, 1)
    position_N = torch.arange(keys, device=slopes_H.device)
    if scores.alibi_rounding == "bfloat16":
        return ((slope_H11 / scores.scale).bfloat16() * position_N).to(dtype) * scores.scale
    if scores.alibi_rounding:
        return (slope_H11.float() * (position_N - (keys - 1) * (scores.alibi_rounding == "last"))).to(dtype)
    wide = torch.promote_types(dtype, torch.float32)
    return (slope_H11.to(wide) * (position_N - position_N[first:].unsqueeze(1))).to(dtype)


def activate(x_TX: Tensor, activation: Activation) -> Tensor:
    """act(gate) * up for x = (gate, up) side by side (Shazeer, 2020): (T, 2F) -> (T, F); or act(x)."""
    if not activation.gated:
        return FUNCTIONS[activation.name](x_TX)
    gate, up = x_TX.chunk(2, dim=-1)
    if (limit := activation.limit) is not None:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
        return (up + 1) * (gate * torch.sigmoid(gate * 1.702))
    return FUNCTIONS[activation.name](gate) * up


def xielu(x_TF: Tensor, alpha_p_1: Tensor, alpha_n_1: Tensor) -> Tensor:
    """Compute xIELU (Huang and Schlag, 2024) with two learned numbers, (T, F).

    It is p x^2 + beta x for positive x, and n (expm1(min(x, eps)) - x) + beta x for others, with
    p = softplus(alpha_p) and n = beta + softplus(alpha_n).
    """
    p, n = F.softplus(alpha_p_1), XIELU_BETA + F.softplus(alpha_n_1)
    below = (torch.expm1(x_TF.clamp(max=XIELU_EPS)) - x_TF) * n + XIELU_BETA * x_TF
    return torch.where(x_TF > 0, p * x_TF * x_TF + XIELU_BETA * x_TF, below)


def gelu_bloom(x: Tensor) -> Tensor:
    """Compute gelu_tanh with its constant rounded to eight digits, which changes float64 alone."""
    if x.dtype != torch.float64:
        return F.gelu(x, approximate="tanh")
    return 0.5 * x * (1 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "gelu_bloom": gelu_bloom,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def round_into(x: Tensor, out: Tensor) -> None:
    """Write x, rounded to the nearest of out's dtype, ties to even."""
    out.copy_(x)


def checksum(word_N: Tensor) -> Tensor:
    """Return int64 that tell the int32 of word_N from others, also from the same in another order."""
    width, rows = 1 << 12, 1 << 12  # of one sum, and of what is computed at a time
    word_IN = F.pad(word_N, (0, -len(word_N) % width)).view(-1, width)
    factor_N = torch.arange(1, 2 * width, 2, device=word_N.device) * 0x9E3779B1 & 0xFFFFFFFF
    return torch.cat([(part_IN.long() * factor_N).sum(1) for part_IN in word_IN.split(rows)])


def pack_into(out_PKW: Tensor, w_NK: Tensor, start: int) -> None:
    """Write the rows of w_NK as the outputs from `start` on of panels, rounded; from any device."""
    W, N = out_PKW.shape[2], w_NK.shape[0]
    place_N = torch.arange(start, start + N, device=out_PKW.device)
    out_PKW[place_N // W, :, place_N % W] = w_NK.to(out_PKW.device, out_PKW.dtype)


def random_bits(key: int, place: Tensor) -> Tensor:
    """32 random bits of each place (int64, below 2^32) as int64: a mix of two rounds of xor, shift, multiply.

    The multipliers are those of Wellons' hash search, "lowbias32" (2018).
    """
    x = one_round(key, place)
    x = (x ^ (x >> 15)) * 0x846CA68B & 0xFFFFFFFF
    return x ^ (x >> 16)


def _plus(x: Tensor, noise: Tensor) -> Tensor:
    return (x.view(torch.int32).long() + noise) & 0xFFFFFFFF


def one_round(key: int, place: Tensor) -> Tensor:
    """`random_bits` after one round: the upper bits are as good, and eight of them are all a carry needs."""
    x = (place * 0x9E3779B9 + key) & 0xFFFFFFFF
    return (x ^ (x >> 16)) * 0x7FEB352D & 0xFFFFFFFF


def _to_bf16(bits: Tensor) -> Tensor:
    return (bits >> 16).to(torch.int16).view(torch.bfloat16)


def adamw(weights: Sequence[Weight], numbers: tuple[float, ...], keys: Sequence[int]) -> None:
    """Take a step of `kernels.ops.adamw`, in place.

    `numbers`: beta1, beta2, 1 - beta1, 1 - beta2, eps, lr / (1 - beta1^t), 1 - lr * decay, and
    (1 - beta2^t)^-0.5.
    """
    numbers_8 = torch.tensor(numbers, device=weights[0][0].device)
    for weight, key in zip(weights, keys, strict=True):
        _adamw(*weight, numbers_8, key)


def _adamw(
    w: Tensor, grad: Tensor, m: Tensor, v: Tensor, carry: Tensor | None, numbers_8: Tensor, key: int
) -> None:
    beta1, beta2, rest1, rest2, eps, rate, decay, root2 = numbers_8.unbind()
    place = torch.arange(w.numel(), device=w.device).view(w.shape)
    g = grad.float()
    m_new = m.float() * beta1 + g * rest1
    v_new = v.float() * beta2 + g * g * rest2
    noise = (random_bits if carry is None else one_round)(key, place)
    m.copy_(_to_bf16(_plus(m_new, noise >> 16)))
    v.copy_(_to_bf16(_plus(v_new, noise >> 8 & 0xFFFF)))
    x = w.float()
    if carry is not None:
        x = _plus(x, carry.long() << 8).int().view(torch.float32)
    root = v_new.double().sqrt().float()  # rounded once; torch's own, in float32, is not always
    x = x * decay - rate * (m_new / (root * root2 + eps))
    if carry is None:
        w.copy_(_to_bf16(_plus(x, noise & 0xFFFF)))
        return
    bits = _plus(x, noise >> 24)
    high = ((bits + 0x8000) & 0xFFFFFFFF) >> 16
    w.copy_(_to_bf16(high << 16))
    carry.copy_((bits - (high << 16)) >> 8)
