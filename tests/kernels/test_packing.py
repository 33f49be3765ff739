"""Stored matrices into panels: the kernel against the plain-torch layout, bit for bit."""

from __future__ import annotations

import pytest
import torch

from kernels.ops.packing import pack_rows
from kernels.panels import pack, packed_shape, unpack

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
# Around the borders of a panel (32 outputs) and of a square that is turned in registers (8 by 8).
SHAPES = ((1, 1), (37, 53), (64, 8), (33, 129), (7, 64), (96, 64))


@pytest.mark.parametrize("target", FLOATS)
@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize(("N", "K"), SHAPES)
def test_rows_become_outputs(N: int, K: int, source: torch.dtype, target: torch.dtype) -> None:
    w_NK = torch.randn(N, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(source)
    w_NK[0, 0] = torch.nan
    packed = torch.zeros(packed_shape(K, N), dtype=target)
    pack_rows(packed, w_NK)
    assert torch.equal(packed.nan_to_num(7.0), pack(w_NK.t().to(target)).nan_to_num(7.0))
    assert torch.equal(unpack(packed, N).nan_to_num(7.0), w_NK.t().to(target).nan_to_num(7.0))


@pytest.mark.parametrize("source", (torch.float32, torch.bfloat16))
def test_blocks_at_any_place_make_the_whole(source: torch.dtype) -> None:
    """Two tensors joined along their outputs, each in blocks whose borders no panel knows."""
    w_NK = torch.randn(150, 43, generator=torch.Generator().manual_seed(1)).to(source)
    packed = torch.full(packed_shape(43, 150), 5.0)
    for start, end in ((0, 3), (3, 40), (40, 41), (41, 139), (139, 150)):
        pack_rows(packed, w_NK[start:end], start)
    assert torch.equal(unpack(packed, 150), w_NK.t().float())
    assert (packed[-1, :, 150 % 32 :] == 5).all()  # what is past the matrix is not touched


def test_experts_are_packed_one_by_one() -> None:
    w_EKN = torch.randn(3, 5, 40)
    packed = pack(w_EKN)
    assert packed.shape == (3, *packed_shape(5, 40))
    assert all(torch.equal(packed[e], pack(w_EKN[e])) for e in range(3))
    assert torch.equal(unpack(packed, 40), w_EKN)
