"""Big transfers both ways at once, with pauses by chance; `python -m tests.tls.bulk` does more."""

from __future__ import annotations

import sys

import pytest

from tests.tls import bulk
from tests.tls.support import VERSIONS


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_everything_arrives_both_ways(version: int, poller_name: str) -> None:
    bulk.move(version, 4 << 20, poller_name)


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bulk", "1"])
    assert bulk.main() == 0
    assert capsys.readouterr().out.count("1 MB each way") == 2


def test_a_difference_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Wrong(bulk.Mover):
        def handle_read(self) -> None:
            super().handle_read()
            if self.received > 100_000:
                self.heard.update(b"")
                self.said.update(b"!")

    monkeypatch.setattr(bulk, "Mover", Wrong)
    monkeypatch.setattr(sys, "argv", ["bulk", "1"])
    assert bulk.main() == 1
    assert "TLS 1.2" in capsys.readouterr().out
