"""All that a run saw, on disk, and where to resume it after it was killed.

A run folder holds

    config.json             format of the journal, and what the run was started with
    journal.jsonl           one JSON object a line
    checkpoint-<iteration>  weights, optimizer: whatever the trainer saves
    metrics.jsonl           numbers of each iteration, times among them (`rl.metrics`)
    tensorboard             the same for TensorBoard
    state.json              the last finished iteration, and how much of the above it covers
    lock                    held by the process that writes

One rename commits an iteration: the journal's lines and the checkpoint are written and synced, then
`state.json` is replaced by one that counts them in. What it does not count in does not exist: readers stop at
its offset, and the next process to open the folder cuts it away. So a process killed at any moment leaves the
run before or after an iteration, never inside.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from minillm.checkpoint.safetensors import fsync_path
from minillm.errors import MinillmError

# Grows with every change of what is written: another format is not read.
FORMAT = 2

_CONFIG, _JOURNAL, _STATE, _LOCK = "config.json", "journal.jsonl", "state.json", "lock"
_KEYS = ("iteration", "journal_bytes", "state")  # of state.json
_TEMPORARY = ".tmp"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# What a process killed before it had written its config leaves in a folder.
_UNBORN = {_LOCK, _CONFIG + _TEMPORARY}


class Journal(AbstractContextManager["Journal"]):
    """The run folder of one training run, held by one process at a time; see `open`.

    Attributes:
        iteration: the last finished iteration; 0 before the first.
        state: the trainer's own state after it; empty before the first.
        checkpoint_path: folder with its checkpoint; None before the first.
    """

    def __init__(self, folder: Path, lock: IO[str], keep_last: int, keep_every: int) -> None:
        self.folder, self._lock = folder, lock
        self._keep_last, self._keep_every = keep_last, keep_every
        self._recover()

    @classmethod
    def open(
        cls, folder: str | Path, config: Mapping[str, Any], keep_last: int = 1, keep_every: int = 0
    ) -> Journal:
        """Start a run in `folder`, or go on with the one in it after its last iteration.

        `config` is what the run is configured by, as JSON data; a run is gone on with only under the
        configuration it was started with. Of checkpoints the last `keep_last` are kept, and for good one
        every `keep_every` iterations, 0 for none. Raises `MinillmError` where the configuration differs
        (naming the keys and both values), where another process holds the folder, where it holds something
        else than a run, or a run of another `FORMAT`, where a file of it is damaged, and where it cannot be
        written.
        """
        folder = Path(folder)
        wanted = json.loads(_to_json(config, "the configuration"))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            names = {path.name for path in folder.iterdir()}
            if _CONFIG not in names and not names <= _UNBORN:
                raise MinillmError(
                    f"{folder} is not empty and holds no run: choose another folder for the run"
                )
            lock = _acquire(folder)
            try:
                if (folder / _CONFIG).exists():
                    _check_config(folder, wanted)
                else:
                    text = json.dumps({"format": FORMAT, "config": wanted}, indent=2) + "\n"
                    _write_synced(folder / _CONFIG, text)
                return cls(folder, lock, keep_last, keep_every)
            except BaseException:
                lock.close()
                raise
        except OSError as error:
            raise MinillmError(f"cannot use {folder} as a run folder: {error.strerror or error}") from error

    def commit(
        self,
        iteration: int,
        records: Sequence[Mapping[str, Any]],
        state: Mapping[str, Any],
        save_checkpoint: Callable[[Path], None],
    ) -> None:
        """Finish an iteration: all of it is kept, or, where anything fails, nothing.

        `records` become one line each. `state` is small JSON data that `Journal.state` has when the run goes
        on. `save_checkpoint` writes what it likes into the empty folder it is given; earlier checkpoints are
        removed once this one counts, but for those that are kept by `open`'s rule. Raises `MinillmError`
        where `iteration` is not the one after the last, where `records` or `state` hold NaN or what JSON
        cannot express, and where the disk is full or fails; any other error of `save_checkpoint` passes
        through.
        """
        if iteration != self.iteration + 1:
            raise MinillmError(
                f"iteration {self.iteration} was the last to finish, so {iteration} cannot be next"
            )
        lines = [_to_json(record, f"a record of iteration {iteration}") + "\n" for record in records]
        data = "".join(lines).encode()
        values = (iteration, self._bytes + len(data), state)
        state_json = _to_json(dict(zip(_KEYS, values, strict=True)), f"the state after iteration {iteration}")
        checkpoint = self.folder / f"checkpoint-{iteration}"
        temporary = checkpoint.with_name(checkpoint.name + _TEMPORARY)
        try:
            try:
                with (self.folder / _JOURNAL).open("ab") as journal:
                    journal.write(data)
                    journal.flush()
                    os.fsync(journal.fileno())
                temporary.mkdir()
                save_checkpoint(temporary)
                for path in (*temporary.rglob("*"), temporary):
                    fsync_path(path)
                temporary.rename(checkpoint)
                fsync_path(self.folder)
                _write_synced(self.folder / _STATE, state_json)
            finally:
                # Reads `state.json` and not what this process believes, so that an interrupt just
                # after the rename cannot take a finished iteration for an unfinished one.
                self._recover()
        except OSError as error:
            raise MinillmError(
                f"iteration {iteration} could not be saved in {self.folder}: {error.strerror or error}; "
                f"what was learned up to iteration {self.iteration} is kept: make room and start again "
                "with the same folder"
            ) from error

    def _recover(self) -> None:
        """Read what `state.json` counts in, and remove all else, and checkpoints that are not kept."""
        last, journal_bytes, state = _read_state(self.folder)
        journal, checkpoint = self.folder / _JOURNAL, self.folder / f"checkpoint-{last}"
        size = journal.stat().st_size if journal.exists() else 0
        if size < journal_bytes:
            raise MinillmError(f"{journal} is damaged: it has {size} bytes of the {journal_bytes} written")
        if size > journal_bytes:
            os.truncate(journal, journal_bytes)
        if last and not checkpoint.is_dir():
            raise MinillmError(f"{self.folder} is damaged: it lacks {checkpoint.name}")
        for path in sorted(self.folder.iterdir()):
            name = path.name.removesuffix(_TEMPORARY)
            if match := _CHECKPOINT.fullmatch(name):
                number, every = int(match[1]), self._keep_every
                kept = last - number < max(1, self._keep_last) or (every and number % every == 0)
                if name != path.name or number > last or not kept:
                    shutil.rmtree(path)
            elif path.name in (_CONFIG + _TEMPORARY, _STATE + _TEMPORARY):
                path.unlink()
        self.iteration, self._bytes, self.state = last, journal_bytes, state
        self.checkpoint_path = checkpoint if last else None

    def close(self) -> None:
        """Release the folder."""
        self._lock.close()

    def __exit__(self, *error: object) -> None:
        self.close()


def read_records(folder: str | Path) -> Iterator[dict[str, Any]]:
    """Read the records of the finished iterations of a run, in order, also while it is running.

    Raises `MinillmError` where `folder` holds no run, a damaged one, or one of another `FORMAT`.
    """
    folder = Path(folder)
    if not (folder / _CONFIG).is_file():
        raise MinillmError(f"{folder} is not a run folder: it has no {_CONFIG}")
    _read_config(folder)
    return _records(folder / _JOURNAL, _read_state(folder)[1])


def _records(path: Path, size: int) -> Iterator[dict[str, Any]]:
    if size == 0:
        return
    try:
        with path.open("rb") as journal:
            while size > 0:
                size -= len(line := journal.readline())
                yield json.loads(line)
    except (OSError, ValueError) as error:
        raise MinillmError(f"{path} is damaged: {error}") from None


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


def _read_config(folder: Path) -> dict[str, Any]:
    """Read what the run was started with; raise `MinillmError` for a journal of another format."""
    path = folder / _CONFIG
    written = _read_json(path)
    # Before there was a format, the configuration stood alone.
    if (version := written.get("format", 1)) != FORMAT:
        raise MinillmError(
            f"{path} is of journal format {version!r}, and this version of rl reads format {FORMAT}: choose "
            "another folder for the run, or go on with the version that started it"
        )
    return dict(written["config"])


def _check_config(folder: Path, wanted: dict[str, Any]) -> None:
    was, now = _flat(_read_config(folder)), _flat(wanted)
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


def _read_state(folder: Path) -> tuple[int, int, dict[str, Any]]:
    """Read the last finished iteration, the bytes of the journal up to its end, and the trainer's state."""
    path = folder / _STATE
    if not path.exists():
        return 0, 0, {}
    written = _read_json(path)
    if written.keys() != set(_KEYS):
        raise MinillmError(f"{path} is damaged: it lacks a key or has one too many")
    return written["iteration"], written["journal_bytes"], written["state"]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise MinillmError(f"{path} is damaged: {error}") from None
    if not isinstance(value, dict):
        raise MinillmError(f"{path} is damaged: it holds no JSON object")
    return value


def _to_json(value: Mapping[str, Any], name: str) -> str:
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise MinillmError(f"{name} cannot be written as JSON: {error}") from None


def _write_synced(path: Path, text: str) -> None:
    """Replace a file in one step; it is on disk when this returns."""
    temporary = path.with_name(path.name + _TEMPORARY)
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_path(path.parent)
