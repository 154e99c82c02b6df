"""TLS, and headers of proxies, in front of listeners that know nothing of it (`asynccore run`).

Facts. The program is unmodified, and may start others. Who asked for TLS must not get plaintext,
whatever else goes wrong; nor may anybody but a trusted proxy say whose connection it is. A program
may call `listen` and `accept` of its dispatcher, or of the socket itself, which it may have made
and kept, or got while it listened already. This floor knows nothing of TLS.

Consequence. Environment variables, which child processes inherit, say that there is to be TLS.
Every TCP socket that a dispatcher listens on is then replaced by what a front puts before it, as
soon as it listens: when it enters a map, in the dispatcher's `listen` and `accept`, and in its own.
For the latter, the class of a socket that may yet listen is one derived from its class (`Guarded`),
whose `accept` is that of the front, until it connects. A socket of another kind is looked at when
the loop asks its channel, and before each event until it is seen what it becomes (`EventGuard`). If
TLS can't be had, an `OSError` is raised there. An entry point of the group `asynccore.fronts` names
the front of TLS. Headers of the PROXY protocol come before TLS begins: what puts that in front asks
`behind_header` what it stands before; without TLS, that alone is there.

Trade-off. `type(sock)` of such a socket is not what it was; `isinstance` says what it said. Unix
sockets stay plain: they are for this machine, under the guard of their file mode; they have headers
if "unix:" is among the proxies. A program that listens without a dispatcher is not reached, nor one
that has made something else than a `socket.socket` and accepts from that, behind its dispatcher's
back. Without the variables `add_channel`, `listen` and `accept` pay for one look at an empty list
(`channels.inspectors`).
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..channels import Address, Channel, inspectors
from ..classic.settings import Setting
from ..neighbours import plug_ins, resolve

if TYPE_CHECKING:
    from .proxy_protocol import Trusted

_Socket = TypeVar("_Socket", bound=socket.socket)

# The file of the server's certificate chain; the variables beside it are the front's.
VARIABLE = "ASYNCCORE_TLS_CERT"

# How all of them begin. Any will do: half of what was said is no reason for plaintext.
PREFIX = "ASYNCCORE_TLS_"

# Whose headers of the PROXY protocol are believed: "10.0.0.1,fd00::/8,unix:".
PROXY_VARIABLE = "ASYNCCORE_PROXY_PROTOCOL"

# The group of entry points that name fronts: functions that are called with a dispatcher, and
# return what takes the place of its listening socket.
FRONTS = "asynccore.fronts"

_registered: str | None = None

_TCP = (socket.AF_INET, socket.AF_INET6)

# What puts something in front of a channel's socket, and returns what that is now.
Cover = Callable[[Any], Any]

# The channels of guarded sockets, and what puts TLS in front of those.
_guards: weakref.WeakKeyDictionary[socket.socket, tuple[weakref.ref[object], Cover]]
_guards = weakref.WeakKeyDictionary()


class Guarded(socket.socket if TYPE_CHECKING else object):  # type: ignore[misc]
    """A TCP socket of a channel, which is not connected: one with the class of before behind it.

    As soon as it listens, by whomever, there is TLS in front of it, and `accept` gives what is
    accepted there.
    """

    __slots__ = ()

    def listen(self, *backlog: int) -> None:
        """Listen (listen(2)), and put TLS in front. Raises as `cover`."""
        super().listen(*backlog)
        channel, cover = _guard_of(self)
        if channel is not None and channel.socket is self:
            cover(channel)

    def accept(self) -> tuple[Any, Any]:
        """Return what `accept` of the front returns. Raises as `cover`, and `OSError` if the
        socket has no channel any more."""
        channel, cover = _guard_of(self)
        front = None if channel is None else channel.socket
        if front is self:
            front = cover(channel)
        if front is None or getattr(front, "plain", None) is not self:
            raise OSError(
                errno.EOPNOTSUPP,
                f"the dispatcher of {self!r} has gone or got another socket, and nothing is "
                "accepted in clear: give the socket to a dispatcher",
            )
        pair: tuple[Any, Any] = front.accept()
        return pair

    def accept_in_clear(self) -> tuple[socket.socket, Any]:
        """Return a new connection, for the front to do TLS with (accept(2))."""
        pair: tuple[socket.socket, Any] = super().accept()
        return pair

    def connect(self, address: Address) -> None:
        """Connect (connect(2)); it will not listen any more."""
        _let_go(self)
        self.connect(address)

    def connect_ex(self, address: Address) -> int:
        """Connect (connect(2)); it will not listen any more."""
        _let_go(self)
        return self.connect_ex(address)


@functools.cache
def _guarded(cls: type) -> type:
    names = {"__slots__": (), "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (Guarded, cls), names)


def guard(channel: object, sock: object, cover: Cover) -> None:
    """Have `cover(channel)` called as soon as a socket listens, which returns what is in front."""
    try:
        if isinstance(sock, socket.socket):
            _guards[sock] = weakref.ref(channel), cover
            if not isinstance(sock, Guarded):
                own: Any = type(sock)
                sock.__class__ = _guarded(own)
    except TypeError:
        pass  # a class that can't be derived from, or a channel of others: the loop sees to it


def _let_go(sock: socket.socket) -> None:
    _guards.pop(sock, None)
    sock.__class__ = type(sock).__bases__[1]


def _guard_of(sock: socket.socket) -> tuple[Any, Cover]:
    reference, how = _guards.get(sock, (None, cover))
    return None if reference is None else reference(), how


class EventGuard:
    """In the place of a channel's `handle_read_event` until it is seen what its socket becomes."""

    def __init__(self, channel: Any) -> None:
        self._channel = weakref.ref(channel)
        self._assigned: Callable[[], object] | None = vars(channel).get(
            "handle_read_event"
        )  # by the program
        channel.handle_read_event = self

    def __call__(self) -> None:
        channel = self._channel()
        if channel is None:
            return
        sock = channel.socket
        own = self._assigned or type(channel).handle_read_event.__get__(channel)
        if not look_at(channel) and vars(channel).get("handle_read_event") is self:
            if self._assigned is None:
                del channel.handle_read_event
            else:
                channel.handle_read_event = self._assigned
        if channel.socket is sock:  # else whoever is there is there for the new one
            own()


def look_at(channel: object) -> bool:
    """Put a front before a channel's socket if it listens without, and guard it if it may yet.

    Returns whether that is still to be seen. For a channel that enters a map, listens, accepts or
    has an event, and whenever the loop asks it. Raises as `cover`.
    """
    sock: Any = getattr(channel, "socket", None)
    if not _lacks_front(sock):
        return False
    guarded = isinstance(sock, Guarded)
    if is_connected(sock):
        if guarded:
            _let_go(sock)  # it did not connect by its own methods
        return False
    owner, how = _guard_of(sock) if guarded else (None, cover)
    if owner is not channel:
        how = cover  # else it is the channel's own, perhaps of a class made secure
    if listens(sock, getattr(channel, "accepting", False)):
        how(channel)
        return False
    if owner is not channel:
        guard(channel, sock, how)
    try:
        if not isinstance(vars(channel).get("handle_read_event"), EventGuard):
            EventGuard(channel)
    except (AttributeError, TypeError):
        pass  # a channel of others, without attributes of its own: the loop sees to it
    return True


def cover(channel: Any) -> Any:
    """Put a front before a channel's listening socket, and return what `channel.socket` is now.

    What is no socket of a kind that has one, or has one already, stays what it is. Raises `OSError`
    as the front does, and if there is none.
    """
    sock = channel.socket
    if _lacks_front(sock):
        guard(channel, getattr(sock, "plain", sock), cover)  # its owner may know it by another name
        tls = not without_tls and sock.family in _TCP
        channel.socket = sock = front()(channel) if tls else behind_header(channel, sock)
        touch = getattr(channel, "_ac_touch", None)
        if touch is not None:
            touch()
    return sock


def _lacks_front(sock: Any) -> bool:
    """Whether something is to be put in front of a socket, if it listens."""
    cls = type(sock)
    if hasattr(cls, "do_handshake") or getattr(sock, "type", None) != socket.SOCK_STREAM:
        return False  # the first is a TLS socket of the standard library
    if hasattr(cls, "_ac_poll_interest"):
        # It has a will of its own already; what reads headers in clear has TLS in front as well.
        return hasattr(cls, "accept_in_clear") and not without_tls and sock.family in _TCP
    return sock.family in _TCP or (proxies is not None and _has_header(sock))


class TrustedProxies(Setting[str]):
    """Whose headers are believed, as `check_proxies` has it; `None` for no headers."""

    def check(self, value: object) -> None:
        check_proxies(self.name, value)


def check_proxies(name: str, value: object) -> None:
    """Raise `TypeError` or `ValueError` for what can't be a list of proxies."""
    if value is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"{name} is None or a text, not {value!r}")
    trusted_of(value)


def trusted_of(text: str) -> Trusted:
    """Return what a list of proxies means, as `proxy_protocol.trusted_of`."""
    from . import proxy_protocol  # nearly nobody needs it

    return proxy_protocol.trusted_of(text)


def behind_header(channel: object, sock: _Socket) -> _Socket:
    """Return what reads the headers in front of a channel's listening socket, or that itself.

    Raises `OSError` if an environment names proxies that can't be.
    """
    text = getattr(channel, "_ac_proxy_protocol", None)
    if text is None and proxies is not None and _has_header(sock):
        text = proxies
    if text is None or hasattr(type(sock), "_ac_poll_interest"):
        return sock
    from .proxy_protocol import ProxyListener

    front = ProxyListener(cast("Channel", channel), sock, trusted_of(text))
    return cast("_Socket", front)  # it stands in for one


def _has_header(sock: socket.socket) -> bool:
    """Whether the connections of a socket begin with a header, as the environment says."""
    try:
        trusted = trusted_of(proxies or "")
    except ValueError as why:
        raise OSError(errno.EINVAL, f"{PROXY_VARIABLE}: {why}") from why
    return sock.family in _TCP or trusted.unix


def listens(sock: socket.socket | Any, otherwise: bool = False) -> bool:
    """Whether a socket listens; `otherwise`, which its channel says, if the system doesn't tell."""
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return otherwise


def is_connected(sock: socket.socket | Any) -> bool:
    """Whether a socket has a peer."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def register(target: str) -> None:
    """Have a function of a package beside this one be the front: "PACKAGE.MODULE:FUNCTION".

    For a checkout, which has no entry points; it is imported when it is needed.
    """
    global _registered
    _registered = target


def front() -> Cover:
    """Return the function that puts TLS in front of a channel's socket.

    It is the one that was registered, or that an entry point names. Raises `OSError` if there is
    none, or if it can't be imported.
    """
    # Hardly anybody gets here, and the metadata of everything installed is looked through.
    try:
        if _registered is not None:
            found: Cover = resolve(_registered)
            return found
        for found in plug_ins(FRONTS):
            return found
    except ImportError as why:
        raise OSError(f"{PREFIX}... is set, and there is no TLS: {why}") from why
    raise OSError(f"{PREFIX}... is set, and there is no TLS: nothing is installed for it")


proxies = os.environ.get(PROXY_VARIABLE) or None
without_tls = proxies is not None and not any(name.startswith(PREFIX) for name in os.environ)

if proxies is not None or any(name.startswith(PREFIX) for name in os.environ):
    inspectors.append(look_at)
