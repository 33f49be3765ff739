"""Recordings on a GPU: CUDA graphs, what `kernels.cpu.recording` is on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


class Recording:
    """The kernels of one call, to be launched again all at once."""

    def __init__(self, graph: torch.cuda.CUDAGraph) -> None:
        self._graph = graph

    def run(self) -> None:
        """All launches again, in their order, on the current stream."""
        self._graph.replay()


def record(function: Callable[[], Result]) -> tuple[Result, Recording | None]:
    """Call `function`; its result, and a recording of it, or None where a part of it waits for the device.

    Its inputs must stay where they are as long as the recording is used; its result is what the recording
    writes anew each time. The kernels are launched twice: first as they are, which compiles what is not yet
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
    return result, Recording(graph)
