"""Private names of the classes that programs subclass can't meet a program's own.

A program that was written for the classic modules has `_closed`, `_send` or `_output` of its own,
and never heard of ours.
"""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest

import asynccore
import ssl_ext
from asynccore import asynchat, hardened_smtpd, smtpd
from tests.classic.table import SURFACE

PREFIX = "_ac_"

# Private, and there in the classic modules, whose programs read and override them: methods, and
# what instances have.
CLASSIC = set(re.findall(r"\.(_[a-z]\w*)", "\n".join(SURFACE.values()))) | set(
    "_fileno _map _localaddr _remoteaddr".split()
    + "_decode_data _emptystring _linesep _dotsep _newline".split()
)


def classes() -> list[type]:
    """The dispatcher classes that can be imported."""
    modules: list[Any] = [asynccore, asynchat, smtpd, hardened_smtpd, ssl_ext]
    found = [getattr(module, name) for module in modules for name in dir(module)]
    kinds = {one for one in found if isinstance(one, type)}
    ours = [one for one in kinds if issubclass(one, asynccore.dispatcher)]
    return sorted(ours, key=lambda one: one.__qualname__)


def is_ours(name: str) -> bool:
    if re.match(r"__\w+__$|_SMTPChannel__", name):
        return True  # Python's own, and the names that smtpd has had since it was young
    return not name.startswith("_") or name.startswith(PREFIX) or name in CLASSIC


@pytest.mark.parametrize("cls", classes(), ids=lambda cls: cls.__qualname__)
def test_private_names_of_classes_begin_alike(cls: type) -> None:
    names = {name for one in cls.__mro__ for name in vars(one)}
    assert len(names) > 50
    assert [name for name in sorted(names) if not is_ours(name)] == []


@pytest.mark.parametrize("kind", ["dispatcher_with_send", "async_chat", "SMTPChannel", "TLS"])
def test_private_names_of_instances_do_too(kind: str) -> None:
    channels: dict[int, Any] = {}
    ours, theirs = socket.socketpair()
    channel: Any
    with theirs:
        if kind == "dispatcher_with_send":
            channel = asynccore.dispatcher_with_send(ours, channels)
        elif kind == "async_chat":
            channel = asynchat.async_chat(ours, channels)
        elif kind == "TLS":
            channel = ssl_ext.tls_async_chat(ours, channels)
        else:
            server = smtpd.SMTPServer(("127.0.0.1", 0), None, map=channels)
            channel = smtpd.SMTPChannel(server, ours, ("peer", 1), map=channels)
        channel.idle_timeout = 60
        if hasattr(channel, "high_watermark"):
            channel.high_watermark = 1000
        channel.pause_reading()
        asynccore.loop(timeout=0, map=channels, count=1)
        try:
            assert [name for name in sorted(vars(channel)) if not is_ours(name)] == []
        finally:
            asynccore.close_all(channels)


# What programs are known to have, or may well have, and what breaks a channel if it is taken for
# its own. pyftpdlib sets `_closed` before it calls the inherited close().
NAMES = """
_close _closed _closing _connected _engine _timer _timers _timeout _paused _input _output _buffer
_send _recv _push _read _write _queue _queued _fifo _lock _look _check _keep _take _end _ended
_start _stop _rest _mute _marks _watch _kind _head _full _limits _errors _commands _debug _greet
_tls _touch _wait _loop _reader _writer _sock _state _handler _listener _server
""".split()


@pytest.mark.parametrize("base", [asynccore.dispatcher_with_send, asynchat.async_chat])
@pytest.mark.parametrize("how", ["attributes", "methods"])
def test_a_program_may_have_them(base: Any, how: str) -> None:
    def never(self: Any, *args: Any) -> None:
        raise AssertionError("the program's own method was called")

    class Program(base):  # type: ignore[misc]
        def __init__(self, sock: Any, map: Any) -> None:
            if how == "attributes":
                for name in NAMES:
                    setattr(self, name, True)
            base.__init__(self, sock, map)
            self.got = b""
            self.ends = 0

        def handle_read(self) -> None:
            self.got += self.recv(100)
            if self.got == b"question":
                (self.send if base is asynccore.dispatcher_with_send else self.push)(b"answer")

        def handle_close(self) -> None:
            self.ends += 1
            self.close()

        def handle_error(self) -> None:
            raise

    if how == "methods":
        for name in NAMES:
            setattr(Program, name, never)
    channels: dict[int, Any] = {}
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.settimeout(10)
        program = Program(ours, channels)
        theirs.send(b"question")
        asynccore.loop(timeout=0, map=channels, count=3)
        assert theirs.recv(100) == b"answer"
        program.idle_timeout = 60
        program.pause_reading()
        program.resume_reading()
        theirs.shutdown(socket.SHUT_WR)
        asynccore.loop(timeout=0, map=channels, count=3)
        assert (program.got, program.ends, channels) == (b"question", 1, {})
        assert theirs.recv(100) == b""
