"""`python -m kernels.aot`: every kernel compiles for every target, and what must not pass does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.aot import Job, Usage, problem

# Text is no number.
WRONG = """
    b_x = tl.load(p_x + tl.arange(0, SIZE)) + "text"
    tl.store(p_x + tl.arange(0, SIZE), b_x)
"""
# 64 x 64 numbers for each of 32 threads, all in use until the last is known: 128 registers a thread, twice.
SPILLS = """
    o_x = tl.arange(0, SIZE)[:, None] * SIZE + tl.arange(0, SIZE)[None, :]
    b_x = tl.load(p_x + o_x)
    b_y = tl.load(p_x + o_x + 1)
    for i in range(n):
        b_x = b_x * b_y + i
        b_y = b_y * b_x - i
    tl.store(p_x + o_x, b_x + b_y)
"""
MODULE = """
import triton
import triton.language as tl
from kernels.gpu.variant import Variant

@triton.jit
def kernel(p_x, n, SIZE: tl.constexpr):
{body}

def variants():
    signature = {{"p_x": "*fp32", "n": "i32"}}
    return [Variant("a bad kernel", kernel, signature, {{"SIZE": 64}}, 1, 1, default={default})]
"""


def aot(*arguments: str, path: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as CI does, with no TRITON_INTERPRET unless given."""
    variables = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    if path is not None:
        variables["PYTHONPATH"] = os.pathsep.join([str(path), variables.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "kernels.aot", *arguments]
    root = Path(__file__).parents[2]
    return subprocess.run(
        command, env=variables | environment, capture_output=True, text=True, cwd=root, timeout=900
    )


def write(folder: Path, body: str, default: bool = True) -> None:
    package = folder / "bad_kernels"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "module.py").write_text(MODULE.format(body=body, default=default))


def test_every_kernel_compiles_for_every_target() -> None:
    done = aot("--problems")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 of them with problems" in done.stdout


def test_one_token_is_a_number_like_any_other() -> None:
    """A launch makes a constant of a number that is 1, as T is in decode, unless a kernel forbids it."""
    code = """if True:
        from kernels.aot import Config, jobs, variants
        kernels = {variants(job.module)[job.index].kernel for job in jobs(Config())}
        rows = [x for kernel in kernels for x in kernel.params if x.name == "T"]
        assert len(rows) >= 6 and all(x.do_not_specialize for x in rows), rows
    """
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (WRONG, "a bad kernel on sm_90 does not compile: "),
        (SPILLS, "a bad kernel on sm_90 spills "),
    ],
    ids=["wrong", "spills"],
)
def test_a_bad_kernel_is_named(body: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, body)
    done = aot("--package", "bad_kernels", "--targets", "sm_90", path=tmp_path)
    assert done.returncode == 1, done.stderr
    assert message in done.stdout
    assert "1 compilations, 1 of them with problems" in done.stdout


def test_spilling_is_allowed_where_it_is_no_default(tmp_path: Path) -> None:
    write(tmp_path, SPILLS, default=False)
    done = aot("--package", "bad_kernels", "--targets", "sm_90", "sm_80", path=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("target", "default", "usage", "message"),
    [
        ("sm_90", True, Usage(232448, 255, 0), ""),
        ("sm_90", True, Usage(232449), "needs 232449 bytes of shared memory, of 232448"),
        ("sm_80", False, Usage(166913), "needs 166913 bytes of shared memory, of 166912"),
        ("gfx942", True, Usage(65540), "needs 65540 bytes of shared memory, of 65536"),
        ("sm_90", True, Usage(0, 255, 8), "spills 8 bytes a thread"),
        ("sm_90", False, Usage(0, 255, 8), ""),
        ("sm_100", True, Usage(0, 255, 8), ""),
        ("sm_100", False, Usage(error="why"), "does not compile: why"),
    ],
)
def test_what_is_a_problem(target: str, default: bool, usage: Usage, message: str) -> None:
    assert problem(Job("module", 0, "a kernel", default, target), usage) == message


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ([], {"TRITON_INTERPRET": "1"}, "under TRITON_INTERPRET nothing is compiled"),
        (["--targets", "sm_70"], {}, "unknown targets sm_70; there are sm_80, sm_90, sm_100, gfx942"),
        (["--filter", "no such kernel"], {}, "no variant of kernels.gpu matches 'no such kernel'"),
    ],
)
def test_wrong_use_says_what_to_do(arguments: list[str], environment: dict[str, str], message: str) -> None:
    done = aot(*arguments, **environment)
    assert done.returncode == 2
    assert message in done.stderr
