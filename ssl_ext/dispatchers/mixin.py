"""Dispatchers that speak TLS, and what makes one of any other.

Facts. A program that has written `handle_read` and `handle_write` for plaintext knows nothing of
handshakes. What goes wrong in TLS comes up wherever a socket is used. Bytes that came in clear
before a handshake may be an attacker's.

Consequence. `TLSMixin` puts an `OpenSSLSocket` in the place of the channel's socket, calls
`handle_handshake` before any other handler, and leads whatever fails to `handle_tls_error`. A
channel that begins TLS later throws away what it has received, and sends first, in clear, what it
has queued.
"""

from __future__ import annotations

import socket as _socket
from collections.abc import Iterable, Iterator
from errno import ETIMEDOUT
from functools import partial
from typing import Any, NamedTuple

from cryptography import x509

from asynccore.asynchat import async_chat, line_chat
from asynccore.channels import Map
from asynccore.classic.former import formerly
from asynccore.classic.own_names import OverridableProperty, hook, yield_to_mixins
from asynccore.connecting.happy_eyeballs import ATTEMPT_DELAY
from asynccore.dispatchers.buffered import dispatcher_with_send
from asynccore.dispatchers.dispatcher import dispatcher
from asynccore.dispatchers.timeouts import check
from asynccore.errors import disconnected, reports_to_channel, reraised

from .. import peer
from ..errors import TLSError
from ..sockets.dtls_socket import MTU, DTLSSocket
from ..sockets.tls_socket import OpenSSLSocket
from ..sockets.translation import AnyContext
from ..states import (
    FAILED,
    HANDSHAKE_TIMEOUT,
    HANDSHAKING,
    OPEN,
    PLAIN,
    PRELUDE,
    SHUTDOWN_TIMEOUT,
)


class Role(NamedTuple):
    """Which side of TLS a channel is, and whom it expects; without a context it is in clear."""

    context: AnyContext | None
    server_side: bool
    server_hostname: str | None


def _side_of(context: AnyContext | None) -> bool:
    return bool(getattr(context, "server_side", False))


class TLSMixin(dispatcher):
    """TLS for a dispatcher class: `class Mine(TLSMixin, its_class)`.

    With a `context` it speaks TLS from the beginning, over `sock` or over the socket that it
    connects. Without one it behaves as its class until `start_tls`. `server_side` says which of the
    two sides it is. An `ssl_ext.Context` knows that; a plain OpenSSL context counts as a client's.
    `server_hostname` is the server that a client expects, by default the host that it connects to.

    Override `handle_handshake` and `handle_tls_error`. `handle_unwrapped` follows `unwrap`. Errors
    of TLS go to `handle_tls_error`, not to `handle_error`. If a handshake takes too long,
    `handle_timeout("handshake")` is called.

    Raises as `OpenSSLSocket` does.
    """

    handshake_timeout: float | None = HANDSHAKE_TIMEOUT
    """Seconds that a handshake may take, whatever comes in the meantime; `None` for any number."""
    shutdown_timeout: float | None = SHUTDOWN_TIMEOUT
    """Seconds that a closed connection is given to end properly; `None` for not at all."""
    mtu: int = MTU
    """Bytes in a datagram, with DTLS (`DTLSSocket`)."""

    tls_context: AnyContext | None = None
    server_side: bool | None = None
    server_hostname: str | None = None

    _ac_tls: OpenSSLSocket | None = None
    _ac_connected_host: str | None = None  # the host that it connected to by name
    _ac_established = False  # handle_handshake ran
    _ac_error_told = False  # handle_tls_error ran
    _ac_unwrapping = False
    _ac_unwrapped: _socket.socket | None = None  # the socket that went back to plaintext
    _ac_listener: dispatcher | None = None  # which counts unfinished handshakes

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        yield_to_mixins(cls, NEW_TLS_NAMES)

    def __init__(
        self,
        sock: object = None,
        map: Map | None = None,
        *,
        context: AnyContext | None = None,
        server_side: bool | None = None,
        server_hostname: str | None = None,
    ) -> None:
        check("handshake_timeout", self.handshake_timeout)
        check("shutdown_timeout", self.shutdown_timeout)
        if context is not None:
            self.tls_context = context
        if server_side is not None:
            self.server_side = server_side
        elif context is not None and self.server_side is None:
            self.server_side = _side_of(context)
        if server_hostname is not None:
            self.server_hostname = server_hostname
        if sock is not None and self.tls_context is not None:
            sock = self._ac_wrapped(sock)
        super().__init__(sock, map)

    def _ac_role(self) -> Role:
        side = _side_of(self.tls_context) if self.server_side is None else self.server_side
        return Role(self.tls_context, side, self.server_hostname)

    def _ac_wrapped(self, sock: object) -> OpenSSLSocket:
        return (
            sock if isinstance(sock, OpenSSLSocket) else self._ac_wrapped_as(self._ac_role(), sock)
        )

    def _ac_wrapped_as(
        self, role: Role, sock: object, prelude: Iterable[bytes] = ()
    ) -> OpenSSLSocket:
        context, server_side, expected = role
        if expected is None and not server_side:
            expected = self._ac_connected_host
        datagrams = getattr(sock, "type", None) == _socket.SOCK_DGRAM
        make: Any = partial(DTLSSocket, mtu=self.mtu) if datagrams else OpenSSLSocket
        wrapped: OpenSSLSocket = make(
            context,
            sock,
            server_side=server_side,
            server_hostname=expected,
            handshake_timeout=self.handshake_timeout,
            shutdown_timeout=self.shutdown_timeout,
            prelude=prelude,
        )
        return wrapped

    def set_socket(
        self, sock: _socket.socket | OpenSSLSocket | Any, map: Map | None = None
    ) -> None:
        """Take over a socket, for TLS if there is a context (`dispatcher.set_socket`)."""
        if self._ac_role().context is not None:
            sock = self._ac_wrapped(sock)
        if isinstance(sock, OpenSSLSocket):
            self._ac_follow(sock)
        else:
            self._ac_tls = None
        super().set_socket(sock, map)
        if self._ac_tls is not None and self._ac_tls.state is OPEN:
            self._ac_state_changed()  # the listener, which was made secure, did the handshake

    @formerly(attempt_delay="happy_eyeballs_delay", local_address="local_addr")
    def connect_name(
        self,
        host: str,
        port: int | str,
        *,
        family: int = 0,
        happy_eyeballs_delay: float = ATTEMPT_DELAY,
        local_addr: tuple[str, int] | None = None,
    ) -> None:
        """Connect to a host by name, and expect that host there (`dispatcher.connect_name`)."""
        self._ac_connected_host = None if self._ac_role().server_side else host
        super().connect_name(
            host,
            port,
            family=family,
            happy_eyeballs_delay=happy_eyeballs_delay,
            local_addr=local_addr,
        )

    def _ac_follow(self, sock: OpenSSLSocket) -> None:
        """Be told what becomes of a TLS socket."""
        self._ac_tls = sock
        sock._ac_map = self._map  # what is sent before the loop has seen it may fail, and linger
        self._ac_established = self._ac_error_told = self._ac_unwrapping = False
        sock._ac_on_progress = self._ac_state_changed
        sock._ac_on_timeout = self._ac_timed_out

    # -- what becomes of it, as the socket tells ------------------------------------------------

    def _ac_state_changed(self) -> None:
        # This is in the middle of a wait, or of a call: handlers run when that is over.
        if self._ac_engine is not None and self._ac_tls is not None:
            self._ac_engine.call_soon_threadsafe(self._ac_catch_up, self._ac_tls)

    @reports_to_channel
    def _ac_catch_up(self, sock: OpenSSLSocket) -> None:
        if self._ac_tls is sock and not self._ac_closed:
            try:
                self._ac_follow_up()
            except reraised():
                raise
            except BaseException:
                self.handle_error()

    def _ac_follow_up(self) -> bool:
        """Run the hook of what has happened; tell whether the channel goes on as it was."""
        sock = self._ac_tls
        if sock is None:
            return True
        if sock.state is OPEN:
            if not self._ac_established:
                self._ac_established = True
                if self._ac_listener is not None:
                    self._ac_listener._ac_on_loop(self._ac_listener._ac_handshake_ended, self)
                    self._ac_listener = None
                if self.connecting:
                    # A class begins with handle_connect, so that comes first.
                    self.handle_connect_event()
                if self._ac_tls is sock and not self._ac_closed:
                    hook(self, "handle_handshake", 0)()
        elif sock.state is FAILED:
            if isinstance(sock.failure, TLSError) and not sock._ac_read_ahead:
                self._ac_tls_failed(sock.failure)
            elif not self._ac_established and not self.connecting and sock.failure is not None:
                # There was never anything to be read, so `handle_read` is not to find it out.
                sock._ac_acknowledge_failure()
                if sock.failure.errno not in disconnected():
                    raise sock.failure
                self._ac_reason = sock.failure
                try:
                    self._ac_end()
                finally:
                    self._ac_reason = None
                return False
        elif sock.state in (PRELUDE, HANDSHAKING):
            return False  # another handler has begun it after this event was taken
        elif sock.state is PLAIN and self._ac_unwrapping:
            self._ac_unwrapping = False
            self._ac_tls = None
            sock._ac_on_progress = sock._ac_on_timeout = None
            self.socket = self._ac_unwrapped = sock.unwrap()
            self._ac_touch()
            hook(self, "handle_unwrapped", 0)()
        return self._ac_tls is sock and not self._ac_closed

    def _ac_timed_out(self) -> None:
        self._ac_reason = TimeoutError(ETIMEDOUT, "handshake timeout")
        try:
            hook(self, "handle_timeout", 1)("handshake")
        except reraised():
            raise
        except BaseException:
            self.handle_error()  # what the hooks of other timeouts raise goes there, too
        finally:
            self._ac_reason = None

    def _ac_tls_failed(self, why: TLSError) -> None:
        if not self._ac_error_told:
            self._ac_error_told = True
            if self._ac_tls is not None:
                self._ac_tls._ac_acknowledge_failure()
            self._ac_reason = why
            try:
                hook(self, "handle_tls_error", 1)(why)
            finally:
                self._ac_reason = None

    def handle_read_event(self) -> None:
        """Run the hooks of TLS first (`dispatcher.handle_read_event`)."""
        if (self._ac_established and self._ac_tls is not None and self._ac_tls.state is OPEN) or (
            self._ac_follow_up()
        ):
            super().handle_read_event()

    def handle_write_event(self) -> None:
        """Run the hooks of TLS first (`dispatcher.handle_write_event`)."""
        if (self._ac_established and self._ac_tls is not None and self._ac_tls.state is OPEN) or (
            self._ac_follow_up()
        ):
            super().handle_write_event()

    def handle_connect_event(self) -> None:
        """End a connect, which includes the handshake (`dispatcher.handle_connect_event`)."""
        if self._ac_tls is not None and self._ac_tls.state in (PRELUDE, HANDSHAKING):
            return  # it is connected, but nobody knows yet whether to the right peer
        try:
            super().handle_connect_event()
        except TLSError as why:
            self._ac_tls_failed(why)

    def handle_expt_event(self) -> None:
        """Hear of a failure, or of urgent data (`dispatcher.handle_expt_event`)."""
        try:
            super().handle_expt_event()
        except TLSError as why:
            self._ac_tls_failed(why)

    def _ac_not_received(self, why: OSError) -> bytes:
        if isinstance(why, TLSError):
            self._ac_tls_failed(why)
            return b""
        return super()._ac_not_received(why)

    def _ac_not_sent(self, why: OSError) -> int:
        if isinstance(why, TLSError):
            self._ac_tls_failed(why)
            return 0
        return super()._ac_not_sent(why)

    # -- hooks ----------------------------------------------------------------------------------

    def handle_handshake(self) -> None:
        """TLS is established, and the peer is the right one. Nothing was received before this."""

    def handle_tls_error(self, exc: TLSError) -> None:
        """TLS has failed, and nothing more will be received or sent. By default, a line is logged
        and `handle_close` called.

        `TruncationError`: the peer left without close_notify. `CertificateError`: we refused its
        certificate. `PeerRefused`: it refused us. `HandshakeError` and `TLSError`: anything else.
        """
        self.log_info(f"{type(exc).__name__}: {exc.reason}, closing channel {self!r}", "error")
        self.handle_close()

    def handle_unwrapped(self) -> None:
        """The connection is plaintext again, after `unwrap`."""

    # -- who is at the other end ----------------------------------------------------------------

    # Nothing of it is known before the handshake's end. What was known stays known when the
    # connection has ended, until the channel gets another socket: who has left can be told. A class
    # that is made secure may have something of its own by these names, and its instances may be
    # assigned to (`classic.own_names`).

    @OverridableProperty
    def tls(self) -> OpenSSLSocket | None:
        """The TLS socket, or `None` while the connection is plaintext."""
        return self._ac_tls

    @OverridableProperty
    def peer_certificate(self) -> x509.Certificate | None:
        """The peer's certificate (`cryptography.x509.Certificate`), or `None`."""
        return None if self._ac_tls is None else self._ac_tls.peer_certificate

    @OverridableProperty
    def peer_chain(self) -> list[x509.Certificate]:
        """The peer's certificate and those that vouch for it (`peer.peer_chain`)."""
        return [] if self._ac_tls is None else self._ac_tls.peer_chain

    @OverridableProperty
    def peer_names(self) -> list[str]:
        """The names in the peer's certificate (`peer.peer_names`)."""
        return [] if self._ac_tls is None else self._ac_tls.peer_names

    @OverridableProperty
    def tls_version(self) -> str | None:
        """ "TLSv1.2" or "TLSv1.3", or `None` before the handshake's end."""
        return None if self._ac_tls is None else self._ac_tls.tls_version

    @OverridableProperty
    def cipher(self) -> peer.Cipher | None:
        """The cipher suite in use."""
        return None if self._ac_tls is None else self._ac_tls.cipher

    @OverridableProperty
    def alpn_protocol(self) -> str | None:
        """The application protocol that both sides want (RFC 7301), or `None`."""
        return None if self._ac_tls is None else self._ac_tls.alpn_protocol

    @OverridableProperty
    def session_reused(self) -> bool | None:
        """Whether the handshake was abbreviated; `None` if that is not known."""
        return None if self._ac_tls is None else self._ac_tls.session_reused

    @OverridableProperty
    def server_name(self) -> str | None:
        """The host name that the client asked for (RFC 6066 section 3), or `None`."""
        return None if self._ac_tls is None else self._ac_tls.server_name

    def user_name(self, mapping: peer.UserMapping = "common_name") -> str | None:
        """Return the user that the client's certificate stands for (`peer.user_name`)."""
        certificate = None if self._ac_tls is None else self._ac_tls.peer_certificate
        return peer.user_name(certificate, mapping)

    # -- from plaintext and back ----------------------------------------------------------------

    @formerly("server_hostname", "server_side")
    def start_tls(
        self,
        context: AnyContext,
        *,
        server_side: bool | None = None,
        server_hostname: str | None = None,
    ) -> None:
        """Speak TLS from now on (STARTTLS: RFC 3207, RFC 2595, RFC 4217).

        What was received and not yet delivered is thrown away: an attacker may have put it there
        (RFC 3207 section 4.2 has the client's side, CVE-2011-0411 the server's). What is queued is
        sent in clear first; what is sent afterwards waits for the handshake. Safe from any thread.

        Raises `RuntimeError` without a connection, or if it speaks TLS already, and as
        `OpenSSLSocket` does.
        """
        if self._ac_tls is not None and not self._ac_closed:
            raise RuntimeError(f"{self!r} speaks TLS already")
        if self._ac_engine is None or self.socket is None or self._ac_closed or not self.connected:
            raise RuntimeError(f"{self!r} has no connection that could begin to speak TLS")
        # For this connection alone: what the class or the constructor said is for the next one.
        side = _side_of(context) if server_side is None else server_side
        role = Role(context, side, server_hostname)
        self._ac_engine.run_on_loop(self._ac_start_tls, role)

    def _ac_start_tls(self, role: Role) -> None:
        output = self._ac_output_now()
        sock = self._ac_wrapped_as(role, self.socket, self._ac_pieces(output))
        self._ac_forget_output(len(output))
        self._ac_forget_input()
        self._ac_follow(sock)
        self.socket = sock
        self._ac_touch()

    def _ac_output_now(self) -> list[Any]:
        """Return what is queued, bytes and producers: `dispatcher_with_send` and `async_chat`."""
        return []

    def _ac_forget_output(self, count: int) -> None:
        """Forget so many of these, which somebody else sends."""

    def _ac_pieces(self, output: list[Any]) -> Iterator[bytes]:
        """Ask for the bytes of what was queued, each when it is needed: there may be no end."""
        for item in output:
            if hasattr(item, "more"):
                while data := item.more():
                    yield self._ac_as_bytes(data)
            elif item:
                yield self._ac_as_bytes(item)

    def _ac_as_bytes(self, data: Any) -> bytes:
        return bytes(data)

    def _ac_forget_input(self) -> None:
        """Throw away what was received and not delivered."""

    def unwrap(self) -> None:
        """Go back to plaintext (FTP's CCC: RFC 4217 section 6); `handle_unwrapped` follows.

        Our close_notify goes out when the queue is empty; what the peer sends before its own is
        delivered. What is sent in the meantime waits, and then goes out in clear. The peer is given
        `shutdown_timeout` seconds. Safe from any thread. Raises `RuntimeError` without TLS.
        """
        if self._ac_engine is None or self._ac_tls is None or self._ac_tls.state is not OPEN:
            raise RuntimeError(f"{self!r} doesn't speak TLS")
        self._ac_unwrapping = True
        self._ac_engine.run_on_loop(self._ac_unwrap)

    def _ac_unwrap(self) -> None:
        sock = self._ac_tls
        if sock is None or not self._ac_unwrapping:
            return
        output = self._ac_output_now()
        self._ac_forget_output(len(output))
        sock._ac_begin_unwrap(self._ac_pieces(output), self.shutdown_timeout)
        self._ac_touch()


# What a class that is derived from `TLSMixin` and one of a program may have from the latter.
NEW_TLS_NAMES = frozenset(
    name
    for name, value in vars(TLSMixin).items()
    if not name.startswith("_")
    and (callable(value) or isinstance(value, OverridableProperty))
    and not hasattr(dispatcher, name)
)


class tls_dispatcher(TLSMixin, dispatcher):
    """A `dispatcher` that speaks TLS; see `TLSMixin`."""


class tls_dispatcher_with_send(TLSMixin, dispatcher_with_send):
    """A `dispatcher_with_send` that speaks TLS; see `TLSMixin`."""

    def _ac_output_now(self) -> list[Any]:
        return [self.out_buffer]

    def _ac_forget_output(self, count: int) -> None:
        self.out_buffer = b""


class tls_async_chat(TLSMixin, async_chat):
    """An `async_chat` that speaks TLS, and bounds its lines; see `TLSMixin`."""

    max_line_length: int | None = 65536
    """Bytes that may come without a terminator: asyncio's limit for `StreamReader.readline`."""

    def _ac_output_now(self) -> list[Any]:
        """Return everything queued. Raises `RuntimeError` if the channel is to close after it."""
        fifo = self.producer_fifo
        if None in fifo:
            raise RuntimeError("close_when_done() was called: there is no time after it")
        return list(fifo)

    def _ac_forget_output(self, count: int) -> None:
        fifo = self.producer_fifo
        for _ in range(count):
            fifo.popleft()
        self.producer_fifo = fifo  # all is counted anew

    def _ac_as_bytes(self, data: Any) -> bytes:
        return data.encode(self.encoding) if isinstance(data, str) else bytes(data)

    def _ac_forget_input(self) -> None:
        self.ac_in_buffer = b""
        self.incoming.clear()
        self._ac_line_length = 0


class tls_line_chat(tls_async_chat, line_chat):
    """A `line_chat` that speaks TLS; see `TLSMixin`."""
