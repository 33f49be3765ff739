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
        families: nested model_type -> the family that computes the same, for text alone.
        defaults: what the nested config means by leaving a key out, where its family means another thing.
        flat: older files have the text model's keys beside the wrapper's.
        text_ties: the embedding is also tied where only the nested config says so.
    """

    text: str
    towers: tuple[str, ...]
    families: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    flat: bool = False
    text_ties: bool = False


LLAVA = ("vision_tower", "multi_modal_projector")
QWEN2_VL = Wrapper(
    "qwen2",
    ("visual",),
    families={"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2"},
    defaults={
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-5,
        "num_key_value_heads": 8,
        "max_window_layers": 80,
    },
    flat=True,
    text_ties=True,
)
WRAPPERS: dict[str, Wrapper] = {
    "mistral3": Wrapper("mistral", LLAVA),
    "gemma3": Wrapper("gemma3_text", LLAVA),
    "qwen3_vl": Wrapper(
        "qwen3",
        ("visual",),
        families={"qwen3_vl_text": "qwen3"},
        defaults={"rope_theta": 500000.0, "max_position_embeddings": 128000},
    ),
    "kimi_k25": Wrapper(
        "deepseek_v3",
        ("vision_tower", "mm_projector", "multi_modal_projector"),
        families={"kimi_k2": "deepseek_v3"},
    ),
    "llama4": Wrapper("llama4_text", ("vision_model", "multi_modal_projector")),
    "qwen2_vl": QWEN2_VL,
    "qwen2_5_vl": QWEN2_VL,
    "aya_vision": Wrapper("cohere2", LLAVA),
    "cohere2_vision": Wrapper("cohere2", LLAVA),
    "internvl": Wrapper("qwen2", LLAVA),
    "llava": Wrapper("llama", LLAVA, text_ties=True),
    "llava_next": Wrapper("llama", (*LLAVA, "image_newline"), text_ties=True),
}


def unwrap(raw: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """(The config of the text model, the model_type around it) of a config.json; itself and "" otherwise.

    Raises `ValueError` that says what a wrapper lacks.
    """
    name = raw.get("model_type")
    wrapper = WRAPPERS.get(name) if isinstance(name, str) else None
    if wrapper is None or not isinstance(name, str):
        return raw, ""
    nested = raw.get("text_config")
    if nested is None and wrapper.flat:
        others = ("vision", "image", "video", "model_type", "architectures")
        nested = {key: value for key, value in raw.items() if not key.startswith(others)}
    if not isinstance(nested, dict):
        raise ValueError("lacks the key 'text_config', which describes its text model")
    text = dict(nested)
    family = text.get("model_type") or wrapper.text
    text["model_type"] = wrapper.families.get(family, family)
    if text["model_type"] != family or "auto_map" in text:
        for key in ("architectures", "auto_map"):
            text.pop(key, None)
    text |= {key: raw[key] for key in _SHARED if raw.get(key) is not None and text.get(key) is None}
    ties = [values.get("tie_word_embeddings") for values in (raw, nested)]
    if wrapper.text_ties and any(ties):
        text["tie_word_embeddings"] = True
    elif ties[0] is not None:
        text["tie_word_embeddings"] = ties[0]
    return {**wrapper.defaults, **text}, name
