"""Telling predicates that only return a constant.

`def writable(self): return False` is the most frequent predicate in programs. It can't have side
effects and its answer can't change, so it need not be asked before every wait.

It is told by its instructions: they are compared with those that the running interpreter makes
of such functions, whatever they are. Anything else, and anything that isn't a plain function,
counts as a predicate that must be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any


def _documented(self: object) -> bool:
    """A docstring moves the constant to another place."""
    return True


def _empty(self: object) -> None:
    pass


_TEMPLATES: tuple[Callable[..., Any], ...] = (
    lambda self: True,
    lambda self: False,
    lambda self: 1,
    lambda self: 0,
    lambda self: None,
    _documented,
    _empty,
)


def _opcodes(function: Any) -> bytes:
    # Two bytes to an instruction, the second of which is its argument (since Python 3.6).
    code: bytes = function.__code__.co_code
    return code[::2]


_CONSTANT = frozenset(_opcodes(template) for template in _TEMPLATES)


def is_constant(function: Any) -> bool:
    """Tell whether a plain function does nothing but return a constant."""
    return isinstance(function, FunctionType) and _opcodes(function) in _CONSTANT
