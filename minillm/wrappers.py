"""Text models inside others: the rows that say where their configs and their tensors are.

Only the text model is read. Its config.json is nested in the wrapper's, and its tensors stand below a prefix,
beside those of other towers (for images, say), which are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Before a text model's own names, in each of the spellings that were published.
PREFIX = re.compile(r"^(?:model\.)?language_model\.(?:model\.)?")
# Keys of a wrapper that concern its text model, where that does not say them itself.
_SHARED = ("quantization_config", "eos_token_id", "bos_token_id", "pad_token_id", "dtype", "torch_dtype")


@dataclass(frozen=True)
class Wrapper:
    """A `model_type` around a text model.

    Attributes:
        text: model_type of the text model where its config does not say.
        towers: first parts of the names of other tensors.
        respelled: how names of the text model start -> how they should.
        flat: older files have the text model's keys beside the wrapper's.
        text_ties: the embedding is also tied where only the nested config says so.
    """

    text: str
    towers: tuple[str, ...]
    respelled: Mapping[str, str] = field(default_factory=dict)
    flat: bool = False
    text_ties: bool = False


LLAVA = ("vision_tower", "multi_modal_projector")
WRAPPERS: dict[str, Wrapper] = {
    "mistral3": Wrapper("mistral", LLAVA),
    "gemma3": Wrapper("gemma3_text", LLAVA),
    "qwen3_vl": Wrapper("qwen3_vl_text", ("visual",)),
    # transformers 5 saves its layers as blocks: it undoes a renaming of the vision tower's in all names.
    "kimi_k25": Wrapper("deepseek_v3", (*LLAVA, "mm_projector"), respelled={r"blocks\.": "layers."}),
    "llama4": Wrapper("llama4_text", ("vision_model", "multi_modal_projector")),
    "qwen2_vl": Wrapper("qwen2_vl_text", ("visual",), flat=True, text_ties=True),
    "qwen2_5_vl": Wrapper("qwen2_5_vl_text", ("visual",), flat=True, text_ties=True),
    "internvl": Wrapper("qwen2", LLAVA),
    "llava": Wrapper("llama", LLAVA, text_ties=True),
    "llava_next": Wrapper("llama", (*LLAVA, "image_newline"), text_ties=True),
}

_QWEN2_VL = {
    "rope_theta": 1000000.0,
    "rms_norm_eps": 1e-5,
    "num_key_value_heads": 8,
    "max_window_layers": 80,
}
# Text models that are a family of ours but for the positions of images: their model_type -> the family, and
# what their config means by leaving a key out, where the family's means another thing.
TEXT_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3_vl_text": ("qwen3", {"rope_theta": 500000.0, "max_position_embeddings": 128000}),
    "qwen2_vl_text": ("qwen2", _QWEN2_VL),
    "qwen2_5_vl_text": ("qwen2", _QWEN2_VL),
}


def unwrap(raw: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """(The config of the text model, the model_type around it, "" where there is none) of a config.json.

    Raises `ValueError` that says what a wrapper lacks.
    """
    name = raw.get("model_type")
    if name in WRAPPERS:
        return _as_family(_nested(raw, WRAPPERS[name])), str(name)
    return _as_family(raw), ""


def _nested(raw: dict[str, Any], wrapper: Wrapper) -> dict[str, Any]:
    """The text model's own config, with what its wrapper says for it."""
    nested = raw.get("text_config")
    if nested is None and wrapper.flat:
        others = ("vision", "image", "video", "model_type", "architectures")
        nested = {key: value for key, value in raw.items() if not key.startswith(others)}
    if not isinstance(nested, dict):
        raise ValueError("lacks the key 'text_config', which describes its text model")
    text: dict[str, Any] = {"model_type": wrapper.text, **nested}
    text |= {key: raw[key] for key in _SHARED if raw.get(key) is not None and text.get(key) is None}
    ties = [values.get("tie_word_embeddings") for values in (raw, nested)]
    if wrapper.text_ties and any(ties):
        text["tie_word_embeddings"] = True
    elif ties[0] is not None:
        text["tie_word_embeddings"] = ties[0]
    return text


def _as_family(raw: dict[str, Any]) -> dict[str, Any]:
    """A text model's config as that of the family that computes the same."""
    found = TEXT_MODELS.get(str(raw.get("model_type")))
    if found is None:
        return raw
    family, usual = found
    kept = {key: value for key, value in raw.items() if key not in ("architectures", "auto_map")}
    return {**usual, **kept, "model_type": family}
