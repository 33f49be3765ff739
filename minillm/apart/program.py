"""A program that asks a function of a module, line by line, each time within limits.

`minillm.apart.process` starts this file by itself, with the path of the module, so neither imports anything
of minillm's. The module has `prepare`, of what the first line says, `answer`, of what that gave and of what a
line asks, and `TASK`, which says what takes long. Lines are JSON, and so are the answers, a line each.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SECONDS, MEMORY = 3, 1 << 30
# Less than threads have: what fits here fits where it is done again.
_STACK = 4 << 20


def _within_limits(answer: Callable[[], Mapping[str, Any]]) -> None:
    """Answer in this process, which is there for that alone."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if (statm := Path("/proc/self/statm")).exists():  # elsewhere, time and stack alone are limited
        in_use = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, in_use + MEMORY))
    answers: list[Mapping[str, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(answer()))
    thread.start()
    thread.join()
    _write(answers[0])


def _write(answer: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Answer until there is nothing more to read."""
    threading.stack_size(_STACK)
    module = runpy.run_path(sys.argv[1])
    lines = iter(sys.stdin.buffer.readline, b"")
    prepared = module["prepare"](json.loads(next(lines)))
    for line in lines:
        if (child := os.fork()) == 0:
            try:
                _within_limits(lambda line=line: module["answer"](prepared, json.loads(line)))  # type: ignore[misc]
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(child, 0)[1] != 0:
            limits = f"{SECONDS} s, a gigabyte or a deep stack {module['TASK']}"
            _write({"complaint": f"it takes more than {limits}"})


if __name__ == "__main__":
    main()
