"""What a handshake says and hears, carried between a socket and OpenSSL record by record.

Facts. OpenSSL that reads a socket itself goes on for as long as the peer sends what the handshake
skips, such as HelloRequests in clear before a ServerHello (RFC 5246 section 7.4.1.1), and no caller
can stop it. What was read into memory too far would be missing for what comes after the handshake:
OpenSSL reads the socket itself then, and a program may read it in clear.

Consequence. During the handshake OpenSSL works on memory, and gets the records one by one, so many
in a turn and so many bytes altogether. Each is read by the length that stands in its header, so
that nothing after the last is taken out of the kernel. A peer's last words are read when nothing
can be sent any more.

Trade-off. Two `recv` of Python's for each record, of which a handshake has about ten.
"""

from __future__ import annotations

from socket import socket

from OpenSSL import SSL

from .._openssl import said, work_on_socket
from ..errors import HandshakeError

# How many records are read in one turn, and after how many bytes no other is: a server's part of a
# handshake has six, of about 3,000 bytes. A record of HelloRequests takes OpenSSL some 20 ms.
RECORDS_PER_TURN = 8
BYTES_PER_TURN = 16384

# How many bytes a peer may send in a handshake. OpenSSL takes a ClientHello of 131,396 bytes and
# certificates of 102,400 (SSL_CTX_set_max_cert_list(3)): twice that together, roughly.
LONGEST_HANDSHAKE = 512 * 1024

# RFC 8446 section 5.1: type, version and length of a record.
_HEADER = 5
_TYPES = range(20, 24)

# The longest record that there is (RFC 5246 section 6.2.3).
_LONGEST_RECORD = 16384 + 2048


class HandshakeLink:
    """Carries the handshake of `connection`, which works on memory, over `sock`."""

    __slots__ = ("_connection", "_done", "_header", "_left", "_output", "_sock", "received")

    def __init__(self, connection: SSL.Connection, sock: socket) -> None:
        self._connection = connection
        self._sock = sock
        self._done = False
        self._header = b""  # of the record that is being read, until OpenSSL has it,
        self._left = 0  # and how much of it is to come
        self.received = 0
        self._output = b""

    def do_handshake(self) -> None:
        """Go on, as `SSL.Connection.do_handshake`, which ends with OpenSSL working on the socket.

        Raises what that raises, and `OSError` as recv(2) and send(2) do. `WantReadError` may mean
        as well that there is more to read than a turn allows. Raises `HandshakeError` for a peer
        that does not come to an end.
        """
        before = self.received
        for number in range(RECORDS_PER_TURN + 1):
            if not self._done:
                try:
                    self._connection.do_handshake()
                except SSL.WantReadError:
                    pass
                except BaseException:
                    self._send_alert()
                    raise
                else:
                    self._done = True
            refused = self._send()
            if self._done:
                # What can't be sent any more is told by what follows, after the peer's last words;
                # a client need not wait for its session tickets.
                work_on_socket(self._connection, self._sock)
                return
            if number == RECORDS_PER_TURN or self.received - before >= BYTES_PER_TURN:
                break
            self._receive(refused)
        raise SSL.WantReadError

    def _send(self) -> OSError | None:
        """Send what OpenSSL wants sent; return why that can't be.

        Raises `WantWriteError` if there is no room for it.
        """
        self._output += said(self._connection)
        while self._output:
            try:
                count = self._sock.send(self._output)
            except BlockingIOError:
                raise SSL.WantWriteError from None
            except OSError as why:
                self._output = b""
                return why
            self._output = self._output[count:]
        return None

    def _send_alert(self) -> None:
        """Send what OpenSSL says of a failure, if there is room for it."""
        try:
            self._send()
        except SSL.WantWriteError:
            pass

    def _receive(self, refused: OSError | None) -> None:
        """Hand a record over to OpenSSL, or as much of it as tells that it is none.

        Raises `WantReadError` as long as there is no whole one, or `refused` if then nothing more
        can be said.
        """
        while True:
            try:
                data = self._sock.recv(self._left or _HEADER - len(self._header))
            except BlockingIOError:
                if refused is not None:
                    raise refused from None
                raise SSL.WantReadError from None
            if not data:
                raise SSL.SysCallError(-1, "Unexpected EOF")
            self.received += len(data)
            if self.received > LONGEST_HANDSHAKE:
                raise HandshakeError(
                    f"the peer's part of a handshake has no end: {self.received} bytes"
                )
            data = self._header + data
            if self._left:
                self._left -= len(data) - len(self._header)
                self._header = b""
                self._connection.bio_write(data)
                if not self._left:
                    return
                continue
            self._header = data
            if len(data) == _HEADER:
                length = int.from_bytes(data[3:], "big")
                if not length or length > _LONGEST_RECORD or data[0] not in _TYPES:
                    self._header = b""
                    self._connection.bio_write(data)
                    return  # OpenSSL says what is wrong with it
                self._left = length
