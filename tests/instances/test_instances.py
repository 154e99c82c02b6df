"""The quick part of `python -m tests.instances`: fewer connections."""

from __future__ import annotations

import pytest

from tests.instances import __main__ as instances


def test_nobody_is_cut_while_instances_are_replaced() -> None:
    lacks = instances.missing()
    if lacks is not None:
        pytest.skip(lacks)
    outcome = instances.replace_under_load(100, clients=2)
    assert outcome.failures == []
    assert outcome.connections >= 100 and set(outcome.answered_by) == set(instances.INSTANCES)


def test_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(instances.shutil, "which", lambda name: None)
    monkeypatch.setattr(instances.sys, "platform", "linux")
    assert instances.main([]) == 2
    assert capsys.readouterr().out == "this system has no ip\n"
