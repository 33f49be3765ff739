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
from minillm.inputs import Prompt
from minillm.llm import LLM

T = TypeVar("T")
# (place of the prompt, what `LLM.step` gave of it), or what ended it.
Item = tuple[int, RequestOutput] | Exception

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
        self._is_dead = False
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

    @asynccontextmanager
    async def requests(
        self, prompts: Callable[[LLM], Sequence[Prompt]], params: SamplingParams
    ) -> AsyncIterator[AsyncIterator[tuple[int, RequestOutput]]]:
        """Sample from what `prompts(llm)` gives on the thread: an iterator of (place of the prompt, output).

        Leaving the block aborts what has not finished. Raises what `LLM.enqueue` does, before anything of
        these prompts runs, and `EngineError` where a step fails.
        """
        inbox: asyncio.Queue[Item] = asyncio.Queue()
        ids: list[str] = []

        def add(llm: LLM) -> None:
            if self._is_dead:
                raise EngineError(f"the sampler has stopped for good ({self.error}); start it again")
            try:
                for place, prompt in enumerate(prompts(llm)):
                    ids.append(llm.enqueue(prompt, params))
                    self._owners[ids[-1]] = (inbox, place)
            except Exception:
                self._abort(ids)
                raise

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
        try:
            return self._commands.get(block=self._is_dead or not self._llm.has_unfinished_requests())
        except queue.Empty:
            return self._step

    def _step(self) -> None:
        outputs = [output for output in self._llm.step() if output.request_id in self._owners]
        self.error = None
        items: list[tuple[asyncio.Queue[Item], Item]] = []
        for output in outputs:
            inbox, place = self._owners[output.request_id]
            items.append((inbox, (place, output)))
            if output.finished:
                del self._owners[output.request_id]
        self._post(items)

    def _abort(self, ids: Sequence[str]) -> None:
        running = [request_id for request_id in ids if self._owners.pop(request_id, None) is not None]
        self._llm.abort_request(running)

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
