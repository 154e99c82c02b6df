"""A socket that bytes were put back into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asynccore.channels import Map
from asynccore.dispatchers.dispatcher import dispatcher
from asynccore.pollers import READ


class PushbackSocket:
    """Stands in for a plain socket until its channel has received what was put back.

    It is a `LayeredSocket`: what it holds makes the channel readable.
    """

    def __init__(self, inner: Any, data: bytes, channel: dispatcher) -> None:
        self.inner = inner
        self._data = data
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def _ac_read_ahead(self) -> bytes:
        """What was not received yet."""
        return self._data

    def _ac_entered(self, map: Map, report: Callable[[], None]) -> None:
        """Serve a channel."""

    def _ac_poll_interest(self, wanted: int) -> int:
        """Return what to wait for."""
        return wanted

    def _ac_handle_event(self, mask: int, wanted: int) -> int:
        """Return what can be done after an event."""
        return mask | self._ac_ready_now(wanted)

    def _ac_ready_now(self, wanted: int) -> int:
        """Return what can be done without one: receive."""
        return wanted & READ if self._data else 0

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return int(self.inner.fileno())

    def _ac_unread(self, data: bytes) -> None:
        """Put more back, in front of it."""
        self._data = data + self._data

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return what was put back first."""
        if not self._data:
            data: bytes = self.inner.recv(size, flags)
            return data
        data, self._data = self._data[:size], self._data[size:]
        if not self._data and self._channel.socket is self:
            self._channel.socket = self.inner
            self._channel._ac_touch()
        return data
