"""Bytes and text, followed through a class: what is found, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat.old_programs import sources
from compat.old_programs.check import command
from compat.old_programs.check.program import load

HEAD = """\
import asyncore, asynchat, smtpd, io, re, string, json, struct
NAMES = {'a': 1}
LIST = ['a', 'b']
"""


def found(text: str) -> list[str]:
    source = sources.parse(Path("x.py"), HEAD + text, "utf-8")
    findings = command.judge([load(source, (3, 13))])
    at = HEAD.count("\n")
    return [f"{f.line - at} {f.code}" for f in findings if f.code[:3] == "AC2"]


def method(body: str) -> str:
    """Return a class whose method gets bytes, and does that."""
    lines = "".join(f"        {line}\n" for line in body.split("\n"))
    return f"class A(asynchat.async_chat):\n    def collect_incoming_data(self, data):\n{lines}"


def test_classes_that_a_star_import_brings() -> None:
    text = """\
from asyncore import *
from asynchat import *
class A(async_chat):
    def collect_incoming_data(self, data):
        self.push('x')
class B(dispatcher):
    def handle_read(self):
        self.recv(1) == 'x'
"""
    assert found(text) == ["5 AC201", "8 AC202"]


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        # Compared, looked up, searched.
        ("data == ''", ["AC202"]),
        ("data in ('a', 'b')", ["AC202"]),
        ("'x' in data", ["AC202"]),
        ("data in LIST", ["AC202"]),
        ("data in NAMES", ["AC202"]),
        ("NAMES[data]", ["AC202"]),
        ("NAMES.get(data)", ["AC202"]),
        ("data[0] == 'x'", ["AC202"]),
        ("ord(data[0])", ["AC202"]),
        ("data.startswith('x')", ["AC202"]),
        ("re.match('x', data)", ["AC202"]),
        ("string.split(data, ' ')", ["AC202"]),
        ("for c in data:\n    c in 'abc'", ["AC202"]),
        ("a, b = data.split(b' ')\na == 'x'", ["AC202"]),
        ("[w for w in data.split() if w == 'x']", ["AC202"]),
        ("while data != 'x': pass", ["AC202"]),
        ("if data: w = data\nelse: w = b''\nw == 'x'", ["AC202"]),
        ("try:\n    w = data\nexcept E:\n    return\nw == 'x'", ["AC202"]),
        ("w = data if self.x else b''\nw == 'x'", ["AC202"]),
        ("w = data or b''\nw == 'x'", ["AC202"]),
        ("w: bytes = data\nw == 'x'", ["AC202"]),
        ("with self.lock as l:\n    data == 'x'", ["AC202"]),
        ("with open('f', 'rb') as f:\n    f.read() == 'x'", ["AC202"]),
        ("match data:\n    case b'x': self.push('y')", ["AC201"]),
        ("list(data)\nsorted(data.split())[0] == 'x'", ["AC202"]),
        ("self.parts = []\nself.parts.append(data)\nself.parts.pop() == 'x'", ["AC202"]),
        ("data == b''", []),
        ("data.decode() == ''", []),
        ("data = data.decode()\ndata == ''", []),
        ("data is ''", []),
        ("if self.x:\n    data = self.y\ndata == ''", []),
        ("data in (b'a', 'b')", []),
        ("data[0] == 1 and data[:1] == b'x'", []),
        ("lambda: data == ''", []),
        # Formatted and printed.
        ("print(data)", ["AC205"]),
        ("'%s' % data", ["AC205"]),
        ("'%d %s' % (1, data)", ["AC205"]),
        ("'%(x)s' % data", ["AC205"]),
        ("'{}'.format(data)", ["AC205"]),
        ("f'{data}'", ["AC205"]),
        ("str(data)", ["AC205"]),
        ("str(data, 'ascii')", []),
        ("'%r 100%% %d' % (data, len(data))", []),
        ("f'{data!r}'", []),
        ("print(repr(data), data.hex())", []),
        # Added and joined.
        ("data + ''", ["AC206"]),
        ("x = ''\nx += data", ["AC206"]),
        ("''.join([data])", ["AC203"]),
        ("''.join(reversed(data))", ["AC203"]),
        ("string.join([data], '')", ["AC203"]),
        ("open('f', 'w').write(data)", ["AC206"]),
        ("open('f').read() + data", ["AC206"]),
        ("open('f', 'rb').write('x')", ["AC206"]),
        ("io.BytesIO().write('x')", ["AC206"]),
        ("struct.pack('x') + 'x'", ["AC206"]),
        ("b'x' * 3 + 'x'", ["AC206"]),
        ("self.out_buffer = b''\nself.out_buffer += 'x'", ["AC206"]),
        ("open('f', mode).write(data)", []),
        ("open('f', mode='wb').write(data)", []),
        ("b'%s' % data + b'x' * 3", []),
        ("x = 1\nx -= 1", []),
        ("x = [data]\nx += [b'a']\nb''.join(x + [b'c'])", []),
        # Given to channels and sockets.
        ("self.push('x')", ["AC201"]),
        ("self.push('%d' % 1)", ["AC201"]),
        ("self.push(json.dumps(1))", ["AC201"]),
        ("asynchat.async_chat.push(self, 'x')", ["AC201"]),
        ("super().push('x')", ["AC201"]),
        ("self.socket.sendall('x')", ["AC201"]),
        ("other.push('x')", ["AC201"]),
        ("self.terminator = '\\n'", ["AC201"]),
        ("self.push(asynchat.simple_producer('x'))", ["AC201"]),
        ("self.push('x'.encode())", []),
        ("self.push(self.unknown)", []),
        ("generator.send('x')", []),
        ("self.producer_fifo.append('x')", []),
        ("self.use_encoding = 1\nself.push('x')", []),
        ("x = self.recv(1)\nx == ''", ["AC202"]),
        ("x = asynchat.async_chat.recv(self, 1)\nx == ''", ["AC202"]),
        ("x, y = self.socket.recvfrom(1)\nx == ''", []),
    ],
)
def test_a_method(body: str, codes: list[str]) -> None:
    assert [line.split()[1] for line in found(method(body))] == codes


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (  # Between methods.
            "class A(asynchat.async_chat):\n"
            "    def collect_incoming_data(self, data):\n        self.work(data)\n"
            "    def work(self, what):\n        return what.split(' ')\n",
            ["5 AC202"],
        ),
        (  # What a method returns.
            "class A(asynchat.async_chat):\n"
            "    def get(self):\n        return self.recv(1)\n"
            "    def use(self):\n        self.get() == ''\n",
            ["5 AC202"],
        ),
        (  # Called with both kinds: nobody knows.
            "class A(asynchat.async_chat):\n"
            "    def collect_incoming_data(self, data):\n        self.work(data)\n"
            "        self.work(self.x)\n"
            "    def work(self, what):\n        return what == ''\n",
            [],
        ),
        (  # A beginning in the class body, and one in a base.
            "class A(asynchat.async_chat):\n    line = ''\n"
            "    def collect_incoming_data(self, data):\n        self.line = self.line + data\n",
            ["2 AC206"],
        ),
        (
            "class Base(asynchat.async_chat):\n"
            "    def __init__(self):\n        self.kept = b''\n"
            "class A(Base):\n    def found_terminator(self):\n        self.kept == ''\n",
            ["6 AC202"],
        ),
        (  # Text for sure: what is added is the program's business.
            "class A(asynchat.async_chat):\n"
            "    def collect_incoming_data(self, data):\n        self.line = data.decode()\n"
            "    def found_terminator(self):\n        self.line == ''\n        self.line = ''\n",
            [],
        ),
        (  # Anything at all.
            "class A(asynchat.async_chat):\n"
            "    def __init__(self):\n        self.x = ''\n"
            "    def found_terminator(self):\n        self.x = self.y\n        self.push(self.x)\n",
            [],
        ),
        (  # A `push` of its own encodes.
            "class A(asynchat.async_chat):\n"
            "    def push(self, text):\n        asynchat.async_chat.push(self, text.encode())\n"
            "    def found_terminator(self):\n        self.push('x')\n",
            [],
        ),
        (
            "class A(asynchat.async_chat):\n"
            "    def push(self, text):\n        asynchat.async_chat.push(self, text.encode())\n"
            "class B(A):\n    def found_terminator(self):\n        self.push('x')\n",
            [],
        ),
        (  # Replies of SMTP are text.
            "class A(smtpd.SMTPChannel):\n"
            "    def smtp_X(self, arg):\n        self.push('250 ok')\n",
            [],
        ),
        (
            "class A(smtpd.SMTPServer):\n"
            "    def process_message(self, peer, mailfrom, rcpttos, data, **kw):\n"
            "        data.split('\\n')\n",
            ["3 AC202"],
        ),
        (
            "class A(smtpd.SMTPServer):\n"
            "    def process_message(self, peer, mailfrom, rcpttos, data, **kw):\n"
            "        data.split('\\n')\nA(1, 2, decode_data=True)\n",
            [],
        ),
        ("def f(sock):\n    sock.send('x')\n    sock.recv(1) == ''\n", ["2 AC201", "3 AC202"]),
        ("class P:\n    def more(self):\n        return ''\n", []),
        ("class P:\n    def more(self):\n        return 'x'\n", ["3 AC201"]),
    ],
)
def test_a_program(text: str, codes: list[str]) -> None:
    assert found(text) == codes


THREADS = """\
import asyncore, threading, socket
def serve():
    conn, _ = listener.accept()
    conn.send(b"x")
    with socket.create_connection(("", 1)) as other:
        other.send(b"y")
    sock.send(b"z")
    channel.sendall(b"of a socket")
    channel.send(b"found")
    channel.push(b"found")
threading.Thread(target=serve).start()
threading.Timer(1, tick).start()
threading.Thread(None, asyncore.loop).start()
"""


def test_threads() -> None:
    source = sources.parse(Path("x.py"), THREADS, "utf-8")
    findings = command.judge([load(source, (3, 13))])
    assert [(f.line, f.code) for f in findings if f.code == "AC302"] == [
        (9, "AC302"), (10, "AC302"), (13, "AC302"),
    ]  # fmt: skip


# Python 2 alone. ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("print\nprint 'a',\nprint ('x')\nprint >>f\n", ["2:1 AC110", "4:1 AC110"]),
        ("exec 'x' in a, b\nexec('x')\nprint 1\n", ["1:1 AC113", "3:1 AC110"]),
        ("raise A, b, c\n", ["1:1 AC112"]),
        ("raise 'x'\nprint 1\n", ["1:1 AC112", "2:1 AC110"]),
        ("raise\nprint 1\n", ["2:1 AC110"]),
        ("try: pass\nexcept A, (b, c): pass\nexcept: pass\n", ["2:1 AC111"]),
        ("True, False = 1, 0\n", ["1:1 AC121", "1:7 AC121"]),
        ("await = 1\n", ["1:1 AC121"]),
        ("def f():\n    from os import *\n    print 1\n", ["2:5 AC122", "3:5 AC110"]),
        ("x = '\\users', 1L\n", ["1:5 AC122", "1:15 AC117"]),
        ("f = lambda (a, b): a\n", ["1:12 AC119"]),
        ("if 1:\n\tx = 00\n\tif x:\n            y = 0\nprint 1\n", ["5:1 AC110"]),
        ("if 1:\n\tif x:\n\t    y = 0\n            y = 1\n", ["4:1 AC120"]),
    ],
)
def test_python_2(text: str, codes: list[str]) -> None:
    source = sources.parse(Path("x.py"), text, "utf-8")
    findings = command.judge([load(source, (3, 13))])
    assert [f"{f.line}:{f.column} {f.code}" for f in findings] == codes


def test_what_is_nested_too_deeply_is_said_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deep.py").write_text("x = " + " + ".join(["'a'"] * 3000) + "\n")
    (tmp_path / "other.py").write_text("raw_input()\n")
    assert command.main([str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert "nested too deeply" in out + err
    assert "other.py:1:1: raw_input" in out
