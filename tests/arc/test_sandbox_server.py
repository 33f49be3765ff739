from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arc import sandbox_server
from arc.errors import ArcError
from arc.sandbox import Limits, RunResult, run_many, run_solve
from arc.sandbox_server import Server

GRID = [[1, 2], [3, 4]]
PATIENT = Limits(seconds=20.0)
SLEEPS = "def solve(grid):\n    import time\n    time.sleep(1000)\n"


def answering(number: int) -> str:
    return f"def solve(grid):\n    return [[{number}]]\n"


def returning(expression: str, imports: str = "random") -> str:
    return f"import {imports}\ndef solve(grid):\n    return {expression}\n"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The process of each sandbox that is started."""
    real, pids = Server._start, []

    def start(self: Server) -> None:
        real(self)
        pids.append(self._process.pid)

    monkeypatch.setattr(Server, "_start", start)
    run_solve(answering(1), [GRID], PATIENT)  # the first run on a machine also tries the sandbox
    pids.clear()
    yield pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_one_sandbox_serves_many_programs(started: list[int]) -> None:
    jobs = [(answering(n % 10), [[[n]]] * (n % 3)) for n in range(40)]
    results = run_many(jobs, PATIENT, workers=2)
    assert results == [RunResult(([[n % 10]],) * (n % 3), None) for n in range(40)]
    assert len(started) == 2
    run_many(jobs[:1], PATIENT, workers=8)
    assert len(started) == 3


def test_whatever_ends_a_program_the_next_is_served(started: list[int]) -> None:
    ends = {
        "1 / 0": "ZeroDivisionError: division by zero, line 3",
        "os._exit(3)": "ended with exit code 3 before it answered",
        "os.abort()": "killed by signal 6",
        "os.kill(os.getpid(), 9)": "killed, most likely for using more than 256 MB",
        "bytearray(10 ** 9)": "killed, most likely for using more than 256 MB",
        "os.write(3, bytes(1 << 21))": "answered with more than 1048576 bytes",
        "os.closerange(0, 64) or 1 / 0": "ended with exit code",
        "any(False for _ in iter(int, 1))": "timeout after 3 s",
    }
    jobs = []
    for number, expression in enumerate(ends):
        jobs += [(returning(expression, "os"), [GRID]), (answering(number), [GRID])]
    results = run_many(jobs, Limits(seconds=3.0), workers=1)
    for result, error in zip(results[::2], ends.values(), strict=True):
        assert result.outputs == (None,)
        assert result.error is not None and error in result.error
    assert results[1::2] == [RunResult(([[number]],), None) for number in range(len(ends))]
    assert len(started) == 1


def test_a_sandbox_that_breaks_is_replaced(started: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def end(pid: int) -> int:
        os.kill(started[-1], signal.SIGKILL)
        return 1

    # It comes to the one that sleeps, and not to the first, however busy the machine is.
    monkeypatch.setattr(sandbox_server, "WATCH_SECONDS", 1.0)
    monkeypatch.setattr(sandbox_server, "_threads", end)
    results = run_many([(answering(1), [GRID]), (SLEEPS, [GRID]), (answering(2), [GRID])], PATIENT, workers=1)
    assert [result.outputs for result in results] == [([[1]],), (None,), ([[2]],)]
    assert results[1].error is not None and results[1].error.startswith("killed")
    assert len(started) == 2


def test_a_sandbox_that_hangs_is_replaced(started: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_server, "KILL_SECONDS", 0.3)
    monkeypatch.setattr(sandbox_server, "_threads", lambda pid: os.kill(started[-1], signal.SIGSTOP) or 1)
    results = run_many([(SLEEPS, [GRID]), (answering(2), [GRID])], Limits(seconds=1.0), workers=1)
    assert results[0] == RunResult((None,), "timeout after 1 s")
    assert len(started) == 2


def test_what_a_program_runs_under(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}

    def look(pid: int) -> int:
        for name in ("status", "limits"):
            for line in Path(f"/proc/{pid}/{name}").read_text().splitlines():
                seen[line.partition(":")[0] if name == "status" else line[:26].strip()] = line[26:].split(
                    "\t"
                )[-1]
                if name == "status":
                    seen[line.partition(":")[0]] = line.partition(":")[2].strip()
        return 1

    monkeypatch.setattr(sandbox_server, "_threads", look)
    assert run_solve(SLEEPS, [GRID], Limits(seconds=0.5, memory_mb=100)).error == "timeout after 0.5 s"
    assert {seen[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert os.getuid() != 0 or seen["CapBnd"] == "0" * 16
    assert (seen["NoNewPrivs"], seen["Seccomp"], seen["Seccomp_filters"]) == ("1", "2", "2")
    for name, limit in {
        "Max address space": 100 << 20,
        "Max cpu time": 1,
        "Max stack size": 8 << 20,
        "Max open files": 64,
        "Max file size": 0,
        "Max core file size": 0,
        "Max locked memory": 0,
        "Max msgqueue size": 0,
        "Max pending signals": 0,
    }.items():
        assert seen[name].split()[:2] == [str(limit)] * 2, name


@pytest.mark.parametrize(
    "program",
    [
        returning("[[random.randrange(10) for _ in range(30)]]"),
        returning("[[random.Random().randrange(10) for _ in range(30)]]"),
        returning("[[random.SystemRandom().randrange(10) for _ in range(30)]]"),
        returning("random.seed() or [[random.randrange(10) for _ in range(30)]]"),
        returning("[[byte % 10 for byte in os.urandom(30)]]", "os"),
        returning("[[byte % 10 for byte in uuid.uuid4().bytes]]", "uuid"),
        returning("[[secrets.randbelow(10) for _ in range(30)]]", "secrets"),
        returning("[[hash(str(i)) % 10 for i in range(30)]]"),
        returning("[[int(c) for c in {*'0123456789'}]]"),
    ],
)
def test_a_program_does_the_same_each_time(program: str) -> None:
    # Alone, after itself in one sandbox (as other sources, since equal ones run once), and in another.
    jobs = [(f"{program}# {i}", [GRID, GRID]) for i in range(4)]
    first, *others = run_many(jobs, PATIENT, workers=2)
    assert first.error is None
    assert others == [first] * 3
    assert run_solve(program, [GRID, GRID], PATIENT) == first


def test_a_program_finds_nothing_of_the_one_before() -> None:
    leave = """
import builtins, collections, copy, gc, os, random, resource, signal, sys
mark = sys.modules["mark"] = builtins.mark = os.mark = collections.mark = random.mark = object()
os.environ["MARK"] = "1"
random.seed(7)
copy.deepcopy = lambda x: [[9]]
sys.path.append("mark")
sys.setrecursionlimit(77)
sys.setswitchinterval(1.0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
gc.disable()
os.umask and os.dup2(1, 0)
def solve(grid):
    return grid
"""
    look = """
import builtins, collections, copy, gc, os, random, resource, signal, sys
marks = [hasattr(m, "mark") for m in (builtins, os, collections, random)] + ["mark" in sys.modules]
marks += ["MARK" in os.environ, "mark" in sys.path, copy.deepcopy([]) != [], not gc.isenabled()]
marks += [sys.getrecursionlimit() == 77, sys.getswitchinterval() == 1.0]
marks += [signal.getsignal(signal.SIGTERM) == signal.SIG_IGN, bool(signal.pthread_sigmask(0, []))]
def solve(grid):
    return [[int(mark) for mark in marks], [int(c) for c in f"{random.random():.13f}"[2:]]]
"""
    alone = run_solve(look, [GRID], PATIENT)
    assert alone.outputs[0] is not None and alone.outputs[0][0] == [0] * 13
    left, after = run_many([(leave, [GRID]), (look, [GRID])], PATIENT, workers=1)
    assert left == RunResult((GRID,), None)
    assert after == alone


FORKS = """
import os
def solve(grid):
    {before}
    pids = []
    try:
        while True:
            pid = os.fork()
            if pid == 0:
                while True:
                    pass
            pids.append(pid)
    except BlockingIOError:
        return [[len(pids)]]
"""


def wait_until(done: Callable[[], bool]) -> None:
    """Wait for something that other processes do."""
    for _ in range(600):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it does not come")


def exists(group: int) -> bool:
    """Tell whether a group of processes has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_are_counted_and_end_with_the_program(processes: int, started: list[int]) -> None:
    sources = [FORKS.format(before=before) for before in ("pass", "grid = grid")]
    results = run_many([(s, [GRID]) for s in sources], Limits(seconds=20.0, processes=processes), workers=1)
    assert results == [RunResult(([[processes - 1]],), None)] * 2
    # Killed, they are gone as soon as somebody has taken note.
    wait_until(lambda: not any(exists(group) for group in started))


def test_memory_of_several_processes_is_one_limit() -> None:
    body = """
import os
def solve(grid):
    pid = os.fork()
    held = bytearray(100 << 20)
    return [[int(os.waitpid(pid, 0)[1] == 0)]] if pid else os._exit(0)
"""
    assert run_solve(body, [GRID], Limits(seconds=20.0, memory_mb=250, processes=2)).outputs == ([[1]],)
    # Whichever comes second is killed.
    few = run_solve(body, [GRID], Limits(seconds=20.0, memory_mb=150, processes=2))
    killed = "killed, most likely for using more than 150 MB"
    assert few in (RunResult((None,), killed), RunResult(([[0]],), None))


@pytest.mark.parametrize("processes", [1, 2])
def test_less_memory_than_python_has_is_no_limit_for_programs(processes: int) -> None:
    job = answering(1), [GRID]
    message = "cannot run Python on this machine: killed, .* more than 8 MB; Python by itself needs about 16"
    with pytest.raises(ArcError, match=message):
        run_solve(*job, Limits(memory_mb=8, processes=processes))
    assert run_solve(*job, Limits(seconds=20.0, memory_mb=24, processes=processes)).error is None


def test_time_on_all_cores_is_limited() -> None:
    body = """
import hashlib, threading
def burn():
    while True:
        hashlib.sha256(bytes(1 << 20))
def solve(grid):
    for _ in range(4):
        threading.Thread(target=burn).start()
    burn()
"""
    # For each thread the C library sets aside some 64 MB of addresses.
    limits = Limits(seconds=2.0, memory_mb=1024)
    assert run_solve(body, [GRID], limits) == RunResult((None,), "timeout after 2 s")


def test_threads_are_no_way_out() -> None:
    body = """
import threading, time
def solve(grid):
    threading.stack_size(32768)
    for _ in range(400):
        threading.Thread(target=time.sleep, args=(1000,)).start()
    time.sleep(1000)
"""
    result = run_solve(body, [GRID], PATIENT)
    assert result == RunResult((None,), "killed for using more than 256 threads")


def test_an_error_of_one_worker_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    run_solve(answering(1), [GRID], PATIENT)

    def fail(self: Server) -> None:
        raise ArcError("no more")

    monkeypatch.setattr(Server, "_start", fail)
    with pytest.raises(ArcError, match="no more"):
        run_many([(answering(n), [GRID]) for n in range(9)], PATIENT, workers=2)


def test_nothing_is_left_when_the_one_who_asked_is_killed(tmp_path: Path) -> None:
    mark = f"left-{os.getpid()}"
    program = tmp_path / "ask.py"
    program.write_text(
        "from arc import sandbox_server\n"
        "from arc.sandbox import Limits, run_many\n"
        f"command = sandbox_server._command() + ({mark!r},)\n"
        "sandbox_server._command = lambda: command\n"
        f"jobs = [({SLEEPS!r} + f'# {{i}}', [[[1]]]) for i in range(4)]\n"
        "run_many(jobs, Limits(seconds=500.0), workers=2)\n"
    )

    def left() -> int:
        """Count the sandboxes' processes: a server and a fork each."""
        count = 0
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                count += mark.encode() in line.read_bytes()
        return count

    root = str(Path(sandbox_server.__file__).parents[1])
    with subprocess.Popen([sys.executable, str(program)], env={**os.environ, "PYTHONPATH": root}) as asking:
        wait_until(lambda: left() == 4)
        asking.kill()
    wait_until(lambda: left() == 0)
