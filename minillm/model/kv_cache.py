"""The paged KV cache's memory.

Legend: L layers, P pages, K kv heads, D head dim, S page size.
"""

from __future__ import annotations

import torch

from kernels.cpu.memory import zeros
from minillm.model.batch import PAGE_SIZE
from minillm.model.config import ModelConfig
from minillm.model.precision import Precision


class KVCache:
    """Keys (L, P, K, D, S) and values (L, P, K, S, D); a page is one block of attention."""

    def __init__(
        self, config: ModelConfig, precision: Precision, num_pages: int, device: torch.device | str = "cpu"
    ) -> None:
        L, (_, K, D), dtype = config.num_layers, config.heads, precision.kv_cache
        self.k_LPKDS = zeros((L, num_pages, K, D, PAGE_SIZE), dtype, torch.device(device))
        self.v_LPKSE = zeros((L, num_pages, K, PAGE_SIZE, config.v_dim), dtype, torch.device(device))
        self.layers = list(zip(self.k_LPKDS.unbind(), self.v_LPKSE.unbind(), strict=True))

    @staticmethod
    def pages(
        config: ModelConfig, precision: Precision, num_pages: int, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One layer's worth of unset pages, for a forward that keeps nothing."""
        _, K, D = config.heads
        dtype = precision.kv_cache
        k_PKDS = torch.empty((num_pages, K, D, PAGE_SIZE), dtype=dtype, device=device)
        return k_PKDS, torch.empty((num_pages, K, PAGE_SIZE, config.v_dim), dtype=dtype, device=device)

    @staticmethod
    def page_bytes(config: ModelConfig, precision: Precision) -> int:
        """Bytes that one page takes over all layers."""
        _, K, D = config.heads
        return config.num_layers * K * (D + config.v_dim) * PAGE_SIZE * precision.kv_cache.itemsize

    def copy_page(self, source: int, target: int) -> None:
        """Copy a page's keys and values in every layer."""
        self.k_LPKDS[:, target] = self.k_LPKDS[:, source]
        self.v_LPKSE[:, target] = self.v_LPKSE[:, source]
