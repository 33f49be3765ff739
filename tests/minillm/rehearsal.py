"""Families and precisions on a GPU that is not there: what each phase of a model's life asks of it.

    python tests/minillm/rehearsal.py            # a table: launches, uploads, read-backs
    python tests/minillm/rehearsal.py --json     # what `test_rehearsal.py` reads
    python tests/minillm/rehearsal.py --compile  # compiles every launch for sm_90: some minutes

Models have their published sizes, which fake tensors hold for nothing, but two layers: their launches are
those of real runs. TRITON_INTERPRET must not be set; a clone needs PYTHONPATH=.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from fake_gpu import DEVICE, FakeGpu, Fault, Phase, fake_gpu  # beside this script

from kernels import aot
from kernels.gpu.variant import REFERENCE, Variant
from minillm import LLM, SamplingParams, Transformer, next_logprobs, token_logprobs
from minillm.checkpoint.read_config import read_config
from minillm.model.precision import get_precision
from rl.evaluate import ProbeTexts
from rl.optim import make_optimizer
from rl.trainable import Trainable
from rl.update import Pull, UpdateOptions, move

ROOT = Path(__file__).parents[2]
PUBLISHED = json.loads((ROOT / "tests/golden/published_configs.json").read_text())
BLOOM = {"model_type": "bloom", "hidden_size": 1024, "n_head": 16, "n_layer": 24, "vocab_size": 250880}
MODELS = {
    "llama": PUBLISHED["Llama 3.2 1B"],
    "gemma2": PUBLISHED["Gemma 2 9B"],
    "gpt_oss": PUBLISHED["gpt-oss 20B"],
    "deepseek_v3": {**PUBLISHED["DeepSeek-V3"], "first_k_dense_replace": 1},
    "bloom": BLOOM,
    "apertus": PUBLISHED["Apertus 8B"],
}
PRECISIONS = ("fp32", "bf16", "bf16-master-fp32")
CASES = [(name, precision) for name in MODELS if name != "apertus" for precision in PRECISIONS]
# For their kernels' sake: xIELU, and integer-quantised weights.
CASES += [("apertus", "bf16"), ("llama", "int8"), ("llama", "int4")]
SEQUENCES = [[(7 * i + n) % 97 for i in range(n)] for n in (70, 9, 130)]
PLAIN = SamplingParams(max_tokens=5, seed=1, ignore_eos=True, logprobs=0)
PROCESSED = replace(
    PLAIN, logprobs=None, logprob_token_ids=[3, 5], top_k=50, top_p=0.9, min_p=0.01, presence_penalty=0.5,
    frequency_penalty=0.5, repetition_penalty=1.1, logit_bias={3: 1.0}, allowed_token_ids=[1, 2, 3],
)  # fmt: skip


def make(name: str, precision: str) -> Transformer:
    """The model on the GPU, all zeros."""
    settings = {**MODELS[name]}
    settings.pop("quantization_config", None)
    settings["n_layer" if "n_layer" in settings else "num_hidden_layers"] = 2
    if "layer_types" in settings:
        settings["layer_types"] = settings["layer_types"][:2]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # keys that nothing reads
        (Path(folder) / "config.json").write_text(json.dumps(settings))
        return Transformer(read_config(Path(folder)), get_precision(precision), DEVICE)


def train(gpu: FakeGpu, model: Transformer, phases: dict[str, Phase]) -> None:
    """Forward and backward of chosen tokens and of whole rows, and a step of the optimizer."""
    with gpu.phase() as phases["training"]:
        torch.stack([x.sum() for x in token_logprobs(model, SEQUENCES)]).sum().backward()
    with gpu.phase() as phases["training, whole rows"]:
        next_logprobs(model, SEQUENCES)[:, 3].sum().backward()
    optimizer = make_optimizer(model, lr=1e-5)
    with gpu.phase() as phases["optimizer"]:
        optimizer.step()
    model.zero_grad()


def sample(gpu: FakeGpu, llm: LLM, each: list[SamplingParams], name: str, phases: dict[str, Phase]) -> None:
    """A prefill of whole prompts, the first decode step, which is recorded, and those that replay it."""
    llm.reset_prefix_cache()
    for ids, params in zip(SEQUENCES, each, strict=True):
        llm.enqueue(ids, params)
    with gpu.phase() as phases[f"prefill{name}"]:
        llm.step()
    with gpu.phase() as phases[f"first decode{name}"]:
        llm.step()
    while llm.has_unfinished_requests():
        with gpu.phase() as phases[f"decode{name}"]:
            llm.step()


def update(gpu: FakeGpu, llm: LLM, phases: dict[str, Phase]) -> None:
    """Logprobs pulled to targets, and what the sampler says of them afterwards."""
    model = llm.model
    pulls = [Pull(ids, 3, 0.0, -2.0) for ids in SEQUENCES]
    with gpu.phase() as phases["moves"]:
        move(
            Trainable(model, Path()), pulls, UpdateOptions(1e-4, 2, 0.1, 0.5, 1.0), learning_rate=1e-5,
            probe=ProbeTexts(model, SEQUENCES[1:2]), batch_tokens=4096, seed=0,
        )  # fmt: skip
    with gpu.phase() as phases["check of moves"]:
        llm.next_token_logprobs(SEQUENCES)[:, 3].tolist()


def rehearse(gpu: FakeGpu, name: str, precision: str) -> dict[str, Phase]:
    """All phases of one model."""
    phases: dict[str, Phase] = {}
    model = make(name, precision)
    if not model.precision.bits:
        train(gpu, model, phases)
    llm = LLM(model, kv_cache_memory_bytes=1 << 28)
    sample(gpu, llm, [PLAIN, PLAIN, PLAIN], "", phases)
    sample(gpu, llm, [replace(PLAIN, temperature=0.0), PROCESSED, PLAIN], ", mixed", phases)
    if not model.precision.bits:
        update(gpu, llm, phases)
    return phases


# What no code on its way to a GPU may do with a tensor there.
FAULTS: dict[str, Callable[[torch.Tensor], object]] = {
    ".cpu()": lambda x: x.cpu(),
    ".item()": lambda x: x.sum().item(),
    "bool()": lambda x: bool(x.isfinite().all()),
    "nonzero()": lambda x: x.nonzero(),
    "a constant on the CPU": lambda x: x * torch.ones(x.shape[-1], dtype=x.dtype),
    "a number on the CPU": lambda x: x * torch.tensor(2.0, dtype=x.dtype),
}


def plant(gpu: FakeGpu, fault: Callable[[torch.Tensor], object], place: str) -> dict[str, Any]:
    """What is seen of a fault in every layer, which decode steps record, or beside the logits."""
    phases: dict[str, Phase] = {}
    model = make("llama", "bf16")
    logits = Transformer.logits

    def planted(self: Transformer, hidden_RC: torch.Tensor) -> torch.Tensor:
        fault(hidden_RC)
        return logits(self, hidden_RC)

    with patch.object(Transformer, "logits", planted if place == "logits" else logits):
        if place == "layers":
            model.observer = lambda layer, name, x: fault(x)
        llm = LLM(model, kv_cache_memory_bytes=1 << 28)
        for part in (partial(train, gpu, model), partial(sample, gpu, llm, [PLAIN, PLAIN, PLAIN], "")):
            try:
                part(phases)
            except Fault as error:
                return {"fault": str(error)}
    return {name: report(phase) for name, phase in phases.items()}


def report(phase: Phase) -> dict[str, Any]:
    """What there is to count in a phase."""
    return {
        "launches": len(phase.launches),
        "uploads": dict(phase.uploads),
        "reads": dict(phase.reads),
        "waits": phase.waits,
        "replays": phase.replays,
        "refused": phase.refused,
    }


def run() -> dict[str, Any]:
    """All cases and all faults, as JSON."""
    cases: dict[str, Any] = {}
    launched: set[str] = set()
    with fake_gpu() as gpu:
        for name, precision in CASES:
            try:
                phases = rehearse(gpu, name, precision)
            except Exception:
                cases[f"{name} {precision}"] = traceback.format_exc()
                continue
            launched |= {launch.kernel for phase in phases.values() for launch in phase.launches}
            cases[f"{name} {precision}"] = {phase: report(record) for phase, record in phases.items()}
        faults = {
            f"{name} in {place}": plant(gpu, fault, place)
            for name, fault in FAULTS.items()
            for place in ("layers", "logits")
        }
    return {"cases": cases, "faults": faults, "idle kernels": sorted(gpu.names() - launched)}


def compile_all() -> None:
    """Compile each distinct launch as Triton would for an H100, and say what is wrong with it."""
    variants: dict[str, Variant] = {}
    with fake_gpu() as gpu:
        for case in CASES:
            for phase in rehearse(gpu, *case).values():
                for launch in phase.launches:
                    variant = gpu.variant(launch)
                    variants.setdefault(repr(variant), variant)
    for variant in variants.values():
        usage = aot.compile_variant(variant, REFERENCE)
        if problem := aot.problem(aot.Job("", 0, variant.label, True, REFERENCE), usage):
            print(variant, problem)
    print(f"{len(variants)} launches compiled")


def main() -> None:
    """The command line."""
    if "--compile" in sys.argv:
        compile_all()
        return
    found = run()
    if "--json" in sys.argv:
        print(json.dumps(found))
        return
    print(f"{'model':30} {'phase':22} launches uploads read-backs")
    for case, phases in found["cases"].items():
        for name, record in phases.items() if isinstance(phases, dict) else [(phases, None)]:
            if record is None:
                print(f"{case:30} {name}")
                continue
            uploads, reads = (sum(record[kind].values()) for kind in ("uploads", "reads"))
            print(f"{case:30} {name:22} {record['launches']:8} {uploads:7} {reads:10}")


if __name__ == "__main__":
    main()
