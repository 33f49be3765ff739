"""One row per `model_type`: how its config.json maps onto `ModelConfig`, and the names of its tensors.

A row is data: knobs that the family fixes, config keys that set a knob, and the names of its tensors. What a
config.json leaves out is in `reference_keys.json`. `minillm.checkpoint.read_config` reads configs by both,
`minillm.checkpoint.keys` tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from minillm.checkpoint import tensor_names as hf
from minillm.model.config import ActivationName


@dataclass(frozen=True)
class Family:
    """A `model_type`.

    Attributes:
        knobs: fields of `ModelConfig` or `Experts` that the family fixes.
        fields: field of `ModelConfig` or `Experts` -> the config key that sets it, beside the common ones.
        keys: our parameter -> its Hugging Face names, where they are not those of `KEYS`.
        layouts: other names of some parameters, by `ModelConfig.layout`.
        reference: the model type of transformers whose keys and defaults hold, where it is not the family's.
        windows: without `layer_types`, which layers have the sliding window: `none`, `all`, all but the last
            of each group (`types`) or all but the first (`first`), those from `max_window_layers` on
            (`late`), every other before it (`early`), those without rope (`unrotated`), with it (`rotated`).
        pattern: the size of a group; 0: all layers see all keys.
        unrotated: layers that see all keys have no rope.
        rope_bases: bases of the ropes of layers that see all keys and of those with a window, where a
            config.json names one rope for each type of layer.
        rope_types: what the family means by a type of rope.
        rope_alpha: a dynamic rope with `alpha` has one larger base at every length.
        short_factors: longrope has the short factors at every length.
        activations: what the family means by an activation.
        scaled_embedding: embeddings are multiplied by the square root of the width.
        optional_qk_norm: the kind of norm of queries and keys that a config.json can ask for.
        dense_layers: first layers without experts, where the file does not say.
        mxfp4: experts may be stored in 4 bits.
        masks: the module whose mask buffers old files hold beside the weights.
        constants: name of a stored number -> its value, the only one that is computed.
    """

    knobs: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    keys: dict[str, hf.Key] = field(default_factory=dict)
    layouts: Mapping[str, dict[str, hf.Key]] = field(default_factory=dict)
    reference: str = ""
    windows: str = "none"
    pattern: int = 0
    unrotated: bool = False
    rope_bases: tuple[float, ...] = ()
    rope_types: Mapping[str, str] = field(default_factory=dict)
    rope_alpha: bool = False
    short_factors: bool = False
    activations: Mapping[str, ActivationName] = field(default_factory=dict)
    scaled_embedding: bool = False
    optional_qk_norm: str = ""
    dense_layers: int = 0
    mxfp4: bool = False
    masks: str = ""
    constants: Mapping[str, float] = field(default_factory=dict)


def flags(names: str, value: bool = True) -> dict[str, Any]:
    """Make knobs that are all on, or all off."""
    return dict.fromkeys(names.split(), value)


BIASES = {"qkv_bias": "attention_bias", "o_bias": "attention_bias"}
LLAMA_BIASES = {**BIASES, "mlp_bias": "mlp_bias"}
QKV_BIAS = {"qkv_bias": "attention_bias"}
FINAL_CAP = {"final_softcap": "final_logit_softcapping"}
NORMALIZE = {"normalize": "norm_topk_prob"}
MOE_FIELDS = {**BIASES, **NORMALIZE}
SCALED = {"embedding_multiplier": "embedding_multiplier", "residual_multiplier": "residual_multiplier"}
GRANITE_FIELDS = {**LLAMA_BIASES, **SCALED}
LAYER_NORM = {"norm": "layer", **flags("norm_bias norm_native")}
UNGATED = {**LAYER_NORM, "gated": False}
ALL_BIASES = flags("qkv_bias o_bias mlp_bias")
USE_BIAS = dict.fromkeys(ALL_BIASES, "use_bias")
POST_ONLY = {"pre_norm": False, "post_norm": True}
V3_ROUTER = {"router": "sigmoid", **flags("float_router correction")}
PAIRS = flags("rope_interleaved rope_float")
PARALLEL = flags("parallel shared_norm")
ALIBI = flags("linear_bias softmax_float")
GPT2_KNOBS = {**UNGATED, **ALL_BIASES, "positions": True}
COHERE = {"norm": "layer", **PARALLEL, **PAIRS}
COHERE_FIELDS = {**BIASES, "logit_multiplier": "logit_scale"}

LLAMA = Family(fields=LLAMA_BIASES)
MISTRAL = Family(windows="all")
QWEN2 = Family(knobs={"qkv_bias": True}, windows="late")
GEMMA2 = Family(
    knobs={"norm_offset": True, "post_norm": True},
    fields={**BIASES, **FINAL_CAP, "softcap": "attn_logit_softcapping"},
    keys=hf.SANDWICH,
    windows="types",
    pattern=2,
    scaled_embedding=True,
)
PHI = Family(
    knobs={**UNGATED, **ALL_BIASES, **PARALLEL, "qk_norm_kind": "layer", "head_bias": True},
    keys=hf.weights("model.", norm="final_layernorm")
    | hf.weights(o="self_attn.dense", q_norm="self_attn.q_layernorm", k_norm="self_attn.k_layernorm")
    | hf.FC,
)
GPT2 = Family(
    knobs=GPT2_KNOBS,
    keys=hf.GPT2_NAMES | {ours: replace(key, inputs_first=True) for ours, key in hf.GPT2_MATRICES.items()},
    masks="attn",
)
QWEN3_MOE = Family(
    knobs={"router": "softmax", "qk_norm": "head"},
    fields=MOE_FIELDS,
    keys=hf.QWEN_EXPERTS,
    layouts={"stacked": hf.stacked("mlp")},
    windows="all",
)
GRANITE_MOE = Family(knobs={"router": "chosen_softmax"}, fields={**BIASES, **SCALED}, keys=hf.GRANITE_EXPERTS)
GLM4_MOE = Family(knobs=V3_ROUTER, fields={**QKV_BIAS, **NORMALIZE}, keys=hf.DEEPSEEK_EXPERTS)
DEEPSEEK_V3 = Family(
    knobs=V3_ROUTER,
    fields={**MOE_FIELDS, "rope_interleaved": "rope_interleave"},
    keys=hf.DEEPSEEK_EXPERTS | hf.LATENT,
)
EXAONE4 = Family(
    knobs={**POST_ONLY, "qk_norm": "head"}, keys=hf.POST, windows="types", pattern=4, unrotated=True
)
HUNYUAN = Family(
    knobs={"qk_norm": "head", "qk_norm_last": True},
    fields=BIASES,
    keys=hf.weights(q_norm="self_attn.query_layernorm", k_norm="self_attn.key_layernorm"),
    rope_alpha=True,
)

FAMILIES: dict[str, Family] = {
    "llama": LLAMA,
    "mistral": MISTRAL,
    "ministral": MISTRAL,
    "ministral3": MISTRAL,
    "qwen2": QWEN2,
    "qwen3": Family(knobs={"qk_norm": "head"}, fields=BIASES, windows="late"),
    "gemma": Family(
        knobs={"norm_offset": True}, fields=BIASES, scaled_embedding=True, activations={"gelu": "gelu_tanh"}
    ),
    "gemma2": GEMMA2,
    "gemma3_text": replace(
        GEMMA2,
        knobs={**GEMMA2.knobs, "qk_norm": "head"},
        fields={**BIASES, **FINAL_CAP},
        pattern=6,
        rope_bases=(1e6, 1e4),
    ),
    "phi": PHI,
    "phi3": Family(
        keys=hf.FUSED | hf.weights(qkv="self_attn.qkv_proj"),
        windows="all",
        rope_types={"su": "longrope", "yarn": "longrope"},
    ),
    "olmo": Family(
        knobs={"norm": "layer", "norm_weight": False, "norm_eps": 1e-5},
        fields={**BIASES, "clip_qkv": "clip_qkv"},
    ),
    "olmo2": Family(knobs={**POST_ONLY, "qk_norm": "full"}, fields=BIASES, keys=hf.POST),
    "olmo3": Family(
        knobs={**POST_ONLY, "qk_norm": "full"},
        fields=BIASES,
        keys=hf.POST,
        windows="types",
        pattern=4,
        rope_bases=(5e5, 5e5),
    ),
    "smollm3": Family(fields=LLAMA_BIASES, windows="unrotated"),
    "granite": Family(fields=GRANITE_FIELDS),
    "cohere2": Family(knobs=COHERE, fields=COHERE_FIELDS, windows="types", pattern=4, unrotated=True),
    "glm4": Family(
        knobs={"post_norm": True, "rope_interleaved": True},
        fields=QKV_BIAS,
        keys=hf.FUSED
        | hf.weights(attn_post_norm="post_self_attn_layernorm", mlp_post_norm="post_mlp_layernorm"),
    ),
    "starcoder2": Family(
        knobs=UNGATED, fields=USE_BIAS, keys=hf.weights(up="mlp.c_fc", down="mlp.c_proj"), windows="all"
    ),
    "stablelm": Family(
        knobs={**LAYER_NORM, "qk_norm_kind": "layer"},
        fields={"qkv_bias": "use_qkv_bias", **dict.fromkeys(PARALLEL, "use_parallel_residual")},
        keys=hf.weights(q_norm="self_attn.q_layernorm.norms.{e}", k_norm="self_attn.k_layernorm.norms.{e}"),
        optional_qk_norm="heads",
    ),
    "gpt_neox": Family(
        knobs={**UNGATED, "mlp_bias": True},
        fields={**BIASES, "parallel": "use_parallel_residual"},
        keys=hf.weights("", embed="gpt_neox.embed_in", head="embed_out")
        | hf.weights("gpt_neox.", norm="final_layer_norm")
        | hf.fused_block("gpt_neox.layers.{i}.", "attention"),
        masks="attention",
    ),
    "gpt2": GPT2,
    "mixtral": Family(knobs={"router": "softmax", "normalize": True}, keys=hf.MIXTRAL, windows="all"),
    "qwen2_moe": Family(
        knobs={"router": "softmax", "shared_gate": True},
        fields={"qkv_bias": "qkv_bias", **NORMALIZE, "shared_width": "shared_expert_intermediate_size"},
        keys=hf.QWEN_EXPERTS
        | hf.shared("mlp.shared_expert")
        | hf.weights(shared_gate="mlp.shared_expert_gate"),
        windows="early",
    ),
    "qwen3_moe": QWEN3_MOE,
    "olmoe": Family(
        knobs={"router": "softmax", "qk_norm": "full"},
        fields={**MOE_FIELDS, "clip_qkv": "clip_qkv"},
        keys=hf.QWEN_EXPERTS,
    ),
    "granitemoe": GRANITE_MOE,
    "phimoe": Family(
        knobs={**LAYER_NORM, "router": "sparsemixer", "native": True},
        fields={**BIASES, "head_bias": "lm_head_bias", "jitter": "router_jitter_noise"},
        keys=hf.MIXTRAL,
        windows="all",
        short_factors=True,
    ),
    "gpt_oss": Family(
        knobs={
            **flags("native sinks mlp_bias router_bias"),
            "router": "chosen_softmax",
            "activation": "silu",
        },
        fields={**BIASES, "swiglu_limit": "swiglu_limit"},
        keys=hf.SINKS
        | hf.names(router="mlp.router.weight", experts_down_bias="mlp.experts.down_proj_bias")
        | hf.stacked("mlp", order="pairs")
        | {"experts_gate_up_bias": hf.key(f"{hf.LAYER}mlp.experts.gate_up_proj_bias", order="pairs")},
        windows="types",
        pattern=2,
        mxfp4=True,
    ),
    "glm4_moe": GLM4_MOE,
    "deepseek_v3": DEEPSEEK_V3,
    "kimi_k2": replace(DEEPSEEK_V3, reference="deepseek_v3"),
    "mimo": replace(QWEN2, reference="qwen2"),
    "cohere": Family(
        knobs={**COHERE, "qk_norm_kind": "layer"}, fields=COHERE_FIELDS, optional_qk_norm="heads"
    ),
    "exaone4": EXAONE4,
    "exaone_moe": replace(
        EXAONE4,
        knobs={**V3_ROUTER, "qk_norm": "head"},
        fields=NORMALIZE,
        keys=hf.DEEPSEEK_EXPERTS | hf.names(router_correction="mlp.e_score_correction_bias"),
    ),
    "minimax_m2": Family(
        knobs={"router": "sigmoid", "correction": True, "normalize": True, "qk_norm": "full"},
        keys=hf.MIXTRAL | hf.names(router_correction="block_sparse_moe.e_score_correction_bias"),
    ),
    "glm": Family(knobs={"rope_interleaved": True}, fields=QKV_BIAS, keys=hf.FUSED),
    "glm4_moe_lite": replace(DEEPSEEK_V3, dense_layers=1),
    "seed_oss": Family(fields={**QKV_BIAS, "o_bias": "attention_out_bias", "mlp_bias": "mlp_bias"}),
    "gpt_bigcode": Family(
        knobs=GPT2_KNOBS,
        keys=hf.GPT2_NAMES
        | hf.GPT2_MATRICES
        | {"qkv": replace(hf.GPT2_MATRICES["qkv"], order="fused_heads")},
        masks="attn",
    ),
    "granitemoeshared": replace(
        GRANITE_MOE,
        fields={**GRANITE_MOE.fields, "shared_width": "shared_intermediate_size"},
        keys=hf.GRANITE_EXPERTS
        | hf.weights(f"{hf.LAYER}shared_mlp.", shared_gate_up="input_linear", shared_down="output_linear"),
    ),
    "granite_swa": Family(
        knobs={"sinks": True}, fields=GRANITE_FIELDS, keys=hf.SINKS, windows="first", pattern=4
    ),
    "dots1": Family(
        knobs={**V3_ROUTER, "qk_norm": "head"}, fields=MOE_FIELDS, keys=hf.DEEPSEEK_EXPERTS, windows="late"
    ),
    "internlm3": LLAMA,
    "minicpm3": Family(fields=LLAMA_BIASES, keys=hf.LATENT),
    "solar_open": GLM4_MOE,
    "cwm": Family(fields={"mlp_bias": "mlp_bias"}, windows="first", pattern=4),
    "flex_olmo": Family(
        knobs={**POST_ONLY, "router": "softmax", "qk_norm": "full"},
        fields=MOE_FIELDS,
        keys=hf.POST | hf.QWEN_EXPERTS,
    ),
    "hyperclovax": Family(
        fields={**GRANITE_FIELDS, "post_norm": "use_post_norm", "logit_multiplier": "logits_scaling"},
        keys=hf.weights(attn_post_norm="post_norm1", mlp_post_norm="post_norm2"),
    ),
    "vaultgemma": replace(
        GEMMA2, knobs={"norm_offset": True}, keys=hf.weights(mlp_norm="pre_feedforward_layernorm")
    ),
    "youtu": Family(fields={**BIASES, "rope_interleaved": "rope_interleave"}, keys=hf.LATENT),
    "mellum": replace(QWEN3_MOE, layouts={}, windows="types", rope_bases=(5e5, 1e4)),
    "iquestcoder": LLAMA,
    "deepseek_v2": Family(
        knobs={"router": "softmax", "float_router": True, "best_of_group": True, "biases": False, **PAIRS},
        fields=LLAMA_BIASES,
        keys=hf.DEEPSEEK_EXPERTS | hf.LATENT,
    ),
    "gptj": Family(
        knobs={**UNGATED, **PARALLEL, "rope_interleaved": True, "mlp_bias": True, "head_bias": True},
        keys=hf.GPT2_NAMES
        | hf.products(hf.GPT2_LAYER, hf.qkv("attn"), "attn.out_proj", "mlp.fc_in", "mlp.fc_out"),
        masks="attn",
    ),
    "gpt_neo": Family(
        knobs={**UNGATED, "positions": True, "scale": 1.0, "o_bias": True, "mlp_bias": True},
        keys=hf.GPT2_NAMES
        | hf.GPT2_MATRICES
        | hf.weights(hf.GPT2_LAYER, qkv=hf.qkv("attn.attention"), o="attn.attention.out_proj"),
        windows="types",
        masks="attention",
    ),
    "ernie4_5": Family(knobs=PAIRS, fields=USE_BIAS),
    "ernie4_5_moe": Family(
        knobs={"router": "softmax", **PAIRS, **flags("float_router correction normalize"), "biases": False},
        fields={**USE_BIAS, "head_bias": "use_bias"},
        keys=hf.DEEPSEEK_EXPERTS
        | {"router_correction": hf.key(f"{hf.LAYER}mlp.moe_statics.e_score_correction_bias", order="row")},
        dense_layers=1,
    ),
    "hy_v3": Family(
        knobs={**V3_ROUTER, "normalize": True, "qk_norm": "head", "biases": False},
        fields={**LLAMA_BIASES, "float_sum": "enable_moe_fp32_combine"},
        keys=hf.QWEN_EXPERTS
        | hf.shared("mlp.shared_mlp")
        | hf.names(router="mlp.router.gate.weight", router_correction="mlp.expert_bias"),
        dense_layers=1,
    ),
    "helium": replace(LLAMA, knobs={"rope_interleaved": True}),
    "gpt-sw3": GPT2,
    "nemotron": Family(knobs={**UNGATED, "norm_offset": True}, fields=LLAMA_BIASES, keys=hf.UP_DOWN),
    "arcee": Family(knobs={"gated": False}, fields=LLAMA_BIASES, keys=hf.UP_DOWN),
    "jais2": Family(knobs=UNGATED, fields=LLAMA_BIASES, keys=hf.UP_DOWN),
    "persimmon": Family(
        knobs={**UNGATED, **ALL_BIASES, "qk_norm_kind": "layer"},
        keys=PHI.keys
        | hf.weights(up="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h")
        | hf.fused_qkv(f"{hf.LAYER}self_attn"),
    ),
    "nanochat": Family(
        knobs={
            "qk_norm": "head",
            **flags("embed_norm qk_norm_last rope_reversed"),
            **flags("norm_weight qk_norm_weight gated", False),
        },
        fields={**BIASES, **FINAL_CAP},
        keys=hf.FC,
    ),
    "hunyuan_v1_dense": HUNYUAN,
    "hunyuan_v1_moe": replace(
        HUNYUAN,
        knobs={**HUNYUAN.knobs, "router": "softmax", "normalize": True, "shared_width": None},
        keys=HUNYUAN.keys | hf.QWEN_EXPERTS | hf.shared("mlp.shared_mlp") | hf.weights(router="mlp.gate.wg"),
    ),
    "falcon": Family(
        knobs={**UNGATED, "alibi_rounding": "bfloat16"},
        fields=dict.fromkeys(ALL_BIASES, "bias"),
        keys=hf.BLOOM_KEYS,
        layouts={"two norms": hf.weights(hf.GPT2_LAYER, attn_norm="ln_attn", mlp_norm="ln_mlp")},
    ),
    "bloom": Family(
        knobs={
            **UNGATED,
            **ALL_BIASES,
            **ALIBI,
            "activation": "gelu_bloom",
            "embed_norm": True,
            "alibi_rounding": "first",
        },
        keys=hf.BLOOM_KEYS | hf.weights("transformer.", embed_norm="word_embeddings_layernorm"),
    ),
    "mpt": Family(
        knobs={**UNGATED, **ALIBI, "norm_bias": False, "activation": "gelu", "alibi_rounding": "last"},
        keys=hf.weights("transformer.", embed="wte", norm="norm_f")
        | hf.weights("transformer.blocks.{i}.", attn_norm="norm_1", mlp_norm="norm_2")
        | hf.products(
            "transformer.blocks.{i}.", "attn.Wqkv", "attn.out_proj", "ffn.up_proj", "ffn.down_proj"
        ),
    ),
    "opt": Family(
        knobs={**GPT2_KNOBS, "norm_eps": 1e-5, "position_offset": 2},
        keys=hf.weights(
            "model.decoder.", embed="embed_tokens", positions="embed_positions", norm="final_layer_norm"
        )
        | hf.weights(
            "model.decoder.layers.{i}.", attn_norm="self_attn_layer_norm", mlp_norm="final_layer_norm"
        )
        | hf.products("model.decoder.layers.{i}.", hf.qkv("self_attn"), "self_attn.out_proj", "fc1", "fc2"),
    ),
    "apertus": Family(
        knobs={"qk_norm": "head", "gated": False},
        fields=BIASES,
        keys=hf.UP_DOWN
        | hf.weights(attn_norm="attention_layernorm", mlp_norm="feedforward_layernorm")
        | hf.names(act_alpha_p="mlp.act_fn.alpha_p", act_alpha_n="mlp.act_fn.alpha_n"),
        constants={f"{hf.LAYER}mlp.act_fn.beta": 0.5, f"{hf.LAYER}mlp.act_fn.eps": -1e-6},
    ),
    "llama4_text": Family(
        knobs={
            **PAIRS,
            **flags("qk_norm_last qk_norm_rotated scaled_input"),
            "qk_norm_weight": False,
            "router": "sigmoid",
            "shared_width": None,
        },
        fields=BIASES,
        keys=hf.weights(
            f"{hf.LAYER}feed_forward.", gate_up="gate_proj up_proj", down="down_proj", router="router"
        )
        | hf.shared("feed_forward.shared_expert")
        | hf.stacked("feed_forward"),
        windows="rotated",
    ),
}
