"""GGUF architectures: one row each says how its keys and tensors become those of a Hugging Face model.

What a row need not say is the same everywhere: names of tensors are those of `gguf.TensorNameMap`, which
are inverted. `minillm.checkpoint.gguf.convert` reads files by these rows.
"""

from __future__ import annotations

from dataclasses import replace

from minillm.checkpoint.gguf import rows as parts
from minillm.checkpoint.gguf.rows import (
    ATTENTION_BIAS,
    BIAS,
    BIASES,
    CAPS,
    CLIP,
    CORRECTION,
    EXPERTS,
    FEW,
    KV,
    LAYER,
    LAYER_NORM,
    LOCAL_EXPERTS,
    NORMALIZED,
    PARTIAL,
    PLAIN_ROUTER,
    RMS,
    ROUTED,
    ROUTED_FIXED,
    ROUTED_OPTIONAL,
    SIZES,
    SUMMED_ROUTER,
    WIDTH,
    WINDOW,
    Architecture,
    Recipe,
)  # fmt: skip

GPT2_SIZES = {
    "block_count": "n_layer",
    "context_length": "n_positions",
    "embedding_length": "n_embd",
    "feed_forward_length": "n_inner",
    "attention.head_count": "n_head",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
}
_MIXTRAL = Architecture(
    "mixtral",
    "MixtralForCausalLM",
    RMS | LOCAL_EXPERTS,
    KV | WIDTH,
    only=SUMMED_ROUTER,
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
    complete=parts.granite_scale,
)
_GRANITE_MOE = replace(
    _GRANITE,
    model_type="granitemoe",
    model_class="GraniteMoeForCausalLM",
    keys=RMS | LOCAL_EXPERTS,
    optional={**_GRANITE.optional, **WIDTH},
    only=SUMMED_ROUTER,
    flags=ATTENTION_BIAS,
    recipes={
        f"{LAYER}block_sparse_moe.input_linear.weight": Recipe(
            ("ffn_gate_exps.weight", "ffn_up_exps.weight"), parts.joined
        )
    },
)
_GRANITE_SHARED = replace(
    _GRANITE_MOE,
    model_type="granitemoeshared",
    model_class="GraniteMoeSharedForCausalLM",
    keys={**_GRANITE_MOE.keys, "expert_shared_feed_forward_length": "shared_intermediate_size"},
    recipes={
        **_GRANITE_MOE.recipes,
        f"{LAYER}shared_mlp.input_linear.weight": Recipe(
            ("ffn_gate_shexp.weight", "ffn_up_shexp.weight"), parts.one_mlp
        ),
    },
)
_COHERE = Architecture(
    "cohere",
    "CohereForCausalLM",
    LAYER_NORM | {"logit_scale": "logit_scale"},
    KV,
    flags={**ATTENTION_BIAS, "use_qk_norm": r"attn_q_norm\.weight"},
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
    complete=parts.latent,
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
        stretched=True,
        log_unit=1.0,
        complete=parts.mistral3,
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
        complete=parts.gemma_scale(46),
    ),
    "gemma3": replace(
        _GEMMA,
        model_type="gemma3_text",
        model_class="Gemma3ForCausalLM",
        optional=KV | CAPS,
        pattern=6,
        local_base="rope_local_base_freq",
        complete=parts.gemma_scale(62),
    ),
    "phi2": Architecture("phi", "PhiForCausalLM", LAYER_NORM, KV, head_dim=False, rope=PARTIAL),
    "phi3": _PHI3,
    "phimoe": replace(
        _PHI3,
        model_type="phimoe",
        model_class="PhimoeForCausalLM",
        keys=RMS | LOCAL_EXPERTS,
        optional={**_PHI3.optional, **WIDTH},
        only=SUMMED_ROUTER,
        flags={**ATTENTION_BIAS, "lm_head_bias": r"output\.bias"},
        rope=("rope_theta", ""),
        complete=parts.phimoe,
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
        _GRANITE_MOE,
        variants=(("expert_shared_feed_forward_length", None, _GRANITE_SHARED),),
    ),
    "command-r": _COHERE,
    "cohere2": replace(
        _COHERE, model_type="cohere2", model_class="Cohere2ForCausalLM", flags=ATTENTION_BIAS, pattern=4
    ),
    "chatglm": Architecture(
        "glm", "GlmForCausalLM", RMS, KV, flags={"attention_bias": r"attn_(q|k|v|qkv)\.bias"}, rope=PARTIAL
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
        complete=parts.stablelm,
    ),
    "gptneox": Architecture(
        "gpt_neox",
        "GPTNeoXForCausalLM",
        LAYER_NORM | {"use_parallel_residual": "use_parallel_residual"},
        flags=ATTENTION_BIAS,
        head_dim=False,
        rope=("rotary_emb_base", "rotary_pct"),
        recipes={
            f"gpt_neox.layers.{{i}}.attention.query_key_value.{kind}": Recipe(
                (f"attn_qkv.{kind}",), parts.by_head
            )
            for kind in ("weight", "bias")
        },
    ),
    "gpt2": Architecture(
        "gpt2",
        "GPT2LMHeadModel",
        GPT2_SIZES,
        head_dim=False,
        rope=("", ""),
        recipes={
            f"transformer.h.{{i}}.{name}.weight": Recipe((f"{part}.weight",), parts.transposed)
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
        only=SUMMED_ROUTER,
        flags=ATTENTION_BIAS,
        stretched=True,
        yarn={"truncate": False},
        pattern=2,
        recipes={
            f"{LAYER}self_attn.sinks": Recipe(("attn_sinks.weight",)),
            f"{LAYER}mlp.experts.gate_up_proj": Recipe(
                ("ffn_gate_exps.weight", "ffn_up_exps.weight"), parts.in_turns
            ),
            f"{LAYER}mlp.experts.gate_up_proj_bias": Recipe(
                ("ffn_gate_exps.bias", "ffn_up_exps.bias"), parts.in_turns
            ),
            f"{LAYER}mlp.experts.down_proj": Recipe(("ffn_down_exps.weight",), parts.transposed),
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
        complete=parts.deepseek_v2,
        variants=(("expert_gating_func", 2, _DEEPSEEK_V3),),
    ),
    "exaone4": Architecture("exaone4", "Exaone4ForCausalLM", RMS, KV, pattern=4),
    "exaone-moe": Architecture(
        "exaone_moe",
        "ExaoneMoeForCausalLM",
        RMS | EXPERTS | {"expert_shared_count": "num_shared_experts"},
        KV | ROUTED_OPTIONAL,
        fixed=ROUTED_FIXED,
        only={"expert_gating_func": (2,)},
        pattern=4,
        recipes={f"{LAYER}mlp.e_score_correction_bias": Recipe(("exp_probs_b.bias",))},
        complete=parts.shared_width,
    ),
    "minimax-m2": Architecture(
        "minimax_m2",
        "MiniMaxM2ForCausalLM",
        RMS | LOCAL_EXPERTS,
        KV | WIDTH,
        only={"expert_gating_func": (2,), "expert_weights_norm": (True,)},
        rope=("rope_theta", "rotary_dim"),
        recipes={f"{LAYER}block_sparse_moe.e_score_correction_bias": Recipe(("exp_probs_b.bias",))},
    ),
    "seed_oss": Architecture(
        "seed_oss",
        "SeedOssForCausalLM",
        RMS,
        KV,
        flags={
            "attention_bias": r"attn_(q|k|v|qkv)\.bias",
            "attention_out_bias": r"attn_output\.bias",
            "mlp_bias": BIASES["mlp_bias"],
        },
    ),
    "dots1": Architecture(
        "dots1",
        "Dots1ForCausalLM",
        RMS | ROUTED,
        KV | ROUTED_OPTIONAL,
        fixed=ROUTED_FIXED,
        only={"expert_gating_func": (2,)},
        flags=ATTENTION_BIAS,
        recipes=CORRECTION,
    ),
    "arcee": Architecture("arcee", "ArceeForCausalLM", RMS, KV, flags=BIASES, neighbours=True),
    "ernie4_5": Architecture("ernie4_5", "Ernie4_5ForCausalLM", RMS, KV, flags={"use_bias": BIAS}),
    "ernie4_5-moe": Architecture(
        "ernie4_5_moe",
        "Ernie4_5_MoeForCausalLM",
        RMS
        | {
            "expert_count": "moe_num_experts",
            "expert_used_count": "moe_k",
            "expert_feed_forward_length": "moe_intermediate_size",
            "expert_shared_count": "moe_num_shared_experts",
            "interleave_moe_layer_step": "moe_layer_interval",
            "leading_dense_block_count": "moe_layer_start_index",
        },
        KV,
        only=SUMMED_ROUTER,
        flags={"use_bias": BIAS},
        head_dim=False,
        recipes={f"{LAYER}mlp.moe_statics.e_score_correction_bias": Recipe(("exp_probs_b.bias",))},
        complete=parts.shared_width,
    ),
    "nemotron": Architecture(
        "nemotron",
        "NemotronForCausalLM",
        SIZES | {"attention.layer_norm_epsilon": "norm_eps"},
        # Writers have it twice.
        KV | {"attention.layer_norm_rms_epsilon": "norm_eps"},
        flags=BIASES,
        offset=True,
        rope=PARTIAL,
    ),
    "jais2": Architecture("jais2", "Jais2ForCausalLM", LAYER_NORM, KV, flags=BIASES),
    "hunyuan-dense": Architecture(
        "hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM", RMS, KV, flags=ATTENTION_BIAS
    ),
    "hunyuan-moe": Architecture(
        "hunyuan_v1_moe",
        "HunYuanMoEV1ForCausalLM",
        RMS | {"expert_count": "num_experts", "expert_used_count": "moe_topk"},
        KV | WIDTH | {"expert_shared_feed_forward_length": "intermediate_size"},
        only={**SUMMED_ROUTER, "expert_shared_count": (1,)},
        flags=ATTENTION_BIAS,
    ),
    "starcoder": Architecture(
        "gpt_bigcode",
        "GPTBigCodeForCausalLM",
        GPT2_SIZES,
        fixed={"multi_query": True},
        only={"attention.head_count_kv": (1,)},
        head_dim=False,
        rope=("", ""),
    ),
    "falcon": Architecture(
        "falcon",
        "FalconForCausalLM",
        SIZES
        | {"feed_forward_length": "ffn_hidden_size", "attention.layer_norm_epsilon": "layer_norm_epsilon"},
        fixed={"parallel_attn": True, "alibi": False},
        flags={"bias": BIAS},
        head_dim=False,
        recipes={
            f"transformer.h.{{i}}.self_attention.query_key_value.{kind}": Recipe(
                (f"attn_qkv.{kind}",), parts.by_group
            )
            for kind in ("weight", "bias")
        },
        complete=parts.falcon,
    ),
    "bloom": Architecture(
        "bloom",
        "BloomForCausalLM",
        {
            "block_count": "n_layer",
            "embedding_length": "hidden_size",
            "attention.head_count": "n_head",
            "attention.layer_norm_epsilon": "layer_norm_epsilon",
        },
        head_dim=False,
        rope=("", ""),
        recipes={
            f"transformer.h.{{i}}.self_attention.query_key_value.{kind}": Recipe(
                (f"attn_qkv.{kind}",), parts.by_head
            )
            for kind in ("weight", "bias")
        },
        complete=parts.wide,
    ),
    "mpt": Architecture(
        "mpt",
        "MptForCausalLM",
        {
            "block_count": "n_layers",
            "context_length": "max_seq_len",
            "embedding_length": "d_model",
            "attention.head_count": "n_heads",
            "attention.layer_norm_epsilon": "layer_norm_epsilon",
        },
        head_dim=False,
        rope=("", ""),
        complete=parts.mpt,
    ),
    "apertus": Architecture(
        "apertus",
        "ApertusForCausalLM",
        RMS,
        KV,
        flags=ATTENTION_BIAS,
        stretched=True,
        recipes={f"{LAYER}mlp.act_fn.{x}": Recipe((f"xielu_{x}",)) for x in ("alpha_p", "alpha_n")},
        complete=parts.apertus,
    ),
    # What no key says is in llama.cpp too: chunks of 8192 keys, and no rope in every fourth layer.
    "llama4": Architecture(
        "llama4_text",
        "Llama4ForCausalLM",
        RMS
        | LOCAL_EXPERTS
        | {
            "feed_forward_length": "intermediate_size_mlp",
            "expert_feed_forward_length": "intermediate_size",
            "interleave_moe_layer_step": "interleave_moe_layer_step",
        },
        KV,
        fixed={"attention_chunk_size": 8192, "no_rope_layer_interval": 4},
        flags=ATTENTION_BIAS,
        recipes={
            f"{LAYER}feed_forward.experts.gate_up_proj": Recipe(
                ("ffn_gate_exps.weight", "ffn_up_exps.weight"), parts.joined_transposed
            ),
            f"{LAYER}feed_forward.experts.down_proj": Recipe(("ffn_down_exps.weight",), parts.transposed),
        },
        complete=parts.llama4,
    ),
    # There is one published model, whose multipliers llama.cpp has.
    "minicpm3": Architecture(
        "minicpm3",
        "MiniCPM3ForCausalLM",
        RMS
        | {
            "attention.q_lora_rank": "q_lora_rank",
            "attention.kv_lora_rank": "kv_lora_rank",
            "rope.dimension_count": "qk_rope_head_dim",
        },
        KV,
        fixed={"scale_emb": 12, "dim_model_base": 256, "scale_depth": 1.4},
        head_dim=False,
        complete=parts.minicpm3,
    ),
}
