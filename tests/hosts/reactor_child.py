"""What a Twisted reactor must do for an attached map: `reactor_child.py REACTOR POLLER`.

A process has one reactor, so each of them is tried in a process of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import sys
import threading
from typing import Any

import asynccore
import compat
from asynccore.engine import engine_for
from asynccore.running.hosting import Attachment


class Echo(asynccore.dispatcher_with_send):
    def handle_read(self) -> None:
        data = self.recv(65536)
        if data == b"exit":
            raise asynccore.ExitNow("so told")
        if data == b"quit":
            raise SystemExit(3)
        if data:
            self.send(data)


def channel(poller: str | None) -> tuple[dict[int, Any], Echo, socket.socket]:
    channels: dict[int, Any] = {}
    peer, own = socket.socketpair()
    peer.setblocking(False)
    echo = Echo(own, channels)
    engine_for(channels).use(poller)
    return channels, echo, peer


def scenarios(reactor: Any, poller: str | None) -> Any:
    """A generator of Deferreds to wait for, one after the other."""
    from twisted.internet import defer, protocol, task, threads

    @defer.inlineCallbacks
    def got(peer: socket.socket, wanted: bytes) -> Any:
        data = b""
        while data != wanted:
            with contextlib.suppress(BlockingIOError):
                data += peer.recv(1 << 20)
            assert wanted.startswith(data), (wanted[:100], data[:100])
            yield task.deferLater(reactor, 0, lambda: None)

    @defer.inlineCallbacks
    def echoes() -> Any:
        channels, echo, peer = channel(poller)
        attachment = compat.attach(map=channels)
        for size in (1, 1000, 2_000_000):
            sent = 0
            back = 0
            while back < size:
                with contextlib.suppress(BlockingIOError):
                    sent += peer.send(b"x" * (size - sent)) if sent < size else 0
                with contextlib.suppress(BlockingIOError):
                    back += len(peer.recv(1 << 20))
                yield task.deferLater(reactor, 0, lambda: None)
        echo.send(b"y" * 2_000_000)  # outside of a pass: the rest goes when there is room
        yield got(peer, b"y" * 2_000_000)
        done = attachment.wait_empty()
        also = attachment.wait_empty()
        echo.close()
        yield done
        yield also
        yield attachment.wait_empty()
        attachment.detach()
        peer.close()

    @defer.inlineCallbacks
    def exceptions() -> Any:
        channels, echo, peer = channel(poller)
        attachment = compat.attach(reactor, map=channels)
        waiter = attachment.wait_empty()
        peer.send(b"exit")
        try:
            yield waiter
        except asynccore.ExitNow:
            pass
        else:
            raise AssertionError("no ExitNow")
        assert not attachment.attached
        attachment = compat.attach(reactor, map=channels)
        peer.send(b"again")
        yield got(peer, b"again")
        waiter = attachment.wait_empty()
        peer.send(b"quit")
        try:
            yield waiter
        except SystemExit as why:
            assert why.code == 3
        else:
            raise AssertionError("no SystemExit")
        echo.close()
        peer.close()

    @defer.inlineCallbacks
    def moves() -> Any:
        channels, echo, peer = channel(poller)
        for turn in range(3):
            attachment = compat.attach(reactor, map=channels)
            peer.send(b"%d" % turn)
            yield got(peer, b"%d" % turn)
            waiter = attachment.wait_empty()
            attachment.detach()
            yield waiter
            peer.send(b"own loop")
            asynccore.loop(timeout=5, map=channels, count=1)
            assert peer.recv(100) == b"own loop"
        attachment = compat.attach(reactor, map=channels)
        asynccore.stop(map=channels)
        yield attachment.wait_empty()
        assert not attachment.attached
        echo.close()
        peer.close()

    @defer.inlineCallbacks
    def timers_and_threads() -> Any:
        channels, echo, peer = channel(poller)
        attachment = compat.attach(reactor, map=channels)
        ran: list[Any] = []
        asynccore.call_later(0.001, ran.append, 1, map=channels)
        while not ran:
            yield task.deferLater(reactor, 0, lambda: None)

        def elsewhere() -> None:
            echo.send(b"from elsewhere")
            asynccore.call_soon_threadsafe(lambda: ran.append(threading.get_ident()), map=channels)
            echo.close()

        yield threads.deferToThread(elsewhere)
        yield attachment.wait_empty()
        yield got(peer, b"from elsewhere")
        assert ran == [1, threading.get_ident()]
        attachment.detach()
        peer.close()

    @defer.inlineCallbacks
    def handlers() -> Any:
        channels, echo, peer = channel(poller)
        attachment = compat.attach(reactor, map=channels)

        def nested() -> None:
            del echo.handle_read
            asynccore.loop(timeout=0, map=channels, count=2)

        echo.handle_read = nested  # type: ignore[method-assign]
        peer.send(b"nested")
        yield got(peer, b"nested")
        echo.handle_read = attachment.detach  # type: ignore[method-assign]
        waiter = attachment.wait_empty()
        peer.send(b"x")
        yield waiter
        assert not attachment.attached
        echo.close()
        peer.close()

    @defer.inlineCallbacks
    def beside_its_own() -> Any:
        """A legacy channel and Twisted's own, under load from both."""
        channels, echo, peer = channel(poller)
        attachment = compat.attach(reactor, map=channels)
        factory = protocol.ServerFactory()
        factory.protocol = type("E", (protocol.Protocol,), {"dataReceived": _back})
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        client = socket.create_connection(("127.0.0.1", port.getHost().port))
        client.setblocking(False)
        for _ in range(100):
            client.send(b"modern")
            peer.send(b"legacy")
            yield got(client, b"modern")
            yield got(peer, b"legacy")
        client.close()
        yield port.stopListening()
        attachment.detach()
        echo.close()
        peer.close()

    @defer.inlineCallbacks
    def no_pile() -> Any:
        """Timers that the host is told of don't pile up."""
        channels, echo, peer = channel(poller)
        attachment = compat.attach(reactor, map=channels)
        for turn in range(50):
            asynccore.call_later(60 - turn, print, map=channels).cancel()
            peer.send(b"x")
            yield got(peer, b"x")
        assert len(list(reactor.getDelayedCalls())) <= 3
        attachment.detach()
        assert not reactor.getDelayedCalls()
        echo.close()
        peer.close()

    for scenario in (
        echoes,
        exceptions,
        moves,
        timers_and_threads,
        handlers,
        beside_its_own,
        no_pile,
    ):
        print(scenario.__name__, flush=True)
        yield scenario()


def _back(self: Any, data: bytes) -> None:
    self.transport.write(data)


def main(name: str, poller: str) -> None:
    importlib.import_module(f"twisted.internet.{name}").install()
    from twisted.internet import defer
    from twisted.internet import reactor as chosen

    reactor: Any = chosen
    failures: list[Any] = []

    @defer.inlineCallbacks
    def run_all() -> Any:
        yield from scenarios(reactor, None if poller == "default" else poller)

    def over(failure: Any) -> None:
        if failure is not None:
            failures.append(failure)
        reactor.stop()

    reactor.callWhenRunning(lambda: run_all().addBoth(over))
    # One more map, that outlives the reactor.
    channels, echo, peer = channel(None if poller == "default" else poller)
    attachment = compat.attach(reactor, map=channels)
    reactor.run()
    for failure in failures:
        failure.printTraceback()
        raise SystemExit(1)
    assert isinstance(attachment, Attachment)
    attachment.detach()
    peer.send(b"afterwards")
    asynccore.loop(timeout=5, map=channels, count=1)
    assert peer.recv(100) == b"afterwards"
    echo.close()
    peer.close()
    print("over", flush=True)


def interrupted(name: str) -> None:
    """Ctrl-C under `reactor.run`: the reactor ends, the channels stay."""
    importlib.import_module(f"twisted.internet.{name}").install()
    from twisted.internet import reactor as chosen

    reactor: Any = chosen
    channels, echo, peer = channel(None)
    compat.attach(reactor, map=channels)
    reactor.callWhenRunning(os.kill, os.getpid(), signal.SIGINT)
    reactor.run()
    assert channels
    echo.close()
    peer.close()
    print("over", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, os.environ["ASYNCCORE_CHECKOUT"])
    if sys.argv[2] == "interrupted":
        interrupted(sys.argv[1])
    else:
        main(sys.argv[1], sys.argv[2])
