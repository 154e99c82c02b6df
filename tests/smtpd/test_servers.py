"""The server classes: listening, printing, passing on."""

from __future__ import annotations

import smtplib
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asynccore import smtpd
from tests.smtpd.dialogue import FakeSocket, Mailbox, Talk, classic, debug_output

LOCAL = ("127.0.0.1", 0)
REMOTE = ("mail.example", 25)
PEER = ("192.0.2.1", 1025)

original = classic()


# SMTPServer --------------------------------------------------------------------------------------


def test_a_server_listens(new_map: dict[int, Any]) -> None:
    server = smtpd.SMTPServer(LOCAL, REMOTE, map=new_map)
    assert new_map == {server.socket.fileno(): server}
    assert server.accepting
    assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert (server._localaddr, server._remoteaddr) == (LOCAL, REMOTE)
    assert (server.data_size_limit, server.enable_SMTPUTF8) == (smtpd.DATA_SIZE_DEFAULT, False)
    assert server._decode_data is False


def test_a_server_of_ipv6(new_map: dict[int, Any]) -> None:
    try:
        server = smtpd.SMTPServer(("::1", 0), None, map=new_map)
    except OSError as why:
        pytest.skip(f"this machine has no IPv6 loopback: {why}")
    assert server.socket.family == socket.AF_INET6


def test_a_server_says_where_it_listens(new_map: dict[int, Any]) -> None:
    with debug_output(smtpd) as (said,):
        server = smtpd.DebuggingServer(LOCAL, REMOTE, map=new_map)
        server.channel_class = lambda *args: None
        server.handle_accepted("conn", PEER)
    first, *rest = said.getvalue().splitlines()
    assert first.startswith("DebuggingServer started at ")
    assert rest == [
        "\tLocal addr: ('127.0.0.1', 0)",
        "\tRemote addr:('mail.example', 25)",
        "Incoming connection from ('192.0.2.1', 1025)",
    ]


def test_the_backlog(new_map: dict[int, Any]) -> None:
    asked = []

    class Server(smtpd.SMTPServer):
        def listen(self, num: int) -> None:
            asked.append(num)
            super().listen(num)

    Server(LOCAL, None, map=new_map)
    assert asked == [100]  # with the classic 5, a burst of connections waits for seconds


def test_an_address_in_use(new_map: dict[int, Any]) -> None:
    with socket.socket() as other:
        other.bind(LOCAL)
        other.listen()
        with pytest.raises(OSError, match="ddress"):
            smtpd.SMTPServer(other.getsockname(), None, map=new_map)
    assert new_map == {}


def test_text_and_smtputf8_exclude_each_other(new_map: dict[int, Any]) -> None:
    with pytest.raises(ValueError, match="decode_data and enable_SMTPUTF8 cannot be set to True"):
        smtpd.SMTPServer(LOCAL, None, 0, new_map, True, True)
    assert new_map == {}


def test_the_name_of_the_host_is_looked_up_once(
    new_map: dict[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def getfqdn() -> str:
        asked.append("")
        return f"mail{len(asked)}.example"

    monkeypatch.setattr(smtpd.socket, "getfqdn", getfqdn)
    first, second = (smtpd.SMTPServer(LOCAL, None, map=new_map) for _ in range(2))
    names = []
    for server in first, first, second, Mailbox():
        channel = smtpd.SMTPChannel(server, FakeSocket(), PEER, map={})
        names.append(channel.fqdn)
        channel.close()
    assert names == ["mail1.example", "mail1.example", "mail2.example", "mail3.example"]


def test_a_server_without_process_message(new_map: dict[int, Any]) -> None:
    server = smtpd.SMTPServer(LOCAL, None, map=new_map)
    with pytest.raises(NotImplementedError):
        server.process_message(PEER, "a@b", ["c@d"], b"x", mail_options=[])


# DebuggingServer ---------------------------------------------------------------------------------

MESSAGES = [
    b"A: b\nC: d\n\nbody \xff\n\nend\n",
    "A: b\n\nbody \xe9\n",
    b"body",
    "",
    b"",
    "h\n\n",
    "\n\n",
    b"\na",
    "a\x0bb\n\nc",
]


def test_what_is_printed(new_map: dict[int, Any], capsys: pytest.CaptureFixture[str]) -> None:
    server = smtpd.DebuggingServer(LOCAL, None, map=new_map)
    data = b"A: b\n\nbody \xff\n"
    server.process_message(PEER, "a@b", ["c@d"], data, mail_options=["SIZE=3"], rcpt_options=["X"])
    server.process_message(PEER, "a@b", ["c@d"], "A: b\n\nbody")
    server.process_message("", "a@b", ["c@d"], "\n")  # the peer of a Unix socket
    assert capsys.readouterr().out.splitlines() == [
        "---------- MESSAGE FOLLOWS ----------",
        "mail options: ['SIZE=3']",
        "rcpt options: ['X']",
        "",
        "b'A: b'",
        "b'X-Peer: 192.0.2.1'",
        "b''",
        r"b'body \xff'",
        "------------ END MESSAGE ------------",
        "---------- MESSAGE FOLLOWS ----------",
        "A: b",
        "X-Peer: 192.0.2.1",
        "",
        "body",
        "------------ END MESSAGE ------------",
        "---------- MESSAGE FOLLOWS ----------",
        "X-Peer: ",
        "",
        "------------ END MESSAGE ------------",
    ]


@pytest.mark.skipif(
    original is None, reason="this interpreter was installed without a smtpd module"
)
@pytest.mark.parametrize("data", MESSAGES)
@pytest.mark.parametrize("options", [{}, {"mail_options": ["A"], "rcpt_options": []}])
def test_the_same_is_printed(
    data: Any, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert original is not None
    printed = []
    for module in original, smtpd:
        server = module.DebuggingServer(LOCAL, None, map={})
        server.process_message(PEER, "a@b", ["c@d"], data, **options)
        server.close()
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


# PureProxy ---------------------------------------------------------------------------------------


class Remote:
    """In the place of smtplib.SMTP: notes what it is told, and raises `error` for a mail."""

    def __init__(self, error: Exception | None = None, refused: dict[str, Any] | None = None):
        self.error = error
        self.refused = refused or {}
        self.told: list[Any] = []

    def __call__(self) -> Remote:
        return self

    def connect(self, *address: Any) -> None:
        self.told.append(address)

    def sendmail(self, *message: Any) -> dict[str, Any]:
        self.told.append(message)
        if self.error:
            raise self.error
        return self.refused

    def quit(self) -> None:
        self.told.append("quit")


@pytest.fixture
def proxy(new_map: dict[int, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def make(remote: Remote) -> smtpd.PureProxy:
        monkeypatch.setattr(smtplib, "SMTP", remote)
        return smtpd.PureProxy(LOCAL, REMOTE, map=new_map)

    return make


def test_passing_on(proxy: Callable[..., Any]) -> None:
    remote = Remote(refused={"c@d": (550, b"no")})
    with debug_output(smtpd) as (said,):
        server = proxy(remote)
        said.truncate(0), said.seek(0)
        assert server.process_message(PEER, "a@b", ["c@d"], "A: b\n\nbody\n") is None
    assert remote.told == [
        REMOTE,
        ("a@b", ["c@d"], "A: b\nX-Peer: 192.0.2.1\n\nbody\n"),
        "quit",
    ]
    assert said.getvalue() == "we got some refusals: {'c@d': (550, b'no')}\n"


def test_passing_on_what_a_channel_delivers(proxy: Callable[..., Any]) -> None:
    # The classic proxy took neither bytes nor options, which are what it gets by default.
    remote = Remote()
    server = proxy(remote)
    talk = Talk()
    talk.channel.smtp_server = server
    lines = ("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")
    assert talk.say(*lines, b"A: \xff\r\n\r\n..\n.\r\r\n.")[-1] == "250 OK"
    data = b"A: \xff\r\nX-Peer: 192.0.2.1\r\n\r\n.\r\n.\r\n"
    assert remote.told[1] == ("a@b", ["c@d"], data)


@pytest.mark.parametrize(
    ("error", "refused", "said"),
    [
        (
            smtplib.SMTPRecipientsRefused({"c@d": (550, b"no")}),
            {"c@d": (550, b"no")},
            "got SMTPRecipientsRefused\n",
        ),
        (
            smtplib.SMTPDataError(552, b"too much"),
            {"c@d": (552, b"too much"), "e@f": (552, b"too much")},
            "got <class 'smtplib.SMTPDataError'>\n",
        ),
        (
            smtplib.SMTPServerDisconnected("gone"),
            {"c@d": (-1, "ignore"), "e@f": (-1, "ignore")},
            "got <class 'smtplib.SMTPServerDisconnected'>\n",
        ),
        (
            ConnectionRefusedError("refused"),
            {"c@d": (-1, "ignore"), "e@f": (-1, "ignore")},
            "got <class 'ConnectionRefusedError'>\n",
        ),
    ],
)
def test_refusals(
    proxy: Callable[..., Any], error: Exception, refused: dict[str, Any], said: str
) -> None:
    server = proxy(Remote(error))
    with debug_output(smtpd) as (stream,):
        assert server._deliver("a@b", ["c@d", "e@f"], "x") == refused
    assert stream.getvalue() == said


# What the client is told, if it is to be told.

NOT_THERE = (-1, "ignore")


@pytest.mark.parametrize(
    ("refused", "reply"),
    [
        ({}, None),
        ({"c@d": (550, b"5.1.1 no\nsuch user"), "e@f": (550, b"no")}, "550 5.1.1 no such user"),
        # Some time later one of them may be served.
        ({"c@d": (550, b"no"), "e@f": (450, b"later")}, "450 later"),
        ({"c@d": NOT_THERE, "e@f": NOT_THERE}, "451 the next server can't be reached"),
        ({"c@d": (221, "odd"), "e@f": (550, "no")}, "451 the next server can't be reached"),
        ({"e@f": (550, b"n\xff")}, "554 Error: not delivered to e@f: 550 n\\xff"),
        # The other one has it already: no reason to send it again.
        ({"e@f": (450, b"later")}, "554 Error: not delivered to e@f: 450 later"),
        ({"e@f": (550, b"x" * 1000)}, ("554 Error: not delivered to e@f: 550 " + "x" * 600)[:510]),
    ],
)
def test_refusals_that_are_reported(
    proxy: Callable[..., Any], refused: dict[str, Any], reply: str | None
) -> None:
    server = proxy(Remote(refused=refused))
    assert server.report_refusals is False
    assert server.process_message(PEER, "a@b", ["c@d", "e@f"], "x") is None
    server.report_refusals = True
    assert server.process_message(PEER, "a@b", ["c@d", "e@f"], "x") == reply


def test_an_error_of_the_program_itself(proxy: Callable[..., Any]) -> None:
    with pytest.raises(KeyError):
        proxy(Remote(KeyError("x")))._deliver("a@b", ["c@d"], "x")


def test_a_proxy_has_no_smtputf8(new_map: dict[int, Any]) -> None:
    with pytest.raises(ValueError, match="PureProxy does not support SMTPUTF8"):
        smtpd.PureProxy(LOCAL, REMOTE, map=new_map, enable_SMTPUTF8=True)
    assert new_map == {}


def test_smtplib_is_loaded_with_the_proxy_and_not_before() -> None:
    code = (
        "import sys; from asynccore import smtpd; print('smtplib' in sys.modules);"
        "smtpd.PureProxy(('127.0.0.1', 0), None).close(); print('smtplib' in sys.modules)"
    )
    root = Path(smtpd.__file__).parent.parent
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True, check=True
    )
    assert run.stdout == "False\nTrue\n"


# MailmanProxy ------------------------------------------------------------------------------------


def test_mailman_is_gone(new_map: dict[int, Any]) -> None:
    class Own(smtpd.MailmanProxy):
        def __init__(self) -> None:
            pass

    for use in (
        lambda: smtpd.MailmanProxy(LOCAL, REMOTE, map=new_map),
        lambda: Own().process_message(PEER, "a@b", ["list@x"], "x", mail_options=[]),
    ):
        with pytest.raises(ImportError, match="Mailman 2, which ended with Python 2") as caught:
            use()
        assert caught.value.name == "Mailman"
    assert new_map == {}


def test_a_mailbox_is_enough_of_a_server() -> None:
    talk = Talk(status="250 kept")
    assert isinstance(talk.channel.smtp_server, Mailbox)
