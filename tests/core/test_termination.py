"""What is put in front of listeners, with something that is no TLS at all."""

from __future__ import annotations

import errno
import gc
import os
import socket
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from asynccore import dispatcher, loop
from asynccore.listening import interception


class Front:
    """Stands in for a listening socket."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    def poll_interest(self, wanted: int) -> int:
        return wanted

    def accept(self) -> Any:
        raise BlockingIOError(11, "nobody")

    read_ahead = b""

    def handle_event(self, mask: int, wanted: int) -> int:
        return 0

    def ready_now(self, wanted: int) -> int:
        return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.SimpleNamespace(in_front_of=lambda channel: Front(channel.socket))
    monkeypatch.setattr(interception, "wanted", True)
    monkeypatch.setattr(interception, "find", lambda: module)


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

    class Wrapper:
        def __init__(self) -> None:
            self.sock = own

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

    class Program(dispatcher):
        def handle_accept(self) -> None:
            raise AssertionError("it would accept in clear")

        handle_read = handle_accept

    channel = Program(map=new_map)
    channel.set_socket(Wrapper())
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

    monkeypatch.setattr(interception, "find", lambda: types.SimpleNamespace(in_front_of=refuse))
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
    code = "from asynccore.listening import interception; print(interception.wanted)"
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


def test_without_tls_nobody_listens(
    listener: Any, wanted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(interception, "wanted", True)
    for name in ("ssl_ext", "ssl_ext.termination"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OSError, match="is set, and there is no TLS"):
        listener().listen(1)


def test_it_is_found_beside_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not in sys.path, where a program may have an ssl_ext of its own."""
    monkeypatch.setattr(interception, "_HERE", str(tmp_path / "asynccore"))
    (tmp_path / "ssl_ext").mkdir()
    (tmp_path / "ssl_ext" / "__init__.py").write_text("")
    (tmp_path / "ssl_ext" / "termination.py").write_text("def in_front_of(channel): return 1")
    present = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    for name in present:
        del sys.modules[name]
    try:
        assert interception.find().in_front_of(None) == 1
        assert interception.find() is sys.modules["ssl_ext.termination"]
    finally:
        for name in filter(_is_ours, list(sys.modules)):
            del sys.modules[name]
        sys.modules.update(present)


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == "ssl_ext"
