"""One row per `model_type`: how its config.json maps onto `ModelConfig`, and the names of its tensors.

A row is data: knobs that the family fixes, config keys that set a knob, and the names of its tensors. What a
config.json leaves out is in `reference_keys.json`. `minillm.checkpoint.read_config` reads configs by both,
`minillm.checkpoint.keys` tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from minillm.checkpoint.tensor_names import (
    BLOOM_KEYS,
    FUSED,
    GPT2_MATRICES,
    GPT2_NAMES,
    GRANITE_EXPERTS,
    LATENT,
    LAYER,
    MIXTRAL,
    POST,
    QWEN_EXPERTS,
    SANDWICH,
    SHARED,
    SINKS,
    UP_DOWN,
    Key,
    fused_block,
    key,
    names,
    qkv,
    shared,
    stacked,
)
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
    keys: dict[str, Key] = field(default_factory=dict)
    layouts: Mapping[str, dict[str, Key]] = field(default_factory=dict)
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


BIASES = {"qkv_bias": "attention_bias", "o_bias": "attention_bias"}
LLAMA_BIASES = {**BIASES, "mlp_bias": "mlp_bias"}
QKV_BIAS = {"qkv_bias": "attention_bias"}
USE_BIAS = dict.fromkeys(("qkv_bias", "o_bias", "mlp_bias"), "use_bias")
FINAL_CAP = {"final_softcap": "final_logit_softcapping"}
NORMALIZE = {"normalize": "norm_topk_prob"}
SCALED = {"embedding_multiplier": "embedding_multiplier", "residual_multiplier": "residual_multiplier"}
GRANITE_FIELDS = {**LLAMA_BIASES, **SCALED}
LAYER_NORM = {"norm": "layer", "norm_bias": True, "norm_native": True}
UNGATED = {**LAYER_NORM, "gated": False}
ALL_BIASES = dict.fromkeys(("qkv_bias", "o_bias", "mlp_bias"), True)
POST_ONLY = {"pre_norm": False, "post_norm": True}
V3_ROUTER = {"router": "sigmoid", "float_router": True, "correction": True}
PAIRS = {"rope_interleaved": True, "rope_float": True}
PARALLEL = {"parallel": True, "shared_norm": True}
ALIBI = {"linear_bias": True, "softmax_float": True}
GPT2_KNOBS = {**UNGATED, **ALL_BIASES, "positions": True}
COHERE = {"norm": "layer", **PARALLEL, **PAIRS}
COHERE_FIELDS = {**BIASES, "logit_multiplier": "logit_scale"}

LLAMA = Family(fields=LLAMA_BIASES)
MISTRAL = Family(windows="all")
QWEN2 = Family(knobs={"qkv_bias": True}, windows="late")
GEMMA2 = Family(
    knobs={"norm_offset": True, "post_norm": True},
    fields={**BIASES, **FINAL_CAP, "softcap": "attn_logit_softcapping"},
    keys=SANDWICH,
    windows="types",
    pattern=2,
    scaled_embedding=True,
)
PHI = Family(
    knobs={**UNGATED, **ALL_BIASES, **PARALLEL, "qk_norm_kind": "layer", "head_bias": True},
    keys=names("", norm="model.final_layernorm.weight")
    | names(
        LAYER,
        o="self_attn.dense.weight",
        up="mlp.fc1.weight",
        down="mlp.fc2.weight",
        q_norm="self_attn.q_layernorm.weight",
        k_norm="self_attn.k_layernorm.weight",
    ),
)
GPT2 = Family(
    knobs=GPT2_KNOBS,
    keys=GPT2_NAMES
    | {
        ours: key(f"transformer.h.{{i}}.{name}.weight", inputs_first=True)
        for ours, name in GPT2_MATRICES.items()
    },
    masks="attn",
)
QWEN3_MOE = Family(
    knobs={"router": "softmax", "qk_norm": "head"},
    fields={**BIASES, **NORMALIZE},
    keys=QWEN_EXPERTS,
    layouts={"stacked": stacked("mlp")},
    windows="all",
)
GRANITE_MOE = Family(knobs={"router": "chosen_softmax"}, fields={**BIASES, **SCALED}, keys=GRANITE_EXPERTS)
GLM4_MOE = Family(knobs=V3_ROUTER, fields={**QKV_BIAS, **NORMALIZE}, keys=QWEN_EXPERTS | SHARED)
DEEPSEEK_V3 = Family(
    knobs=V3_ROUTER,
    fields={**BIASES, **NORMALIZE, "rope_interleaved": "rope_interleave"},
    keys=QWEN_EXPERTS | SHARED | LATENT,
)
EXAONE4 = Family(
    knobs={**POST_ONLY, "qk_norm": "head"}, keys=POST, windows="types", pattern=4, unrotated=True
)
HUNYUAN = Family(
    knobs={"qk_norm": "head", "qk_norm_last": True},
    fields=BIASES,
    keys=names(LAYER, q_norm="self_attn.query_layernorm.weight", k_norm="self_attn.key_layernorm.weight"),
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
        keys=FUSED | names(LAYER, qkv="self_attn.qkv_proj.weight"),
        windows="all",
        rope_types={"su": "longrope", "yarn": "longrope"},
    ),
    "olmo": Family(
        knobs={"norm": "layer", "norm_weight": False, "norm_eps": 1e-5},
        fields={**BIASES, "clip_qkv": "clip_qkv"},
    ),
    "olmo2": Family(knobs={**POST_ONLY, "qk_norm": "full"}, fields=BIASES, keys=POST),
    "olmo3": Family(
        knobs={**POST_ONLY, "qk_norm": "full"},
        fields=BIASES,
        keys=POST,
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
        keys=FUSED
        | names(
            LAYER, attn_post_norm="post_self_attn_layernorm.weight", mlp_post_norm="post_mlp_layernorm.weight"
        ),
    ),
    "starcoder2": Family(
        knobs=UNGATED,
        fields=USE_BIAS,
        keys=names(LAYER, up="mlp.c_fc.weight", down="mlp.c_proj.weight"),
        windows="all",
    ),
    "stablelm": Family(
        knobs={**LAYER_NORM, "qk_norm_kind": "layer"},
        fields={"qkv_bias": "use_qkv_bias", **dict.fromkeys(PARALLEL, "use_parallel_residual")},
        keys=names(
            LAYER,
            q_norm="self_attn.q_layernorm.norms.{e}.weight",
            k_norm="self_attn.k_layernorm.norms.{e}.weight",
        ),
        optional_qk_norm="heads",
    ),
    "gpt_neox": Family(
        knobs={**UNGATED, "mlp_bias": True},
        fields={**BIASES, "parallel": "use_parallel_residual"},
        keys=names("", embed="gpt_neox.embed_in.weight", head="embed_out.weight")
        | names("gpt_neox.", norm="final_layer_norm.weight")
        | fused_block("gpt_neox.layers.{i}.", "attention"),
        masks="attention",
    ),
    "gpt2": GPT2,
    "mixtral": Family(knobs={"router": "softmax", "normalize": True}, keys=MIXTRAL, windows="all"),
    "qwen2_moe": Family(
        knobs={"router": "softmax", "shared_gate": True},
        fields={"qkv_bias": "qkv_bias", **NORMALIZE, "shared_width": "shared_expert_intermediate_size"},
        keys=QWEN_EXPERTS
        | shared("mlp.shared_expert")
        | names(LAYER, shared_gate="mlp.shared_expert_gate.weight"),
        windows="early",
    ),
    "qwen3_moe": QWEN3_MOE,
    "olmoe": Family(
        knobs={"router": "softmax", "qk_norm": "full"},
        fields={**BIASES, **NORMALIZE, "clip_qkv": "clip_qkv"},
        keys=QWEN_EXPERTS,
    ),
    "granitemoe": GRANITE_MOE,
    "phimoe": Family(
        knobs={**LAYER_NORM, "router": "sparsemixer", "native": True},
        fields={**BIASES, "head_bias": "lm_head_bias", "jitter": "router_jitter_noise"},
        keys=MIXTRAL,
        windows="all",
        short_factors=True,
    ),
    "gpt_oss": Family(
        knobs={
            "router": "chosen_softmax",
            "native": True,
            "sinks": True,
            "activation": "silu",
            "mlp_bias": True,
            "router_bias": True,
        },
        fields={**BIASES, "swiglu_limit": "swiglu_limit"},
        keys=SINKS
        | names(LAYER, router="mlp.router.weight", experts_down_bias="mlp.experts.down_proj_bias")
        | stacked("mlp", order="pairs")
        | {"experts_gate_up_bias": key(f"{LAYER}mlp.experts.gate_up_proj_bias", order="pairs")},
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
        keys=QWEN_EXPERTS | SHARED | names(LAYER, router_correction="mlp.e_score_correction_bias"),
    ),
    "minimax_m2": Family(
        knobs={"router": "sigmoid", "correction": True, "normalize": True, "qk_norm": "full"},
        keys=MIXTRAL | names(LAYER, router_correction="block_sparse_moe.e_score_correction_bias"),
    ),
    "glm": Family(knobs={"rope_interleaved": True}, fields=QKV_BIAS, keys=FUSED),
    "glm4_moe_lite": replace(DEEPSEEK_V3, dense_layers=1),
    "seed_oss": Family(fields={**QKV_BIAS, "o_bias": "attention_out_bias", "mlp_bias": "mlp_bias"}),
    "gpt_bigcode": Family(
        knobs=GPT2_KNOBS,
        keys=GPT2_NAMES
        | {
            ours: key(f"transformer.h.{{i}}.{name}.weight", order="fused_heads" if ours == "qkv" else "")
            for ours, name in GPT2_MATRICES.items()
        },
        masks="attn",
    ),
    "granitemoeshared": replace(
        GRANITE_MOE,
        fields={**GRANITE_MOE.fields, "shared_width": "shared_intermediate_size"},
        keys=GRANITE_EXPERTS
        | names(
            f"{LAYER}shared_mlp.", shared_gate_up="input_linear.weight", shared_down="output_linear.weight"
        ),
    ),
    "granite_swa": Family(
        knobs={"sinks": True}, fields=GRANITE_FIELDS, keys=SINKS, windows="first", pattern=4
    ),
    "dots1": Family(
        knobs={**V3_ROUTER, "qk_norm": "head"},
        fields={**BIASES, **NORMALIZE},
        keys=QWEN_EXPERTS | SHARED,
        windows="late",
    ),
    "internlm3": LLAMA,
    "minicpm3": Family(fields=LLAMA_BIASES, keys=LATENT),
    "solar_open": GLM4_MOE,
    "cwm": Family(fields={"mlp_bias": "mlp_bias"}, windows="first", pattern=4),
    "flex_olmo": Family(
        knobs={**POST_ONLY, "router": "softmax", "qk_norm": "full"},
        fields={**BIASES, **NORMALIZE},
        keys=POST | QWEN_EXPERTS,
    ),
    "hyperclovax": Family(
        fields={**GRANITE_FIELDS, "post_norm": "use_post_norm", "logit_multiplier": "logits_scaling"},
        keys=names(LAYER, attn_post_norm="post_norm1.weight", mlp_post_norm="post_norm2.weight"),
    ),
    "vaultgemma": replace(
        GEMMA2, knobs={"norm_offset": True}, keys=names(LAYER, mlp_norm="pre_feedforward_layernorm.weight")
    ),
    "youtu": Family(fields={**BIASES, "rope_interleaved": "rope_interleave"}, keys=LATENT),
    "mellum": replace(QWEN3_MOE, layouts={}, windows="types", rope_bases=(5e5, 1e4)),
    "iquestcoder": LLAMA,
    "deepseek_v2": Family(
        knobs={"router": "softmax", "float_router": True, "best_of_group": True, "biases": False, **PAIRS},
        fields=LLAMA_BIASES,
        keys=QWEN_EXPERTS | SHARED | LATENT,
    ),
    "gptj": Family(
        knobs={**UNGATED, **PARALLEL, "rope_interleaved": True, "mlp_bias": True, "head_bias": True},
        keys=GPT2_NAMES
        | names(
            "transformer.h.{i}.",
            qkv=qkv("attn"),
            o="attn.out_proj.weight",
            up="mlp.fc_in.weight",
            down="mlp.fc_out.weight",
        ),
        masks="attn",
    ),
    "gpt_neo": Family(
        knobs={**UNGATED, "positions": True, "scale": 1.0, "o_bias": True, "mlp_bias": True},
        keys=GPT2_NAMES
        | names(
            "transformer.h.{i}.",
            qkv=qkv("attn.attention"),
            o="attn.attention.out_proj.weight",
            up="mlp.c_fc.weight",
            down="mlp.c_proj.weight",
        ),
        windows="types",
        masks="attention",
    ),
    "ernie4_5": Family(knobs=PAIRS, fields=USE_BIAS),
    "ernie4_5_moe": Family(
        knobs={
            **PAIRS,
            "router": "softmax",
            "float_router": True,
            "correction": True,
            "normalize": True,
            "biases": False,
        },
        fields={**USE_BIAS, "head_bias": "use_bias"},
        keys=QWEN_EXPERTS
        | SHARED
        | {"router_correction": key(f"{LAYER}mlp.moe_statics.e_score_correction_bias", order="row")},
        dense_layers=1,
    ),
    "hy_v3": Family(
        knobs={**V3_ROUTER, "normalize": True, "qk_norm": "head", "biases": False},
        fields={**LLAMA_BIASES, "float_sum": "enable_moe_fp32_combine"},
        keys=QWEN_EXPERTS
        | shared("mlp.shared_mlp")
        | names(LAYER, router="mlp.router.gate.weight", router_correction="mlp.expert_bias"),
        dense_layers=1,
    ),
    "helium": replace(LLAMA, knobs={"rope_interleaved": True}),
    "gpt-sw3": GPT2,
    "nemotron": Family(knobs={**UNGATED, "norm_offset": True}, fields=LLAMA_BIASES, keys=UP_DOWN),
    "arcee": Family(knobs={"gated": False}, fields=LLAMA_BIASES, keys=UP_DOWN),
    "jais2": Family(knobs=UNGATED, fields=LLAMA_BIASES, keys=UP_DOWN),
    "persimmon": Family(
        knobs={**UNGATED, **ALL_BIASES, "qk_norm_kind": "layer"},
        keys=PHI.keys
        | names(LAYER, up="mlp.dense_h_to_4h.weight", down="mlp.dense_4h_to_h.weight")
        | {"qkv": key(f"{LAYER}self_attn.query_key_value.weight", order="fused_heads")},
    ),
    "nanochat": Family(
        knobs={
            "norm_weight": False,
            "embed_norm": True,
            "qk_norm": "head",
            "qk_norm_weight": False,
            "qk_norm_last": True,
            "rope_reversed": True,
            "gated": False,
        },
        fields={**BIASES, **FINAL_CAP},
        keys=names(LAYER, up="mlp.fc1.weight", down="mlp.fc2.weight"),
    ),
    "hunyuan_v1_dense": HUNYUAN,
    "hunyuan_v1_moe": replace(
        HUNYUAN,
        knobs={**HUNYUAN.knobs, "router": "softmax", "normalize": True, "shared_width": None},
        keys=HUNYUAN.keys
        | QWEN_EXPERTS
        | shared("mlp.shared_mlp")
        | names(LAYER, router="mlp.gate.wg.weight"),
    ),
    "falcon": Family(
        knobs={**UNGATED, "alibi_rounding": "bfloat16"},
        fields=dict.fromkeys(ALL_BIASES, "bias"),
        keys=BLOOM_KEYS,
        layouts={
            "two norms": names("transformer.h.{i}.", attn_norm="ln_attn.weight", mlp_norm="ln_mlp.weight")
        },
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
        keys=BLOOM_KEYS | names("transformer.", embed_norm="word_embeddings_layernorm.weight"),
    ),
    "mpt": Family(
        knobs={**UNGATED, **ALIBI, "norm_bias": False, "activation": "gelu", "alibi_rounding": "last"},
        keys=names("transformer.", embed="wte.weight", norm="norm_f.weight")
        | names(
            "transformer.blocks.{i}.",
            attn_norm="norm_1.weight",
            mlp_norm="norm_2.weight",
            qkv="attn.Wqkv.weight",
            o="attn.out_proj.weight",
            up="ffn.up_proj.weight",
            down="ffn.down_proj.weight",
        ),
    ),
    "opt": Family(
        knobs={**GPT2_KNOBS, "norm_eps": 1e-5, "position_offset": 2},
        keys=names(
            "model.decoder.",
            embed="embed_tokens.weight",
            positions="embed_positions.weight",
            norm="final_layer_norm.weight",
        )
        | names(
            "model.decoder.layers.{i}.",
            attn_norm="self_attn_layer_norm.weight",
            mlp_norm="final_layer_norm.weight",
            qkv=qkv("self_attn"),
            o="self_attn.out_proj.weight",
            up="fc1.weight",
            down="fc2.weight",
        ),
    ),
    "apertus": Family(
        knobs={"qk_norm": "head", "gated": False},
        fields=BIASES,
        keys=UP_DOWN
        | names(
            LAYER,
            attn_norm="attention_layernorm.weight",
            mlp_norm="feedforward_layernorm.weight",
            act_alpha_p="mlp.act_fn.alpha_p",
            act_alpha_n="mlp.act_fn.alpha_n",
        ),
        constants={f"{LAYER}mlp.act_fn.beta": 0.5, f"{LAYER}mlp.act_fn.eps": -1e-6},
    ),
    "llama4_text": Family(
        knobs={
            **PAIRS,
            "qk_norm_weight": False,
            "qk_norm_last": True,
            "qk_norm_rotated": True,
            "router": "sigmoid",
            "scaled_input": True,
            "shared_width": None,
        },
        fields=BIASES,
        keys=names(
            f"{LAYER}feed_forward.",
            gate_up="gate_proj.weight up_proj.weight",
            down="down_proj.weight",
            router="router.weight",
        )
        | shared("feed_forward.shared_expert")
        | stacked("feed_forward"),
        windows="rotated",
    ),
}
