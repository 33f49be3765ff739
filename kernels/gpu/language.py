"""`tl.dot`, rounding and tanh, the same on the device and under the interpreter.

The interpreter of Triton 3.6 to 3.9 multiplies bf16 operands of `tl.dot` as integers, leaves the order
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
    """Compute b_acc + b_a @ b_b in float32 (b_acc None: 0), float32 operands multiplied as PRECISION says."""
    if INTERPRETED:
        # Along the inner width, in order; in float64, since float32 one by one loses more than a device does.
        b_products = b_a.to(tl.float64)[:, :, None] * b_b.to(tl.float64)[None, :, :]
        b_dot = tl.sum(b_products, 1).to(tl.float32)
        if b_acc is not None:
            b_dot += b_acc
    else:
        b_dot = tl.dot(b_a, b_b, b_acc, input_precision=PRECISION)
    return b_dot


@triton.jit
def rounded(b_x: tl.tensor, TYPE: tl.constexpr) -> tl.tensor:
    """Round float32 to TYPE, to nearest, ties to even."""
    if INTERPRETED and tl.bfloat16 == TYPE:
        b_bits = b_x.to(tl.int32, bitcast=True)
        b_bits = tl.where(b_x == b_x, b_bits + 0x7FFF + ((b_bits >> 16) & 1), 0x7FC00000) >> 16
        b_y = b_bits.to(tl.int16).to(tl.bfloat16, bitcast=True)
    else:
        b_y = b_x.to(TYPE)
    return b_y


@triton.jit
def tanh(b_x: tl.tensor) -> tl.tensor:
    """Compute tanh: up to 0.6 by x + x^3 f(x^2), a fit, since 1 - 2 / (e^2x + 1), taken beyond, cancels."""
    b_a = tl.abs(b_x)
    b_near = tl.minimum(b_a, 0.6)
    b_z = b_near * b_near
    b_f = tl.fma(b_z, 0.00237310297, -0.00841218043)
    b_f = tl.fma(b_z, b_f, 0.0217889857)
    b_f = tl.fma(b_z, b_f, -0.0539616361)
    b_f = tl.fma(b_z, b_f, 0.133333132)
    b_f = tl.fma(b_z, b_f, -0.333333332)
    b_near = tl.fma(b_near * b_z, b_f, b_near)
    b_far = 1.0 - 2.0 / (tl.exp2(b_a * 2.8853900817779268) + 1.0)
    b_y = tl.where(b_a < 0.6, b_near, b_far)
    return tl.where(b_x < 0, -b_y, b_y)
