"""Predicates that need not be asked, told by their code."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import asynccore
from asynccore import ChannelMap, dispatcher, dispatcher_with_send
from asynccore.asynchat import async_chat
from asynccore.engine.predicates import reports_its_changes
from asynccore.pollers import PRIORITY, READ, WRITE
from asynccore.testing import engine_with_fakes
from tests.core.fakes import PATIENT, Channel, FakeSocket

VALUE = True
limit = 5


class Buffering(dispatcher_with_send):
    backlog = b""

    def out(self) -> bytes:
        return self.out_buffer


class Constant:
    def true(self) -> bool:
        return True

    def false(self) -> bool:
        """With a docstring."""
        return False

    def nothing(self) -> None:
        pass


def closure(answer: bool) -> Callable[[object], bool]:
    return lambda self: answer


def counted(*calls: object) -> Any:
    @functools.wraps(Constant.true)
    def predicate(self: object) -> bool:
        return len(calls) > 0

    return predicate


@pytest.mark.parametrize(
    "predicate",
    [
        *(Constant.true, Constant.false, Constant.nothing),
        *(lambda self: 0, lambda self: 1, lambda self: None),
    ],
)
@pytest.mark.parametrize("cls", [object, Channel, dispatcher])
def test_a_constant_is_never_asked(predicate: Any, cls: type) -> None:
    assert reports_its_changes(predicate, cls)


# What programs write, as the body of a method.
USUAL = [
    "return self.out_buffer",
    "return bool(self.out_buffer)",
    "return len(self.out_buffer)",
    "return len(self.out_buffer) > 0",
    "return len(self.out_buffer) != 0",
    "return len(self.out_buffer) == 0",
    "return not self.out_buffer",
    "return self.out_buffer != b''",
    "return self.out_buffer == b''",
    "return self.connected",
    "return not self.connected",
    "return True if self.connected else False",
    "return not self.connected or self.out_buffer",
    "return (not self.connected) or len(self.out_buffer)",
    "return not self.connected or len(self.out_buffer) > 0",
    "return self.connected and bool(self.out_buffer)",
    "return len(self.out_buffer) > 0 or not self.connected",
    "return self.out_buffer or self.connecting",
    "return bool(self.out_buffer or not self.connected)",
    "return not (self.connecting or self.accepting)",
    "return self.connected and not self.accepting and bool(self.out_buffer)",
    "return not self.connected or self.connecting or self.out_buffer != b''",
    "return self.connected and (self.accepting or len(self.out_buffer))",
    "return (\n not self.connected\n or len(self.out_buffer) > 0\n )",
    "if self.out_buffer:\n  return True\n return False",
    "if len(self.out_buffer) > 0:\n  return True\n else:\n  return False",
    "if not self.connected:\n  return True\n return len(self.out_buffer) > 0",
    "if self.connected:\n  return bool(self.out_buffer)\n\n return True",
]


def made(body: str, how: str) -> Any:
    """Return a predicate with this body, with or without a docstring, or as a lambda."""
    space: dict[str, Any] = {}
    if how == "lambda":
        exec(f"f = lambda self: ({body.removeprefix('return ')})", space)
    else:
        docstring = ' """Whether there is something to do."""\n' if how == "docstring" else ""
        exec(f"def f(this) -> bool:\n{docstring} {body}".replace("self", "this"), space)
    return space["f"]


@pytest.mark.parametrize(
    ("body", "how"),
    [
        (body, how)
        for body in USUAL
        for how in ("plain", "docstring", "lambda")
        if how != "lambda" or body.startswith("return")
    ],
)
def test_the_usual_forms_are_known(body: str, how: str) -> None:
    predicate = made(body, how)
    assert reports_its_changes(predicate, Buffering)
    assert reports_its_changes(predicate, Buffering)  # as remembered


def test_a_form_is_known_once_the_interpreter_has_made_its_code_faster() -> None:
    """Since Python 3.11 instructions are replaced in code that runs often."""
    predicate = made("return not self.connected or len(self.out_buffer) > 0", "plain")
    channel = Buffering(FakeSocket(1000), ChannelMap())
    for _ in range(5000):
        predicate(channel)
    assert reports_its_changes(predicate, Buffering)


def test_a_form_is_known_while_it_is_traced() -> None:
    """Since Python 3.12 instructions are replaced in code that is traced."""
    predicate = made("return bool(self.out_buffer)", "plain")
    channel = Buffering(FakeSocket(1000), ChannelMap())
    before = sys.gettrace()
    sys.settrace(lambda *_: lambda *_: None)
    try:
        predicate(channel)
        assert reports_its_changes(predicate, Buffering)
    finally:
        sys.settrace(before)


def test_looking_at_a_predicate_compares_no_text_with_bytes() -> None:
    """Under `python -bb` that would raise."""
    program = (
        "from asynccore import dispatcher_with_send as base\n"
        "from asynccore.engine.predicates import reports_its_changes\n"
        "assert not reports_its_changes(lambda self: self.out_buffer != '', base)\n"
        "assert reports_its_changes(lambda self: self.out_buffer != b'', base)\n"
    )
    subprocess.run([sys.executable, "-bb", "-c", program], check=True, timeout=60)


def stores(self: Any) -> Any:
    self.connected = True
    return self.out_buffer


def default(self: Any, answer: bool = True) -> Any:
    return answer


def unused(self: Any, answer: bool = True) -> Any:
    return True


def keyword(self: Any, *, answer: bool = True) -> Any:
    return True


def only_arguments(*args: Any) -> Any:
    return args


def loops(self: Any) -> Any:
    while self.connected:
        pass
    return True


def generator(self: Any) -> Any:
    yield self.connected


async def coroutine(self: Any) -> Any:
    return True


def handles(self: Any) -> Any:
    try:
        return self.connected
    except ValueError:
        return False


def local(self: Any) -> Any:
    found = self.out_buffer
    return found


@pytest.mark.parametrize(
    "predicate",
    [
        *(stores, default, unused, keyword, only_arguments, loops),
        *(generator, coroutine, handles, local),
        # Harmless, but of a form that nobody expects.
        lambda self: "yes",
        lambda self: self.connected is True,
        lambda self: True if self.connecting else len(self.out_buffer) == 0,
        lambda self: self.connected or self.connected,
        lambda self: self.backlog,
        lambda self: self.closing,
        lambda self: len(self.out_buffer) > 1,
        lambda self: len(self.out_buffer) < 65536,
        lambda self: len(self.out_buffer) > self.connected,
        lambda self: len(self.out_buffer) > (self.connected or 0),
        lambda self: len(self.out_buffer) is (self.connected or None),
        lambda self: self.out_buffer == "",
        lambda self: self.out_buffer != b"quit",
        lambda self: (self.connected or self).accepting,
        lambda self: (self.connected and bool)(self.out_buffer),
        lambda self: 0 < self.connected < 5,
        lambda self: self.out_buffer or self.backlog,
        lambda self: self.socket,
        lambda self: self,
        lambda self: self or self.connected,
        lambda self: self == True,  # noqa: E712
        lambda self: VALUE,
        lambda self: len(self.out_buffer) > limit,
        lambda self: self.out(),
        lambda self: self.connected(self.out_buffer),
        lambda self: self.connected(self.out_buffer) or self.out_buffer == len,
        lambda self: (self.connected or self.accepting)(self.out_buffer),
        lambda self: self.out_buffer.strip(),
        lambda self: self.out_buffer[1:],
        lambda self: self.out_buffer + b"",
        lambda self: b"\r" in self.out_buffer,
        lambda self: sum(self.out_buffer),
        lambda self: len,
        lambda self: lambda: True,
        lambda other: lambda self: other.connected,
        *(closure(True), counted(1), functools.partial(bool), len),
        *(property(lambda self: True), staticmethod(Constant.true), Constant().true),
        *(None, True),
    ],
)
def test_what_has_to_be_asked(predicate: Any) -> None:
    assert not reports_its_changes(predicate, Buffering)


def test_the_queue_of_a_chat_has_to_be_asked_for() -> None:
    """A program may have kept the queue, and what is put in there is not reported."""
    assert not reports_its_changes(lambda self: len(self.producer_fifo) > 0, async_chat)
    assert not reports_its_changes(
        lambda self: not self.connected or self.producer_fifo, async_chat
    )
    assert reports_its_changes(lambda self: self.connected, async_chat)


def connected(self: Any) -> Any:
    return self.connected


def buffered(self: Any) -> Any:
    return self.out_buffer


def test_state_that_a_class_made_its_own_has_to_be_asked_for() -> None:
    class Property(Buffering):
        out_buffer = property(lambda self: b"")  # type: ignore[assignment]
        connected = property(lambda self: VALUE)  # type: ignore[assignment]

    class Below(Property):
        pass

    for cls in (Property, Below):
        assert not reports_its_changes(buffered, cls)
        assert not reports_its_changes(connected, cls)


def test_plain_state_may_begin_otherwise() -> None:
    cls = type("Begins", (Buffering,), {"connected": True, "out_buffer": b"hello"})
    assert reports_its_changes(connected, cls)
    assert reports_its_changes(buffered, cls)


@pytest.mark.parametrize("name", ["__getattr__", "__getattribute__"])
def test_a_class_that_finds_attributes_its_own_way_has_to_be_asked(name: str) -> None:
    cls = type("Own", (Buffering,), {name: lambda self, name: True})
    assert not reports_its_changes(connected, cls)
    assert reports_its_changes(Constant.true, cls)


def test_a_class_of_another_kind_has_to_be_asked() -> None:
    """Its `connected` tells nobody when it changes."""
    cls = type("Foreign", (Channel,), {"connected": True, "out_buffer": b""})
    assert not reports_its_changes(connected, cls)
    assert not reports_its_changes(buffered, dispatcher)
    cls = type("Removed", (Channel,), {"_ac_reporting_state": {"connected"}})
    assert not reports_its_changes(connected, cls)


@pytest.mark.parametrize("where", ["globals", "builtins"])
def test_a_len_of_the_programs_own_has_to_be_asked(where: str) -> None:
    space: dict[str, Any] = {}
    exec("def predicate(self): return len(self.out_buffer)", space)
    assert reports_its_changes(space["predicate"], Buffering)
    if where == "globals":
        space["len"] = lambda it: 1
    else:
        space = {"__builtins__": {"len": lambda it: 1}}
        exec("def predicate(self): return len(self.out_buffer)", space)
    assert not reports_its_changes(space["predicate"], Buffering)


def test_another_code_in_the_same_function_is_looked_at_anew() -> None:
    def predicate(self: Any) -> Any:
        return self.connected

    assert reports_its_changes(predicate, Buffering)
    predicate.__code__ = (lambda self: self.backlog).__code__
    assert not reports_its_changes(predicate, Buffering)


# What the engine makes of it ----------------------------------------------------------------

ATOMS = ["self.out_buffer", "self.connected", "self.accepting", "self.connecting", "True", "0"]
SIZES = [
    "len(self.out_buffer)",
    "len(self.out_buffer) > 0",
    "len(self.out_buffer) > 3",
    "self.out_buffer != b''",
]

expressions = st.recursive(
    st.sampled_from(ATOMS + SIZES),
    lambda inner: st.one_of(
        st.builds("(not {})".format, inner),
        st.builds("bool({})".format, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} if {} else {})".format, inner, inner, inner),
    ),
    max_leaves=6,
)
actions = st.lists(
    st.tuples(
        st.sampled_from(["send", "drain", "assign", "from another", "read", "between"]),
        st.sampled_from(["connected", "connecting"]),
        st.binary(max_size=8),
    ),
    max_size=12,
)


@settings(PATIENT, max_examples=150)
@given(expressions, expressions, actions)
def test_the_poller_knows_what_asking_every_time_would_say(
    reads: str, writes: str, steps: list[tuple[str, str, bytes]]
) -> None:
    space: dict[str, Any] = {}
    exec(f"def readable(self): return {reads}\ndef writable(self): return {writes}", space)
    cls: Any = type("Own", (dispatcher_with_send,), space)
    todo: list[Callable[[], object]] = []
    cls.handle_read_event = cls.handle_write_event = lambda self: todo.pop()() if todo else None
    map = ChannelMap()
    engine, _, poller = engine_with_fakes(map)
    # What takes nothing, so that output waits until it is told to go.
    sock = FakeSocket(1000, takes=[0] * 100)
    channel = cls(sock, map)
    other = map[1001] = Channel()
    note = reports_its_changes(cls.readable, cls) and reports_its_changes(cls.writable, cls)
    event("known" if note else "asked")

    def expected() -> int:
        mask = (READ if channel.readable() else 0) | (WRITE if channel.writable() else 0)
        return mask | PRIORITY if mask else 0

    def flip(name: str) -> None:
        setattr(channel, name, not getattr(channel, name))

    engine.run_pass(0)
    assert note is (1000 not in engine.interest.table.asked_always)
    for what, name, data in steps:
        if what == "send":
            channel.send(data)
        elif what == "drain":
            channel.out_buffer = channel.out_buffer[len(data) :]
        elif what == "assign":
            channel.out_buffer = data
        elif what == "from another":
            other.on_read = lambda data=data: channel.send(data)
            poller.report((1001, READ))
        elif what == "read":
            # In its own handler, which only comes if the channel waits for anything.
            mask = poller.interest.get(1000, 0) & (READ | WRITE)
            if not mask:
                continue
            todo.append(lambda name=name: flip(name))
            poller.report((1000, mask))
        else:
            flip(name)
            asynccore.poll(0, map)
        engine.run_pass(0)
        engine.run_pass(0)
        assert poller.interest.get(1000, 0) == expected(), (what, name, data)
    map.clear()
    engine.release()


def test_a_known_predicate_beside_one_that_is_asked_is_asked_too() -> None:
    """What its own handler did to the state is seen at once."""
    map = ChannelMap()
    engine, _, poller = engine_with_fakes(map)

    class Half(dispatcher_with_send):
        backlog = b""

        def readable(self) -> bool:
            return not self.connecting

        def writable(self) -> bool:
            return bool(self.backlog)

        def handle_read_event(self) -> None:
            self.connecting = True

    Half(FakeSocket(1000), map)
    engine.run_pass(0)
    poller.report((1000, READ))
    engine.run_pass(0)
    engine.run_pass(0)
    assert 1000 not in poller.interest
    map.clear()
    engine.release()


def test_the_package_sees_a_plain_attribute_before_every_wait() -> None:
    """The negative control: what doesn't report is swept."""
    map = ChannelMap()
    engine, _, poller = engine_with_fakes(map)

    class Backlog(dispatcher_with_send):
        backlog = b""

        def writable(self) -> bool:
            return bool(self.backlog)

    channel = Backlog(FakeSocket(1000), map)
    other = map[1001] = Channel()
    engine.run_pass(0)
    other.on_read = lambda: setattr(channel, "backlog", b"x")
    poller.report((1001, READ))
    engine.run_pass(0)
    engine.run_pass(0)
    assert poller.interest[1000] == READ | WRITE | PRIORITY
    map.clear()
    engine.release()
