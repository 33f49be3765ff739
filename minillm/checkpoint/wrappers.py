"""Text models inside others: the rows that say where their configs and their tensors are.

Only the text model is read. Its config.json is nested in the wrapper's, and its tensors stand below a prefix,
beside those of other towers (for images, say), which are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
    "qwen3_vl_moe": Wrapper("qwen3_vl_moe_text", ("visual",)),
    # transformers 5 saves its layers as blocks: it undoes a renaming of the vision tower's in all names.
    "kimi_k25": Wrapper("deepseek_v3", (*LLAVA, "mm_projector"), respelled={r"blocks\.": "layers."}),
    "llama4": Wrapper("llama4_text", ("vision_model", "multi_modal_projector")),
    "qwen2_vl": Wrapper("qwen2_vl_text", ("visual",), flat=True, text_ties=True),
    "qwen2_5_vl": Wrapper("qwen2_5_vl_text", ("visual",), flat=True, text_ties=True),
    "internvl": Wrapper("qwen2", LLAVA),
    "llava": Wrapper("llama", LLAVA, text_ties=True),
    "llava_next": Wrapper("llama", (*LLAVA, "image_newline")),
}


@dataclass(frozen=True)
class TextModel:
    """A text model that is one of our families but for the positions of images.

    Attributes:
        family: which computes the same for text.
        defaults: what its config means by leaving a key out, where the family's means another thing.
        fixed: keys of the family that it has no choice in.
        layout: the names of its tensors (`Family.layouts`), where they are not the family's.
    """

    family: str
    defaults: Mapping[str, Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    layout: str = ""


_QWEN2_VL = TextModel(
    "qwen2",
    {
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-5,
        "intermediate_size": 29568,
        "num_key_value_heads": 8,
        "max_window_layers": 80,
    },
)
_QWEN3_VL = {"rope_theta": 500000.0, "max_position_embeddings": 128000}
TEXT_MODELS: dict[str, TextModel] = {
    "qwen3_vl_text": TextModel("qwen3", _QWEN3_VL),
    "qwen3_vl_moe_text": TextModel(
        "qwen3_moe",
        {
            **_QWEN3_VL,
            "intermediate_size": 5632,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "num_experts_per_tok": 4,
            "moe_intermediate_size": 1408,
        },
        fixed={"norm_topk_prob": True},
        layout="stacked",
    ),
    "qwen2_vl_text": _QWEN2_VL,
    "qwen2_5_vl_text": _QWEN2_VL,
}


class Unwrapped(NamedTuple):
    """A text model's config, the model_type around it ("" for none), and how its tensors are named."""

    config: dict[str, Any]
    wrapper: str
    layout: str


def unwrap(raw: dict[str, Any]) -> Unwrapped:
    """Find the text model of a config.json, which may be nested in it.

    `ValueError` says what a wrapper lacks.
    """
    name = str(raw.get("model_type"))
    wrapper = WRAPPERS.get(name)
    config = raw if wrapper is None else _nested(raw, wrapper)
    text = TEXT_MODELS.get(str(config.get("model_type")))
    if text is not None:
        kept = {key: value for key, value in config.items() if key not in ("architectures", "auto_map")}
        config = {**text.defaults, **kept, **text.fixed, "model_type": text.family}
    return Unwrapped(config, name if wrapper else "", text.layout if text else "")


def _nested(raw: dict[str, Any], wrapper: Wrapper) -> dict[str, Any]:
    """Make the text model's own config, with what its wrapper says for it."""
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
