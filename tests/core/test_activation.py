"""Shared ports and inherited sockets: what `bind` does, and sd_listen_fds(3) for new programs."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import asynccore
from asynccore.listening import socket_activation
from asynccore.listening.socket_activation import (
    REUSE_PORT_VARIABLE,
    SOCKETS_VARIABLE,
    Arrangement,
    arrangement,
)

if sys.platform == "win32":
    pytest.skip("nothing is inherited on Windows", allow_module_level=True)

US = str(os.getpid())
Make = Callable[..., socket.socket]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make bound sockets, as a service manager does."""
    made: list[socket.socket] = []

    def bound(
        address: object = ("127.0.0.1", 0), family: int = socket.AF_INET, kind: int = 1
    ) -> socket.socket:
        sock = socket.socket(family, kind)
        made.append(sock)
        sock.bind(address)
        return sock

    yield bound
    for sock in made:
        sock.close()


@pytest.fixture
def arranged(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Arrange what `bind` does in this process."""

    def arrange(*sockets: socket.socket, reuse_port: bool = False) -> None:
        given = Arrangement(reuse_port, [sock.fileno() for sock in sockets])
        monkeypatch.setattr(socket_activation, "arranged", given)

    return arrange


@pytest.fixture
def channel() -> Iterator[asynccore.dispatcher]:
    made = asynccore.dispatcher(map={})
    made.create_socket()
    yield made
    made.close()


# sd_listen_fds --------------------------------------------------------------------------------


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch, make: Make) -> int:
    """Let three sockets in a row be those that were passed, and return the first's number."""
    while True:
        fds = [make().fileno() for _ in range(3)]
        if fds == [fds[0], fds[0] + 1, fds[0] + 2]:
            break
    monkeypatch.setattr(socket_activation, "FIRST", fds[0])
    return fds[0]


def passed(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_the_sockets_that_were_passed(monkeypatch, first, make):
    passed(monkeypatch, LISTEN_PID=US, LISTEN_FDS="2", LISTEN_FDNAMES="web:admin")
    duplicates = [os.dup(first), os.dup(first + 1)]
    os.set_inheritable(first, True)
    found = asynccore.listen_fds()
    assert [isinstance(one, asynccore.InheritedSocket) for one in found] == [True, True]
    assert [name for name, _ in found] == ["web", "admin"]
    assert [sock.fileno() for _, sock in found] == [first, first + 1]
    assert [sock.gettimeout() for _, sock in found] == [0, 0]
    assert not os.get_inheritable(first)
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & set(os.environ)
    assert asynccore.listen_fds() == []
    for (_, sock), fd in zip(found, duplicates, strict=True):
        sock.detach()
        os.close(fd)


def test_the_environment_may_stay(monkeypatch, first):
    passed(monkeypatch, LISTEN_PID=US, LISTEN_FDS="1")
    ((name, sock),) = asynccore.listen_fds(unset_environment=False)
    sock.detach()
    assert name == "unknown"
    assert os.environ["LISTEN_FDS"] == "1"


def test_what_is_no_socket_is_left_alone(monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(socket_activation, "FIRST", reader)
    passed(monkeypatch, LISTEN_PID=US, LISTEN_FDS="1")
    assert asynccore.listen_fds() == []
    os.close(reader)
    os.close(writer)


def test_a_closed_descriptor_is_an_error(monkeypatch):
    fd = os.dup(0)
    os.close(fd)
    monkeypatch.setattr(socket_activation, "FIRST", fd)
    passed(monkeypatch, LISTEN_PID=US, LISTEN_FDS="1")
    with pytest.raises(OSError) as raised:
        asynccore.listen_fds()
    assert raised.value.errno == errno.EBADF


@pytest.mark.parametrize(
    "variables",
    [{}, {"LISTEN_PID": US}, {"LISTEN_FDS": "2"}, {"LISTEN_PID": "1", "LISTEN_FDS": "2"}],
)
def test_nothing_for_this_process(variables):
    assert socket_activation.listen_numbers(variables) == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"LISTEN_FDS": "two"}, "LISTEN_FDS is a number of sockets, not 'two'"),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "one"}, "has not as many names as LISTEN_FDS=2"),
    ],
)
def test_contradictions(variables, message):
    with pytest.raises(ValueError, match=message):
        socket_activation.listen_numbers({"LISTEN_PID": US, **variables})


# What the environment asks --------------------------------------------------------------------


@pytest.mark.parametrize("environ", [{}, {SOCKETS_VARIABLE: "1:0"}, {REUSE_PORT_VARIABLE: "0"}])
def test_nothing_is_asked(environ):
    before = dict(environ)
    assert arrangement(environ) is None
    assert environ == before


def test_sockets_are_for_one_process_and_reuse_is_inherited(make):
    one, two = make(), make(("127.0.0.1", 0), kind=socket.SOCK_DGRAM)
    one.set_inheritable(True)
    environ = {REUSE_PORT_VARIABLE: "1", SOCKETS_VARIABLE: f"{US}:{one.fileno()},{two.fileno()}"}
    found = arrangement(environ)
    assert found is not None
    assert found.reuse_port
    assert [(given.fd, given.kind) for given in found.given] == [
        (one.fileno(), socket.SOCK_STREAM),
        (two.fileno(), socket.SOCK_DGRAM),
    ]
    assert environ == {REUSE_PORT_VARIABLE: "1"}
    assert not one.get_inheritable()


def test_standard_input_stays_inheritable(monkeypatch, make):
    sock = make()
    sock.set_inheritable(True)
    monkeypatch.setattr(socket_activation, "_STANDARD", sock.fileno())
    Arrangement(False, [sock.fileno()])
    assert sock.get_inheritable()


# Inherited sockets ----------------------------------------------------------------------------


def test_a_listener_takes_the_inherited_socket(make, arranged, poller_name):
    inherited = make()
    address = inherited.getsockname()
    arranged(inherited)
    accepted: list[socket.socket] = []

    class Listener(asynccore.dispatcher):
        def handle_accepted(self, sock, addr):
            accepted.append(sock)
            self.close()

        def handle_read_event(self):
            if self.accepting:
                super().handle_read_event()

        def handle_write_event(self):
            pass

    channels = asynccore.ChannelMap()
    listener = Listener(map=channels)
    listener.create_socket()
    sock = listener.socket
    asynccore.loop(0, map=channels, count=2, poller=poller_name)  # the poller knows its number
    listener.bind(("localhost", address[1]))
    listener.listen(5)
    assert listener.socket is sock
    assert sock.getsockname() == address
    assert not sock.get_inheritable()
    inode = os.fstat(sock.fileno()).st_ino
    assert inode == os.fstat(inherited.fileno()).st_ino
    with socket.create_connection(address, timeout=5) as client:
        asynccore.loop(5, map=channels, poller=poller_name)
        (conn,) = accepted
        assert conn.getpeername() == client.getsockname()
        conn.close()


def test_it_may_be_taken_again_after_close(make, arranged, channel):
    inherited = make()
    arranged(inherited)
    for _ in range(2):
        channel.bind(inherited.getsockname())
        channel.listen(1)
        channel.close()
        socket.create_connection(inherited.getsockname(), timeout=5).close()
        channel.create_socket()


def test_other_addresses_are_bound_as_ever(make, arranged, channel):
    inherited = make()
    arranged(inherited)
    channel.bind(("127.0.0.1", 0))
    assert channel.socket.getsockname() != inherited.getsockname()
    with pytest.raises(OSError) as raised:
        channel.bind(("127.0.0.2", inherited.getsockname()[1]))  # bound already
    assert raised.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    "address", ["no tuple", ("127.0.0.1", "http"), (None, 1), ("127.0.0.1",)], ids=repr
)
def test_bad_addresses_fail_as_ever(address, make, arranged, channel):
    inherited = make()
    plain = socket.socket()
    with pytest.raises((OSError, TypeError)) as wanted:
        plain.bind(address)
    plain.close()
    arranged(inherited, reuse_port=True)
    with pytest.raises(wanted.type):
        channel.bind(address)


def test_a_datagram_socket_is_another_kind(make, arranged):
    inherited = make()
    arranged(inherited)
    channel = asynccore.dispatcher(map={})
    channel.create_socket(type=socket.SOCK_DGRAM)
    channel.bind(inherited.getsockname())
    assert channel.socket.type == socket.SOCK_DGRAM
    channel.close()


def test_the_wildcard_has_an_empty_name_too(make, arranged, channel):
    inherited = make(("", 0))
    arranged(inherited)
    channel.bind(("", inherited.getsockname()[1]))
    assert os.fstat(channel.socket.fileno()).st_ino == os.fstat(inherited.fileno()).st_ino


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs sockets for both families")
def test_an_ipv6_socket_for_an_ipv4_program_is_explained(make, arranged, channel):
    inherited = make(("::", 0), socket.AF_INET6)
    port = inherited.getsockname()[1]
    arranged(inherited)
    with pytest.raises(OSError, match=rf"ListenStream=0\.0\.0\.0:{port}") as raised:
        channel.bind(("", port))
    assert raised.value.errno == errno.EADDRINUSE


def test_unix_sockets(make, arranged, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inherited = make(str(tmp_path / "s"), socket.AF_UNIX)
    inode = os.fstat(inherited.fileno()).st_ino
    arranged(inherited)
    for address, wanted in (("s", True), (b"s", True), ("other", False), (7, None)):
        channel = asynccore.dispatcher(map={})
        channel.create_socket(socket.AF_UNIX)
        if wanted is None:
            with pytest.raises(TypeError):
                channel.bind(address)
        else:
            channel.bind(address)
            assert (os.fstat(channel.socket.fileno()).st_ino == inode) is wanted
        channel.close()


def test_a_program_that_removes_the_path_gets_a_socket_of_its_own(make, arranged, tmp_path):
    inherited = make(str(tmp_path / "s"), socket.AF_UNIX)
    arranged(inherited)
    (tmp_path / "s").unlink()
    channel = asynccore.dispatcher(map={})
    channel.create_socket(socket.AF_UNIX)
    channel.bind(str(tmp_path / "s"))
    assert os.fstat(channel.socket.fileno()).st_ino != os.fstat(inherited.fileno()).st_ino
    channel.close()


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_abstract_names(make, arranged):
    name = b"\0asynccore-test-%d" % os.getpid()
    inherited = make(name, socket.AF_UNIX)
    arranged(inherited)
    channel = asynccore.dispatcher(map={})
    channel.create_socket(socket.AF_UNIX)
    channel.bind(name)
    assert channel.socket.getsockname() == name
    channel.close()


# Shared ports ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_ports_are_shared(kind, make, arranged):
    arranged(reuse_port=True)
    with socket.socket(socket.AF_INET, kind) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        channels: dict[int, object] = {}
        for _ in range(2):
            channel = asynccore.dispatcher(map=channels)
            channel.create_socket(type=kind)
            channel.bind(holder.getsockname())
            if kind == socket.SOCK_STREAM:
                channel.listen(1)
            assert channel.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 1
        asynccore.close_all(channels)


def test_port_0_is_not_shared(arranged, channel):
    arranged(reuse_port=True)
    channel.bind(("127.0.0.1", 0))  # a client may, to choose its own address
    assert channel.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
    with pytest.raises(OSError, match="port 0 would be another port in each worker") as raised:
        channel.listen(1)
    assert raised.value.errno == errno.EINVAL


def test_one_process_may_listen_on_port_0(make, arranged, channel):
    arranged(make())
    channel.bind(("127.0.0.1", 0))
    channel.listen(1)


def test_unix_sockets_are_not_shared(arranged, tmp_path):
    arranged(reuse_port=True)
    channel = asynccore.dispatcher(map={})
    channel.create_socket(socket.AF_UNIX)
    with pytest.raises(OSError, match="several workers can't bind the Unix socket") as raised:
        channel.bind(str(tmp_path / "s"))
    assert raised.value.errno == errno.EOPNOTSUPP
    channel.close()


def test_other_families_are_left_alone(arranged):
    class Fake:
        family = -17
        type = 1
        bound: object = None

        def fileno(self):
            return 77

        def bind(self, address):
            self.bound = address

        def close(self):
            pass

    arranged(reuse_port=True)
    channel = asynccore.dispatcher(map={})
    channel.set_socket(Fake())
    channel.bind("anything")
    assert channel.socket.bound == "anything"
    channel.close()
