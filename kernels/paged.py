"""Causal attention of few queries over a paged KV cache, for users: prefill, decode and shared prefixes.

Legend: T packed tokens, B sequences, H query heads, K kv heads, D head dim of queries and keys,
E head dim of values, N runs of tokens, P pages, S page size, G groups of sequences with one prefix.
"""

from __future__ import annotations

from typing import Any

import torch

from kernels import blockwise
from kernels.checks import GPU_DTYPES, check_heads, check_knobs, check_tensor
from kernels.cpu import attention as cpu_attention
from kernels.cpu.scalars import SCALARS
from kernels.knobs import Scores
from kernels.tiling import KEY_BLOCK, SharedPrefix


def paged_attention(
    q_THD: torch.Tensor,
    k_PKDS: torch.Tensor,
    v_PKSE: torch.Tensor,
    position_T: torch.Tensor,
    page_BP: torch.Tensor,
    tile_N3: torch.Tensor,
    tile_tokens: int,
    *,
    scale: float | None = None,
    window: int = 0,
    softcap: float | None = None,
    sinks_H: torch.Tensor | None = None,
    slopes_H: torch.Tensor | None = None,
    input_precision: str = "ieee",
    prefix: SharedPrefix | None = None,
) -> torch.Tensor:
    """What packed queries read from their sequences' pages, positions 0 to their own: out_THE, in q's dtype.

    Args:
        q_THD: float32, bfloat16 or float16, on the CPU float64 too; on a GPU D and E are at most 256.
        k_PKDS, v_PKSE: the cache (`minillm.engine.page_pool`), S = 64, of one dtype, which need not be q's.
        position_T: int64, each token's position in its sequence.
        page_BP: int64, the block table: all pages of a sequence, those of a shared prefix too.
        tile_N3: int64, runs (sequence, first token, number of tokens <= tile_tokens) that cover all tokens
            (`kernels.tiling.work_list`), made once for all layers. They change no bit of the result.
        prefix: the full blocks that sequences share; on a GPU they are then read once a group.
        The others are as in `kernels.attention.attention`.

    Bit for bit what `kernels.attention.attention` puts out for the same tokens, if the cache holds the same
    keys and values, whatever else is in the batch; so it is with `prefix` too, whose softmax is carried on
    from the prefix to the rest, not merged. Not differentiable. Raises ValueError for arguments that do not
    fit.
    """
    scale = q_THD.shape[-1] ** -0.5 if scale is None else scale
    check_knobs(scale, window, softcap, input_precision)
    q_THD, device = q_THD.contiguous(), q_THD.device
    dtypes = (*GPU_DTYPES, torch.float64) if device.type == "cpu" else GPU_DTYPES
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
    shared: tuple[Any, ...] = (None, None, 0, None, None)
    if prefix is not None:
        check_tensor("prefix.page_GP", prefix.page_GP, (None, None), int64, device)
        check_tensor("prefix.tile_N3", prefix.tile_N3, (None, 3), int64, device)
        check_tensor("prefix.blocks_G", prefix.blocks_G, (prefix.page_GP.shape[0],), int64, device)
        check_tensor("prefix.blocks_B", prefix.blocks_B, (page_BP.shape[0],), int64, device)
        tiles = (prefix.tile_N3, prefix.tile_tokens)
        shared = (prefix.page_GP, *tiles, prefix.blocks_G, prefix.blocks_B)
    out_THE: torch.Tensor = _paged_attention(
        q_THD, k_PKDS, v_PKSE, position_T, page_BP, tile_N3, tile_tokens,
        scale, window, softcap, sinks_H, input_precision, *shared, slopes_H,
    )  # fmt: skip
    return out_THE


@torch.library.custom_op("minillm::paged_attention", mutates_args=())
def _paged_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, position: torch.Tensor, page: torch.Tensor,
    tile: torch.Tensor, tile_tokens: int, scale: float, window: int, softcap: float | None,
    sinks: torch.Tensor | None, input_precision: str, prefix_page: torch.Tensor | None,
    prefix_tile: torch.Tensor | None, prefix_tile_tokens: int, prefix_blocks: torch.Tensor | None,
    blocks: torch.Tensor | None, slopes: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """out_THE. On the CPU a prefix is read anew by each of its sequences: the bits are the same."""
    scores = Scores(scale, window, softcap, slopes_H=slopes)
    if q.device.type == "cpu":
        if q.dtype in SCALARS and k.dtype in SCALARS:
            return cpu_attention.attention(q, k, v, position, page, tile, tile_tokens, scores, sinks)
        return blockwise.paged(q, k, v, position, page, tile, scores, sinks)
    from kernels.gpu.attention import paged  # Triton is not everywhere

    prefix = None
    if prefix_page is not None and prefix_tile is not None:
        assert prefix_blocks is not None and blocks is not None
        prefix = SharedPrefix(prefix_page, prefix_tile, prefix_tile_tokens, prefix_blocks, blocks)
    return paged(q, k, v, position, page, (tile, tile_tokens), scores, sinks, input_precision, prefix)


@_paged_attention.register_fake
def _(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, position: torch.Tensor, page: torch.Tensor,
    tile: torch.Tensor, tile_tokens: int, scale: float, window: int, softcap: float | None,
    sinks: torch.Tensor | None, input_precision: str, prefix_page: torch.Tensor | None,
    prefix_tile: torch.Tensor | None, prefix_tile_tokens: int, prefix_blocks: torch.Tensor | None,
    blocks: torch.Tensor | None, slopes: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    return q.new_empty((*q.shape[:2], v.shape[3]))
