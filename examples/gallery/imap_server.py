"""IMAP: an inbox by twisted.mail, which the legacy server fills; who is in it is told at once.

asynccore run examples/gallery/imap_server.py [port [legacy port]]

Each line that the legacy server gets is a message for ann, whose password is "secret".
"""

import email
import io

from common import LineServer, install_reactor, listen, run

install_reactor()

from twisted.cred import checkers, portal
from twisted.internet import defer
from twisted.internet.protocol import ServerFactory
from twisted.mail import imap4
from zope.interface import implementer


@implementer(imap4.IMessage)
class Message:
    def __init__(self, uid, text, flags):
        self.uid, self.text, self.flags = uid, text, set(flags)
        self.parsed = email.message_from_string(text)

    def getUID(self):
        return self.uid

    def getFlags(self):
        return sorted(self.flags)

    def getInternalDate(self):
        return "01-Jan-2024 12:00:00 +0000"

    def getSize(self):
        return len(self.text)

    def getBodyFile(self):
        return io.BytesIO(self.parsed.get_payload().encode())

    def isMultipart(self):
        return False

    def getHeaders(self, negate, *names):
        names = {(n if isinstance(n, str) else n.decode()).lower() for n in names}
        found = {name.lower(): value for name, value in self.parsed.items()}
        return {name: value for name, value in found.items() if (name in names) != negate}


@implementer(imap4.IMailbox)
class Inbox:
    def __init__(self):
        self.messages, self.listeners, self.next_uid = [], [], 1

    def getFlags(self):
        return [r"\Seen", r"\Deleted"]

    def getHierarchicalDelimiter(self):
        return "/"

    def getUIDValidity(self):
        return 1

    def getUIDNext(self):
        return self.next_uid

    def getUID(self, number):
        return self.messages[number - 1].uid

    def getMessageCount(self):
        return len(self.messages)

    def getRecentCount(self):
        return 0

    def getUnseenCount(self):
        return sum(r"\Seen" not in message.flags for message in self.messages)

    def isWriteable(self):
        return True

    def requestStatus(self, names):
        return imap4.statusRequestHelper(self, names)

    def addListener(self, listener):
        self.listeners.append(listener)

    def removeListener(self, listener):
        self.listeners.remove(listener)

    def addMessage(self, file, flags=(), date=None):
        self.messages.append(Message(self.next_uid, file.read().decode(), flags))
        self.next_uid += 1
        for listener in self.listeners:
            listener.newMessages(len(self.messages), None)
        return defer.succeed(None)

    def fetch(self, messages, uid):
        messages.last = self.next_uid - 1 if uid else len(self.messages)
        numbered = enumerate(self.messages, 1)
        return [(n, message) for n, message in numbered if (message.uid if uid else n) in messages]

    def store(self, messages, flags, mode, uid):
        changed = {}
        for number, message in self.fetch(messages, uid):
            old = message.flags
            message.flags = {-1: old - set(flags), 0: set(flags), 1: old | set(flags)}[mode]
            changed[number] = message.getFlags()
        return changed

    def expunge(self):
        gone = [m for m in self.messages if r"\Deleted" in m.flags]
        numbers = [self.messages.index(message) + 1 for message in gone]
        self.messages[:] = [message for message in self.messages if message not in gone]
        return numbers


class Factory(ServerFactory):
    def __init__(self, portal):
        self.portal = portal

    def buildProtocol(self, addr):
        protocol = imap4.IMAP4Server()
        protocol.portal, protocol.factory = self.portal, self
        return protocol


@implementer(portal.IRealm)
class Realm:
    def __init__(self, account):
        self.account = account

    def requestAvatar(self, user, mind, *interfaces):
        return imap4.IAccount, self.account, lambda: None


def start(port=8143, legacy_port=7143):
    inbox = Inbox()
    account = imap4.MemoryAccount("ann")
    account.addMailbox("INBOX", inbox)

    def deliver(line):
        inbox.addMessage(io.BytesIO(f"Subject: {line}\r\n\r\n{line}\r\n".encode()))
        return f"{len(inbox.messages)} messages"

    known = checkers.InMemoryUsernamePasswordDatabaseDontUse(ann=b"secret")
    LineServer("imap_server", legacy_port, deliver)
    listen("imap_server", port, Factory(portal.Portal(Realm(account), [known])))


if __name__ == "__main__":
    run(start)
