"""How the CPU kernels read and write each dtype: as float32, whatever memory holds."""

from __future__ import annotations

from typing import Any

import torch
from numba import types

from kernels.cpu.runtime import load_bf16, load_f32, store_bf16, store_f32

SCALARS: dict[torch.dtype, tuple[Any, Any, Any]] = {
    torch.float32: (types.float32, load_f32, store_f32),
    torch.bfloat16: (types.uint16, load_bf16, store_bf16),
}
