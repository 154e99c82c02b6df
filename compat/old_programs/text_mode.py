"""`asynccore run --text ENCODING`: channels that take and give str, as in Python 2.

*Facts.* In Python 2 `str` was bytes. A program that only went through a converter of syntax gives
str to `push`, `send` and `set_terminator`, and adds what it is given to str. asyncore's classes
are what such programs derive from, and where all of this goes through.
*Consequence.* The classic classes are exchanged for ones that are derived from them, before the
program sees them: what they take is encoded, what they give is decoded, and what stands beneath
has bytes as ever. Nothing is different where this is not asked for. Latin-1 has a character for
each byte, so whatever comes goes through it unharmed; with UTF-8, bytes that are none go through by
"surrogateescape", and a character that comes in two pieces is put together.
*Trade-off.* What a program receives by its socket itself, or gives to other modules, is bytes. With
encodings of several bytes a character, numbers mean bytes: a terminator of 4 are four bytes.
"""

from __future__ import annotations

import codecs
import functools
import os
from typing import Any

import asynccore
from asynccore import asynchat
from asynccore.neighbours import is_ours

# What the environment of the program has, if it is to be run so: the name of an encoding.
VARIABLE = "ASYNCCORE_TEXT"


def check(encoding: str) -> str:
    """Return the usual name of an encoding. Raises ValueError if it is none that serves."""
    try:
        name = codecs.lookup(encoding).name
        served = "\r\n".encode(name) == b"\r\n"
    except (LookupError, ValueError, TypeError):
        served = False
    if not served:
        raise ValueError(f"--text takes an encoding such as latin-1 or utf-8, not {encoding!r}")
    return name


def enable() -> None:
    """Exchange the classic classes for ones that take and give str, in this process."""
    # What is derived from the classic classes here has bytes beneath; it comes first.
    from asynccore import hardened_smtpd  # noqa: F401

    encoding = check(os.environ[VARIABLE])
    if hasattr(asynccore.dispatcher, "_text_encoding"):
        return
    plain = _exchanged(asynccore, "dispatcher", encoding)
    _exchanged(asynccore, "dispatcher_with_send", encoding, plain)
    _exchanged(asynchat, "async_chat", encoding, plain)
    if hasattr(asynccore, "file_dispatcher"):  # Windows has none
        _exchanged(asynccore, "file_dispatcher", encoding, plain)


def _exchanged(module: object, name: str, encoding: str, *above: type) -> type:
    """Put a class that is derived from one of the classic ones in its place; return it.

    `above` is what else it is to be: each is an `asyncore.dispatcher`, and so are these.
    """
    base: Any = getattr(module, name)
    body: dict[str, Any] = {
        "__module__": base.__module__,
        "__doc__": base.__doc__,
        "_text_encoding": encoding,
        "_text_decoder": functools.cached_property(_decoder),
        "send": _sender(base),
        "recv": _receiver(base),
    }
    body["_text_decoder"].__set_name__(None, "_text_decoder")
    if name == "dispatcher_with_send":
        body["out_buffer"] = _out_buffer(base)
    if name == "async_chat":
        body.update(_chat(base))
    made: Any = type(name, (base, *above), body)

    def init_subclass(cls: type, /, **options: object) -> None:
        _adapt(cls)
        super(made, cls).__init_subclass__(**options)

    made.__init_subclass__ = classmethod(init_subclass)
    setattr(module, name, made)
    found: type = made
    return found


# Both ways. -------------------------------------------------------------------------------------


def _encode(channel: Any, text: str) -> bytes:
    return text.encode(channel._text_encoding, "surrogateescape")


def _decoder(channel: Any) -> Any:
    return codecs.getincrementaldecoder(channel._text_encoding)("surrogateescape")


def _sender(base: Any) -> Any:
    def send(self: Any, data: Any) -> Any:
        if not isinstance(data, str):
            return base.send(self, data)
        encoded = _encode(self, data)
        # The program sends the whole of a character again of which a part is sent.
        begun = self.__dict__.get("_text_begun", 0)
        sent = base.send(self, encoded[begun:])
        if sent is None or len(encoded) == len(data):
            return sent
        characters = end = 0
        for character in data:
            size = len(_encode(self, character))
            if end + size > begun + sent:
                break
            end += size
            characters += 1
        self._text_begun = begun + sent - end
        return characters

    send.__doc__ = base.send.__doc__
    return send


def _receiver(base: Any) -> Any:
    def recv(self: Any, buffer_size: int) -> Any:
        raw = self.__dict__.pop("_text_raw", False)
        data = base.recv(self, buffer_size)
        if raw or not data:
            return data if raw else ""
        # Nothing is what ends a connection, so half a character is better than that.
        text = self._text_decoder.decode(data)
        return text or data.decode(self._text_encoding, "surrogateescape")

    recv.__doc__ = base.recv.__doc__
    return recv


def _out_buffer(base: Any) -> property:
    def get(self: Any) -> str:
        data: bytes = base.out_buffer.fget(self)
        return data.decode(self._text_encoding, "surrogateescape")

    def put(self: Any, data: Any) -> None:
        base.out_buffer.fset(self, _encode(self, data) if isinstance(data, str) else data)

    return property(get, put, doc=base.out_buffer.__doc__)


def _chat(base: Any) -> dict[str, Any]:
    """Return what `async_chat` has beyond the others."""

    def handle_read(self: Any) -> None:
        self._text_raw = True  # the lines are found among the bytes
        try:
            base.handle_read(self)
        finally:
            self.__dict__.pop("_text_raw", None)

    def _collect_incoming_data(self: Any, data: Any) -> None:
        if not isinstance(data, str):
            data = self._text_decoder.decode(data)
        self.incoming.append(data)

    def _get_data(self: Any) -> str:
        data = "".join(self.incoming)
        self.incoming.clear()
        return data

    def _ac_as_output(self: Any, data: Any, caller: str) -> bytes:
        found: bytes = base._ac_as_output(
            self, _encode(self, data) if isinstance(data, str) else data, caller
        )
        return found

    def _ac_encoded(self: object, data: str, source: str) -> bytes:
        return _encode(self, data)

    return {
        "handle_read": handle_read,
        "_collect_incoming_data": _collect_incoming_data,
        "_get_data": _get_data,
        "_ac_as_output": _ac_as_output,
        "_ac_encoded": _ac_encoded,
        "_ac_terminator_as_bytes": _encode,
    }


# What the program defines. ----------------------------------------------------------------------


def _adapt(cls: Any) -> None:
    """Have a new class of the program's get text, and begin with bytes."""
    for name, wrap in (("collect_incoming_data", _collector), ("found_terminator", _finder)):
        found = getattr(cls, name, None)
        # It may be the class's own, or that of a mix-in.
        if found is not None and not hasattr(found, "_text") and not is_ours(found.__module__):
            setattr(cls, name, wrap(found))
    begun = cls.__dict__.get("out_buffer")
    if isinstance(begun, str):
        cls.out_buffer = _encode(cls, begun)


def _collector(function: Any) -> Any:
    @functools.wraps(function)
    def collect_incoming_data(self: Any, data: Any) -> Any:
        if not isinstance(data, str):
            data = self._text_decoder.decode(data)
        return function(self, data) if data else None

    collect_incoming_data._text = True  # type: ignore[attr-defined]
    return collect_incoming_data


def _finder(function: Any) -> Any:
    @functools.wraps(function)
    def found_terminator(self: Any) -> Any:
        rest = self._text_decoder.decode(b"", True)
        if rest:  # the beginning of a character that did not go on
            self.collect_incoming_data(rest)
        return function(self)

    found_terminator._text = True  # type: ignore[attr-defined]
    return found_terminator
