"""`tl.dot` and rounding, the same on the device and under the interpreter.

The interpreter of Triton 3.6 to 3.9 multiplies bf16 operands of `tl.dot` as whole numbers, leaves the order
of a product's sum to a library that looks at a row's place, cuts float32 down to bf16 where the device
rounds to nearest, and makes 1e-38 of 0 in doing so.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.gpu.launch import INTERPRET

INTERPRETED = tl.constexpr(INTERPRET)


@triton.jit
def dot(b_a: tl.tensor, b_b: tl.tensor, b_acc: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """b_acc + b_a @ b_b in float32, float32 operands multiplied as PRECISION says."""
    if INTERPRETED:
        # A product of two bf16 or fp16 is exact in float32; the sum goes along the inner width, in order.
        b_products = b_a.to(tl.float32)[:, :, None] * b_b.to(tl.float32)[None, :, :]
        b_acc += tl.sum(b_products, 1)
    else:
        b_acc = tl.dot(b_a, b_b, b_acc, input_precision=PRECISION)
    return b_acc


@triton.jit
def rounded(b_x: tl.tensor, p_to: tl.tensor) -> tl.tensor:
    """float32 rounded to nearest, ties to even, as what a pointer points to."""
    if INTERPRETED and p_to.dtype.element_ty == tl.bfloat16:
        b_bits = b_x.to(tl.int32, bitcast=True)
        b_bits = tl.where(b_x == b_x, b_bits + 0x7FFF + ((b_bits >> 16) & 1), 0x7FC00000) >> 16
        b_y = b_bits.to(tl.int16).to(tl.bfloat16, bitcast=True)
    else:
        b_y = b_x.to(p_to.dtype.element_ty)
    return b_y
