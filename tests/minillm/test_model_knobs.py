"""Knobs of `ModelConfig` that no plain llama has: what they mean, and the same bits on every way.

Legend: T packed tokens, C model width, K inputs, N outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from kernels.panels import pack
from minillm import Transformer
from minillm.engine.decode_graph import DecodeGraphs
from minillm.model.batch import Batch
from minillm.model.config import Matrix
from minillm.model.kv_cache import KVCache
from minillm.model.precision import Precision, get_precision

MakeModel = Callable[..., Transformer]
POSITIONS = {"positions": True, "position_offset": 2, "layer_rope": (-1, -1)}
EMBED_NORM = {"embed_norm": True, "norm": "layer", "norm_bias": True}
# With norms and angles in float64 too.
DOUBLE = Precision(*[torch.float64] * 6)
QK_NORM_LAST = {"qk_norm": "head", "qk_norm_last": True}
ALIBI = {"alibi": tuple(0.7**i for i in range(1, 7)), "layer_rope": (-1, -1)}
XIELU = {"activation": "xielu", "gated": False}
KNOBS: dict[str, dict[str, Any]] = {
    "positions": POSITIONS,
    "embed norm": EMBED_NORM,
    "qk norm last": QK_NORM_LAST,
    "alibi": ALIBI,
    "relu2": {"activation": "relu2", "gated": False},
    "xielu": XIELU,
}


@pytest.fixture
def make(tiny_llama: MakeModel) -> MakeModel:
    """`make(precision, **changes)`: a tiny random llama of a changed config, the same at every call."""

    def build(precision: str | Precision = "fp32", **changes: Any) -> Transformer:
        model = Transformer(replace(tiny_llama().config, **changes), get_precision(precision))
        generator = torch.Generator().manual_seed(0)
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, shape in model.config.shapes.items():
                if isinstance(shape, Matrix):
                    gain = 3.0 if name == "head" else 1.5
                    noise_KN = torch.randn(shape.K, shape.N, generator=generator) * gain * shape.K**-0.5
                    parameters[name].copy_(pack(noise_KN))
                else:
                    parameters[name].copy_(1 + 0.3 * torch.randn(shape, generator=generator))
        return model

    return build


def ids(count: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(131, (count,), generator=torch.Generator().manual_seed(seed))


def logits(model: Transformer, *sequences: torch.Tensor) -> torch.Tensor:
    """Of whole sequences, packed, as a trainer computes them."""
    batch = Batch.packed([len(s) for s in sequences])
    return model.logits(model(torch.cat(sequences), batch))


@torch.no_grad()
def cached(
    model: Transformer, tokens: torch.Tensor, counts: Sequence[int], cache: KVCache | None = None
) -> torch.Tensor:
    """Of a sequence in chunks over a cache, of one token each where it is a decode step."""
    cache, start, rows = cache or new_cache(model), 0, []
    graphs = DecodeGraphs(model, cache)
    for count in counts:
        batch = Batch.build([count], [start], [[2, 0, 3]])
        part = tokens[start : start + count]
        rows.append(model.logits(graphs.run(part, batch) if batch.is_decode else model(part, batch, cache)))
        start += count
    assert all(step.recording is not None for step in graphs._steps.values())
    return torch.cat(rows)


def new_cache(model: Transformer) -> KVCache:
    return KVCache(model.config, model.precision, num_pages=4)


@pytest.mark.parametrize("precision", ("fp32", "bf16", "bf16-master-fp32"))
@pytest.mark.parametrize("knobs", KNOBS)
def test_training_chunks_and_decode_are_the_same_bits(make: MakeModel, knobs: str, precision: str) -> None:
    model, tokens = make(precision, **KNOBS[knobs]), ids(135)
    whole = logits(model, ids(20, seed=2), tokens)[20:]
    assert whole.requires_grad and whole.std() > 0.5
    whole = whole.detach()
    for counts in ([135], [64, 71], [1, 62, 1, 70, 1], [130, *[1] * 5]):
        assert torch.equal(cached(model, tokens, counts), whole), counts


@pytest.mark.parametrize("knobs", KNOBS)
def test_float32_is_near_float64_with_its_gradients(make: MakeModel, knobs: str) -> None:
    found, exact = (make(precision, **KNOBS[knobs]) for precision in ("fp32", DOUBLE))
    out, true = (logits(model, ids(70), ids(9, seed=2)) for model in (found, exact))
    assert float((out - true).detach().abs().max()) < 1e-4 * float(true.detach().abs().max())
    noise = torch.randn(out.shape, generator=torch.Generator().manual_seed(3))
    (out * noise).sum().backward()
    (true * noise).sum().backward()
    for (name, p), q in zip(found.named_parameters(), exact.parameters(), strict=True):
        assert p.grad is not None and q.grad is not None, name
        assert float((p.grad - q.grad).abs().max()) <= 1e-4 * float(q.grad.abs().max()) + 1e-6, name


@pytest.mark.parametrize("precision", ("fp32", "bf16-master-fp32"))
@pytest.mark.parametrize("knobs", KNOBS)
def test_recorded_steps_see_an_update(make: MakeModel, knobs: str, precision: str) -> None:
    model, tokens = make(precision, **KNOBS[knobs]), ids(12)
    cache = new_cache(model)
    before = cached(model, tokens, [1] * 12, cache)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    logits(model, tokens).square().mean().backward()
    optimizer.step()
    after = cached(model, tokens, [1] * 12, cache)
    assert torch.equal(after, logits(model, tokens))
    assert not torch.allclose(after, before)


def test_triton_kernels(make: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """All knobs at once by the Triton kernels, interpreted: near the CPU's, and equal to themselves."""
    launch = pytest.importorskip("kernels.gpu.launch")
    if not launch.INTERPRET:
        pytest.skip("Triton compiles here, and these are the CPU's tensors")
    from kernels import backend
    from kernels.gpu import ops as gpu_ops

    everything = POSITIONS | EMBED_NORM | QK_NORM_LAST | ALIBI | XIELU | {"layer_rope": (0, 0)}
    model, tokens = make(**everything), ids(22)
    noise = torch.randn(22, 131, generator=torch.Generator().manual_seed(3))

    def run() -> tuple[torch.Tensor, list[torch.Tensor]]:
        out = logits(model, tokens)
        return out.detach(), list(torch.autograd.grad((out * noise).sum(), list(model.parameters())))

    wanted, exact = run()
    monkeypatch.setattr(backend, "find", lambda device, dtype: gpu_ops)
    found, gradients = run()
    for a, b in zip([found, *gradients], [wanted, *exact], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 * float(b.abs().max()))
    monkeypatch.setattr(Batch, "is_decode", False)
    assert torch.equal(cached(model, tokens, [17, 1, 4]), found)


@torch.no_grad()
def test_positions_begin_at_the_offset(make: MakeModel) -> None:
    model, plain = make(DOUBLE, **POSITIONS), make(DOUBLE, **POSITIONS | {"position_offset": 0})
    assert model.positions.shape[0] == plain.positions.shape[0] + 2
    for name, parameter in plain.named_parameters():
        parameter.copy_(model.get_parameter(name)[2 * (name == "positions") :])
    assert torch.equal(logits(plain, ids(40)), logits(model, ids(40)))


@pytest.mark.parametrize("kind", ("rms", "layer"))
@torch.no_grad()
def test_the_embedding_is_normed(make: MakeModel, kind: str) -> None:
    """As in a model whose embedding holds the normed rows."""
    knobs: dict[str, Any] = {"norm": kind, "norm_bias": kind == "layer", "tie_word_embeddings": False}
    model, plain = make(DOUBLE, embed_norm=True, **knobs), make(DOUBLE, **knobs)
    for name, parameter in plain.named_parameters():
        parameter.copy_(model.get_parameter(name))
    w_C, eps, shape = model.get_parameter("embed_norm"), model.config.norm_eps, model.embed.shape[1:]
    if kind == "layer":
        b_C = model.get_parameter("embed_norm_bias")
        plain.embed.copy_(F.layer_norm(model.embed, shape, w_C, b_C, eps))
    else:
        plain.embed.copy_(F.rms_norm(model.embed, shape, w_C, eps))
    torch.testing.assert_close(logits(plain, ids(40)), logits(model, ids(40)), rtol=0, atol=1e-9)


@torch.no_grad()
def test_queries_and_keys_are_normed_after_they_are_turned(make: MakeModel) -> None:
    """It is all the same if both numbers of a pair have one weight, and only then."""
    model, plain = make(DOUBLE, **QK_NORM_LAST), make(DOUBLE, **QK_NORM_LAST | {"qk_norm_last": False})
    assert (logits(plain, ids(40)) - logits(model, ids(40))).abs().max() > 0.1
    for each in (model, plain):
        for name, parameter in each.named_parameters():
            if name.endswith(("q_norm", "k_norm")):
                parameter.copy_(parameter[:8].repeat(2))
    torch.testing.assert_close(logits(plain, ids(40)), logits(model, ids(40)), rtol=0, atol=1e-9)
