"""The step `asyncio`: the same conversations before and after, and what is left as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from compat.command_line import cli
from compat.old_programs.port import steps
from tests.old_programs import talks
from tests.old_programs.porting import becomes, ported
from tests.ports import free_port

CORPUS = talks.CORPUS / "port"


@contextlib.contextmanager
def running(script: Path, port: int, ready: str) -> Iterator[subprocess.Popen[str]]:
    program = subprocess.Popen(
        [
            sys.executable,
            "-X",
            "dev",
            "-W",
            "ignore::ResourceWarning",
            "-u",
            str(script),
            str(port),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        if ready:
            assert ready in program.stdout.readline()
        yield program
    finally:
        program.kill()
        program.communicate()


class Client:
    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=talks.PATIENCE)
        self.file = self.sock.makefile("rb")

    def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.sock.sendall(piece)

    def hears(self, *lines: bytes) -> None:
        assert [self.file.readline() for _ in lines] == list(lines)

    def close(self) -> None:
        self.file.close()
        self.sock.close()


# Each form of the program: which options `port` is given, one after the other.
FORMS: dict[str, Sequence[Sequence[str]]] = {
    "as it is": [],
    "one class": [["--step", "asyncio", "--class", "Counter"]],
    "the other class": [["--step", "asyncio", "--class", "Client"]],
    "one, then the other": [
        ["--step", "asyncio", "--class", "Counter"],
        ["--step", "asyncio", "--class", "Client"],
    ],
    "all at once": [["--step", "asyncio"]],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_conversation(form: str, tmp_path: Path) -> None:
    script = Path(shutil.copy(CORPUS / "rooms_py3.py", tmp_path))
    for options in FORMS[form]:
        assert cli.main(["port", "--write", *options, str(script)]) == 0
    text = script.read_text()
    assert ("asynchat" in text) == (form in ("as it is", "one class", "the other class"))
    assert ("asyncio" in text) == (form != "as it is")
    port = free_port(count=2)
    with running(script, port, "on port") as program:
        ann, bob = Client(port), Client(port)
        for who in (ann, bob):
            who.hears(b"welcome n\r\n")
        ann.say(b"one\r\ntwo\r", b"\nthr", b"ee\r\n")
        for who in (ann, bob):
            who.hears(b"one\r\n", b"two\r\n", b"three\r\n")
        for byte in b"\r\r\n":
            bob.say(bytes([byte]))
        for who in (ann, bob):
            who.hears(b"\r\r\n")
        carol = Client(port)
        carol.hears(b"welcome n\r\n")
        carol.close()  # which the others must not trip over
        bob.say(b"quit\r\n")
        bob.hears(b"bye\r\n", b"")
        ann.say(b"x" * 300_000 + b"\r\n")
        ann.hears(b"x" * 300_000 + b"\r\n")
        counter = Client(port + 1)
        counter.say(b"03ab", b"c99long;", b"02xy00", b"rest")
        assert counter.file.read() == b"cba" + b"gnol" + b"yx" + b"9, for 127.0.0.1\n"
        ann.say(b"abort\r\nmore\r\n")
        with contextlib.suppress(ConnectionResetError):
            ann.hears(b"")
        for who in (ann, bob, counter):
            who.close()
        if sys.platform != "win32":  # where a child can't be interrupted alone
            program.send_signal(signal.SIGINT)
            out, err = program.communicate(timeout=talks.PATIENCE)
            assert program.returncode == 0
            assert out.endswith("stopped\n") and "Traceback" not in err


# -- what is left -------------------------------------------------------------------------------

PROGRAM = """\
import asynccore as asyncore
from asynccore import asynchat
import socket


class Channel(asynchat.async_chat):
    def __init__(self, sock, room):
        asynchat.async_chat.__init__(self, sock)
        self.room = room
        self.set_terminator(b"x")

    def collect_incoming_data(self, data):
        self.data = data

    def found_terminator(self):
        self.push(self.data)


class Server(asyncore.dispatcher):
    def __init__(self):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.bind(("", 0))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        Channel(sock, None)


server = Server()
asyncore.loop()
"""


def test_the_whole_program() -> None:
    text = ported(PROGRAM, "asyncio")
    assert "asynccore" not in text
    assert "    asyncio.run(main(server))" not in text and "\nasyncio.run(main(server))\n" in text
    assert "create_server(lambda: Channel(None), sock=self.socket)" in text


@pytest.mark.parametrize(
    ("old", "new", "who", "why"),
    [
        (
            "(asynchat.async_chat)",
            "(Mixin, asynchat.async_chat)",
            "Channel",
            "it has several bases",
        ),
        (
            "    def collect",
            "    terminator = 1\n\n    def collect",
            "Channel",
            "it sets terminator",
        ),
        (
            "    def collect",
            "    if x: y = 1\n\n    def collect",
            "Channel",
            "its body has more than",
        ),
        (
            "    def collect",
            "    def readable(self): 1\n\n    def collect",
            "Channel",
            "readable()",
        ),
        (
            "self.data = data",
            "self.data = self.ac_in_buffer",
            "Channel",
            "it uses self.ac_in_buffer",
        ),
        ("self.push(self.data)", "n = self.send(b'')", "Channel", "it uses what send() returns"),
        ("self.push(self.data)", "self.push_with_producer(p)", "Channel", "it uses self.push_with"),
        ("self.push(self.data)", "raise asyncore.ExitNow", "Channel", "it uses asyncore.ExitNow"),
        ("self.push(self.data)", "super().push(b'')", "Channel", "it uses super()"),
        (
            "self.data = data",
            "self.transport = data",
            "Channel",
            "it has names that protocols have",
        ),
        ("def found_terminator", "def found", "Channel", "it has no found_terminator()"),
        (
            "(self, sock, room)",
            "(self, sock, room, **more)",
            "Channel",
            "its constructor takes key",
        ),
        (
            "(self, sock, room)",
            "(self, sock, *room)",
            "Channel",
            "its constructor takes any number",
        ),
        ("(self, sock, room)", "(self, sock=None, room=None)", "Channel", "it may be made without"),
        ("__init__(self, sock)\n", "__init__(self)\n", "Channel", "its constructor is not given"),
        (
            "async_chat.__init__(self, sock)",
            "foo(sock)",
            "Channel",
            "its constructor does not simply",
        ),
        ("self.room = room", "self.room = sock", "Channel", "its constructor does more with sock"),
        (
            "        asynchat.async_chat.__init__(self, sock)",
            "        room.add(self)\n        asynchat.async_chat.__init__(self, sock)",
            "Channel",
            "its constructor uses the connection before there is one",
        ),
        (
            "        self.room = room",
            "        n = 1\n        self.push(b'')\n        self.room = n",
            "Channel",
            "its constructor needs the connection in the middle",
        ),
        ("self.room = room", "return", "Channel", "its constructor returns early"),
        (
            "self.room = room",
            "self.room = 1; room.add(self)",
            "Channel",
            "needs room when it is conn",
        ),
        ("self.data = data", "self.connect(data)", "Channel", "it is a client"),
        ("self.data = data", "other.connected = data", "Channel", "other.connected is used"),
        ("server = Server()", "class More(Channel): pass\nserver = Server()", "Channel", "derive"),
        (
            "server = Server()",
            "kinds = [Channel]\nserver = Server()",
            "Channel",
            "handed to others",
        ),
        (
            "server = Server()",
            "Channel(1, 2)\nserver = Server()",
            "Channel",
            "it is made by what is",
        ),
        ("Channel(sock, None)", "Channel(None, sock)", "Server", "in another place"),
        ("Channel(sock, None)", "Channel(sock, sock)", "Server", "it does more with a connection"),
        ("Channel(sock, None)", "make(addr)", "Server", "it does not make one channel of each"),
        (
            "Channel(sock, None)",
            "Channel(sock, None)\n        return 1",
            "Server",
            "leaves its handler",
        ),
        ("(self, sock, addr):", "(self, *pair):", "Server", "its handle_accepted takes other"),
        (
            "handle_accepted(self, sock, addr)",
            "handle_accept(self)",
            "Server",
            "is of another form",
        ),
        (
            "handle_accepted(self, sock, addr)",
            "other(self, sock, addr)",
            "Server",
            "not just one of",
        ),
        ("self.listen(5)", "self.listen(5)\n        self.close()", "Server", "it uses self.close"),
        (
            "self.listen(5)",
            "self.listen(5)\n        self.listen(6)",
            "Server",
            "calls listen twice",
        ),
        ("self.listen(5)", "if 1: self.listen(5)", "Server", "does not simply create a socket"),
        ("self.listen(5)", "self.read(5)", "Server", "it reads and writes by itself"),
        ("self.listen(5)", "self.connect(5)", "Server", "it is a client"),
        (
            "dispatcher.__init__(self)",
            "dispatcher.__init__(self, map=m)",
            "Server",
            "hands on more",
        ),
        (
            "    def handle_acc",
            "    def writable(self): 1\n\n    def handle_acc",
            "Server",
            "writable()",
        ),
        (
            "server = Server()",
            "server = [Server()]",
            "Server",
            "it is not made by a line of its own",
        ),
        ("server = Server()", "pass", "Server", "nothing in this file makes one"),
        ("(asyncore.dispatcher)", "(asyncore.dispatcher, Mixin)", "Server", "it has several bases"),
        ("(asyncore.dispatcher)", "(asyncore.file_dispatcher)", "Server", "no simple counterpart"),
        ("self.bind((", "asyncore.bind((", "Server", "does not simply create a socket"),
        ("Channel(sock, None)", "asyncore.x\n        Channel(sock, None)", "Server", "asyncore.x"),
    ],
)
def test_what_is_not_understood_stays_a_channel(old: str, new: str, who: str, why: str) -> None:
    before = PROGRAM.replace(old, new, 1)
    assert before != PROGRAM
    after = ported(before, "asyncio")
    lines = after.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith(f"class {who}("))
    assert lines[place - 1].startswith("# asynccore port [asyncio]: left on asynccore: ")
    assert why in lines[place - 1]
    # But for the comments and the loop, nothing has changed.
    kept = [line for line in lines if "# asynccore port" not in line]
    start, _, _ = before.partition("asyncore.loop()")
    assert [line for line in start.splitlines() if line] == [
        line
        for line in kept[: kept.index("asyncio.run(main())")]
        if line and line in start.splitlines()
    ]
    assert "async with attach() as channels:" in after


def test_comments_go_when_their_reason_does() -> None:
    after = ported(PROGRAM.replace("self.data = data", "self.data = self.debug"), "asyncio")
    assert "left on asynccore" in after
    again = ported(after.replace("self.data = self.debug", "self.data = data"), "asyncio")
    assert "left on asynccore" not in again and "(asyncio.Protocol)" in again


def test_another_file_that_uses_a_class() -> None:
    around = steps.Surroundings(names=frozenset({"Channel"}))
    assert "another file uses it" in ported(PROGRAM, "asyncio", around=around)


def test_two_files_of_one_program(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(PROGRAM)
    (tmp_path / "more.py").write_text("from server import Channel\n")
    assert cli.main(["port", "--write", "--step", "asyncio", str(tmp_path)]) == 0
    assert "another file uses it" in (tmp_path / "server.py").read_text()
    (tmp_path / "more.py").write_text("print 'x', server.Channel\n")
    assert cli.main(["port", "--write", "--step", "asyncio", str(tmp_path)]) == 1
    assert "another file uses it" in (tmp_path / "server.py").read_text()
    os.unlink(tmp_path / "more.py")
    assert cli.main(["port", "--write", "--step", "asyncio", str(tmp_path)]) == 0
    assert "another file" not in (tmp_path / "server.py").read_text()


@pytest.mark.parametrize(
    "loop", ["asyncore.loop(map=m)", "x = asyncore.loop()", "asyncore.loop()\nasyncore.loop()"]
)
def test_loops_of_another_form_get_a_comment(loop: str) -> None:
    after = ported(PROGRAM.replace("asyncore.loop()", loop), "asyncio")
    comment = "# asynccore port [asyncio]: await compat.attach() in a coroutine instead of this"
    assert comment in after
    assert after.replace(f"{comment}\n", "") == PROGRAM.replace("asyncore.loop()", loop)


def test_a_file_without_a_loop_stays() -> None:
    text = PROGRAM.replace("asyncore.loop()\n", "")
    assert ported(text, "asyncio") == text


def test_timers_go_on() -> None:
    text = PROGRAM.replace(
        "asyncore.loop()", "asyncore.call_every(1, tick)\nasyncore.loop(until_idle=True)"
    )
    assert "await asyncio.gather(channels, *(server.serve()" in ported(text, "asyncio")
    left = text.replace("self.data = data", "self.data = self.debug")
    assert "asyncio.gather(channels, asyncio.Event().wait())" in ported(left, "asyncio")


def test_ends_that_the_channel_brings_about_itself() -> None:
    """`handle_close` was not called for those."""
    ends = "\n    def handle_close(self):\n        asynchat.async_chat.handle_close(self)\n"
    text = PROGRAM.replace(
        "        self.push(self.data)\n", f"        self.push(self.data)\n{ends}"
    )
    assert "connection_lost" not in ported(text, "asyncio")  # it only closed what is closed
    says = text.replace(ends, f"{ends}        print('gone')\n")
    plain = ported(says, "asyncio")
    assert "def connection_lost(self, why):\n        print('gone')\n" in plain
    guarded = ported(says.replace("self.data = data", "self.close()"), "asyncio")
    assert "if not self.is_closed:\n            self.handle_close()" in guarded


# -- mail ---------------------------------------------------------------------------------------

MAIL = """\
import asynccore as asyncore
from asynccore import smtpd
import sys


class Inbox(smtpd.SMTPServer):
    '''Prints.'''

    def process_message(self, peer, mailfrom, rcpttos, data, **kwargs):
        print(peer[0], mailfrom, rcpttos, repr(data), sorted(kwargs.items()), flush=True)
        if "nobody@example.org" in rcpttos:
            return "550 nobody here"


# It listens here.
server = Inbox(("127.0.0.1", int(sys.argv[1])), None)
try:
    asyncore.loop()
except KeyboardInterrupt:
    server.close()
    asyncore.close_all()
    print("stopped")
"""


@pytest.mark.parametrize("options", ["", ", decode_data=True", ", data_size_limit=1000"])
def test_mail_is_handed_on_as_before(options: str, tmp_path: Path) -> None:
    script = tmp_path / "inbox.py"
    script.write_text(MAIL.replace(", None)", f", None{options})"))
    assert hold(script) == (before := hold(script)) and "stopped" in before[0]
    assert cli.main(["port", "--write", "--step", "asyncio", str(script)]) == 0
    assert "asynccore" not in script.read_text()
    assert hold(script) == before


def hold(script: Path) -> tuple[str, list[object]]:
    """Send mails; return what was printed and what was answered."""
    port = free_port()
    answers: list[object] = []
    with running(script, port, "") as program:
        talks._connected(port, program).close()
        with smtplib.SMTP("127.0.0.1", port, timeout=talks.PATIENCE) as client:
            for text in ("A: x\r\n\r\nB.\r\n.dot\r\n\r\n", "", "one\ntwo", f"{'x' * 900}\n" * 2):
                for to in ("bob@example.org", "nobody@example.org"):
                    try:
                        client.sendmail("ann@example.org", [to], text)
                    except smtplib.SMTPResponseException as why:
                        answers.append(why.smtp_code)
                    else:
                        answers.append(250)
        if sys.platform == "win32":
            program.kill()
        else:
            program.send_signal(signal.SIGINT)
        return program.communicate(timeout=talks.PATIENCE)[0], answers


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("smtpd.SMTPServer", "smtpd.PureProxy"),
        ("print(peer", "self.close(); print(peer"),
        ("def process_message", "def handle_error(self): pass\n\n    def process_message"),
        ("def process_message", "def __init__(self, *a): pass\n\n    def process_message"),
        ("asyncore.loop()", "asyncore.loop(map=m)"),
        ("asyncore.loop()", "asyncore.loop(); asyncore.loop()"),
        (", None)", ", None, map=m)"),
        (
            "Inbox((",
            "f(Inbox)((",
        ),
        ('("127.0.0.1", int(sys.argv[1]))', "address"),
        ("import sys", "import sys\nmail_loop = 1"),
        ("# It listens", "class C(asyncore.dispatcher): pass\n# It listens"),
        ("server = Inbox(", "servers = [1]; servers[0] = Inbox("),
        ("server = Inbox(", "def f():\n    return Inbox("),
    ],
)
def test_mail_servers_that_do_more_are_left(old: str, new: str) -> None:
    text = MAIL.replace(old, new, 1)
    assert text != MAIL
    assert "aiosmtpd" not in ported(text, "asyncio")


def test_a_mail_server_on_aiosmtpd() -> None:
    becomes(
        """
        import asynccore as asyncore
        from asynccore import smtpd
        class Sink(smtpd.SMTPServer):
            def process_message(self, peer, mailfrom, rcpttos, data):
                print(data)

        if __name__ == "__main__":
            # On all addresses.
            Sink(("", 8025), None)  # ours
            asyncore.loop(timeout=1)
        """,
        r"""
        import asyncio
        from aiosmtpd.controller import UnthreadedController
        class Sink:
            async def handle_DATA(self, server, session, envelope):
                data = envelope.content.replace(b"\r\n", b"\n").removesuffix(b"\n")
                reply = self.process_message(session.peer, envelope.mail_from, envelope.rcpt_tos, data)
                return reply or "250 OK"

            def process_message(self, peer, mailfrom, rcpttos, data):
                print(data)

        if __name__ == "__main__":
            # On all addresses.
            mail_loop = asyncio.new_event_loop()
            controller = UnthreadedController(Sink(), hostname="", port=8025, loop=mail_loop)
            controller.begin()  # ours
            mail_loop.run_forever()
        """,  # noqa: E501
        "asyncio",
    )
