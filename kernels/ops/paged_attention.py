"""Causal attention of few queries over a paged KV cache, for users: prefill, decode and shared prefixes.

Legend: T packed tokens, B sequences, H query heads, K kv heads, D head dim of queries and keys,
E head dim of values, N runs of tokens, P pages, S page size, G groups of sequences with one prefix.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels import backend
from kernels.checks import check_heads, check_knobs, check_tensor
from kernels.knobs import Scores
from kernels.library import custom_op
from kernels.tiling import KEY_BLOCK, SharedPrefix


def paged_attention(
    q_THD: Tensor,
    k_PKDS: Tensor,
    v_PKSE: Tensor,
    position_T: Tensor,
    page_BP: Tensor,
    tile_N3: Tensor,
    tile_tokens: int,
    *,
    scale: float | None = None,
    window: int = 0,
    softcap: float | None = None,
    sinks_H: Tensor | None = None,
    slopes_H: Tensor | None = None,
    input_precision: str = "ieee",
    prefix: SharedPrefix | None = None,
) -> Tensor:
    """What packed queries read from their sequences' pages, positions 0 to their own: out_THE, in q's dtype.

    Args:
        q_THD: float32, bfloat16 or float16, on the CPU float64 too; on a GPU D and E are at most 256.
        k_PKDS, v_PKSE: the cache (`minillm.model.kv_cache`), S = 64, of one dtype, which need not be q's.
        position_T: int64, each token's position in its sequence.
        page_BP: int64, the block table: all pages of a sequence, those of a shared prefix too.
        tile_N3: int64, runs (sequence, first token, number of tokens <= tile_tokens) that cover all tokens
            (`kernels.tiling.work_list`), made once for all layers. They change no bit of the result.
        prefix: the full blocks that sequences share; on a GPU they are then read once a group.
        The others are as in `kernels.ops.attention`.

    Bit for bit what `kernels.ops.attention` puts out for the same tokens, if the cache holds the same
    keys and values, whatever else is in the batch; so it is with `prefix` too, whose softmax is carried on
    from the prefix to the rest, not merged. Not differentiable. Raises ValueError for arguments that do not
    fit.
    """
    scale = q_THD.shape[-1] ** -0.5 if scale is None else scale
    check_knobs(scale, window, softcap, input_precision)
    q_THD, device = q_THD.contiguous(), q_THD.device
    dtypes = backend.attention_dtypes(device)
    check_tensor("q", q_THD, (None, None, None), dtypes, device)
    T, H, D = q_THD.shape
    check_tensor("k", k_PKDS, (None, None, D, KEY_BLOCK), dtypes, device)
    P, K = k_PKDS.shape[:2]
    check_tensor("v", v_PKSE, (P, K, KEY_BLOCK, None), (k_PKDS.dtype,), device)
    check_heads(H, K, D, v_PKSE.shape[3])
    int64 = (torch.int64,)
    check_tensor("position_T", position_T, (T,), int64, device)
    check_tensor("page_BP", page_BP, (None, None), int64, device)
    check_tensor("tile_N3", tile_N3, (None, 3), int64, device)
    if sinks_H is not None:
        check_tensor("sinks_H", sinks_H, (H,), (q_THD.dtype,), device)
    if slopes_H is not None:
        check_tensor("slopes_H", slopes_H, (H,), (torch.float32,), device)
    if prefix is not None:
        check_tensor("prefix.page_GP", prefix.page_GP, (None, None), int64, device)
        check_tensor("prefix.tile_N3", prefix.tile_N3, (None, 3), int64, device)
        check_tensor("prefix.blocks_G", prefix.blocks_G, (prefix.page_GP.shape[0],), int64, device)
        check_tensor("prefix.blocks_B", prefix.blocks_B, (page_BP.shape[0],), int64, device)
    shared = [] if prefix is None else [prefix.page_GP, prefix.tile_N3, prefix.blocks_G, prefix.blocks_B]
    tiles = [tile_tokens, 0 if prefix is None else prefix.tile_tokens]
    return _paged_attention(
        q_THD, [k_PKDS, v_PKSE], [position_T, page_BP, tile_N3], shared, tiles, window,
        [scale, softcap or 0.0], sinks_H, slopes_H, input_precision,
    )  # fmt: skip


@custom_op("paged_attention")
def _paged_attention(
    q: Tensor, cache: Sequence[Tensor], paging: Sequence[Tensor], shared: Sequence[Tensor],
    tile_tokens: Sequence[int], window: int, numbers: Sequence[float], sinks: Tensor | None,
    slopes: Tensor | None, input_precision: str,
) -> Tensor:  # fmt: skip
    """out_THE, of arguments in groups: keys and values; positions, pages and runs; a prefix's, if any."""
    (k, v), (position, page, tile), (scale, softcap) = cache, paging, numbers
    prefix = None
    if shared:
        prefix = SharedPrefix(shared[0], shared[1], tile_tokens[1], shared[2], shared[3])
    scores = Scores(scale, window, softcap or None, slopes_H=slopes)
    return backend.attention_of(q, k).paged_attention(
        q, k, v, (position, page), (tile, tile_tokens[0]), scores, sinks, input_precision, prefix
    )


@_paged_attention.register_fake
def _(q: Tensor, cache: Sequence[Tensor], *_: object) -> Tensor:
    return q.new_empty((*q.shape[:2], cache[1].shape[3]))
