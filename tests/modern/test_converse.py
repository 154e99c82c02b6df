"""A coroutine that talks to a channel's peer, and the lines that have come already."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

import asynccore
import compat
from asynccore import asynchat
from tests.modern.runners import Makers, attached, under_classic_loop

on_both = pytest.mark.parametrize(
    "run", [under_classic_loop, attached], ids=lambda run: run.__name__
)


class Chat(asynchat.async_chat):
    """Begins a conversation with each line that has one; notes the others."""

    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.lines: list[bytes] = []
        self.errors: list[str] = []
        self.begins: dict[bytes, Callable[[], Any]] = {}
        self.task: Any = None
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        line = self._get_data()
        begin = self.begins.get(line)
        if begin is None:
            self.lines.append(line)
            self.push(b"(" + line + b")")
        else:
            self.task = compat.converse(self, begin())

    def handle_error(self) -> None:
        self.errors.append(repr(sys.exc_info()[1]))


def pair(makers: Makers) -> tuple[Chat, socket.socket]:
    one, two = socket.socketpair()
    two.setblocking(False)
    return Chat(one, makers.map), two


async def received(peer: socket.socket, size: int) -> bytes:
    return await asyncio.get_running_loop().sock_recv(peer, size)


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@on_both
def test_answers_come_in_order(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        chat, peer = pair(makers)

        async def slow() -> None:
            await asyncio.sleep(0.01)
            chat.push(b"slow")
            await compat.drain(chat)

        chat.begins = {b"slow": slow}
        with peer:
            peer.send(b"slow\nquick\nslow\nquick\n")
            await until(lambda: len(chat.lines) == 2)
            answers = await received(peer, 100)
            chat.close()
        assert chat.task.done()
        return answers

    assert run(scenario) == b"slow(quick)slow(quick)"


@on_both
@pytest.mark.parametrize("at_once", [True, False])
def test_a_dialogue_has_the_lines_alone(run: Any, at_once: bool) -> None:
    async def scenario(makers: Makers) -> Any:
        chat, peer = pair(makers)
        names = []

        async def login() -> None:
            for _ in range(2):
                names.append(await compat.read_line(chat))
                await asyncio.sleep(0.001)

        chat.begins = {b"login": login}
        with peer:
            for line in (b"login\n", b"ann\n", b"secret\n", b"hi\n", b"ho"):
                peer.send(line)
                if not at_once:
                    await asyncio.sleep(0.003)
            await until(lambda: chat.lines)
            peer.send(b"!\n")
            await until(lambda: len(chat.lines) == 2)
            chat.close()
        return names, chat.lines

    assert run(scenario) == ([b"ann", b"secret"], [b"hi", b"ho!"])


@on_both
def test_closing_cancels_it(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        chat, peer = pair(makers)

        async def forever() -> None:
            await asyncio.sleep(1000)

        chat.begins = {b"wait": forever}
        with peer:
            peer.send(b"wait\n")
            await until(lambda: chat.task is not None)
            await asyncio.sleep(0)
            chat.close()
            with pytest.raises(asyncio.CancelledError):
                await chat.task
        # One that has not begun, one in which the peer has gone, and one whose channel is gone.
        chat, peer = pair(makers)
        chat.begins = {b"wait": forever}
        with peer:
            task = compat.converse(chat, forever())
            chat.close()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(RuntimeError, match="nobody to talk to"):
                compat.converse(chat, forever())
        chat, peer = pair(makers)

        async def reads() -> None:
            await compat.read_line(chat)

        task = compat.converse(chat, reads())
        await asyncio.sleep(0)
        peer.close()
        await asyncio.wait([task])
        return task.cancelled(), chat.errors, makers.map

    cancelled, errors, map = run(scenario)
    assert (cancelled, errors, dict(map)) == (True, [], {})


@on_both
def test_what_it_raises_goes_to_handle_error(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        chat, peer = pair(makers)

        async def fails() -> None:
            raise ValueError("what?")

        chat.begins = {b"fail": fails}
        with peer:
            peer.send(b"fail\nnext\n")
            await until(lambda: chat.lines)
            with pytest.raises(RuntimeError, match="in a conversation already"):
                chat.task = compat.converse(chat, asyncio.sleep(1000))
                compat.converse(chat, fails())
            chat.close()
        return chat.errors, chat.lines

    assert run(scenario) == (["ValueError('what?')"], [b"next"])


@on_both
def test_what_is_said_of_a_closed_channel_is_no_error(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        chat, peer = pair(makers)

        async def goes_on() -> None:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                await compat.drain(chat)

        with peer:
            task = compat.converse(chat, goes_on())
            await asyncio.sleep(0)
            chat.close()
            await asyncio.wait([task])
            await asyncio.sleep(0.01)
        return chat.errors

    assert run(scenario) == []


def test_exit_now_leaves_the_loop() -> None:
    one, two = socket.socketpair()
    with two:
        chat = Chat(one, {})

        async def leaves() -> None:
            raise asynccore.ExitNow

        chat.begins = {b"leave": leaves}
        two.send(b"leave\n")
        with pytest.raises(asynccore.ExitNow):
            asynccore.loop(0.1, map=chat._map, count=50)
        chat.close()


@on_both
def test_it_may_take_the_connection_with_it(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        chat, peer = pair(makers)
        other = Chat(None, makers.map)

        async def upload() -> None:
            reader, writer = compat.to_streams(chat)
            data = await reader.readexactly(5)
            writer.write(data.upper())
            await writer.drain()
            await asyncio.sleep(0.001)
            compat.to_channel(writer, other, reader=reader)

        chat.begins = {b"upload": upload}
        with peer:
            peer.send(b"upload\nabcdehello\n")
            answer = await received(peer, 100)
            await chat.task
            await until(lambda: other.lines)
            other.close()
        return answer, other.lines

    assert run(scenario) == (b"ABCDE", [b"hello"])


def in_a_thread(function: Callable[[], object]) -> None:
    """Run something in a thread while this one, the loop's, waits; raise what it raises."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(function).result()


@on_both
def test_another_thread_may_close_the_channel(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        asyncio.get_running_loop().set_debug(True)  # which tells of calls in the wrong thread
        ends: list[Any] = []

        async def reads() -> None:
            try:
                await compat.read_line(chat)
            except BaseException as why:
                ends.append(type(why))
                raise

        begins: list[Callable[[], asyncio.Task[None]]] = [
            lambda: compat.converse(chat, reads()),
            lambda: asyncio.create_task(reads()),
            lambda: asyncio.create_task(compat.wait_closed(chat)),
        ]
        for begin in begins:
            chat, peer = pair(makers)
            with peer:
                task = begin()
                await asyncio.sleep(0)
                asynccore.call_soon_threadsafe(in_a_thread, chat.close, map=makers.map)
                await asyncio.wait([task])
            ends.append(None if task.cancelled() else type(task.exception()))
        return ends

    assert run(scenario) == [
        *(asyncio.CancelledError, None),
        *(ConnectionResetError, ConnectionResetError),
        type(None),
    ]


@on_both
def test_a_channel_in_a_conversation_leaves_its_map_by_name(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        chat, peer = pair(makers)

        async def moves() -> None:
            sock = chat.socket
            chat.del_channel(map=makers.map)
            chat.set_socket(sock)
            chat.push(b"there")

        with peer:
            compat.converse(chat, moves())
            answer = await received(peer, 100)
            chat.close()
        return answer, chat.errors

    assert run(scenario) == (b"there", [])


@on_both
def test_what_is_no_coroutine_leaves_the_channel_as_it_was(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        chat, peer = pair(makers)
        wrong: Any = asyncio.sleep
        with peer, closing(chat):
            with pytest.raises(TypeError, match="takes a coroutine"):
                compat.converse(chat, wrong)
            return chat.readable()

    assert run(scenario)


@on_both
def test_a_channel_may_have_an_answer_to_any_name(run: Any) -> None:
    class Delegating(Chat):
        def __getattr__(self, name: str) -> Any:
            return lambda *args: None

    async def scenario(makers: Makers) -> Any:
        one, peer = socket.socketpair()
        chat = Delegating(one, makers.map)

        async def talk() -> None:
            chat.lines.append(await compat.read_line(chat))

        with peer, closing(chat):
            peer.send(b"talked\nread\n")
            await compat.converse(chat, talk())
            await until(lambda: len(chat.lines) == 2)
        return chat.lines

    assert run(scenario) == [b"talked", b"read"]
