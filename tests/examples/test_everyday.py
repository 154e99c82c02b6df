"""The programs of examples/everyday, with peers that talk to them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import asynccore
import compat
import ssl_ext
from tests.project.checkout import ROOT
from tests.tls.support import authority, write_pem

FOLDER = ROOT / "examples" / "everyday"
PROGRAMS = sorted(path.name for path in FOLDER.glob("*.py"))
PATIENCE = 60  # seconds, a bound for what hangs
TURNS = 2000  # far more than anything here takes


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"everyday_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    asynccore.close_all()


def drive(done: Callable[[], object]) -> None:
    for _ in range(TURNS):
        if done():
            return
        asynccore.loop(0.05, count=1, until_idle=True)
    raise AssertionError("the loop never got there")


class Peer:
    """A client with a socket of its own."""

    def __init__(self, address: Any) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.got = b""
        self.ended = False

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *args: object) -> None:
        self.socket.close()

    def look(self) -> bytes:
        try:
            data = self.socket.recv(1 << 20)
            self.got += data
            self.ended = not data
        except BlockingIOError:
            pass
        return self.got

    def talk(self, data: bytes, end: bytes) -> bytes:
        """Send, and return what comes up to its end."""
        self.socket.sendall(data)
        drive(lambda: self.look().endswith(end))
        got, self.got = self.got, b""
        return got


def test_a_chat() -> None:
    chat = load("chat")
    server = chat.Listener(("127.0.0.1", 0))
    with Peer(server.socket.getsockname()) as ann, Peer(server.socket.getsockname()) as bob:
        assert ann.talk(b"NICK ann\r\n", b"welcome\r\n").endswith(b"001 ann :welcome\r\n")
        assert bob.talk(b"NICK ann\r\n", b"in use\r\n").endswith(b"433 ann :in use\r\n")
        bob.talk(b"NICK bob\r\n", b"welcome\r\n")
        assert ann.talk(b"WHAT\r\n", b"unknown\r\n") == b"421 WHAT :unknown\r\n"
        assert ann.talk(b"x" * 600 + b"\r\n", b"long\r\n") == b"417 :line too long\r\n"
        ann.socket.sendall(b"MSG hello\r\n")
        assert bob.talk(b"", b"hello\r\n") == b":ann MSG hello\r\n"
        session = chat.room[b"bob"]
        session.handle_timeout("read")
        assert bob.talk(b"PONG\r\n", b"PING\r\n") == b"PING\r\n"
        drive(lambda: not session.pinged)
        session.handle_timeout("read")
        session.handle_timeout("read")
        assert bob.talk(b"", b"timeout\r\n").endswith(b"ERROR :timeout\r\n")
        drive(lambda: b"bob" not in chat.room)
        ann.talk(b"QUIT\r\n", b"BYE\r\n")
        drive(lambda: not chat.room)
        with Peer(server.socket.getsockname()) as carl:
            carl.talk(b"", b"name\r\n")
            asynccore.graceful_close(10)
            assert carl.talk(b"", b"down\r\n") == b"ERROR :server is going down\r\n"
            drive(lambda: not asynccore.socket_map)


def test_a_client_that_connects_again(capsys: pytest.CaptureFixture[str]) -> None:
    module = load("reconnecting_client")
    module.Client.first = module.Client.most = 0.001
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        client = module.Client("127.0.0.1", port, tries=4)
        drive(lambda: client.connected)
        peer, _ = server.accept()
        peer.sendall(b"hi\n")
        drive(lambda: "got b'hi'" in capsys.readouterr().out)
        assert peer.recv(100) == b"hello\n"
        peer.close()
    drive(lambda: not client.tries and client.is_closed)
    said = capsys.readouterr().out
    assert said.startswith("down: None\n") and said.count("down:") == 3
    assert f"giving up: [Errno {111 if sys.platform == 'linux' else 61}] can't connect" in said


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_proxy(size: int) -> None:
    proxy = load("proxy")
    with socket.create_server(("127.0.0.1", 0)) as target:
        server = proxy.serve(("127.0.0.1", 0), target.getsockname())
        with Peer(server.socket.getsockname()) as client:
            target.setblocking(False)
            accepted: list[Any] = []

            def accept() -> bool:
                try:
                    accepted.append(target.accept()[0])
                except BlockingIOError:
                    return False
                return True

            drive(accept)
            far = accepted[0]
            with far:
                far.setblocking(False)
                left, got = memoryview(b"x" * size), 0
                while got < size:
                    if left:
                        try:
                            left = left[client.socket.send(left[:65536]) :]
                        except BlockingIOError:
                            pass
                        if not left:
                            client.socket.shutdown(socket.SHUT_WR)
                    asynccore.loop(0, count=1)
                    try:
                        got += len(far.recv(65536))
                    except BlockingIOError:
                        pass
                far.setblocking(True)
                asynccore.loop(0.1, count=3)
                assert got == size and far.recv(10) == b""
                far.sendall(b"y" * 1000)
            drive(lambda: client.look() and client.ended)
            assert client.got == b"y" * 1000
        drive(lambda: list(asynccore.socket_map.values()) == [server])


def test_a_proxy_whose_target_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        address = target.getsockname()
    server = load("proxy").serve(("127.0.0.1", 0), address)
    with Peer(server.socket.getsockname()) as client:
        drive(lambda: client.look() or client.ended)
    assert "error: can't connect to 127.0.0.1:" in capsys.readouterr().out
    drive(lambda: list(asynccore.socket_map.values()) == [server])


@pytest.mark.parametrize("at_once", [True, False])
def test_handlers_that_await(at_once: bool) -> None:
    server = asynccore.listener(("127.0.0.1", 0), load("login").Session)
    steps = [
        (b"hi\n", b"you said hi\n"),
        (b"login\n", b"name?\n"),
        (b"ann\n", b"password?\n"),
        (b"secret\n", b"welcome ann ******\n"),
        (b"hi\n", b"you said hi\n"),
        (b"upload\n", b"how many bytes?\n"),
        (b"5\nabcde", b"sum 495\n"),
        (b"hello\nquit\n", b"you said hello\nbye\n"),
    ]
    with Peer(server.socket.getsockname()) as peer:
        if at_once:
            want = b"".join(answer for _, answer in steps)
            assert peer.talk(b"".join(said for said, _ in steps), b"bye\n") == want
        else:
            for said, answer in steps:
                assert peer.talk(said, answer) == answer
        drive(lambda: peer.look() == b"" and peer.ended)
    # The client goes away in the middle.
    with Peer(server.socket.getsockname()) as peer:
        peer.talk(b"login\nann\n", b"password?\n")
    drive(lambda: list(asynccore.socket_map.values()) == [server])
    compat.event_loop().close()


def test_starttls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = load("starttls")
    leaf = authority().issue_cert("localhost")
    write_pem(tmp_path, "server.pem", *leaf.cert_chain_pems)
    write_pem(tmp_path, "server.key", leaf.private_key_pem)
    write_pem(tmp_path, "ca.pem", authority().cert_pem)
    ours = ssl_ext.server_context(tmp_path / "server.pem", tmp_path / "server.key")
    server = asynccore.listener(
        ("127.0.0.1", 0), lambda sock, map: module.Session(sock, map, ours=ours)
    )
    port = server.socket.getsockname()[1]
    client = module.Client(port, ssl_ext.client_context(ca=tmp_path / "ca.pem"))
    drive(lambda: client.is_closed)
    said = [b"220 ready", b"530 STARTTLS first", b"220 go ahead", b"250 HELLO again", b"221 bye"]
    assert client.said == said
    assert "221 bye" in capsys.readouterr().out
    server.close()
    asynccore.loop(0.1, count=50)


def certificates(folder: Path) -> None:
    for name, leaf in (
        ("server", authority().issue_cert("localhost")),
        ("ann", authority().issue_cert("ann@example.org", common_name="ann")),
    ):
        write_pem(folder, f"{name}.pem", *leaf.cert_chain_pems)
        write_pem(folder, f"{name}.key", leaf.private_key_pem)
    write_pem(folder, "ca.pem", authority().cert_pem)


@contextlib.contextmanager
def program(name: str, *args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server; yields it and its port, and ends it by SIGTERM."""
    command = [sys.executable, "-W", "error", str(FOLDER / name), *args]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline().split()[1]
            child.terminate()
            assert child.wait(PATIENCE) == 0
        finally:
            child.kill()


def run_program(name: str, *args: str) -> str:
    command = [sys.executable, "-W", "error", str(FOLDER / name), *args]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


SIGNALS = pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process there")


@SIGNALS
def test_mutual_tls(tmp_path: Path) -> None:
    certificates(tmp_path)
    with program("mutual_tls.py", "server", "0", str(tmp_path)) as (child, port):
        assert child.stdout is not None
        said = run_program("mutual_tls.py", "client", port, str(tmp_path), "ann")
        assert said == "server says b'ann: hello'\n"
        assert child.stdout.readline() == "ann gone\n"
        child.send_signal(signal.SIGHUP)
        said = run_program("mutual_tls.py", "client", port, str(tmp_path))
        assert said.startswith("server says ") and "hello" not in said
        assert child.stdout.readline() == "None refused\n"


@SIGNALS
def test_a_protocol_of_asyncio(tmp_path: Path) -> None:
    certificates(tmp_path)
    with program("protocol_server.py", "0", str(tmp_path)) as (_, port):
        trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with socket.create_connection(("127.0.0.1", int(port))) as plain:
            with trust.wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(b"hello\n")
                assert client.recv(100) == b"HELLO\n"


def test_requests_by_datagrams(capsys: pytest.CaptureFixture[str]) -> None:
    module = load("udp_requests")
    server = module.Server(0)
    client = module.Client(server.socket.getsockname()[1])
    drive(lambda: client.is_closed)
    assert sorted(client.answers) == [b"ONE", b"THREE", b"TWO"]
    assert server.heard > 3 and not client.waiting
    assert capsys.readouterr().out.count("answer") == 3


def test_requests_by_dtls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certificates(tmp_path)
    module = load("dtls_requests")
    server = module.serve(0, str(tmp_path))
    port = server.socket.getsockname()[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.sendto(b"one", ("127.0.0.1", port))  # it is no client's, and nobody answers
        client = module.Client(port, ssl_ext.client_context(ca=tmp_path / "ca.pem", dtls=True))
        drive(lambda: client.is_closed)
        plain.setblocking(False)
        with pytest.raises(BlockingIOError):
            plain.recv(100)
    assert sorted(client.answers) == [b"ONE", b"THREE", b"TWO"]
    assert not client.waiting
    assert capsys.readouterr().out.count("answer") == 3


def test_who_does_not_know_the_server_by_dtls_asks_it_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificates(tmp_path)
    module = load("dtls_requests")
    server = module.serve(0, str(tmp_path))
    client = module.Client(server.socket.getsockname()[1], ssl_ext.client_context(dtls=True))
    drive(lambda: client.is_closed)
    assert not client.answers and not client.waiting
    assert "no answer: " in capsys.readouterr().out


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_runs_as_a_program(name: str) -> None:
    """It is told too little, and says so by its own name and not by an import that fails."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", str(FOLDER / name)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "IndexError" in done.stderr or "required positional argument" in done.stderr
