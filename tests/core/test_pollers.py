"""One contract for every poller, the choice between them, and kqueue on a fake kernel."""

from __future__ import annotations

import errno
import math
import os
import resource
import select
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from asynccore import pollers
from asynccore.pollers import (
    ERROR,
    EVENTS_PER_PASS,
    HANGUP,
    INVALID,
    PRIORITY,
    READ,
    WRITE,
    Poller,
    PollerLost,
    base,
)
from asynccore.pollers.wakeup import Wakeup
from tests.core.fakes import fresh_module

Pair = tuple[socket.socket, socket.socket]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="epoll(7) is Linux's")


@pytest.fixture
def poller(poller_name: str) -> Iterator[Poller]:
    made = pollers.make(poller_name)
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def idle() -> Iterator[int]:
    """A descriptor to which nothing ever happens."""
    with_reader, writer = os.pipe()
    yield with_reader
    os.close(with_reader)
    os.close(writer)


def ready(poller: Poller) -> dict[int, int]:
    events = poller.wait(0)
    assert len({fd for fd, _ in events}) == len(events)
    return dict(events)


def closed_number() -> int:
    fd = os.dup(0)
    os.close(fd)
    return fd


# Interest -----------------------------------------------------------------------------------


def test_a_new_poller_watches_nothing(poller: Poller, poller_name: str) -> None:
    assert poller.name == poller_name
    assert poller.interest == {}
    assert poller.wait(0) == []


def test_interest_is_set_changed_and_taken_out(poller: Poller, pair: Pair) -> None:
    mine, other = pair
    fd = mine.fileno()
    poller.set(fd, READ)
    assert poller.interest == {fd: READ}
    assert ready(poller) == {}
    other.send(b"x")
    assert ready(poller) == {fd: READ}
    poller.set(fd, READ | WRITE)
    assert ready(poller) == {fd: READ | WRITE}
    poller.set(fd, WRITE)
    assert poller.interest == {fd: WRITE}
    assert ready(poller) == {fd: WRITE}
    poller.set(fd, 0)
    assert poller.interest == {}
    assert ready(poller) == {}


def test_readiness_is_reported_until_it_is_used(poller: Poller, pair: Pair) -> None:
    poller.set(pair[0].fileno(), READ)
    pair[1].send(b"x")
    assert ready(poller) == ready(poller) == {pair[0].fileno(): READ}
    pair[0].recv(1)
    assert ready(poller) == {}


def test_taking_out_what_is_not_in_does_nothing(poller: Poller, pair: Pair) -> None:
    poller.set(pair[0].fileno(), 0)
    poller.set(closed_number(), 0)
    assert poller.interest == {}


def test_urgent_data_is_a_priority_event(
    poller: Poller, poller_name: str, tcp_pair: Callable[..., Pair]
) -> None:
    if poller_name == "kqueue":
        pytest.skip("kqueue(2) has no such filter")
    client, server = tcp_pair()
    poller.set(server.fileno(), PRIORITY)
    assert ready(poller) == {}
    client.send(b"!", socket.MSG_OOB)
    assert dict(poller.wait(60)) == {server.fileno(): PRIORITY}


def test_the_end_of_the_peer_is_readable(poller: Poller, pair: Pair) -> None:
    fd = pair[0].fileno()
    poller.set(fd, READ)
    pair[1].send(b"last words")
    pair[1].close()
    mask = ready(poller)[fd]
    assert mask & READ
    assert not mask & ~(READ | HANGUP)


def test_a_reset_is_reported_to_who_reads(poller: Poller, tcp_pair: Callable[..., Pair]) -> None:
    client, server = tcp_pair()
    poller.set(server.fileno(), READ)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    ((fd, mask),) = poller.wait(60)
    assert fd == server.fileno()
    assert mask & (READ | ERROR | HANGUP)


def test_without_interest_a_hang_up_is_not_reported(poller: Poller, pair: Pair) -> None:
    poller.set(pair[0].fileno(), READ)
    poller.set(pair[0].fileno(), 0)
    pair[1].close()
    assert ready(poller) == {}


# Descriptors that are closed, and numbers that come back ------------------------------------


def test_a_closed_descriptor_is_refused_and_not_remembered(poller: Poller) -> None:
    with pytest.raises(OSError) as caught:
        poller.set(closed_number(), READ)
    assert caught.value.errno == errno.EBADF
    assert poller.interest == {}
    assert poller.wait(0) == []


def test_a_negative_descriptor_is_refused(poller: Poller) -> None:
    with pytest.raises((OSError, ValueError)):
        poller.set(-1, READ)
    assert poller.interest == {}


def test_a_descriptor_may_be_closed_before_it_is_taken_out(poller: Poller, pair: Pair) -> None:
    fd = pair[0].fileno()
    poller.set(fd, READ)
    pair[0].close()
    poller.set(fd, 0)
    assert poller.interest == {}
    assert ready(poller) == {}


def test_a_descriptor_closed_by_others_is_found_out(poller: Poller, pair: Pair) -> None:
    fd = pair[0].fileno()
    poller.set(fd, READ)
    pair[0].close()
    found = ready(poller) == {fd: INVALID}
    assert found or not poller.verify(fd)
    poller.set(fd, 0)


def test_others_are_served_beside_a_closed_one(poller: Poller, pair: Pair, idle: int) -> None:
    doomed = os.dup(idle)
    poller.set(doomed, READ)
    poller.set(pair[0].fileno(), READ)
    pair[1].send(b"x")
    os.close(doomed)
    for _ in range(2):
        events = ready(poller)
        if events.pop(doomed, None):
            poller.set(doomed, 0)
    assert events == {pair[0].fileno(): READ}
    poller.set(doomed, 0)


def test_verify_is_content_with_what_is_open(poller: Poller, pair: Pair) -> None:
    fd = pair[0].fileno()
    poller.set(fd, READ | WRITE)
    assert poller.verify(fd)
    assert poller.interest == {fd: READ | WRITE}
    assert ready(poller) == {fd: WRITE}


def test_a_number_that_came_back_is_watched_again(poller: Poller, pair: Pair, idle: int) -> None:
    """Closed behind our back, and opened anew: by `verify`, or by a change of interest."""
    fd = os.dup(idle)
    poller.set(fd, READ)
    for change in (lambda: poller.verify(fd), lambda: poller.set(fd, READ | PRIORITY)):
        os.close(fd)
        assert os.dup2(pair[0].fileno(), fd) == fd
        assert change() in (True, None)
        pair[1].send(b"x")
        assert ready(poller) == {fd: READ}
        pair[0].recv(1)
    poller.set(fd, 0)
    os.close(fd)


def test_a_number_may_be_watched_for_another_file_at_once(
    poller: Poller, pair: Pair, idle: int
) -> None:
    fd = os.dup(idle)
    poller.set(fd, READ)
    os.dup2(pair[0].fileno(), fd)
    poller.set(fd, 0)
    poller.set(fd, READ | WRITE)
    assert ready(poller) == {fd: WRITE}
    poller.set(fd, 0)
    os.close(fd)


def test_a_number_whose_duplicate_lives_on_can_be_watched_again(poller: Poller, pair: Pair) -> None:
    """epoll and kqueue part here: what the kernel keeps must not keep us from registering."""
    fd = os.dup(pair[0].fileno())
    poller.set(fd, READ)
    os.close(fd)
    poller.set(fd, 0)
    assert os.dup2(pair[0].fileno(), fd) == fd
    poller.set(fd, READ | WRITE)
    assert ready(poller)[fd] == WRITE
    poller.set(fd, 0)
    os.close(fd)


# Waiting ------------------------------------------------------------------------------------


def test_a_wait_ends_with_its_timeout(poller: Poller, idle: int) -> None:
    poller.set(idle, READ)
    assert poller.wait(0.001) == []


def test_a_wait_without_a_timeout_returns_events(poller: Poller, pair: Pair) -> None:
    poller.set(pair[0].fileno(), WRITE)
    assert poller.wait(None) == [(pair[0].fileno(), WRITE)]


@pytest.mark.parametrize("count", [EVENTS_PER_PASS + 1, 3 * EVENTS_PER_PASS + 7])
def test_a_wait_is_cut_and_nobody_starves(poller: Poller, pair: Pair, count: int) -> None:
    fds = [os.dup(pair[0].fileno()) for _ in range(count)]
    try:
        for fd in fds:
            poller.set(fd, WRITE)
        seen: set[int] = set()
        for _ in range(math.ceil(count / EVENTS_PER_PASS) + 1):
            events = poller.wait(0)
            assert len(events) == len(dict(events)) == EVENTS_PER_PASS
            seen.update(fd for fd, _ in events)
        assert seen == set(fds)
    finally:
        for fd in fds:
            poller.set(fd, 0)
            os.close(fd)


def test_share_hands_out_in_turn() -> None:
    poller = Poller()
    few = [(fd, READ) for fd in range(EVENTS_PER_PASS)]
    assert poller.share(few) is few
    many = [(fd, READ) for fd in range(150)]
    assert poller.share(many) == many[:64]
    assert poller.share(many) == many[64:128]
    assert poller.share(many) == many[128:] + many[:42]
    assert poller.share(many) == many[42:106]
    assert poller.share(many[:100]) == many[6:70]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, None), (0, 0), (0.0, 0), (1e-9, 1), (0.001, 1), (0.0011, 2), (1, 1000), (30.0, 30000)],
)
def test_milliseconds_are_rounded_up(seconds: float | None, expected: int | None) -> None:
    assert base.milliseconds(seconds) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="poll(2) is not on Windows")
def test_poll_waits_whole_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    poller = pollers.make("poll")
    asked: list[Any] = []
    kernel = SimpleNamespace(poll=lambda timeout: asked.append(timeout) or [])
    monkeypatch.setattr(poller, "_poll", kernel)
    for timeout in (0.0, 0.0001, 0.0021, None):
        poller.wait(timeout)
    assert asked == [0, 1, 3, None]


# What only some have ------------------------------------------------------------------------


def test_fileno_polls_readable_while_events_wait(poller: Poller, pair: Pair) -> None:
    fd = poller.fileno()
    kernel = getattr(poller, "_inner", poller)  # one that waits in a host hands it on
    assert (fd >= 0) == (kernel.name in ("epoll", "kqueue"))
    if fd >= 0:
        poller.set(pair[0].fileno(), READ)
        assert select.select([fd], [], [], 0)[0] == []
        pair[1].send(b"x")
        assert select.select([fd], [], [], 0)[0] == [fd]


def test_close_forgets(poller: Poller, pair: Pair) -> None:
    fd = poller.fileno()
    poller.set(pair[0].fileno(), READ)
    poller.close()
    if fd >= 0:
        with pytest.raises(OSError):
            os.fstat(fd)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork()")
def test_a_child_that_lets_go_does_not_deafen_the_parent(poller: Poller, pair: Pair) -> None:
    fd = pair[0].fileno()
    poller.set(fd, READ)
    child = os.fork()
    if child == 0:
        try:
            poller.after_fork()
            os.close(fd)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    pair[1].send(b"x")
    assert ready(poller) == {fd: READ}


def test_regular_files_are_always_ready(poller: Poller, idle: int) -> None:
    with tempfile.TemporaryFile() as file:
        fd = file.fileno()
        poller.set(fd, READ)
        poller.set(idle, READ)
        for _ in range(2):
            assert poller.wait(None) == [(fd, READ)]
        poller.set(fd, READ | WRITE)
        assert ready(poller) == {fd: READ | WRITE}
        assert poller.verify(fd)
        poller.set(fd, 0)
        assert ready(poller) == {}
        assert poller.interest == {idle: READ}


@linux_only
def test_always_ready_files_leave_room_for_others(pair: Pair) -> None:
    poller = pollers.make("epoll")
    files = [tempfile.TemporaryFile() for _ in range(EVENTS_PER_PASS)]
    try:
        for file in files:
            poller.set(file.fileno(), READ)
        poller.set(pair[0].fileno(), WRITE)
        seen: set[int] = set()
        for _ in range(3):
            seen.update(fd for fd, _ in poller.wait(60))
        assert pair[0].fileno() in seen and len(seen) == EVENTS_PER_PASS + 1
    finally:
        for file in files:
            file.close()
        poller.close()


@linux_only
def test_epoll_verify_finds_a_closed_file(pair: Pair) -> None:
    poller = pollers.make("epoll")
    with tempfile.TemporaryFile() as file:
        fd = os.dup(file.fileno())
        poller.set(fd, READ)
        assert poller.verify(fd)
        os.close(fd)
        assert not poller.verify(fd)
        # A file behind the number of a socket: refused by the kernel, and ready from then on.
        poller.set(fd, 0)
        os.dup2(pair[0].fileno(), fd)
        poller.set(fd, READ)
        os.dup2(file.fileno(), fd)
        assert poller.verify(fd)
        assert ready(poller) == {fd: READ}
        os.close(fd)
    poller.close()


@linux_only
def test_epoll_lets_unexpected_errors_out(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    poller = pollers.make("epoll")
    real = poller._epoll  # type: ignore[attr-defined]
    code = errno.ENOMEM

    class Kernel:
        fileno = real.fileno

        def modify(self, fd: int, mask: int) -> None:
            raise OSError(code, os.strerror(code))

        def register(self, fd: int, mask: int) -> None:
            raise OSError(errno.ENOSPC, "more than /proc/sys/fs/epoll/max_user_watches")

    monkeypatch.setattr(poller, "_epoll", Kernel())
    fd = pair[0].fileno()
    with pytest.raises(OSError, match="max_user_watches"):
        poller.set(fd, READ)
    assert poller.interest == {}
    poller.interest[fd] = READ
    with pytest.raises(OSError) as caught:
        poller.verify(fd)
    assert caught.value.errno == errno.ENOMEM
    with pytest.raises(OSError):
        poller.set(fd, WRITE)
    assert poller.interest == {fd: READ}
    code = errno.ENOENT
    assert not poller.verify(fd)
    monkeypatch.undo()
    real.close()


# Many descriptors ---------------------------------------------------------------------------


@pytest.fixture
def high_descriptor(pair: Pair) -> Iterator[int]:
    fd = 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft <= fd:
        resource.setrlimit(resource.RLIMIT_NOFILE, (fd + 100, hard))
    os.dup2(pair[0].fileno(), fd)
    yield fd
    os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_descriptors_above_1023(poller: Poller, high_descriptor: int) -> None:
    if poller.name == "select":
        with pytest.raises(
            ValueError, match=r"select\(\) can't watch descriptor 1024, only numbers"
        ):
            poller.set(high_descriptor, READ)
        assert poller.interest == {}
        assert poller.wait(0) == []
    else:
        poller.set(high_descriptor, WRITE)
        assert ready(poller) == {high_descriptor: WRITE}
        poller.set(high_descriptor, 0)


# select on systems of another kind ----------------------------------------------------------


def select_module(monkeypatch: pytest.MonkeyPatch, platform: str) -> ModuleType:
    module = fresh_module("asynccore.pollers.select")
    monkeypatch.setattr(module, "sys", SimpleNamespace(platform=platform))
    return module


def test_select_on_windows_takes_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    poller = select_module(monkeypatch, "win32").SelectPoller()
    poller.set(5000, READ)
    assert poller.interest == {5000: READ}


@pytest.mark.parametrize(("timeout", "slept"), [(0.25, 0.25), (30.0, 1.0), (None, 1.0)])
def test_select_on_windows_sleeps_without_descriptors(
    monkeypatch: pytest.MonkeyPatch, timeout: float | None, slept: float
) -> None:
    module = select_module(monkeypatch, "win32")
    naps: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=naps.append))
    assert module.SelectPoller().wait(timeout) == []
    assert naps == [slept]


def select_that_raises(monkeypatch: pytest.MonkeyPatch, pair: Pair, code: int) -> Any:
    module = fresh_module("asynccore.pollers.select")
    poller = module.SelectPoller()
    poller.set(pair[0].fileno(), READ)

    def broken(reading: Any, writing: Any, both: Any, timeout: float | None) -> Any:
        if timeout == 0:
            return [], [], []
        raise OSError(code, errno.errorcode[code])

    monkeypatch.setattr(module, "_select", broken)
    return poller


def test_select_bears_a_closed_descriptor_that_was_taken_out_since(
    monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> None:
    """By a signal handler, in the middle of the call."""
    assert select_that_raises(monkeypatch, pair, errno.EBADF).wait(1) == []


def test_select_lets_an_error_out_that_no_descriptor_explains(
    monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> None:
    """The loop would only look again, at once and for ever."""
    with pytest.raises(OSError, match="ENOMEM"):
        select_that_raises(monkeypatch, pair, errno.ENOMEM).wait(1)


# The choice ---------------------------------------------------------------------------------


def test_the_best_poller_is_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASYNCCORE_ENGINE", raising=False)
    expected = {"linux": ("epoll", "poll", "select"), "win32": ("select",)}
    assert pollers.available() == expected.get(sys.platform, ("kqueue", "poll", "select"))
    assert pollers.default_name() == pollers.available()[0]
    made = pollers.make()
    assert made.name == pollers.available()[0]
    made.close()


def test_the_environment_names_the_default(
    monkeypatch: pytest.MonkeyPatch, poller_name: str
) -> None:
    monkeypatch.setenv("ASYNCCORE_ENGINE", poller_name)
    assert pollers.default_name() == poller_name
    made = pollers.make()
    assert made.name == poller_name
    made.close()
    # What a program names comes first.
    made = pollers.make("select")
    assert made.name == "select"
    made.close()


def test_an_empty_variable_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCCORE_ENGINE", "")
    assert pollers.default_name() == pollers.available()[0]


def test_an_unknown_name_is_told_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"unknown engine 'iocp': this platform has .*select"):
        pollers.make("iocp")
    monkeypatch.setenv("ASYNCCORE_ENGINE", "uring")
    with pytest.raises(ValueError, match=r"unknown engine ASYNCCORE_ENGINE=uring: this platform"):
        pollers.make()


@pytest.mark.parametrize("method", ["set", "wait", "verify"])
def test_the_interface_itself_does_nothing(method: str) -> None:
    arguments: dict[str, tuple[Any, ...]] = {"set": (0, READ), "wait": (0,), "verify": (0,)}
    poller = Poller()
    with pytest.raises(NotImplementedError):
        getattr(poller, method)(*arguments[method])
    assert poller.fileno() == -1
    poller.close()


def test_the_bits_are_those_of_poll() -> None:
    names = ("POLLIN", "POLLPRI", "POLLOUT", "POLLERR", "POLLHUP", "POLLNVAL")
    if not hasattr(select, "poll"):
        pytest.skip("poll(2) is not on Windows")
    assert [getattr(select, name) for name in names] == [
        READ,
        PRIORITY,
        WRITE,
        ERROR,
        HANGUP,
        INVALID,
    ]


# kqueue on a fake kernel --------------------------------------------------------------------

FILTER_READ, FILTER_WRITE = -1, -2
EV_ADD, EV_DELETE, EV_EOF = 0x1, 0x2, 0x8000


class FakeKevent:
    def __init__(self, ident: int, filter: int = FILTER_READ, flags: int = EV_ADD) -> None:
        self.ident, self.filter, self.flags = ident, filter, flags


class FakeKqueue:
    """The part of kqueue(2) that is used, with a set of (descriptor, filter) for a kernel."""

    def __init__(self) -> None:
        self.filters: set[tuple[int, int]] = set()
        self.open: set[int] = {5, 6, 7}
        self.refuses: set[int] = set()
        self.changes: list[tuple[int, int, int]] = []
        self.pending: list[FakeKevent] = []
        self.waits: list[tuple[int, float | None]] = []
        self.closed = False

    def control(
        self, changes: list[FakeKevent] | None, limit: int, timeout: float | None = None
    ) -> list[FakeKevent]:
        if changes is None:
            self.waits.append((limit, timeout))
            return self.pending[:limit]
        assert limit == 0
        for change in changes:
            key = change.ident, change.filter
            self.changes.append((*key, change.flags))
            if change.ident not in self.open:
                self.filters = {k for k in self.filters if k[0] in self.open}
                raise OSError(errno.EBADF, "Bad file descriptor")
            if change.flags == EV_ADD:
                if change.filter in self.refuses:
                    raise OSError(errno.EINVAL, "Invalid argument")
                self.filters.add(key)
            elif key in self.filters:
                self.filters.remove(key)
            else:
                raise OSError(errno.ENOENT, "No such file or directory")
        return []

    def fileno(self) -> int:
        return 77

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def kqueue(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, FakeKqueue]:
    """A kqueue poller and its kernel."""
    for name, value in {
        "kqueue": FakeKqueue,
        "kevent": FakeKevent,
        "KQ_FILTER_READ": FILTER_READ,
        "KQ_FILTER_WRITE": FILTER_WRITE,
        "KQ_EV_ADD": EV_ADD,
        "KQ_EV_DELETE": EV_DELETE,
        "KQ_EV_EOF": EV_EOF,
    }.items():
        monkeypatch.setattr(select, name, value, raising=False)
    module = fresh_module("asynccore.pollers.kqueue", "darwin")
    poller = module.KqueuePoller()
    return poller, poller._kqueue


def test_kqueue_sends_only_the_filters_that_changed(kqueue: tuple[Any, FakeKqueue]) -> None:
    poller, kernel = kqueue
    poller.set(5, READ | PRIORITY)
    assert kernel.filters == {(5, FILTER_READ)}
    poller.set(5, READ | WRITE)
    assert kernel.filters == {(5, FILTER_READ), (5, FILTER_WRITE)}
    poller.set(5, WRITE)
    assert kernel.filters == {(5, FILTER_WRITE)}
    assert poller.interest == {5: WRITE}
    poller.set(5, WRITE | PRIORITY)
    assert kernel.changes == [
        (5, FILTER_READ, EV_ADD),
        (5, FILTER_WRITE, EV_ADD),
        (5, FILTER_READ, EV_DELETE),
    ]
    poller.set(5, 0)
    assert kernel.filters == set() and poller.interest == {}
    poller.set(6, 0)
    assert len(kernel.changes) == 4


def test_kqueue_refuses_closed_descriptors(kqueue: tuple[Any, FakeKqueue]) -> None:
    poller, _ = kqueue
    with pytest.raises(OSError) as caught:
        poller.set(99, READ | WRITE)
    assert caught.value.errno == errno.EBADF
    assert poller.interest == {}


def test_kqueue_takes_out_what_the_kernel_has_forgotten(kqueue: tuple[Any, FakeKqueue]) -> None:
    poller, kernel = kqueue
    poller.set(5, READ | WRITE)
    kernel.open.discard(5)
    poller.set(5, 0)
    assert poller.interest == {}
    # Closed and opened anew: ENOENT for each.
    kernel.open.add(5)
    poller.set(5, READ)
    kernel.filters.clear()
    poller.set(5, 0)
    assert poller.interest == {}


def test_kqueue_remembers_what_the_kernel_took(kqueue: tuple[Any, FakeKqueue]) -> None:
    """A refused second filter: what the kernel was told by then is what `interest` says."""
    poller, kernel = kqueue
    kernel.refuses.add(FILTER_WRITE)
    with pytest.raises(OSError, match="Invalid argument"):
        poller.set(5, READ | WRITE)
    known = {(fd, FILTER_READ) for fd, mask in poller.interest.items() if mask & READ}
    assert known == kernel.filters
    poller.set(5, 0)
    assert kernel.filters == set() and poller.interest == {}


def test_kqueue_joins_the_filters_of_a_descriptor(kqueue: tuple[Any, FakeKqueue]) -> None:
    poller, kernel = kqueue
    kernel.pending = [
        FakeKevent(5, FILTER_READ, 0),
        FakeKevent(6, FILTER_WRITE, EV_EOF),
        FakeKevent(5, FILTER_WRITE, 0),
        FakeKevent(7, FILTER_READ, EV_EOF),
    ]
    assert dict(poller.wait(1.5)) == {5: READ | WRITE, 6: WRITE | HANGUP, 7: READ | HANGUP}
    poller.wait(None)
    assert kernel.waits == [(EVENTS_PER_PASS, 1.5), (EVENTS_PER_PASS, None)]


def test_kqueue_verify_asserts_the_filters_again(kqueue: tuple[Any, FakeKqueue]) -> None:
    poller, kernel = kqueue
    poller.set(5, READ | WRITE)
    poller.set(6, WRITE)
    kernel.filters.clear()
    assert poller.verify(5) and poller.verify(6)
    assert kernel.filters == {(5, FILTER_READ), (5, FILTER_WRITE), (6, FILTER_WRITE)}
    kernel.open.discard(5)
    assert not poller.verify(5)


def test_kqueue_in_a_child_is_not_closed(kqueue: tuple[Any, FakeKqueue]) -> None:
    poller, kernel = kqueue
    assert poller.fileno() == 77
    poller.set(5, READ)
    poller.after_fork()
    assert poller.interest == {} and not kernel.closed
    poller.close()
    assert kernel.closed


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("darwin", ["kqueue", "poll", "select"]), ("win32", ["select"])],
)
def test_other_platforms_choose_among_their_own(
    kqueue: object,
    platform: str,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import asynccore.pollers as package

    # A second copy of the package, so that the modules below it see that platform too.
    for name in [name for name in sys.modules if name.startswith("asynccore.pollers")]:
        monkeypatch.delitem(sys.modules, name)
    attributes = dict(vars(package))
    try:
        monkeypatch.setattr(sys, "platform", platform)
        copy = __import__("asynccore.pollers", fromlist=["available"])
        assert copy is not package
        assert list(copy.available()) == expected
    finally:
        for name in [name for name in sys.modules if name.startswith("asynccore.pollers")]:
            del sys.modules[name]
        monkeypatch.undo()
        import asynccore

        asynccore.pollers = package  # type: ignore[attr-defined]
        assert vars(package).keys() == attributes.keys()


# Descriptors that others have closed by their numbers -----------------------------------------


def watching_a_wakeup(poller: Poller) -> Wakeup:
    wakeup = Wakeup()
    poller.set(wakeup.fileno(), READ)
    poller.wakeup_is_whole = wakeup.is_whole
    return wakeup


def test_a_withdrawn_descriptor_is_not_watched_by_the_kernel(poller: Poller, pair: Pair) -> None:
    """By another thread than the one that waits, whose `interest` stays as it is."""
    mine, peer = pair
    poller.set(mine.fileno(), READ)
    poller.withdraw(mine.fileno())
    peer.send(b"x")
    if poller.name == "epoll":
        assert list(poller.wait(0)) == []
    poller.withdraw(mine.fileno())  # it is out already
    assert poller.interest == {mine.fileno(): READ}
    poller.set(mine.fileno(), 0)
    assert poller.interest == {} and list(poller.wait(0)) == []


def test_a_poller_is_lost_with_its_wakeup(poller: Poller) -> None:
    assert not poller.is_lost()
    wakeup = watching_a_wakeup(poller)
    assert not poller.is_lost()
    os.close(wakeup.fileno())
    assert poller.is_lost()
    wakeup.close()
    assert not poller.is_lost()  # it has no descriptor any more that could be another's


@linux_only
@pytest.mark.parametrize("number", ["closed", "a file's"])
def test_an_epoll_is_lost_with_its_descriptor(number: str) -> None:
    made = pollers.make("epoll")
    fd = made.fileno()
    os.close(fd)
    if number != "closed":
        null = os.open(os.devnull, os.O_RDONLY)
        if null != fd:
            os.dup2(null, fd)
            os.close(null)
    assert made.is_lost()
    with pytest.raises(PollerLost):
        made.wait(0)
    made.give_up()
    if number != "closed":
        os.close(fd)  # it was not closed by the poller
    assert made.interest == {}


def test_whoever_gives_a_poller_up_closes_it_if_it_is_whole(poller_name: str, pair: Pair) -> None:
    made = pollers.make(poller_name)
    made.set(pair[0].fileno(), READ)
    made.give_up()
    if poller_name == "epoll":
        assert made.interest == {}
        with pytest.raises(ValueError):
            made.fileno()


def test_a_lost_poller_closes_nothing(poller_name: str) -> None:
    made = pollers.make(poller_name)
    wakeup = watching_a_wakeup(made)
    before = made.fileno()
    os.close(wakeup.fileno())
    made.give_up()
    wakeup.close()
    if before != -1:
        os.fstat(before)  # still there
        os.close(before)


def test_what_stands_in_front_of_a_poller_asks_it(poller: Poller, pair: Pair) -> None:
    front = pollers.ProxyPoller(poller)
    mine, peer = pair
    poller.set(mine.fileno(), READ)
    peer.send(b"x")
    front.withdraw(mine.fileno())
    if poller.name == "epoll":
        assert list(poller.wait(0)) == []
    assert not front.is_lost()
    wakeup = watching_a_wakeup(poller)
    os.close(wakeup.fileno())
    assert front.is_lost()
    wakeup.close()
    poller.set(mine.fileno(), 0)
    front.abandon()
    assert front.interest == poller.interest == {}
