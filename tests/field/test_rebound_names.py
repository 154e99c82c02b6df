"""Names that programs rebind in the module: the loop goes by what is there."""

from __future__ import annotations

import errno
import os
import socket
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, pollers, smtpd
from asynccore.classic import legacy_modules
from asynccore.engine import Engine, engine_for


@pytest.fixture(params=["default map", "plain dict"])
def map(request: pytest.FixtureRequest) -> Iterator[Any]:
    made: Any = asynccore.ChannelMap() if request.param == "default map" else {}
    yield made
    asynccore.close_all(made)


@pytest.fixture(params=pollers.available())
def each_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCCORE_ENGINE", request.param)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


class Channel(asynccore.dispatcher):
    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.said: list[str] = []
        self.wants_to_write = False

    def writable(self) -> bool:
        return self.wants_to_write

    def handle_read(self) -> None:
        self.said.append(f"read {self.recv(100)!r}")

    def handle_write(self) -> None:
        self.said.append("write")
        self.wants_to_write = False

    def handle_close(self) -> None:
        self.said.append("close")
        self.close()

    def handle_error(self) -> None:
        self.said.append(f"error {sys.exc_info()[1]!r}")
        self.close()


# The functions for events ----------------------------------------------------------------------


class Tracer:
    """Puts functions that note their calls in the place of the module's."""

    def __init__(self, patch: pytest.MonkeyPatch, *names: str) -> None:
        self.calls: list[tuple[str, Any]] = []
        for name in names:
            patch.setattr(asynccore, name, self._tracing(name, getattr(asynccore, name)))

    def _tracing(self, name: str, function: Any) -> Any:
        def traced(obj: Any, *args: Any) -> None:
            self.calls.append((name, obj))
            function(obj, *args)

        return traced


def test_read_and_write(
    each_engine: Any, map: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel(pair[0], map)
    pair[1].send(b"a")
    asynccore.loop(timeout=0.1, map=map, count=1)
    with monkeypatch.context() as patch:
        tracer = Tracer(patch, "read", "write", "_exception", "readwrite")
        pair[1].send(b"b")
        asynccore.loop(timeout=1, map=map, count=1)
        assert tracer.calls == [("read", channel)]
        channel.wants_to_write = True
        asynccore.poll(1, map)
        assert tracer.calls[1:] == [("write", channel)]
    assert channel.said == ["read b'a'", "read b'b'", "write"]
    pair[1].send(b"c")
    asynccore.loop(timeout=1, map=map, count=1)
    assert channel.said[-1] == "read b'c'"
    assert len(tracer.calls) == 2
    assert type(engine_for(map)) is Engine


def test_readwrite_is_for_poll2(
    each_engine: Any, map: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel(pair[0], map)
    tracer = Tracer(monkeypatch, "read", "write", "_exception", "readwrite")
    pair[1].send(b"a")
    asynccore.loop(timeout=1, use_poll=True, map=map, count=1)
    pair[1].send(b"b")
    channel.wants_to_write = True
    asynccore.poll2(1, map)
    assert tracer.calls == [("readwrite", channel)] * 2
    assert channel.said == ["read b'a'", "read b'b'", "write"]
    pair[1].send(b"c")
    asynccore.poll(1, map)
    assert tracer.calls[2:] == [("read", channel)]


def test_exceptional_conditions(map: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    channel = Channel(ours, map)
    channel.handle_expt = lambda: channel.said.append("expt")  # type: ignore[method-assign]
    tracer = Tracer(monkeypatch, "_exception")
    peer.send(b"!", socket.MSG_OOB)
    asynccore.loop(timeout=1, map=map, count=1)
    assert ("_exception", channel) in tracer.calls
    assert "expt" in channel.said
    peer.close()


def test_what_a_replacement_raises_leaves_the_loop(
    map: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel(pair[0], map)

    def failing(obj: Any) -> None:
        raise LookupError("of the tracer")

    monkeypatch.setattr(asynccore, "read", failing)
    pair[1].send(b"a")
    with pytest.raises(LookupError, match="of the tracer"):
        asynccore.loop(timeout=1, map=map, count=1)
    assert channel.said == []


def test_what_a_handler_raises_goes_to_handle_error_through_the_original(
    map: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel(pair[0], map)
    channel.handle_read = lambda: 1 / 0  # type: ignore[assignment,return-value]
    Tracer(monkeypatch, "read")
    pair[1].send(b"a")
    asynccore.loop(timeout=1, map=map, count=1)
    assert channel.said == ["error ZeroDivisionError('division by zero')"]


def test_a_channel_that_a_tracer_closes_gets_no_more_of_its_event(
    map: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel(pair[0], map)
    channel.wants_to_write = True
    monkeypatch.setattr(asynccore, "read", lambda obj: obj.close())
    tracer = Tracer(monkeypatch, "write")
    pair[1].send(b"a")
    asynccore.loop(timeout=1, map=map, count=1)
    assert tracer.calls == []


def test_everything_is_read_before_the_end(
    each_engine: Any, map: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel(pair[0], map)
    Tracer(monkeypatch, "read", "readwrite")
    pair[1].send(b"last words")
    pair[1].close()
    asynccore.loop(timeout=1, use_poll=True, map=map, count=5)
    assert channel.said == ["read b'last words'", "close", "read b''"]


def test_replaced_in_the_middle_of_a_loop(
    map: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel(pair[0], map)
    asynccore.loop(timeout=0, map=map, count=1)
    tracers: list[Tracer] = []
    asynccore.call_later(0, lambda: tracers.append(Tracer(monkeypatch, "read")), map=map)
    asynccore.call_later(0.02, pair[1].send, b"x", map=map)
    asynccore.call_every(
        0.01, lambda: asynccore.stop(map=map) if tracers and tracers[0].calls else None, map=map
    )
    asynccore.call_later(30, asynccore.stop, map=map)  # only a failure takes so long
    asynccore.loop(timeout=5, map=map)
    assert tracers[0].calls == [("read", channel)]


def test_a_module_that_is_reloaded_has_its_own_names_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from asynccore.classic import rebinding

    with monkeypatch.context() as patch:
        patch.setattr(asynccore, "read", print)
        assert rebinding.is_replaced()
        patch.delattr(asynccore, "write")
        assert rebinding.is_replaced()
    assert not rebinding.is_replaced()


def test_an_engine_heeds_what_is_no_longer_replaced(map: Any, pair: Any) -> None:
    channel = Channel(pair[0], map)
    found = engine_for(map)
    found.heed_names()
    assert type(found) is not Engine
    pair[1].send(b"x")
    asynccore.loop(timeout=1, map=map, count=1)
    assert channel.said == ["read b'x'"]
    assert type(found) is Engine


# The others ------------------------------------------------------------------------------------


def test_compact_traceback(map: Any, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fail(Exception):
        pass

    class Plain(asynccore.dispatcher):
        def handle_read(self) -> None:
            raise ValueError("seen")

    def hook() -> Any:
        raise Fail(repr(sys.exc_info()[1]))

    monkeypatch.setattr(asynccore, "compact_traceback", hook)
    Plain(pair[0], map)
    pair[1].send(b"x")
    with pytest.raises(Fail, match="seen"):
        asynccore.loop(timeout=1, map=map, count=1)


class Leave(Exception):
    """An exception of the program that is to leave its loops."""


@pytest.fixture
def leaving(monkeypatch: pytest.MonkeyPatch) -> None:
    more = (*asynccore._reraised_exceptions, Leave)
    monkeypatch.setattr(asynccore, "_reraised_exceptions", more)


def leave(*args: Any) -> None:
    raise Leave


@pytest.mark.parametrize("name", ["handle_read", "handle_write", "handle_close"])
def test_reraised_exceptions_of_handlers(
    leaving: Any, each_engine: Any, map: Any, pair: Any, name: str
) -> None:
    channel = Channel(pair[0], map)
    setattr(channel, name, leave)
    channel.wants_to_write = name == "handle_write"
    pair[1].send(b"x") if name != "handle_close" else pair[1].close()
    with pytest.raises(Leave):
        asynccore.loop(timeout=1, map=map, count=2)
    assert "error" not in "".join(channel.said)


def test_reraised_exceptions_of_callbacks_and_functions(leaving: Any, map: Any, pair: Any) -> None:
    channel = Channel(pair[0], map)
    for start in (
        asynccore.call_soon_threadsafe,
        lambda f, map: asynccore.call_later(0, f, map=map),
    ):
        start(leave, map=map)
        with pytest.raises(Leave):
            asynccore.loop(timeout=1, map=map, count=2)
    channel.handle_read_event = leave  # type: ignore[method-assign]
    with pytest.raises(Leave):
        asynccore.read(channel)
    with pytest.raises(Leave):
        asynccore.readwrite(channel, 1)
    channel.close = leave  # type: ignore[method-assign]
    with pytest.raises(Leave):
        asynccore.close_all(map, ignore_all=True)
    del channel.close  # type: ignore[misc]


def test_reraised_exceptions_of_accepting(leaving: Any, map: Any) -> None:
    class Server(asynccore.dispatcher):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            sock.close()
            leave()

    server = Server(map=map)
    server.create_socket()
    server.bind(("127.0.0.1", 0))
    server.listen(1)
    with socket.create_connection(server.socket.getsockname()):
        with pytest.raises(Leave):
            asynccore.loop(timeout=1, map=map, count=2)


def test_what_was_taken_out_no_longer_leaves(
    map: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asynccore, "_reraised_exceptions", (KeyboardInterrupt, SystemExit))
    channel = Channel(pair[0], map)

    class Mine(asynccore.ExitNow):
        pass

    def fail() -> None:
        raise Mine

    channel.handle_read = fail  # type: ignore[method-assign]
    pair[1].send(b"x")
    asynccore.loop(timeout=1, map=map, count=1)
    assert "Mine" in channel.said[0]


class Failing:
    """A socket whose calls fail with one errno."""

    def __init__(self, sock: Any, code: int) -> None:
        self.sock = sock
        self.code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def _fail(self, data: Any) -> Any:
        raise OSError(self.code, os.strerror(self.code))

    send = recv = _fail


def test_disconnections(map: Any, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(pair[0], map)
    channel.socket = Failing(pair[0], errno.EPERM)
    with pytest.raises(PermissionError):
        channel.recv(1)
    with pytest.raises(PermissionError):
        channel.send(b"x")
    more = asynccore._DISCONNECTED | {errno.EPERM}
    monkeypatch.setattr(asynccore, "_DISCONNECTED", more)
    assert channel.recv(1) == b""
    assert channel.said == ["close"]
    other = Channel(pair[1], map)
    other.socket = Failing(pair[1], errno.ECONNRESET)
    monkeypatch.setattr(asynccore, "_DISCONNECTED", frozenset())
    with pytest.raises(ConnectionResetError):
        other.send(b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="no file_dispatcher on Windows")
def test_file_wrapper(map: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrapper(asynccore.file_wrapper):
        pass

    monkeypatch.setattr(asynccore, "file_wrapper", Wrapper)
    reader, writer = os.pipe()
    channel = asynccore.file_dispatcher(reader, map)
    os.close(reader)
    os.close(writer)
    assert type(channel.socket) is Wrapper


# A module of the program's own -----------------------------------------------------------------


@pytest.fixture
def mine() -> Any:
    """What Zope did: a module under the name `asyncore`, with another dispatcher."""
    module: Any = types.ModuleType("asyncore")
    vars(module).update({k: v for k, v in vars(asynccore).items() if k[:2] != "__"})

    class dispatcher(asynccore.dispatcher):
        marked = True

        def log_info(self, message: Any, type: str = "info") -> None:
            logged.append(message)

    logged: list[Any] = []
    module.dispatcher = dispatcher
    module.logged = logged
    return module


def test_asynchat_and_smtpd_derive_from_it(mine: Any, map: Any, pair: Any) -> None:
    assert legacy_modules.base_of({"asyncore": mine}, asynccore) is mine
    assert legacy_modules.is_derived(mine, asynccore)
    chat: Any = legacy_modules.derived(asynchat, "asynchat", {"asyncore": (asynccore, mine)})
    assert issubclass(chat.async_chat, mine.dispatcher)
    assert issubclass(chat.async_chat, asynchat.async_chat)
    assert chat.async_chat.marked
    assert (chat.async_chat.__module__, chat.__name__) == ("asynchat", "asynchat")
    assert chat.asyncore is mine
    assert chat.simple_producer is asynchat.simple_producer
    mail: Any = legacy_modules.derived(
        smtpd, "smtpd", {"asyncore": (asynccore, mine), "asynchat": (asynchat, chat)}
    )
    assert issubclass(mail.SMTPServer, mine.dispatcher)
    assert issubclass(mail.SMTPChannel, chat.async_chat)
    assert issubclass(mail.DebuggingServer, mail.SMTPServer)
    assert mail.SMTPServer.channel_class is mail.SMTPChannel
    assert smtpd.SMTPServer.channel_class is smtpd.SMTPChannel
    # And it works.
    collected: list[bytes] = []

    class Lines(chat.async_chat):  # type: ignore[misc]
        collect_incoming_data = lambda self, data: collected.append(data)  # noqa: E731

        def found_terminator(self) -> None:
            self.log_info("a line")
            self.push(b"ok\r\n")

    channel = Lines(pair[0], map)
    channel.set_terminator(b"\r\n")
    pair[1].send(b"hello\r\n")
    asynccore.loop(timeout=1, map=map, count=2)
    assert (collected, mine.logged) == ([b"hello"], ["a line"])
    assert pair[1].recv(10) == b"ok\r\n"


def test_a_copy_of_the_module_with_our_dispatcher_changes_nothing() -> None:
    module = types.ModuleType("asyncore")
    assert legacy_modules.base_of({"asyncore": module}, asynccore) is None
    vars(module).update(vars(asynccore))
    assert legacy_modules.base_of({"asyncore": module}, asynccore) is None
    assert legacy_modules.base_of({}, asynccore) is None
