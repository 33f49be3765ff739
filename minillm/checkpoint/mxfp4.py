"""MXFP4, how gpt_oss checkpoints store their experts (OCP Microscaling Formats, 2023).

Blocks of 32 numbers along the inputs: 4 bits each (sign, 2 bits of exponent, 1 of mantissa), two in a byte,
the earlier one in the low half, and one power of two for all, stored as its exponent plus 127.

Legend: E experts, N outputs, K inputs.
"""

from __future__ import annotations

import torch

BLOCK = 32
BIAS = 127
VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def stored(E: int, N: int, K: int) -> dict[str, torch.Size]:
    """Give the shapes of the two uint8 tensors that stand for (E, N, K) numbers."""
    return {"blocks": torch.Size((E, N, K // BLOCK, BLOCK // 2)), "scales": torch.Size((E, N, K // BLOCK))}


def dequantize(blocks: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Make (N, K) in bfloat16, which holds every value but those below its smallest power of two."""
    values = torch.tensor([*VALUES, *(-v for v in VALUES)], dtype=torch.float32)
    pairs = torch.stack((blocks & 15, blocks >> 4), dim=-1).flatten(-2)
    numbers = torch.ldexp(values[pairs.int()], (scales.int() - BIAS).unsqueeze(-1))
    return numbers.flatten(-2).bfloat16()
