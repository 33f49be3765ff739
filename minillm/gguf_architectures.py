"""GGUF architectures: one row each says how its keys and tensors become those of a Hugging Face model.

What a row need not say is the same everywhere: names of tensors are those of `gguf.TensorNameMap`, which
are inverted. `minillm.gguf_import` reads files by these rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from minillm.gguf_file import Array, GgufFile

Config = dict[str, Any]
Heads = tuple[int, int]  # of queries, and of keys and values


@dataclass(frozen=True)
class Recipe:
    """How one tensor of the model is made.

    Attributes:
        parts: the file's tensors, without `blk.N.`.
        make: their arrays and the numbers of heads -> the tensor; by default the one that there is.
    """

    parts: tuple[str, ...]
    make: Callable[[Sequence[Array], Heads], Array] = lambda arrays, heads: arrays[0]


@dataclass(frozen=True)
class Architecture:
    """A row: what a file of one `general.architecture` becomes.

    Attributes:
        model_type: the family (`minillm.families`).
        model_class: transformers' name of its models.
        keys: key of the file -> key of config.json; each must be there.
        optional: the same of keys that may be missing.
        fixed: what config.json says where no key of the file does.
        only: key of the file -> the values that this import knows the meaning of.
        flags: key of config.json -> pattern of the tensors (without `blk.N.`) whose presence makes it true.
        neighbours: rows of queries and keys stand in llama.cpp's order, whose rope turns neighbours where
            transformers turns halves.
        offset: norms are stored as 1 + w.
        head_dim: config.json can say it.
        rope: config.json's names of the base and of the share of a head that is turned; no base: no rope, no
            share: all of it is turned.
        local_base: config.json's name of the base of layers with a window.
        yarn: parameters of YaRN that no key says.
        log_unit: as `minillm.gguf_rope` has it.
        pattern: without a key, every so manieth layer sees all keys where there is a sliding window; 0: the
            family knows which.
        window: the sliding window where no key says it.
        recipes: Hugging Face name, with {i} for the layer and {e} for the expert -> how it is made.
        complete: sets what is left of config.json.
        variants: (key, value, row): that row counts instead where the key has this value, or for None any but
            0.
    """

    model_type: str
    model_class: str
    keys: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    neighbours: bool = False
    offset: bool = False
    head_dim: bool = True
    rope: tuple[str, str] = ("rope_theta", "")
    local_base: str = ""
    yarn: Mapping[str, Any] = field(default_factory=dict)
    log_unit: float = 0.0
    pattern: int = 0
    window: int = 0
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    complete: Callable[[GgufFile, Config], None] = lambda file, config: None
    variants: tuple[tuple[str, Any, Architecture], ...] = ()


# ---------------------------------------------------------------- how tensors are made


def _transposed(arrays: Sequence[Array], heads: Heads) -> Array:
    return arrays[0].swapaxes(-1, -2)


def _joined(arrays: Sequence[Array], heads: Heads) -> Array:
    """Gate and up of all experts, one after the other."""
    return np.concatenate(arrays, axis=1)


def _in_turns(arrays: Sequence[Array], heads: Heads) -> Array:
    """Gate and up in turns along the outputs, which come last."""
    gate, up = (a.swapaxes(-1, -2) if a.ndim == 3 else a for a in arrays)
    return np.stack((gate, up), axis=-1).reshape(*gate.shape[:-1], -1)


def _by_head(arrays: Sequence[Array], heads: Heads) -> Array:
    """Rows of all queries, all keys, all values -> those of one head after the other."""
    whole = arrays[0]
    parts = whole.reshape(3, heads[0], -1, *whole.shape[1:])
    return parts.swapaxes(0, 1).reshape(whole.shape)


# ---------------------------------------------------------------- what several rows share

SIZES = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
}
KV = {"attention.head_count_kv": "num_key_value_heads"}
RMS = SIZES | {"attention.layer_norm_rms_epsilon": "rms_norm_eps"}
LAYER_NORM = SIZES | {"attention.layer_norm_epsilon": "layer_norm_eps"}
WINDOW = {"attention.sliding_window": "sliding_window"}
CLIP = {"attention.clamp_kqv": "clip_qkv"}
CAPS = {
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
BIAS = r"attn_(q|k|v|qkv|output)\.bias"
ATTENTION_BIAS = {"attention_bias": BIAS}
BIASES = {**ATTENTION_BIAS, "mlp_bias": r"ffn_(gate|up|down)\.bias"}
PARTIAL = ("rope_theta", "partial_rotary_factor")

# Keys of experts whose router is a plain softmax, which these values leave as it is.
PLAIN_ROUTER: dict[str, tuple[Any, ...]] = {
    "expert_gating_func": (1,),
    "expert_weights_scale": (0.0, 1.0),
    "expert_group_count": (0, 1),
    "expert_group_used_count": (0, 1),
}
FEW = {"expert_used_count": "num_experts_per_tok"}
LOCAL_EXPERTS = {"expert_count": "num_local_experts", **FEW}
# Where all layers have experts, config.json calls their width that of the MLP.
WIDTH = {"expert_feed_forward_length": "intermediate_size"}
EXPERTS = {"expert_count": "num_experts", **FEW, "expert_feed_forward_length": "moe_intermediate_size"}
NORMALIZED = {"expert_weights_norm": "norm_topk_prob"}
ROUTED = {
    "expert_count": "n_routed_experts",
    **FEW,
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_count": "n_shared_experts",
}
ROUTED_OPTIONAL = {
    **NORMALIZED,
    "expert_weights_scale": "routed_scaling_factor",
    "expert_group_count": "n_group",
    "expert_group_used_count": "topk_group",
    "leading_dense_block_count": "first_k_dense_replace",
}
# What llama.cpp takes where a file says nothing.
ROUTED_FIXED = {
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 0,
}
LAYER = "model.layers.{i}."
CORRECTION = {f"{LAYER}mlp.gate.e_score_correction_bias": Recipe(("exp_probs_b.bias",))}


def _gemma(large: int) -> Callable[[GgufFile, Config], None]:
    """What scores are divided by: no key says it, but the largest model's depth does."""

    def complete(file: GgufFile, config: Config) -> None:
        scalar = config["head_dim"]
        if config["num_hidden_layers"] == large:
            scalar = config["hidden_size"] // config["num_attention_heads"]
        if scale := file.own("attention.scale"):
            scalar = scale**-2
        config["query_pre_attn_scalar"] = scalar

    return complete


def _granite(file: GgufFile, config: Config) -> None:
    config.setdefault("attention_multiplier", config["head_dim"] ** -0.5)


def _stablelm(file: GgufFile, config: Config) -> None:
    # The key is wrong in files of models that do not say; llama.cpp too goes by the second norm.
    file.own("use_parallel_residual")
    config["use_parallel_residual"] = not file.has("blk.0.ffn_norm.weight")


def _phimoe(file: GgufFile, config: Config) -> None:
    if config.get("rope_scaling"):
        file.refuse("has rope_factors_long.weight, but lacks the magnitudes that phimoe needs with it")


def _mistral3(file: GgufFile, config: Config) -> None:
    if beta := file.own("attention.temperature_scale"):
        scaling = config.get("rope_scaling", {})
        length = file.own("attention.temperature_length")
        if scaling.get("rope_type") != "yarn" or length not in (
            None,
            scaling["original_max_position_embeddings"],
        ):
            file.refuse("has attention.temperature_scale without a rope.scaling of the same length")
        scaling["llama_4_scaling_beta"] = beta


def _latent(file: GgufFile, config: Config) -> None:
    """Sizes of latent attention: older files write those of heads, newer ones the narrow vector's too."""
    key, value = file.own("attention.key_length"), file.own("attention.value_length")
    key = file.own("attention.key_length_mla") or key
    value = file.own("attention.value_length_mla") or value
    file.own("attention.head_count_kv")  # 1 where keys are taken to be shared, which is how they are stored
    turned = file.need("rope.dimension_count")
    if not key or not value:
        file.refuse("has no keys attention.key_length and attention.value_length")
    config.update(
        num_key_value_heads=config["num_attention_heads"],
        qk_rope_head_dim=turned,
        qk_nope_head_dim=key - turned,
        v_head_dim=value,
        q_lora_rank=file.own("attention.q_lora_rank"),
    )


def _deepseek_v2(file: GgufFile, config: Config) -> None:
    _latent(file, config)
    config["topk_method"] = "group_limited_greedy" if config["n_group"] > 1 else "greedy"


# ---------------------------------------------------------------- the rows

_MIXTRAL = Architecture(
    "mixtral",
    "MixtralForCausalLM",
    RMS | LOCAL_EXPERTS,
    KV | WIDTH,
    only=PLAIN_ROUTER,
    neighbours=True,
)
_OLMO2 = Architecture("olmo2", "Olmo2ForCausalLM", RMS, KV, flags=ATTENTION_BIAS)
_GRANITE = Architecture(
    "granite",
    "GraniteForCausalLM",
    RMS,
    KV
    | {
        "attention.scale": "attention_multiplier",
        "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_scale": "logits_scaling",
    },
    flags=BIASES,
    neighbours=True,
    complete=_granite,
)
_PHI3 = Architecture(
    "phi3",
    "Phi3ForCausalLM",
    RMS,
    KV | WINDOW | {"rope.scaling.original_context_length": "original_max_position_embeddings"},
    fixed={"sliding_window": None},
    head_dim=False,
    rope=PARTIAL,
)
_GEMMA = Architecture("gemma", "GemmaForCausalLM", RMS, KV, offset=True)
_DEEPSEEK_V3 = Architecture(
    "deepseek_v3",
    "DeepseekV3ForCausalLM",
    RMS | ROUTED | {"attention.kv_lora_rank": "kv_lora_rank"},
    ROUTED_OPTIONAL,
    fixed=ROUTED_FIXED,
    flags={"attention_bias": r"attn_(q_a|kv_a_mqa|output)\.bias"},
    head_dim=False,
    log_unit=0.1,
    recipes=CORRECTION,
    complete=_latent,
)

ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(
        "llama",
        "LlamaForCausalLM",
        RMS,
        KV,
        fixed={"hidden_act": "silu"},
        only={"expert_used_count": (0,)},
        flags=BIASES,
        neighbours=True,
        variants=(("expert_count", None, _MIXTRAL),),
    ),
    "mistral3": Architecture(
        "ministral3",
        "Ministral3ForCausalLM",
        RMS,
        KV,
        fixed={"sliding_window": None},
        neighbours=True,
        log_unit=1.0,
        complete=_mistral3,
    ),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", RMS, KV),
    "qwen3": Architecture("qwen3", "Qwen3ForCausalLM", RMS, KV, flags=ATTENTION_BIAS),
    "qwen2moe": Architecture(
        "qwen2_moe",
        "Qwen2MoeForCausalLM",
        RMS | EXPERTS | {"expert_shared_feed_forward_length": "shared_expert_intermediate_size"},
        KV | NORMALIZED,
        fixed={"norm_topk_prob": False},
        only=PLAIN_ROUTER,
        flags={"qkv_bias": r"attn_(q|k|v|qkv)\.bias"},
    ),
    "qwen3moe": Architecture(
        "qwen3_moe",
        "Qwen3MoeForCausalLM",
        RMS | EXPERTS,
        KV | NORMALIZED,
        # No key says it; llama.cpp takes all models to be so.
        fixed={"norm_topk_prob": True},
        only=PLAIN_ROUTER,
        flags=ATTENTION_BIAS,
    ),
    "gemma": _GEMMA,
    "gemma2": replace(
        _GEMMA,
        model_type="gemma2",
        model_class="Gemma2ForCausalLM",
        optional=KV | CAPS,
        pattern=2,
        window=4096,
        complete=_gemma(46),
    ),
    "gemma3": replace(
        _GEMMA,
        model_type="gemma3_text",
        model_class="Gemma3ForCausalLM",
        optional=KV | CAPS,
        pattern=6,
        local_base="rope_local_base_freq",
        complete=_gemma(62),
    ),
    "phi2": Architecture("phi", "PhiForCausalLM", LAYER_NORM, KV, head_dim=False, rope=PARTIAL),
    "phi3": _PHI3,
    "phimoe": replace(
        _PHI3,
        model_type="phimoe",
        model_class="PhimoeForCausalLM",
        keys=RMS | LOCAL_EXPERTS,
        optional={**_PHI3.optional, **WIDTH},
        only=PLAIN_ROUTER,
        flags={**ATTENTION_BIAS, "lm_head_bias": r"output\.bias"},
        rope=("rope_theta", ""),
        complete=_phimoe,
    ),
    "olmo": Architecture(
        "olmo",
        "OlmoForCausalLM",
        SIZES,
        KV | CLIP,
        only={"attention.layer_norm_epsilon": (1e-5,)},
        flags=ATTENTION_BIAS,
        neighbours=True,
    ),
    "olmo2": replace(
        _OLMO2,
        variants=(
            (
                "attention.sliding_window",
                None,
                replace(_OLMO2, model_type="olmo3", model_class="Olmo3ForCausalLM", pattern=4),
            ),
        ),
    ),
    "olmoe": Architecture(
        "olmoe",
        "OlmoeForCausalLM",
        RMS | {"expert_count": "num_experts", **FEW},
        KV | WIDTH | CLIP | NORMALIZED,
        fixed={"norm_topk_prob": False},
        only=PLAIN_ROUTER,
        flags=ATTENTION_BIAS,
    ),
    "smollm3": Architecture(
        "smollm3",
        "SmolLM3ForCausalLM",
        RMS,
        KV,
        # llama.cpp knows no other interval.
        fixed={"no_rope_layer_interval": 4},
        flags=BIASES,
        neighbours=True,
    ),
    "granite": _GRANITE,
    "granitemoe": replace(
        _GRANITE,
        model_type="granitemoe",
        model_class="GraniteMoeForCausalLM",
        keys=RMS | LOCAL_EXPERTS,
        optional={**_GRANITE.optional, **WIDTH},
        only=PLAIN_ROUTER,
        flags=ATTENTION_BIAS,
        recipes={
            f"{LAYER}block_sparse_moe.input_linear.weight": Recipe(
                ("ffn_gate_exps.weight", "ffn_up_exps.weight"), _joined
            )
        },
    ),
    "cohere2": Architecture(
        "cohere2",
        "Cohere2ForCausalLM",
        LAYER_NORM | {"logit_scale": "logit_scale"},
        KV,
        flags=ATTENTION_BIAS,
        pattern=4,
    ),
    "glm4": Architecture(
        "glm4",
        "Glm4ForCausalLM",
        RMS,
        KV,
        flags=ATTENTION_BIAS,
        rope=PARTIAL,
    ),
    "glm4moe": Architecture(
        "glm4_moe",
        "Glm4MoeForCausalLM",
        RMS | ROUTED,
        KV | ROUTED_OPTIONAL,
        fixed=ROUTED_FIXED,
        only={"expert_gating_func": (2,)},
        flags={**ATTENTION_BIAS, "use_qk_norm": r"attn_q_norm\.weight"},
        rope=PARTIAL,
        recipes=CORRECTION,
    ),
    "starcoder2": Architecture(
        "starcoder2",
        "Starcoder2ForCausalLM",
        SIZES | {"attention.layer_norm_epsilon": "norm_epsilon"},
        KV,
        flags={"use_bias": BIAS},
        head_dim=False,
    ),
    "stablelm": Architecture(
        "stablelm",
        "StableLmForCausalLM",
        LAYER_NORM,
        KV,
        flags={"use_qkv_bias": r"attn_(q|k|v|qkv)\.bias", "qk_layernorm": r"attn_q_norm\.weight"},
        head_dim=False,
        rope=PARTIAL,
        recipes={
            f"{LAYER}self_attn.{x}_layernorm.norms.{{e}}.weight": Recipe((f"attn_{x}_norm.weight",))
            for x in "qk"
        },
        complete=_stablelm,
    ),
    "gptneox": Architecture(
        "gpt_neox",
        "GPTNeoXForCausalLM",
        LAYER_NORM | {"use_parallel_residual": "use_parallel_residual"},
        flags=ATTENTION_BIAS,
        head_dim=False,
        rope=("rotary_emb_base", "rotary_pct"),
        recipes={
            f"gpt_neox.layers.{{i}}.attention.query_key_value.{kind}": Recipe((f"attn_qkv.{kind}",), _by_head)
            for kind in ("weight", "bias")
        },
    ),
    "gpt2": Architecture(
        "gpt2",
        "GPT2LMHeadModel",
        {
            "block_count": "n_layer",
            "context_length": "n_positions",
            "embedding_length": "n_embd",
            "feed_forward_length": "n_inner",
            "attention.head_count": "n_head",
            "attention.layer_norm_epsilon": "layer_norm_epsilon",
        },
        head_dim=False,
        rope=("", ""),
        recipes={
            f"transformer.h.{{i}}.{name}.weight": Recipe((f"{part}.weight",), _transposed)
            for name, part in (
                ("attn.c_attn", "attn_qkv"),
                ("attn.c_proj", "attn_output"),
                ("mlp.c_fc", "ffn_up"),
                ("mlp.c_proj", "ffn_down"),
            )
        },
    ),
    "gpt-oss": Architecture(
        "gpt_oss",
        "GptOssForCausalLM",
        RMS | LOCAL_EXPERTS,
        KV | WIDTH,
        only=PLAIN_ROUTER,
        flags=ATTENTION_BIAS,
        yarn={"truncate": False},
        pattern=2,
        recipes={
            f"{LAYER}self_attn.sinks": Recipe(("attn_sinks.weight",)),
            f"{LAYER}mlp.experts.gate_up_proj": Recipe(
                ("ffn_gate_exps.weight", "ffn_up_exps.weight"), _in_turns
            ),
            f"{LAYER}mlp.experts.gate_up_proj_bias": Recipe(
                ("ffn_gate_exps.bias", "ffn_up_exps.bias"), _in_turns
            ),
            f"{LAYER}mlp.experts.down_proj": Recipe(("ffn_down_exps.weight",), _transposed),
            f"{LAYER}mlp.experts.down_proj_bias": Recipe(("ffn_down_exps.bias",)),
        },
    ),
    # Files of before there was a key for it are of models whose router is a softmax.
    "deepseek2": replace(
        _DEEPSEEK_V3,
        model_type="deepseek_v2",
        model_class="DeepseekV2ForCausalLM",
        only={"expert_gating_func": (1,)},
        recipes={},
        complete=_deepseek_v2,
        variants=(("expert_gating_func", 2, _DEEPSEEK_V3),),
    ),
}
