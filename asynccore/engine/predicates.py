"""Telling predicates that need not be asked before every wait: those of the usual forms.

Facts. `def writable(self): return False` and `return bool(self.out_buffer)` are the most frequent
predicates in programs. They have no side effects, and their answers follow from state that the
package sees change. But a predicate may do anything, and what looks like plain state may be a
property with a life of its own. What a function does is told by its code, which every version of
Python writes otherwise.

Consequence. The usual forms are compiled by the running interpreter, once, when the first
predicate of a program is looked at that reads as much as they do. A predicate counts as ours if it
is a plain function whose code is that of one of these, but for the names of what it reads of its
`self`; if the class has that state from this package; and if the names mean the builtins. A Python
to come compiles the forms as it compiles the predicates.

Trade-off. A rarer form is asked before every wait, as any other predicate is, though it may read
the same state: with a comparison of another kind, a local variable or one more argument. Compiling
takes some milliseconds, in programs that have predicates of their own.

`connected`, `accepting` and `connecting` are plain attributes. What a handler assigns to those of
*another* channel is seen at the next review, within a second, as it is for the predicates of this
package. `producer_fifo` is not among the state, for a program may keep the queue; nor is `closing`,
which programs use as their own.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Hashable, Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ..channels import REPORTING_PREDICATES
from .sweeps import OWN_READABLE, OWN_WRITABLE

_BUILTINS: dict[str, object] = {"bool": bool, "len": len}

# Of the flags of a code object (`inspect.CO_*`), those that say what kind of function it is:
# optimized, with locals, *args, **kwargs, a generator, and the three kinds of coroutine.
_KIND = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200

# What is read of a channel; `{0}` is the name of its state. That `out_buffer` is empty, or not any
# more, is reported; how long it is, is not.
_READS = ("self.{0}", "not self.{0}")
_VALUES = (*_READS, "bool(self.{0})", "len(self.{0})", "len(self.{0}) > 0", 'self.{0} != b""')
_ALONE = (*_VALUES, "len(self.{0}) != 0", "len(self.{0}) == 0", 'self.{0} == b""')
_FLAGS = ("True", "False")
_CONSTANTS = (*_FLAGS, "None", "0", "1")


def _expressions(count: int) -> Iterator[str]:
    """What predicates of the usual forms return that read so many attributes: `a`, `b`, `c`."""
    if count == 0:
        yield from _CONSTANTS
    if count == 1:
        for value in _ALONE:
            yield value.format("a")
        for read in _READS:
            yield f"True if {read} else False".format("a")
    if count == 2:
        # All state but `out_buffer` is a flag, which nobody takes the length of.
        for one, other in (
            *itertools.product(_READS, _VALUES),
            *itertools.product(_VALUES, _READS),
        ):
            for operator in ("or", "and"):
                both = f"{one.format('a')} {operator} {other.format('b')}"
                yield both
                if one in _READS and other in _READS:
                    yield f"bool({both})"
                    yield f"not ({both})"
    if count == 3:
        for one, other, last in itertools.product(_READS, _READS, _VALUES):
            first, second, third = one.format("a"), other.format("b"), last.format("c")
            yield f"{first} or {second} or {third}"
            yield f"{first} and {second} and {third}"
            yield f"{first} and ({second} or {third})"


def _bodies(count: int) -> Iterator[str]:
    """The bodies of functions of the usual forms that are more than one expression."""
    if count == 0:
        yield " pass"
    elif count == 1:
        for test, (yes, no) in itertools.product(_VALUES, itertools.permutations(_FLAGS)):
            yield f" if {test.format('a')}:\n  return {yes}\n return {no}"
    elif count == 2:
        for test, value, flag in itertools.product(_READS, _VALUES, _FLAGS):
            condition, result = f" if {test.format('a')}:\n", value.format("b")
            yield f"{condition}  return {result}\n return {flag}"
            yield f"{condition}  return {flag}\n return {result}"


@functools.cache
def _shapes(count: int) -> frozenset[Hashable]:
    """The usual forms that read so many attributes, as this interpreter compiles them.

    A docstring makes a difference to the code, and so does a `lambda`.
    """
    sources = []
    for body in (*(f" return {it}" for it in _expressions(count)), *_bodies(count)):
        sources.append(f"def f(self):\n{body}\n")
        sources.append(f'def f(self):\n "What it is for."\n{body}\n')
    sources += [f"lambda self: {it}\n" for it in _expressions(count)]
    module = compile("".join(sources), "<usual>", "exec", dont_inherit=True)
    return frozenset(_shape(it) for it in module.co_consts if isinstance(it, CodeType))


def _shape(code: CodeType) -> Hashable:
    """What a function does, whatever its docstring is, and the attributes that it reads."""
    constants = [(type(it), it) for it in code.co_consts]  # for False equals 0
    if constants and constants[0][0] is str:
        constants[0] = str, ""  # a docstring: no form does anything with a string
    return (
        code.co_code,
        tuple(name if name in _BUILTINS else "" for name in code.co_names),
        tuple(constants),
        code.co_flags & _KIND,
        (code.co_argcount, code.co_kwonlyargcount, code.co_nlocals),
        code.co_cellvars + code.co_freevars,
        getattr(code, "co_exceptiontable", b""),  # since Python 3.11
    )


class _Reads(NamedTuple):
    """What a function of a usual form reads."""

    state: frozenset[str]
    builtins: frozenset[str]


_known: WeakKeyDictionary[FunctionType, tuple[CodeType, _Reads | None]] = WeakKeyDictionary()


def reports_its_changes(function: object, cls: type) -> bool:
    """Tell whether a predicate of `cls` does no more than read what channels of `cls` report."""
    if not isinstance(function, FunctionType):
        return False
    known = _known.get(function)
    if known is None or known[0] is not function.__code__:
        known = _known[function] = (function.__code__, _what_it_reads(function.__code__))
    reads = known[1]
    if reads is None:
        return False
    return all(_is_builtin(name, function) for name in reads.builtins) and (
        not reads.state or _reports(cls, reads.state)
    )


def _what_it_reads(code: CodeType) -> _Reads | None:
    """Return what a function reads, or `None` if it does anything else, or nothing usual."""
    names = frozenset(code.co_names)
    state = names - _BUILTINS.keys()
    if _shape(code) not in _shapes(len(state)):
        return None
    return _Reads(state, names & _BUILTINS.keys())


def _is_builtin(name: str, function: FunctionType) -> bool:
    if name in function.__globals__:
        return False
    builtins: Any = getattr(function, "__builtins__")  # noqa: B009 - typeshed lacks it
    return builtins.get(name) is _BUILTINS[name]


def _reports(cls: type, state: frozenset[str]) -> bool:
    """Whether the state is what this package made it, in a class that finds it as any does."""
    names = getattr(cls, "_ac_reporting_state", ())
    found: Any = cls.__getattribute__
    if not state.issubset(names) or found is not object.__getattribute__:
        return False
    return not hasattr(cls, "__getattr__") and all(_is_as_made(cls, name) for name in state)


def _is_as_made(cls: type, name: str) -> bool:
    found = [(base, base.__dict__[name]) for base in cls.__mro__ if name in base.__dict__]
    if not found:
        return False
    base, value = found[0]
    # Plain state may have another value in a subclass. A property is the one that reports.
    return isinstance(value, (bool, int)) or "_ac_reporting_state" in base.__dict__


def is_assigned(channel: object, cls: type, name: str) -> bool:
    """Whether an instance has a predicate of its own, in front of its class's.

    Not by `__dict__`: up to Python 3.12, looking at that makes every attribute slower for good.
    """
    found = getattr(channel, name, None)
    return getattr(found, "__func__", found) is not getattr(cls, name, None)


def own_predicates(cls: type) -> int:
    """Return which predicates of a class are its own and have to be asked (`sweeps`)."""
    kind = known = 0
    for name, bit in (("readable", OWN_READABLE), ("writable", OWN_WRITABLE)):
        predicate = getattr(cls, name, None)
        try:
            reports = predicate in REPORTING_PREDICATES
        except TypeError:  # unhashable
            reports = False
        if not reports and not reports_its_changes(predicate, cls):
            kind |= bit
        elif not reports and not reports_its_changes(predicate, object):
            known |= bit  # by the state that it reads, not as a constant
    # Beside one that is asked anyway, what handlers did to the other's state need not be found out.
    return kind | known if kind else 0
