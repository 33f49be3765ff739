"""Whole models by the Triton kernels, under the interpreter: near the CPU kernels, and equal to themselves.

On a GPU the same tests run there (mark `gpu`), which is where the bits of `tl.dot` can be seen.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

from kernels import backend
from minillm import LLM, SamplingParams, Transformer, load_model
from minillm.checkpoint.keys import hf_shapes
from minillm.checkpoint.read_config import read_config
from minillm.model.batch import Batch
from minillm.model.kv_cache import KVCache

pytest.importorskip("triton")

GOLDEN = Path(__file__).parents[1] / "golden"
script = runpy.run_path(str(GOLDEN / "write_families.py"))
LENGTHS = (70, 9)
# The interpreter takes half a minute a model, so it sees a few; a GPU sees more, in both precisions.
INTERPRETED = [("qwen3", "fp32"), ("gemma2", "bf16"), ("gpt_oss", "fp32")]
FAMILIES = ("llama", "qwen3", "gemma2", "gpt_oss", "stablelm", "deepseek_v3")
needs_gpu = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))
CASES = [(name, precision, "cpu") for name, precision in INTERPRETED]
CASES += [
    pytest.param(name, precision, "cuda", marks=needs_gpu)
    for name in FAMILIES
    for precision in ("fp32", "bf16")
]


def load(name: str, folder: Path, precision: str, device: str) -> Transformer:
    config = json.loads((GOLDEN / "families.json").read_text())[name]["config"]
    config["num_hidden_layers"] = 2
    config["layer_types"] = config.get("layer_types", [])[:2] or None
    (folder / "config.json").write_text(json.dumps(config))
    script["fill"](folder, hf_shapes(read_config(folder)))
    return load_model(folder, precision, device)


def packed(model: Transformer, ids: list[torch.Tensor]) -> torch.Tensor:
    device = model.head.device
    batch = Batch.packed([len(s) for s in ids], device)
    return model.logits(model(torch.cat(ids).to(device), batch))


@torch.no_grad()
def cached(model: Transformer, ids: list[torch.Tensor]) -> torch.Tensor:
    """Sequence by sequence: a chunk, a single token, a chunk."""
    device, rows = model.head.device, []
    cache = KVCache(model.config, model.precision, num_pages=4, device=device)
    for b, s in enumerate(ids):
        start = 0
        for count in (len(s) - 5, 1, 4):
            batch = Batch.build([count], [start], [[2 * b + 1, 2 * b]], device)
            rows.append(model.logits(model(s[start : start + count].to(device), batch, cache)))
            start += count
    return torch.cat(rows)


@pytest.mark.parametrize(("name", "precision", "device"), CASES)
def test_triton_models(
    name: str, precision: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kernels.gpu import ops as gpu_ops

    ids = [torch.tensor(script["sequence"](n)) for n in LENGTHS]
    usual = load(name, tmp_path, precision, "cpu")
    wanted = packed(usual, ids)
    noise = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    (wanted * noise).sum().backward()
    monkeypatch.setattr(backend, "find", lambda device, dtype: gpu_ops)
    model = load(name, tmp_path, precision, device)
    found = packed(model, ids)
    (found * noise.to(device)).sum().backward()
    assert torch.equal(found.detach(), cached(model, ids))
    # Both round: as far apart as the dtype lets two orders of addition be.
    near = 1e-4 if precision == "fp32" else 0.15
    scale = float(wanted.detach().abs().max())
    assert float((found.cpu() - wanted).detach().abs().max()) < near * scale
    if precision == "fp32":
        for (part, p), q in zip(model.named_parameters(), usual.parameters(), strict=True):
            if q.grad is None:
                assert p.grad is None, part
                continue
            assert p.grad is not None, part
            assert float((p.grad.cpu() - q.grad).abs().max()) <= 1e-3 * float(q.grad.abs().max()) + 1e-5, part


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", FAMILIES)
def test_cuda_graphs_change_no_bit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(name, tmp_path, "bf16", "cuda")
    params = SamplingParams(max_tokens=70, seed=1, ignore_eos=True, logprobs=0)
    ids = [script["sequence"](n) for n in LENGTHS]
    found = []
    for graphs in (True, False):
        llm = LLM(model, kv_cache_memory_bytes=1 << 26)
        if not graphs:
            monkeypatch.setattr(Batch, "is_decode", False)
        outputs = [output.outputs[0] for output in llm.generate(ids, params)]
        found.append([(output.token_ids, output.logprobs) for output in outputs])
        steps = llm._engine.decode_graphs._steps.values()
        assert any(step.recording is not None for step in steps) == graphs
    assert found[0] == found[1]
