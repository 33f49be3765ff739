"""All that a run saw, on disk, and where to resume it after it was killed.

A run folder holds

    config.json             format of the journal, and what the run was started with
    journal.jsonl           one JSON object a line
    checkpoint-<iteration>  weights, optimizer: whatever the trainer saves
    metrics.jsonl           numbers of each iteration, times among them (`rl.metrics`)
    looks.jsonl             problems, and what wrong completions did, for people to look at (`rl.looks`)
    audit                   reports of audited updates (`rl.audit`)
    tensorboard             the same for TensorBoard
    state.json              the last finished iteration, and how much of the above it covers
    lock                    held by the process that writes

One rename commits an iteration: the journal's lines and the checkpoint are written and synced, then
`state.json` is replaced by one that counts them in. What it does not count in does not exist: readers stop at
its offset, and the next process to open the folder cuts it away. So a process killed at any moment leaves the
run before or after an iteration, never inside. It is there before the first, too: where it is gone, something
else than a killed process took it, and nothing is cut away.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from minillm.checkpoint.durable import fsync_path
from minillm.errors import MinillmError
from rl.run_folder import CONFIG, TEMPORARY, RunFolder, hold, read_config, read_json, to_json, write_synced

# Grows with every change of what is written but for values that may be absent: another format is not read.
FORMAT = 3

_JOURNAL, _STATE = "journal.jsonl", "state.json"
_KEYS = ("iteration", "journal_bytes", "state")  # of state.json
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


class Journal(AbstractContextManager["Journal"]):
    """The run folder of one training run, held by one process at a time; see `open`.

    Attributes:
        iteration: the last finished iteration; 0 before the first.
        state: the trainer's own state after it; empty before the first.
        checkpoint_path: folder with its checkpoint; None before the first.
    """

    def __init__(self, held: RunFolder, keep_last: int, keep_every: int) -> None:
        self.folder, self._held = held.path, held
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
        held = hold(folder, config, FORMAT, {_STATE: _state_json(0, 0, {})})
        try:
            return cls(held, keep_last, keep_every)
        except BaseException as error:
            held.close()
            if not isinstance(error, OSError):
                raise
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
        lines = [to_json(record, f"a record of iteration {iteration}") + "\n" for record in records]
        data = "".join(lines).encode()
        state_json = _state_json(iteration, self._bytes + len(data), state)
        checkpoint = self.folder / f"checkpoint-{iteration}"
        temporary = checkpoint.with_name(checkpoint.name + TEMPORARY)
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
                write_synced(self.folder / _STATE, state_json)
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
            name = path.name.removesuffix(TEMPORARY)
            if match := _CHECKPOINT.fullmatch(name):
                number, every = int(match[1]), self._keep_every
                kept = last - number < max(1, self._keep_last) or (every and number % every == 0)
                if name != path.name or number > last or not kept:
                    shutil.rmtree(path)
            elif path.name in (CONFIG + TEMPORARY, _STATE + TEMPORARY):
                path.unlink()
        self.iteration, self._bytes, self.state = last, journal_bytes, state
        self.checkpoint_path = checkpoint if last else None

    def close(self) -> None:
        """Release the folder."""
        self._held.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the folder; one that was born for a run that an error ends before it began is removed."""
        if isinstance(error, Exception) and self._held.born and not self.iteration:
            self._held.discard()
        self.close()


def read_records(folder: str | Path) -> Iterator[dict[str, Any]]:
    """Read the records of the finished iterations of a run, in order, also while it is running.

    Raises `MinillmError` where `folder` holds no run, a damaged one, or one of another `FORMAT`.
    """
    folder = Path(folder)
    read_config(folder, FORMAT)
    return _records(folder / _JOURNAL, _read_state(folder)[1])


def last_checkpoint(folder: str | Path) -> tuple[int, Path]:
    """Find the last finished iteration of a run that has one, and its checkpoint, also while it is running.

    Raises `MinillmError` where `folder` holds no run, a damaged one, or one of another `FORMAT`, and before
    the first iteration is finished.
    """
    folder = Path(folder)
    read_config(folder, FORMAT)
    iteration, _, _ = _read_state(folder)
    if not iteration:
        raise MinillmError(f"{folder} has no checkpoint yet: its first iteration is not finished")
    return iteration, folder / f"checkpoint-{iteration}"


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


def _read_state(folder: Path) -> tuple[int, int, dict[str, Any]]:
    """Read the last finished iteration, the bytes of the journal up to its end, and the trainer's state."""
    path = folder / _STATE
    if not path.exists():
        raise MinillmError(
            f"{folder} is damaged: its {_STATE} is gone, without which nothing says how much of the journal "
            "counts; put the file back, or choose another folder"
        )
    written = read_json(path)
    if written.keys() != set(_KEYS):
        raise MinillmError(f"{path} is damaged: it lacks a key or has one too many")
    return written["iteration"], written["journal_bytes"], written["state"]


def _state_json(iteration: int, journal_bytes: int, state: Mapping[str, Any]) -> str:
    values = (iteration, journal_bytes, state)
    return to_json(dict(zip(_KEYS, values, strict=True)), f"the state after iteration {iteration}")
