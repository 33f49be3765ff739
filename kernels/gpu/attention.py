"""Causal attention of packed queries over paged or packed keys and values: the forward kernel.

Legend: T packed tokens, B sequences, H query heads, K kv heads, G = H / K, D head dim of queries and keys,
E head dim of values, N runs of tokens, P pages, S page size.

Online softmax (Milakov and Gimelshein, 2018) in the tiling of FlashAttention-2 (Dao, 2023). The rows of a
tile are tokens times the G query heads of one kv head, so keys and values are never expanded. Keys are
visited in blocks of 64 counted from position 0, in order, whatever else is in the tile: a row's bits depend
on its own sequence alone. Training (packed keys), prefill and decode (a page a block) are one kernel, and
so are the two phases of a shared prefix: the first stores the softmax's state where the second resumes.
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
from kernels.gpu.language import rounded
from kernels.gpu.launch import TYPES, expect, launch, target
from kernels.gpu.variant import Variant
from kernels.knobs import Scores
from kernels.tiling import KEY_BLOCK, SharedPrefix


class Queries(NamedTuple):
    """Queries, their positions, and the runs that they are cut into."""

    p_q: tl.tensor
    p_position: tl.tensor
    p_tile: tl.tensor
    T: tl.tensor


class Keys(NamedTuple):
    """Keys and values, packed like the queries or in pages; p_blocks, or None, says which blocks to visit."""

    p_k: tl.tensor
    p_v: tl.tensor
    p_page: tl.tensor
    max_pages: tl.tensor
    p_blocks: tl.tensor
    PAGE: tl.constexpr


class Stored(NamedTuple):
    """A state to start from, else the sinks, else nothing; and where it goes, divided by its sum if FINAL."""

    p_sinks: tl.tensor
    p_acc_in: tl.tensor
    p_softmax_in: tl.tensor
    p_out: tl.tensor
    p_softmax: tl.tensor
    FINAL: tl.constexpr


@triton.jit
def visit(
    state: tile.Softmax, q: tile.Operand, rows: tile.Rows, keys: Keys, j: tl.tensor, m_seen: tl.tensor,
    scoring: tile.Scoring, size: tile.Sizes,
) -> tile.Softmax:  # fmt: skip
    """Advance the state of rows by key block j, from its page or from the packed keys.

    From a page, keys come unmasked: a key that no row sees spoils no score but its own, a value would.
    """
    p_k, p_v = keys.p_k, keys.p_v
    D: tl.constexpr = size.D
    E: tl.constexpr = size.E
    o_n, i_head = tl.arange(0, size.BLOCK_N), tl.program_id(1)
    o_d = tl.arange(0, size.BLOCK_D)
    o_e = tl.arange(0, size.BLOCK_E)
    m_n = j * size.BLOCK_N + o_n <= rows.last
    STEP_D: tl.constexpr = 1 if keys.p_page is None else keys.PAGE
    if keys.p_page is not None:
        p_page = keys.p_page + rows.sequence * keys.max_pages
        i_page = tl.load(p_page + j * size.BLOCK_N // keys.PAGE) * size.K + i_head
        i_key = j * size.BLOCK_N % keys.PAGE
        p_k += i_page * (keys.PAGE * D) + i_key + o_n[None, :]
        p_v += i_page * (keys.PAGE * E) + i_key * E + o_n[:, None] * E
        m_k = True
    else:
        i_key = ((rows.start + j * size.BLOCK_N) * size.K + i_head).to(tl.int64)
        p_k += i_key * D + o_n[None, :] * (size.K * D)
        p_v += i_key * E + o_n[:, None] * (size.K * E)
        m_k = m_n[None, :]
    b_k = tl.load(p_k + o_d[:, None] * STEP_D, mask=m_k & (o_d < D)[:, None], other=0.0).to(q.tile.dtype)
    b_s = tile.products(q, tile.Operand(b_k, p_k, m_k), STEP_D, D, size.CHUNK_D, size.PRECISION)
    b_v = tl.load(p_v + o_e[None, :], mask=m_n[:, None] & (o_e < E)[None, :], other=0.0).to(q.tile.dtype)
    b_tilt = None
    if scoring.p_slopes is not None:
        o_ahead = (j * size.BLOCK_N + o_n)[None, :] - rows.position
        b_tilt = tile.tilt(scoring.p_slopes + (i_head * size.G + rows.head)[:, None], o_ahead)
    state = tile.step(state, b_s, b_v, m_seen, b_tilt, scoring, size.PRECISION)
    return state


@triton.jit
def initial_state(stored: Stored, rows: tile.Rows, T: tl.tensor, size: tile.Sizes) -> tile.Softmax:
    """Make the state of rows before any key of this launch."""
    BLOCK_M: tl.constexpr = size.BLOCK_M
    if stored.p_acc_in is not None:
        b_max = tl.load(stored.p_softmax_in + rows.place, mask=rows.mask, other=0.0)
        p_sum = stored.p_softmax_in + T.to(tl.int64) * (size.K * size.G) + rows.place
        b_sum = tl.load(p_sum, mask=rows.mask, other=1.0)
        p_acc = stored.p_acc_in + rows.place[:, None] * size.E
        b_acc = tile.read(p_acc, rows.mask[:, None], size.E, size.BLOCK_E).tile
    else:
        if stored.p_sinks is not None:
            b_sink = tl.load(stored.p_sinks + tl.program_id(1) * size.G + rows.head).to(tl.float32)
            b_max = b_sink * 1.4426950408889634
            b_sum = tl.full((BLOCK_M,), 1.0, tl.float32)
        else:
            b_max = tl.full((BLOCK_M,), float("-inf"), tl.float32)
            b_sum = tl.zeros((BLOCK_M,), tl.float32)
        b_acc = tl.zeros((BLOCK_M, size.BLOCK_E), tl.float32)
    return tile.Softmax(b_max, b_sum, b_acc)


@triton.jit
def attend(queries: Queries, keys: Keys, stored: Stored, scoring: tile.Scoring, size: tile.Sizes) -> None:
    """Visit the key blocks of this program's rows in order, and write what the rows read from them."""
    rows = tile.rows_of(queries.p_position, queries.p_tile, scoring, size)
    q = tile.read(queries.p_q + rows.place[:, None] * size.D, rows.mask[:, None], size.D, size.BLOCK_D)
    state = initial_state(stored, rows, queries.T, size)
    begin, end = rows.begin, rows.end
    if keys.p_blocks is not None:
        p_blocks = keys.p_blocks + rows.sequence * 2
        begin = tl.maximum(begin, tl.load(p_blocks).to(tl.int32) * (keys.PAGE // size.BLOCK_N))
        end = tl.minimum(end, tl.load(p_blocks + 1).to(tl.int32) * (keys.PAGE // size.BLOCK_N))
    # From `edge` on, some row does not see some key; before it no mask is needed, which changes no bit.
    edge = tl.maximum(begin, tl.minimum((rows.first + 1) // size.BLOCK_N, end))
    if begin * size.BLOCK_N < tile.first_seen(rows.last, scoring.window, scoring.CHUNKED):
        edge = begin

    for j in range(begin, edge):
        state = visit(state, q, rows, keys, j, None, scoring, size)
    for j in range(edge, end):
        o_key = j * size.BLOCK_N + tl.arange(0, size.BLOCK_N)[None, :]
        state = visit(state, q, rows, keys, j, tile.seen(o_key, rows.position, scoring), scoring, size)

    tl.store(stored.p_softmax + rows.place, state.max, mask=rows.mask)
    p_sum = stored.p_softmax + queries.T.to(tl.int64) * (size.K * size.G) + rows.place
    tl.store(p_sum, state.sum, mask=rows.mask)
    b_acc = state.acc
    if stored.FINAL:
        # A row that saw no key has the sum 0 and the accumulator 0: it puts out 0.
        b_acc = b_acc / tl.where(state.sum == 0.0, 1.0, state.sum)[:, None]
    o_e = tl.arange(0, size.BLOCK_E)
    p_out = stored.p_out + (rows.place[:, None] * size.E + o_e[None, :])
    m_out = rows.mask[:, None] & (o_e < size.E)[None, :]
    tl.store(p_out, rounded(b_acc, p_out.dtype.element_ty), mask=m_out)


# A launch makes a constant of a number that is 1, as T is where one sequence decodes; it has no `to`.
@triton.jit(do_not_specialize=["T"])
def attention_forward(
    p_q: tl.tensor, p_k: tl.tensor, p_v: tl.tensor, p_out: tl.tensor, p_softmax: tl.tensor,
    p_position: tl.tensor, p_tile: tl.tensor, p_page: tl.tensor, p_blocks: tl.tensor, p_sinks: tl.tensor,
    p_slopes: tl.tensor, p_acc_in: tl.tensor, p_softmax_in: tl.tensor,
    T: tl.tensor, max_pages: tl.tensor, window: tl.tensor, to_tanh: tl.tensor, to_log2: tl.tensor,
    K: tl.constexpr, G: tl.constexpr, D: tl.constexpr, E: tl.constexpr,
    SOFTCAP: tl.constexpr, CHUNKED: tl.constexpr, FINAL: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_E: tl.constexpr,
    CHUNK_D: tl.constexpr, CHUNK_E: tl.constexpr, PAGE: tl.constexpr, PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """Compute one tile: BLOCK_M rows of a run of tokens with the query heads of one kv head.

    p_page None: keys and values are packed like the queries. p_blocks (B, 2): the key blocks to visit.
    p_sinks, and p_acc_in with p_softmax_in: the state to start from. p_slopes: of ALiBi, or None. Not FINAL:
    p_out takes the accumulator. The records have no names here: a record with a name would hold its
    constants as tensors.
    """
    attend(
        Queries(p_q, p_position, p_tile, T),
        Keys(p_k, p_v, p_page, max_pages, p_blocks, PAGE),
        Stored(p_sinks, p_acc_in, p_softmax_in, p_out, p_softmax, FINAL),
        tile.Scoring(p_slopes, window, to_tanh, to_log2, SOFTCAP, CHUNKED),
        tile.Sizes(K, G, D, E, BLOCK_M, BLOCK_N, BLOCK_D, BLOCK_E, CHUNK_D, CHUNK_E, PRECISION),
    )


class Paging(NamedTuple):
    """Keys and values in pages, and which part of them a call visits.

    Attributes:
        page_BP: int64, the block table; None for keys and values that are packed.
        blocks_B2: int64, the first key block to visit and the one past the last, for each row of page_BP.
        state: what a call with `final=False` returned for the blocks before; the sinks are in it.
        final: False to return the float32 accumulator in out's place.
    """

    page_BP: Tensor | None = None
    blocks_B2: Tensor | None = None
    state: tuple[Tensor, Tensor] | None = None
    final: bool = True


def forward(
    q_THD: Tensor,
    k: Tensor,
    v: Tensor,
    position_T: Tensor,
    tiles: tuple[Tensor, int],
    scores: Scores,
    sinks_H: Tensor | None = None,
    input_precision: str = "ieee",
    paging: Paging | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute (out_THE, softmax_2TH): what packed queries read from the keys at positions 0 to their own.

    Args:
        q_THD: float32, bfloat16 or float16; D and E up to 256.
        k, v: k_PKDS and v_PKSE with S = 64 and `paging`, of any of the three dtypes and read as q's;
            without it k_TKD and v_TKE of q's dtype, packed like the queries.
        position_T: int64, each token's position in its sequence.
        tiles: (tile_N3, tile_tokens). tile_N3: int64, runs (row of page_BP, first token, number of tokens <=
            tile_tokens); without pages, no sequence's border crosses a run. The runs cover all tokens. They
            change no bit of the result.
        scores: how scores are made of products; the fields that only the oracle follows are ignored.
        sinks_H: q's dtype or float32, a logit per query head that joins the softmax and has no value.
        input_precision: "ieee", "tf32x3" or "tf32", of float32's products.

    softmax_2TH (float32) holds each row's largest score, in base 2 (score / ln 2), and the sum of the
    exponentials relative to it. Raises ValueError, before any launch, for arguments that do not fit.
    """
    T, H, D = tile.check(q_THD, scores, sinks_H, input_precision)
    tile_N3, tile_tokens = tiles
    page_BP, blocks_B2, state, final = paging or Paging()
    if page_BP is None:
        expect("k", k, (T, None, D), like=q_THD)
        expect("v", v, (T, k.shape[1], None), like=q_THD)
    else:
        expect("k", k, (None, None, D, KEY_BLOCK), tuple(TYPES), like=q_THD)
        expect("v", v, (k.shape[0], k.shape[1], KEY_BLOCK, None), k.dtype, like=q_THD)
        expect("page_BP", page_BP, (None, None), torch.int64, like=q_THD)
        expect("blocks_B2", blocks_B2, (page_BP.shape[0], 2), torch.int64, like=q_THD, optional=True)
    K, E = k.shape[1], v.shape[-1]
    check_heads(H, K, D, E)
    expect("position_T", position_T, (T,), torch.int64, like=q_THD)
    expect("tile_N3", tile_N3, (None, 3), torch.int64, like=q_THD)
    acc_in, softmax_in = state or (None, None)
    expect("state[0]", acc_in, (T, H, E), torch.float32, like=q_THD, optional=True)
    expect("state[1]", softmax_in, (2, T, H), torch.float32, like=q_THD, optional=True)
    out_THE = torch.empty((T, H, E), dtype=q_THD.dtype if final else torch.float32, device=q_THD.device)
    softmax_2TH = torch.empty((2, T, H), dtype=torch.float32, device=q_THD.device)
    choice = config("forward", q_THD.dtype, D, E, input_precision, target(q_THD.device))
    rows = tile_tokens * (H // K) if T else 0
    launch(
        attention_forward, (tile_N3.shape[0], K, triton.cdiv(rows, choice.BLOCK_M)),
        q_THD, k, v, out_THE, softmax_2TH, position_T, tile_N3, page_BP, blocks_B2, sinks_H,
        p_acc_in=acc_in, p_softmax_in=softmax_in, T=T, max_pages=0 if page_BP is None else page_BP.shape[1],
        K=K, G=H // K, FINAL=final, PAGE=KEY_BLOCK, PRECISION=input_precision,
        **tile.score_arguments(scores), **choice.launch(D, E),
    )  # fmt: skip
    return out_THE, softmax_2TH


def paged(
    q_THD: Tensor,
    k_PKDS: Tensor,
    v_PKSE: Tensor,
    position_T: Tensor,
    page_BP: Tensor,
    tiles: tuple[Tensor, int],
    scores: Scores,
    sinks_H: Tensor | None = None,
    input_precision: str = "ieee",
    prefix: SharedPrefix | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute `forward` over pages; with a shared prefix in two phases, which changes no bit.

    The first takes the rows of a prefix's sequences together over its full blocks, the second resumes from
    their state over each sequence's own blocks: the same steps as one run, so no merging of parts.
    """
    tensors, knobs = (q_THD, k_PKDS, v_PKSE, position_T), (scores, sinks_H, input_precision)
    if prefix is None:
        return forward(*tensors, tiles, *knobs, Paging(page_BP))
    blocks_G2 = torch.stack((torch.zeros_like(prefix.blocks_G), prefix.blocks_G), dim=1)
    blocks_B2 = torch.stack((prefix.blocks_B, torch.full_like(prefix.blocks_B, page_BP.shape[1])), dim=1)
    shared = Paging(prefix.page_GP, blocks_G2, final=False)
    state = forward(*tensors, (prefix.tile_N3, prefix.tile_tokens), *knobs, shared)
    return forward(*tensors, tiles, *knobs, Paging(page_BP, blocks_B2, state))


def variants() -> Iterator[Variant]:
    """Yield training in every dtype and size, with sinks; decoding from pages; the phases of a prefix."""
    state = "p_acc_in p_softmax_in"
    final = {"FINAL": True, "PAGE": KEY_BLOCK}
    uses = {
        "packed": (f"p_page p_blocks p_slopes {state}", final),
        "paged": (f"p_blocks p_slopes {state}", final),
        "chunked": (f"p_page p_blocks p_slopes p_sinks {state}", {**final, "CHUNKED": True}),
        "tilted": (f"p_blocks p_sinks {state}", final),
        "prefix": (f"p_slopes {state}", {**final, "FINAL": False}),
        "resumed": ("p_slopes p_sinks", final),
    }
    return tile.variants_of(attention_forward, "forward", uses)
