#!/usr/bin/env python
"""Notes that many people read and write, and a second port that says how many there are.

A client sends lines: "put NAME TEXT", "get NAME", "watch" (tell me what others put), "quit".
Notes are forgotten after some time.

usage: step0_classic.py [port [status port [seconds]]]
"""

import asynchat
import asyncore
import socket
import sys
import time


class Notes:
    def __init__(self, keep):
        self.keep = keep
        self.texts = {}
        self.watchers = []

    def put(self, name, text):
        self.texts[name] = (time.time(), text)
        for watcher in self.watchers:
            watcher.tell(b"* " + name + b" " + text)

    def get(self, name):
        return self.texts.get(name, (0, b"?"))[1]

    def forget_old(self):
        limit = time.time() - self.keep
        self.texts = dict(item for item in self.texts.items() if item[1][0] > limit)

    def summary(self):
        return b"%d notes, %d watchers" % (len(self.texts), len(self.watchers))

    def answer(self, client, line):
        """Return the answer to a line, None for "quit"."""
        command, _, rest = line.partition(b" ")
        if command == b"put":
            name, _, text = rest.partition(b" ")
            self.put(name, text)
            return b"ok"
        if command == b"get":
            return self.get(rest)
        if command == b"watch":
            self.watchers.append(client)
            return b"ok"
        if command == b"quit":
            return None
        return b"what?"

    def gone(self, client):
        if client in self.watchers:
            self.watchers.remove(client)


class Client(asynchat.async_chat):
    def __init__(self, sock, notes):
        asynchat.async_chat.__init__(self, sock)
        self.notes = notes
        self.line = b""
        self.set_terminator(b"\r\n")

    def collect_incoming_data(self, data):
        self.line += data

    def found_terminator(self):
        line, self.line = self.line, b""
        answer = self.notes.answer(self, line)
        if answer is None:
            self.close_when_done()
        else:
            self.tell(answer)

    def tell(self, line):
        self.push(line + b"\r\n")

    def handle_close(self):
        self.notes.gone(self)
        self.close()


class Status(asynchat.async_chat):
    def __init__(self, sock, notes):
        asynchat.async_chat.__init__(self, sock)
        self.push(notes.summary() + b"\r\n")
        self.close_when_done()


class Listener(asyncore.dispatcher):
    def __init__(self, port, channel, notes):
        asyncore.dispatcher.__init__(self)
        self.channel = channel
        self.notes = notes
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", port))
        self.listen(16)
        print("%s on port %d" % (channel.__name__, self.socket.getsockname()[1]))

    def handle_accepted(self, sock, addr):
        self.channel(sock, self.notes)


def main(port=7010, status_port=7011, keep=3600):
    notes = Notes(keep)
    Listener(port, Client, notes)
    Listener(status_port, Status, notes)
    while asyncore.socket_map:
        asyncore.loop(timeout=0.5, count=1)
        notes.forget_old()


if __name__ == "__main__":
    try:
        main(*map(int, sys.argv[1:]))
    except KeyboardInterrupt:
        asyncore.close_all()
        print("stopped")
