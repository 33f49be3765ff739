"""One live model, its KV cache and a scheduler: every step is one forward over what the scheduler chose.

Row invariance makes it all one: no result depends on how a step was made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from kernels.backend import memory_of
from minillm.api.lora_request import LoRARequest
from minillm.api.parameters import is_number, is_whole
from minillm.engine.decode_graph import DecodeGraphs
from minillm.engine.page_pool import PagePool
from minillm.engine.scheduler import Chunk, Scheduler
from minillm.engine.sequence import EngineSequence
from minillm.engine.served_loras import ServedLoRA, ServedLoRAs
from minillm.errors import MinillmError, note
from minillm.model.batch import PAGE_SIZE, Batch
from minillm.model.kv_cache import KVCache
from minillm.model.master_weights import count_writes, version
from minillm.model.transformer import Transformer


@dataclass
class Step:
    """What a forward made, row by row.

    `ready` are the sequences whose last token was in it, `logits_RV` their logits. `prompts` has, for each
    sequence that wants the rows of all its tokens, the position of the first, hidden_TC of those that were
    computed, and the model that makes logits of them.
    """

    ready: list[EngineSequence]
    logits_RV: torch.Tensor
    prompts: list[tuple[EngineSequence, int, torch.Tensor, Transformer]]

    def part(self, places: Sequence[int]) -> Step:
        """Return the step with the rows of these places alone."""
        rows = torch.tensor(places, dtype=torch.int64, device=self.logits_RV.device)
        return Step([self.ready[place] for place in places], self.logits_RV[rows], self.prompts)


class Engine:
    """Runs sequences over a `Transformer` and its KV cache; knows no text and draws no token."""

    def __init__(
        self,
        model: Transformer,
        kv_cache_bytes: int,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        enable_prefix_caching: bool,
        loras: ServedLoRAs | None = None,
    ) -> None:
        limits = {"max_num_seqs": max_num_seqs, "max_num_batched_tokens": max_num_batched_tokens}
        for name, limit in limits.items():
            if limit < 1:
                raise MinillmError(f"{name} must be at least 1, got {limit}")
        page_bytes = KVCache.page_bytes(model.config, model.precision)
        self.num_pages = kv_cache_bytes // page_bytes
        if self.num_pages < 1:
            raise MinillmError(
                f"kv_cache_memory_bytes = {kv_cache_bytes} holds not one page of "
                f"{page_bytes} bytes; give more"
            )
        self.model = model
        self.scheduler = Scheduler(
            PagePool(self.num_pages), **limits, enable_prefix_caching=enable_prefix_caching
        )
        self.loras = loras
        self.scheduler.max_loras = None if loras is None else loras.max_loras
        count_writes(model.weights())
        self._weights = self._weights_state()
        self._cache: KVCache | None = None
        self.decode_graphs: DecodeGraphs | None = None
        self.wake_up()

    @property
    def cache(self) -> KVCache:
        """The KV cache; `MinillmError` while the engine sleeps."""
        if self._cache is None:
            raise MinillmError("the sampler sleeps: its KV cache was given back; call wake_up() first")
        return self._cache

    @property
    def is_sleeping(self) -> bool:
        """Whether the KV cache's memory was given back."""
        return self._cache is None

    def checked_max_model_len(self, asked: int | None) -> int:
        """Return the most tokens of a sequence; raise `MinillmError` where that is fewer than `asked`."""
        context = self.model.config.max_position_embeddings
        room = self.num_pages * PAGE_SIZE + 1  # the last token's keys are never needed
        if asked is None:
            return min(context, room)
        if not 1 <= asked <= context:
            raise MinillmError(f"max_model_len must be 1 to the model's context of {context}, got {asked}")
        if asked > room:
            raise MinillmError(
                f"max_model_len = {asked} is more than the KV cache holds ({room} tokens); give more "
                "kv_cache_memory_bytes"
            )
        return asked

    def wake_up(self) -> None:
        """Make the KV cache, empty; nothing where it is there."""
        if self._cache is None:
            device = self.model.head.device
            self._cache = KVCache(self.model.config, self.model.precision, self.num_pages, device)
            self.decode_graphs = DecodeGraphs(self.model, self._cache)
            self.scheduler.pool = PagePool(self.num_pages)

    def sleep(self) -> None:
        """Give the KV cache's memory back; `MinillmError` while sequences are being sampled."""
        if self.scheduler.running or self.scheduler.waiting:
            raise MinillmError("sequences are being sampled; finish or abort them before sleep()")
        self._cache = self.decode_graphs = None
        if self.loras is not None:
            self.loras.forget_merged()

    def lora(self, request: LoRARequest | None) -> ServedLoRA | None:
        """Find a request's adapter, read where it is not known; `MinillmError` as `ServedLoRAs.get` does."""
        if request is None:
            return None
        if not isinstance(request, LoRARequest):
            raise MinillmError(f"lora_request must be a LoRARequest, got {type(request).__name__}")
        if self.loras is None:
            raise MinillmError(
                f"lora_request {request.lora_name!r}, but LoRA is not enabled; make the LLM with "
                "enable_lora=True"
            )
        return self.loras.get(request)

    def add(self, sequence: EngineSequence) -> None:
        """Queue a sequence; `MinillmError` where the whole cache could not hold it, or while it sleeps."""
        _ = self.cache  # which says so while it sleeps
        self.scheduler.add(sequence)

    def remove(self, sequence: EngineSequence) -> None:
        """Take a sequence out, finished or not; its pages stay indexed until they are needed."""
        self.scheduler.remove(sequence)

    def clear(self) -> None:
        """Take out every sequence."""
        for sequence in (*self.scheduler.running, *self.scheduler.waiting):
            self.remove(sequence)

    def reset_prefix_cache(self) -> None:
        """Forget all prefixes, as after an update of the weights."""
        self.scheduler.pool.reset()

    def weights_changed(self) -> None:
        """Count up the version of all weights, which what is made of them follows."""
        if self._has_begun:
            raise MinillmError("sequences are being sampled; finish or abort them before weights_changed()")
        for w in self.model.weights():
            torch.autograd.graph.increment_version(w)

    @torch.no_grad()
    def step(self) -> Step:
        """Run one forward; the caller gives each ready sequence a token, or removes it, before the next."""
        self._check_weights()
        chunks = self._schedule()
        parts: dict[ServedLoRA | None, list[Chunk]] = {}
        for chunk in chunks:
            parts.setdefault(chunk[0].lora, []).append(chunk)
        steps = [self._part(lora, part) for lora, part in parts.items()]
        if len(steps) == 1:
            return steps[0]
        ready, prompts = (list(chain(*x)) for x in zip(*((s.ready, s.prompts) for s in steps), strict=True))
        return Step(ready, torch.cat([step.logits_RV for step in steps]), prompts)

    def _part(self, lora: ServedLoRA | None, chunks: Sequence[Chunk]) -> Step:
        """Run the chunks of one adapter, or of none: no row sees that others have a forward of their own."""
        model, graphs = self.model, self.decode_graphs
        if lora is not None:
            assert self.loras is not None
            model, graphs = self.loras.merged(lora, self.cache)
        batch, hidden_TC = self._run(chunks, model, graphs)
        return self._postprocess(chunks, batch, hidden_TC, model)

    def _check_weights(self) -> None:
        """Forget all prefixes after an update of the weights, which must not come amid sequences.

        Before the first step of sequences all bytes are read once; between steps, versions and addresses are.
        """
        if not (begun := self._has_begun):
            count_writes(self.model.weights())
        if (now := self._weights_state()) != self._weights:
            if begun:
                raise MinillmError("the weights changed while sequences were being sampled")
            self.reset_prefix_cache()
            if self.loras is not None:
                self.loras.forget_merged()
            self._weights = now

    @property
    def _has_begun(self) -> bool:
        return bool(self.scheduler.running) or any(s.preemptions for s in self.scheduler.waiting)

    def _weights_state(self) -> tuple[int, list[int]]:
        weights = self.model.weights()  # others, after load_state_dict(assign=True)
        return version(weights), [w.data_ptr() for w in weights]

    def _schedule(self) -> list[Chunk]:
        """Choose what to compute, and copy the pages that a sequence starts from."""
        chunks = self.scheduler.schedule()
        for source, target in self.scheduler.copies:
            self.cache.copy_page(source, target)
        self.scheduler.copies.clear()
        return chunks

    def _run(
        self, chunks: Sequence[Chunk], model: Transformer, graphs: DecodeGraphs | None
    ) -> tuple[Batch, torch.Tensor]:
        """Run a model over these chunks, as one batch, and the cache: hidden_TC."""
        device = self.model.head.device
        counts, starts = [count for _, count in chunks], [s.computed for s, _ in chunks]
        batch = Batch.build(counts, starts, [s.pages for s, _ in chunks], device)
        tokens = [t for s, count in chunks for t in s.token_ids[s.computed : s.computed + count]]
        tokens_T = torch.tensor(tokens, device=device)
        if batch.is_decode and graphs is not None:
            return batch, graphs.run(tokens_T, batch)
        return batch, model(tokens_T, batch, self.cache)

    def _postprocess(
        self, chunks: Sequence[Chunk], batch: Batch, hidden_TC: torch.Tensor, model: Transformer
    ) -> Step:
        """Note what has been computed; take the logits of the rows whose next token is due."""
        bounds = batch.bounds
        prompts = [
            (s, s.computed, hidden_TC[bounds[i] : bounds[i + 1]], model)
            for i, (s, _) in enumerate(chunks)
            if s.wants_prompt
        ]
        for sequence, count in chunks:
            self.scheduler.computed(sequence, count)
        ready = [i for i, (s, _) in enumerate(chunks) if s.computed == len(s.token_ids)]
        if len(ready) < len(chunks) or not batch.is_decode:
            rows = torch.tensor([bounds[i + 1] - 1 for i in ready], device=hidden_TC.device)
            hidden_TC = hidden_TC[rows.long()]
        return Step([chunks[i][0] for i in ready], model.logits(hidden_TC), prompts)


def cache_bytes(device: torch.device, asked: int | None, utilization: float | None) -> int:
    """Return the size of the KV cache: `asked`, or what a share of a GPU's memory leaves, or 1 GiB."""
    if utilization is not None and not (is_number(utilization, 0, 1) and utilization > 0):
        raise MinillmError(f"gpu_memory_utilization must be above 0 and at most 1, got {utilization!r}")
    if asked is not None:
        if not is_whole(asked, 1):
            raise MinillmError(f"kv_cache_memory_bytes must be a whole number above 0, got {asked!r}")
        return asked
    if (memory := memory_of(device)) is not None:
        free, total = memory
        return max(0, int(total * (0.9 if utilization is None else utilization)) - (total - free))
    if utilization is not None:
        note(
            "gpu_memory_utilization",
            f"gpu_memory_utilization={utilization} asks for nothing on a CPU; kv_cache_memory_bytes does",
        )
    return 1 << 30
