"""Numbers of a run, an iteration a line: metrics.jsonl in its folder, and TensorBoard's events beside it.

They hold times, so they are no part of the journal, which is the same for the same seeds.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

from minillm.checkpoint.safetensors import write_atomically
from minillm.errors import MinillmError

METRICS = "metrics.jsonl"
EVENTS = "tensorboard"


class Metrics:
    """Writes a run's metrics; what an earlier process wrote after iteration `last` is dropped.

    Raises `MinillmError` where the folder cannot be written.
    """

    def __init__(self, folder: Path, last: int) -> None:
        self.path = folder / METRICS
        try:
            kept = [line for line in read_metrics(folder) if line["iteration"] <= last]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_atomically(self.path, lambda path: path.write_text(text))
            self._writer = SummaryWriter(str(folder / EVENTS), purge_step=last + 1, max_queue=1000)
        except OSError as error:
            raise MinillmError(f"cannot write metrics in {folder}: {error.strerror}") from error

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """One iteration's numbers. Raises `MinillmError` where they cannot be written."""
        try:
            with self.path.open("a") as file:
                file.write(json.dumps({"iteration": iteration, **values}) + "\n")
            for name, value in values.items():
                self._writer.add_scalar(name, value, iteration)
            self._writer.flush()
        except OSError as error:
            raise MinillmError(
                f"cannot write {self.path}: {error.strerror}; what was learned up to iteration {iteration} "
                "is kept: make room and start again with the same folder"
            ) from error

    def close(self) -> None:
        """Close the files. On a full disk TensorBoard's last events are lost, and the lines are not."""
        with contextlib.suppress(OSError):
            self._writer.close()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The numbers of each iteration so far, none before the first.

    A line that a killed process left half written is passed over.
    """
    found: list[dict[str, float]] = []
    path = folder / METRICS
    if not path.exists():
        return found
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
