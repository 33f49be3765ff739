"""A folder, a hub id or the demo model -> a `Transformer`, and back."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import torch

from minillm.checkpoint import hub, keys
from minillm.checkpoint import safetensors as weights
from minillm.checkpoint.durable import write_atomically
from minillm.checkpoint.read_config import Overrides, read_config
from minillm.checkpoint.stored import Stored, stored_as
from minillm.errors import MinillmError
from minillm.model.config import ModelConfig
from minillm.model.precision import DTYPES, Precision, get_precision
from minillm.model.transformer import Transformer


def load_model(
    folder_or_name: str | Path,
    precision: str | Precision = "fp32",
    device: torch.device | str = "cpu",
    max_model_len: int | None = None,
    hf_overrides: Overrides | None = None,
) -> Transformer:
    """Load a `Transformer` with the weights of a folder, a hub id or the demo model (`hub.resolve`).

    `precision` is a preset (fp64, fp32, bf16, fp32-attn-bf16, bf16-master-fp32, int8, int4) or a
    `Precision`. `max_model_len` is the longest sequence that it is for (`Transformer.set_context`);
    `hf_overrides` takes the place of values in config.json, as of `read_config`.
    Weights are read as they were published: quantised, inside another model, with buffers or further layers
    that this model has no use for. What is skipped is counted in one line of the log "minillm".
    Raises `MinillmError` for an unknown name, and for missing, extra, mis-shaped or truncated tensors.
    """
    policy = get_precision(precision)
    folder = hub.resolve(folder_or_name)
    published = read_config(folder, hf_overrides)
    model = Transformer(replace(published, stored=Stored()), policy, device)
    load_weights(model, folder, published)
    if max_model_len is not None:
        model.set_context(max_model_len)
    return model


@torch.no_grad()
def load_weights(model: Transformer, folder: Path, published: ModelConfig | None = None) -> None:
    """Copy a folder's weights into the model's parameters, in place and strictly.

    `published` says how they are stored, where that is not as a model in memory has them.
    """
    config = published or model.config
    shapes, naming, mxfp4 = keys.hf_shapes(config), keys.naming(config), stored_as(config).mxfp4
    checkpoint = weights.Checkpoint(folder, shapes, naming, bytes_allowed=mxfp4)
    keys.from_hf(config, dict(model.named_parameters()), checkpoint)


def load_like(model: Transformer, folder: Path) -> Transformer:
    """Load a folder's weights beside a model, with its config and precision, which stays as it is.

    Raises `MinillmError` where the folder has another config than the model, and as `load_model` does.
    """
    published = read_config(folder)
    for each in fields(ModelConfig):
        # The text that the config was read from can differ in what makes no difference.
        if each.name != "source" and (ours := getattr(model.config, each.name)) != (
            theirs := getattr(published, each.name)
        ):
            raise MinillmError(
                f"{folder} has {each.name} = {theirs!r} and the model {ours!r}; weights of another model "
                "need an LLM of their own"
            )
    other = Transformer(model.config, model.precision, model.head.device)
    load_weights(other, folder, published)
    return other


@torch.no_grad()
def take_weights(model: Transformer, other: Transformer) -> None:
    """Copy the weights of another model of the same config and precision, in place."""
    for ours, theirs in zip(model.weights(), other.weights(), strict=True):
        ours.copy_(theirs)


def save_weights(model: Transformer, folder: Path, max_shard_bytes: int | None = None) -> None:
    """Write the weights as safetensors in the family's Hugging Face layout, in files of limited size.

    Raises `MinillmError` for integer-quantised weights, and where a file cannot be written.
    """
    if model.precision.bits:
        raise MinillmError(
            f"weights of {model.precision.bits} bits hold less than the checkpoint they were read from; "
            "load it in fp32 or bf16 to save it"
        )
    tensors = keys.to_hf(model.config, dict(model.named_parameters()))
    for name, value in keys.constants(model.config).items():
        tensors[name] = torch.tensor(value, dtype=model.precision.weights)
    weights.save_tensors(folder, tensors, max_shard_bytes=max_shard_bytes)


def save_model(model: Transformer, folder: str | Path, max_shard_bytes: int | None = None) -> None:
    """Write a folder that `load_model` and transformers' `from_pretrained` load: config.json and weights.

    The config is the one that the model was read from; a tokenizer's files are not written. Raises
    `MinillmError` where a file cannot be written.
    """
    folder = Path(folder)
    save_weights(model, folder, max_shard_bytes)
    write_atomically(folder / "config.json", lambda temp: temp.write_text(model.config.source))


def checkpoint_dtype(folder: Path) -> str:
    """Read which dtype a checkpoint has: as config.json says, or else that of most of its weights.

    Raises:
        MinillmError: config.json has another dtype than those of `DTYPES`, or the weights are broken.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MinillmError(f"{path} is not valid JSON ({error}); fetch the model again") from error
    # Models of text and images say it once for both, or for each part.
    for part in (config, config.get("text_config") if isinstance(config, dict) else None):
        for key in ("dtype", "torch_dtype"):
            if isinstance(part, dict) and part.get(key) is not None:
                name = str(part[key]).removeprefix("torch.")
                if name not in DTYPES:
                    raise MinillmError(
                        f"{path} has {key} = {part[key]!r}, not one of {', '.join(DTYPES)}; give dtype or "
                        "precision instead of dtype='auto'"
                    )
                return name
    if (stored := weights.main_dtype(folder)) is None:
        raise MinillmError(f"{path} has no dtype, and the weights are no floats; give dtype or precision")
    return stored
