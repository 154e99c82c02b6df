#!/usr/bin/env python2.5
# -*- coding: latin-1 -*-
"""Line protocol: SET key value, GET key, DEL key, KEYS."""

import asynchat
import asyncore
import logging
import socket
import sys
from optparse import OptionParser

log = logging.getLogger("lines")


class ProtocolError(Exception):
    pass


class LineChannel(asynchat.async_chat):
    store = {}

    def __init__(self, sock, addr):
        asynchat.async_chat.__init__(self, sock)
        self.addr = addr
        self.ibuffer = []
        self.set_terminator("\r\n")

    def collect_incoming_data(self, data):
        self.ibuffer.append(data)

    def found_terminator(self):
        line = "".join(self.ibuffer)
        self.ibuffer = []
        try:
            self.push(self.execute(line) + "\r\n")
        except ProtocolError, e:
            self.push("ERR %s\r\n" % e)
        except (ValueError, IndexError), e:
            self.push("ERR bad command: %r\r\n" % line)

    def execute(self, line):
        command, _, rest = line.partition(" ")
        if command == "SET":
            key, value = rest.split(" ", 1)
            self.store[key] = unicode(value, "latin-1")
            return "OK"
        if command == "GET":
            if not self.store.has_key(rest):
                raise ProtocolError, "no such key"
            return self.store[rest].encode("latin-1")
        if command == "KEYS":
            return " ".join(sorted(k for k, v in self.store.iteritems()))
        if command == "DEL":
            del self.store[rest]
            return "OK"
        raise ProtocolError("what?")


class LineServer(asyncore.dispatcher):
    def __init__(self, address):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(address)
        self.listen(5)

    def handle_accept(self):
        pair = self.accept()
        if pair is None:
            return
        LineChannel(*pair)

    def handle_error(self):
        log.exception("error")


def main():
    parser = OptionParser()
    parser.add_option("--host", default="127.0.0.1")
    options, args = parser.parse_args()
    LineServer((options.host, int(args[0])))
    print >> sys.stderr, "listening on %s" % args[0]
    asyncore.loop()


if __name__ == "__main__":
    main()
