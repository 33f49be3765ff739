"""Writes minillm/checkpoint/reference_keys.json: what transformers reads of each family's config.json.

    python tests/golden/write_reference_keys.py

A key is read if a config is asked for it by code that the family's causal language model reaches: its config
class, its modeling file, and the functions of transformers' mask and rope modules that they call. A field
that a config class only declares is not read. A test keeps the table current.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

TARGET = Path(__file__).parents[2] / "minillm" / "checkpoint" / "reference_keys.json"
# What objects are called that hold a config.
CONFIGS = ("config", "text_config")
# Modules whose functions are followed; those of other libraries, and of training, are not.
FOLLOWED = ("transformers.models.", "transformers.masking_utils", "transformers.modeling_layers")
# Attributes of every config class that no config.json holds.
PRIVATE = frozenset(
    {"_attn_implementation", "_experts_implementation", "_is_quantized", "get_text_config", "to_dict"}
)


def main() -> None:
    # Of this clone, whichever is installed.
    sys.path.insert(0, str(TARGET.parents[2]))
    from minillm.checkpoint.families import FAMILIES

    table = {
        model_type: reference_keys(family.reference or model_type) for model_type, family in FAMILIES.items()
    }
    TARGET.write_text(text_of(table))


def text_of(table: dict[str, Any]) -> str:
    rows = (f"{json.dumps(name)}: {json.dumps(row, sort_keys=True)}" for name, row in sorted(table.items()))
    return "{\n" + ",\n".join(rows) + "\n}\n"


def reference_keys(model_type: str) -> dict[str, Any]:
    """{"keys": key -> its default, "aliases": other name -> key} of a model type.

    A default is what the config class, or the code that asks, takes where config.json leaves the key out.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    config, model = CONFIG_MAPPING[model_type], MODEL_FOR_CAUSAL_LM_MAPPING[CONFIG_MAPPING[model_type]]
    fields = {field.name: _default(field) for field in dataclasses.fields(config)}
    # Under the name of the field, which in a few classes is the alias; what is read by the other name wins.
    aliases = dict(
        (name, alias) if alias in fields and name not in fields else (alias, name)
        for alias, name in config.attribute_map.items()
    )
    keys: dict[str, Any] = {"tie_word_embeddings": fields.get("tie_word_embeddings", False)}
    for start in (model, config):
        for name, default in _reads(start):
            name = aliases.get(name, name)
            if keys.get(name) is None:
                keys[name] = fields.get(name, default)
    keys.pop("partial_rotary_factor", None)
    if "rope_parameters" in fields:
        keys |= _rope_keys(config, fields, keys)
        # The functions of the types of rope read it for every family, whose own code then may not know it.
        known = "partial_rotary_factor" in inspect.getsource(importlib.import_module(model.__module__))
        if known and "rotary_pct" not in keys:
            rope = config().rope_parameters
            keys["partial_rotary_factor"] = rope.get("partial_rotary_factor")
    keys = {
        name: default
        for name, default in keys.items()
        if name not in PRIVATE and not callable(getattr(config, name, None))
    }
    return {"keys": dict(sorted(keys.items())), "aliases": aliases}


def _rope_keys(config: Any, fields: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """What rotary embeddings are read from, with the family's bases, and its scaling if it has one."""
    made, theta = config().rope_parameters, config.default_theta
    if "full_attention" in made:  # one for each type of layer: the config class reads what it reads
        bases = theta if isinstance(theta, dict) else {"global": theta}
        names = {"rope_scaling": None, "rope_theta": "global", "rope_local_base_freq": "local"}
        read = {name: bases.get(base) for name, base in names.items() if name in keys}
        return {"rope_parameters": None, **read}
    scaled = dict(made) if made.get("rope_type", "default") != "default" else None
    if scaled and config(rope_theta=123.0).rope_parameters["rope_theta"] == 123.0:
        del scaled["rope_theta"]  # filled in from beside it
    # The functions of the types of rope read the last for every family.
    others = {"rope_scaling": None, "original_max_position_embeddings": None}
    base = {"rotary_emb_base": theta} if "rotary_emb_base" in keys else {"rope_theta": theta}
    return {"rope_parameters": scaled, **others, **base, **{n: fields[n] for n in others if n in fields}}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return _plain(field.default_factory())
    return _plain(field.default)


def _plain(value: Any) -> Any:
    """A default as JSON has it; null where there is none, or one that JSON cannot say."""
    try:
        json.dumps(value)
    except TypeError:
        return None
    return value


def _reads(start: type) -> Iterator[tuple[str, Any]]:
    """(key, default) for each key that code reached from a class reads of a config."""
    seen: set[tuple[str, str]] = set()
    todo = [(start.__module__, start.__name__)]
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        module, node = importlib.import_module(place[0]), _definitions(place[0]).get(place[1])
        if node is None:
            continue
        yield from _asked(node, place[1].endswith("Config"))
        for name in sorted({n.id for n in ast.walk(node) if isinstance(n, ast.Name)}):
            todo += _home(module, name)


def _home(module: ModuleType, name: str) -> list[tuple[str, str]]:
    """Where what a global name of a module stands for is defined, if that is code to follow.

    A dictionary stands for the module's own classes among its values.
    """
    named = getattr(module, name, None)
    if isinstance(named, dict):
        return [
            (one.__module__, one.__name__)
            for one in named.values()
            if _is_code(one) and one.__module__ == module.__name__
        ]
    return (
        [(named.__module__, named.__name__)]
        if _is_code(named) and named.__module__.startswith(FOLLOWED)
        else []
    )


def _is_code(found: Any) -> bool:
    return inspect.isclass(found) or inspect.isfunction(found)


@cache
def _definitions(module: str) -> dict[str, ast.AST]:
    """Top-level classes and functions of a module."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {node.name: node for node in tree.body if isinstance(node, kinds)}


def _asked(node: ast.AST, in_config: bool) -> Iterator[tuple[str, Any]]:
    """Keys that one definition reads; in a config class, `self` is a config, and so are its `kwargs`."""
    for part in ast.walk(node):
        if (
            isinstance(part, ast.Attribute)
            and _is_config(part.value, in_config)
            and isinstance(part.ctx, ast.Load)
        ):
            yield part.attr, None
        if not isinstance(part, ast.Call):
            continue
        function, values = part.func, part.args
        if isinstance(function, ast.Name) and function.id in ("getattr", "hasattr") and len(values) > 1:
            if _is_config(values[0], in_config) and isinstance(values[1], ast.Constant):
                yield str(values[1].value), _constant(values[2:])
        elif isinstance(function, ast.Attribute) and function.attr in ("get", "pop", "setdefault"):
            of_kwargs = isinstance(function.value, ast.Name) and function.value.id == "kwargs"
            if in_config and of_kwargs and values and isinstance(values[0], ast.Constant):
                yield str(values[0].value), _constant(values[1:])


def _is_config(node: ast.AST, in_config: bool) -> bool:
    if isinstance(node, ast.Name):
        return node.id in CONFIGS or (in_config and node.id == "self")
    return isinstance(node, ast.Attribute) and node.attr in CONFIGS


def _constant(values: list[ast.expr]) -> Any:
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


if __name__ == "__main__":
    main()
