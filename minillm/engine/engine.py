"""One live model, its KV cache and a scheduler: every step is one forward over what the scheduler chose.

Row invariance makes it all one: no result depends on how a step was made up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from minillm.engine.decode_graph import DecodeGraphs
from minillm.engine.page_pool import PagePool
from minillm.engine.scheduler import Scheduler
from minillm.engine.sequence import EngineSequence
from minillm.errors import MinillmError
from minillm.model.batch import PAGE_SIZE, Batch
from minillm.model.kv_cache import KVCache
from minillm.model.master_weights import version
from minillm.model.transformer import Transformer


@dataclass
class Step:
    """What a forward made, row by row.

    `ready` are the sequences whose last token was in it, `logits_RV` their logits. `prompts` has, for each
    sequence that wants the rows of all its tokens, the position of the first and hidden_TC of those that
    were computed.
    """

    ready: list[EngineSequence]
    logits_RV: torch.Tensor
    prompts: list[tuple[EngineSequence, int, torch.Tensor]]


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
        page_bytes = KVCache.page_bytes(model.config, model.precision)
        self.num_pages = kv_cache_bytes // page_bytes
        if self.num_pages < 1:
            raise MinillmError(
                f"kv_cache_memory_bytes = {kv_cache_bytes} holds not one page of "
                f"{page_bytes} bytes; give more"
            )
        self.model = model
        limits = (max_num_seqs, max_num_batched_tokens, enable_prefix_caching)
        self.scheduler = Scheduler(PagePool(self.num_pages), *limits)
        self._parameters = list(model.parameters())
        self._weights_version = self._version()
        self._cache: KVCache | None = None
        self._decode: DecodeGraphs | None = None
        self.wake_up()

    @property
    def cache(self) -> KVCache:
        """The KV cache; `MinillmError` while the engine sleeps."""
        if self._cache is None:
            raise MinillmError("the sampler sleeps: its KV cache was given back; call wake_up() first")
        return self._cache

    @property
    def decode_graphs(self) -> DecodeGraphs:
        """The recorded decode steps over this cache."""
        _ = self.cache  # which says so while the engine sleeps
        assert self._decode is not None
        return self._decode

    @property
    def is_sleeping(self) -> bool:
        """Whether the KV cache's memory was given back."""
        return self._cache is None

    @property
    def max_model_len(self) -> int:
        """Tokens of the longest sequence that the cache holds; the last one's keys are never needed."""
        return self.num_pages * PAGE_SIZE + 1

    def wake_up(self) -> None:
        """Make the KV cache, empty; nothing where it is there."""
        if self._cache is None:
            device = self.model.head.device
            self._cache = KVCache(self.model.config, self.model.precision, self.num_pages, device)
            self._decode = DecodeGraphs(self.model, self._cache)
            self.scheduler.pool = PagePool(self.num_pages)

    def sleep(self) -> None:
        """Give the KV cache's memory back; `MinillmError` while sequences are being sampled."""
        if self.scheduler.running or self.scheduler.waiting:
            raise MinillmError("sequences are being sampled; finish or abort them before sleep()")
        self._cache = self._decode = None

    def _version(self) -> int:
        return version(self._parameters)

    def add(self, sequence: EngineSequence) -> None:
        """Queue a sequence; `MinillmError` where the whole cache could not hold it, or while it sleeps."""
        _ = self.cache  # which says so while it sleeps
        self.scheduler.add(sequence)

    def remove(self, sequence: EngineSequence) -> None:
        """Take a sequence out, finished or not; its pages stay indexed until they are needed."""
        self.scheduler.remove(sequence)

    def reset_prefix_cache(self) -> None:
        """Forget all prefixes, as after an update of the weights."""
        self.scheduler.pool.reset()

    @torch.no_grad()
    def step(self) -> Step:
        """One forward. The caller appends a token to each ready sequence, or removes it, before the next."""
        scheduler, cache, device = self.scheduler, self.cache, self.model.head.device
        if (version := self._version()) != self._weights_version:
            if scheduler.running or any(s.preemptions for s in scheduler.waiting):
                raise MinillmError("the weights changed while sequences were being sampled")
            self.reset_prefix_cache()
            self._weights_version = version
        chunks = scheduler.schedule()
        for source, target in scheduler.copies:
            cache.copy_page(source, target)
        scheduler.copies.clear()
        tokens = [t for s, n in chunks for t in s.token_ids[s.computed : s.computed + n]]
        batch = Batch.build(
            [n for _, n in chunks], [s.computed for s, _ in chunks], [s.pages for s, _ in chunks], device
        )
        tokens_T = torch.tensor(tokens, device=device)
        if batch.is_decode:
            hidden_TC = self.decode_graphs.run(tokens_T, batch)
        else:
            hidden_TC = self.model(tokens_T, batch, cache)
        prompts = [
            (s, s.computed, hidden_TC[batch.bounds[i] : batch.bounds[i + 1]])
            for i, (s, _) in enumerate(chunks)
            if s.wants_prompt
        ]
        for sequence, count in chunks:
            scheduler.computed(sequence, count)
        ready = [i for i, (s, _) in enumerate(chunks) if s.computed == len(s.token_ids)]
        if len(ready) < len(chunks) or not batch.is_decode:
            rows = torch.tensor([batch.bounds[i + 1] - 1 for i in ready], device=device)
            hidden_TC = hidden_TC[rows.long()]
        return Step([chunks[i][0] for i in ready], self.model.logits(hidden_TC), prompts)
