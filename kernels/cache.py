"""Where on this machine things are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Name `$MINILLM_CACHE`, else `$XDG_CACHE_HOME/minillm`, else `~/.cache/minillm`; may not exist."""
    if folder := os.environ.get("MINILLM_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minillm"
