"""GGUF architectures: one row each says how its keys and tensors become those of a Hugging Face model.

What a row need not say is the same everywhere: names of tensors are those of `gguf.TensorNameMap`, which
are inverted. `minillm.checkpoint.gguf.convert` reads files by these rows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from minillm.checkpoint.gguf import rows
from minillm.checkpoint.gguf.rows import KV, RMS, SIZES, Architecture

# ---------------------------------------------------------------- what several rows share

LAYER_NORM = SIZES | {"attention.layer_norm_epsilon": "layer_norm_eps"}
EPSILON = {"attention.layer_norm_epsilon": "layer_norm_epsilon"}
GPT2_SIZES = EPSILON | {
    "block_count": "n_layer",
    "context_length": "n_positions",
    "embedding_length": "n_embd",
    "feed_forward_length": "n_inner",
    "attention.head_count": "n_head",
}
CLIP = {"attention.clamp_kqv": "clip_qkv"}
CAPS = {name: name for name in ("attn_logit_softcapping", "final_logit_softcapping")}
BIAS, QKV_BIAS = r"attn_(q|k|v|qkv|output)\.bias", r"attn_(q|k|v|qkv)\.bias"
ATTENTION_BIAS = {"attention_bias": BIAS}
BIASES = ATTENTION_BIAS | {"mlp_bias": r"ffn_(gate|up|down)\.bias"}
QK_NORM = r"attn_q_norm\.weight"
PARTIAL = ("rope_theta", "partial_rotary_factor")

# Keys of experts whose router is a plain softmax, which these values leave as it is.
PLAIN_ROUTER: dict[str, tuple[Any, ...]] = {
    "expert_gating_func": (1,),
    "expert_weights_scale": (0.0, 1.0),
    "expert_group_count": (0, 1),
    "expert_group_used_count": (0, 1),
}
# The same of families that always divide the chosen weights by their sum; 3 is a softmax over those alone.
SUMMED_ROUTER = PLAIN_ROUTER | {"expert_gating_func": (3, 1), "expert_weights_norm": (True,)}
FEW = {"expert_used_count": "num_experts_per_tok"}
LOCAL_EXPERTS = {"expert_count": "num_local_experts", **FEW}
# Where all layers have experts, config.json calls their width that of the MLP.
WIDTH = {"expert_feed_forward_length": "intermediate_size"}
EXPERTS = {"expert_count": "num_experts", **FEW, "expert_feed_forward_length": "moe_intermediate_size"}
NORMALIZED = {"expert_weights_norm": "norm_topk_prob"}
ROUTED = EXPERTS | {"expert_count": "n_routed_experts", "expert_shared_count": "n_shared_experts"}
ROUTED_OPTIONAL = NORMALIZED | {
    "expert_weights_scale": "routed_scaling_factor",
    "expert_group_count": "n_group",
    "expert_group_used_count": "topk_group",
    "leading_dense_block_count": "first_k_dense_replace",
}
# What llama.cpp takes where a file says nothing.
ROUTED_FIXED: dict[str, Any] = {
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 0,
}
GATE_UP, DOWN = ("ffn_gate_exps.weight", "ffn_up_exps.weight"), ("ffn_down_exps.weight",)

# ---------------------------------------------------------------- rows

_MIXTRAL = Architecture("mixtral", RMS | LOCAL_EXPERTS, KV | WIDTH, only=SUMMED_ROUTER, neighbours=True)
_OLMO2 = Architecture("olmo2", flags=ATTENTION_BIAS)
_GRANITE = Architecture(
    "granite",
    optional=KV
    | {
        "attention.scale": "attention_multiplier",
        "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_scale": "logits_scaling",
    },
    flags=BIASES,
    neighbours=True,
    complete=rows.granite_scale,
)
_GRANITE_MOE = replace(
    _GRANITE,
    model_type="granitemoe",
    model_class="GraniteMoeForCausalLM",
    keys=RMS | LOCAL_EXPERTS,
    optional=_GRANITE.optional | WIDTH,
    only=SUMMED_ROUTER,
    flags=ATTENTION_BIAS,
    recipes={"block_sparse_moe.input_linear.weight": (GATE_UP, rows.joined)},
)
_GRANITE_SHARED = replace(
    _GRANITE_MOE,
    model_type="granitemoeshared",
    model_class="GraniteMoeSharedForCausalLM",
    keys=_GRANITE_MOE.keys | {"expert_shared_feed_forward_length": "shared_intermediate_size"},
    recipes={
        **_GRANITE_MOE.recipes,
        "shared_mlp.input_linear.weight": (("ffn_gate_shexp.weight", "ffn_up_shexp.weight"), rows.joined),
    },
)
_COHERE = Architecture(
    "cohere", LAYER_NORM | {"logit_scale": "logit_scale"}, flags=ATTENTION_BIAS | {"use_qk_norm": QK_NORM}
)
_PHI3 = Architecture(
    "phi3",
    optional=KV
    | {
        "attention.sliding_window": "sliding_window",
        "rope.scaling.original_context_length": "original_max_position_embeddings",
    },
    fixed={"sliding_window": None},
    head_dim=False,
    rope=PARTIAL,
)
_DOTS1 = Architecture(
    "dots1",
    RMS | ROUTED,
    KV | ROUTED_OPTIONAL,
    fixed=ROUTED_FIXED,
    only={"expert_gating_func": (2,)},
    flags=ATTENTION_BIAS,
)
_DEEPSEEK_V3 = replace(
    _DOTS1,
    model_type="deepseek_v3",
    keys=_DOTS1.keys | {"attention.kv_lora_rank": "kv_lora_rank"},
    flags={"attention_bias": r"attn_(q_a|kv_a_mqa|output)\.bias"},
    head_dim=False,
    log_unit=0.1,
    complete=rows.latent,
)

ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(
        "llama",
        fixed={"hidden_act": "silu"},
        only={"expert_used_count": (0,)},
        flags=BIASES,
        neighbours=True,
        variants=(("expert_count", None, _MIXTRAL),),
    ),
    "mistral3": Architecture(
        "ministral3",
        fixed={"sliding_window": None},
        neighbours=True,
        stretched=True,
        log_unit=1.0,
        complete=rows.mistral3,
    ),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3", flags=ATTENTION_BIAS),
    "qwen2moe": Architecture(
        "qwen2_moe",
        RMS | EXPERTS | {"expert_shared_feed_forward_length": "shared_expert_intermediate_size"},
        KV | NORMALIZED,
        fixed={"norm_topk_prob": False},
        only=PLAIN_ROUTER,
        flags={"qkv_bias": QKV_BIAS},
    ),
    "qwen3moe": Architecture(
        "qwen3_moe",
        RMS | EXPERTS,
        KV | NORMALIZED,
        # No key says it; llama.cpp takes all models to be so.
        fixed={"norm_topk_prob": True},
        only=PLAIN_ROUTER,
        flags=ATTENTION_BIAS,
    ),
    "gemma": Architecture("gemma", offset=True),
    "gemma2": Architecture(
        "gemma2", optional=KV | CAPS, offset=True, pattern=2, window=4096, complete=partial(rows.gemma, 46)
    ),
    "gemma3": Architecture(
        "gemma3_text",
        optional=KV | CAPS,
        offset=True,
        pattern=6,
        local_base="rope_local_base_freq",
        complete=partial(rows.gemma, 62),
    ),
    "phi2": Architecture("phi", LAYER_NORM, head_dim=False, rope=PARTIAL),
    "phi3": _PHI3,
    "phimoe": replace(
        _PHI3,
        model_type="phimoe",
        keys=RMS | LOCAL_EXPERTS,
        optional=_PHI3.optional | WIDTH,
        only=SUMMED_ROUTER,
        flags=ATTENTION_BIAS | {"lm_head_bias": r"output\.bias"},
        rope=("rope_theta", ""),
        complete=rows.phimoe,
    ),
    "olmo": Architecture(
        "olmo",
        SIZES,
        KV | CLIP,
        only={"attention.layer_norm_epsilon": (1e-5,)},
        flags=ATTENTION_BIAS,
        neighbours=True,
    ),
    "olmo2": replace(
        _OLMO2, variants=(("attention.sliding_window", None, replace(_OLMO2, model_type="olmo3", pattern=4)),)
    ),
    "olmoe": Architecture(
        "olmoe",
        RMS | {"expert_count": "num_experts", **FEW},
        KV | WIDTH | CLIP | NORMALIZED,
        fixed={"norm_topk_prob": False},
        only=PLAIN_ROUTER,
        flags=ATTENTION_BIAS,
    ),
    "smollm3": Architecture(
        "smollm3",
        model_class="SmolLM3ForCausalLM",
        # llama.cpp knows no other interval.
        fixed={"no_rope_layer_interval": 4},
        flags=BIASES,
        neighbours=True,
    ),
    "granite": _GRANITE,
    "granitemoe": replace(
        _GRANITE_MOE, variants=(("expert_shared_feed_forward_length", None, _GRANITE_SHARED),)
    ),
    "command-r": _COHERE,
    "cohere2": replace(_COHERE, model_type="cohere2", flags=ATTENTION_BIAS, pattern=4),
    "chatglm": Architecture("glm", flags={"attention_bias": QKV_BIAS}, rope=PARTIAL),
    "glm4": Architecture("glm4", flags=ATTENTION_BIAS, rope=PARTIAL),
    "glm4moe": replace(
        _DOTS1, model_type="glm4_moe", flags=ATTENTION_BIAS | {"use_qk_norm": QK_NORM}, rope=PARTIAL
    ),
    "starcoder2": Architecture(
        "starcoder2",
        SIZES | {"attention.layer_norm_epsilon": "norm_epsilon"},
        flags={"use_bias": BIAS},
        head_dim=False,
    ),
    "stablelm": Architecture(
        "stablelm",
        LAYER_NORM,
        model_class="StableLmForCausalLM",
        flags={"use_qkv_bias": QKV_BIAS, "qk_layernorm": QK_NORM},
        head_dim=False,
        rope=PARTIAL,
        recipes={
            f"self_attn.{x}_layernorm.norms.{{e}}.weight": ((f"attn_{x}_norm.weight",), rows.as_stored)
            for x in "qk"
        },
        complete=rows.stablelm,
    ),
    "gptneox": Architecture(
        "gpt_neox",
        LAYER_NORM | {"use_parallel_residual": "use_parallel_residual"},
        {},
        model_class="GPTNeoXForCausalLM",
        flags=ATTENTION_BIAS,
        head_dim=False,
        rope=("rotary_emb_base", "rotary_pct"),
        reordered={"attn_qkv": rows.by_head},
    ),
    "gpt2": Architecture(
        "gpt2",
        GPT2_SIZES,
        {},
        model_class="GPT2LMHeadModel",
        head_dim=False,
        rope=("", ""),
        reordered=dict.fromkeys(("attn_qkv", "attn_output", "ffn_up", "ffn_down"), rows.transposed),
    ),
    "gpt-oss": Architecture(
        "gpt_oss",
        RMS | LOCAL_EXPERTS,
        KV | WIDTH,
        only=SUMMED_ROUTER,
        flags=ATTENTION_BIAS,
        stretched=True,
        yarn={"truncate": False},
        pattern=2,
        recipes={
            "self_attn.sinks": (("attn_sinks.weight",), rows.as_stored),
            "mlp.experts.gate_up_proj": (GATE_UP, rows.in_turns),
            "mlp.experts.gate_up_proj_bias": (("ffn_gate_exps.bias", "ffn_up_exps.bias"), rows.in_turns),
            "mlp.experts.down_proj": (DOWN, rows.transposed),
            "mlp.experts.down_proj_bias": (("ffn_down_exps.bias",), rows.as_stored),
        },
    ),
    # Files of before there was a key for it are of models whose router is a softmax.
    "deepseek2": replace(
        _DEEPSEEK_V3,
        model_type="deepseek_v2",
        only={"expert_gating_func": (1,)},
        complete=rows.deepseek_v2,
        variants=(("expert_gating_func", 2, _DEEPSEEK_V3),),
    ),
    "exaone4": Architecture("exaone4", pattern=4),
    "exaone-moe": replace(
        _DOTS1,
        model_type="exaone_moe",
        keys=RMS | EXPERTS | {"expert_shared_count": "num_shared_experts"},
        flags={},
        pattern=4,
        complete=rows.shared_width,
    ),
    "minimax-m2": Architecture(
        "minimax_m2",
        RMS | LOCAL_EXPERTS,
        KV | WIDTH,
        model_class="MiniMaxM2ForCausalLM",
        only={"expert_gating_func": (2,), "expert_weights_norm": (True,)},
        rope=("rope_theta", "rotary_dim"),
    ),
    "seed_oss": Architecture(
        "seed_oss", flags=BIASES | {"attention_bias": QKV_BIAS, "attention_out_bias": r"attn_output\.bias"}
    ),
    "dots1": _DOTS1,
    "arcee": Architecture("arcee", flags=BIASES, neighbours=True),
    "ernie4_5": Architecture("ernie4_5", model_class="Ernie4_5ForCausalLM", flags={"use_bias": BIAS}),
    "ernie4_5-moe": Architecture(
        "ernie4_5_moe",
        RMS
        | {
            "expert_count": "moe_num_experts",
            "expert_used_count": "moe_k",
            "expert_feed_forward_length": "moe_intermediate_size",
            "expert_shared_count": "moe_num_shared_experts",
            "interleave_moe_layer_step": "moe_layer_interval",
            "leading_dense_block_count": "moe_layer_start_index",
        },
        model_class="Ernie4_5_MoeForCausalLM",
        only=SUMMED_ROUTER,
        flags={"use_bias": BIAS},
        head_dim=False,
        complete=rows.shared_width,
    ),
    "nemotron": Architecture(
        "nemotron",
        SIZES | {"attention.layer_norm_epsilon": "norm_eps"},
        # Writers have it twice.
        KV | {"attention.layer_norm_rms_epsilon": "norm_eps"},
        flags=BIASES,
        offset=True,
        rope=PARTIAL,
    ),
    "jais2": Architecture("jais2", LAYER_NORM, flags=BIASES),
    "hunyuan-dense": Architecture(
        "hunyuan_v1_dense", model_class="HunYuanDenseV1ForCausalLM", flags=ATTENTION_BIAS
    ),
    "hunyuan-moe": Architecture(
        "hunyuan_v1_moe",
        RMS | {"expert_count": "num_experts", "expert_used_count": "moe_topk"},
        KV | WIDTH | {"expert_shared_feed_forward_length": "intermediate_size"},
        model_class="HunYuanMoEV1ForCausalLM",
        only=SUMMED_ROUTER | {"expert_shared_count": (1,)},
        flags=ATTENTION_BIAS,
    ),
    "starcoder": Architecture(
        "gpt_bigcode",
        GPT2_SIZES,
        {},
        model_class="GPTBigCodeForCausalLM",
        fixed={"multi_query": True},
        only={"attention.head_count_kv": (1,)},
        head_dim=False,
        rope=("", ""),
    ),
    "falcon": Architecture(
        "falcon",
        SIZES | {"feed_forward_length": "ffn_hidden_size"} | EPSILON,
        {},
        fixed={"parallel_attn": True, "alibi": False},
        flags={"bias": BIAS},
        head_dim=False,
        reordered={"attn_qkv": rows.by_group},
        complete=rows.falcon,
    ),
    "bloom": Architecture(
        "bloom",
        EPSILON
        | {"block_count": "n_layer", "embedding_length": "hidden_size", "attention.head_count": "n_head"},
        {},
        head_dim=False,
        rope=("", ""),
        reordered={"attn_qkv": rows.by_head},
        complete=rows.wide,
    ),
    "mpt": Architecture(
        "mpt",
        EPSILON
        | {
            "block_count": "n_layers",
            "context_length": "max_seq_len",
            "embedding_length": "d_model",
            "attention.head_count": "n_heads",
        },
        {},
        head_dim=False,
        rope=("", ""),
        complete=rows.mpt,
    ),
    "apertus": Architecture(
        "apertus",
        flags=ATTENTION_BIAS,
        stretched=True,
        recipes={f"mlp.act_fn.{x}": ((f"xielu_{x}",), rows.as_stored) for x in ("alpha_p", "alpha_n")},
        complete=rows.apertus,
    ),
    # What no key says is in llama.cpp too: chunks of 8192 keys, and no rope in every fourth layer.
    "llama4": Architecture(
        "llama4_text",
        RMS
        | LOCAL_EXPERTS
        | {
            "feed_forward_length": "intermediate_size_mlp",
            "expert_feed_forward_length": "intermediate_size",
            "interleave_moe_layer_step": "interleave_moe_layer_step",
        },
        fixed={"attention_chunk_size": 8192, "no_rope_layer_interval": 4},
        flags=ATTENTION_BIAS,
        recipes={
            "feed_forward.experts.gate_up_proj": (GATE_UP, rows.joined_transposed),
            "feed_forward.experts.down_proj": (DOWN, rows.transposed),
        },
        complete=rows.llama4,
    ),
    # There is one published model, whose multipliers llama.cpp has.
    "minicpm3": Architecture(
        "minicpm3",
        RMS
        | {
            "attention.q_lora_rank": "q_lora_rank",
            "attention.kv_lora_rank": "kv_lora_rank",
            "rope.dimension_count": "qk_rope_head_dim",
        },
        model_class="MiniCPM3ForCausalLM",
        fixed={"scale_emb": 12, "dim_model_base": 256, "scale_depth": 1.4},
        head_dim=False,
        complete=rows.minicpm3,
    ),
}
