"""Runs a module of the suite that Twisted has for reactors, over ours: own_suite.py MODULE MAP."""

from __future__ import annotations

import sys
import tempfile
import types
from importlib import import_module

from twisted.internet.test import reactormixins
from twisted.trial import reporter, runner

import asynccore
from compat import ClassicReactor

# Changes to user 1, who may not be able to read the interpreter: fails over Twisted's own, too.
LEFT_OUT = {"test_changeUID"}

name, kind = sys.argv[1:]


class Fresh(ClassicReactor):
    def __init__(self) -> None:
        super().__init__(asynccore.ChannelMap() if kind == "ChannelMap" else {})


fresh = types.ModuleType("fresh")
fresh.Fresh = Fresh  # type: ignore[attr-defined]
sys.modules["fresh"] = fresh
reactormixins.ReactorBuilder._reactors = ["fresh.Fresh"]

try:
    module = import_module(f"twisted.internet.test.{name}")
except ModuleNotFoundError as why:
    print(f"SKIP needs {why.name}")
    raise SystemExit from None

classes = [it for it in vars(module).values() if isinstance(it, type)]
for case in classes:
    for left_out in LEFT_OUT & vars(case).keys():
        delattr(case, left_out)
cases = [it for it in classes if it.__name__.endswith("FreshTests")]
suite = runner.TestSuite(map(runner.TestLoader().loadClass, cases))
with tempfile.TemporaryDirectory() as folder:
    trial = runner.TrialRunner(reporter.TextReporter, workingDirectory=f"{folder}/trial")
    result = trial.run(suite)
ran = result.testsRun - len(result.skips)
print(f"RAN {ran}" if result.wasSuccessful() else "FAILED")
