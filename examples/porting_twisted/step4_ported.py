#!/usr/bin/env python
"""A ticker: measurements arrive in UDP datagrams, "NAME=VALUE", and go to those who follow NAME.

A subscriber sends lines: "follow NAME", "last NAME", "quit".

usage: step4_ported.py [port [UDP port]]
"""

import sys

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.protocols.basic import LineReceiver


class Ticker:
    def __init__(self):
        self.values = {}
        self.followers = {}

    def measured(self, datagram):
        name, _, value = datagram.strip().partition(b"=")
        self.values[name] = value
        for follower in self.followers.get(name, []):
            follower.tell(name + b"=" + value)

    def answer(self, subscriber, line):
        """Return the answer to a line, None for "quit"."""
        command, _, name = line.partition(b" ")
        if command == b"follow":
            self.followers.setdefault(name, []).append(subscriber)
            return b"ok"
        if command == b"last":
            return self.values.get(name, b"?")
        if command == b"quit":
            return None
        return b"what?"

    def gone(self, subscriber):
        for followers in self.followers.values():
            if subscriber in followers:
                followers.remove(subscriber)


class Feed(DatagramProtocol):
    def __init__(self, ticker):
        self.ticker = ticker

    def datagramReceived(self, datagram, addr):
        self.ticker.measured(datagram)


class Subscriber(LineReceiver):
    def __init__(self, ticker):
        self.ticker = ticker

    def lineReceived(self, line):
        answer = self.ticker.answer(self, line)
        if answer is None:
            self.transport.loseConnection()
        else:
            self.tell(answer)

    def tell(self, line):
        self.sendLine(line)

    def connectionLost(self, reason):
        self.ticker.gone(self)


def main(port=7020, udp_port=7021):
    ticker = Ticker()
    listener = reactor.listenTCP(
        port, Factory.forProtocol(lambda: Subscriber(ticker)), interface="127.0.0.1"
    )
    print("Subscriber on port %d" % listener.getHost().port)
    feed = reactor.listenUDP(udp_port, Feed(ticker), interface="127.0.0.1")
    print("Feed on port %d" % feed.getHost().port)
    reactor.run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
    print("stopped")
