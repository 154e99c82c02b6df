"""XMPP: a server for chats by twisted.words; the legacy server sends messages.

asynccore run examples/gallery/xmpp_server.py [port [legacy port]]

Known are ann@localhost and bob@localhost, with the password "secret". A line "ann Good morning" of
the legacy server is a message for ann.
"""

import base64

from common import LineServer, install_reactor, listen, run

install_reactor()

from twisted.words.protocols.jabber import xmlstream
from twisted.words.xish import domish

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
STREAMS = "http://etherx.jabber.org/streams"
PASSWORDS = {"ann": "secret", "bob": "secret"}
present = {}  # streams by the name of their user


class Session(xmlstream.ListenAuthenticator):
    """A client's stream: anew after each step, first to log in, then to talk."""

    namespace = "jabber:client"
    user = None

    def streamStarted(self, root):
        super().streamStarted(root)
        stream = self.xmlstream
        stream.sendHeader()
        features = domish.Element((STREAMS, "features"))
        if self.user is None:
            mechanisms = features.addElement((SASL, "mechanisms"))
            mechanisms.addElement("mechanism", content="PLAIN")
            stream.addOnetimeObserver(f"/auth[@xmlns='{SASL}']", self.log_in)
        else:
            features.addElement((BIND, "bind"))
            stream.addObserver("/iq", self.answer)
            stream.addObserver("/message", self.forward)
            stream.addObserver(xmlstream.STREAM_END_EVENT, self.leave)
        stream.send(features)

    def log_in(self, element):
        _, user, password = base64.b64decode(str(element)).decode().split("\0")
        if PASSWORDS.get(user) != password:
            failure = domish.Element((SASL, "failure"))
            failure.addElement("not-authorized")
            self.xmlstream.send(failure)
            self.xmlstream.sendFooter()
            self.xmlstream.transport.loseConnection()
            return
        self.user = user
        self.xmlstream.send(domish.Element((SASL, "success")))
        self.xmlstream.reset()

    def answer(self, request):
        reply = xmlstream.toResponse(request, "result")
        if request.bind is not None:
            reply.addElement((BIND, "bind")).addElement("jid", content=self.address())
            present[self.user] = self.xmlstream
        elif request.query is not None and request.query.uri == "jabber:iq:roster":
            reply.addElement(("jabber:iq:roster", "query"))
        self.xmlstream.send(reply)

    def address(self):
        return f"{self.user}@localhost/gallery"

    def forward(self, message):
        message["from"] = self.address()
        deliver(message["to"].partition("@")[0], message)

    def leave(self, reason):
        if present.get(self.user) is self.xmlstream:
            del present[self.user]


def deliver(user, message):
    if user not in present:
        return False
    present[user].send(message)
    return True


def tell(line):
    user, _, text = line.partition(" ")
    message = domish.Element(("jabber:client", "message"))
    message.attributes.update({"from": "legacy@localhost", "to": f"{user}@localhost"})
    message["type"] = "chat"
    message.addElement("body", content=text)
    return "told" if deliver(user, message) else f"{user} is away"


def start(port=8222, legacy_port=7222):
    LineServer("xmpp_server", legacy_port, tell)
    listen("xmpp_server", port, xmlstream.XmlStreamServerFactory(Session))


if __name__ == "__main__":
    run(start)
