"""handle_shutdown(): the server goes, and its clients are told so."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

import asynccore
from asynccore import smtpd
from tests.smtpd.dialogue import FQDN, TO_DATA, Talk

GOING = f"421 {FQDN} Service closing transmission channel"


def closes(talk: Talk) -> bool:
    talk.channel.handle_write()
    return talk.map == {} and talk.socket.closed == 1


@pytest.mark.parametrize("lines", [(), ("EHLO c",), TO_DATA[:3]])
def test_between_commands_it_is_said_at_once(lines: tuple[str, ...]) -> None:
    talk = Talk()
    talk.say(*lines)
    assert talk.channel.handle_shutdown() is False
    assert talk.socket.take().decode() == GOING + "\r\n"
    assert talk.say("NOOP") == [""]
    talk.channel.handle_shutdown()
    assert talk.socket.take() == b""
    assert closes(talk)


def test_half_a_command_is_given_up() -> None:
    talk = Talk()
    talk.send(b"EHL")
    talk.channel.handle_shutdown()
    assert talk.socket.take().decode() == GOING + "\r\n"
    assert talk.send(b"O c\r\n") == b""


@pytest.mark.parametrize("status", [None, "550 no"])
def test_a_message_is_answered_first(status: str | None) -> None:
    talk = Talk(status=status)
    talk.say(*TO_DATA)
    talk.send(b"half")
    assert talk.channel.handle_shutdown() is True  # it is still to come
    assert talk.socket.take() == b""
    assert (
        talk.send(b" and half\r\n.\r\nNOOP\r\n").decode() == f"{status or '250 OK'}\r\n{GOING}\r\n"
    )
    assert talk.last_message == b"half and half"
    assert closes(talk)


def test_in_process_message() -> None:
    talk = Talk()
    deliver = talk.mailbox.process_message

    def process_message(*args: Any, **kwargs: Any) -> Any:
        talk.channel.handle_shutdown()
        return deliver(*args, **kwargs)

    talk.mailbox.process_message = process_message  # type: ignore[method-assign]
    assert talk.say(*TO_DATA, "x\r\n.")[-1] == "250 OK\r\n" + GOING


def test_in_a_command() -> None:
    class Channel(smtpd.SMTPChannel):
        def smtp_XDOWN(self, arg: str | None) -> None:
            self.handle_shutdown()
            self.push("250 going")

    talk = Talk(channel_class=Channel)
    assert talk.say("XDOWN", "NOOP") == ["250 going\r\n" + GOING, ""]


def test_after_the_end_nothing_is_said() -> None:
    for end in ("QUIT", None):
        talk = Talk()
        if end:
            talk.say(end)
        else:
            talk.channel.close()
        talk.channel.handle_shutdown()
        assert talk.socket.take() == b""


def test_the_same_object_again_is_not_shutting_down() -> None:
    talk = Talk()
    talk.say(*TO_DATA)
    talk.channel.handle_shutdown()
    talk.channel.close()
    talk.socket.__init__()  # type: ignore[misc]
    smtpd.SMTPChannel.__init__(talk.channel, talk.mailbox, talk.socket, ("addr", 2), map=talk.map)
    talk.socket.take()
    assert talk.say("NOOP") == ["250 OK"]


def test_with_sockets() -> None:
    channels: dict[int, Any] = {}
    server = smtpd.SMTPServer(("127.0.0.1", 0), None, map=channels)
    thread = threading.Thread(target=asynccore.loop, kwargs={"map": channels})
    thread.start()

    def shut_down() -> None:
        for channel in list(channels.values()):
            if isinstance(channel, smtpd.SMTPChannel):
                channel.handle_shutdown()
        server.close()

    try:
        with socket.create_connection(server.socket.getsockname(), 30) as client:
            received = client.recv(3)
            asynccore.call_soon_threadsafe(shut_down, map=channels)
            received += b"".join(iter(lambda: client.recv(65536), b""))
    finally:
        asynccore.call_soon_threadsafe(server.close, map=channels)
        thread.join(30)
    assert received.decode().splitlines()[1:] == [GOING]
