"""Timers that judge peers, and engines whose program waits by itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from asynccore import ChannelMap, dispatcher
from asynccore.classic.blocking import blocks
from asynccore.engine.timers import Timers
from asynccore.errors import judges_peer
from asynccore.pollers import EVENTS_PER_PASS, PRIORITY, READ, WRITE, single
from asynccore.pollers.layered import layered_socket
from asynccore.pollers.single import readiness
from asynccore.testing import FakeClock, Fakes, engine_with_fakes
from tests.core.fakes import Channel, owning


@pytest.fixture(params=["reporting", "plain"])
def fakes(request: pytest.FixtureRequest) -> Iterator[Fakes]:
    channels: Any = ChannelMap() if request.param == "reporting" else {}
    made = engine_with_fakes(channels)
    yield made
    channels.clear()
    made.engine.run_pass(0)  # gives the wake-up back


class Judge:
    """Judges at its time, if it is let."""

    def __init__(self, channel: Any = None) -> None:
        self.channel = channel
        self.judged = 0

    @judges_peer
    def look(self) -> None:
        self.judged += 1


def test_a_judge_waits_for_a_look_that_is_younger(fakes: Fakes) -> None:
    engine, clock, poller = fakes
    judge = Judge()
    ran: list[int] = []

    class Stalls(Channel):
        def handle_read_event(self) -> None:
            clock.advance(2)

    engine.map[1000] = Stalls(True, False)
    engine.run_pass(0)
    engine.timers.call_later(1, judge.look)
    engine.timers.call_later(1, ran.append, 1)
    poller.report((1000, READ))
    engine.run_pass(0)
    assert ran == [1] and not judge.judged
    engine.run_pass(0)
    assert judge.judged == 1


def test_full_batches_are_gone_through_once(fakes: Fakes) -> None:
    engine, clock, poller = fakes
    fds = range(1000, 1000 + 2 * EVENTS_PER_PASS)
    for fd in fds:
        engine.map[fd] = Channel(True, False)
    engine.run_pass(0)
    judge = Judge()
    engine.timers.call_later(1, judge.look)
    clock.advance(2)
    for turn in range(4):
        first = turn % 2 * EVENTS_PER_PASS
        poller.report(*((fd, READ) for fd in fds[first : first + EVENTS_PER_PASS]))
    judged = []
    for _ in range(4):
        engine.run_pass(0)
        judged.append(judge.judged)
    # As many events as there are descriptors in the poller, with the wake-up's, and not for ever.
    assert judged[:2] == [0, 0] and judged[3] == 1


def test_who_waits_elsewhere_is_judged_when_an_event_is_handed_over(fakes: Fakes) -> None:
    engine, clock, _ = fakes
    channel = dispatcher(map=engine.map)
    judge = Judge(channel)
    ran: list[int] = []
    engine.timers.call_later(1, judge.look)
    engine.timers.call_later(1, ran.append, 1)
    engine.event_elsewhere(None, False)
    clock.advance(2)
    assert not judge.judged
    engine.event_elsewhere(None, False)
    assert judge.judged == 1 and not ran and len(engine.timers) == 1
    engine.timers.call_later(0, judge.look)
    engine.judge_elsewhere()
    assert judge.judged == 2


def test_within_a_pass_nothing_is_elsewhere(fakes: Fakes) -> None:
    engine = fakes.engine
    judge = Judge()
    engine.timers.call_later(0, judge.look)
    with owning(engine):
        engine.event_elsewhere(None, False)
        engine.judge_elsewhere()
        assert not judge.judged


def test_after_a_poll_of_the_programs_own(fakes: Fakes) -> None:
    engine = fakes.engine
    judge = Judge()
    ran: list[int] = []
    engine.timers.call_later(0, judge.look)
    engine.timers.call_later(0, ran.append, 1)
    engine.after_poll_elsewhere()
    assert judge.judged == 1 and ran == [1]


def test_an_event_is_a_sign_of_life(fakes: Fakes) -> None:
    class Times:
        active = sent = 0.0

        def wants_to_write(self, wants: bool) -> None:
            raise NotImplementedError

    engine, clock, _ = fakes
    times = Times()
    engine.event_elsewhere(times, False)
    assert (times.active, times.sent) == (1000.0, 0.0)
    clock.advance(1)
    engine.event_elsewhere(times, True)
    assert (times.active, times.sent) == (1001.0, 1001.0)


def test_who_is_ready_is_not_judged(fakes: Fakes) -> None:
    ours, theirs = socket.socketpair()

    class Reads(dispatcher):
        def writable(self) -> bool:
            return False

    channel = Reads(ours, fakes.engine.map)
    judge = Judge(channel)
    fakes.engine.timers.call_later(0, judge.look)
    theirs.send(b"x")
    fakes.engine.judge_elsewhere()
    assert not judge.judged
    ours.recv(1)
    fakes.engine.judge_elsewhere()
    assert judge.judged == 1
    channel.close()
    theirs.close()


def test_timers_are_taken_out() -> None:
    clock = FakeClock()
    timers = Timers(clock)
    ran: list[int] = []
    judge = Judge()
    timers.call_later(1, judge.look)
    timers.call_later(1, ran.append, 1)
    timers.call_later(5, judge.look)
    clock.advance(2)
    assert timers.take_out(clock(), lambda callback: callback == judge.look) == [judge.look]
    assert len(timers) == 2 and timers.next() == 1001.0


@pytest.mark.parametrize("by", ["poll", "select"])
def test_one_descriptor_is_asked_for(
    by: str, monkeypatch: pytest.MonkeyPatch, tcp_pair: Any
) -> None:
    if by == "select":
        monkeypatch.setattr(single, "_poll", None)
    ours, theirs = tcp_pair()
    assert readiness(ours.fileno(), READ | WRITE | PRIORITY) == WRITE
    theirs.send(b"x")
    assert readiness(ours, READ | PRIORITY) == READ
    theirs.send(b"!", socket.MSG_OOB)
    assert readiness(ours, PRIORITY) == PRIORITY
    number = ours.fileno()
    ours.close()
    assert readiness(number, READ) == 0


def test_what_blocks(tcp_pair: Any) -> None:
    sock, _ = tcp_pair()
    assert blocks(sock)
    sock.settimeout(5)
    assert blocks(sock)
    sock.setblocking(False)
    assert not blocks(sock)
    assert not blocks(object())


def test_a_wait_that_comes_back_late_looks_again(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped goes on in the middle of a wait, which then finds nothing."""
    engine, clock, poller = fakes
    log: list[str] = []

    class Reads(Channel):
        def handle_read_event(self) -> None:
            log.append("read")

    class Notes(Judge):
        @judges_peer
        def look(self) -> None:
            log.append("judged")

    engine.map[1000] = Reads(True, False)
    engine.run_pass(0)
    engine.timers.call_later(1, Notes().look)
    wait = poller.wait

    def stopped(timeout: float | None) -> Any:
        monkeypatch.setattr(poller, "wait", wait)
        clock.advance(60)
        poller.report((1000, READ))
        return []

    monkeypatch.setattr(poller, "wait", stopped)
    engine.run_pass(5)
    assert log == ["read", "judged"]


def test_what_a_driven_socket_waited_for_has_come_though_nobody_wants_it_yet() -> None:
    """The read handler may end the handshake that a write waits for: no other event would come."""

    class Driven:
        def pending(self) -> int:
            return 0

        def do_handshake(self) -> None:
            raise NotImplementedError

    sock: Any = layered_socket(Driven())
    sock.set_wait(READ, WRITE)
    assert sock._ac_handle_event(READ, READ) == READ
    assert sock._ac_poll_interest(READ | WRITE) == READ | WRITE
    sock.set_wait(WRITE, READ)
    assert sock._ac_handle_event(WRITE, WRITE) == WRITE
    assert sock._ac_poll_interest(READ) == READ
