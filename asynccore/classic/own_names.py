"""New names that a program has for something else.

Facts. Programs of twenty years have a `handle_timeout()` without arguments, a `max_connections`
that is 0 for any number, a `write_buffer_size` of 8192 that they assign themselves, and mix-ins
after `dispatcher` in their bases, whose methods counted while `dispatcher` had none of that name.

Consequence. The package reads its own attributes, which begin with `_ac_`, and calls a hook only if
it can be called as the package would call it; else the one of the package takes its place, and a
warning says so, once. A handler that is a coroutine function, which nobody would await, or that
takes other arguments than what is called by its name in every program, is told of when its class
is made. A mix-in's name goes before the package's new one (`yield_to_mixins`).

Trade-off. What a program calls as we do, and means otherwise, can't be told from what is meant
for us.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from types import CodeType, FunctionType
from typing import Any, Generic, TypeVar, overload

from ..neighbours import is_ours

_Value = TypeVar("_Value")
_Itself = TypeVar("_Itself")

# What classic dispatchers, async_chats and SMTP channels don't have.
NEW_NAMES = frozenset(
    {
        *(
            "accept_counts",
            "call_later",
            "command_timeout",
            "connect_name",
            "connect_timeout",
            "data_timeout",
        ),
        *(
            "handle_closed",
            "handle_connect_error",
            "handle_eof",
            "handle_line_too_long",
            "handle_pause",
            "handle_refused",
        ),
        *("handle_resume", "handle_shutdown", "handle_timeout", "handshake_begun"),
        *("handshake_ended", "high_watermark", "idle_timeout", "low_watermark", "max_commands"),
        *("max_connections", "max_connections_per_peer", "max_errors", "max_handshakes"),
        *(
            "is_closed",
            "joins_replies",
            "read_timeout",
            "recvfrom",
            "sendto",
            "max_line_length",
            "max_recipients",
            "pause_reading",
        ),
        *("resume_reading", "set_deadline", "set_keepalive", "set_nodelay", "set_reuse_port"),
        *("shutdown_write", "strict_line_ends", "tcp_nodelay", "touch", "write_buffer_size"),
        *("proxy_header", "proxy_protocol", "write_timeout", "writelines"),
    }
)

_HAS_VARARGS = 0x04  # inspect.CO_VARARGS, without importing inspect
_IS_COROUTINE = 0x80 | 0x200  # inspect.CO_COROUTINE and CO_ASYNC_GENERATOR

# Handlers of the classic classes and of ours, beside those that begin with "handle_".
_HANDLERS = frozenset(
    {"authenticate", "collect_incoming_data", "found_terminator", "readable", "writable"}
)

# What is called only where a program asks for it. An unchanged one may have these names for
# something else, and nothing calls them: it is told when something does.
_ON_DEMAND = frozenset(
    {
        "handle_line_too_long",
        "handle_pause",
        "handle_refused",
        "handle_resume",
        "handle_shutdown",
        "handle_timeout",
    }
)

# What a class that speaks TLS is called by (`ssl_ext.TLSMixin`), if it can be.
_OF_TLS = frozenset({"handle_handshake", "handle_tls_error", "handle_unwrapped"})

# The functions that were told of. Each is told of once.
_told: set[CodeType] = set()


class OverridableProperty(Generic[_Value]):
    """A property that a program may assign to, for a purpose of its own."""

    def __init__(self, function: Callable[[Any], _Value]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self: _Itself, channel: None, owner: type) -> _Itself: ...
    @overload
    def __get__(self, channel: object, owner: type | None = None) -> _Value: ...

    def __get__(self, channel: object, owner: type | None = None) -> Any:
        return self if channel is None else self._function(channel)


def takes(hook: object, count: int) -> bool:
    """Whether something can be called with `count` positional arguments, as far as can be told."""
    function = getattr(hook, "__func__", None)
    if function is None:
        function = hook
    else:
        count += 1
    if not isinstance(function, FunctionType):
        return callable(hook)
    code = function.__code__
    if code.co_kwonlyargcount > len(function.__kwdefaults__ or ()):
        return False
    required = code.co_argcount - len(function.__defaults__ or ())
    return required <= count and (count <= code.co_argcount or bool(code.co_flags & _HAS_VARARGS))


def hook(channel: object, name: str, count: int) -> Callable[..., Any]:
    """Return the hook of a channel, or the package's if the channel has something else there."""
    found: Callable[..., Any] | None = None
    if callable(getattr(type(channel), name, None)):  # else a property, which is not ours to read
        found = getattr(channel, name)
        if takes(found, count):
            return found
    for cls in type(channel).__mro__:
        inherited = cls.__dict__.get(name)
        if isinstance(inherited, FunctionType) and takes(inherited, count + 1):
            if found is not None:
                function = getattr(found, "__func__", found)
                _tell(function, _cannot_be_called(type(channel), name, inherited))
            bound: Callable[..., Any] = inherited.__get__(channel)
            return bound
    raise AttributeError(f"{channel!r} has no {name} that takes {count} arguments")


def _cannot_be_called(cls: type, name: str, ours: FunctionType) -> str:
    """Say of a hook that it should take what the package's own takes."""
    code = ours.__code__
    count = code.co_argcount - 1
    alone = "is left alone, for it " if name in NEW_NAMES | _OF_TLS else ""
    return (
        f"{cls.__qualname__}.{name}() {alone}can't be called as the hook of that name is, with "
        f"{_counted(count)}: define {name}({', '.join(code.co_varnames[: count + 1])}), or rename "
        "it"
    )


def _counted(count: int) -> str:
    return "no argument" if not count else "one argument" if count == 1 else f"{count} arguments"


def _tell(function: object, text: str) -> None:
    """Warn of a function of the program's, at the place where it is written, once."""
    code = getattr(function, "__code__", None)
    if code is not None and code not in _told:
        _told.add(code)
        module = getattr(function, "__module__", None)
        warnings.warn_explicit(text, RuntimeWarning, code.co_filename, code.co_firstlineno, module)


def tell_of_handlers(cls: type) -> None:
    """Warn of handlers of a new class that can't be what the package calls by their name.

    They are coroutine functions, which nobody awaits, or take other arguments than the package's
    function of that name.
    """
    for base in cls.__mro__:
        if is_ours(base.__module__):
            continue
        for name, function in vars(base).items():
            if not (name.startswith("handle_") or name in _HANDLERS):
                continue
            if getattr(cls, name, None) is not function or not isinstance(function, FunctionType):
                continue
            ours = _of_the_package(cls, name)
            if ours is None:
                continue
            if function.__code__.co_flags & _IS_COROUTINE:
                _tell(
                    function,
                    f"{cls.__qualname__}.{name}() is a coroutine function, which nobody awaits: "
                    "make it a plain one that calls compat.converse(self, coroutine)",
                )
            elif name not in _ON_DEMAND and not takes(function, ours.__code__.co_argcount):
                _tell(function, _cannot_be_called(cls, name, ours))


def _of_the_package(cls: type, name: str) -> FunctionType | None:
    """Return what a class would have by a name, were it not the program's."""
    for base in cls.__mro__:
        found = vars(base).get(name)
        if isinstance(found, FunctionType) and is_ours(base.__module__):
            return found
    return None


def yield_to_mixins(cls: type, names: Collection[str] = NEW_NAMES) -> None:
    """Let what a class inherits from the program's own mix-ins go before new names of ours."""
    for name in names:
        having = [base for base in cls.__mro__ if name in base.__dict__]
        if len(having) < 2:
            continue
        ours = [is_ours(base.__module__) for base in having]
        if ours[0] and not ours[-1]:
            # Those before the last of ours are derived from it, and may have overridden it.
            first = next(at for at in range(len(ours) - 1, -1, -1) if ours[at]) + 1
            setattr(cls, name, having[first].__dict__[name])
