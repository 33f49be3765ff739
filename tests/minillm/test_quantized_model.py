"""Integer-quantised weights in whole models: every family, bits of sampler and trainer, refusals."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kernels.panels import dequantize, pack
from minillm import LLM, MinillmError, SamplingParams, Transformer, load_model, save_model, token_logprobs
from minillm.checkpoint.keys import hf_shapes
from minillm.checkpoint.read_config import read_config
from minillm.model.config import Matrix
from minillm.model.precision import PRESETS

GOLDEN = Path(__file__).parents[1] / "golden"
script = runpy.run_path(str(GOLDEN / "write_families.py"))
IDS = script["sequence"](script["LENGTHS"][0])


def write(name: str, folder: Path) -> None:
    config = json.loads((GOLDEN / "families.json").read_text())[name]["config"]
    (folder / "config.json").write_text(json.dumps(config))
    script["fill"](folder, hf_shapes(read_config(folder)))


@torch.no_grad()
@pytest.mark.parametrize("bits", (8, 4))
@pytest.mark.parametrize("name", script["CASES"])
def test_every_family_computes_with_the_rounded_weights(name: str, bits: int, tmp_path: Path) -> None:
    write(name, tmp_path)
    plain = PRESETS["fp64"]
    model, exact = load_model(tmp_path, replace(plain, bits=bits)), load_model(tmp_path, plain)
    held, rounded = dict(exact.named_parameters()), 0
    for part, shape in model.config.shapes.items():
        if (scales := dict(model.named_parameters()).get(f"{part}_scales")) is None:
            assert torch.equal(model.get_parameter(part), held[part])
            assert not isinstance(shape, Matrix) or part.endswith(("router", "shared_gate"))
            continue
        assert isinstance(shape, Matrix)
        codes = model.get_parameter(part)
        assert codes.dtype == (torch.int8 if bits == 8 or part == "head" else torch.uint8)
        w = dequantize(codes, scales, shape.N)
        before, worst = held[part].clone(), held[part].abs().amax()
        held[part].copy_(pack(w))
        # Half a step; up to a whole one at one end, and half of one more by the scale's rounding.
        step = worst / (128 if codes.dtype == torch.int8 else 8)
        assert 0 < (held[part] - before).abs().max() < 1.6 * step
        rounded += 1
    assert rounded >= 4 * len(model.layers) + 1
    found, wanted = (token_logprobs(m, [IDS])[0] for m in (model, exact))
    assert (found - wanted).abs().max() < 1e-6  # a tied embedding is looked up in float32
    assert found.isfinite().all()


@pytest.mark.parametrize("compute", (torch.float32, torch.bfloat16))
@pytest.mark.parametrize("bits", (8, 4))
def test_sampler_and_forward_agree_bit_for_bit(
    tiny_llama: Callable[..., Transformer], bits: int, compute: torch.dtype, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    save_model(tiny_llama("fp32"), folder)
    precision = replace(PRESETS["int8"], compute=compute, attention=compute, kv_cache=compute, bits=bits)
    model = load_model(folder, precision)
    prompts = [list(range(3, 3 + n)) for n in (1, 17, 70)]
    params = SamplingParams(max_tokens=9, logprobs=0, seed=5, ignore_eos=True)
    together = LLM(model, kv_cache_memory_bytes=1 << 24).generate(prompts, params)
    for prompt, output in zip(prompts, together, strict=True):
        (sample,) = output.outputs
        assert sample.logprobs is not None
        sampled = [e[t].logprob for e, t in zip(sample.logprobs, sample.token_ids, strict=True)]
        (scored,) = token_logprobs(model, [[*prompt, *sample.token_ids]])
        assert not scored.requires_grad
        assert scored[len(prompt) - 1 :].tolist() == sampled


def test_what_cannot_be_done_is_said(tiny_llama: Callable[..., Transformer], tmp_path: Path) -> None:
    save_model(tiny_llama("fp32"), tmp_path / "tiny")
    model = load_model(tmp_path / "tiny", "int4")
    with pytest.raises(MinillmError, match=r"weights of 4 bits .* load it in fp32 or bf16 to save it"):
        save_model(model, tmp_path / "again")
    with pytest.raises(MinillmError, match="8, 4, or 0"):
        replace(PRESETS["int8"], bits=3)


def test_training_is_refused(tiny_llama: Callable[..., Transformer], tmp_path: Path) -> None:
    from rl.trainer import MethodConfig, Trainer

    save_model(tiny_llama("fp32"), tmp_path / "tiny")
    llm = LLM(load_model(tmp_path / "tiny", "int8"), kv_cache_memory_bytes=1 << 24)
    problem: Any = object()
    with pytest.raises(MinillmError, match="weights of 8 bits are for sampling"):
        Trainer(llm, [problem], MethodConfig(), tmp_path)
