"""Listening sockets that a program shares or inherits: prefork workers and socket activation.

Facts. Several processes may bind one TCP or UDP port if each sets SO_REUSEPORT first (socket(7));
Unix sockets know no such thing. A service manager that owns a listening socket passes its
descriptor and says so in the environment (sd_listen_fds(3)). Classic programs do neither: they
make a socket and call `bind`.

Consequence. `asynccore run` tells this process, in two environment variables, what `bind` is to
do: set SO_REUSEPORT, or put an inherited socket in the place of the one to be bound, if it is
bound to that very address. The inherited one is put under the descriptor of the program's socket
(dup2(2)), whose object, options and place in the map the program may have kept.

Trade-off. What a program binds by itself is not reached: dispatchers and the servers of `compat`
are. Without the two variables
`bind` pays for one look at a module attribute.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple

from .. import worker
from ..channels import Map, SocketLike
from ..engine.engine import Engine, engine_for

# "1": every TCP and UDP socket is bound with SO_REUSEPORT, here and in child processes.
REUSE_PORT_VARIABLE = "ASYNCCORE_REUSE_PORT"

# "PID:FD,FD,…": sockets for the process PID alone, as LISTEN_PID has it.
SOCKETS_VARIABLE = "ASYNCCORE_SOCKETS"

# The first descriptor passed, SD_LISTEN_FDS_START of sd_listen_fds(3).
FIRST = 3

# Standard input, output and error stay what they are for child processes.
_STANDARD = 2

# Descriptors that one process may have: fs.nr_open of Linux, proc_sys_fs(5).
_MOST = 1048576

_LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class InheritedSocket(NamedTuple):
    """A socket that a service manager passed: its name there ("unknown" without one), and it."""

    name: str
    socket: socket.socket


def listen_numbers(environ: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return names and descriptors of what was passed to this process, after sd_listen_fds(3).

    Raises `ValueError` if the variables contradict that manual page.
    """
    pid, count = environ.get("LISTEN_PID"), environ.get("LISTEN_FDS")
    if count is None or pid != str(os.getpid()):
        return []
    if not count.isdecimal():
        raise ValueError(f"LISTEN_FDS is a number of sockets, not {count!r}")
    if len(count) > len(str(_MOST)) or int(count) > _MOST:
        raise ValueError(f"LISTEN_FDS={count[:20]}: no process has so many descriptors")
    names = environ.get("LISTEN_FDNAMES", "")
    given = names.split(":") if names else ["unknown"] * int(count)
    if len(given) != int(count):
        raise ValueError(f"LISTEN_FDNAMES={names!r} has not as many names as LISTEN_FDS={count}")
    return [(name, FIRST + at) for at, name in enumerate(given)]


def listen_fds(unset_environment: bool = True) -> list[InheritedSocket]:
    """Return the sockets that systemd, or whoever speaks its protocol, passed to this process.

    Each comes with its name (`FileDescriptorName=`), non-blocking, ready for `set_socket` and
    `listen`; they belong to the caller, and child processes don't inherit them. With
    `unset_environment` a second call returns nothing. What was passed but is no socket is left
    alone. See sd_listen_fds(3) and sd_listen_fds_with_names(3).

    Raises `ValueError` if the environment contradicts these, `OSError` if a descriptor is closed.
    """
    found = []
    for name, fd in listen_numbers(os.environ):
        try:
            sock = socket.socket(fileno=fd)
        except OSError as why:
            if why.errno == errno.ENOTSOCK:
                continue
            raise
        sock.setblocking(False)
        sock.set_inheritable(False)
        found.append(InheritedSocket(name, sock))
    if unset_environment:
        for variable in _LISTEN_VARIABLES:
            os.environ.pop(variable, None)
    return found


class _Given(NamedTuple):
    """An inherited socket that waits for a `bind` to its address."""

    fd: int
    family: int
    kind: int
    address: Any  # as `getsockname` has it


class Arrangement:
    """What `bind` is to do in this process: share ports, or take inherited sockets."""

    def __init__(self, reuse_port: bool, descriptors: list[int]) -> None:
        self.reuse_port = reuse_port
        self.given = [_look_at(fd) for fd in descriptors]

    def prepare(self, sock: socket.socket | Any, address: object) -> int | None:
        """Make a socket ready to be bound. Returns the inherited descriptor to be used instead.

        Raises `OSError` for what processes can't share.
        """
        family = getattr(sock, "family", None)
        place = worker.present
        handed_down = [] if place is None else [_look_at(fd) for fd in place.handed_down]
        for given in (*handed_down, *self.given):
            if family == given.family and sock.type == given.kind and _same(given, address):
                return given.fd
        for given in self.given:
            _refuse_both_families(given, sock, address)
        if self.reuse_port:
            if family in (socket.AF_INET, socket.AF_INET6):
                # Port 0 is chosen by the system, which may give it twice if it is to be shared.
                if _port(address):
                    sock.setsockopt(socket.SOL_SOCKET, _SO_REUSEPORT, 1)
            elif family == _AF_UNIX:
                raise OSError(
                    errno.EOPNOTSUPP,
                    f"several workers can't bind the Unix socket {address!r}: pass it to"
                    " 'asynccore run' by socket activation or --fd, or use one worker",
                )
        return None

    def listens(self, sock: SocketLike) -> None:
        """A socket of this process listens now: a worker's parent keeps it for who comes next."""
        if self.reuse_port and worker.present is not None:
            worker.present.tell(worker.LISTENS, sock.fileno())

    def closes(self, sock: SocketLike) -> None:
        """A listener of this process is about to be closed."""
        if self.reuse_port and worker.present is not None:
            worker.present.tell(worker.CLOSES, sock.fileno())

    def check_listener(self, address: object) -> None:
        """Raise `OSError` for a listener on port 0, which would be another port in each worker."""
        if self.reuse_port and _port(address) == 0:
            raise OSError(
                errno.EINVAL,
                "port 0 would be another port in each worker: give the port a number",
            )


def inherit(sock: socket.socket | Any, address: object) -> bool:
    """Make a socket that no channel has ready for `bind`; true if an inherited one took its place.

    Raises `OSError` for what processes can't share.
    """
    inherited = None if arranged is None else arranged.prepare(sock, address)
    if inherited is None:
        return False
    take_over(sock, inherited, None)
    return True


def take_over(sock: SocketLike, fd: int, engine: Engine | None) -> None:
    """Put an inherited socket under the descriptor of a channel's own; the engine is told."""
    own = sock.fileno()
    # The poller knows the number from the socket that is closed here.
    if engine is not None:
        engine.removed(own)
    if sys.platform != "win32":  # where nothing is inherited
        os.set_blocking(fd, False)
    os.dup2(fd, own, inheritable=False)
    if engine is not None:
        engine.added(own)
    if worker.present is not None and fd in worker.present.handed_down:
        worker.present.take(fd)


def close_port(sock: socket.socket, map: Map | None) -> None:
    """Have nobody come to a listening socket any more, whose descriptor stays open."""
    with socket.socket(sock.family, sock.type) as other:
        take_over(sock, other.fileno(), None if map is None else engine_for(map))


def _look_at(fd: int) -> _Given:
    sock = socket.socket(fileno=fd)
    try:
        if fd > _STANDARD:
            sock.set_inheritable(False)
        return _Given(fd, sock.family, sock.type, sock.getsockname())
    finally:
        sock.detach()


def _same(given: _Given, address: Any) -> bool:
    """Whether an inherited socket is bound to what a program wants to bind."""
    if given.family == _AF_UNIX:
        return _same_path(given.address, address)
    if _port(address) != given.address[1]:
        return False
    host = address[0]
    if isinstance(host, str):
        found = socket.getaddrinfo(
            host or None, address[1], given.family, given.kind, flags=socket.AI_PASSIVE
        )
        return any(found_address[0] == given.address[0] for *_, found_address in found)
    return False


def _port(address: object) -> object:
    return address[1] if isinstance(address, tuple) and len(address) > 1 else None


def _same_path(given: Any, address: Any) -> bool:
    try:
        ours, theirs = os.fsencode(given), os.fsencode(address)
    except TypeError:
        return False
    if ours[:1] in (b"", b"\0"):  # no name, or a Linux abstract one
        return bool(ours) and ours == theirs
    # Many programs remove the path before they bind it: nobody could reach the inherited socket.
    return os.path.abspath(ours) == os.path.abspath(theirs) and os.path.exists(ours)


def _refuse_both_families(given: _Given, sock: Any, address: Any) -> None:
    """Explain what would be "Address already in use": "ListenStream=80" of systemd is IPv6."""
    if (
        given.family == socket.AF_INET6
        and getattr(sock, "family", None) == socket.AF_INET
        and sock.type == given.kind
        and _port(address) == given.address[1]
        and given.address[0] == "::"
    ):
        raise OSError(
            errno.EADDRINUSE,
            f"the inherited socket of port {address[1]} is an IPv6 one, and the program binds"
            f" IPv4: configure it with an IPv4 address, such as ListenStream=0.0.0.0:{address[1]}",
        )


# Neither is there on Windows.
_AF_UNIX = getattr(socket, "AF_UNIX", -1)
_SO_REUSEPORT: int = getattr(socket, "SO_REUSEPORT", 0)


def arrangement(environ: MutableMapping[str, str]) -> Arrangement | None:
    """Return what an environment asks of this process, `None` if nothing.

    What is meant for this process alone is taken out. Raises `OSError` if what is said to be a
    socket is none.
    """
    reuse_port = environ.get(REUSE_PORT_VARIABLE) == "1"
    pid, _, numbers = environ.get(SOCKETS_VARIABLE, "").partition(":")
    descriptors = []
    if pid == str(os.getpid()):
        del environ[SOCKETS_VARIABLE]
        descriptors = [int(number) for number in numbers.split(",")]
    if not (reuse_port or descriptors) or sys.platform == "win32":
        return None
    return Arrangement(reuse_port, descriptors)


arranged = arrangement(os.environ)
