"""Scheduler and page pool under a state machine, over a cache that remembers which tokens each slot saw.

A key depends on all tokens up to its own, so a slot's content is that prefix: a sequence whose pages hold
other prefixes than its own would compute something else.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from minillm import MinillmError
from minillm.engine.page_pool import PagePool
from minillm.engine.scheduler import Scheduler
from minillm.engine.sequence import EngineSequence
from minillm.model.batch import PAGE_SIZE

Prefix = tuple[int, ...]
# Prompts are starts of these, so that they share pages and parts of pages.
TEXTS = [[0] * 300, [0] * 100 + [1] * 200, [2] * 300]


class Machine(RuleBasedStateMachine):
    @initialize(
        pages=st.integers(5, 12),
        seqs=st.integers(1, 5),
        budget=st.sampled_from([7, 64, 500]),
        cached=st.booleans(),
    )
    def start(self, pages: int, seqs: int, budget: int, cached: bool) -> None:
        self.pool = PagePool(pages)
        self.scheduler = Scheduler(self.pool, seqs, budget, cached)
        self.slots: dict[tuple[int, int], Prefix] = {}
        self.live: list[EngineSequence] = []
        self.left: dict[EngineSequence, int] = {}
        self.cached = cached

    # ------------------------------------------------------------ what users do

    @rule(
        text=st.sampled_from(TEXTS), length=st.integers(1, 250), most=st.integers(1, 80), wants=st.booleans()
    )
    def submit(self, text: list[int], length: int, most: int, wants: bool) -> None:
        sequence = EngineSequence(text[:length], most, wants_prompt=wants)
        if sequence.pages_at_most > self.pool.num_pages:
            with pytest.raises(MinillmError, match="give more kv_cache_memory_bytes"):
                self.scheduler.add(sequence)
            return
        self._add(sequence, most)

    @rule(data=st.data(), token=st.integers(0, 3), most=st.integers(1, 80))
    def fork(self, data: st.DataObject, token: int, most: int) -> None:
        """Another way on from where a sequence stands, or stood: another sample of its prompt."""
        if not self.live:
            return
        parent = data.draw(st.sampled_from(self.live))
        back = data.draw(st.integers(0, len(parent.token_ids)))
        shared = parent.token_ids[: len(parent.token_ids) - back]
        sequence = EngineSequence([*shared, token], most, parent=parent)
        if sequence.pages_at_most <= self.pool.num_pages:
            self._add(sequence, most)

    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        if self.live:
            self._remove(data.draw(st.sampled_from(self.live)))

    @rule()
    def preempt(self) -> None:
        if self.scheduler.running:
            self.scheduler._preempt()

    @rule()
    def reset(self) -> None:
        self.pool.reset()

    @rule(token=st.integers(0, 3), times=st.integers(1, 30))
    def step(self, token: int, times: int) -> None:
        for _ in range(times):
            self._step(token)

    def _add(self, sequence: EngineSequence, most: int) -> None:
        self.scheduler.add(sequence)
        self.live.append(sequence)
        self.left[sequence] = most

    def _remove(self, sequence: EngineSequence) -> None:
        self.scheduler.remove(sequence)
        self.live.remove(sequence)
        del self.left[sequence]

    # ------------------------------------------------------------ what the engine does

    def _step(self, token: int) -> None:
        chunks = self.scheduler.schedule()
        if self.live:
            assert chunks, "sequences wait, and nothing is computed"
        assert len({id(s) for s, _ in chunks}) == len(chunks) <= len(self.scheduler.running)
        assert sum(n for _, n in chunks) <= self.scheduler.max_num_batched_tokens
        for source, target in self.scheduler.copies:
            for offset in range(PAGE_SIZE):
                if (source, offset) in self.slots:
                    self.slots[target, offset] = self.slots[source, offset]
        self.scheduler.copies.clear()
        for sequence, count in chunks:
            assert count > 0
            for t in range(sequence.computed, sequence.computed + count):
                place = sequence.pages[t // PAGE_SIZE], t % PAGE_SIZE
                self.slots[place] = tuple(sequence.token_ids[: t + 1])
        for sequence, count in chunks:
            for t in range(sequence.computed + count):
                place = sequence.pages[t // PAGE_SIZE], t % PAGE_SIZE
                assert self.slots[place] == tuple(sequence.token_ids[: t + 1]), "another sequence's key"
            if sequence.wants_prompt:
                assert sequence.started == 0
            self.scheduler.computed(sequence, count)
            if sequence.computed == len(sequence.token_ids):
                self.left[sequence] -= 1
                if self.left[sequence]:
                    # Forks part.
                    sequence.token_ids.append((token + self.live.index(sequence)) % 4)
                else:
                    self._remove(sequence)

    # ------------------------------------------------------------ what always holds

    @invariant()
    def every_page_is_in_one_place(self) -> None:
        if not hasattr(self, "pool"):
            return
        pool = self.pool
        holders = Counter(page for sequence in self.live for page in sequence.pages)
        assert all(pool._holders[page] == holders[page] for page in range(pool.num_pages))
        free, idle = set(pool._free), set(pool._idle)
        assert len(free) == len(pool._free) and not free & idle
        assert (free | idle) == {page for page in range(pool.num_pages) if not holders[page]}
        assert idle <= pool._label.keys() and not free & pool._label.keys()
        for parent, children in pool._children.items():
            assert all(pool._label[page][0] == parent for page in children)

    @invariant()
    def sequences_are_where_they_are_said_to_be(self) -> None:
        if not hasattr(self, "pool"):
            return
        waiting, running = list(self.scheduler.waiting), self.scheduler.running
        assert {*waiting, *running} == set(self.live) and len(waiting) + len(running) == len(self.live)
        assert not any(sequence.pages or sequence.computed for sequence in waiting)
        assert len(running) <= self.scheduler.max_num_seqs

    @invariant()
    def pages_are_shared_no_further_than_they_are_alike(self) -> None:
        """Whoever shares a page has the same tokens up to its end."""
        for i, a in enumerate(getattr(self, "live", [])):
            for b in self.live[:i]:
                for place, (p, q) in enumerate(zip(a.pages, b.pages, strict=False)):
                    if p == q:
                        end = (place + 1) * PAGE_SIZE
                        assert a.token_ids[:end] == b.token_ids[:end] and len(a.token_ids) >= end

    def teardown(self) -> None:
        """Every request ends, and no page stays with anyone."""
        if not hasattr(self, "pool"):
            return
        steps = 0
        while self.live:
            self._step(0)
            steps += 1
            assert steps < 5000
        assert self.pool.held == 0
        self.pool.reset()
        assert len(self.pool._free) == self.pool.num_pages


Machine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestScheduler = Machine.TestCase
