"""Connecting by name: a look-up off the loop, and several attempts, of which the first wins.

Facts. A loop ends when its map is empty, and a channel that looks a name up has no descriptor.
Attempts have descriptors, one each, of which one becomes the channel's. Programs send before the
connection is there, and close a channel at any time, from any thread.

Consequence. The map holds the undertaking under a number that no descriptor has, from beginning to
end, and each attempt under its descriptor; both answer for the channel when they are closed. The
channel's `socket` is a stand-in that takes nothing yet, as a connecting socket does. Whatever ends
the undertaking ends all of it. No hook runs inside of `connect_name`.

Trade-off. Who counts the map's entries counts the attempts too.
"""

from __future__ import annotations

import itertools
import math
import os
import socket as _socket
import sys
import weakref
from collections.abc import Iterable
from errno import (
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EALREADY,
    EHOSTUNREACH,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    ENETUNREACH,
    EWOULDBLOCK,
)
from typing import Any

from ..channels import Map, NullChannel
from ..classic.namespace import package
from ..engine.engine import Engine, leave_map
from ..engine.timers import Timer
from ..errors import _strerror, judges_peer, reports_to_channel, reraised
from . import resolver
from .happy_eyeballs import Address, Race
from .target import Target, show

# connect(2): it goes on; Winsock says EINVAL for a second call.
_UNDER_WAY = frozenset({EINPROGRESS, EALREADY, EWOULDBLOCK})

# Errors that a host without one of the two families has for each address of that family. They
# tell less than what any other attempt died of.
_NO_WAY_THERE = frozenset({ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EAFNOSUPPORT})

# Descriptors are ints of C, which end below this.
_above_descriptors = itertools.count(2**31)


class ConnectError(OSError):
    """No address of a name could be connected to, or the name has none.

    `errors` has an `OSError` for each attempt, or the `socket.gaierror` of the look-up. `errno` is
    that of the most telling one: of the first that is more than "there is no way to that network".
    """

    errors: tuple[OSError, ...] = ()


def connect_error(target: str, errors: Iterable[OSError]) -> ConnectError:
    """Return the one exception for all attempts to connect to `target`."""
    errors = tuple(errors)
    telling = next((why for why in errors if why.errno not in _NO_WAY_THERE), errors[0])
    reasons = "; ".join(why.strerror or str(why) for why in errors)
    error = ConnectError(telling.errno, f"can't connect to {target}: {reasons}")
    error.errors = errors
    error.__cause__ = telling
    return error


class Entry(NullChannel):
    """What the map holds meanwhile. It speaks for the channel where the map is walked."""

    connecting = True
    socket: Any = None
    addr: Any = None

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def handle_error(self) -> None:
        self.channel.handle_error()

    def close(self) -> None:
        self.channel.close()


class Attempt(Entry):
    """One socket that connects."""

    def __init__(self, undertaking: ConnectByName, address: Address, sock: Any) -> None:
        super().__init__(undertaking.channel)
        self.undertaking = undertaking
        self.address = address
        self.addr = address.sockaddr
        self.socket = sock
        self.fd: int = sock.fileno()

    def __repr__(self) -> str:
        return f"<connecting to {show(self.addr)} for {self.channel!r}>"

    def writable(self) -> bool:
        return True

    def handle_read_event(self) -> None:
        self.undertaking.ended(self)

    def handle_write_event(self) -> None:
        self.undertaking.ended(self)

    def handle_expt_event(self) -> None:
        self.undertaking.ended(self)  # Windows reports a refused connect this way

    def handle_close(self) -> None:
        self.undertaking.ended(self)  # the descriptor was closed by somebody else

    def handle_error(self) -> None:
        if not self.undertaking.runs(self):
            raise
        self.undertaking.failed(self, sys.exc_info()[1])  # the poller can't watch it


class ConnectByName(Entry):
    """One `connect_name`, from the look-up to the connection or the error."""

    def __init__(self, channel: Any, engine: Engine, target: Target) -> None:
        super().__init__(channel)
        self.addr = target.host, target.port
        self.began = engine.clock()
        self.over = False
        self._engine = engine
        self._map: Map = engine.map
        self._target = target
        self._race: Race | None = None
        self._timer: Timer | None = None
        self._attempts: list[Attempt] = []
        self._errors: list[OSError] = []
        self._key = next(_above_descriptors)
        self._map[self._key] = self

    def __repr__(self) -> str:
        return f"<connecting to {self._target.text} for {type(self.channel).__qualname__}>"

    # -- the look-up ----------------------------------------------------------------------------

    @reports_to_channel
    def look_up(self) -> None:
        """Ask for the addresses, and in a forked child again, for the threads are the parent's."""
        if self.over or self._race is not None:
            return
        target = self._target
        if target.answer is not None:
            self._deliver(target.answer)
            return
        _looking.add(self)
        try:
            resolver.resolve(target.host, target.port, target.family, self._deliver)
        except reraised():
            raise
        except BaseException as why:
            self._deliver(why)

    def _deliver(self, answer: object) -> None:
        """Take an answer from any thread."""
        self._engine.call_soon_threadsafe(self._resolved, answer)

    @reports_to_channel
    def _resolved(self, answer: object) -> None:
        if self.over or self._race is not None or self._abandoned():
            return  # closed meanwhile, or a second answer
        _looking.discard(self)
        if isinstance(answer, OSError):
            self._errors.append(answer)
            self._fail(connect_error(self._target.text, self._errors))
            return
        if isinstance(answer, BaseException):
            self._fail(answer)
            return
        try:
            addresses = self._target.addresses(answer)
        except (TypeError, ValueError) as why:
            self._fail(why)  # of a resolver that doesn't answer as getaddrinfo() does
            return
        if not addresses:
            self._resolved(_socket.gaierror(_socket.EAI_NONAME, "no address of that family"))
            return
        self._race = Race(addresses, self._target.delay)
        self._advance()

    def _abandoned(self) -> bool:
        """Whether the program has taken it out of the map, or given the channel another socket."""
        if self._map.get(self._key) is self and self.channel._ac_by_name is self:
            return False
        self.cancel()
        return True

    # -- the attempts ---------------------------------------------------------------------------

    @judges_peer
    @reports_to_channel
    def _advance(self) -> None:
        """Begin what it is time for, and see to it that the rest has its time."""
        if self.over or self._abandoned():
            return
        race = self._race
        assert race is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (address := race.begin(self._engine.clock())) is not None:
            try:
                attempt, connected = self._try(address)
            except OSError as why:
                self._note(address, why)
            except Exception as why:
                self._fail(why)  # an address of a resolver's own that no socket takes
                return
            else:
                self._attempts.append(attempt)
                if connected:
                    self._win(attempt)
                    return
                self._map[attempt.fd] = attempt
        if race.lost:
            self._fail(connect_error(self._target.text, self._errors))
        elif race.due is not None and math.isfinite(race.due):
            self._timer = self._engine.timers.call_at(race.due, self._advance)

    def _try(self, address: Address) -> tuple[Attempt, bool]:
        """Return a new attempt, and whether it has succeeded already."""
        sock = package().socket.socket(address.family, _socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if self._target.local is not None:
                sock.bind(self._target.local.sockaddr)
            err = sock.connect_ex(address.sockaddr)
            if err not in (0, EISCONN, *_UNDER_WAY) and not (
                err == EINVAL and sys.platform == "win32"
            ):
                raise OSError(err, _strerror(err))
        except BaseException:
            sock.close()
            raise
        return Attempt(self, address, sock), err in (0, EISCONN)

    def _note(self, address: Address, why: OSError) -> None:
        text = f"{show(address.sockaddr)}: {why.strerror or why}"
        self._errors.append(OSError(why.errno, text))
        assert self._race is not None
        self._race.failed(address, self._engine.clock())

    def runs(self, attempt: Attempt) -> bool:
        """Whether an attempt is one of those under way."""
        return attempt in self._attempts

    def ended(self, attempt: Attempt) -> None:
        """Find out how an attempt has ended, and go on from there."""
        if not self.runs(attempt) or self._abandoned():
            return
        try:
            err = attempt.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        except OSError as why:
            self.failed(attempt, why)
        else:
            if err:
                self.failed(attempt, OSError(err, _strerror(err)))
            else:
                self._win(attempt)

    def failed(self, attempt: Attempt, why: BaseException | None) -> None:
        """Give an attempt up, and begin the next."""
        self._drop(attempt)
        if isinstance(why, OSError):
            self._note(attempt.address, why)
        else:
            self._note(attempt.address, OSError(EINVAL, str(why)))
        self._advance()

    # -- the end --------------------------------------------------------------------------------

    def _win(self, attempt: Attempt) -> None:
        """Make an attempt's socket the channel's."""
        channel = self.channel
        self._attempts.remove(attempt)
        leave_map(self._map, attempt.fd, attempt)
        sock = attempt.socket
        channel.addr = attempt.addr
        channel.family_and_type = attempt.address.family, _socket.SOCK_STREAM
        deadline = None if channel._ac_times is None else channel._ac_times.deadline
        try:
            channel.set_socket(sock)
        except BaseException as why:
            sock.close()
            self._fail(why)
            return
        self.cancel()  # in case set_socket() is the program's own
        if deadline is not None:
            channel._ac_set_deadline(deadline)  # it covers what comes after the connect as well
        try:
            channel.handle_connect_event()
        except reraised():
            raise
        except BaseException:
            channel.handle_error()

    def _fail(self, error: BaseException) -> None:
        """Tell the channel, in whose hook the exception is current; then close it."""
        self.cancel()
        channel = self.channel
        try:
            raise error
        except reraised():
            raise
        except BaseException:
            try:
                if isinstance(error, ConnectError):
                    channel._ac_connect_failed(error)
                else:
                    channel.handle_error()
            finally:
                if (
                    channel._fileno is None
                    and channel._ac_by_name is None
                    and not channel._ac_closed
                ):
                    channel.close()  # the program has neither closed it nor begun anew
        finally:
            # Its traceback knows this frame, and whose frames it knows later on is the program's
            # affair: what is kept here would keep all of that.
            del error
            self._errors = []

    def cancel(self) -> None:
        """End it without a word."""
        if self.channel._ac_by_name is self:
            self.channel._ac_by_name = None
        self._stop()

    def _stop(self) -> None:
        if self.over:
            return
        self.over = True
        _looking.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for attempt in list(self._attempts):
            self._drop(attempt)
        leave_map(self._map, self._key, self)

    def _drop(self, attempt: Attempt) -> None:
        self._attempts.remove(attempt)
        leave_map(self._map, attempt.fd, attempt)
        attempt.socket.close()


_looking: weakref.WeakSet[ConnectByName] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for undertaking in list(_looking):
        undertaking._engine.call_soon_threadsafe(undertaking.look_up)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork_in_child)
