"""A worker's place: what is handed down, and what its parent is told."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import asynccore
from asynccore import worker
from asynccore.listening import socket_activation
from asynccore.listening.socket_activation import Arrangement
from asynccore.running import loop, recycling, supervision
from asynccore.worker import (
    ANSWERS,
    BEGINS,
    CLOSES,
    LISTENS,
    REPLACED,
    VARIABLE,
    WORN,
    Place,
    place,
)

if sys.platform == "win32":
    pytest.skip("Windows has no workers", allow_module_level=True)


class Parent(NamedTuple):
    """The parent's end, and the place of this process."""

    socket: socket.socket
    place: Place

    def said(self) -> list[tuple[bytes, list[int]]]:
        """Return what was told; the numbers are those by which sockets are told apart."""
        found = []
        while True:
            try:
                what, fds, _, _ = socket.recv_fds(self.socket, 10, 4)
            except BlockingIOError:
                return found
            found.append((what, [os.fstat(fd).st_ino for fd in fds]))
            for fd in fds:
                os.close(fd)


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    theirs, ours = socket.socketpair(type=socket.SOCK_DGRAM)
    theirs.setblocking(False)
    environ = {VARIABLE: f"{os.getpid()}:3:{os.dup(ours.fileno())}:"}
    found = place(environ)
    assert found is not None and found.number == 3 and environ == {}
    ours.close()
    monkeypatch.setattr(worker, "present", found)
    monkeypatch.setattr(socket_activation, "arranged", Arrangement(True, []))
    yield Parent(theirs, found)
    theirs.close()
    found._parent.close()


def free_port() -> socket.socket:
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


def number(thing: Any) -> int:
    return os.fstat(thing.fileno()).st_ino


class Listener(asynccore.dispatcher):
    def __init__(self, map: Any, address: Any) -> None:
        super().__init__(map=map)
        self.create_socket()
        self.bind(address)
        self.listen(5)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        sock.close()


def test_the_parent_is_told_of_listeners(parent: Parent, new_map: Any) -> None:
    with free_port() as holder:
        listener = Listener(new_map, holder.getsockname())
        told = number(listener.socket)
        assert parent.said() == [(LISTENS, [told])]
        listener.close()
        assert parent.said() == [(CLOSES, [told])]


def test_nothing_is_told_of_who_leaves(parent: Parent, new_map: Any) -> None:
    with free_port() as holder:
        listener = Listener(new_map, holder.getsockname())
        parent.said()
        parent.socket.send(REPLACED)
        assert parent.place.leave()
        assert not parent.place.leave()
        listener.close()
        assert parent.said() == []


def test_a_child_tells_nothing(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent.place, "_pid", 1)
    parent.place.tell(ANSWERS)
    assert parent.said() == []


def test_a_parent_that_has_ended_hears_nothing(parent: Parent) -> None:
    parent.socket.close()
    parent.place.tell(ANSWERS)
    parent.place.tell(LISTENS, -1)
    assert not parent.place.leave()


def test_what_was_handed_down_is_bound(parent: Parent, new_map: Any) -> None:
    """With who waits in it, and under the descriptor of the program's own."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        address = one.getsockname()
        parent.place.handed_down.append(os.dup(one.fileno()))
        told = number(one)
    with socket.create_connection(address) as client:
        listener = Listener(new_map, address)
        assert number(listener.socket) == told
        assert parent.place.handed_down == []
        asynccore.loop(1, map=new_map, count=1)
        assert client.recv(1) == b""
    listener.close()
    assert parent.said() == [(LISTENS, [told]), (CLOSES, [told])]


def test_what_nobody_binds_is_closed_when_the_loop_begins(
    parent: Parent, new_map: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one:
        parent.place.handed_down.append(os.dup(one.fileno()))
        told = number(one)
    supervision.enter()
    assert supervision._begin in loop.starting
    asynccore.loop(0, map=new_map, count=1)
    assert parent.place.handed_down == []
    assert parent.said() == [(CLOSES, [told]), (BEGINS, [])]
    assert supervision._begin not in loop.starting


def test_the_variable_is_for_the_process_that_is_named_alone() -> None:
    environ = {VARIABLE: "1:1:5:"}
    assert place(environ) is None
    assert environ == {VARIABLE: "1:1:5:"}


# What is accepted -----------------------------------------------------------------------------


def test_a_parent_is_told_of_who_has_accepted_enough(
    parent: Parent, new_map: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = asynccore.engine.engine_for(new_map)
    monkeypatch.setattr(recycling, "engines", lambda: [engine])
    wear = recycling.Wear(parent.place, 3)
    with free_port() as holder:
        listeners = [Listener(new_map, holder.getsockname()) for _ in range(2)]
    parent.said()
    with socket.socket() as sock:
        channel = asynccore.dispatcher(sock, new_map)  # accepts nothing
        listeners[0]._ac_as_listener().accepted = 2
        assert (wear.look(), wear.accepted()) == (recycling.INTERVAL, 2)
        listeners[1]._ac_as_listener().accepted = 1
        assert parent.said() == []
        assert wear.look() == recycling.AGAIN
        assert parent.said() == [(WORN, [])]
        channel.close()
    asynccore.close_all(new_map)


def test_other_objects_and_a_map_that_changes_count_nothing(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Anything:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    class Changing(dict[int, Any]):
        def values(self) -> Any:
            raise RuntimeError("dictionary changed size during iteration")

    found = [type("Engine", (), {"map": it}) for it in ({1: Anything()}, Changing())]
    monkeypatch.setattr(recycling, "engines", lambda: found)
    assert recycling.Wear(parent.place, 1).accepted() == 0


def test_it_looks_again_and_again(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    wear = recycling.Wear(parent.place, 3)
    accepted = iter([0, 3, 0])
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise SystemExit

    monkeypatch.setattr(wear, "accepted", lambda: next(accepted))
    monkeypatch.setattr(recycling.time, "sleep", sleep)
    monkeypatch.setattr(recycling.signal, "pthread_sigmask", lambda *args: None)
    with pytest.raises(SystemExit):
        wear.run()
    assert slept == [recycling.INTERVAL, recycling.AGAIN, recycling.INTERVAL]


# The watchdog ---------------------------------------------------------------------------------


class Engine:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.loops = [(1, False)]
        self.calls: list[Any] = []

    def call_soon_threadsafe(self, callback: Any) -> None:
        self.calls.append(callback)

    def answer(self) -> None:
        while self.calls:
            self.calls.pop()()


def test_the_parent_hears_of_it_as_long_as_all_loops_answer(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, idle = Engine(), Engine(), Engine()
    idle.loops = []
    monkeypatch.setattr(supervision, "engines", lambda: [one, two, idle])
    dog = supervision.Watchdog(parent.place)

    def heard() -> int:
        dog.ask()
        return len(parent.said())

    assert heard() == 1
    assert heard() == 0
    one.answer()
    assert heard() == 0
    two.answer()
    assert heard() == 1
    assert len(one.calls) == len(two.calls) == 1 and not idle.calls
    one.answer()
    two.loops = []  # who has no loop any more can't answer
    assert heard() == 1


def test_a_loop_that_runs_is_asked(
    parent: Parent, new_map: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    class Enough(Exception):
        pass

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise Enough
        stop.wait(20)
        stop.clear()

    stop = threading.Event()
    monkeypatch.setattr(supervision.time, "sleep", sleep)
    monkeypatch.setenv(supervision.WATCHDOG_VARIABLE, "8")
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    supervision.enter()
    waking = asynccore.call_every(0.001, stop.set, map=new_map)
    trigger = asynccore.Trigger(map=new_map)

    def look() -> None:
        if len(slept) == 3:
            trigger.close()

    looking = asynccore.call_every(0.001, look, map=new_map)
    asynccore.loop(map=new_map)
    assert slept == [2.0] * 3
    assert [what for what, _ in parent.said()].count(ANSWERS) >= 1
    waking.cancel()
    looking.cancel()
