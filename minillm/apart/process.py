"""A process in which a function of a module is asked, from its own threads one at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("program.py")


class Apart:
    """Asks the `answer` of a module in a process of its own, which starts with the first question.

    Whoever asks waits for those before, so this is for threads that may.

    Args:
        module: the file, as `minillm.apart.program` says.
        first: makes what its `prepare` is given.
    """

    def __init__(self, module: str | Path, first: Callable[[], Any] = lambda: None) -> None:
        self._module, self._first = module, first
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def ask(self, question: Any) -> dict[str, Any]:
        """Return the answer; where there is none, a dict with a "complaint"."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
            _send(self._process, question)
            assert self._process.stdout is not None
            answer: dict[str, Any] = json.loads(self._process.stdout.readline() or b"{}")
        return answer or {"complaint": "the process that was asked has died"}

    def _start(self) -> subprocess.Popen[bytes]:
        # The packages are those that are found here; -P keeps the files beside the program out.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), str(self._module)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        weakref.finalize(self, _end, process)
        _send(process, self._first())
        return process


def _send(process: subprocess.Popen[bytes], content: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(content).encode() + b"\n")
    process.stdin.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it end, for nothing more comes."""
    with process:
        pass
