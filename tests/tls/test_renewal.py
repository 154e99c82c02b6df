"""Files of certificates that are replaced while they are in service, by a clock that jumps."""

from __future__ import annotations

import gc
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from asynccore import dispatcher, loop, use_logging
from asynccore.engine import Engine
from asynccore.testing import FakeClock
from ssl_ext import CertificateError, secure
from ssl_ext.contexts import renewal
from ssl_ext.contexts.renewal import LOOK_INTERVAL, RenewedContext
from ssl_ext.termination import Settings, make_context
from tests.tls.pki import Leaf, Pair, ca_pem, issue
from tests.tls.support import authority, client_certificate, other_authority
from tests.tls.test_contexts import pem, trusting


class Served:
    """A certificate and its key in two files, and the context that serves them."""

    def __init__(self, folder: Path, password: bytes | None = None, **more: str) -> None:
        self.cert = folder / "cert.pem"
        self.key = folder / "key.pem"
        self.write(issue(names=("first.example",)), password)
        self.clock = FakeClock()
        settings = Settings(str(self.cert), str(self.key), **more)
        files = list(settings.variables().values())
        self.context = RenewedContext(lambda: make_context(settings), files, self.clock)

    def write(self, leaf: Leaf, password: bytes | None = None) -> None:
        self.write_cert(leaf)
        _replace(self.key, leaf.key_pem(password))

    def write_cert(self, leaf: Leaf) -> None:
        _replace(self.cert, leaf.pem.partition(b"-----BEGIN PRIVATE")[0])

    def shows(self, name: str, client: Any = None) -> bool:
        """Whether the next connection finds a certificate for `name`."""
        try:
            Pair(client or trusting(), self.context, name).handshake()
        except CertificateError as why:
            assert "is not for" in str(why)
            return False
        return True

    def later(self) -> None:
        self.clock.advance(LOOK_INTERVAL)


def _replace(path: Path, content: bytes) -> None:
    """Write another file: one that is written over within a tick of the clock looks the same."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


def test_new_files_are_used_at_the_next_look(served: Served) -> None:
    served.write(issue(names=("second.example",)))
    assert served.shows("first.example")  # not looked at yet
    served.later()
    assert served.shows("second.example")
    assert not served.shows("first.example")


class Listener(dispatcher):
    def __init__(self, channels: Any) -> None:
        super().__init__(map=channels)
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(5)


def test_a_timer_of_the_listener_looks(served: Served, channels: Any) -> None:
    """No client, be it the first, sees the certificate of before."""
    channels.engine = Engine(channels, served.clock)
    listener = secure(Listener, served.context)(channels)
    loop(timeout=0, map=channels, count=1)
    served.write(issue(names=("second.example",)))
    loop(timeout=0, map=channels, count=3)
    assert served.shows("first.example")
    served.later()
    loop(timeout=0, map=channels, count=1)
    made = served.context.openssl
    assert served.shows("second.example")
    assert served.context.openssl is made, "it was not the handshake that read the files"
    # Once more, after nothing has happened for long.
    for _ in range(10):
        served.later()
        loop(timeout=0, map=channels, count=1)
    assert served.context.openssl is made
    served.write(issue(names=("third.example",)))
    served.later()
    loop(timeout=0, map=channels, count=1)
    assert served.context.openssl is not made
    assert served.shows("third.example")
    listener.close()
    assert len(channels.engine.timers) == 0


def test_the_timer_ends_with_a_listener_that_is_forgotten(served: Served, channels: Any) -> None:
    channels.engine = Engine(channels, served.clock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        listener = secure(Listener, served.context)(channels)
        loop(timeout=0, map=channels, count=1)
        assert len(channels.engine.timers) == 1
        channels.clear()
        del listener
        gc.collect()
    loop(timeout=0, map=channels, count=1)
    assert len(channels.engine.timers) == 0


def test_several_listeners_look_as_often_as_one(
    served: Served, channels: Any, monkeypatch: Any
) -> None:
    channels.engine = Engine(channels, served.clock)
    listeners = [secure(Listener, served.context)(channels) for _ in range(3)]
    loop(timeout=0, map=channels, count=1)
    looked: list[str] = []
    monkeypatch.setattr(renewal, "_stamp", lambda name: looked.append(name))
    served.later()
    loop(timeout=0, map=channels, count=3)
    assert looked == [str(served.cert), str(served.key)]
    for listener in listeners:
        listener.close()


def test_a_connection_keeps_what_it_began_with(served: Served) -> None:
    before = Pair(trusting(), served.context, "first.example")
    served.write(issue(names=("second.example",)))
    served.context.renew()
    before.handshake()
    assert served.shows("second.example")


def test_files_that_are_replaced_one_by_one(served: Served, capsys: Any) -> None:
    """As renewing programs do it: for a moment the key is not that of the certificate."""
    second = issue(names=("second.example",))
    served.write_cert(second)
    served.later()
    assert served.shows("first.example")
    _replace(served.key, second.key_pem())
    served.later()
    assert served.shows("second.example")
    assert capsys.readouterr().err == ""


def test_what_can_not_be_used_is_told_once_and_changes_nothing(served: Served, capsys: Any) -> None:
    _replace(served.cert, b"nothing at all")
    for _ in range(5):
        served.later()
        assert served.shows("first.example")
    assert capsys.readouterr().err == (
        "warning: TLS goes on with the files of before: "
        f"there is no certificate in PEM form in {served.cert}\n"
    )
    served.cert.unlink()
    for _ in range(5):
        served.later()
        assert served.shows("first.example")
    assert capsys.readouterr().err == (
        "warning: TLS goes on with the files of before: "
        f"can't read the certificate: No such file or directory: {served.cert}\n"
    )
    served.write(issue(names=("second.example",)))
    for _ in range(2):
        served.later()
        served.shows("second.example")
    assert served.shows("second.example")
    assert capsys.readouterr().err == ""


def test_the_old_files_again_after_broken_ones(served: Served) -> None:
    """What was read last decides, not what is in use: a file that comes back is read."""
    good = served.cert.read_bytes()
    for content in (b"nothing", good):
        _replace(served.cert, content)
        for _ in range(2):
            served.later()
            assert served.shows("first.example")
    served.write(issue(names=("second.example",)))
    for _ in range(2):
        served.later()
        served.shows("first.example")
    assert served.shows("second.example")


def test_whoever_asks_is_answered_at_once(served: Served, capsys: Any) -> None:
    _replace(served.cert, b"nothing at all")
    served.context.renew()
    assert capsys.readouterr().err.count("there is no certificate in PEM form") == 1
    served.later()
    served.later()
    assert served.shows("first.example")
    assert capsys.readouterr().err == ""  # it was told
    served.write(issue(names=("second.example",)))
    served.context.renew()
    assert served.shows("second.example")


def test_a_new_password_in_its_file(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("one\n")
    served = Served(tmp_path, b"one", password_file=str(password))
    served.write(issue(names=("second.example",)), b"two")
    password.write_text("two\n")
    for _ in range(2):
        served.later()
        served.shows("first.example")
    assert served.shows("second.example")


def test_new_authorities_of_clients(tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(ca_pem(authority()))
    served = Served(tmp_path, client_ca=str(authorities))
    ann = trusting(certificate=pem(client_certificate()))
    assert served.shows("first.example", ann)
    _replace(authorities, ca_pem(other_authority()))
    for _ in range(2):
        served.later()
        Pair(ann, served.context, "first.example")
    with pytest.raises(CertificateError, match="certificate verify failed"):
        Pair(ann, served.context, "first.example").handshake()


def test_looks_are_rare(served: Served, monkeypatch: Any) -> None:
    looked: list[str] = []
    monkeypatch.setattr(renewal, "_stamp", lambda name: looked.append(name))
    for _ in range(100):
        served.context._ac_connection()
    assert looked == []
    served.later()
    for _ in range(100):
        served.context._ac_connection()
    assert looked == [str(served.cert), str(served.key)]


def test_a_renewal_is_logged(served: Served) -> None:
    class Logger:
        lines: list[str] = []

        def log(self, level: int, text: str, message: str) -> None:
            self.lines.append(f"{level} {message}")

    use_logging(Logger())  # type: ignore[arg-type]
    try:
        served.context.renew()
    finally:
        use_logging(None)
    (line,) = Logger.lines
    assert re.fullmatch(rf"20 TLS: <server context {served.cert}> was renewed", line)
