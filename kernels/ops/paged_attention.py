"""Causal attention of few queries over a paged KV cache, for users: prefill, decode and shared prefixes.

Legend: T packed tokens, B sequences, H query heads, K kv heads, D head dim of queries and keys,
E head dim of values, N runs of tokens, P pages, S page size, G groups of sequences with one prefix.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels import backend
from kernels.checks import FLOATS, check_heads, check_tensor
from kernels.knobs import Scores
from kernels.library import custom_op
from kernels.ops.attention import check_queries
from kernels.tiling import KEY_BLOCK, SharedPrefix, Tiles


def paged_attention(
    q_THD: Tensor,
    k_PKDS: Tensor,
    v_PKSE: Tensor,
    position_T: Tensor,
    page_BP: Tensor,
    tiles: Tiles,
    scores: Scores | None = None,
    sinks_H: Tensor | None = None,
    input_precision: str = "ieee",
    prefix: SharedPrefix | None = None,
) -> Tensor:
    """Compute what packed queries read from their sequences' pages, positions 0 to their own: out_THE.

    Args:
        q_THD: float32, bfloat16, float16 or float64; D and E are at most 256. The output is of its dtype.
        k_PKDS, v_PKSE: the cache (`minillm.model.kv_cache`), S = 64, of one dtype, which need not be q's.
        position_T: int64, each token's position in its sequence.
        page_BP: int64, the block table: all pages of a sequence, those of a shared prefix too.
        tiles: runs (sequence, first token, number of tokens) that cover all tokens, (N, 3) int64, and the
            largest number (`kernels.tiling.work_list`), made once for all layers. They change no bit of the
            result.
        prefix: the full blocks that sequences share; on a GPU they are then read once a group.
        The others are as in `kernels.ops.attention`.

    Bit for bit what `kernels.ops.attention` computes for the same tokens, if the cache holds the same keys
    and values, whatever else is in the batch; so it is with `prefix` too, whose softmax is carried on from
    the prefix to the rest, not merged. Not differentiable. Raises ValueError for arguments that do not fit.
    """
    q_THD, device, int64 = q_THD.contiguous(), q_THD.device, (torch.int64,)
    scores = check_queries(q_THD, scores, sinks_H, input_precision)
    T, H, D = q_THD.shape
    check_tensor("k", k_PKDS, (None, None, D, KEY_BLOCK), FLOATS, device)
    P, K = k_PKDS.shape[:2]
    check_tensor("v", v_PKSE, (P, K, KEY_BLOCK, None), (k_PKDS.dtype,), device)
    check_heads(H, K, D, v_PKSE.shape[3])
    check_tensor("position_T", position_T, (T,), int64, device)
    check_tensor("page_BP", page_BP, (None, None), int64, device)
    check_tensor("tiles[0]", tiles[0], (None, 3), int64, device)
    shared, tile_tokens = [], [tiles[1], 0]
    if prefix is not None:
        G, B = prefix.page_GP.shape[0], page_BP.shape[0]
        shapes = {"page_GP": (None, None), "tile_N3": (None, 3), "blocks_G": (G,), "blocks_B": (B,)}
        for name, shape in shapes.items():
            check_tensor(f"prefix.{name}", getattr(prefix, name), shape, int64, device)
        shared, tile_tokens[1] = [getattr(prefix, name) for name in shapes], prefix.tile_tokens
    return _paged_attention(
        q_THD, [k_PKDS, v_PKSE], [position_T, page_BP, tiles[0]], shared, tile_tokens, scores.window,
        [scores.scale, scores.softcap or 0.0], sinks_H, scores.slopes_H, input_precision,
    )  # fmt: skip


@custom_op("paged_attention")
def _paged_attention(
    q: Tensor, cache: Sequence[Tensor], paging: Sequence[Tensor], shared: Sequence[Tensor],
    tile_tokens: Sequence[int], window: int, numbers: Sequence[float], sinks: Tensor | None,
    slopes: Tensor | None, input_precision: str,
) -> Tensor:  # fmt: skip
    """Compute out_THE of arguments in groups: keys, values; positions, pages, runs; a prefix's, if any."""
    (k, v), (position, page, tile), (scale, softcap), prefix = cache, paging, numbers, None
    if shared:
        prefix = SharedPrefix(shared[0], shared[1], tile_tokens[1], shared[2], shared[3])
    scores = Scores(scale, window, softcap or None, slopes_H=slopes)
    return backend.of(q, k).paged_attention(
        q, k, v, (position, page), (tile, tile_tokens[0]), scores, sinks, input_precision, prefix
    )[0]


_paged_attention.register_fake(lambda q, cache, *_: q.new_empty((*q.shape[:2], cache[1].shape[3])))
