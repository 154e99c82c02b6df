"""What the checks of the gallery ask with, beside the clients of packages."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from .programs import PATIENCE, Ports

T = TypeVar("T")


class Lines:
    """A connection on which both sides send lines."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.file = self.sock.makefile("rb")

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.file.close()
        self.sock.close()

    def send(self, *lines: str) -> None:
        self.sock.sendall("".join(f"{line}\r\n" for line in lines).encode())

    def hear(self) -> str:
        return self.file.readline().decode().rstrip("\r\n")

    def hear_block(self) -> list[str]:
        """Return the lines before the one that is a dot."""
        return list(iter(self.hear, "."))

    def hear_until(self, part: str) -> str:
        """Return the first line that has a part in it."""
        while part not in (line := self.hear()):
            if not line:
                raise AssertionError(f"the end, and no {part!r}")
        return line

    def ask(self, *lines: str) -> str:
        self.send(*lines)
        return self.hear()


def legacy(ports: Ports, name: str, line: str = "tell") -> str:
    """Ask the legacy server beside a program."""
    with Lines(ports[f"{name} legacy"]) as client:
        answer = client.ask(line)
        client.send("quit")
        assert client.file.read() == b""
    return answer


# Without the environment's proxies.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str, *handlers: Any, data: bytes | None = None) -> str:
    """Return what a page says; `handlers` are urllib's."""
    opener = _opener
    if handlers:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
    with opener.open(url, data, timeout=PATIENCE) as response:
        text: str = response.read().decode()
    return text


def status(url: str, *handlers: Any) -> int:
    """Return the status of a page that is refused, or 200."""
    try:
        get(url, *handlers)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
    return 200


def known_as(kind: type[Any], url: str, user: str, password: str) -> Any:
    """Return a handler of urllib's that logs in."""
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, url, user, password)
    return kind(passwords)


def trusting(port: int) -> ssl.SSLContext:
    """Return a context for the certificate that a server was seen with, and no other."""
    return ssl.create_default_context(cadata=ssl.get_server_certificate(("localhost", port)))


def at_once(function: Callable[[int], T], numbers: Iterable[int]) -> list[T]:
    """Call a function with each number, all in threads of their own."""
    wanted = list(numbers)
    with ThreadPoolExecutor(len(wanted)) as pool:
        return list(pool.map(function, wanted))


class _Origin(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"o" * int(self.path[1:])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def origin() -> Iterator[str]:
    """Run a web server somewhere else; "/100" has 100 bytes."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Origin)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refused(exceptions: Any, function: Callable[..., object], *args: Any) -> None:
    """Assert that a call raises."""
    with contextlib.suppress(exceptions):
        function(*args)
        raise AssertionError(f"{function} was not refused")
