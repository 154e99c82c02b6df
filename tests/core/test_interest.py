"""Interest: who is asked when, and what the poller is told."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, dispatcher, dispatcher_with_send, loop
from asynccore.engine import engine_for
from asynccore.engine.interest import REVIEW_INTERVAL
from asynccore.pollers import INVALID, PRIORITY, READ, WRITE
from asynccore.testing import Fakes, RecordingPoller
from tests.core.fakes import Channel, FakeSocket, Quiet

READS = READ | PRIORITY
WRITES = WRITE | PRIORITY


def told(poller: RecordingPoller, fd: int) -> list[int]:
    """What the poller was told of one descriptor since the last look."""
    found = [mask for number, mask in poller.sets if number == fd]
    poller.sets = [item for item in poller.sets if item[0] != fd]
    return found


def keep(fakes: Fakes) -> None:
    """Have a channel in the map that stays: an empty map gives the fake poller back."""
    fakes.engine.map[999] = Channel(False, False)


def stir(fakes: Fakes) -> None:
    """Have something run, so that a review comes."""
    fakes.engine.call_soon_threadsafe(lambda: None)
    fakes.engine.run_pass(0)


# Quiet channels -----------------------------------------------------------------------------


def test_a_quiet_channel_is_told_of_once(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    Quiet(1000, engine.map)
    Quiet(1001, engine.map, wants_write=True)
    for _ in range(3):
        engine.run_pass(0)
    assert told(poller, 1000) == [READS]
    assert told(poller, 1001) == [READS | WRITES]
    for _ in range(3):
        poller.report((1000, READ))
        engine.run_pass(0)
    assert told(poller, 1000) == []
    assert poller.interest.items() >= {1000: READS, 1001: READS | WRITES}.items()


def test_a_report_has_the_channel_asked_again(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    sock = FakeSocket(1000, takes=[2])
    channel = dispatcher_with_send(sock, engine.map)
    engine.run_pass(0)
    assert told(poller, 1000) == [READS]
    channel.send(b"hello")
    engine.run_pass(0)
    assert told(poller, 1000) == [READS | WRITES]
    poller.report((1000, WRITE))
    engine.run_pass(0)
    engine.run_pass(0)
    assert told(poller, 1000) == [READS]
    assert sock.output == b"hello"


def test_an_assignment_between_two_loops_is_noticed_at_once(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    channel = Quiet(1000, engine.map)
    asynccore.poll(0, engine.map)
    told(poller, 1000)
    channel.readable = lambda: False  # type: ignore[method-assign]
    asynccore.poll(0, engine.map)
    assert told(poller, 1000) == [0]
    del channel.readable
    asynccore.poll(0, engine.map)
    assert told(poller, 1000) == [READS]
    channel.accepting = False
    asynccore.poll(0, engine.map)
    assert told(poller, 1000) == [READS | WRITES]


def test_an_assignment_in_a_handler_is_noticed_for_its_own_channel(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    channel = Quiet(1000, engine.map)

    def assign() -> None:
        channel.readable = lambda: False  # type: ignore[method-assign]

    channel.on_read = assign
    engine.run_pass(0)
    poller.report((1000, READ))
    engine.run_pass(0)
    told(poller, 1000)
    engine.run_pass(0)
    assert told(poller, 1000) == [0]


def test_an_assignment_to_another_channel_is_noticed_by_the_review(any_fakes: Fakes) -> None:
    engine, clock, poller = any_fakes
    busy, other = Quiet(1000, engine.map), Quiet(1001, engine.map)

    def assign() -> None:
        other.readable = lambda: False  # type: ignore[method-assign]

    busy.on_read = assign
    engine.run_pass(0)
    poller.report((1000, READ))
    engine.run_pass(0)
    engine.run_pass(0)
    assert told(poller, 1001) == [READS]
    clock.advance(REVIEW_INTERVAL)
    engine.run_pass(0)
    assert told(poller, 1001) == [0]


def test_a_predicate_that_a_class_got_between_two_loops_is_noticed(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    cls = type("Patched", (Quiet,), {})
    cls(1000, engine.map)
    asynccore.poll(0, engine.map)
    assert told(poller, 1000) == [READS]
    answers = [False]
    cls.readable = lambda self: answers[0]  # type: ignore[attr-defined]
    asynccore.poll(0, engine.map)
    assert told(poller, 1000) == [0]
    answers[0] = True
    engine.run_pass(0)  # and from now on it is asked before every wait
    assert told(poller, 1000) == [READS]
    del cls.readable  # type: ignore[attr-defined]
    answers[0] = False
    asynccore.poll(0, engine.map)
    assert poller.interest[1000] == READS


# Own predicates -----------------------------------------------------------------------------


def test_own_predicates_are_asked_before_every_wait(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    channel = engine.map[1000] = Channel()
    for count in range(1, 4):
        engine.run_pass(0)
        assert channel.asked >= count
        assert len(poller.waits) == count
    before = channel.asked
    engine.run_pass(0)
    assert channel.asked == before + 1
    assert told(poller, 1000) == [READS]
    channel.wants_write = "yes"
    channel.wants_read = 0
    engine.run_pass(0)
    assert told(poller, 1000) == [WRITES]


@pytest.mark.parametrize("own", ["readable", "writable"])
def test_one_own_predicate_beside_one_of_ours(any_fakes: Fakes, own: str) -> None:
    engine, _, poller = any_fakes
    answers = [True]
    cls = type("Half", (dispatcher,), {own: lambda self: answers[0]})
    channel = cls(FakeSocket(1000), engine.map)
    engine.run_pass(0)
    assert poller.interest[1000] == READS | WRITES
    answers[0] = False
    engine.run_pass(0)
    assert poller.interest[1000] == (WRITES if own == "readable" else READS)
    channel.touch()
    engine.run_pass(0)
    assert poller.interest[1000] == (WRITES if own == "readable" else READS)
    answers[0] = True
    engine.run_pass(0)
    assert poller.interest[1000] == READS | WRITES


def test_a_constant_predicate_is_not_asked_without_a_reason(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes

    class NeverWrites(Quiet):
        def writable(self) -> bool:
            return False

    channel = NeverWrites(1000, engine.map, wants_write=True)
    for _ in range(3):
        engine.run_pass(0)
    assert told(poller, 1000) == [READS]
    assert engine.interest.table.reporting == {1000: channel}


def test_a_predicate_that_cannot_be_hashed_is_its_own(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes

    class Predicate:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> bool:
            return True

    class Odd(Channel):
        readable = Predicate()  # type: ignore[assignment]

    engine.map[1000] = Odd()
    engine.run_pass(0)
    assert told(poller, 1000) == [READS]


def test_a_channel_without_a_dict_is_asked_every_time(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes

    class Slots:
        __slots__ = ("answer", "log")
        accepting = False

        def __init__(self) -> None:
            self.answer, self.log = True, []

        def readable(self) -> bool:
            return self.answer

        def writable(self) -> bool:
            return False

        def handle_read_event(self) -> None:
            self.log.append("read")

        handle_write_event = handle_expt_event = handle_close = handle_error = handle_read_event

    channel = engine.map[1000] = Slots()
    engine.run_pass(0)
    poller.report((1000, READ))
    engine.run_pass(0)
    assert channel.log == ["read"]
    channel.answer = False
    engine.run_pass(0)
    assert told(poller, 1000) == [READS, 0]


def test_a_listener_is_not_asked_to_write(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    channel = engine.map[1000] = Channel(True, True)
    channel.accepting = True
    engine.run_pass(0)
    assert told(poller, 1000) == [READS]


def test_predicates_that_change_the_map_are_heard_before_the_wait(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    first, second = Channel(), Channel()

    def replace() -> None:
        first.on_ask = lambda: None
        del engine.map[1001]
        engine.map[1002] = Channel()

    engine.map[1000], engine.map[1001] = first, second
    engine.run_pass(0)
    first.on_ask = replace
    before = len(poller.waits)
    engine.run_pass(0)
    engine.run_pass(0)
    assert 1001 not in poller.interest
    assert poller.interest[1002] == READS
    # The wait that followed was no longer than a look, for something was left to ask.
    assert poller.waits[before] == 0


def test_what_a_predicate_raises_comes_out_and_is_not_forgotten(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    channel = engine.map[1000] = Channel()

    def fail() -> None:
        raise ZeroDivisionError

    channel.on_ask = fail
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            engine.run_pass(0)
    channel.on_ask = lambda: None
    engine.run_pass(0)
    assert told(poller, 1000) == [READS]


# Maps ---------------------------------------------------------------------------------------


def test_additions_replacements_and_removals(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    map = engine.map
    map[1000], map[1001] = Channel(), Channel()
    engine.run_pass(0)
    assert poller.interest.keys() >= {1000, 1001}
    replacement = map[1000] = Channel(False, True)
    del map[1001]
    map[1002] = Channel()
    engine.run_pass(0)
    assert {fd: mask for fd, mask in poller.interest.items() if fd >= 1000} == {
        1000: WRITES,
        1002: READS,
    }
    poller.report((1000, WRITE))
    engine.run_pass(0)
    assert replacement.log == ["write"]


def test_the_same_object_may_come_back_under_its_number(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    keep(any_fakes)
    sock = FakeSocket(1000)
    channel = dispatcher(sock, engine.map)
    engine.run_pass(0)
    channel.del_channel()
    channel.set_socket(sock, engine.map)
    engine.run_pass(0)
    assert poller.interest[1000] == READS | WRITES
    assert 0 in told(poller, 1000)


def test_channels_that_call_themselves_equal_are_told_apart(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes

    class Same(Channel):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Same)

        def __hash__(self) -> int:
            return 1

    engine.map[1000] = Same()
    engine.run_pass(0)
    second = engine.map[1000] = Same()
    engine.run_pass(0)
    poller.report((1000, READ))
    engine.run_pass(0)
    assert second.log == ["read"]


def test_what_cannot_be_a_channel_is_named_each_time(any_fakes: Fakes) -> None:
    engine, _, _ = any_fakes
    engine.map[1000] = "no channel"
    for _ in range(2):
        with pytest.raises(TypeError, match="holds 'no channel' under 1000, which can't be a "):
            engine.run_pass(0)
    del engine.map[1000]
    engine.map[1001] = Channel()
    engine.run_pass(0)


@pytest.mark.parametrize("key", [None, "socket", -1])
def test_a_key_that_is_no_descriptor_may_only_keep_the_loop_alive(
    with_fakes: Callable[[Any], Fakes], key: object
) -> None:
    engine, _, poller = with_fakes({})
    channel = engine.map[key] = Channel(False, False)
    engine.run_pass(0)
    assert poller.waits == [0]
    channel.wants_read = True
    with pytest.raises(ValueError, match="wants to be watched, but the map holds it under"):
        engine.run_pass(0)


def test_released_when_the_map_is_empty(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    engine.map[1000] = Channel()
    engine.run_pass(0)
    del engine.map[1000]
    engine.run_pass(0)
    assert poller.closed
    assert engine.poller is None
    another = RecordingPoller(engine.clock)  # type: ignore[arg-type]
    engine.attach(another)
    engine.map[1000] = Channel()
    engine.run_pass(0)
    assert told(another, 1000) == [READS]


def test_another_poller_is_told_everything(any_fakes: Fakes) -> None:
    engine, clock, _ = any_fakes
    Quiet(1000, engine.map)
    engine.map[1001] = Channel()
    engine.run_pass(0)
    another = RecordingPoller(clock)
    engine.attach(another)
    engine.run_pass(0)
    assert another.interest.items() >= {1000: READS, 1001: READS}.items()


# Descriptors that are refused or have vanished ----------------------------------------------


@pytest.mark.parametrize("kind", [Quiet, Channel])
def test_a_closed_descriptor_ends_its_channel(any_fakes: Fakes, kind: Any) -> None:
    engine, _, poller = any_fakes
    poller.refuse(1000)
    channel = Quiet(1000, engine.map) if kind is Quiet else Channel()
    engine.map[1000] = channel
    other = engine.map[1001] = Channel()
    engine.run_pass(0)
    assert channel.log == ["close"]
    assert dict(engine.map) == {1001: other}
    engine.run_pass(0)
    assert channel.log == ["close"]


@pytest.mark.parametrize(
    "why",
    [OSError(errno.ENOSPC, "too many"), ValueError("too high")],
    ids=["OSError", "ValueError"],
)
def test_what_a_poller_refuses_is_an_error_of_the_channel(any_fakes: Fakes, why: Any) -> None:
    engine, _, poller = any_fakes
    poller.refuse(1000, why)
    channel = engine.map[1000] = Channel()
    engine.run_pass(0)
    assert channel.log[0] == f"error {why!r}"


@pytest.mark.parametrize("kind", [Quiet, Channel])
def test_what_a_poller_refuses_is_told_once(any_fakes: Fakes, kind: Any) -> None:
    """Not before every wait, to a channel that stays."""
    engine, clock, poller = any_fakes
    why = OSError(errno.ENOSPC, "too many")
    poller.refuse(1000, why)
    channel = Quiet(1000, engine.map) if kind is Quiet else Channel()
    engine.map[1000] = channel
    other = engine.map[1001] = Channel()
    for number in range(4):
        stir(any_fakes)
        if kind is Quiet:
            channel.touch()
        else:
            channel.wants_write = bool(number % 2)
        clock.advance(REVIEW_INTERVAL)
        asynccore.poll(0, engine.map)
    assert channel.log == [f"error {why!r}"]
    assert 1000 not in poller.interest
    poller.report((1001, READ))
    engine.run_pass(0)
    assert other.log == ["read"]


def test_a_refusal_is_not_inherited_with_the_number(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    keep(any_fakes)
    poller.refuse(1000, OSError(errno.ENOSPC, "too many"))
    first, second = Channel(), Channel()
    for channel in (first, second):
        engine.map[1000] = channel
        engine.run_pass(0)
        engine.run_pass(0)
        assert len(channel.log) == 1
        del engine.map[1000]
        engine.run_pass(0)


def test_what_cannot_be_watched_may_be_tried_again(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    poller.refuse(1000, OSError(errno.ENOSPC, "too many"))
    channel = Quiet(1000, engine.map)
    engine.run_pass(0)
    poller._refused.clear()
    channel.touch()
    engine.run_pass(0)
    assert poller.interest[1000] == READS
    assert len(channel.log) == 1


# Before there is a poller, whose own descriptors could get the numbers of closed ones --------


class Holder(Channel):
    """A foreign channel with a socket."""

    def __init__(self, sock: Any) -> None:
        super().__init__()
        self.socket = sock


def test_channels_with_closed_sockets_are_buried(any_fakes: Fakes) -> None:
    engine = any_fakes.engine
    with socket.socket() as alive:
        dead, open_one = Quiet(1000, engine.map), Holder(alive)
        foreign, bare, empty = Holder(FakeSocket(1001)), Channel(), Holder(None)
        named = Holder(FakeSocket(1005))
        engine.map.update({alive.fileno(): open_one, 1001: foreign, 1002: bare, 1003: empty})
        engine.map["name"] = named
        engine.interest.bury_closed()
        assert set(engine.map) == {alive.fileno(), 1002, 1003, "name"}
    assert dead.log == foreign.log == ["close"]
    assert [c.log for c in (open_one, bare, empty, named)] == [[], [], [], []]


def test_on_windows_a_socket_is_no_descriptor(
    any_fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Quiet(1000, any_fakes.engine.map)
    monkeypatch.setattr(sys, "platform", "win32")
    any_fakes.engine.interest.bury_closed()
    assert channel.log == []


@pytest.mark.skipif(sys.platform == "win32", reason="a socket is no descriptor on Windows")
@pytest.mark.parametrize("kind", [ChannelMap, dict])
@pytest.mark.parametrize("how", ["loop(poller=...)", "environment"])
def test_a_number_that_the_poller_would_get_is_given_up_first(
    poller_name: str, kind: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    map = kind()
    ends = [end for _ in range(2) for end in socket.socketpair()]
    channels = [Quiet(end.fileno(), map) for end in ends]
    for end in ends:
        os.close(end.detach())
    monkeypatch.setenv("ASYNCCORE_ENGINE", poller_name)
    loop(0, map=map, poller=poller_name if how == "loop(poller=...)" else None, count=3)
    left = list(map)
    map.clear()
    engine_for(map).run_pass(0)  # a plain dict doesn't tell that it is empty
    assert left == []
    assert [channel.log for channel in channels] == [["close"]] * 4


def test_an_event_may_tell_of_a_closed_descriptor(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    channel = engine.map[1000] = Channel()
    engine.map[1001] = Channel()
    engine.run_pass(0)
    poller.report((1000, INVALID))
    engine.run_pass(0)
    assert channel.log == ["close"]
    assert list(engine.map) == [1001]
    assert told(poller, 1000)[-1] == 0


def test_the_review_finds_a_closed_descriptor(any_fakes: Fakes) -> None:
    engine, clock, poller = any_fakes
    channel = Quiet(1000, engine.map)
    engine.map[1001] = Channel()
    engine.run_pass(0)
    poller.refuse(1000)
    stir(any_fakes)
    assert channel.log == []
    clock.advance(REVIEW_INTERVAL)
    engine.run_pass(0)
    assert channel.log == ["close"]
    assert list(engine.map) == [1001]


def test_the_review_takes_out_what_belongs_to_nobody(any_fakes: Fakes) -> None:
    engine, clock, poller = any_fakes
    engine.map[1000] = Channel()
    engine.run_pass(0)
    poller.interest[1500] = READ
    poller.refuse(1500)
    stir(any_fakes)
    clock.advance(REVIEW_INTERVAL)
    engine.run_pass(0)
    assert 1500 not in poller.interest


def vanish(fakes: Fakes, channel: Any) -> None:
    fakes.engine.map[1000] = channel
    fakes.engine.map[1001] = Channel()
    fakes.engine.run_pass(0)
    fakes.poller.report((1000, INVALID))
    fakes.engine.run_pass(0)


def test_an_error_in_handle_close_goes_to_handle_error(any_fakes: Fakes) -> None:
    class Failing(Channel):
        def handle_close(self) -> None:
            raise ZeroDivisionError("oops")

    channel = Failing()
    vanish(any_fakes, channel)
    assert channel.log == ["error ZeroDivisionError('oops')"]
    assert 1000 not in any_fakes.engine.map


@pytest.mark.parametrize("why", [asynccore.ExitNow, KeyboardInterrupt, SystemExit])
def test_what_leaves_the_loop_leaves_handle_close(any_fakes: Fakes, why: Any) -> None:
    class Leaving(Channel):
        def handle_close(self) -> None:
            raise why

    with pytest.raises(why):
        vanish(any_fakes, Leaving())


def test_a_channel_that_lives_on_under_another_number_only_loses_the_entry(
    any_fakes: Fakes,
) -> None:
    channel = Channel()
    channel._fileno = 1234  # type: ignore[attr-defined]
    vanish(any_fakes, channel)
    assert channel.log == []
    assert 1000 not in any_fakes.engine.map


def test_a_channel_may_begin_anew_under_the_same_number(any_fakes: Fakes) -> None:
    class Phoenix(Quiet):
        def handle_close(self) -> None:
            self.log.append("close")
            self.close()
            self.set_socket(FakeSocket(1000))

    channel = Phoenix(1000, any_fakes.engine.map)
    vanish(any_fakes, channel)
    assert any_fakes.engine.map[1000] is channel
    any_fakes.engine.run_pass(0)
    assert any_fakes.poller.interest[1000] == READS | WRITES
    assert channel.log == ["close"]


def test_a_channel_that_replaced_itself_is_left_alone(any_fakes: Fakes) -> None:
    class Heir(Channel):
        def handle_close(self) -> None:
            any_fakes.engine.map[1000] = successor

    successor = Channel()
    vanish(any_fakes, Heir())
    assert any_fakes.engine.map[1000] is successor


# Muting -------------------------------------------------------------------------------------


def test_muted_means_not_read_whatever_the_channel_says(any_fakes: Fakes) -> None:
    engine, clock, poller = any_fakes
    Quiet(1000, engine.map)
    engine.map[1001] = Channel(True, True)
    engine.run_pass(0)
    engine.pause(1000)
    engine.pause(1001)
    engine.run_pass(0)
    assert 1000 not in poller.interest
    assert poller.interest[1001] == WRITES
    engine.resume(1000)
    engine.run_pass(0)
    assert poller.interest[1000] == READS
    clock.advance(REVIEW_INTERVAL)
    engine.run_pass(0)
    assert poller.interest[1001] == WRITES


def test_a_mute_is_not_inherited_with_the_number(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    keep(any_fakes)
    channel = Quiet(1000, engine.map)
    engine.run_pass(0)
    engine.pause(1000)
    engine.run_pass(0)
    channel.close()
    Quiet(1000, engine.map)
    engine.run_pass(0)
    assert poller.interest[1000] == READS


def test_the_end_of_a_rest_is_not_inherited_with_the_number(any_fakes: Fakes) -> None:
    """A listener rested and was closed; then its number belongs to a channel at its end."""
    engine, _, poller = any_fakes
    keep(any_fakes)
    listener = Quiet(1000, engine.map)
    engine.run_pass(0)
    listener._ac_as_listener().rest(listener)
    engine.run_pass(0)
    assert 1000 not in poller.interest
    listener.close()

    class HalfOpen(dispatcher):
        reads = 0

        def handle_read(self) -> None:
            self.reads += 1
            self.recv(10)

        def handle_close(self) -> None:
            pass  # it still has output

        def writable(self) -> bool:
            return False

    channel = HalfOpen(FakeSocket(1000, receives=[b"", b"", b""]), engine.map)
    engine.run_pass(0)
    poller.report((1000, READ))
    engine.run_pass(0)
    engine.run_pass(0)
    assert channel.reads == 1
    assert 1000 not in poller.interest
    engine.run_pass(5.0)
    engine.run_pass(0)
    assert 1000 not in poller.interest, "readable for ever, though its end was read already"


def test_a_map_may_be_filled_before_it_has_an_engine() -> None:
    map = ChannelMap()
    map[1000] = Channel(False, False)
    asynccore.poll(0, map)
    asynccore.poll(0, map)
    assert map[1000].asked >= 2
    map.clear()
    asynccore.close_all(map)
    engine = map.engine
    engine.release()
