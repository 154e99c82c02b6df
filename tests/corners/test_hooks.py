"""Hooks in all the ways that programs override, call and compose them."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import asynccore
from tests.corners.support import Noting, QuietReader, Reader, drive, passes


class Trouble(Exception):
    pass


class Raises(Reader):
    """Its read handler raises; what its handle_error does is the point."""

    def handle_read(self) -> None:
        raise Trouble("in handle_read")


class TestHandleError:
    @pytest.mark.parametrize(
        "kind", [Trouble, OSError, asynccore.ExitNow, KeyboardInterrupt, SystemExit]
    )
    def test_what_it_raises_leaves_the_loop(
        self, kind: type[BaseException], channels: Any, engine: str, pair: Any
    ) -> None:
        class Reraises(Raises):
            def handle_error(self) -> None:
                raise kind

        end, peer = pair()
        channel = Reraises(end, channels)
        peer.send(b"x")
        with pytest.raises(kind):
            passes(channels, engine)
        assert list(channels.values()) == [channel]
        # And the next loop goes on from there.
        with pytest.raises(kind):
            passes(channels, engine)

    def test_a_bare_raise(self, channels: Any, engine: str, pair: Any) -> None:
        class Reraises(Raises):
            def handle_error(self) -> None:
                raise

        end, peer = pair()
        Reraises(end, channels)
        peer.send(b"x")
        with pytest.raises(Trouble, match="in handle_read"):
            passes(channels, engine)

    def test_it_may_take_more_arguments(self, channels: Any, engine: str, pair: Any) -> None:
        class Takes(Raises):
            def handle_error(self, why: str = "by the loop", *more: Any) -> None:
                self.events.append(why)
                self.close()

        end, peer = pair()
        channel = Takes(end, channels)
        peer.send(b"x")
        asynccore.loop(timeout=5, map=channels, poller=engine)
        assert channel.events == ["by the loop"]

    def test_doing_nothing_keeps_the_channel(self, channels: Any, engine: str, pair: Any) -> None:
        class Ignores(Reader):
            def handle_read(self) -> None:
                self.received += self.recv(1)
                raise Trouble

            def handle_error(self) -> None:
                pass

        end, peer = pair()
        channel = Ignores(end, channels)
        peer.send(b"abc")
        drive(lambda: channel.received == b"abc", channels, engine)

    def test_the_packages_own_reports_one_line_and_closes(
        self, channels: Any, engine: str, pair: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Default(asynccore.dispatcher):
            def handle_read(self) -> None:
                raise Trouble("text of the error")

        end, peer = pair()
        Default(end, channels).writable = lambda: False  # type: ignore[method-assign]
        peer.send(b"x")
        asynccore.loop(timeout=5, map=channels, poller=engine)
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("error: uncaptured python exception, closing channel")
        assert "text of the error" in line and "handle_read" in line

    def test_a_repr_that_fails(self, channels: Any, pair: Any) -> None:
        class Nameless(Raises):
            def __repr__(self) -> str:
                raise ValueError

            def handle_error(self) -> None:
                asynccore.dispatcher.handle_error(self)

        end, peer = pair()
        channel = Nameless(end, channels)
        peer.send(b"x")
        asynccore.loop(timeout=5, map=channels)
        ((kind, message),) = channel.said
        assert kind == "error" and "__repr__" in message and "in handle_read" in message

    def test_ignored_log_types(self, pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
        channel = asynccore.dispatcher(pair()[0], {})
        channel.handle_read()
        channel.handle_write()
        assert capsys.readouterr().out == ""
        channel.ignore_log_types = frozenset()
        channel.handle_read()
        assert capsys.readouterr().out == "warning: unhandled read event\n"
        channel.close()


@pytest.mark.parametrize("kind", [asynccore.ExitNow, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("hook", ["handle_read", "handle_write", "handle_close", "readable"])
def test_exit_exceptions_leave_the_loop(hook: str, kind: type[BaseException], pair: Any) -> None:
    def leave(self: Any) -> None:
        raise kind

    cls = type("Leaves", (Reader,), {hook: leave, "writable": lambda self: hook == "handle_write"})
    channels: dict[int, Any] = {}
    end, peer = pair()
    channel = cls(end, channels)
    if hook == "handle_close":
        peer.close()
    elif hook != "handle_write":
        peer.send(b"x")
    with pytest.raises(kind):
        passes(channels, None)
    assert channels == {end.fileno(): channel} and channel.events == []
    asynccore.dispatcher.close(channel)


@pytest.mark.parametrize("event", ["handle_read_event", "handle_write_event"])
def test_overridden_events_are_called_by_the_loop(
    event: str, channels: Any, engine: str, pair: Any
) -> None:
    calls: list[str] = []

    class Own(asynccore.dispatcher):
        def readable(self) -> bool:
            return event == "handle_read_event"

        def writable(self) -> bool:
            return event == "handle_write_event"

    def note(self: Any) -> None:
        calls.append(event)
        getattr(asynccore.dispatcher, event)(self)
        self.close()

    setattr(Own, event, note)
    end, peer = pair()
    Own(end, channels)
    peer.send(b"x")
    asynccore.loop(timeout=5, map=channels, poller=engine)
    assert calls == [event]


def test_overridden_recv_send_and_close_are_used(channels: Any, engine: str, pair: Any) -> None:
    class Rot(QuietReader):
        def recv(self, buffer_size: int) -> bytes:
            return asynccore.dispatcher.recv(self, buffer_size).swapcase()

        def close(self) -> None:
            self.events.append("closing")
            asynccore.dispatcher_with_send.close(self)

    end, peer = pair()
    channel = Rot(end, channels)
    peer.send(b"Hello")
    drive(lambda: channel.received, channels, engine)
    peer.close()
    asynccore.loop(timeout=5, map=channels, poller=engine)
    assert channel.received == b"hELLO" and channel.events == ["read", "close", "closing"]


def test_overridden_add_channel_and_del_channel(channels: Any, engine: str, pair: Any) -> None:
    """A registry of the program's own, beside the map."""
    registry: list[Any] = []

    class Registered(Reader):
        def add_channel(self, map: Any = None) -> None:
            registry.append(self)
            asynccore.dispatcher.add_channel(self, map)

        def del_channel(self, map: Any = None) -> None:
            registry.remove(self)
            asynccore.dispatcher.del_channel(self, map)

    end, peer = pair()
    channel = Registered(end, channels)
    assert registry == [channel]
    peer.close()
    asynccore.loop(timeout=5, map=channels, poller=engine)
    assert registry == []


def test_unbound_calls(channels: Any, pair: Any) -> None:
    class Old(asynccore.dispatcher):
        def __init__(self, sock: Any) -> None:
            asynccore.dispatcher.__init__(self, sock, channels)

        def handle_close(self) -> None:
            asynccore.dispatcher.close(self)

        def log_info(self, message: Any, type: str = "info") -> None:
            asynccore.dispatcher.log_info(self, message, type)

    end, _ = pair()
    channel = Old(end)
    assert asynccore.dispatcher.readable(channel) and asynccore.dispatcher.writable(channel)
    channel.handle_close()
    assert not channels


class TestComposition:
    def test_dispatcher_second_in_the_bases(self, channels: Any, engine: str, pair: Any) -> None:
        class Mixin:
            def __init__(self, name: str) -> None:
                self.name = name

            def readable(self) -> bool:
                return True

            def writable(self) -> bool:
                return False

            def handle_read(self) -> None:
                self.got = self.recv(100)  # type: ignore[attr-defined]

        class Both(Mixin, asynccore.dispatcher):
            def __init__(self, sock: Any) -> None:
                Mixin.__init__(self, "both")
                asynccore.dispatcher.__init__(self, sock, channels)

        end, peer = pair()
        channel = Both(end)
        peer.send(b"x")
        drive(lambda: getattr(channel, "got", b""), channels, engine)
        assert channel.name == "both"

    def test_bases_assigned_later(self, channels: Any, engine: str, pair: Any) -> None:
        class NullChannel:
            pass

        class Composed(NullChannel):
            received = b""

            def handle_read(self) -> None:
                self.received += self.recv(100)  # type: ignore[attr-defined]

        Composed.__bases__ = (Noting, asynccore.dispatcher)
        end, peer = pair()
        channel: Any = Composed(end, channels)  # type: ignore[call-arg]
        peer.send(b"x")
        drive(lambda: channel.received, channels, engine)

    def test_attributes_that_only_getattr_knows(self, pair: Any) -> None:
        """Classic dispatchers lend the attributes of their socket to nobody: neither do these."""
        channel = asynccore.dispatcher(pair()[0], {})
        with pytest.raises(AttributeError, match="getsockname"):
            channel.getsockname  # type: ignore[attr-defined]  # noqa: B018
        channel.close()


class TestConstructor:
    def test_twice_on_the_same_object(self, channels: Any, engine: str, pair: Any) -> None:
        first, first_peer = pair()
        second, second_peer = pair()
        channel = Reader(first, channels)
        passes(channels, engine)
        channel.__init__(second, channels)  # type: ignore[misc]
        second_peer.send(b"second")
        drive(lambda: channel.received, channels, engine)
        assert channel.received == b"second" and channels[second.fileno()] is channel
        del first_peer

    def test_twice_with_the_same_socket(self, channels: Any, engine: str, pair: Any) -> None:
        end, peer = pair()
        channel = Reader(end, channels)
        channel.__init__(end, channels)  # type: ignore[misc]
        peer.send(b"x")
        drive(lambda: channel.received, channels, engine)
        assert list(channels.values()) == [channel]

    def test_late(self, channels: Any, engine: str, pair: Any) -> None:
        """The object lives for a while before it becomes a channel."""

        class Late(QuietReader):
            def __init__(self) -> None:
                self.received = b""

            def start(self, sock: Any) -> None:
                asynccore.dispatcher_with_send.__init__(self, sock, channels)

        channel = Late()
        assert not channel.connected and channel.socket is None
        repr(channel)
        end, peer = pair()
        channel.start(end)
        peer.send(b"x")
        drive(lambda: channel.received, channels, engine)

    def test_map_by_position(self, channels: Any, pair: Any) -> None:
        end, _ = pair()
        channel = asynccore.dispatcher(end, channels)
        assert channel._map is channels and channels == {end.fileno(): channel}
        empty = asynccore.dispatcher(None, channels)
        assert empty._map is channels and len(channels) == 1

    def test_without_calling_it_at_all(self) -> None:
        channel = asynccore.dispatcher.__new__(asynccore.dispatcher)
        assert not (channel.connected or channel.accepting or channel.connecting or channel.closing)
        assert channel.addr is None and repr(channel).startswith("<asyncore.dispatcher")


def test_a_fake_socket_with_the_least_there_is(channels: Any, engine: str, pair: Any) -> None:
    end, peer = pair()

    class Fake:
        def fileno(self) -> int:
            return end.fileno()

        def close(self) -> None:
            end.close()

        def getsockopt(self, *args: int) -> int:
            return 0

    class Own(Noting, asynccore.dispatcher):
        def handle_read(self) -> None:
            self.events.append(end.recv(10))

        def writable(self) -> bool:
            return False

    channel = Own(map=channels)
    channel.set_socket(Fake())
    channel.connected = True
    peer.send(b"x")
    drive(lambda: channel.events, channels, engine)
    channel.close()
    assert end.fileno() == -1 and not channels


def test_taking_a_socket_over_leaves_it_blocking_or_not(channels: Any, pair: Any) -> None:
    """set_socket() changes nothing; the constructor makes it non-blocking."""
    end, _ = pair()
    end.setblocking(True)
    channel = asynccore.dispatcher(map=channels)
    channel.set_socket(end)
    assert end.getblocking()
    other, _ = pair()
    other.setblocking(True)
    asynccore.dispatcher(other, channels)
    assert not other.getblocking()


def test_log_writes_to_the_standard_error(
    pair: Any, capsys: pytest.CaptureFixture[str], channels: Any
) -> None:
    asynccore.dispatcher(pair()[0], channels).log("hello")
    assert capsys.readouterr().err == "log: hello\n" and sys.exc_info() == (None, None, None)
