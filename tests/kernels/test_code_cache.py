"""Machine code is compiled once, kept for later processes, and never a reason to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kernels.cpu import code_cache

ROOT = Path(code_cache.__file__).parents[2]
# Runs one small kernel; prints how many functions it compiled, and whether numba made ready to compile.
PROGRAM = """
import sys
import torch
from numba.core.ccallback import CFunc
compiled = []
uncached = CFunc._compile_uncached
CFunc._compile_uncached = lambda self: compiled.append(self.__name__) or uncached(self)
from kernels.cpu.rowwise import round_into
x = torch.tensor([1.0, 2.00390625, -3.5])
out = torch.empty(3, dtype=torch.bfloat16)
round_into(x, out)
assert torch.equal(out, x.bfloat16()), out
print(len(compiled), "numba.typed.typeddict" in sys.modules)
"""

COMPILES, LOADS = "3 True", "0 False"  # the kernel, and the two functions of the pool


def started(cache: Path, root: Path = ROOT, **variables: str) -> subprocess.Popen[str]:
    """Start that program, which keeps code in `cache`, with the packages of `root`."""
    environment = os.environ | {"PYTHONPATH": str(root), "MINILLM_CACHE": str(cache), **variables}
    command = [sys.executable, "-c", PROGRAM]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, cwd="/", text=True, **pipes)  # type: ignore[call-overload]


def said(program: subprocess.Popen[str]) -> str:
    out, err = program.communicate()
    assert program.returncode == 0, err
    return out.strip()


def run(cache: Path, root: Path = ROOT, **variables: str) -> str:
    return said(started(cache, root, **variables))


def contents(cache: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (cache / "kernels").rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which that kernel is, written by two processes at once."""
    cache = tmp_path_factory.mktemp("cache")
    both = [started(cache) for _ in range(2)]
    for program in both:
        said(program)  # how many it compiled is up to which was first with which
    return cache


@pytest.fixture
def cache(full: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(full, tmp_path / "cache"))


def test_two_processes_at_once_leave_what_a_third_one_loads(cache: Path) -> None:
    before = contents(cache)
    assert len(before) == 3 and not any(path.name.startswith(".") for path in before)
    assert run(cache) == LOADS
    assert contents(cache) == before


def test_a_moved_installation_compiles_nothing(cache: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "kernels", moved / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (moved / "kernels", moved / "kernels/cpu"):
        folder.chmod(0o555)
    assert run(cache, moved, PYTHONDONTWRITEBYTECODE="1") == LOADS
    assert not list(moved.rglob("*.nb[ci]"))


def test_changed_sources_and_other_cpus_have_a_key_of_their_own(cache: Path, tmp_path: Path) -> None:
    before = contents(cache)
    changed = tmp_path / "elsewhere"
    shutil.copytree(ROOT / "kernels", changed / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    with (changed / "kernels/knobs.py").open("a") as file:
        file.write("\nMORE = 1\n")
    assert run(cache, changed) == COMPILES
    assert run(cache, NUMBA_CPU_NAME="x86-64-v3", NUMBA_CPU_FEATURES="+avx,+avx2,+fma") == COMPILES
    assert len(list((cache / "kernels").iterdir())) == 3
    assert before.items() < contents(cache).items()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def spoilt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, spoilt, lambda path: path.write_bytes(b"")])
def test_damaged_code_is_compiled_anew_and_mended(cache: Path, damage: Callable[[Path], object]) -> None:
    for path in contents(cache):
        damage(path)
    assert run(cache) == COMPILES
    assert run(cache) == LOADS


@pytest.mark.parametrize("where", ["/dev/null/cache", "/proc/cache", "~nobody-of-this-name/cache"])
def test_a_cache_that_cannot_be_written_is_no_error(where: str) -> None:
    assert run(Path(where)) == COMPILES


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing half-written stays."""

    class Library:
        has_dynamic_globals = False

    class Codegen:
        def magic_tuple(self) -> tuple[str, ...]:
            return ("some", "cpu")

    class Result:
        library, codegen = Library(), Codegen()

        def _reduce(self) -> tuple[int]:
            return (1,)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("MINILLM_CACHE", str(tmp_path))
    monkeypatch.setattr(code_cache.os, "replace", full)
    code_cache.CodeCache(test_a_full_disk_is_no_error, "variant").save_overload("signature", Result())
    (key,) = (tmp_path / "kernels").iterdir()
    assert not list(key.iterdir())


def test_keys_used_longest_ago_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "kernels"
    for age in range(20):
        (folder / f"old-{age:02}").mkdir(parents=True)
        (folder / f"old-{age:02}" / "code").write_bytes(b"code")
        os.utime(folder / f"old-{age:02}", (1e9 - age, 1e9 - age))
    code_cache._tidy(folder / "now")
    kept = ["now", *(f"old-{age:02}" for age in range(code_cache.KEPT - 1))]
    assert sorted(path.name for path in folder.iterdir()) == kept
