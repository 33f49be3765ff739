"""What finds the folders of tokenizers by name: it stands above this package, and gives itself in here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

P = ParamSpec("P")
_finders: list[Callable[..., Path]] = []


def finds_tokenizers(function: Callable[P, Path]) -> Callable[P, Path]:
    """Let `Tokenizer.from_pretrained` find folders by this function of a name and of what fetching takes."""
    _finders.append(function)
    return function


def find(name: str | Path, **fetching: object) -> Path:
    """Find a tokenizer's folder; raises what the finder raises."""
    return _finders[-1](name, **fetching)
