"""The server in a thread of the tests' own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from minillm.serve import server as serving


@dataclass
class ServerThread:
    """A server that answers at `url`, until `server.should_exit`."""

    url: str
    server: Any
    thread: threading.Thread


@contextmanager
def running(app: Any, shutdown_timeout: float = 10) -> Iterator[ServerThread]:
    """Serve what `make_app` made, at a port of its own; at the end, stop and wait until it has."""
    with serving.bind("127.0.0.1", 0) as listener:
        listener.listen()
        server = serving.make_server(app, shutdown_timeout)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield ServerThread(serving.url(listener), server, thread)
        finally:
            server.should_exit = True
            thread.join()
