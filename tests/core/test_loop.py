"""loop, poll, and the functions by which a program drives channels itself."""

from __future__ import annotations

import errno
import re
import runpy
import select
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, loop, neighbours
from asynccore.testing import Fakes
from tests.core.fakes import Channel, Quiet

LEAVING = [asynccore.ExitNow, KeyboardInterrupt, SystemExit]


class Failing(Channel):
    """Raises in every handler."""

    def __init__(self, why: BaseException | type[BaseException]) -> None:
        super().__init__()
        self.why = why

    def fail(self) -> None:
        raise self.why

    handle_read_event = handle_write_event = handle_expt_event = fail

    def close(self) -> None:
        self.log.append("closed")
        raise self.why


# Driving channels ---------------------------------------------------------------------------

DRIVERS = [asynccore.read, asynccore.write, asynccore._exception]


@pytest.mark.parametrize(
    ("driver", "event"), [*zip(DRIVERS, ["read", "write", "expt"], strict=True)]
)
def test_a_driver_calls_its_event(driver: Any, event: str) -> None:
    channel = Channel()
    driver(channel)
    assert channel.log == [event]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_hands_exceptions_to_handle_error(driver: Any) -> None:
    channel = Failing(ZeroDivisionError("oops"))
    driver(channel)
    assert channel.log == ["error ZeroDivisionError('oops')"]


@pytest.mark.parametrize("driver", [*DRIVERS, lambda c: asynccore.readwrite(c, select.POLLIN)])
@pytest.mark.parametrize("why", LEAVING)
def test_what_leaves_the_loop_passes(driver: Any, why: Any) -> None:
    with pytest.raises(why):
        driver(Failing(why))


@pytest.mark.skipif(not hasattr(select, "POLLIN"), reason="poll(2) is not on Windows")
@pytest.mark.parametrize(
    ("flags", "log"),
    [
        ("POLLIN", ["read"]),
        ("POLLOUT", ["write"]),
        ("POLLPRI", ["expt"]),
        ("POLLIN POLLOUT POLLPRI", ["read", "write", "expt"]),
        ("POLLHUP", ["close"]),
        ("POLLERR", ["close"]),
        ("POLLNVAL", ["close"]),
        ("POLLIN POLLHUP", ["read", "close"]),
        ("", []),
    ],
)
def test_readwrite_takes_the_bits_of_poll(flags: str, log: list[str]) -> None:
    channel = Channel()
    asynccore.readwrite(channel, sum(getattr(select, flag) for flag in flags.split()))
    assert channel.log == log


@pytest.mark.parametrize(
    ("why", "log"),
    [
        (OSError(errno.ECONNRESET, "gone"), ["close"]),
        (OSError(errno.EIO, "broken"), [f"error {OSError(errno.EIO, 'broken')!r}"]),
        (ZeroDivisionError("oops"), ["error ZeroDivisionError('oops')"]),
    ],
)
def test_readwrite_tells_the_end_from_errors(why: Exception, log: list[str]) -> None:
    channel = Failing(why)
    asynccore.readwrite(channel, asynccore.loop.__globals__["_POLLIN"])
    assert channel.log == log


# poll ---------------------------------------------------------------------------------------

POLLS = pytest.mark.parametrize("poll", [asynccore.poll, asynccore.poll2, asynccore.poll3])


@POLLS
def test_poll_runs_one_pass(any_fakes: Fakes, poll: Any) -> None:
    engine, _, poller = any_fakes
    channel = Quiet(1000, engine.map)
    poller.report((1000, 1), after=2.0)
    poll(5.0, engine.map)
    assert channel.log == ["read"]
    assert poller.waits == [1.0, 4.0]  # what the program did before is reviewed after a second
    poller.waits.clear()
    poll(5.0, map=engine.map)
    assert poller.waits == [5.0]
    poll(map=engine.map)
    assert poller.waits[-1] == 0


@POLLS
def test_poll_of_an_empty_map_returns_at_once(poll: Any) -> None:
    map = ChannelMap()
    poll(None, map)
    assert map.engine is None


@pytest.mark.parametrize("call", [asynccore.poll, loop])
@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_negative_timeout_is_refused(fakes: Fakes, call: Any, timeout: float) -> None:
    Quiet(1000, fakes.engine.map)
    with pytest.raises(ValueError, match="a timeout is None or at least 0 seconds, not"):
        call(timeout, map=fakes.engine.map)


def test_the_default_map_is_looked_up_at_call_time(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asynccore, "socket_map", fakes.engine.map)
    channel = Quiet(1000, fakes.engine.map)
    asynccore.poll(0)
    loop(0, count=1)
    ran: list[int] = []
    asynccore.call_soon_threadsafe(ran.append, 1)
    asynccore.call_later(0, ran.append, 2)
    asynccore.poll(0)
    assert ran == [1, 2]
    asynccore.stop()
    loop(0)
    assert not fakes.engine.stopping
    channel.socket.close = lambda: None
    asynccore.close_all()
    assert not fakes.engine.map


# loop ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "passes"), [(0, 0), (1, 1), (3, 3), (2.5, 3), (-1, 0)])
@pytest.mark.parametrize("use_poll", [False, True])
def test_loop_does_so_many_passes(
    any_fakes: Fakes, count: float, passes: int, use_poll: bool
) -> None:
    engine, _, poller = any_fakes
    Quiet(1000, engine.map)
    loop(2.0, use_poll, engine.map, count)
    assert poller.waits == [2.0] * passes


def test_loop_waits_30_seconds_unless_told(any_fakes: Fakes) -> None:
    Quiet(1000, any_fakes.engine.map)
    loop(map=any_fakes.engine.map, count=1)
    assert any_fakes.poller.waits == [30.0]


def test_loop_ends_with_the_last_channel(any_fakes: Fakes) -> None:
    engine, clock, _ = any_fakes
    channel = Quiet(1000, engine.map)
    asynccore.call_later(100.0, channel.close, map=engine.map)
    loop(map=engine.map)
    assert clock() == 1100.0
    loop(map=engine.map)


def test_loop_of_an_empty_map_returns_at_once() -> None:
    map = ChannelMap()
    loop(None, map=map)
    assert map.engine is None


@pytest.mark.parametrize("empty", [True, False])
def test_an_unknown_poller_is_refused(fakes: Fakes, empty: bool) -> None:
    if not empty:
        Quiet(1000, fakes.engine.map)
    with pytest.raises(ValueError, match="unknown engine 'iocp'"):
        loop(map=fakes.engine.map, poller="iocp")
    assert fakes.poller.waits == []


def test_the_poller_of_the_environment(monkeypatch: pytest.MonkeyPatch, poller_name: str) -> None:
    monkeypatch.setenv("ASYNCCORE_ENGINE", poller_name)
    map = ChannelMap({None: Channel(False, False)})
    loop(0, map=map, count=1)
    assert map.engine.poller.name == poller_name
    map.clear()
    map.engine.run_pass(0)


@pytest.mark.parametrize(("use_poll", "name"), [(False, "poll"), (True, "poll2")])
@pytest.mark.parametrize("count", [None, 2])
def test_a_poll_function_of_the_programs_own_is_used(
    monkeypatch: pytest.MonkeyPatch, use_poll: bool, name: str, count: int | None
) -> None:
    map = {1000: Channel()}
    calls: list[Any] = []

    def mine(timeout: float, given: Any) -> None:
        calls.append((timeout, given is map))
        if len(calls) == 3:
            map.clear()

    monkeypatch.setattr(asynccore, name, mine)
    loop(5.0, use_poll, map, count)
    assert calls == [(5.0, True)] * (count or 3)


@pytest.mark.parametrize("why", LEAVING)
def test_an_exception_ends_the_loop_and_stop_is_forgotten(any_fakes: Fakes, why: Any) -> None:
    engine, _, poller = any_fakes
    channel = Quiet(1000, engine.map)

    def leave() -> None:
        asynccore.stop(map=engine.map)
        raise why

    channel.on_read = leave
    poller.report((1000, 1))
    with pytest.raises(why):
        loop(map=engine.map)
    assert not engine.stopping


# close_all ----------------------------------------------------------------------------------


def test_close_all_closes_and_empties(any_map: Any) -> None:
    channels = [Quiet(fd, any_map) for fd in (1000, 1001)]
    any_map[5] = Failing(OSError(errno.EBADF, "closed"))
    sockets = [channel.socket for channel in channels]
    asynccore.close_all(any_map)
    assert not any_map
    assert [sock.closed for sock in sockets] == [1, 1]


@pytest.mark.parametrize("why", [OSError(errno.EIO, "broken"), ZeroDivisionError("oops")])
@pytest.mark.parametrize("ignore_all", [False, True])
def test_close_all_and_exceptions(why: Exception, ignore_all: bool) -> None:
    map: dict[int, Any] = {5: Failing(why)}
    if ignore_all:
        asynccore.close_all(map, ignore_all=True)
        assert map == {}
    else:
        with pytest.raises(type(why)):
            asynccore.close_all(map)


@pytest.mark.parametrize("why", LEAVING)
def test_close_all_lets_through_what_leaves_the_loop(why: Any) -> None:
    with pytest.raises(why):
        asynccore.close_all({5: Failing(why)}, ignore_all=True)


# Timers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("callback", [None, "print"])
def test_what_cannot_be_called_is_refused(fakes: Fakes, callback: Any) -> None:
    with pytest.raises(TypeError, match="a timer needs something to call"):
        asynccore.call_later(1.0, callback, map=fakes.engine.map)
    with pytest.raises(TypeError, match="a timer needs something to call"):
        asynccore.call_at(1.0, callback, map=fakes.engine.map)
    assert len(fakes.engine.timers) == 0


def test_call_later_returns_a_timer(fakes: Fakes) -> None:
    timer = asynccore.call_later(1.0, print, map=fakes.engine.map)
    assert isinstance(timer, asynccore.Timer) and timer.active
    assert timer.when == fakes.clock() + 1.0
    assert asynccore.call_at(5000.0, print, map=fakes.engine.map).when == 5000.0


@pytest.mark.parametrize("interval", [0, -1.0, float("nan"), float("-inf")])
def test_an_interval_is_above_0(fakes: Fakes, interval: float) -> None:
    with pytest.raises(ValueError, match="an interval is more than 0 seconds, not"):
        asynccore.call_every(interval, print, map=fakes.engine.map)
    with pytest.raises(TypeError, match="a timer needs something to call"):
        asynccore.call_every(1.0, None, map=fakes.engine.map)  # type: ignore[arg-type]
    assert len(fakes.engine.timers) == 0


def test_call_every_calls_until_it_is_cancelled(any_fakes: Fakes) -> None:
    engine, clock, poller = any_fakes
    channel = Quiet(1000, engine.map)
    times: list[float] = []

    def tick(number: int) -> None:
        assert number == 7
        times.append(clock())
        if len(times) == 4:
            timer.cancel()
            channel.close()

    timer = asynccore.call_every(1.5, tick, 7, map=engine.map)
    assert isinstance(timer, asynccore.Timer) and timer.interval == 1.5
    loop(map=engine.map)
    assert times == [1001.5, 1003.0, 1004.5, 1006.0]
    assert 0 not in poller.waits


def test_an_exception_does_not_end_a_repetition(
    fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    channel = Quiet(1000, fakes.engine.map)
    times: list[float] = []

    def fail() -> None:
        times.append(fakes.clock())
        if len(times) == 3:
            channel.close()
        raise ZeroDivisionError

    asynccore.call_every(2.0, fail, map=fakes.engine.map).reset(1.0)
    loop(map=fakes.engine.map)
    assert times == [1001.0, 1003.0, 1005.0]
    assert capsys.readouterr().err.count("ZeroDivisionError") >= 3


# until_idle ---------------------------------------------------------------------------------


def test_until_idle_goes_on_while_a_timer_or_a_callback_waits(any_fakes: Fakes) -> None:
    engine, clock, poller = any_fakes
    ran: list[object] = []

    def later() -> None:
        ran.append(clock())
        asynccore.call_soon_threadsafe(ran.append, "soon", map=engine.map)

    asynccore.call_later(100.0, later, map=engine.map)
    asynccore.call_later(50.0, ran.append, "cancelled", map=engine.map).cancel()
    loop(map=engine.map)
    assert ran == [], "timers alone don't keep a loop"
    loop(map=engine.map, until_idle=True)
    assert ran == [1100.0, "soon"]
    assert poller.waits == [30.0, 30.0, 30.0, 10.0]
    assert engine.wakeup is None and poller.closed and engine.poller is None


def test_until_idle_takes_channels_that_come_and_go(any_fakes: Fakes) -> None:
    engine, clock, poller = any_fakes
    made: list[Quiet] = []

    def open_one() -> None:
        made.append(Quiet(1000, engine.map))
        made[-1].on_read = made[-1].close
        poller.report((1000, 1), after=2.0)
        asynccore.call_later(7.0, made.clear, map=engine.map)

    asynccore.call_later(3.0, open_one, map=engine.map)
    loop(map=engine.map, until_idle=True)
    assert clock() == 1010.0 and made == []


def test_until_idle_of_nothing_returns_at_once(any_fakes: Fakes) -> None:
    loop(None, map=any_fakes.engine.map, until_idle=True)
    assert any_fakes.poller.waits == []


def test_stop_ends_until_idle(any_fakes: Fakes) -> None:
    engine, clock, _ = any_fakes
    asynccore.call_every(1.0, int, map=engine.map)
    asynccore.call_later(5.5, asynccore.stop, map=engine.map)
    loop(map=engine.map, until_idle=True)
    assert clock() == 1005.5
    assert engine.loops == []


def test_until_idle_counts_passes(any_fakes: Fakes) -> None:
    engine, clock, _ = any_fakes
    asynccore.call_every(1.0, int, map=engine.map)
    loop(map=engine.map, until_idle=True, count=2)
    assert clock() == 1002.0


def test_a_loop_without_channels_inside_of_one_with(any_fakes: Fakes) -> None:
    """Each goes by its own wish."""
    engine, clock, _ = any_fakes
    channel = Quiet(1000, engine.map)

    def inside() -> None:
        channel.close()
        loop(map=engine.map, until_idle=True)
        assert clock() == 1006.0

    asynccore.call_later(1.0, inside, map=engine.map)
    asynccore.call_later(6.0, int, map=engine.map)
    loop(map=engine.map)
    assert clock() == 1006.0 and engine.loops == []
    assert engine.wakeup is None


def test_a_thread_may_give_a_loop_without_channels_something_to_do(poller_name: str) -> None:
    map = ChannelMap()
    ran: list[int] = []
    waiting = threading.Event()

    def other() -> None:
        waiting.wait()
        asynccore.call_soon_threadsafe(lambda: (ran.append(1), patience.cancel()), map=map)

    patience = asynccore.call_later(600.0, ran.append, 2, map=map)
    asynccore.call_soon_threadsafe(waiting.set, map=map)
    thread = threading.Thread(target=other)
    thread.start()
    loop(map=map, until_idle=True, poller=poller_name)
    thread.join()
    assert ran == [1]


# The command line ---------------------------------------------------------------------------


def test_the_module_runs_the_command_line_beside_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With another `compat` earlier in the path, as a program's folder may have one."""
    monkeypatch.setattr(sys, "argv", ["asynccore", "--help"])
    (tmp_path / "compat.py").write_text("raise ZeroDivisionError")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "asynccore.__main__", raising=False)  # of another test
    # The package is loaded under another name, and known by that.
    monkeypatch.setattr(neighbours, "_loaded", dict(neighbours._loaded))
    monkeypatch.setattr(asynccore, "compat", None, raising=False)
    ours = re.compile(r"(asynccore\.)?compat(\..*)?")
    saved = {name: m for name, m in sys.modules.items() if ours.fullmatch(name)}
    for name in saved:
        del sys.modules[name]
    try:
        with pytest.raises(SystemExit) as caught:
            runpy.run_module("asynccore", run_name="__main__", alter_sys=False)
    finally:
        for name in [name for name in sys.modules if ours.fullmatch(name)]:
            del sys.modules[name]
        sys.modules.update(saved)
    assert caught.value.code in (0, None)
    assert "asynccore" in capsys.readouterr().out
