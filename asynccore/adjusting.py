"""Attributes of a class that are checked where they are assigned, and tell that they were.

Facts. `idle_timeout = 30` may stand in a class body, be assigned to a channel, and changed while it
lives. What is wrong with it shows at run time, far from the line that is wrong. A descriptor of the
class sees assignments to instances; one in the body of a subclass takes its place unseen. Reading
an instance's `__dict__` makes it slow for good.

Consequence. `Adjustable` is such a descriptor, with the value of a class inside. `adopt`, called by
`__init_subclass__`, puts one around what a class body assigned.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value")


class Adjustable(Generic[_Value]):
    """A value for a class, for an instance, and at run time; by default `None`."""

    def __init__(self, default: _Value | None = None) -> None:
        self.default = default
        self.name = self._place = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self._place = f"_ac_{name}"  # not under its own name in `__dict__`, whose use is slow
        self.check(self.default)

    def __get__(self, channel: Any, owner: type | None = None) -> Any:
        return self.default if channel is None else getattr(channel, self._place, self.default)

    def __set__(self, channel: Any, value: _Value | None) -> None:
        self.check(value)
        setattr(channel, self._place, value)
        self.changed(channel)

    def check(self, value: _Value | None) -> None:
        """Raise `TypeError` or `ValueError` for what can't be a value."""

    def changed(self, channel: Any) -> None:
        """A value was assigned to an instance."""

    @classmethod
    def adopt(
        cls, owner: type, names: Iterable[str], kinds: tuple[type, ...] | None = None
    ) -> bool:
        """Take over what the body of a class assigned to `names`, for `check` to judge.

        With `kinds`, values that are neither `None` nor of one of these are left as they are: a
        program's own property, perhaps. Returns whether there was any value but `None`.
        """
        found = False
        for name in names:
            if name not in owner.__dict__:
                continue
            value = owner.__dict__[name]
            if isinstance(value, Adjustable):
                continue
            if value is None or kinds is None or isinstance(value, kinds):
                adjustable = cls(value)
                adjustable.__set_name__(owner, name)
                setattr(owner, name, adjustable)
                found = found or value is not None
        return found
