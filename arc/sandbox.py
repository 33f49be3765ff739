"""Runs the programs that a model writes, in sandboxes; model-written code is taken to be hostile.

Each run is a fork of a Python process that `sandlock` confines with Landlock and seccomp, and that we confine
further with a list of the system calls that Python needs, hard limits, and no capabilities; with no root and
no container. It reads the interpreter's own library and nothing else, writes no file, reaches no network and
no other process, starts no process, and is killed when it passes a limit on time, memory or output. Nothing
of one program is left for the next. The expected outputs never enter: a program can forge its answer, since
nothing keeps two pieces of code in one interpreter apart, but would have to know it.

What a program can learn: by `stat`, which Python needs to import, and which neither Landlock nor seccomp can
refuse by path, whether a file or a process exists, where the user may look for it, and a file's size, owner,
times and where a link points (not what is in it, nor what is in a folder); the kernel's version and load, and
the time.
"""

from __future__ import annotations

import json
import marshal
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache

from arc.errors import ArcError
from arc.sandbox_server import Limits as Limits
from arc.sandbox_server import Server
from arc.tasks import Grid, is_grid


@dataclass(frozen=True)
class RunResult:
    """What a program made of its inputs."""

    outputs: tuple[Grid | None, ...]
    """One for each input; None where `solve` failed or returned something that is no grid."""
    error: str | None
    """One line about the first input that failed, or None."""


def run_solve(source: str, inputs: Sequence[Grid], limits: Limits = Limits()) -> RunResult:
    """Run the source's `solve` on each input, in a sandbox; whatever the source does is a result.

    Raises `ArcError` where this machine cannot sandbox a program; it is never run without the sandbox.
    """
    return run_many([(source, inputs)], limits, workers=1)[0]


def run_many(
    jobs: Sequence[tuple[str, Sequence[Grid]]], limits: Limits = Limits(), workers: int | None = None
) -> list[RunResult]:
    """Do `run_solve` on each (source, inputs), `workers` at a time (default: one for each CPU).

    Each worker is a sandbox that serves one program after the other; equal jobs run once. A thread that
    `warm_sandboxes` gave is one worker, whatever `workers` says. Raises as `run_solve` does.
    """
    if not jobs:
        return []
    _require_sandbox()
    payloads = [_payload(source, inputs) for source, inputs in jobs]
    waiting = deque(dict(zip(payloads, (inputs for _, inputs in jobs), strict=True)).items())
    results: dict[bytes, RunResult] = {}

    def work() -> None:
        with _server(limits) as server:
            while waiting:
                try:
                    payload, inputs = waiting.popleft()
                except IndexError:
                    break
                results[payload] = _result(*server.run(payload), len(inputs))

    if _warm.kept is not None:
        work()
        return [results[payload] for payload in payloads]
    count = min(workers or os.cpu_count() or 1, len(waiting))
    with ThreadPoolExecutor(count) if _warm.threads is None else nullcontext(_warm.threads) as pool:
        try:
            for done in [pool.submit(work) for _ in range(count)]:
                done.result()
        except BaseException:
            waiting.clear()
            raise
    return [results[payload] for payload in payloads]


class _Warm(threading.local):
    """Sandboxes that a thread keeps between calls, by their limits; and the threads that keep some."""

    threads: ThreadPoolExecutor | None = None
    kept: ExitStack | None = None

    def __init__(self) -> None:
        self.servers: dict[Limits, Server] = {}


_warm = _Warm()


@contextmanager
def warm_sandboxes() -> Iterator[ThreadPoolExecutor]:
    """Keep the sandboxes of this thread's calls from one to the next, while the block lasts.

    To start one costs what a dozen short programs cost. Work that is given to the threads, one for each CPU,
    runs its programs in the sandbox of its thread. A block inside another has the threads of that one.
    """
    if _warm.threads is not None:
        yield _warm.threads
        return
    count = os.cpu_count() or 1
    all_here = threading.Barrier(count)

    def begin() -> None:
        _warm.kept = ExitStack()

    def end() -> None:
        all_here.wait()  # so that each thread has one of these
        assert _warm.kept is not None
        _warm.kept.close()

    with ThreadPoolExecutor(count, initializer=begin) as _warm.threads:
        try:
            yield _warm.threads
        finally:
            threads, _warm.threads = _warm.threads, None
            for done in [threads.submit(end) for _ in range(count)]:
                done.result()


@contextmanager
def _server(limits: Limits) -> Iterator[Server]:
    """Give this thread's sandbox. It starts and ends in it: with the thread, the kernel ends the sandbox."""
    if _warm.kept is None:
        with Server(limits) as server:
            yield server
        return
    if limits not in _warm.servers:
        _warm.servers[limits] = _warm.kept.enter_context(Server(limits))
    yield _warm.servers[limits]


def _result(answer: bytes, ending: str, count: int) -> RunResult:
    """Read the answer to so many inputs; those that have none get the ending as their error."""
    # What follows the last newline is torn, or empty.
    results = [_read(line) for line in answer.split(b"\n")[:-1][:count]]
    results += [(None, ending)] * (count - len(results))
    error = next((error for _, error in results if error), None)
    return RunResult(tuple(output for output, _ in results), error)


def _payload(source: str, inputs: Sequence[Grid]) -> bytes:
    # Version 2 keeps no references: each input arrives as lists of its own, and equal jobs are
    # equal bytes. What comes back is not to be trusted, and so is read as JSON.
    return marshal.dumps((source, list(inputs)), 2)


def _read(line: bytes) -> tuple[Grid | None, str | None]:
    # The line may be forged: it is believed only where it is what an honest one could be.
    if line.startswith(b"-"):
        return None, " ".join(line[1:].decode("ascii", "replace").split())[:300] or "failed"
    try:
        output = json.loads(line.removeprefix(b"+"))
    except (ValueError, RecursionError):
        output = None
    if not is_grid(output):
        return None, "solve returned no grid: rows of ints 0 to 9, of one length, sides 1 to 30"
    return output, None


@cache
def _require_sandbox() -> None:
    # Where the sandbox cannot run Python at all, every program would look wrong.
    payload = _payload("def solve(grid):\n    return grid\n", [[[0]]])
    with Server(Limits(seconds=60.0)) as server:
        error = _result(*server.run(payload), 1).error
    if error:
        raise ArcError(f"the sandbox cannot run Python on this machine: {error}")
