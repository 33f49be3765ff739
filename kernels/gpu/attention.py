"""Causal attention of packed queries over paged or packed keys and values: the forward kernel.

Legend: T packed tokens, B sequences, H query heads, K kv heads, G = H / K, D head dim of queries and keys,
E head dim of values, N runs of tokens, P pages, S page size.
In kernels: p_ pointer, b_ tile in registers, o_ offsets, m_ mask, i_ program index.

Online softmax (Milakov and Gimelshein, 2018) in the tiling of FlashAttention-2 (Dao, 2023). The rows of a
tile are tokens times the G query heads of one kv head, so keys and values are never expanded. Keys are
visited in blocks of 64 counted from position 0, in order, whatever else is in the tile: a row's bits depend
on its own sequence alone. Training (packed keys), prefill and decode (a page a block) are one kernel, and
so are the two phases of a shared prefix: the first stores the softmax's state where the second resumes.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from kernels.checks import NO_WINDOW, check_heads, check_knobs
from kernels.gpu.attention_tile import choices, config, first_seen, products, score_factors, seen, step, tilt
from kernels.gpu.language import rounded
from kernels.gpu.launch import TYPES, expect, expect_precision, on, target, variant
from kernels.gpu.variant import REFERENCE, Variant
from kernels.tiling import KEY_BLOCK, SharedPrefix


@triton.jit
def visit(
    b_max: tl.tensor,
    b_sum: tl.tensor,
    b_acc: tl.tensor,
    b_q: tl.tensor,
    p_q: tl.tensor,
    m_q: tl.tensor,
    p_k: tl.tensor,
    p_v: tl.tensor,
    p_page: tl.tensor,
    i_start: tl.tensor,
    i_head: tl.tensor,
    j: tl.tensor,
    last: tl.tensor,
    m_seen: tl.tensor,
    p_slope: tl.tensor,
    b_position: tl.tensor,
    to_tanh: tl.tensor,
    to_log2: tl.tensor,
    K: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    SOFTCAP: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK_D: tl.constexpr,
    PAGE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The state of rows after key block j, from its page or from the packed keys.

    From a page, keys come unmasked: a key that no row sees spoils no score but its own, a value would.
    """
    o_n = tl.arange(0, BLOCK_N)
    o_d = tl.arange(0, BLOCK_D)
    o_e = tl.arange(0, BLOCK_E)
    m_n = j * BLOCK_N + o_n <= last
    STEP_D: tl.constexpr = 1 if p_page is None else PAGE
    if p_page is not None:
        i_page = tl.load(p_page + j * BLOCK_N // PAGE) * K + i_head
        i_key = j * BLOCK_N % PAGE
        p_k += i_page * (PAGE * D) + i_key + o_n[None, :]
        p_v += i_page * (PAGE * E) + i_key * E + o_n[:, None] * E
        m_k = True
    else:
        i_key = ((i_start + j * BLOCK_N) * K + i_head).to(tl.int64)
        p_k += i_key * D + o_n[None, :] * (K * D)
        p_v += i_key * E + o_n[:, None] * (K * E)
        m_k = m_n[None, :]
    b_k = tl.load(p_k + o_d[:, None] * STEP_D, mask=m_k & (o_d < D)[:, None], other=0.0).to(b_q.dtype)
    b_s = products(b_q, b_k, p_q, m_q, p_k, m_k, STEP_D, D, BLOCK_D, CHUNK_D, PRECISION)
    b_v = tl.load(p_v + o_e[None, :], mask=m_n[:, None] & (o_e < E)[None, :], other=0.0).to(b_q.dtype)
    b_tilt = None
    if p_slope is not None:
        b_tilt = tilt(p_slope, (j * BLOCK_N + o_n)[None, :] - b_position)
    return step(  # type: ignore[no-any-return]
        b_max, b_sum, b_acc, b_s, b_v, m_seen, b_tilt, to_tanh, to_log2, SOFTCAP, PRECISION
    )


@triton.jit
def attention_forward(
    p_q: tl.tensor,
    p_k: tl.tensor,
    p_v: tl.tensor,
    p_out: tl.tensor,
    p_softmax: tl.tensor,
    p_position: tl.tensor,
    p_tile: tl.tensor,
    p_page: tl.tensor,
    p_blocks: tl.tensor,
    p_sinks: tl.tensor,
    p_slopes: tl.tensor,
    p_acc_in: tl.tensor,
    p_softmax_in: tl.tensor,
    T: tl.tensor,
    max_pages: tl.tensor,
    window: tl.tensor,
    to_tanh: tl.tensor,
    to_log2: tl.tensor,
    K: tl.constexpr,
    G: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    SOFTCAP: tl.constexpr,
    CHUNKED: tl.constexpr,
    FINAL: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
    CHUNK_D: tl.constexpr,
    CHUNK_E: tl.constexpr,
    PAGE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """One program: BLOCK_M rows of a run of tokens with the query heads of one kv head.

    p_page None: keys and values are packed like the queries. p_blocks (B, 2): the key blocks to visit.
    p_sinks, and p_acc_in with p_softmax_in: the state to start from. p_slopes: of ALiBi, or None. Not FINAL:
    p_out takes the accumulator.
    """
    # Last runs first: they tend to have the most keys, and a long program at the end runs alone.
    i_tile = tl.num_programs(0) - 1 - tl.program_id(0)
    i_head = tl.program_id(1)
    i_seq = tl.load(p_tile + i_tile * 3)
    i_token = tl.load(p_tile + i_tile * 3 + 1)
    rows = tl.load(p_tile + i_tile * 3 + 2).to(tl.int32) * G

    o_m = tl.program_id(2) * BLOCK_M + tl.arange(0, BLOCK_M)
    m_m = o_m < rows
    o_d = tl.arange(0, BLOCK_D)
    o_e = tl.arange(0, BLOCK_E)
    o_n = tl.arange(0, BLOCK_N)
    # A row's place among (token, query head).
    o_row = (i_token + o_m // G) * (K * G) + i_head * G + o_m % G
    b_position = tl.load(p_position + i_token + o_m // G, mask=m_m, other=-1).to(tl.int32)
    p_q += o_row[:, None] * D
    b_q = tl.load(p_q + o_d[None, :], mask=m_m[:, None] & (o_d < D)[None, :], other=0.0)
    m_out = m_m[:, None] & (o_e < E)[None, :]

    if p_acc_in is not None:
        b_max = tl.load(p_softmax_in + o_row, mask=m_m, other=0.0)
        b_sum = tl.load(p_softmax_in + T.to(tl.int64) * (K * G) + o_row, mask=m_m, other=1.0)
        b_acc = tl.load(p_acc_in + o_row[:, None] * E + o_e[None, :], mask=m_out, other=0.0)
    else:
        if p_sinks is not None:
            b_sink = tl.load(p_sinks + i_head * G + o_m % G).to(tl.float32)
            b_max = b_sink * 1.4426950408889634
            b_sum = tl.full((BLOCK_M,), 1.0, tl.float32)
        else:
            b_max = tl.full((BLOCK_M,), float("-inf"), tl.float32)
            b_sum = tl.zeros((BLOCK_M,), tl.float32)
        b_acc = tl.zeros((BLOCK_M, BLOCK_E), tl.float32)

    last = tl.max(b_position, 0)
    first = tl.min(tl.where(m_m, b_position, 1 << 30), 0)
    begin = tl.maximum(first_seen(first, window, CHUNKED), 0) // BLOCK_N
    end = (last + BLOCK_N) // BLOCK_N
    if p_blocks is not None:
        begin = tl.maximum(begin, tl.load(p_blocks + i_seq * 2).to(tl.int32) * (PAGE // BLOCK_N))
        end = tl.minimum(end, tl.load(p_blocks + i_seq * 2 + 1).to(tl.int32) * (PAGE // BLOCK_N))
    # From `edge` on, some row does not see some key; before it no mask is needed, which changes no bit.
    edge = tl.maximum(begin, tl.minimum((first + 1) // BLOCK_N, end))
    if begin * BLOCK_N < first_seen(last, window, CHUNKED):
        edge = begin
    if p_page is not None:
        p_page += i_seq * max_pages
        i_start = 0
    else:
        i_start = i_token - tl.load(p_position + i_token)
    if p_slopes is not None:
        p_slopes += (i_head * G + o_m % G)[:, None]
    b_position = b_position[:, None]

    for j in range(begin, edge):
        b_max, b_sum, b_acc = visit(
            b_max, b_sum, b_acc, b_q, p_q, m_m[:, None], p_k, p_v, p_page, i_start, i_head, j, last, None,
            p_slopes, b_position, to_tanh, to_log2, K, D, E, SOFTCAP, BLOCK_N, BLOCK_D, BLOCK_E, CHUNK_D,
            PAGE, PRECISION,
        )  # fmt: skip
    for j in range(edge, end):
        o_key = j * BLOCK_N + o_n[None, :]
        m_seen = seen(o_key, b_position, window, CHUNKED)
        b_max, b_sum, b_acc = visit(
            b_max, b_sum, b_acc, b_q, p_q, m_m[:, None], p_k, p_v, p_page, i_start, i_head, j, last, m_seen,
            p_slopes, b_position, to_tanh, to_log2, K, D, E, SOFTCAP, BLOCK_N, BLOCK_D, BLOCK_E, CHUNK_D,
            PAGE, PRECISION,
        )  # fmt: skip

    tl.store(p_softmax + o_row, b_max, mask=m_m)
    tl.store(p_softmax + T.to(tl.int64) * (K * G) + o_row, b_sum, mask=m_m)
    if FINAL:
        # A row that saw no key has the sum 0 and the accumulator 0: it puts out 0.
        b_acc = b_acc / tl.where(b_sum == 0.0, 1.0, b_sum)[:, None]
    p_out += o_row[:, None] * E + o_e[None, :]
    tl.store(p_out, rounded(b_acc, p_out.dtype.element_ty), mask=m_out)


def forward(
    q_THD: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    position_T: torch.Tensor,
    tile_N3: torch.Tensor,
    tile_tokens: int,
    *,
    scale: float,
    window: int = 0,
    softcap: float | None = None,
    sinks_H: torch.Tensor | None = None,
    slopes_H: torch.Tensor | None = None,
    input_precision: str = "ieee",
    page_BP: torch.Tensor | None = None,
    blocks_B2: torch.Tensor | None = None,
    state: tuple[torch.Tensor, torch.Tensor] | None = None,
    final: bool = True,
    out_THE: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(out_THE, softmax_2TH): what packed queries read from the keys at positions 0 to their own.

    Args:
        q_THD: float32, bfloat16 or float16; D and E up to 256.
        k, v: k_PKDS and v_PKSE with S = 64 and `page_BP`, of any of the three dtypes and read as q's;
            without it k_TKD and v_TKE of q's dtype, packed like the queries.
        position_T: int64, each token's position in its sequence.
        tile_N3: int64, runs (row of page_BP, first token, number of tokens <= tile_tokens); without pages,
            no sequence's border crosses a run. The runs cover all tokens. They change no bit of the result.
        scale: of the products, positive.
        window: a query sees the last `window` keys, its own among them; 0 for all, and -n for those of its
            own chunk of n positions.
        softcap: scores are softcap * tanh(score / softcap).
        sinks_H: q's dtype or float32, a logit per query head that joins the softmax and has no value.
        slopes_H: float32, what a score falls by for each position that its key lies further back (ALiBi).
        input_precision: "ieee", "tf32x3" or "tf32", of float32's products.
        page_BP: int64, the block table.
        blocks_B2: int64, the first key block to visit and the one past the last, for each row of page_BP.
        state: what a call with `final=False` returned for the blocks before; the sinks are in it.
        final: False to return the float32 accumulator in out's place.
        out_THE: memory for the output.

    softmax_2TH (float32) holds each row's largest score, in base 2 (score / ln 2), and the sum of the
    exponentials relative to it. Raises ValueError, before any launch, for arguments that do not fit.
    """
    check_knobs(scale, window, softcap, input_precision)
    expect("q", q_THD, (None, None, None))
    (T, H, D), device = q_THD.shape, q_THD.device
    expect_precision(input_precision, device)
    if page_BP is None:
        expect("k", k, (T, None, D), like=q_THD)
        expect("v", v, (T, k.shape[1], None), like=q_THD)
    else:
        expect("k", k, (None, None, D, KEY_BLOCK), tuple(TYPES), like=q_THD)
        expect("v", v, (k.shape[0], k.shape[1], KEY_BLOCK, None), k.dtype, like=q_THD)
        expect("page_BP", page_BP, (None, None), torch.int64, like=q_THD)
    K, E = k.shape[1], v.shape[-1]
    check_heads(H, K, D, E)
    expect("position_T", position_T, (T,), torch.int64, like=q_THD)
    expect("tile_N3", tile_N3, (None, 3), torch.int64, like=q_THD)
    if blocks_B2 is not None:
        if page_BP is None:
            raise ValueError("blocks_B2 must come with page_BP")
        expect("blocks_B2", blocks_B2, (page_BP.shape[0], 2), torch.int64, like=q_THD)
    if sinks_H is not None:
        expect("sinks_H", sinks_H, (H,), (q_THD.dtype, torch.float32), like=q_THD)
    if slopes_H is not None:
        expect("slopes_H", slopes_H, (H,), torch.float32, like=q_THD)
    if state is not None:
        expect("state[0]", state[0], (T, H, E), torch.float32, like=q_THD)
        expect("state[1]", state[1], (2, T, H), torch.float32, like=q_THD)
    out_dtype = q_THD.dtype if final else torch.float32
    if out_THE is None:
        out_THE = torch.empty((T, H, E), dtype=out_dtype, device=device)
    expect("out_THE", out_THE, (T, H, E), out_dtype, like=q_THD)
    softmax_2TH = torch.empty((2, T, H), dtype=torch.float32, device=device)
    if T == 0 or tile_N3.shape[0] == 0:
        return out_THE, softmax_2TH
    choice = config("forward", q_THD.dtype, D, E, input_precision, target(device))
    grid = (tile_N3.shape[0], K, triton.cdiv(tile_tokens * (H // K), choice.BLOCK_M))
    acc_in, softmax_in = state or (None, None)
    with on(device):
        attention_forward[grid](
            q_THD, k, v, out_THE, softmax_2TH, position_T, tile_N3, page_BP, blocks_B2, sinks_H,
            slopes_H, acc_in, softmax_in,
            T, 0 if page_BP is None else page_BP.shape[1], abs(window) or NO_WINDOW,
            *score_factors(scale, softcap),
            K=K, G=H // K, D=D, E=E, SOFTCAP=softcap is not None, CHUNKED=window < 0, FINAL=final,
            PAGE=KEY_BLOCK, PRECISION=input_precision,
            **choice.launch(D, E),
        )  # fmt: skip
    return out_THE, softmax_2TH


def paged(
    q_THD: torch.Tensor,
    k_PKDS: torch.Tensor,
    v_PKSE: torch.Tensor,
    position_T: torch.Tensor,
    page_BP: torch.Tensor,
    tile_N3: torch.Tensor,
    tile_tokens: int,
    prefix: SharedPrefix | None = None,
    **knobs: Any,
) -> torch.Tensor:
    """out_THE of `forward` over pages; with a shared prefix in two phases, which changes no bit.

    The first takes the rows of a prefix's sequences together over its full blocks, the second resumes from
    their state over each sequence's own blocks: the same steps as one run, so no merging of parts.
    """
    tensors, tiles = (q_THD, k_PKDS, v_PKSE, position_T), (tile_N3, tile_tokens)
    if prefix is None:
        return forward(*tensors, *tiles, page_BP=page_BP, **knobs)[0]
    blocks_G2 = torch.stack((torch.zeros_like(prefix.blocks_G), prefix.blocks_G), dim=1)
    blocks_B2 = torch.stack((prefix.blocks_B, torch.full_like(prefix.blocks_B, page_BP.shape[1])), dim=1)
    state = forward(
        *tensors, prefix.tile_N3, prefix.tile_tokens,
        page_BP=prefix.page_GP, blocks_B2=blocks_G2, final=False, **knobs,
    )  # fmt: skip
    return forward(*tensors, *tiles, page_BP=page_BP, blocks_B2=blocks_B2, state=state, **knobs)[0]


def variants() -> list[Variant]:
    """Every dtype and size in training; once decoding from pages, and the phases of a shared prefix.

    Qwen3's grouping, with sinks, and no softcap where the sizes are not Gemma's.
    """
    found = []
    for D, E, dtype, precision, name in choices():
        kind, choice = TYPES[dtype], config("forward", dtype, D, E, precision, name)
        types = {
            **dict.fromkeys(("p_q", "p_k", "p_v", "p_out", "p_sinks"), f"*{kind}"),
            **dict.fromkeys(("p_slopes", "p_softmax", "p_acc_in", "p_softmax_in"), "*fp32"),
            **dict.fromkeys(("p_position", "p_tile", "p_page", "p_blocks"), "*i64"),
            **dict.fromkeys(("T", "max_pages", "window"), "i32"),
            **dict.fromkeys(("to_tanh", "to_log2"), "fp32"),
        }
        uses = {
            "packed": ("p_page", "p_blocks", "p_slopes", "p_acc_in", "p_softmax_in"),
            "paged": ("p_blocks", "p_slopes", "p_acc_in", "p_softmax_in"),
            "chunked": ("p_page", "p_blocks", "p_slopes", "p_sinks", "p_acc_in", "p_softmax_in"),
            "tilted": ("p_blocks", "p_sinks", "p_acc_in", "p_softmax_in"),
            "prefix": ("p_slopes", "p_acc_in", "p_softmax_in"),
            "resumed": ("p_slopes", "p_sinks"),
        }
        for use, absent in uses.items():
            # Pages change little of a kernel: they are looked at where the sizes are the usual ones.
            usual = D == 128 and precision == "ieee" and dtype != torch.float16 and name == REFERENCE
            if use != "packed" and not usual:
                continue
            constants = {
                **dict.fromkeys(absent),
                **{"K": 8, "G": 2, "D": D, "E": E, "SOFTCAP": D == 256, "CHUNKED": use == "chunked"},
                "FINAL": use != "prefix",
                **choice.constants(D, E),
                **{"PAGE": KEY_BLOCK, "PRECISION": precision},
            }
            label = f"attention_forward {use} {kind} {precision} {D}/{E}"
            given = types | ({"p_out": "*fp32"} if use == "prefix" else {})
            how = (choice.num_warps, choice.num_stages, [name])
            found.append(variant(label, attention_forward, given, constants, *how))
    return found
