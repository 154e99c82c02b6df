"""Timeouts of a dispatcher, on a clock that jumps."""

from __future__ import annotations

import errno
import math
import sys
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asynccore
from asynccore import ChannelMap, asynchat, dispatcher, dispatcher_with_send
from asynccore.dispatchers import timeouts
from asynccore.pollers import READ, WRITE
from asynccore.testing import Fakes, engine_with_fakes
from tests.core.fakes import PATIENT, Channel, FakeSocket

NAMES = ["connect_timeout", "idle_timeout", "read_timeout", "write_timeout"]


class Timed(dispatcher_with_send):
    """Writes down which timeout expired, and when; stays unless told to close."""

    stays = False

    def __init__(self, fakes: Fakes, *takes: int, sock: bool = True, fd: int = 1000) -> None:
        self.fakes = fakes
        self.log: list[Any] = []
        super().__init__(FakeSocket(fd, takes=takes) if sock else None, fakes.engine.map)

    def handle_timeout(self, which: str) -> None:
        self.log.append((which, self.fakes.clock() - 1000.0))
        if not self.stays:
            self.close()

    def handle_connect(self) -> None:
        pass

    def handle_read(self) -> None:
        self.log.append("read")

    def handle_error(self) -> None:
        self.log.append(repr(sys.exc_info()[1]))
        self.close()


def until(fakes: Fakes, seconds: float) -> None:
    """Run until the clock, which began at 1,000, has moved so far."""
    # It keeps the loop going, and the fakes, which an empty map would give back.
    fakes.engine.map.setdefault(999, Channel(False, False))
    while fakes.clock() - 1000.0 < seconds:
        fakes.engine.run_pass(seconds - (fakes.clock() - 1000.0))
    assert fakes.engine.poller is fakes.poller


def test_classic_classes_have_none() -> None:
    for cls in (dispatcher, dispatcher_with_send, asynchat.async_chat):
        assert [getattr(cls, name) for name in NAMES] == [None] * 4
    map = ChannelMap()
    engine, _, poller = engine_with_fakes(map)
    dispatcher(FakeSocket(1000), map)
    engine.run_pass(1e4)
    assert poller.waits == [1e4]
    map.clear()
    engine.drop_wakeup()


@pytest.mark.parametrize("how", ["class", "instance", "later"])
def test_an_idle_channel_expires(any_fakes: Fakes, how: str) -> None:
    cls = type("Impatient", (Timed,), {"idle_timeout": 5} if how == "class" else {})
    channel = cls(any_fakes)
    if how == "later":
        until(any_fakes, 2.0)
    if how != "class":
        channel.idle_timeout = 5
    assert channel.idle_timeout == 5
    until(any_fakes, 20.0)
    # Without a timeout no activity is noted, so a first one counts from its assignment.
    assert channel.log == [("idle", 7.0 if how == "later" else 5.0)]
    assert 1000 not in any_fakes.engine.map
    assert len(any_fakes.engine.timers) == 0


def test_a_timeout_set_before_there_is_a_socket(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes, sock=False)
    channel.idle_timeout = 5.0
    until(any_fakes, 10.0)
    assert channel.log == []
    channel.set_socket(FakeSocket(1000))
    channel.connected = True
    until(any_fakes, 30.0)
    assert channel.log == [("idle", 15.0)]


@settings(PATIENT, max_examples=50)
@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 10))
def test_every_event_puts_idleness_off(events: list[int], timeout: int) -> None:
    map = ChannelMap()
    fakes = engine_with_fakes(map)
    channel = Timed(fakes)
    channel.idle_timeout = timeout
    last = 0
    for at in sorted(events):
        if at >= last + timeout:
            break
        fakes.poller.report((1000, READ), after=at)
        last = at
    until(fakes, 50.0)
    assert [item for item in channel.log if item != "read"] == [("idle", last + timeout)]
    map.clear()
    fakes.engine.drop_wakeup()


def test_an_active_channel_costs_one_timer(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Timed(fakes)
    channel.idle_timeout = 60.0
    for at in range(1000):
        fakes.poller.report((1000, READ), after=at / 100)
    timers = fakes.engine.timers
    add = timers.add
    added: list[Any] = []
    monkeypatch.setattr(timers, "add", lambda timer: [added.append(timer), add(timer)][1])
    until(fakes, 10.0)
    assert channel.log.count("read") == 1000
    assert len(timers) == 1 and len(added) <= 2
    channel.close()


def test_a_channel_that_stays_is_idle_anew(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes)
    channel.stays = True
    channel.idle_timeout = 5
    until(any_fakes, 16.0)
    assert channel.log == [("idle", 5.0), ("idle", 10.0), ("idle", 15.0)]
    channel.idle_timeout = None
    until(any_fakes, 100.0)
    assert len(channel.log) == 3


def test_a_shorter_timeout_counts_at_once_and_a_longer_one_too(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes)
    channel.stays = True
    channel.idle_timeout = 50
    until(any_fakes, 2.0)
    channel.idle_timeout = 5
    until(any_fakes, 6.0)
    assert channel.log == [("idle", 5.0)]
    channel.idle_timeout = 20
    until(any_fakes, 26.0)
    assert channel.log == [("idle", 5.0), ("idle", 25.0)]


def test_a_listener_is_not_idle(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes)
    channel.idle_timeout = 5
    channel.listen(5)
    until(any_fakes, 50.0)
    assert channel.log == []


def connecting(fakes: Fakes) -> Timed:
    channel = Timed(fakes, sock=False)
    channel.connect_timeout, channel.idle_timeout = 5, 3
    sock = FakeSocket(1000)
    sock.connect_result = errno.EINPROGRESS
    channel.set_socket(sock)
    channel.connect(("192.0.2.1", 80))
    return channel


def test_a_connect_expires(any_fakes: Fakes) -> None:
    channel = connecting(any_fakes)
    until(any_fakes, 50.0)
    assert channel.log == [("connect", 5.0)]


def test_an_established_connection_counts_its_idleness(any_fakes: Fakes) -> None:
    channel = connecting(any_fakes)
    any_fakes.poller.report((1000, WRITE), after=2.0)
    until(any_fakes, 50.0)
    assert channel.log == [("idle", 5.0)]


def test_a_connect_timeout_set_while_it_connects(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes, sock=False)
    sock = FakeSocket(1000)
    sock.connect_result = errno.EINPROGRESS
    channel.set_socket(sock)
    channel.connect(("192.0.2.1", 80))
    until(any_fakes, 1.0)
    channel.connect_timeout = 5
    until(any_fakes, 50.0)
    assert channel.log == [("connect", 6.0)]


def test_output_that_nobody_takes_expires(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes, 2, 1, 0)
    channel.write_timeout = 5
    channel.send(b"hello")
    any_fakes.poller.report((1000, WRITE), after=3.0)
    # Input is no progress.
    any_fakes.poller.report((1000, READ), after=6.0)
    until(any_fakes, 50.0)
    assert [item for item in channel.log if item != "read"] == [("write", 8.0)]


def test_output_that_was_taken_does_not(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes, 2)
    channel.write_timeout = 5
    channel.send(b"hello")
    any_fakes.poller.report((1000, WRITE), after=3.0)
    until(any_fakes, 50.0)
    assert channel.log == [] and channel.socket.output == b"hello"
    channel.close()


def test_a_deadline_is_not_put_off(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes)
    channel.idle_timeout = 4
    channel.set_deadline(10)
    for at in range(1, 10):
        any_fakes.poller.report((1000, READ), after=at)
    until(any_fakes, 20.0)
    assert channel.log[-1] == ("deadline", 10.0)
    assert channel.log[:-1] == ["read"] * (len(channel.log) - 1)


def test_a_deadline_may_be_moved_and_taken_back(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes)
    channel.stays = True
    channel.set_deadline(10)
    channel.set_deadline(20)
    until(any_fakes, 15.0)
    assert channel.log == []
    channel.set_deadline(1)
    until(any_fakes, 30.0)
    assert channel.log == [("deadline", 16.0)]
    channel.set_deadline(5)
    channel.set_deadline(None)
    until(any_fakes, 60.0)
    assert channel.log == [("deadline", 16.0)]


def test_a_deadline_needs_a_socket() -> None:
    with pytest.raises(RuntimeError, match="has no socket yet that a deadline could be for"):
        dispatcher().set_deadline(5)


def test_close_and_another_socket_take_everything_back(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes)
    channel.set_deadline(5)
    channel.set_socket(FakeSocket(1001))
    until(any_fakes, 10.0)
    channel.set_deadline(5)
    channel.close()
    until(any_fakes, 30.0)
    assert channel.log == []
    assert len(any_fakes.engine.timers) == 0


def refuses(channel: Timed, name: str, value: Any, error: type[Exception], message: str) -> None:
    """A deadline that is none is an error; in an attribute it may be the program's own."""
    channel.idle_timeout = 5
    if name == "deadline":
        with pytest.raises(error, match=message):
            channel.set_deadline(value)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        setattr(channel, name, value)
    assert getattr(channel, name) is value
    assert (channel._ac_idle_timeout, channel._ac_write_timeout) == (5, None)
    if not isinstance(value, list):
        assert message in str(caught[0].message) and caught[0].category is RuntimeWarning
        assert caught[0].filename == __file__
    assert len(caught) == (not isinstance(value, list))
    setattr(channel, name, 7)
    assert getattr(channel, name) == 7


def test_what_handle_error_raises_comes_out_of_the_loop(any_fakes: Fakes) -> None:
    class Strict(Timed):
        def handle_timeout(self, which: str) -> None:
            raise ZeroDivisionError

        def handle_error(self) -> None:
            raise

    channel = Strict(any_fakes)
    channel.set_deadline(5)
    with pytest.raises(ZeroDivisionError):
        until(any_fakes, 10.0)
    channel.close()


@pytest.mark.parametrize("value", ["5", [], True, b"1"])
@pytest.mark.parametrize("name", [*NAMES, "deadline"])
def test_what_is_no_number_is_refused(fakes: Fakes, name: str, value: Any) -> None:
    channel = Timed(fakes)
    refuses(channel, name, value, TypeError, "is None or a number of seconds, not")


@pytest.mark.parametrize("value", [-1, -0.5, math.nan])
@pytest.mark.parametrize("name", [*NAMES, "deadline"])
def test_a_negative_number_is_refused(fakes: Fakes, name: str, value: Any) -> None:
    channel = Timed(fakes)
    refuses(channel, name, value, ValueError, "is None or at least 0 seconds, not")


def test_a_negative_number_in_a_class() -> None:
    with pytest.warns(RuntimeWarning, match="idle_timeout is None or at least 0 seconds"):
        wrong = type("Wrong", (dispatcher,), {"idle_timeout": -1})
    assert wrong.idle_timeout == -1  # type: ignore[attr-defined]
    assert not wrong._ac_has_timeouts  # type: ignore[attr-defined]


def test_subclasses_inherit_and_override() -> None:
    class Base(dispatcher):
        idle_timeout = 5

    class Child(Base):
        idle_timeout = None
        write_timeout = 7

    assert (Base.idle_timeout, Base().idle_timeout) == (5, 5)
    assert (Child().idle_timeout, Child.write_timeout, Base.write_timeout) == (None, 7, None)

    class Computed(dispatcher):
        @property
        def idle_timeout(self) -> float:  # type: ignore[override]
            return 3.0

    assert Computed().idle_timeout == 3.0


def test_by_default_it_is_logged_and_closed(
    fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    channel = dispatcher(FakeSocket(1000), fakes.engine.map)
    channel.idle_timeout = 5
    channel.ignore_log_types = frozenset({"warning"})
    until(fakes, 10.0)
    out = capsys.readouterr().out
    assert out.startswith("error: idle timeout, closing channel <asyncore.dispatcher connected")
    assert channel.socket.closed == 1


def test_what_handle_timeout_raises_goes_to_handle_error(any_fakes: Fakes) -> None:
    class Failing(Timed):
        def handle_timeout(self, which: str) -> None:
            raise ZeroDivisionError("oops")

    channel = Failing(any_fakes)
    channel.idle_timeout = 5
    until(any_fakes, 10.0)
    assert channel.log == ["ZeroDivisionError('oops')"]


def test_exit_now_leaves_handle_timeout(any_fakes: Fakes) -> None:
    class Leaving(Timed):
        def handle_timeout(self, which: str) -> None:
            raise asynccore.ExitNow

    channel = Leaving(any_fakes)
    channel.idle_timeout = 5
    with pytest.raises(asynccore.ExitNow):
        until(any_fakes, 10.0)
    channel.close()


def test_the_hooks_belong_to_dispatchers() -> None:
    bare = timeouts.Timed()
    with pytest.raises(NotImplementedError):
        bare.log_info("hello")
    with pytest.raises(NotImplementedError):
        bare.handle_close()
    bare._ac_rearm()
    assert bare._ac_times is None


def test_who_gets_the_number_of_a_channel_that_was_never_asked(any_fakes: Fakes) -> None:
    """Its timeouts end with it, though the loop never knew it."""
    keeper = Timed(any_fakes, fd=2000)
    until(any_fakes, 0.0)
    gone = Timed(any_fakes)
    gone.idle_timeout = 5
    gone.close()
    other = Timed(any_fakes, 0, 1)
    other.send(b"x")  # which waits, until there is room
    any_fakes.poller.report((1000, WRITE))
    until(any_fakes, 20.0)
    assert gone.log == [] and len(any_fakes.engine.timers) == 0
    other.close()
    keeper.close()


# What comes from the peer alone ---------------------------------------------------------------


def test_our_own_output_does_not_put_a_read_timeout_off(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes)
    channel.idle_timeout = 5
    channel.read_timeout = 12
    for at in (3.0, 6.0, 9.0):
        any_fakes.engine.timers.call_later(at, channel.send, b"x")
    until(any_fakes, 20.0)
    # The idle one counts from what was sent last, the other from the beginning.
    assert channel.log == [("read", 12.0)]


def test_what_comes_puts_it_off(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes)
    channel.stays = True
    channel.read_timeout = 5
    any_fakes.poller.report((1000, READ), after=3.0)
    any_fakes.poller.report((1000, WRITE), after=4.0)
    until(any_fakes, 14.0)
    assert [item for item in channel.log if item != "read"] == [("read", 8.0), ("read", 13.0)]


def test_nobody_listens_to_a_paused_channel(any_fakes: Fakes) -> None:
    channel = Timed(any_fakes)
    channel.read_timeout = 5
    any_fakes.engine.timers.call_later(2.0, channel.pause_reading)
    any_fakes.engine.timers.call_later(20.0, channel.resume_reading)
    until(any_fakes, 40.0)
    assert channel.log == [("read", 25.0)]
