"""`ClassicLoop`: what asyncio's loops do, and what is special about this one."""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import signal
import socket
import sys
import threading
from typing import Any

import pytest

import asynccore
import compat
from compat.transports.engine_selector import EngineSelector
from tests.modern.runners import OURS, Makers, on_classic_loop_object, under_classic_loop

on_all = pytest.mark.parametrize("run", OURS, ids=lambda run: run.__name__)
on_ours = pytest.mark.parametrize(
    "run", [on_classic_loop_object, under_classic_loop], ids=lambda run: run.__name__
)


@on_all
def test_timers_callbacks_and_executors(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        loop, order = makers.loop, list[Any]()
        loop.call_later(0.02, order.append, "later")
        loop.call_at(loop.time() + 0.01, order.append, "sooner")
        loop.call_later(0.005, order.append, "never").cancel()
        loop.call_soon(order.append, "soon")
        loop.call_soon(order.append, "not").cancel()
        begun = threading.Event()  # since 3.14, what is done at once is not waited for
        loop.call_soon(begun.set)
        thread = threading.Thread(
            target=lambda: loop.call_soon_threadsafe(order.append, "from a thread")
        )
        thread.start()
        thread.join()
        order.append(await loop.run_in_executor(None, lambda: begun.wait(60) and "executed"))
        await asyncio.sleep(0.03)
        await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.001))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.create_future(), 0.001)
        return order

    order = run(scenario)
    assert order[0] == "soon"
    assert sorted(order) == ["executed", "from a thread", "later", "soon", "sooner"]
    assert order.index("sooner") < order.index("later")


@on_ours
def test_a_cancelled_timer_that_is_due_does_not_run(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        ran: list[str] = []
        handles: list[asyncio.TimerHandle] = []

        def cancel() -> None:
            handles[0].cancel()

        makers.loop.call_later(0, cancel)
        handles.append(makers.loop.call_later(0, ran.append, "x"))
        await asyncio.sleep(0.01)
        return ran

    assert run(scenario) == []


@on_ours
def test_readers_writers_and_names(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        loop, one, two = makers.loop, *socket.socketpair()
        read, wrote = loop.create_future(), loop.create_future()
        with one, two:
            loop.add_reader(one, lambda: read.done() or read.set_result(one.recv(10)))
            loop.add_writer(one, lambda: wrote.done() or wrote.set_result(True))
            await wrote
            assert loop.remove_writer(one)
            assert not loop.remove_writer(one)
            two.send(b"x")
            assert await read == b"x"
            assert "watched" in repr(makers.map[one.fileno()])
            assert loop.remove_reader(one)
            assert not loop.remove_reader(one)
            assert one.fileno() not in makers.map
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        return found[0][4], (await loop.getnameinfo(("127.0.0.1", 80), 3))[0]

    assert run(scenario) == (("127.0.0.1", 80), "127.0.0.1")


@on_ours
def test_child_processes(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(input())", stdin=-1, stdout=-1
        )
        out, _ = await child.communicate(b"through pipes\n")
        return out.strip(), child.returncode

    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.ThreadedChildWatcher())
    assert run(scenario) == (b"through pipes", 0)


@on_ours
def test_signals(run: Any) -> None:
    before = signal.getsignal(signal.SIGUSR1)

    async def scenario(makers: Makers) -> Any:
        loop = makers.loop
        came = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, came.set_result, "caught")
        os.kill(os.getpid(), signal.SIGUSR1)
        result = await came
        with pytest.raises(TypeError):
            loop.add_signal_handler(signal.SIGUSR1, scenario)
        with pytest.raises(RuntimeError):
            loop.add_signal_handler(signal.SIGKILL, print)
        loop.add_signal_handler(signal.SIGUSR1, print)
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)
        loop.add_signal_handler(signal.SIGUSR1, print)  # given back by close()
        return result

    assert run(scenario) == "caught"
    assert signal.getsignal(signal.SIGUSR1) is before


@on_ours
def test_unix_sockets(run: Any, tmp_path: Any) -> None:
    path = str(tmp_path / "s")

    async def scenario(makers: Makers) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readline()).upper())
            writer.close()

        results = []
        for _ in range(2):  # the second one finds the first one's path
            server = await asyncio.start_unix_server(serve, path)
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"hello\n")
            results.append(await reader.read())
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
        with pytest.raises(ValueError, match="path"):
            await makers.loop.create_unix_connection(asyncio.Protocol)
        with pytest.raises(ValueError, match="path"):
            await makers.loop.create_unix_server(asyncio.Protocol)
        return results

    assert run(scenario) == [b"HELLO\n"] * 2


def test_dispatchers_and_tasks_share_a_loop() -> None:
    channels: dict[int, Any] = {}
    one, two = socket.socketpair()

    class Reader(asynccore.dispatcher):
        def writable(self) -> bool:
            return False

        def handle_read(self) -> None:
            data = self.recv(10)

            async def answer() -> bytes:
                await asyncio.sleep(0)
                self.close()
                return data

            self.task = compat.run_coroutine(answer(), map=channels)

    reader = Reader(one, channels)
    two.send(b"hello")
    asynccore.loop(map=channels)
    assert reader.task.result() == b"hello"
    two.close()
    compat.event_loop(map=channels).close()


def test_stop_ends_whichever_loop_runs() -> None:
    channels: dict[int, Any] = {}
    loop = compat.ClassicLoop(map=channels)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.call_soon(lambda: asynccore.stop(map=channels))
    loop.run_forever()
    one, two = socket.socketpair()
    keeper = asynccore.dispatcher(one, channels)
    loop.call_soon(loop.stop)
    asynccore.loop(map=channels)
    assert channels
    keeper.close()
    two.close()
    loop.close()
    loop.close()
    with pytest.raises(RuntimeError):
        loop.call_later(1, print)
    with pytest.raises(RuntimeError):
        loop.run_forever()


def test_what_leaves_a_handler_leaves_the_loop() -> None:
    channels: dict[int, Any] = {}
    loop = compat.ClassicLoop(map=channels)
    one, two = socket.socketpair()

    class Leaves(asynccore.dispatcher):
        def handle_read(self) -> None:
            raise asynccore.ExitNow("enough")

    channel = Leaves(one, channels)
    two.send(b"x")
    with pytest.raises(asynccore.ExitNow):
        loop.run_forever()
    assert not loop.is_running()
    channel.close()
    two.close()

    async def ends() -> None:
        raise SystemExit(3)

    task = loop.create_task(ends())
    with pytest.raises(SystemExit):
        asynccore.loop(map=channels, until_idle=True)
    assert task.done()
    with pytest.raises(SystemExit):
        task.result()
    loop.close()


def test_a_classic_loop_within_a_callback() -> None:
    channels: dict[int, Any] = {}
    loop = compat.ClassicLoop(map=channels)
    order: list[str] = []
    one, two = socket.socketpair()
    keeper = asynccore.dispatcher(one, channels)

    def outer() -> None:
        loop.call_soon(order.append, "after")
        asynccore.loop(map=channels, count=2, timeout=0)
        order.append("inner loop done")
        loop.call_soon(loop.stop)

    loop.call_soon(outer)
    asynccore.loop(map=channels)
    assert order == ["inner loop done", "after"]
    keeper.close()
    two.close()
    loop.close()


def test_the_loop_of_a_map() -> None:
    channels: dict[int, Any] = {}
    loop = compat.event_loop(map=channels)
    assert compat.event_loop(map=channels) is loop
    loop.close()
    other = compat.event_loop(map=channels)
    assert other is not loop
    other.close()

    async def hosted() -> None:
        attachment = compat.attach(map=channels)
        assert compat.event_loop(map=channels) is asyncio.get_running_loop()
        attachment.detach()

    asyncio.run(hosted())


def test_the_loop_of_a_map_runs_in_the_handlers_of_its_dispatchers() -> None:
    channels: dict[int, Any] = {}
    seen: list[Any] = []
    tasks: list[asyncio.Task[None]] = []

    async def work() -> None:
        seen.append(asyncio.get_running_loop())

    async def refused() -> None:
        raise AssertionError("a second loop ran inside of the first")

    class Peer(asynccore.dispatcher):
        def handle_read(self) -> None:
            self.recv(10)
            seen.append(asyncio._get_running_loop())
            if seen == [loop]:
                tasks.append(asyncio.create_task(work()))
                coroutine = refused()
                with pytest.raises(RuntimeError, match="running"):
                    asyncio.run(coroutine)
                coroutine.close()

    def read() -> list[Any]:
        seen.clear()
        theirs.send(b"x")
        while not seen or not all(task.done() for task in tasks):
            asynccore.loop(map=channels, count=1)
        return seen

    ours, theirs = socket.socketpair()
    with theirs:
        peer = Peer(ours, channels)
        loop: Any = "to be made"
        assert read() == [None]  # nobody has asked for one
        loop = compat.event_loop(map=channels)
        assert read() == [loop, loop]
        assert asyncio._get_running_loop() is None
        loop.close()
        assert read() == [None]
        peer.close()


def test_an_engine_that_is_forgotten_closes_its_loop() -> None:
    compat.event_loop(map={})
    gc.collect()  # a ResourceWarning, or an open descriptor, would fail this


def test_a_forgotten_loop_that_is_older_than_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the collector, which finalizes a younger generation first."""
    real = socket.socketpair

    def socketpair() -> Any:
        gc.collect(0)
        return real()

    monkeypatch.setattr(socket, "socketpair", socketpair)
    compat.event_loop(map={})
    gc.collect()


def test_time_is_the_engines() -> None:
    from asynccore.testing import engine_with_fakes

    channels: dict[int, Any] = {}
    fakes = engine_with_fakes(channels)
    loop = compat.ClassicLoop(map=channels)
    ran: list[int] = []
    loop.call_later(60, ran.append, 1)
    assert loop.time() == fakes.clock()
    asynccore.loop(map=channels, until_idle=True)
    assert ran == [1]
    loop.close()


def test_the_selector_has_the_interface_of_selectors() -> None:
    from asynccore.engine import engine_for

    channels: dict[int, Any] = {}
    selector = EngineSelector(engine_for(channels))
    selector.begin()
    one, two = socket.socketpair()
    with one, two, selector:
        key = selector.register(one, selectors.EVENT_READ, "data")
        assert selector.get_key(one) == key
        assert dict(selector.get_map()) == {one.fileno(): key}
        assert selector.get_map()[one] is key
        with pytest.raises(KeyError):
            selector.get_map()[-1]
        with pytest.raises(KeyError):
            selector.register(one, selectors.EVENT_READ)
        with pytest.raises(ValueError):
            selector.register(-1, selectors.EVENT_READ)
        two.send(b"x")
        selector.drive(True)
        assert selector.select(5) == [(key, selectors.EVENT_READ)]
        key = selector.modify(one, selectors.EVENT_WRITE, "other")
        assert selector.select(5) == [(key, selectors.EVENT_WRITE)]
        channel = asynccore.dispatcher(two, channels)
        with pytest.raises(RuntimeError, match="is used by transport"):
            selector.register(two, selectors.EVENT_READ)
        channel.del_channel()
        asynccore.close_all(channels)
        assert selector.unregister(one) is key
        with pytest.raises(KeyError):
            selector.unregister(one)
