"""Hugging Face's names of our parameters: the tables that the rows of `minillm.checkpoint.families` share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """Hugging Face's names of one of our parameters.

    Attributes:
        names: joined along the outputs; {i} is the layer, {e} the expert.
        inputs_first: a matrix is stored (K, N), as Conv1D does, and not (N, K), as Linear does.
        order: the place of an output where it is not ours: `fused_heads` (each kv head's queries, key and
            value together) or `pairs` (gate and up in turns); a vector of order `row` is stored as a matrix
            of one row.
    """

    names: tuple[str, ...]
    inputs_first: bool = False
    order: str = ""


def key(*names: str, inputs_first: bool = False, order: str = "") -> Key:
    """Make a `Key` of these names."""
    return Key(names, inputs_first, order)


def names(layer: str, **names: str) -> dict[str, Key]:
    """Make keys below one prefix; several names of one parameter are separated by spaces."""
    return {ours: key(*(f"{layer}{name}" for name in text.split())) for ours, text in names.items()}


def qkv(block: str) -> str:
    """Write the names of three projections below `block`, which are one matrix of ours."""
    return " ".join(f"{block}.{x}_proj.weight" for x in "qkv")


LAYER = "model.layers.{i}."
# The names that hold where a row gives no others: llama's.
KEYS: dict[str, Key] = {
    **names("", embed="model.embed_tokens.weight", head="lm_head.weight", norm="model.norm.weight"),
    **names(
        LAYER,
        attn_norm="input_layernorm.weight",
        mlp_norm="post_attention_layernorm.weight",
        qkv=qkv("self_attn"),
        o="self_attn.o_proj.weight",
        q_norm="self_attn.q_norm.weight",
        k_norm="self_attn.k_norm.weight",
        gate_up="mlp.gate_proj.weight mlp.up_proj.weight",
        down="mlp.down_proj.weight",
    ),
}
FUSED = names(LAYER, gate_up="mlp.gate_up_proj.weight")
SINKS = names(LAYER, sinks="self_attn.sinks")
UP_DOWN = names(LAYER, up="mlp.up_proj.weight", down="mlp.down_proj.weight")
# Post-norm alone: the norm before the MLP is the one after attention.
POST = names(
    LAYER, attn_post_norm="post_attention_layernorm.weight", mlp_post_norm="post_feedforward_layernorm.weight"
)
SANDWICH = POST | names(LAYER, mlp_norm="pre_feedforward_layernorm.weight")
LATENT = names(
    f"{LAYER}self_attn.",
    q_a="q_a_proj.weight",
    q_a_norm="q_a_layernorm.weight",
    q_b="q_b_proj.weight",
    q="q_proj.weight",
    kv_a="kv_a_proj_with_mqa.weight",
    kv_a_norm="kv_a_layernorm.weight",
    kv_b="kv_b_proj.weight",
)


def experts(block: str, gate: str, up: str, down: str) -> dict[str, Key]:
    """Make the keys of a router, and of experts of three matrices each, below `block`."""
    return names(
        f"{LAYER}{block}.",
        router="gate.weight",
        experts_gate_up=f"experts.{{e}}.{gate}.weight experts.{{e}}.{up}.weight",
        experts_down=f"experts.{{e}}.{down}.weight",
    )


def stacked(block: str, order: str = "") -> dict[str, Key]:
    """Make the keys of experts that are two tensors below `block`, (E, K, N) each."""
    return {
        "experts_gate_up": key(f"{LAYER}{block}.experts.gate_up_proj", inputs_first=True, order=order),
        "experts_down": key(f"{LAYER}{block}.experts.down_proj", inputs_first=True),
    }


def shared(block: str) -> dict[str, Key]:
    """Make the keys of the expert that every token goes through, which is `block`."""
    return names(
        f"{LAYER}{block}.", shared_gate_up="gate_proj.weight up_proj.weight", shared_down="down_proj.weight"
    )


MIXTRAL = experts("block_sparse_moe", "w1", "w3", "w2")
QWEN_EXPERTS = experts("mlp", "gate_proj", "up_proj", "down_proj")
SHARED = shared("mlp.shared_experts") | names(LAYER, router_correction="mlp.gate.e_score_correction_bias")
GRANITE_EXPERTS = names(
    f"{LAYER}block_sparse_moe.",
    router="router.layer.weight",
    experts_gate_up="input_linear.weight",
    experts_down="output_linear.weight",
)


def fused_block(layer: str, attention: str) -> dict[str, Key]:
    """Make the keys of a layer of GPT-NeoX, BLOOM or Falcon, whose attention is called so."""
    return names(
        layer,
        attn_norm="input_layernorm.weight",
        mlp_norm="post_attention_layernorm.weight",
        o=f"{attention}.dense.weight",
        up="mlp.dense_h_to_4h.weight",
        down="mlp.dense_4h_to_h.weight",
    ) | {"qkv": key(f"{layer}{attention}.query_key_value.weight", order="fused_heads")}


GPT2_NAMES = names("transformer.", embed="wte.weight", positions="wpe.weight", norm="ln_f.weight") | names(
    "transformer.h.{i}.", attn_norm="ln_1.weight", mlp_norm="ln_2.weight"
)
GPT2_MATRICES = {"qkv": "attn.c_attn", "o": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
BLOOM_KEYS = names("transformer.", embed="word_embeddings.weight", norm="ln_f.weight") | fused_block(
    "transformer.h.{i}.", "self_attention"
)
