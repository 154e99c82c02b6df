"""What programs find in the module: names, signatures, attributes, and how they change them."""

from __future__ import annotations

import inspect
import socket
from types import FunctionType, ModuleType
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, smtpd
from tests.smtpd.dialogue import FQDN, PEER, STATE, TO_DATA, FakeSocket, Mailbox, Talk, classic

original = classic()
needs_original = pytest.mark.skipif(
    original is None, reason="this interpreter was installed without a smtpd module"
)

MANGLED = {
    "server": "smtp_server",
    "line": "received_lines",
    "state": "smtp_state",
    "greeting": "seen_greeting",
    "mailfrom": "mailfrom",
    "rcpttos": "rcpttos",
    "data": "received_data",
    "fqdn": "fqdn",
    "peer": "peer",
    "conn": "conn",
    "addr": "addr",
}

# Calls that the classic method takes are taken; these take more.
WIDER = {"PureProxy.process_message", "MailmanProxy.process_message"}


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found]


def functions(module: ModuleType) -> dict[str, Any]:
    """The functions and methods that the module itself defines, by qualified name."""
    found: dict[str, Any] = {}
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, FunctionType):
            found[name] = value
        elif inspect.isclass(value):
            for attribute, method in vars(value).items():
                if isinstance(method, FunctionType):
                    found[f"{name}.{attribute}"] = method
    return found


def look_up(qualified: str) -> Any:
    value: Any = smtpd
    for name in qualified.split("."):
        value = getattr(value, name)
    return value


@needs_original
def test_every_name_exists() -> None:
    assert original is not None
    # Python notes there which warnings it has shown.
    assert set(vars(original)) - set(vars(smtpd)) <= {"__warningregistry__"}
    for name, cls in vars(original).items():
        if inspect.isclass(cls) and cls.__module__ == original.__name__:
            # Since 3.13 a class notes where it begins in its module; one that is public elsewhere
            # doesn't.
            assert set(dir(cls)) - {"__firstlineno__"} <= set(dir(getattr(smtpd, name))), name
    assert set(original.__all__) <= set(smtpd.__all__)


@needs_original
def test_signatures() -> None:
    assert original is not None
    known = functions(original)
    assert "SMTPChannel.smtp_MAIL" in known and "usage" in known
    for name, function in known.items():
        ours, theirs = parameters(look_up(name)), parameters(function)
        if name in WIDER:
            assert ours[: len(theirs)] == theirs, name
            assert [p[1] for p in ours[len(theirs) :]] == [inspect.Parameter.VAR_KEYWORD]
        else:
            assert ours == theirs, name


@needs_original
def test_attributes_of_a_channel() -> None:
    assert original is not None
    before, now = Talk(original), Talk()
    assert set(vars(before.channel)) <= set(dir(now.channel))
    for talk in before, now:
        talk.say(*TO_DATA, "a\r\n.")
    for name in ("_decode_data", "_emptystring", "_linesep", "_dotsep", "_newline"):
        assert getattr(now.channel, name) == getattr(before.channel, name)


def test_modules_of_the_classic_names() -> None:
    assert smtpd.asyncore is asynccore
    assert smtpd.asynchat is asynchat
    assert smtpd.socket is socket
    assert asynchat.async_chat in smtpd.SMTPChannel.__bases__
    assert issubclass(smtpd.SMTPServer, asynccore.dispatcher)


def test_constants() -> None:
    assert (smtpd.NEWLINE, smtpd.COMMASPACE) == ("\n", ", ")
    assert smtpd.DATA_SIZE_DEFAULT == 32 * 1024 * 1024
    assert (smtpd.SMTPChannel.COMMAND, smtpd.SMTPChannel.DATA) == (0, 1)
    assert smtpd.SMTPChannel.command_size_limit == 512
    assert smtpd.Devnull().write("x") is None  # type: ignore[func-returns-value]
    assert smtpd.Devnull().flush() is None  # type: ignore[func-returns-value]
    assert isinstance(smtpd.DEBUGSTREAM, smtpd.Devnull)
    assert {n for n, v in vars(smtpd.Options).items() if not n.startswith("_") and v is None} == {
        "size_limit"
    }


def test_star_import() -> None:
    names: dict[str, Any] = {}
    exec("from asynccore.smtpd import *", names)
    assert set(names) - {"__builtins__"} == {
        "DebuggingServer",
        "MailmanProxy",
        "PureProxy",
        "SMTPChannel",
        "SMTPServer",
    }


def test_a_new_channel() -> None:
    talk = Talk()
    assert talk.greeting == f"220 {FQDN} Python SMTP proxy version 0.3\r\n".encode()
    assert talk.state() == {
        "smtp_state": 0,
        "seen_greeting": "",
        "mailfrom": None,
        "rcpttos": [],
        "received_lines": [],
        "received_data": "",
        "num_bytes": 0,
        "extended_smtp": False,
        "peer": PEER,
        "fqdn": FQDN,
        "addr": ("addr", 1),
        "data_size_limit": smtpd.DATA_SIZE_DEFAULT,
        "mail_options": [],
        "rcpt_options": [],
        "max_command_size_limit": 512,
        "terminator": b"\r\n",
    }
    assert set(talk.state()) == set(STATE)
    assert talk.channel.conn is talk.socket
    assert talk.channel.smtp_server is talk.mailbox
    assert talk.channel.require_SMTPUTF8 is False
    assert talk.channel.command_size_limits["MAIL"] == 512
    assert talk.map == {talk.socket.fileno(): talk.channel}


def test_the_version_can_be_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtpd, "__version__", "My Server 3")
    assert Talk().greeting == f"220 {FQDN} My Server 3\r\n".encode()


@pytest.mark.parametrize(("old", "new"), MANGLED.items())
def test_mangled_properties(old: str, new: str) -> None:
    channel = Talk().channel
    mangled = f"_SMTPChannel__{old}"
    with pytest.warns(DeprecationWarning, match=f"Access to __{old} .*{new!r}") as caught:
        assert getattr(channel, mangled) is getattr(channel, new)
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=f"Setting __{old} .*{new!r}") as caught:
        setattr(channel, mangled, "assigned")
    assert caught[0].filename == __file__
    assert getattr(channel, new) == "assigned"


def test_a_subclass_of_the_same_name() -> None:
    class SMTPChannel(smtpd.SMTPChannel):
        def smtp_RCPT(self, arg: str | None) -> None:
            if len(self.__rcpttos) < 1:  # type: ignore[attr-defined]
                super().smtp_RCPT(arg)
            else:
                self.push("452 Too many recipients")

    class Module:
        pass

    module: Any = Module()
    module.SMTPChannel = SMTPChannel
    talk = Talk(module)
    talk.say("HELO c", "MAIL FROM:<a@b>")
    with pytest.warns(DeprecationWarning, match="__rcpttos"):
        assert talk.say("RCPT TO:<c@d>", "RCPT TO:<e@f>") == ["250 OK", "452 Too many recipients"]


def test_a_replaced_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def smtp_EHLO(self: Any, arg: str | None) -> None:
        self.push("502 EHLO is off")

    monkeypatch.setattr(smtpd.SMTPChannel, "smtp_EHLO", smtp_EHLO)
    assert Talk().say("EHLO c", "HELO c") == ["502 EHLO is off", f"250 {FQDN}"]


def test_a_command_of_a_subclass() -> None:
    class Channel(smtpd.SMTPChannel):
        smtp_NOTE = "no command"

        def smtp_AUTH(self, arg: str | None) -> None:
            self.push(f"235 {arg}")

    class Module:
        SMTPChannel = Channel

    module: Any = Module
    assert Talk(module).say("auth plain", "NOTE") == [
        "235 plain",
        '500 Error: command "NOTE" not recognized',
    ]


def test_every_reply_is_a_push_of_its_own() -> None:
    pushed = []

    class Channel(smtpd.SMTPChannel):
        def push(self, msg: str) -> None:
            pushed.append(msg)
            super().push(msg)

    channel = Channel(Mailbox(), FakeSocket(), ("addr", 1), map={})
    channel.smtp_EHLO("c")
    assert pushed[1:] == [
        f"250-{FQDN}",
        "250-SIZE 33554432",
        "250-8BITMIME",
        "250 HELP",
    ]


def test_channel_class(new_map: dict[int, Any]) -> None:
    made = []

    class Channel:
        def __init__(self, *args: Any) -> None:
            made.append(args)

    class Server(smtpd.SMTPServer):
        channel_class = Channel

    server = Server(("127.0.0.1", 0), ("b", 25), 1000, new_map, True)
    server.handle_accepted("conn", "addr")
    assert made == [(server, "conn", "addr", 1000, new_map, True, False)]


def test_methods_called_by_subclasses() -> None:
    channel = Talk().channel
    assert channel._strip_command_keyword("FROM:", "From: <a@b> ") == "<a@b>"
    assert channel._getaddr("<a@b> SIZE=1") == ("a@b", "SIZE=1")
    assert channel._getparams(["SIZE=1", "X"]) == {"SIZE": "1", "X": True}


def test_states_set_by_subclasses() -> None:
    talk = Talk()
    talk.say(*TO_DATA)
    channel = talk.channel
    channel.received_lines = [b"kept"]
    channel._set_post_data_state()
    assert (channel.smtp_state, channel.mailfrom, channel.rcpttos) == (0, None, [])
    assert (channel.received_lines, channel.seen_greeting) == ([b"kept"], "c")
    assert channel.get_terminator() == b"\r\n"
    channel._set_rset_state()
    assert (channel.received_lines, channel.received_data) == ([], "")


def test_the_fakes_of_the_interpreter() -> None:
    # test.mock_socket replaces the attribute `socket`: it is read when it is needed.
    class Sockets:
        SOCK_STREAM = socket.SOCK_STREAM

        def getfqdn(self) -> str:
            return "fake.example"

    fake: Any = Sockets()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smtpd, "socket", fake)
        assert Talk().greeting.startswith(b"220 fake.example ")
