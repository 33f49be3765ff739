"""How attention's work is cut: key blocks, runs of query tokens, and prefixes that sequences share.

Legend: T packed tokens, B sequences, N runs, G groups of sequences with one prefix, P pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# Keys per step of the running softmax, counted from position 0 of a sequence, and positions per page.
KEY_BLOCK = 64
# Query tokens that a run holds at most; a kernel cuts a run into tiles of its own size.
TILE_TOKENS = 16


# Runs of tokens (N, 3) int64: sequence, first token, number of tokens; and the largest number.
Tiles = tuple[Tensor, int]
# What attention's gradients want of the forward beside its inputs: nothing, or (out_THE, softmax_2TH).
Kept = tuple[Tensor, ...]


class Paging(Protocol):
    """What attention asks of a batch: where each token stands, and which pages its sequence owns."""

    @property
    def position_T(self) -> Tensor: ...

    @property
    def slot_T(self) -> Tensor: ...

    @property
    def page_BP(self) -> Tensor: ...

    @property
    def bounds(self) -> list[int]: ...

    @property
    def starts(self) -> list[int]: ...

    @property
    def tiles(self) -> Tiles: ...


@dataclass(frozen=True)
class SharedPrefix:
    """The full key blocks that groups of sequences have in common, to be read once a group.

    Attributes:
        page_GP: int64, the prefixes' block table.
        tile_N3: int64, runs (group, first token, number of tokens): a run may span a group's sequences,
            whose tokens stand side by side. Every token is in some run, be its prefix empty.
        tile_tokens: the largest number of tokens of a run.
        blocks_G: int64, full key blocks of each prefix.
        blocks_B: int64, the same number for each sequence: the blocks it need not visit again.
    """

    page_GP: Tensor
    tile_N3: Tensor
    tile_tokens: int
    blocks_G: Tensor
    blocks_B: Tensor


def whole_bounds(bounds_B1: Tensor, tokens: int) -> list[int]:
    """Return bounds as numbers; raise ValueError unless they cover all tokens in order."""
    bounds: list[int] = bounds_B1.tolist()
    if bounds[0] != 0 or bounds[-1] != tokens or sorted(bounds) != bounds:
        raise ValueError(f"bounds_B1 must rise from 0 to the {tokens} tokens of q, not be {bounds}")
    return bounds


def work_list(bounds_B1: Tensor, tokens: int, tile_tokens: int) -> Tensor:
    """List runs (sequence, first token, number of tokens) of at most `tile_tokens` tokens, (N, 3) int64.

    Runs start at a sequence's first token. Their number depends on `tokens` (T) and the number of sequences
    alone, so that no device waits: the runs at the end may hold no token.
    """
    bounds_B1 = bounds_B1.long()
    length_B = bounds_B1.diff()
    count_B = (length_B + tile_tokens - 1) // tile_tokens
    past_B = count_B.cumsum(0)
    B = length_B.shape[0]
    i_N = torch.arange(tokens // tile_tokens + B, device=bounds_B1.device)
    b_N = torch.searchsorted(past_B, i_N, right=True).clamp(max=B - 1)
    first_N = bounds_B1[b_N] + (i_N - past_B[b_N] + count_B[b_N]) * tile_tokens
    tokens_N = (bounds_B1[b_N + 1] - first_N).clamp(0, tile_tokens)
    return torch.stack((b_N, first_N.clamp(max=tokens - 1), tokens_N), dim=1)


def positions(bounds_B1: Tensor, tokens: int) -> Tensor:
    """Each packed token's position in its sequence, (T,) int64, for sequences that start at position 0."""
    bounds_B1 = bounds_B1.long()
    i_T = torch.arange(tokens, device=bounds_B1.device)
    return i_T - bounds_B1[torch.searchsorted(bounds_B1[1:], i_T, right=True)]
