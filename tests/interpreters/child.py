"""Run one of the interpreter's own test suites with chosen modules in place; print nothing.

Started as a program of its own, by path, so that the suite meets a process in which nothing of
the surrounding test run is loaded:

    python child.py SUITE IMPLEMENTATION RESULT_FILE [SELECTOR...]

SUITE is a module of the standard library's `test` package. IMPLEMENTATION is `original`, or
a JSON object that maps `asyncore`, `asynchat` and `smtpd` to what shall stand in for them: an
importable module name, or the path of a file. A SELECTOR is a class or `Class.test_method` of the
suite; without one the whole suite runs. The result is a JSON object, see `Outcome` in runner.py.

The classic modules are where each version put them: at top level up to 3.11, then in
`test.support` because the library's own tests went on needing them, except that 3.12 keeps
`smtpd` in `test` itself. A suite binds them when it is imported, as module globals; those very
globals are what the proof of the swap looks at.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import sys
import time
import types
import unittest
from collections.abc import Callable
from typing import Any

CLASSIC = ("asyncore", "asynchat", "smtpd")

# In each place where some version of the interpreter keeps the classic modules.
HOMES = ("{}", "test.support.{}", "test.{}")


def load_stand_in(name: str, where: str) -> types.ModuleType:
    if not where.endswith(".py"):
        return importlib.import_module(where)
    spec = importlib.util.spec_from_file_location(name, where)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a file's own imports of its siblings must find this one
    spec.loader.exec_module(module)
    return module


def put_in_place(stand_ins: dict[str, str]) -> None:
    """Make every way in which a suite may import the classic modules find the stand-ins."""
    for name, where in stand_ins.items():
        module = load_stand_in(name, where)
        for home in HOMES:
            place = home.format(name)
            sys.modules[place] = module
            package, _, _ = place.rpartition(".")
            if package:
                # `from package import name` looks at the attribute before sys.modules.
                setattr(importlib.import_module(package), name, module)


class Collector(unittest.TestResult):
    """Notes one word for each test, and the traceback of those that went wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, str] = {}
        self.details: dict[str, str] = {}

    def _note(self, test: unittest.TestCase, outcome: str, detail: str = "") -> None:
        # The id of a failed subtest carries its parameters; it counts for its test.
        name = getattr(test, "test_case", test).id()
        if self.outcomes.get(name) in ("failed", "error"):
            return
        self.outcomes[name] = outcome
        if detail:
            self.details[name] = detail

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._note(test, "passed")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self._note(test, "failed", self.failures[-1][1])

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self._note(test, "error", self.errors[-1][1])

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._note(test, "skipped", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._note(test, "passed")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self._note(test, "failed", "an expected failure did not happen")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            collected = self.failures if failed else self.errors
            self._note(test, "failed" if failed else "error", collected[-1][1])


def run_and_report(
    suite: unittest.TestSuite, result_file: str, facts: Callable[[], dict[str, Any]]
) -> None:
    """Run a suite, and write what came of it, with the facts that are known then."""
    # What was imported stays, and these suites collect garbage again and again.
    gc.collect()
    gc.freeze()
    collector = Collector()
    started = time.monotonic()
    suite.run(collector)
    result = {
        "outcomes": collector.outcomes,
        "details": collector.details,
        "seconds": round(time.monotonic() - started, 2),
        **facts(),
    }
    with open(result_file, "w", encoding="utf-8") as out:
        json.dump(result, out)


def main(suite_name: str, implementation: str, result_file: str, *selectors: str) -> None:
    stand_ins: dict[str, str] = {} if implementation == "original" else json.loads(implementation)
    support: Any = importlib.import_module("test.support")
    support.use_resources = []  # no network, no minutes-long tests
    waited: set[str] = set()
    if "asynccore" in stand_ins.values():
        engines: Any = importlib.import_module("compat.engines")
        engine = os.environ.get("ASYNCCORE_ENGINE")
        if engine in engines.HOSTS:
            engines.register()
            engines.poller_class(engine)
        watch_pollers(waited)
    put_in_place(stand_ins)
    suite_module = importlib.import_module(f"test.{suite_name}")
    loader = unittest.TestLoader()
    if selectors:
        suite = loader.loadTestsFromNames(selectors, suite_module)
    else:
        suite = loader.loadTestsFromModule(suite_module)
    bound = {
        name: str(vars(suite_module)[name].__file__)
        for name in CLASSIC
        if isinstance(vars(suite_module).get(name), types.ModuleType)
    }
    run_and_report(suite, result_file, lambda: {"bound": bound, "pollers": sorted(waited)})


def watch_pollers(waited: set[str]) -> None:
    """Note in `waited` the name of each asynccore poller that is made to wait.

    One that waits in a host is noted when it runs the host.
    """

    def noting(wait: Any) -> Any:
        def wait_and_note(self: Any, timeout: float | None) -> Any:
            waited.add(self.name)
            return wait(self, timeout)

        return wait_and_note

    kinds = importlib.import_module("asynccore.pollers.base").Poller.__subclasses__()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        method = "_run_host" if hasattr(kind, "_run_host") else "wait"
        if method in vars(kind):
            setattr(kind, method, noting(vars(kind)[method]))


if __name__ == "__main__":
    # The folder of this file must not be importable, and the stand-ins' must: see runner.py.
    sys.path[0] = os.environ["ASYNCCORE_SUITE_ROOT"]
    main(*sys.argv[1:])
