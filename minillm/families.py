"""One row per `model_type`: how its config.json maps onto `ModelConfig`, and its key table.

A row is data: knobs that the family fixes, config keys that set a knob, the defaults that its config.json
leaves out, and the names of its tensors. `minillm.read_config` reads configs by it, `minillm.keys` tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Key:
    """Hugging Face's names of one of our parameters.

    Attributes:
        names: joined along the outputs; {i} is the layer, {e} the expert.
        inputs_first: a matrix is stored (K, N), as Conv1D does, and not (N, K), as Linear does.
        order: the place of an output where it is not ours: `fused_heads` (q, k and v of one head together)
            or `pairs` (gate and up in turns).
    """

    names: tuple[str, ...]
    inputs_first: bool = False
    order: str = ""


def key(*names: str, inputs_first: bool = False, order: str = "") -> Key:
    """A `Key` of these names."""
    return Key(names, inputs_first, order)


@dataclass(frozen=True)
class Family:
    """A `model_type`.

    Attributes:
        knobs: fields of `ModelConfig` that the family fixes.
        fields: field of `ModelConfig` or `Experts` -> the config key that sets it, beside the common ones.
        defaults: config key -> its value where config.json leaves it out.
        keys: our parameter -> its Hugging Face names.
        windows: without `layer_types`, which layers have the sliding window: `none`, `all`, those of a
            pattern (`types`), those from `max_window_layers` on (`late`), every other before it (`early`),
            or those without rope (`unturned`).
        pattern: every so manieth layer sees all keys; 0: all do.
        mxfp4: experts may be stored in 4 bits.
        unturned: layers that see all keys have no rope.
        ignored: config keys that no forward pass reads.
    """

    knobs: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, Key] = field(default_factory=dict)
    windows: str = "types"
    pattern: int = 0
    unturned: bool = False
    mxfp4: bool = False
    ignored: frozenset[str] = field(default_factory=frozenset)


def _names(layer: str, **names: str) -> dict[str, Key]:
    """Keys below one prefix; several names of one parameter are separated by spaces."""
    return {ours: key(*(f"{layer}{name}" for name in text.split())) for ours, text in names.items()}


LAYER = "model.layers.{i}."
KEYS: dict[str, Key] = {
    **_names("", embed="model.embed_tokens.weight", head="lm_head.weight", norm="model.norm.weight"),
    **_names(
        LAYER,
        attn_norm="input_layernorm.weight",
        mlp_norm="post_attention_layernorm.weight",
        qkv=" ".join(f"self_attn.{x}_proj.weight" for x in "qkv"),
        o="self_attn.o_proj.weight",
        q_norm="self_attn.q_norm.weight",
        k_norm="self_attn.k_norm.weight",
        gate_up="mlp.gate_proj.weight mlp.up_proj.weight",
        down="mlp.down_proj.weight",
    ),
}
FUSED = _names(LAYER, gate_up="mlp.gate_up_proj.weight")
# Post-norm alone: the norm before the MLP is the one after attention.
POST = _names(
    LAYER, attn_post_norm="post_attention_layernorm.weight", mlp_post_norm="post_feedforward_layernorm.weight"
)
SANDWICH = POST | _names(LAYER, mlp_norm="pre_feedforward_layernorm.weight")


def _experts(block: str, gate: str, up: str, down: str, **others: str) -> dict[str, Key]:
    """A router and experts of three matrices each below `block`."""
    return _names(
        f"{LAYER}{block}.",
        **{"router": "gate.weight", **others},
        experts_gate_up=f"experts.{{e}}.{gate}.weight experts.{{e}}.{up}.weight",
        experts_down=f"experts.{{e}}.{down}.weight",
    )


MIXTRAL = _experts("block_sparse_moe", "w1", "w3", "w2")
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
QWEN_EXPERTS = _experts("mlp", *PROJECTIONS)
SHARED = _names(
    f"{LAYER}mlp.",
    router_correction="gate.e_score_correction_bias",
    shared_gate_up="shared_experts.gate_proj.weight shared_experts.up_proj.weight",
    shared_down="shared_experts.down_proj.weight",
)

LLAMA = {
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_act": "silu",
    "pretraining_tp": 1,
    "tie_word_embeddings": False,
}
BIASES = {"qkv_bias": "attention_bias", "o_bias": "attention_bias"}
LLAMA_BIASES = {**BIASES, "mlp_bias": "mlp_bias"}
GEMMA = {
    **LLAMA,
    "max_position_embeddings": 8192,
    "hidden_act": "gelu_pytorch_tanh",
    "head_dim": 256,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
}
GEMMA_KNOBS = {"norm_offset": True}
QWEN = {**LLAMA, "max_position_embeddings": 32768, "use_sliding_window": False, "max_window_layers": 28}
GRANITE_FIELDS = {
    **LLAMA_BIASES,
    "embedding_multiplier": "embedding_multiplier",
    "residual_multiplier": "residual_multiplier",
}
GRANITE = {
    **LLAMA,
    "embedding_multiplier": 1.0,
    "residual_multiplier": 1.0,
    "attention_multiplier": 1.0,
    "logits_scaling": 1.0,
}
LAYER_NORM = {"norm": "layer", "norm_bias": True, "norm_native": True}
LATENT = _names(
    f"{LAYER}self_attn.",
    q_a="q_a_proj.weight",
    q_a_norm="q_a_layernorm.weight",
    q_b="q_b_proj.weight",
    q="q_proj.weight",
    kv_a="kv_a_proj_with_mqa.weight",
    kv_a_norm="kv_a_layernorm.weight",
    kv_b="kv_b_proj.weight",
)

MISTRAL = Family(
    defaults={
        **LLAMA,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
        "num_key_value_heads": 8,
    },
    keys=KEYS,
    windows="all",
)

FAMILIES: dict[str, Family] = {
    "llama": Family(fields=LLAMA_BIASES, defaults=LLAMA, keys=KEYS),
    "mistral": MISTRAL,
    "ministral": MISTRAL,
    "ministral3": Family(
        defaults={
            **LLAMA,
            "max_position_embeddings": 262144,
            "rms_norm_eps": 1e-5,
            "num_key_value_heads": 8,
            "head_dim": 128,
        },
        keys=KEYS,
        windows="all",
    ),
    "qwen2": Family(knobs={"qkv_bias": True}, defaults=QWEN, keys=KEYS, windows="late"),
    "qwen3": Family(
        knobs={"qk_norm": "head"},
        fields=BIASES,
        defaults={**QWEN, "head_dim": 128},
        keys=KEYS,
        windows="late",
    ),
    "gemma": Family(
        knobs=GEMMA_KNOBS,
        fields=BIASES,
        defaults={k: v for k, v in GEMMA.items() if k not in ("query_pre_attn_scalar", "sliding_window")},
        keys=KEYS,
        windows="none",
    ),
    "gemma2": Family(
        knobs={**GEMMA_KNOBS, "post_norm": True},
        fields={**BIASES, "softcap": "attn_logit_softcapping", "final_softcap": "final_logit_softcapping"},
        defaults={**GEMMA, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
        keys=KEYS | SANDWICH,
        pattern=2,
    ),
    "gemma3_text": Family(
        knobs={**GEMMA_KNOBS, "post_norm": True, "qk_norm": "head"},
        fields={**BIASES, "softcap": "attn_logit_softcapping", "final_softcap": "final_logit_softcapping"},
        defaults={
            **GEMMA,
            "max_position_embeddings": 131072,
            "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0,
        },
        keys=KEYS | SANDWICH,
        pattern=6,
    ),
    "phi": Family(
        knobs={
            **LAYER_NORM,
            "parallel": True,
            "shared_norm": True,
            "qk_norm_kind": "layer",
            "gated": False,
            **dict.fromkeys(("qkv_bias", "o_bias", "mlp_bias", "head_bias"), True),
        },
        defaults={
            **LLAMA,
            "hidden_act": "gelu_new",
            "layer_norm_eps": 1e-5,
            "partial_rotary_factor": 0.5,
            "qk_layernorm": False,
        },
        keys=KEYS
        | _names(
            LAYER,
            o="self_attn.dense.weight",
            up="mlp.fc1.weight",
            down="mlp.fc2.weight",
            q_norm="self_attn.q_layernorm.weight",
            k_norm="self_attn.k_layernorm.weight",
        )
        | _names("", norm="model.final_layernorm.weight"),
    ),
    "phi3": Family(
        defaults={
            **LLAMA,
            "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
        },
        keys=KEYS | FUSED | _names(LAYER, qkv="self_attn.qkv_proj.weight"),
        windows="all",
    ),
    "olmo": Family(
        knobs={"norm": "layer", "norm_weight": False, "norm_eps": 1e-5},
        fields={**BIASES, "clip_qkv": "clip_qkv"},
        defaults=LLAMA,
        keys=KEYS,
    ),
    "olmo2": Family(
        knobs={"pre_norm": False, "post_norm": True, "qk_norm": "full"},
        fields=BIASES,
        defaults={**LLAMA, "rms_norm_eps": 1e-5},
        keys=KEYS | POST,
    ),
    "olmo3": Family(
        knobs={"pre_norm": False, "post_norm": True, "qk_norm": "full"},
        fields=BIASES,
        defaults={**LLAMA, "rms_norm_eps": 1e-5, "sliding_window": 4096, "rope_theta": 500000.0},
        keys=KEYS | POST,
        pattern=4,
    ),
    "smollm3": Family(
        fields=LLAMA_BIASES,
        defaults={
            **QWEN,
            "num_key_value_heads": 4,
            "rope_theta": 2000000.0,
            "no_rope_layer_interval": 4,
            "tie_word_embeddings": True,
        },
        keys=KEYS,
        windows="unturned",
    ),
    "granite": Family(fields=GRANITE_FIELDS, defaults=GRANITE, keys=KEYS),
    "cohere2": Family(
        knobs={
            "norm": "layer",
            "parallel": True,
            "shared_norm": True,
            "rope_interleaved": True,
            "rope_float": True,
        },
        fields={**BIASES, "logit_multiplier": "logit_scale"},
        defaults={
            **LLAMA,
            "max_position_embeddings": 8192,
            "layer_norm_eps": 1e-5,
            "logit_scale": 0.0625,
            "sliding_window": 4096,
            "tie_word_embeddings": True,
        },
        keys=KEYS,
        pattern=4,
        unturned=True,
    ),
    "glm4": Family(
        knobs={"post_norm": True, "rope_interleaved": True},
        fields={"qkv_bias": "attention_bias"},
        defaults={
            **LLAMA,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1.5625e-07,
            "head_dim": 128,
            "num_key_value_heads": 2,
            "partial_rotary_factor": 0.5,
            "attention_bias": True,
        },
        keys=KEYS
        | FUSED
        | _names(
            LAYER,
            attn_post_norm="post_self_attn_layernorm.weight",
            mlp_post_norm="post_mlp_layernorm.weight",
        ),
    ),
    "starcoder2": Family(
        knobs={**LAYER_NORM, "gated": False},
        fields=dict.fromkeys(("qkv_bias", "o_bias", "mlp_bias"), "use_bias"),
        defaults={
            **LLAMA,
            "max_position_embeddings": 4096,
            "norm_epsilon": 1e-5,
            "hidden_act": "gelu_pytorch_tanh",
            "num_key_value_heads": 2,
            "use_bias": True,
            "tie_word_embeddings": True,
        },
        keys=KEYS | _names(LAYER, up="mlp.c_fc.weight", down="mlp.c_proj.weight"),
        windows="all",
    ),
    "stablelm": Family(
        knobs={**LAYER_NORM, "qk_norm_kind": "layer"},
        fields={
            "qkv_bias": "use_qkv_bias",
            "parallel": "use_parallel_residual",
            "shared_norm": "use_parallel_residual",
        },
        defaults={
            **LLAMA,
            "max_position_embeddings": 4096,
            "layer_norm_eps": 1e-5,
            "partial_rotary_factor": 0.25,
            "use_qkv_bias": False,
            "use_parallel_residual": False,
            "qk_layernorm": False,
        },
        keys=KEYS
        | _names(
            LAYER,
            q_norm="self_attn.q_layernorm.norms.{e}.weight",
            k_norm="self_attn.k_layernorm.norms.{e}.weight",
        ),
    ),
    "gpt_neox": Family(
        knobs={**LAYER_NORM, "gated": False, "mlp_bias": True},
        fields={**BIASES, "parallel": "use_parallel_residual"},
        defaults={
            **LLAMA,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "partial_rotary_factor": 0.25,
            "use_parallel_residual": True,
            "attention_bias": True,
        },
        keys=_names("", embed="gpt_neox.embed_in.weight", head="embed_out.weight")
        | _names("gpt_neox.", norm="final_layer_norm.weight")
        | _names(
            "gpt_neox.layers.{i}.",
            attn_norm="input_layernorm.weight",
            mlp_norm="post_attention_layernorm.weight",
            o="attention.dense.weight",
            up="mlp.dense_h_to_4h.weight",
            down="mlp.dense_4h_to_h.weight",
        )
        | {"qkv": key("gpt_neox.layers.{i}.attention.query_key_value.weight", order="fused_heads")},
    ),
    "gpt2": Family(
        knobs={
            **LAYER_NORM,
            "positions": True,
            "gated": False,
            **dict.fromkeys(("qkv_bias", "o_bias", "mlp_bias"), True),
        },
        defaults={
            "n_positions": 1024,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new",
            "tie_word_embeddings": True,
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        keys=_names("transformer.", embed="wte.weight", positions="wpe.weight", norm="ln_f.weight")
        | _names("", head="lm_head.weight")
        | _names("transformer.h.{i}.", attn_norm="ln_1.weight", mlp_norm="ln_2.weight")
        | {
            ours: key(f"transformer.h.{{i}}.{name}.weight", inputs_first=True)
            for ours, name in (
                ("qkv", "attn.c_attn"),
                ("o", "attn.c_proj"),
                ("up", "mlp.c_fc"),
                ("down", "mlp.c_proj"),
            )
        },
        ignored=frozenset({"reorder_and_upcast_attn"}),
    ),
    "mixtral": Family(
        knobs={"router": "softmax", "normalize": True},
        defaults={
            **LLAMA,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1000000.0,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        },
        keys=KEYS | MIXTRAL,
        windows="all",
    ),
    "qwen2_moe": Family(
        knobs={"router": "softmax", "shared_gate": True},
        fields={
            "qkv_bias": "qkv_bias",
            "normalize": "norm_topk_prob",
            "shared_width": "shared_expert_intermediate_size",
        },
        defaults={
            **QWEN,
            "qkv_bias": True,
            "norm_topk_prob": False,
            "num_experts": 60,
            "num_experts_per_tok": 4,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        },
        keys=KEYS
        | QWEN_EXPERTS
        | _names(
            f"{LAYER}mlp.",
            shared_gate="shared_expert_gate.weight",
            shared_gate_up="shared_expert.gate_proj.weight shared_expert.up_proj.weight",
            shared_down="shared_expert.down_proj.weight",
        ),
        windows="early",
    ),
    "qwen3_moe": Family(
        knobs={"router": "softmax", "qk_norm": "head"},
        fields={**BIASES, "normalize": "norm_topk_prob"},
        defaults={
            **QWEN,
            "num_key_value_heads": 4,
            "norm_topk_prob": False,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "moe_intermediate_size": 768,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        },
        keys=KEYS | QWEN_EXPERTS,
        windows="all",
    ),
    "olmoe": Family(
        knobs={"router": "softmax", "qk_norm": "full"},
        fields={**BIASES, "clip_qkv": "clip_qkv", "normalize": "norm_topk_prob"},
        defaults={
            **LLAMA,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "norm_topk_prob": False,
            "num_experts": 64,
            "num_experts_per_tok": 8,
        },
        keys=KEYS | QWEN_EXPERTS,
    ),
    "granitemoe": Family(
        knobs={"router": "chosen_softmax"},
        fields=GRANITE_FIELDS,
        defaults={**GRANITE, "num_local_experts": 8, "num_experts_per_tok": 2},
        keys=KEYS
        | _names(
            f"{LAYER}block_sparse_moe.",
            router="router.layer.weight",
            experts_gate_up="input_linear.weight",
            experts_down="output_linear.weight",
        ),
    ),
    "phimoe": Family(
        knobs={**LAYER_NORM, "router": "sparsemixer", "native": True},
        fields={**BIASES, "head_bias": "lm_head_bias", "jitter": "router_jitter_noise"},
        defaults={
            **LLAMA,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1000000.0,
            "num_key_value_heads": 8,
            "num_local_experts": 16,
            "num_experts_per_tok": 2,
            "router_jitter_noise": 0.01,
            "lm_head_bias": False,
        },
        keys=KEYS | MIXTRAL,
        windows="all",
        ignored=frozenset({"input_jitter_noise"}),
    ),
    "gpt_oss": Family(
        knobs={
            "router": "chosen_softmax",
            "native": True,
            "sinks": True,
            "swiglu_limit": 7.0,
            **dict.fromkeys(("mlp_bias", "router_bias"), True),
        },
        fields={**BIASES, "swiglu_limit": "swiglu_limit"},
        defaults={
            **LLAMA,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "rope_theta": 150000.0,
            "head_dim": 64,
            "num_key_value_heads": 8,
            "attention_bias": True,
            "sliding_window": 128,
            "num_local_experts": 128,
            "num_experts_per_tok": 4,
            "swiglu_limit": 7.0,
            "swiglu_alpha": 1.702,
        },
        keys=KEYS
        | _names(LAYER, sinks="self_attn.sinks", router="mlp.router.weight")
        | {
            "experts_gate_up": key(f"{LAYER}mlp.experts.gate_up_proj", inputs_first=True, order="pairs"),
            "experts_gate_up_bias": key(f"{LAYER}mlp.experts.gate_up_proj_bias", order="pairs"),
            "experts_down": key(f"{LAYER}mlp.experts.down_proj", inputs_first=True),
            "experts_down_bias": key(f"{LAYER}mlp.experts.down_proj_bias"),
        },
        pattern=2,
        mxfp4=True,
    ),
    "glm4_moe": Family(
        knobs={"router": "sigmoid", "float_router": True},
        fields={"qkv_bias": "attention_bias", "normalize": "norm_topk_prob"},
        defaults={
            **LLAMA,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "num_key_value_heads": 8,
            "partial_rotary_factor": 0.5,
            "use_qk_norm": False,
            "moe_intermediate_size": 1408,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
            "num_experts_per_tok": 8,
            "routed_scaling_factor": 1.0,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "norm_topk_prob": True,
        },
        keys=KEYS | QWEN_EXPERTS | SHARED,
        ignored=frozenset({"num_nextn_predict_layers"}),
    ),
    "deepseek_v3": Family(
        knobs={"router": "sigmoid", "float_router": True},
        fields={**BIASES, "normalize": "norm_topk_prob", "rope_interleaved": "rope_interleave"},
        defaults={
            **LLAMA,
            "max_position_embeddings": 4096,
            "rope_interleave": True,
            "q_lora_rank": 1536,
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
            "qk_nope_head_dim": 128,
            "v_head_dim": 128,
            "moe_intermediate_size": 2048,
            "n_routed_experts": 256,
            "n_shared_experts": 1,
            "num_experts_per_tok": 8,
            "routed_scaling_factor": 2.5,
            "n_group": 8,
            "topk_group": 4,
            "first_k_dense_replace": 3,
            "norm_topk_prob": True,
        },
        keys=KEYS | QWEN_EXPERTS | SHARED | LATENT,
        ignored=frozenset(
            {
                "num_nextn_predict_layers",
                "qk_head_dim",
                "ep_size",
                "moe_layer_freq",
                "scoring_func",
                "topk_method",
            }
        ),
    ),
}
