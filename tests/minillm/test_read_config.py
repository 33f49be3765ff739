"""The older spellings of config.json say the same as transformers 5's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minillm import ModelConfig
from minillm.checkpoint.read_config import read_config

SIZES = {
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 32,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 256,
}
SLIDING, FULL = "sliding_attention", "full_attention"
LONGROPE = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
# Model type, as hub configs write it, as transformers 5 does.
PAIRS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "llama",
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}},
    ),
    ("llama", {}, {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}),
    (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 6},
        {"use_sliding_window": True, "sliding_window": 16, "layer_types": [FULL] * 6 + [SLIDING] * 2},
    ),
    (
        "qwen3",
        {"use_sliding_window": False, "sliding_window": 16, "max_window_layers": 0},
        {"sliding_window": None, "layer_types": [FULL] * 8},
    ),
    (
        "gemma3_text",
        {
            "rope_theta": 1e6,
            "rope_local_base_freq": 1e4,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            "sliding_window_pattern": 6,
            "sliding_window": 16,
        },
        {
            "rope_parameters": {
                SLIDING: {"rope_type": "default", "rope_theta": 1e4},
                FULL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            },
            "layer_types": [*[SLIDING] * 5, FULL, SLIDING, SLIDING],
            "sliding_window": 16,
        },
    ),
    ("gemma2", {"sliding_window": 16}, {"sliding_window": 16, "layer_types": [SLIDING, FULL] * 4}),
    (
        "cohere2",
        {"sliding_window": 16, "sliding_window_pattern": 4},
        {"sliding_window": 16, "layer_types": [SLIDING, SLIDING, SLIDING, FULL] * 2},
    ),
    (
        "phi3",
        {
            "original_max_position_embeddings": 64,
            "sliding_window": 32,
            "rope_scaling": {"type": "su", **LONGROPE},
        },
        {
            "sliding_window": 32,
            "original_max_position_embeddings": 64,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 1e4,
                "original_max_position_embeddings": 64,
                **LONGROPE,
            },
        },
    ),
    (
        "gpt_neox",
        {"rotary_pct": 0.5, "rotary_emb_base": 500},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}},
    ),
    (
        "stablelm",
        {"partial_rotary_factor": 0.5, "rope_theta": 500},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}},
    ),
    ("smollm3", {"no_rope_layer_interval": 4}, {"no_rope_layers": [1, 1, 1, 0, 1, 1, 1, 0]}),
    ("smollm3", {}, {"no_rope_layers": [1, 1, 1, 0, 1, 1, 1, 0]}),
]


def read(folder: Path, model_type: str, keys: dict[str, Any]) -> ModelConfig:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, **SIZES, **keys}))
    return read_config(folder)


@pytest.mark.parametrize(("model_type", "older", "newer"), PAIRS)
def test_both_spellings_say_the_same(
    model_type: str, older: dict[str, Any], newer: dict[str, Any], tmp_path: Path
) -> None:
    found = read(tmp_path, model_type, older)
    assert found == read(tmp_path, model_type, newer)
    assert len(found.windows) == len(found.layer_rope) == 8
    # Each spelling says something: the family's defaults alone are another model, or none was asked for.
    assert not older or found != read(tmp_path, model_type, {"rope_parameters": {"rope_theta": 123.0}})


def test_what_the_older_spellings_mean(tmp_path: Path) -> None:
    qwen = read(tmp_path, "qwen2", PAIRS[2][1])
    assert qwen.windows == (0,) * 6 + (16,) * 2 and qwen.qkv_bias
    gemma = read(tmp_path, "gemma3_text", PAIRS[4][1])
    assert gemma.windows == (16, 16, 16, 16, 16, 0, 16, 16)
    assert [gemma.ropes[i].theta for i in gemma.layer_rope] == [1e4] * 5 + [1e6] + [1e4] * 2
    assert [gemma.ropes[i].type for i in gemma.layer_rope][4:6] == ["default", "linear"]
    cohere = read(tmp_path, "cohere2", PAIRS[6][1])
    assert cohere.layer_rope == (0, 0, 0, -1) * 2
    phi = read(tmp_path, "phi3", PAIRS[7][1])
    assert phi.ropes[0].type == "longrope" and phi.windows == (32,) * 8
    neox = read(tmp_path, "gpt_neox", PAIRS[8][1])
    assert neox.ropes[0].dim == 4 and neox.ropes[0].theta == 500
