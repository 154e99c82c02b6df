"""The predicates that programs wrote themselves: asked before every wait, in sweeps.

Facts. Five thousand channels with two predicates each are ten thousand calls before every wait.
Predicates have side effects: they close channels, open others, and run loops of their own.

Consequence. A sweep is one comprehension over a list, its answers are compared with the last ones
as lists, and only differences are looked at one by one. The lists are changed in place as
channels come and go, except while they are being walked; then they are made anew afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..channels import Channel
from ..pollers import READ, WRITE

# Which predicates of a channel are its own.
OWN_READABLE = 1
OWN_WRITABLE = 2
OWN_BOTH = OWN_READABLE | OWN_WRITABLE

_UNKNOWN = -1  # no answer equals it

assert (READ, WRITE) == (1, 4)  # as `_Sweep.ask` spells them, for speed


class _Sweep:
    """The channels that are asked for the same predicates."""

    __slots__ = ("answers", "channels", "fds", "index", "kind")

    def __init__(self, kind: int) -> None:
        self.kind = kind
        self.fds: list[int] = []
        self.channels: list[Channel] = []
        self.index: dict[int, int] = {}
        self.answers: list[int] = []

    def add(self, fd: int, channel: Channel) -> None:
        self.index[fd] = len(self.fds)
        self.fds.append(fd)
        self.channels.append(channel)
        self.answers.append(_UNKNOWN)

    def remove(self, fd: int) -> None:
        # The last one takes the place, so that churn among thousands stays cheap.
        place = self.index.pop(fd)
        last = self.fds.pop()
        channel = self.channels.pop()
        answer = self.answers.pop()
        if last != fd:
            self.index[last] = place
            self.fds[place] = last
            self.channels[place] = channel
            self.answers[place] = answer

    def ask(self) -> list[int]:
        if self.kind == OWN_BOTH:
            # Spelled out: four constants, and no number is made of two.
            return [
                (5 if channel.writable() else 1)
                if channel.readable()
                else (4 if channel.writable() else 0)
                for channel in self.channels
            ]
        if self.kind == OWN_READABLE:
            return [1 if channel.readable() else 0 for channel in self.channels]
        return [4 if channel.writable() else 0 for channel in self.channels]


class Sweeps:
    """The channels with predicates of their own, by descriptor."""

    def __init__(self) -> None:
        self.kinds: dict[int, int] = {}  # which predicates of a descriptor's channel are its own
        self.stale = False  # the lists are to be made anew
        self._channels: dict[int, Channel] = {}
        self._sweeps: dict[int, _Sweep] = {}
        self._walking = 0

    def set(self, fd: int, kind: int, channel: Channel) -> None:
        """Ask a channel for its own predicates from now on."""
        if self.kinds.get(fd) == kind and self._channels.get(fd) is channel:
            return
        self.remove(fd)
        self.kinds[fd] = kind
        self._channels[fd] = channel
        if self._walking or self.stale:
            self.stale = True
        else:
            self._sweeps.setdefault(kind, _Sweep(kind)).add(fd, channel)

    def remove(self, fd: int) -> None:
        """Ask no more. Does nothing for a descriptor that isn't asked."""
        kind = self.kinds.pop(fd, None)
        if kind is not None:
            del self._channels[fd]
            if self._walking or self.stale:
                self.stale = True
            else:
                self._sweeps[kind].remove(fd)

    def clear(self) -> None:
        """Forget all channels."""
        for fd in list(self.kinds):
            self.remove(fd)

    def recover(self, channels: Mapping[int, Channel]) -> None:
        """Make whole what an exception may have left halfway; only `channels` are asked."""
        self._walking = 0
        self.stale = True
        for fd in [fd for fd in self.kinds if fd not in channels or fd not in self._channels]:
            del self.kinds[fd]
            self._channels.pop(fd, None)

    def unsettle(self, fd: int) -> None:
        """Report the next answer of a channel even if it is the same as the last one."""
        sweep = self._sweeps.get(self.kinds.get(fd, 0))
        if sweep is not None and fd in sweep.index:
            sweep.answers[sweep.index[fd]] = _UNKNOWN

    def ask(self) -> Iterator[tuple[int, Channel, int, int]]:
        """Ask every channel once; yield descriptor, channel, kind and answer where it differs
        from the last one. The answer has the bits `READ` and `WRITE`."""
        if self.stale and not self._walking:
            self._make_anew()
        for sweep in list(self._sweeps.values()):
            before = self._walking
            try:
                self._walking = before + 1
                answers = sweep.ask()
                last = sweep.answers
                if answers != last:
                    sweep.answers = answers
                    for place, answer in enumerate(answers):
                        if answer != last[place]:
                            yield sweep.fds[place], sweep.channels[place], sweep.kind, answer
            finally:
                self._walking = before

    def _make_anew(self) -> None:
        self.stale = False
        self._sweeps = {}
        for fd, kind in self.kinds.items():
            self._sweeps.setdefault(kind, _Sweep(kind)).add(fd, self._channels[fd])
