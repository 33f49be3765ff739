"""Recordings: the launches of one call, to be run again without Python; what a CUDA graph is to a GPU.

A decode step is some 270 kernels of a tenth of a millisecond each. Between two of them Python takes a third
of that, and meanwhile no memory is read. A recording runs all of them in one call.

It reads and writes the memory that it was recorded with: whoever runs it again first writes new inputs
where the old ones stood, and finds the outputs where they were.
"""

from __future__ import annotations

import math
import sys
import threading
from array import array
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kernels.cpu import pool

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
        """One more launch."""
        if self._jobs:
            self._jobs[-1][pool.NEXT] = job.buffer_info()[0]
        self._jobs.append(job)

    def run(self) -> None:
        """All launches again, in their order."""
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


def current() -> Recording | None:
    """The recording that this thread is making."""
    return _state.recording


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """`torch.empty` on the CPU for a kernel's output; in a recording, memory that it may write again."""
    if _state.recording is None:
        return torch.empty(shape, dtype=dtype)
    return _state.recording.arena.empty(shape, dtype)


def record(function: Callable[[], Result], arena: Arena) -> tuple[Result, Recording | None]:
    """Call `function`; its result, and a recording of it, or None where torch computed a part of it.

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
