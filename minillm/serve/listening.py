"""Where a server is to be found: its address, and the certificate that it shows there."""

from __future__ import annotations

import socket
import ssl

from minillm.errors import MinillmError


def bind(host: str, port: int) -> socket.socket:
    """Make a socket at this address, on which nobody listens yet; port 0 takes a free one."""
    try:
        if port > 65535:  # getaddrinfo() takes the rest
            raise OverflowError("the port must be 0 to 65535")
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        message = f"cannot serve at {host}:{port} ({error}); give another --host or --port"
        raise MinillmError(message) from error
    return listener


def check_certificate(certfile: str | None, keyfile: str | None) -> None:
    """Raise `MinillmError` where HTTPS could not be spoken with these files; None of either is HTTP."""
    if certfile is None:
        if keyfile is not None:
            raise MinillmError("--ssl-keyfile goes with --ssl-certfile; give both")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile, keyfile, password="")
    except OSError as error:
        files = " and ".join(file for file in (certfile, keyfile) if file is not None)
        raise MinillmError(f"{files} are no certificate and its key in PEM ({error}); give such") from error


def url(listener: socket.socket, scheme: str = "http") -> str:
    """Say where clients find the server."""
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
