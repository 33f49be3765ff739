"""Writes families.json: what transformers makes of tiny random models, one or more a family, in float64.

    python tests/golden/write_families.py [CASE ...]

Without a case, all are rewritten: on another CPU in other last digits. A case is a config of odd sizes.
Its weights are a function of their Hugging Face names and shapes, so they need not be kept: `families.json`
holds the config.json and the logprobs of one sequence. `test_families` compares with these, and where
transformers is installed with its models themselves. Where transformers has float32 in places that we do
not follow to the bit (`FLOAT_STEPS`), they are of float64 there too.
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

VOCABULARY = 97
# Longer than the windows (7 to 11 keys) and than the original rope lengths (16 to 24 positions), and on
# both sides of a page's border.
LENGTHS = (72, 1, 33, 26)

COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 37,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
THETA = {"rope_theta": 500.0}
DEFAULT = {"rope_type": "default", **THETA}
LINEAR = {"rope_type": "linear", "factor": 4.0, **THETA}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 24,
    **THETA,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24, **THETA}


def longrope(pairs: int, **others: Any) -> dict[str, Any]:
    return {
        "rope_type": "longrope",
        "short_factor": [1.0 + 0.1 * i for i in range(pairs)],
        "long_factor": [1.5 + 0.7 * i for i in range(pairs)],
        "original_max_position_embeddings": 24,
        **THETA,
        **others,
    }


def types(*kinds: str) -> list[str]:
    return [f"{'sliding' if kind == 's' else 'full'}_attention" for kind in kinds]


MOE = {"num_experts_per_tok": 2, "output_router_logits": False}
# Families that have no rope, or that name their sizes in their own way.
NO_ROPE: dict[str, Any] = {
    **dict.fromkeys(COMMON.keys() - {"vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"}),
    "rope_parameters": None,
}
GPT2 = {**NO_ROPE, "n_positions": 128, "n_embd": 48, "n_layer": 3, "n_head": 6}
LATENT = {
    "q_lora_rank": 22,
    "kv_lora_rank": 18,
    "qk_rope_head_dim": 6,
    "qk_nope_head_dim": 10,
    "v_head_dim": 14,
}
GRANITE = {
    "embedding_multiplier": 3.0,
    "logits_scaling": 2.0,
    "residual_multiplier": 0.3,
    "attention_multiplier": 0.2,
}
# Case -> (model_type, what differs from COMMON; None takes a key out).
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"head_dim": 10, "rope_parameters": LLAMA3}),
    "llama-biases": (
        "llama",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "rope_parameters": LINEAR},
    ),
    "llama-yarn": ("llama", {"num_key_value_heads": 1, "rope_parameters": YARN}),
    "llama-dynamic": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, **THETA}},
    ),
    "mistral": ("mistral", {"sliding_window": 9, "head_dim": 14}),
    "mistral-full": ("mistral", {"sliding_window": None}),
    "ministral": ("ministral", {"head_dim": 14, "sliding_window": 7, "layer_types": types(*"sfsf")}),
    "ministral3": (
        "ministral3",
        {
            "head_dim": 16,
            "rope_parameters": {
                **YARN,
                "llama_4_scaling_beta": 0.1,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
            },
        },
    ),
    "qwen2": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2, "rope_parameters": YARN},
    ),
    "qwen3": ("qwen3", {"head_dim": 12, "attention_bias": True}),
    "gemma": ("gemma", {"head_dim": 14}),
    "gemma2": (
        "gemma2",
        {
            "head_dim": 14,
            "sliding_window": 9,
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 2.0,
        },
    ),
    "gemma3_text": (
        "gemma3_text",
        {
            "num_hidden_layers": 7,
            "head_dim": 14,
            "sliding_window": 9,
            "query_pre_attn_scalar": 20,
            "rope_parameters": {
                "sliding_attention": DEFAULT,
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 4000.0},
            },
        },
    ),
    "phi": ("phi", {"num_attention_heads": 4, "rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}}),
    "phi-qk-norm": ("phi", {"num_attention_heads": 4, "qk_layernorm": True}),
    "phi3": (
        "phi3",
        {"original_max_position_embeddings": 24, "sliding_window": 11, "rope_parameters": longrope(4)},
    ),
    "phi3-partial": (
        "phi3",
        {"num_attention_heads": 4, "rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}},
    ),
    "olmo": ("olmo", {"clip_qkv": 0.8}),
    "olmo2": ("olmo2", {"attention_bias": True}),
    "olmo3": ("olmo3", {"sliding_window": 9, "rope_parameters": None}),
    "olmo3-yarn": (
        "olmo3",
        {
            "sliding_window": 9,
            "rope_parameters": {
                "sliding_attention": DEFAULT,
                "full_attention": {**YARN, "attention_factor": 1.2, "beta_fast": 32, "beta_slow": 1},
            },
        },
    ),
    "smollm3": ("smollm3", {"tie_word_embeddings": True}),
    "smollm3-windows": (
        "smollm3",
        {"use_sliding_window": True, "sliding_window": 9, "no_rope_layers": [1, 0, 1, 0]},
    ),
    "granite": (
        "granite",
        {
            "embedding_multiplier": 3.0,
            "logits_scaling": 2.0,
            "residual_multiplier": 0.3,
            "attention_multiplier": 0.2,
        },
    ),
    "cohere2": ("cohere2", {"head_dim": 12, "sliding_window": 9, "logit_scale": 0.25}),
    "glm4": ("glm4", {"head_dim": 12}),
    "starcoder2": ("starcoder2", {"sliding_window": 9}),
    "stablelm": (
        "stablelm",
        {
            "qk_layernorm": True,
            "use_qkv_bias": True,
            "rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.25},
        },
    ),
    "stablelm-parallel": (
        "stablelm",
        {"use_parallel_residual": True, "rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}},
    ),
    "gpt_neox": (
        "gpt_neox",
        {"num_key_value_heads": None, "rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.25}},
    ),
    "gpt_neox-serial": ("gpt_neox", {"num_key_value_heads": None, "use_parallel_residual": False}),
    "gpt2": (
        "gpt2",
        {
            **dict.fromkeys(COMMON.keys() - {"vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"}),
            "n_positions": 128,
            "n_embd": 48,
            "n_layer": 3,
            "n_head": 6,
            "rope_parameters": None,
        },
    ),
    "mixtral": ("mixtral", {**MOE, "num_local_experts": 5, "sliding_window": 9}),
    "qwen2_moe": (
        "qwen2_moe",
        {
            **MOE,
            "num_experts": 5,
            "moe_intermediate_size": 19,
            "shared_expert_intermediate_size": 23,
            "decoder_sparse_step": 2,
            "mlp_only_layers": [3],
        },
    ),
    "qwen3_moe": (
        "qwen3_moe",
        {**MOE, "num_experts": 5, "moe_intermediate_size": 19, "head_dim": 12, "norm_topk_prob": True},
    ),
    "olmoe": ("olmoe", {**MOE, "num_experts": 5, "num_experts_per_tok": 3, "clip_qkv": 0.8}),
    "granitemoe": (
        "granitemoe",
        {
            **MOE,
            "num_local_experts": 5,
            "residual_multiplier": 0.3,
            "logits_scaling": 2.0,
            "attention_multiplier": 0.2,
            "embedding_multiplier": 3.0,
        },
    ),
    "phimoe": (
        "phimoe",
        {
            **MOE,
            "num_local_experts": 5,
            "lm_head_bias": True,
            "attention_bias": True,
            "sliding_window": 11,
            "router_jitter_noise": 0.3,
        },
    ),
    "gpt_oss": (
        "gpt_oss",
        {
            **MOE,
            "num_local_experts": 5,
            "head_dim": 12,
            "sliding_window": 9,
            "rope_parameters": {**YARN, "truncate": False, "beta_fast": 32.0, "beta_slow": 1.0},
        },
    ),
    "glm4_moe": (
        "glm4_moe",
        {
            **MOE,
            "n_routed_experts": 6,
            "n_group": 2,
            "topk_group": 1,
            "moe_intermediate_size": 19,
            "first_k_dense_replace": 1,
            "head_dim": 12,
            "use_qk_norm": True,
            "attention_bias": True,
            "routed_scaling_factor": 1.7,
        },
    ),
    "deepseek_v3": (
        "deepseek_v3",
        {
            **MOE,
            "num_key_value_heads": 6,
            "n_routed_experts": 8,
            "n_group": 4,
            "topk_group": 2,
            "moe_intermediate_size": 19,
            "first_k_dense_replace": 1,
            "q_lora_rank": 22,
            "kv_lora_rank": 18,
            "qk_rope_head_dim": 6,
            "qk_nope_head_dim": 10,
            "v_head_dim": 14,
            "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.7},
        },
    ),
    "deepseek_v3-plain": (
        "deepseek_v3",
        {
            **MOE,
            "num_key_value_heads": 6,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "n_shared_experts": 2,
            "moe_intermediate_size": 19,
            "first_k_dense_replace": 0,
            "q_lora_rank": None,
            "kv_lora_rank": 18,
            "qk_rope_head_dim": 6,
            "qk_nope_head_dim": 10,
            "v_head_dim": 14,
        },
    ),
    "kimi_k2": (
        "kimi_k2",
        {
            **MOE,
            **LATENT,
            "num_key_value_heads": 6,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "moe_intermediate_size": 19,
            "first_k_dense_replace": 1,
            "num_nextn_predict_layers": 0,
            "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
        },
    ),
    "mimo": ("mimo", {"head_dim": 14}),
    "cohere": ("cohere", {"use_qk_norm": True, "logit_scale": 0.25}),
    "exaone4": ("exaone4", {"head_dim": 14, "sliding_window": 9}),
    "exaone4-full": ("exaone4", {"sliding_window": None, "layer_types": types(*"ffff")}),
    "exaone_moe": (
        "exaone_moe",
        {
            **MOE,
            "num_experts": 6,
            "n_group": 2,
            "topk_group": 1,
            "num_shared_experts": 2,
            "moe_intermediate_size": 19,
            "first_k_dense_replace": 1,
            "head_dim": 12,
            "sliding_window": 9,
        },
    ),
    "minimax_m2": ("minimax_m2", {**MOE, "num_local_experts": 5, "head_dim": 12, "rotary_dim": 6}),
    "glm": ("glm", {"head_dim": 12}),
    "glm4_moe_lite": (
        "glm4_moe_lite",
        {
            **MOE,
            **LATENT,
            "num_key_value_heads": 6,
            "n_routed_experts": 8,
            "n_group": 4,
            "topk_group": 2,
            "moe_intermediate_size": 19,
        },
    ),
    "seed_oss": ("seed_oss", {"head_dim": 14, "attention_out_bias": True, "mlp_bias": True}),
    "gpt_bigcode": ("gpt_bigcode", GPT2),
    "gpt_bigcode-heads": ("gpt_bigcode", {**GPT2, "multi_query": False}),
    "granitemoeshared": (
        "granitemoeshared",
        {**MOE, **GRANITE, "num_local_experts": 5, "shared_intermediate_size": 23},
    ),
    "granite_swa": (
        "granite_swa",
        {
            **GRANITE,
            "sliding_window": 9,
            "layer_rope_theta": [500.0, 0, 900.0, 500.0],
            "tie_word_embeddings": False,
        },
    ),
    "dots1": (
        "dots1",
        {
            **MOE,
            "n_routed_experts": 6,
            "n_group": 2,
            "topk_group": 1,
            "n_shared_experts": 1,
            "moe_intermediate_size": 19,
            "first_k_dense_replace": 1,
            "norm_topk_prob": True,
            "routed_scaling_factor": 1.7,
            "sliding_window": 9,
            "max_window_layers": 2,
        },
    ),
    "internlm3": ("internlm3", {"head_dim": 14, "attention_bias": True, "mlp_bias": True}),
    "minicpm3": ("minicpm3", {**LATENT, "num_key_value_heads": 6, "dim_model_base": 24, "v_head_dim": None}),
    "solar_open": (
        "solar_open",
        {**MOE, "n_routed_experts": 6, "n_group": 2, "moe_intermediate_size": 19, "head_dim": 12},
    ),
    "cwm": ("cwm", {"head_dim": 14, "sliding_window": 9}),
    "flex_olmo": ("flex_olmo", {**MOE, "num_experts": 5, "norm_topk_prob": True}),
    "hyperclovax": ("hyperclovax", {**GRANITE, "attention_multiplier": None}),
    "hyperclovax-pre": ("hyperclovax", {**GRANITE, "use_post_norm": False}),
    "vaultgemma": (
        "vaultgemma",
        {
            "head_dim": 14,
            "sliding_window": 9,
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 2.0,
        },
    ),
    # transformers sets a padding token's row of this family to zero as it loads it.
    "youtu": ("youtu", {**LATENT, "num_key_value_heads": 6, "pad_token_id": None}),
    "mellum": (
        "mellum",
        {
            **MOE,
            "num_local_experts": 5,
            "moe_intermediate_size": 19,
            "head_dim": 12,
            "sliding_window": 9,
            "layer_types": types(*"sfsf"),
            "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
            "rope_parameters": {
                "sliding_attention": DEFAULT,
                "full_attention": {**DEFAULT, "rope_theta": 4000.0},
            },
        },
    ),
    "iquestcoder": ("iquestcoder", {"head_dim": 14}),
    "deepseek_v2": (
        "deepseek_v2",
        {
            **MOE,
            **LATENT,
            "num_key_value_heads": 6,
            "n_routed_experts": 8,
            "moe_intermediate_size": 19,
            "first_k_dense_replace": 1,
            "n_shared_experts": 2,
            "routed_scaling_factor": 1.7,
            "rope_parameters": {**YARN, "mscale": 0.7, "mscale_all_dim": 0.7},
        },
    ),
    "deepseek_v2-groups": (
        "deepseek_v2",
        {
            **MOE,
            **LATENT,
            "q_lora_rank": None,
            "num_key_value_heads": 6,
            "n_routed_experts": 8,
            "moe_intermediate_size": 19,
            "topk_method": "group_limited_greedy",
            "n_group": 4,
            "topk_group": 2,
        },
    ),
    "gptj": ("gptj", {**GPT2, "rotary_dim": 4}),
    "gpt_neo": (
        "gpt_neo",
        {
            **NO_ROPE,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 9,
            "hidden_size": 48,
            "max_position_embeddings": 128,
        },
    ),
    "ernie4_5": ("ernie4_5", {"head_dim": 14, "use_bias": True}),
    "ernie4_5_moe": (
        "ernie4_5_moe",
        {
            "output_router_logits": False,
            "moe_k": 3,
            "moe_num_experts": 5,
            "moe_intermediate_size": 19,
            "moe_num_shared_experts": 2,
            "moe_layer_start_index": 1,
            "use_bias": True,
        },
    ),
    "hy_v3": ("hy_v3", {**MOE, "num_experts": 5, "moe_intermediate_size": 19, "head_dim": 12}),
    "helium": ("helium", {"num_attention_heads": 6, "head_dim": 8}),
    "gpt-sw3": ("gpt-sw3", GPT2),
    "nemotron": ("nemotron", {"head_dim": 12, "rope_parameters": {**DEFAULT, "partial_rotary_factor": 0.5}}),
    "arcee": ("arcee", {"mlp_bias": True}),
    "jais2": ("jais2", {"head_dim": 14}),
    "persimmon": ("persimmon", {"num_key_value_heads": None}),
    "nanochat": ("nanochat", {}),
    "hunyuan_v1_dense": ("hunyuan_v1_dense", {"head_dim": 14}),
    "hunyuan_v1_moe": ("hunyuan_v1_moe", {"head_dim": 14, "num_experts": 5, "moe_topk": 2}),
    "falcon": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2, "bias": True}),
    "falcon-7b": ("falcon", {"multi_query": True}),
    "falcon-rw": (
        "falcon",
        {"multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
    ),
    "bloom": ("bloom", {**NO_ROPE, "hidden_size": 48, "n_layer": 3, "n_head": 6}),
    "mpt": ("mpt", {**NO_ROPE, "d_model": 48, "n_layers": 3, "n_heads": 6, "max_seq_len": 128}),
    "opt": (
        "opt",
        {
            **NO_ROPE,
            "hidden_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "ffn_dim": 37,
            "max_position_embeddings": 128,
            "word_embed_proj_dim": 48,
        },
    ),
    "apertus": ("apertus", {"head_dim": 14}),
    "llama4_text": (
        "llama4_text",
        {
            **MOE,
            "num_experts_per_tok": 1,
            "num_local_experts": 5,
            "head_dim": 12,
            "intermediate_size_mlp": 23,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 16,
            "floor_scale": 16,
        },
    ),
}

# Cases in which transformers rounds to float32 on the way where we do not: queries and keys in attention
# (GPT-J, GPT-Neo, BLOOM, MPT), products of rope (Cohere's and ERNIE's pairs, DeepSeek-V2's and Llama 4's
# complex numbers), a weight of a norm (Helium, norms of heads), logits of a router, sums over keys.
FLOAT_STEPS = frozenset(
    (
        "bloom",
        "cohere",
        "deepseek_v2",
        "deepseek_v2-groups",
        "ernie4_5",
        "ernie4_5_moe",
        "gpt_neo",
        "gptj",
        "granite_swa",
        "helium",
        "hunyuan_v1_moe",
        "llama4_text",
        "mpt",
        "nanochat",
    )
)

# Families that transformers has under another name.
RENAMED = {"kimi_k2": "deepseek_v3", "mimo": "qwen2"}


def values(name: str, shape: Sequence[int]) -> torch.Tensor:
    """The tensor of that name: noise, moved off what a model would start with."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    noise = np.random.default_rng(seed).random(tuple(shape)) * 2 - 1
    if len(shape) < 2:
        gain = "norm" in name or "ln_" in name
        return torch.from_numpy((1.0 if gain and name.endswith("weight") else 0.0) + 0.4 * noise)
    return torch.from_numpy(noise * 2.0 * max(shape[-2:]) ** -0.5)


def fill(
    folder: Path, shapes: Mapping[str, Sequence[int]], others: Mapping[str, torch.Tensor] | None = None
) -> None:
    """model.safetensors with tensors of these names and shapes, and with others as they are."""
    tensors = {name: values(name, shape).contiguous() for name, shape in shapes.items()}
    save_file({**tensors, **(others or {})}, folder / "model.safetensors")


def constants(config: Any) -> dict[str, torch.Tensor]:
    """The numbers beside learned ones that transformers keeps in a checkpoint: xIELU's."""
    if config.activation != "xielu":
        return {}
    beta, eps = torch.tensor(0.5), torch.tensor(-1e-6)
    block = "model.layers.{}.mlp.act_fn"
    return {
        f"{block.format(i)}.{name}": value.clone()
        for i in range(config.num_layers)
        for name, value in (("beta", beta), ("eps", eps))
    }


def write(case: str, folder: Path) -> None:
    """A case's config.json and model.safetensors, by transformers."""
    import transformers

    model_type, changes = CASES[case]
    settings = copy.deepcopy({"rope_parameters": DEFAULT, **COMMON, **changes})  # transformers writes to them
    settings = {k: v for k, v in settings.items() if v is not None or k not in COMMON}
    if settings.get("rope_parameters") is None:
        settings.pop("rope_parameters", None)
    config = transformers.AutoConfig.for_model(RENAMED.get(model_type, model_type), **settings)
    for name in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"):
        if hasattr(config, name):  # large enough that a norm which takes another one shows
            setattr(config, name, 3e-3)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float64)
    model.double().save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    numbers = {name: tensor for name, tensor in tensors.items() if not tensor.shape}
    fill(folder, {name: t.shape for name, t in tensors.items() if name not in numbers}, numbers)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": model_type}, indent=2) + "\n")


class InDouble(TorchFunctionMode):
    """float64 wherever transformers asks for float32, or less: in norms, angles, softmax and routers."""

    def __enter__(self) -> Any:
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.set_default_dtype(self.before)
        super().__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def swap(value: Any) -> Any:
            return torch.float64 if value is torch.float32 else value

        func = torch.Tensor.double if func in (torch.Tensor.float, torch.Tensor.bfloat16) else func
        return func(*map(swap, args), **{k: swap(v) for k, v in (kwargs or {}).items()})


class Rounded(TorchFunctionMode):
    """What float32 functions make, computed in float64 and rounded, whoever asks for it.

    torch computes the last few numbers of a tensor in another way than those that fill the machine's vectors,
    so that the bits of a row depend on the CPU and on the rows beside it.
    """

    FUNCTIONS = ("softmax", "sigmoid", "linear", "layer_norm")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func.__name__ not in self.FUNCTIONS:
            return func(*args, **kwargs)
        dtype = kwargs.pop("dtype", None) or args[0].dtype
        wide = (x.to(dtype).double() if isinstance(x, torch.Tensor) else x for x in args)
        return func(*wide, **kwargs).to(dtype)


def load(folder: Path) -> Any:
    """transformers' model of a folder in float64."""
    import transformers

    settings = json.loads((folder / "config.json").read_text())
    model_type = settings.pop("model_type")
    config = transformers.AutoConfig.for_model(RENAMED.get(model_type, model_type), **settings)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, config=config, dtype=torch.float64, experts_implementation="eager"
    )
    return model.double().eval()


def sequence(length: int) -> list[int]:
    """Token ids, the same every time; not 0, whose embedding gets no gradient where it is for padding."""
    return np.random.default_rng(length).integers(1, VOCABULARY, size=length).tolist()  # type: ignore[no-any-return]


@torch.no_grad()
def main() -> None:
    path = Path(__file__).parent / "families.json"
    golden: dict[str, Any] = json.loads(path.read_text()) if len(sys.argv) > 1 else {}
    for case in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(case, folder)
            ids = torch.tensor(sequence(LENGTHS[0]))
            with InDouble() if case in FLOAT_STEPS else Rounded():
                logits = load(folder)(ids.unsqueeze(0)).logits[0, :-1]
            chosen = torch.log_softmax(logits, dim=-1).gather(1, ids[1:, None])
            config = json.loads((folder / "config.json").read_text())
            golden[case] = {"config": config, "logprobs": chosen.squeeze(1).tolist()}
    ordered = {case: golden[case] for case in CASES if case in golden}
    path.write_text(json.dumps(ordered, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
