"""How long a loop waits, and on how many descriptors."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import pollers, testing
from tests.corners.support import run_script


class Still:
    """A channel for the fakes: there is no descriptor behind it."""

    accepting = False

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        pass

    handle_write_event = handle_expt_event = handle_close = handle_error = handle_read_event


@pytest.fixture
def fakes() -> Iterator[testing.Fakes]:
    channels = asynccore.ChannelMap()
    made = testing.engine_with_fakes(channels)
    channels[3] = Still()
    yield made
    channels.clear()


@pytest.mark.parametrize("timeout", [0.0001, 0.0005, 0.0009, 0.0015])
def test_less_than_a_millisecond_is_not_nothing(timeout: float, fakes: Any) -> None:
    asynccore.loop(timeout=timeout, map=fakes.engine.map, count=1)
    assert fakes.poller.waits == [pytest.approx(timeout)]


def test_a_timer_due_in_less_than_a_millisecond_does_not_spin(fakes: Any) -> None:
    channels = fakes.engine.map
    ran: list[float] = []
    asynccore.call_later(0.0004, lambda: ran.append(fakes.clock()), map=channels)
    asynccore.loop(timeout=30, map=channels, count=1)
    assert len(ran) == 1 and len(fakes.poller.waits) <= 2 and 0 not in fakes.poller.waits


@pytest.mark.parametrize("delay", [0.0004, 0.001, 0.0051])
def test_a_real_wait_ends_after_its_timer_is_due_and_does_not_spin(
    poller_name: str, delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """epoll and poll count in milliseconds: rounded down, the last one would be spent spinning."""
    asked: list[float | None] = []
    cls = type(made := pollers.make(poller_name))
    made.close()
    wait = cls.wait

    def recording(self: Any, timeout: float | None) -> Any:
        asked.append(timeout)
        return wait(self, timeout)

    monkeypatch.setattr(cls, "wait", recording)
    channels = asynccore.ChannelMap()
    timer = asynccore.call_later(
        delay, lambda: ran.append(asynccore.time.monotonic()), map=channels
    )
    ran: list[float] = []
    when = timer.when
    asynccore.loop(timeout=600, map=channels, poller=poller_name, until_idle=True)
    assert len(ran) == 1 and ran[0] >= when
    # On a busy machine the timer may be due before the first wait, which then is none.
    assert len(asked) <= 3 and all(wait is not None and 0 <= wait <= delay for wait in asked)


@pytest.mark.skipif(not hasattr(select, "poll"), reason="no poll() on this platform")
def test_poll_is_given_whole_milliseconds_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Recording:
        def poll(self, timeout: Any) -> list[Any]:
            asked.append(timeout)
            return []

    monkeypatch.setattr(sys.modules["asynccore.pollers.poll"].PollPoller, "_make", Recording)
    poller = pollers.make("poll")
    for timeout in (0, 0.0001, 0.001, 0.0011, 1.5, None):
        poller.wait(timeout)
    assert asked == [0, 1, 1, 2, 1500, None]
    poller.close()


def test_no_timer_and_no_timeout_waits_for_ever(fakes: Any) -> None:
    fakes.poller.report((3, testing.READ), after=100_000.0)
    before = fakes.clock()
    while fakes.clock() == before:
        asynccore.loop(timeout=None, map=fakes.engine.map, count=1)
    assert all(wait is None or wait > 0 for wait in fakes.poller.waits)


MANY = """
    import os, resource, socket, sys
    import asynccore

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        print("limited")
        raise SystemExit
    resource.setrlimit(resource.RLIMIT_NOFILE, (1200, hard))

    class Reader(asynccore.dispatcher):
        received = b""
        errors = 0
        def writable(self):
            return False
        def handle_read(self):
            self.received += self.recv(100)
        def handle_error(self):
            assert isinstance(sys.exc_info()[1], ValueError), sys.exc_info()
            self.errors += 1

    first_end, first_peer = socket.socketpair()
    first = Reader(first_end)
    asynccore.loop(timeout=0, count=1)
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    end, peer = socket.socketpair()
    high = Reader(end)
    assert end.fileno() > 1023
    first_peer.send(b"low")
    peer.send(b"high")
    for _ in range(100):
        asynccore.loop(timeout=0.1, count=1)
        if first.received and (high.received or high.errors):
            break
    print(first.received.decode(), high.received.decode(), high.errors)
    asynccore.close_all()
    first_peer.close()
    peer.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no setrlimit() on Windows")
def test_more_than_1023_descriptors(poller_name: str) -> None:
    """select() refuses the one that it can't watch, to its channel, and serves the others."""
    expected = "low  1" if poller_name == "select" else "low high 0"
    printed = run_script(MANY, poller_name).strip()
    if printed == "limited":
        pytest.skip("the system allows too few descriptors")
    assert printed == expected


@pytest.mark.skipif(sys.platform == "win32", reason="no setrlimit() on Windows")
def test_more_than_1023_descriptors_by_default() -> None:
    printed = run_script(MANY).strip()
    if printed == "limited":
        pytest.skip("the system allows too few descriptors")
    assert printed == "low high 0"


TOO_MANY = """
import os, resource, socket, sys
import asynccore
import asynccore as asyncore

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if hard != resource.RLIM_INFINITY and hard < 1200:
    print("limited")
    raise SystemExit
resource.setrlimit(resource.RLIMIT_NOFILE, (1200, hard))

class Channel(asyncore.dispatcher):
    def readable(self):
        return not filler
    def handle_read(self):
        print(self.recv(10).decode())

mine, peer = socket.socketpair()
channel = Channel(mine)
peer.send(b"hello")
filler = []
while not filler or filler[-1] < 1030:
    filler.append(os.dup(0))

first = None if sys.argv[1] == "default" else sys.argv[1]
if first is None:
    asynccore.loop(0, count=1, poller=first)
try:
    asynccore.loop(0, count=1, poller="select")
except ValueError as why:
    print(why)
for fd in filler:
    os.close(fd)
filler = []
asynccore.loop(0, count=1, poller=first)
engine = asynccore.socket_map.engine
print("woken:", engine.wakeup.fileno() in engine.poller.interest)
channel.close()
peer.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no setrlimit() on Windows")
@pytest.mark.parametrize("first", ["select", "default"])
def test_too_many_descriptors_for_the_loops_own(first: str) -> None:
    """Where select() can't even be woken, that is said, and nothing is lost by it."""
    said, *rest = run_script(TOO_MANY, None, first).splitlines()
    if said == "limited":
        pytest.skip("the system allows too few descriptors")
    assert said.startswith("too many descriptors were open before the loop began, which needs one")
    assert "only numbers below 1024; use the poller 'poll'" in said
    assert rest == ["hello", "woken: True"]
