"""`asynccore run --text`: channels take and give str, and beneath are bytes as ever."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, smtpd
from compat.command_line import cli, runner
from compat.old_programs import text_mode
from tests.old_programs import talks

PLAIN = {
    "dispatcher": asynccore.dispatcher,
    "dispatcher_with_send": asynccore.dispatcher_with_send,
    "async_chat": asynchat.async_chat,
}


@pytest.fixture
def enable(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Turn it on for an encoding; the classic classes come back at the end."""
    kept = [
        (module, name, getattr(module, name))
        for module in (asynccore, asynchat)
        for name in ("dispatcher", "dispatcher_with_send", "file_dispatcher", "async_chat")
        if hasattr(module, name)
    ]

    def turn_on(encoding: str) -> None:
        monkeypatch.setenv(text_mode.VARIABLE, encoding)
        text_mode.enable()

    yield turn_on
    for module, name, value in kept:
        setattr(module, name, value)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    ends[1].settimeout(10)
    yield ends
    for end in ends:
        end.close()


def make_chat(terminator: Any) -> Any:
    class Chat(asynchat.async_chat):
        def __init__(self, sock: Any, map: Any) -> None:
            asynchat.async_chat.__init__(self, sock, map)
            self.set_terminator(terminator)
            self.line = ""
            self.lines: list[str] = []

        def collect_incoming_data(self, data: Any) -> None:
            self.line = self.line + data

        def found_terminator(self) -> None:
            self.lines.append(self.line)
            self.line = ""

    return Chat


def test_the_classes_are_exchanged_once_and_for_programs_alone(
    enable: Callable[[str], None],
) -> None:
    enable("latin-1")
    exchanged = asynccore.dispatcher
    enable("latin-1")
    assert asynccore.dispatcher is exchanged
    for name, module in (("dispatcher_with_send", asynccore), ("async_chat", asynchat)):
        cls = getattr(module, name)
        assert cls is not PLAIN[name] and issubclass(cls, PLAIN[name])
        assert issubclass(cls, asynccore.dispatcher)
        assert (cls.__name__, cls.__module__) == (name, PLAIN[name].__module__)
    assert not issubclass(smtpd.SMTPChannel, exchanged)


@pytest.mark.parametrize("terminator", ["\r\n", b"\r\n"])
def test_lines_of_text(enable: Callable[[str], None], pair: Any, terminator: Any) -> None:
    enable("latin-1")
    chat = make_chat(terminator)(pair[0], channels := {})
    pair[1].sendall(b"gr\xfcn\r\n\xff\x00\r\nrest")
    asynccore.loop(1, map=channels, count=1)
    assert (chat.lines, chat.line) == (["grün", "\xff\0"], "rest")
    chat.push("grün\r\n")
    chat.push(b"\xfe")
    chat.push_with_producer(asynchat.simple_producer("x" * 600))
    chat.producer_fifo.append("é")
    assert chat.get_terminator() == terminator
    chat.terminator = "!"
    chat.send("ä")
    asynccore.loop(1, map=channels, count=2)
    pair[1].sendall(b"!")
    asynccore.loop(1, map=channels, count=1)
    assert chat.lines[-1] == "rest"
    chat.close()
    received = b"".join(iter(lambda: pair[1].recv(4096), b""))
    assert sorted(received) == sorted(b"gr\xfcn\r\n\xfe" + b"x" * 600 + b"\xe9\xe4")


def test_what_is_no_text_and_no_bytes_is_refused(enable: Callable[[str], None], pair: Any) -> None:
    enable("latin-1")
    chat = make_chat("\n")(pair[0], {})
    with pytest.raises(TypeError, match="bytes-like"):
        chat.push(5)
    with pytest.raises(UnicodeEncodeError):
        chat.push("€")
    chat.close()


def test_characters_that_come_in_two_pieces(enable: Callable[[str], None], pair: Any) -> None:
    enable("utf-8")
    chat = make_chat("\n")(pair[0], channels := {})
    for piece in (b"gr\xc3", b"\xbcn\n", b"\xff\xc3\n", "€\n".encode()):
        pair[1].sendall(piece)
        asynccore.loop(1, map=channels, count=1)
    assert chat.lines == ["grün", "\udcff\udcc3", "€"]
    chat.push(chat.lines[1] + "ü")
    assert pair[1].recv(100) == b"\xff\xc3\xc3\xbc"
    chat.close()


def test_lengths(enable: Callable[[str], None], pair: Any) -> None:
    enable("utf-8")
    chat = make_chat(4)(pair[0], channels := {})
    pair[1].sendall("aüb".encode())
    asynccore.loop(1, map=channels, count=1)
    assert chat.lines == ["aüb"]
    chat.close()


def test_incoming_of_the_base_class(enable: Callable[[str], None], pair: Any) -> None:
    enable("latin-1")

    class Chat(asynchat.async_chat):
        collect_incoming_data = asynchat.async_chat._collect_incoming_data
        lines: list[Any] = []

        def found_terminator(self) -> None:
            self.lines.append(self._get_data())

    chat = Chat(pair[0], channels := {})
    chat.set_terminator("\n")
    chat._collect_incoming_data(b"\xfc")
    pair[1].sendall(b"one\ntwo\n")
    asynccore.loop(1, map=channels, count=1)
    assert Chat.lines == ["üone", "two"]
    chat.close()


def test_mixins_and_subclasses_get_text_once(enable: Callable[[str], None], pair: Any) -> None:
    enable("utf-8")
    seen: list[Any] = []

    class Mixin:
        def collect_incoming_data(self, data: Any) -> None:
            seen.append(data)

    class Chat(Mixin, asynchat.async_chat):
        def found_terminator(self) -> None:
            seen.append(None)

    class Derived(Chat):
        def collect_incoming_data(self, data: Any) -> None:
            Chat.collect_incoming_data(self, data + "!")

        def found_terminator(self) -> None:
            super().found_terminator()

    chat = Derived(pair[0], channels := {})
    chat.set_terminator("\n")
    pair[1].sendall("ü\n".encode())
    asynccore.loop(1, map=channels, count=1)
    assert seen == ["ü!", None]
    chat.close()


class Narrow:
    """A socket that takes some bytes at once."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.sent = b""

    def send(self, data: bytes) -> int:
        data = data[: self.sizes.pop(0)]
        self.sent += data
        return len(data)


def test_a_partial_send_is_told_in_characters(enable: Callable[[str], None]) -> None:
    enable("utf-8")
    channel: Any = asynccore.dispatcher(map={})
    channel.socket = sock = Narrow([2, 0, 1, 2, 9])
    rest, counts = "aü€b", []
    while rest:
        counts.append(channel.send(rest))
        rest = rest[counts[-1] :]
    assert counts == [1, 0, 1, 0, 2]
    assert sock.sent == "aü€b".encode()


def test_received_text(enable: Callable[[str], None], pair: Any) -> None:
    enable("utf-8")
    pair[0].setblocking(False)
    channel = asynccore.dispatcher(pair[0], {})
    pair[1].sendall("aü".encode() + b"\xc3")
    assert channel.recv(100) == "aü"  # type: ignore[comparison-overlap]
    pair[1].sendall(b"\xbc")
    assert channel.recv(100) == "ü"  # type: ignore[comparison-overlap]
    pair[1].sendall(b"\xe2")
    assert channel.recv(100) == "\udce2"  # type: ignore[comparison-overlap]
    pair[1].close()
    assert channel.recv(100) == ""  # type: ignore[comparison-overlap]


def test_a_buffer_of_text(enable: Callable[[str], None], pair: Any) -> None:
    enable("latin-1")

    class Sender(asynccore.dispatcher_with_send):
        out_buffer: Any = "hello "

        def initiate_send(self) -> None:
            count = asynccore.dispatcher.send(self, self.out_buffer[:4])
            self.out_buffer = self.out_buffer[count:]

    class Usual(asynccore.dispatcher_with_send):
        def handle_read(self) -> None:
            self.send("got " + self.recv(100))

    sender: Any = Sender(pair[0], channels := {})
    sender.out_buffer = sender.out_buffer + "wörld"
    sender.out_buffer = sender.out_buffer + ""
    for _ in range(3):
        sender.initiate_send()
    assert sender.out_buffer == ""
    sender.out_buffer = b""
    assert pair[1].recv(100) == b"hello w\xf6rld"
    sender.del_channel()
    usual = Usual(pair[0], channels)
    pair[1].sendall(b"x\xe4")
    asynccore.loop(1, map=channels, count=1)
    assert pair[1].recv(100) == b"got x\xe4"
    usual.del_channel()


@pytest.mark.parametrize("encoding", ["klingon", "utf-16", "hex", "", "utf-8\0"])
def test_encodings_that_do_not_serve(encoding: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--text", encoding, "x.py"]) == 2
    words = f"--text takes an encoding such as latin-1 or utf-8, not {encoding!r}"
    assert words in capsys.readouterr().err


def test_the_option_goes_into_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(runner, "_become", lambda command, env: seen.append(env) or 0)
    assert cli.main(["run", "--text", "latin1", "x.py"]) == 0
    assert cli.main(["run", "x.py"]) == 0
    assert [env.get(text_mode.VARIABLE) for env in seen] == ["iso8859-1", None]


# Programs of the corpus after nothing but lib2to3's fixers. ------------------------------------

PROGRAMS = ["y2001_monitor", "y2001_web_client", "y2009_numbers", "y2015_line_json"]


def fixed(name: str) -> str:
    from fissix import refactor

    fixers = sorted(refactor.get_fixers_from_package("fissix.fixes"))
    source = (talks.CORPUS / f"{name}.py").read_text(encoding="latin-1")
    return str(refactor.RefactoringTool(fixers).refactor_string(source, name))


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_that_only_went_through_a_converter(
    name: str, tmp_path: Path, certificate: tuple[Path, Path, Path]
) -> None:
    script = tmp_path / f"{name}.py"
    script.write_text(fixed(name), encoding="latin-1")
    talks.run(script, name, *certificate[1:], "--text", "latin-1")


def test_without_the_option_they_do_not_answer(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(
        "import asynchat\ntry:\n    asynchat.async_chat().push('x')\n"
        "except TypeError as why:\n    print(why)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "asynccore", "run", str(script)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == (
        f"push() takes bytes, not str: 'x' in {script}, line 3. 'asynccore check {script}' finds"
        " each such place, and 'asynccore run --text latin-1 SCRIPT' takes str as Python 2 did\n"
    )
