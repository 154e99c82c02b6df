"""DTLS: channels over datagrams, which are lost, doubled, reordered, forged and too large."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

import asynccore
import ssl_ext
from asynccore import pollers
from asynccore.testing import FakeClock
from ssl_ext import CertificateError, DTLSSocket, PeerRefused, client_context, server_context
from ssl_ext.contexts.cookies import LIFETIME, Cookies
from ssl_ext.sockets.datagrams import datagrams
from tests.tls.pki import Leaf, ca_pem, issue
from tests.tls.support import authority, other_authority
from tests.tls.unreliable import (
    CHANGE_CIPHER_SPEC,
    CLIENT,
    PATIENCE,
    SERVER,
    Bad,
    Deaf,
    Full,
    Listener,
    Noting,
    World,
    serving,
    trusting,
)


@pytest.fixture(params=pollers.available())
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(poller=request.param)
    yield world
    asynccore.close_all(world.map)


@pytest.fixture
def plain() -> Iterator[World]:
    world = World()
    yield world
    asynccore.close_all(world.map)


# Talking -------------------------------------------------------------------------------------


def test_datagrams_keep_their_bounds_both_ways(world: World) -> None:
    world.listen()
    client, channel = world.pair()
    assert client.tls_version == channel.tls_version == "DTLSv1.2"
    for data in (b"one", b"x" * 1000, b"three"):
        client.send(data)
    world.until(lambda: len(channel.got) == 3)
    assert channel.got == [b"one", b"x" * 1000, b"three"]
    channel.send(b"back")
    channel.send(b"again")
    world.until(lambda: len(client.got) == 2)
    assert client.got == [b"back", b"again"]
    assert client.shaken == channel.shaken == 1


def test_over_ipv6() -> None:
    with contextlib.ExitStack() as stack:
        try:
            probe = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("there is no IPv6 on this machine's loopback")
        world = World("::1")
        stack.callback(asynccore.close_all, world.map)
        world.listen()
        client, channel = world.pair()
        client.send(b"six")
        world.until(lambda: channel.got == [b"six"])


def test_many_clients_have_a_channel_each(world: World) -> None:
    world.listen()
    clients = [world.client() for _ in range(10)]
    world.until(lambda: all(client.shaken for client in clients))
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    world.until(lambda: sum(len(c.got) for c in world.listener.channels) == 10)
    by_port = {c.socket.getsockname()[1]: b"%d" % n for n, c in enumerate(clients)}
    for channel in world.listener.channels:
        assert channel.got == [by_port[channel.addr[1]]]


def test_the_end_is_told(world: World) -> None:
    world.listen()
    client, channel = world.pair()
    client.send(b"last")
    client.close()
    world.until(lambda: channel.ends)
    assert (channel.got, channel.ends, channel.errors) == ([b"last"], 1, [])
    assert list(world.map.values()) == [world.listener]


def test_what_does_not_fit_into_a_datagram(plain: World) -> None:
    plain.listen()
    client, channel = plain.pair()
    with pytest.raises(OSError, match=r"holds \d+ bytes here, not 2000") as caught:
        client.socket.send(b"x" * 2000)
    assert caught.value.errno == errno.EMSGSIZE
    client.send(b"x" * 1100)
    plain.until(lambda: channel.got == [b"x" * 1100])


@pytest.mark.parametrize(
    ("mtu", "largest"),
    [(256, 256 - 37), (1232, 1195), (1400, 1400 - 37), (65507, 16384)],
    ids=["least", "default", "Ethernet", "most"],
)
def test_a_channel_says_how_large_its_datagrams_are(plain: World, mtu: int, largest: int) -> None:
    class Sized(Noting):
        def handle_read(self) -> None:
            self.got.append(self.recv(65535))

    Sized.mtu = mtu
    plain.kind = Sized
    demanding = serving(client_auth="required", ca=ca_pem(authority()))
    plain.listener = Listener(("127.0.0.1", 0), Sized, context=demanding, map=plain.map)
    client, channel = plain.pair(certificate=CLIENT.pem)
    for ours, theirs in ((client, channel), (channel, client)):
        with pytest.raises(OSError, match=f"holds {largest} bytes here, not {largest + 1}"):
            ours.socket.send(b"x" * (largest + 1))
        for data in (b"x" * largest, b"and", b"another"):
            assert ours.send(data) == len(data)
        plain.until(lambda channel=theirs: len(channel.got) == 3)
        assert theirs.got == [b"x" * largest, b"and", b"another"]


@pytest.mark.parametrize(
    ("mtu", "kind", "text"),
    [
        (0, ValueError, "mtu is 256 to 65507 bytes, not 0"),
        (255, ValueError, "not 255"),
        (65508, ValueError, "not 65508"),
        (True, TypeError, "a number of bytes, not True"),
        (1200.0, TypeError, r"not 1200\.0"),
        (None, TypeError, "not None"),
    ],
)
def test_sizes_of_datagrams_that_can_not_be(
    plain: World, mtu: Any, kind: type[Exception], text: str
) -> None:
    class Sized(Noting):
        pass

    Sized.mtu = mtu
    with pytest.raises(kind, match=text):
        Listener(("127.0.0.1", 0), Sized, context=serving(), map=plain.map)
    client = Sized(None, plain.map, context=trusting(), server_hostname="localhost")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw, pytest.raises(kind, match=text):
        client.set_socket(raw)
    assert plain.map == {}


def test_what_is_not_asked_for_of_a_datagram_is_lost(plain: World) -> None:
    plain.listen()
    client, channel = plain.pair()
    channel.handle_read = lambda: channel.got.append(channel.recv(3))  # type: ignore[method-assign]
    client.send(b"abcdef")
    client.send(b"xyz")
    plain.until(lambda: len(channel.got) == 2)
    assert channel.got == [b"abc", b"xyz"]


# Who the peer is -----------------------------------------------------------------------------


def failed(world: World, **options: Any) -> tuple[Noting, Noting | None]:
    client = world.client(**options)
    world.until(lambda: client.errors)
    channels = world.listener.channels
    return client, channels[-1] if channels else None


def test_a_server_of_another_name(plain: World) -> None:
    plain.listen()
    client, _ = failed(plain, name="other.example")
    assert type(client.errors[0]) is CertificateError and client.errors[0].code == 62
    assert not client.shaken


def test_a_server_of_another_authority(plain: World) -> None:
    stranger = issue(names=("localhost",), ca=other_authority())
    plain.listener = Listener(
        ("127.0.0.1", 0), Noting, context=server_context(stranger.pem, dtls=True), map=plain.map
    )
    client, channel = failed(plain)
    assert type(client.errors[0]) is CertificateError and client.errors[0].code == 20
    assert channel is not None
    plain.until(lambda: channel.errors)
    assert type(channel.errors[0]) is PeerRefused


@pytest.mark.parametrize(
    ("leaf", "kind"),
    [(CLIENT, None), (None, CertificateError), (issue(ca=other_authority()), CertificateError)],
    ids=["known", "none", "another authority"],
)
def test_client_certificates(plain: World, leaf: Leaf | None, kind: Any) -> None:
    plain.listen(client_auth="required", ca=ca_pem(authority()))
    client = plain.client(certificate=None if leaf is None else leaf.pem)
    plain.until(lambda: plain.listener.channels)
    channel = plain.listener.channels[0]
    plain.until(lambda: channel.shaken or channel.errors)
    if kind is None:
        assert channel.peer_names == ["ann@example.org"]
    else:
        assert [type(why) for why in channel.errors] == [kind]
        plain.until(lambda: client.errors)
        assert [type(why) for why in client.errors] == [PeerRefused]


# Cookies -------------------------------------------------------------------------------------


def first_words(world: World) -> bytes:
    """What a client says first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)
        client = Noting(None, world.map, context=trusting(), server_hostname="localhost")
        client.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect(server.getsockname())
        world.passes()
        data: bytes = server.recv(65535)
        client.close()
    return data


def test_nothing_is_kept_for_who_returns_no_cookie_and_little_is_sent(plain: World) -> None:
    plain.listen()
    hello = first_words(plain)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            liar = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            liar.settimeout(PATIENCE)
            liar.sendto(hello, plain.address)
            plain.passes()
            assert len(liar.recv(65535)) < len(hello)
    assert list(plain.map.values()) == [plain.listener]
    assert not plain.listener.channels
    assert plain.pair()[1].shaken


def test_a_cookie_of_another_address_counts_for_nothing(plain: World) -> None:
    plain.listen()
    heard: list[bytes] = []

    class Tapped(socket.socket):
        def send(self, data: Any, *flags: int) -> int:
            heard.append(bytes(data))
            return super().send(data, *flags)

    plain.client(Tapped(socket.AF_INET, socket.SOCK_DGRAM))
    plain.until(lambda: len(heard) >= 2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        thief.sendto(heard[1], plain.address)  # with a cookie, which is somebody else's
        plain.until(lambda: plain.listener.channels)
        plain.passes(20)
        assert [c.addr != thief.getsockname() for c in plain.listener.channels] == [True]


def test_cookies_change_and_the_last_ones_still_count() -> None:
    clock = FakeClock()
    cookies = Cookies(clock)
    first = cookies.make(b"a")
    assert cookies.match(b"a", first) and not cookies.match(b"b", first)
    assert not cookies.match(b"a", b"") and not cookies.match(b"a", first[:-1])
    clock.advance(LIFETIME)
    second = cookies.make(b"a")
    assert second != first and cookies.match(b"a", first) and cookies.match(b"a", second)
    clock.advance(LIFETIME)
    cookies.make(b"a")
    assert not cookies.match(b"a", first) and cookies.match(b"a", second)


@pytest.mark.parametrize("data", [b"", b"\x16", b"garbage" * 20, b"\x16\xfe\xfd" + b"\0" * 60])
def test_nonsense_before_and_in_a_conversation(plain: World, data: bytes) -> None:
    plain.listen()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(data, plain.address)
        plain.passes()
        client, channel = plain.pair()
        raw = client.socket._raw
        raw.send(data)
        client.send(b"after")
        plain.until(lambda: channel.got)
    assert channel.got == [b"after"] and not channel.errors
    assert not plain.listener.said


# Loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [{0}, {1}, {2}], ids=["hello", "cookie", "last flight"])
def test_what_is_lost_in_the_handshake_is_said_again(plain: World, lost: set[int]) -> None:
    plain.listen()
    sock = Bad(socket.AF_INET, socket.SOCK_DGRAM)
    sock.lost = frozenset(lost)
    client, channel = plain.pair(sock=sock)
    client.send(b"there")
    plain.until(lambda: channel.got == [b"there"])


def lose_end_of_handshake(channel: Noting) -> list[bytes]:
    """Have a server's side lose what it says last in a handshake, once; returns what that was."""
    raw = channel.socket._link.sock
    lost: list[bytes] = []

    class Losing:
        def __getattr__(self, name: str) -> Any:
            return getattr(raw, name)

        def send(self, data: bytes) -> int:
            if not lost and CHANGE_CIPHER_SPEC in data:
                lost.append(bytes(data))
                return len(data)
            return int(raw.send(data))

    channel.socket._link.sock = Losing()
    return lost


@pytest.mark.parametrize("paused", [False, True], ids=["not readable", "paused"])
def test_the_end_of_a_handshake_is_said_again_for_who_does_not_read(
    plain: World, paused: bool
) -> None:
    listener = plain.listen()
    lost: list[list[bytes]] = []

    def begin(channel: Any, addr: Any) -> None:
        listener.channels.append(channel)
        lost.append(lose_end_of_handshake(channel))
        if paused:
            channel.pause_reading()

    listener.handle_channel = begin  # type: ignore[method-assign]
    listener.channel_class = Noting if paused else Deaf
    client = plain.client()
    plain.until(lambda: client.shaken)
    (channel,) = listener.channels
    assert channel.shaken == 1 and [len(record) for record in lost] == [1]
    # What comes meanwhile is kept: one datagram here, the others by the system.
    for number in range(5):
        client.send(b"%d" % number)
    plain.passes(20)
    assert not channel.got
    assert channel.socket._ac_read_ahead == b"0" and channel.socket._ac_poll_interest(0) == 0
    if paused:
        channel.resume_reading()
    else:
        channel.reads = True
    plain.until(lambda: len(channel.got) == 5)
    assert channel.got == [b"%d" % number for number in range(5)]


@pytest.mark.skipif(not hasattr(select, "poll"), reason="Windows has no poll")
def test_a_word_of_the_network_is_heard_by_who_does_not_read(plain: World) -> None:
    """Else the descriptor would stay ready, and the loop spin."""
    listener = plain.listen()
    listener.channel_class = Deaf
    client, channel = plain.pair()
    client.socket._raw.close()
    del plain.map[client._fileno]
    poll = select.poll()
    poll.register(channel.socket.fileno(), select.POLLIN)
    channel.send(b"anybody?")
    assert poll.poll(0) == [(channel.socket.fileno(), select.POLLERR)]
    plain.passes()
    assert poll.poll(0) == [] and not channel.errors


def test_the_end_is_heard_by_who_does_not_read(plain: World) -> None:
    listener = plain.listen()
    listener.channel_class = Deaf
    client, channel = plain.pair()
    client.close()
    plain.passes(20)
    assert not channel.ends and channel.socket._ac_poll_interest(0) == 0  # and it doesn't spin
    channel.reads = True
    plain.until(lambda: channel.ends)


def test_what_is_doubled_arrives_once(plain: World) -> None:
    plain.listen()
    sock = Bad(socket.AF_INET, socket.SOCK_DGRAM)
    sock.doubled = True
    client, channel = plain.pair(sock=sock)
    for number in range(5):
        client.send(b"%d" % number)
    plain.until(lambda: len(channel.got) == 5)
    plain.passes(10)
    assert channel.got == [b"%d" % number for number in range(5)]


def test_what_is_reordered_arrives(plain: World) -> None:
    plain.listen()
    sock = Bad(socket.AF_INET, socket.SOCK_DGRAM)
    client, channel = plain.pair(sock=sock)
    sock.held = True
    for number in range(5):
        client.send(b"%d" % number)
    plain.until(lambda: len(channel.got) == 4)
    assert not channel.errors


def test_what_finds_no_room_waits_for_it(plain: World) -> None:
    plain.listen()
    client, channel = plain.pair(sock=Full(socket.AF_INET, socket.SOCK_DGRAM))
    assert client.send(b"one") == 3  # taken, and waiting
    assert client.send(b"two") == 0
    plain.until(lambda: channel.got == [b"one"])
    client.send(b"two")
    plain.until(lambda: channel.got == [b"one", b"two"])


def test_what_strangers_send_to_the_socket_of_a_connection_is_dropped(plain: World) -> None:
    plain.listen()
    fatal_alert = struct.pack("!BHHIHHBB", 21, 0xFEFD, 0, 0, 0, 2, 2, 40)
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    raw.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(fatal_alert, raw.getsockname())  # before it is connected
        client, channel = plain.pair(sock=raw)
        client.send(b"fine")
        plain.until(lambda: channel.got == [b"fine"])


def test_datagrams_that_come_to_the_listener_are_handed_on(plain: World) -> None:
    listener = plain.listen()
    client, channel = plain.pair()
    record: list[bytes] = []
    link = client.socket._link
    link.sock, raw = _Tap(record), link.sock
    client.send(b"astray")
    link.sock = raw
    sock = listener.socket
    sock._raw, own = _Queue(record, channel.addr), sock._raw
    with pytest.raises(BlockingIOError):
        sock.accept()
    sock._raw = own
    plain.until(lambda: channel.got == [b"astray"])


class _Tap:
    def __init__(self, record: list[bytes]) -> None:
        self.send = record.append


class _Queue:
    def __init__(self, record: list[bytes], sender: Any) -> None:
        self.record, self.sender = record, sender

    def recvfrom(self, size: int) -> tuple[bytes, Any]:
        if self.record:
            return self.record.pop(0), self.sender
        raise BlockingIOError


def test_after_the_handshake_a_word_of_the_network_ends_nothing(plain: World) -> None:
    plain.listen()
    client, channel = plain.pair()
    channel.socket._raw.close()  # as if the server's host had lost it: the next one comes back
    del plain.map[channel._fileno]
    plain.listener.close()
    for _ in range(3):
        client.send(b"anybody?")
        plain.passes()
    assert not client.errors and not client.ends
    client.close()


def test_nobody_there(plain: World) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = gone.getsockname()
    client = Noting(None, plain.map, context=trusting(), server_hostname="localhost")
    client.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(address)
    plain.until(lambda: client.errors)
    assert isinstance(client.errors[0], ConnectionRefusedError)
    assert plain.map == {} and len(plain.engine.timers) == 0


def test_a_peer_that_says_nothing_is_given_up(plain: World) -> None:
    clock = plain.fake_clock()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        client = Noting(None, plain.map, context=trusting(), server_hostname="localhost")
        client.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect(silent.getsockname())
        plain.passes()
        assert client.handshake_timeout is not None
        clock.advance(client.handshake_timeout - 1)
        plain.passes()
        assert not client.said
        clock.advance(2)
        plain.passes()
        assert client.said == ["handshake"]
    assert plain.map == {} and len(plain.engine.timers) == 0


# Addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells where a datagram came to")
def test_a_listener_on_all_addresses_answers_from_the_one_that_was_called(
    plain: World, address: str
) -> None:
    plain.host = ""
    listener = plain.listen()
    port = listener.socket.getsockname()[1]
    client, channel = plain.pair(address=(address, port))
    assert channel.socket.getsockname() == (address, port)
    client.send(b"there")
    channel.send(b"back")
    plain.until(lambda: channel.got == [b"there"] and client.got == [b"back"])


def test_one_port_of_a_client_may_call_two_addresses(plain: World) -> None:
    plain.host = ""
    listener = plain.listen()
    port = listener.socket.getsockname()[1]
    first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    second = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for sock in (first, second):
        if hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    first.bind(("127.0.0.1", 0))
    second.bind(first.getsockname())
    plain.client(first, address=("127.0.0.1", port))
    plain.until(lambda: listener.channels)
    plain.client(second, address=("127.0.0.2", port))
    plain.until(lambda: len(listener.channels) == 2)
    plain.until(lambda: all(channel.shaken for channel in listener.channels))
    here = [channel.socket.getsockname()[0] for channel in listener.channels]
    assert here == ["127.0.0.1", "127.0.0.2"]
    assert listener.channels[0].addr == listener.channels[1].addr


@pytest.mark.parametrize("address", ["::1", "127.0.0.2"])
def test_a_listener_of_both_families(plain: World, address: str) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no socket here serves both families")
    plain.host = "::"
    raw = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    plain.listener = listener = Listener(None, Noting, context=serving(), map=plain.map)
    listener.set_socket(DTLSSocket(listener.context, raw, server_side=True))
    listener.bind(("::", 0))
    listener.listen(5)
    port = raw.getsockname()[1]
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    client, channel = plain.pair(sock=sock, address=(address, port))
    assert channel.socket.getsockname()[0] in (address, f"::ffff:{address}")
    client.send(b"there")
    plain.until(lambda: channel.got == [b"there"])


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_two_listeners_do_not_share_an_address(plain: World, host: str) -> None:
    plain.host = host
    plain.listen()
    # Its clients' sockets do share it.
    client, channel = plain.pair(address=("127.0.0.1", plain.address[1]))
    address = (host, plain.address[1])
    for close in (lambda: None, plain.listener.close):
        close()
        with pytest.raises(OSError, match=errno_text(errno.EADDRINUSE)) as caught:
            Listener(address, Noting, context=serving(), map=plain.map)
        assert caught.value.errno == errno.EADDRINUSE
    other = asynccore.dispatcher(None, {})
    other.set_socket(DTLSSocket(serving(), socket.socket(type=socket.SOCK_DGRAM), server_side=True))
    other.set_reuse_addr()  # as nearly all listeners do
    with pytest.raises(OSError) as caught:
        other.bind(address)
    assert caught.value.errno == errno.EADDRINUSE
    other.close()
    client.close()
    channel.close()
    Listener(address, Noting, context=serving(), map=plain.map)


def errno_text(number: int) -> str:
    return re.escape(os.strerror(number))


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="Windows has no SO_REUSEPORT")
def test_listeners_that_ask_for_it_share_an_address(plain: World) -> None:
    address: Any = ("127.0.0.1", 0)
    for _ in range(2):
        listener = Listener(None, Noting, context=serving(), map=plain.map)
        raw = socket.socket(type=socket.SOCK_DGRAM)
        listener.set_socket(DTLSSocket(listener.context, raw, server_side=True))
        listener.set_reuse_port()
        listener.bind(address)
        listener.listen(5)
        address = raw.getsockname()


def test_who_does_not_listen_accepts_nobody() -> None:
    sock = DTLSSocket(serving(), socket.socket(type=socket.SOCK_DGRAM), server_side=True)
    with pytest.raises(OSError, match="listen"):
        sock.accept()
    sock.close()


# Limits --------------------------------------------------------------------------------------


def test_a_full_listener_hears_nobody_until_there_is_room(plain: World) -> None:
    listener = plain.listen()
    listener.max_connections = 1
    _, channel = plain.pair()
    other = plain.client()
    plain.passes(20)
    assert len(listener.channels) == 1 and not other.shaken
    channel.close()
    plain.until(lambda: other.shaken)


def test_unfinished_handshakes_are_limited(plain: World) -> None:
    listener = plain.listen()
    listener.max_handshakes = 1
    halted = Bad(socket.AF_INET, socket.SOCK_DGRAM)
    halted.lost = frozenset(range(2, 100))  # it returns its cookie, and no more
    plain.client(halted)
    plain.until(lambda: listener.channels)
    other = plain.client()
    plain.passes(20)
    assert len(listener.channels) == 1
    listener.channels[0].close()
    plain.until(lambda: other.shaken)
    assert listener.accept_counts.accepted == 2


def test_the_handshake_timeout_of_a_class_is_its_channels(plain: World) -> None:
    class Hurried(Noting):
        handshake_timeout = 5.0

    listener = Listener((plain.host, 0), Hurried, context=serving(), map=plain.map)
    plain.listener = listener
    halted = Bad(socket.AF_INET, socket.SOCK_DGRAM)
    halted.lost = frozenset(range(2, 100))  # it returns its cookie, and no more
    clock = plain.fake_clock()
    plain.client(halted)
    plain.until(lambda: listener.channels)
    plain.passes()
    clock.advance(6)
    plain.passes()
    assert listener.channels[0].said == ["handshake"]


def test_an_idle_client_is_given_up(plain: World) -> None:
    plain.listen()
    _, channel = plain.pair()
    clock = plain.fake_clock()
    channel.idle_timeout = 30
    clock.advance(31)
    plain.passes()
    assert channel.said == ["idle"]


# Classes of programs -------------------------------------------------------------------------


def test_a_legacy_listener_gets_sockets_of_clients(plain: World) -> None:
    got: list[Any] = []

    class Legacy(asynccore.dispatcher):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            got.append((sock, addr))

    listener = Legacy(None, plain.map)
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.set_socket(DTLSSocket(serving(), raw, server_side=True))
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    plain.listener = listener
    plain.client()
    plain.until(lambda: got)
    sock, addr = got[0]
    assert isinstance(sock, DTLSSocket) and sock.getpeername() == addr
    sock.close()


class Datagrams(Noting):
    """Talks by `recvfrom` and `sendto`, as programs for UDP do."""

    peer: Any = None

    def handle_read(self) -> None:
        buffer = bytearray(100)
        size, address = self.socket.recvfrom_into(buffer)
        assert address == self.socket.getpeername()
        self.got.append(bytes(buffer[:size]))
        try:
            while True:
                data, address = self.socket.recvfrom(100)
                assert address == self.socket.getpeername()
                self.got.append(data)
        except BlockingIOError:
            pass
        for data in self.got:
            self.socket.sendto(data.upper(), address)


def test_what_programs_for_udp_call(plain: World) -> None:
    plain.listen().channel_class = Datagrams
    client, channel = plain.pair()
    sock, address = client.socket, plain.address
    assert sock.sendto(b"one", address) == sock.sendto(b"two", 0, address) == 3
    plain.until(lambda: len(client.got) >= 2)
    assert (channel.got, client.got) == ([b"one", b"two"], [b"ONE", b"TWO"])


def test_a_datagram_goes_to_nobody_but_the_peer(plain: World) -> None:
    plain.listen()
    client, channel = plain.pair()
    sock = client.socket
    host, port = plain.address
    with pytest.raises(OSError, match=f"connected to .*{port}.*, not to .*9") as caught:
        sock.sendto(b"x", ("127.0.0.1", 9))
    assert caught.value.errno == errno.EISCONN
    for wrong in (host, (host,), None):
        with pytest.raises(OSError, match="connected to"):
            sock.sendto(b"x", wrong)
    with pytest.raises(TypeError, match="an address"):
        sock.sendto(b"x")
    plain.passes()
    assert not channel.got
    alone = DTLSSocket(trusting(), socket.socket(type=socket.SOCK_DGRAM), server_hostname="x")
    with pytest.raises(OSError) as caught:
        alone.sendto(b"x", (host, port))
    assert caught.value.errno == errno.ENOTCONN
    alone.close()


def test_a_peer_that_was_called_by_name(plain: World) -> None:
    plain.listen()
    name = ("localhost", plain.address[1])
    client, channel = plain.pair(address=name)
    client.socket.sendto(b"x", name)
    plain.until(lambda: channel.got == [b"x"])


def test_what_can_not_be() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw, socket.socket() as stream:
        for wrong in (client_context(), server_context(SERVER.pem), SSL.Context(SSL.DTLS_METHOD)):
            with pytest.raises(TypeError, match="dtls=True"):
                DTLSSocket(wrong, raw)
        with pytest.raises(ValueError, match="not for a server's"):
            DTLSSocket(trusting(), raw, server_side=True)
        with pytest.raises(ValueError, match="not for a client's"):
            DTLSSocket(serving(), raw, server_side=False, server_hostname="localhost")
        with pytest.raises(ValueError, match="datagram socket"):
            DTLSSocket(trusting(), stream)
        with pytest.raises(ValueError, match="server_side=True"):
            DTLSSocket(trusting(), raw, server_hostname="localhost").listen()
        sock = DTLSSocket(serving(), raw, server_side=True)
        with pytest.raises(OSError) as caught:
            sock.connect(("127.0.0.1", 9))
        assert caught.value.errno == errno.EADDRNOTAVAIL
        with pytest.raises(ssl_ext.HandshakeError, match="datagrams"):
            sock.unwrap()
    with pytest.raises(ValueError, match=r"DTLS 1\.2"):
        trusting(minimum_version="TLSv1.3")
    assert trusting().dtls and not client_context().dtls


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets")
def test_unix_datagrams_can_not_be() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other, pytest.raises(ValueError, match="for IPv4 and IPv6"):
        DTLSSocket(trusting(), one, server_hostname="localhost")


def test_what_a_listener_and_channels_can_not_be(plain: World) -> None:
    with pytest.raises(ValueError, match="is a client's: a listener takes"):
        Listener(("127.0.0.1", 0), Noting, context=trusting(), map=plain.map)
    with pytest.raises(ValueError, match="for IPv4 and IPv6"):
        Listener("a.path", Noting, context=serving(), map=plain.map)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        with pytest.raises(TypeError, match="dtls=True"):
            Noting(raw, plain.map, context=client_context(), server_hostname="localhost")
    assert plain.map == {}


@given(st.lists(st.integers(0, 3000), max_size=20), st.integers(13, 4000))
def test_records_are_packed_whole_and_in_order(lengths: list[int], mtu: int) -> None:
    records = [
        struct.pack("!BHHIHH", 22, 0xFEFD, 0, 0, number, length) + bytes(length)
        for number, length in enumerate(lengths)
    ]
    packed = list(datagrams(b"".join(records), mtu))
    assert b"".join(packed) == b"".join(records)
    for data in packed:
        assert data
        assert len(data) <= mtu or data in records


# Foreign peers -------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command")
def test_the_openssl_command_as_client(plain: World, tmp_path: Any) -> None:
    plain.listen()
    (tmp_path / "ca.pem").write_bytes(ca_pem(authority()))
    command = [
        *("openssl", "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{plain.address[1]}"),
        *("-CAfile", str(tmp_path / "ca.pem"), "-verify_return_error", "-quiet"),
        *("-servername", "localhost"),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            plain.until(lambda: plain.listener.channels and plain.listener.channels[0].shaken)
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(b"hello\n")
            process.stdin.flush()
            channel = plain.listener.channels[0]
            plain.until(lambda: channel.got == [b"hello\n"])
            channel.send(b"back\n")
            assert process.stdout.readline() == b"back\n"
        finally:
            process.kill()
