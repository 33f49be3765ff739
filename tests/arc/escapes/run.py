"""Try attempts to break out, each in a batch of its own with honest neighbours; print what came of them.

    python tests/arc/escapes/run.py [name ...]      # for instance files.mode; all without names

The last line is JSON: for each attempt what happened that must not have, in words, and nothing if it failed.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import resource
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arc import sandbox_server
from arc.sandbox import Limits, RunResult, run_many

HERE = Path(__file__).parent
KINDS = ("processes", "network", "files", "memory", "kernel", "results")
# The second where neighbours ran out of time: a busy machine is no harm.
LIMITS = Limits(seconds=0.5, memory_mb=64), Limits(seconds=15.0, memory_mb=64)
MARK = f"escapes-{os.getpid()}"
GRID = [[1, 2], [3, 4]]
NEIGHBOUR = """
def solve(grid):
    note = "NEIGHBOUR_SECRET"
    return [row[::-1] + [{number}] for row in grid]
"""
# Won: [[1]]. An attempt that is refused raises, returns something false, or does not return.
ENTRY = """
def solve(grid):
    return [[int(bool({attempt}()))]]
"""


def attempts() -> dict[str, str]:
    """Collect the source of each attempt by its name, such as "files.mode"."""
    tools, found = (HERE / "tools.py").read_text(), {}
    for kind in KINDS:
        text = (HERE / f"{kind}.py").read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                found[f"{kind}.{node.name}"] = tools + text + ENTRY.format(attempt=node.name)
    return found


class Outside:
    """What attempts are after: a file, a server, and this process; `changes` tells what they did to it."""

    def __init__(self, folder: Path) -> None:
        self.victim = folder / "victim"
        self.victim.write_text("here")
        os.chmod(self.victim, 0o640)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.setblocking(False)
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind(str(folder / "server"))
        self.unix.listen()
        self.unix.setblocking(False)
        self.before = self.state()

    def close(self) -> None:
        self.server.close()
        self.unix.close()

    def names(self) -> str:
        """Write what attempts may know, as the first lines of a program."""
        known: dict[str, Any] = {"TRAINER": os.getpid(), "VICTIM": str(self.victim)}
        known |= {"PORT": self.server.getsockname()[1], "SOCKET": str(self.victim.parent / "server")}
        return "".join(f"{name} = {value!r}\n" for name, value in known.items())

    def state(self) -> dict[str, Any]:
        """Read all that an attempt may have changed."""
        about = self.victim.stat()
        return {
            "content": self.victim.read_text(),
            "file": (about.st_mode, about.st_uid, about.st_gid, about.st_mtime_ns, about.st_nlink),
            "attributes": os.listxattr(self.victim),
            "folder": sorted(os.listdir(self.victim.parent)),
            "shared": os.path.exists("/dev/shm/escaped"),
            "priority": os.getpriority(os.PRIO_PROCESS, 0),
            "scheduler": (os.sched_getscheduler(0), sorted(os.sched_getaffinity(0))),
            "limits": [resource.getrlimit(i) for i in range(16)],
            "queues": [line.split()[:2] for line in Path("/proc/sysvipc/msg").read_text().splitlines()],
            "host": os.uname().nodename,
            "processes": [p for p in marked() if p[0] != os.getpid()],
        }

    def changes(self) -> list[str]:
        """Tell what is not as it was."""
        found = []
        for name, server in (("TCP", self.server), ("Unix", self.unix)):
            with contextlib.suppress(BlockingIOError):
                server.accept()[0].close()
                found.append(f"{name} connection")
        now = self.state()
        found += [
            f"{name}: {self.before[name]} -> {now[name]}" for name in now if now[name] != self.before[name]
        ]
        self.before = now
        return found


def marked() -> Iterator[tuple[int, str]]:
    """Find processes of sandboxes that this process started, and zombies of it."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text, command = stat.read_text(), (stat.parent / "cmdline").read_bytes()
            parent = int(text.rpartition(")")[2].split()[1])
            if MARK.encode() in command or parent == os.getpid():
                yield int(stat.parent.name), text


def attempt(source: str, outside: Outside, limits: Limits) -> list[str]:
    """Run one attempt between neighbours; tell what went wrong outside it."""
    right = [RunResult(([[2, 1, n], [4, 3, n]],), None) for n in range(4)]
    jobs = [(NEIGHBOUR.format(number=n), [GRID]) for n in range(4)]
    jobs.insert(2, (outside.names() + source, [GRID]))
    results = run_many(jobs, limits, workers=2)
    tried = results.pop(2)
    found = ["won"] if tried.outputs == ([[1]],) else []
    found += [f"neighbour: {result}" for result, due in zip(results, right, strict=True) if result != due]
    return found + outside.changes()


def main() -> None:
    known = attempts()
    if missing := [name for name in sys.argv[1:] if name not in known]:
        sys.exit(f"no such attempt: {', '.join(missing)}")
    command = sandbox_server._command()
    sandbox_server._command = lambda: (*command, MARK)  # type: ignore[assignment]
    results = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Outside(Path(folder))) as outside:
        for name in sys.argv[1:] or known:
            for limits in LIMITS:
                results[name] = attempt(known[name], outside, limits)
                if "timeout" not in str(results[name]):
                    break
            if results[name]:
                print(f"{name}: {'; '.join(results[name])}"[:300], flush=True)
    won = sum(bool(found) for found in results.values())
    print(f"{won} of {len(results)} attempts did harm, as user {os.getuid()}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
