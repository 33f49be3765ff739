"""Writes GGUF files of models of transformers as llama.cpp's converter does; for test_gguf_architectures.

Names are those of `gguf.TensorNameMap`; what becomes of some tensors and of keys is in the tables below,
which know nothing of how files are imported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.torch import load_file

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]


# ---------------------------------------------------------------- what the converter does to tensors


def swapped(heads: str) -> Callable[[Array, dict[str, Any]], Tensors]:
    """Rows of each head: halves side by side -> pairs of neighbours."""

    def change(array: Array, config: dict[str, Any]) -> Array:
        count = config[heads]
        halves = array.reshape(count, 2, array.shape[0] // count // 2, *array.shape[1:])
        return halves.swapaxes(1, 2).reshape(array.shape)

    return change


def one_more(array: Array, config: dict[str, Any]) -> Array:
    return array + np.float32(1)


def by_kind(array: Array, config: dict[str, Any]) -> Array:
    """Queries, keys and values of one head after the other -> all queries, all keys, all values."""
    heads = config.get("num_attention_heads") or config["n_head"]
    return array.reshape(heads, 3, -1, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)


def by_kind_of_groups(array: Array, config: dict[str, Any]) -> Array:
    """The same of heads of keys, each after its queries."""
    heads, groups = config["num_attention_heads"], falcon_groups(config)
    cut = array.reshape(groups, heads // groups + 2, -1, *array.shape[1:])
    kinds = (cut[:, :-2], cut[:, -2:-1], cut[:, -1:])
    return np.concatenate([k.reshape(-1, *array.shape[1:]) for k in kinds])


def falcon_groups(config: dict[str, Any]) -> int:
    return config["num_kv_heads"] if config["new_decoder_architecture"] else 1


def transposed(array: Array, config: dict[str, Any]) -> Array:
    return array.swapaxes(-1, -2)


SWAPPED = {
    r"q_proj\.(weight|bias)": swapped("num_attention_heads"),
    r"k_proj\.(weight|bias)": swapped("num_key_value_heads"),
}
FUSED = {r"query_key_value\.(weight|bias)": by_kind}
OFFSET = {r"norm\.weight": one_more}
# Architecture -> pattern of a Hugging Face name -> what becomes of the tensor.
CHANGES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("llama", "mistral3", "olmo", "smollm3", "granite", "granitemoe", "arcee"), SWAPPED),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "nemotron"), OFFSET),
    **dict.fromkeys(("gptneox", "bloom"), FUSED),
    "falcon": {r"query_key_value\.(weight|bias)": by_kind_of_groups},
    "gpt2": {r"(c_attn|c_proj|c_fc)\.weight": transposed},
    "gpt-oss": {r"experts\.down_proj": transposed},
    "llama4": {r"experts\.down_proj": transposed},
}


def split_gate_up(tensors: Tensors, arch: str, config: dict[str, Any]) -> Tensors:
    """Experts' gate and up in tensors of their own."""
    done = dict(tensors)
    for name in tensors:
        if name.endswith("block_sparse_moe.input_linear.weight"):
            parts = np.split(done.pop(name), 2, axis=1)
            base = name.replace("block_sparse_moe.input_linear", "block_sparse_moe.experts.{}")
            done |= {base.format(w): part for w, part in zip(("w1", "w3"), parts, strict=True)}
        if name.endswith("shared_mlp.input_linear.weight"):
            parts = np.split(done.pop(name), 2)
            base = name.replace("shared_mlp.input_linear", "mlp.shared_expert.{}_proj")
            done |= {base.format(x): part for x, part in zip(("gate", "up"), parts, strict=True)}
        if arch == "llama4" and "gate_up_proj" in name:
            parts = np.split(done.pop(name).swapaxes(1, 2), 2, axis=1)
            base = name.partition("gate_up_proj")[0]
            done |= {f"{base}{x}_proj.weight": part for x, part in zip(("gate", "up"), parts, strict=True)}
        if arch == "gpt-oss" and "gate_up_proj" in name:
            whole = done.pop(name)
            whole = whole if name.endswith("bias") else whole.swapaxes(1, 2)
            kind = "bias" if name.endswith("bias") else "weight"
            base = name.partition("gate_up_proj")[0]
            done |= {f"{base}{x}_proj.{kind}": whole[:, i::2] for i, x in enumerate(("gate", "up"))}
        if arch == "llama4" and name.endswith("experts.down_proj"):
            done[f"{name}.weight"] = done.pop(name)
        if arch == "gpt-oss" and name.endswith(("down_proj", "down_proj_bias", "sinks")):
            new = f"{name.removesuffix('_bias')}.{'bias' if name.endswith('_bias') else 'weight'}"
            done[new] = done.pop(name)
    return done


def stacked(tensors: Tensors) -> Tensors:
    """What there is of each expert, or for each head of a norm, in one tensor."""
    done: dict[str, Any] = {}
    for name, array in tensors.items():
        if match := re.search(r"\.(experts|norms)\.(\d+)\.", name):
            joint = ".experts." if match[1] == "experts" else "."
            done.setdefault(name.replace(match[0], joint), {})[int(match[2])] = array
        else:
            done[name] = array
    return {n: np.stack([a[i] for i in range(len(a))]) if isinstance(a, dict) else a for n, a in done.items()}


def latent(tensors: Tensors, config: dict[str, Any]) -> Tensors:
    """Keys and values of latent attention in tensors of their own, keys transposed."""
    done = dict(tensors)
    for name, array in tensors.items():
        if name.endswith("kv_b_proj.weight"):
            del done[name]
            both = array.reshape(config["num_attention_heads"], -1, array.shape[1])
            keys, values = np.split(both, [config["qk_nope_head_dim"]], axis=1)
            done[name.replace("kv_b_proj", "k_b_proj")] = keys.swapaxes(1, 2)
            done[name.replace("kv_b_proj", "v_b_proj")] = values
    return done


# ---------------------------------------------------------------- what the converter writes as keys

# config.json -> key, where there is such a key of config.json.
KEYS = {
    "num_hidden_layers": "block_count", "n_layer": "block_count", "n_layers": "block_count",
    "max_position_embeddings": "context_length", "n_positions": "context_length",
    "max_seq_len": "context_length",
    "hidden_size": "embedding_length", "n_embd": "embedding_length", "d_model": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count", "n_head": "attention.head_count",
    "n_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "layer_norm_eps": "attention.layer_norm_epsilon", "norm_epsilon": "attention.layer_norm_epsilon",
    "layer_norm_epsilon": "attention.layer_norm_epsilon", "norm_eps": "attention.layer_norm_epsilon",
    "num_local_experts": "expert_count", "num_experts": "expert_count", "n_routed_experts": "expert_count",
    "moe_num_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count", "moe_k": "expert_used_count", "moe_topk": "expert_used_count",
    "n_group": "expert_group_count", "topk_group": "expert_group_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
    "shared_expert_intermediate_size": "expert_shared_feed_forward_length",
    "n_shared_experts": "expert_shared_count", "num_shared_experts": "expert_shared_count",
    "moe_num_shared_experts": "expert_shared_count",
    "shared_intermediate_size": "expert_shared_feed_forward_length",
    "first_k_dense_replace": "leading_dense_block_count",
    "moe_layer_start_index": "leading_dense_block_count", "moe_layer_interval": "interleave_moe_layer_step",
    "routed_scaling_factor": "expert_weights_scale",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "clip_qkv": "attention.clamp_kqv",
    "use_parallel_residual": "use_parallel_residual",
    "attention_multiplier": "attention.scale", "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale", "logits_scaling": "logit_scale", "logit_scale": "logit_scale",
    "q_lora_rank": "attention.q_lora_rank", "kv_lora_rank": "attention.kv_lora_rank",
}  # fmt: skip
WINDOWS = ("gemma2", "gemma3", "phi3", "phimoe", "cohere2", "gpt-oss")
SIGMOID = ("glm4moe", "exaone-moe", "minimax-m2")
NORMALIZED = ("glm4moe", "exaone-moe", "dots1", "deepseek2")


def keys_of(arch: str, config: dict[str, Any]) -> dict[str, Any]:
    keys = {key: config[name] for name, key in KEYS.items() if config.get(name) is not None}
    heads, width = keys["attention.head_count"], keys["embedding_length"]
    head_dim = keys.get("attention.key_length", width // heads)
    if "attention.key_length" in keys:
        keys["attention.value_length"] = head_dim
    keys.setdefault("feed_forward_length", 4 * width)
    rope = dict(config.get("rope_parameters") or {})
    if "sliding_attention" in rope:
        keys["rope.freq_base_swa"] = rope["sliding_attention"]["rope_theta"]
        rope = dict(rope["full_attention"])
    share = rope.get("partial_rotary_factor", 1.0)
    if rope:
        keys |= {"rope.freq_base": rope["rope_theta"], "rope.dimension_count": int(head_dim * share)}
    kind = rope.get("rope_type")
    if kind in ("linear", "yarn"):
        keys |= {"rope.scaling.type": kind, "rope.scaling.factor": rope["factor"]}
    if kind == "yarn":
        keys["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
        for name in ("beta_fast", "beta_slow"):
            if name in rope:
                keys[f"rope.scaling.yarn_{name}"] = rope[name]
    if arch == "olmo":
        keys["attention.layer_norm_epsilon"] = 1e-5
    if arch in WINDOWS:
        keys["attention.sliding_window"] = config.get("sliding_window") or 0
    if arch == "phi3":
        original = config.get("original_max_position_embeddings") or rope["original_max_position_embeddings"]
        keys["rope.scaling.original_context_length"] = original
        if kind == "longrope":
            ratio = config["max_position_embeddings"] / original
            keys["rope.scaling.attn_factor"] = float(np.sqrt(1 + np.log(ratio) / np.log(original)))
    if arch in ("olmo2", "exaone4", "exaone-moe") and config.get("sliding_window"):
        keys["attention.sliding_window"] = config["sliding_window"]
        kinds = config["layer_types"]
        keys["attention.sliding_window_pattern"] = [k == "sliding_attention" for k in kinds]
    if arch == "mistral3":
        keys["rope.scaling.yarn_log_multiplier"] = rope["mscale_all_dim"]
        keys["attention.temperature_scale"] = rope["llama_4_scaling_beta"]
    if arch in SIGMOID or config["model_type"] == "deepseek_v3":
        keys["expert_gating_func"] = 2
    if arch in NORMALIZED and config.get("norm_topk_prob"):
        keys["expert_weights_norm"] = True
    if arch in ("gpt-oss", "phimoe", "minimax-m2", "hunyuan-moe"):
        keys["expert_feed_forward_length"] = config["intermediate_size"]
    if arch == "hunyuan-moe":
        keys |= {"expert_shared_feed_forward_length": config["intermediate_size"], "expert_shared_count": 1}
    if arch == "ernie4_5-moe":  # which is no size of the model
        keys["expert_shared_feed_forward_length"] = (
            config["intermediate_size"] // config["num_key_value_heads"]
        )
    if arch == "exaone-moe":
        width = config["moe_intermediate_size"] * config["num_shared_experts"]
        keys |= {"expert_shared_feed_forward_length": width, "rope.scaling.type": "none"}
    if arch == "minimax-m2":
        keys["rope.dimension_count"] = config["rotary_dim"]
    if arch == "nemotron":
        keys |= {"attention.layer_norm_rms_epsilon": config["norm_eps"], "rope.scaling.type": "none"}
    if arch == "falcon":
        keys |= {"attention.head_count_kv": falcon_groups(config), "feed_forward_length": 4 * width}
        keys["tensor_data_layout"] = "jploski"
    if arch in ("starcoder", "bloom"):
        keys["attention.head_count_kv"] = 1 if arch == "starcoder" else heads
    if arch == "bloom":
        keys["context_length"] = width
    if arch == "apertus":
        keys |= {f"xielu.{name}": values for name, values in config["xielu"].items()}
    if arch == "llama4":
        keys["feed_forward_length"] = config["intermediate_size_mlp"]
        keys["expert_feed_forward_length"] = config["intermediate_size"]
        keys["interleave_moe_layer_step"] = config["interleave_moe_layer_step"]
    if arch == "minicpm3":
        rotated = config["qk_rope_head_dim"]
        keys |= {
            "attention.key_length": config["qk_nope_head_dim"] + rotated,
            "rope.dimension_count": rotated,
        }
        keys.pop("attention.value_length", None)
    if arch == "mpt":
        keys["attention.max_alibi_bias"] = float(config["attn_config"]["alibi_bias_max"])
    if arch == "deepseek2":
        rotated, rank = config["qk_rope_head_dim"], config["kv_lora_rank"]
        keys |= {
            "attention.head_count_kv": 1,
            "attention.key_length": rank + rotated,
            "attention.value_length": rank,
            "attention.key_length_mla": config["qk_nope_head_dim"] + rotated,
            "attention.value_length_mla": config["v_head_dim"],
            "rope.dimension_count": rotated,
        }
        if "mscale_all_dim" in rope:
            keys["rope.scaling.yarn_log_multiplier"] = 0.1 * rope["mscale_all_dim"]
    return keys


def rope_tensors(config: dict[str, Any]) -> Tensors:
    """One divisor for each pair of dimensions."""
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type") == "longrope":
        parts = {"rope_factors_long": "long_factor", "rope_factors_short": "short_factor"}
        return {f"{new}.weight": np.array(rope[old], np.float32) for new, old in parts.items()}
    if rope.get("rope_type") != "llama3":
        return {}
    dim = config["head_dim"]
    length = 2 * np.pi * np.float32(rope["rope_theta"]) ** (np.arange(0, dim, 2, dtype=np.float32) / dim)
    original, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = (original / length - low) / (high - low)
    mixed = 1 / ((1 - smooth) / factor + smooth)
    made = np.where(length < original / high, 1.0, np.where(length > original / low, factor, mixed))
    return {"rope_freqs.weight": made.astype(np.float32)}


# ---------------------------------------------------------------- files


def add(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def add_vocabulary(writer: Any, size: int) -> None:
    from tokenizers import pre_tokenizers

    words = ["<s>", "</s>", "!!", *sorted(pre_tokenizers.ByteLevel.alphabet())][:size]
    words += [f"[PAD{i}]" for i in range(len(words), size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([3, 3, *[1] * (size - 2)])
    writer.add_token_merges(["! !"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)


def layer_of(name: str) -> int:
    return int(next(filter(str.isdigit, name.split(".")), 0))


def converted(folder: Path, arch: str) -> tuple[dict[str, Any], Tensors]:
    """(keys, tensors) of a file of the model in `folder`."""
    config = json.loads((folder / "config.json").read_text())
    tensors: Tensors = {n: t.numpy() for n, t in load_file(folder / "model.safetensors").items()}
    if arch == "apertus":
        found = {n: tensors.pop(n) for n in sorted(tensors, key=layer_of) if ".act_fn." in n}
        names = ("alpha_p", "alpha_n", "beta", "eps")
        config["xielu"] = {x: [float(a.item()) for n, a in found.items() if n.endswith(x)] for x in names}
    for pattern, change in CHANGES.get(arch, {}).items():
        found = [name for name in tensors if re.search(f"{pattern}$", name)]
        tensors |= {name: change(tensors[name], config) for name in found}
    tensors = split_gate_up(tensors, arch, config)
    tensors = stacked(latent(tensors, config) if arch == "deepseek2" else tensors)
    number = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[arch]
    names = gguf.get_tensor_name_map(number, 99)
    named = {}
    for name, array in tensors.items():
        name = name.replace("e_score_correction_bias", "e_score_correction.bias")
        name = name.removeprefix("transformer.") if arch == "bloom" else name
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new is not None, name
        named[new] = np.ascontiguousarray(array.squeeze(), dtype=np.float32)
    return keys_of(arch, config), named | rope_tensors(config)


def write_file(
    path: Path, arch: str, keys: dict[str, Any], tensors: Tensors, kinds: dict[str, str] | None = None
) -> None:
    """A file of these; `kinds`: part of a tensor's name -> how it is quantised."""
    writer = gguf.GGUFWriter(path, arch)
    for key, value in keys.items():
        add(writer, key if key.startswith("xielu.") else f"{arch}.{key}", value)
    add_vocabulary(writer, tensors["token_embd.weight"].shape[0])
    for name, array in tensors.items():
        kind = gguf.GGMLQuantizationType[next((v for k, v in (kinds or {}).items() if k in name), "F32")]
        writer.add_tensor(name, gguf.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
