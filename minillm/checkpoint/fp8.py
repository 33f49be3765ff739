"""FP8 weights, as DeepSeek-V3 and Qwen3-FP8 publish them.

A matrix is stored in float8_e4m3fn. Beside it stands `<name>_scale_inv`: one factor for each block of it, or
a single one for the whole. A weight is the product of both in float32, rounded to bfloat16.

Legend: E experts, N outputs, K inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import torch

SCALES = "_scale_inv"
"""What a tensor's name ends with where it holds another one's scales."""

# As a file's header names them; uint8 holds exponents with this bias, as float8_e8m0fnu does.
DTYPE = "F8_E4M3"
SCALE_DTYPES = frozenset({"F32", "BF16", "F16", "F8_E8M0", "U8"})
BIAS = 127


@dataclass(frozen=True)
class FP8:
    """How a checkpoint's matrices are stored.

    Attributes:
        block: (outputs, inputs) that share a scale; None for one scale a matrix.
    """

    block: tuple[int, int] | None

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> FP8:
        """Read the layout that a `quantization_config` describes; `ValueError` names an unsupported key.

        Nothing else in it matters: which matrices are stored so, and in what their scales, is in the files;
        how activations are rounded does not concern weights that are no longer in 8 bits.
        """
        block = settings.get("weight_block_size", (128, 128))
        if settings.get("expert_dtype", "fp8") != "fp8":
            raise ValueError("expert_dtype")
        if settings.get("fmt", "e4m3") not in ("e4m3", "float8_e4m3fn"):
            raise ValueError("fmt")
        if block is None:
            return cls(None)
        sizes = tuple(block) if isinstance(block, list | tuple) else ()
        if len(sizes) != 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
            raise ValueError("weight_block_size")
        return cls((sizes[0], sizes[1]))

    def scale_shapes(self, shape: torch.Size) -> tuple[tuple[int, ...], ...]:
        """List the shapes that the scales of a (E, N, K) or (N, K) tensor may have."""
        outer, (N, K) = tuple(shape[:-2]), shape[-2:]
        if self.block is None:
            return (outer, (*outer, 1), (*outer, 1, 1))
        return ((*outer, ceil(N / self.block[0]), ceil(K / self.block[1])),)

    def dequantize(self, rows: torch.Tensor, scales: torch.Tensor, start: int = 0) -> torch.Tensor:
        """Make bfloat16 of rows (rows, K) of a matrix, from row `start` on, or of whole ones (E, N, K)."""
        if scales.dtype == torch.uint8:
            factors = torch.exp2(scales.float() - BIAS)
        else:
            factors = scales.float()
        out = rows.float()
        if self.block is None:
            return out.mul_(factors.reshape(*rows.shape[:-2], 1, 1)).bfloat16()
        (n, k), (N, K) = self.block, rows.shape[-2:]
        factors = factors[..., torch.arange(start, start + N) // n, :]
        whole = K // k  # blocks; the last may be narrower
        out[..., : whole * k].unflatten(-1, (whole, k)).mul_(factors[..., :whole, None])
        out[..., whole * k :].mul_(factors[..., whole:])
        return out.bfloat16()
