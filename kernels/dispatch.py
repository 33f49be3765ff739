"""The one place that picks an implementation, from device and dtype alone.

float32 and bfloat16 on the CPU run our compiled kernels, those and float16 on a GPU the Triton ones, under
the row-invariance contract. Everything else (float64 to check structure, float16 on the CPU) runs the
plain-torch oracle, which promises no bits.

Legend: T packed tokens, R rows, K inner width, N outer width, C model width, F MLP width,
H query heads, K kv heads, D head dim, P pages, S page size.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from kernels import ops, reference, rowwise_ops
from kernels.autograd import RopeStoreAttention
from kernels.checks import check_heads, check_tensor
from kernels.cpu import rowwise
from kernels.knobs import Activation, Norm, Scores
from kernels.paged import paged_attention
from kernels.panels import CODES, GROUP, PANEL, dequantize, unpack

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


class Paging(Protocol):
    """What attention asks of a batch: where each token stands, and which pages its sequence owns."""

    @property
    def position_T(self) -> torch.Tensor: ...

    @property
    def slot_T(self) -> torch.Tensor: ...

    @property
    def page_BP(self) -> torch.Tensor: ...

    @property
    def bounds(self) -> list[int]: ...

    @property
    def starts(self) -> list[int]: ...

    @property
    def tiles(self) -> tuple[torch.Tensor, int]:
        """Runs of tokens (N, 3): sequence, first token, number of tokens; and the largest number."""
        ...


def traced() -> bool:
    """Whether autograd or torch.compile looks on, for whom `kernels.ops` is; decode goes without its cost."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


def matmul(
    x_RK: torch.Tensor,
    w_PKW: torch.Tensor,
    N: int,
    scales_PGW: torch.Tensor | None = None,
    bias_N: torch.Tensor | None = None,
    wide: bool = False,
) -> torch.Tensor:
    """x_RK @ w_KN (+ bias), (R, N), for w in panels (`kernels.panels`), or codes and scales
    (`kernels.panels`); in x's dtype, or the kernel's sums as they are, in float32, where `wide`.

    Weights of whole numbers get no gradient and pass none on: a backward through them is a RuntimeError.
    Raises ValueError for arguments that do not belong together.
    """
    x_RK = x_RK.contiguous()
    _check_product("w_PKW", x_RK, w_PKW, N, scales_PGW, bias_N, ())
    if (kernels := ops.backend(x_RK.device, x_RK.dtype)) is None:
        out_RN = _oracle(x_RK, w_PKW, N, scales_PGW, bias_N)
        return out_RN.float() if wide and out_RN.dtype != torch.float64 else out_RN
    if traced():
        return ops.matmul(x_RK, w_PKW, scales_PGW, bias_N, N, wide)  # type: ignore[no-any-return]
    return kernels.matmul(x_RK, w_PKW, N, scales_PGW, bias_N, wide)  # type: ignore[no-any-return]


def round_into(x: torch.Tensor, out: torch.Tensor) -> None:
    """out <- x, rounded to the nearest of out's dtype, ties to even.

    Raises ValueError unless they are of one shape and device, and `out` is contiguous.
    """
    check_tensor("out", out, x.shape, FLOATS, x.device)
    plain = x.device.type == "cpu" and (x.dtype, out.dtype) == (torch.float32, torch.bfloat16)
    if plain and x.is_contiguous() and out.is_contiguous():
        rowwise.round_into(x, out)
        torch.autograd.graph.increment_version(out)
    else:
        out.copy_(x)


def grouped_matmul(
    x_RK: torch.Tensor,
    w_EPKW: torch.Tensor,
    N: int,
    bound_E1: torch.Tensor,
    scales_EPGW: torch.Tensor | None = None,
    bias_EN: torch.Tensor | None = None,
) -> torch.Tensor:
    """`matmul` of rows bound[e] to bound[e + 1] with the matrix of expert e, (R, N): the same bits.

    `bound_E1` is int64 and rises from 0 to R. Raises ValueError as `matmul` does.
    """
    x_RK, E = x_RK.contiguous(), w_EPKW.shape[0]
    _check_product("w_EPKW", x_RK, w_EPKW, N, scales_EPGW, bias_EN, (E,))
    check_tensor("bound_E1", bound_E1, (E + 1,), (torch.int64,), x_RK.device)
    if (kernels := ops.backend(x_RK.device, x_RK.dtype)) is None:
        return reference.grouped_matmul(_oracle, x_RK, w_EPKW, N, bound_E1, scales_EPGW, bias_EN)
    if traced():
        return ops.grouped_matmul(x_RK, w_EPKW, scales_EPGW, bias_EN, bound_E1, N)  # type: ignore[no-any-return]
    return kernels.grouped_matmul(x_RK, w_EPKW, N, bound_E1, scales_EPGW, bias_EN)  # type: ignore[no-any-return]


def _oracle(
    x_RK: torch.Tensor,
    w_PKW: torch.Tensor,
    N: int,
    scales_PGW: torch.Tensor | None,
    bias_N: torch.Tensor | None,
) -> torch.Tensor:
    w_KN = unpack(w_PKW, N) if scales_PGW is None else dequantize(w_PKW, scales_PGW, N).to(x_RK.dtype)
    return reference.matmul(x_RK, w_KN, bias_N)


def _check_product(
    name: str,
    x_RK: torch.Tensor,
    w: torch.Tensor,
    N: int,
    scales: torch.Tensor | None,
    bias: torch.Tensor | None,
    experts: tuple[int, ...],
) -> None:
    check_tensor("x_RK", x_RK, (None, None), FLOATS, x_RK.device)
    K, P, device = x_RK.shape[1], -(-N // PANEL), x_RK.device
    if scales is None:
        check_tensor(name, w, (*experts, P, K, PANEL), (x_RK.dtype,), device)
    else:
        width = PANEL // 2 if w.dtype == torch.uint8 else PANEL
        check_tensor(name, w, (*experts, P, K, width), tuple(CODES.values()), device)
        check_tensor("scales", scales, (*experts, P, -(-K // GROUP), PANEL), (torch.bfloat16,), device)
    if bias is not None:
        check_tensor("bias", bias, (*experts, N), (x_RK.dtype,), device)


def add_norm(
    x_TC: torch.Tensor,
    residual_TC: torch.Tensor | None,
    w_C: torch.Tensor | None,
    b_C: torch.Tensor | None,
    norm: Norm,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x + residual, its norm), both (T, C); kernels norm in float32, the oracle in `norm.dtype`.

    Raises ValueError for arguments that do not belong together.
    """
    x_TC = x_TC.contiguous()
    check_tensor("x_TC", x_TC, (None, None), FLOATS, x_TC.device)
    if residual_TC is not None:
        residual_TC = residual_TC.contiguous()
        check_tensor("residual_TC", residual_TC, x_TC.shape, (x_TC.dtype,), x_TC.device)
    w_C, b_C = (p if p is None else p.contiguous() for p in (w_C, b_C))
    for name, p in (("w_C", w_C), ("b_C", b_C)):
        if p is not None:
            check_tensor(name, p, x_TC.shape[1:], (x_TC.dtype,), x_TC.device)
    if (kernels := ops.backend(x_TC.device, x_TC.dtype)) is None:
        return reference.add_norm(x_TC, residual_TC, w_C, b_C, norm)
    if traced():
        sum_TC, out_TC = rowwise_ops.add_norm(x_TC, residual_TC, w_C, b_C, norm.eps, norm.layer, norm.offset)
        return x_TC if residual_TC is None else sum_TC, out_TC
    return kernels.add_norm(x_TC, residual_TC, w_C, b_C, norm)  # type: ignore[no-any-return]


def norm_qk(
    qkv_TX: torch.Tensor,
    weights: tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None],
    widths: tuple[int, int],
    sizes: tuple[int, int],
    norm: Norm,
) -> torch.Tensor:
    """Queries and keys normed in pieces, the values beside them as they are; (T, X).

    `weights` are the queries' weight and bias and the keys', as long as a piece or as all of them; `widths`
    are those of all queries and of all keys, `sizes` those of a piece: a head, or all. Raises ValueError for
    arguments that do not belong together.
    """
    qkv_TX = qkv_TX.contiguous()
    check_tensor("qkv_TX", qkv_TX, (None, None), FLOATS, qkv_TX.device)
    if sum(widths) > qkv_TX.shape[1] or any(w % s for w, s in zip(widths, sizes, strict=True)):
        raise ValueError(f"widths must be whole pieces of {sizes} in {qkv_TX.shape[1]} columns, got {widths}")
    q_w, q_b, k_w, k_b = flat = tuple(p if p is None else p.flatten() for p in weights)
    for i, p in enumerate(flat):
        size, width = sizes[i // 2], widths[i // 2]
        if p is not None:
            name, own = f"weights[{i}]", width if p.numel() == width else size
            check_tensor(name, p, (own,), (qkv_TX.dtype,), qkv_TX.device)
    if (kernels := ops.backend(qkv_TX.device, qkv_TX.dtype)) is None:
        return reference.norm_qk(qkv_TX, q_w, q_b, k_w, k_b, (widths, sizes, norm))
    if traced():
        numbers = (widths, sizes, norm.eps, norm.layer, norm.offset)
        return rowwise_ops.norm_qk(qkv_TX, q_w, q_b, k_w, k_b, *numbers)  # type: ignore[no-any-return]
    return kernels.norm_qk(qkv_TX, q_w, q_b, k_w, k_b, (widths, sizes, norm))  # type: ignore[no-any-return]


def activate(x_TX: torch.Tensor, activation: Activation) -> torch.Tensor:
    """act(gate) * up for (gate, up) side by side, (T, 2F) -> (T, F); act(x) where it is not gated.

    Raises ValueError for an unknown name, and for an odd number of columns where it is gated.
    """
    x_TX = x_TX.contiguous()
    check_tensor("x_TX", x_TX, (None, None), FLOATS, x_TX.device)
    if activation.name not in reference.FUNCTIONS:
        known = ", ".join(reference.FUNCTIONS)
        raise ValueError(f"activation.name must be one of {known}, got {activation.name!r}")
    if activation.gated and x_TX.shape[1] % 2:
        raise ValueError(f"x_TX must have an even number of columns, gate and up, got {x_TX.shape[1]}")
    if (kernels := ops.backend(x_TX.device, x_TX.dtype)) is None:
        return reference.activate(x_TX, activation)
    if traced():
        return rowwise_ops.activate(x_TX, activation.name, activation.gated, activation.limit)  # type: ignore[no-any-return]
    return kernels.activate(x_TX, activation)  # type: ignore[no-any-return]


def xielu(x_TF: torch.Tensor, alpha_p_1: torch.Tensor, alpha_n_1: torch.Tensor) -> torch.Tensor:
    """Compute xIELU (Huang and Schlag, 2024) with a layer's two learned numbers, (T, F).

    They are read where they stand at each call. Raises ValueError for arguments that do not belong together.
    """
    x_TF, alpha_p_1, alpha_n_1 = (x.contiguous() for x in (x_TF, alpha_p_1, alpha_n_1))
    check_tensor("x_TF", x_TF, (None, None), FLOATS, x_TF.device)
    for name, alpha in (("alpha_p_1", alpha_p_1), ("alpha_n_1", alpha_n_1)):
        check_tensor(name, alpha, (1,), (x_TF.dtype,), x_TF.device)
    if (kernels := ops.backend(x_TF.device, x_TF.dtype)) is None:
        return reference.xielu(x_TF, alpha_p_1, alpha_n_1)
    return (rowwise_ops if traced() else kernels).xielu(x_TF, alpha_p_1, alpha_n_1)  # type: ignore[no-any-return]


def chosen_logprobs(
    hidden_RC: torch.Tensor,
    head_PCW: torch.Tensor,
    V: int,
    token_R: torch.Tensor,
    temperature: float | torch.Tensor = 1.0,
    bias_V: torch.Tensor | None = None,
    multiplier: float = 1.0,
    softcap: float | None = None,
) -> torch.Tensor:
    """log softmax(cap((hidden @ head + bias) * multiplier) / temperature)[r, token_R[r]], (R,) in float32.

    cap(x) = softcap * tanh(x / softcap); the temperature is one number, or (R,) in float32. No (R, V) matrix
    is kept, in either direction. On the CPU the bits are those of `Transformer.logits` and
    `token_logprobs`; on a GPU logits are never rounded, and the bits are a kernel's own. Raises ValueError
    for arguments that do not belong together.
    """
    hidden_RC, device = hidden_RC.contiguous(), hidden_RC.device
    check_tensor("hidden_RC", hidden_RC, (None, None), FLOATS, device)
    (R, C), dtype = hidden_RC.shape, (hidden_RC.dtype,)
    check_tensor("head_PCW", head_PCW, (-(-V // PANEL), C, PANEL), dtype, device)
    check_tensor("token_R", token_R, (R,), (torch.int64,), device)
    if bias_V is not None:
        check_tensor("bias_V", bias_V, (V,), dtype, device)
    if softcap is not None and not softcap > 0:
        raise ValueError(f"softcap must be above 0, or None for none, got {softcap}")
    if isinstance(temperature, torch.Tensor):
        heat_R = temperature
        check_tensor("temperature", heat_R, (R,), (torch.float32,), device)
    elif temperature > 0:
        heat_R = torch.full((R,), temperature, device=device)
    else:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if ops.backend(device, hidden_RC.dtype) is None:
        head_CV = unpack(head_PCW, V)
        return reference.chosen_logprobs(hidden_RC, head_CV, token_R, heat_R, bias_V, multiplier, softcap)
    return ops.chosen_logprobs(hidden_RC, head_PCW, bias_V, token_R, heat_R, V, multiplier, softcap)[0]  # type: ignore[no-any-return]


def rope(
    qkv_TX: torch.Tensor,
    heads: tuple[int, int, int],
    tables: tuple[torch.Tensor, torch.Tensor],
    position_T: torch.Tensor,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Rotate queries and keys as `rope_store_attention` does, the values beside them as they are; (T, X).

    For norms that come after the rotation. The oracle rotates from `dtype`, as with `Scores.rope_dtype`.
    Raises ValueError for arguments that do not belong together.
    """
    (H, K, D), device, qkv_TX = heads, qkv_TX.device, qkv_TX.contiguous()
    check_tensor("qkv_TX", qkv_TX, (None, None), FLOATS, device)
    T, X = qkv_TX.shape
    if X <= (H + K) * D or (X - (H + K) * D) % K:
        raise ValueError(f"qkv_TX must hold {H} + {K} heads of {D} and {K} of some width, got {X} columns")
    _check_tables(tables, D, qkv_TX)
    check_tensor("position_T", position_T, (T,), (torch.int64,), device)
    if (kernels := ops.backend(device, qkv_TX.dtype)) is None:
        *parts, v_TX = qkv_TX.split((H * D, K * D, X - (H + K) * D), dim=1)
        heads_THD = (x.unflatten(1, (-1, D)) for x in parts)
        turned = (reference.rope(x, *tables, position_T, dtype).flatten(1) for x in heads_THD)
        return torch.cat((*turned, v_TX), dim=1)
    given = (qkv_TX, heads, *tables, position_T)
    return rowwise_ops.rope(*given) if traced() else kernels.rope(*given)  # type: ignore[no-any-return]


def rope_store_attention(
    qkv_TX: torch.Tensor,
    heads: tuple[int, int, int],
    tables: tuple[torch.Tensor, torch.Tensor],
    k_PKDS: torch.Tensor,
    v_PKSD: torch.Tensor,
    batch: Paging,
    scores: Scores,
    sinks_H: torch.Tensor | None = None,
    growth_M1: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rotate q and k, write k and v into the cache, attend over each sequence's pages; out (T, H, Dv).

    `heads` is (H, K, D); values may have a head dim of their own, that of the cache. `tables` holds cosines
    and sines (positions, R <= D/2), `growth_M1` what each position's queries are multiplied by. A gradient
    flows only through tokens of this call, so under autograd every sequence must start at position 0. Raises
    ValueError where one does not, and for arguments that do not belong together.
    """
    (H, K, D), Dv = heads, v_PKSD.shape[3]
    qkv_TX = qkv_TX.contiguous()
    _check_attention(qkv_TX, heads, tables, k_PKDS, v_PKSD, batch, sinks_H, growth_M1, scores.slopes_H)
    if (kernels := ops.backend(qkv_TX.device, qkv_TX.dtype)) is not None:
        given = (kernels, qkv_TX, sinks_H, heads, tables, growth_M1, k_PKDS, v_PKSD, batch, scores)
        if torch.is_grad_enabled():
            if any(batch.starts) and qkv_TX.requires_grad:
                raise ValueError(
                    "batch.starts must be 0 under autograd, which sees the tokens of one call alone; use "
                    f"torch.no_grad() to go on from a cache. Got {batch.starts}"
                )
            return _attend(given)  # type: ignore[no-any-return]
        if not torch.compiler.is_compiling():
            return RopeStoreAttention.forward(_NoContext(), *given)
        slots = (batch.position_T, batch.slot_T, k_PKDS, v_PKSD)
        q_THD, _ = rowwise_ops.rope_store(qkv_TX, heads, *tables, *slots, growth_M1)
        return paged_attention(
            q_THD, k_PKDS, v_PKSD, batch.position_T, batch.page_BP, *batch.tiles,
            scale=scores.scale, window=scores.window, softcap=scores.softcap, sinks_H=sinks_H,
            slopes_H=scores.slopes_H,
        )  # fmt: skip
    q_THD, k_TKD, v_TKD = (
        x.unflatten(1, (-1, width))
        for x, width in zip(qkv_TX.split((H * D, K * D, K * Dv), dim=1), (D, D, Dv), strict=True)
    )
    q_THD, k_TKD = (reference.rope(x, *tables, batch.position_T, scores.rope_dtype) for x in (q_THD, k_TKD))
    if growth_M1 is not None:
        q_THD = q_THD * growth_M1[batch.position_T].unsqueeze(1).to(q_THD.dtype)
    reference.store(k_TKD.detach(), v_TKD.detach(), batch.slot_T, k_PKDS, v_PKSD)
    if any(batch.starts):
        k_TKD, v_TKD = _gather(k_PKDS.transpose(2, 3), batch), _gather(v_PKSD, batch)
    k_TKD, v_TKD = k_TKD.to(q_THD.dtype), v_TKD.to(q_THD.dtype)
    return reference.attention(q_THD, k_TKD, v_TKD, batch.bounds, batch.starts, scores, sinks_H)


class _NoContext:
    """Takes what a forward would keep for its backward, and drops it."""

    def save_for_backward(self, *tensors: torch.Tensor) -> None:
        """Keep nothing."""


@torch.compiler.disable
def _attend(given: tuple[Any, ...]) -> torch.Tensor:
    # Apart, since torch.compile cannot follow an autograd.Function that writes to the cache.
    return RopeStoreAttention.apply(*given)  # type: ignore[no-any-return]


def _check_attention(
    qkv_TX: torch.Tensor,
    heads: tuple[int, int, int],
    tables: tuple[torch.Tensor, torch.Tensor],
    k_PKDS: torch.Tensor,
    v_PKSE: torch.Tensor,
    batch: Paging,
    sinks_H: torch.Tensor | None,
    growth_M1: torch.Tensor | None,
    slopes_H: torch.Tensor | None,
) -> None:
    (H, K, D), device = heads, qkv_TX.device
    check_tensor("k_PKDS", k_PKDS, (None, K, D, None), FLOATS, device)
    P, S, E = k_PKDS.shape[0], k_PKDS.shape[3], v_PKSE.shape[-1]
    check_tensor("v_PKSD", v_PKSE, (P, K, S, E), (k_PKDS.dtype,), device)
    check_heads(H, K, D, E)
    check_tensor("qkv_TX", qkv_TX, (None, (H + K) * D + K * E), FLOATS, device)
    T = qkv_TX.shape[0]
    wide = _check_tables(tables, D, qkv_TX)
    for name, x in (("batch.position_T", batch.position_T), ("batch.slot_T", batch.slot_T)):
        check_tensor(name, x, (T,), (torch.int64,), device)
    check_tensor("batch.page_BP", batch.page_BP, (len(batch.starts), None), (torch.int64,), device)
    if sinks_H is not None:
        check_tensor("sinks_H", sinks_H, (H,), FLOATS, device)
    if growth_M1 is not None:
        check_tensor("growth_M1", growth_M1, (None, 1), wide, device)
    if slopes_H is not None:
        check_tensor("scores.slopes_H", slopes_H, (H,), wide, device)


def _check_tables(
    tables: tuple[torch.Tensor, torch.Tensor], D: int, qkv_TX: torch.Tensor
) -> tuple[torch.dtype, ...]:
    """The dtypes that they may have."""
    # Not by torch.promote_types: a recording (`kernels.cpu.recording`) would take it for a computation.
    wide = (torch.float64, torch.float32)[qkv_TX.dtype != torch.float64 :]
    M, R = tables[0].shape
    if 2 * R > D:
        raise ValueError(f"tables must have at most {D // 2} columns for heads of {D}, got {R}")
    for i in range(2):
        check_tensor(f"tables[{i}]", tables[i], (M, R), wide, qkv_TX.device)
    return wide


def _gather(x_PKSD: torch.Tensor, batch: Paging) -> torch.Tensor:
    """Each sequence's cached keys or values up to this batch's last token, one sequence after the other."""
    parts = []
    for b, page_P in enumerate(batch.page_BP):
        length = batch.starts[b] + batch.bounds[b + 1] - batch.bounds[b]
        pages = page_P[: -(-length // x_PKSD.shape[2])]
        parts.append(x_PKSD[pages].transpose(1, 2).flatten(0, 1)[:length])
    return torch.cat(parts)
