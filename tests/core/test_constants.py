"""Predicates that need not be asked, told by their instructions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from asynccore.constants import is_constant

VALUE = True


class Sample:
    answer = True

    def true(self) -> bool:
        return True

    def false(self) -> bool:
        """With a docstring."""
        return False

    def nothing(self) -> None:
        pass

    def text(self) -> str:
        return "yes"

    def attribute(self) -> bool:
        return self.answer

    def itself(self) -> object:
        return self

    def of_module(self) -> bool:
        return VALUE

    def side_effect(self) -> bool:
        self.answer = False
        return True

    def default(self, answer: bool = True) -> bool:
        return answer

    def generator(self) -> Any:
        yield True

    async def coroutine(self) -> bool:
        return True

    def branches(self) -> bool:
        if self.answer:
            return True
        return False


def closure(answer: bool) -> Callable[[object], bool]:
    return lambda self: answer


@pytest.mark.parametrize(
    "predicate",
    [Sample.true, Sample.false, Sample.nothing, Sample.text, lambda self: 0, lambda self: None],
)
def test_what_only_returns_a_constant(predicate: Any) -> None:
    assert is_constant(predicate)


@pytest.mark.parametrize(
    "predicate",
    [
        Sample.attribute,
        Sample.itself,
        Sample.of_module,
        Sample.side_effect,
        Sample.default,
        Sample.generator,
        Sample.branches,
        closure(True),
        functools.partial(bool),
        len,
        property(lambda self: True),
        Sample().true,
        staticmethod(Sample.true),
        None,
        True,
    ],
)
def test_what_has_to_be_asked(predicate: Any) -> None:
    assert not is_constant(predicate)


def test_a_wrapped_constant_has_to_be_asked() -> None:
    @functools.wraps(Sample.true)
    def counted(self: object) -> bool:
        calls.append(self)
        return True

    calls: list[object] = []
    assert not is_constant(counted)
