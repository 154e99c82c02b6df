"""Reader and writer by themselves, over memory: whole, byte by byte, and in splits by chance."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from asynccore.pollers import READ, WRITE
from ssl_ext.sockets import records
from ssl_ext.sockets.datagrams import DatagramLink, DatagramReader, DatagramWriter
from ssl_ext.sockets.records import SEND_LIMIT, Pieces, RecordReader, RecordWriter, joined
from ssl_ext.states import RECORD
from tests.tls.support import TLS12, TLS13, client_raw, server_raw
from tests.tls.unreliable import serving, trusting


def said(connection: SSL.Connection) -> bytes:
    """Return the bytes that a connection would send."""
    pieces = []
    try:
        while True:
            pieces.append(connection.bio_read(1 << 16))
    except SSL.WantReadError:
        return b"".join(pieces)


def connected(version: int) -> tuple[SSL.Connection, SSL.Connection]:
    """A client and a server over memory whose handshake is over, session tickets included."""
    client, server = SSL.Connection(client_raw(version)), SSL.Connection(server_raw(version))
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(4):
        for end, other in ((client, server), (server, client)):
            try:
                end.do_handshake()
            except SSL.WantReadError:
                pass
            data = said(end)
            if data:
                other.bio_write(data)
    with pytest.raises(SSL.WantReadError):
        client.recv(1)  # which takes the tickets
    return client, server


def bytes_of(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


def read_all(reader: RecordReader, bufsize: int) -> bytes:
    """Take what there is, as a handler that reads until there is nothing does."""
    got = b""
    while True:
        if not reader.data and not reader.ended:
            reader.fill()
        if not reader.data:
            return got
        got += reader.take(bufsize)


# Receiving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bufsize", [1, 100, RECORD, RECORD + 1, 1 << 20])
@pytest.mark.parametrize("size", [1, RECORD - 1, RECORD, RECORD + 1, 5 * RECORD + 7])
def test_what_came_whole_is_read_whole(version: int, size: int, bufsize: int) -> None:
    client, server = connected(version)
    if bufsize == 1:
        size = min(size, 1000)
    data = bytes_of(size)
    for begin in range(0, size, RECORD):
        server.send(data[begin : begin + RECORD])
    client.bio_write(said(server))
    assert read_all(RecordReader(client), bufsize) == data


def test_byte_by_byte_there_is_plaintext_when_a_record_is_whole(version: int) -> None:
    client, server = connected(version)
    reader = RecordReader(client)
    for message in (b"a", b"hello", bytes_of(300)):
        server.send(message)
        *beginning, last = said(server)
        for byte in beginning:
            client.bio_write(bytes([byte]))
            reader.fill()
            assert (reader.data, reader.waits_for, reader.error) == (b"", READ, None)
        client.bio_write(bytes([last]))
        reader.fill()
        assert reader.take(1000) == message
    server.shutdown()
    *beginning, last = said(server)
    for byte in beginning:
        client.bio_write(bytes([byte]))
        reader.fill()
        assert not reader.ended
    client.bio_write(bytes([last]))
    reader.fill()
    assert reader.ended and not reader.data and reader.error is None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 40_000), min_size=1, max_size=5),
    st.lists(st.integers(1, 30_000), min_size=1, max_size=20),
    st.integers(1, 50_000),
    st.sampled_from([TLS12, TLS13]),
)
def test_records_in_splits_by_chance(
    sizes: list[int], cuts: list[int], bufsize: int, version: int
) -> None:
    client, server = connected(version)
    reader = RecordReader(client)
    sent = got = b""
    for size in sizes:
        data = bytes_of(size)
        for begin in range(0, size, RECORD):
            server.send(data[begin : begin + RECORD])
        sent += data
    server.shutdown()
    wire = said(server)
    place = turn = 0
    while place < len(wire):
        cut = cuts[turn % len(cuts)]
        client.bio_write(wire[place : place + cut])
        place, turn = place + cut, turn + 1
        got += read_all(reader, max(bufsize, len(sent) // 200))
    assert got == sent and reader.ended


def test_what_cannot_be_known_outside_is_reported(version: int) -> None:
    client, server = connected(version)
    reader, reports = RecordReader(client), []
    reader.report = lambda: reports.append(reader.data)
    server.send(bytes_of(RECORD))
    server.send(b"and more")
    client.bio_write(said(server))
    reader.fill()
    assert not reports
    assert reader.take(10) == bytes_of(RECORD)[:10]
    assert reports  # there is a rest
    reports.clear()
    rest = reader.take(RECORD)
    assert len(rest) == RECORD - 10 and not reports
    # Of a record that is asked for in parts, OpenSSL holds what no poller sees.
    server.send(bytes_of(RECORD))
    client.bio_write(said(server))
    reader.fill()
    assert reader.take(RECORD) == b"and more"
    reader.fill()
    server.send(bytes_of(RECORD))
    client.bio_write(said(server))
    assert len(reader.take(RECORD + 5)) == RECORD + 5
    assert reader.more_decrypted and client.pending() == RECORD - 5 and reports
    assert len(read_all(reader, 1 << 20)) == RECORD - 5
    assert not reader.more_decrypted
    reports.clear()
    server.shutdown()
    client.bio_write(said(server))
    reader.fill()
    assert reader.ended and reports


def test_what_came_before_damage_is_handed_out_first(version: int) -> None:
    client, server = connected(version)
    reader = RecordReader(client)
    server.send(bytes_of(RECORD))
    client.bio_write(said(server) + b"\x17\x03\x03\x00\x20" + b"x" * 32)
    reader.fill()
    assert reader.error is None
    assert reader.take(1 << 20) == bytes_of(RECORD)
    assert isinstance(reader.error, SSL.Error) and not reader.ended and not reader.data
    assert reader.error.__traceback__ is None  # which would keep the connection
    reader.end()
    assert reader.ended and reader.error is None


def test_after_damage_nothing_more_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    reader = RecordReader(connected(version)[0])
    reader.error = SSL.Error([])
    reader.data = bytes_of(RECORD)
    monkeypatch.setattr(records, "read", None)
    assert reader.take(1 << 20) == bytes_of(RECORD)


@pytest.mark.parametrize(("why", "mask"), [(SSL.WantReadError, READ), (SSL.WantWriteError, WRITE)])
def test_what_the_reader_waits_for(
    monkeypatch: pytest.MonkeyPatch, why: type[SSL.Error], mask: int
) -> None:
    def read(connection: object, size: int) -> bytes:
        raise why

    reader, reports = RecordReader(connected(TLS13)[0]), []
    reader.report = lambda: reports.append(reader.waits_for)
    monkeypatch.setattr(records, "direct", False)
    monkeypatch.setattr(records, "read", read)
    reader.fill()
    assert reader.waits_for == mask and not reader.data and reader.error is None
    assert reports == [mask] * (mask == WRITE)
    monkeypatch.setattr(records, "read", lambda connection, size: b"x")
    reader.fill()
    assert reader.waits_for == READ and reader.data == b"x"


# Sending ----------------------------------------------------------------------------------------


class Narrow:
    """A connection that takes only what there is room for, and is as strict as OpenSSL is."""

    def __init__(self, room: int = 0, want: type[SSL.Error] = SSL.WantWriteError) -> None:
        self.room = room
        self.want = want
        self.insists: bytes | None = None
        self.sent = b""
        self.notified = 0

    def send(self, data: Any) -> int:
        data = bytes(data)
        assert 0 < len(data) <= RECORD
        assert self.insists is None or self.insists == data, "bad write retry"
        if len(data) > self.room:
            self.insists = data
            raise self.want
        self.insists = None
        self.room -= len(data)
        self.sent += data
        return len(data)

    def shutdown(self) -> bool:
        assert self.insists is None
        if not self.room:
            raise self.want
        self.notified += 1
        return False


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Narrow:
    monkeypatch.setattr(records, "direct", False)
    monkeypatch.setattr(records, "write", lambda connection, data: connection.send(data))
    return Narrow()


def writer_of(connection: Narrow) -> RecordWriter:
    unchecked: Any = connection
    return RecordWriter(unchecked)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [1, RECORD, RECORD + 1, 5 * RECORD + 7])
def test_what_is_sent_arrives(version: int, size: int, kind: Any) -> None:
    client, server = connected(version)
    data = bytes_of(size)
    assert RecordWriter(client).send(kind(data)) == size
    server.bio_write(said(client))
    assert read_all(RecordReader(server), 1 << 20) == data


def test_one_call_leaves_others_their_turn(version: int) -> None:
    client, server = connected(version)
    data = bytes_of(SEND_LIMIT + RECORD + 1)
    assert RecordWriter(client).send(data) == SEND_LIMIT
    server.bio_write(said(client))
    assert read_all(RecordReader(server), 1 << 20) == data[:SEND_LIMIT]


@pytest.mark.parametrize("less", [0, 1, 4, 5, 6, 9])
def test_what_was_begun_is_offered_again_and_reported_once(narrow: Narrow, less: int) -> None:
    """Whatever its caller offers meanwhile: as much, less, or, in the end, the rest."""
    writer, reports = writer_of(narrow), []
    writer.report = lambda: reports.append(writer.pending)
    data = b"0123456789"
    assert writer.send(data) == 0 and writer.pending == data and reports == [data]
    assert writer.send(data[: len(data) - less]) == 0  # still no room
    narrow.room = 1000
    assert writer.flush() and not writer.pending and narrow.sent == data
    count = writer.send(data[: len(data) - less])
    assert count == len(data) - less and narrow.sent == data
    while count < len(data):
        count += writer.send(data[count:])
    assert narrow.sent == data
    assert writer.send(b"more") == 4 and narrow.sent == data + b"more"


def test_who_changes_its_mind_too_late_is_heard_as_well(narrow: Narrow) -> None:
    writer = writer_of(narrow)
    assert writer.send(b"first") == 0
    narrow.room = 1000
    assert writer.send(b"other") == 5 and narrow.sent == b"firstother"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 3 * RECORD), min_size=1, max_size=30),
    st.lists(st.integers(0, 2 * RECORD), min_size=1, max_size=10),
    st.integers(1, 6 * RECORD),
)
def test_output_in_offers_and_room_by_chance(
    offers: list[int], rooms: list[int], size: int
) -> None:
    narrow = Narrow()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "direct", False)
        patch.setattr(records, "write", lambda connection, data: connection.send(data))
        writer = writer_of(narrow)
        data, place, turn = bytes_of(size), 0, 0
        while place < size:
            offer = offers[turn % len(offers)]
            place += writer.send(data[place : place + offer])
            assert narrow.sent[: len(data)] == data[: len(narrow.sent)]
            assert place <= len(narrow.sent)
            if turn % 3 == 0:
                narrow.room += max(rooms[turn % len(rooms)], 100)
            if turn > 10 * len(offers):
                narrow.room += RECORD
            turn += 1
        assert narrow.sent == data


def test_a_record_may_have_to_wait_for_the_peer(narrow: Narrow) -> None:
    writer, reports = writer_of(narrow), []
    writer.report = lambda: reports.append(writer.waits_for)
    narrow.want = SSL.WantReadError
    assert writer.send(b"x") == 0 and writer.waits_for == READ
    narrow.room = 10
    assert writer.flush() and writer.waits_for == WRITE and reports[-1] == WRITE


def test_what_went_out_before_a_failure_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: deque[int] = deque([RECORD])

    def write(connection: object, data: Any) -> int:
        if answers:
            return answers.popleft()
        raise SSL.SysCallError(32, "EPIPE")

    monkeypatch.setattr(records, "write", write)
    writer = writer_of(Narrow())
    assert writer.send(bytes(2 * RECORD)) == RECORD
    assert isinstance(writer.error, SSL.SysCallError) and not writer.pending
    assert writer.error.__traceback__ is None


def test_the_end_comes_after_what_is_pending_and_once(narrow: Narrow) -> None:
    writer = writer_of(narrow)
    assert writer.send(b"last words") == 0
    assert not writer.end() and not narrow.notified
    narrow.room = 10  # for these, and not for more
    assert not writer.end() and narrow.sent == b"last words" and writer.waits_for == WRITE
    narrow.room = 1
    assert writer.end() and writer.end() and narrow.notified == 1 and writer.ended


def test_the_end_arrives(version: int) -> None:
    client, server = connected(version)
    writer, reader = RecordWriter(client), RecordReader(server)
    writer.send(b"bye")
    assert writer.end()
    for byte in said(client):
        server.bio_write(bytes([byte]))
        if not reader.data:
            reader.fill()
    assert reader.data == b"bye"
    assert read_all(reader, 10) == b"bye" and reader.ended


def test_where_there_is_no_way_to_say_the_end_openssl_says_so() -> None:
    connection = SSL.Connection(client_raw())
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    with pytest.raises(SSL.Error, match="shutdown while in init"):
        RecordWriter(connection).end()


# Pieces -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 100])
def test_pieces_are_asked_for_when_the_one_before_is_gone(step: int) -> None:
    asked: list[bytes] = []

    def pieces() -> Iterable[bytes]:
        for piece in (b"one", b"two", b"", b"never"):
            asked.append(piece)
            yield piece

    made, got = Pieces(pieces()), b""
    while piece := made.present():
        assert made.present() is piece
        got += piece[:step]
        made.skip(len(piece[:step]))
        assert len(asked) == (1 if len(got) <= 3 else 2)
    assert got == b"onetwo" and asked == [b"one", b"two", b""]


def test_several_pieces_are_joined_up_to_the_limit() -> None:
    single = b"alone"
    assert joined([single]) is single
    assert joined([b"a", bytearray(b"b"), memoryview(b"c")]) == b"abc"
    large = bytes(SEND_LIMIT)
    assert len(joined([b"a", large, large])) == SEND_LIMIT


# Datagrams --------------------------------------------------------------------------------------


class Wire:
    """A connected datagram socket: what it is to send, and what has come for it."""

    def __init__(self) -> None:
        self.sent: deque[bytes] = deque()
        self.came: deque[bytes] = deque()
        self.full = False
        self.problem: OSError | None = None

    def send(self, data: bytes) -> int:
        if self.full:
            raise BlockingIOError
        if self.problem is not None:
            raise self.problem
        self.sent.append(bytes(data))
        return len(data)

    def recvfrom(self, size: int) -> tuple[bytes, str]:
        if not self.came:
            raise BlockingIOError
        return self.came.popleft(), "peer"

    def getpeername(self) -> str:
        return "peer"


class End:
    """One end of a DTLS connection."""

    def __init__(self, connection: SSL.Connection) -> None:
        self.wire: Any = Wire()
        self.link = DatagramLink(self.wire, 1232)
        self.reader, self.writer = DatagramReader(self.link), DatagramWriter(self.link)
        self.link.connection = self.reader.connection = self.writer.connection = connection
        connection.set_ciphertext_mtu(1232)


def carry(source: End, target: End) -> None:
    target.wire.came.extend(source.wire.sent)
    source.wire.sent.clear()


@pytest.fixture
def ends() -> tuple[End, End]:
    """A client and a server of DTLS whose handshake is over."""
    client = End(trusting()._ac_connection(None, False, "localhost"))
    server = End(serving()._ac_connection(None, True))
    open_ends = 2
    while open_ends:
        open_ends = 0
        for end, other in ((client, server), (server, client)):
            while True:
                try:
                    end.link.connection.do_handshake()
                except SSL.WantReadError:
                    open_ends += 1
                end.link.transmit()
                if not end.link.receive():
                    break
            carry(end, other)
    for end in (client, server):
        end.wire.came.clear()
    return client, server


def test_a_datagram_is_all_or_nothing(ends: tuple[End, End]) -> None:
    client, server = ends
    for message in (b"one", b"x" * 1000, b"three"):
        assert client.writer.send(message) == len(message)
    assert len(client.wire.sent) == 3
    carry(client, server)
    got = []
    for bufsize in (100, 10, 100):
        server.reader.fill()
        got.append(server.reader.take(bufsize))
        assert not server.reader.data  # what does not fit is lost
    assert got == [b"one", b"x" * 10, b"three"]
    server.reader.fill()
    assert not server.reader.data and server.reader.waits_for == READ
    assert not server.link.undigested and not server.reader.unheard


def test_a_datagram_of_several_records_is_read_one_by_one(ends: tuple[End, End]) -> None:
    client, server = ends
    client.writer.send(b"one")
    client.writer.send(b"two")
    server.wire.came.append(b"".join(client.wire.sent))
    server.reader.fill()
    assert server.reader.take(10) == b"one" and server.link.undigested
    server.reader.fill()
    assert server.reader.take(10) == b"two"


def test_losses_nonsense_and_copies_are_passed_over(ends: tuple[End, End]) -> None:
    client, server = ends
    for message in (b"lost", b"kept"):
        client.writer.send(message)
    kept = client.wire.sent[1]
    server.wire.came.extend([b"nonsense", b"", kept[:-1] + b"\0", kept, kept])
    server.reader.fill()
    assert server.reader.take(10) == b"kept"
    server.reader.fill()
    assert not server.reader.data and server.reader.error is None


def test_a_datagram_without_room_keeps_the_next_ones_out(ends: tuple[End, End]) -> None:
    client, server = ends
    reports: list[None] = []
    client.link.report = lambda: reports.append(None)
    client.wire.full = True
    assert client.writer.send(b"one") == 3 and reports  # taken, and waiting
    assert client.writer.send(b"two") == 0
    client.wire.full = False
    client.link.transmit()
    assert client.writer.send(b"two") == 3
    carry(client, server)
    server.reader.fill()
    assert server.reader.take(10) == b"one"


def test_that_nobody_is_there_is_noted_and_other_losses_are_not(ends: tuple[End, End]) -> None:
    client, _ = ends
    client.wire.problem = OSError(101, "unreachable")
    assert client.writer.send(b"one") == 3 and client.link.refused is None
    client.wire.problem = ConnectionRefusedError(111, "refused")
    assert client.writer.send(b"two") == 3 and client.link.refused is client.wire.problem


def test_the_end_of_datagrams_is_said_once(ends: tuple[End, End]) -> None:
    client, server = ends
    assert client.writer.end() and client.writer.end()
    assert len(client.wire.sent) == 1
    carry(client, server)
    server.reader.fill()
    assert server.reader.ended and not server.reader.data
