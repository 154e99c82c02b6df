"""An exception of a signal handler comes between any two lines of a pass, and nothing is lost.

A trace function stands for the signal: it raises at each line of the engine's modules in turn, so
that every place is tried, and always the same ones. Then the loop is begun anew.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import asynccore
from asynccore import engine as room
from asynccore.engine import engine_for
from tests.corners.support import PATIENCE

FOLDER = room.__path__[0]


def code_name(frame: Any) -> str:
    name: str = frame.f_code.co_name
    return name


class Alarm(Exception):
    pass


class Lines:
    """Counts the lines of the engine's modules that run, and raises at one of them."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen = 0
        self.where = ""
        self._known: dict[Any, bool] = {}

    def trace(self, frame: Any, event: str, arg: object) -> Any:
        code = frame.f_code
        mine = self._known.get(code)
        if mine is None:
            mine = self._known[code] = code.co_filename.startswith(FOLDER)
        return self.line if mine else None

    def line(self, frame: Any, event: str, arg: object) -> Any:
        if event == "line":
            self.seen += 1
            if self.seen == self.at:
                self.where = f"{code_name(frame)}:{frame.f_lineno}"
                raise Alarm
        return self.line


@contextmanager
def tracing(lines: Lines) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(lines.trace)
    try:
        yield
    finally:
        sys.settrace(before)


class Counting(asynccore.dispatcher_with_send):
    """Keeps what it receives; what it raises itself leaves the loop, as a signal's does."""

    received = b""

    def handle_read(self) -> None:
        self.received += self.recv(100)

    def handle_error(self) -> None:
        raise

    def handle_close(self) -> None:
        self.close()


class Sweeping(Counting):
    """Has a predicate of its own, which depends on anything."""

    asked = 0

    def readable(self) -> bool:
        self.asked += 1
        return self.asked > 0


class World:
    """A map with something of everything to do."""

    def __init__(self, kind: str, poller: str) -> None:
        self.poller = poller
        self.channels: Any = asynccore.ChannelMap() if kind == "reporting" else {}
        self.pairs = [socket.socketpair() for _ in range(4)]
        self.ran: list[str] = []
        self.made = [
            (Sweeping if place % 2 else Counting)(end, self.channels)
            for place, (end, _) in enumerate(self.pairs[:3])
        ]
        self.every = asynccore.call_every(1e-9, self.ran.append, "every", map=self.channels)
        self.later = [
            asynccore.call_later(0, self.note, f"later {number}", map=self.channels)
            for number in range(3)
        ]
        self.far = asynccore.call_later(3600, self.ran.append, "far", map=self.channels)
        for number in range(2):
            asynccore.call_soon_threadsafe(self.note, f"soon {number}", map=self.channels)
        self.engine = engine_for(self.channels)
        # As another thread leaves it while a handler runs.
        self.engine.deferred.append((self.made[0].send, (b"left",)))
        for _, peer in self.pairs:
            peer.send(b"x")

    def note(self, what: str) -> None:
        self.ran.append(what)

    def enter_late(self) -> None:
        """One more channel, which the engine does not know yet."""
        self.made.append(Counting(self.pairs[3][0], self.channels))

    def loop(self, count: int) -> None:
        asynccore.loop(timeout=0, map=self.channels, count=count, poller=self.poller)

    def close(self) -> None:
        self.every.cancel()
        self.far.cancel()
        asynccore.close_all(self.channels)
        self.loop(1)
        for pair in self.pairs:
            for end in pair:
                end.close()


def interrupt(world: World, at: int) -> Lines:
    lines = Lines(at)
    world.loop(1)  # poller and wake-up are there
    world.enter_late()
    with tracing(lines):
        try:
            world.loop(2)
        except Alarm:
            pass
    return lines


def check(world: World, where: str) -> None:
    world.loop(3)
    before = len(world.ran)
    world.loop(2)
    assert world.ran.count("every") and "every" in world.ran[before:], where
    assert world.every.active and world.far.active, where
    for what in ("soon 0", "soon 1", "later 0", "later 1", "later 2"):
        assert world.ran.count(what) == 1, (where, what, world.ran)
    assert len(world.engine.timers) == 2, where
    engine = world.engine
    assert engine.owner is None and not engine.waiting, where
    assert not engine.loops or "end_loop" in where, where
    # Each channel is read from, also one that was just entering.
    for channel, (_, peer) in zip(world.made, world.pairs, strict=True):
        peer.send(b"y")
        world.loop(2)
        assert channel.received == b"xy", (where, channel.received)
    # The map belongs to nobody: another thread sends at once.
    sent = threading.Thread(target=world.made[0].send, args=(b" sent",))
    sent.start()
    sent.join(PATIENCE)
    peer = world.pairs[0][1]
    peer.settimeout(PATIENCE)
    got = b""
    while not got.endswith(b" sent"):
        got += peer.recv(100)
    assert got == b"left sent", where
    # And while this one waits, another one wakes it.
    asynccore.call_soon_threadsafe(asynccore.stop, map=world.channels)
    asynccore.loop(timeout=PATIENCE, map=world.channels, poller=world.poller)


@pytest.mark.parametrize("kind", ["reporting", "plain"])
def test_at_every_line(kind: str, engine: str) -> None:
    world = World(kind, engine)
    try:
        total = interrupt(world, -1).seen
        check(world, "nowhere")
    finally:
        world.close()
    assert total > 100
    for at in range(1, total + 1):
        world = World(kind, engine)
        try:
            lines = interrupt(world, at)
            check(world, f"line {at} of {total}, {lines.where}")
        finally:
            world.close()


def test_an_alarm_in_a_callback_is_reported_as_ever(
    capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    def fail() -> None:
        raise Alarm

    world = World("plain", engine)
    try:
        asynccore.call_later(0, fail, map=world.channels)
        world.loop(2)
        assert "Alarm" in capsys.readouterr().err
        assert world.ran.count("later 2") == 1
    finally:
        world.close()
