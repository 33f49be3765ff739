"""A page on training runs, in which every state, token and rollout can be looked at.

    python -m rl.dashboard runs/arc                     # serves it, live while the run goes on
    python -m rl.dashboard runs/arc runs/grpo           # two runs beside each other
    python -m rl.dashboard runs/arc --out pages/        # writes files that open without a server
    python -m rl.dashboard runs/arc --zip arc.zip       # the same as one file that can be sent

The server answers this machine alone.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from minillm.errors import MinillmError
from rl.dashboard.site import Dashboard
from rl.pages.chunks import zip_pages
from rl.pages.server import PageServer


@dataclass(frozen=True)
class Config:
    """Options of `rl.dashboard`.

    Attributes:
        runs: folders of runs.
        out: a folder to write the page into, in place of serving it.
        zip: a file to write the page into, in place of serving it.
        port: of the server; 0 for any that is free.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    out: Path | None = None
    zip: Path | None = None
    port: int = 8300


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    config = tyro.cli(Config, description=__doc__, args=arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="dashboard-") as temporary:
            live = config.out is None and config.zip is None
            pages = config.out or Path(temporary) / "pages"
            dashboard = Dashboard(config.runs, pages, live)
            dashboard.update()
            if config.zip is not None:
                zip_pages(pages, config.zip)
                print(f"{config.zip}: unpack it, and open index.html")
            if config.out is not None:
                print(f"{config.out / 'index.html'}")
            if live:
                _serve(dashboard, config.port)
    except MinillmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: the page cannot be written: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
    return 0


def _serve(dashboard: Dashboard, port: int) -> None:
    stop = threading.Event()
    with PageServer(dashboard.pages, port).running() as server:
        print(
            f"{server.url} shows {', '.join(run.name for run in dashboard.runs)}; ctrl-C ends it", flush=True
        )
        try:
            dashboard.follow(stop)
        finally:
            stop.set()


if __name__ == "__main__":
    sys.exit(main())
