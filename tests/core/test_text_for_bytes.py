"""A str where bytes belong: the error names the line of the program, and what helps."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import asynchat
from asynccore.classic import text


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


def here(after: int = 0) -> str:
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return f"{__file__}, line {frame.f_back.f_lineno + after}"


class Chat(asynchat.async_chat):
    def collect_incoming_data(self, data: bytes) -> None: ...
    def found_terminator(self) -> None: ...
    def handle_error(self) -> None:
        raise


@pytest.mark.parametrize(
    ("cls", "method"),
    [
        (asynccore.dispatcher, "send"),
        (asynccore.dispatcher_with_send, "send"),
        (asynccore.dispatcher_with_send, "writelines"),
        (Chat, "push"),
        (Chat, "writelines"),
        (Chat, "send"),
    ],
)
def test_what_is_given_now(cls: Any, method: str, pair: Any) -> None:
    channel = cls(pair[0], {})
    with pytest.raises(TypeError, match="takes bytes, not str: 'text' in ") as caught:
        where = here(1)
        getattr(channel, method)(["text"] if method == "writelines" else "text")
    assert f" in {where}. 'asynccore check {__file__}' finds" in str(caught.value)
    assert "'asynccore run --text latin-1 SCRIPT'" in str(caught.value)


def test_a_terminator_is_an_error_once_something_arrives(pair: Any) -> None:
    chat = Chat(pair[0], {})
    where = here(1)
    chat.set_terminator("\r\n")
    pair[1].send(b"line\r\n")
    with pytest.raises(TypeError) as caught:
        chat.handle_read()
    assert str(caught.value).startswith(
        rf"set_terminator() takes bytes, not str: '\r\n' in {where}. "
    )
    chat.use_encoding = 1
    pair[1].send(b"line\r\n")
    chat.handle_read()


def test_what_a_producer_gives(pair: Any) -> None:
    class Producer:
        def more(self) -> str:
            return "a very long text that is shown in part"

    chat = Chat(pair[0], channels := {})
    chat.push_with_producer(asynchat.simple_producer(""))  # nothing, whatever its type
    with pytest.raises(TypeError, match=r"what Producer\.more\(\) gave\. 'asynccore check SCRIPT'"):
        chat.push_with_producer(Producer())
        asynccore.loop(1, map=channels, count=1)
    chat = Chat(pair[0], channels)
    with pytest.raises(TypeError, match="'a very long text tha…' in what producer_fifo gave"):
        chat.producer_fifo.append("a very long text that is shown in part")
        chat.initiate_send()


def test_other_types_are_refused_in_other_words(pair: Any) -> None:
    with pytest.raises(TypeError, match="bytes-like object is required, not 'int'"):
        asynccore.dispatcher(pair[0], {}).send(5)


def test_a_program_without_a_file(pair: Any) -> None:
    names: dict[str, Any] = {"give": lambda: text.place(), "text": text}
    assert text.place() == here()
    exec(compile("place = text.place()", "", "exec"), names)
    assert names["place"] is None
    assert "SCRIPT" in str(text.not_bytes("x()", "y", None))
