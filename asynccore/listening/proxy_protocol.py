"""A listening socket behind proxies: `accept` gives connections whose header has been read.

Facts. A proxy says in a header who its client is (`proxy_header`); who else is believed could be
anybody. A program may be unmodified, and read the header as its client's data; so may TLS, which
comes behind it. A proxy sends its header at once, nearly always; a broken one never does.

Consequence. A `ProxyListener` takes the place of a listening socket. It accepts by itself, closes
what comes from anybody but the trusted, and looks for the header at once. Where that isn't there
yet, a channel of its own waits for it, for some seconds; the listener is readable when a connection
is ready. The header is looked at in the kernel's buffer, and nothing behind it is taken from there.
What `accept` returns has the client's address for its peer's, and `proxy_header` has the rest.

Trade-off. The map holds an entry for each header that is waited for. `ssl.SSLContext.wrap_socket`
makes a socket of the descriptor alone, which knows the proxy's address only.
"""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Callable
from errno import EAGAIN
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from .. import logs
from ..channels import Channel, Map, NullChannel
from ..engine.engine import engine_for, leave_map
from ..errors import reraised
from ..pollers import READ
from .acceptor import RefusalLog
from .front import ListenerFront
from .proxy_header import LONGEST, BadHeader, HeaderParser, ProxyHeader
from .socket_activation import close_port

# How long a header may take, in seconds. The specification says at least 3, for a lost segment;
# nginx has 60 and HAProxy what its `timeout client` says, for headers of anybody.
HEADER_TIMEOUT = 5.0

# How many headers may be waited for, and connections wait for `accept`: half of the descriptors
# that a process has by default on Linux (getrlimit(2), 1,024).
MOST_UNFINISHED = 512

# What stands for the peers of a Unix socket among the trusted, as in nginx's set_real_ip_from.
UNIX = "unix:"

_INET = (socket.AF_INET, socket.AF_INET6)


class Trusted(NamedTuple):
    """Whose headers are believed."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    unix: bool  # the peers of Unix sockets

    def include(self, address: object, family: int) -> bool:
        """Whether a peer, with an address of accept(2), is among them."""
        if family not in _INET or not isinstance(address, tuple):
            return self.unix
        found = ip_address(str(address[0]).partition("%")[0])
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self.networks)


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return the IPv4 network that an IPv6 one maps (RFC 4291, section 2.5.5.2), if any."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


def trusted_of(text: str) -> Trusted:
    """Return what a list such as "10.0.0.1,fd00::/8,unix:" means.

    Raises `ValueError` for what is no address, no network and not "unix:", and for none at all.
    """
    words = [word.strip() for word in text.split(",")]
    networks = []
    for word in words:
        if word != UNIX:
            try:
                networks.append(_unmapped(ip_network(word)))
            except ValueError as why:
                raise ValueError(
                    f"trusted proxies are addresses, networks and {UNIX!r}, with commas between"
                    f" them: {why}"
                ) from None
    return Trusted(tuple(networks), UNIX in words)


class ProxiedSocket(socket.socket):
    """A connection that came by a proxy: its peer is the client."""

    __slots__ = ("proxy_header",)

    _ac_takes_pieces = True  # as any other (`dispatchers.vectored`)

    proxy_header: ProxyHeader | None  # until it has come

    def getpeername(self) -> object:
        """Return the client's address, as the proxy says; its own of a connection of its own.

        Raises `OSError` as getpeername(2) does.
        """
        name, header = super().getpeername(), self.proxy_header
        return name if header is None else client_of(header, name)

    def dup(self) -> ProxiedSocket:
        """Return a copy (dup(2)), which knows as much."""
        made = super().dup()
        made.proxy_header = self.proxy_header
        return made


def client_of(header: ProxyHeader, address: object) -> object:
    """Return the client's address; `address`, the peer's own, where it is no one of a network."""
    return header.source if isinstance(header.source, tuple) else address


class ProxyListener(ListenerFront):
    """A listening socket whose `accept` returns connections behind their header.

    `channel` is the one that listens. For whatever is not here, the socket itself is asked.
    """

    def __init__(
        self,
        channel: Channel,
        sock: socket.socket,
        trusted: Trusted,
        timeout: float = HEADER_TIMEOUT,
    ) -> None:
        self.plain = sock
        self._channel = weakref.ref(channel)
        self._trusted = trusted
        self._timeout = timeout
        self._ac_map: Map | None = getattr(channel, "_map", None)  # a channel of others has none
        self._report: Callable[[], object] | None = None
        self._pending: set[PendingHeader] = set()
        self._refusals = RefusalLog()
        self._asked_timeout: float | None = 0.0
        self._listen_on(sock)

    def __repr__(self) -> str:
        return f"<ProxyListener fd={self.plain.fileno()}, {len(self._pending)} headers>"

    def __getattr__(self, name: str) -> object:
        return getattr(self.plain, name)

    # -- for the engine (`LayeredSocket`) -------------------------------------------

    def _ac_entered(self, map: Map, report: Callable[[], object]) -> None:
        """Serve a listener in `map`."""
        self._ac_map, self._report = map, report

    def _ac_poll_interest(self, wanted: int) -> int:
        """Return what to wait for: new connections, as long as there is room for them."""
        return 0 if self._is_full() else wanted & READ

    @property
    def _ac_unfinished(self) -> int:
        """How many connections were accepted here, and not handed out yet."""
        return len(self._pending) + len(self._ready)

    def _ac_accept_no_more(self) -> None:
        """Accept who waits, and nobody else: the port is closed, the descriptor stays."""
        self._accept_the_rest()
        self._accepts = False
        close_port(self.plain, self._ac_map)

    def _is_full(self) -> bool:
        return not self._accepts or self._ac_unfinished >= MOST_UNFINISHED

    # -- headers --------------------------------------------------------------------------------

    def _begin(self, accepted: socket.socket, address: object, map: Map) -> None:
        family, type, proto = accepted.family, accepted.type, accepted.proto
        sock = ProxiedSocket(family, type, proto, accepted.detach())
        sock.proxy_header = None
        if not self._trusted.include(address, family):
            self.refuse(sock, address, "it is no trusted proxy", "info")
            return
        sock.setblocking(False)
        parser = HeaderParser()
        try:
            if read_header(sock, parser):
                self.finish(sock, address, parser)
            else:
                self._pending.add(PendingHeader(self, map, sock, address, parser))
        except (OSError, BadHeader) as why:
            self.refuse(sock, address, why)

    def finish(self, sock: ProxiedSocket, address: object, parser: HeaderParser) -> None:
        """A header has come: have the connection accepted."""
        header = parser.header
        assert header is not None
        sock.proxy_header = header._replace(proxy=address)
        sock.settimeout(socket.getdefaulttimeout())  # as accept(2) has it
        self._ready.append((sock, client_of(header, address)))

    def refuse(
        self, sock: ProxiedSocket, address: object, why: object, type: str = "error"
    ) -> None:
        """Close a connection, and tell once in a second for each peer."""
        sock.close()
        peer = address[0] if isinstance(address, tuple) else "a Unix socket"
        assert self._ac_map is not None
        if self._refusals.is_to_be_told(peer, engine_for(self._ac_map).clock()):
            message = f"refused a connection of {peer}: {why}"
            channel = self._channel()
            log_info = getattr(channel, "log_info", None)
            if channel is None or log_info is None:
                logs.emit(type, message)  # a channel of others
                return
            try:
                log_info(message, type)
            except reraised():
                raise
            except BaseException:
                # Outside of an event of the listener it would end the loop.
                channel.handle_error()

    def over(self, pending: PendingHeader) -> None:
        """A header is waited for no more, and its channel has left the map."""
        self._pending.discard(pending)
        channel = self._channel()
        if self._report is not None:
            self._report()
        elif self._ready and channel is not None:
            # A program's own loop knows nothing of what is ready here.
            try:
                channel.handle_read_event()
            except Exception:
                channel.handle_error()

    # -- as any listening socket ----------------------------------------------------------------

    def accept(self) -> tuple[ProxiedSocket, object]:
        """Return a connection whose header has come, and its client's address.

        Raises `BlockingIOError` if there is none, and what accept(2) raised.
        """
        if not self._ready and self._error is None:
            self._accept_all()  # a program may accept without an event
        if self._ready:
            was_full = self._is_full()
            found = self._ready.popleft()
            # A drain makes no room; and TLS accepts at a report, within itself for each of these.
            if was_full and self._accepts and self._report is not None:
                self._report()
            return found
        self._raise_error()
        raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))

    accept_in_clear = accept  # for TLS that comes behind it

    def setblocking(self, flag: bool) -> None:
        """Keep what is asked for; the socket stays non-blocking."""
        self.settimeout(None if flag else 0.0)

    def settimeout(self, value: float | None) -> None:
        """Keep what is asked for, in seconds; the socket stays non-blocking."""
        self._asked_timeout = value

    def gettimeout(self) -> float | None:
        """Return what `settimeout` or `setblocking` was told last; 0.0 before."""
        return self._asked_timeout

    def close(self) -> None:
        """Close the socket, and all connections that nobody has accepted."""
        self.plain.close()
        while self._ready:
            self._ready.popleft()[0].close()
        for pending in tuple(self._pending):
            pending.close()


class PendingHeader(NullChannel):
    """A channel that lasts until the header of a connection is there; it enters `map` itself."""

    connected = True
    debug = False

    def __init__(
        self,
        listener: ProxyListener,
        map: Map,
        sock: ProxiedSocket,
        address: object,
        parser: HeaderParser,
    ) -> None:
        self.socket = sock
        self.addr = address
        self._listener = listener
        self._map = map
        self._fd = sock.fileno()
        self._parser = parser
        map[self._fd] = self
        self._timer = engine_for(map).timers.call_later(listener._timeout, self._expire)

    def __repr__(self) -> str:
        return f"<PROXY header of {self.addr!r}>"

    def readable(self) -> bool:
        """Always."""
        return True

    def handle_read_event(self) -> None:
        """Some of the header has come, or the end."""
        try:
            if not read_header(self.socket, self._parser):
                return
        except (OSError, BadHeader) as why:
            self._end(why)
            return
        self._leave()
        self._listener.finish(self.socket, self.addr, self._parser)
        self._listener.over(self)

    handle_expt_event = handle_read_event

    def _expire(self) -> None:
        self._end(f"it sent no header within {self._listener._timeout:g} s")

    def close(self) -> None:
        """The listener is closed, or the descriptor was by somebody else."""
        self._leave()
        self.socket.close()
        self._listener.over(self)

    def _end(self, why: object) -> None:
        self._leave()
        self._listener.refuse(self.socket, self.addr, why)
        self._listener.over(self)

    def _leave(self) -> None:
        self._timer.cancel()
        leave_map(self._map, self._fd, self)


def read_header(sock: socket.socket, parser: HeaderParser) -> bool:
    """Take what there is of a header, and no more; return whether it is whole.

    Raises `BadHeader`, also at the end of the connection, and `OSError`.
    """
    try:
        data = sock.recv(LONGEST, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    if not data:
        raise BadHeader("the connection ended before it was whole")
    sock.recv(parser.feed(data))
    return parser.header is not None
