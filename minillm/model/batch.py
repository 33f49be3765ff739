"""`Batch`: how packed tokens fall into sequences, and where their keys and values stand in the cache.

Legend: T packed tokens, B sequences, P pages of the longest sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from kernels.tiling import KEY_BLOCK, TILE_TOKENS, Tiles

# Positions per page, and keys per block of attention: one number, since blocks are counted from position
# 0 of a sequence and a page is one of its blocks.
PAGE_SIZE = KEY_BLOCK


@dataclass(frozen=True)
class Batch:
    """Sequence b owns the packed tokens bounds[b] to bounds[b + 1]; the first stands at starts[b].

    `position_T` and `slot_T` (page * PAGE_SIZE + offset) are each token's place in its sequence and in the
    cache, `page_BP` the block table; all int64. `num_pages` is one more than the highest page in it.
    """

    position_T: torch.Tensor
    slot_T: torch.Tensor
    page_BP: torch.Tensor
    bounds: list[int]
    starts: list[int]
    num_pages: int

    @classmethod
    def build(
        cls,
        counts: Sequence[int],
        starts: Sequence[int],
        pages: Sequence[Sequence[int]],
        device: torch.device | str = "cpu",
    ) -> Batch:
        """counts[b] tokens of sequence b, from position starts[b], over its pages (its block table)."""
        bounds: list[int] = [0]
        position: list[int] = []
        slot: list[int] = []
        for count, start, table in zip(counts, starts, pages, strict=True):
            bounds.append(bounds[-1] + count)
            position += range(start, start + count)
            slot += [table[p // PAGE_SIZE] * PAGE_SIZE + p % PAGE_SIZE for p in range(start, start + count)]
        widest = max(len(table) for table in pages)
        padded = [[*table, *[0] * (widest - len(table))] for table in pages]
        return cls(
            torch.tensor(position, device=device),
            torch.tensor(slot, device=device),
            torch.tensor(padded, device=device),
            bounds,
            list(starts),
            max(map(max, padded)) + 1,
        )

    @classmethod
    def packed(cls, lengths: Sequence[int], device: torch.device | str = "cpu") -> Batch:
        """Whole sequences from position 0 with pages of their own, for a forward without a cache."""
        pages, used = [], 0
        for length in lengths:
            count = -(-length // PAGE_SIZE)
            pages.append(range(used, used + count))
            used += count
        return cls.build(lengths, [0] * len(lengths), pages, device)

    @property
    def is_decode(self) -> bool:
        """Whether every sequence has just one token here."""
        return len(self.starts) == self.position_T.shape[0]

    @cached_property
    def tiles(self) -> Tiles:
        """Runs of at most TILE_TOKENS tokens of one sequence, made on the host, which knows the bounds."""
        runs = [
            (b, t, min(TILE_TOKENS, end - t))
            for b, (begin, end) in enumerate(zip(self.bounds, self.bounds[1:], strict=False))
            for t in range(begin, end, TILE_TOKENS)
        ]
        return torch.tensor(runs, device=self.position_T.device), TILE_TOKENS
