"""A folder that is bound to one configuration and held by one process: what every kind of run is kept in.

It is born when its `config.json` is there, which is written last; what a process killed before that leaves is
written again.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from minillm.checkpoint.durable import fsync_path
from minillm.errors import MinillmError

CONFIG, TEMPORARY = "config.json", ".tmp"
_LOCK = "lock"


@dataclass
class RunFolder:
    """A run's folder, until it is closed; see `hold`.

    Attributes:
        path: the folder.
        born: whether it was born now, and holds nothing yet.
    """

    path: Path
    born: bool
    _lock: IO[str]
    _made: list[Path]

    def close(self) -> None:
        """Release the folder."""
        self._lock.close()

    def discard(self) -> None:
        """Remove all that is in a folder that was born now, and the folders that were made for it."""
        for path in self.path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.close()
        for folder in self._made:
            if any(folder.iterdir()):  # another run's, which came to lie beside it
                break
            folder.rmdir()


def hold(
    folder: str | Path, config: Mapping[str, Any], version: int | str, first: Mapping[str, str]
) -> RunFolder:
    """Take the run folder of a configuration, JSON data; one that is not there, or empty, is born.

    `version` names the format of what is in it, and `first` has the text of files that are there from birth.
    Raises `MinillmError` where the configuration differs (naming the keys and both values), where another
    process holds the folder, where it holds something else than a run, or a run of another format, where its
    config is damaged, and where it cannot be written.
    """
    folder = Path(folder)
    wanted = json.loads(to_json(config, "the configuration"))
    unborn = {_LOCK} | {name + end for name in (CONFIG, *first) for end in ("", TEMPORARY)}
    try:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in folder.iterdir()}
        if CONFIG not in names and not names <= unborn:
            raise MinillmError(f"{folder} is not empty and holds no run: choose another folder for the run")
        lock = _acquire(folder)
        try:
            if born := not (folder / CONFIG).exists():
                text = json.dumps({"format": version, "config": wanted}, indent=2) + "\n"
                for name, content in {**first, CONFIG: text}.items():
                    write_synced(folder / name, content)
            else:
                _check_config(folder, wanted, version)
        except BaseException:
            lock.close()
            raise
    except OSError as error:
        raise MinillmError(f"cannot use {folder} as a run folder: {error.strerror or error}") from error
    return RunFolder(folder, born, lock, made)


def read_config(folder: Path, version: int | str) -> dict[str, Any]:
    """Read what a run was started with; raise `MinillmError` for no run, and for one of another format."""
    path = folder / CONFIG
    if not path.is_file():
        raise MinillmError(f"{folder} is not a run folder: it has no {CONFIG}")
    written = read_json(path)
    # Before there was a format, the configuration stood alone.
    if (found := written.get("format", 1)) != version:
        raise MinillmError(
            f"{path} is of journal format {found!r}, and this version of rl reads format {version!r}: choose "
            "another folder for the run, or go on with the version that started it"
        )
    return dict(written["config"])


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise `MinillmError` for a damaged file."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise MinillmError(f"{path} is damaged: {error}") from None
    if not isinstance(value, dict):
        raise MinillmError(f"{path} is damaged: it holds no JSON object")
    return value


def to_json(value: Mapping[str, Any], name: str) -> str:
    """Write a value in one line; raise `MinillmError` for NaN and what JSON cannot express."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise MinillmError(f"{name} cannot be written as JSON: {error}") from None


def write_synced(path: Path, text: str) -> None:
    """Replace a file in one step; it is on disk when this returns."""
    temporary = path.with_name(path.name + TEMPORARY)
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_path(path.parent)


def _acquire(folder: Path) -> IO[str]:
    """Open and lock the lock file; the kernel releases it when the process ends, however it ends."""
    lock = (folder / _LOCK).open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip()
        lock.close()
        raise MinillmError(
            f"{folder} is in use by process {holder or 'unknown'}: "
            "wait for it to end or choose another folder"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _check_config(folder: Path, wanted: dict[str, Any], version: int | str) -> None:
    was, now = _flat(read_config(folder, version)), _flat(wanted)
    differences = [
        f"{key} was {was.get(key, 'not set')!r} and is now {now.get(key, 'not set')!r}"
        for key in sorted(was.keys() | now.keys())
        if key not in was or key not in now or was[key] != now[key]
    ]
    if differences:
        raise MinillmError(
            f"{folder} holds a run of another configuration ({'; '.join(differences)}): "
            f"choose another folder, or the configuration it was started with"
        )


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """List the leaves of nested dicts, by dotted key."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        nested = isinstance(value, dict) and value
        leaves |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return leaves
