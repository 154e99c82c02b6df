"""What a real client and each program of the corpus say to each other, once it runs.

Every program is given a port of 127.0.0.1 as its first argument, and those with TLS a certificate
and its key after that. Servers listen there; clients connect there, to what this module answers.
"""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port

CORPUS = Path(__file__).parent / "corpus"

# A bound for programs that hang; they all take a fraction of a second.
PATIENCE = 30


@dataclass(frozen=True)
class Talk:
    """What is sent, and what comes back; how it is carried, and what the program prints."""

    says: Sequence[tuple[bytes, bytes]]
    by: str = "tcp"  # "tcp", "tls", "udp", "mail"; "client": the program asks, and is answered
    prints: Sequence[str] = ()  # parts of its standard output, in order


MAIL = b"From: ann@example.org\r\nSubject: Hello\r\n\r\nFirst line.\r\nSecond line.\r\n"

TALKS = {
    "y2001_echo": Talk([(b"hello\r\n", b"hello\r\n"), (b"\xff\x00!", b"\xff\x00!")]),
    "y2001_chat": Talk(
        [
            (b"", b"name?\r\n"),
            (b"ann\r\n", b"hello ann\r\n"),
            (b"hi all\r\n", b"ann: hi all\r\n"),
            (b"/who\r\n", b"ann\r\n"),
        ]
    ),
    "y2001_finger": Talk([(b"Ann\r\n", b"Name: Ann Example\r\nMode: 755\r\n")]),
    "y2001_httpd": Talk(
        [
            (
                b"GET /a%20b HTTP/1.0\r\n\r\n",
                b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nspaces\n",
            )
        ]
    ),
    "y2001_mail_sink": Talk(
        [(MAIL, b"")], "mail", ["1: ann@example.org -> bob@example.org: Hello"]
    ),
    "y2001_monitor": Talk(
        [(b"", b">>> "), (b"x + 1\n", b"16\n>>> "), (b"y = 2\n", b">>> "), (b"y\n", b"2\n>>> ")]
    ),
    "y2001_web_client": Talk(
        [
            (b"GET /one HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\nfirst"),
            (b"GET /two HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\nsecond"),
        ],
        "client",
        ["/one 5 first", "/two 6 second"],
    ),
    "y2009_line_server": Talk(
        [
            (b"SET a gr\xfcn\r\n", b"OK\r\n"),
            (b"GET a\r\n", b"gr\xfcn\r\n"),
            (b"GET b\r\n", b"ERR no such key\r\n"),
            (b"SET\r\n", b"ERR bad command: 'SET'\r\n"),
            (b"KEYS\r\n", b"a\r\n"),
        ]
    ),
    "y2009_numbers": Talk([(b"0003abc", b"0003cba"), (b"0002\xff!", b"0002!\xff")]),
    "y2009_secure_echo": Talk([(b"hello", b"hello"), (b"again", b"again")], "tls"),
    "y2015_mail_json": Talk([(MAIL, b"")], "mail", ['"subject": "Hello"', '"First line."']),
    "y2015_line_json": Talk(
        [
            (b'{"op": "add", "args": [1, 2]}\n', b'{"result": 3}\n'),
            (b'{"op": "x"}\n', b'{"error": "unknown"}\n'),
        ]
    ),
    "y2015_tls_echo": Talk([(b"one\n", b"ONE\n"), (b"bye\n", b"BYE\n")], "tls"),
    "y2001_news_client": Talk(
        [(b"ARTICLE 7\r\n", b"one\r\ntwo\r\n.\r\n")], "client", ["one", "two", "2 lines"]
    ),
    "y2009_memcache": Talk(
        [
            (b"set k 4\r\n\xffa\r\n", b"STORED\r\n"),
            (b"get k\r\n", b"VALUE k 4\r\n\xffa\r\n\r\nEND\r\n"),
            (b"get x\r\n", b"ERROR\r\n"),
        ]
    ),
    "y2009_bot": Talk(
        [
            (b"", b"NICK bot\r\n"),
            (b"PING :gr\xfcn\r\n", b"PONG :gr\xfcn\r\n"),
            (b"NICK :me\r\n", b"NICK me\r\n"),
            (b"WAIT 0\r\n", b"waited\r\n"),
        ]
    ),
    "y2009_digest": Talk([(b"abc", b"900150983cd24fb0d6963f7d28e17f72\n")]),
    "y2015_careful": Talk([(b"abc\r\n", b"ABC\r\n"), (b"!\r\n", b"bye\r\n")]),
}

# Those that run after the remedies that `check` names, written by hand.
BY_HAND = {
    "y2001_quote": Talk([(b"1\r\n", b"0015 Flat is better.\r\n"), (b"9\r\n", b"0005 error\r\n")]),
    "y2009_mail_counter": Talk([(MAIL, b""), (MAIL, b"")], "mail", ["ann@example.org: 2"]),
    "y2009_job_queue": Talk([(b"12\n", b"144\n"), (b"x\n", b"error: ")]),
    "y2015_stats": Talk([(b"GET / HTTP/1.0\r\n\r\n", b"&lt;hits&gt;=1\nalive=True")]),
    "y2015_commands": Talk(
        [(b"add 1 2\n", b"3\n"), (b"echo\n", b"wrong number\n"), (b"x\n", b"no such command\n")]
    ),
    "y2015_uploads": Talk([(b"a 3\nabcb 6\nabcdef", b"stored 3\nlater\n")]),
    "y2015_own_loop": Talk([(b"?", b"0\n")]),
}

ALL = {**TALKS, **BY_HAND}


@contextlib.contextmanager
def _program(command: Sequence[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    program = subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    try:
        yield program
    finally:
        program.kill()
        program.communicate()


def _connected(port: int, program: subprocess.Popen[str]) -> socket.socket:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except ConnectionRefusedError:
            if program.poll() is not None or time.monotonic() > end:
                program.kill()
                raise AssertionError(program.communicate()[1]) from None
            time.sleep(0.01)


def _exactly(receive: Callable[[int], bytes], expected: bytes) -> None:
    got = b""
    while len(got) < len(expected):
        data = receive(len(expected) - len(got))
        if not data:
            break
        got += data
    assert got == expected


def converse(
    command: Callable[[int], Sequence[str]], talk: Talk, cwd: Path, cert: Path | None = None
) -> tuple[str, str]:
    """Run a program, talk to it, and return what it printed and what it complained of.

    `command` is given the port, and returns what to run. Raises AssertionError if an answer is
    another than the talk's.
    """
    kind = socket.SOCK_DGRAM if talk.by == "udp" else socket.SOCK_STREAM
    port = free_port(kind)
    if talk.by == "client":
        return _answer(command(port), port, talk, cwd)
    with _program(command(port), cwd) as program:
        if talk.by == "udp":
            _ask_datagrams(port, talk, program)
        else:
            with _connected(port, program) as conn:
                if talk.by == "mail":
                    _mail(port, talk)
                else:
                    _ask(conn, talk, cert)
        out = _printed(program, talk)
        program.terminate()
        rest, errors = program.communicate(timeout=PATIENCE)
    return out + rest, errors


def _ask(conn: socket.socket, talk: Talk, cert: Path | None) -> None:
    if talk.by == "tls":
        assert cert is not None
        context = ssl.create_default_context(cafile=str(cert))
        context.check_hostname = False
        conn = context.wrap_socket(conn)
    for sent, expected in talk.says:
        conn.sendall(sent)
        _exactly(conn.recv, expected)
    conn.close()


def _ask_datagrams(port: int, talk: Talk, program: subprocess.Popen[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(0.05)
        end = time.monotonic() + PATIENCE
        for sent, expected in talk.says:
            while True:  # It may not be listening yet.
                assert program.poll() is None and time.monotonic() < end
                with contextlib.suppress(ConnectionRefusedError, TimeoutError):
                    sock.send(sent)
                    assert sock.recv(65536) == expected
                    break
                time.sleep(0.01)


def _mail(port: int, talk: Talk) -> None:
    for message, _ in talk.says:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            client.sendmail("ann@example.org", ["bob@example.org"], message)


def _answer(command: Sequence[str], port: int, talk: Talk, cwd: Path) -> tuple[str, str]:
    """Be the server that a client asks: each connection is one question, in any order."""
    with socket.create_server(("127.0.0.1", port)) as listener, _program(command, cwd) as program:
        listener.settimeout(PATIENCE)
        answers = dict(talk.says)
        while answers:
            conn, _ = listener.accept()
            with conn:
                conn.settimeout(PATIENCE)
                asked = b""
                while asked not in answers:
                    data = conn.recv(4096)
                    assert data, f"asked {asked!r}"
                    asked += data
                conn.sendall(answers.pop(asked))
        out, errors = program.communicate(timeout=PATIENCE)
    _in_order(out, talk.prints)
    return out, errors


def _printed(program: subprocess.Popen[str], talk: Talk) -> str:
    """Read its output until everything that it should print is there."""
    out = ""
    assert program.stdout is not None
    while not _has_all(out, talk.prints):
        line = program.stdout.readline()
        assert line, f"printed only {out!r}"
        out += line
    return out


def _has_all(out: str, parts: Sequence[str]) -> bool:
    at = 0
    for part in parts:
        found = out.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _in_order(out: str, parts: Sequence[str]) -> None:
    assert _has_all(out, parts), out


def arguments(name: str, port: int, cert: Path, key: Path) -> list[str]:
    """Return what the program of that name is given on its command line."""
    return [str(port), *([str(cert), str(key)] if ALL[name].by == "tls" else ())]


def run(script: Path, name: str, cert: Path, key: Path, *options: str) -> tuple[str, str]:
    """Run a form of a corpus program by `asynccore run`, and have its talk with it."""
    return converse(
        lambda port: [
            *(sys.executable, "-u", "-m", "asynccore", "run", *options, str(script)),
            *arguments(name, port, cert, key),
        ],
        ALL[name],
        script.parent,
        cert,
    )
