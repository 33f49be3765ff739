"""config.json files as they were published: read whole, and a shrunken copy of each against transformers.

`tests/golden/published_configs.json` holds their keys and values, without those of other towers.
"""

from __future__ import annotations

import copy
import json
import re
import runpy
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from minillm import ModelConfig, load_model
from minillm.checkpoint.families import FAMILIES
from minillm.checkpoint.keys import hf_shapes
from minillm.checkpoint.read_config import read_config
from minillm.checkpoint.wrappers import unwrap
from minillm.errors import MinillmError
from minillm.model.batch import Batch
from minillm.model.precision import PRESETS

GOLDEN = Path(__file__).parents[1] / "golden"
PUBLISHED: dict[str, dict[str, Any]] = json.loads((GOLDEN / "published_configs.json").read_text())
script = runpy.run_path(str(GOLDEN / "write_families.py"))
# Families that are not ours, and a model of one of ours that is no language model.
UNKNOWN = {
    "Falcon 40B": "RefinedWeb",
    "Falcon-H1 0.5B": "falcon_h1",
    "Gemma 4 26B A4B": "gemma4",
    "GLM-4 9B (chatglm)": "chatglm",
    "Hunyuan A13B": "hunyuan",
    "LFM2 1.2B": "lfm2",
    "Nemotron 3 Nano": "nemotron_h",
    "Phi-2 (phi-msft)": "phi-msft",
    "Qwen3-Next 80B": "qwen3_next",
    "Qwen3.5 27B": "qwen3_5",
}
ENCODERS = ("gte-Qwen2 7B",)
KNOWN = [name for name in PUBLISHED if name not in UNKNOWN and name not in ENCODERS]
EXACT = replace(PRESETS["fp64"], norm=torch.float64)


def read(folder: Path, settings: dict[str, Any]) -> ModelConfig:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_config(folder)


def test_every_name_is_judged(tmp_path: Path) -> None:
    assert len(PUBLISHED) == 45 and len(KNOWN) == 34
    for name, model_type in UNKNOWN.items():
        with pytest.raises(MinillmError, match=f"model_type '{model_type}"):
            read(tmp_path, PUBLISHED[name])
    with pytest.raises(MinillmError, match="is_causal = False"):
        read(tmp_path, PUBLISHED["gte-Qwen2 7B"])


@pytest.mark.parametrize("name", KNOWN)
def test_read_as_published(name: str, tmp_path: Path) -> None:
    given = PUBLISHED[name]
    text = given.get("text_config", given)
    config = read(tmp_path, given)
    assert config.model_type in FAMILIES
    for ours, theirs in (("hidden_size", "hidden_size"), ("num_layers", "num_hidden_layers")):
        assert getattr(config, ours) == text.get(theirs, getattr(config, ours))


SIZES = {
    "hidden_size": 64,
    "n_embd": 64,
    "intermediate_size": 37,
    "intermediate_size_mlp": 23,
    "ffn_dim": 37,
    "moe_intermediate_size": 19,
    "vocab_size": 97,
    "q_lora_rank": 22,
    "kv_lora_rank": 18,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 8,
    "v_head_dim": 14,
    "dim_model_base": 24,
    "word_embed_proj_dim": 64,
    "sliding_window": 9,
    "attention_chunk_size": 16,
    "floor_scale": 16,
}
HEADS = ("num_attention_heads", "n_head")
EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts")


def shrunken(given: dict[str, Any]) -> dict[str, Any]:
    """The same keys, with few and small layers; whatever else they say they go on saying."""
    settings = unwrap(copy.deepcopy(given)).config
    settings.pop("quantization_config", None)
    for layers in ("num_hidden_layers", "n_layer"):
        if layers in settings:
            settings[layers] = min(settings[layers], 6)
            count = settings[layers]
    heads = next(settings[name] for name in HEADS if name in settings)
    pairs = (settings.get("head_dim") or settings.get("hidden_size", 0) // heads) // 2
    for name in settings:
        value = settings[name]
        if name in SIZES and value is not None:
            settings[name] = SIZES[name]
        elif name in HEADS:
            settings[name] = 4
        elif name == "num_key_value_heads" and value is not None:
            settings[name] = 4 if value == heads else 2
        elif name == "head_dim" and value is not None:
            settings[name] = 16
        elif name == "rotary_dim" or name in EXPERTS:
            settings[name] = 8
        elif name.endswith("_token_id"):
            settings[name] = None
        elif name in ("num_experts_per_tok", "first_k_dense_replace"):
            settings[name] = min(value, 2)
        elif name in ("n_group", "topk_group") and value is not None:
            settings[name] = min(value, 4 if name == "n_group" else 2)
        elif name in ("layer_types", "no_rope_layers"):
            settings[name] = value[:count]
    rope = settings.get("rope_scaling") or {}
    for name in ("short_factor", "long_factor"):
        if name in rope:
            rope[name] = rope[name][:: pairs // 8][:8]
    # transformers takes longrope's long list for sequences beyond the original context, we by the model's.
    if "long_factor" in rope:
        settings["original_max_position_embeddings"] = rope["original_max_position_embeddings"] = 16
    if "max_position_embeddings" in settings:
        settings["max_position_embeddings"] = min(settings["max_position_embeddings"], 1 << 15)
    return settings


@pytest.mark.parametrize("name", KNOWN)
@torch.no_grad()
def test_shrunken_copy_against_transformers(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    settings = shrunken(PUBLISHED[name])
    config = read(tmp_path, settings)
    script["fill"](tmp_path, hf_shapes(config), script["constants"](config))
    with script["InDouble"]():
        theirs = script["load"](tmp_path)
        ids = [torch.tensor(script["sequence"](n)) for n in (72, 26)]
        exact = torch.cat([theirs(s.unsqueeze(0), use_cache=False).logits[0] for s in ids])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = load_model(tmp_path, EXACT)
    found = ours.logits(ours(torch.cat(ids), Batch.packed([len(s) for s in ids])))
    assert float(exact.std()) > 0.01
    assert float((found - exact).abs().max()) < 1e-9


CONTEXTS = {"Llama 3.2 1B": 131072, "Qwen3 8B FP8": 40960, "DeepSeek-V3": 163840}


@pytest.mark.parametrize("name", CONTEXTS)
def test_context(name: str, tmp_path: Path) -> None:
    assert read(tmp_path, PUBLISHED[name]).max_position_embeddings == CONTEXTS[name]


def test_yarn_gives_the_longer_context(tmp_path: Path) -> None:
    """Qwen's recipe leaves the original context beside the factor."""
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    settings = {**PUBLISHED["Qwen2.5 7B"], "max_position_embeddings": 32768, "rope_scaling": yarn}
    assert read(tmp_path, settings).max_position_embeddings == 131072


def test_the_readme_has_every_name() -> None:
    readme = (GOLDEN.parents[1] / "minillm" / "README.md").read_text()
    table = readme.split("<!-- published -->")[1].split("<!-- end -->")[0]
    assert re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)[1:] == list(PUBLISHED)
