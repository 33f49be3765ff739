"""Integer-quantised matrices: layout, rounding, the product's error and its rows' bits."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels.ops.matmul import matmul
from kernels.ops.packing import quantize_rows
from kernels.panels import CODES, GROUP, columns, dequantize, pack, packed_shapes

SHAPES = ((1, 1), (37, 53), (64, 8), (33, 129), (7, 64), (96, 200))


def quantized(w_NK: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    N, K = w_NK.shape
    codes, scales = packed_shapes(K, N, bits)
    found = torch.zeros(codes, dtype=CODES[bits]), torch.zeros(scales, dtype=torch.bfloat16)
    quantize_rows(*found, w_NK)
    return found


def rounded(w_NK: torch.Tensor, bits: int) -> torch.Tensor:
    """What the module's formula says, written down plainly: (N, K)."""
    top, parts = 2 ** (bits - 1), []
    for group in w_NK.float().split(GROUP, dim=1):
        largest, smallest = group.amax(1, keepdim=True).clamp(min=0), group.amin(1, keepdim=True).clamp(max=0)
        scale = (torch.where(largest >= -smallest, largest, smallest) / -top).bfloat16().float()
        codes = torch.where(scale == 0, 0, (group / scale).round().clamp(-top, top - 1))
        parts.append(codes * scale)
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("bits", (8, 4))
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16))
@pytest.mark.parametrize(("N", "K"), SHAPES)
def test_rounding_is_the_formula(N: int, K: int, dtype: torch.dtype, bits: int) -> None:
    w_NK = torch.randn(N, K, generator=torch.Generator().manual_seed(N + K)).to(dtype)
    w_NK[:, : GROUP // 2] *= 100
    w_NK[0] = 0
    codes, scales = quantized(w_NK, bits)
    assert codes.nbytes == -(-N // 32) * 32 * K * bits // 8
    assert torch.equal(dequantize(codes, scales, N).t(), rounded(w_NK, bits))
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    assert torch.equal(columns(codes, scales, order), rounded(w_NK, bits)[order])


@pytest.mark.parametrize("bits", (8, 4))
def test_blocks_at_any_place_make_the_whole(bits: int) -> None:
    w_NK = torch.randn(150, 43, generator=torch.Generator().manual_seed(1))
    whole, found = quantized(w_NK, bits), quantized(torch.randn(150, 43), bits)
    for start, end in ((0, 3), (3, 40), (40, 41), (41, 139), (139, 150)):
        quantize_rows(*found, w_NK[start:end], start)
    assert torch.equal(dequantize(*found, 150), dequantize(*whole, 150))


def test_the_error_is_half_a_step() -> None:
    """The largest weight over 2^(bits - 1) is a step; the end that has its sign is a step longer."""
    w_NK = torch.randn(64, 256, generator=torch.Generator().manual_seed(2))
    step = w_NK.view(64, -1, GROUP).abs().amax(-1, keepdim=True).expand(-1, -1, GROUP).flatten(1)
    for bits in (8, 4):
        error = (rounded(w_NK, bits) - w_NK).abs()
        assert (
            error <= 1.6 * step / 2 ** (bits - 1)
        ).all()  # a scale's rounding moves the ends by half a step
        assert error.mean() < 0.3 * step.mean() / 2 ** (bits - 1)


@pytest.mark.parametrize("bits", (8, 4))
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16))
@pytest.mark.parametrize(("K", "N"), ((1, 1), (63, 33), (64, 64), (200, 150), (577, 96)))
def test_product_is_as_exact_as_plain_torch(K: int, N: int, dtype: torch.dtype, bits: int) -> None:
    generator = torch.Generator().manual_seed(K)
    codes, scales = quantized(torch.randn(N, K, generator=generator), bits)
    x_RK = torch.randn(13, K, generator=generator).to(dtype)
    w_KN = dequantize(codes, scales, N)
    exact = x_RK.double() @ w_KN.double()
    ours = matmul(x_RK, codes, N, scales)
    plain = (x_RK.float() @ w_KN).to(dtype)
    assert (ours - exact).abs().max() <= 2 * (plain - exact).abs().max() + torch.finfo(
        torch.float32
    ).eps * exact.abs().max()


@pytest.mark.parametrize("bits", (8, 4))
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16))
def test_rows_do_not_depend_on_their_number(dtype: torch.dtype, bits: int) -> None:
    generator = torch.Generator().manual_seed(3)
    codes, scales = quantized(torch.randn(70, 200, generator=generator), bits)
    x_RK = torch.randn(130, 200, generator=generator).to(dtype)
    whole = matmul(x_RK, codes, 70, scales)
    for R in range(1, 130):
        assert torch.equal(matmul(x_RK[:R], codes, 70, scales), whole[:R])
        assert torch.equal(matmul(x_RK[R : R + 1], codes, 70, scales), whole[R : R + 1])


def digest_of_products() -> str:
    """Of products by weights of every kind, for rows and columns around those of a tile."""
    generator, digest = torch.Generator().manual_seed(7), hashlib.sha256()
    w_NK, x_RK = torch.randn(89, 300, generator=generator), torch.randn(15, 300, generator=generator)
    for dtype in (torch.float32, torch.bfloat16):
        weights = [(pack(w_NK.t().to(dtype)), None), *(quantized(w_NK, bits) for bits in (8, 4))]
        for w, scales in weights:
            for R in (*range(1, 8), 15):
                out_RN = matmul(x_RK[:R].to(dtype), w, 89, scales, wide=True)
                digest.update(out_RN.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names a CPU of x86")
def test_bits_do_not_depend_on_the_width_of_vectors() -> None:
    """Code for a CPU without AVX-512 makes what the code for this one does."""
    narrow = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
    command = "import runpy, sys; print(runpy.run_path(sys.argv[1])['digest_of_products']())"
    done = subprocess.run(
        [sys.executable, "-c", command, str(Path(__file__).resolve())],
        env=os.environ | narrow,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest_of_products()
