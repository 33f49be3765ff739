"""Machine code on disk: what one process compiles, all later ones of this user load.

It is kept in the user's cache folder and not beside the sources, so it outlives a reinstallation and needs no
installation that can be written to. `kernels/KEY/` in there holds a file for each compiled function; KEY is a
digest of all that decides about machine code: the sources of the kernels, the CPU, the compiler.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from kernels.cache import cache_dir

# Keys that are kept, those used last: of other installations, Pythons, CPUs that share a home. The kernels
# of one take 1 to 35 MB.
KEPT = 16
_DIGEST = hashlib.sha256().digest_size


class CodeCache(NullCache):  # type: ignore[misc]
    """One function's machine code on disk, in the place of numba's cache.

    numba's own key pickles what a closure holds, and compiled functions pickle with a random number: it would
    never be found again. The key here and the function's variant say the same. A folder that cannot be read
    or written, or is full, is no error: the function is then compiled by each process that needs it.
    """

    def __init__(self, function: Any, variant: str) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._variant = variant

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function, or None where there is none, or not as it was written."""
        try:
            content = self._path(sig, target_context.codegen()).read_bytes()
        except (OSError, RuntimeError):  # the latter: a user without a home
            return None
        digest, payload = content[:_DIGEST], content[_DIGEST:]
        if hashlib.sha256(payload).digest() != digest:
            return None
        # What machine code calls. All else that numba prepares, in 0.2 s, is only for compiling.
        rtsys.initialize(target_context)
        return CompileResult._rebuild(target_context, *pickle.loads(payload))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a compiled function: to another name first, so that nobody finds half of it."""
        if data.library.has_dynamic_globals:  # addresses of this process
            return
        payload = dumps(data._reduce())
        try:
            path = self._path(sig, data.codegen)
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
                try:
                    file.write(hashlib.sha256(payload).digest() + payload)
                    file.flush()
                    os.replace(file.name, path)
                except BaseException:
                    os.unlink(file.name)
                    raise
        except (OSError, RuntimeError):
            return

    def _path(self, sig: Any, codegen: Any) -> Path:
        folder = cache_dir() / "kernels" / _key(codegen.magic_tuple())
        _tidy(folder)
        name = re.sub(r"\W+", "_", self._name)[-100:]  # for whoever looks; the digest tells them apart
        digest = hashlib.sha256(repr((self._name, self._variant, sig)).encode()).hexdigest()
        return folder / f"{name}-{digest[:16]}"


@cache
def _key(target: tuple[Any, ...]) -> str:
    """Digest what decides about machine code; `target` is numba's name of the CPU and what it can do."""
    made_by = (target, numba.__version__, llvmlite.__version__, sys.version)
    digest, sources = hashlib.sha256(repr(made_by).encode()), Path(__file__).parent
    for path in sorted([*sources.glob("*.py"), *sources.parent.glob("*.py")]):  # constants come from above
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


@cache
def _tidy(folder: Path) -> None:
    """Mark a key's folder as used, once a process, and remove those that were used longest ago."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        others = sorted((f.stat().st_mtime, f) for f in folder.parent.iterdir() if f != folder)
        for _, unused in others[: max(0, len(others) + 1 - KEPT)]:
            shutil.rmtree(unused, ignore_errors=True)
    except OSError:
        pass  # not ours to write to; what it holds can be read all the same
