"""Options that are declared once: a dataclass field with its default and the rule that its value keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, fields
from typing import Any, TypeVar

from minillm.errors import check_values

T = TypeVar("T")


def option(default: T, rule: str, holds: Callable[[Any], bool]) -> T:
    """Declare a field: "<name> must be <rule>" where `holds` is false of the dataclass."""
    return field(default=default, metadata={"rule": (rule, holds)})


def check_options(config: Any) -> None:
    """Raise `MinillmError` for the first option whose rule does not hold, or that is infinite."""
    rules = {f.name: f.metadata["rule"] for f in fields(config) if "rule" in f.metadata}
    check_values(config, {name: (holds(config), rule) for name, (rule, holds) in rules.items()})
