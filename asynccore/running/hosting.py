"""A map that another event loop drives: the part that all of those loops share.

Facts. An epoll or kqueue descriptor can itself be polled: a host that watches this one descriptor
serves a whole map. A reader that raises is dropped by some hosts, for good. Other code runs on the
host's thread between passes, and changes what channels want. A host that still watches a closed
descriptor is deaf to the next one of that number.

Consequence. When the descriptor is ready, the host calls one pass, which never raises: what leaves
a handler ends the attachment and is kept for whoever waits for that. Whatever changes between
passes sets the wake-up, which is in the same poller. After each pass everything is settled before
the host waits. The host lets go of a descriptor before it is closed. Where a poller has no
descriptor (select, poll), the host watches each of the channels' instead.

Trade-off. Between passes anything may be assigned to any channel, but nothing tells when other
code ran. Channels with predicates of their own, and of other copies of asyncore, are asked `LOOK`
seconds later at the latest; the others report, and pay nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Protocol

from .. import pollers
from ..engine.engine import Engine
from ..pollers import READ, WRITE, Poller

# How long what other code on the host's thread changes without a report may go unnoticed, in
# seconds, where such changes are to be expected: half of what is taken for an instant in an
# interface. A look costs about what a wait of the classic loop did.
LOOK = 0.05


class Cancellable(Protocol):
    """What a host returns for a call that is still to come."""

    def cancel(self) -> object:
        """Don't call."""


class Host(Protocol):
    """What is asked of an event loop. Callbacks run on its thread and never raise."""

    def watch(self, fd: int, read: bool, write: bool, callback: Callable[[], object]) -> None:
        """Call back, again and again, while `fd` is ready; this replaces what was asked before."""

    def unwatch(self, fd: int) -> None:
        """Call back no more. `fd` is still open."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Cancellable:
        """Call back once, `delay` seconds from now."""


class Watcher:
    """Keeps a host informed of what a poller waits for.

    `ready` is called when the poller's descriptor is ready, and `one_ready` for each of the
    channels' where it has none.
    """

    def __init__(
        self,
        host: Host,
        ready: Callable[[], object],
        one_ready: Callable[[], object] | None = None,
    ) -> None:
        self._host = host
        self._ready = ready
        self._one_ready = one_ready or ready
        self._watched: dict[int, int] = {}
        # What the host refused: regular files, which epoll can't watch (EPERM) and select finds
        # always ready, and descriptors that others closed. The next pass has to see to them.
        self.refused = False

    def follow(self, poller: Poller) -> None:
        """Let the host watch the poller's descriptor, or all those that it holds."""
        poller = poller.innermost  # what it tells the kernel
        fd = poller.fileno()
        ready = self._ready
        if fd >= 0:
            wanted = {fd: READ}
        else:
            wanted = poller.interest
            poller.left = self.forget
            ready = self._one_ready
        if self._watched == wanted:
            return
        self.refused = False
        for fd in [fd for fd in self._watched if fd not in wanted]:
            self.forget(fd)
        for fd, mask in wanted.items():
            if self._watched.get(fd) != mask:
                try:
                    self._host.watch(fd, bool(mask & READ), bool(mask & WRITE), ready)
                except (OSError, ValueError):
                    self.refused = True
                else:
                    self._watched[fd] = mask

    def forget(self, fd: int) -> None:
        """Let the host watch a descriptor no more, which may be closed next."""
        if self._watched.pop(fd, None) is not None:
            self._host.unwatch(fd)

    def watches(self) -> bool:
        """Whether the host watches anything."""
        return bool(self._watched)

    def abandon(self) -> None:
        """Forget the host without telling it anything: after a fork it is the parent's."""
        self._watched = {}

    def stop(self) -> None:
        """Let the host watch nothing any more."""
        for fd in list(self._watched):
            self.forget(fd)


class Attachment:
    """A map and the host that drives it, from `begin` until `detach`, `stop()` or an exception."""

    def __init__(self, engine: Engine, host: Host) -> None:
        self.engine = engine
        self._host = host
        self._watcher = Watcher(host, self._run, self._run_soon)
        self._soon: Cancellable | None = None
        self._elsewhere: str | None = None  # the engine's poller, if that waits in a host itself
        self._timer: tuple[float, Cancellable] | None = None
        self.attached = False
        self.exception: BaseException | None = None

    def begin(self) -> None:
        """Let the host drive the map, from the thread that calls this: the host's own.

        Raises `RuntimeError` if the map has a host already.
        """
        engine = self.engine
        if engine.hosting is not None:
            raise RuntimeError("this map is attached already: detach() it first")
        name = engine.poller_name()
        if name not in pollers.available():
            self._elsewhere = name
            engine.use(pollers.available()[0])
        engine.hosting = self
        engine.host_thread = get_ident()
        self.attached = True
        try:
            engine.enter(review=True)
            self._plan()
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """Let the host go; channels, timers and all stay as they are. More calls do nothing."""
        if not self.attached:
            return
        self.attached = False
        self._watcher.stop()
        if self._soon is not None:
            self._soon.cancel()  # it would keep the map's engine until the host's next turn
            self._soon = None
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None
        engine = self.engine
        engine.hosting = engine.host_thread = None
        if self._elsewhere is not None:
            engine.use_later(self._elsewhere)
        engine.give_back()
        self.ended()

    def ended(self) -> None:
        """The attachment has ended; `exception` says whether something went wrong."""

    def emptied(self) -> None:
        """The map is empty."""

    def poller_closes(self) -> None:
        """The engine is about to close its poller."""
        self._watcher.stop()

    def forked(self) -> None:
        """This is a forked child: the host's loop belongs to the parent."""
        self.attached = False
        self._watcher.abandon()
        self.engine.hosting = self.engine.host_thread = None

    def _run_soon(self) -> None:
        """Make one pass for all descriptors that the host finds ready at once."""
        if self._soon is None:
            self._soon = self._host.call_later(0, self._now)

    def _now(self) -> None:
        self._soon = None
        self._run()

    def _run(self) -> None:
        if not self.attached:
            return  # called once more by a host that had collected its events
        engine = self.engine
        try:
            if engine.map:
                engine.run_pass(0)
            else:
                engine.run_due()
            if self.attached:
                self._plan()
        except BaseException as why:
            self.exception = why
            self.detach()
            return
        if not self.attached:
            return
        if engine.stopping:
            engine.stopping = False
            self.detach()
        elif not engine.map:
            self.emptied()

    def _plan(self) -> None:
        """Settle everything, and tell the host what to wait for."""
        engine = self.engine
        due = engine.prepare()
        poller = engine.poller
        if poller is not None:
            self._watcher.follow(poller)
            if self._watcher.refused:
                due = engine.clock()
        if engine.may_change_unreported():
            look = engine.clock() + LOOK
            due = look if due is None else min(due, look)
        if due is None:
            return
        if self._timer is not None:
            if self._timer[0] <= due:
                return  # it comes early, and plans anew
            self._timer[1].cancel()
        delay = max(0.0, due - engine.clock())
        self._timer = due, self._host.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._run()
