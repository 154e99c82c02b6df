"""Maps whose keys are no descriptors, but have one: `poll(1, map={self.socket: self})`.

Facts. select(2), as Python has it, takes anything with `fileno()` and returns the very object, so a
map of the classic default could have sockets for keys. Other pollers return numbers.

Consequence. A `FileobjPoller` stands in front of the real one from the moment that a map holds such
a key, and translates. The engine goes on knowing each channel by its key. Maps without such keys,
which are nearly all, never have one.
"""

from __future__ import annotations

from typing import Any

from . import Event, Poller, ProxyPoller


def has_descriptor(key: object) -> bool:
    """Whether a key is no descriptor, but tells one."""
    return not isinstance(key, int) and hasattr(key, "fileno")


def number(key: Any) -> Any:
    """Return the descriptor that a key is or tells, -1 if it is closed."""
    return key.fileno() if has_descriptor(key) else key


class FileobjPoller(ProxyPoller):
    """A poller of keys, in front of the one that watches the descriptors."""

    interest: dict[Any, int]

    def __init__(self, real: Poller) -> None:
        super().__init__(real)
        self._keys: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}

    def set(self, fd: Any, mask: int) -> None:
        known = self._numbers.get(fd)
        if not has_descriptor(fd):
            self.real.set(fd, mask)
        elif mask:
            present = number(fd)
            if known is not None and known != present:
                self.real.set(known, 0)
            self.real.set(present, mask)
            self._keys[present] = fd
            self._numbers[fd] = present
        elif known is not None:
            self.real.set(known, 0)
            del self._keys[known], self._numbers[fd]
        if mask:
            self.interest[fd] = mask
        else:
            self.interest.pop(fd, None)

    def wait(self, timeout: float | None) -> list[Event]:
        keys = self._keys
        return [(keys.get(fd, fd), mask) for fd, mask in self.real.wait(timeout)]

    def verify(self, fd: Any) -> bool:
        known = self._numbers.get(fd, fd)
        return bool(number(fd) == known and self.real.verify(known))
