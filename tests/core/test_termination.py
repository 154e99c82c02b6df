"""What is put in front of listeners, with something that is no TLS at all."""

from __future__ import annotations

import errno
import gc
import json
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asynccore import channels, dispatcher, loop
from asynccore.listening import interception


class Front:
    """Stands in for a listening socket."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    def _ac_poll_interest(self, wanted: int) -> int:
        return wanted

    def accept(self) -> Any:
        raise BlockingIOError(11, "nobody")

    _ac_read_ahead = b""

    def _ac_handle_event(self, mask: int, wanted: int) -> int:
        return 0

    def _ac_ready_now(self, wanted: int) -> int:
        return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(interception, "front", lambda: lambda channel: Front(channel.socket))
    channels.inspectors.append(interception.look_at)
    yield
    channels.inspectors.remove(interception.look_at)


@pytest.fixture
def listener(new_map: Any) -> Any:
    """A dispatcher that is about to listen."""

    def make(family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> dispatcher:
        channel = dispatcher(map=new_map)
        channel.create_socket(family)
        channel.bind(address)
        return channel

    return make


def test_nobody_wants_it(listener: Any) -> None:
    channel = listener()
    channel.listen(1)
    assert type(channel.socket) is socket.socket


def test_every_tcp_listener(listener: Any, wanted: None) -> None:
    channel = listener()
    channel.listen(1)
    front = channel.socket
    assert isinstance(front, Front)
    channel.listen(2)
    assert channel.socket is front


def test_one_that_listens_by_itself(listener: Any, wanted: None) -> None:
    channel = listener()
    kept = channel.socket
    shown = repr(kept)
    kept.listen(1)
    assert isinstance(channel.socket, Front) and channel.socket.plain is kept
    channel.accepting = True
    assert channel.accept() is None
    with pytest.raises(BlockingIOError, match="nobody"):
        kept.accept()  # by the name that the program has for it
    assert isinstance(kept, socket.socket) and repr(kept) == shown
    channel.socket.listen(2)
    assert channel.socket.plain is kept


class Own(socket.socket):
    """A socket class of a program's."""


@pytest.fixture(params=[socket.socket, Own])
def own(request: pytest.FixtureRequest) -> Any:
    """A socket that a program has made and bound."""
    with request.param() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_one_that_is_given_its_socket(own: Any, new_map: Any, wanted: None) -> None:
    own.listen(1)
    channel = dispatcher(own, new_map)
    assert channel.socket.plain is own
    with pytest.raises(BlockingIOError, match="nobody"):
        own.accept()


def test_one_that_takes_a_socket_and_has_it_listen(own: Any, new_map: Any, wanted: None) -> None:
    channel = dispatcher(map=new_map)
    channel.set_socket(own)
    assert channel.socket is own
    own.listen(1)
    assert channel.socket.plain is own


def test_one_that_assigns_its_socket(own: Any, new_map: Any, wanted: None) -> None:
    channel = dispatcher(map=new_map)
    channel.socket, channel._fileno = own, own.fileno()
    channel.add_channel()
    own.listen(1)
    assert channel.socket.plain is own


class Bare:
    """A channel of no class of ours, whose handlers are its own."""

    accepting = True

    def __init__(self, sock: Any) -> None:
        self.socket = sock

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        raise AssertionError("nobody is there for the front")

    handle_write_event = handle_read_event


@pytest.mark.parametrize("kind", [Bare, None], ids=["an object", "a dispatcher"])
def test_one_that_the_loop_finds(own: Any, new_map: Any, wanted: None, kind: Any) -> None:
    own.listen(1)
    if kind is None:
        channel: Any = dispatcher(map=new_map)
        channel.socket, channel._fileno = own, own.fileno()
        channel.handle_read_event = Bare.handle_read_event.__get__(channel)
    else:
        channel = kind(own)
    new_map[own.fileno()] = channel
    own.setblocking(False)
    loop(0, map=new_map, count=1)
    assert channel.socket.plain is own


def test_one_that_the_loop_finds_before_it_listens(own: Any, new_map: Any, wanted: None) -> None:
    channel: Any = Bare(own)
    new_map[own.fileno()] = channel
    channel.readable = lambda: False  # a socket without a peer would be told of a hang-up
    loop(0, map=new_map, count=1)
    own.listen(1)
    assert channel.socket.plain is own


@pytest.mark.parametrize("accepting", [True, False])
def test_one_that_is_found_at_its_first_event(
    own: Any, new_map: Any, wanted: None, accepting: bool
) -> None:
    """Its socket is of a class that nobody knows, and listens after everybody has looked."""

    class Program(dispatcher):
        def handle_accept(self) -> None:
            raise AssertionError("it would accept in clear")

        handle_read = handle_accept

    channel = Program(map=new_map)
    channel.set_socket(Wrapper(own))
    own.listen(1)
    channel.accepting = accepting
    channel.handle_read_event()
    assert isinstance(channel.socket, Front)


def test_a_client_has_the_socket_it_would_have(new_map: Any, wanted: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = dispatcher(map=new_map)
        channel.create_socket()
        assert type(channel.socket) is not socket.socket
        channel.connect(server.getsockname())
        assert type(channel.socket) is socket.socket
        with Own() as sock:
            channel = dispatcher(map=new_map)
            channel.set_socket(sock)
            sock.connect(server.getsockname())
            assert type(sock) is Own
        with Own() as sock:
            channel = dispatcher(map=new_map)
            channel.set_socket(sock)
            socket.socket.connect(sock, server.getsockname())  # not by a method of its own
            channel.add_channel()
            assert type(sock) is Own


def test_a_socket_whose_dispatcher_has_gone_accepts_nobody(
    own: Any, new_map: Any, wanted: None
) -> None:
    channel = dispatcher(map=new_map)
    channel.set_socket(own)
    channel.del_channel()
    del channel
    gc.collect()
    own.listen(1)
    with pytest.raises(OSError, match="give the socket to a dispatcher") as caught:
        own.accept()
    assert caught.value.errno == errno.EOPNOTSUPP


def test_where_there_is_no_tls_nobody_accepts(
    own: Any, new_map: Any, wanted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(channel: Any) -> Any:
        raise OSError(errno.EINVAL, "no TLS")

    monkeypatch.setattr(interception, "front", lambda: refuse)
    channel = dispatcher(map=new_map)
    channel.set_socket(own)
    for act in (lambda: own.listen(1), own.accept, channel.accept, channel.handle_read_event):
        with pytest.raises(OSError, match="no TLS"):
            act()
    with pytest.raises(OSError, match="no TLS"):
        dispatcher(own, {})
    for _ in range(2):
        with pytest.raises(OSError, match="no TLS"):
            loop(0, map=new_map, count=1)


@pytest.mark.parametrize(
    ("variable", "value", "is_wanted"),
    [
        ("ASYNCCORE_TLS_CERT", "cert.pem", True),
        ("ASYNCCORE_TLS_CERT", "", True),
        ("ASYNCCORE_TLS_CLIENT_CA", "ca.pem", True),
        ("ASYNCCORE_TOP", "1", False),
    ],
)
def test_which_environment_wants_it(variable: str, value: str, is_wanted: bool) -> None:
    env = {k: v for k, v in os.environ.items() if not k.startswith(interception.PREFIX)}
    code = "import asynccore.channels; print(bool(asynccore.channels.inspectors))"
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**env, variable: value},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.strip() == str(is_wanted)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_unix_sockets_stay_plain(listener: Any, wanted: None, tmp_path: Any) -> None:
    channel = listener(socket.AF_UNIX, str(tmp_path / "s"))
    channel.listen(1)
    assert type(channel.socket) is socket.socket
    assert channel.accept() is None


def test_what_does_tls_stays_what_it_is(listener: Any, wanted: None) -> None:
    class TLS(socket.socket):
        def do_handshake(self) -> None: ...

    channel = listener()
    plain = channel.socket
    channel.socket = TLS(fileno=plain.detach())
    channel.listen(1)
    assert type(channel.socket) is TLS


def names_fronts(folder: Path, *targets: str) -> Path:
    """Pretend that a distribution is installed in a folder which brings fronts."""
    metadata = folder / "some_front-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: some-front\nVersion: 1\n")
    lines = (f"n{at} = {target}\n" for at, target in enumerate(targets))
    (metadata / "entry_points.txt").write_text(f"[{interception.FRONTS}]\n{''.join(lines)}")
    return folder


@pytest.mark.parametrize("target", [None, "no_such_module:front"])
def test_without_tls_nobody_listens(
    listener: Any, wanted: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: str | None
) -> None:
    monkeypatch.undo()
    if target is not None:
        names_fronts(tmp_path, target)
    monkeypatch.setattr(interception, "_registered", None)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(OSError, match="is set, and there is no TLS"):
        listener().listen(1)


def test_a_front_is_found_by_an_entry_point(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(interception, "_registered", None)
    monkeypatch.setattr(
        sys, "path", [str(names_fronts(tmp_path, "json:dumps", "json:loads")), *sys.path]
    )
    assert interception.front() is json.dumps


def test_one_that_is_registered_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(interception, "_registered", None)
    interception.register(f"{Front.__module__}:Front")
    monkeypatch.setattr(interception, "resolve", [f"{Front.__module__}:Front"].index)
    monkeypatch.setattr(sys, "path", [str(names_fronts(tmp_path, "json:dumps")), *sys.path])
    assert interception.front() == 0


# Channels whose sockets can't be guarded -------------------------------------------------------


class Wrapper:
    """A socket of a program's, which is none of Python's."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


class Reader(dispatcher):
    """Notes what its handlers are called for."""

    def __init__(self, sock: Any, map: Any) -> None:
        self.calls: list[str] = []
        dispatcher.__init__(self, map=map)
        self.set_socket(sock)

    def handle_connect(self) -> None:
        self.calls.append("connect")

    def handle_read(self) -> None:
        self.calls.append("read")

    def handle_close(self) -> None:
        self.calls.append("close")


def test_events_are_guarded_until_the_socket_is_connected(new_map: Any, wanted: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
        channel = Reader(Wrapper(sock), new_map)
        assert isinstance(channel.handle_read_event, interception.EventGuard)
        channel.connect(server.getsockname())
        channel.handle_read_event()
        assert "handle_read_event" not in vars(channel)
        assert channel.calls[-1] == "read"


def test_events_are_guarded_while_nothing_is_seen(own: Any, new_map: Any, wanted: None) -> None:
    channel = Reader(Wrapper(own), new_map)
    for _ in range(2):
        channel.handle_read_event()  # a socket that neither listens nor is connected
        assert isinstance(channel.handle_read_event, interception.EventGuard)
    own.listen(1)
    calls = list(channel.calls)
    channel.handle_read_event()
    assert isinstance(channel.socket, Front) and channel.calls == calls
    assert "handle_read_event" not in vars(channel)


def test_a_handler_that_was_assigned_comes_back(own: Any, new_map: Any, wanted: None) -> None:
    handled: list[str] = []
    channel = Reader.__new__(Reader)
    channel.calls, assigned = [], lambda: handled.append("event")
    channel.handle_read_event = assigned
    dispatcher.__init__(channel, map=new_map)
    channel.set_socket(Wrapper(own))
    assert channel.handle_read_event is not assigned
    channel.handle_read_event()
    own.listen(1)
    channel.handle_read_event()
    assert channel.handle_read_event is assigned and handled == ["event"]


def test_guarded_events_do_not_keep_a_channel(own: Any, new_map: Any, wanted: None) -> None:
    channel = Reader(Wrapper(own), new_map)
    guard, reference = channel.handle_read_event, weakref.ref(channel)
    channel.del_channel()
    del channel
    assert reference() is None
    guard()  # nobody is there


def test_a_system_that_does_not_tell_who_listens(own: Any, wanted: None) -> None:
    class Silent(Wrapper):
        def getsockopt(self, *option: int) -> int:
            raise OSError(errno.ENOPROTOOPT, "not here")

    own.listen(1)
    channel: Any = Bare(Silent(own))
    interception.look_at(channel)
    assert isinstance(channel.socket, Front)
