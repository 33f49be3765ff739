"""Large tensors on the CPU: memory that is taken when it is first written, or ahead of that in one call."""

from __future__ import annotations

import math
import mmap
import sys

import torch
from numba import njit, types
from torch import Tensor

# Below this, a mapping of its own would waste more than it saves.
LARGE = 1 << 20


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make `torch.zeros`, but that large tensors on the CPU take no memory until they are written."""
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < LARGE:
        return torch.zeros(shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # the operating system's zeros
    return torch.frombuffer(memory, dtype=dtype).view(shape)


_madvise = types.ExternalFunction("madvise", types.int32(types.int64, types.int64, types.int32))
_POPULATE_READ, _POPULATE_WRITE = 22, 23
_PAGE = mmap.PAGESIZE
_LINUX = sys.platform == "linux"


@njit(error_model="numpy")
def populate(address: int, size: int, write: bool) -> None:
    """Take memory that is about to be read or written in one call, not page by page as it is touched.

    Advice only: a Linux before 5.14 refuses it, and nothing is lost.
    """
    if _LINUX:
        start = address // _PAGE * _PAGE
        _madvise(start, address + size - start, _POPULATE_WRITE if write else _POPULATE_READ)
