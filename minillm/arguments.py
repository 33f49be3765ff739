"""The arguments of an `LLM`, read: a model, its tokenizer, numbers and flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kernels.backend import same_device
from minillm.api.engine_arguments import GRAMMAR_BACKENDS
from minillm.checkpoint import hub
from minillm.checkpoint.load import checkpoint_dtype, load_model
from minillm.checkpoint.read_config import Overrides
from minillm.errors import MinillmError, note
from minillm.model.precision import Precision, preset_of_dtype
from minillm.model.transformer import Transformer
from minillm.tokenizer.tokenizer import Tokenizer


def read_model(
    model: Any,
    dtype: str | torch.dtype | None,
    precision: str | Precision | None,
    device: torch.device | str | None,
    hf_overrides: Overrides | None,
) -> tuple[Transformer, Path | None]:
    """Return the model and its folder, which one that is in memory has not; arguments as of `LLM`."""
    where = None if device is None or (isinstance(device, str) and device == "auto") else _device(device)
    if not (hf_overrides is None or callable(hf_overrides) or isinstance(hf_overrides, Mapping)):
        raise MinillmError(f"hf_overrides must be a dict or a function of the config, got {hf_overrides!r}")
    if not isinstance(precision, str | Precision | None):
        raise MinillmError(f"precision must be the name of a preset or a Precision, got {precision!r}")
    if isinstance(model, Transformer):
        if not (dtype is None or dtype == "auto") or precision is not None or hf_overrides:
            raise MinillmError("a Transformer is as it is; leave out dtype, precision and hf_overrides")
        if where is not None and not same_device(where, there := model.head.device):
            raise MinillmError(f"the model is on {there}, not on device={str(where)!r}; leave out device")
        return model, None
    if not isinstance(model, str | Path):
        raise MinillmError(f"model must be a folder, a hub id or a Transformer, got {type(model).__name__}")
    folder = hub.resolve(model)
    policy = _precision(dtype, precision, folder)
    return load_model(folder, policy, where or "cpu", hf_overrides=hf_overrides), folder


def _device(device: Any) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise MinillmError(f"device must be a torch device such as 'cpu', got {device!r}") from error


def _precision(
    dtype: str | torch.dtype | None, precision: str | Precision | None, folder: Path
) -> str | Precision:
    if dtype is None:
        return precision or "fp32"
    if precision is not None:
        raise MinillmError("give dtype or precision, not both")
    return preset_of_dtype(checkpoint_dtype(folder) if dtype == "auto" else dtype)


def read_tokenizer(given: Any, skip: bool, folder: Path | None) -> Tokenizer | None:
    """Return the tokenizer that was given, with the model's end tokens too, or the model's own."""
    if skip and given is not None:
        raise MinillmError("give tokenizer or skip_tokenizer_init, not both")
    if skip or (given is None and folder is None):
        return None
    if given is None or isinstance(given, str | Path):
        tokenizer = Tokenizer.from_folder(hub.resolve_tokenizer(folder if given is None else given))  # type: ignore[arg-type]
    else:
        tokenizer = Tokenizer.from_hf(given)
    return tokenizer if given is None or folder is None else tokenizer.with_end_tokens(folder)


def limits_whitespace(config: Any) -> bool:
    """Read `structured_outputs_config`, as of `LLM`: whether JSON has no white space between its parts."""
    given = {} if config is None else config
    known: dict[str, tuple[Any, ...]] = {
        "backend": ("auto", *GRAMMAR_BACKENDS), "disable_fallback": (False, True),
        "disable_any_whitespace": (False, True), "disable_additional_properties": (False,),
        "enable_in_reasoning": (False,), "reasoning_parser": ("", None),
        "reasoning_parser_plugin": ("", None),
    }  # fmt: skip
    if not isinstance(given, Mapping):
        raise MinillmError(f"structured_outputs_config must be a dict, got {config!r}")
    for name, value in given.items():
        if name not in known or not isinstance(value, str | bool | None) or value not in known[name]:
            rule = f"one of {known[name]}" if name in known else f"left out; there are {', '.join(known)}"
            raise MinillmError(f"structured_outputs_config: {name!r} must be {rule}, got {value!r}")
    if (backend := given.get("backend", "auto")) not in ("auto", "guidance"):
        note("structured_outputs_config", f"llguidance takes the place of the backend {backend!r}")
    return bool(given.get("disable_any_whitespace", False))


def whole(name: str, value: object, default: int) -> int:
    """Return a whole number, or its default for None; what it may be is checked where it is used."""
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise MinillmError(f"{name} must be a whole number, got {value!r}")
    return value


def flag(name: str, value: object, default: bool) -> bool:
    """Return a flag, or its default for None."""
    if value is None:
        return default
    if not isinstance(value, int) or value not in (0, 1):
        raise MinillmError(f"{name} must be True or False, got {value!r}")
    return bool(value)
