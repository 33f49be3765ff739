"""What a stored tensor's name means: which of the model's own it is, or why it is not read."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from minillm.checkpoint.fp8 import FP8, SCALES

ROTARY = re.compile(r"(?:^|\.)rotary_emb(?:_local)?\.\w+$|(?:^|\.)position_ids$")
"""Tables of old checkpoints that repeat what config.json says."""

COPIES, CONSTANTS = "copies of the tied embedding", "constants"


@dataclass(frozen=True)
class Naming:
    """A rule from the names in a checkpoint's files to those of the model.

    Attributes:
        base: what stands before the names of all but the head; a model that was saved without its head
            lacks it.
        respelled: patterns of parts of names, and what stands in the model's own in their place.
        skipped: what is not read, in the plural -> the names that mean it.
        constants: name -> the number that the model computes with, where one is stored.
        copies: name that a tied head is stored under -> the embedding, which it has to be equal to.
        fp8: matrices may be in 8 bits, and their scales beside them.
    """

    base: str = ""
    respelled: Sequence[tuple[re.Pattern[str], str]] = ()
    skipped: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    constants: Mapping[str, float] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    fp8: FP8 | None = None

    def read(self, stored: str, expected: Collection[str]) -> tuple[str, str]:
        """Return the model's name of a stored tensor, and its kind if it is skipped, or "" if it is read."""
        bare = stored
        for pattern, own in self.respelled:
            bare = pattern.sub(own, bare, count=1)
        spellings = (bare, self.base + bare)
        for name in spellings:
            tensor = name.removesuffix(SCALES) if self.fp8 else name
            if tensor in expected or tensor in self.copies or name in self.constants:
                return name, ""
        for name in (stored, *spellings):
            for kind, pattern in self.skipped.items():
                if pattern.search(name):
                    return name, kind
        return stored, ""
