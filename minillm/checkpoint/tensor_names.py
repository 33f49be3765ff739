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


LAYER = "model.layers.{i}."


def names(prefix: str = LAYER, /, **names: str) -> dict[str, Key]:
    """Make keys below one prefix; several names of one parameter are separated by spaces."""
    return {ours: key(*(f"{prefix}{name}" for name in text.split())) for ours, text in names.items()}


def weights(prefix: str = LAYER, /, **modules: str) -> dict[str, Key]:
    """Make the keys of the weights of modules below one prefix, as `names` does."""
    return names(prefix, **{ours: f"{text} ".replace(" ", ".weight ") for ours, text in modules.items()})


def qkv(block: str) -> str:
    """Write the names of three projections below `block`, which are one matrix of ours."""
    return " ".join(f"{block}.{x}_proj" for x in "qkv")


def products(layer: str, qkv: str, o: str, up: str, down: str) -> dict[str, Key]:
    """Make the keys of a layer's four matrices, whose MLP is not gated."""
    return weights(layer, qkv=qkv, o=o, up=up, down=down)


# The names that hold where a row gives no others: llama's.
KEYS: dict[str, Key] = {
    **weights("", embed="model.embed_tokens", head="lm_head", norm="model.norm"),
    **weights(
        attn_norm="input_layernorm",
        mlp_norm="post_attention_layernorm",
        qkv=qkv("self_attn"),
        o="self_attn.o_proj",
        q_norm="self_attn.q_norm",
        k_norm="self_attn.k_norm",
        gate_up="mlp.gate_proj mlp.up_proj",
        down="mlp.down_proj",
    ),
}
FUSED = weights(gate_up="mlp.gate_up_proj")
SINKS = names(sinks="self_attn.sinks")
UP_DOWN = weights(up="mlp.up_proj", down="mlp.down_proj")
FC = weights(up="mlp.fc1", down="mlp.fc2")
# Post-norm alone: the norm before the MLP is the one after attention.
POST = weights(attn_post_norm="post_attention_layernorm", mlp_post_norm="post_feedforward_layernorm")
SANDWICH = POST | weights(mlp_norm="pre_feedforward_layernorm")
LATENT = weights(
    f"{LAYER}self_attn.",
    q_a="q_a_proj",
    q_a_norm="q_a_layernorm",
    q_b="q_b_proj",
    q="q_proj",
    kv_a="kv_a_proj_with_mqa",
    kv_a_norm="kv_a_layernorm",
    kv_b="kv_b_proj",
)


def experts(block: str, gate: str, up: str, down: str) -> dict[str, Key]:
    """Make the keys of a router, and of experts of three matrices each, below `block`."""
    return weights(
        f"{LAYER}{block}.",
        router="gate",
        experts_gate_up=f"experts.{{e}}.{gate} experts.{{e}}.{up}",
        experts_down=f"experts.{{e}}.{down}",
    )


def stacked(block: str, order: str = "") -> dict[str, Key]:
    """Make the keys of experts that are two tensors below `block`, (E, K, N) each."""
    return {
        "experts_gate_up": key(f"{LAYER}{block}.experts.gate_up_proj", inputs_first=True, order=order),
        "experts_down": key(f"{LAYER}{block}.experts.down_proj", inputs_first=True),
    }


def shared(block: str) -> dict[str, Key]:
    """Make the keys of the expert that every token goes through, which is `block`."""
    return weights(f"{LAYER}{block}.", shared_gate_up="gate_proj up_proj", shared_down="down_proj")


MIXTRAL = experts("block_sparse_moe", "w1", "w3", "w2")
QWEN_EXPERTS = experts("mlp", "gate_proj", "up_proj", "down_proj")
DEEPSEEK_EXPERTS = (
    QWEN_EXPERTS | shared("mlp.shared_experts") | names(router_correction="mlp.gate.e_score_correction_bias")
)
GRANITE_EXPERTS = weights(
    f"{LAYER}block_sparse_moe.",
    router="router.layer",
    experts_gate_up="input_linear",
    experts_down="output_linear",
)


def fused_qkv(attention: str) -> dict[str, Key]:
    """Make the key of queries, keys and values that are one matrix, head by head, of this attention."""
    return {"qkv": key(f"{attention}.query_key_value.weight", order="fused_heads")}


def fused_block(layer: str, attention: str) -> dict[str, Key]:
    """Make the keys of a layer of GPT-NeoX, BLOOM or Falcon, whose attention is called so."""
    norms = weights(layer, attn_norm="input_layernorm", mlp_norm="post_attention_layernorm")
    products = weights(layer, o=f"{attention}.dense", up="mlp.dense_h_to_4h", down="mlp.dense_4h_to_h")
    return norms | products | fused_qkv(f"{layer}{attention}")


GPT2_LAYER = "transformer.h.{i}."
GPT2_NAMES = weights(GPT2_LAYER, attn_norm="ln_1", mlp_norm="ln_2")
GPT2_NAMES |= weights("transformer.", embed="wte", positions="wpe", norm="ln_f")
GPT2_MATRICES = products(GPT2_LAYER, "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
BLOOM_KEYS = fused_block(GPT2_LAYER, "self_attention")
BLOOM_KEYS |= weights("transformer.", embed="word_embeddings", norm="ln_f")
