"""Programs that try to break out of the sandbox do no harm: not to us, nor to their neighbours in a batch.

The attempts are the functions in `escapes/`; `escapes/run.py` tries them, and says what it looks at.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "escapes" / "run.py"
ROOT = Path(__file__).resolve().parents[2]
ATTEMPTS: list[str] = list(runpy.run_path(str(RUN))["attempts"]())
KINDS = list(dict.fromkeys(name.partition(".")[0] for name in ATTEMPTS))


@cache
def command(user: str) -> tuple[str, ...]:
    """What starts Python as the user; skips where that cannot be."""
    if user == "root" and os.getuid() != 0:
        pytest.skip("the tests do not run as root")
    if user == "root" or os.getuid() != 0:
        return (sys.executable,)
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        # Somebody without a name, and so without files, groups or capabilities.
        line = ("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--inh-caps=-all", python)
        test = [
            *line,
            "-c",
            "import arc.sandbox, os, sandlock, sys; assert os.access(sys.executable, os.X_OK)",
        ]
        if (
            shutil.which("setpriv")
            and not subprocess.run(test, env=environment(), capture_output=True).returncode
        ):
            return line
    pytest.skip("another user can reach no Python")


@cache
def environment() -> dict[str, str]:
    import sandlock

    packages = Path(sandlock.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"}


def test_there_are_attempts_of_every_kind() -> None:
    assert len(ATTEMPTS) >= 200
    assert KINDS == ["processes", "network", "files", "memory", "kernel", "results"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("user", ["root", "user"])
def test_no_attempt_does_harm(user: str, kind: str) -> None:
    names = [name for name in ATTEMPTS if name.startswith(f"{kind}.")]
    line = [*command(user), str(RUN), *names]
    done = subprocess.run(line, env=environment(), cwd="/", capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads(done.stdout.splitlines()[-1])
    assert results == {name: [] for name in names}
