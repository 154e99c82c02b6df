"""Telling predicates that need not be asked before every wait, by their instructions.

Facts. `def writable(self): return False` and `return bool(self.out_buffer)` are the most frequent
predicates in programs. They have no side effects, and their answers follow from state that the
package sees change. But a predicate may do anything, and what looks like plain state may be a
property with a life of its own.

Consequence. A predicate counts as ours if it is a plain function with no instructions but those
that read constants and reporting state of its `self`, call `bool` or `len`, compare with zero and
the like, negate, and jump forward; if the class has that state from this package; and if the names
mean the builtins.
Everything else is asked before every wait, instructions of a Python to come included.

Trade-off. `connected`, `accepting` and `connecting` are plain attributes. What a handler assigns
to those of *another* channel is seen at the next review, within a second, as it is for the
predicates of this package. `producer_fifo` is not among the state, for a program may keep the
queue; nor is `closing`, which programs use as their own.
"""

from __future__ import annotations

import sys
from types import CodeType, FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ..channels import REPORTING_PREDICATES
from .sweeps import OWN_READABLE, OWN_WRITABLE

_BUILTINS: dict[str, Any] = {"bool": bool, "len": len}

# As the `dis` module names them, of Python 3.10 to 3.13. None has an effect beyond its stack.
_HARMLESS = frozenset(
    {
        *("RESUME", "NOP", "COPY", "POP_TOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"),
        *("UNARY_NOT", "TO_BOOL", "PRECALL"),
    }
)
_CALLS = frozenset({"CALL", "CALL_FUNCTION"})
_COMPARISONS = frozenset({"COMPARE_OP", "IS_OP"})

# What may be compared with. That `out_buffer` is empty, or not any more, is reported; how long it
# is, is not.
_EMPTY = (0, b"", None, False, True)

# Since 3.12 this bit of LOAD_ATTR's argument says that what is loaded is to be called.
_METHOD = 1 if sys.version_info >= (3, 12) else 0


class _Reads(NamedTuple):
    """What a harmless function reads."""

    state: frozenset[str]
    builtins: frozenset[str]


_known: WeakKeyDictionary[FunctionType, tuple[CodeType, _Reads | None]] = WeakKeyDictionary()


def reports_its_changes(function: Any, cls: type) -> bool:
    """Tell whether a predicate of `cls` does no more than read what channels of `cls` report."""
    if not isinstance(function, FunctionType):
        return False
    known = _known.get(function)
    if known is None or known[0] is not function.__code__:
        try:
            known = _known[function] = (function.__code__, _what_it_reads(function.__code__))
        except (OSError, ImportError):
            return False  # out of descriptors, no module can be imported; looked at again later
    reads = known[1]
    if reads is None:
        return False
    return all(_is_builtin(name, function) for name in reads.builtins) and (
        not reads.state or _reports(cls, reads.state)
    )


def _what_it_reads(code: CodeType) -> _Reads | None:
    """Return what a function reads, or `None` if it does anything else."""
    import dis  # here, for many programs have no predicates of their own

    state: set[str] = set()
    builtins: set[str] = set()
    calls = 0  # of those builtins, that are still to come
    before: Any = None  # the step before, where no other step can come from
    for step in dis.get_instructions(code):
        name, last = step.opname, before
        before = step
        joined = step.is_jump_target
        # `self` is for nothing but its state: its truth and what it equals may be anything.
        if last is not None and last.opname == "LOAD_FAST" and name != "LOAD_ATTR":
            return None
        # What is called was loaded right before its argument, and not chosen from two.
        if last is not None and last.opname == "LOAD_GLOBAL" and joined:
            return None
        if name == "LOAD_FAST":
            known = step.arg == 0 and code.co_argcount > 0
        elif name == "LOAD_ATTR":
            known = last.opname == "LOAD_FAST" and not joined and not (step.arg or 0) & _METHOD
            state.add(step.argval)
        elif name == "LOAD_GLOBAL":
            known = step.argval in _BUILTINS
            builtins.add(step.argval)
            calls += 1
        elif name in _CALLS:
            known = step.arg == 1
            calls -= 1
        elif name in _COMPARISONS:
            known = last.opname == "LOAD_CONST" and not joined
            known = known and any(last.argval is it or last.argval == it == b"" for it in _EMPTY)
        elif "JUMP" in name:
            known = step.argval > step.offset
        else:
            known = name in _HARMLESS
        if not known:
            return None
    return _Reads(frozenset(state), frozenset(builtins)) if calls == 0 else None


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


def is_assigned(channel: Any, cls: type, name: str) -> bool:
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
