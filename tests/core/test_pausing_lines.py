"""A chat whose reading is paused in a handler: the lines that have come already wait, too."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
from asynccore import asynchat

Pair = tuple["Chat", socket.socket]


class Chat(asynchat.async_chat):
    """Notes its lines; what is to be done at one of them is in `at`."""

    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.set_terminator(b"\n")
        self.lines: list[str] = []
        self.at: dict[str, Callable[[], object]] = {}

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        line = self._get_data().decode()
        self.lines.append(line)
        self.at.get(line, lambda: None)()

    def handle_error(self) -> None:
        self.lines.append("error")

    def handle_close(self) -> None:
        self.lines.append("end")
        self.close()


@pytest.fixture(params=[asynccore.ChannelMap, dict])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    one, two = socket.socketpair()
    with two:
        chat = Chat(one, request.param())
        yield chat, two
        asynccore.close_all(chat._map)


def turns(chat: Chat, count: int = 3) -> list[str]:
    asynccore.loop(0.01, map=chat._map, count=count)
    return chat.lines


def test_lines_that_have_come_wait(pair: Pair) -> None:
    chat, peer = pair
    chat.at = {"one": chat.pause_reading, "two": chat.pause_reading}
    peer.sendall(b"one\ntwo\nthree\nfo")
    assert turns(chat) == ["one"]
    assert chat.ac_in_buffer == b"two\nthree\nfo"
    peer.sendall(b"ur\n")
    assert turns(chat) == ["one"]
    chat.resume_reading()
    assert chat.lines == ["one"]  # not in the middle of whoever resumes
    assert turns(chat) == ["one", "two"]
    chat.resume_reading()
    assert turns(chat) == ["one", "two", "three", "four"]


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_however_they_come(pair: Pair, pieces: int) -> None:
    chat, peer = pair
    chat.at = dict.fromkeys(("ab", "cd", "ef"), chat.pause_reading)
    data = b"ab\ncd\nef\ngh\n"
    for at in range(0, len(data), pieces):
        peer.sendall(data[at : at + pieces])
        turns(chat)
    assert chat.lines == ["ab"]
    for count in (2, 3, 4):
        chat.resume_reading()
        assert len(turns(chat)) == count
    assert chat.lines == ["ab", "cd", "ef", "gh"]


def test_a_pause_that_ends_in_the_same_handler(pair: Pair) -> None:
    chat, peer = pair

    def both() -> None:
        chat.pause_reading()
        chat.resume_reading()

    chat.at = {"one": both, "two": both}
    peer.sendall(b"one\ntwo\nthree\n")
    assert turns(chat) == ["one", "two", "three"]


def test_a_number_and_no_terminator(pair: Pair) -> None:
    chat, peer = pair
    chat.at = {"abc": chat.pause_reading}
    chat.set_terminator(3)
    peer.sendall(b"abcdefg")
    turns(chat)
    assert chat.ac_in_buffer == b"defg"
    chat.set_terminator(None)
    chat.resume_reading()
    turns(chat)
    assert chat.incoming == [b"defg"]


def test_the_end_comes_after_the_lines(pair: Pair) -> None:
    chat, peer = pair
    chat.at = {"one": chat.pause_reading}
    peer.sendall(b"one\ntwo\n")
    peer.shutdown(socket.SHUT_WR)
    assert turns(chat) == ["one"]
    chat.resume_reading()
    assert turns(chat) == ["one", "two", "end"]


def test_nothing_after_close_nor_of_another_connection(pair: Pair) -> None:
    chat, peer = pair
    chat.at = {"one": chat.pause_reading}
    peer.sendall(b"one\ntwo\n")
    turns(chat)
    chat.resume_reading()
    chat.close()
    one, two = socket.socketpair()
    with two:
        one.setblocking(False)
        chat.set_socket(one)
        chat.connected = True
        two.sendall(b"new\n")
        assert turns(chat) == ["one", "new"]


def test_what_is_raised_goes_to_handle_error(pair: Pair) -> None:
    chat, peer = pair

    def fail() -> None:
        raise ValueError

    chat.at = {"one": chat.pause_reading, "two": fail}
    peer.sendall(b"one\ntwo\n")
    turns(chat)
    chat.resume_reading()
    assert turns(chat) == ["one", "two", "error"]

    def leave() -> None:
        raise asynccore.ExitNow

    chat.at = {"three": chat.pause_reading, "four": leave}
    peer.sendall(b"three\nfour\n")
    turns(chat)
    chat.resume_reading()
    with pytest.raises(asynccore.ExitNow):
        turns(chat)


def test_a_program_that_assigns_and_discards(pair: Pair) -> None:
    chat, peer = pair
    chat.at = {"one": chat.pause_reading}
    peer.sendall(b"one\ntwo\n")
    turns(chat)
    chat.ac_in_buffer = b"instead\n"
    assert chat.ac_in_buffer == b"instead\n"
    chat.resume_reading()
    assert turns(chat) == ["one", "instead"]
    peer.sendall(b"one\ntwo\n")
    turns(chat)
    chat.discard_buffers()
    chat.resume_reading()
    peer.sendall(b"three\n")
    assert turns(chat) == ["one", "instead", "one", "three"]


def test_a_program_with_a_select_of_its_own(pair: Pair) -> None:
    chat, peer = pair
    chat.at = {"one": chat.pause_reading, "two": chat.pause_reading}
    peer.sendall(b"one\ntwo\nthree\n")

    def turn() -> None:
        wanted = [fd for fd, channel in chat._map.items() if channel.readable()]
        for fd in select.select(wanted, [], [], 0)[0]:
            asynccore.read(chat._map[fd])

    turn()
    turn()
    assert chat.lines == ["one"]
    for count in (2, 3):
        chat.resume_reading()
        turn()
        assert len(chat.lines) == count


def test_replies_that_are_joined_go_out_before_the_pause(pair: Pair) -> None:
    chat, peer = pair
    Joining = type("Joining", (Chat,), {"joins_replies": True})
    chat.__class__ = Joining

    def answer() -> None:
        chat.push(b"reply")
        chat.pause_reading()

    chat.at = {"one": answer}
    peer.sendall(b"one\ntwo\n")
    turns(chat)
    peer.setblocking(False)
    assert peer.recv(100) == b"reply"
    chat.resume_reading()
    assert turns(chat) == ["one", "two"]
