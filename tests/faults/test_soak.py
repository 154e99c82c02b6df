"""The soak command itself, for some rounds: it ends, and it would tell."""

from __future__ import annotations

import random

import pytest

from tests.soak import __main__ as soak


def test_some_rounds_leave_nothing(poller_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "CONNECTIONS", 3)
    load = soak.Load(poller_name, random.Random(1))
    try:
        for _ in range(3):
            load.round()
        assert load.failures == [] and load.mail.messages == 9
        assert load.look().events > 0
    finally:
        soak.asynccore.close_all(load.map)


def test_growth_is_a_slope() -> None:
    assert soak.slope([(0, 5), (10, 5), (20, 5)]) == 0
    assert soak.slope([(0, 0), (10, 30), (20, 60)]) == pytest.approx(3)
    assert soak.slope([]) == soak.slope([(1, 2)]) == soak.slope([(1, 2), (1, 3)]) == 0


@pytest.mark.parametrize(("grows", "status"), [(0, 0), (1 << 20, 1)])
def test_the_status_tells_of_growth(
    grows: int, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak, "CONNECTIONS", 1)
    monkeypatch.setattr(soak, "WARM_UP_ROUNDS", 1)
    looks = iter(range(1000))

    def look(load: soak.Load) -> soak.Look:
        number = next(looks)
        return soak.Look(number * 1000, number * grows, 7)

    monkeypatch.setattr(soak.Load, "look", look)
    assert soak.soak(0, None, 1) == status
    assert "descriptors: +0.00 per million events" in capsys.readouterr().out
