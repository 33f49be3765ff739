"""Which tokens a step computes, and whose pages hold their keys.

First come, first served, among those of one priority; those of a lower one before all others. Running
sequences go first, each with its next token; prompts fill the rest of the step in chunks. Pages are given out
as tokens need them; where there are none left, the last sequence is preempted: of the highest priority, the
one that was admitted last. It gives its pages back, and is recomputed later. Its tokens stay, and by row
invariance its bits. The first sequence is never sent back for another, so that there is progress.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence

from minillm.engine.page_pool import PagePool
from minillm.engine.sequence import EngineSequence, pages_of
from minillm.errors import MinillmError
from minillm.model.batch import PAGE_SIZE

# A sequence, and how many of its tokens to compute now.
Chunk = tuple[EngineSequence, int]


class Scheduler:
    """Waiting and running sequences over a pool of pages; `copies` lists the pages to copy before a step.

    Both lists are in the order in which sequences are served.
    """

    def __init__(
        self, pool: PagePool, max_num_seqs: int, max_num_batched_tokens: int, enable_prefix_caching: bool
    ) -> None:
        self.pool = pool
        self.max_num_seqs, self.max_num_batched_tokens = max_num_seqs, max_num_batched_tokens
        self.enable_prefix_caching = enable_prefix_caching
        self.waiting: deque[EngineSequence] = deque()
        self.running: list[EngineSequence] = []
        self.copies: list[tuple[int, int]] = []
        self.preemptions = 0
        # Most adapters that run at a time; who needs another waits, and is overtaken.
        self.max_loras: int | None = None

    def add(self, sequence: EngineSequence) -> None:
        """Queue a sequence; `MinillmError` where the whole cache could not hold it."""
        if sequence.pages_at_most > self.pool.num_pages:
            raise MinillmError(
                f"a prompt of {len(sequence.token_ids)} tokens with max_tokens={sequence.max_tokens} "
                f"needs {sequence.pages_at_most} pages of the KV cache, which has "
                f"{self.pool.num_pages}; give more kv_cache_memory_bytes"
            )
        self.waiting.insert(bisect_right(self.waiting, sequence.priority, key=_priority), sequence)

    def remove(self, sequence: EngineSequence) -> None:
        """Take a sequence out, finished or not; its pages stay indexed until they are needed."""
        if sequence in self.running:
            self.running.remove(sequence)
            self._release(sequence)
        else:
            self.waiting.remove(sequence)

    def schedule(self) -> list[Chunk]:
        """Choose what the next step computes; the pages for it are there."""
        chunks: list[Chunk] = []
        budget, before = self.max_num_batched_tokens, self.preemptions
        for sequence in list(self.running):
            count = min(len(sequence.token_ids) - sequence.computed, budget)
            if sequence.pages and count and self._grow(sequence, count):
                budget -= count
                chunks.append((sequence, count))
        admitted: list[EngineSequence] = []
        aside: list[EngineSequence] = []
        while self.waiting and budget and len(self.running) < self.max_num_seqs:
            if not self._has_room(self.waiting[0]):
                aside.append(self.waiting.popleft())
                continue
            # Room was made just now: whoever came in would be the next to give it back.
            if self.preemptions > before or not self._admit(sequence := self.waiting[0], admitted):
                break
            self.waiting.popleft()
            self.running.insert(bisect_right(self.running, sequence.priority, key=_priority), sequence)
            admitted.append(sequence)
            count = min(len(sequence.token_ids) - sequence.computed, budget)
            budget -= count
            chunks.append((sequence, count))
        self.waiting.extendleft(reversed(aside))
        if not chunks and self.waiting and self.running:
            # All that run have their rows, and their caller waits for those of others, as a beam search does.
            self._preempt()
            self.waiting.rotate(-1)
            return self.schedule()
        return chunks

    def computed(self, sequence: EngineSequence, count: int) -> None:
        """Note that the keys of so many more tokens are in the cache."""
        # A decode step's page is entered when the sequence leaves.
        is_prompt = count > 1 or sequence.computed == sequence.started
        sequence.computed += count
        if is_prompt:
            self._index(sequence)

    def _has_room(self, sequence: EngineSequence) -> bool:
        """Tell whether a sequence's adapter is one of those that run, or may join them."""
        if sequence.lora is None or self.max_loras is None:
            return True
        running = {other.lora for other in self.running} - {None}
        return sequence.lora in running or len(running) < self.max_loras

    def _index(self, sequence: EngineSequence) -> None:
        if self.enable_prefix_caching:
            self.pool.index(sequence.token_ids[: sequence.computed], sequence.pages, sequence.root)
            sequence.parent = None  # what is indexed is as long as what it shared, or longer

    def _release(self, sequence: EngineSequence) -> None:
        self._index(sequence)
        self.pool.drop(sequence.pages)
        sequence.pages, sequence.computed = [], 0

    def _preempt(self) -> EngineSequence:
        """Send the last sequence back to wait, first in the line of its priority."""
        last = self.running.pop()
        self._release(last)
        self.waiting.insert(bisect_left(self.waiting, last.priority, key=_priority), last)
        self.preemptions += 1
        last.preemptions += 1
        return last

    def _grow(self, sequence: EngineSequence, count: int) -> bool:
        """Pages for `count` more tokens; False where the sequence itself had to give up its own."""
        needed = pages_of(sequence.computed + count) - len(sequence.pages)
        while needed > self.pool.available:
            if self._preempt() is sequence:
                return False
        if needed > 0:
            sequence.pages += self.pool.take(needed)
        return True

    def _admit(self, sequence: EngineSequence, admitted: list[EngineSequence]) -> bool:
        """Give a sequence its pages, with what the cache already holds of its tokens."""
        tokens, parent = sequence.token_ids, sequence.parent
        full: list[int] = []
        partial, count = -1, 0
        if parent is not None and parent.pages:
            if parent.computed < sequence.shared:
                return False  # its parent is still at the part that they share
            whole, count = divmod(sequence.shared, PAGE_SIZE)
            full, partial = parent.pages[:whole], parent.pages[whole] if count else -1
        elif self.enable_prefix_caching and sequence.reads_cache and not sequence.wants_prompt:
            # The last token is always computed: its row makes the first logits.
            full, (partial, count) = self.pool.match(tokens[:-1], sequence.root)
            known = len(full) * PAGE_SIZE + count
            # One step later, a longer common start with a prompt of this step can be shared.
            longer = known + PAGE_SIZE // 4
            if any(o.root == sequence.root and _shares(tokens, o.token_ids, longer) for o in admitted):
                return False
        held = [*full, *([partial] if count else [])]
        for page in held:
            self.pool.hold(page)  # `take` must not give it out
        needed = pages_of(len(tokens)) - len(full)
        if count and needed > self.pool.available:
            self.pool.drop([held.pop()])
            count = 0
        if needed > self.pool.available:
            self.pool.drop(held)
            return False
        fresh = self.pool.take(needed)
        if count:
            self.copies.append((partial, fresh[0]))
            self.pool.drop([partial])
        sequence.pages = full + fresh
        sequence.computed = sequence.started = len(full) * PAGE_SIZE + count
        if not sequence.preemptions:
            sequence.cached, sequence.scheduled_time = sequence.started, time.time()
        return True


def _priority(sequence: EngineSequence) -> int:
    return sequence.priority


def _shares(a: Sequence[int], b: Sequence[int], length: int) -> bool:
    return len(a) > length and len(b) >= length and list(a[:length]) == list(b[:length])
