"""What pages share: chunks that a browser reads as scripts, and a server of one folder to one machine."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minillm.errors import MinillmError
from rl.pages.chunks import copy_pages, write_chunk, zip_pages
from rl.pages.server import PageServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    folder = tmp_path / "pages"
    copy_pages(folder, ["rl.dashboard"])
    (tmp_path / "secret.js").write_text("secret")
    (folder / ".hidden.js").write_text("secret")
    (folder / "notes.txt").write_text("secret")
    (folder / "link.js").symlink_to(tmp_path / "secret.js")
    (folder / "linked").symlink_to(tmp_path, target_is_directory=True)
    with PageServer(folder).running() as server:
        yield server


def ask(
    server: PageServer, target: str, method: str = "GET", host: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, target, skip_host=True)
    if host != "":
        connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def test_files_are_served_with_a_strict_policy(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    for target, kind in (
        ("/", "text/html"),
        ("/?a=b", "text/html"),
        ("/base.js", "text/javascript"),
        ("/data/index.js?v=3", "text/javascript"),
    ):
        status, headers, body = ask(server, target)
        assert status == 200 and headers["content-type"].startswith(kind) and body
        assert int(headers["content-length"]) == len(body)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy and "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        status, head, nothing = ask(server, target, "HEAD")
        assert (status, head["content-length"], nothing) == (200, headers["content-length"], b"")


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.js", "/%2e%2e/secret.js", "/..%2fsecret.js", "/%252e%252e/secret.js", "/..\\secret.js",
        "/data/../../secret.js", "/data/%2e%2e/%2e%2e/secret.js", "//secret.js", "/./base.js", "/link.js",
        "/linked/secret.js", "/.hidden.js", "/%2ehidden.js", "/notes.txt", "/data", "/data/",
        "/base.js%00.css", "/base.js/", "secret.js", "/%ff.js",
        "http://127.0.0.1/base.js", "/nothing.js",
    ],
)  # fmt: skip
def test_nothing_else_is_served(server: PageServer, target: str) -> None:
    status, headers, body = ask(server, target)
    assert status == 404 and b"secret" not in body
    assert headers["x-content-type-options"] == "nosniff" and "content-security-policy" in headers


def test_other_methods_and_hosts_are_refused(server: PageServer) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT"):
        assert ask(server, "/", method)[0] == 501
    for host in ("", "example.org", f"example.org:{server.server_port}", "127.0.0.1", "127.0.0.1:1"):
        assert ask(server, "/", host=host)[0] == 421
    assert ask(server, "/", host=f"localhost:{server.server_port}")[0] == 200


def test_a_body_is_not_taken_for_the_next_request(server: PageServer) -> None:
    hidden = b"GET /base.css HTTP/1.1\r\nHost: example.org\r\n\r\n"
    head = (
        f"GET /base.js HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\nContent-Length: {len(hidden)}\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
        client.sendall(head.encode() + b"\r\n" + hidden)
        with client.makefile("rb") as answer:
            said = answer.read()
    assert said.startswith(b"HTTP/1.1 200") and said.count(b"HTTP/1.1 ") == 1


def test_a_browser_that_goes_away_is_no_news(
    server: PageServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pages/large.js").write_text("x" * 20_000_000)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
        client.sendall(f"GET /large.js HTTP/1.1\r\nHost: localhost:{server.server_port}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert ask(server, "/")[0] == 200
    server.shutdown()
    while any("process_request_thread" in thread.name for thread in threading.enumerate()):
        time.sleep(0.01)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_odd_requests_are_answered_or_dropped(server: PageServer) -> None:
    host = f"Host: 127.0.0.1:{server.server_port}\r\n"
    for request, status in (
        (f"GET / HTTP/1.1\r\n{host}{host}\r\n", 421),
        ("GET / HTTP/1.0\r\n\r\n", 421),
        (f"GET / HTTP/1.0\r\n{host}\r\n", 200),
        (f"GET /{'a' * 70_000} HTTP/1.1\r\n{host}\r\n", 414),
        (f"GET / HTTP/1.1\r\n{host}{'X: y' * 20_000}\r\n\r\n", 431),
        (f"GET / HTTP/9.9\r\n{host}\r\n", 505),
        ("GET\r\n\r\n", 400),
        (f"get / HTTP/1.1\r\n{host}\r\n", 501),
    ):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as client:
            client.sendall(request.encode())
            client.shutdown(socket.SHUT_WR)
            with client.makefile("rb") as answer:
                said = answer.read()
        assert said.split(b" ")[1] == str(status).encode(), request[:60]
        assert b"content-security-policy" in said.lower() and b"Traceback" not in said


def test_a_port_that_is_taken_is_named(server: PageServer, tmp_path: Path) -> None:
    with pytest.raises(MinillmError, match=f"cannot serve at port {server.server_port}"):
        PageServer(tmp_path, server.server_port)
    with pytest.raises(MinillmError, match="cannot serve at port 70000"):
        PageServer(tmp_path, 70000)


def test_a_chunk_is_a_call_with_json_in_quotes(tmp_path: Path) -> None:
    data = {"__proto__": "it's", "b": ["\\", "\n</script>\u2028", "😀", None, 1.5]}
    size = write_chunk(tmp_path, "0/x", data)
    text = (tmp_path / "data/0/x.js").read_text()
    assert len(text) == size and text.isascii() and "\n" not in text[:-1]
    match = re.fullmatch(r"chunk\(\"0/x\",'(.*)'\);\n", text)
    assert match is not None
    assert re.search(r"(?<!\\)(\\\\)*'", match[1]) is None
    assert json.loads(re.sub(r"\\(.)", r"\1", match[1])) == data


def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "data/0/x.js").mkdir(parents=True)
    with pytest.raises(MinillmError, match=r"cannot write .*x\.js"):
        write_chunk(tmp_path, "0/x", {"a": float("nan")})
    assert os.listdir(tmp_path / "data/0") == ["x.js"]
    (tmp_path / "file").touch()
    with pytest.raises(MinillmError, match=r"cannot write .*run\.zip"):
        zip_pages(tmp_path, tmp_path / "file/run.zip")


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(MinillmError, match="holds something else than pages"):
        copy_pages(tmp_path, [])
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_a_zip_has_one_folder(tmp_path: Path) -> None:
    copy_pages(tmp_path / "pages", ["rl.dashboard"])
    copy_pages(tmp_path / "pages", ["rl.dashboard"])  # again is fine
    zip_pages(tmp_path / "pages", tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        names = archive.namelist()
    assert {"run/index.html", "run/base.js", "run/dashboard.js", "run/data/index.js"} <= set(names)
    assert all(name.startswith("run/") for name in names)


def test_pages_have_no_inline_code_and_ask_nobody() -> None:
    root = Path(__file__).resolve().parents[2] / "rl"
    for path in [*root.glob("pages/*"), *root.glob("dashboard/pages/*")]:
        if path.suffix in (".js", ".css", ".html", ".svg"):
            text = path.read_text()
            assert len(text.splitlines()) <= 500, path
            urls = set(re.findall(r"https?://[^\s\"'<>]+", text)) - {"http://www.w3.org/2000/svg"}
            assert urls == set(), path
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
            ), path
    html = (root / "dashboard/pages/index.html").read_text()
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\ssrc=)", html)
