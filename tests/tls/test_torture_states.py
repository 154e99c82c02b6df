"""Handlers that raise in each hook, and ends in every state; and nobody spins."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, ExitNow, loop
from ssl_ext import OpenSSLSocket, TLSError
from tests.tls.support import HOST, client_raw, raw_context, server_raw
from tests.tls.support import strange_certificate as strange
from tests.tls.test_torture import World, contexts
from tests.tls.wire import Noting, Watch, Wire


@pytest.fixture
def worlds() -> Iterator[list[World]]:
    """What is to be closed afterwards."""
    made: list[World] = []
    yield made
    for world in made:
        world.close()


# Handlers that raise ----------------------------------------------------------------------------


class Boom(Exception):
    """What a handler raises."""


class Raising(Noting):
    """Raises in the hook that it is told, once."""

    raises = ""
    what: type[BaseException] = Boom

    def _in(self, hook: str) -> None:
        if self.raises == hook:
            self.raises = ""
            raise self.what(hook)

    def handle_handshake(self) -> None:
        self._in("handle_handshake")
        super().handle_handshake()

    def handle_read(self) -> None:
        super().handle_read()
        self._in("handle_read")

    def handle_write(self) -> None:
        self._in("handle_write")
        super().handle_write()

    def handle_close(self) -> None:
        self._in("handle_close")
        super().handle_close()

    def handle_tls_error(self, exc: TLSError) -> None:
        self._in("handle_tls_error")
        super().handle_tls_error(exc)

    def handle_timeout(self, which: str) -> None:
        self._in("handle_timeout")
        super().handle_timeout(which)

    def handle_unwrapped(self) -> None:
        self._in("handle_unwrapped")

    def handle_error(self) -> None:
        super().handle_error()


HOOKS = (
    "handle_handshake",
    "handle_read",
    "handle_write",
    "handle_close",
    "handle_tls_error",
    "handle_timeout",
    "handle_unwrapped",
)


def reach(hook: str, world: World, raising: Noting, other: Noting) -> None:
    """Have a hook called."""
    if hook == "handle_timeout":
        world.settle()
        world.watch.one(timeout=100.0)  # the handshake's time passes
        return
    if hook == "handle_write":
        raising.out_buffer = b"from before"  # sent when TLS is established
    world.pump()
    if hook == "handle_read":
        other.send(b"hello")
    elif hook == "handle_close":
        other.close()
    elif hook == "handle_unwrapped":
        raising.unwrap()
        other.unwrap()
    world.pump()


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_raises(
    hook: str, role: str, version: int, worlds: list[World], poller_name: str
) -> None:
    """Its channel's handle_error learns it, once; the others go on, and nobody spins."""
    world = begun(hook, role, version, worlds, poller_name)
    raising, other = sides(world, role)
    reach(hook, world, raising, other)
    assert [entry for entry in raising.log if "Boom" in entry] == ["error Boom"]
    assert str(raising.error) == hook
    assert raising not in world.channels.values()
    assert not any("Boom" in entry for entry in other.log)


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_ends_the_loop(hook: str, role: str, version: int, worlds: list[World]) -> None:
    """ExitNow comes out of the loop, which can be entered again."""
    world = begun(hook, role, version, worlds)
    raising, other = sides(world, role)
    raising.what = ExitNow  # type: ignore[attr-defined]
    with pytest.raises(ExitNow, match=hook):
        reach(hook, world, raising, other)
    assert raising.error is None
    world.pump()


def begun(
    hook: str, role: str, version: int, worlds: list[World], poller: str | None = None
) -> World:
    pair = contexts(version, False)
    if hook == "handle_tls_error":
        # The client refuses the server, or the server learns that it was refused.
        pair = client_raw(version), raw_context(strange(), version=version)
    kinds = (Raising, Noting) if role == "client" else (Noting, Raising)
    world = World("up", pair, poller, kinds=kinds)
    worlds.append(world)
    world.talker.begin = lambda: None
    sides(world, role)[0].raises = hook  # type: ignore[attr-defined]
    return world


def sides(world: World, role: str) -> tuple[Noting, Noting]:
    if role == "client":
        return world.client, world.server
    return world.server, world.client


# Ends in every state ----------------------------------------------------------------------------


def close(channel: Noting) -> None:
    channel.close()
    channel.close()


def half(channel: Noting) -> None:
    channel.shutdown_write()
    channel.shutdown_write()


def shut(how: int) -> Callable[[Noting], None]:
    def act(channel: Noting) -> None:
        try:
            channel.socket.shutdown(how)
        except OSError:
            pass  # the kernel's own word: not connected any more

    return act


ACTIONS = {
    "close": close,
    "shutdown_write": half,
    "SHUT_RD": shut(socket.SHUT_RD),
    "SHUT_WR": shut(socket.SHUT_WR),
    "SHUT_RDWR": shut(socket.SHUT_RDWR),
}

# How a side may learn of an end: properly, or as what it is.
ENDS = {"close", "TruncationError"}


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("name", ACTIONS)
def test_an_end_after_every_record(name: str, role: str, version: int, worlds: list[World]) -> None:
    """Whenever it is done, nothing is raised, nobody spins, and the peer learns of the end."""
    pair = contexts(version, False)
    step = 0
    while True:
        world = World("up", pair)
        world.talker.begin = lambda world=world: world.talker.send(b"hello")
        try:
            world.settle()
            done = deliver_records(world, step)
            mine, peer = sides(world, role)
            ACTIONS[name](mine)
            assert mine.error is None
            world.pump()
            if name == "SHUT_RD":
                assert "handshake" in mine.log and world.server.got == b"hello"
            else:
                for way in ("up", "down"):
                    if world.wire.ended[way]:
                        world.wire.cut(way)
                world.pump()
                assert peer.log and peer.log[-1] in ENDS, (step, peer.log)
                if "handshake" in peer.log and "handshake" in mine.log:
                    assert peer.log[-1] == "close", (step, peer.log)
            for channel in (mine, peer):
                channel.close()
                channel.close()
        finally:
            world.close()
        if done < step:
            return
        step += 1


def deliver_records(world: World, steps: int) -> int:
    """Deliver so many records, by turns; return how many there were."""
    done = idle = 0
    way = "up"
    while done < steps and idle < 2:
        waiting = world.wire.waiting[way]
        idle += 1
        if waiting:
            world.wire.deliver(way, 5 + int.from_bytes(waiting[3:5], "big"))
            world.settle()
            done += 1
            idle = 0
        way = "down" if way == "up" else "up"
    return done


# Nobody spins -----------------------------------------------------------------------------------


def sleeps(world: World) -> None:
    """The loop is at rest: of a hundred passes, each would have slept."""
    world.watch.settle()
    assert all(world.watch.one() for _ in range(100))


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_stalled_handshake_is_waited_for_asleep(
    role: str, version: int, worlds: list[World], poller_name: str
) -> None:
    world = World("up", contexts(version, False), poller_name)
    worlds.append(world)
    world.settle()
    for way in ("up", "down"):
        sides(world, role)[0].send(b"hello")  # output that has to wait
        sleeps(world)
        world.wire.deliver(way, 7)  # a header, and a little of the record
        sleeps(world)
        world.wire.deliver(way)
        world.settle()


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_peer_that_never_reads_is_waited_for_asleep(
    way: str, version: int, worlds: list[World], poller_name: str
) -> None:
    world = World(way, contexts(version, False), poller_name)
    worlds.append(world)
    world.talker.begin = lambda: None
    world.pump()
    world.talker.send(b"x" * 10_000_000)
    sleeps(world)
    # It reads on, and everything is there.
    world.pump()
    while len(world.listener.got) < 10_000_000:
        world.pump()
    assert world.listener.log == ["handshake", "read"]


@pytest.mark.parametrize("end", ["notify", "FIN", "notify and FIN"])
def test_a_half_closed_peer_is_waited_for_asleep(
    end: str, version: int, worlds: list[World], poller_name: str
) -> None:
    class Half(Noting):
        """Stays after the peer's end."""

        def handle_eof(self) -> None:
            self.note("eof")

    world = World("up", contexts(version, False), poller_name, kinds=(Noting, Half))
    worlds.append(world)
    world.talker.begin = lambda: None
    world.pump()
    assert world.client.tls is not None
    if "notify" in end:
        connection = world.client.tls.connection
        assert connection is not None
        connection.shutdown()
    world.settle()
    world.wire.deliver("up")
    if "FIN" in end:
        world.wire.cut("up")
    sleeps(world)
    if end == "FIN":
        assert world.server.log == ["handshake", "TruncationError"]
        return
    assert world.server.log == ["handshake", "eof"]
    world.server.send(b"still here")
    world.pump()
    assert world.client.got == b"still here"
    sleeps(world)
    world.server.close()
    world.pump()
    assert world.client.log == ["handshake", "read", "close"]


# Descriptors and processes ----------------------------------------------------------------------


def test_a_descriptor_that_comes_back(version: int, poller_name: str, tcp_pair: Any) -> None:
    """A new connection with the number of one that ended has nothing of it."""
    channels = ChannelMap()
    watch = Watch(channels, poller_name)
    asynccore.dispatcher_with_send(
        tcp_pair()[0], channels
    )  # an empty map would give the poller back
    pair = contexts(version, False)
    numbers = set()
    for _ in range(5):
        wire = Wire()
        numbers.add(wire.client.fileno())
        client = Noting(wire.client, channels, context=pair[0], server_hostname=HOST)
        server = Noting(wire.server, channels, context=pair[1], server_side=True)
        client.shutdown_timeout = server.shutdown_timeout = None
        assert isinstance(client.tls, OpenSSLSocket) and isinstance(server.tls, OpenSSLSocket)
        client.tls.shutdown_timeout = server.tls.shutdown_timeout = None
        client.send(b"hello")
        for _ in range(20):
            watch.settle()
            wire.take()
            wire.deliver("up")
            wire.deliver("down")
        assert server.got == b"hello"
        client.del_channel()
        client.socket._raw.close()  # behind the loop's back: no unregister, no close_notify
        server.close()
        wire.close()
    assert len(numbers) == 1
    asynccore.close_all(channels, ignore_all=True)
    watch.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("held", [0, 3_000_000])
def test_a_child_does_not_end_its_parents_connection(
    tcp_pair: Any, version: int, held: int
) -> None:
    """After a fork, the child closes its channels without a word to the peer."""
    channels = ChannelMap()
    ours, theirs = tcp_pair()
    client = Noting(ours, channels, context=client_raw(version), server_hostname=HOST)
    server = Noting(theirs, channels, context=server_raw(version), server_side=True)
    client.send(b"before")
    while server.got != b"before" or "handshake" not in client.log:
        loop(timeout=10.0, map=channels, count=1)
    sent = b"before"
    if held:
        server.pause_reading()
        client.send(bytes(held))  # more than fits: OpenSSL has begun what it could not send
        sent += bytes(held)
    child = os.fork()
    if child == 0:
        try:
            asynccore.close_all(channels)
            loop(timeout=0, map=channels, count=3)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    server.resume_reading()
    client.send(b" and after")
    sent += b" and after"
    while len(server.got) < len(sent) and "close" not in server.log:
        loop(timeout=10.0, map=channels, count=1)
    assert server.got == sent
    assert client.log == ["handshake"] and server.log == ["handshake", "read"]
    client.close()
    while "close" not in server.log:
        loop(timeout=10.0, map=channels, count=1)
    asynccore.close_all(channels, ignore_all=True)
