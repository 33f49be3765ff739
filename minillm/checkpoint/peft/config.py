"""`adapter_config.json` of PEFT: which of its keys are computed, which change nothing, which are refused.

Every key of a `LoraConfig` stands in one of three tables. A key that stands in none is refused unless it asks
for nothing (null, false, empty), so that no key of a later PEFT is ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from minillm.errors import MinillmError


def _is_number(value: object, least: float = -float("inf")) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= least


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and _is_number(value, 1)


def _are(kind: type, values: object) -> bool:
    return values is None or (isinstance(values, list) and all(isinstance(x, kind) for x in values))


def _is_pattern(values: object, holds: Callable[[object], bool]) -> bool:
    return not values or (isinstance(values, dict) and all(map(holds, values.values())))


def _are_names(value: object) -> bool:
    return isinstance(value, str) or _are(str, value)


def _are_tokens(value: object) -> bool:
    lists = list(value.values()) if isinstance(value, dict) else [value]
    return all(_are(int, tokens) for tokens in lists)


# Which weights are adapted or replaced, and by how much: computed, whatever the value, if it is of its form.
COMPUTED: dict[str, tuple[Callable[[object], bool], str]] = {
    "r": (_is_rank, "a whole number above 0"),
    "lora_alpha": (_is_number, "a number"),
    "use_rslora": (lambda x: x in (None, True, False), "true or false"),
    "rank_pattern": (lambda x: _is_pattern(x, _is_rank), "whole numbers above 0 by patterns"),
    "alpha_pattern": (lambda x: _is_pattern(x, _is_number), "numbers by patterns"),
    "target_modules": (_are_names, "a pattern or a list of names"),
    "exclude_modules": (_are_names, "a pattern or a list of names"),
    "layers_to_transform": (lambda x: isinstance(x, int) or _are(int, x), "a number or a list of numbers"),
    "layers_pattern": (_are_names, "a pattern or a list of patterns"),
    "target_parameters": (lambda x: _are(str, x), "a list of names"),
    "bias": (lambda x: x in (None, "none", "all", "lora_only"), "none, all or lora_only"),
    "modules_to_save": (lambda x: _are(str, x), "a list of names"),
    "trainable_token_indices": (_are_tokens, "a list of tokens, or lists by names"),
}
# What a trained adapter does not depend on: names, training, and settings of what another key asks for.
HARMLESS = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "peft_version", "revision", "inference_mode"),
        *("lora_dropout", "runtime_config"),
        # PEFT corrects it by the kind of layer, which we know.
        "fan_in_fan_out",
        # Read with init_lora_weights, megatron_config and use_qalora alone.
        *("loftq_config", "eva_config", "corda_config", "lora_ga_config"),
        *("megatron_core", "qalora_group_size"),
        # Of tied embeddings, which are refused by themselves.
        "ensure_weight_tying",
    }
)
MERGE = (
    "merge the adapter into its model with PEFT's merge_and_unload(), save that, and load it with load_model"
)


class Only(NamedTuple):
    """The values that a key may have (null, false and empty are one), and what another one means."""

    values: tuple[Any, ...] = (None,)
    meaning: str = "another adapter than LoRA"
    remedy: str = MERGE


ONLY: dict[str, Only] = {
    "peft_type": Only(("LORA",)),
    "task_type": Only((None, "CAUSAL_LM"), "a model with another head", "load the adapter of a causal model"),
    # The others take what A and B begin with off the base, and the file does not hold that.
    "init_lora_weights": Only(
        (None, True, "gaussian", "eva", "orthogonal", "mica"),
        "an adapter of a base that the initialisation changed",
        "save it with PEFT's path_initial_model_for_weight_conversion, which makes it one of the plain base",
    ),
    "use_dora": Only(meaning="outputs of a learnt length (DoRA)"),
    "lora_bias": Only(meaning="a bias of B"),
    "use_qalora": Only(meaning="inputs pooled in groups (QA-LoRA)", remedy="train a plain LoRA"),
    "use_bdlora": Only(meaning="A or B in blocks (BD-LoRA)"),
    "kasa_config": Only(meaning="a base cut by its singular values (KaSA)"),
    "velora_config": Only(meaning="compressed activations (VeLoRA)"),
    "monteclora_config": Only(meaning="sampled factors (MonteCLoRA)", remedy="train a plain LoRA"),
    "arrow_config": Only(meaning="a router over adapters (Arrow)", remedy="load one of its adapters"),
    "alora_invocation_tokens": Only(
        meaning="an adapter that begins at an invocation in the text (activated LoRA)",
        remedy="train a plain LoRA, since merged weights hold for every token",
    ),
    "layer_replication": Only(
        meaning="layers that are repeated", remedy="save the model with those layers and train a plain LoRA"
    ),
    "megatron_config": Only(
        meaning="Megatron's parallel layers", remedy="save the adapter of the whole model"
    ),
}


def read_settings(path: Path) -> dict[str, Any]:
    """Read an adapter_config.json whose keys all mean what is computed here.

    Raises `MinillmError`, which names the key, for any other, and for a file that is not of that kind.
    """
    try:
        settings = dict(json.loads(path.read_bytes()))
        for key, (holds, form) in COMPUTED.items():
            if not holds(settings.get(key)):
                raise ValueError(f"{key} is {settings.get(key)!r}, not {form}")
    except (OSError, ValueError, TypeError) as error:
        raise MinillmError(f"{path} is not the config of an adapter of PEFT's: {error!r}") from error
    for key, only in ONLY.items():
        if (settings.get(key) or None) not in only.values:
            raise MinillmError(
                f"{path}: {key} is {settings.get(key)!r}, {only.meaning}, which is not computed here; "
                f"{only.remedy}"
            )
    for key in settings.keys() - COMPUTED.keys() - HARMLESS - ONLY.keys():
        if settings[key]:
            raise MinillmError(
                f"{path}: {key} is {settings[key]!r}, an unknown key, which may change the meaning; if it "
                f"does not, remove it, else {MERGE}"
            )
    return settings


@dataclass(frozen=True)
class Targets:
    """What a config says of modules and parameters, by PEFT's rules; names are without PEFT's prefix."""

    path: Path
    settings: Mapping[str, Any] = field(repr=False)

    def module(self, name: str, linear: bool) -> bool:
        """Tell whether a module is adapted; `linear`: it is of those that `all-linear` means."""
        chosen = self.settings.get("target_modules")
        if chosen is None or self._chosen("exclude_modules", name) or self.saved(name):
            return False
        if isinstance(chosen, str):
            return linear if chosen.lower() == "all-linear" else self._chosen("target_modules", name)
        return name in chosen or (self._chosen("target_modules", name) and self._in_layer(name))

    def parameter(self, name: str) -> bool:
        """Tell whether a parameter is adapted by its own name."""
        return _ends(name, self.settings.get("target_parameters") or ())

    def saved(self, name: str) -> bool:
        """Tell whether a module is one of `modules_to_save`, or in one."""
        return any(
            self._matches(re.match, "modules_to_save", rf"(^|.*\.){x}($|\..*)", name)
            for x in self.settings.get("modules_to_save") or ()
        )

    def tokens(self, module: str) -> list[int] | None:
        """Look up the `trainable_token_indices` of an embedding."""
        indices = self.settings.get("trainable_token_indices")
        if isinstance(indices, dict):
            return next((rows for name, rows in indices.items() if _ends(module, (name,))), None)
        return indices

    def rank(self, name: str) -> int:
        """Look up the rank at a module or a parameter."""
        return int(self._pattern("rank_pattern", name, self.settings["r"]))

    def scale(self, name: str) -> float:
        """Compute what A B is multiplied by there."""
        alpha, rank = self._pattern("alpha_pattern", name, self.settings["lora_alpha"]), self.rank(name)
        return float(alpha / rank**0.5 if self.settings.get("use_rslora") else alpha / rank)

    def _pattern(self, key: str, name: str, default: Any) -> Any:
        for pattern, value in (self.settings.get(key) or {}).items():
            if self._matches(re.match, key, rf"(.*\.)?({pattern})$", name):
                return value
        return default

    def _chosen(self, key: str, name: str) -> bool:
        """Match by a regular expression of the whole name, or by a list of names and ends of names."""
        chosen = self.settings.get(key) or ()
        if isinstance(chosen, str):
            return self._matches(re.fullmatch, key, chosen, name) is not None
        return _ends(name, chosen)

    def _in_layer(self, name: str) -> bool:
        layers = self.settings.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        patterns = self.settings.get("layers_pattern") or ()
        # The first number counts, which is not an expert's.
        forms = [rf"(?:^|.*?\.){x}" for x in ([patterns] if isinstance(patterns, str) else patterns)]
        for form in forms or [r".*?\.[^.]*"]:
            if matched := self._matches(re.match, "layers_pattern", rf"{form}\.(?P<layer>\d+)\.", name):
                return int(matched["layer"]) in ([layers] if isinstance(layers, int) else layers)
        return False

    def _matches(self, match: Callable[..., Any], key: str, pattern: str, name: str) -> re.Match[str] | None:
        try:
            return match(pattern, name)  # type: ignore[no-any-return]
        except re.error as error:
            raise MinillmError(
                f"{self.path}: {key} holds a pattern that is not a regular expression ({error}); mend it"
            ) from error


def _ends(name: str, ends: Iterable[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)
