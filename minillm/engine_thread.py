"""An `LLM` on a thread of its own.

An `LLM` belongs to one thread. Callers hand that thread functions through a queue. It runs them one by one,
steps while there is something to sample and no function waits, and otherwise sleeps on the queue.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from minillm.api.outputs import RequestOutput
from minillm.errors import MinillmError, anything, nothing, refusing
from minillm.llm import LLM

T = TypeVar("T")
# (place of the prompt, what `LLM.step` gave of it), or what ended it.
Item = tuple[int, RequestOutput] | Exception

logger = logging.getLogger(__name__)


class EngineError(Exception):
    """A step failed, and with it every request that ran; or the thread has stopped."""


@dataclass(eq=False)
class Inbox:
    """Where outputs of some requests go, and those that run of them, by id: each one's place.

    `running` belongs to the thread. `is_left` says that nobody reads on.
    """

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    items: asyncio.Queue[Item] = field(default_factory=asyncio.Queue)
    running: dict[str, int] = field(default_factory=dict)
    is_left: bool = False


_FROM_ARGS = nothing(None, remedy="call AsyncLLM.from_engine_args(), or give an LLM")


@refusing({"vllm_config": _FROM_ARGS, "executor_class": _FROM_ARGS, "log_stats": _FROM_ARGS})
class EngineThread:
    """The thread, which starts when it is first needed, and what callers hand it.

    Attributes:
        error: what made the last step fail; None once a step has succeeded again.
    """

    def __init__(self, llm: LLM) -> None:
        if not isinstance(llm, LLM):
            raise MinillmError(f"llm must be an LLM, got {llm!r}; or call AsyncLLM.from_engine_args()")
        self.error: str | None = None
        self._llm = llm
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._owners: dict[str, Inbox] = {}
        self._is_dead = self._is_stopped = self._has_ended = self._is_frozen = False
        self._is_open = True  # new requests are taken in; else they wait among these
        self._held_back: list[Callable[[], None]] = []
        self._drained: list[Future[None]] = []  # to be told once nothing runs
        self._lock = threading.Lock()
        # Where what a request needs is compiled, which would hold up all others.
        self._preparing = ThreadPoolExecutor(1, "minillm-grammars")
        self._thread = threading.Thread(target=self._run, name="minillm-engine", daemon=True)

    @refusing({"timeout": anything()})
    def shutdown(self) -> None:
        """End the thread after the step that runs, and every request with an `EngineError`."""
        with self._lock:
            was_stopped, self._is_stopped = self._is_stopped, True
        if not was_stopped:
            self._commands.put(None)
        if self._thread.is_alive():
            self._thread.join()
        else:
            self._stop()

    async def call(self, function: Callable[[LLM], T]) -> T:
        """`function(llm)`, run on the thread between two steps; what it raises is raised here."""
        return await self._call(function)

    def _start(self) -> None:
        if not self._is_stopped and self._thread.ident is None:
            self._thread.start()

    async def _call(self, function: Callable[[LLM], T], when_open: bool = False) -> T:
        future: Future[T] = Future()

        def run() -> None:
            if when_open and not self._is_open and not self._is_stopped:
                self._held_back.append(run)
            elif future.set_running_or_notify_cancel():
                try:
                    if self._is_stopped:
                        raise EngineError("it was shut down; make another AsyncLLM")
                    future.set_result(function(self._llm))
                except Exception as error:
                    future.set_exception(error)

        with self._lock:
            self._start()
            self._commands.put(run)
            if self._has_ended:  # nobody takes it
                run()
        return await asyncio.wrap_future(future)

    # ---------------------------------------------------------------- on the thread

    def _run(self) -> None:
        while (command := self._next()) is not None:
            try:
                command()
            except Exception as error:
                self._fail(error)
        self._stop()

    def _next(self) -> Callable[[], None] | None:
        has_work = self._llm.has_unfinished_requests() and not self._is_dead
        if not has_work:
            self._tell_drained()
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
        items: list[tuple[Inbox, Item]] = []
        for output in outputs:
            if (inbox := self._owners.get(output.request_id)) is None:
                continue
            items.append((inbox, (inbox.running[output.request_id], output)))
            if output.finished:
                del self._owners[output.request_id], inbox.running[output.request_id]
        _post(items)

    def _abort(self, inbox: Inbox) -> None:
        ids, inbox.running = list(inbox.running), {}
        for request_id in ids:
            del self._owners[request_id]
        self._llm.abort_request(ids)

    def _fail(self, error: Exception) -> None:
        """End every request with an error; where that fails too, do not step again."""
        self.error = f"{type(error).__name__}: {error}"
        logger.error("the sampler failed; every running request ends", exc_info=error)
        self._end_all(EngineError(f"the sampler failed: {self.error}"))
        self._is_dead = self._llm.has_unfinished_requests()

    def _end_all(self, error: EngineError) -> None:
        owners, self._owners = self._owners, {}
        _post([(inbox, error) for inbox in owners.values()])
        for inbox in owners.values():
            inbox.running = {}
        try:
            self._llm.abort_request(list(owners))
        except Exception:
            logger.exception("requests could not be aborted")

    def _stop(self) -> None:
        """End what runs, waits and is held back."""
        self._end_all(EngineError("the sampler was shut down"))
        with self._lock:
            self._has_ended = True
        waiting, self._held_back = self._held_back, []
        while not self._commands.empty():
            if (command := self._commands.get()) is not None:
                waiting.append(command)
        for command in waiting:
            command()
        self._tell_drained()

    def _tell_drained(self) -> None:
        while self._drained:
            if (future := self._drained.pop()).set_running_or_notify_cancel():
                future.set_result(None)


def _post(items: Sequence[tuple[Inbox, Item]]) -> None:
    """Put items into inboxes, each on its own loop, which may be closed by now."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[Inbox, Item]]] = {}
    for inbox, item in items:
        loops.setdefault(inbox.loop, []).append((inbox, item))
    for loop, its in loops.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_put, its)


def _put(items: Sequence[tuple[Inbox, Item]]) -> None:
    for inbox, item in items:
        inbox.items.put_nowait(item)
