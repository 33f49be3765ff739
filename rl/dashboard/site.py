"""Folders of runs as one folder of pages."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from minillm.errors import MinillmError
from rl.dashboard.data import RunData
from rl.pages.chunks import DATA, copy_pages, write_chunk


class Dashboard:
    """The page of some runs.

    Args:
        runs: their folders; each needs a name of its own.
        pages: where the page is written.
        live: whether the page is to look for changes.

    Raises `MinillmError` for no runs, names that are not there or come twice, and a folder that cannot be
    written or holds something else.
    """

    def __init__(self, runs: Sequence[Path], pages: Path, live: bool = False) -> None:
        if not runs:
            raise MinillmError("there is no run to show; name the folder of one")
        for run in runs:
            if not run.is_dir():
                raise MinillmError(f"{run} is not a folder; name the folder of a run")
        self.pages, self.live = pages, live
        self.runs = [RunData(run, pages, number) for number, run in enumerate(runs)]
        names = [run.name for run in self.runs]
        if twice := {name for name in names if names.count(name) > 1}:
            raise MinillmError(f"two runs are called {min(twice)}, which names them in addresses; rename one")
        copy_pages(pages, ["rl.dashboard"])
        # Data of an earlier time, of other runs perhaps, is not to be sent along with these.
        for folder in (path for path in (pages / DATA).iterdir() if path.is_dir()):
            shutil.rmtree(folder)

    def update(self) -> bool:
        """Write what changed since the last time; tell whether anything did."""
        changed = [run.update() for run in self.runs]
        if any(changed):
            runs = [{"number": r.number, "name": r.name, "version": r.version} for r in self.runs]
            write_chunk(self.pages, "index", {"live": self.live, "runs": runs})
        return any(changed)

    def follow(self, stop: threading.Event, seconds: float = 1.0) -> None:
        """Update again and again until `stop` is set."""
        while not stop.wait(seconds):
            self.update()
