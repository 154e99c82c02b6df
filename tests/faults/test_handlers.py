"""What handlers do: raise, close each other, reuse descriptors, are interrupted, fork."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from tests.faults.support import KINDS, Echo, Tally, World, reset


class Oops(Exception):
    """What a handler raises."""


def raising(*args: Any) -> Any:
    raise Oops


# Exceptions ------------------------------------------------------------------------------------


def in_read(world: World) -> None:
    peer = world.peer()
    world.accepted(peer).handle_read = raising
    peer.sendall(b"x")


def in_write(world: World) -> None:
    channel = world.accepted(world.peer())
    channel.handle_write = raising
    channel.send(b"x" * (1 << 24))
    world.peers[-1].recv(1 << 20)


def in_close(world: World) -> None:
    peer = world.peer()
    channel = world.accepted(peer)

    def handle_close() -> None:
        del channel.handle_close  # the next one is for handle_error
        raise Oops

    channel.handle_close = handle_close
    peer.close()


def in_expt(world: World) -> None:
    peer = world.peer()
    world.accepted(peer).handle_expt = raising
    peer.send(b"!", socket.MSG_OOB)


def in_connect(world: World) -> None:
    client = Echo(world)
    client.handle_connect = raising  # type: ignore[method-assign]
    client.create_socket()
    client.connect(world.server.address)


def in_connect_by_name(world: World) -> None:
    client = Echo(world)
    client.handle_connect = raising  # type: ignore[method-assign]
    client.connect_name(*world.server.address)


def in_accepted(world: World) -> None:
    def handle_accepted(sock: Any, addr: Any) -> None:
        del world.server.handle_accepted
        raise Oops

    world.server.handle_accepted = handle_accepted  # type: ignore[method-assign]
    world.server.handle_error = (  # type: ignore[method-assign]
        lambda: world.errors.append(sys.exc_info()[1])
    )
    world.peer()


def in_timeout(world: World) -> None:
    channel = world.accepted(world.peer())
    channel.handle_timeout = raising
    channel.set_deadline(0)


def in_eof(world: World) -> None:
    peer = world.peer()
    world.accepted(peer).handle_eof = raising
    peer.shutdown(socket.SHUT_WR)


HOOKS = [
    in_read,
    in_write,
    in_close,
    in_expt,
    in_connect,
    in_connect_by_name,
    in_accepted,
    in_timeout,
    in_eof,
]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_raises(hook: Callable[[World], None], world: World, tally: Tally) -> None:
    """It costs the channel, which is told, and nobody else anything."""
    witness = world.peer()
    other = world.accepted(witness)
    with tally.fault():
        hook(world)
        world.until(lambda: world.errors)
        assert {type(error) for error in world.errors} == {Oops}
        for peer in world.peers[1:]:
            peer.close()
        world.only(other)
        world.echoes(witness)
        world.accepted(world.peer())


@pytest.mark.parametrize("name", ["readable", "writable", "handle_error"])
def test_what_leaves_the_loop_leaves_it_usable(name: str, world: World, tally: Tally) -> None:
    """The exceptions of predicates and of `handle_error` come out, as in classic asyncore."""
    witness = world.peer()
    other = world.accepted(witness)
    with tally.fault():
        peer = world.peer()
        channel = world.accepted(peer)
        setattr(channel, name, raising)
        if name == "handle_error":
            channel.handle_read = raising
        peer.sendall(b"x")
        with pytest.raises(Oops):
            world.passes(5)
        channel.close()
        world.echoes(witness)
        world.only(other)


def test_callbacks_that_raise(
    world: World, tally: Tally, capsys: pytest.CaptureFixture[str]
) -> None:
    with tally.fault(20):
        for number in range(10):
            asynccore.call_later(0, raising, number, map=world.map)
            asynccore.call_soon_threadsafe(raising, number, map=world.map)
        world.echoes(world.peer())
        assert capsys.readouterr().err.count("error: uncaptured python exception") == 20


# Closing each other --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("whom", ["itself", "the next", "the one before", "all", "anyone"])
def test_handlers_that_close(
    whom: str, kind: Any, new_world: Callable[..., World], tally: Tally
) -> None:
    """All get an event in the same batch; no event reaches who is closed (`Echo` asserts it)."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    world = new_world(kind)
    for _ in range(4):
        with tally.fault(16):
            peers = [world.peer() for _ in range(16)]
            channels = [world.accepted(peer) for peer in peers]

            def recv(size: int, place: int, channels: list[Any] = channels) -> bytes:
                assert not channels[place]._ac_closed
                data: bytes = type(channels[place]).recv(channels[place], size)
                victims = {
                    "itself": [place],
                    "the next": [(place + 1) % 16],
                    "the one before": [place - 1],
                    "all": range(16),
                    "anyone": chance.sample(range(16), 3),
                }[whom]
                for victim in victims:
                    channels[victim].close()
                return data

            for place, channel in enumerate(channels):
                channel.recv = lambda size, place=place, recv=recv: recv(size, place)
            for peer in peers:
                peer.sendall(b"go\n")
            world.until(lambda channels=channels: any(c._ac_closed for c in channels))
            world.passes(5)
            for channel in channels:
                channel.close()
            for peer in peers:
                peer.close()
            world.peers.clear()
            assert not world.errors
            world.only()


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_come_back_in_the_same_batch(
    kind: Any, new_world: Callable[..., World], tally: Tally
) -> None:
    """Whoever reads closes another channel and opens one, which gets its descriptor."""
    world = new_world(kind)
    opened: list[tuple[Any, socket.socket]] = []
    for round_ in range(10):
        with tally.fault(8):
            peers = [world.peer() for _ in range(8)]
            channels = [world.accepted(peer) for peer in peers]
            reused = 0

            def recv(size: int, place: int, channels: list[Any] = channels) -> bytes:
                nonlocal reused
                channel = channels[place]
                data: bytes = type(channel).recv(channel, size)
                if data:
                    victim = channels[(place + 1) % 8]
                    if not victim._ac_closed:
                        number = victim._fileno
                        victim.close()
                        ours, theirs = socket.socketpair()
                        reused += ours.fileno() == number
                        ours.setblocking(False)
                        opened.append((kind(world, ours), theirs))
                return data

            for place, channel in enumerate(channels):
                channel.recv = lambda size, place=place, recv=recv: recv(size, place)
            for place, peer in enumerate(peers):
                peer.sendall(b"for %d only\n" % place)
            world.passes(10)
            assert reused, "no number came back: the test tries nothing"
            for new, theirs in opened:
                assert new.got == b"" and not new._ac_closed
                world.echoes(theirs, b"yours %d\n" % round_)
                new.close()
                theirs.close()
            opened.clear()
            for channel, peer in zip(channels, peers, strict=True):
                channel.close()
                peer.close()
            world.peers.clear()
            assert not world.errors
            world.only()


def test_a_descriptor_closed_behind_the_loops_back(world: World, tally: Tally) -> None:
    witness = world.peer()
    other = world.accepted(witness)
    with tally.fault(10):
        for _ in range(10):
            peer = world.peer()
            channel = world.accepted(peer)
            os.close(channel.socket.detach())
            asynccore.loop(0, map=world.map, count=2, poller=world.poller)
            world.echoes(witness)
            assert channel not in world.map.values()
            channel.close()
            peer.close()
    world.only(other)


# Signals ------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGUSR1")
@pytest.mark.parametrize("action", ["nothing", "stop", "leave", "close", "call"])
@pytest.mark.parametrize("state", ["waiting", "reading", "asking", "timer", "looking up"])
def test_a_signal(state: str, action: str, world: World, tally: Tally) -> None:
    witness = world.peer()
    other = world.accepted(witness)
    called: list[str] = []

    def handler(*args: Any) -> None:
        called.append(action)
        if action == "stop":
            asynccore.stop(map=world.map)
        elif action == "leave":
            raise asynccore.ExitNow
        elif action == "close":
            victim.close()
        elif action == "call":
            asynccore.call_soon_threadsafe(called.append, "called", map=world.map)

    def send() -> None:
        signal.raise_signal(signal.SIGUSR1)

    def send_when_it_waits() -> None:
        end = time.monotonic() + 20
        while not world.engine.waiting and time.monotonic() < end:
            time.sleep(0.001)  # for the other thread, which is about to wait
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    victim = world.accepted(world.peer())
    before = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=send_when_it_waits)
    with tally.fault():
        try:
            if state == "reading":
                real = other.recv
                other.recv = lambda size: (send(), real(size))[1]
                witness.sendall(b"x")
            elif state == "asking":
                other.readable = lambda: (called or send(), True)[1]
            elif state == "timer":
                asynccore.call_later(0, send, map=world.map)
            elif state == "looking up":
                asynccore.set_resolver(lambda *question: send())
                looking = Echo(world)
                asynccore.call_later(
                    0, lambda: looking.connect_name("name.invalid", 1), map=world.map
                )
            else:
                thread.start()
            if action == "leave":
                with pytest.raises(asynccore.ExitNow):
                    asynccore.loop(20, map=world.map, count=100, poller=world.poller)
            elif action == "stop":
                asynccore.loop(None, map=world.map, poller=world.poller)
            else:
                world.until(lambda: called and (action != "call" or "called" in called))
                world.until(lambda: action != "close" or victim._ac_closed)
        finally:
            asynccore.set_resolver(None)
            if thread.ident:
                thread.join()
            signal.signal(signal.SIGUSR1, before)
        assert called[0] == action
        victim.close()
        if state == "looking up":
            looking.close()
        other.__dict__.pop("recv", None)
        other.__dict__.pop("readable", None)
        world.until(lambda: True)
        if state == "reading":
            world.passes(2)
            world.hears(witness, b"x")
        world.echoes(witness)
        world.only(other)


# Fork ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.parametrize("where", ["outside", "in a handler", "while it connects"])
def test_a_fork(where: str, world: World, tally: Tally) -> None:
    """The child runs its copy and closes everything; the parent goes on as if nothing were."""
    witness = world.peer()
    other = world.accepted(witness)
    world.echoes(witness)
    children: list[int] = []

    def fork() -> None:
        pid = os.fork()
        children.append(pid)
        if pid == 0:
            try:
                world.passes(3)
                asynccore.close_all(world.map, ignore_all=True)
                os._exit(0 if not world.map else 1)
            finally:
                os._exit(2)

    with tally.fault():
        if where == "in a handler":
            real = other.recv
            # Read first: the byte is for one of the two processes.
            other.recv = lambda size: (real(size), children or fork())[0]
            witness.sendall(b"x")
            world.passes(3)
            world.hears(witness, b"x")
        else:
            if where == "while it connects":
                client = Echo(world)
                client.connect_name(*world.server.address)
            fork()
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
        world.echoes(witness)
        if where == "while it connects":
            world.until(lambda: client.connected)
            client.close()
        world.echoes(world.peer())
        world.end_cleanly(witness)
        reset(world.peers[-1])
        world.only()
