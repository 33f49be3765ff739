"""The oracle's own knobs against the functions of transformers that they stand for, in float64.

Legend: H query heads, D head dim, N keys.
"""

from __future__ import annotations

import math

import pytest
import torch

from kernels import reference
from kernels.knobs import AlibiRounding, Scores

pytest.importorskip("transformers")

N = 333


def slopes(H: int) -> torch.Tensor:
    """Those of Press et al. (2022) in float32: of the power of two below, and every other of the next one."""
    below = 2 ** math.floor(math.log2(H))
    # In runs as long as transformers': torch's power has other bits at the end of a vector on some CPUs.
    first, more = (
        torch.arange(1, n + 1, k, dtype=torch.int32) for n, k in ((below, 1), (2 * (H - below), 2))
    )
    powers = ((below, first), (2 * below, more))
    return torch.cat([torch.pow(torch.tensor(2.0 ** -(8.0 / n)), power) for n, power in powers])


def tilt(slopes_H: torch.Tensor, rounding: AlibiRounding, first: int = 0, scale: float = 1.0) -> torch.Tensor:
    scores = Scores(scale, slopes_H=slopes_H.double(), alibi_rounding=rounding)
    return reference.tilt(slopes_H.double(), scores, first, N, torch.float64)


@pytest.mark.parametrize("H", (4, 6, 12, 16))
def test_alibi_of_bloom(H: int) -> None:
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    theirs = build_alibi_tensor(torch.ones(1, N, dtype=torch.long), H, torch.float64)
    assert torch.equal(tilt(slopes(H), "first"), theirs)


@pytest.mark.parametrize("H", (4, 6, 12, 16))
def test_alibi_of_falcon(H: int) -> None:
    """In bfloat16, and divided by the root of the head dim; slopes hold that factor."""
    from transformers.models.falcon.modeling_falcon import build_alibi_tensor

    D = 24
    theirs = build_alibi_tensor(torch.ones(1, N, dtype=torch.long), H, torch.float64) / math.sqrt(D)
    ours = tilt(slopes(H).bfloat16().double() * D**-0.5, "bfloat16", scale=D**-0.5)
    torch.testing.assert_close(ours, theirs, rtol=1e-15, atol=0)


@pytest.mark.parametrize("H", (4, 6, 12, 16))
def test_alibi_of_mpt(H: int) -> None:
    from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

    own_H = -build_mpt_alibi_tensor(H, 2)[:, 0, 0]
    theirs = build_mpt_alibi_tensor(H, 1000)[:, :, -N:].double()
    assert torch.equal(tilt(own_H, "last"), theirs)


@pytest.mark.parametrize("rounding", ("first", "last", "bfloat16"))
def test_roundings_of_alibi_are_of_one_thing(rounding: AlibiRounding) -> None:
    """They differ from the exact distances by what each query's scores share, where nothing is rounded."""
    own_H = 0.5 ** torch.arange(1.0, 9)
    exact, rounded = tilt(own_H, "", first=100), tilt(own_H, rounding)
    near = slice(100, 256)  # whole numbers that bfloat16 holds
    shared = (rounded - exact)[..., near]
    assert exact.shape == (8, N - 100, N)
    assert float((shared - shared[..., :1]).abs().max()) == 0.0


def test_xielu() -> None:
    from transformers.activations import XIELUActivation

    module = XIELUActivation(dtype=torch.float64)
    x = torch.cat((torch.linspace(-20, 20, 1001), torch.linspace(-3e-6, 3e-6, 101))).double().unsqueeze(0)
    inputs = [x.requires_grad_(), *(a.detach().requires_grad_() for a in (module.alpha_p, module.alpha_n))]
    ours, theirs = reference.xielu(*inputs), module._xielu_python(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-16)
    weight = torch.linspace(1, 2, x.numel(), dtype=torch.float64)
    found = torch.autograd.grad((ours * weight).sum(), inputs)
    exact = torch.autograd.grad((theirs * weight).sum(), [x, module.alpha_p, module.alpha_n])
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("ours", "theirs"), [("gelu_bloom", "bloom"), ("relu2", "relu2")])
def test_activations(ours: str, theirs: str) -> None:
    from transformers.activations import ACT2FN
    from transformers.models.bloom.modeling_bloom import bloom_gelu_forward

    x = torch.linspace(-9, 9, 1001, dtype=torch.float64)
    exact = bloom_gelu_forward(x) if theirs == "bloom" else ACT2FN[theirs](x)
    torch.testing.assert_close(reference.FUNCTIONS[ours](x), exact, rtol=1e-14, atol=1e-15)
