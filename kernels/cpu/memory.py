"""Large tensors on the CPU: memory that is taken when it is first written, in huge pages where there are any.

Weights and caches are read from end to end at every step; in pages of 4 kB, looking up addresses costs a
tenth of that.
"""

from __future__ import annotations

import contextlib
import math
import mmap

import torch

# Below this, a mapping of its own would waste more than it saves.
LARGE = 1 << 20


def zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """`torch.zeros`, but that large tensors on the CPU take no memory until they are written."""
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < LARGE:
        return torch.zeros(shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, size)  # the operating system's zeros
    with contextlib.suppress(OSError, AttributeError):  # a system without huge pages does without
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)
