"""A sequence of token ids as the scheduler sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from minillm.engine.served_loras import ServedLoRA
from minillm.model.batch import PAGE_SIZE


def pages_of(tokens: int) -> int:
    """Count the pages that the keys of so many tokens take."""
    return -(-tokens // PAGE_SIZE)


@dataclass(eq=False)
class EngineSequence:
    """Token ids whose keys are partly in the cache, and the pages that hold them.

    `parent` is a sequence that starts with this one's tokens but the last: this one is a fork of it, and
    shares the pages of those. `wants_prompt` asks for the rows of all tokens, and so for none from the
    prefix cache. `computed` tokens have their keys in the cache, `started` of them since before the
    sequence's first step there; `cached` is what that was when it first came in, at `scheduled_time`. Of two
    sequences, the one of lower `priority` goes first.
    """

    token_ids: list[int]
    max_tokens: int
    parent: EngineSequence | None = None
    wants_prompt: bool = False
    reads_cache: bool = True
    lora: ServedLoRA | None = None
    computed: int = 0
    started: int = 0
    cached: int = 0
    preemptions: int = 0
    priority: int = 0
    scheduled_time: float | None = None
    pages: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        # The last token's keys are never needed.
        self.pages_at_most = pages_of(len(self.token_ids) + self.max_tokens - 1)
        self.shared = len(self.token_ids) - 1
        # What is computed with an adapter is no other's, nor the base's.
        self.root = -1 if self.lora is None else -1 - self.lora.number
