"""Programs that have something of their own under names which are new in this package."""

from __future__ import annotations

import io
import warnings
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, smtpd
from asynccore.classic import own_names
from asynccore.engine import foreign
from asynccore.monitoring.statistics import statistics
from asynccore.running.graceful import has_output
from tests.classic.table import SURFACE
from tests.corners.support import drive, passes

CLASSES: dict[str, Any] = {
    "asyncore dispatcher": asynccore.dispatcher,
    "asyncore dispatcher_with_send": asynccore.dispatcher_with_send,
    "asyncore file_dispatcher": asynccore.file_dispatcher,
    "asynchat async_chat": asynchat.async_chat,
    "smtpd SMTPChannel": smtpd.SMTPChannel,
    "smtpd SMTPServer": smtpd.SMTPServer,
}
BASES = pytest.mark.parametrize(
    "base", [asynccore.dispatcher, asynccore.dispatcher_with_send, asynchat.async_chat]
)


def classic_names() -> set[str]:
    lines = "\n".join(SURFACE.values()).splitlines()
    names = {line.split(".", 1)[1] for line in lines if "." in line.split("(")[0].split(":")[0][5:]}
    return {name.split("(")[0].split(":")[0] for name in names}


def test_the_list_of_new_names_is_whole() -> None:
    # What classic instances have, but not their classes.
    of_instances = {"socket", "out_buffer", "ac_in_buffer", "producer_fifo"}
    present = {name for cls in CLASSES.values() for name in dir(cls) if not name.startswith("_")}
    known = {name.rpartition(".")[2] for name in classic_names()}
    assert present - known - of_instances == own_names.NEW_NAMES


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_private_names_begin_with_ac(cls: Any) -> None:
    theirs = {"_fileno", "_map", "_collect_incoming_data", "_get_data"}
    for base in cls.__mro__[:-1]:
        for name in vars(base):
            if (
                name.startswith("_")
                and not name.startswith("__")
                and cls in list(CLASSES.values())[:4]
            ):
                assert name.startswith("_ac_") or name in theirs, (base, name)


LEFT_ALONE = pytest.mark.filterwarnings("ignore:.* is left alone:RuntimeWarning")


class Anything:
    """An object of the program's own."""


@BASES
@pytest.mark.parametrize("name", sorted(own_names.NEW_NAMES))
@pytest.mark.parametrize("kind", ["object", "method", "method of an object", "property"])
@LEFT_ALONE
def test_any_name_may_be_something_else(base: Any, name: str, kind: str, pair: Any) -> None:
    """Channels talk, and end, whatever the program calls so."""

    def own(self: Any, one: Any, two: Any, three: Any, four: Any) -> None:
        raise AssertionError(f"{name} was called")

    def look(self: Any) -> None:
        if name == "max_line_length":
            return  # read for every line: a property of that name is ours as well
        raise AssertionError(f"{name} was read")

    class Program(base):  # type: ignore[misc]
        if kind == "method":
            locals()[name] = own
        elif kind == "property":
            locals()[name] = property(look)
        elif kind == "object":
            locals()[name] = Anything()

        def __init__(self, sock: Any, map: Any) -> None:
            self.got = b""
            self.ended = 0
            if kind == "method of an object":
                setattr(self, name, lambda one, two, three, four: own(self, one, two, three, four))
            base.__init__(self, sock, map)
            if base is asynchat.async_chat:
                self.set_terminator(b"\n")

        def handle_read(self) -> None:
            if base is asynchat.async_chat:
                asynchat.async_chat.handle_read(self)
            else:
                self.got += self.recv(100)

        def collect_incoming_data(self, data: bytes) -> None:
            self.got += data

        def found_terminator(self) -> None:
            self.got += b"\n"

        def handle_error(self) -> None:
            raise

        def handle_close(self) -> None:
            self.ended += 1
            self.close()

    map: dict[int, Any] = {}
    end, peer = pair()
    channel = Program(end, map)
    peer.send(b"one\ntwo\n")
    drive(lambda: channel.got == b"one\ntwo\n", map)
    (channel.push if base is asynchat.async_chat else channel.send)(b"answer")
    drive(lambda: not channel.writable() or base is asynccore.dispatcher, map)
    assert peer.recv(100) == b"answer"
    assert statistics(map=map).channels[0].pending in (0, None)
    assert not has_output(channel)
    peer.close()
    drive(lambda: channel.ended, map)
    assert channel.ended == 1 and not map


@pytest.mark.parametrize("name", sorted(own_names.NEW_NAMES - {"max_line_length"}))
@pytest.mark.parametrize("value", ["thirty", 0, -1, None, 2.5, b"", (1, 2), {}])
@LEFT_ALONE
def test_any_name_may_be_assigned(name: str, value: Any, pair: Any, channels: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cls: Any = type("InTheClass", (asynchat.async_chat,), {name: value})
        channel = asynchat.async_chat(pair()[0], channels)
        setattr(channel, name, value)
    assert getattr(cls(map=channels), name) == value == getattr(channel, name)
    del channels[channel._fileno]
    listener: Any = type("Listener", (asynccore.dispatcher,), {})(map=channels)
    listener.create_socket()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        setattr(listener, name, value)
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    passes(channels, None)
    assert listener.accepting and listener in channels.values()
    listener.close()


@pytest.mark.parametrize("value", ["thirty", -1, Anything, Anything(), {}])
def test_a_max_line_length_that_is_no_limit(value: Any, pair: Any, channels: Any) -> None:
    lines = []

    class Chat(asynchat.async_chat):
        max_line_length = value

        def collect_incoming_data(self, data: bytes) -> None:
            lines.append(data)

        def found_terminator(self) -> None:
            lines.append(b"\n")

        def handle_error(self) -> None:
            raise

    end, peer = pair()
    Chat(end, channels).set_terminator(b"\n")
    peer.send(b"one\ntwo\n")
    drive(lambda: len(lines) == 4, channels)
    assert lines == [b"one", b"\n", b"two", b"\n"]


def test_a_private_attribute_that_is_called_as_ours_would_be(channels: Any) -> None:
    class Server(asynccore.dispatcher):
        def __init__(self) -> None:
            asynccore.dispatcher.__init__(self, map=channels)
            self._max_connections = "many"
            self._idle_timeout = self._high_watermark = "long"
            self.create_socket()
            self.bind(("127.0.0.1", 0))
            self.listen(1)

    server = Server()
    assert server.max_connections is None and server.idle_timeout is None
    assert not server._ac_as_listener().limited
    server.close()


def test_a_timeout_of_ours_with_a_hook_of_the_programs(pair: Any, channels: Any) -> None:
    """`handle_timeout` without arguments is socketserver's, for example."""

    class Program(asynccore.dispatcher):
        idle_timeout = 0.01
        closed = said = 0

        def handle_timeout(self) -> None:  # type: ignore[override]
            raise AssertionError("this is the program's own")

        def log_info(self, message: Any, type: str = "info") -> None:
            assert "idle timeout" in message
            self.said += 1

        def handle_close(self) -> None:
            self.closed += 1
            self.close()

    channel = Program(pair()[0], channels)
    drive(lambda: channel.closed, channels)
    assert (channel.closed, channel.said) == (1, 1)


@LEFT_ALONE
def test_a_shutdown_of_the_programs_own(pair: Any, channels: Any) -> None:
    class Program(asynccore.dispatcher):
        def handle_shutdown(self, signum: int) -> bool:  # type: ignore[override]
            raise AssertionError("this is the program's own")

        def handle_error(self) -> None:
            raise

    Program(pair()[0], channels)
    asynccore.graceful_close(30, map=channels)
    drive(lambda: not channels, channels)


def test_a_buffer_size_of_the_programs_own_is_no_output(pair: Any, channels: Any) -> None:
    class Program(asynccore.dispatcher):
        write_buffer_size = 8192

    class Buffers(asynccore.dispatcher_with_send):
        write_buffer_size = 8192

    kinds: list[Any] = [Program, Buffers]
    for kind in kinds:
        assert not has_output(kind(pair()[0], channels))
    asynccore.graceful_close(30, map=channels)
    drive(lambda: not channels, channels)


def test_a_channel_of_others_that_has_a_touch(pair: Any) -> None:
    """It is watched as any other that reports nothing, though one of ours has a touch, too."""

    class Foreign:
        accepting = False
        answer = True

        def __init__(self, sock: Any, map: dict[int, Any]) -> None:
            self.socket = sock
            self._map = map
            map[sock.fileno()] = self

        def touch(self) -> None: ...
        def readable(self) -> bool:
            return self.answer

        def writable(self) -> bool:
            return False

    map: dict[int, Any] = {}
    assert foreign.is_foreign(Foreign(pair()[0], map))
    assert not foreign.is_foreign(asynccore.dispatcher(map=map))


def test_an_object_with_an_answer_to_any_name(pair: Any) -> None:
    class Any_:
        accepting = False
        events = 0

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *args: True

        def readable(self) -> bool:
            return True

        def writable(self) -> bool:
            return False

        def handle_read_event(self) -> None:
            self.events += 1
            end.recv(100)

    end, peer = pair()
    channel = Any_()
    map: dict[int, Any] = {end.fileno(): channel}
    peer.send(b"x")
    drive(lambda: channel.events, map)
    assert channel.events == 1


# Mix-ins after the dispatcher ---------------------------------------------------------------------


@BASES
def test_what_a_mixin_brings_goes_first(base: Any, pair: Any, channels: Any) -> None:
    class Timer:
        idle_timeout = "whenever"

        def touch(self) -> str:
            return "touched"

        def pause_reading(self, chapter: int) -> str:
            return f"paused at {chapter}"

        def handle_eof(self) -> str:
            return "not about sockets"

    class Reader(Timer):
        def touch(self) -> str:
            return super().touch() + " twice"

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        class Program(base, Reader):  # type: ignore[misc]
            pass

        class Derived(Program):
            def touch(self) -> str:
                return super().touch() + " again"

    channel = Derived(pair()[0], channels)
    assert channel.touch() == "touched twice again"
    assert channel.pause_reading(3) == "paused at 3"
    assert channel.idle_timeout == "whenever" and not channel._ac_has_timeouts
    assert Program.handle_eof is Timer.handle_eof


def test_a_file_after_the_dispatcher(pair: Any, channels: Any) -> None:
    class Stream(asynccore.dispatcher_with_send, io.IOBase):  # type: ignore[misc]
        wrote: list[bytes] = []

        def write(self, data: bytes) -> None:
            self.wrote.append(data)

    stream = Stream(pair()[0], channels)
    stream.writelines([b"one", b"two"])
    assert stream.wrote == [b"one", b"two"]
    asynccore.dispatcher.close(stream)


def test_new_attributes_may_come_from_a_mixin() -> None:
    class Limits:
        idle_timeout = 30
        max_connections = 5

    class Server(asynccore.dispatcher, Limits):
        pass

    assert Server._ac_has_timeouts and Server._ac_idle_timeout == 30
    assert Server._ac_max_connections == 5


def test_classes_of_ours_are_not_mixins() -> None:
    class Later(asynccore.dispatcher):
        def handle_timeout(self, which: str) -> None:
            super().handle_timeout(which)

    class Server(Later, asynccore.dispatcher_with_send):
        pass

    assert Server.handle_timeout is Later.handle_timeout
    assert "writelines" not in vars(Server)


# Hooks that fit, and others -----------------------------------------------------------------------


def test_what_can_be_called() -> None:
    class Has:
        def none(self) -> None: ...
        def one(self, a: Any) -> None: ...
        def optional(self, a: Any = 1, *, b: Any = 2) -> None: ...
        def keyword(self, a: Any = 1, *, b: Any) -> None: ...
        def any(self, *args: Any, **options: Any) -> None: ...
        @staticmethod
        def static(a: Any) -> None: ...
        @classmethod
        def of_class(cls, a: Any) -> None: ...

    has = Has()
    answers = {
        name: [own_names.takes(getattr(has, name), n) for n in (0, 1, 2)]
        for name in vars(Has)
        if name[0] != "_"
    }
    assert answers == {
        "none": [True, False, False],
        "one": [False, True, False],
        "optional": [True, True, False],
        "keyword": [False, False, False],
        "any": [True, True, True],
        "static": [False, True, False],
        "of_class": [False, True, False],
    }
    assert own_names.takes(print, 7) and not own_names.takes(None, 0)


@LEFT_ALONE
def test_a_hook_that_fits_further_up(pair: Any, channels: Any) -> None:
    said: list[str] = []

    class Fits(asynccore.dispatcher):
        def handle_timeout(self, which: str) -> None:
            said.append(which)

    class Differs(Fits):
        def handle_timeout(self) -> None:  # type: ignore[override]
            raise AssertionError("this is the program's own")

    own_names.hook(Differs(map=channels), "handle_timeout", 1)("idle")
    assert said == ["idle"]
    with pytest.raises(AttributeError, match="no_such_hook"):
        own_names.hook(Differs(map=channels), "no_such_hook", 1)
