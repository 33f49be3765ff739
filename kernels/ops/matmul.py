"""Products with weights in panels, of all rows or of each expert's.

Legend: R rows, K inner width, N outer width, E experts, P panels, W panel width,
G groups of inputs with one scale.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels import backend
from kernels.checks import FLOATS, check_tensor
from kernels.library import custom_op, like, some
from kernels.panels import CODES, GROUP, PANEL


def matmul(
    x_RK: Tensor,
    w_PKW: Tensor,
    N: int,
    scales_PGW: Tensor | None = None,
    bias_N: Tensor | None = None,
    wide: bool = False,
) -> Tensor:
    """Compute x_RK @ w_KN (+ bias), (R, N), for w in panels, or codes and scales (`kernels.panels`).

    The product is in x's dtype, or the kernel's sums as they are, in float32, where `wide`. Integer-quantised
    weights get no gradient and pass none on: a backward through them is a RuntimeError. Raises ValueError for
    arguments that do not belong together.
    """
    x_RK = x_RK.contiguous()
    _check_product("w_PKW", x_RK, w_PKW, N, scales_PGW, bias_N)
    if backend.traced(kernels := backend.of(x_RK)):
        return _matmul(x_RK, w_PKW, scales_PGW, bias_N, N, wide)
    return kernels.matmul(x_RK, w_PKW, N, scales_PGW, bias_N, wide)


def grouped_matmul(
    x_RK: Tensor,
    w_EPKW: Tensor,
    N: int,
    bound_E1: Tensor,
    scales_EPGW: Tensor | None = None,
    bias_EN: Tensor | None = None,
) -> Tensor:
    """Compute the `matmul` of rows bound[e] to bound[e + 1] with expert e's matrix, (R, N): the same bits.

    `bound_E1` is int64 and rises from 0 to R. Raises ValueError as `matmul` does.
    """
    x_RK, E = x_RK.contiguous(), w_EPKW.shape[0]
    _check_product("w_EPKW", x_RK, w_EPKW, N, scales_EPGW, bias_EN, E)
    check_tensor("bound_E1", bound_E1, (E + 1,), (torch.int64,), x_RK.device)
    if backend.traced(kernels := backend.of(x_RK)):
        return _grouped_matmul(x_RK, w_EPKW, scales_EPGW, bias_EN, bound_E1, N)
    return kernels.grouped_matmul(x_RK, w_EPKW, N, bound_E1, scales_EPGW, bias_EN)


def _check_product(
    name: str, x_RK: Tensor, w: Tensor, N: int, scales: Tensor | None, bias: Tensor | None, *experts: int
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


@custom_op("matmul")
def _matmul(
    x_RK: Tensor, w_PKW: Tensor, scales_PGW: Tensor | None, bias_N: Tensor | None, N: int, wide: bool
) -> Tensor:
    return backend.of(x_RK).matmul(x_RK, w_PKW, N, scales_PGW, bias_N, wide)


_matmul.register_fake(
    lambda x, w, scales, bias, N, wide: x.new_empty(x.shape[0], N, dtype=torch.float32 if wide else x.dtype)
)


@custom_op("matmul_backward")
def _matmul_gradients(
    x_RK: Tensor, w: Tensor, dy_RN: Tensor, bound_E1: Tensor | None, need_x: bool, need_w: bool
) -> tuple[Tensor, Tensor]:
    """Return (dx, dw in panels), each if it is needed; dw is zero for an expert without rows."""
    kernels = backend.kernels_of(x_RK)
    if bound_E1 is None:
        dx_RK, dw = kernels.matmul_gradients(x_RK, w, dy_RN, need_x, need_w)
    else:
        dx_RK, dw = kernels.grouped_matmul_gradients(x_RK, w, dy_RN, bound_E1, need_x, need_w)
    return some(dx_RK, x_RK), some(dw, x_RK)


_matmul_gradients.register_fake(
    lambda x, w, dy, bound, need_x, need_w: (like(x if need_x else None, x), like(w if need_w else None, x))
)


def _keep_product(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, w, scales, bias, bound, *_ = inputs
    ctx.save_for_backward(x, w, bound if isinstance(bound, Tensor) else None)
    ctx.quantised, ctx.bias_dtype = scales is not None, None if bias is None else bias.dtype


def _product_gradients(ctx: Any, dy_RN: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.quantised:
        raise RuntimeError(
            "integer-quantised weights (int8, int4) pass no gradient on: train in fp32 or bf16"
        )
    x_RK, w, bound_E1 = ctx.saved_tensors
    (need_x, need_w, _, need_bias, *others), dy_RN = ctx.needs_input_grad, dy_RN.contiguous()
    dx_RK, dw = _matmul_gradients(x_RK, w, dy_RN, bound_E1, need_x, need_w)
    dbias = None
    if need_bias and bound_E1 is not None:
        # By a product with zeros and ones: sums in order, with no atomics.
        row_R = torch.arange(dy_RN.shape[0], device=dy_RN.device)
        member_ER = (row_R >= bound_E1[:-1, None]) & (row_R < bound_E1[1:, None])
        dbias = (member_ER.float() @ dy_RN.float()).to(ctx.bias_dtype)
    elif need_bias:
        dbias = dy_RN.float().sum(0).to(ctx.bias_dtype)
    return dx_RK if need_x else None, dw if need_w else None, None, dbias, *(None for _ in others)


_matmul.register_autograd(_product_gradients, setup_context=_keep_product)


@custom_op("grouped_matmul")
def _grouped_matmul(
    x_RK: Tensor, w_EPKW: Tensor, scales_EPGW: Tensor | None, bias_EN: Tensor | None, bound_E1: Tensor, N: int
) -> Tensor:
    return backend.of(x_RK).grouped_matmul(x_RK, w_EPKW, N, bound_E1, scales_EPGW, bias_EN)


_grouped_matmul.register_fake(lambda x_RK, *others: x_RK.new_empty(x_RK.shape[0], others[-1]))
_grouped_matmul.register_autograd(_product_gradients, setup_context=_keep_product)
