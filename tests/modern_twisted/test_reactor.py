"""The reactor's beginning, end, wake-ups and threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ReactorAlreadyRunning,
    ReactorNotRestartable,
    ReactorNotRunning,
)
from twisted.internet.protocol import Factory
from twisted.internet.threads import blockingCallFromThread, deferToThreadPool

import asynccore
import compat
from asynccore.engine import engine_for
from compat.twisted_transports import ClassicReactor, TwistedChannel, hand_over, install_reactor
from tests.modern_twisted.protocols import Echo, Keeper, Recorder

LOCAL = "127.0.0.1"
Loop = Callable[..., None]


def test_the_names_of_the_package() -> None:
    assert compat.ClassicReactor is ClassicReactor
    assert compat.hand_over is hand_over
    assert compat.install_reactor is install_reactor
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        compat.nonsense  # type: ignore[attr-defined] # noqa: B018


def test_the_default_map_is_the_global_one() -> None:
    reactor = ClassicReactor()
    assert reactor.map is asynccore.socket_map
    asynccore.loop(until_idle=True)
    assert reactor.running
    reactor.stop()
    asynccore.loop(until_idle=True)
    assert not reactor.running


def test_a_loop_starts_it(reactor: Any) -> None:
    told: list[str] = []
    reactor.callWhenRunning(told.append, "running")
    assert not reactor.running
    asynccore.loop(map=reactor.map, until_idle=True)
    assert told == ["running"] and reactor.running
    reactor.callWhenRunning(told.append, "at once")
    assert told == ["running", "at once"]


def test_run_ends_with_stop(reactor: Any) -> None:
    told: list[str] = []
    for phase in ("before", "during", "after"):
        reactor.addSystemEventTrigger(phase, "shutdown", told.append, phase)
    reactor.callWhenRunning(told.append, "running")
    reactor.callLater(0, reactor.stop)
    reactor.run(installSignalHandlers=False)
    assert told == ["running", "before", "during", "after"]
    assert not reactor.running and reactor.map == {}
    with pytest.raises(ReactorNotRestartable):
        reactor.run(installSignalHandlers=False)
    with pytest.raises(ReactorNotRunning):
        reactor.stop()


def test_run_disconnects_what_is_twisteds_and_leaves_dispatchers(reactor: Any, loop: Loop) -> None:
    trigger = asynccore.Trigger(map=reactor.map)
    kept = Keeper()
    port = reactor.listenTCP(0, kept, interface=LOCAL)
    reactor.connectTCP(LOCAL, port.getHost().port, connected := Keeper())
    loop(lambda: all(it.made and it.made[0].began for it in (kept, connected)))
    reactor.callLater(0, reactor.stop)
    reactor.run(installSignalHandlers=False)
    assert [*reactor.map.values()] == [trigger]
    assert kept.made[0].lost == connected.made[0].lost == ["ConnectionLost"]
    trigger.close()


def test_run_within_run_is_refused(reactor: Any) -> None:
    raised: list[type] = []

    def again() -> None:
        try:
            reactor.run()
        except ReactorAlreadyRunning as why:
            raised.append(type(why))
        reactor.stop()

    reactor.callWhenRunning(again)
    reactor.run(installSignalHandlers=False)
    assert raised == [ReactorAlreadyRunning]


def test_run_goes_on_where_a_loop_began(reactor: Any) -> None:
    asynccore.loop(map=reactor.map, until_idle=True)
    assert reactor.running
    reactor.callLater(0.01, reactor.stop)
    reactor.run()
    assert not reactor.running


@pytest.mark.parametrize("end", ["stop", "graceful_close", "close_all"])
def test_run_ends_with_asynccores_means(reactor: Any, end: str) -> None:
    told: list[str] = []
    reactor.addSystemEventTrigger("after", "shutdown", told.append, "stopped")
    reactor.listenTCP(0, Keeper(), interface=LOCAL)
    reactor.callLater(0.01, partial(getattr(asynccore, end), map=reactor.map))
    reactor.run(installSignalHandlers=False)
    assert told == ["stopped"]
    assert reactor.map == {}


def test_shutdown_waits_for_a_deferred(reactor: Any) -> None:
    waiting: Deferred[None] = Deferred()
    told: list[str] = []
    reactor.addSystemEventTrigger("before", "shutdown", lambda: waiting)
    reactor.addSystemEventTrigger("during", "shutdown", told.append, "during")

    def stop() -> None:
        reactor.callLater(0.01, lambda: (told.append("fires"), waiting.callback(None)))
        asynccore.stop(map=reactor.map)

    reactor.callWhenRunning(stop)
    reactor.run(installSignalHandlers=False)
    assert told == ["fires", "during"]


def test_stop_under_a_loop(reactor: Any, loop: Loop) -> None:
    kept = Keeper()
    port = reactor.listenTCP(0, kept, interface=LOCAL)
    reactor.connectTCP(LOCAL, port.getHost().port, Keeper())
    loop(lambda: kept.made and kept.made[0].began)
    reactor.stop()
    loop()
    assert kept.made[0].lost == ["ConnectionLost"]
    assert not reactor.running
    asynccore.loop(map=reactor.map, until_idle=True)  # it is not started again
    assert not reactor.running


def test_crash_ends_run_and_it_may_run_again(reactor: Any) -> None:
    reactor.listenTCP(0, Keeper(), interface=LOCAL)
    for _ in range(2):
        reactor.callLater(0, reactor.crash)
        reactor.run(installSignalHandlers=False)
        assert not reactor.running
    assert len(reactor.getReaders()) == 1
    for reader in reactor.removeAll():
        reader.connectionLost(None)


@pytest.mark.parametrize("kind", [asynccore.ExitNow, KeyboardInterrupt])
def test_what_leaves_the_loop_leaves_run(reactor: Any, kind: type[BaseException]) -> None:
    def leave() -> None:
        raise kind

    reactor.callLater(0, leave)
    with pytest.raises(kind):
        reactor.run(installSignalHandlers=False)
    assert not reactor.running and reactor.map == {}


def test_iterate_waits_no_longer_than_told(reactor: Any) -> None:
    told: list[str] = []
    reactor.callLater(0, told.append, "now")
    reactor.iterate()
    assert told == ["now"]
    reactor.callFromThread(told.append, "from a thread")
    reactor.iterate(30)  # as there is work, at once
    assert told == ["now", "from a thread"]


def test_calls_from_threads_wake_the_loop(reactor: Any) -> None:
    told: list[int] = []

    def work() -> None:
        for number in range(1000):
            reactor.callFromThread(told.append, number)
        assert blockingCallFromThread(reactor, lambda: threading.get_ident()) == here
        reactor.callFromThread(reactor.stop)

    here = threading.get_ident()
    worker = threading.Thread(target=work)
    reactor.callWhenRunning(worker.start)
    reactor.run(installSignalHandlers=False)
    worker.join()
    assert told == [*range(1000)]


def test_jobs_in_threads_keep_the_loop(reactor: Any, loop: Loop, logged: list[str]) -> None:
    results: list[Any] = []
    let = threading.Event()
    pool = reactor.getThreadPool()
    assert reactor.getThreadPool() is pool
    deferToThreadPool(reactor, pool, let.wait).addCallback(results.append)
    deferToThreadPool(reactor, pool, lambda: 1 / 0).addErrback(lambda why: results.append(why.type))
    reactor.callInThread(lambda: [] + 1)  # type: ignore[operator]
    reactor.callInThread(results.append, "in a thread")
    reactor.callLater(0.02, let.set)
    loop()
    assert set(results) == {True, ZeroDivisionError, "in a thread"}
    assert logged == ["TypeError"]
    reactor.stop()
    loop()
    pool.callInThread(results.append, "never")  # stopped
    loop()
    assert "never" not in results


def test_each_thread_may_have_a_reactor_and_a_map(reactor: Any) -> None:
    data: list[bytes] = []

    def serve() -> None:
        other = ClassicReactor(map={})
        kept = Keeper(Echo)
        port = other.listenTCP(0, kept, interface=LOCAL)
        ready.append(port.getHost().port)
        listening.set()
        port_closes = asynccore.call_every(0.01, close_after_one, kept, port, map=other.map)
        asynccore.loop(map=other.map)
        port_closes.cancel()
        other.stop()
        asynccore.loop(map=other.map, until_idle=True)

    def close_after_one(kept: Any, port: Any) -> None:
        if kept.made and kept.made[0].lost:
            port.stopListening()

    class Asker(Recorder):
        def connectionMade(self) -> None:
            self.transport.write(b"over there")

        def dataReceived(self, received: bytes) -> None:
            data.append(received)
            self.transport.loseConnection()

    ready: list[int] = []
    listening = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    listening.wait(30)
    reactor.connectTCP(LOCAL, ready[0], Keeper(Asker))
    asynccore.loop(map=reactor.map)
    thread.join()
    assert data == [b"over there"]


def test_the_engine_sees_channels_of_this_class(reactor: Any) -> None:
    port = reactor.listenTCP(0, Factory(), interface=LOCAL)
    (channel,) = reactor.map.values()
    assert isinstance(channel, TwistedChannel)
    assert engine_for(reactor.map) is reactor.engine
    port.stopListening()


# -- in processes of their own ------------------------------------------------------------------

ROOT = Path(__file__).parents[2]


def child(source: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", source],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(source: str) -> str:
    with child(source) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == "", err
    return out


def test_install() -> None:
    assert (
        output(
            "import compat, asynccore\n"
            "channels = {}\n"
            "made = compat.install_reactor(map=channels)\n"
            "from twisted.internet import reactor\n"
            "from twisted.internet.error import ReactorAlreadyInstalledError\n"
            "assert reactor is made and made.map is channels\n"
            "try: compat.install_reactor()\n"
            "except ReactorAlreadyInstalledError: print('once')\n"
        )
        == "once\n"
    )


def test_importing_compat_does_not_import_twisted() -> None:
    assert output("import compat, sys; print('twisted' in sys.modules)") == "False\n"


def test_a_program_ends_though_its_pool_has_threads() -> None:
    assert (
        output(
            "import compat, asynccore\n"
            "reactor = compat.install_reactor()\n"
            "from twisted.internet.threads import deferToThread\n"
            "deferToThread(int, '7').addCallback(print)\n"
            "reactor.addSystemEventTrigger('during', 'shutdown', print, 'stopped')\n"
            "asynccore.loop()\n"
        )
        == "7\nstopped\n"
    )


def test_timeouts_of_protocols() -> None:
    assert (
        output(
            "import compat, asynccore\n"
            "reactor = compat.install_reactor()\n"
            "from twisted.internet.protocol import Factory, Protocol\n"
            "from twisted.internet.task import LoopingCall\n"
            "from twisted.protocols.policies import TimeoutMixin\n"
            "class Idle(Protocol, TimeoutMixin):\n"
            "    def connectionMade(self): self.setTimeout(0.01)\n"
            "    def connectionLost(self, reason):\n"
            "        print(reason.type.__name__)\n"
            "        port.stopListening(); ticks.stop()\n"
            "port = reactor.listenTCP(0, Factory.forProtocol(Idle), interface='127.0.0.1')\n"
            "ticks = LoopingCall(lambda: None)\n"
            "ticks.start(0.005)\n"
            "import socket\n"
            "with socket.create_connection(('127.0.0.1', port.getHost().port)):\n"
            "    asynccore.loop()\n"
        )
        == "ConnectionDone\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent to processes there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_run(number: int) -> None:
    source = (
        "import compat\n"
        "reactor = compat.install_reactor()\n"
        "reactor.callWhenRunning(print, 'running', flush=True)\n"
        "reactor.addSystemEventTrigger('during', 'shutdown', print, 'stopped')\n"
        "reactor.run()\n"
    )
    with child(source) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (out, err) == ("stopped\n", "")
