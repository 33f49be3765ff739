"""Progress messages, times, and numbers of each iteration, in a run's folder and apart from its journal."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from minillm.checkpoint.durable import write_atomically
from minillm.errors import MinillmError

METRICS = "metrics.jsonl"

# Called with a message at each stage of the work.
ProgressCallback = Callable[[str], None]


def ignore(message: str) -> None:
    """Show no progress."""


class Clock:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Add the time spent inside to `what`."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - begin

    def metrics(self) -> dict[str, float]:
        """Name the seconds as the run's metrics do."""
        return {f"seconds/{what}": spent for what, spent in self.seconds.items()}


class MetricsLog:
    """Writes a run's metrics, in place of those after iteration `last`; `MinillmError` where it cannot."""

    def __init__(self, folder: Path, last: int) -> None:
        from tensorboardX import SummaryWriter  # slow to import, and of no use to rollouts alone

        self.path = folder / METRICS
        try:
            lines = [json.dumps(line) + "\n" for line in read_metrics(folder) if line["iteration"] <= last]
            write_atomically(self.path, lambda path: path.write_text("".join(lines)))
            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=last + 1, max_queue=1000)
        except OSError as error:
            raise MinillmError(f"cannot write metrics in {folder}: {error.strerror}") from error

    def add(self, iteration: int, values: Mapping[str, float]) -> None:
        """Write one iteration's numbers. Raises `MinillmError` where they cannot be written."""
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
    """Read the numbers of each iteration so far, but for a line that a killed process left half written."""
    path = folder / METRICS
    lines: list[dict[str, float]] = []
    for text in path.read_bytes().split(b"\n") if path.exists() else ():
        with contextlib.suppress(ValueError, RecursionError):
            lines.append(json.loads(text))
    return lines
