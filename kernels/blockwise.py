"""Causal attention in plain torch, block by block: any dtype up to float64, never a (T, T) matrix.

Legend: T packed tokens, B sequences, H query heads, K kv heads, G = H / K, D head dim of queries and keys,
E head dim of values, M rows of a tile, N keys, P pages, S page size.

The forward is for the dtypes that have no kernel, float64 and on the CPU float16: online softmax (Milakov and
Gimelshein, 2018) in FlashAttention's tiling (Dao et al., 2022), with float32's precision at least. A row's
bits depend on its own sequence alone: keys come in blocks of 64 from position 0, in order, and since
torch.matmul may round a row by its place and by the number of rows, queries come in tiles of 256 positions,
where each has its place, and what is not asked for is zero.

The backward is for every dtype. Gradients are sums over rows by nature: deterministic, but not under that
contract, so it takes whole rows of scores, as many as memory allows.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F

from kernels.knobs import Scores, first_seen
from kernels.tiling import KEY_BLOCK, Kept, SharedPrefix, Tiles, whole_bounds

# Positions of a tile of queries: in the backward at most, where a tile has no more scores than the second.
QUERY_TILE = 256
MOST_SCORES = 2**24

# (row of the block table or first token, key block) -> keys (K, D, 64) and values (K, 64, E).
Block = Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that is computed in: float32, but for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def packed_attention(
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKE: torch.Tensor,
    bounds_B1: torch.Tensor,
    scores: Scores,
    sinks_H: torch.Tensor | None,
    input_precision: str,
) -> tuple[torch.Tensor, Kept]:
    """Return (out_THE, ()) over packed sequences: gradients compute the weights anew."""
    dtype = compute_dtype(q_THD.dtype)
    ends = dict(pairwise(whole_bounds(bounds_B1, q_THD.shape[0])))

    def block(start: int, j: int) -> tuple[torch.Tensor, torch.Tensor]:
        first = start + j * KEY_BLOCK
        last = min(first + KEY_BLOCK, ends[start])
        k_KDN, v_KNE = k_TKD[first:last].permute(1, 2, 0), v_TKE[first:last].transpose(0, 1)
        missing = KEY_BLOCK - (last - first)
        k_KDN, v_KNE = F.pad(k_KDN.to(dtype), (0, missing)), F.pad(v_KNE.to(dtype), (0, 0, 0, missing))
        # Laid out as in a page: a transposed operand may be multiplied in another order.
        return k_KDN.contiguous(), v_KNE.contiguous()

    runs = [(start, start, 0, end - start) for start, end in ends.items() if end > start]
    K, E = v_TKE.shape[1:]
    return _forward(q_THD, K, E, runs, block, scores, sinks_H), ()


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
    dtype, (position_T, page_BP) = compute_dtype(q_THD.dtype), paging

    # Slots that no token has been written to may hold anything. A key there spoils no score but its own,
    # which is masked; a value would spoil the row, so it is zero.
    def block(b: int, j: int) -> tuple[torch.Tensor, torch.Tensor]:
        page = int(page_BP[b, j])
        v_KNE = v_PKSE[page].to(dtype)
        position_N = torch.arange(j * KEY_BLOCK, (j + 1) * KEY_BLOCK, device=page_BP.device)
        unset = (position_N > last_position[b]).view(1, -1, 1)
        return k_PKDS[page].to(dtype), v_KNE.masked_fill(unset, 0)

    runs = [(b, first, int(position_T[first]), n) for b, first, n in tiles[0].tolist() if n]
    last_position: dict[int, int] = {}
    for b, _, position, n in runs:
        last_position[b] = max(last_position.get(b, 0), position + n - 1)
    K, E = v_PKSE.shape[1], v_PKSE.shape[3]
    return _forward(q_THD, K, E, runs, block, scores, sinks_H), ()


def _forward(
    q_THD: torch.Tensor,
    K: int,
    E: int,
    runs: list[tuple[int, int, int, int]],
    block: Block,
    scores: Scores,
    sinks_H: torch.Tensor | None,
) -> torch.Tensor:
    """Runs are (what `block` is asked with, first token, its position, number of tokens)."""
    (T, H, _), dtype, window = q_THD.shape, compute_dtype(q_THD.dtype), scores.window
    out_THE = q_THD.new_empty((T, H, E))
    for b, first_token, first_position, tokens in runs:
        after = first_position + tokens
        for origin in range(first_position // QUERY_TILE * QUERY_TILE, after, QUERY_TILE):
            low, high = max(origin, first_position), min(origin + QUERY_TILE, after)
            rows = slice(first_token + low - first_position, first_token + high - first_position)
            above, below = low - origin, origin + QUERY_TILE - high
            q_KMD = _to_rows(F.pad(q_THD[rows].to(dtype), (0, 0, 0, 0, above, below)), K)
            position_M = torch.arange(origin, origin + QUERY_TILE, device=q_THD.device)
            position_M1 = position_M.repeat_interleave(H // K).unsqueeze(-1)  # H / K rows to a token
            slope_KM1 = None if scores.slopes_H is None else _by_row(scores.slopes_H, K, dtype)
            # A row that has seen nothing but its sink.
            top = q_KMD.new_full((1, 1, 1), -torch.inf) if sinks_H is None else _by_row(sinks_H, K, dtype)
            total = torch.exp(top) if sinks_H is None else torch.ones_like(top)
            acc = q_KMD.new_zeros((K, q_KMD.shape[1], E))
            begin = max(first_seen(low, window), 0) // KEY_BLOCK
            for j in range(begin, (high - 1) // KEY_BLOCK + 1):
                k_KDN, v_KNE = block(b, j)
                s, _ = _scores(q_KMD @ k_KDN, scores)
                if slope_KM1 is not None:
                    position_N = torch.arange(j * KEY_BLOCK, (j + 1) * KEY_BLOCK, device=s.device)
                    s += slope_KM1 * (position_N - position_M1)
                if window or (j + 1) * KEY_BLOCK > origin + 1:
                    s = s.masked_fill(~_seen(position_M1, j * KEY_BLOCK, KEY_BLOCK, window), -torch.inf)
                new_top = torch.maximum(top, s.amax(-1, keepdim=True))
                base = new_top.masked_fill(new_top == -torch.inf, 0)
                p, shrink = torch.exp(s - base), torch.exp(top - base)
                total = total * shrink + p.sum(-1, keepdim=True)
                acc = acc * shrink + p @ v_KNE
                top = new_top
            asked = slice(above, QUERY_TILE - below)
            out_THE[rows] = _to_tokens(acc / total.masked_fill(total == 0, 1), H)[asked].to(q_THD.dtype)
    return out_THE


def attention_gradients(
    dout_THE: torch.Tensor,
    q_THD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKE: torch.Tensor,
    kept: Kept,
    bounds_B1: torch.Tensor,
    scores: Scores,
    sinks_H: torch.Tensor | None,
    input_precision: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return (dq_THD, dk_TKD, dv_TKE) over whole sequences, in float32 at least, and dsinks_H.

    Weights are computed anew. What a row's weights share is summed from them and their gradients, not from
    output and dout: of few keys, the roundings of the two would not cancel.
    """
    H, K, dtype, window = q_THD.shape[1], v_TKE.shape[1], compute_dtype(q_THD.dtype), scores.window
    dq_THD, dk_TKD, dv_TKE = (torch.zeros_like(x, dtype=dtype) for x in (q_THD, k_TKD, v_TKE))
    dsinks_H = None if sinks_H is None else torch.zeros_like(sinks_H, dtype=torch.float64)
    for start, end in pairwise(bounds_B1.tolist()):
        k_KND, v_KNE = (x[start:end].to(dtype).transpose(0, 1) for x in (k_TKD, v_TKE))
        dk_KND, dv_KNE = (x[start:end].transpose(0, 1) for x in (dk_TKD, dv_TKE))
        widest = min(end - start, abs(window) + QUERY_TILE) if window else end - start
        tile = max(1, min(QUERY_TILE, MOST_SCORES // (H * max(widest, 1))))
        for low in range(0, end - start, tile):
            high = min(low + tile, end - start)
            rows, first = slice(start + low, start + high), max(first_seen(low, window), 0)
            # (K, G, M, ...), a kv head's query heads side by side, or one below the other, (K, G * M, ...).
            q, dout = (x[rows].to(dtype).unflatten(1, (K, -1)).permute(1, 2, 0, 3) for x in (q_THD, dout_THE))
            k, v, dk, dv = (x[:, first:high] for x in (k_KND, v_KNE, dk_KND, dv_KNE))
            s, slope = _scores((q.flatten(1, 2) @ k.transpose(1, 2)).view(*q.shape[:3], -1), scores)
            position_M1 = torch.arange(low, high, device=q.device).unsqueeze(-1)
            if scores.slopes_H is not None:
                distance_MN = torch.arange(first, high, device=q.device) - position_M1
                s += scores.slopes_H.to(dtype).view(K, -1, 1, 1) * distance_MN
            seen = _seen(position_M1, first, high - first, window)
            s.masked_fill_(~seen, -torch.inf)
            top = s.amax(-1, keepdim=True)
            if sinks_H is not None:
                sink = sinks_H.to(dtype).view(K, -1, 1, 1)
                top = torch.maximum(top, sink)
            p = s.sub_(top).exp_()
            total = p.sum(-1, keepdim=True)
            if sinks_H is not None:
                total += torch.exp(sink - top)
            p.div_(total)
            dp = (dout.flatten(1, 2) @ v.transpose(1, 2)).view_as(p)
            delta = (p * dp).sum(-1, keepdim=True)
            if dsinks_H is not None:  # a sink's value is zero
                dsinks_H -= (torch.exp(sink - top) / total * delta).double().sum((2, 3)).flatten()
            ds = dp.sub_(delta).mul_(p).mul_(scores.scale)
            if slope is not None:
                ds.mul_(slope)
            # Query heads one after the other: one sum over all of their rows would round worse.
            for g in range(H // K):
                dv += p[:, g].transpose(1, 2) @ dout[:, g]
                dk += ds[:, g].transpose(1, 2) @ q[:, g]
            dq_THD[rows] = (ds.flatten(1, 2) @ k).view_as(q).permute(2, 0, 1, 3).flatten(1, 2)
    return dq_THD, dk_TKD, dv_TKE, None if dsinks_H is None or sinks_H is None else dsinks_H.to(sinks_H.dtype)


def _to_rows(x_THD: torch.Tensor, K: int) -> torch.Tensor:
    """(T, H, D) -> (K, T * G, D): the rows of a kv head are tokens times its query heads."""
    T, H, D = x_THD.shape
    return x_THD.view(T, K, H // K, D).transpose(0, 1).reshape(K, -1, D)


def _to_tokens(x_KMD: torch.Tensor, H: int) -> torch.Tensor:
    """(K, T * G, D) -> (T, H, D)."""
    K, _, D = x_KMD.shape
    return x_KMD.view(K, -1, H // K, D).transpose(0, 1).reshape(-1, H, D)


def _by_row(x_H: torch.Tensor, K: int, dtype: torch.dtype) -> torch.Tensor:
    """A number a query head as (K, M, 1), for the rows of a tile."""
    return x_H.to(dtype).view(K, 1, -1).expand(K, QUERY_TILE, -1).reshape(K, -1, 1)


def _scores(s: torch.Tensor, scores: Scores) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Scores of products, which they take the place of, and with a softcap its slope there."""
    if scores.softcap is None:
        return s.mul_(scores.scale), None
    t = s.mul_(scores.scale / scores.softcap).tanh_()
    slope = torch.addcmul(t.new_ones(()), t, t, value=-1)
    return t.mul_(scores.softcap), slope


def _seen(position_M1: torch.Tensor, first: int, keys: int, window: int) -> torch.Tensor:
    """(M, N): which of the keys at positions `first` and on each row sees."""
    position_N = torch.arange(first, first + keys, device=position_M1.device)
    seen = position_N <= position_M1
    return seen & (position_N >= first_seen(position_M1, window)) if window else seen
