#!/usr/bin/env python
"""A chat room: the first line a client sends is its name, every other line goes to all others.

usage: chat_server.py [port]
"""

import asynchat
import asyncore
import socket
import sys


class Guest(asynchat.async_chat):
    def __init__(self, sock, room):
        asynchat.async_chat.__init__(self, sock)
        self.room = room
        self.name = None
        self.pieces = []
        self.set_terminator(b"\r\n")
        self.push(b"your name?\r\n")

    def collect_incoming_data(self, data):
        self.pieces.append(data)

    def found_terminator(self):
        line = b"".join(self.pieces)
        self.pieces = []
        if line == b"/quit":
            self.push(b"bye\r\n")
            self.close_when_done()
        elif self.name is None:
            self.name = line
            self.room.tell(self, b"* " + line + b" came in")
            self.push(b"welcome, " + line + b"\r\n")
        else:
            self.room.tell(self, self.name + b": " + line)

    def handle_close(self):
        self.room.forget(self)
        self.close()

    def close(self):
        self.room.forget(self)
        asynchat.async_chat.close(self)


class Room(asyncore.dispatcher):
    def __init__(self, address):
        asyncore.dispatcher.__init__(self)
        self.guests = []
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(address)
        self.listen(16)
        print("listening on %s:%d" % self.socket.getsockname())

    def handle_accept(self):
        accepted = self.accept()
        if accepted is not None:
            self.guests.append(Guest(accepted[0], self))

    def tell(self, speaker, line):
        print(line.decode("latin-1"))
        for guest in self.guests:
            if guest is not speaker and guest.name is not None:
                guest.push(line + b"\r\n")

    def forget(self, guest):
        if guest in self.guests:
            self.guests.remove(guest)
            if guest.name is not None:
                self.tell(guest, b"* " + guest.name + b" went away")


if __name__ == "__main__":
    Room(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 7008))
    try:
        asyncore.loop()
    except KeyboardInterrupt:
        print("stopped")
