"""Reads a run's folder as far as it has been written, again and again; what is wrong is a sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minillm.errors import MinillmError
from rl.journal import FORMAT
from rl.run_folder import read_config, read_json

JOURNAL, STATE = "journal.jsonl", "state.json"


@dataclass
class JournalReader:
    """Follows the journal in a run's folder.

    Attributes:
        folder: of the run.
        config: what the run was started with; empty where it cannot be read.
        problems: a sentence on each thing that is wrong, as of the last `read`.
        restarts: how often the journal had become shorter, and was read from its start.
    """

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    restarts: int = 0
    _offset: int = 0
    _file: int | None = None
    _damaged: bool = False

    def read(self) -> list[dict[str, Any]]:
        """Read the records that are new; those of an unfinished iteration wait until it is finished.

        Where `restarts` grew, they are all that there are.
        """
        self.problems = []
        try:
            self.config = read_config(self.folder, FORMAT)
        except MinillmError as error:
            self.problems.append(f"{error}.")
            return []
        except OSError as error:
            self.problems.append(f"{self.folder} cannot be read: {error.strerror}.")
            return []
        path = self.folder / JOURNAL
        counted = self._counted()
        try:
            return self._read_from(path, counted)
        except FileNotFoundError:
            if counted or counted is None:
                self.problems.append(f"{JOURNAL} is missing from {self.folder}: no state can be shown.")
        except OSError as error:
            self.problems.append(f"{path} cannot be read: {error.strerror}.")
        return []

    def _read_from(self, path: Path, counted: int | None) -> list[dict[str, Any]]:
        status = path.stat()
        size = status.st_size
        # Another file of that name is another run's.
        if size < self._offset or self._file not in (None, status.st_ino):
            self.restarts, self._offset, self._damaged = self.restarts + 1, 0, False
        self._file = status.st_ino
        if counted is not None and size < counted:
            self.problems.append(
                f"{JOURNAL} is damaged: it has {size:,} of {counted:,} bytes written; what is there is shown."
            )
        return self._read(path, size if counted is None else min(size, counted))

    def _read(self, path: Path, end: int) -> list[dict[str, Any]]:
        with path.open("rb") as journal:
            journal.seek(self._offset)
            data = journal.read(max(0, end - self._offset))
        whole, _, rest = data.rpartition(b"\n")
        if rest:
            self.problems.append(
                f"The last line of {JOURNAL} is torn after {len(rest):,} bytes; it is shown once it is whole."
            )
        records = []
        for line in whole.split(b"\n") if whole else ():
            try:
                record = json.loads(line)
                if not isinstance(record, dict) or not {"kind", "iteration", "state"} <= record.keys():
                    raise ValueError("no entry")
                records.append(record)
            except (ValueError, RecursionError):
                self._damaged = True
        if self._damaged:
            self.problems.append(f"A line of {JOURNAL} is damaged, and left out.")
        self._offset += len(whole) + bool(whole)
        return records

    def _counted(self) -> int | None:
        """Read how many bytes of the journal count; None, with a sentence, where nothing says so."""
        path = self.folder / STATE
        try:
            return int(read_json(path)["journal_bytes"])
        except FileNotFoundError:
            self.problems.append(f"{STATE} is missing: what the journal has is shown, finished or not.")
        except (MinillmError, KeyError, TypeError, ValueError, OSError):
            self.problems.append(f"{STATE} is damaged: what the journal has is shown, finished or not.")
        return None
