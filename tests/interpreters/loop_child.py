"""Run a module of the interpreter's `test.test_asyncio` with a chosen event loop; print nothing.

Started as a program of its own, by path, as child.py is:

    python loop_child.py MODULE WAY RESULT_FILE [SELECTOR...]

MODULE is a module of `test.test_asyncio`. WAY is `asyncio` for its own loop, which says what is
right; `own` for ours, which runs itself; `pumped` for ours when the classic `loop()` runs its map.
The result is that of child.py; `pollers` says how often each of our ways ran, if it did.

The tests make their loops by `asyncio.SelectorEventLoop`, `asyncio.EventLoop` or
`asyncio.new_event_loop`, or have `asyncio.run` and `unittest` make them: what is put in place of
these is a loop of ours, on a map of its own. What a module tests of asyncio's parts alone (its
selector loop's methods with a mock of a selector, say) goes on testing those.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import unittest
from typing import Any


def loop_class(way: str, runs: dict[str, int]) -> Any:
    """Return what stands in for `asyncio.SelectorEventLoop`; `runs` counts who made the passes."""
    import asynccore
    from compat import ClassicLoop

    class Loop(ClassicLoop):
        def __init__(self, selector: object = None) -> None:
            super().__init__(map=asynccore.ChannelMap())

        def run_forever(self) -> None:
            runs["own"] += 1
            super().run_forever()

    class PumpedLoop(Loop):
        def run_forever(self) -> None:
            state: Any = self
            running = asyncio._get_running_loop() is not None
            if running or self.is_running() or self.is_closed() or state._stopping:
                # It raises what is to be raised, or runs the one round that stop() leaves.
                super().run_forever()
                return
            runs["pumped"] += 1
            # A classic loop ends when its map is empty, and asyncio's waits until it is stopped.
            state._selecting.hold(1)
            try:
                asynccore.loop(map=self.map, until_idle=True)
            finally:
                state._selecting.hold(-1)

    return {"own": Loop, "pumped": PumpedLoop}[way]


def put_in_place(kind: Any) -> None:
    """Make every way in which a test may ask for a loop make one of this class."""
    from asyncio import unix_events

    for module in (asyncio, unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, kind)
    for name in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        if hasattr(unix_events, name):
            getattr(unix_events, name)._loop_factory = kind


def main(module_name: str, way: str, result_file: str, *selectors: str) -> None:
    from tests.interpreters.child import run_and_report

    support: Any = importlib.import_module("test.support")
    support.use_resources = []  # no network, no minutes-long tests
    runs = {"own": 0, "pumped": 0}
    if way != "asyncio":
        put_in_place(loop_class(way, runs))
    module = importlib.import_module(f"test.test_asyncio.{module_name}")
    loader = unittest.TestLoader()
    if selectors:
        # A test's id is what the loader finds it by, but for the module.
        names = [name.removeprefix(f"{module.__name__}.") for name in selectors]
        suite = loader.loadTestsFromNames(names, module)
    else:
        suite = loader.loadTestsFromModule(module)
    run_and_report(
        suite,
        result_file,
        lambda: {
            "bound": {},
            "pollers": [f"{way} {count}" for way, count in runs.items() if count],
        },
    )


if __name__ == "__main__":
    sys.path[0] = os.environ["ASYNCCORE_SUITE_ROOT"]
    main(*sys.argv[1:])
