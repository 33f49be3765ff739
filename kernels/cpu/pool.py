"""Threads for kernels that last microseconds, on machines that have other things to do too.

OpenMP's end of a parallel region waits for every thread of the team, even one that the operating system
has not let run yet: beside one other busy process, a step of 150 regions took 1.2 s in place of 0.03.
Here a thread that is late is not waited for. The caller draws tasks too; it waits only for threads that
are inside a task, and closes the job to all others.

A job is posted by counting `SEQUENCE` up. `STATE` holds the OPEN bit and the number of threads inside;
a thread enters by counting it up while it is open. Idle threads give way to others for a while
(`sched_yield`), since the next job is usually near, and then sleep on `SEQUENCE` (a futex).
"""

from __future__ import annotations

import ctypes
import platform
import sys
import threading
from array import array
from functools import cache
from typing import Any

import llvmlite.ir as ir
import torch
from numba import types

from kernels.cpu.runtime import I64, code, compiled

SEQUENCE, KERNEL, ARGUMENTS, STATE, SLEEPERS = 0, 64, 128, 192, 256  # bytes, a cache line apart
OPEN = 1 << 32
# Looks at SEQUENCE, each giving way to whoever wants the core, before a thread goes to sleep.
PATIENCE = 400
# The system call's number; where we know none, every kernel runs on its caller's thread alone.
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0) if sys.platform == "linux" else 0
_WAIT, _WAKE, _ALL = 128, 129, 0x7FFFFFFF  # with FUTEX_PRIVATE_FLAG

# A job is an array of words: a kernel's address, the address of the job to run after it (0: none), and the
# kernel's own words, of which the first is the next task and the second the number of tasks.
NEXT, OWN, TASKS = 1, 2, 3

_JOB = ir.FunctionType(ir.VoidType(), [I64])
_yield = types.ExternalFunction("sched_yield", types.int32())
_syscall = types.ExternalFunction("syscall", types.int64(*[types.int64] * 5))


@code(types.int64(types.int64))
def _read(b: Any, place: Any) -> Any:
    """Read the word at an address; all threads see all of these operations in one order."""
    return b.load_atomic(b.inttoptr(place, I64.as_pointer()), "seq_cst", 8)


def _updating(operation: str) -> Any:
    @code(types.int64(types.int64, types.int64))
    def update(b: Any, place: Any, value: Any) -> Any:
        return b.atomic_rmw(operation, b.inttoptr(place, I64.as_pointer()), value, "seq_cst")

    return update


_write, _add, _and, _or = map(_updating, ("xchg", "add", "and", "or"))


@code(types.boolean(types.int64, types.int64, types.int64))
def _replace(b: Any, place: Any, old: Any, new: Any) -> Any:
    """Write `new` where `old` still stands, and tell whether it did."""
    pointer = b.inttoptr(place, I64.as_pointer())
    return b.extract_value(b.cmpxchg(pointer, old, new, "seq_cst", "seq_cst"), 1)


@code(types.void(types.int64, types.int64))
def _call(b: Any, kernel: Any, arguments: Any) -> None:
    b.call(b.inttoptr(kernel, _JOB.as_pointer()), [arguments])


def _run(words: int, job: int, shared: int) -> None:
    """Run the job at an address, and those after it, in order; `shared` with the threads that wait."""
    while job != 0:
        kernel, arguments = _read(job), job + 8 * OWN
        _write(arguments, 0)
        if shared == 0 or _read(job + 8 * TASKS) <= 1:
            _call(kernel, arguments)
        else:
            _write(words + KERNEL, kernel)
            _write(words + ARGUMENTS, arguments)
            _or(words + STATE, OPEN)
            _add(words + SEQUENCE, 1)
            if _read(words + SLEEPERS) > 0:
                _syscall(_FUTEX, words + SEQUENCE, _WAKE, _ALL, 0)
            _call(kernel, arguments)
            # No task is left to draw: closed to those who have not come, then waiting for those inside.
            _and(words + STATE, OPEN - 1)
            while _read(words + STATE) != 0:
                _yield()
        job = _read(job + 8 * NEXT)


def _work(words: int) -> None:
    """Wait for jobs, as a thread that never ends."""
    seen = tries = 0
    while True:
        if _read(words + SEQUENCE) == seen:
            _yield()
            tries += 1
            if tries == PATIENCE:
                tries = 0
                _add(words + SLEEPERS, 1)
                # Returns at once if SEQUENCE has moved: no wake-up is lost. The futex is its low 32 bits.
                _syscall(_FUTEX, words + SEQUENCE, _WAIT, seen, 0)
                _add(words + SLEEPERS, -1)
            continue
        tries = 0
        seen, state = _read(words + SEQUENCE), _read(words + STATE)
        while state & OPEN != 0 and not _replace(words + STATE, state, state + 1):
            seen, state = _read(words + SEQUENCE), _read(words + STATE)
        if state & OPEN != 0:
            _call(_read(words + KERNEL), _read(words + ARGUMENTS))
            _add(words + STATE, -1)


class Pool:
    """Threads that wait for jobs; one job at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 1
        self._words = (ctypes.c_int64 * 40)()
        self._address = ctypes.addressof(self._words)
        self._compiled = (
            compiled(_run, types.void(*[types.int64] * 3)),
            compiled(_work, types.void(types.int64)),
        )
        # ctypes lets go of the interpreter's lock.
        self._run, self._work = (function.ctypes for function in self._compiled)

    def run(self, job: int, threads: int) -> None:
        """Run the job at an address, and those after it, on up to `threads` threads.

        On the caller's alone where we know of no futex, and for a second caller at a time.
        """
        if threads == 1 or not _FUTEX or not self._lock.acquire(blocking=False):
            self._run(self._address, job, 0)
            return
        try:
            for number in range(self._threads, threads):  # they end with the process
                threading.Thread(target=self._wait, name=f"kernels-{number}", daemon=True).start()
                self._threads = number + 1
            self._run(self._address, job, 1)
        finally:
            self._lock.release()

    def _wait(self) -> None:
        """Work, as a thread that keeps what it reads alive."""
        self._work(self._address)


_pool = cache(Pool)


def run(job: array[int]) -> None:
    """Run a job, and those after it, on as many threads as torch is set to use."""
    _pool().run(job.buffer_info()[0], torch.get_num_threads())
