"""A server's context whose files are renewed while it is in service.

Facts. Certificates are renewed every few weeks, by a program that knows nothing of this one. It
replaces one file after the other, so that for a moment the key is that of another certificate. A
file that can't be used must not end what works. To look at a file costs microseconds, to read it
milliseconds. A program whose loop is its own may run no timers.

Consequence. A timer of each listener's loop looks at the files, and so does a handshake that finds
it late. What was changed is read, and used if it can be. If it can't be and is the same at the next
look, that is said once and what was there before stays. Who has renewed them may ask for it to be
done at once.

Trade-off. A loop that waits wakes up once a second. A chain that is written in two parts may be
used without its second one for as long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from socket import socket

from OpenSSL import SSL

from asynccore import logs
from asynccore.channels import Map
from asynccore.engine.timers import Timer
from asynccore.running.loop import call_every

from .context import Context

# How often the files are looked at, in seconds: as often as the engine looks for what changed
# without a report.
LOOK_INTERVAL = 1.0

# How soon after a look there may be another one: no two timers are exactly as far apart.
_SOONEST = LOOK_INTERVAL / 2

# What tells a file from what it was: where and what it is, its length, and when it was written.
_Stamp = tuple[int, int, int, int] | None


class RenewedContext(Context):
    """A `Context` that reads its files anew when they were replaced.

    `make()` returns the context that is to be used now, and `files` are those that it reads;
    `clock` is in seconds. Raises what `make` raises.
    """

    def __init__(
        self,
        make: Callable[[], Context],
        files: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._files = tuple(files)
        self._clock = clock
        self._next_look = clock() + _SOONEST
        # Before they are read: a change meanwhile is one that is to be found.
        self._read = self._seen = self._stamps()
        self.reload()

    def reload(self) -> None:
        """Make the context anew, for new connections. If that raises, the old one stays in use."""
        made = self._make()
        self.settings, self._openssl, self._sessions = made.settings, made._openssl, made._sessions

    def _ac_connection(
        self,
        sock: socket | None = None,
        server_side: bool | None = None,
        server_hostname: str | None = None,
    ) -> SSL.Connection:
        """Return a connection, as `Context.connection`, by the files as they are now."""
        if self._clock() >= self._next_look + _SOONEST:
            self.look()  # no timer has
        return super()._ac_connection(sock, server_side, server_hostname)

    def watch(self, map: Map) -> Timer:
        """Look at the files in the loop of `map`, until the timer is cancelled."""
        return call_every(LOOK_INTERVAL, self.look, map=map)

    def renew(self) -> None:
        """Read the files now, changed or not. What is wrong with them is said, not raised."""
        self._seen = self._stamps()
        self._reread(settled=True)

    def look(self) -> None:
        """Read the files if they were changed, unless they were looked at just now."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + _SOONEST
        before, self._seen = self._seen, self._stamps()
        if self._seen != self._read:
            self._reread(settled=self._seen == before)

    def _reread(self, settled: bool) -> None:
        try:
            self.reload()
        except Exception as why:
            if not settled:
                return  # somebody may be at it: the next look will tell
            self._read = self._seen
            place = f": {why.filename}" if isinstance(why, OSError) and why.filename else ""
            what = why.strerror if isinstance(why, OSError) else why
            logs.warn(f"TLS goes on with the files of before: {what}{place}")
        else:
            self._read = self._seen
            logs.emit("info", f"TLS: {self!r} was renewed")

    def _stamps(self) -> tuple[_Stamp, ...]:
        return tuple(_stamp(name) for name in self._files)


def _stamp(name: str) -> _Stamp:
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
