"""What scripts leave out, for the two sides differ there: what ours does, in one test for each."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from tests.differential.reference import CLASSIC, Side, ours
from tests.differential.world import Left


def both(poller: str) -> tuple[Side, Side]:
    return CLASSIC, ours(poller)


def test_an_end_that_could_not_be_handled_is_told_again(poller_name: str) -> None:
    # Else the channel would be ready, and nobody told, for ever.
    def run(side: Side) -> list[str]:
        events: list[str] = []
        map = side.new_map()
        near, far = socket.socketpair()

        class Channel(side.asyncore.dispatcher):  # type: ignore[misc,name-defined]
            def writable(self) -> bool:
                return False

            def handle_read(self) -> None:
                self.recv(10)

            def handle_close(self) -> None:
                events.append("close")
                if len(events) == 1:
                    raise side.asyncore.ExitNow
                self.close()

        with near, far:
            channel: Any = Channel(near, map)
            far.close()
            with pytest.raises(side.asyncore.ExitNow):
                side.loop(map, 3)
            side.loop(map, 3)
            events.append("left" if map else "gone")
            channel.close()
        return events

    classic, replacement = (run(side) for side in both(poller_name))
    assert replacement == classic == ["close", "close", "gone"]


def test_input_that_could_not_be_collected_is_not_given_twice(poller_name: str) -> None:
    def run(side: Side) -> list[bytes]:
        pieces: list[bytes] = []
        map = side.new_map()

        class Chat(side.asynchat.async_chat):  # type: ignore[misc,name-defined]
            def collect_incoming_data(self, data: bytes) -> None:
                pieces.append(data)
                if data == b"bad":
                    raise Left

            def found_terminator(self) -> None:
                pass

            def handle_error(self) -> None:
                pass

        near, far = socket.socketpair()
        with near, far:
            chat: Any = Chat(near, map)
            chat.set_terminator(b"\n")
            for piece in (b"bad", b"good\n"):
                far.sendall(piece)
                side.loop(map, 2)
            chat.close()
        return pieces

    classic, replacement = (run(side) for side in both(poller_name))
    assert classic == [b"bad", b"badgood"]
    assert replacement == [b"bad", b"good"]


def test_what_handle_accepted_raises_leaves_the_listener(poller_name: str) -> None:
    def run(side: Side) -> bool:
        map = side.new_map()

        class Listener(side.asyncore.dispatcher):  # type: ignore[misc,name-defined]
            def handle_accepted(self, sock: Any, addr: Any) -> None:
                with sock:
                    raise Left

            def log_info(self, message: Any, type: str = "info") -> None:
                pass

        listener: Any = Listener(map=map)
        listener.create_socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        with socket.create_connection(listener.socket.getsockname()):
            side.loop(map, 3)
        survived = listener.accepting and bool(map)
        listener.close()
        return survived

    classic, replacement = (run(side) for side in both(poller_name))
    assert (classic, replacement) == (False, True)


@pytest.mark.parametrize("kind", ["dispatcher_with_send", "async_chat"])
def test_much_output_arrives_whole(kind: str, poller_name: str) -> None:
    data = bytes(range(256)) * 8000  # 2 MB: more than a socket's buffers take

    def run(side: Side) -> bytes:
        base = getattr(side.asyncore, kind, None) or side.asynchat.async_chat
        map = side.new_map()
        near, far = socket.socketpair()
        with near, far:
            far.setblocking(False)
            channel: Any = base(near, map)
            for start in range(0, len(data), 100_000):
                piece = data[start : start + 100_000]
                (channel.push if kind == "async_chat" else channel.send)(piece)
            got = bytearray()
            for _ in range(200):
                side.loop(map, 1)
                try:
                    while piece := far.recv(1 << 20):
                        got += piece
                except BlockingIOError:
                    pass
                if len(got) == len(data):
                    break
            channel.close()
        return bytes(got)

    for side in both(poller_name):
        assert run(side) == data


def test_a_map_that_is_dropped_leaves_no_descriptor(poller_name: str) -> None:
    # With another thread about, a loop has something to be woken by; the leak check counts.
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    try:
        for side in both(poller_name):
            map = side.new_map()
            near, far = socket.socketpair()
            with near, far:
                channel: Any = side.asyncore.dispatcher(near, map)
                channel.ignore_log_types = {"warning", "error", "info"}
                side.loop(map, 1)
                channel.close()
    finally:
        go.set()
        thread.join()
