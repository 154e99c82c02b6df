"""What was called otherwise before is taken with a warning, which points at the call."""

from __future__ import annotations

import inspect
import socket
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import testing
from asynccore.classic.former import formerly
from asynccore.dispatchers.trigger import Trigger


@formerly("second", "third", old="new")
def function(first: int, *, second: int = 2, third: int = 3, new: int = 4) -> tuple[int, ...]:
    return first, second, third, new


class Made:
    @formerly("size")
    def __init__(self, *, size: int = 0) -> None:
        self.size = size


def warned(call: Any, said: str) -> Any:
    with pytest.warns(DeprecationWarning, match=said) as caught:
        result = call()
    assert [each.filename for each in caught] == [__file__]
    return result


def test_the_present_form_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert function(1) == (1, 2, 3, 4)
        assert function(1, third=5, second=6, new=7) == (1, 6, 5, 7)


def test_by_position() -> None:
    assert warned(lambda: function(1, 5), r"function\(\) takes by name: second") == (1, 5, 3, 4)  # type: ignore[misc]
    assert warned(lambda: function(1, 5, 6), "second=..., third=...") == (1, 5, 6, 4)  # type: ignore[misc]
    assert warned(lambda: Made(7), r"Made\(\) takes by name: size").size == 7  # type: ignore[misc]


def test_by_a_former_name() -> None:
    assert warned(lambda: function(1, old=5), "has old as new now") == (1, 2, 3, 5)  # type: ignore[call-arg]
    with pytest.warns(DeprecationWarning), pytest.raises(TypeError, match="the same"):
        function(1, old=5, new=6)  # type: ignore[call-arg]


@pytest.mark.parametrize("arguments", [(1, 2, 3, 4), ()])
def test_what_was_never_taken_is_not_taken_now(arguments: Any) -> None:
    with pytest.raises(TypeError):
        function(*arguments)


def test_nor_is_anything_twice() -> None:
    with pytest.raises(TypeError):
        function(1, 2, second=2)  # type: ignore[misc]


def test_what_is_shown_is_the_present_form() -> None:
    assert str(inspect.signature(Made)) == "(*, size: 'int' = 0) -> 'None'"


# What 0.1.0 had ---------------------------------------------------------------------------------


@pytest.fixture
def map() -> Iterator[Any]:
    channels: dict[int, Any] = {}
    yield channels
    asynccore.close_all(channels)


def test_a_trigger(map: Any) -> None:
    trigger = warned(lambda: Trigger(map), r"Trigger\(\) takes by name: map")  # type: ignore[misc]
    assert map == {trigger._fileno: trigger}


@pytest.mark.parametrize("check", ["no_leaks", "no_channel_leaks", "no_timer_leaks"])
def test_checks_for_leaks(check: str, map: Any) -> None:
    with warned(lambda: getattr(testing, check)(map), f"{check}"):
        pass


def test_the_names_of_connect_name(map: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        channel = asynccore.dispatcher(map=map)
        call: Any = channel.connect_name
        local = ("127.0.0.1", 0)
        with pytest.warns(DeprecationWarning) as caught:
            call("127.0.0.1", address[1], local_address=local, attempt_delay=1)
        assert sorted(str(each.message) for each in caught) == [
            "ConnectsByName.connect_name() has attempt_delay as happy_eyeballs_delay now",
            "ConnectsByName.connect_name() has local_address as local_addr now",
        ]
        for _ in range(1000):
            if channel.connected:
                break
            asynccore.loop(1, map=map, count=1)
        assert channel.addr == address
