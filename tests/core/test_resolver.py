"""Look-ups off the loop, in threads that end."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest

import asynccore
from asynccore.connecting import resolver
from asynccore.connecting.resolver import ThreadedResolver

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 25))]


class Names:
    """A `socket` module whose look-ups wait until the test lets them go on."""

    def __init__(self, *, held: bool = False) -> None:
        self.go = threading.Event()
        if not held:
            self.go.set()
        self.asked: list[Any] = []
        self.threads: set[threading.Thread] = set()

    def getaddrinfo(self, host: str, port: Any, family: int, *rest: Any) -> Any:
        self.asked.append(host)
        self.threads.add(threading.current_thread())
        assert self.go.wait(30)
        if host == "wrong":
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return FOUND


class Answers:
    def __init__(self, expected: int) -> None:
        self.found: list[Any] = []
        self.expected = expected
        self.all = threading.Event()

    def __call__(self, answer: Any) -> None:
        self.found.append(answer)
        if len(self.found) == self.expected:
            self.all.set()


def test_a_look_up_runs_in_a_daemon_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names, answers = Names(), Answers(1)
    monkeypatch.setattr(asynccore, "socket", names)
    ThreadedResolver()("mail.example", 25, 0, answers)
    assert answers.all.wait(30) and answers.found == [FOUND]
    (thread,) = names.threads
    assert thread.daemon and "mail.example" in thread.name
    assert thread is not threading.current_thread()


def test_what_the_look_up_raises_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(1)
    monkeypatch.setattr(asynccore, "socket", Names())
    ThreadedResolver()("wrong", 25, 0, answers)
    assert answers.all.wait(30)
    assert isinstance(answers.found[0], socket.gaierror)


def test_more_look_ups_than_threads_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MOST_THREADS", 2)
    names, answers = Names(held=True), Answers(9)
    monkeypatch.setattr(asynccore, "socket", names)
    look_up = ThreadedResolver()
    for number in range(9):
        look_up(f"h{number}", 25, 0, answers)
    names.go.set()
    assert answers.all.wait(30)
    assert len(names.threads) == 2 and sorted(names.asked) == [f"h{n}" for n in range(9)]
    # The threads have ended or are about to: the next look-up has one of its own.
    more = Answers(1)
    look_up("h9", 25, 0, more)
    assert more.all.wait(30)


def test_without_a_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    look_up, answers = ThreadedResolver(), Answers(1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        look_up("mail.example", 25, 0, answers)
    assert [type(answer) for answer in answers.found] == [RuntimeError]
    assert look_up._threads == 0 and not look_up._queue


def test_one_thread_short_another_comes_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names, answers = Names(held=True), Answers(2)
    monkeypatch.setattr(asynccore, "socket", names)
    look_up = ThreadedResolver()
    look_up("h1", 25, 0, answers)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda thread: exec("raise RuntimeError"))
        look_up("h2", 25, 0, answers)
    assert answers.found == []
    names.go.set()
    assert answers.all.wait(30) and answers.found == [FOUND, FOUND]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the parent's were all busy, and one held the lock."""
    monkeypatch.setattr(resolver, "MOST_THREADS", 1)
    names, answers = Names(held=True), Answers(1)
    monkeypatch.setattr(asynccore, "socket", names)
    resolver.resolve("h1", 25, 0, answers)
    with resolver._threaded._lock:
        pid = os.fork()
        if pid == 0:
            try:
                names.go.set()
                own = Answers(1)
                resolver.resolve("h2", 25, 0, own)
                os._exit(0 if own.all.wait(30) and own.found == [FOUND] else 1)
            finally:
                os._exit(2)
    names.go.set()
    assert answers.all.wait(30)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_resolver_of_ones_own_and_back() -> None:
    asked: list[Any] = []
    asynccore.set_resolver(lambda *question: asked.append(question))
    try:
        resolver.resolve("mail.example", 25, 0, print)
    finally:
        asynccore.set_resolver(None)
    assert asked == [("mail.example", 25, 0, print)]
    assert resolver._resolver is resolver._threaded


def test_a_resolver_that_cant_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="a resolver is called with a name"):
        asynccore.set_resolver("8.8.8.8")  # type: ignore[arg-type]
