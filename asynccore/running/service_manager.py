"""Telling systemd that a service has started, and that it stops: sd_notify(3).

Facts. A unit of `Type=notify` counts as started when the process says READY=1 in a datagram to the
Unix socket that NOTIFY_SOCKET names; a name that begins with "@" is an abstract one. Child
processes inherit the variable, and are not to speak for their parent.

Consequence. The first `loop()` or `poll()` of the process says so and takes the variable out of the
environment; by then the program has bound what it binds at its start. A drain says STOPPING=1.

Trade-off. A program that waits by what is not ours says nothing; its unit is of `Type=exec`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import MutableMapping

from ..engine.engine import starting

VARIABLE = "NOTIFY_SOCKET"

READY = "READY=1"
STOPPING = "STOPPING=1"


class Notifier:
    """Says how the service is; a child of the process says nothing."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._pid = os.getpid()
        self._address = ""

    def begin(self) -> None:
        """Say that the service has started: called before a wait, once."""
        if self.begin in starting:
            starting.remove(self.begin)
        if self._pid == os.getpid():
            self._address = self._environ.pop(VARIABLE, "")
            self.say(READY)

    def say(self, state: str) -> None:
        """Send a state, if anybody wants to know."""
        address = self._address
        if not address or self._pid != os.getpid() or sys.platform == "win32":
            return
        if address[0] == "@":
            address = f"\0{address[1:]}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.connect(address)
                sock.send(state.encode())
            except OSError:
                pass  # whoever wanted to know has gone


present: Notifier | None = None


def enter(environ: MutableMapping[str, str]) -> None:
    """Have the first wait of this process say that it has started."""
    global present
    present = Notifier(environ)
    starting.append(present.begin)
