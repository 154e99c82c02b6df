"""`await` in handlers, and connections that change hands in mid-conversation."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

import asynccore
import compat
from asynccore import asynchat
from ssl_ext import tls_async_chat
from tests.modern.runners import Makers, attached, on_asyncio, under_classic_loop
from tests.tls import support

on_both = pytest.mark.parametrize(
    "run", [under_classic_loop, attached], ids=lambda run: run.__name__
)


class Chat(asynchat.async_chat):
    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.lines: list[bytes] = []
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        self.lines.append(self._get_data())


def pair() -> tuple[socket.socket, socket.socket]:
    one, two = socket.socketpair()
    two.setblocking(False)
    return one, two


@on_both
def test_lines_are_awaited_and_none_is_lost(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        one, two = pair()
        with two:
            chat = Chat(one, makers.map)
            two.send(b"first\nsecond\nthird\nfou")
            got = [await compat.read_line(chat)]
            await asyncio.sleep(0.01)
            got.append(await compat.read_line(chat))
            assert chat.lines == []
            chat.resume_reading()
            two.send(b"rth\n")
            while len(chat.lines) < 2:
                await asyncio.sleep(0.001)
            closing = asyncio.ensure_future(compat.wait_closed(chat))
            waiting = asyncio.ensure_future(compat.read_line(chat))
            await asyncio.sleep(0)
        with pytest.raises(ConnectionResetError):
            await waiting
        await closing
        await compat.wait_closed(chat)
        with pytest.raises(ConnectionResetError):
            await compat.read_line(chat)
        assert "found_terminator" not in vars(chat) and "del_channel" not in vars(chat)
        return got, chat.lines

    assert run(scenario) == ([b"first", b"second"], [b"third", b"fourth"])


@on_both
@pytest.mark.parametrize("marks", [None, 1000])
def test_output_is_awaited(run: Any, marks: int | None) -> None:
    async def scenario(makers: Makers) -> Any:
        one, two = pair()
        chat = Chat(one, makers.map)
        chat.high_watermark = marks
        await compat.drain(chat)
        chat.push(b"x" * 3_000_000)
        drained = asyncio.ensure_future(compat.drain(chat))
        size = 0
        while size < 3_000_000:
            assert not drained.done()
            size += len(await makers.loop.sock_recv(two, 65536))
            if chat.write_buffer_size <= (marks or 0) // 4:
                break
        await drained
        left = chat.write_buffer_size
        chat.push(b"y" * 10_000_000)
        drained = asyncio.ensure_future(compat.drain(chat))
        await asyncio.sleep(0)
        chat.close()
        with pytest.raises(ConnectionResetError):
            await drained
        with pytest.raises(ConnectionResetError):
            await compat.drain(chat)
        two.close()
        return left <= (marks or 0) // 4

    assert run(scenario)


@on_both
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_conversation_changes_hands_twice(run: Any, secure: bool) -> None:
    """From an async_chat to streams, and on to another async_chat."""

    async def scenario(makers: Makers) -> Any:
        one, two = pair()
        map, done = makers.map, makers.loop.create_future()

        class Last(tls_async_chat, Chat):
            def __init__(self, map: Any) -> None:
                tls_async_chat.__init__(self, None, map)
                self.lines = []
                self.set_terminator(b"\n")

            def found_terminator(self) -> None:
                super().found_terminator()
                self.push(b"last: " + self.lines[-1] + b"\n")
                if self.lines[-1] == b"five":
                    done.set_result(None)

        class First(Last):
            def found_terminator(self) -> None:
                Chat.found_terminator(self)
                self.push(b"x" * 1_000_000 + b"\n")
                if self.lines == [b"one"]:
                    self.streams = compat.to_streams(self)
                    self.task = compat.run_coroutine(go_on(*self.streams), map=map)

        async def go_on(reader: Any, writer: Any) -> None:
            lines.append(await reader.readline())
            writer.write(b"streams: " + lines[-1])
            lines.append(await reader.readexactly(3))
            last = Last(map)
            compat.to_channel(writer, last, reader=reader)
            lasts.append(last)

        lines: list[bytes] = []
        lasts: list[Last] = []
        if secure:
            first = First(map)
            first.tls_context, first.server_side = support.server_raw(), True
            first.set_socket(one)
            first.connected = True
        else:
            first = First(map)
            one.setblocking(False)
            first.set_socket(one)
            first.connected = True
        loop = makers.loop
        # The peer is asyncio's own in both cases.
        options: dict[str, Any] = {}
        if secure:
            import ssl

            options = {"ssl": ssl.create_default_context(), "server_hostname": support.HOST}
            support.authority().configure_trust(options["ssl"])
        reader, writer = await asyncio.open_connection(sock=two, limit=2**21, **options)
        writer.write(b"one\ntwo\nthree\nfour\nfi")
        got = [await reader.readline() for _ in range(3)]
        writer.write(b"ve\n")
        got += [await reader.readline() for _ in range(2)]
        await done
        with pytest.raises(RuntimeError, match="no connection"):
            compat.to_streams(first)
        writer.close()
        await writer.wait_closed()
        for last in lasts:
            last.close()
        await asyncio.sleep(0)
        assert loop is not None
        return len(got[0]), got[1:], lines, lasts[0].lines

    assert run(scenario) == (
        1_000_001,
        [b"streams: two\n", b"last: ee\n", b"last: four\n", b"last: five\n"],
        [b"two\n", b"thr"],
        [b"ee", b"four", b"five"],
    )


def test_from_asyncios_own_transport() -> None:
    async def scenario(makers: Makers) -> Any:
        one, two = pair()
        attachment = compat.attach(map=makers.map)
        reader, writer = await asyncio.open_connection(sock=one)
        two.send(b"begun\nread ahead\n")
        line = await reader.readline()
        chat = Chat(None, makers.map)
        compat.to_channel(writer, chat, reader=reader)
        with pytest.raises(RuntimeError, match="closed"):
            compat.to_channel(writer, chat, reader=reader)
        two.send(b"more\n")
        while len(chat.lines) < 2:
            await asyncio.sleep(0.001)
        chat.push(b"answer")
        answer = await makers.loop.sock_recv(two, 10)
        chat.close()
        two.close()
        attachment.detach()
        return line, chat.lines, answer

    expected = (b"begun\n", [b"read ahead", b"more"], b"answer")
    assert on_asyncio(scenario) == expected


@on_both
def test_what_cant_be_handed_over(run: Any) -> None:
    class Producer:
        pieces = [b"a", b"b", b""]

        def more(self) -> bytes:
            return self.pieces.pop(0)

    async def scenario(makers: Makers) -> Any:
        one, two = pair()
        chat = Chat(one, makers.map)
        chat.producer_fifo.extend([b"x", Producer(), None])
        with pytest.raises(RuntimeError, match="close_when_done"):
            compat.to_streams(chat)
        chat.producer_fifo.pop()
        reader, writer = compat.to_streams(chat)
        busy = asyncio.ensure_future(reader.read())
        received = b""
        while received != b"xab":
            received += await makers.loop.sock_recv(two, 10)
        other = asynccore.dispatcher_with_send(None, makers.map)
        busy.cancel()
        await asyncio.sleep(0)
        writer.write(b"z" * 5_000_000)
        compat.to_channel(writer.transport, other)
        with pytest.raises(RuntimeError, match="connection of its own"):
            compat.to_channel(compat_writer(), other)
        size = len(other.out_buffer)
        other.close()
        two.close()
        return size > 0

    class compat_writer:
        def is_closing(self) -> bool:
            return False

    assert run(scenario)


@on_both
@pytest.mark.parametrize("source", ["writer", "transport"])
def test_what_a_reader_has_read_ahead_is_found(run: Any, source: str) -> None:
    async def scenario(makers: Makers) -> Any:
        one, two = pair()
        with two:
            two.send(b"x\nread ahead\n")
            reader, writer = compat.to_streams(Chat(one, makers.map))
            first = await reader.readline()
            back = Chat(None, makers.map)
            compat.to_channel(writer if source == "writer" else writer.transport, back)
            two.send(b"later\n")
            while len(back.lines) < 2:
                await asyncio.sleep(0.001)
            back.close()
        return first, back.lines

    assert run(scenario) == (b"x\n", [b"read ahead", b"later"])


def test_what_asyncios_own_reader_has_read_ahead_is_found() -> None:
    async def main() -> Any:
        map: dict[int, Any] = {}
        one, two = pair()
        with two:
            two.send(b"x\nread ahead\n")
            reader, writer = await asyncio.open_connection(sock=one)
            first = await reader.readline()
            async with compat.attach(map=map):
                back = Chat(None, map)
                compat.to_channel(writer, back)
                while not back.lines:
                    await asyncio.sleep(0.001)
                back.close()
        return first, back.lines

    assert asyncio.run(main()) == (b"x\n", [b"read ahead"])
