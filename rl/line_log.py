"""Records of a run that is no training: one JSON object a line, appended, never changed.

A process killed at any moment leaves at most its last line torn, and that line was not acted on yet.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

from minillm.errors import MinillmError
from rl.run_folder import RunFolder, hold, to_json


class LineLog(AbstractContextManager["LineLog"]):
    """A log in a run folder, held by one process at a time; see `open`.

    Attributes:
        folder: the run folder.
        records: all records, those of earlier processes first.
    """

    def __init__(self, held: RunFolder, name: str) -> None:
        self.folder, self._held, self._path = held.path, held, held.path / name
        self.records = self._read()
        self._file = self._path.open("ab")

    @classmethod
    def open(cls, folder: str | Path, config: Mapping[str, Any], version: int | str, name: str) -> LineLog:
        """Start the log `name` of a run of this configuration, or go on with it; `rl.run_folder.hold` checks.

        Raises `MinillmError` as `hold` does, for a line before the last that is damaged, and where the file
        cannot be written.
        """
        held = hold(folder, config, version, {})
        try:
            return cls(held, name)
        except BaseException as error:
            held.close()
            if not isinstance(error, OSError):
                raise
            raise MinillmError(f"cannot use {held.path / name}: {error.strerror or error}") from error

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write records; they are on disk when this returns. Raises `MinillmError` where they cannot be."""
        lines = [to_json(record, "a record") + "\n" for record in records]
        try:
            self._file.write("".join(lines).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise MinillmError(
                f"cannot write {self._path}: {error.strerror or error}; what was written before is kept: "
                "make room and start again with the same folder"
            ) from error
        self.records += [json.loads(line) for line in lines]

    def close(self) -> None:
        """Release the folder."""
        self._file.close()
        self._held.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the folder; one that was born for a run that an error ends before it began is removed."""
        if isinstance(error, Exception) and self._held.born and not self.records:
            self._held.discard()
        self.close()

    def _read(self) -> list[dict[str, Any]]:
        """Read all whole lines, and cut a torn last one away."""
        content = self._path.read_bytes() if self._path.exists() else b""
        *lines, torn = content.split(b"\n")
        if torn:
            os.truncate(self._path, len(content) - len(torn))
        records = []
        for number, line in enumerate(lines, 1):
            try:
                records.append(json.loads(line))
            except ValueError as error:
                raise MinillmError(f"line {number} of {self._path} is damaged: {error}") from None
        return records
