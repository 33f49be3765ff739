"""config.json -> `ModelConfig`, by the rows of `minillm.families`.

Both spellings are read: transformers 5's `rope_parameters` and `layer_types`, and the older `rope_theta`,
`rope_scaling`, `sliding_window_pattern`, `max_window_layers`, `no_rope_layer_interval`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from minillm.config import ActivationName, Experts, Latent, ModelConfig, Rope
from minillm.errors import MinillmError
from minillm.families import FAMILIES, Family
from minillm.rope import TYPES

# Keys that change the mathematics -> the only values that this library computes.
FIXED: dict[str, tuple[Any, ...]] = {
    "pretraining_tp": (1,),
    "rope_interleaved": (False,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "swiglu_alpha": (1.702,),
    "use_bidirectional_attention": (None, False),
    "moe_layer_freq": (1,),
    "scoring_func": ("sigmoid",),
    "topk_method": ("noaux_tc",),
    "is_decoder": (True, False),
}

# Keys that no forward pass reads.
HARMLESS = frozenset(
    {
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "attn_pdrop",
        "auto_map",
        "bos_token_id",
        "cache_implementation",
        "chunk_size_feed_forward",
        "classifier_dropout",
        "cross_attention_hidden_size",
        "dtype",
        "embd_pdrop",
        "embedding_dropout",
        "eos_token_id",
        "gradient_checkpointing",
        "hidden_dropout",
        "id2label",
        "initializer_range",
        "is_encoder_decoder",
        "is_llama_config",
        "label2id",
        "layer_norm_elementwise_affine",
        "max_length",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "pad_token_id",
        "problem_type",
        "resid_pdrop",
        "residual_dropout",
        "return_dict",
        "router_aux_loss_coef",
        "router_jitter_noise",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
        "tokenizer_class",
        "torch_dtype",
        "transformers_version",
        "unsloth_fixed",
        "unsloth_version",
        "use_cache",
    }
)

ACTIVATIONS: dict[str, ActivationName] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
# What every type of rope may say.
ROPE_KEYS = frozenset(
    {
        "rope_type",
        "type",
        "rope_theta",
        "partial_rotary_factor",
        "original_max_position_embeddings",
        "max_position_embeddings",
        "llama_4_scaling_beta",
    }
)
# Spellings of the keys that most families have, first match counts.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "vocab_size": ("vocab_size",),
    "hidden_size": ("hidden_size", "n_embd"),
    "num_layers": ("num_hidden_layers", "n_layer"),
    "num_heads": ("num_attention_heads", "n_head"),
    "intermediate_size": ("intermediate_size", "n_inner"),
    "max_position_embeddings": ("max_position_embeddings", "n_positions"),
    "norm_eps": ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    "activation": ("hidden_activation", "hidden_act", "activation_function"),
    "partial": ("partial_rotary_factor", "rotary_pct"),
    "theta": ("rope_theta", "rotary_emb_base"),
}


class _Reader:
    """A config.json that knows which of its keys were asked for."""

    def __init__(self, path: Path, raw: dict[str, Any], family: Family) -> None:
        self.path, self.raw, self.family = path, raw, family
        self.asked: set[str] = set()

    def get(self, *names: str, default: Any = None) -> Any:
        """The value of the first of these keys that the file has, or that the family has a default for.

        A null in the file is an answer too: it keeps the family's default away.
        """
        self.asked.update(names)
        given = [self.raw[name] for name in names if name in self.raw]
        usual = [self.family.defaults.get(name) for name in names if name not in self.raw]
        return next((value for value in (*given, *usual) if value is not None), default)

    def need(self, name: str) -> Any:
        """A value that must be there, by our name for it."""
        names = SPELLINGS.get(name, (name,))
        if (value := self.get(*names)) is None:
            raise self.error(f"lacks the key {names[0]!r}")
        return value

    def error(self, what: str) -> MinillmError:
        return MinillmError(f"{self.path} {what}")


def read_config(folder: Path) -> ModelConfig:
    """The `ModelConfig` of a folder's config.json.

    Raises `MinillmError` for a missing or broken file, an unknown `model_type`, a missing key, a value
    that this library does not compute, and a key that it does not know.
    """
    path = folder / "config.json"
    try:
        text = path.read_text()
        raw: Any = json.loads(text)
    except OSError as error:
        raise MinillmError(f"cannot read {path}: {error.strerror}; a model folder needs one") from None
    except json.JSONDecodeError as error:
        raise MinillmError(f"{path} is not valid JSON ({error}); fetch the model again") from None
    if not isinstance(raw, dict):
        raise MinillmError(f"{path} is not a JSON object; fetch the model again")
    model_type = raw.get("model_type")
    if model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise MinillmError(f"{path}: model_type {model_type!r} is not supported; supported: {known}")
    reader = _Reader(path, raw, FAMILIES[model_type])
    try:
        config = replace(_config(model_type, reader), mxfp4=_mxfp4(reader), source=_plain(text, raw))
    except MinillmError:
        raise
    except (TypeError, ValueError, KeyError, ZeroDivisionError, AttributeError) as error:
        raise reader.error(f"has a value of the wrong kind: {error!r}") from error
    _check(config, reader)
    return config


def _config(model_type: str, reader: _Reader) -> ModelConfig:
    family = reader.family
    C, H = reader.need("hidden_size"), reader.need("num_heads")
    context = reader.need("max_position_embeddings")
    latent = _latent(reader) if reader.get("kv_lora_rank") else None
    head_dim = reader.get("head_dim") or C // H
    knobs = dict(family.knobs)
    mixture = {name: knobs.pop(name) for name in _MIXTURE if name in knobs}
    for field, name in family.fields.items():
        (mixture if field in _MIXTURE else knobs)[field] = reader.get(name)
    if kind := _qk_norm(reader):
        knobs["qk_norm"] = kind
    layers = _layer_types(reader)
    ropes, layer_rope, parameters = _ropes(reader, layers, latent.rope_dim if latent else head_dim)
    scale = (latent.nope_dim + latent.rope_dim if latent else head_dim) ** -0.5
    if (scalar := reader.get("query_pre_attn_scalar")) is not None:
        scale = scalar**-0.5
    elif latent and parameters.get("mscale_all_dim") and ropes[0].type != "default":
        scale *= (0.1 * parameters["mscale_all_dim"] * math.log(parameters["factor"]) + 1.0) ** 2
    scale = reader.get("attention_multiplier", default=scale)
    growth = parameters.get("llama_4_scaling_beta")
    if growth is not None:
        knobs["query_growth"] = (growth, parameters["original_max_position_embeddings"])
    if model_type.startswith("gemma"):
        knobs["embedding_multiplier"] = C**0.5
    if divisor := reader.get("logits_scaling"):
        knobs["logit_multiplier"] = 1 / divisor
    act = reader.need("activation")
    if act not in ACTIVATIONS:
        raise reader.error(f"has activation {act!r}; supported: {', '.join(ACTIVATIONS)}")
    knobs.setdefault("norm_eps", None)
    if knobs["norm_eps"] is None:
        knobs["norm_eps"] = reader.need("norm_eps")
    window = reader.get("sliding_window")
    num_layers = reader.need("num_layers")
    experts, expert_layers = _experts(reader, mixture, num_layers)
    return ModelConfig(
        model_type=model_type,
        vocab_size=reader.need("vocab_size"),
        hidden_size=C,
        intermediate_size=reader.get(*SPELLINGS["intermediate_size"], default=4 * C),
        num_layers=num_layers,
        num_heads=H,
        num_kv_heads=reader.get("num_key_value_heads", default=H),
        head_dim=head_dim,
        max_position_embeddings=context,
        tie_word_embeddings=reader.get("tie_word_embeddings", default=False),
        ropes=ropes,
        layer_rope=layer_rope,
        windows=tuple(int(window) if sliding and window else 0 for sliding in layers),
        scale=scale,
        activation=ACTIVATIONS[act],
        experts=experts,
        expert_layers=expert_layers,
        latent=latent,
        **knobs,
    )


def _mxfp4(reader: _Reader) -> bool:
    """Whether the checkpoint's experts are stored in 4 bits; no other quantisation is read."""
    given = reader.get("quantization_config") or {}
    if given and (given.get("quant_method") != "mxfp4" or not reader.family.mxfp4):
        raise reader.error(f"has quantization_config = {given!r}, not supported; fetch plain weights")
    return bool(given)


def _plain(text: str, raw: dict[str, Any]) -> str:
    """The config.json to save weights with: they are not quantised."""
    if raw.get("quantization_config") is None:
        return text
    return json.dumps({k: v for k, v in raw.items() if k != "quantization_config"}, indent=2) + "\n"


_MIXTURE = ("router", "normalize", "jitter", "float_router", "native", "shared_width", "shared_gate")


def _qk_norm(reader: _Reader) -> str:
    """The kind of the optional norm of queries and keys, if the file asks for it."""
    if reader.get("qk_layernorm"):
        return "heads" if "{e}" in reader.family.keys["q_norm"].names[0] else "head"
    return "head" if reader.get("use_qk_norm") else ""


def _latent(reader: _Reader) -> Latent:
    return Latent(
        q_rank=reader.get("q_lora_rank", default=0),
        kv_rank=reader.need("kv_lora_rank"),
        nope_dim=reader.need("qk_nope_head_dim"),
        rope_dim=reader.need("qk_rope_head_dim"),
        v_dim=reader.need("v_head_dim"),
        norm_eps=1e-6,  # no key says so, but every implementation has it
    )


def _layer_types(reader: _Reader) -> list[bool]:
    """Which layers have the sliding window."""
    family, L = reader.family, reader.need("num_layers")
    late = reader.get("max_window_layers", default=0)
    used = bool(reader.get("use_sliding_window", default=True))
    types = reader.get("layer_types")
    pattern = reader.get("sliding_window_pattern", "_sliding_window_pattern", default=family.pattern)
    if types is not None:
        kinds = {"sliding_attention": True, "full_attention": False}
        if unknown := set(types) - kinds.keys():
            raise reader.error(f"has layer type {sorted(unknown)[0]!r}; supported: {', '.join(kinds)}")
        if len(types) != L:
            raise reader.error(f"names {len(types)} layer_types for {L} layers")
        return [kinds[kind] and used for kind in types]
    rules: dict[str, Callable[[int], bool]] = {
        "none": lambda i: False,
        "all": lambda i: used,
        "types": lambda i: bool(pattern) and (i + 1) % pattern != 0,
        "late": lambda i: used and i >= late,
        "early": lambda i: used and i % 2 == 0 and i < late,
        "unturned": lambda i: used and not _turned(reader, i),
    }
    return [rules[family.windows](i) for i in range(L)]


def _turned(reader: _Reader, i: int) -> bool:
    """Whether layer i has rope, by the keys that say so."""
    turned = reader.get("no_rope_layers")
    interval = reader.get("no_rope_layer_interval")
    if turned is not None:
        return bool(turned[i])
    return interval is None or (i + 1) % interval != 0


def _ropes(
    reader: _Reader, sliding: list[bool], head_dim: int
) -> tuple[tuple[Rope, ...], tuple[int, ...], Mapping[str, Any]]:
    """The rotary embeddings, the one of each layer, and the (global) parameters as they were written."""
    family = reader.family
    if family.knobs.get("positions"):
        return (), (-1,) * len(sliding), {}
    theta, partial = reader.need("theta"), reader.get(*SPELLINGS["partial"], default=1.0)
    local = reader.get("rope_local_base_freq")
    given = reader.get("rope_parameters")
    if given is None:
        given = dict(reader.get("rope_scaling", default={}))
    else:
        reader.asked.add("rope_scaling")
    if given and set(given) <= {"sliding_attention", "full_attention"}:
        by_type = [given.get(kind) or {} for kind in ("full_attention", "sliding_attention")]
    elif local is not None:  # the stretch is for the layers that see all keys
        by_type = [given, {"rope_theta": local}]
    else:
        by_type = [given]
    ropes = tuple(_rope(reader, p, theta, partial, head_dim) for p in by_type)
    which = []
    for i, slides in enumerate(sliding):
        turned = _turned(reader, i) and not (family.unturned and not slides)
        which.append((int(slides) if len(ropes) == 2 else 0) if turned else -1)
    return ropes, tuple(which), by_type[0]


def _rope(reader: _Reader, given: Mapping[str, Any], theta: float, partial: float, head_dim: int) -> Rope:
    kind = given.get("rope_type") or given.get("type") or "default"
    kind = {"su": "longrope"}.get(kind, kind)
    if kind not in TYPES:
        raise reader.error(f"has rope type {kind!r}; supported: {', '.join(TYPES)}")
    context = reader.need("max_position_embeddings")
    original = reader.get("original_max_position_embeddings", default=context)
    if given.get("original_max_position_embeddings") is None:
        given = {**given, "original_max_position_embeddings": original}
    _, needed, optional = TYPES[kind]
    for name in sorted(needed):
        if given.get(name) is None:
            raise reader.error(f"lacks {name!r} for rope of type {kind!r}")
    known = needed | optional
    for name, value in given.items():
        if name not in known | ROPE_KEYS and value is not None:
            raise reader.error(
                f"has the unknown key {name!r} for rope of type {kind!r}, which may change the mathematics"
            )
    share = given.get("partial_rotary_factor")
    dim = head_dim if kind == "proportional" else int(head_dim * (partial if share is None else share))
    parameters = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if k in known}
    values = tuple(sorted((k, v) for k, v in parameters.items() if v is not None))
    return Rope(float(given.get("rope_theta") or theta), dim, kind, values)


def _experts(reader: _Reader, mixture: dict[str, Any], L: int) -> tuple[Experts | None, tuple[bool, ...]]:
    if "router" not in mixture:
        return None, ()
    width = reader.get("moe_intermediate_size") or reader.need("intermediate_size")
    shared = reader.get("n_shared_experts", default=0)
    mixture.setdefault("shared_width", shared * width)
    experts = Experts(
        count=reader.get("num_local_experts", "num_experts", "n_routed_experts"),
        chosen=reader.need("num_experts_per_tok"),
        width=width,
        scale=reader.get("routed_scaling_factor", default=1.0),
        groups=reader.get("n_group", default=1),
        chosen_groups=reader.get("topk_group", default=1),
        **mixture,
    )
    step, dense = reader.get("decoder_sparse_step", default=1), reader.get("mlp_only_layers", default=[])
    first = reader.get("first_k_dense_replace", default=0)
    return experts, tuple(i >= first and i not in dense and (i + 1) % step == 0 for i in range(L))


def _check(config: ModelConfig, reader: _Reader) -> None:
    """Refuse keys that nobody asked for, values that are not computed, and sizes that do not fit."""
    for name, allowed in FIXED.items():
        value = reader.get(name, default=allowed[0])
        if value not in allowed:
            raise reader.error(f"has {name} = {value!r}, which is not supported; only {allowed[0]!r} is")
    known = reader.asked | HARMLESS | reader.family.ignored | FIXED.keys()
    for name, value in reader.raw.items():
        if name not in known and not name.startswith("_") and "." not in name and value is not None:
            raise reader.error(
                f"has the unknown key {name!r}, which may change the mathematics; remove it if it does not"
            )
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads")
    for name in (*sizes, "head_dim", "max_position_embeddings"):
        if not isinstance(getattr(config, name), int) or getattr(config, name) < 1:
            raise reader.error(f"has {name} = {getattr(config, name)!r}, which is no size")
    H, K, D = config.heads
    if H % K or D % 2 or any(rope.dim % 2 or rope.dim > D for rope in config.ropes):
        raise reader.error(
            f"has {H} query heads that do not share {K} kv heads evenly, or an odd number of dimensions "
            f"to turn in heads of {D}"
        )
