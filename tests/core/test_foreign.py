"""Channels of other copies of asyncore: what is recognised, and what they are made to report."""

from __future__ import annotations

import socket
import sys
from types import ModuleType
from typing import Any

import pytest

import asynccore
from asynccore import testing
from asynccore.engine import engine_for
from asynccore.engine.foreign import ReportingMap, follow, is_foreign
from asynccore.errors import leaves_loop
from asynccore.running.hosting import LOOK, Attachment


class Channel:
    """Not a dispatcher, but what a map may hold."""

    accepting = False

    def __init__(self, map: Any = None) -> None:
        self._map = map
        self.wants = False
        self.does: Any = lambda: None
        self.errors: list[BaseException | None] = []

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return self.wants

    def handle_read_event(self) -> None:
        self.does()

    def handle_write_event(self) -> None:
        self.does()

    def handle_close(self) -> None:
        self.does()

    def handle_error(self) -> None:
        self.errors.append(sys.exc_info()[1])


def copy_of_asyncore(name: str, **names: Any) -> Any:
    """Return a module that has what makes an `ExitNow` known."""
    module = ModuleType(name)
    exit_now = type("ExitNow", (Exception,), {"__module__": name})
    dispatcher = type("dispatcher", (), {"__module__": name})
    vars(module).update({"ExitNow": exit_now, "dispatcher": dispatcher, "loop": print, **names})
    return module


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = copy_of_asyncore("program.lib.asyncore")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


# -- ExitNow ----------------------------------------------------------------------------------


def test_the_exit_now_of_a_copy_is_known(other: Any) -> None:
    assert leaves_loop(other.ExitNow())
    assert leaves_loop(type("Enough", (other.ExitNow,), {})())


def test_any_other_exit_now_is_an_error(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class ExitNow(Exception):
        pass

    assert not leaves_loop(ExitNow())
    assert not leaves_loop(ValueError())
    # A program's own, beside the names that it has from asyncore.
    monkeypatch.setattr(other.dispatcher, "__module__", "asyncore")
    assert not leaves_loop(other.ExitNow())
    monkeypatch.undo()
    assert not leaves_loop(other.ExitNow())  # its module is not loaded any more


def test_a_module_needs_a_loop_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module = copy_of_asyncore("program.channels")
    del module.loop
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert not leaves_loop(module.ExitNow())


def leave(why: BaseException) -> Any:
    def does() -> None:
        raise why

    return does


@pytest.mark.parametrize("mask", [testing.READ, testing.READ | testing.HANGUP, testing.INVALID])
def test_it_leaves_from_every_event(other: Any, mask: int) -> None:
    channels: dict[int, Any] = {}
    fakes = testing.engine_with_fakes(channels)
    poller = fakes.poller
    channel = channels[7] = Channel()
    channel.does = leave(other.ExitNow("enough"))
    poller.report((7, mask))
    with pytest.raises(other.ExitNow):
        asynccore.loop(map=channels, count=2)
    assert channel.errors == []


def test_it_leaves_from_a_quiet_reader(other: Any) -> None:
    channels: dict[int, Any] = {}
    fakes = testing.engine_with_fakes(channels)
    poller = fakes.poller
    channel = channels[7] = type("Quiet", (Channel,), {"writable": lambda self: False})()
    channel.does = leave(other.ExitNow("enough"))
    poller.report((7, testing.READ))
    with pytest.raises(other.ExitNow):
        asynccore.loop(map=channels, count=2)
    assert channel.errors == []


def test_it_leaves_from_timers_and_errands(other: Any) -> None:
    channels: dict[int, Any] = {7: Channel()}
    engine, _, _ = testing.engine_with_fakes(channels)
    asynccore.call_later(1.0, leave(other.ExitNow("timer")), map=channels)
    with pytest.raises(other.ExitNow, match="timer"):
        asynccore.loop(map=channels, count=2)
    engine.deferred.append((leave(other.ExitNow("errand")), ()))
    with pytest.raises(other.ExitNow, match="errand"):
        asynccore.loop(map=channels, count=2)

    class Closing(Channel):
        def close(self) -> None:
            raise other.ExitNow("errand of a channel")

    engine.deferred.append((Closing().close, ()))
    with pytest.raises(other.ExitNow, match="errand of a channel"):
        asynccore.loop(map=channels, count=2)


def test_it_leaves_from_the_classic_functions(other: Any) -> None:
    channel = Channel()
    channel.does = leave(other.ExitNow("enough"))
    for call in (
        lambda: asynccore.read(channel),
        lambda: asynccore.write(channel),
        lambda: asynccore.readwrite(channel, testing.READ),
    ):
        with pytest.raises(other.ExitNow):
            call()
    assert channel.errors == []
    channel.close = channel.does  # type: ignore[attr-defined]
    with pytest.raises(other.ExitNow):
        asynccore.close_all({7: channel}, ignore_all=True)


# -- the view ---------------------------------------------------------------------------------


def test_who_is_foreign(new_map: dict[int, Any]) -> None:
    assert is_foreign(Channel())
    assert not is_foreign(asynccore.dispatcher(map=new_map))


def test_a_view_is_the_mapping_and_reports() -> None:
    channels: dict[int, Any] = {}
    engine, _, poller = testing.engine_with_fakes(channels)
    one = channels[7] = Channel(channels)
    asynccore.poll(0.0, channels)
    view = one._map
    assert isinstance(view, ReportingMap)
    assert (len(view), list(view), view[7], 7 in view) == (1, [7], one, True)
    assert repr(view) == f"ReportingMap({channels!r})"
    assert engine_for(view) is engine
    two = view[8] = Channel(view)
    assert channels == {7: one, 8: two}
    asynccore.poll(0.0, channels)
    assert set(poller.interest) >= {7, 8}
    del view[7]
    assert 7 not in poller.interest  # at once, for the descriptor is closed next
    assert channels == {8: two}
    view.clear()
    assert channels == {}


def test_the_same_object_put_in_again_is_watched_anew() -> None:
    channels: dict[int, Any] = {}
    fakes = testing.engine_with_fakes(channels)
    poller = fakes.poller
    one = channels[7] = Channel(channels)
    asynccore.poll(0.0, channels)
    one._map[7] = one
    poller.sets.clear()
    asynccore.poll(0.0, channels)
    assert [fd for fd, mask in poller.sets if mask] == [7]
    assert 7 in poller.interest


def test_no_view_where_it_is_not_wanted() -> None:
    channels: dict[int, Any] = {}
    engine, _, _ = testing.engine_with_fakes(channels)
    elsewhere: dict[int, Any] = {}

    class Fixed(Channel):
        _map = property(lambda self: channels, lambda self, value: value and self._refuse())

        def _refuse(self) -> None:
            raise AttributeError("read-only")

    stranger = Channel(elsewhere)
    follow(stranger, channels, engine)
    assert stranger._map is elsewhere
    fixed = Fixed()
    follow(fixed, channels, engine)
    assert fixed._map is channels
    orphan = Channel(channels)
    follow(orphan, channels, None)
    assert orphan._map is channels


def test_a_map_that_reports_needs_none() -> None:
    channels = asynccore.ChannelMap()
    testing.engine_with_fakes(channels)
    channel = channels[7] = Channel(channels)
    asynccore.poll(0.0, channels)
    assert channel._map is channels


def test_ours_keep_their_map(new_map: dict[int, Any]) -> None:
    one, two = socket.socketpair()
    with one:
        channel = asynccore.dispatcher(two, new_map)
        asynccore.poll(0.0, new_map)
        assert channel._map is new_map
        channel.close()


def test_a_report_from_another_thread_is_done_with() -> None:
    """What another thread took out of a plain map must not keep the loop from waiting."""
    channels: dict[int, Any] = {7: Channel(), 8: Channel()}
    engine, _clock, poller = testing.engine_with_fakes(channels)
    engine.interest.map_changes[7] = (
        None  # as `removed` does, on a thread that doesn't hold the turn
    )
    del channels[7]
    poller.waits.clear()
    asynccore.loop(timeout=5.0, map=channels, count=1)
    assert engine.interest.map_changes == {}
    assert poller.waits[-1]
    assert 7 not in poller.interest


# -- under a host -----------------------------------------------------------------------------


class Host:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    def watch(self, fd: int, read: bool, write: bool, callback: Any) -> None: ...

    def unwatch(self, fd: int) -> None: ...

    def call_later(self, delay: float, callback: Any) -> Any:
        self.delays.append(delay)
        return self

    def cancel(self) -> None: ...


def delays(channels: Any) -> list[float]:
    engine = engine_for(channels)
    engine.clock = testing.FakeClock()
    engine.use("select")
    host = Host()
    attachment = Attachment(engine, host)
    attachment.begin()
    attachment.detach()
    channels.clear()
    engine.run_due()  # gives poller and wake-up back
    return [round(delay, 6) for delay in host.delays]


def test_a_host_looks_again_where_nothing_is_reported() -> None:
    assert delays({}) == [LOOK]
    assert delays({0: Channel()}) == [LOOK]
    assert delays(asynccore.ChannelMap({0: Channel()})) == [LOOK]
    quiet = type("Quiet", (Channel,), {"writable": lambda self: False})
    assert delays(asynccore.ChannelMap({0: quiet()})) == [LOOK]


@pytest.mark.parametrize("kind", [dict, asynccore.ChannelMap])
def test_a_host_waits_for_ever_where_all_is_reported(kind: Any) -> None:
    channels = kind()
    one, two = socket.socketpair()
    with one:
        channel = asynccore.dispatcher_with_send(two, channels)
        assert delays(channels) == []
        channel.close()
    assert delays(asynccore.ChannelMap()) == []
