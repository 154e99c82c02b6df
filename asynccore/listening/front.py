"""What accepts in front of a program: the program gets each connection once it is ready for it.

A header of a proxy, or the handshake of TLS, comes before what a program knows of. So a socket
accepts by itself, and is readable when `accept` has a connection that the program may have.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import Any

from ..channels import Map
from ..errors import NOBODY
from ..pollers import READ
from .acceptor import ACCEPT_BATCH


class ListenerFront:
    """The part of a listening socket that is the same whatever a connection has to do first.

    It is a `LayeredSocket` for the engine. A class of these says in `_begin` what that is, and
    calls `_listen_on` with the socket underneath.
    """

    _ac_map: Map | None  # where it is served
    _ready: deque[tuple[Any, Any]]
    _error: OSError | None
    _accepts: bool

    def _listen_on(self, sock: socket.socket) -> None:
        # A socket that was guarded has another one under the usual name (`interception`).
        self._accept = getattr(sock, "accept_in_clear", sock.accept)
        self._ready = deque()
        self._error = None
        self._accepts = True
        sock.setblocking(False)

    def _begin(self, sock: socket.socket, address: object, map: Map) -> None:
        """Do with a connection what comes first."""
        raise NotImplementedError

    def _is_full(self) -> bool:
        """Whether nobody may be accepted now."""
        raise NotImplementedError

    @property
    def _ac_unfinished(self) -> int:
        """How many connections were accepted here, and not handed out yet."""
        raise NotImplementedError

    def _ac_handle_event(self, mask: int, wanted: int) -> int:
        """Accept what there is, and say whether some connection is ready."""
        if wanted & READ:
            self._accept_all()
        return self._ac_ready_now(wanted)

    def _ac_ready_now(self, wanted: int) -> int:
        """Say whether `accept` has something."""
        return READ if wanted & READ and self._ac_read_ahead else 0

    @property
    def _ac_read_ahead(self) -> bool:
        """Whether `accept` has something."""
        return bool(self._ready or self._error)

    def _accept_all(self) -> None:
        for _ in range(ACCEPT_BATCH):
            if self._ac_map is None or self._is_full():
                return
            try:
                sock, address = self._accept()
            except OSError as why:
                if why.errno not in NOBODY:
                    self._error = why  # the listener's own business
                return
            self._begin(sock, address, self._ac_map)

    def _accept_the_rest(self) -> None:
        """Accept all who wait at the port, as far as there is room."""
        before = -1
        while before < self._ac_unfinished:
            before = self._ac_unfinished
            self._accept_all()

    def _raise_error(self) -> None:
        """Raise what accept(2) raised, once."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
