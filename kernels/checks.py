"""What kernels may be called with: a ValueError names the argument and what was expected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# What the Triton kernels take.
GPU_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Of float32 products, from the most exact on: float32 itself, three products of tf32, one.
PRECISIONS = ("ieee", "tf32x3", "tf32")
# The widest window: it hides nothing.
NO_WINDOW = 2**31 - 1


def check_knobs(scale: float, window: int, softcap: float | None, input_precision: str) -> None:
    """Raise ValueError for values that no kernel is written for."""
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale must be a positive number, got {scale}")
    if not -NO_WINDOW < window < NO_WINDOW:
        raise ValueError(
            f"window must be 0 (all keys), or a number of keys, or minus one of a chunk, got {window}"
        )
    if softcap is not None and not 0 < softcap < float("inf"):
        raise ValueError(f"softcap must be None or a positive number, got {softcap}")
    check_precision("input_precision", input_precision)


def check_precision(name: str, precision: str, known: Sequence[str] = PRECISIONS) -> None:
    """Raise ValueError unless this is one of those known."""
    if precision not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {precision!r}")


def check_tensor(
    name: str,
    tensor: Tensor,
    shape: Sequence[int | None],
    dtypes: Sequence[torch.dtype],
    device: torch.device,
) -> None:
    """Raise ValueError unless shape (None: any number), dtype and device are these, and it is contiguous."""
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
    right = tensor.ndim == len(shape)
    if not right or any(n is not None and n != m for n, m in zip(shape, tensor.shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {tuple(tensor.shape)}")
    if tensor.dtype not in dtypes:
        raise ValueError(f"{name} must be of {' or '.join(map(str, dtypes))}, got {tensor.dtype}")
    if tensor.device != device:
        raise ValueError(f"{name} must be on {device}, got {tensor.device}")
    if not tensor.is_contiguous():
        raise ValueError(
            f"{name} must be contiguous, got strides {tensor.stride()} for {tuple(tensor.shape)}"
        )


def check_heads(H: int, K: int, D: int, E: int) -> None:
    """Raise ValueError unless H query heads share K kv heads and both head dims are 1 to 256."""
    if K < 1 or H % K:
        raise ValueError(f"k must have a number of heads that divides q's {H}, got {K}")
    for name, width in (("q", D), ("v", E)):
        if not 1 <= width <= 256:
            raise ValueError(f"{name} must have a head dim of 1 to 256, got {width}")
