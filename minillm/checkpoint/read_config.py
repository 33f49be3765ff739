"""config.json -> `ModelConfig`, by the rows of `minillm.checkpoint.families`.

Both spellings are read: transformers 5's `rope_parameters` and `layer_types`, and the older `rope_theta`,
`rope_scaling`, `sliding_window_pattern`, `max_window_layers`, `no_rope_layer_interval`. Which keys a family
has, and what it takes where one is left out, is in `minillm.checkpoint.config_file`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from minillm.checkpoint.config_file import ConfigFile
from minillm.checkpoint.families import FAMILIES, Family
from minillm.checkpoint.read_rope import Ropes, has_rope, read_ropes
from minillm.checkpoint.stored import PublishedConfig, plain, read_stored
from minillm.checkpoint.wrappers import WRAPPERS, unwrap
from minillm.errors import MinillmError
from minillm.model.config import ActivationName, Experts, Latent, ModelConfig, QueryGrowth
from minillm.model.rope import alibi_slopes

_SPELLED: dict[ActivationName, str] = {
    "silu": "silu swish",
    "gelu": "gelu gelu_python",
    "gelu_tanh": "gelu_new gelu_pytorch_tanh gelu_fast",
    "relu": "relu",
    "relu2": "relu2",
    "xielu": "xielu",
}
ACTIVATIONS = {spelling: ours for ours, spellings in _SPELLED.items() for spelling in spellings.split()}
# What we call a size -> how families call it; each has one of these, or for an older spelling two.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "hidden_size": ("n_embed", "hidden_size", "n_embd", "d_model"),
    "num_layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "num_heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "num_kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim"),
    "context": ("max_position_embeddings", "n_positions", "max_seq_len"),
    "norm_eps": ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
    "activation": ("hidden_activation", "hidden_act", "activation_function", "activation"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
    "chosen": ("num_experts_per_tok", "moe_topk", "moe_k"),
    "shared": ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
    "expert_scale": ("routed_scaling_factor", "router_scaling_factor"),
}
# The context of a family whose config does not name one.
USUAL_CONTEXT = 2048
_MIXTURE = frozenset(Experts.__dataclass_fields__)


# Values to put in the place of those of a config.json, or a function of its content that returns it changed.
Overrides = Mapping[str, Any] | Callable[[Any], Any]


class RawConfig(dict[str, Any]):
    """The content of a config.json, whose keys are attributes too, as of transformers' configs."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"config.json has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def overridden(raw: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    """Return the content of a config.json with values in the place of its own; dicts are merged.

    Raises:
        MinillmError: the overrides are no dict and no function, or the function returns no config.
    """
    if callable(overrides):
        changed = overrides(RawConfig(raw))
        if not isinstance(changed, Mapping):
            raise MinillmError(f"hf_overrides must return the config that it was given, got {changed!r}")
        return dict(changed)
    if not isinstance(overrides, Mapping):
        raise MinillmError(f"hf_overrides must be a dict or a function of the config, got {overrides!r}")
    merged = dict(raw)
    for name, value in overrides.items():
        before = raw.get(name)
        if isinstance(before, dict) and isinstance(value, Mapping):
            merged[name] = overridden(before, dict(value))
        else:
            merged[name] = value
    return merged


def read_config(folder: Path, overrides: Overrides | None = None) -> PublishedConfig:
    """Read the config of a folder's config.json, with `overrides` in the place of values of its own.

    Raises `MinillmError` for a missing or broken file, an unknown `model_type`, a missing key, and a key or a
    value that changes what the model computes and that this library does not compute. Warns, once, of keys
    that nothing reads.
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
    if overrides:
        raw = overridden(raw, overrides)
        text = json.dumps(raw, indent=2)
    try:
        text_model = unwrap(raw)
    except ValueError as error:
        raise MinillmError(f"{path} {error}") from None
    nested = text_model.config
    model_type = nested.get("model_type")
    if raw.get("model_type") == "mistral" and "layer_types" in raw:
        model_type = "ministral"  # as transformers' AutoConfig has it
    if model_type not in FAMILIES:
        known = ", ".join((*FAMILIES, *WRAPPERS))
        raise MinillmError(f"{path}: model_type {model_type!r} is not supported; supported: {known}")
    family = FAMILIES[model_type]
    file = ConfigFile(path, nested, family.reference or model_type)
    try:
        config = replace(
            _config(model_type, family, file),
            stored=read_stored(path, text_model, family.mxfp4),
            source=plain(text, raw, nested, family.reference),
        )
    except MinillmError:
        raise
    except (TypeError, ValueError, KeyError, IndexError, ZeroDivisionError, AttributeError) as error:
        raise file.error(f"has a value of the wrong kind: {error!r}") from error
    _check_sizes(config, file)
    file.check(config)
    return config


def _config(model_type: str, family: Family, file: ConfigFile) -> PublishedConfig:
    C, num_layers = (file.need(*SPELLINGS[name], written=True) for name in ("hidden_size", "num_layers"))
    file.get("hidden_size")  # may stand beside an older spelling, which wins
    H = file.need(*SPELLINGS["num_heads"])
    latent = _latent(file, C // H) if file.get("kv_lora_rank") else None
    head_dim = file.get("head_dim") or C // H
    knobs = dict(family.knobs) | {field: file.get(name) for field, name in family.fields.items()}
    mixture = {name: knobs.pop(name) for name in _MIXTURE & knobs.keys() if "router" in family.knobs}
    if file.get("qk_layernorm", "use_qk_norm"):
        knobs["qk_norm"] = family.optional_qk_norm or "head"
    sliding = _sliding(family, file, num_layers)
    ropes = read_ropes(file, family, sliding, latent.rope_dim if latent else head_dim)
    if (beta := ropes.written.get("llama_4_scaling_beta")) is not None:
        knobs["query_growth"] = QueryGrowth(beta, ropes.written["original_max_position_embeddings"])
    elif file.reads("attn_temperature_tuning"):
        growth = QueryGrowth(file.need("attn_scale"), file.need("floor_scale"), shift=1, unrotated=True)
        knobs["query_growth"] = growth if file.get("attn_temperature_tuning") else None
    _multipliers(family, file, knobs, C, num_layers)
    _older_layouts(file, knobs, H, C)
    knobs.setdefault("scale", _scale(file, latent, head_dim, ropes))
    if "activation" not in knobs:
        knobs["activation"] = _activation(family, file)
    if knobs.get("norm_eps") is None:
        knobs["norm_eps"] = file.need(*SPELLINGS["norm_eps"])
    window = file.get("sliding_window", "window_size", "attention_chunk_size") if any(sliding) else None
    if window is not None and window < 1:
        raise file.error(f"has a window of {window} keys, which is no size")
    # Chunks are negative windows.
    reach = -window if file.reads("attention_chunk_size") and window else window
    experts, expert_layers = _experts(family, file, mixture, num_layers)
    return PublishedConfig(
        model_type=model_type,
        vocab_size=file.need("vocab_size"),
        hidden_size=C,
        intermediate_size=file.get("intermediate_size_mlp", *SPELLINGS["intermediate_size"], default=4 * C),
        num_layers=num_layers,
        num_heads=H,
        num_kv_heads=_kv_heads(file, H),
        head_dim=head_dim,
        max_position_embeddings=_context(file, ropes),
        tie_word_embeddings=file.get("tie_word_embeddings", default=False),
        ropes=ropes.ropes,
        layer_rope=ropes.layers,
        windows=tuple(int(reach) if slides and reach else 0 for slides in sliding),
        experts=experts,
        expert_layers=expert_layers,
        latent=latent,
        **knobs,
    )


def _uniform(file: ConfigFile, name: str, value: Any) -> Any:
    """Read a number for all layers, which some files write as a list of one for each."""
    if not isinstance(value, list):
        return value
    if len(set(value)) != 1:
        raise file.error(f"has {name} = {value!r}; only one number for all layers is supported")
    return value[0]


def _kv_heads(file: ConfigFile, H: int) -> int:
    written = file.get(*SPELLINGS["num_kv_heads"], default=H)
    if file.reads("multi_query") and not file.get("new_decoder_architecture"):
        return 1 if file.get("multi_query") else H
    return int(written)


def _context(file: ConfigFile, ropes: Ropes) -> int:
    """Find the longest sequence: YaRN's recipe names the original context, and beside it the factor."""
    context = file.get(*SPELLINGS["context"], default=USUAL_CONTEXT)
    if ropes.ropes and ropes.ropes[0].type == "yarn" and (factor := ropes.written.get("factor")):
        original = dict(ropes.ropes[0].parameters)["original_max_position_embeddings"]
        context = max(context, round(original * factor))
    return int(context)


def _activation(family: Family, file: ConfigFile) -> ActivationName:
    act = file.need(*SPELLINGS["activation"])
    if act not in ACTIVATIONS:
        raise file.error(f"has activation {act!r}; supported: {', '.join(ACTIVATIONS)}")
    if act == "xielu" and (family.knobs.get("gated", True) or "router" in family.knobs):
        raise file.error(f"has activation {act!r}, which is supported for plain MLPs alone")
    return family.activations.get(act, ACTIVATIONS[act])


def _multipliers(family: Family, file: ConfigFile, knobs: dict[str, Any], C: int, L: int) -> None:
    """Read factors of the embedding, the residual and the logits, which families write in their own ways."""
    if family.scaled_embedding:
        knobs["embedding_multiplier"] = C**0.5
    if file.reads("scale_depth"):
        knobs["embedding_multiplier"] = file.get("scale_emb")
        knobs["residual_multiplier"] = file.get("scale_depth", default=L**0.5) / L**0.5
        knobs["logit_multiplier"] = file.get("dim_model_base", default=C) / C
    if "logit_multiplier" not in knobs and (divisor := file.get("logits_scaling")):
        knobs["logit_multiplier"] = 1 / divisor


def _older_layouts(file: ConfigFile, knobs: dict[str, Any], H: int, C: int) -> None:
    """Read the blocks of Falcon, MPT, BLOOM and OPT, which their files describe in keys of their own."""
    if file.reads("parallel_attn"):
        two_norms = file.get("new_decoder_architecture") and file.get("num_ln_in_parallel_attn") in (None, 2)
        knobs["parallel"] = bool(file.get("new_decoder_architecture") or file.get("parallel_attn"))
        knobs["shared_norm"] = knobs["parallel"] and not two_norms
        knobs["layout"] = "two norms" if two_norms else ""
    if (attention := file.get("attn_config")) is not None:
        others = {"prefix_lm": False, "qk_ln": False, "alibi": True, "attn_type": "multihead_attention"}
        for name, usual in others.items():
            if attention.get(name, usual) != usual:
                raise file.error(f"has attn_config.{name} = {attention[name]!r}; only {usual!r} is supported")
        knobs["clip_qkv"] = attention.get("clip_qkv") or None
        knobs["scale"] = attention.get("softmax_scale") or (C // H) ** -0.5
        if attention.get("alibi_bias_max", 8) != 8:
            raise file.error("has another attn_config.alibi_bias_max than 8, the only one that is computed")
    if knobs.pop("linear_bias", False) or file.get("alibi"):
        slopes = alibi_slopes(H, truncated=file.reads("attn_config"))
        share = (C // H) ** -0.5 if file.reads("alibi") else 1.0
        knobs["alibi"] = tuple(slope * share for slope in slopes)
    if file.get("word_embed_proj_dim", default=C) != C:
        raise file.error("has another word_embed_proj_dim than hidden_size; projections are not supported")


def _scale(file: ConfigFile, latent: Latent | None, head_dim: int, ropes: Ropes) -> float:
    """Compute what scores are multiplied by."""
    scale: float = (latent.nope_dim + latent.rope_dim if latent else head_dim) ** -0.5
    all_dim = ropes.written.get("mscale_all_dim")
    if (scalar := file.get("query_pre_attn_scalar")) is not None:
        scale = scalar**-0.5
    elif latent and all_dim and ropes.ropes[0].type != "default":
        scale *= (0.1 * all_dim * math.log(ropes.written["factor"]) + 1.0) ** 2
    return float(file.get("attention_multiplier", default=scale))


def _latent(file: ConfigFile, usual: int) -> Latent:
    return Latent(
        q_rank=file.get("q_lora_rank", default=0),
        kv_rank=file.need("kv_lora_rank"),
        nope_dim=file.need("qk_nope_head_dim"),
        rope_dim=file.need("qk_rope_head_dim"),
        v_dim=file.get("v_head_dim", default=usual),
        norm_eps=1e-6,  # no key says so, but every implementation has it
    )


def _sliding(family: Family, file: ConfigFile, L: int) -> list[bool]:
    """Tell which layers have the sliding window."""
    if family.windows == "none":
        return [False] * L
    window = file.get("sliding_window", "attention_chunk_size")  # which no layer may have
    late = file.get("max_window_layers", default=0)
    used = bool(file.get("use_sliding_window", default=True))
    pattern = file.get("sliding_window_pattern", default=family.pattern)
    if (types := _layer_types(file)) is not None:
        kinds = dict.fromkeys(("sliding_attention", "chunked_attention", "local"), True)
        kinds |= dict.fromkeys(("full_attention", "global", "attention"), False)
        if unknown := set(types) - kinds.keys():
            raise file.error(f"has layer type {sorted(unknown)[0]!r}; supported: {', '.join(kinds)}")
        if len(types) != L:
            raise file.error(f"names {len(types)} layer_types for {L} layers")
        # In smollm3 use_sliding_window only has a say in the types of a file that lists none.
        used = used or family.windows == "unrotated"
        return [kinds[kind] and used for kind in types]
    grouped = bool(pattern) and window is not None
    rules: dict[str, Callable[[int], bool]] = {
        "all": lambda i: used,
        "types": lambda i: grouped and (i + 1) % pattern != 0,
        "first": lambda i: grouped and i % pattern != 0,
        "late": lambda i: used and i >= late,
        "early": lambda i: used and i % 2 == 0 and i < late,
        "unrotated": lambda i: used and not has_rope(file, i),
        "rotated": lambda i: has_rope(file, i),
    }
    return [rules[family.windows](i) for i in range(L)]


def _layer_types(file: ConfigFile) -> list[str] | None:
    """List the type of each layer, where the file does; gpt_neo repeats groups."""
    if file.reads("attention_types"):
        groups = file.get("attention_types", default=[[["global", "local"], 12]])
        if (listed := file.get("attention_layers")) is not None:  # the same, counted out
            return list(listed)
        return [kind for kinds, count in groups for _ in range(count) for kind in kinds]
    types: list[str] | None = file.get("layer_types")
    return types


def _experts(
    family: Family, file: ConfigFile, mixture: dict[str, Any], L: int
) -> tuple[Experts | None, tuple[bool, ...]]:
    if "router" not in mixture:
        return None, ()
    width = _uniform(file, "moe_intermediate_size", file.get("moe_intermediate_size", "intermediate_size"))
    shared = _uniform(file, "shared experts", file.get(*SPELLINGS["shared"], default=0))
    mixture.setdefault("shared_width", shared * width)
    if mixture["shared_width"] is None:
        mixture["shared_width"] = width
    groups, chosen_groups = (file.get(name, default=1) for name in ("n_group", "topk_group"))
    if file.get("topk_method") == "greedy":
        groups = chosen_groups = 1
    experts = Experts(
        count=_uniform(file, "experts", file.need(*SPELLINGS["experts"])),
        chosen=_uniform(file, "experts of a token", file.need(*SPELLINGS["chosen"])),
        width=width,
        scale=file.get(*SPELLINGS["expert_scale"], default=1.0),
        groups=groups,
        chosen_groups=chosen_groups,
        **mixture,
    )
    return experts, _expert_layers(family, file, L)


def _expert_layers(family: Family, file: ConfigFile, L: int) -> tuple[bool, ...]:
    """Tell which layers have a mixture of experts."""
    first = file.get("first_k_dense_replace", default=family.dense_layers)
    if (kinds := file.get("mlp_layer_types")) is not None:
        if len(kinds) != L or set(kinds) - {"dense", "sparse"}:
            raise file.error(f"has mlp_layer_types = {kinds!r}; expected {L} of 'dense' and 'sparse'")
        return tuple(kind == "sparse" for kind in kinds)
    step = file.get("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval", default=1)
    if (listed := file.get("moe_layers")) is not None:
        return tuple(i in listed for i in range(L))
    first = file.get("moe_layer_start_index", default=first)
    last = file.get("moe_layer_end_index", default=-1)
    dense = file.get("mlp_only_layers", default=[])
    return tuple(
        first <= i <= (L - 1 if last == -1 else last) and i not in dense and (i + 1) % step == 0
        for i in range(L)
    )


def _check_sizes(config: ModelConfig, file: ConfigFile) -> None:
    """Refuse sizes that are none, or that do not fit each other."""
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads")
    for name in (*sizes, "head_dim", "max_position_embeddings"):
        if not isinstance(size := getattr(config, name), int) or size < 1:
            raise file.error(f"has {name} = {size!r}, which is no size")
    H, K, D = config.heads
    if H % K or D % 2 or any(rope.dim % 2 or rope.dim > D for rope in config.ropes):
        raise file.error(
            f"has {H} query heads that do not share {K} kv heads evenly, or an odd number of dimensions "
            f"to rotate in heads of {D}"
        )
