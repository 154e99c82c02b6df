"""`openssl s_client`, `openssl s_server` and curl at the other end."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from asynccore import ChannelMap
from ssl_ext import CertificateError, PeerRefused, TLSError, tls_async_chat
from tests.tls.support import CLIENT, HOST, client_certificate
from tests.tls_peers.support import (
    PATIENCE,
    PAYLOAD,
    Asking,
    Files,
    Listener,
    Quiet,
    ask,
    client_context,
    program,
    run,
    server_context,
)

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl")
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")

ONLY = {"TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}


class Notes:
    """What a channel learns of its peer."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.log: list[str] = []
        super().__init__(*args, **options)

    def handle_handshake(self) -> None:
        channel: Any = self
        self.log.append("handshake")
        self.user = channel.user_name("email")
        self.reused = channel.session_reused
        self.version = channel.tls_version

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()  # type: ignore[attr-defined]

    def handle_tls_error(self, exc: TLSError) -> None:
        self.log.append(type(exc).__name__)
        self.error = exc
        self.close()  # type: ignore[attr-defined]


class Lines(Notes, tls_async_chat):
    """Echoes lines until one says "bye"."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        line = self._get_data()
        self.push(line + b"\n")
        if line == b"bye":
            self.log.append("bye")
            self.close_when_done()


# openssl s_client -----------------------------------------------------------------------------


def s_client(channels: ChannelMap, port: int, files: Files, *more: str) -> Any:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", HOST]
    command += ["-verify_return_error", "-CAfile", files.ca, "-ign_eof", *more]
    return program(channels, command, input=b"hello\nbye\n")


@needs_openssl
@pytest.mark.parametrize("with_certificate", [False, True])
def test_s_client(channels: ChannelMap, version: str, files: Files, with_certificate: bool) -> None:
    auth = "required" if with_certificate else "none"
    listener = Listener(channels, server_context(version, auth), Lines)
    session = files.folder + "/session"
    more = [ONLY[version], *(["-cert", files.client] if with_certificate else [])]
    more += ["-key", files.client] if with_certificate else []
    for reused, option in ((False, "-sess_out"), (True, "-sess_in")):
        ended = s_client(channels, listener.port, files, *more, option, session)
        assert ended.returncode == 0, ended.stderr
        assert b"hello\nbye\n" in ended.stdout
        assert b"Verification: OK" in ended.stdout
        assert (b"Reused, " in ended.stdout) == reused
        channel = listener.handed[-1]
        assert channel.log == ["handshake", "bye", "close"]
        assert channel.version == version and channel.reused is reused
        assert channel.user == (CLIENT if with_certificate else None)


@needs_openssl
def test_s_client_without_a_certificate(channels: ChannelMap, version: str, files: Files) -> None:
    listener = Listener(channels, server_context(version, "required"), Lines)
    ended = s_client(channels, listener.port, files, ONLY[version])
    assert ended.returncode != 0
    assert b"alert" in ended.stderr
    assert type(listener.handed[0].error) is CertificateError


@needs_openssl
def test_s_client_is_told_whose_certificates_are_welcome(
    channels: ChannelMap, version: str, files: Files
) -> None:
    listener = Listener(channels, server_context(version, "optional"), Lines)
    ended = s_client(channels, listener.port, files, ONLY[version])
    _, _, names = ended.stdout.partition(b"Acceptable client certificate CA names\n")
    assert names.startswith((b"O = trustme", b"O=trustme"))


@needs_openssl
@pytest.mark.parametrize("protocol", ["-tls1", "-tls1_1"])
def test_s_client_of_an_old_version(channels: ChannelMap, files: Files, protocol: str) -> None:
    listener = Listener(channels, server_context(), Lines)
    ended = s_client(channels, listener.port, files, protocol, "-cipher", "ALL:@SECLEVEL=0")
    assert ended.returncode != 0
    for channel in listener.handed:  # or it refused to offer that at all
        assert channel.log == ["HandshakeError"]


@needs_openssl
def test_s_client_that_renegotiates(channels: ChannelMap, files: Files) -> None:
    """R at the beginning of a line: refused, and the connection goes on or ends, by its choice."""
    listener = Listener(channels, server_context("TLSv1.2"), Lines)
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.port}", "-servername", HOST]
    ended = program(channels, [*command, "-CAfile", files.ca, "-tls1_2"], input=b"R\n")
    assert b"RENEGOTIATING" in ended.stderr + ended.stdout
    assert b"no renegotiation" in ended.stderr


# openssl s_server -----------------------------------------------------------------------------


@pytest.fixture
def s_server(files: Files) -> Iterator[Any]:
    """Begin a server that sends back each line from its end to its beginning."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(*more: str) -> int:
        command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-rev", "-cert", files.server]
        command += ["-key", files.server, "-CAfile", files.ca, *more]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.PIPE
        )
        begun.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"ACCEPT"):
                return int(line.rpartition(b":")[2])
        raise AssertionError("s_server has ended")

    yield begin
    for process in begun:
        process.kill()
        process.communicate(timeout=PATIENCE)


class Reversed(Asking):
    """Sends a line, and expects it the other way round."""

    def handle_read(self) -> None:
        self.got += self.recv(65536)
        if self.got.endswith(b"\n"):
            self.close()


@needs_openssl
@pytest.mark.parametrize("with_certificate", [False, True])
def test_s_server(
    channels: ChannelMap, version: str, s_server: Any, with_certificate: bool
) -> None:
    demand = ["-Verify", "2", "-verify_return_error"] if with_certificate else []
    port = s_server(ONLY[version], *demand)
    mine = client_context(version, client_certificate() if with_certificate else None)
    for reused in (False, True):
        client = ask(channels, port, mine, kind=Reversed)
        client.payload = b"hello, world\n"
        run(channels, lambda client=client: client.got.endswith(b"\n"))
        run(channels, lambda: not channels)
        assert client.got == b"dlrow ,olleh\n"
        assert client.log == ["handshake"] and client.version == version
        assert client.reused is reused


@needs_openssl
def test_s_server_that_refuses_us(channels: ChannelMap, version: str, s_server: Any) -> None:
    port = s_server(ONLY[version], "-Verify", "2", "-verify_return_error")
    client = ask(channels, port, client_context(version), kind=Quiet)
    run(channels, lambda: client.error)
    assert type(client.error) is PeerRefused


# curl -----------------------------------------------------------------------------------------


class Web(Notes, tls_async_chat):
    """HTTP/1.1, as far as curl needs it: GET sends the payload, PUT is echoed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.body_of: bytes | None = None
        self.set_terminator(b"\r\n\r\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        data = self._get_data()
        if self.body_of is not None:
            self.answer(data)
            return
        verb, _, rest = data.partition(b" ")
        self.last = b"/last" in rest.split(b"\r\n")[0]
        if verb == b"GET":
            self.answer(PAYLOAD)
            return
        fields = dict(line.lower().split(b": ", 1) for line in rest.split(b"\r\n")[1:])
        if fields.get(b"expect"):
            self.push(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.body_of = verb
        self.set_terminator(int(fields[b"content-length"]))

    def answer(self, body: bytes) -> None:
        self.body_of = None
        self.set_terminator(b"\r\n\r\n")
        self.push(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(body))
        self.push(b"Connection: close\r\n\r\n" if self.last else b"\r\n")
        self.push(body)
        if self.last:
            self.log.append("last")
            self.close_when_done()


def curl(channels: ChannelMap, port: int, files: Files, *more: str, **options: Any) -> Any:
    command = ["curl", "-q", "-sS", "--resolve", f"{HOST}:{port}:127.0.0.1"]
    command += ["--cacert", files.ca, "--noproxy", "*", *more]
    return program(channels, command, **options)


def only(version: str) -> list[str]:
    return ["--tls-max", version[4:], f"--{version.lower()}"]


@needs_curl
@pytest.mark.parametrize("with_certificate", [False, True])
def test_curl(channels: ChannelMap, version: str, files: Files, with_certificate: bool) -> None:
    auth = "required" if with_certificate else "none"
    listener = Listener(channels, server_context(version, auth), Web)
    certificate = ["--cert", files.client, "--key", files.client] if with_certificate else []
    url = f"https://{HOST}:{listener.port}"
    ended = curl(
        channels, listener.port, files, *only(version), *certificate,
        f"{url}/", f"{url}/last", f"{url}/", f"{url}/last",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == PAYLOAD * 4
    # Two connections of two requests each; the second one resumes the first one's session.
    assert [channel.log for channel in listener.handed] == [["handshake", "last", "close"]] * 2
    assert [channel.reused for channel in listener.handed] == [False, True]
    assert {channel.version for channel in listener.handed} == {version}
    assert listener.handed[1].user == (CLIENT if with_certificate else None)


@needs_curl
@pytest.mark.parametrize("with_certificate", [False, True])
def test_curl_sends(
    channels: ChannelMap, version: str, files: Files, with_certificate: bool
) -> None:
    auth = "required" if with_certificate else "none"
    listener = Listener(channels, server_context(version, auth), Web)
    certificate = ["--cert", files.client, "--key", files.client] if with_certificate else []
    url = f"https://{HOST}:{listener.port}/"
    length = ["-H", f"Content-Length: {len(PAYLOAD)}", "-H", "Transfer-Encoding:"]
    more = [*only(version), *certificate, *length, "-T-", url]
    ended = curl(channels, listener.port, files, *more, input=PAYLOAD)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == PAYLOAD
    (channel,) = listener.handed
    assert channel.user == (CLIENT if with_certificate else None)


@needs_curl
def test_curl_refuses_another_name(channels: ChannelMap, version: str, files: Files) -> None:
    listener = Listener(channels, server_context(version), Web)
    ended = curl(channels, listener.port, files, f"https://localhost:{listener.port}/")
    assert ended.returncode == 60  # CURLE_PEER_FAILED_VERIFICATION
    assert all("last" not in channel.log for channel in listener.handed)


@needs_curl
def test_curl_is_refused(channels: ChannelMap, version: str, files: Files) -> None:
    listener = Listener(channels, server_context(version, "required"), Web)
    url = f"https://{HOST}:{listener.port}/"
    ended = curl(channels, listener.port, files, *only(version), url)
    # CURLE_SSL_CONNECT_ERROR; with TLS 1.3 its handshake has ended: CURLE_RECV_ERROR.
    assert ended.returncode in (35, 56)
    assert b"alert" in ended.stderr
    assert type(listener.handed[0].error) is CertificateError
