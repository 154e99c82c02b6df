"""IRC client: a bot by twisted.words; the legacy server speaks through it.

asynccore run examples/gallery/irc_client.py [port of the IRC server [legacy port]]

It logs in as "bot" with the password "secret", goes to #gallery, and comes back if it was cut off.
"""

from common import LineServer, announce, install_reactor, run

reactor = install_reactor()

from twisted.internet import protocol
from twisted.words.protocols import irc

CHANNEL = "#gallery"


class Bot(irc.IRCClient):
    nickname = "bot"
    password = "secret"
    lineRate = None

    def signedOn(self):
        self.factory.resetDelay()
        self.join(CHANNEL)

    def joined(self, channel):
        self.factory.bot = self
        announce("irc_client", self.transport.getHost().port)

    def privmsg(self, user, channel, message):
        who = user.partition("!")[0]
        self.factory.heard = f"{who}: {message}"
        if message.startswith(f"{self.nickname}:"):
            self.say(CHANNEL, f"{who}: {message.partition(':')[2].strip()[::-1]}")

    def connectionLost(self, reason):
        self.factory.bot = None
        super().connectionLost(reason)


class Factory(protocol.ReconnectingClientFactory):
    protocol = Bot
    bot = None
    heard = "nothing yet"
    noisy = False

    def speak(self, line):
        if self.bot is not None and line:
            self.bot.say(CHANNEL, line)
        return self.heard


def start(server_port=8667, legacy_port=7668):
    factory = Factory()
    reactor.connectTCP("127.0.0.1", server_port, factory)
    LineServer("irc_client", legacy_port, factory.speak)


if __name__ == "__main__":
    run(start)
