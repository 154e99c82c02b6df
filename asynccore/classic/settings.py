"""Attributes of a class that are checked where they are assigned, and tell that they were.

Facts. `idle_timeout = 30` may stand in a class body, be assigned to a channel, and changed while it
lives. What is wrong with it shows at run time, far from the line that is wrong. A descriptor of the
class sees assignments to instances; one in the body of a subclass takes its place unseen. And a
program that knows nothing of all this may have an `idle_timeout` of its own, of any kind.

Consequence. `Setting` is such a descriptor. `adopt`, called by `__init_subclass__`, puts one
around what a class body assigned. What can be a value goes to `_ac_NAME`, which is what the package
reads. Anything else is kept for the program and has no effect; a warning says so if it is a number
or a text.

Trade-off. A typing error is a warning and no exception: an unchanged program must go on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value")

# What may have been meant as a value. Methods, properties and other objects are not.
_PLAIN = (bool, int, float, str, bytes)

_NOTHING = object()


class Setting(Generic[_Value]):
    """A value for a class, for an instance, and at run time; by default `None`."""

    def __init__(self, given: _Value | None = None) -> None:
        self._given = given
        self.name = self._place = self._own = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        # Not under its own name in `__dict__`, whose use is slow.
        self._place = f"_ac_{name}"
        self._own = f"_ac_{name}_of_program"
        self._put(owner, self._given)

    def __get__(self, channel: object, owner: type | None = None) -> _Value | None:
        if channel is None:
            return self._given
        own: _Value | None = getattr(channel, self._own)
        if own is not _NOTHING:
            return own  # of whatever type the program has there
        found: _Value | None = getattr(channel, self._place)
        return found

    def __set__(self, channel: object, value: _Value | None) -> None:
        if self._put(channel, value):
            self.changed(channel)

    def _put(self, holder: object, value: object) -> bool:
        try:
            self.check(value)
        except (TypeError, ValueError) as why:
            self.leave(holder, value, why)
            return False
        setattr(holder, self._place, value)
        if getattr(holder, self._own, None) is not _NOTHING:
            setattr(holder, self._own, _NOTHING)
        return True

    def leave(self, holder: object, value: object, why: Exception, depth: int = 5) -> None:
        """Keep for the program what can't be a value; who assigned it is `depth` calls away."""
        setattr(holder, self._own, value)
        if isinstance(value, _PLAIN):
            has_no_effect(why, depth)

    def check(self, value: object) -> None:
        """Raise `TypeError` or `ValueError` for what can't be a value."""

    def changed(self, channel: object) -> None:
        """A value was assigned to an instance."""

    @classmethod
    def adopt(cls, owner: type, names: Iterable[str]) -> bool:
        """Take over what the body of a class assigned to `names`, for `check` to judge.

        A program's own method, property or other object is left as it is. Returns whether there
        was any value but `None`.
        """
        found = False
        for name in names:
            value = owner.__dict__.get(name, _NOTHING)
            if value is None or isinstance(value, _PLAIN):
                adjustable = cls(value)  # type: ignore[arg-type] # `check` judges it
                adjustable.__set_name__(owner, name)
                setattr(owner, name, adjustable)
                found = found or owner.__dict__.get(f"_ac_{name}") is not None
        return found


class Switch(Setting[bool]):
    """`True` or `False`; anything else is the program's own."""

    def check(self, value: object) -> None:
        if not isinstance(value, bool):
            raise TypeError(f"{self.name} is True or False, not {value!r}")

    @classmethod
    def put(cls, owner: type, name: str, value: bool) -> None:
        """Do what `name = value` in the body of a class does."""
        switch = cls(value)
        switch.__set_name__(owner, name)
        setattr(owner, name, switch)


def adopt_late(channel: object, name: str, check: Callable[[str, Any], None]) -> None:
    """Heed what was assigned to a class after its body, where no descriptor sees it."""
    given = next(base.__dict__[name] for base in type(channel).__mro__ if name in base.__dict__)
    if given is None or isinstance(given, _PLAIN):
        value = getattr(channel, name)
        try:
            check(name, value)
        except (TypeError, ValueError) as why:
            has_no_effect(why)
        else:
            setattr(channel, f"_ac_{name}", value)


def has_no_effect(why: Exception, depth: int = 4) -> None:
    """Warn of what may have been meant as a value, but can't be one."""
    warnings.warn(f"{why}: it has no effect", RuntimeWarning, stacklevel=depth)
