"""The map: a dict in every respect, which reports exactly what changed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from asynccore import ChannelMap, channels
from asynccore.engine import leave_map
from asynccore.pollers import READ
from asynccore.testing import Fakes
from tests.core.fakes import PATIENT, Channel


class Recorder:
    """In the place of an engine."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []

    def added(self, fd: Any) -> None:
        self.log.append(("added", fd))

    def removed(self, fd: Any) -> None:
        self.log.append(("removed", fd))


def outcome(call: Any) -> Any:
    """What a call returns, or the type of what it raises."""
    try:
        return call()
    except Exception as why:
        return type(why)


KEYS = st.integers(0, 5)
VALUES = st.sampled_from("abc")
ITEMS = st.dictionaries(KEYS, VALUES, max_size=4)


class LikeADict(RuleBasedStateMachine):
    @initialize(items=ITEMS)
    def begin(self, items: dict[int, str]) -> None:
        self.map = ChannelMap(items)
        self.model = dict(items)
        self.map.engine = self.recorder = Recorder()
        self.shadow = dict(items)

    def both(self, operation: Any) -> None:
        before = dict(self.model)
        found, expected = (
            outcome(lambda: operation(self.map)),
            outcome(lambda: operation(self.model)),
        )
        if found is self.map:
            assert expected is self.model
        else:
            assert found == expected
        # What changed was reported, and nothing else was.
        log, self.recorder.log = self.recorder.log, []
        for key in before.keys() | self.model.keys():
            reports = [what for what, fd in log if fd == key]
            if key in before and key not in self.model:
                assert reports == ["removed"]
            elif key in self.model and before.get(key) != self.model[key]:
                assert reports == ["added"]
            else:
                assert reports in ([], ["added"])
        assert {fd for _, fd in log} <= before.keys() | self.model.keys()

    @rule(key=KEYS, value=VALUES)
    def set(self, key: int, value: str) -> None:
        self.both(lambda m: m.__setitem__(key, value))

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        self.both(lambda m: m.__delitem__(key))

    @rule(key=KEYS)
    def pop(self, key: int) -> None:
        self.both(lambda m: m.pop(key))

    @rule(key=KEYS, default=VALUES | st.none())
    def pop_with_default(self, key: int, default: str | None) -> None:
        self.both(lambda m: m.pop(key, default))

    @rule()
    def popitem(self) -> None:
        self.both(lambda m: m.popitem())

    @rule()
    def clear(self) -> None:
        self.both(lambda m: m.clear())

    @rule(key=KEYS, default=VALUES | st.none())
    def setdefault(self, key: int, default: str | None) -> None:
        self.both(lambda m: m.setdefault(key, default))

    @rule(items=ITEMS)
    def update(self, items: dict[int, str]) -> None:
        self.both(lambda m: m.update(items))

    @rule(items=ITEMS)
    def update_with_pairs(self, items: dict[int, str]) -> None:
        self.both(lambda m: m.update(iter(items.items())))

    @rule(items=ITEMS)
    def update_in_place(self, items: dict[int, str]) -> None:
        self.both(lambda m: m.__ior__(items))

    @rule(items=ITEMS)
    def join(self, items: dict[int, str]) -> None:
        self.both(lambda m: m | items)
        self.both(lambda m: items | m)

    @rule(key=KEYS, default=VALUES)
    def look(self, key: int, default: str) -> None:
        self.both(lambda m: (m.get(key), m.get(key, default), key in m, len(m), bool(m)))
        self.both(lambda m: m[key])
        self.both(lambda m: (list(m), list(reversed(m)), list(m.values()), list(m.items())))
        self.both(lambda m: (m.copy(), repr(m)))

    @rule()
    def wrong_calls(self) -> None:
        self.both(lambda m: m.update(5))
        self.both(lambda m: m.update({}, {}))
        self.both(lambda m: m.__setitem__([], 1))

    @invariant()
    def equal(self) -> None:
        assert self.map == self.model
        assert list(self.map.items()) == list(self.model.items())


LikeADict.TestCase.settings = settings(PATIENT, max_examples=60, stateful_step_count=30)
TestLikeADict = LikeADict.TestCase


def test_it_is_a_dict_without_an_engine() -> None:
    map = ChannelMap({1: "a"}, b="c")
    assert isinstance(map, dict)
    assert map == {1: "a", "b": "c"}
    assert map.engine is None
    assert (map.pop(1), map.popitem(), len(map)) == ("a", ("b", "c"), 0)
    map[2] = "x"
    del map[2]
    map.clear()
    assert ChannelMap.fromkeys([1, 2], "x") == {1: "x", 2: "x"}


@pytest.mark.parametrize("how", ["set", "setdefault", "update", "ior", "init"])
def test_negative_descriptors_are_refused(how: str) -> None:
    map = ChannelMap({1: "a"})
    map.engine = recorder = Recorder()
    with pytest.raises(ValueError, match="can't map 'x' under descriptor -1: it is closed"):
        if how == "set":
            map[-1] = "x"
        elif how == "setdefault":
            map.setdefault(-1, "x")
        elif how == "update":
            map.update({-1: "x"})
        elif how == "ior":
            map |= {-1: "x"}
        else:
            ChannelMap({-1: "x"})
    assert map == {1: "a"}
    assert recorder.log == []


def test_none_is_a_key_as_for_a_dispatcher_without_a_socket() -> None:
    map = ChannelMap()
    map[None] = "waits"
    assert map == {None: "waits"}


def copies(map: ChannelMap) -> Mapping[str, Any]:
    found = {"copy": copy.copy(map), "deepcopy": copy.deepcopy(map)}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        found[f"pickle {protocol}"] = pickle.loads(pickle.dumps(map, protocol))
    return found


def test_copies_and_pickles_hold_the_same_without_the_engine() -> None:
    map = ChannelMap({1: ["a"]})
    map.engine = recorder = Recorder()
    for how, other in copies(map).items():
        assert type(other) is ChannelMap, how
        assert other == map and other is not map
        assert other.engine is None
        other[2] = "b"
        assert (other[1] is map[1]) == (how == "copy")
    assert map == {1: ["a"]}
    assert recorder.log == []


def test_plain_copies_are_plain() -> None:
    assert type(ChannelMap({1: 2}).copy()) is dict


def test_it_can_be_referred_to_weakly() -> None:
    import weakref

    map = ChannelMap()
    assert weakref.ref(map)() is map
    with pytest.raises(AttributeError):
        map.other = 1  # type: ignore[attr-defined]


def test_reports_changes_declares_a_predicate() -> None:
    def readable(self: object) -> bool:
        return True

    assert channels.reports_changes(readable) is readable
    assert readable in channels.REPORTING_PREDICATES
    channels.REPORTING_PREDICATES.discard(readable)


def test_the_way_of_dispatchers() -> None:
    map = ChannelMap()
    assert map._ac_enter(5, "a") is None
    map.engine = recorder = Recorder()
    assert map._ac_enter(6, "b") is recorder
    with pytest.raises(ValueError, match="descriptor -1: it is closed"):
        map._ac_enter(-1, "c")
    map._ac_leave(5)
    with pytest.raises(KeyError):
        map._ac_leave(5)
    assert map == {6: "b"} and recorder.log == [("added", 6), ("removed", 5)]


# Leaving a map ---------------------------------------------------------------------------------


class Derived(ChannelMap):
    """A map of a program's, which sees what leaves."""

    def __delitem__(self, fd: Any) -> None:
        self.left = fd
        super().__delitem__(fd)


def test_a_poller_knows_at_once_of_what_leaves(any_fakes: Fakes) -> None:
    """Whatever the map is: the descriptor may be closed next, and its number is given again."""
    engine, _, poller = any_fakes
    engine.map[5] = channel = Channel()
    engine.run_pass(0)
    assert poller.interest[5] & READ
    assert leave_map(engine.map, 5, channel)
    assert 5 not in engine.map and 5 not in poller.interest


def test_only_the_channel_itself_leaves(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    engine.map[5] = channel = Channel()
    engine.run_pass(0)
    assert not leave_map(engine.map, 5, Channel())
    assert not leave_map(engine.map, 6, channel)
    assert engine.map[5] is channel and poller.interest[5] & READ


def test_a_map_of_a_program_sees_what_leaves(with_fakes: Any) -> None:
    map = Derived()
    engine, _, poller = with_fakes(map)
    map[5] = channel = Channel()
    engine.run_pass(0)
    assert leave_map(map, 5, channel)
    assert map.left == 5 and not map and 5 not in poller.interest
