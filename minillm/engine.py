"""Continuous batching over one live model: sequences come and go, every step is one forward.

A step gives each running sequence its next token's row, and fills the rest of the token budget with
chunks of prompts. Row invariance makes it all one: no result depends on how a step was made up.

Left out: preemption. A sequence is admitted only if the pages of its longest outcome are there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from minillm.batch import PAGE_SIZE, Batch
from minillm.cache import KVCache, PagePool
from minillm.errors import MinillmError
from minillm.model import Transformer


@dataclass(eq=False)
class EngineSequence:
    """Token ids whose keys are partly in the cache, and the pages that hold them."""

    token_ids: list[int]
    max_tokens: int
    computed: int = 0
    cached: int = 0
    pages: list[int] = field(default_factory=list)

    @property
    def pages_at_most(self) -> int:
        """Pages of the longest outcome; the last token's keys are never needed."""
        return -(-(len(self.token_ids) + self.max_tokens - 1) // PAGE_SIZE)


class Engine:
    """Runs sequences over a `Transformer` and its KV cache; knows no text and draws no token."""

    def __init__(
        self,
        model: Transformer,
        kv_cache_bytes: int,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        enable_prefix_caching: bool,
    ) -> None:
        for name, most in (
            ("max_num_seqs", max_num_seqs),
            ("max_num_batched_tokens", max_num_batched_tokens),
        ):
            if most < 1:
                raise MinillmError(f"{name} must be at least 1, got {most}")
        num_pages = kv_cache_bytes // KVCache.page_bytes(model.config, model.precision)
        if num_pages < 1:
            raise MinillmError(
                f"kv_cache_memory_bytes = {kv_cache_bytes} holds not one page of "
                f"{KVCache.page_bytes(model.config, model.precision)} bytes; give more"
            )
        self.model = model
        self.cache = KVCache(model.config, model.precision, num_pages, model.head.device)
        self.pool = PagePool(num_pages)
        self.max_num_seqs, self.max_num_batched_tokens = max_num_seqs, max_num_batched_tokens
        self.enable_prefix_caching = enable_prefix_caching
        self.waiting: deque[EngineSequence] = deque()
        self.running: list[EngineSequence] = []
        self._parameters = list(model.parameters())
        self._weights_version = self._version()

    def _version(self) -> int:
        # Every in-place change of a parameter, an optimizer's step too, counts up its version. Writing
        # through `.data` hides from it, and needs `reset_prefix_cache`.
        return sum(parameter._version for parameter in self._parameters)

    def add(self, sequence: EngineSequence) -> None:
        """Queue a sequence; `MinillmError` where the whole cache could not hold it."""
        if sequence.pages_at_most > self.pool.num_pages:
            raise MinillmError(
                f"a prompt of {len(sequence.token_ids)} tokens with max_tokens={sequence.max_tokens} "
                f"needs {sequence.pages_at_most} pages of the KV cache, which has "
                f"{self.pool.num_pages}; give more kv_cache_memory_bytes"
            )
        self.waiting.append(sequence)

    def finish(self, sequence: EngineSequence) -> None:
        """Take a sequence out; its pages stay indexed until they are needed."""
        self.running.remove(sequence)
        self.pool.drop(sequence.pages)
        sequence.pages = []

    def abort(self) -> None:
        """Take every sequence out, as after an exception."""
        for sequence in list(self.running):
            self.finish(sequence)
        self.waiting.clear()

    def reset_prefix_cache(self) -> None:
        """Forget all prefixes, as after an update of the weights."""
        self.pool.reset()

    @torch.no_grad()
    def step(self) -> tuple[list[EngineSequence], torch.Tensor]:
        """One forward; the sequences whose last token was in it, and their logits (R, V).

        The caller appends a token to each of these, or finishes it, before the next step.
        """
        if (version := self._version()) != self._weights_version:
            if self.running:
                raise MinillmError("the weights changed while sequences were being sampled")
            self.reset_prefix_cache()
            self._weights_version = version
        chunks = list(self._schedule())
        tokens = [t for s, n in chunks for t in s.token_ids[s.computed : s.computed + n]]
        batch = Batch.build(
            [n for _, n in chunks], [s.computed for s, _ in chunks], [s.pages for s, _ in chunks],
            self.model.head.device,
        )  # fmt: skip
        hidden_TC = self.model(torch.tensor(tokens, device=self.model.head.device), batch, self.cache)
        for sequence, count in chunks:
            was_prompt = count > 1 or sequence.computed == sequence.cached
            sequence.computed += count
            if was_prompt and self.enable_prefix_caching:
                self.pool.index(sequence.token_ids[: sequence.computed], sequence.pages)
        ready = [i for i, (s, _) in enumerate(chunks) if s.computed == len(s.token_ids)]
        rows = torch.tensor([batch.bounds[i + 1] - 1 for i in ready], device=hidden_TC.device)
        return [chunks[i][0] for i in ready], self.model.logits(hidden_TC[rows.long()])

    def _schedule(self) -> Iterator[tuple[EngineSequence, int]]:
        """(sequence, tokens of it to compute now), running ones first, then as many new as fit."""
        budget = self.max_num_batched_tokens
        for sequence in self.running:
            count = min(len(sequence.token_ids) - sequence.computed, budget)
            if count:
                budget -= count
                yield sequence, count
        admitted: list[Sequence[int]] = []
        while self.waiting and budget and len(self.running) < self.max_num_seqs:
            sequence = self.waiting[0]
            if not self._admit(sequence, admitted):
                return
            self.waiting.popleft()
            admitted.append(sequence.token_ids)
            count = min(len(sequence.token_ids) - sequence.computed, budget)
            budget -= count
            yield sequence, count

    def _admit(self, sequence: EngineSequence, admitted: list[Sequence[int]]) -> bool:
        """Give a sequence its pages, with what the cache already holds of its prompt."""
        prompt = sequence.token_ids
        full: list[int] = []
        partial, count = -1, 0
        if self.enable_prefix_caching:
            # The last token is always computed: its row makes the first logits.
            full, (partial, count) = self.pool.match(prompt[:-1])
            known = len(full) * PAGE_SIZE + count
            # One step later, a longer common start with a prompt of this step can be shared.
            if any(_shares(prompt, other, known + PAGE_SIZE // 4) for other in admitted):
                return False
        for page in full:
            self.pool.hold(page)
        needed = sequence.pages_at_most - len(full)
        if needed > self.pool.available:
            self.pool.drop(full)
            return False
        if count:
            self.pool.hold(partial)  # `take` must not give it out before it is copied
        if count and needed > self.pool.available:
            self.pool.drop([partial])
            count = 0
        fresh = self.pool.take(needed)
        if count:
            self.cache.copy_page(partial, fresh[0])
            self.pool.drop([partial])
        sequence.pages = full + fresh
        sequence.computed = sequence.cached = len(full) * PAGE_SIZE + count
        self.running.append(sequence)
        return True


def _shares(a: Sequence[int], b: Sequence[int], length: int) -> bool:
    return len(a) > length and len(b) >= length and list(a[:length]) == list(b[:length])
