"""Writing that outlives a power cut. Apart from what writes weights, so that logs and pages load no torch."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from minillm.errors import MinillmError


def fsync_path(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(target: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file beside `target`, then give it that name.

    Raises `MinillmError` where that fails; `target` is then as it was.
    """
    temp: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        temp = Path(name)
        write(temp)
        # mkstemp makes files that their owner alone may read; weights follow the umask instead.
        umask = os.umask(0)
        os.umask(umask)
        temp.chmod(0o666 & ~umask)
        fsync_path(temp)
        temp.replace(target)
        fsync_path(target.parent)
    except (OSError, SafetensorError) as error:
        raise MinillmError(f"cannot write {target}: {error}") from error
    finally:
        if temp is not None:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
