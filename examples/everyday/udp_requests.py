"""Requests by UDP, each sent again until it is answered: `udp_requests.py server|client PORT`."""

from __future__ import annotations

import socket
import sys

import asynccore


class Server(asynccore.dispatcher):
    def __init__(self, port: int) -> None:
        super().__init__()
        self.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.bind(("127.0.0.1", port))
        self.heard = 0

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        request, peer = self.recvfrom(2000)
        self.heard += 1
        if self.heard % 2 == 0:  # as if half of them got lost
            self.sendto(request.upper(), peer)


class Client(asynccore.dispatcher):
    def __init__(self, port: int) -> None:
        super().__init__()
        self.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.connect(("127.0.0.1", port))
        self.waiting: dict[bytes, asynccore.Timer] = {}
        self.answers: list[bytes] = []
        for request in (b"one", b"two", b"three"):
            self.ask(request)

    def writable(self) -> bool:
        return False

    def handle_connect(self) -> None:
        """A socket of datagrams has a peer at once."""

    def ask(self, request: bytes, delay: float = 0.05) -> None:
        if delay > 5:
            self.close()
            return
        self.send(request)
        self.waiting[request] = self.call_later(delay, self.ask, request, delay * 2)

    def handle_read(self) -> None:
        reply = self.recv(2000)
        timer = self.waiting.pop(reply.lower(), None)
        if timer is not None:
            timer.cancel()
            self.answers.append(reply)
            print("answer", reply, flush=True)
            if not self.waiting:
                self.close()


if __name__ == "__main__":
    role, port = sys.argv[1], int(sys.argv[2])
    channel = Server(port) if role == "server" else Client(port)
    asynccore.loop()
