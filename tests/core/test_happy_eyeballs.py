"""The order of addresses and the schedule of attempts, by a clock of the test's own."""

from __future__ import annotations

import itertools
import socket
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynccore.connecting.happy_eyeballs import ATTEMPT_DELAY, Address, Race, interleave
from tests.core.fakes import PATIENT

FAMILIES = [int(socket.AF_INET6), int(socket.AF_INET)]
ADDRESSES = st.lists(
    st.builds(Address, st.sampled_from(FAMILIES), st.tuples(st.integers(0, 6).map(str))),
    max_size=12,
)


def six(number: int) -> Address:
    return Address(int(socket.AF_INET6), (f"2001:db8::{number}", 25, 0, 0))


def four(number: int) -> Address:
    return Address(int(socket.AF_INET), (f"192.0.2.{number}", 25))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([six(1), six(2), four(1), four(2)], [six(1), four(1), six(2), four(2)]),
        ([four(1), four(2), six(1)], [four(1), six(1), four(2)]),
        ([six(1), four(1), four(2), four(3)], [six(1), four(1), four(2), four(3)]),
        ([four(1), four(1), four(2)], [four(1), four(2)]),
    ],
)
def test_families_take_turns(given: list[Address], expected: list[Address]) -> None:
    assert interleave(given) == expected


@PATIENT
@given(ADDRESSES)
def test_the_order_keeps_each_address_once_and_each_familys_order(given: list[Address]) -> None:
    ordered = interleave(given)
    assert Counter(ordered) == Counter(set(given))
    for family in FAMILIES:
        unique = dict.fromkeys(address for address in given if address.family == family)
        assert [address for address in ordered if address.family == family] == list(unique)
    if given:
        assert ordered[0] == given[0]
    # Two of a family in a row only where the other has none left.
    for place, (one, two) in enumerate(itertools.pairwise(ordered)):
        if one.family == two.family:
            assert {address.family for address in ordered[place:]} == {one.family}


def test_attempts_are_a_delay_apart_unless_one_fails() -> None:
    race = Race([six(1), six(2), four(1), four(2)])
    assert race.begin(100.0) == six(1)
    assert race.begin(100.0) is None and race.due == 100.0 + ATTEMPT_DELAY == 100.25
    assert race.begin(100.25) == four(1)
    race.failed(six(1), 100.3)
    assert race.due == 100.3 and race.begin(100.3) == six(2) and race.begin(100.3) is None
    assert race.due == 100.55 and race.begin(101.0) == four(2)
    assert race.due is None and not race.lost
    for address in (four(1), six(2), four(2)):
        race.failed(address, 102.0)
    assert race.lost and race.begin(103.0) is None


def test_without_addresses_it_is_lost_at_once() -> None:
    assert Race([]).lost


@PATIENT
@given(
    ADDRESSES,
    st.floats(0.01, 10),
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 20)), max_size=60),
)
def test_any_course_of_events(
    given: list[Address], delay: float, events: list[tuple[float, int]]
) -> None:
    """Each address once and in order; no attempt early, none late, never idle."""
    race = Race(given, delay)
    now = 50.0
    begun: list[Address] = []
    running: list[Address] = []
    last = free = float("-inf")  # when one last began, and when one last failed
    for wait, victim in events:
        while (address := race.begin(now)) is not None:
            assert now >= last + delay or free >= last
            begun.append(address)
            running.append(address)
            last, free = now, float("-inf")
        assert running or race.lost
        assert race.due is None or race.due > now
        now += wait
        if running and victim < 12:
            address = running.pop(victim % len(running))
            race.failed(address, now)
            free = now
            assert race.due is None or race.due <= now
        assert race.lost == (not running and len(begun) == len(interleave(given)))
    assert begun == interleave(given)[: len(begun)]
