#!/usr/bin/env python
"""A ticker: measurements arrive in UDP datagrams, "NAME=VALUE", and go to those who follow NAME.

A subscriber sends lines: "follow NAME", "last NAME", "quit".

usage: step3_feed_ported.py [port [UDP port]]
"""

import socket
import sys

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol

import asynccore as asyncore
import compat
from asynccore import asynchat


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


class Subscriber(asynchat.async_chat):
    def __init__(self, sock, ticker):
        asynchat.async_chat.__init__(self, sock)
        self.ticker = ticker
        self.line = b""
        self.set_terminator(b"\r\n")

    def collect_incoming_data(self, data):
        self.line += data

    def found_terminator(self):
        line, self.line = self.line, b""
        answer = self.ticker.answer(self, line)
        if answer is None:
            self.close_when_done()
        else:
            self.tell(answer)

    def tell(self, line):
        self.push(line + b"\r\n")

    def handle_close(self):
        self.ticker.gone(self)
        self.close()


class Listener(asyncore.dispatcher):
    def __init__(self, port, ticker):
        asyncore.dispatcher.__init__(self)
        self.ticker = ticker
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", port))
        self.listen(16)
        print("Subscriber on port %d" % self.socket.getsockname()[1])

    def handle_accepted(self, sock, addr):
        Subscriber(sock, self.ticker)


def main(port=7020, udp_port=7021):
    ticker = Ticker()
    Listener(port, ticker)
    feed = reactor.listenUDP(udp_port, Feed(ticker), interface="127.0.0.1")
    print("Feed on port %d" % feed.getHost().port)
    compat.attach(reactor)
    reactor.run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
    asyncore.close_all()
    print("stopped")
