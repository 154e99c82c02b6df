"""twisted.mail's SMTP server for smtplib, and its IMAP4 server for imaplib."""

from __future__ import annotations

import email.utils
import imaplib
import smtplib
from io import BytesIO
from typing import Any

from beside import LOCAL, serve
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import defer
from twisted.internet.protocol import Factory
from twisted.mail import imap4, smtp
from zope.interface import implementer

TEXT = b"From: a@example.test\r\nSubject: a letter\r\n\r\n" + b"line of the letter\r\n" * 20_000


@implementer(smtp.IMessage)
class Message:
    def __init__(self, box: list[bytes]) -> None:
        self.box = box
        self.lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Any:
        self.box.append(b"\r\n".join(self.lines) + b"\r\n")
        return defer.succeed(None)

    def connectionLost(self) -> None:
        self.lines.clear()


@implementer(smtp.IMessageDelivery)
class Delivery:
    def __init__(self, box: list[bytes]) -> None:
        self.box = box

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: by a classic loop"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        if user.dest.domain != b"example.test":
            raise smtp.SMTPBadRcpt(user)
        return lambda: Message(self.box)


class Smtp(smtp.SMTPFactory):
    protocol = smtp.ESMTP

    def __init__(self, box: list[bytes]) -> None:
        super().__init__()
        self.box = box

    def buildProtocol(self, addr: Any) -> Any:
        protocol = super().buildProtocol(addr)
        protocol.delivery = Delivery(self.box)
        return protocol


@implementer(imap4.IMessage)
class Letter:
    def __init__(self, text: bytes) -> None:
        self.headers, _, self.body = text.partition(b"\r\n\r\n")
        self.size = len(text)

    def getHeaders(self, negate: bool, *names: Any) -> dict[str, str]:
        found = dict(line.decode().split(": ", 1) for line in self.headers.split(b"\r\n"))
        return {name.lower(): value for name, value in found.items()}

    def getBodyFile(self) -> BytesIO:
        return BytesIO(self.body)

    def getSize(self) -> int:
        return self.size

    def getUID(self) -> int:
        return 1

    def getFlags(self) -> list[str]:
        return []

    def getInternalDate(self) -> str:
        return email.utils.formatdate(0)

    def isMultipart(self) -> bool:
        return False


@implementer(imap4.IMailbox)
class Box:
    def __init__(self, text: bytes) -> None:
        self.letter = Letter(text)

    def __getattr__(self, name: str) -> Any:
        answers = {"getMessageCount": 1, "getRecentCount": 0, "getUIDValidity": 1, "getFlags": []}
        answers.update(isWriteable=False, getHierarchicalDelimiter="/", getUnseenCount=0)
        answers.update(addListener=None, removeListener=None, getUIDNext=2)
        if name not in answers:
            raise AttributeError(name)
        return lambda *args: answers[name]

    def fetch(self, messages: Any, uid: bool) -> list[tuple[int, Letter]]:
        return [(1, self.letter)]


class Account(imap4.MemoryAccount):
    def _emptyMailbox(self, name: Any, id: Any) -> Any:
        raise imap4.MailboxException("no more of them")


@implementer(IRealm)
class Realm:
    def __init__(self, text: bytes) -> None:
        self.text = text

    def requestAvatar(self, avatar: Any, mind: Any, *interfaces: Any) -> Any:
        account = Account(avatar)
        account.addMailbox("INBOX", Box(self.text))
        return imap4.IAccount, account, lambda: None


class Imap(Factory):
    def __init__(self, text: bytes) -> None:
        self.portal = Portal(Realm(text), [InMemoryUsernamePasswordDatabaseDontUse(ann=b"secret")])

    def buildProtocol(self, addr: Any) -> Any:
        protocol = imap4.IMAP4Server()
        protocol.portal = self.portal
        protocol.factory = self
        return protocol


def send(number: int) -> None:
    with smtplib.SMTP(LOCAL, number, timeout=30) as client:
        client.ehlo()
        try:
            client.sendmail("a@example.test", ["b@elsewhere.test"], TEXT)
        except smtplib.SMTPRecipientsRefused:
            pass
        else:
            raise AssertionError("a wrong recipient was taken")
        client.sendmail("a@example.test", ["b@example.test"], TEXT)


def fetch(number: int) -> None:
    client = imaplib.IMAP4(LOCAL, number, timeout=30)
    try:
        client.login("ann", "wrong")
    except imaplib.IMAP4.error:
        pass
    else:
        raise AssertionError("a wrong password was taken")
    client.login("ann", "secret")
    assert client.select("INBOX", readonly=True) == ("OK", [b"1"])
    kind, parts = client.fetch("1", "(BODY[TEXT])")
    assert kind == "OK" and isinstance(parts[0], tuple)
    assert parts[0][1].count(b"line of the letter\r\n") == 20_000
    client.logout()


letters: list[bytes] = []
serve(Smtp(letters), send)
(letter,) = letters
assert letter == b"Received: by a classic loop\r\n" + TEXT
serve(Imap(letter), fetch)
