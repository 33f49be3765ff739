"""Recordings on a GPU: CUDA graphs, what `kernels.cpu.recording` is on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Recording:
    """The kernels of one call: `run` launches them again, in their order, on the current stream."""

    run: Callable[[], None]


def record(function: Callable[[], Tensor]) -> tuple[Tensor, Recording | None]:
    """Call `function`; return its result, and a recording, or None where a part of it waits for the device.

    Its inputs must stay where they are as long as the recording is used; its result is what the recording
    writes again each time. The kernels are launched twice: first as they are, which compiles what is not yet
    compiled, then into the graph.
    """
    result = function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            result = function()
    except RuntimeError:  # something copied to the host, or waited
        return result, None
    graph.replay()
    return result, Recording(graph.replay)
