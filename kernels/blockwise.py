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
from functools import partial
from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.knobs import Scores, first_seen
from kernels.tiling import KEY_BLOCK, Kept, SharedPrefix, Tiles, positions, whole_bounds, work_list

# Positions of a tile of queries: in the backward at most, where a tile has no more scores than the second.
QUERY_TILE = 256
MOST_SCORES = 2**24


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that is computed in: float32, but for float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def paged_attention(
    q_THD: Tensor,
    k_PKDS: Tensor,
    v_PKSE: Tensor,
    paging: tuple[Tensor, Tensor],
    tiles: Tiles,
    scores: Scores,
    sinks_H: Tensor | None,
    input_precision: str,
    prefix: SharedPrefix | None,
) -> tuple[Tensor, Kept]:
    """Return (out_THE, ()) over pages; each sequence of a prefix reads it again, with the same bits."""
    (T, H, _), dtype, window = q_THD.shape, compute_dtype(q_THD.dtype), scores.window
    (position_T, page_BP), K, E = paging, v_PKSE.shape[1], v_PKSE.shape[3]
    runs = [(b, first, int(position_T[first]), n) for b, first, n in tiles[0].tolist() if n]
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
                page = int(page_BP[b, j])
                position_N = torch.arange(j * KEY_BLOCK, (j + 1) * KEY_BLOCK, device=q_THD.device)
                # Slots that no token has been written to may hold anything. A key there spoils no score but
                # its own, which is masked; a value would spoil the row, so it is zero.
                v_KNE = v_PKSE[page].to(dtype).masked_fill((position_N >= after).view(1, -1, 1), 0)
                s, _ = _scores(q_KMD @ k_PKDS[page].to(dtype), scores)
                if slope_KM1 is not None:
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
    return out_THE, ()


def through_pages(
    paged: Callable[..., tuple[Tensor, Kept]],
    tile_tokens: int,
    q_THD: Tensor,
    k_TKD: Tensor,
    v_TKE: Tensor,
    bounds_B1: Tensor,
    scores: Scores,
    sinks_H: Tensor | None,
    input_precision: str,
) -> tuple[Tensor, Kept]:
    """Compute a `paged_attention` of packed sequences over themselves, in runs of at most `tile_tokens`."""
    T, (K, D), E = q_THD.shape[0], k_TKD.shape[1:], v_TKE.shape[2]
    bounds = whole_bounds(bounds_B1, T)
    counts = [-(-(end - start) // KEY_BLOCK) for start, end in pairwise(bounds)]
    firsts = list(accumulate(counts, initial=0))
    k_PKDS = k_TKD.new_empty(firsts[-1], K, D, KEY_BLOCK)
    v_PKSE = v_TKE.new_empty(firsts[-1], K, KEY_BLOCK, E)
    for (start, end), first, count in zip(pairwise(bounds), firsts, counts, strict=False):
        # Zeros, since what stands past a sequence's end is read, to no effect.
        missing = (0, 0, 0, 0, 0, count * KEY_BLOCK - (end - start))
        k_NSKD, v_NSKE = (
            F.pad(x[start:end], missing).unflatten(0, (count, KEY_BLOCK)) for x in (k_TKD, v_TKE)
        )
        k_PKDS[first : first + count] = k_NSKD.permute(0, 2, 3, 1)
        v_PKSE[first : first + count] = v_NSKE.transpose(1, 2)
    page_BP = torch.tensor(firsts[:-1]).unsqueeze(1) + torch.arange(max(counts, default=0))
    paging = (positions(bounds_B1, T), page_BP.to(q_THD.device))
    tiles = (work_list(bounds_B1, T, tile_tokens), tile_tokens)
    return paged(q_THD, k_PKDS, v_PKSE, paging, tiles, scores, sinks_H, input_precision, None)


packed_attention = partial(through_pages, paged_attention, QUERY_TILE)


def attention_gradients(
    dout_THE: Tensor,
    q_THD: Tensor,
    k_TKD: Tensor,
    v_TKE: Tensor,
    kept: Kept,
    bounds_B1: Tensor,
    scores: Scores,
    sinks_H: Tensor | None,
    input_precision: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return (dq_THD, dk_TKD, dv_TKE) over whole sequences, in float32 at least, and dsinks_H.

    Weights are recomputed. What a row's weights share is summed from them and their gradients, not from
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


def _to_rows(x_THD: Tensor, K: int) -> Tensor:
    """(T, H, D) -> (K, T * G, D): the rows of a kv head are tokens times its query heads."""
    T, H, D = x_THD.shape
    return x_THD.view(T, K, H // K, D).transpose(0, 1).reshape(K, -1, D)


def _to_tokens(x_KMD: Tensor, H: int) -> Tensor:
    """(K, T * G, D) -> (T, H, D)."""
    K, _, D = x_KMD.shape
    return x_KMD.view(K, -1, H // K, D).transpose(0, 1).reshape(-1, H, D)


def _by_row(x_H: Tensor, K: int, dtype: torch.dtype) -> Tensor:
    """Expand a number a query head to (K, M, 1), for the rows of a tile."""
    return x_H.to(dtype).view(K, 1, -1).expand(K, QUERY_TILE, -1).reshape(K, -1, 1)


def _scores(s: Tensor, scores: Scores) -> tuple[Tensor, Tensor | None]:
    """Scores of products, which they take the place of, and with a softcap its slope there."""
    if scores.softcap is None:
        return s.mul_(scores.scale), None
    t = s.mul_(scores.scale / scores.softcap).tanh_()
    slope = torch.addcmul(t.new_ones(()), t, t, value=-1)
    return t.mul_(scores.softcap), slope


def _seen(position_M1: Tensor, first: int, keys: int, window: int) -> Tensor:
    """(M, N): which of the keys at positions `first` and on each row sees."""
    position_N = torch.arange(first, first + keys, device=position_M1.device)
    seen = position_N <= position_M1
    return seen & (position_N >= first_seen(position_M1, window)) if window else seen
