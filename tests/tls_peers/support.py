"""Our side of TLS, and a way to let somebody else's run at the same time.

Peers block, or have a loop of their own: each gets a thread or a process, and ours is the thread of
the test.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asynccore
import ssl_ext
from asynccore import ChannelMap, call_later, call_soon_threadsafe, loop
from ssl_ext import Context, TLSError, tls_dispatcher_with_send, tls_listener
from tests.tls.pki import ca_pem
from tests.tls.support import HOST, authority, client_certificate, server_certificate

T = TypeVar("T")

# A bound, in seconds, for what takes a fraction of one.
PATIENCE = 60.0

VERSIONS = ("TLSv1.2", "TLSv1.3")

# More than a socket's buffers hold in both directions, so that both sides have to wait.
PAYLOAD = hashlib.shake_128(b"payload").digest(3_000_000)


def pem(certificate: Any) -> bytes:
    """A certificate of trustme with its key and chain."""
    return bytes(certificate.private_key_and_cert_chain_pem.bytes())


def server_context(version: str | None = None, auth: Any = "none", **options: Any) -> Context:
    """Our server, which trusts our authority for clients if it asks them."""
    if auth != "none":
        options["ca"] = ca_pem(authority())
    return ssl_ext.server_context(
        pem(server_certificate()),
        client_auth=auth,
        minimum_version=version or "TLSv1.2",
        maximum_version=version,
        **options,
    )


def client_context(version: str | None = None, certificate: Any = None, **options: Any) -> Context:
    """Our client, which trusts our authority."""
    return ssl_ext.client_context(
        ca=ca_pem(authority()),
        certificate=None if certificate is None else pem(certificate),
        minimum_version=version or "TLSv1.2",
        maximum_version=version,
        **options,
    )


class Files:
    """The certificates as files, for those who read nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.ca = self._write(folder, "ca.pem", ca_pem(authority()))
        self.server = self._write(folder, "server.pem", pem(server_certificate()))
        self.client = self._write(folder, "client.pem", pem(client_certificate()))

    def _write(self, folder: Path, name: str, data: bytes) -> str:
        path = folder / name
        path.write_bytes(data)
        return str(path)


class Echo(tls_dispatcher_with_send):
    """Sends back what it gets, and notes what it learns."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.log: list[str] = []
        self.error: BaseException | None = None
        self.user: str | None = None
        self.version: str | None = None
        self.reused: bool | None = None
        super().__init__(*args, **options)

    def handle_connect(self) -> None:
        """Nothing to do before the handshake."""

    def handle_handshake(self) -> None:
        self.log.append("handshake")
        self.version = self.tls_version
        self.user = self.user_name("email")
        self.reused = self.session_reused

    def handle_read(self) -> None:
        self.send(self.recv(65536))

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()

    def handle_tls_error(self, exc: TLSError) -> None:
        self.error = exc
        self.log.append(type(exc).__name__)
        self.close()

    def handle_error(self) -> None:
        self.error = sys.exc_info()[1]
        self.log.append(repr(self.error))
        self.close()

    def log_info(self, message: Any, type: str = "info") -> None:
        self.log.append(str(message))


class Asking(Echo):
    """A client that sends everything, and leaves when it has it back."""

    def __init__(self, *args: Any, payload: bytes = PAYLOAD, **options: Any) -> None:
        self.payload = payload
        self.got = bytearray()
        super().__init__(*args, **options)

    def handle_handshake(self) -> None:
        super().handle_handshake()
        self.send(self.payload)

    def handle_read(self) -> None:
        self.got += self.recv(65536)
        if len(self.got) >= len(self.payload):
            self.log.append("all" if self.got == self.payload else "something else")
            self.close()


class Listener(tls_listener):
    """Keeps what it hands out."""

    def __init__(self, channels: ChannelMap, context: Any, kind: Any = Echo) -> None:
        self.handed: list[Any] = []
        super().__init__(("127.0.0.1", 0), kind, context=context, map=channels)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.socket.getsockname()[1])

    def handle_channel(self, channel: Any, addr: Any) -> None:
        self.handed.append(channel)


class Quiet(Asking):
    """A client that says nothing.

    Who refuses it may close with something unread, and so reset the connection: the kernel may then
    throw away the alert that tells why.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, payload=b"", **options)


def ask(
    channels: ChannelMap, port: int, context: Context, name: str = HOST, kind: Any = Asking
) -> Any:
    """Begin to ask a server of somebody else's."""
    client = kind(map=channels, context=context, server_hostname=name)
    client.create_socket()
    client.connect(("127.0.0.1", port))
    return client


def run(channels: ChannelMap, until: Callable[[], object]) -> None:
    """Run our loop until something is so, or nothing is left."""
    late: list[bool] = []
    bound = call_later(PATIENCE, late.append, True, map=channels)
    try:
        while channels and not until():
            assert not late, f"nothing happens: {dict(channels)}"
            loop(timeout=None, map=channels, count=1)
    finally:
        bound.cancel()


def during(channels: ChannelMap, work: Callable[[], T]) -> T:
    """Run our loop while a peer works in a thread; return what it returns."""
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as why:
            failures.append(why)
        finally:
            call_soon_threadsafe(_nothing, map=channels)  # end the wait

    thread = threading.Thread(target=body, name="peer", daemon=True)
    thread.start()
    try:
        run(channels, lambda: not thread.is_alive() or results or failures)
        thread.join(PATIENCE)
    except BaseException:
        asynccore.close_all(channels, ignore_all=True)  # it has nobody to wait for any more
        thread.join(PATIENCE)
        raise
    if failures:
        raise failures[0]
    return results[0]


def _nothing() -> None:
    pass


def program(
    channels: ChannelMap, command: Sequence[str], **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end while our loop runs."""
    return during(
        channels,
        lambda: subprocess.run(command, capture_output=True, timeout=PATIENCE, **options),
    )


@contextmanager
def servers() -> Iterator[Callable[[Sequence[str]], int]]:
    """Give what begins another program as a server, and returns the port that it prints."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(words: Sequence[str]) -> int:
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        begun.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline())

    try:
        yield begin
    finally:
        for process in begun:
            process.kill()
            process.communicate(timeout=PATIENCE)
