"""What a row of `architectures` is made of: keys, recipes of tensors, what is left to code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minillm.checkpoint.gguf.file import Array, GgufFile

Config = dict[str, Any]
Heads = tuple[int, int]  # of queries, and of keys and values
# Makes one tensor of the model of some of the file's.
Make = Callable[[Sequence[Array], Heads], Array]

# ---------------------------------------------------------------- how tensors are made


def as_stored(arrays: Sequence[Array], heads: Heads) -> Array:
    return arrays[0]


def transposed(arrays: Sequence[Array], heads: Heads) -> Array:
    """Swap inputs and outputs of a matrix, or of all matrices; a bias stays as it is."""
    return arrays[0].swapaxes(-1, -2) if arrays[0].ndim > 1 else arrays[0]


def joined(arrays: Sequence[Array], heads: Heads) -> Array:
    """Gate and up of all experts, or of one MLP, one after the other."""
    return np.concatenate(arrays, axis=-2)


def in_turns(arrays: Sequence[Array], heads: Heads) -> Array:
    """Gate and up in turns along the outputs, which come last."""
    gate, up = (a.swapaxes(-1, -2) if a.ndim == 3 else a for a in arrays)
    return np.stack((gate, up), axis=-1).reshape(*gate.shape[:-1], -1)


def joined_transposed(arrays: Sequence[Array], heads: Heads) -> Array:
    """Join gate and up with the outputs last."""
    return joined(arrays, heads).swapaxes(1, 2)


def by_head(arrays: Sequence[Array], heads: Heads) -> Array:
    """Rows of all queries, all keys, all values -> those of one head after the other."""
    whole = arrays[0]
    return whole.reshape(3, heads[0], -1, *whole.shape[1:]).swapaxes(0, 1).reshape(whole.shape)


def by_group(arrays: Sequence[Array], heads: Heads) -> Array:
    """Rows of all queries, all keys, all values -> those of one head of keys after the other."""
    H, K = heads
    whole = arrays[0]
    heads_of = whole.reshape(H + 2 * K, -1, *whole.shape[1:])
    queries = heads_of[:H].reshape(K, H // K, *heads_of.shape[1:])
    keys, values = heads_of[H : H + K, None], heads_of[H + K :, None]
    return np.concatenate((queries, keys, values), axis=1).reshape(whole.shape)


# ---------------------------------------------------------------- rows

# The keys of most architectures.
SIZES = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
}
RMS = SIZES | {"attention.layer_norm_rms_epsilon": "rms_norm_eps"}
KV = {"attention.head_count_kv": "num_key_value_heads"}


@dataclass(frozen=True)
class Architecture:
    """A row: what a file of one `general.architecture` becomes.

    Attributes:
        model_type: the family (`minillm.checkpoint.families`).
        keys: key of the file -> key of config.json; each must be there.
        optional: the same of keys that may be missing.
        model_class: transformers' name of its models, where that does not follow from `model_type`.
        fixed: what config.json says where no key of the file does.
        only: key of the file -> the values that this import knows the meaning of.
        flags: key of config.json -> pattern of the tensors (without `blk.N.`) whose presence makes it true.
        neighbours: rows of queries and keys stand in llama.cpp's order, whose rope turns neighbours where
            transformers turns halves.
        offset: norms are stored as 1 + w.
        head_dim: config.json can say it.
        rope: config.json's names of the base and of the share of a head that is rotated; no base: no rope, no
            share: all of it is rotated.
        local_base: config.json's name of the base of layers with a window.
        stretched: rope is stretched where config.json does not say that it is not.
        yarn: parameters of YaRN that no key says.
        log_unit: as `minillm.checkpoint.gguf.rope` has it.
        pattern: interval of the layers without the sliding window where no key says it; 0: the family knows.
        window: the sliding window where no key says it.
        recipes: Hugging Face name within a layer, with {e} for the expert -> tensors of the file (without
            `blk.N.`), and what makes it of them.
        reordered: tensor of the file (without `blk.N.` and `.weight` or `.bias`) -> what reorders it.
        complete: sets what is left of config.json.
        variants: (key, value, row): that row counts where the key has this value, or for None any but 0.
    """

    model_type: str
    keys: dict[str, str] = field(default_factory=lambda: RMS)
    optional: dict[str, str] = field(default_factory=lambda: KV)
    model_class: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    neighbours: bool = False
    offset: bool = False
    head_dim: bool = True
    rope: tuple[str, str] = ("rope_theta", "")
    local_base: str = ""
    stretched: bool = False
    yarn: Mapping[str, Any] = field(default_factory=dict)
    log_unit: float = 0.0
    pattern: int = 0
    window: int = 0
    recipes: Mapping[str, tuple[tuple[str, ...], Make]] = field(default_factory=dict)
    reordered: Mapping[str, Make] = field(default_factory=dict)
    complete: Callable[[GgufFile, Config], None] = lambda file, config: None
    variants: tuple[tuple[str, Any, Architecture], ...] = ()

    @property
    def class_name(self) -> str:
        """Name transformers' class of these models."""
        words = self.model_type.removesuffix("_text").split("_")
        return self.model_class or "".join(map(str.capitalize, words)) + "ForCausalLM"


# ---------------------------------------------------------------- what is left of config.json


def gemma(largest: int, file: GgufFile, config: Config) -> None:
    """Set what scores are divided by: no key says it, but that a model has the `largest` depth does."""
    scalar = config["head_dim"]
    if config["num_hidden_layers"] == largest:
        scalar = config["hidden_size"] // config["num_attention_heads"]
    if scale := file.own("attention.scale"):
        scalar = scale**-2
    config["query_pre_attn_scalar"] = scalar


def granite_scale(file: GgufFile, config: Config) -> None:
    config.setdefault("attention_multiplier", config["head_dim"] ** -0.5)


def stablelm(file: GgufFile, config: Config) -> None:
    # The key is wrong in files of models that do not say; llama.cpp too goes by the second norm.
    file.own("use_parallel_residual")
    config["use_parallel_residual"] = "blk.0.ffn_norm.weight" not in file.tensors


def phimoe(file: GgufFile, config: Config) -> None:
    if config.get("rope_scaling"):
        file.refuse("has rope_factors_long.weight, but lacks the magnitudes that phimoe needs with it")


def mistral3(file: GgufFile, config: Config) -> None:
    if beta := file.own("attention.temperature_scale"):
        scaling = config.get("rope_scaling", {})
        length = file.own("attention.temperature_length")
        lengths = (None, scaling.get("original_max_position_embeddings"))
        if scaling.get("rope_type") != "yarn" or length not in lengths:
            file.refuse("has attention.temperature_scale without a rope.scaling of the same length")
        scaling["llama_4_scaling_beta"] = beta


def latent(file: GgufFile, config: Config) -> None:
    """Set sizes of latent attention: older files write those of heads, newer ones the narrow vector's too."""
    lengths = {name: file.own(f"attention.{name}_length") for name in ("key", "value")}
    key, value = (file.own(f"attention.{name}_length_mla") or length for name, length in lengths.items())
    rotated = file.need("rope.dimension_count")
    if not key or not value:
        file.refuse("has no keys attention.key_length and attention.value_length")
    config.update(
        # The file has 1 where keys are taken to be shared, which is how they are stored.
        num_key_value_heads=config["num_attention_heads"],
        qk_rope_head_dim=rotated,
        qk_nope_head_dim=key - rotated,
        v_head_dim=value,
        q_lora_rank=file.own("attention.q_lora_rank"),
    )


def wide(file: GgufFile, config: Config) -> None:
    """Refuse an MLP that is not four times as wide as the model: config.json has no width, nor context."""
    file.need("context_length")
    width = file.need("feed_forward_length")
    if width != 4 * file.need("embedding_length"):
        file.refuse(f"has feed_forward_length = {width}; only four times embedding_length is known")


def falcon(file: GgufFile, config: Config) -> None:
    """Tell the older block, of one head of keys, from the newer, of several and perhaps two norms."""
    heads, two_norms = file.need("attention.head_count_kv"), "blk.0.attn_norm_2.weight" in file.tensors
    newer = two_norms or heads != 1
    config.update(new_decoder_architecture=newer, multi_query=True)
    if newer:
        config.update(num_kv_heads=heads, num_ln_in_parallel_attn=2 if two_norms else 1)


def mpt(file: GgufFile, config: Config) -> None:
    wide(file, config)
    bias = file.own("attention.max_alibi_bias", 0.0)
    clip = file.own("attention.clamp_kqv")
    config["attn_config"] = {"alibi": bool(bias), "alibi_bias_max": round(bias), "clip_qkv": clip}


def apertus(file: GgufFile, config: Config) -> None:
    """Make tensors of xIELU's learned numbers, which are keys; two more are the same in every model."""
    layers = range(config["num_hidden_layers"])
    for name, only in (("alpha_p", None), ("alpha_n", None), ("beta", 0.5), ("eps", -1e-6)):
        key = f"xielu.{name}"
        values = np.broadcast_to(np.array(file.get(key), np.float32), len(layers))
        if only is not None and any(value != np.float32(only) for value in values):
            file.refuse(f"has {key} = {values[0]}; only {only} is known")
        for i in layers:
            if only is None:
                file.tensors[f"blk.{i}.xielu_{name}"] = values[i : i + 1]


def llama4(file: GgufFile, config: Config) -> None:
    # Of the two published models, as llama.cpp tells them apart.
    config["use_qk_norm"] = config["num_local_experts"] != 128


def minicpm3(file: GgufFile, config: Config) -> None:
    config["qk_nope_head_dim"] = file.need("attention.key_length") - config["qk_rope_head_dim"]
    config["v_head_dim"] = config["hidden_size"] // config["num_attention_heads"]


def shared_width(file: GgufFile, config: Config) -> None:
    """Pass over the key of what follows from the number of shared experts, and that writers get wrong."""
    file.own("expert_shared_feed_forward_length")


def deepseek_v2(file: GgufFile, config: Config) -> None:
    latent(file, config)
    config["topk_method"] = "group_limited_greedy" if config["n_group"] > 1 else "greedy"
