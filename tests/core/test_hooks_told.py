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
    class Session(asynccore.dispatcher_with_send):
        def handle_read(self) -> None:
            self.recv(100)

        def handle_eof(self, data: bytes) -> None:  # type: ignore[override]
            raise AssertionError

    (found,) = at_its_end(Session)
    assert found.category is RuntimeWarning
    assert "Session.handle_eof() is left alone" in str(found.message)
    assert "with no argument: define handle_eof(self)" in str(found.message)
    assert (found.filename, found.lineno) == (
        __file__,
        Session.handle_eof.__code__.co_firstlineno,
    )
    assert at_its_end(Session) == []


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
