"""`connect_name`: with a fake resolver, fake sockets and a fake clock; then with real ones."""

from __future__ import annotations

import errno
import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
from asynccore import ConnectError, asynchat, dispatcher, dispatcher_with_send
from asynccore.connecting.attempts import connect_error
from asynccore.testing import HANGUP, PRIORITY, WRITE, Fakes
from tests.core.fakes import FakeSocket, owning

HANGS = errno.EINPROGRESS


class Socket(FakeSocket):
    """A socket of the `Net`."""

    def __init__(self, net: Net, family: int, fd: int) -> None:
        super().__init__(fd)
        self.net = net
        self.made_for = family

    def connect_ex(self, address: Any) -> int:
        self.address = address
        self.net.attempts.append((address[0], self.net.clock()))
        found = self.net.fates.get(address[0], HANGS)
        if isinstance(found, Exception):
            raise found
        return found

    def getsockopt(self, level: int, option: int) -> int:
        if self.fd in self.net.vanished:
            raise OSError(errno.EBADF, "Bad file descriptor")
        return super().getsockopt(level, option)

    def bind(self, address: Any) -> None:
        super().bind(address)
        if self.net.bind_error is not None:
            raise self.net.bind_error


class Net:
    """A `socket` module, and a resolver, that do what the test says.

    `fates` has what `connect_ex` returns or raises for an address; without one it hangs.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.fates: dict[str, int | Exception] = {}
        self.attempts: list[tuple[str, float]] = []
        self.sockets: list[Socket] = []
        self.asked: list[tuple[str, Any, int]] = []
        self.delivers: list[Callable[[Any], object]] = []
        self.vanished: set[int] = set()
        self.bind_error: OSError | None = None
        self.socket_error: OSError | None = None
        self.getaddrinfo = socket.getaddrinfo

    def socket(self, family: int, kind: int) -> Socket:
        assert kind == socket.SOCK_STREAM
        if self.socket_error is not None:
            raise self.socket_error
        self.sockets.append(Socket(self, family, 1000 + len(self.sockets)))
        return self.sockets[-1]

    def resolve(self, host: str, port: Any, family: int, deliver: Callable[[Any], object]) -> None:
        self.asked.append((host, port, family))
        self.delivers.append(deliver)

    def answer(self, *hosts: str) -> None:
        """Deliver these addresses for the latest question."""
        self.delivers[-1]([info(host) for host in hosts])

    @property
    def tried(self) -> list[str]:
        return [host for host, _ in self.attempts]


def info(host: str) -> tuple[Any, ...]:
    if ":" in host:
        return socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, 25, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 25)


@pytest.fixture
def net(any_fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Net]:
    net = Net(any_fakes.clock)
    monkeypatch.setattr(asynccore, "socket", net)
    asynccore.set_resolver(net.resolve)
    yield net
    asynccore.set_resolver(None)


class Client(dispatcher_with_send):
    def __init__(self, map: Any) -> None:
        super().__init__(None, map)
        self.log_: list[Any] = []

    def handle_connect(self) -> None:
        self.log_.append("connect")

    def handle_close(self) -> None:
        self.log_.append("close")
        self.close()

    def handle_error(self) -> None:
        self.log_.append(sys.exc_info()[1])
        self.handle_close()

    def handle_timeout(self, which: str) -> None:
        self.log_.append(which)
        self.handle_close()


def step(fakes: Fakes, seconds: float = 0.0) -> None:
    """Let time pass, and run what is due."""
    end = fakes.clock() + seconds
    asynccore.poll(0, fakes.engine.map)
    while fakes.engine.map:
        due = fakes.engine.timers.next()
        if due is None or due > end:
            break
        fakes.clock.now = max(fakes.clock(), due)
        asynccore.poll(0, fakes.engine.map)
    fakes.clock.now = end
    asynccore.poll(0, fakes.engine.map)


def ready(fakes: Fakes, sock: Socket, error: int = 0, mask: int = WRITE) -> None:
    """Have an attempt end."""
    sock.error = error
    fakes.poller.report((sock.fd, mask))
    asynccore.poll(0, fakes.engine.map)


def begin(fakes: Fakes, **options: Any) -> Client:
    client = Client(fakes.engine.map)
    client.connect_name("mail.example", 25, **options)
    return client


def nothing_left(fakes: Fakes, net: Net, *but: Socket) -> bool:
    return (
        len(fakes.engine.timers) == 0
        and [s for s in net.sockets if not s.closed] == list(but)
        and len(fakes.engine.map) == len(but)
    )


def test_the_first_address_answers(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    assert client.connecting and not client.connected and client.addr == ("mail.example", 25)
    assert net.asked == [("mail.example", 25, 0)] and net.tried == []
    assert len(any_fakes.engine.map) == 1  # a loop goes on
    net.answer("2001:db8::1", "192.0.2.1")
    step(any_fakes)
    assert net.tried == ["2001:db8::1"] and client.log_ == []
    (sock,) = net.sockets
    assert sock.blocking is False and sock.made_for == socket.AF_INET6
    ready(any_fakes, sock)
    assert client.log_ == ["connect"] and client.connected and not client.connecting
    assert client.socket is sock and client.addr == ("2001:db8::1", 25, 0, 0)
    assert client.family_and_type == (socket.AF_INET6, socket.SOCK_STREAM)
    assert dict(any_fakes.engine.map) == {sock.fd: client}
    assert nothing_left(any_fakes, net, sock)
    step(any_fakes, 10)
    assert client.log_ == ["connect"] and len(net.sockets) == 1


def test_the_next_begins_after_the_delay_and_the_first_to_connect_wins(
    any_fakes: Fakes, net: Net
) -> None:
    client = begin(any_fakes)
    net.answer("2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2")
    start = any_fakes.clock()
    step(any_fakes, 0.6)
    assert net.attempts == [
        ("2001:db8::1", start),
        ("192.0.2.1", start + 0.25),
        ("2001:db8::2", start + 0.5),
    ]
    ready(any_fakes, net.sockets[1])
    assert client.log_ == ["connect"] and client.addr == ("192.0.2.1", 25)
    assert nothing_left(any_fakes, net, net.sockets[1])
    step(any_fakes, 5)
    assert len(net.attempts) == 3


def test_a_failure_lets_the_next_begin_at_once(any_fakes: Fakes, net: Net) -> None:
    begin(any_fakes, happy_eyeballs_delay=2)
    net.answer("2001:db8::1", "192.0.2.1", "192.0.2.2")
    start = any_fakes.clock()
    step(any_fakes, 0.5)
    assert net.attempts == [("2001:db8::1", start)]
    ready(any_fakes, net.sockets[0], errno.ECONNREFUSED)
    assert net.attempts[1:] == [("192.0.2.1", start + 0.5)]
    assert net.sockets[0].closed
    step(any_fakes, 1.9)
    assert len(net.attempts) == 2
    step(any_fakes, 0.1)
    assert net.attempts[2:] == [("192.0.2.2", start + 2.5)]


def test_an_infinite_delay_is_one_after_another(any_fakes: Fakes, net: Net) -> None:
    begin(any_fakes, happy_eyeballs_delay=float("inf"))
    net.answer("192.0.2.1", "192.0.2.2")
    step(any_fakes, 1000)
    assert net.tried == ["192.0.2.1"] and len(any_fakes.engine.timers) == 0
    ready(any_fakes, net.sockets[0], errno.ETIMEDOUT)
    assert net.tried == ["192.0.2.1", "192.0.2.2"]


@pytest.mark.parametrize("code", [0, errno.EISCONN])
def test_a_connection_that_is_there_at_once(any_fakes: Fakes, net: Net, code: int) -> None:
    net.fates["192.0.2.1"] = code
    client = begin(any_fakes)
    net.answer("192.0.2.1", "192.0.2.2")
    step(any_fakes)
    assert client.log_ == ["connect"] and net.tried == ["192.0.2.1"]
    assert nothing_left(any_fakes, net, net.sockets[0])


def test_all_failures_are_told_together(any_fakes: Fakes, net: Net) -> None:
    net.fates["2001:db8::1"] = errno.ENETUNREACH
    client = begin(any_fakes)
    net.answer("2001:db8::1", "192.0.2.1", "192.0.2.2")
    step(any_fakes, 1)
    ready(any_fakes, net.sockets[1], errno.ECONNREFUSED, WRITE | HANGUP)
    assert client.log_ == []
    ready(any_fakes, net.sockets[2], errno.ETIMEDOUT, PRIORITY)
    error, close = client.log_
    assert close == "close" and type(error) is ConnectError and isinstance(error, OSError)
    assert error.errno == errno.ECONNREFUSED  # the first that says more than "no IPv6 here"
    assert [why.errno for why in error.errors] == [
        errno.ENETUNREACH,
        errno.ECONNREFUSED,
        errno.ETIMEDOUT,
    ]
    assert isinstance(error.errors[1], ConnectionRefusedError)
    for why, address in zip(
        error.errors, ["[2001:db8::1]:25", "192.0.2.1:25", "192.0.2.2:25"], strict=True
    ):
        assert address in str(why) and str(why.strerror) in str(error)
    assert "can't connect to mail.example:25" in str(error)
    assert error.__cause__ is error.errors[1]
    assert nothing_left(any_fakes, net)


def test_failures_without_a_network_at_all(any_fakes: Fakes, net: Net) -> None:
    """Every attempt fails in connect() itself: no recursion, and no address twice."""
    hosts = [f"192.0.2.{n}" for n in range(200)]
    net.fates.update(dict.fromkeys(hosts, errno.ENETUNREACH))
    client = begin(any_fakes)
    net.answer(*hosts)
    step(any_fakes)
    assert net.tried == hosts and len(client.log_[0].errors) == 200
    assert client.log_[0].errno == errno.ENETUNREACH and nothing_left(any_fakes, net)


@pytest.mark.parametrize("what", ["socket_error", "bind_error"])
def test_a_socket_that_cant_be_had(any_fakes: Fakes, net: Net, what: str) -> None:
    setattr(net, what, OSError(errno.EMFILE, "Too many open files"))
    client = begin(any_fakes, local_addr=("", 0))
    net.answer("192.0.2.1", "2001:db8::1")
    step(any_fakes)
    assert [why.errno for why in client.log_[0].errors] == [errno.EMFILE] * 2
    assert client.log_[0].errno == errno.EMFILE and nothing_left(any_fakes, net)


def test_a_name_that_isnt_there(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    net.delivers[0](socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    step(any_fakes)
    error, close = client.log_
    assert type(error) is ConnectError and error.errno == socket.EAI_NONAME
    assert isinstance(error.errors[0], socket.gaierror) and close == "close"
    assert "mail.example:25: Name or service not known" in str(error)
    assert nothing_left(any_fakes, net) and not client.connecting


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ([], ConnectError),
        (ZeroDivisionError("oops"), ZeroDivisionError),
        (None, TypeError),
        ([("192.0.2.1", 25)], ValueError),
    ],
)
def test_other_answers_of_a_resolver(
    any_fakes: Fakes, net: Net, answer: Any, kind: type[Exception]
) -> None:
    client = begin(any_fakes)
    net.delivers[0](answer)
    step(any_fakes)
    assert [type(event) for event in client.log_] == [kind, str]
    assert nothing_left(any_fakes, net)


def test_an_address_that_no_socket_takes(any_fakes: Fakes, net: Net) -> None:
    net.fates["192.0.2.1"] = TypeError("an address is a tuple")
    client = begin(any_fakes)
    net.answer("192.0.2.1")
    step(any_fakes)
    assert [type(event) for event in client.log_] == [TypeError, str]
    assert nothing_left(any_fakes, net)


def test_an_odd_address_is_shown_as_it_is(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    net.socket_error = OSError(errno.EAFNOSUPPORT, "no such family")
    net.delivers[0]([(99, 1, 0, "", b"odd")])
    step(any_fakes)
    assert "b'odd': no such family" in str(client.log_[0])


def test_a_resolver_that_raises(any_fakes: Fakes, net: Net) -> None:
    def broken(*question: Any) -> None:
        raise ZeroDivisionError

    asynccore.set_resolver(broken)
    client = begin(any_fakes)
    assert client.log_ == []  # no hook inside of connect_name
    step(any_fakes)
    assert [type(event) for event in client.log_] == [ZeroDivisionError, str]


def test_exit_now_of_a_resolver_comes_out(any_fakes: Fakes, net: Net) -> None:
    def leaving(*question: Any) -> None:
        raise asynccore.ExitNow

    asynccore.set_resolver(leaving)
    client = Client(any_fakes.engine.map)
    with pytest.raises(asynccore.ExitNow):
        client.connect_name("mail.example", 25)
    client.close()
    assert nothing_left(any_fakes, net)


def test_exit_now_as_an_answer_comes_out_of_the_loop(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    net.delivers[0](asynccore.ExitNow())
    with pytest.raises(asynccore.ExitNow):
        step(any_fakes)
    assert client.log_ == [] and nothing_left(any_fakes, net)


# Closing and beginning anew ---------------------------------------------------------------


def by_close(client: Client) -> None:
    client.close()


def by_close_all(client: Client) -> None:
    asynccore.close_all(client._map)


def by_another_thread(client: Client) -> None:
    thread = threading.Thread(target=client.close)
    thread.start()
    thread.join()


@pytest.mark.parametrize("end", [by_close, by_close_all, by_another_thread])
@pytest.mark.parametrize("when", ["looking", "trying", "waiting"])
def test_closing_ends_it_all(
    any_fakes: Fakes, net: Net, when: str, end: Callable[[Client], None]
) -> None:
    client = begin(any_fakes)
    if when != "looking":
        net.answer("192.0.2.1", "2001:db8::1", "192.0.2.2")
        step(any_fakes, 0.3 if when == "waiting" else 0.0)
        assert len(net.sockets) == (2 if when == "waiting" else 1)
    end(client)
    assert nothing_left(any_fakes, net) and not client.connecting
    assert client.log_ == []
    net.answer("192.0.2.9")  # late, or a second one
    step(any_fakes, 10)
    client.close()
    assert client.log_ == [] and "192.0.2.9" not in net.tried


def test_calling_it_again_begins_anew(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    first = net.delivers[0]
    client.connect_name("other.example", "smtp")
    assert len(any_fakes.engine.map) == 1
    first([info("192.0.2.1")])
    step(any_fakes)
    assert net.tried == [] and net.asked[1] == ("other.example", "smtp", 0)
    net.answer("192.0.2.2")
    step(any_fakes)
    ready(any_fakes, net.sockets[0])
    assert client.log_ == ["connect"] and client.addr == ("192.0.2.2", 25)
    assert nothing_left(any_fakes, net, net.sockets[0])


def test_the_same_object_reconnects(any_fakes: Fakes, net: Net) -> None:
    class Persistent(Client):
        def handle_close(self) -> None:
            super().handle_close()
            if self.log_.count("close") < 3:
                self.connect_name("mail.example", 25)

    client = Persistent(any_fakes.engine.map)
    client.connect_name("mail.example", 25)
    net.fates["192.0.2.1"] = errno.ECONNREFUSED
    net.answer("192.0.2.1")
    step(any_fakes)
    net.answer("192.0.2.2")
    step(any_fakes)
    ready(any_fakes, net.sockets[-1])
    assert [type(event) for event in client.log_] == [ConnectError, str, str]
    client.handle_close()
    net.answer("192.0.2.1")
    step(any_fakes)
    assert client.log_.count("connect") == 1 and client.log_.count("close") == 3
    assert nothing_left(any_fakes, net)


def test_a_second_answer_is_ignored(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    net.answer("192.0.2.1")
    step(any_fakes)
    net.answer("192.0.2.2")
    step(any_fakes)
    assert net.tried == ["192.0.2.1"]
    ready(any_fakes, net.sockets[0])
    assert client.log_ == ["connect"] and nothing_left(any_fakes, net, net.sockets[0])


def test_the_poller_knows_before_a_socket_closes(any_fakes: Fakes, net: Net) -> None:
    """Its number may be somebody else's before the loop looks at the map again."""
    keeper = Client(any_fakes.engine.map)
    keeper.set_socket(FakeSocket(2000))
    client = begin(any_fakes)
    net.answer("192.0.2.1")
    step(any_fakes)
    assert 1000 in any_fakes.poller.interest
    client.close()
    assert 1000 not in any_fakes.poller.interest
    keeper.close()


def test_a_socket_is_in_the_way(any_fakes: Fakes, net: Net) -> None:
    client = Client(any_fakes.engine.map)
    client.create_socket()
    with pytest.raises(RuntimeError, match=r"makes a socket of its own.*close\(\) it first"):
        client.connect_name("mail.example", 25)
    client.close()
    client.connect_name("mail.example", 25)
    client.close()


def test_another_socket_ends_it(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    net.answer("192.0.2.1")
    step(any_fakes)
    other = FakeSocket(2000)
    client.set_socket(other)
    assert net.sockets[0].closed and dict(any_fakes.engine.map) == {2000: client}
    step(any_fakes, 5)
    assert client.socket is other and client.log_ == []


def test_taken_out_of_the_map_it_ends(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    net.answer("192.0.2.1", "192.0.2.2")
    step(any_fakes)
    other = Client(any_fakes.engine.map)
    other.set_socket(FakeSocket(2000))
    for entry in set(any_fakes.engine.map) - {2000}:
        del any_fakes.engine.map[entry]
    step(any_fakes, 1)
    assert len(net.attempts) == 1 and net.sockets[0].closed and client.log_ == []
    other.close()


def test_a_handle_error_that_does_nothing_leaves_nothing(any_fakes: Fakes, net: Net) -> None:
    class Careless(Client):
        def handle_error(self) -> None:
            self.log_.append(sys.exc_info()[0])

    client = Careless(any_fakes.engine.map)
    client.connect_name("mail.example", 25)
    net.answer()
    step(any_fakes)
    assert client.log_ == [ConnectError] and client._ac_closed and not client.connecting
    assert nothing_left(any_fakes, net)


class Strict(Client):
    """Lets everything out."""

    def handle_error(self) -> None:
        raise


def test_what_handle_error_raises_comes_out_of_the_loop(any_fakes: Fakes, net: Net) -> None:
    client = Strict(any_fakes.engine.map)
    client.connect_name("mail.example", 25)
    net.answer("192.0.2.1")
    step(any_fakes)
    with pytest.raises(ConnectError):
        ready(any_fakes, net.sockets[0], errno.ECONNREFUSED)
    assert nothing_left(any_fakes, net)


def test_what_handle_error_raises_after_the_look_up_comes_out_too(
    any_fakes: Fakes, net: Net
) -> None:
    client = Strict(any_fakes.engine.map)
    client.connect_name("mail.example", 25)
    net.delivers[0](socket.gaierror(socket.EAI_NONAME, "unknown"))
    with pytest.raises(ConnectError, match="unknown"):
        step(any_fakes)
    assert nothing_left(any_fakes, net)


def test_and_after_an_attempt_that_a_timer_began(any_fakes: Fakes, net: Net) -> None:
    client = Strict(any_fakes.engine.map)
    client.connect_name("mail.example", 25)
    net.answer("192.0.2.1", "192.0.2.2")
    step(any_fakes)
    net.fates["192.0.2.2"] = 0  # connected at once, and the program doesn't like it

    def handle_connect() -> None:
        raise ZeroDivisionError

    client.handle_connect = handle_connect  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        step(any_fakes, 1)
    client.close()
    assert nothing_left(any_fakes, net)


# The connection, and what came before it ---------------------------------------------------


def test_what_was_sent_before_goes_out_after(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    client.send(b"EHLO ")
    net.answer("192.0.2.1")
    step(any_fakes)
    client.send(b"client\r\n")
    assert client.out_buffer == b"EHLO client\r\n"
    ready(any_fakes, net.sockets[0])
    ready(any_fakes, net.sockets[0])
    assert net.sockets[0].output == b"EHLO client\r\n"


def test_what_was_pushed_before_goes_out_after(any_fakes: Fakes, net: Net) -> None:
    class Chat(asynchat.async_chat):
        def handle_connect(self) -> None:
            pass

    client = Chat(map=any_fakes.engine.map)
    client.connect_name("mail.example", 25)
    client.push(b"hello")
    net.answer("192.0.2.1")
    step(any_fakes)
    ready(any_fakes, net.sockets[0])
    ready(any_fakes, net.sockets[0])
    assert net.sockets[0].output == b"hello"


def test_the_stand_in_behaves_as_a_connecting_socket(any_fakes: Fakes, net: Net) -> None:
    client = dispatcher(map=any_fakes.engine.map)
    client.connect_name("mail.example", 25)
    assert client.send(b"x") == 0
    with pytest.raises(BlockingIOError):
        client.recv(10)
    with pytest.raises(BlockingIOError):
        client.socket.sendmsg([b"x"])
    with pytest.raises(OSError) as caught:
        client.socket.getpeername()
    assert caught.value.errno == errno.ENOTCONN and client.socket.fileno() == -1
    assert "no socket yet" in repr(client.socket) and "mail.example:25" in repr(client.socket)
    client.close()


def test_what_the_map_holds_meanwhile(any_fakes: Fakes, net: Net) -> None:
    """Any program may walk its map, and close what it finds."""
    client = begin(any_fakes)
    net.answer("192.0.2.1")
    step(any_fakes)
    (key, undertaking), (fd, attempt) = any_fakes.engine.map.items()
    assert fd == net.sockets[0].fd and key > 2**31 - 1
    assert (undertaking.readable(), undertaking.writable()) == (False, False)
    assert (attempt.readable(), attempt.writable()) == (False, True)
    assert undertaking.connecting and not undertaking.accepting and not undertaking.connected
    assert "mail.example:25" in repr(undertaking) and "192.0.2.1:25" in repr(attempt)
    for entry in (undertaking, attempt):
        asynccore.readwrite(entry, 0)
    undertaking.handle_read_event()
    undertaking.handle_write_event()
    undertaking.handle_expt_event()
    assert client.log_ == []
    undertaking.handle_close()
    attempt.handle_read_event()  # late
    assert client.log_ == [] and nothing_left(any_fakes, net)


def test_a_program_that_reports_an_error_of_the_undertaking(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    (undertaking,) = any_fakes.engine.map.values()
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        undertaking.handle_error()
    assert [type(event) for event in client.log_] == [ZeroDivisionError, str]
    assert nothing_left(any_fakes, net)


def test_handle_connect_that_raises(any_fakes: Fakes, net: Net) -> None:
    class Failing(Client):
        def handle_connect(self) -> None:
            raise ZeroDivisionError

    client = Failing(any_fakes.engine.map)
    client.connect_name("mail.example", 25)
    net.answer("192.0.2.1")
    step(any_fakes)
    ready(any_fakes, net.sockets[0])
    assert [type(event) for event in client.log_] == [ZeroDivisionError, str]
    assert nothing_left(any_fakes, net)


def test_handle_connect_that_leaves_the_loop(any_fakes: Fakes, net: Net) -> None:
    class Leaving(Client):
        def handle_connect(self) -> None:
            raise asynccore.ExitNow

    client = Leaving(any_fakes.engine.map)
    client.connect_name("mail.example", 25)
    net.answer("192.0.2.1")
    step(any_fakes)
    with pytest.raises(asynccore.ExitNow):
        ready(any_fakes, net.sockets[0])
    client.close()
    assert nothing_left(any_fakes, net)


def test_a_set_socket_that_refuses(any_fakes: Fakes, net: Net) -> None:
    class Refusing(Client):
        def set_socket(self, sock: Any, map: Any = None) -> None:
            raise ValueError("no")

        def handle_error(self) -> None:
            self.log_.append(sys.exc_info()[0])

    client = Refusing(any_fakes.engine.map)
    client.connect_name("mail.example", 25)
    net.answer("192.0.2.1")
    step(any_fakes)
    ready(any_fakes, net.sockets[0])
    assert client.log_ == [ValueError] and client._ac_closed
    assert nothing_left(any_fakes, net)


def test_a_descriptor_that_the_poller_refuses(any_fakes: Fakes, net: Net) -> None:
    any_fakes.poller.refuse(1000, ValueError("select() can't watch descriptor 1000"))
    any_fakes.poller.refuse(1001)  # EBADF: somebody else closed it
    net.vanished.add(1001)
    client = begin(any_fakes)
    net.answer("192.0.2.1", "192.0.2.2", "192.0.2.3")
    for _ in range(4):
        step(any_fakes)
    assert net.tried == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    ready(any_fakes, net.sockets[2], errno.ECONNREFUSED)
    assert "select() can't watch" in str(client.log_[0].errors[0])
    assert nothing_left(any_fakes, net)


def test_a_socket_that_cant_say_how_it_ended(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    net.answer("192.0.2.1")
    step(any_fakes)

    net.vanished.add(1000)
    ready(any_fakes, net.sockets[0])
    assert client.log_[0].errno == errno.EBADF and nothing_left(any_fakes, net)


# Timeouts ------------------------------------------------------------------------------------


def test_connect_timeout_covers_the_look_up(any_fakes: Fakes, net: Net) -> None:
    client = Client(any_fakes.engine.map)
    client.connect_timeout = 5
    client.connect_name("mail.example", 25)
    step(any_fakes, 4.9)
    assert client.log_ == []
    step(any_fakes, 0.2)
    assert client.log_ == ["connect", "close"] and nothing_left(any_fakes, net)
    net.answer("192.0.2.1")
    step(any_fakes, 1)
    assert net.tried == []


def test_connect_timeout_covers_all_attempts(any_fakes: Fakes, net: Net) -> None:
    client = Client(any_fakes.engine.map)
    client.connect_timeout = 5
    client.connect_name("mail.example", 25)
    step(any_fakes, 4)
    net.answer("192.0.2.1", "192.0.2.2")
    step(any_fakes, 0.9)
    assert len(net.attempts) == 2 and client.log_ == []
    step(any_fakes, 0.2)
    assert client.log_ == ["connect", "close"] and nothing_left(any_fakes, net)


def test_connect_timeout_assigned_meanwhile_counts_from_the_beginning(
    any_fakes: Fakes, net: Net
) -> None:
    client = begin(any_fakes)
    step(any_fakes, 3)
    client.connect_timeout = 5
    step(any_fakes, 1.9)
    assert client.log_ == []
    step(any_fakes, 0.2)
    assert client.log_ == ["connect", "close"]


def test_once_connected_it_expires_no_more(any_fakes: Fakes, net: Net) -> None:
    client = Client(any_fakes.engine.map)
    client.connect_timeout = 5
    client.idle_timeout = 30
    client.connect_name("mail.example", 25)
    net.answer("192.0.2.1")
    step(any_fakes, 1)
    ready(any_fakes, net.sockets[0])
    step(any_fakes, 29)
    assert client.log_ == ["connect"]
    step(any_fakes, 1.1)
    assert client.log_ == ["connect", "idle", "close"] and nothing_left(any_fakes, net)


def test_a_deadline_counts_from_the_call_in_the_look_up(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    step(any_fakes, 3)
    client.set_deadline(5)
    step(any_fakes, 4.9)
    assert client.log_ == []
    step(any_fakes, 0.2)
    assert client.log_ == ["deadline", "close"] and nothing_left(any_fakes, net)


@pytest.mark.parametrize("connect_timeout", [None, 100.0])
def test_a_deadline_covers_what_follows_the_connect(
    any_fakes: Fakes, net: Net, connect_timeout: float | None
) -> None:
    client = begin(any_fakes)
    client.connect_timeout = connect_timeout
    client.set_deadline(5)
    step(any_fakes, 3)
    net.answer("192.0.2.1")
    step(any_fakes)
    ready(any_fakes, net.sockets[0])
    assert client.log_ == ["connect"]
    step(any_fakes, 1.9)
    assert client.log_ == ["connect"]
    step(any_fakes, 0.2)
    assert client.log_ == ["connect", "deadline", "close"] and nothing_left(any_fakes, net)


def test_a_deadline_that_was_taken_back_or_begun_anew(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes)
    client.set_deadline(5)
    client.set_deadline(None)
    step(any_fakes, 10)
    client.set_deadline(5)
    client.connect_name("other.example", 25)
    step(any_fakes, 10)
    assert client.log_ == []
    client.close()
    with pytest.raises(RuntimeError, match="no socket yet that a deadline could be for"):
        client.set_deadline(5)
    assert nothing_left(any_fakes, net)


def test_another_thread_connects_with_a_deadline(any_fakes: Fakes, net: Net) -> None:
    """Neither has come to the loop's thread yet when it returns."""
    client = Client(any_fakes.engine.map)
    with owning(any_fakes.engine):
        thread = threading.Thread(
            target=lambda: (client.connect_name("mail.example", 25), client.set_deadline(5))
        )
        thread.start()
        thread.join()
        any_fakes.clock.advance(1)
    step(any_fakes, 3.9)
    assert client.log_ == [] and client.connecting
    step(any_fakes, 0.2)
    assert client.log_ == ["deadline", "close"] and nothing_left(any_fakes, net)


# Arguments -----------------------------------------------------------------------------------


def test_a_numeric_address_needs_no_look_up(any_fakes: Fakes, net: Net) -> None:
    client = Client(any_fakes.engine.map)
    client.connect_name("2001:db8::7", 25)
    assert net.asked == [] and net.tried == []
    step(any_fakes)
    assert net.tried == ["2001:db8::7"] and net.asked == []
    assert "[2001:db8::7]:25" in repr(client.socket)
    client.close()


def test_a_service_is_looked_up(any_fakes: Fakes, net: Net) -> None:
    client = Client(any_fakes.engine.map)
    client.connect_name("192.0.2.1", "smtp", family=socket.AF_INET)
    client.connect_name("mail.example", "25")
    assert net.asked == [("192.0.2.1", "smtp", socket.AF_INET), ("mail.example", 25, 0)]
    client.close()


def test_an_international_name_is_encoded(any_fakes: Fakes, net: Net) -> None:
    client = Client(any_fakes.engine.map)
    client.connect_name("bücher.example", 25)
    assert net.asked == [("xn--bcher-kva.example", 25, 0)]
    client.close()


def test_the_local_address(any_fakes: Fakes, net: Net) -> None:
    client = begin(any_fakes, local_addr=("192.0.2.99", 0))
    net.answer("2001:db8::1", "192.0.2.1")
    step(any_fakes, 1)
    assert net.tried == ["192.0.2.1"] and net.sockets[0].bound == ("192.0.2.99", 0)
    client.connect_name("mail.example", 25, local_addr=("", 2000))
    net.answer("2001:db8::1", "192.0.2.1")
    step(any_fakes, 1)
    assert [sock.bound for sock in net.sockets[1:]] == [("", 2000), ("", 2000)]
    client.connect_name("mail.example", 25, local_addr=("::1", 0))
    net.answer("192.0.2.1")
    step(any_fakes)
    assert "no address of that family" in str(client.log_[0])


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "match"),
    [
        ((None, 25), {}, TypeError, "a host is a name or a numeric address, not None"),
        ((b"mail", 25), {}, TypeError, "a host is a name"),
        (("", 25), {}, ValueError, "'' is no host name"),
        (("a..b", 25), {}, ValueError, "'a..b' is no host name"),
        (("a" * 64, 25), {}, ValueError, "is no host name"),
        (("a\0b", 25), {}, ValueError, "is no host name"),
        (("mail", None), {}, TypeError, "a port is a number or the name of a service, not None"),
        (("mail", True), {}, TypeError, "a port is"),
        (("mail", -1), {}, ValueError, "a port is 0 to 65535, not -1"),
        (("mail", "65536"), {}, ValueError, "a port is 0 to 65535, not 65536"),
        (("mail", ""), {}, ValueError, "'' is no port and no service"),
        (("mail", 25), {"family": 1}, ValueError, "knows AF_INET and AF_INET6, not 1"),
        (("mail", 25), {"happy_eyeballs_delay": 0}, ValueError, "at least 0.01 seconds"),
        (("mail", 25), {"happy_eyeballs_delay": float("nan")}, ValueError, "at least 0.01 seconds"),
        (
            ("mail", 25),
            {"happy_eyeballs_delay": "1"},
            TypeError,
            "happy_eyeballs_delay is a number of seconds",
        ),
        (("mail", 25), {"local_addr": "::1"}, TypeError, "local_addr is a host and a port"),
        (("mail", 25), {"local_addr": ("::1", "x")}, TypeError, "the port of local_addr"),
        (("mail", 25), {"local_addr": ("mail", 0)}, ValueError, "is a numeric address"),
        (("mail", 25), {"local_addr": (None, 0)}, ValueError, "is a numeric address"),
    ],
)
def test_arguments_that_cant_be_right(
    any_fakes: Fakes, arguments: Any, options: Any, kind: type[Exception], match: str
) -> None:
    client = Client(any_fakes.engine.map)
    with pytest.raises(kind, match=match):
        client.connect_name(*arguments, **options)
    assert not any_fakes.engine.map and not client.connecting


def test_the_error_can_be_copied() -> None:
    error = connect_error("mail.example:25", [OSError(errno.ECONNREFUSED, "192.0.2.1:25: refused")])
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.errno, str(copy), len(copy.errors)) == (error.errno, str(error), 1)


# Real sockets ----------------------------------------------------------------------------------


def no_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return False
    except OSError:
        return True


def run(client: Client, poller: str) -> None:
    asynccore.call_later(30, asynccore.stop, map=client._map)
    while client._map and client.log_ == []:
        asynccore.loop(5, map=client._map, count=1, poller=poller)


def local(*hosts: str, port: int) -> Callable[..., None]:
    """A resolver that knows these addresses."""

    def resolve(host: str, _: Any, family: int, deliver: Callable[[Any], object]) -> None:
        found = [socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0] for host in hosts]
        threading.Thread(target=deliver, args=(found,)).start()

    return resolve


@pytest.fixture
def resolver() -> Iterator[Callable[[Any], None]]:
    yield asynccore.set_resolver
    asynccore.set_resolver(None)


@pytest.mark.skipif(no_ipv6(), reason="the machine has no IPv6 loopback")
def test_from_ipv6_that_refuses_to_ipv4(new_map: Any, resolver: Any, poller_name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        resolver(local("::1", "127.0.0.1", port=port))
        client = Client(new_map)
        client.connect_name("mail.example", port)
        client.send(b"hello")
        run(client, poller_name)
        assert client.log_ == ["connect"] and client.addr == ("127.0.0.1", port)
        peer, _ = listener.accept()
        with peer:
            asynccore.loop(5, map=new_map, count=1, poller=poller_name)
            assert peer.recv(100) == b"hello"


def test_localhost_by_the_systems_resolver(new_map: Any, poller_name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(new_map)
        client.connect_name("localhost", listener.getsockname()[1], local_addr=("127.0.0.1", 0))
        run(client, poller_name)
        assert client.log_ == ["connect"] and client.connected


def test_nobody_listens(new_map: Any, poller_name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = Client(new_map)
    client.connect_name("127.0.0.1", port)
    run(client, poller_name)
    assert client.log_[0].errno == errno.ECONNREFUSED and not new_map
    assert f"127.0.0.1:{port}: " in str(client.log_[0])


def test_another_thread_begins_it_while_the_loop_waits(new_map: Any, poller_name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        keeper = dispatcher(socket.create_server(("127.0.0.1", 0)), new_map)
        keeper.accepting = True
        client = Client(new_map)
        thread = threading.Thread(
            target=client.connect_name, args=("127.0.0.1", listener.getsockname()[1])
        )
        asynccore.call_soon_threadsafe(thread.start, map=new_map)
        run(client, poller_name)
        thread.join()
        assert client.log_ == ["connect"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_forked_child_asks_again(new_map: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's thread is not there to answer it; the parent gets its own answer."""
    go, real = threading.Event(), socket.getaddrinfo

    class Slow:
        socket = socket.socket

        @staticmethod
        def getaddrinfo(host: Any, *rest: Any) -> Any:
            if host == "mail.example":
                assert go.wait(30)
                host = "127.0.0.1"
            return real(host, *rest)

    monkeypatch.setattr(asynccore, "socket", Slow)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(new_map)
        client.connect_name("mail.example", listener.getsockname()[1])
        pid = os.fork()
        if pid == 0:
            try:
                go.set()
                run(client, "select")
                os._exit(0 if client.log_ == ["connect"] else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert client.log_ == []
        go.set()
        run(client, "select")
        assert client.log_ == ["connect"]
