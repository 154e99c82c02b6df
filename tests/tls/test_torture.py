"""The whole conversation of TLS, cut after every byte and held up at every byte."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from OpenSSL import SSL

import asynccore
from asynccore import ChannelMap
from ssl_ext import TruncationError
from tests.differential.scripts import DEEP
from tests.tls.support import (
    HOST,
    client_certificate,
    client_raw,
    server_raw,
)
from tests.tls.wire import Noting, Watch, Wire, whole_records

# Which way the bytes go that are cut, and so who listens and who talks.
WAYS = ("up", "down")

WORDS = (b"hello", b"again")


class World:
    """A client and a server on a wire: `talker` says two words and the end, `listener` listens."""

    def __init__(
        self,
        way: str,
        contexts: tuple[Any, Any],
        poller: str | None = None,
        tcp: bool = False,
        kinds: tuple[type[Noting], type[Noting]] = (Noting, Noting),
    ) -> None:
        self.way = way
        self.back = "down" if way == "up" else "up"
        self.channels = ChannelMap()
        self.watch = Watch(self.channels, poller)
        self.wire = Wire(tcp)
        client, server = contexts
        of_client, of_server = kinds
        self.client = of_client(
            self.wire.client, self.channels, context=client, server_hostname=HOST
        )
        self.server = of_server(self.wire.server, self.channels, context=server, server_side=True)
        self.listener, self.talker = (
            (self.server, self.client) if way == "up" else (self.client, self.server)
        )
        self.talker.begin = self.talk

    def talk(self) -> None:
        for word in WORDS:
            self.talker.send(word)
        self.talker.close()

    def settle(self) -> None:
        self.watch.settle()
        self.wire.take()

    def run(self, limit: int) -> None:
        """Let the conversation go on, but no more than `limit` bytes on the way to the listener."""
        self.settle()
        while self.wire.deliver(self.way, limit - len(self.wire.passed[self.way])) + (
            self.wire.deliver(self.back)
        ):
            self.settle()

    def pump(self) -> None:
        """Let the conversation go on as far as it goes."""
        self.settle()
        while self.wire.deliver("up") + self.wire.deliver("down"):
            self.settle()

    def close(self) -> None:
        asynccore.close_all(self.channels, ignore_all=True)
        self.channels.clear()
        self.watch.close()
        self.wire.close()


@pytest.fixture
def worlds() -> Iterator[list[World]]:
    """What is to be closed afterwards."""
    made: list[World] = []
    yield made
    for world in made:
        world.close()


def contexts(version: int, with_certificates: bool) -> tuple[Any, Any]:
    """Both contexts. Curves without a post-quantum part make conversations of 1 KB, not 4 KB."""
    pair = (
        client_raw(version, client_certificate() if with_certificates else None),
        server_raw(version, demands=with_certificates),
    )
    for context in pair:
        context.set_options(SSL_OP_NO_TICKET)
    return pair


SSL_OP_NO_TICKET = 1 << 14  # SSL_OP_NO_TICKET (ssl.h): its size would vary


LINES = {"up": b"STARTTLS\r\n", "down": b"220 go\r\n"}


class Starting(Noting):
    """Begins in clear: the client has a line and the server another, and then it is TLS."""

    def __init__(self, sock: Any, channels: Any, *, context: Any, **side: Any) -> None:
        self.line = b""
        self.later = context
        self.side = side
        super().__init__(sock, channels)
        self.answers = "server_side" in side
        if not self.answers:
            self.send(LINES["up"])

    def handle_read(self) -> None:
        if self.tls is not None:
            super().handle_read()
            return
        self.line += self.recv(65536)
        if self.answers and self.line == LINES["up"]:
            self.send(LINES["down"])
            self.start_tls(self.later, **self.side)
        elif not self.answers and self.line == LINES["down"]:
            self.start_tls(self.later, **self.side)


class Full:
    """A handshake from the beginning."""

    begun_in_clear = dict.fromkeys(WAYS, b"")
    resumes = False

    def __init__(self, version: int, with_certificates: bool = False) -> None:
        self.contexts = contexts(version, with_certificates)

    def world(self, way: str, poller: str | None = None) -> World:
        return World(way, self.contexts, poller)

    def in_records(self, way: str) -> World:
        """The same, less what is no record of TLS."""
        return self.world(way)


class Upgraded(Full):
    """The same after STARTTLS."""

    begun_in_clear = LINES

    def world(self, way: str, poller: str | None = None) -> World:
        return World(way, self.contexts, poller, kinds=(Starting, Starting))

    def in_records(self, way: str) -> World:
        return super().world(way)


class Resumed(Full):
    """A handshake that goes on with a session of before, of its own each time."""

    resumes = True

    def world(self, way: str, poller: str | None = None) -> World:
        world = World(way, self.contexts, poller)
        assert world.client.tls is not None and world.client.tls.connection is not None
        world.client.tls.connection.set_session(session_of(*self.contexts))
        return world


def session_of(client: Any, server: Any) -> Any:
    """Return the session of a connection that ended well, over memory buffers."""
    ours, theirs = SSL.Connection(client), SSL.Connection(server)
    ours.set_connect_state()
    theirs.set_accept_state()
    for step in (ours.do_handshake, theirs.do_handshake) * 3:
        with suppress(SSL.WantReadError):
            step()
        carry(ours, theirs)
    with suppress(SSL.WantReadError):
        ours.recv(1)  # the tickets of TLS 1.3
    for side in (ours, theirs):
        side.shutdown()
    return ours.get_session()


def carry(ours: SSL.Connection, theirs: SSL.Connection) -> None:
    for source, target in ((ours, theirs), (theirs, ours)):
        with suppress(SSL.WantReadError):
            target.bio_write(source.bio_read(65536))


BEGINNINGS: dict[str, Callable[[int], Full]] = {
    "anonymous": Full,
    "certificates": partial(Full, with_certificates=True),
    "after STARTTLS": Upgraded,
    "resumed": partial(Resumed, with_certificates=True),
}


# Each version of Python cuts at one byte of three, and at all that are near the edge of a record:
# what is in between depends little on Python. With `HYPOTHESIS_PROFILE=deep` each cuts at all.
SHARES = 1 if DEEP else 3


def is_ours(place: int) -> bool:
    """Whether this version of Python cuts there, whatever is there."""
    return (place + sys.version_info[1]) % SHARES == 0


def is_near_edge(place: int, records: bytes) -> bool:
    """Whether a record ends or begins there, or a byte away, or has its header there (RFC 8446)."""
    start = 0
    while start + 5 <= len(records) and start <= place:
        if place - start <= 5:
            return True
        start += 5 + int.from_bytes(records[start + 3 : start + 5], "big")
    return abs(place - start) <= 1


def milestones(way: str, beginning: Full) -> list[tuple[int, list[str]]]:
    """Have the records delivered one by one; return what was known after each."""
    world = beginning.in_records(way)
    try:
        return [*_known_after_each_record(world)]
    finally:
        world.close()


def _known_after_each_record(world: World) -> Iterator[tuple[int, list[str]]]:
    wire, way = world.wire, world.way
    world.settle()
    yield 0, []
    while True:
        while wire.deliver(world.back):
            world.settle()
        if not wire.waiting[way]:
            return
        size = 5 + int.from_bytes(wire.waiting[way][3:5], "big")
        assert wire.deliver(way, size) == size
        world.settle()
        yield len(world.listener.got), list(world.listener.log)


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
@pytest.mark.parametrize("way", WAYS)
def test_cut_after_every_byte(way: str, version: int, beginning: Any) -> None:
    """What is known depends on the whole records that came, and on nothing else; the rest is a
    truncation, said to be one of the handshake if that was not over. In clear an end is an end."""
    begun: Full = beginning(version)
    in_clear = len(begun.begun_in_clear[way])
    known = milestones(way, begun)
    assert known[-1] == (len(b"".join(WORDS)), ["handshake", "read", "close"])
    limit, total, seen, bytes_before = 0, 1, set(), b""
    while limit <= total:
        if not (is_ours(limit) or limit == total or is_near_edge(limit - in_clear, bytes_before)):
            limit += 1
            continue
        world = begun.world(way)
        try:
            world.run(limit)
            world.wire.cut(way)
            world.settle()
            passed = len(world.wire.passed[way])
            count, log = known[whole_records(world.wire.passed[way][in_clear:])]
            listener = world.listener
            where = f"after {limit} bytes"
            assert listener.got == b"".join(WORDS)[:count], where
            if passed < in_clear:
                assert listener.log == ["close"] and listener.error is None, where
            elif log[-1:] == ["close"]:
                assert listener.log == log and listener.error is None, where
                assert passed < limit or not world.wire.waiting[way]
            else:
                assert passed == limit
                assert listener.log == [*log, "TruncationError"], where
                assert type(listener.error) is TruncationError, where
                assert ("during the handshake" in str(listener.error)) == (not log), where
            seen.add(tuple(listener.log))
            total = passed + len(world.wire.waiting[way])
            bytes_before = bytes(world.wire.passed[way] + world.wire.waiting[way])[in_clear:]
            if "handshake" in log:
                assert listener.reused is begun.resumes, where
        finally:
            world.close()
        limit += 1
    assert seen - {("close",)} == {
        ("TruncationError",),
        ("handshake", "TruncationError"),
        ("handshake", "read", "TruncationError"),
        ("handshake", "read", "close"),
    }


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
@pytest.mark.parametrize("way", WAYS)
def test_byte_by_byte_and_held_up_at_each(
    way: str, version: int, beginning: Any, worlds: list[World], poller_name: str
) -> None:
    """Between two bytes the loop sleeps, and nobody learns anything before its record is whole.

    Each side gets the other's bytes one by one, and both loops come to rest after every one.
    """
    begun: Full = beginning(version)
    known = milestones(way, begun)
    world = begun.world(way, poller_name)
    worlds.append(world)
    world.settle()
    while world.wire.deliver(way, 1) + world.wire.deliver(world.back, 1):
        world.settle()
        records = whole_records(world.wire.passed[way][len(begun.begun_in_clear[way]) :])
        assert (len(world.listener.got), world.listener.log) == known[records]
    assert world.listener.log == ["handshake", "read", "close"]
    assert world.listener.got == b"".join(WORDS)
    assert world.talker.log == ["handshake"]
    assert world.listener.reused is world.talker.reused is begun.resumes


@pytest.mark.parametrize("way", WAYS)
def test_reset_after_every_record(way: str, version: int, worlds: list[World]) -> None:
    """A reset is what the kernel says, and no statement of TLS: a disconnection, not an end."""
    known = milestones(way, Full(version))
    pair = contexts(version, False)
    ends = set()
    for records in range(len(known) - 1):
        for more in (0, 1, 5, 6):
            world = World(way, pair, tcp=True)
            try:
                world.settle()
                while whole_records(world.wire.passed[way]) < records:
                    if world.wire.waiting[way]:
                        size = 5 + int.from_bytes(world.wire.waiting[way][3:5], "big")
                        assert world.wire.deliver(way, size) == size
                    world.wire.deliver(world.back)
                    world.settle()
                while world.wire.deliver(world.back):
                    world.settle()
                world.wire.deliver(way, more)
                world.settle()
                world.wire.reset(way)
                world.settle()
                count, log = known[records]
                assert world.listener.log == [*log, "close"], (records, more)
                assert world.listener.error is None
                assert world.listener.got == b"".join(WORDS)[:count]
                ends.add(tuple(log))
            finally:
                world.close()
    assert len(ends) == 3
