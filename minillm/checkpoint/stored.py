"""How a published checkpoint differs from the model that it holds, by its config.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minillm.checkpoint.fp8 import FP8
from minillm.checkpoint.wrappers import Unwrapped
from minillm.errors import MinillmError
from minillm.model.config import ModelConfig

# Keys that announce layers which predict further tokens: they follow the model's own.
EXTRA_LAYERS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers", "num_mtp_modules")


@dataclass(frozen=True)
class Stored:
    """What a checkpoint's files have otherwise than a model in memory, which is as the default says.

    Attributes:
        mxfp4: experts are in 4 bits (`minillm.checkpoint.mxfp4`).
        fp8: matrices may be in 8 bits.
        wrapper: model_type of the model that the text model is a part of (`wrappers`); "" for none.
        layout: other names of some tensors, as `ModelConfig.layout`.
        extra_layers: layers for multi-token prediction, which are skipped.
    """

    mxfp4: bool = False
    fp8: FP8 | None = None
    wrapper: str = ""
    layout: str = ""
    extra_layers: int = 0


@dataclass(frozen=True)
class PublishedConfig(ModelConfig):
    """A model's config, and what the files that it was read from have otherwise."""

    stored: Stored = Stored()


def stored_as(config: ModelConfig) -> Stored:
    """Return how a config's files are stored: a model in memory has the default."""
    return config.stored if isinstance(config, PublishedConfig) else Stored()


def read_stored(path: Path, text: Unwrapped, mxfp4: bool) -> Stored:
    """Read the `Stored` of a text model's config.json.

    Args:
        path: named in errors.
        text: what it says.
        mxfp4: whether the family may have experts in 4 bits.

    Raises:
        MinillmError: weights are quantised in a way that is not read; names it.
    """
    quantization = text.config.get("quantization_config") or {}
    method = quantization.get("quant_method")
    try:
        fp8 = FP8.read(quantization) if method == "fp8" else None
        if quantization and fp8 is None and not (method == "mxfp4" and mxfp4):
            raise ValueError("quant_method")
    except ValueError as error:
        culprit = {str(error): quantization.get(str(error))}
        raise MinillmError(
            f"{path} has quantization_config = {culprit}, not supported; fetch plain weights"
        ) from None
    extra = max(int(text.config.get(name) or 0) for name in EXTRA_LAYERS)
    return Stored(method == "mxfp4", fp8, text.wrapper, text.layout, extra)


def plain(text: str, raw: Mapping[str, Any], changed: Mapping[str, Any], reference: str) -> str:
    """Make the text of the config.json to save weights with: a text model's own, and not quantised.

    Args:
        text: of the file as it is, which is kept where nothing has to change.
        raw: what it says.
        changed: the text model's config; `raw` itself where there was no wrapper.
        reference: the model_type under which transformers knows the family; "" where it is the file's.
    """
    config = {
        name: value for name, value in changed.items() if name != "quantization_config" or value is None
    }
    if reference:  # not the code that came with the file, but the model that it is
        config = {name: value for name, value in config.items() if name not in ("auto_map", "architectures")}
        config["model_type"] = reference
    return text if config == raw else json.dumps(config, indent=2) + "\n"
