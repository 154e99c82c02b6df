"""What stands for the socket of a channel while it is connected by name."""

from __future__ import annotations

from collections.abc import Callable
from errno import EAGAIN, ENOTCONN
from typing import Any, NoReturn


class StandIn:
    """The `socket` of a channel that has none yet: nothing fits, nothing has come."""

    def __init__(self, text: str, cancel: Callable[[], None]) -> None:
        self._text = text
        self._cancel = cancel

    def __repr__(self) -> str:
        return f"<no socket yet: {self._text}>"

    def fileno(self) -> int:
        return -1

    def send(self, data: Any, flags: int = 0) -> NoReturn:
        raise BlockingIOError(EAGAIN, "not connected yet")

    def sendmsg(self, buffers: object, *rest: object) -> NoReturn:
        raise BlockingIOError(EAGAIN, "not connected yet")

    def recv(self, size: int, flags: int = 0) -> NoReturn:
        raise BlockingIOError(EAGAIN, "not connected yet")

    def getpeername(self) -> NoReturn:
        raise OSError(ENOTCONN, "not connected yet")

    def close(self) -> None:
        self._cancel()
