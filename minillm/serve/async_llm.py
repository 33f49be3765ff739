"""`AsyncLLM`: an `LLM` on a thread of its own, for callers in an asyncio loop.

An `LLM` belongs to one thread. Callers hand that thread functions through a queue. It runs them one by one,
steps while there is something to sample and no function waits, and otherwise sleeps on the queue.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from minillm.api.outputs import RequestOutput
from minillm.api.sampling_params import SamplingParams
from minillm.errors import MinillmError
from minillm.inputs import Prompt
from minillm.llm import LLM

T = TypeVar("T")
# (place of the prompt, what `LLM.step` gave of it), or what ended it.
Item = tuple[int, RequestOutput] | Exception

PAUSE_MODES = ("abort", "wait", "keep")

logger = logging.getLogger(__name__)


class EngineError(Exception):
    """A step failed, and with it every request that ran."""


class AsyncLLM:
    """`async with AsyncLLM(llm) as async_llm:` runs the thread; nobody else may use the `LLM` meanwhile.

    Attributes:
        error: what made the last step fail; None once a step has succeeded again.
    """

    def __init__(self, llm: LLM) -> None:
        self.error: str | None = None
        self._llm = llm
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._owners: dict[str, tuple[asyncio.Queue[Item], int]] = {}
        self._is_dead = self._is_frozen = False
        self._open = asyncio.Event()  # new requests wait for it
        self._open.set()
        self._drained: list[Future[None]] = []  # to be told once nothing runs
        self._thread = threading.Thread(target=self._run, name="minillm-engine", daemon=True)

    async def __aenter__(self) -> AsyncLLM:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._commands.put(None)
        await asyncio.to_thread(self._thread.join)

    async def call(self, function: Callable[[LLM], T]) -> T:
        """`function(llm)`, run on the thread between two steps; what it raises is raised here."""
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(self._llm))
                except Exception as error:
                    future.set_exception(error)

        self._commands.put(run)
        return await asyncio.wrap_future(future)

    async def pause_generation(self, mode: str = "abort", clear_cache: bool = True) -> None:
        """Let nothing be sampled until `resume_generation`; requests that come meanwhile wait for it.

        Args:
            mode: what becomes of requests that run: "abort" ends them where they are, with what they have;
                "wait" lets them finish first; "keep" holds them until then, with their keys and values.
            clear_cache: forget prefixes too; not with "keep".

        Raises:
            MinillmError: there is no such mode.
        """
        if mode not in PAUSE_MODES:
            raise MinillmError(f"mode must be one of {', '.join(PAUSE_MODES)}, got {mode!r}")
        self._open.clear()
        drained: Future[None] = Future()

        def pause(_: LLM) -> None:
            self._is_frozen = mode == "keep"
            if mode == "abort":
                self._end_all()
            self._drained.append(drained)

        await self.call(pause)
        if mode == "wait":
            await asyncio.wrap_future(drained)
        if mode != "keep" and clear_cache:
            await self.call(LLM.reset_prefix_cache)

    async def resume_generation(self) -> None:
        """Go on after `pause_generation`; nothing where there was none."""

        def resume(_: LLM) -> None:
            self._is_frozen = False

        await self.call(resume)
        self._open.set()

    async def is_paused(self) -> bool:
        """Tell whether `pause_generation` holds."""
        return not self._open.is_set()

    @asynccontextmanager
    async def requests(
        self, prompts: Callable[[LLM], Sequence[Prompt]], params: SamplingParams, priority: int = 0
    ) -> AsyncIterator[AsyncIterator[tuple[int, RequestOutput]]]:
        """Sample from what `prompts(llm)` gives on the thread: an iterator of (place of the prompt, output).

        Leaving the block aborts what has not finished. Raises what `LLM.enqueue` does, before anything of
        these prompts runs, and `EngineError` where a step fails.
        """
        options = {"priority": priority} if priority else {}
        inbox: asyncio.Queue[Item] = asyncio.Queue()
        ids: list[str] = []

        def add(llm: LLM) -> None:
            if self._is_dead:
                raise EngineError(f"the sampler has stopped for good ({self.error}); start it again")
            try:
                for place, prompt in enumerate(prompts(llm)):
                    ids.append(llm.enqueue(prompt, params, **options))
                    self._owners[ids[-1]] = (inbox, place)
            except Exception:
                self._abort(ids)
                raise

        while not self._open.is_set():
            await self._open.wait()
        try:
            await self.call(add)
            yield _until_finished(inbox, len(ids))
        finally:
            # Commands keep their order: should `add` still be waiting, it comes first.
            self._commands.put(partial(self._abort, ids))

    # ---------------------------------------------------------------- on the thread

    def _run(self) -> None:
        while (command := self._next()) is not None:
            try:
                command()
            except Exception as error:
                self._fail(error)

    def _next(self) -> Callable[[], None] | None:
        has_work = self._llm.has_unfinished_requests() and not self._is_dead
        while self._drained and not has_work:
            self._drained.pop().set_result(None)
        try:
            return self._commands.get(block=self._is_frozen or not has_work)
        except queue.Empty:
            return self._step

    def _step(self) -> None:
        outputs = self._llm.step()
        self.error = None
        self._give(outputs)

    def _give(self, outputs: Sequence[RequestOutput]) -> None:
        """Hand outputs to those who asked for them."""
        items: list[tuple[asyncio.Queue[Item], Item]] = []
        for output in outputs:
            if (owner := self._owners.get(output.request_id)) is None:
                continue
            inbox, place = owner
            items.append((inbox, (place, output)))
            if output.finished:
                del self._owners[output.request_id]
        self._post(items)

    def _abort(self, ids: Sequence[str]) -> None:
        running = [request_id for request_id in ids if self._owners.pop(request_id, None) is not None]
        self._llm.abort_request(running)

    def _end_all(self) -> None:
        """End every request where it is, with the finish reason "abort"."""
        self._give(self._llm.abort_request(list(self._owners)))

    def _fail(self, error: Exception) -> None:
        """End every request with an error; where that fails too, do not step again."""
        self.error = f"{type(error).__name__}: {error}"
        logger.error("the sampler failed; every running request ends", exc_info=error)
        owners, self._owners = self._owners, {}
        failure = EngineError(f"the sampler failed: {self.error}")
        self._post([(inbox, failure) for inbox, _ in owners.values()])
        try:
            self._llm.abort_request(list(owners))
        except Exception:
            logger.exception("requests could not be aborted")
        self._is_dead = self._llm.has_unfinished_requests()

    def _post(self, items: Sequence[tuple[asyncio.Queue[Item], Item]]) -> None:
        if items:
            self._loop.call_soon_threadsafe(_put, items)


def _put(items: Sequence[tuple[asyncio.Queue[Item], Item]]) -> None:
    for inbox, item in items:
        inbox.put_nowait(item)


async def _until_finished(inbox: asyncio.Queue[Item], left: int) -> AsyncIterator[tuple[int, RequestOutput]]:
    while left:
        item = await inbox.get()
        if isinstance(item, Exception):
            raise item
        left -= item[1].finished
        yield item
