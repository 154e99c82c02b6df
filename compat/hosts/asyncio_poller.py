"""A script's own `loop()` on asyncio's loop or uvloop's.

*Facts.* A program may set, replace and close the thread's loop at any time. uvloop opens two
descriptors for each run on the main thread, and a run without them ends the loop for ever.
*Consequence.* The loop is looked up before each wait; one that was made here is closed with its
thread. For uvloop two descriptors are kept.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import ClassVar

from asynccore.classic.genuine import Clock
from asynccore.listening.acceptor import ACCEPT_PAUSE
from asynccore.running.hosting import Cancellable, Host

from .host_poller import HostPoller
from .reactor_state import reactor_state
from .running_loop import is_lent, running, set_running


class _OwnLoop:
    """An asyncio loop that was made here. It is closed with its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._pid = os.getpid()

    def __del__(self) -> None:
        # The main thread's is closed at exit, when asyncio is still whole.
        if sys.is_finalizing():
            return
        if self._pid == os.getpid():
            _close_loop(self.loop)
        else:
            _abandoned.append(self.loop)


class _ThreadLoops(threading.local):
    """The asyncio loop that this thread's waits run, if it was made here."""

    made: _OwnLoop | None = None
    parents: asyncio.AbstractEventLoop | None = None  # the one that was set at the fork


_current = _ThreadLoops()
# What must not be closed any more, as a loop is when it is deleted: a parent's, of which the child
# would take out what the parent waits for, and one whose numbers are somebody else's by now.
_abandoned: list[object] = []


def _close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """End a loop that was made here, with the tasks that are left in it."""
    if loop.is_closed() or loop.is_running():
        return
    # A round takes in a stop() that came after the last wait, and that would end the next run.
    loop.call_soon(loop.stop)
    loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


class AsyncioPoller(HostPoller):
    """Waits in the thread's asyncio loop: the one that is set, or a new one."""

    name: ClassVar[str] = "asyncio"

    def _make_host(self) -> Host:
        from .asyncio_host import AsyncioHost

        self.loop = self.find_loop()
        return AsyncioHost(self.loop)

    @classmethod
    def find_loop(cls) -> asyncio.AbstractEventLoop:
        """Return the loop of this thread, which is set; a new one if the set one won't do."""
        loop = _set_loop()
        if loop is None or loop.is_closed() or not cls._takes(loop):
            made = _current.made
            if made is None or made.loop.is_closed():
                made = _current.made = _OwnLoop(cls._new_loop())
                if threading.current_thread() is threading.main_thread():
                    atexit.register(_close_loop, made.loop)
            loop = made.loop
            asyncio.set_event_loop(loop)
        return loop

    @classmethod
    def _takes(cls, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether a loop that the program has set is of the kind that was asked for."""
        return True

    @classmethod
    def _new_loop(cls) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        # Else its timeouts never end while freezegun lets the clock of the module stand still.
        loop.time = Clock.monotonic  # type: ignore[method-assign]
        return loop

    def _look_at_host(self) -> bool:
        # The program may have set another loop since, or closed this one.
        loop = _set_loop()
        if (
            self._thread != threading.get_ident()
            or self.loop.is_closed()
            or (
                loop is not self.loop
                and loop is not None
                and not loop.is_closed()
                and self._takes(loop)
            )
        ):
            self._change_host()
        if "twisted.internet.reactor" in sys.modules:
            # Nobody else would start a reactor of Twisted's that is on this loop.
            reactor_state.begin_on(self.loop, self.name)
        return True

    def abandon(self) -> None:
        super().abandon()
        made = _current.made
        if made is not None and made.loop is self.loop:
            # Closing it would close what has the numbers of its descriptors by now.
            _abandoned.append(made)
            atexit.unregister(_close_loop)
            _current.made = None
            asyncio.set_event_loop(None)

    def _on_ready(self) -> None:
        """A channel is ready, or the time is up."""
        if not self._ready:
            self._ready = True
            self.loop.stop()

    def _run_host(self, timeout: float | None) -> None:
        if running() is not None and not is_lent():
            raise RuntimeError(
                "asyncore.loop() was called in a coroutine or callback of asyncio, which would "
                "have to wait for itself: let compat.attach() drive the channels there"
            )
        run_loop(self.loop, self._host, timeout, self._on_ready)
        reactor_state.leave()

    def _call_in_host(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # It may have been closed meanwhile.
            self.loop.call_soon_threadsafe(function, *args)


def run_loop(
    loop: asyncio.AbstractEventLoop,
    host: Host,
    timeout: float | None,
    over: Callable[[], object],
) -> None:
    """Run a loop until `over` stops it, which is called after so many seconds.

    It has to stop it once for each run: a second `stop` would end uvloop's next run.
    """
    handle: Cancellable | None = None
    if timeout == 0:
        handle = loop.call_soon(over)
    elif timeout is not None:
        handle = host.call_later(timeout, over)
    own = running()
    lent = is_lent()
    if lent:
        set_running(None)
    try:
        loop.run_forever()
    finally:
        if lent:
            set_running(own)
        if handle is not None:
            handle.cancel()


def _set_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that the program has set for this thread, without making one."""
    loop: asyncio.AbstractEventLoop | None
    if sys.version_info >= (3, 14):
        # It gives the running one first, and a map's own counts as such for the pass.
        own, lent = running(), is_lent()
        if lent:
            set_running(None)
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            loop = None
        finally:
            if lent:
                set_running(own)
    else:
        # Before 3.14 that makes one, and warns or not. A policy that keeps it elsewhere than
        # asyncio's and uvloop's do is not asked.
        loop = getattr(getattr(asyncio.get_event_loop_policy(), "_local", None), "_loop", None)
    return None if loop is _current.parents else loop


def _after_fork_in_child() -> None:
    # A loop is shared across a fork: what the child took out of it would deafen the parent. Since
    # 3.12 asyncio forgets it by itself.
    parents = _set_loop()
    if parents is not None:
        _abandoned.append(parents)
        _current.parents = parents
    _current.made = None
    atexit.unregister(_close_loop)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork_in_child)


class ReservedDescriptors:
    """As many descriptors as uvloop takes for each run, kept for it.

    On the main thread it makes a pair of sockets when it is run, for signals. If there are no
    descriptors left, the run fails, and so does every later one: the loop counts as running.
    """

    def __init__(self) -> None:
        self._kept: list[int] = []
        self.keep()

    def keep(self) -> None:
        """Take them, as far as there are any."""
        with contextlib.suppress(OSError):
            while len(self._kept) < 2:
                self._kept.append(os.open(os.devnull, os.O_RDONLY))

    def lend(self) -> bool:
        """Give them back for a moment; return False if they were not to be had."""
        self.keep()
        whole = len(self._kept) == 2
        if whole:
            self.close()
        return whole

    def close(self) -> None:
        """Give them back."""
        while self._kept:
            os.close(self._kept.pop())

    def abandon(self) -> None:
        """Forget them: the numbers are somebody else's."""
        self._kept.clear()

    __del__ = close


class UvloopPoller(AsyncioPoller):
    """The same with uvloop's loop."""

    name: ClassVar[str] = "uvloop"

    def __init__(self) -> None:
        super().__init__()
        self._reserved = ReservedDescriptors()

    def _run_host(self, timeout: float | None) -> None:
        if threading.current_thread() is not threading.main_thread():
            super()._run_host(timeout)
        elif self._reserved.lend():
            try:
                super()._run_host(timeout)
            finally:
                self._reserved.keep()
        else:
            # The loop can't be run now; soon there may be descriptors, and its work goes on.
            longest = ACCEPT_PAUSE
            self._inner.wait(longest if timeout is None else min(timeout, longest))

    def abandon(self) -> None:
        super().abandon()
        self._reserved.abandon()

    def close(self) -> None:
        super().close()
        self._reserved.close()

    @classmethod
    def _takes(cls, loop: asyncio.AbstractEventLoop) -> bool:
        return type(loop).__module__.partition(".")[0] == "uvloop"

    @classmethod
    def _new_loop(cls) -> asyncio.AbstractEventLoop:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
