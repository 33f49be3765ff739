"""Ctrl-C ends a command in one line, wherever it strikes.

Python's own way is an exception, which shows a traceback from an import or an exit handler, and is lost in a
destructor. What our commands write is whole at any moment, as it has to be for `kill -9`; so they just end.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SHOW_CURSOR = "\x1b[?25h"  # which a progress bar hides


def end_on_interrupt(sentence: str) -> None:
    """Make ctrl-C write this sentence to standard error and end the process with status 130."""

    def end(*_: object) -> None:
        line = f"\n{sentence}\n" if os.isatty(2) else f"{sentence}\n"
        os.write(2, (_SHOW_CURSOR * os.isatty(1) + line).encode())
        os._exit(130)

    signal.signal(signal.SIGINT, end)


@contextmanager
def one_line_on_interrupt(sentence: str) -> Iterator[None]:
    """Do `end_on_interrupt` inside the block; in a thread that is not the main one, nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    end_on_interrupt(sentence)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
