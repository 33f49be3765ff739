"""Stored matrices into panels: the kernel against the plain-torch layout, bit for bit."""

from __future__ import annotations

import pytest
import torch

from kernels import reference
from kernels.ops.packing import checksums, pack_rows
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int8])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4099, (1 << 16) + 3, 3 << 16])
def test_checksums_see_every_change(dtype: torch.dtype, size: int) -> None:
    x = torch.randint(-100, 100, (size,), generator=torch.Generator().manual_seed(size)).to(dtype)
    before = checksums([x, x[:0]])
    assert checksums([x.clone(), x[:0]]) == before
    seen = {before[0]}
    for i in {0, size // 2, size - 1} if size else ():
        y = x.clone()
        y[i] += 1
        seen |= set(checksums([y]))
    assert len(seen) == 1 + len({0, size // 2, size - 1} if size else ())
    if size > 2:
        order = torch.arange(size).roll(1)
        assert torch.equal(x, x[order]) or checksums([x[order]]) != before[:1]


@pytest.mark.parametrize("size", [1, 4095, 4096, 10_000])
def test_the_oracle_sees_every_change(size: int) -> None:
    x = torch.randint(-(2**31), 2**31 - 1, (size,), generator=torch.Generator().manual_seed(1)).int()
    y, z = x.clone(), x.clone()
    y[size - 1] ^= 1
    z[0] ^= -(2**31)
    sums = {tuple(reference.checksum(words).tolist()) for words in (x, y, z, x.roll(1))}
    assert len(sums) == (4 if size > 1 else 3) and tuple(reference.checksum(x.clone()).tolist()) in sums
