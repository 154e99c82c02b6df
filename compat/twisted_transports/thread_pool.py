"""A pool of threads that keeps the loop until its jobs are done and their results have arrived.

`deferToThread`, and the look-up of names, hand their jobs to the pool and not to the reactor.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from twisted.python import log
from twisted.python.threadpool import ThreadPool

from .descriptor_set import DescriptorSet

_Report = Callable[[bool, Any], object]


class CountedPool(ThreadPool):
    """The pool of a `ClassicReactor`, which is its `reactor`."""

    reactor: DescriptorSet

    @classmethod
    def adopt(cls, pool: Any, reactor: DescriptorSet) -> None:
        """Make a pool that has no threads yet one of these."""
        pool.__class__ = cls
        pool.reactor = weakref.proxy(reactor)

    def callInThreadWithCallback(
        self, onResult: _Report | None, func: Callable[..., Any], *args: object, **kw: object
    ) -> None:
        """Call `func` in a thread, and there `onResult` with what came of it. From any thread."""
        if self.joined:
            return  # A pool of Twisted's that was stopped does nothing, either.
        reactor = self.reactor
        reactor.engine.run_on_loop(reactor._ac_hold)

        def report(success: bool, result: object) -> None:
            try:
                if onResult is not None:
                    onResult(success, result)
                elif not success:
                    log.err(result, "in a job of the thread pool")  # type: ignore[no-untyped-call]
            finally:
                reactor.callFromThread(reactor._ac_release)

        super().callInThreadWithCallback(report, func, *args, **kw)
