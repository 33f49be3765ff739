"""The rotary embeddings that a config.json asks for, in transformers 5's spelling and in older ones.

transformers 5 writes `rope_parameters`, in a few families one for each type of layer; older files have
`rope_theta`, `rope_scaling` and `partial_rotary_factor` beside each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minillm.checkpoint.config_file import ConfigFile
from minillm.checkpoint.families import Family
from minillm.model.config import Rope
from minillm.model.rope import TYPES

# What every type of rope may say.
COMMON = frozenset(
    {
        *("rope_type", "type", "rope_theta", "partial_rotary_factor", "llama_4_scaling_beta"),
        *("original_max_position_embeddings", "max_position_embeddings"),
        *("mrope_section", "mrope_interleaved"),  # for text alone, whose three positions are one: plain rope
    }
)
# What older files call a type.
RENAMED = {"su": "longrope"}
LAYER_TYPES = ("full_attention", "sliding_attention")


@dataclass(frozen=True)
class Ropes:
    """The rotary embeddings of a model.

    Attributes:
        ropes: one each.
        layers: the one that each layer uses; -1 for none.
        written: the parameters of the first one as the file has them.
    """

    ropes: tuple[Rope, ...]
    layers: tuple[int, ...]
    written: Mapping[str, Any]


def read_ropes(file: ConfigFile, family: Family, sliding: Sequence[bool], head_dim: int) -> Ropes:
    """Read the rotary embeddings of a config.json.

    Args:
        file: asked for its keys.
        family: whose rules hold.
        sliding: which layers have a sliding window.
        head_dim: of queries and keys, or of their part that is rotated.

    Raises:
        MinillmError: an unknown type of rope, or one that lacks a parameter or has an unknown one.
    """
    L = len(sliding)
    if not file.reads("rope_parameters") and file.reads("rotary_dim"):
        return Ropes((Rope(10000.0, file.get("rotary_dim", default=head_dim)),), (0,) * L, {})
    if not file.reads("rope_parameters") or file.get("alibi"):
        file.get("rope_parameters", "rope_scaling", "rope_theta")
        return Ropes((), (-1,) * L, {})
    each = _by_type(file, family) if family.rope_bases else [_flat(file)]
    ropes = [_rope(file, family, parameters, head_dim) for parameters in each]
    layers = [int(slides) if len(ropes) > 1 else 0 for slides in sliding]
    if (bases := file.get("layer_rope_theta")) is not None:
        distinct = sorted({float(base) for base in bases if base})
        ropes = [_rope(file, family, {**each[0], "rope_theta": base}, head_dim) for base in distinct]
        layers = [distinct.index(float(base)) if base else -1 for base in bases]
    elif family.unrotated and file.get("sliding_window") is not None:
        layers = [layers[i] if slides else -1 for i, slides in enumerate(sliding)]
    elif file.reads("no_rope_layers"):
        layers = [layers[i] if has_rope(file, i) else -1 for i in range(L)]
    if len(layers) != L:
        raise file.error(f"names {len(layers)} layers in layer_rope_theta for {L} layers")
    return Ropes(tuple(ropes), tuple(layers), each[0])


def has_rope(file: ConfigFile, i: int) -> bool:
    """Tell whether layer i has rope, by the keys that say so."""
    listed, interval = file.get("no_rope_layers"), file.get("no_rope_layer_interval")
    return bool(listed[i]) if listed else interval is None or (i + 1) % interval != 0


def _flat(file: ConfigFile) -> dict[str, Any]:
    """Read the parameters of a model with one rope."""
    # Here a null counts as left out: the family's own scaling holds.
    parameters = dict(file.get("rope_parameters", default=file.defaults["rope_parameters"] or {}))
    written = dict(file.get("rope_scaling", default={})) or parameters
    share = file.get("partial_rotary_factor", "rotary_pct")
    dim = file.get("rotary_dim")
    if share is None and file.reads("partial_rotary_factor") and dim is not None:
        share = dim / file.need("head_dim")
    beside = {"rope_theta": file.get("rotary_emb_base", "rope_theta"), "partial_rotary_factor": share}
    return {name: value for name, value in beside.items() if value is not None} | written


def _by_type(file: ConfigFile, family: Family) -> list[dict[str, Any]]:
    """Read those of layers that see all keys, and of layers with a window; only the former are scaled."""
    parameters = file.get("rope_parameters", default={})
    # As the reference has it, a `type` in rope_scaling does not count beside this.
    full, sliding = (dict(parameters.get(kind) or {"rope_type": "default"}) for kind in LAYER_TYPES)
    full |= file.get("rope_scaling", default={})
    bases = (file.get("rope_theta"), file.get("rope_local_base_freq"))
    for parameters, base, usual in zip((full, sliding), bases, family.rope_bases, strict=True):
        parameters.setdefault("rope_theta", base or usual)
    return [full, sliding]


def _rope(file: ConfigFile, family: Family, parameters: Mapping[str, Any], head_dim: int) -> Rope:
    parameters = dict(parameters)
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    kind = family.rope_types.get(kind, RENAMED.get(kind, kind))
    if kind == "mrope" and "mrope_section" in parameters:
        kind = "default"
    if family.rope_alpha and kind == "dynamic" and (alpha := parameters.get("alpha")):
        # A fixed base for a longer context (NTK-aware scaling), whatever the factor says.
        return Rope(parameters["rope_theta"] * alpha ** (head_dim / (head_dim - 2)), head_dim)
    if kind not in TYPES:
        raise file.error(f"has rope type {kind!r}; supported: {', '.join(TYPES)}")
    _, needed, optional = TYPES[kind]
    context = file.get("max_position_embeddings", "n_positions")
    original = file.get("original_max_position_embeddings")
    if kind in ("llama3", "yarn", "longrope") and original is not None:
        parameters["original_max_position_embeddings"] = original
    elif "original_max_position_embeddings" in needed and kind != "dynamic":
        parameters.setdefault("original_max_position_embeddings", context)
    elif kind == "dynamic":
        parameters["original_max_position_embeddings"] = context
    for name in sorted(needed):
        if parameters.get(name) is None:
            raise file.error(f"lacks {name!r} for rope of type {kind!r}")
    known = needed | optional
    for name, value in parameters.items():
        if name in known | COMMON or value is None:
            continue
        if any(name in parameters for _, *lists in TYPES.values() for parameters in lists):
            raise file.error(
                f"has the unknown key {name!r} for rope of type {kind!r}, which may change the mathematics"
            )
        file.unread.add(f"{name} (of rope)")
    if kind == "longrope" and family.short_factors:
        parameters["long_factor"] = parameters["short_factor"]
    share = parameters.get("partial_rotary_factor")
    if share not in (None, 1) and not any(map(file.reads, ("partial_rotary_factor", "rotary_pct"))):
        raise file.error(
            f"has partial_rotary_factor = {share!r} for a family whose rope turns whole heads; remove it"
        )
    dim = head_dim if kind == "proportional" or share is None else int(head_dim * share)
    kept = {k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items() if k in known}
    values = tuple(sorted((k, v) for k, v in kept.items() if v is not None))
    return Rope(float(parameters["rope_theta"]), dim, kind, values)
