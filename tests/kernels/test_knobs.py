"""What families ask of the ops beyond a plain llama, by the yardstick of `test_ops`.

Legend: T packed tokens, H query heads, K kv heads, D head dim, E head dim of values, R pairs that rope turns.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kernels import reference
from kernels.knobs import Activation, Norm, Scores
from kernels.ops.activation import activate, xielu
from kernels.ops.norm import add_norm, norm_qk
from kernels.ops.rope import rope as rotate
from kernels.ops.rope_store_attention import rope_store_attention
from minillm.model.batch import PAGE_SIZE, Batch

ops = runpy.run_path(str(Path(__file__).with_name("test_ops.py")))
check, error, noise = ops["check"], ops["error"], ops["noise"]
DTYPES = ops["DTYPES"]
LENGTHS = (1, 63, 130, 65)


RMS, OFFSET, LAYER = Norm(1e-5), Norm(1e-5, offset=1.0), Norm(1e-5, layer=True)
# A layer norm of a single number has no deviation, and only layer norms have biases.
NORMS = [(norm, given, C) for norm in (RMS, OFFSET) for given in ("x w", "x r w") for C in (1, 7, 64, 577)]
NORMS += [(LAYER, given, C) for given in ("x", "x w", "x r w", "x w b", "x r w b") for C in (7, 64, 577)]
NORMS += [(RMS, "x", C) for C in (1, 577)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("norm", "given", "C"), NORMS)
def test_norms(norm: Norm, given: str, C: int, dtype: torch.dtype) -> None:
    shapes = {"x": (65, C), "r": (65, C), "w": (C,), "b": (C,)}
    names = given.split()
    # Around 3, so that a mean matters.
    inputs = [
        noise(*shapes[n], dtype=dtype, seed=i, scale=2) + (3 if n == "x" else 0) for i, n in enumerate(names)
    ]

    def op(kernel: object) -> object:
        def call(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            found = dict(zip(names, tensors, strict=True))
            both = kernel(found["x"], found.get("r"), found.get("w"), found.get("b"), norm)  # type: ignore[operator]
            return both if "r" in found else both[1:]

        return call

    check(op(add_norm), op(reference.add_norm), inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ("head", "full", "heads", "layer"))
def test_norm_of_queries_and_keys(kind: str, dtype: torch.dtype) -> None:
    H, K, D, T = 6, 2, 24, 65
    norm = Norm(1e-5, layer=kind in ("heads", "layer"), offset=1.0 if kind == "head" else 0.0)
    sizes = (H * D, K * D) if kind == "full" else (D, D)
    lengths = {"head": (D, D), "layer": (D, D), "full": (H * D, K * D), "heads": (H * D, K * D)}[kind]
    inputs = [noise(T, (H + 2 * K) * D, dtype=dtype, scale=3)]
    inputs += [noise(n, dtype=dtype, seed=i) for i, n in enumerate(lengths)]
    if kind == "layer":
        inputs += [noise(n, dtype=dtype, seed=5 + i) for i, n in enumerate(lengths)]

    def weights(q: torch.Tensor, k: torch.Tensor, *biases: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (q, biases[0], k, biases[1]) if biases else (q, None, k, None)

    widths = (H * D, K * D)
    check(
        lambda x, *w: (norm_qk(x, weights(*w), widths, sizes, norm),),
        lambda x, *w: (reference.norm_qk(x, *weights(*w), (widths, sizes, norm)),),
        inputs,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("F", (1, 53, 64))
@pytest.mark.parametrize(
    "activation",
    [
        *(
            Activation(name, gated)
            for name in ("silu", "gelu", "gelu_tanh", "gelu_bloom", "relu", "relu2")
            for gated in (True, False)
        ),
        *(Activation(name, gated=False) for name in ("sigmoid", "tanh")),
        Activation(limit=3.0),
    ],
    ids=str,
)
def test_activations(activation: Activation, F: int, dtype: torch.dtype) -> None:
    x = noise(65, 2 * F if activation.gated else F, dtype=dtype, scale=4)
    x[0], x[1], x[2] = 0, 200, -200
    x[3] *= 1e-4
    check(
        lambda x: (activate(x, activation),),
        lambda x: (reference.activate(x, activation),),
        [x],
    )
    with torch.no_grad():
        whole = activate(x, activation)
        assert all(torch.equal(activate(x[i : i + 1], activation)[0], whole[i]) for i in range(65))


def activated(kernel: Callable[..., torch.Tensor]) -> Callable[..., tuple[torch.Tensor]]:
    return lambda x, p, n: (kernel(x, p, n),)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("F", (1, 53, 64))
@pytest.mark.parametrize("alphas", [(0.2, -1.1), (-30.0, 3.0), (25.0, -8.0)])
def test_xielu(alphas: tuple[float, float], F: int, dtype: torch.dtype) -> None:
    x = noise(65, F, dtype=dtype, scale=4)
    x[0], x[1], x[2] = 0, 200, -200
    x[3] *= 1e-4
    x[4] *= 1e-7
    numbers = [torch.tensor([a]).to(dtype) for a in alphas]
    check(activated(xielu), activated(reference.xielu), [x, *numbers])
    with torch.no_grad():
        whole = xielu(x, *numbers)
        assert all(torch.equal(xielu(x[i : i + 1], *numbers)[0], whole[i]) for i in range(65))


def test_xielu_of_small_numbers_is_as_exact_as_of_large_ones() -> None:
    """Where the exponential and the number cancel, and on both sides of where the series ends."""
    x = -torch.logspace(-5, 1.5, 2000).unsqueeze(0)
    numbers = [torch.tensor([0.3]), torch.tensor([5.0])]
    exact = reference.xielu(x.double(), *(a.double() for a in numbers))
    assert ((xielu(x, *numbers) - exact) / x).abs().max() < 2e-6


# (H, K, D, E, R): what families have, and what they might.
SHAPES = {
    "partial rope": (4, 2, 32, 32, 5),
    "latent": (3, 3, 48, 32, 8),
    "wide values": (8, 1, 16, 80, 8),
    "112": (3, 1, 112, 112, 56),
    "256": (2, 1, 256, 256, 128),
}
KNOBS = {
    "plain": {},
    "window 1": {"window": 1},
    "window 7": {"window": 7},
    "window 64": {"window": 64},
    "window 100": {"window": 100},
    "chunk 7": {"window": -7},
    "chunk 64": {"window": -64},
    "chunk 100": {"window": -100},
    "softcap": {"softcap": 2.0},
    "sinks": {"sinks": True},
    "growth": {"growth": True},
    "slopes": {"slopes": True},
    "all": {"window": 70, "softcap": 5.0, "sinks": True, "growth": True, "slopes": True},
}
# Every knob with one shape, every shape with none and all.
SETTINGS = [("partial rope", knobs) for knobs in KNOBS]
SETTINGS += [(shape, knobs) for shape in list(SHAPES)[1:] for knobs in ("plain", "all")]


class Attention:
    """One setting of the op, and the oracle of the same."""

    def __init__(self, shape: str, knobs: str) -> None:
        self.H, self.K, self.D, self.E, self.R = SHAPES[shape]
        given = dict(KNOBS[knobs])
        self.has_sinks, growth = given.pop("sinks", False), given.pop("growth", False)
        slopes = 0.5 ** torch.arange(1.0, self.H + 1) if given.pop("slopes", False) else None
        self.scores = Scores(self.D**-0.5, **given, slopes_H=slopes)  # type: ignore[arg-type]
        frequency = 1e4 ** -(torch.arange(self.R, dtype=torch.float64) / self.R)
        angle = torch.outer(torch.arange(512, dtype=torch.float64), frequency)
        self.tables = angle.cos().float(), angle.sin().float()
        self.growth = 1 + torch.rand(512, 1, generator=torch.Generator().manual_seed(1)) if growth else None

    def inputs(self, tokens: int, dtype: torch.dtype, scale: float = 1.5) -> list[torch.Tensor]:
        qkv = noise(tokens, (self.H + self.K) * self.D + self.K * self.E, dtype=dtype, scale=scale)
        return [qkv, noise(self.H, dtype=dtype, seed=8)] if self.has_sinks else [qkv]

    def cache(self, pages: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            torch.full((pages, self.K, self.D, PAGE_SIZE), torch.nan, dtype=dtype),
            torch.full((pages, self.K, PAGE_SIZE, self.E), torch.nan, dtype=dtype),
        )

    def ours(
        self,
        batch: Batch,
        qkv: torch.Tensor,
        sinks: torch.Tensor | None = None,
        cache: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        heads = (self.H, self.K, self.D)
        cache = cache or self.cache(batch.num_pages + 1, qkv.dtype)
        return rope_store_attention(qkv, heads, self.tables, *cache, batch, self.scores, sinks, self.growth)

    def plain(self, batch: Batch, qkv: torch.Tensor, sinks: torch.Tensor | None = None) -> torch.Tensor:
        H, K, D, E = self.H, self.K, self.D, self.E
        wide = torch.promote_types(qkv.dtype, torch.float32)
        parts = qkv.split((H * D, K * D, K * E), dim=1)
        q, k, v = (x.unflatten(1, (-1, n)) for x, n in zip(parts, (D, D, E), strict=True))
        q, k = (reference.rope(x, *(t.to(wide) for t in self.tables), batch.position_T) for x in (q, k))
        if self.growth is not None:
            q = q * self.growth[batch.position_T].unsqueeze(1).to(q.dtype)
        return reference.attention(q, k, v, batch.bounds, batch.starts, self.scores, sinks)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_rope_by_itself(shape: str, dtype: torch.dtype) -> None:
    """Near the oracle; and rotated alone, then by nothing, queries and keys are what attention rotates."""
    setting, batch = Attention(shape, "plain"), Batch.packed(LENGTHS)
    H, K, D, E, _ = SHAPES[shape]
    (qkv,) = setting.inputs(sum(LENGTHS), dtype)

    def plain(x: torch.Tensor) -> tuple[torch.Tensor]:
        q, k, v = x.split((H * D, K * D, K * E), dim=1)
        wide = torch.promote_types(x.dtype, torch.float32)
        tables = [t.to(wide) for t in setting.tables]
        q, k = (reference.rope(y.unflatten(1, (-1, D)), *tables, batch.position_T).flatten(1) for y in (q, k))
        return (torch.cat((q, k, v), dim=1),)

    check(
        lambda x: (rotate(x, (H, K, D), setting.tables, batch.position_T),),
        plain,
        [qkv],
    )
    with torch.no_grad():
        whole = setting.ours(batch, qkv)
        rotated = rotate(qkv, (H, K, D), setting.tables, batch.position_T)
        alone = rotate(qkv[100:101], (H, K, D), setting.tables, batch.position_T[100:101])
        assert torch.equal(alone, rotated[100:101])
        setting.tables = torch.ones(512, 1), torch.zeros(512, 1)
        assert torch.equal(setting.ours(batch, rotated), whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "knobs"), SETTINGS)
def test_attention_and_its_gradient(shape: str, knobs: str, dtype: torch.dtype) -> None:
    setting, batch = Attention(shape, knobs), Batch.packed(LENGTHS)
    qkv, *sinks = setting.inputs(sum(LENGTHS), dtype)
    check(
        lambda x: (setting.ours(batch, x, *(s.to(x.dtype) for s in sinks)),),
        lambda x: (setting.plain(batch, x, *(s.to(x.dtype) for s in sinks)),),
        [qkv],
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("knobs", ("sinks", "all"))
@pytest.mark.parametrize("shape", ("partial rope", "latent", "256"))
def test_gradient_of_sinks(shape: str, knobs: str, dtype: torch.dtype) -> None:
    """By the norm over several draws: the largest error of a few heads is luck."""
    setting, batch = Attention(shape, knobs), Batch.packed((1, 65, 40))
    ours = theirs = 0.0
    for seed in range(8):
        qkv, sinks = setting.inputs(106, dtype)
        qkv = noise(*qkv.shape, dtype=dtype, seed=20 + seed, scale=1.5)
        grad = noise(106, setting.H, setting.E, dtype=torch.bfloat16, seed=40 + seed)

        def gradient(op: Callable[..., torch.Tensor], wide: torch.dtype) -> torch.Tensor:
            leaf = sinks.to(wide).requires_grad_()  # noqa: B023 (used at once)
            out = op(batch, qkv.to(wide), leaf)  # noqa: B023
            return torch.autograd.grad(out, leaf, grad.to(wide))[0]  # noqa: B023

        exact = gradient(setting.plain, torch.float64)
        ours += float((gradient(setting.ours, dtype) - exact).square().sum())
        theirs += float((gradient(setting.plain, dtype) - exact).square().sum())
    assert ours <= 4 * theirs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "knobs"), SETTINGS)
@torch.no_grad()
def test_chunks_and_packing_change_no_bit(shape: str, knobs: str, dtype: torch.dtype) -> None:
    setting = Attention(shape, knobs)
    qkv, *sinks = setting.inputs(200, dtype)
    whole = setting.ours(Batch.packed([200]), qkv, *sinks)
    for chunks in ([1] * 66 + [134], [63, 1, 1, 66, 69], [130, 70]):
        cache, start, outs = setting.cache(6, dtype), 0, []
        for count in chunks:
            batch = Batch.build([count], [start], [[5, 0, 3, 1]])
            outs.append(setting.ours(batch, qkv[start : start + count].clone(), *sinks, cache=cache))
            start += count
        assert torch.equal(torch.cat(outs), whole), chunks
    other = noise(70, qkv.shape[1], dtype=dtype, seed=5)
    batch = Batch.packed([70, 200, 1])
    packed = setting.ours(batch, torch.cat((other, qkv, other[:1])), *sinks)
    assert torch.equal(packed[70:270], whole)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("knobs", ("window 7", "chunk 7", "softcap", "sinks", "all"))
@torch.no_grad()
def test_scores_to_ten_thousand(knobs: str, dtype: torch.dtype) -> None:
    setting, batch = Attention("latent", knobs), Batch.packed([111, 65])
    inputs = setting.inputs(176, dtype)
    inputs[0][:, : (setting.H + setting.K) * setting.D] *= 64
    exact = setting.plain(batch, *(x.double() for x in inputs))
    assert error(setting.ours(batch, *inputs), exact) <= 2 * error(setting.plain(batch, *inputs), exact)


@torch.no_grad()
def test_a_row_without_a_likely_key_keeps_its_sink() -> None:
    """Where the sink takes all, the output is zero, not a quotient of zeros."""
    setting = Attention("partial rope", "sinks")
    (qkv, sinks), batch = setting.inputs(65, torch.float32), Batch.packed([65])
    assert torch.equal(setting.ours(batch, qkv, sinks + 500), torch.zeros(65, 4, 32))
