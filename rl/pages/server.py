"""Serves a folder of pages to this machine alone."""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from minillm.errors import MinillmError

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
# Names of files and folders: none begins with a dot, and none has a character that means something.
_NAME = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*")


class PageServer(ThreadingHTTPServer):
    """A server of one folder, bound to the loopback address; `url` is where its first page is.

    Raises `MinillmError` for a port that cannot be had; 0 stands for any that is free.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder.resolve()
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise MinillmError(
                f"cannot serve at port {port}: {error}; choose another, or 0 for any that is free"
            ) from None
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}
        if self.server_port == 80:
            self.hosts |= {"127.0.0.1", "localhost"}

    @contextmanager
    def running(self) -> Iterator[PageServer]:
        """Serve in a thread while the block runs."""
        thread = threading.Thread(target=self.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    def find(self, target: str) -> Path | None:
        """Find the file of the folder that a request names; None for all that is no page's file."""
        path = unquote(target.partition("?")[0].partition("#")[0], errors="replace")
        if not path.startswith("/"):
            return None
        names = (path[1:] or "index.html").split("/")
        file = self.folder.joinpath(*names) if all(map(_NAME.fullmatch, names)) else None
        # A link would lead elsewhere; and what it leads to today may be another file tomorrow.
        if file is None or file.suffix not in _TYPES or not file.is_file() or file.resolve() != file:
            return None
        return file

    def shutdown_request(self, request: Any) -> None:
        """Read on for a while after the last answer: closed before, a connection takes that answer back."""
        with suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(1)
            for _ in range(64):
                if not request.recv(1 << 16):
                    break
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where a browser has gone away in the middle of an answer; else report as usual."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # a request that names none is answered with headers all the same
    server_version, sys_version = "minillm", ""
    timeout = 60

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            return self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        file = self.server.find(self.path)
        try:
            data = None if file is None else file.read_bytes()
        except OSError:
            data = None
        if file is None or data is None:
            return self.send_error(HTTPStatus.NOT_FOUND)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _TYPES[file.suffix])
        self.send_header("Content-Length", str(len(data)))
        if self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding"):
            self.send_header("Connection", "close")  # a body is not read, nor taken for the next request
        self.end_headers()
        if body:
            self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with the name of the fault alone: nothing of the request is said back."""
        text = f"{code} {HTTPStatus(code).phrase}\n".encode()
        self.send_response(code)
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        # What came with a refused request is not read, and must not be taken for the next one.
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def end_headers(self) -> None:
        """Add the headers that all answers have."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: each poll of a live page would be a line."""
