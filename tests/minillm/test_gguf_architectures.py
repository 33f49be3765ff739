"""GGUF files of tiny models of every imported architecture: tensors and logits of the models they are of."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from minillm import load_model
from minillm.checkpoint.gguf.architectures import ARCHITECTURES
from minillm.checkpoint.gguf.convert import import_gguf
from minillm.errors import MinillmError
from minillm.model.batch import Batch
from minillm.model.precision import PRESETS

gguf = pytest.importorskip("gguf")

GOLDEN = Path(__file__).parents[1] / "golden"
script = runpy.run_path(str(GOLDEN / "write_families.py"))
writer = runpy.run_path(str(Path(__file__).with_name("write_gguf.py")))
converted, write_file = writer["converted"], writer["write_file"]
Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]

# Case of tests/golden/write_families.py -> architecture, and changes to the case: what files cannot say.
DEEPSEEK = {"rope_parameters": {**script["YARN"], "mscale": 0.7, "mscale_all_dim": 0.7}}
QUERY = {"query_pre_attn_scalar": 14}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-biases": ("llama", {}),
    "llama-yarn": ("llama", {}),
    "mixtral": ("llama", {"sliding_window": None}),
    "ministral3": ("mistral3", {}),
    "qwen2": ("qwen2", {"use_sliding_window": False}),
    "qwen3": ("qwen3", {}),
    "qwen2_moe": ("qwen2moe", {"decoder_sparse_step": 1, "mlp_only_layers": []}),
    "qwen3_moe": ("qwen3moe", {}),
    "gemma": ("gemma", {}),
    "gemma2": ("gemma2", QUERY),
    "gemma3_text": ("gemma3", QUERY),
    "phi": ("phi2", {}),
    "phi3": ("phi3", {}),
    "phi3-partial": ("phi3", {}),
    "phimoe": ("phimoe", {"router_jitter_noise": 0.01}),
    "olmo": ("olmo", {}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo2", {}),
    "olmoe": ("olmoe", {}),
    "smollm3": ("smollm3", {}),
    "granite": ("granite", {}),
    "granitemoe": ("granitemoe", {}),
    "cohere2": ("cohere2", {}),
    "glm4": ("glm4", {}),
    "glm4_moe": ("glm4moe", {}),
    "starcoder2": ("starcoder2", {"sliding_window": None}),
    "stablelm": ("stablelm", {}),
    "stablelm-parallel": ("stablelm", {}),
    "gpt_neox": ("gptneox", {}),
    "gpt_neox-serial": ("gptneox", {}),
    "gpt2": ("gpt2", {}),
    "gpt_oss": ("gpt-oss", {}),
    "deepseek_v3": ("deepseek2", DEEPSEEK),
    "deepseek_v3-plain": ("deepseek2", {}),
    "deepseek_v2": ("deepseek2", {}),
    "deepseek_v2-groups": ("deepseek2", {}),
    "cohere": ("command-r", {}),
    "exaone4": ("exaone4", {}),
    "exaone4-full": ("exaone4", {}),
    "exaone_moe": ("exaone-moe", {}),
    "minimax_m2": ("minimax-m2", {}),
    "glm": ("chatglm", {}),
    "seed_oss": ("seed_oss", {}),
    "gpt_bigcode": ("starcoder", {}),
    "granitemoeshared": ("granitemoe", {}),
    "dots1": ("dots1", {"sliding_window": None}),
    "ernie4_5": ("ernie4_5", {}),
    "ernie4_5_moe": ("ernie4_5-moe", {}),
    "nemotron": ("nemotron", {}),
    "arcee": ("arcee", {}),
    "jais2": ("jais2", {}),
    "hunyuan_v1_dense": ("hunyuan-dense", {}),
    "hunyuan_v1_moe": ("hunyuan-moe", {}),
    "falcon": ("falcon", {}),
    "falcon-7b": ("falcon", {}),
    "bloom": ("bloom", {}),
    "mpt": ("mpt", {}),
    "apertus": ("apertus", {}),
    "llama4_text": ("llama4", {"attention_chunk_size": 8192, "floor_scale": 8192}),
    "minicpm3": ("minicpm3", {"scale_emb": 12, "dim_model_base": 256, "scale_depth": 1.4}),
}


def write_model(case: str, changes: dict[str, Any], folder: Path) -> None:
    """A case's model whose weights are exact in float32, 1 + w of norms too."""
    model_type, settings = script["CASES"][case]
    script["CASES"][f"{case} changed"] = (model_type, settings | changes)
    script["write"](f"{case} changed", folder)
    tensors = load_file(folder / "model.safetensors")
    exact = {n: (t * 1024).round() / 1024 if t.dim() == 1 else t for n, t in tensors.items()}
    save_file({n: t.float().contiguous() for n, t in exact.items()}, folder / "model.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """A folder for a case, with the model in `original` and its file `model.gguf`, both made once."""
    pytest.importorskip("transformers")
    folders: dict[str, Path] = {}

    def make(case: str) -> Path:
        if case not in folders:
            folder = folders[case] = tmp_path_factory.mktemp("gguf")
            arch, changes = CASES[case]
            write_model(case, changes, folder / "original")
            write_file(folder / "model.gguf", arch, *converted(folder / "original", arch))
        return folders[case]

    yield make


@torch.no_grad()
def logits_of(folder: Path, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(theirs of `original`, ours of `imported`), all in float64."""
    with script["InDouble"]():
        theirs = script["load"](folder / "original")(ids.unsqueeze(0), use_cache=False).logits[0]
    ours = load_model(folder / "imported", replace(PRESETS["fp64"], norm=torch.float64))
    return theirs, ours.logits(ours(ids, Batch.packed([len(ids)])))


def test_every_architecture_has_a_case() -> None:
    assert {arch for arch, _ in CASES.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("case", CASES)
def test_logits_of_the_model(case: str, made: Callable[[str], Path]) -> None:
    folder = made(case)
    import_gguf(folder / "model.gguf", folder / "imported")
    original = load_file(folder / "original" / "model.safetensors")
    imported = load_file(folder / "imported" / "model.safetensors")
    # Numbers that are the same in every model are left out, as no forward pass reads them.
    learned = {n: t for n, t in original.items() if not n.endswith(("act_fn.beta", "act_fn.eps"))}
    assert imported.keys() == learned.keys()
    for name, tensor in learned.items():
        assert torch.equal(imported[name], tensor), name
    theirs, ours = logits_of(folder, torch.tensor(script["sequence"](41)))
    assert float((ours - theirs).abs().max()) < 1e-9


# ---------------------------------------------------------------- other ways that files have it


def older_latent(keys: dict[str, Any], tensors: Tensors) -> None:
    """Keys and values in one tensor, sizes of whole heads."""
    for i in range(4):
        parts = [tensors.pop(f"blk.{i}.attn_{x}_b.weight") for x in "kv"]
        both = np.concatenate((parts[0].swapaxes(1, 2), parts[1]), axis=1)
        tensors[f"blk.{i}.attn_kv_b.weight"] = np.ascontiguousarray(both.reshape(-1, both.shape[-1]))
    for name in ("key_length", "value_length"):
        keys[f"attention.{name}"] = keys.pop(f"attention.{name}_mla")
    keys["attention.head_count_kv"] = keys["attention.head_count"]


def fused(keys: dict[str, Any], tensors: Tensors) -> None:
    """Queries, keys and values in one tensor, and gate and up of experts."""
    for i in range(4):
        parts = [tensors.pop(f"blk.{i}.attn_{x}.weight") for x in "qkv"]
        tensors[f"blk.{i}.attn_qkv.weight"] = np.concatenate(parts)
        parts = [tensors.pop(f"blk.{i}.ffn_{x}_exps.weight") for x in ("gate", "up")]
        tensors[f"blk.{i}.ffn_gate_up_exps.weight"] = np.concatenate(parts, axis=1)


def guesses_ahead(keys: dict[str, Any], tensors: Tensors) -> None:
    """One more layer, which no forward pass goes through."""
    keys |= {"block_count": 5, "nextn_predict_layers": 1}
    tensors |= {n.replace("blk.3.", "blk.4."): a for n, a in tensors.items() if n.startswith("blk.3.")}
    tensors["blk.4.nextn.eh_proj.weight"] = np.ones((48, 96), np.float32)


def by_layer(keys: dict[str, Any], tensors: Tensors) -> None:
    """The window's pattern as a list, and as a number that is not the usual one."""
    keys["attention.sliding_window_pattern"] = [(i + 1) % 6 != 0 for i in range(7)]


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("deepseek_v3", older_latent),
        ("qwen3_moe", fused),
        ("glm4_moe", guesses_ahead),
        ("gemma3_text", by_layer),
    ],
)
def test_other_layouts(
    case: str,
    change: Callable[[dict[str, Any], Tensors], None],
    made: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    original, arch = made(case) / "original", CASES[case][0]
    keys, tensors = converted(original, arch)
    change(keys, tensors)
    write_file(tmp_path / "model.gguf", arch, keys, tensors)
    import_gguf(tmp_path / "model.gguf", tmp_path / "imported")
    (tmp_path / "original").symlink_to(original)
    theirs, ours = logits_of(tmp_path, torch.tensor(script["sequence"](41)))
    assert float((ours - theirs).abs().max()) < 1e-9


def test_the_largest_gemmas_scale(made: Callable[[str], Path], tmp_path: Path) -> None:
    """No key has what scores are divided by; llama.cpp tells the models apart by their depth."""
    keys, tensors = converted(made("gemma2") / "original", "gemma2")
    layer = {n: a for n, a in tensors.items() if n.startswith("blk.3.")}
    for i in range(4, 46):
        tensors |= {n.replace("blk.3.", f"blk.{i}."): a for n, a in layer.items()}
    write_file(tmp_path / "model.gguf", "gemma2", keys | {"block_count": 46}, tensors)
    import_gguf(tmp_path / "model.gguf", tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["query_pre_attn_scalar"] == 48 // 6


def test_rope_that_is_not_stretched(made: Callable[[str], Path], tmp_path: Path) -> None:
    # transformers takes YaRN where config.json says nothing.
    keys, tensors = converted(made("gpt_oss") / "original", "gpt-oss")
    keys = {name: value for name, value in keys.items() if not name.startswith("rope.scaling.")}
    write_file(tmp_path / "a.gguf", "gpt-oss", keys, tensors)
    import_gguf(tmp_path / "a.gguf", tmp_path)
    assert {rope.type for rope in load_model(tmp_path, "fp32").config.ropes} == {"default"}


@pytest.mark.parametrize("arch", ["gemma3", "gpt-oss", "qwen3"])
def test_window_patterns(arch: str, made: Callable[[str], Path], tmp_path: Path) -> None:
    case = next(case for case, (name, _) in CASES.items() if name == arch)
    keys, tensors = converted(made(case) / "original", arch)
    write_file(tmp_path / "a.gguf", arch, keys | {"attention.sliding_window_pattern": 2}, tensors)
    if arch == "qwen3":  # which has no window
        with pytest.raises(MinillmError, match="sliding_window_pattern"):
            import_gguf(tmp_path / "a.gguf", tmp_path)
        return
    import_gguf(tmp_path / "a.gguf", tmp_path)
    kinds = json.loads((tmp_path / "config.json").read_text())["layer_types"]
    assert [kind == "sliding_attention" for kind in kinds] == [i % 2 == 0 for i in range(len(kinds))]


def test_experts_in_4_bits(tmp_path: Path) -> None:
    """Those of gpt-oss are mostly stored so."""
    pytest.importorskip("transformers")
    write_model("gpt_oss", {"hidden_size": 64, "intermediate_size": 32}, tmp_path / "original")
    keys, tensors = converted(tmp_path / "original", "gpt-oss")
    write_file(tmp_path / "a.gguf", "gpt-oss", keys, tensors, {"exps.weight": "MXFP4"})
    import_gguf(tmp_path / "a.gguf", tmp_path)
    imported = load_file(tmp_path / "model.safetensors")
    kind = gguf.GGMLQuantizationType.MXFP4
    gate, up, down = (
        torch.from_numpy(gguf.dequantize(gguf.quantize(tensors[f"blk.1.ffn_{x}_exps.weight"], kind), kind))
        for x in ("gate", "up", "down")
    )
    experts = "model.layers.1.mlp.experts."
    assert torch.equal(imported[f"{experts}gate_up_proj"][..., ::2], gate.transpose(1, 2))
    assert torch.equal(imported[f"{experts}gate_up_proj"][..., 1::2], up.transpose(1, 2))
    assert torch.equal(imported[f"{experts}down_proj"], down.transpose(1, 2))
