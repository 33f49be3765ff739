"""Pages as a folder of files: code and style as they are shipped, and data in chunks.

A page that is opened as a file may load nothing but scripts, so each chunk is one that hands itself over: it
calls `chunk(name, json)` of `base.js`. Files are written to a temporary name and renamed, so a page that is
open sees no torn one.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from minillm.checkpoint.durable import write_atomically
from minillm.errors import MinillmError

DATA = "data"
INDEX = f"{DATA}/index.js"
_SHIPPED = (".html", ".css", ".js", ".svg")


def copy_pages(folder: Path, packages: Iterable[str]) -> None:
    """Copy what all pages share, and what packages ship in their folder `pages`, into a folder of pages.

    Raises `MinillmError` for a folder that holds something else than pages, and where it cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()) and not (folder / INDEX).exists():
            raise MinillmError(
                f"{folder} holds something else than pages: name another folder, or one that is not there yet"
            )
        (folder / DATA).mkdir(parents=True, exist_ok=True)
        if not (folder / INDEX).exists():
            write_chunk(folder, "index", {})
        for place in (files("rl") / "pages", *(files(package) / "pages" for package in packages)):
            for file in place.iterdir():
                if file.name.endswith(_SHIPPED):
                    put(folder / file.name, file.read_text("utf-8"))
    except OSError as error:
        raise MinillmError(f"cannot write pages in {folder}: {error.strerror or error}") from error


def write_chunk(folder: Path, name: str, data: Any) -> int:
    """Write one chunk of data, JSON; return its size in bytes."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    script = f"chunk({json.dumps(name)},'{quoted}');\n"
    put(folder / DATA / f"{name}.js", script)
    return len(script)


def put(path: Path, text: str) -> None:
    """Replace a file in one step, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))


def zip_pages(folder: Path, path: Path) -> None:
    """Put a folder of pages into one zip, whose only folder has the zip's name.

    Raises `MinillmError` where it cannot be written.
    """

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in _SHIPPED):
                archive.write(file, f"{path.stem}/{file.relative_to(folder).as_posix()}")

    try:
        write_atomically(path, write)
    except OSError as error:
        raise MinillmError(f"cannot write {path}: {error.strerror or error}") from error
