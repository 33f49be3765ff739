"""Launches, and recordings: those of one call, run again without Python; what a CUDA graph is to a GPU.

A decode step is some 270 kernels of a tenth of a millisecond each. Between two of them Python takes a third
of that, and meanwhile no memory is read. A recording runs all of them in one call.

It reads and writes the memory that it was recorded with: whoever runs it again first writes new inputs
where the old ones stood, and finds the outputs where they were.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
from array import array
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kernels.cpu import pool
from kernels.cpu.runtime import Kernel

ALIGNMENT = 64
Result = TypeVar("Result")


class Arena:
    """Memory for the tensors inside recordings that never run at the same time.

    A block is free again once no tensor refers to it; a later tensor of the same recording, or of another
    one, takes its place.
    """

    def __init__(self) -> None:
        self._blocks: list[Any] = []

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """`torch.empty`, on the smallest free block that is large enough."""
        count = math.prod(shape)
        size = count * dtype.itemsize
        # 2: the list's reference, and the one that is asking.
        free = [i for i in range(len(self._blocks)) if sys.getrefcount(self._blocks[i]) == 2]
        fitting = [i for i in free if self._blocks[i].nbytes >= size]
        if not fitting:
            memory = np.empty(size + ALIGNMENT, np.uint8)
            start = -memory.ctypes.data % ALIGNMENT
            self._blocks.append(memory[start : start + size])
            fitting = [-1]
        block = self._blocks[min(fitting, key=lambda i: self._blocks[i].nbytes)]
        return torch.frombuffer(block, dtype=dtype, count=count).view(shape)


class Recording:
    """Jobs of the pool, each linked to the next."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self._jobs: list[array[int]] = []

    def add(self, job: array[int]) -> None:
        """Take one more launch in."""
        if self._jobs:
            self._jobs[-1][pool.NEXT] = job.buffer_info()[0]
        self._jobs.append(job)

    def run(self) -> None:
        """Run all launches again, in their order."""
        pool.run(self._jobs[0])


class _Watch(TorchDispatchMode):
    """Sees whether torch computes anything by itself: what it does is not in the recording."""

    def __init__(self) -> None:
        super().__init__()
        self.computed = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.computed |= not func.is_view
        return func(*args, **(kwargs or {}))


class _State(threading.local):
    recording: Recording | None = None


_state = _State()
_float = cache(ctypes.c_float)  # where a number, rounded to float32, stands in memory for good


def _word(value: torch.Tensor | float | None) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return ctypes.addressof(_float(value))
    return 0 if value is None else value.data_ptr()


def launch(kernel: Kernel, tasks: int, **values: torch.Tensor | float | None) -> None:
    """Run `kernel` over `tasks` tasks, on as many threads as torch is set to use.

    `values` are its arguments: contiguous tensors or None, floats, and integers. Raises TypeError unless
    there is one for each name.
    """
    if values.keys() != set(kernel.names):
        raise TypeError(f"{sorted(values.keys() ^ set(kernel.names))} are missing or unknown")
    job = array("q", (kernel.address, 0, 0, tasks, *[_word(values[name]) for name in kernel.names]))
    if _state.recording is not None:
        _state.recording.add(job)
    pool.run(job)


def launch_rows(kernel: Kernel, T: int, **values: torch.Tensor | float | None) -> None:
    """Run `kernel` over T rows, `chunk` a task: all, while their work is less than to wake a thread."""
    chunk = max(16, -(-T // (4 * torch.get_num_threads())))
    launch(kernel, -(-T // chunk), T=T, chunk=chunk, **values)


def current() -> Recording | None:
    """Return the recording that this thread is making."""
    return _state.recording


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """`torch.empty` on the CPU for a kernel's output; in a recording, memory that it may write again."""
    if _state.recording is None:
        return torch.empty(shape, dtype=dtype)
    return _state.recording.arena.empty(shape, dtype)


def record(function: Callable[[], Result], arena: Arena) -> tuple[Result, Recording | None]:
    """Call `function`; return its result and a recording of it, or None where torch computed a part of it.

    Its inputs must stay where they are as long as the recording is used; its result stays valid until the
    recording runs again, and the memory of all else belongs to the arena.
    """
    recording, watch = Recording(arena), _Watch()
    _state.recording = recording
    try:
        with watch:
            result = function()
    finally:
        _state.recording = None
    return result, None if watch.computed else recording
