"""One step of AdamW for bfloat16 weights on the CPU: every number is read once and written once.

Floor: 14 bytes a weight (16 with a carry), against 28 of float32's. The formula is `kernels.optim.oracle`'s,
in its order, so that the bits are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, njit, types
from numba.extending import intrinsic

from kernels.cpu.runtime import F32, I32, Kernel, address, launch, load_bf16, next_task, variant_njit

# A tensor with its gradient, its two moments and, or None, its carry.
Weight = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]
# Of a row of the kernel's table: those five addresses, the size, the key, the first task.
FIELDS = 8
# Weights of one task.
CHUNK = 1 << 15
# Weights that pass through the first cache level at a time.
BLOCK = 1 << 9
U32, I8, U16 = types.uint32, types.int8, types.uint16


@intrinsic
def _bits(typingctx: Any, x: Any) -> Any:
    """The bit pattern of a float32."""
    return types.uint32(types.float32), lambda context, b, sig, args: b.bitcast(args[0], I32)


@intrinsic
def _float(typingctx: Any, bits: Any) -> Any:
    """The float32 of a bit pattern."""
    return types.float32(types.uint32), lambda context, b, sig, args: b.bitcast(args[0], F32)


@intrinsic
def _times(typingctx: Any, x: Any, y: Any) -> Any:
    """The low half of a product of whole numbers, in 32 bits throughout."""
    return types.uint32(types.uint32, types.uint32), lambda context, b, sig, args: b.mul(*args)


@intrinsic
def _shifted(typingctx: Any, x: Any, count: Any) -> Any:
    """x >> count in 32 bits."""
    return types.uint32(types.uint32, types.uint32), lambda context, b, sig, args: b.lshr(*args)


@njit(inline="always")
def _one_round(key: Any, i: Any) -> Any:
    """32 bits of which the upper are random: `kernels.optim.one_round`."""
    x = U32(_times(U32(i), U32(0x9E3779B9)) + key)
    return _times(x ^ _shifted(x, U32(16)), U32(0x7FEB352D))


@njit(inline="always")
def _random(key: Any, i: Any) -> Any:
    """32 random bits of a key and a place: `kernels.optim.random_bits`."""
    x = _one_round(key, i)
    x = _times(x ^ _shifted(x, U32(15)), U32(0x846CA68B))
    return U32(x ^ _shifted(x, U32(16)))


@njit(inline="always")
def _stored(x: Any, noise: Any) -> Any:
    """The upper half of a float32's bits, a bfloat16's, after noise was added to the lower."""
    return U16(_shifted(U32(_bits(x) + noise), U32(16)))


@njit(inline="always")
def _moments(m: Any, v: Any, g: Any, j: Any, numbers: Any, noise: Any) -> Any:
    """Moments of place j, written; the step that they ask for."""
    beta1, beta2, rest1, rest2, eps, rate, _, root2 = numbers
    x = load_bf16(g[j])
    m_new = load_bf16(m[j]) * beta1 + x * rest1
    v_new = load_bf16(v[j]) * beta2 + x * x * rest2
    m[j] = _stored(m_new, _shifted(noise, U32(16)))
    v[j] = _stored(v_new, _shifted(noise, U32(8)) & U32(0xFFFF))
    return rate * (m_new / (np.sqrt(v_new) * root2 + eps))


@cache
def _adamw(carried: bool) -> Any:
    @variant_njit("plain")
    def plain(w: Any, m: Any, v: Any, g: Any, numbers: Any, key: Any, start: Any) -> None:
        for j in range(w.shape[0]):
            noise = _random(key, U32(start + j))
            change = _moments(m, v, g, j, numbers, noise)
            w[j] = _stored(load_bf16(w[j]) * numbers[6] - change, noise & U32(0xFFFF))

    # Two loops, since a compiler makes vectors only of loops over few arrays.
    @variant_njit("changes")
    def changes(out: Any, m: Any, v: Any, g: Any, numbers: Any, key: Any, start: Any) -> None:
        for j in range(m.shape[0]):
            out[j] = _moments(m, v, g, j, numbers, _one_round(key, U32(start + j)))

    @variant_njit("carry")
    def with_carry(w: Any, carry: Any, change: Any, decay: Any, key: Any, start: Any) -> None:
        for j in range(w.shape[0]):
            x = _float(U32(_bits(load_bf16(w[j])) + (U32(carry[j]) << U32(8)))) * decay - change[j]
            bits = U32(_bits(x) + _shifted(_one_round(key, U32(start + j)), U32(24)))
            high = U32(bits + U32(0x8000)) & U32(0xFFFF0000)
            w[j] = U16(_shifted(high, U32(16)))
            carry[j] = I8(_shifted(U32(bits - high), U32(8)))

    def kernel(words: Any) -> None:
        args = carray(words, 5)
        count = args[3]
        table = carray(address(args[2]), (count, FIELDS), types.int64)
        numbers = carray(address(args[4]), (8,), types.float32)
        n = (
            numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6], numbers[7],
        )  # fmt: skip
        change = np.empty(BLOCK, np.float32)
        t = 0
        while True:
            i = next_task(words)
            if i >= args[1]:
                break
            while t + 1 < count and table[t + 1, 7] <= i:
                t += 1
            size, key = table[t, 5], U32(table[t, 6])
            w, grad, m, v = (
                carray(address(table[t, 0]), (size,), types.uint16),
                carray(address(table[t, 1]), (size,), types.uint16),
                carray(address(table[t, 2]), (size,), types.uint16),
                carray(address(table[t, 3]), (size,), types.uint16),
            )
            carry = carray(address(table[t, 4]), (size,), types.int8)
            own = i - table[t, 7]
            for a in range(own * CHUNK, min((own + 1) * CHUNK, size), BLOCK):
                z = min(a + BLOCK, size)
                if carried:
                    changes(change, m[a:z], v[a:z], grad[a:z], n, key, a)
                    with_carry(w[a:z], carry[a:z], change, n[6], key, a)
                else:
                    plain(w[a:z], m[a:z], v[a:z], grad[a:z], n, key, a)

    return Kernel(kernel, carried)


def adamw(weights: Sequence[Weight], numbers: tuple[float, ...], keys: Sequence[int]) -> None:
    """`kernels.optim.adamw` on the CPU, all weights in one launch."""
    table, tasks = np.empty((len(weights), FIELDS), np.int64), 0
    for i, (weight, key) in enumerate(zip(weights, keys, strict=True)):
        size = weight[0].numel()
        table[i] = (*(0 if x is None else x.data_ptr() for x in weight), size, key, tasks)
        tasks += -(-size // CHUNK)
    held = np.array(numbers, np.float32)
    launch(_adamw(weights[0][4] is not None), tasks, table.ctypes.data, len(weights), held.ctypes.data)
