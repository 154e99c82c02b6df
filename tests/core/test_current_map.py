"""Which map a call is for, how it is given, and timers that belong to a channel."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
import compat
from asynccore import ChannelMap
from asynccore.engine.current import current_engine

Reader = Callable[..., "Does"]


class Does(asynccore.dispatcher_with_send):
    """Does something when it is read from."""

    def __init__(self, sock: Any, map: Any, does: Callable[[], object]) -> None:
        super().__init__(sock, map)
        self.does = does
        self.errors: list[str] = []

    def handle_read(self) -> None:
        self.recv(100)
        self.does()

    def handle_error(self) -> None:
        self.errors.append("error")


@pytest.fixture
def reader() -> Iterator[Reader]:
    made: list[Any] = []

    def make(map: Any, does: Callable[[], object] = lambda: None) -> Does:
        one, two = socket.socketpair()
        two.send(b"x")
        made.extend((channel := Does(one, map, does), two))
        return channel

    yield make
    for thing in made:
        thing.close()


@pytest.fixture(params=[ChannelMap, dict])
def map(request: pytest.FixtureRequest) -> Any:
    return request.param()


def test_a_handler_means_the_loop_that_runs_it(reader: Reader, map: Any) -> None:
    log: list[Any] = []

    async def coroutine() -> None:
        log.append("coroutine")
        compat.run_coroutine(inner())
        await asyncio.sleep(0)

    async def inner() -> None:
        log.append("inner")

    def does() -> None:
        asynccore.call_later(0, log.append, "later")
        asynccore.call_at(0, log.append, "at")
        log.append(asynccore.call_every(0.001, log.append, "every"))
        asynccore.call_soon_threadsafe(log.append, "soon")
        compat.run_coroutine(coroutine())
        assert len(asynccore.statistics().channels) == 1
        assert compat.event_loop() is compat.event_loop(map=map)

    reader(map, does)
    asynccore.loop(0.01, map=map, count=10)
    log.pop(0).cancel()
    assert {"later", "at", "every", "soon", "coroutine", "inner"} <= set(log)
    compat.event_loop(map=map).close()


def test_stop_and_graceful_close(reader: Reader, map: Any) -> None:
    reader(map, asynccore.stop)
    asynccore.loop(map=map)
    assert map
    reader(map, lambda: asynccore.graceful_close(10))
    asynccore.loop(map=map)
    assert not map
    # Neither concerned the map of everybody.
    other = reader(None)
    asynccore.loop(0, count=1)
    assert asynccore.socket_map[other._fileno] is other


def test_the_innermost_pass_counts(reader: Reader, map: Any) -> None:
    found: list[Any] = []
    inner = ChannelMap()

    def note() -> None:
        found.append(current_engine().map)

    def outer_does() -> None:
        note()
        asynccore.loop(0, map=inner, count=1)
        note()

    reader(map, outer_does)
    reader(inner, note)
    asynccore.loop(0, map=map, count=1)
    assert [it is want for it, want in zip(found, (map, inner, map), strict=True)] == [True] * 3


def test_another_thread_has_none(reader: Reader, map: Any) -> None:
    found: list[Any] = []

    def does() -> None:
        thread = threading.Thread(target=lambda: found.append(current_engine().map))
        thread.start()
        thread.join()

    reader(map, does)
    asynccore.loop(0, map=map, count=1)
    assert found[0] is asynccore.socket_map
    assert current_engine().map is asynccore.socket_map


def test_a_coroutine_means_the_loop_that_runs_it(map: Any) -> None:
    async def main() -> Any:
        server = compat.create_server(asyncio.Protocol, "127.0.0.1", 0)
        server.close()
        return compat.event_loop()

    loop = compat.ClassicLoop(map=map)
    assert loop.run_until_complete(main()) is loop
    loop.close()

    async def hosted() -> Any:
        async with compat.attach(map=map):
            found = compat.event_loop()
            one = compat.run_coroutine(asyncio.sleep(0, "done"))
            async with compat.attach(map=asynccore.socket_map):
                # With several maps on one loop, the map of everybody is the default.
                assert compat.event_loop() is found
            return found is asyncio.get_running_loop(), await one

    asyncio_loop = asyncio.SelectorEventLoop()
    assert asyncio_loop.run_until_complete(hosted()) == (True, "done")
    asyncio_loop.close()


# How a map is given -------------------------------------------------------------------------

NO_MAPS = (5, "map", ("127.0.0.1", 80), [1])

TAKE_ONE: dict[str, Callable[[Any], object]] = {
    "stop": lambda map: asynccore.stop(map=map),
    "graceful_close": lambda map: asynccore.graceful_close(map=map),
    "call_later": lambda map: asynccore.call_later(1, print, map=map),
    "call_soon_threadsafe": lambda map: asynccore.call_soon_threadsafe(print, map=map),
    "statistics": lambda map: asynccore.statistics(map=map),
    "loop": lambda map: asynccore.loop(0, map=map, count=1),
    "attach": lambda map: compat.attach(map=map),
    "event_loop": lambda map: compat.event_loop(map=map),
    "dispatcher": lambda map: _dispatcher(map),
}


def _dispatcher(map: Any) -> None:
    one, two = socket.socketpair()
    with one, two:
        asynccore.dispatcher(one, map)


@pytest.mark.parametrize("name", TAKE_ONE)
@pytest.mark.parametrize("wrong", NO_MAPS, ids=repr)
def test_what_is_no_map(name: str, wrong: Any) -> None:
    with pytest.raises(TypeError, match="a map is a dict of channels"):
        TAKE_ONE[name](wrong)


FORMER: dict[str, Callable[[Any], object]] = {
    "stop": lambda map: asynccore.stop(map),  # type: ignore[misc]
    "graceful_close": lambda map: asynccore.graceful_close(map),
    "both": lambda map: asynccore.graceful_close(map, 5),  # type: ignore[misc]
    "statistics": lambda map: asynccore.statistics(map),  # type: ignore[misc]
    "collect_statistics": lambda map: asynccore.collect_statistics(False, map),  # type: ignore[misc]
    "warn_slow_handlers": lambda map: asynccore.warn_slow_handlers(None, map),  # type: ignore[misc]
    "event_loop": lambda map: compat.event_loop(map).close(),  # type: ignore[misc]
    "ClassicLoop": lambda map: compat.ClassicLoop(map).close(),  # type: ignore[misc]
}


@pytest.mark.parametrize("name", FORMER)
def test_by_position_it_is_taken_with_a_warning(name: str, map: Any) -> None:
    with pytest.warns(DeprecationWarning, match="by name") as caught:
        FORMER[name](map)
    assert caught[0].filename == __file__
    asynccore.loop(0, map=map, count=1)


@pytest.mark.parametrize(
    ("wrong", "kind"), [(True, TypeError), (-1, ValueError), ("10", TypeError)]
)
def test_what_is_no_timeout_of_graceful_close(wrong: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        if wrong == "10":
            with pytest.warns(DeprecationWarning):
                asynccore.graceful_close(wrong)
        else:
            asynccore.graceful_close(wrong)


def test_a_map_in_the_place_of_a_loop(map: Any) -> None:
    with pytest.raises(TypeError, match=r"for a map, write map="):
        compat.attach(map)


# A channel's own timers -----------------------------------------------------------------------


def test_a_channels_timer_ends_with_it(reader: Reader, map: Any) -> None:
    log: list[str] = []
    channel = reader(map)
    timer = channel.call_later(0, log.append, "one")
    assert "append" in repr(timer)
    asynccore.loop(0.01, map=map, count=2)
    assert log == ["one"] and not timer.active
    timer = channel.call_later(60, log.append, "two")
    channel.close()
    assert not timer.active
    # It may wait to be connected again.
    again = channel.call_later(0, log.append, "again")
    asynccore.loop(0.01, map=map, count=2, until_idle=True)
    assert log == ["one", "again"] and not again.active


def test_what_a_channels_timer_raises_is_the_channels(reader: Reader, map: Any) -> None:
    channel = reader(map)

    def fail(why: BaseException) -> None:
        raise why

    channel.call_later(0, fail, ValueError())
    asynccore.loop(0.01, map=map, count=2)
    assert channel.errors == ["error"]
    channel.call_later(0, fail, asynccore.ExitNow())
    with pytest.raises(asynccore.ExitNow):
        asynccore.loop(0.01, map=map, count=2)
    with pytest.raises(TypeError, match="something to call"):
        channel.call_later(0, None)  # type: ignore[arg-type]


def test_timers_that_are_done_are_not_kept(reader: Reader, map: Any) -> None:
    channel = reader(map)
    for _ in range(200):
        channel.call_later(60, print).cancel()
    assert channel._ac_timers is not None and len(channel._ac_timers._timers) <= 17


def test_a_program_may_have_a_call_later_of_its_own() -> None:
    class Mixin:
        call_later = "mine"

    class Own(asynccore.dispatcher, Mixin):  # type: ignore[misc]
        pass

    assert Own.call_later == "mine"  # type: ignore[comparison-overlap]
