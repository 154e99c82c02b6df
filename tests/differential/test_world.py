"""The same random script, on the classic loop and on ours, gives the same handler calls and bytes.

`HYPOTHESIS_PROFILE=deep python -m pytest tests/differential` searches fifty times as long, with
other scripts each time.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.differential.differences import compare
from tests.differential.reference import CLASSIC, ours
from tests.differential.scripts import budget, scripts
from tests.differential.world import World


def differences(script: list[Any], poller: str, plain_map: bool, inside: bool) -> list[str]:
    found: list[str] = []
    for patient in (False, True):
        original = World(CLASSIC, inside=inside, patient=patient).run(script)
        replacement = World(ours(poller, plain_map), inside=inside, patient=patient).run(script)
        found = compare(original, replacement)
        if not found:
            break
    return found


def same(script: list[Any], poller: str, plain_map: bool, inside: bool) -> None:
    found = differences(script, poller, plain_map, inside)
    assert not found, "\n".join(found)


def test_between_passes(poller_name: str) -> None:
    @budget(140)
    @given(scripts, st.booleans())
    def run(script: list[Any], plain_map: bool) -> None:
        same(script, poller_name, plain_map, inside=False)

    run()


def test_in_handlers(poller_name: str) -> None:
    @budget(140)
    @given(scripts, st.booleans())
    def run(script: list[Any], plain_map: bool) -> None:
        same(script, poller_name, plain_map, inside=True)

    run()
