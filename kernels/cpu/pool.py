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

import llvmlite.binding as llvm
import llvmlite.ir as ir
import torch

SEQUENCE, KERNEL, ARGUMENTS, STATE, SLEEPERS = 0, 8, 16, 24, 32  # words, a cache line apart
OPEN = 1 << 32
# Looks at SEQUENCE, each giving way to whoever wants the core, before a thread goes to sleep.
PATIENCE = 400
# The system call's number; where we know none, every kernel runs on its caller's thread alone.
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine()) if sys.platform == "linux" else None
_WAIT, _WAKE = 128, 129  # with FUTEX_PRIVATE_FLAG

_I32, _I64 = ir.IntType(32), ir.IntType(64)

# A job is an array of words: a kernel's address, the address of the job to run after it (0: none), and the
# kernel's own words, of which the first is the next task and the second the number of tasks.
NEXT, OWN, TASKS = 1, 2, 3


class Pool:
    """Threads that wait for jobs; one job at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 1
        self._words = (ctypes.c_int64 * 40)()
        self._engine, run, alone, work = _compile()
        void, word, pointer = None, ctypes.c_int64, ctypes.c_void_p
        self._run: Any = ctypes.CFUNCTYPE(void, pointer, word)(run)
        self._alone: Any = ctypes.CFUNCTYPE(void, pointer, word)(alone)
        self._work: Any = ctypes.CFUNCTYPE(void, pointer)(work)

    def run(self, job: int, threads: int) -> None:
        """Run the job at an address, and those after it, on up to `threads` threads.

        On the caller's alone where we know of no futex, and for a second caller at a time.
        """
        if threads == 1 or _FUTEX is None or not self._lock.acquire(blocking=False):
            self._alone(self._words, job)
            return
        try:
            if threads > self._threads:
                self._start(threads)
            self._run(self._words, job)
        finally:
            self._lock.release()

    def _start(self, threads: int) -> None:
        for number in range(self._threads, threads):
            # ctypes lets go of the interpreter's lock; the threads end with the process.
            threading.Thread(
                target=self._work, args=(self._words,), name=f"kernels-{number}", daemon=True
            ).start()
        self._threads = threads


_WORDS = _I64.as_pointer()
_JOB = ir.FunctionType(ir.VoidType(), [_I64])


def _word(value: int) -> Any:
    return ir.Constant(_I64, value)


def _at(b: Any, words: Any, index: int) -> Any:
    return b.gep(words, [_word(index)])


def _read(b: Any, words: Any, index: int) -> Any:
    return b.load_atomic(_at(b, words, index), "seq_cst", 8)


def _add(b: Any, words: Any, index: int, value: int) -> Any:
    return b.atomic_rmw("add", _at(b, words, index), _word(value), "seq_cst")


def _call_job(b: Any, kernel: Any, arguments: Any) -> None:
    b.call(b.inttoptr(kernel, _JOB.as_pointer()), [arguments])


def _futex(b: Any, words: Any, operation: int, value: Any) -> None:
    b.call(
        b.module.get_global("syscall"),
        [_word(_FUTEX or 0), _at(b, words, SEQUENCE), _word(operation), value, _word(0)],
    )


def _define_run(module: Any, name: str, shared: bool) -> None:
    """void name(words, job): every job of the list, in order."""
    run = ir.Function(module, ir.FunctionType(ir.VoidType(), [_WORDS, _I64]), name)
    words, first = run.args
    entry, job_, alone, post, check, wait, after, done = (
        run.append_basic_block(block)
        for block in ("entry", "job", "alone", "post", "check", "wait", "after", "done")
    )
    b = ir.IRBuilder(entry)
    b.branch(job_)
    b.position_at_end(job_)
    job = b.phi(_I64)
    job.add_incoming(first, entry)
    fields = b.inttoptr(job, _WORDS)
    kernel, arguments = b.load(_at(b, fields, 0)), b.add(job, _word(8 * OWN))
    b.store(_word(0), _at(b, fields, OWN))
    several = b.icmp_signed(">", b.load(_at(b, fields, TASKS)), _word(1))
    b.cbranch(b.and_(several, ir.Constant(ir.IntType(1), shared)), post, alone)
    b.position_at_end(alone)
    _call_job(b, kernel, arguments)
    b.branch(after)
    b.position_at_end(post)
    b.store_atomic(kernel, _at(b, words, KERNEL), "seq_cst", 8)
    b.store_atomic(arguments, _at(b, words, ARGUMENTS), "seq_cst", 8)
    b.atomic_rmw("or", _at(b, words, STATE), _word(OPEN), "seq_cst")
    _add(b, words, SEQUENCE, 1)
    with b.if_then(b.icmp_signed(">", _read(b, words, SLEEPERS), _word(0))):
        _futex(b, words, _WAKE, _word(0x7FFFFFFF))
    _call_job(b, kernel, arguments)
    # No task is left to draw: closed to those who have not come, then waiting for those inside.
    b.atomic_rmw("and", _at(b, words, STATE), _word(OPEN - 1), "seq_cst")
    b.branch(check)
    b.position_at_end(check)
    b.cbranch(b.icmp_signed("==", _read(b, words, STATE), _word(0)), after, wait)
    b.position_at_end(wait)
    b.call(module.get_global("sched_yield"), [])
    b.branch(check)
    b.position_at_end(after)
    following = b.load(_at(b, fields, NEXT))
    job.add_incoming(following, after)
    b.cbranch(b.icmp_signed("!=", following, _word(0)), job_, done)
    b.position_at_end(done)
    b.ret_void()


def _define_work(module: Any) -> None:
    """void work(words): a thread that waits for jobs."""
    work = ir.Function(module, ir.FunctionType(ir.VoidType(), [_WORDS]), "work")
    (words,) = work.args
    entry, idle, look, patient, sleep, enter, inside, leave = (
        work.append_basic_block(name)
        for name in ("entry", "idle", "look", "patient", "sleep", "enter", "inside", "leave")
    )
    b = ir.IRBuilder(entry)
    seen = b.alloca(_I64)
    tries = b.alloca(_I64)
    b.store(_word(0), seen)
    b.branch(idle)
    b.position_at_end(idle)
    b.store(_word(0), tries)
    b.branch(look)
    b.position_at_end(look)
    now = _read(b, words, SEQUENCE)
    b.cbranch(b.icmp_signed("!=", now, b.load(seen)), enter, patient)
    b.position_at_end(patient)
    b.call(module.get_global("sched_yield"), [])
    tried = b.add(b.load(tries), _word(1))
    b.store(tried, tries)
    b.cbranch(b.icmp_signed("<", tried, _word(PATIENCE)), look, sleep)
    b.position_at_end(sleep)
    _add(b, words, SLEEPERS, 1)
    # Returns at once if SEQUENCE has moved meanwhile: no wake-up is lost. The futex is its low 32 bits.
    _futex(b, words, _WAIT, b.load(seen))
    _add(b, words, SLEEPERS, -1)
    b.branch(idle)
    b.position_at_end(enter)
    b.store(_read(b, words, SEQUENCE), seen)
    state = _read(b, words, STATE)
    is_open = b.icmp_signed("!=", b.and_(state, _word(OPEN)), _word(0))
    swap = work.append_basic_block("swap")
    b.cbranch(is_open, swap, idle)
    b.position_at_end(swap)
    swapped = b.cmpxchg(_at(b, words, STATE), state, b.add(state, _word(1)), "seq_cst", "seq_cst")
    b.cbranch(b.extract_value(swapped, 1), inside, enter)
    b.position_at_end(inside)
    _call_job(b, _read(b, words, KERNEL), _read(b, words, ARGUMENTS))
    b.branch(leave)
    b.position_at_end(leave)
    _add(b, words, STATE, -1)
    b.branch(idle)


def _compile() -> tuple[Any, int, int, int]:
    """Make (engine that owns the code, addresses of run(words, job), alone(words, job) and work(words))."""
    module = ir.Module(name="pool")
    module.triple = llvm.get_process_triple()
    ir.Function(module, ir.FunctionType(_I32, []), "sched_yield")
    ir.Function(module, ir.FunctionType(_I64, [_I64], var_arg=True), "syscall")
    _define_run(module, "run", shared=True)
    _define_run(module, "alone", shared=False)
    _define_work(module)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(opt=2)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    run, alone, work = (engine.get_function_address(name) for name in ("run", "alone", "work"))
    return engine, run, alone, work


_pool = cache(Pool)


def run(job: array[int]) -> None:
    """Run a job, and those after it, on as many threads as torch is set to use."""
    _pool().run(job.buffer_info()[0], torch.get_num_threads())
