"""POP3: a mailbox by twisted.mail, which the legacy server fills.

asynccore run examples/gallery/pop3_server.py [port [legacy port]]

Each line that the legacy server gets is a message for ann, whose password is "secret".
"""

import hashlib
import io

from common import LineServer, install_reactor, listen, run

install_reactor()

from twisted.cred import checkers, portal
from twisted.internet.protocol import ServerFactory
from twisted.mail import pop3
from zope.interface import implementer


@implementer(pop3.IMailbox)
class Mailbox(pop3.Mailbox):
    def __init__(self):
        self.messages = []
        self.deleted = set()

    def listMessages(self, i=None):
        sizes = [0 if n in self.deleted else len(m) for n, m in enumerate(self.messages)]
        return sizes if i is None else sizes[i]

    def getMessage(self, i):
        return io.BytesIO(self.messages[i])

    def getUidl(self, i):
        return hashlib.sha256(self.messages[i]).hexdigest()[:32].encode()

    def deleteMessage(self, i):
        self.deleted.add(i)

    def undeleteMessages(self):
        self.deleted.clear()

    def sync(self):
        self.messages[:] = [m for n, m in enumerate(self.messages) if n not in self.deleted]
        self.deleted.clear()


@implementer(portal.IRealm)
class Realm:
    def __init__(self, mailbox):
        self.mailbox = mailbox

    def requestAvatar(self, user, mind, *interfaces):
        return pop3.IMailbox, self.mailbox, lambda: None


class Factory(ServerFactory):
    protocol = pop3.POP3

    def __init__(self, portal):
        self.portal = portal

    def buildProtocol(self, addr):
        protocol = super().buildProtocol(addr)
        protocol.portal = self.portal
        return protocol


def start(port=8110, legacy_port=7110):
    mailbox = Mailbox()

    def deliver(line):
        mailbox.messages.append(f"Subject: {line}\n\n{line}\n".encode())
        return f"{len(mailbox.messages)} messages"

    known = checkers.InMemoryUsernamePasswordDatabaseDontUse(ann=b"secret")
    LineServer("pop3_server", legacy_port, deliver)
    listen("pop3_server", port, Factory(portal.Portal(Realm(mailbox), [known])))


if __name__ == "__main__":
    run(start)
