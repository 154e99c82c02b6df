"""A hook that is left alone, and a handler that nobody awaits, are told of once."""

from __future__ import annotations

import inspect
import socket
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest

import asynccore
from asynccore import asynchat
from asynccore.classic import own_names


def told(work: Callable[[], object]) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    return caught


def at_its_end(cls: Any, **attributes: Any) -> list[warnings.WarningMessage]:
    one, two = socket.socketpair()
    channel = cls(one, {})
    vars(channel).update(attributes)
    two.close()
    found = told(lambda: asynccore.loop(0.01, map=channel._map, count=5))
    channel.close()
    return found


def test_a_hook_that_takes_something_else() -> None:
    def handle_eof(self: Any, data: bytes) -> None:
        raise AssertionError

    def make() -> type:
        names = {"handle_read": lambda self: self.recv(100), "handle_eof": handle_eof}
        return type("Session", (asynccore.dispatcher_with_send,), names)

    (found,) = told(make)
    assert found.category is RuntimeWarning
    assert "Session.handle_eof() is left alone" in str(found.message)
    assert "with no argument: define handle_eof(self)" in str(found.message)
    assert (found.filename, found.lineno) == (__file__, handle_eof.__code__.co_firstlineno)
    assert at_its_end(make()) == []


def hooks() -> list[tuple[type, str]]:
    """Return every hook of every class that programs derive from, but for inherited ones."""
    import ssl_ext
    from asynccore import smtpd

    bases = [asynccore.dispatcher, asynccore.dispatcher_with_send, asynccore.listener]
    bases += [asynccore.Trigger, asynchat.async_chat, asynchat.line_chat, smtpd.SMTPChannel]
    bases += [smtpd.SMTPServer, ssl_ext.TLSMixin, ssl_ext.tls_listener, ssl_ext.TLSSMTPServer]
    also = {"authenticate", "collect_incoming_data", "found_terminator", "readable", "writable"}
    found: dict[object, tuple[type, str]] = {}
    for base in bases:
        for name in dir(base):
            if name.startswith("handle_") or name in also:
                found.setdefault(getattr(base, name), (base, name))
    return list(found.values())


@pytest.mark.parametrize(
    ("base", "name"), hooks(), ids=lambda value: getattr(value, "__name__", value)
)
def test_a_hook_with_other_arguments(base: type, name: str) -> None:
    """All of them are told of, with what they should take: at once, or when they are called."""
    ours = getattr(base, name)
    parameters = ", ".join(inspect.signature(ours).parameters)

    def wrong(self: Any, *, key: int) -> None:
        raise AssertionError

    handler = FunctionType(wrong.__code__.replace(co_name=f"{name} of {base}"), globals())
    made: list[type] = []
    found = told(lambda: made.append(type("Session", (base,), {name: handler})))
    if not found:
        assert name in own_names._ON_DEMAND
        count = len(inspect.signature(ours).parameters) - 1
        channel = object.__new__(made[0])
        found = told(lambda: own_names.hook(channel, name, count))
    (one,) = found
    assert one.category is RuntimeWarning
    assert f"Session.{name}() " in str(one.message)
    assert f": define {name}({parameters}), or rename it" in str(one.message)


def test_what_fits_is_not_told_of() -> None:
    def any_way(self: Any, *args: Any) -> None:
        raise AssertionError

    assert told(lambda: type("Session", (asynccore.dispatcher,), {"handle_read": any_way})) == []


def test_what_it_should_take_is_said() -> None:
    class Session(asynccore.dispatcher):
        idle_timeout = 0

        def writable(self) -> bool:
            return False

        def handle_timeout(self) -> None:  # type: ignore[override]
            raise AssertionError

    one, two = socket.socketpair()
    with two:
        channel = Session(one, {})
        (found,) = told(lambda: asynccore.loop(0.01, map=channel._map, count=5))
    assert "with one argument: define handle_timeout(self, which), or rename" in str(found.message)
    assert channel.is_closed


def test_what_has_no_code_of_its_own() -> None:
    class Own:
        def __call__(self, a: int) -> None:
            raise AssertionError

    class Session(asynccore.dispatcher):
        handle_eof = Own()  # type: ignore[assignment]

        def handle_read(self) -> None:
            self.recv(1)

    assert at_its_end(Session) == []  # it may take anything, and is called


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (asynccore.dispatcher, "handle_read"),
        (asynccore.dispatcher_with_send, "handle_close"),
        (asynchat.async_chat, "found_terminator"),
        (asynchat.async_chat, "collect_incoming_data"),
        (asynccore.dispatcher, "readable"),
    ],
)
def test_a_coroutine_function(base: type, name: str) -> None:
    async def coroutine(self: Any, *args: Any) -> None:
        raise AssertionError

    code = coroutine.__code__.replace(co_name=f"{name} of {base.__name__}")
    handler = FunctionType(code, globals())
    (found,) = told(lambda: type("Session", (base,), {name: handler}))
    assert found.category is RuntimeWarning
    assert f"Session.{name}() is a coroutine function, which nobody awaits" in str(found.message)
    assert "compat.converse(self, coroutine)" in str(found.message)
    assert found.lineno == inspect.getsourcelines(coroutine)[1]
    # Once, however many classes have it.
    assert told(lambda: type("Session", (base,), {name: handler})) == []


def test_coroutine_functions_of_a_mixin_count_where_they_are_called() -> None:
    class Mixin:
        async def handle_read(self) -> None:
            raise AssertionError

    assert told(lambda: type("After", (asynccore.dispatcher, Mixin), {})) == []
    assert len(told(lambda: type("Before", (Mixin, asynccore.dispatcher), {}))) == 1


def test_the_programs_own_coroutines_are_its_own() -> None:
    async def own(self: Any) -> None:
        raise AssertionError

    names = {"handle_login": own, "answer": own}
    assert told(lambda: type("Session", (asynccore.dispatcher,), names)) == []
