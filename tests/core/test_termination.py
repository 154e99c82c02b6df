"""What is put in front of listeners, with something that is no TLS at all."""

from __future__ import annotations

import socket
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from asynccore import dispatcher, termination


class Front:
    """Stands in for a listening socket."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    def poll_interest(self, wanted: int) -> int:
        return wanted

    def accept(self) -> Any:
        raise BlockingIOError(11, "nobody")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plain, name)


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.SimpleNamespace(in_front_of=lambda channel: Front(channel.socket))
    monkeypatch.setattr(termination, "wanted", True)
    monkeypatch.setattr(termination, "find", lambda: module)


@pytest.fixture
def listener(new_map: Any) -> Any:
    """A dispatcher that is about to listen."""

    def make(family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> dispatcher:
        channel = dispatcher(map=new_map)
        channel.create_socket(family)
        channel.bind(address)
        return channel

    return make


def test_nobody_wants_it(listener: Any) -> None:
    channel = listener()
    channel.listen(1)
    assert type(channel.socket) is socket.socket


def test_every_tcp_listener(listener: Any, wanted: None) -> None:
    channel = listener()
    channel.listen(1)
    front = channel.socket
    assert isinstance(front, Front)
    channel.listen(2)
    assert channel.socket is front


def test_one_that_listens_by_itself(listener: Any, wanted: None) -> None:
    channel = listener()
    channel.socket.listen(1)
    channel.accepting = True
    assert channel.accept() is None
    assert isinstance(channel.socket, Front)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_unix_sockets_stay_plain(listener: Any, wanted: None, tmp_path: Any) -> None:
    channel = listener(socket.AF_UNIX, str(tmp_path / "s"))
    channel.listen(1)
    assert type(channel.socket) is socket.socket
    assert channel.accept() is None


def test_what_does_tls_stays_what_it_is(listener: Any, wanted: None) -> None:
    class TLS(socket.socket):
        def do_handshake(self) -> None: ...

    channel = listener()
    plain = channel.socket
    channel.socket = TLS(fileno=plain.detach())
    channel.listen(1)
    assert type(channel.socket) is TLS


def test_without_tls_nobody_listens(
    listener: Any, wanted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(termination, "wanted", True)
    for name in ("ssl_ext", "ssl_ext.termination"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(OSError, match="ASYNCCORE_TLS_CERT is set, and there is no TLS"):
        listener().listen(1)


def test_it_is_found_beside_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not in sys.path, where a program may have an ssl_ext of its own."""
    monkeypatch.setattr(termination, "_HERE", str(tmp_path / "asynccore"))
    (tmp_path / "ssl_ext").mkdir()
    (tmp_path / "ssl_ext" / "__init__.py").write_text("")
    (tmp_path / "ssl_ext" / "termination.py").write_text("def in_front_of(channel): return 1")
    present = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    for name in present:
        del sys.modules[name]
    try:
        assert termination.find().in_front_of(None) == 1
        assert termination.find() is sys.modules["ssl_ext.termination"]
    finally:
        for name in filter(_is_ours, list(sys.modules)):
            del sys.modules[name]
        sys.modules.update(present)


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == "ssl_ext"
