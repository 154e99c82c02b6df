"""Sweeps: own predicates are asked once each, and only differences are told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asynccore.engine.sweeps import OWN_BOTH, OWN_READABLE, OWN_WRITABLE, Sweeps
from asynccore.pollers import READ, WRITE
from tests.core.fakes import PATIENT, Channel

Answer = tuple[int, int]


def ask(sweeps: Sweeps) -> list[Answer]:
    return sorted((fd, answer) for fd, _, _, answer in sweeps.ask())


def test_each_kind_is_asked_for_its_own_predicates() -> None:
    sweeps = Sweeps()
    both, reading, writing = Channel(1, "yes"), Channel(True, True), Channel(True, True)
    sweeps.set(1, OWN_BOTH, both)
    sweeps.set(2, OWN_READABLE, reading)
    sweeps.set(3, OWN_WRITABLE, writing)
    assert sorted(sweeps.ask()) == [
        (1, both, OWN_BOTH, READ | WRITE),
        (2, reading, OWN_READABLE, READ),
        (3, writing, OWN_WRITABLE, WRITE),
    ]
    assert (both.asked, reading.asked, writing.asked) == (1, 1, 0)


@pytest.mark.parametrize("false", [False, 0, None, b"", []])
def test_any_false_value_is_a_no(false: object) -> None:
    sweeps = Sweeps()
    for fd, kind in enumerate((OWN_BOTH, OWN_READABLE, OWN_WRITABLE)):
        sweeps.set(fd, kind, Channel(false, false))
    assert ask(sweeps) == [(0, 0), (1, 0), (2, 0)]


def test_only_differences_are_told() -> None:
    sweeps = Sweeps()
    channels = [Channel() for _ in range(3)]
    for fd, channel in enumerate(channels):
        sweeps.set(fd, OWN_BOTH, channel)
    assert len(ask(sweeps)) == 3
    assert ask(sweeps) == []
    channels[1].wants_write = True
    assert ask(sweeps) == [(1, READ | WRITE)]
    assert ask(sweeps) == []
    assert [channel.asked for channel in channels] == [4, 4, 4]


def test_unsettle_has_the_same_answer_told_again() -> None:
    sweeps = Sweeps()
    for fd in (1, 2):
        sweeps.set(fd, OWN_BOTH, Channel())
    ask(sweeps)
    sweeps.unsettle(2)
    sweeps.unsettle(99)
    assert ask(sweeps) == [(2, READ)]


def test_setting_the_same_again_changes_nothing() -> None:
    sweeps = Sweeps()
    channel = Channel()
    sweeps.set(1, OWN_BOTH, channel)
    ask(sweeps)
    sweeps.set(1, OWN_BOTH, channel)
    assert ask(sweeps) == []
    sweeps.set(1, OWN_BOTH, Channel())
    assert ask(sweeps) == [(1, READ)]


def test_a_channel_may_change_its_kind() -> None:
    sweeps = Sweeps()
    channel = Channel(True, True)
    sweeps.set(1, OWN_BOTH, channel)
    ask(sweeps)
    sweeps.set(1, OWN_WRITABLE, channel)
    assert sweeps.kinds == {1: OWN_WRITABLE}
    assert ask(sweeps) == [(1, WRITE)]
    assert channel.asked == 1


@pytest.mark.parametrize("removed", [1, 2, 3])
def test_the_others_keep_their_answers_when_one_goes(removed: int) -> None:
    sweeps = Sweeps()
    channels = {fd: Channel() for fd in (1, 2, 3)}
    for fd, channel in channels.items():
        sweeps.set(fd, OWN_BOTH, channel)
    ask(sweeps)
    sweeps.remove(removed)
    assert ask(sweeps) == []
    del channels[removed]
    for channel in channels.values():
        channel.wants_write = True
    assert ask(sweeps) == [(fd, READ | WRITE) for fd in channels]


def test_removing_what_is_not_in_does_nothing() -> None:
    sweeps = Sweeps()
    sweeps.remove(5)
    sweeps.set(1, OWN_BOTH, Channel())
    sweeps.remove(5)
    assert ask(sweeps) == [(1, READ)]


def test_clear_forgets_all() -> None:
    sweeps = Sweeps()
    channel = Channel()
    for fd in range(5):
        sweeps.set(fd, 1 + fd % 3, channel)
    sweeps.clear()
    assert sweeps.kinds == {}
    assert ask(sweeps) == []
    assert channel.asked == 0


@settings(PATIENT)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "remove", "unsettle", "answer", "ask"]),
            st.integers(0, 6),
            st.sampled_from([OWN_BOTH, OWN_READABLE, OWN_WRITABLE]),
        ),
        max_size=60,
    )
)
def test_churn_against_a_plain_dict(steps: list[tuple[str, int, int]]) -> None:
    sweeps = Sweeps()
    channels = [Channel(True, False) for _ in range(7)]
    kinds: dict[int, int] = {}
    told: dict[int, int | None] = {}

    def answer(fd: int) -> int:
        found = 0
        if kinds[fd] & OWN_READABLE and channels[fd].wants_read:
            found |= READ
        if kinds[fd] & OWN_WRITABLE and channels[fd].wants_write:
            found |= WRITE
        return found

    for what, fd, kind in [*steps, ("ask", 0, 0)]:
        if what == "set":
            sweeps.set(fd, kind, channels[fd])
            if kinds.get(fd) != kind:
                kinds[fd], told[fd] = kind, None
        elif what == "remove":
            sweeps.remove(fd)
            kinds.pop(fd, None)
        elif what == "unsettle":
            sweeps.unsettle(fd)
            told[fd] = None
        elif what == "answer":
            channels[fd].wants_write = not channels[fd].wants_write
        else:
            assert ask(sweeps) == [
                (fd, answer(fd)) for fd in sorted(kinds) if told[fd] != answer(fd)
            ]
            told = {fd: answer(fd) for fd in kinds}
    assert sweeps.kinds == kinds


# Predicates that change what is walked ------------------------------------------------------


def test_a_predicate_that_adds_and_removes_makes_the_lists_stale() -> None:
    sweeps = Sweeps()
    first, second, third = Channel(), Channel(), Channel()
    sweeps.set(1, OWN_BOTH, first)
    sweeps.set(2, OWN_BOTH, second)

    def replace() -> None:
        first.on_ask = lambda: None
        sweeps.remove(2)
        sweeps.set(3, OWN_BOTH, third)

    first.on_ask = replace
    told = [fd for fd, *_ in sweeps.ask()]
    assert sweeps.stale
    assert 1 in told and 3 not in told
    assert third.asked == 0
    assert sweeps.kinds == {1: OWN_BOTH, 3: OWN_BOTH}
    assert ask(sweeps) == [(1, READ), (3, READ)]
    assert not sweeps.stale
    assert second.asked == 1


def test_changes_while_stale_are_kept() -> None:
    sweeps = Sweeps()
    first = Channel()
    sweeps.set(1, OWN_BOTH, first)
    first.on_ask = lambda: sweeps.set(2, OWN_BOTH, Channel())
    ask(sweeps)
    first.on_ask = lambda: None
    sweeps.set(3, OWN_READABLE, Channel())
    sweeps.remove(2)
    assert [fd for fd, _ in ask(sweeps)] == [1, 3]


def test_a_change_between_two_answers_is_not_walked() -> None:
    """What the engine does with one answer may close the next channel."""
    sweeps = Sweeps()
    for fd in (1, 2, 3):
        sweeps.set(fd, OWN_BOTH, Channel())
    told = []
    for fd, *_ in sweeps.ask():
        told.append(fd)
        sweeps.remove(2)
    assert told == [1, 2, 3]
    assert sweeps.stale
    assert [fd for fd, _ in ask(sweeps)] == [1, 3]


def test_a_nested_sweep_leaves_the_outer_one_intact() -> None:
    sweeps = Sweeps()
    channels = {fd: Channel() for fd in (1, 2)}
    for fd, channel in channels.items():
        sweeps.set(fd, OWN_BOTH, channel)
    inner: list[Any] = []

    def nested() -> None:
        channels[1].on_ask = lambda: None
        sweeps.set(3, OWN_BOTH, Channel())
        inner.extend(ask(sweeps))

    channels[1].on_ask = nested
    outer = ask(sweeps)
    assert inner == [(1, READ), (2, READ)]
    assert {fd for fd, _ in outer} <= {1, 2}
    assert sweeps.stale
    assert 3 in dict(ask(sweeps))


def test_a_predicate_that_raises_leaves_nothing_locked() -> None:
    sweeps = Sweeps()
    channel = Channel()

    def fail() -> None:
        raise ZeroDivisionError

    channel.on_ask = fail
    sweeps.set(1, OWN_BOTH, channel)
    with pytest.raises(ZeroDivisionError):
        ask(sweeps)
    channel.on_ask = lambda: None
    sweeps.set(2, OWN_BOTH, Channel())
    assert not sweeps.stale
    assert ask(sweeps) == [(1, READ), (2, READ)]


def test_an_abandoned_sweep_leaves_nothing_locked() -> None:
    sweeps = Sweeps()
    sweeps.set(1, OWN_BOTH, Channel())
    walk = sweeps.ask()
    next(walk)
    walk.close()
    sweeps.set(2, OWN_BOTH, Channel())
    assert not sweeps.stale
