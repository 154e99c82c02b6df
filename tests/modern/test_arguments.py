"""Wrong arguments and states get asyncio's exceptions, and right ones mean the same as there."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import socket
import sys
import threading
from typing import Any

import pytest

import asynccore
import compat
from tests.modern.runners import OURS, PATIENCE, Makers, PlainMakers, on_asyncio
from tests.modern.test_transports import Recorder, receive_all
from tests.ports import free_port

ALL = [on_asyncio, *OURS]
everywhere = pytest.mark.parametrize("run", ALL, ids=lambda run: run.__name__)


class Made(asyncio.Protocol):
    """Counts how many were made."""

    count = 0

    def __init__(self) -> None:
        Made.count += 1


async def call(makers: Makers, what: str, *args: Any, **options: Any) -> Any:
    """Call a method of the loop, or the plain function of that name."""
    if isinstance(makers, PlainMakers):
        if what == "create_connection":
            return await compat.create_connection(*args, map=makers.map, **options)
        return getattr(compat, what)(*args, map=makers.map, **options)
    return await getattr(makers.loop, what)(*args, **options)


def tcp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


WRONG = [
    ("create_server", (), {}),
    ("create_server", ("127.0.0.1", 0), {"sock": tcp}),
    ("create_server", (), {"sock": udp}),
    ("create_server", ("127.0.0.1", 0), {"ssl": True}),
    ("create_server", ("127.0.0.1", 0), {"ssl": False}),
    ("create_server", ("127.0.0.1", 0), {"ssl_handshake_timeout": 1}),
    ("create_connection", (), {}),
    ("create_connection", ("127.0.0.1", 1), {"sock": tcp}),
    ("create_connection", (), {"sock": udp}),
    ("create_connection", (), {"sock": tcp, "ssl": True}),
    ("create_connection", (), {"sock": tcp, "server_hostname": "x"}),
    ("create_connection", ("127.0.0.1", 1), {"ssl_handshake_timeout": 1}),
    ("create_datagram_endpoint", (), {}),
    ("create_datagram_endpoint", ("localhost",), {}),
    ("create_datagram_endpoint", (("localhost", 1, 2, 3),), {}),
    ("create_datagram_endpoint", (None, "localhost"), {}),
    ("create_datagram_endpoint", (("localhost", 1),), {"family": socket.AF_UNIX}),
    ("create_datagram_endpoint", (("localhost", 1),), {"sock": udp}),
    ("create_datagram_endpoint", (), {"sock": udp, "proto": 17}),
    ("create_datagram_endpoint", (), {"sock": tcp}),
]


@pytest.mark.parametrize("run", OURS, ids=lambda run: run.__name__)
@pytest.mark.parametrize(("what", "args", "options"), WRONG)
def test_what_can_not_be_right(
    what: str, args: tuple[Any, ...], options: dict[str, Any], run: Any
) -> None:
    async def scenario(makers: Makers) -> Any:
        sock = options["sock"]() if "sock" in options else None
        given = options if sock is None else {**options, "sock": sock}
        Made.count = 0
        try:
            await call(makers, what, Made, *args, **given)
        except Exception as why:
            return type(why), Made.count
        finally:
            if sock is not None:
                sock.close()
        raise LookupError("nothing was raised")

    wanted = on_asyncio(scenario)
    if wanted[0] is AssertionError:  # Python 3.10; since then asyncio raises what says something
        wanted = TypeError, *wanted[1:]
    assert run(scenario) == wanted


@everywhere
@pytest.mark.parametrize("local", ["127.0.0.1", "localhost", None])
def test_a_connection_comes_from_where_it_shall(local: str | None, run: Any) -> None:
    port = free_port()

    async def scenario(makers: Makers) -> Any:
        server = await makers.serve(Recorder)
        address = server.sockets[0].getsockname()
        transport, protocol = await call(
            makers, "create_connection", Recorder, *address, local_addr=(local, port)
        )
        found = transport.get_extra_info("sockname")
        transport.close()
        await protocol.lost
        server.close()
        return found

    assert run(scenario) == ("127.0.0.1", port)


@everywhere
def test_nothing_is_connected_from_where_one_can_not(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        server = await makers.serve(Recorder)
        address = server.sockets[0].getsockname()
        with pytest.raises(OSError):
            await call(
                makers,
                "create_connection",
                Recorder,
                *address,
                local_addr=("localhost", address[1]),
            )
        server.close()

    run(scenario)


@everywhere
def test_the_protocol_is_made_when_the_connection_stands(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        Made.count = 0
        with pytest.raises(ConnectionRefusedError):
            await call(makers, "create_connection", Made, "127.0.0.1", free_port())
        assert Made.count == 0
        server = await makers.serve(Recorder)
        address = server.sockets[0].getsockname()
        transport, protocol = await call(makers, "create_connection", Made, *address)
        assert Made.count == 1 and transport.get_protocol() is protocol
        transport.close()
        server.close()

    run(scenario)


@pytest.mark.parametrize("run", OURS[1:], ids=lambda run: run.__name__)
def test_a_protocol_that_can_not_be_made_is_told(run: Any) -> None:
    def fails() -> Any:
        raise ZeroDivisionError("as it happens")

    async def scenario(makers: Makers) -> Any:
        server = await makers.serve(Recorder)
        with pytest.raises(ZeroDivisionError):
            await makers.connect(fails, server.sockets[0].getsockname())
        server.close()

    run(scenario)


@everywhere
def test_an_error_is_free_once_it_was_handled(run: Any) -> None:
    """Without a collection: neither it nor what its traceback knows is in a circle."""

    async def scenario(makers: Makers) -> Any:
        async def attempt() -> None:
            try:
                await call(makers, "create_connection", Made, "127.0.0.1", port)
            except OSError:
                pass

        port = free_port()
        await attempt()  # what is made once
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await attempt()
            await asyncio.sleep(0)
            gc.collect()
            return [one for one in gc.garbage if isinstance(one, BaseException)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    assert run(scenario) == []


@pytest.mark.parametrize("run", OURS, ids=lambda run: run.__name__)  # asyncio since 3.12
def test_an_address_that_is_not_there_is_left_out(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As "::1" of "localhost" where IPv6 is turned off."""
    ask = socket.getaddrinfo
    there = True

    def answer(host: Any, port: Any, *args: Any, **kw: Any) -> Any:
        if host != "server.example":
            return ask(host, port, *args, **kw)
        # 192.0.2.1 is for documentation (RFC 5737); 127.0.0.1 is everybody's.
        hosts = ["192.0.2.1", "127.0.0.1"] if there else ["192.0.2.1"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, port)) for name in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", answer)

    async def scenario(makers: Makers) -> Any:
        nonlocal there
        there = True
        server = await call(makers, "create_server", Recorder, "server.example", 0)
        found = [sock.getsockname()[0] for sock in server.sockets]
        server.close()
        there = False
        with pytest.raises(OSError):
            await call(makers, "create_server", Recorder, "server.example", 0)
        return found

    assert run(scenario) == ["127.0.0.1"]


@everywhere
def test_keep_alive(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        if sys.version_info < (3, 13):
            with pytest.raises(TypeError):
                await call(makers, "create_server", Recorder, "127.0.0.1", 0, keep_alive=True)
            return
        server = await call(makers, "create_server", Recorder, "127.0.0.1", 0, keep_alive=True)
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        server.close()

    run(scenario)


@everywhere
def test_a_datagram_transport_is_what_it_is_in_asyncio(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        transport, _ = await makers.datagrams(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        assert isinstance(transport, asyncio.Transport)
        transport.close()

    run(scenario)


# -- the loop itself ----------------------------------------------------------------------------

loops = pytest.mark.parametrize(
    "make", [asyncio.SelectorEventLoop, lambda: compat.ClassicLoop(map={})]
)


@loops
def test_what_waits_is_not_received_before_the_protocol_knows_of_its_connection(make: Any) -> None:
    loop = make()

    async def main() -> Any:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.send(b"early")
            _, protocol = await loop.connect_accepted_socket(Recorder, ours)
            theirs.shutdown(socket.SHUT_WR)
            await receive_all_of(theirs)
            await protocol.lost
            return protocol.log, protocol.received

    async def receive_all_of(sock: socket.socket) -> None:
        sock.setblocking(False)
        assert await receive_all(sock) == b""

    try:
        log, received = loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
    finally:
        loop.close()
    assert (log[0], received) == ("made", b"early")


@loops
def test_readers_and_writers_of_a_transports_descriptor(make: Any) -> None:
    loop = make()

    async def main() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            for what in (ours, ours.fileno()):
                for method in (loop.add_reader, loop.add_writer):
                    with pytest.raises(RuntimeError, match="is used by transport"):
                        method(what, print)
                for method in (loop.remove_reader, loop.remove_writer):
                    with pytest.raises(RuntimeError, match="is used by transport"):
                        method(what)
            transport.close()
            await protocol.lost

    try:
        loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
    finally:
        loop.close()


@loops
@pytest.mark.skipif(sys.platform == "win32", reason="asyncio has signal handlers on POSIX alone")
def test_signals_that_can_not_have_a_handler(make: Any) -> None:
    loop = make()
    raised: list[type[BaseException]] = []

    def attempt(number: Any) -> None:
        for call in (lambda: loop.add_signal_handler(number, print),):
            try:
                call()
            except Exception as why:
                raised.append(type(why))

    for number in ("1", signal.NSIG + 1, signal.SIGKILL):
        attempt(number)
    thread = threading.Thread(target=attempt, args=[signal.SIGUSR1])
    thread.start()
    thread.join()
    try:
        assert raised == [TypeError, ValueError, RuntimeError, RuntimeError]
        with pytest.raises(TypeError):
            loop.remove_signal_handler("1")
        with pytest.raises(ValueError):
            loop.remove_signal_handler(signal.NSIG + 1)
        assert not loop.remove_signal_handler(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    finally:
        loop.close()


@pytest.mark.skipif(sys.platform == "win32", reason="asyncio has signal handlers on POSIX alone")
def test_a_signal_gets_its_handler_back_and_a_context() -> None:
    loop = compat.ClassicLoop(map={})
    variable = contextvars.ContextVar("variable", default="nobody's")
    seen = []

    def before(number: int, frame: Any) -> None:
        seen.append("before")

    def caught(word: str) -> None:
        seen.append(word + variable.get())
        loop.stop()

    own = signal.signal(signal.SIGUSR1, before)
    try:

        def add() -> None:
            variable.set("mine")
            loop.add_signal_handler(signal.SIGUSR1, caught, "not ")
            loop.add_signal_handler(signal.SIGUSR1, caught, "it is ")

        contextvars.copy_context().run(add)
        loop.call_soon(signal.raise_signal, signal.SIGUSR1)
        loop.run_forever()
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is before
        loop.add_signal_handler(signal.SIGUSR1, caught, "")
    finally:
        loop.close()
        assert signal.getsignal(signal.SIGUSR1) is before
        signal.signal(signal.SIGUSR1, own)
    assert seen == ["it is mine"]


@loops
def test_debug_mode(make: Any) -> None:
    """It says where a callback comes from, and refuses coroutines."""
    loop = make()
    loop.set_debug(True)

    async def coroutine() -> None: ...

    try:
        for handle in (loop.call_soon(print), loop.call_later(60, print), loop.call_at(60, print)):
            assert handle._source_traceback[-1].name == "test_debug_mode"
            handle.cancel()
        for call in (loop.call_soon, lambda what: loop.call_later(0, what)):
            with pytest.raises(TypeError):
                call(coroutine)
    finally:
        loop.close()


def test_it_runs_while_a_classic_loop_runs_its_map() -> None:
    """As other threads ask, before they leave a callback for it, and as handlers do."""
    channels: dict[int, Any] = {}
    loop = compat.event_loop(map=channels)
    loop.set_debug(True)
    found: list[Any] = []

    def other_thread() -> None:
        found.append(loop.is_running())
        for call in (loop.call_soon, lambda what: loop.call_later(0, what)):
            try:
                call(print)
            except RuntimeError:
                found.append("refused")
        loop.call_soon_threadsafe(loop.stop)

    def handler() -> None:
        found.append(loop.is_running())
        loop.call_soon(found.append, "called")
        threading.Thread(target=other_thread).start()

    asynccore.call_later(0, handler, map=channels)
    keeper = compat.create_server(Recorder, "127.0.0.1", 0, map=channels)
    assert not loop.is_running()
    asynccore.loop(map=channels)
    assert not loop.is_running()
    keeper.close()
    loop.close()
    assert found[0] is True and sorted(map(str, found[1:])) == [
        "True",
        "called",
        "refused",
        "refused",
    ]


@pytest.mark.parametrize(
    ("what", "option", "meant"),
    [
        ("create_connection", "timeout", "ssl_handshake_timeout"),
        ("create_connection", "server_side", "server_hostname"),
        ("create_server", "reuse_addr", "reuse_address"),
    ],
)
def test_an_option_that_there_is_not_is_told_with_those_that_there_are(
    what: str, option: str, meant: str
) -> None:
    call = getattr(compat, what)
    said = f"{what}.. has no option '{option}': the options are .*{meant}"
    with pytest.raises(TypeError, match=said):
        call(asyncio.Protocol, "127.0.0.1", 0, map={}, **{option: 1})


def test_a_wrong_option_leaves_no_file(tmp_path: Any) -> None:
    with pytest.raises(TypeError, match="no option 'context'"):
        compat.create_server(asyncio.Protocol, path=tmp_path / "s", map={}, context=None)
    assert not list(tmp_path.iterdir())
