"""How far sampling is: a bar on stderr, or whatever stands in tqdm's place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from minillm.errors import MinillmError


def progress_bar(show: bool = True, **options: Any) -> Progress:
    """Make a progress bar of samples on stderr, which shows if it should and stderr is a terminal."""
    columns = (TextColumn("sampling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    show = show and sys.stderr.isatty()
    return Progress(*columns, console=Console(stderr=True), disable=not show, **options)


@contextmanager
def progress(use_tqdm: bool | Callable[..., Any], total: int) -> Iterator[Callable[[], None]]:
    """Show progress: a function to call for each of `total` samples; `use_tqdm` as of `LLM.generate`."""
    if not (callable(use_tqdm) or isinstance(use_tqdm, int | None)):
        raise MinillmError(f"use_tqdm must be True, False or a function that makes a bar, got {use_tqdm!r}")
    if callable(use_tqdm):
        with closing(use_tqdm(total=total, desc="sampling")) as theirs:
            yield lambda: theirs.update(1)
    else:
        with progress_bar(bool(use_tqdm)) as bar:
            task = bar.add_task("sampling", total=total)
            yield lambda: bar.advance(task)
