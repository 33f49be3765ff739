"""One row per `model_type`: how its config.json and its tensor names map onto ours.

A key table says which Hugging Face tensors make up one of our parameters: they are joined along their
output dimension, transposed, and packed into panels (see `kernels.matmul`). Both directions, load and
export, are read off the same table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kernels.matmul import pack, unpack
from minillm.config import ModelConfig
from minillm.errors import MinillmError


@dataclass(frozen=True)
class Family:
    """A `model_type`: its config keys, the only values we know for others, and its key table."""

    # Our field -> the names its config.json may use, first match counts.
    fields: Mapping[str, tuple[str, ...]]
    # Our field -> its value where the config leaves it out.
    defaults: Mapping[str, Any]
    # Keys that change the mathematics -> the only value that this library computes.
    fixed: Mapping[str, Any]
    # Our parameter -> (Hugging Face names joined along the output dimension, whether it is a matrix).
    keys: Mapping[str, tuple[tuple[str, ...], bool]]


LLAMA = Family(
    fields={
        "vocab_size": ("vocab_size",),
        "hidden_size": ("hidden_size",),
        "intermediate_size": ("intermediate_size",),
        "num_layers": ("num_hidden_layers",),
        "num_heads": ("num_attention_heads",),
        "num_kv_heads": ("num_key_value_heads",),
        "head_dim": ("head_dim",),
        "max_position_embeddings": ("max_position_embeddings",),
        "norm_eps": ("rms_norm_eps",),
        "rope_theta": ("rope_theta",),
        "tie_word_embeddings": ("tie_word_embeddings",),
    },
    defaults={
        "max_position_embeddings": 2048,
        "norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
    },
    fixed={
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rope_interleaved": False,
        "rope_type": "default",
        "partial_rotary_factor": 1.0,
        "pretraining_tp": 1,
        "quantization_config": None,
        "sliding_window": None,
    },
    keys={
        "embed": (("model.embed_tokens.weight",), False),
        "head": (("lm_head.weight",), True),
        "norm": (("model.norm.weight",), False),
        "layers.{i}.attn_norm": (("model.layers.{i}.input_layernorm.weight",), False),
        "layers.{i}.qkv": (
            tuple(f"model.layers.{{i}}.self_attn.{x}_proj.weight" for x in "qkv"),
            True,
        ),
        "layers.{i}.o": (("model.layers.{i}.self_attn.o_proj.weight",), True),
        "layers.{i}.mlp_norm": (("model.layers.{i}.post_attention_layernorm.weight",), False),
        "layers.{i}.gate_up": (
            tuple(f"model.layers.{{i}}.mlp.{x}_proj.weight" for x in ("gate", "up")),
            True,
        ),
        "layers.{i}.down": (("model.layers.{i}.mlp.down_proj.weight",), True),
    },
)

FAMILIES: dict[str, Family] = {"llama": LLAMA}

# Keys of config.json that no forward pass reads.
HARMLESS = frozenset(
    [
        "architectures",
        "attention_dropout",
        "auto_map",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "eos_token_id",
        "id2label",
        "initializer_range",
        "is_encoder_decoder",
        "is_llama_config",
        "label2id",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "problem_type",
        "return_dict",
        "torch_dtype",
        "transformers_version",
        "unsloth_fixed",
        "unsloth_version",
        "use_cache",
    ]
)


def read_config(folder: Path) -> ModelConfig:
    """The `ModelConfig` of a folder's config.json.

    Raises `MinillmError` for a missing or broken file, an unknown `model_type`, a missing key, a value
    that this library does not compute, and a key that it does not know.
    """
    path = folder / "config.json"
    try:
        raw: Any = json.loads(path.read_text())
    except OSError as error:
        raise MinillmError(f"cannot read {path}: {error.strerror}; a model folder needs one") from None
    except json.JSONDecodeError as error:
        raise MinillmError(f"{path} is not valid JSON ({error}); fetch the model again") from None
    if not isinstance(raw, dict):
        raise MinillmError(f"{path} is not a JSON object; fetch the model again")
    model_type = raw.get("model_type")
    if model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise MinillmError(f"{path}: model_type {model_type!r} is not supported; supported: {known}")
    return _config(FAMILIES[model_type], raw, path)


def _config(family: Family, raw: dict[str, Any], path: Path) -> ModelConfig:
    # transformers 5 writes rope_parameters; hub configs hold rope_theta and rope_scaling.
    flat = {k: v for k, v in raw.items() if k not in ("rope_parameters", "rope_scaling")}
    rope = {**(raw.get("rope_scaling") or {}), **(raw.get("rope_parameters") or {})}
    flat |= {("rope_type" if key == "type" else key): value for key, value in rope.items()}
    values: dict[str, Any] = {"model_type": raw["model_type"]}
    for ours, names in family.fields.items():
        found = [flat[name] for name in names if flat.get(name) is not None]
        if found or ours in family.defaults:
            values[ours] = found[0] if found else family.defaults[ours]
    values.setdefault("num_kv_heads", values.get("num_heads"))
    if "head_dim" not in values and {"hidden_size", "num_heads"} <= values.keys():
        values["head_dim"] = values["hidden_size"] // values["num_heads"]
    for ours, names in family.fields.items():
        if values.get(ours) is None:
            raise MinillmError(f"{path} lacks the key {names[0]!r}")
    for key, only in family.fixed.items():
        if flat.get(key, only) != only:
            raise MinillmError(f"{path}: {key} = {flat[key]!r} is not supported; only {only!r} is")
    known = HARMLESS.union(family.fixed, *family.fields.values())
    for key in flat:
        if key not in known and not key.startswith("_") and "." not in key and flat[key] is not None:
            raise MinillmError(
                f"{path}: unknown key {key!r} may change the mathematics; remove it if it does not"
            )
    config = ModelConfig(**values)
    if config.num_heads % config.num_kv_heads or config.head_dim % 2:
        raise MinillmError(
            f"{path}: {config.num_heads} query heads do not share {config.num_kv_heads} kv heads evenly, "
            f"or head_dim {config.head_dim} is odd"
        )
    return config


def _rows(config: ModelConfig) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """(our parameter, Hugging Face names, is matrix) for every parameter of a model of this config."""
    for ours, (theirs, matrix) in FAMILIES[config.model_type].keys.items():
        # A tied model keeps one matrix, in the head's layout: the product with it is what costs.
        if config.tie_word_embeddings and ours == "embed":
            continue
        if config.tie_word_embeddings and ours == "head":
            theirs = FAMILIES[config.model_type].keys["embed"][0]
        for i in range(config.num_layers if "{i}" in ours else 1):
            yield ours.format(i=i), tuple(name.format(i=i) for name in theirs), matrix


def _part_sizes(config: ModelConfig, ours: str) -> tuple[int, ...]:
    """Outputs of each tensor that is joined into one of our matrices."""
    (H, K, D), name = config.heads, ours.rpartition(".")[2]
    parts = {"qkv": (H * D, K * D, K * D), "gate_up": (config.intermediate_size,) * 2}
    return parts.get(name, (config.matrices[name][1],))


def hf_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """Hugging Face name -> shape of every tensor of a model of this config."""
    expected = {}
    for ours, theirs, matrix in _rows(config):
        if not matrix:
            rows = (config.vocab_size,) if ours == "embed" else ()
            expected[theirs[0]] = torch.Size((*rows, config.hidden_size))
            continue
        for name, width in zip(theirs, _part_sizes(config, ours), strict=True):
            expected[name] = torch.Size((width, config.matrices[ours.rpartition(".")[2]][0]))
    return expected


def from_hf(
    config: ModelConfig, parameters: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> None:
    """Copy Hugging Face tensors into our parameters, rounding to their dtype."""
    for ours, theirs, matrix in _rows(config):
        parts = [tensors[name] for name in theirs]
        parameters[ours].copy_(pack(torch.cat(parts).t()) if matrix else parts[0])


def to_hf(config: ModelConfig, parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our parameters (or their gradients) under Hugging Face's names and in its layout; copies."""
    tensors = {}
    for ours, theirs, matrix in _rows(config):
        parameter = parameters[ours].detach()
        if not matrix:
            tensors[theirs[0]] = parameter.clone()
            continue
        sizes = _part_sizes(config, ours)
        for name, part in zip(theirs, unpack(parameter, sum(sizes)).t().split(sizes), strict=True):
            tensors[name] = part.contiguous()
    return tensors
