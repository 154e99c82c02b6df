"""Commands that a client sends ahead (RFC 2920) are answered by one call; nobody else can tell."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore.dispatchers import output_queue
from asynccore.hardened_smtpd import HardenedSMTPChannel
from asynccore.smtpd import SMTPChannel

AHEAD = b"MAIL FROM:<a@example.com>\r\n" + b"RCPT TO:<b@example.com>\r\n" * 10 + b"DATA\r\n"


class Dialogue:
    """A channel, what it sends at a time, and when the program's code ran between."""

    def __init__(self, cls: Any) -> None:
        self.log: list[Any] = []
        self.map: dict[int, Any] = {}
        self.client, sock = socket.socketpair()
        self.channel = cls(self, sock, ("client", 1), map=self.map)
        self.received()
        self.say(b"EHLO client\r\n")

    def received(self) -> bytes:
        self.client.setblocking(False)
        try:
            return self.client.recv(65536)
        except BlockingIOError:
            return b""

    def say(self, data: bytes) -> list[bytes]:
        """Return what the client had when the program's code ran, and what it had at the end."""
        self.client.sendall(data)
        asynccore.loop(timeout=1, count=1, map=self.map)
        found, self.log = self.log, []
        return [*found, self.received()]

    def process_message(self, *args: Any, **options: Any) -> None:
        self.log.append(self.received())


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine that tests run on may be slow."""
    monkeypatch.setattr(output_queue, "HELD_SECONDS", 1000.0)
    yield
    asynccore.close_all()


def calls_of_send(monkeypatch: pytest.MonkeyPatch, dialogue: Dialogue, data: bytes) -> int:
    counted = []
    original = output_queue.OutputQueue.initiate_send

    def initiate_send(self: Any) -> None:
        counted.append(self)
        original(self)

    monkeypatch.setattr(output_queue, "_INITIATE_SEND", initiate_send)
    monkeypatch.setattr(output_queue.OutputQueue, "initiate_send", initiate_send)
    dialogue.say(data)
    return len(counted)


@pytest.mark.parametrize("cls", [SMTPChannel, HardenedSMTPChannel])
def test_one_call_for_all_replies(monkeypatch: pytest.MonkeyPatch, cls: Any) -> None:
    dialogue = Dialogue(cls)
    assert calls_of_send(monkeypatch, dialogue, AHEAD) == 1
    dialogue.channel.close()
    dialogue.client.close()


@pytest.mark.parametrize("cls", [SMTPChannel, HardenedSMTPChannel])
def test_the_client_has_its_replies_before_the_program_works_on_a_message(cls: Any) -> None:
    dialogue = Dialogue(cls)
    assert dialogue.say(AHEAD) == [b"250 OK\r\n" * 11 + b"354 End data with <CR><LF>.<CR><LF>\r\n"]
    assert dialogue.say(b"text\r\n.\r\nNOOP\r\n" + AHEAD) == [
        b"",
        b"250 OK\r\n" * 13 + b"354 End data with <CR><LF>.<CR><LF>\r\n",
    ]
    dialogue.say(b"text\r\n.\r\n")
    # A client that doesn't wait for 354: the message ends in the piece that began with MAIL.
    assert dialogue.say(AHEAD + b"text\r\n.\r\nNOOP\r\n") == [
        b"250 OK\r\n" * 11 + b"354 End data with <CR><LF>.<CR><LF>\r\n",
        b"250 OK\r\n" * 2,
    ]
    dialogue.channel.close()
    dialogue.client.close()


class Slow(SMTPChannel):
    """Has a command of the program's own."""

    def smtp_NOOP(self, arg: Any) -> None:
        self.smtp_server.log.append(self.smtp_server.received())
        super().smtp_NOOP(arg)


class SlowButJoining(Slow):
    """Says that its replies may wait."""

    joins_replies = True


class SlowAndHardened(HardenedSMTPChannel):
    """The same command, on a class that joins."""

    def smtp_NOOP(self, arg: Any) -> None:
        self.smtp_server.log.append(self.smtp_server.received())
        super().smtp_NOOP(arg)


@pytest.mark.parametrize("cls", [Slow, SlowButJoining, SlowAndHardened])
def test_a_command_of_the_programs_own_comes_after_the_replies(cls: Any) -> None:
    dialogue = Dialogue(cls)
    assert dialogue.say(b"RSET\r\nRSET\r\nNOOP\r\nRSET\r\n") == [
        b"250 OK\r\n" * 2,
        b"250 OK\r\n" * 2,
    ]
    dialogue.channel.close()
    dialogue.client.close()


def test_classes_of_the_program_join_nothing_unless_they_say_so() -> None:
    class Further(SlowButJoining):
        """Inherits what its base says."""

    found = [cls.joins_replies for cls in (SMTPChannel, Slow, SlowButJoining, Further)]
    assert found == [True, False, True, True]

    class Settings(SMTPChannel):
        """Has values of its own, and nothing that could take its time."""

        command_size_limit = 1000
        max_commands = 7

    class Mixin:
        def push(self, msg: str) -> None:
            super().push(msg)  # type: ignore[misc]

    class Mixed(Mixin, Settings):
        pass

    assert [cls.joins_replies for cls in (Settings, Mixed)] == [True, False]
    assert [cls.joins_replies for cls in (HardenedSMTPChannel, SlowAndHardened)] == [True, True]


def test_the_replies_come_before_the_connection_ends() -> None:
    dialogue = Dialogue(SMTPChannel)
    assert dialogue.say(b"NOOP\r\nRSET\r\nQUIT\r\nNOOP\r\n") == [b"250 OK\r\n" * 2 + b"221 Bye\r\n"]
    asynccore.loop(timeout=1, count=1, map=dialogue.map)
    assert not dialogue.map
    assert dialogue.client.recv(1) == b""
    dialogue.client.close()
