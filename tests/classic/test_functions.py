"""The functions that programs call themselves, and the words in which channels report."""

from __future__ import annotations

import logging
import os
import re
import select
import socket
import sys
from errno import EBADF, ECONNRESET, EPERM, EPIPE
from typing import Any

import pytest

import asynccore
from tests.differential.reference import CLASSIC

both = pytest.mark.parametrize("module", [CLASSIC.asyncore, asynccore], ids=["classic", "ours"])


class Recorder:
    """The least that the functions expect of an object; raises what it is given."""

    accepting = False

    def __init__(self, raises: BaseException | None = None, wants: str = "r") -> None:
        self.calls: list[str] = []
        self.raises = raises
        self.wants = wants

    def readable(self) -> bool:
        return "r" in self.wants

    def writable(self) -> bool:
        return "w" in self.wants

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.raises is not None:
            raise self.raises

    def handle_read_event(self) -> None:
        self._called("read")

    def handle_write_event(self) -> None:
        self._called("write")

    def handle_expt_event(self) -> None:
        self._called("expt")

    def handle_close(self) -> None:
        self.calls.append("close")

    def handle_error(self) -> None:
        self.calls.append(f"error {sys.exc_info()[0].__name__}")  # type: ignore[union-attr]

    def close(self) -> None:
        self._called("closed")


class Unusual(BaseException):
    """Neither an Exception nor one of those that leave the loop."""


EVENTS = [("read", "read"), ("write", "write"), ("_exception", "expt")]


@both
@pytest.mark.parametrize(("function", "event"), EVENTS)
def test_one_event(module: Any, function: str, event: str) -> None:
    channel = Recorder()
    assert getattr(module, function)(channel) is None
    assert channel.calls == [event]


@both
@pytest.mark.parametrize(("function", "event"), EVENTS)
@pytest.mark.parametrize("kind", [ValueError, ConnectionResetError, Unusual])
def test_what_an_event_raises_goes_to_handle_error(
    module: Any, function: str, event: str, kind: type[BaseException]
) -> None:
    channel = Recorder(kind())
    getattr(module, function)(channel)
    assert channel.calls == [event, f"error {kind.__name__}"]


@both
@pytest.mark.parametrize("function", ["read", "write", "_exception", "readwrite"])
@pytest.mark.parametrize("name", ["ExitNow", "KeyboardInterrupt", "SystemExit"])
def test_what_leaves_the_loop(module: Any, function: str, name: str) -> None:
    kind = getattr(module, name, None) or getattr(__import__("builtins"), name)
    channel = Recorder(kind())
    arguments = (select.POLLIN,) if function == "readwrite" else ()
    with pytest.raises(kind):
        getattr(module, function)(channel, *arguments)
    assert len(channel.calls) == 1
    assert kind in module._reraised_exceptions


@both
@pytest.mark.skipif(not hasattr(select, "POLLIN"), reason="no poll(2) on this platform")
def test_readwrite_flags(module: Any) -> None:
    calls = {
        "POLLIN": "read",
        "POLLOUT": "write",
        "POLLPRI": "expt",
        "POLLERR": "close",
        "POLLHUP": "close",
        "POLLNVAL": "close",
    }
    for flag, call in calls.items():
        channel = Recorder()
        module.readwrite(channel, getattr(select, flag))
        assert channel.calls == [call], flag
    channel = Recorder()
    flags = [getattr(select, flag) for flag in calls]
    module.readwrite(channel, sum(flags))
    assert channel.calls == ["read", "write", "expt", "close"]
    channel = Recorder()
    module.readwrite(channel, 0)
    assert channel.calls == []


@both
@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ConnectionResetError(ECONNRESET, ""), "close"),
        (BrokenPipeError(EPIPE, ""), "close"),
        (OSError(EBADF, ""), "close"),
        (OSError(EPERM, ""), "error PermissionError"),
        (ValueError(), "error ValueError"),
        (Unusual(), "error Unusual"),
    ],
    ids=repr,
)
def test_readwrite_takes_a_disconnection_for_the_end(module: Any, error: Any, call: str) -> None:
    channel = Recorder(error)
    module.readwrite(channel, select.POLLIN | select.POLLOUT)
    assert channel.calls == ["read", call]


# poll and loop ------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", ["poll", "poll2", "poll3"])
def test_poll_handles_one_batch(module: Any, name: str) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.send(b"x")
        channel = Recorder(wants="rw")
        assert getattr(module, name)(0.0, {near.fileno(): channel}) is None
        assert channel.calls == ["read", "write"]


@both
@pytest.mark.parametrize("name", ["poll", "poll2", "poll3"])
def test_poll_takes_only_what_is_wanted(module: Any, name: str) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.send(b"x")
        for wants, calls in (("", []), ("r", ["read"]), ("w", ["write"])):
            channel = Recorder(wants=wants)
            getattr(module, name)(map={near.fileno(): channel}, timeout=0.0)
            assert channel.calls == calls
        listening = Recorder(wants="w")
        listening.accepting = True
        getattr(module, name)(0.0, {near.fileno(): listening})
        assert listening.calls == []


@both
def test_names_of_poll(module: Any) -> None:
    assert module.poll3 is module.poll2


@both
@pytest.mark.parametrize("use_poll", [False, True])
def test_loop_counts_passes(module: Any, use_poll: bool) -> None:
    near, far = socket.socketpair()
    with near, far:
        for count, passes in ((3, 3), (1, 1), (0, 0), (-1, 0), (2.5, 3)):
            channel = Recorder(wants="w")
            map = {near.fileno(): channel}
            assert module.loop(0.0, use_poll, map, count) is None
            assert channel.calls == ["write"] * passes
            assert map


@both
@pytest.mark.parametrize("count", [None, 5])
def test_loop_ends_with_an_empty_map(module: Any, count: int | None) -> None:
    module.loop(30.0, False, {}, count)
    near, far = socket.socketpair()
    with near, far:
        map: dict[int, Any] = {}

        class Once(Recorder):
            def handle_write_event(self) -> None:
                map.clear()

        map[near.fileno()] = Once(wants="w")
        module.loop(30.0, map=map, count=count)
    assert not map


@both
def test_loop_uses_the_map_of_the_module(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    channels: dict[int, Any] = {}
    monkeypatch.setattr(module, "socket_map", channels)
    near, far = socket.socketpair()
    with near, far:
        channel = channels[near.fileno()] = Recorder(wants="w")
        module.loop(0.0, count=1)
        module.poll()
        assert channel.calls == ["write", "write"]
        channels.clear()


@both
@pytest.mark.parametrize("use_poll", [False, True])
def test_loop_uses_the_poll_functions_of_the_module(
    module: Any, use_poll: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    name = "poll2" if use_poll else "poll"
    monkeypatch.setattr(module, name, lambda timeout, map: calls.append((timeout, map)))
    map = {0: None}
    module.loop(1.5, use_poll, map, 2)
    assert calls == [(1.5, map)] * 2


# close_all ----------------------------------------------------------------------------------


@both
def test_close_all(module: Any) -> None:
    channels = {number: Recorder() for number in range(3)}
    map: dict[int, Any] = dict(channels)
    assert module.close_all(map) is None
    assert map == {}
    assert [channel.calls for channel in channels.values()] == [["closed"]] * 3


@both
@pytest.mark.parametrize("error", [OSError(EPERM, ""), ValueError()], ids=repr)
def test_close_all_and_exceptions(module: Any, error: Exception) -> None:
    with pytest.raises(type(error)):
        module.close_all({0: Recorder(error)})
    map = {0: Recorder(error), 1: Recorder()}
    module.close_all(map, ignore_all=True)
    assert map == {}


@both
def test_close_all_takes_no_notice_of_ebadf(module: Any) -> None:
    map = {0: Recorder(OSError(EBADF, ""))}
    module.close_all(map)
    assert map == {}


@both
def test_close_all_lets_exits_out(module: Any) -> None:
    for kind in (module.ExitNow, KeyboardInterrupt, SystemExit):
        with pytest.raises(kind):
            module.close_all({0: Recorder(kind())}, True)


# Reports ------------------------------------------------------------------------------------


@both
def test_compact_traceback(module: Any) -> None:
    def inner() -> None:
        raise ValueError("what")

    try:
        inner()
    except ValueError as error:
        (file, function, line), kind, value, text = module.compact_traceback()
        assert (file, function) == (__file__, "inner")
        assert int(line) == inner.__code__.co_firstlineno + 1
        assert type(line) is str, "as classic asyncore gives it"
        assert (kind, value) == (ValueError, error)
        entry = r"\[[^|\]]+\|\w+\|\d+\]"
        assert re.fullmatch(f"{entry} {entry}", text)
        assert text.endswith(f"[{file}|inner|{line}]")


@both
def test_compact_traceback_without_exception(module: Any) -> None:
    with pytest.raises(AssertionError, match="traceback does not exist"):
        module.compact_traceback()


@both
def test_strerror(module: Any) -> None:
    assert module._strerror(EPERM) == os.strerror(EPERM)
    assert isinstance(module._strerror(-1), str)
    assert module._strerror(1 << 80) == f"Unknown error {1 << 80}"


@both
def test_log(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    channel = module.dispatcher(map={})
    channel.log("words")
    channel.log(17)
    assert capsys.readouterr() == ("", "log: words\nlog: 17\n")


@both
def test_log_info(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    channel = module.dispatcher(map={})
    channel.log_info("plain")
    channel.log_info("broken", "error")
    channel.log_info("hidden", "warning")
    channel.log_info("shown", type="debug")
    assert capsys.readouterr() == ("info: plain\nerror: broken\ndebug: shown\n", "")
    channel.ignore_log_types = ("info",)
    channel.log_info("plain")
    channel.log_info("seen", "warning")
    assert capsys.readouterr() == ("warning: seen\n", "")


@both
def test_default_hooks_say_so(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    near, far = socket.socketpair()
    with near, far:
        channel = module.dispatcher(near, {})
        channel.ignore_log_types = ()
        for hook in ("handle_expt", "handle_read", "handle_write", "handle_connect"):
            getattr(channel, hook)()
        channel.handle_accepted(far, None)
        channel.handle_close()
        assert far.fileno() == near.fileno() == -1
    assert capsys.readouterr().out.splitlines() == [
        "warning: unhandled incoming priority event",
        "warning: unhandled read event",
        "warning: unhandled write event",
        "warning: unhandled connect event",
        "warning: unhandled accepted event",
        "warning: unhandled close event",
    ]


@both
def test_repr(module: Any) -> None:
    channel = module.dispatcher(map={})
    # Ours says the name that the class had in the library, wherever it is now.
    name = "asyncore" if module is asynccore else module.__name__
    tail = f" at {id(channel):#x}>"
    assert repr(channel) == f"<{name}.dispatcher{tail}"
    channel.addr = ("127.0.0.1", 80)
    assert repr(channel) == f"<{name}.dispatcher 127.0.0.1:80{tail}"
    channel.connected = True
    assert repr(channel) == f"<{name}.dispatcher connected 127.0.0.1:80{tail}"
    channel.accepting = True
    assert repr(channel) == f"<{name}.dispatcher listening 127.0.0.1:80{tail}"
    channel.addr = "/run/socket"
    assert repr(channel) == f"<{name}.dispatcher listening '/run/socket'{tail}"
    assert str(channel) == repr(channel)


@both
def test_repr_of_a_subclass(module: Any) -> None:
    class Mine(module.dispatcher):  # type: ignore[misc,name-defined]
        pass

    channel: Any = Mine(map={})
    assert repr(channel) == f"<{__name__}.{Mine.__qualname__} at {id(channel):#x}>"


@both
def test_uncaptured_exception(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class Failing(module.dispatcher):  # type: ignore[misc,name-defined]
        def handle_read_event(self) -> None:
            raise ValueError("what")

    near, far = socket.socketpair()
    with near, far:
        channel: Any = Failing(near, {})
        shown = repr(channel)
        module.read(channel)
        assert near.fileno() == -1
    (line,) = capsys.readouterr().out.splitlines()
    start = f"error: uncaptured python exception, closing channel {shown} "
    assert line.startswith(start)
    assert re.fullmatch(r"\(<class 'ValueError'>:what( \[[^|]+\|\w+\|\d+\])+\)", line[len(start) :])


@both
def test_uncaptured_exception_of_what_has_no_repr(
    module: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Unnamed(module.dispatcher):  # type: ignore[misc,name-defined]
        def __repr__(self) -> str:
            raise RuntimeError

        def handle_read_event(self) -> None:
            raise ValueError

    channel: Any = Unnamed(map={})
    module.read(channel)
    name = f"<__repr__(self) failed for object at {id(channel):0x}>"
    assert f"closing channel {name} (" in capsys.readouterr().out


# use_logging --------------------------------------------------------------------------------


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.DEBUG)
    yield caplog
    asynccore.use_logging(None)


def test_use_logging(logged: Any, capsys: pytest.CaptureFixture[str]) -> None:
    asynccore.use_logging()
    channel = asynccore.dispatcher(map={})
    channel.log("hit")
    channel.log_info("100%")
    channel.log_info("hidden", "warning")
    channel.log_info("broken", "error")
    channel.log_info("detail", "debug")
    channel.log_info("unknown", "other")
    assert logged.record_tuples == [
        ("asyncore", logging.INFO, "hit"),
        ("asyncore", logging.INFO, "100%"),
        ("asyncore", logging.WARNING, "hidden"),
        ("asyncore", logging.ERROR, "broken"),
        ("asyncore", logging.DEBUG, "detail"),
        ("asyncore", logging.INFO, "unknown"),
    ]
    printed = "info: 100%\nerror: broken\ndebug: detail\nother: unknown\n"
    assert capsys.readouterr() == (printed, "log: hit\n")


@pytest.mark.parametrize("logger", ["mine", logging.getLogger("mine")], ids=["name", "logger"])
def test_use_another_logger(logged: Any, logger: Any) -> None:
    asynccore.use_logging(logger)
    channel = asynccore.dispatcher(map={})
    channel.log_info("one")
    asynccore.use_logging(None)
    channel.log_info("two")
    assert logged.record_tuples == [("mine", logging.INFO, "one")]
