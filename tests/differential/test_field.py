"""Random programs in the styles of the field come to the same on both sides (`field`)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.field import HOOKS, STYLES, WAYS, FieldWorld
from tests.differential.reference import CLASSIC, ours
from tests.differential.scripts import budget, verb

kinds = st.sampled_from(["sender", "chat", "plain"])
indexes = st.integers(0, 5)
pieces = st.sampled_from([b"a", b"line\n", b"two\nlines\n", b"no end", b"\n", b"x" * 3000 + b"\n"])
steps = st.one_of(
    verb("make", kinds, st.sampled_from(["pair", "blocking", "connect"])),
    verb("listen", st.sampled_from(["made", "blocking"])),
    verb("dial", indexes, kinds),
    verb("send", indexes, pieces),
    verb("peer_send", indexes, pieces),
    verb("peer_close", indexes),
    verb("replace", indexes, st.sampled_from(HOOKS), st.sampled_from(WAYS)),
    verb("close", indexes),
)
scripts = st.lists(steps, min_size=3, max_size=14)


@pytest.mark.parametrize("style", STYLES)
def test_it_comes_to_the_same(style: str, poller_name: str) -> None:
    @budget(60)
    @given(scripts, st.booleans())
    def run(script: list[Any], plain_map: bool) -> None:
        expected = FieldWorld(CLASSIC).run(script)
        assert FieldWorld(ours(poller_name, plain_map), style).run(script) == expected

    run()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_socket_replaced_in_each_hook(hook: str, way: str, style: str) -> None:
    kind = "chat" if hook == "line" else "plain"
    script: list[Any] = [("make", kind, "connect")]
    if hook == "accepted":
        script = [("listen", "made"), ("replace", 0, hook, way), ("dial", 0, "chat")]
    elif hook == "connect":
        script = [("make", kind, "connect"), ("close", 0), ("make", kind, "connect")]
    script += [
        *(("replace", 0, hook, way), ("peer_send", 0, b"one\nmore\n"), ("send", 0, b"out\n")),
        *(("peer_send", 0, b"two\n"), ("peer_send", 1, b"x\n"), ("send", 1, b"y\n")),
        *(("dial", 0, "sender"), ("peer_close", 1), ("peer_close", 0)),
    ]
    expected = FieldWorld(CLASSIC).run(script)
    assert FieldWorld(ours("poll"), style).run(script) == expected
