"""Run a module of the suite that Twisted has for reactors, over a chosen one; print nothing.

Started as a program of its own, by path, as child.py is:

    python reactor_child.py MODULE WAY RESULT_FILE [SELECTOR...]

MODULE is a module of `twisted.internet.test`. WAY is `epoll` for Twisted's own reactor, which says
what is right; `ChannelMap` and `dict` for `ClassicReactor` on such a map. Twisted makes a class of
tests for each reactor (`ReactorBuilder`), and what is not made by that is not run. The ids bear no
reactor's name, so that two ways can be compared. The result is that of child.py; `pollers` says how
many of our reactors were made, if any.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
import unittest

# What ReactorBuilder appends to the names of classes for the reactors below.
SUFFIXES = {"epoll": "_EPollReactorTests", "ChannelMap": "_FreshTests", "dict": "_FreshTests"}


def reactor_name(way: str, made: list[int]) -> str:
    """Return the name by which ReactorBuilder finds the class; `made` counts those of ours."""
    if way == "epoll":
        return "twisted.internet.epollreactor.EPollReactor"
    import asynccore
    from compat import ClassicReactor

    class Fresh(ClassicReactor):
        def __init__(self) -> None:
            made[0] += 1
            super().__init__(asynccore.ChannelMap() if way == "ChannelMap" else {})

    module = types.ModuleType("fresh")
    module.Fresh = Fresh  # type: ignore[attr-defined]
    sys.modules["fresh"] = module
    return "fresh.Fresh"


def main(module_name: str, way: str, result_file: str, *selectors: str) -> None:
    from twisted.internet.test import reactormixins

    from tests.interpreters.child import run_and_report

    made = [0]
    reactormixins.ReactorBuilder._reactors = [reactor_name(way, made)]
    module = importlib.import_module(f"twisted.internet.test.{module_name}")
    suffix = SUFFIXES[way]
    loader = unittest.TestLoader()
    suite = unittest.TestSuite()
    for name, kind in sorted(vars(module).items()):
        if isinstance(kind, type) and name.endswith(suffix):
            # Twisted's suites are in the classes' order, and here each has the name of its module.
            for test in loader.loadTestsFromTestCase(kind):
                short = test.id().replace(suffix, "")
                test.id = lambda short=short: short  # type: ignore[method-assign,misc]
                if not selectors or short in selectors:
                    suite.addTest(test)
    run_and_report(
        suite,
        result_file,
        lambda: {"bound": {}, "pollers": [f"{way} {made[0]}"] if made[0] else []},
    )


if __name__ == "__main__":
    sys.path[0] = os.environ["ASYNCCORE_SUITE_ROOT"]
    main(*sys.argv[1:])
