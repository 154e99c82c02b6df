"""The requests of udp_requests.py in DTLS: `dtls_requests.py server|client PORT CERTIFICATES`."""

from __future__ import annotations

import os
import socket
import sys

import asynccore
import ssl_ext


class Session(ssl_ext.tls_dispatcher_with_send):
    idle_timeout = 30.0  # the datagram that ends a connection may get lost
    heard = 0

    def handle_read(self) -> None:
        request = self.recv(2000)
        if request:
            self.heard += 1
            if self.heard % 2 == 0:  # as if half of them got lost
                self.send(request.upper())


class Client(ssl_ext.tls_dispatcher_with_send):
    handshake_timeout = 10.0

    def __init__(self, port: int, trust: ssl_ext.Context) -> None:
        super().__init__(context=trust, server_hostname="localhost")
        self.waiting: dict[bytes, asynccore.Timer] = {}
        self.answers: list[bytes] = []
        self.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.connect(("127.0.0.1", port))

    def handle_handshake(self) -> None:
        for request in (b"one", b"two", b"three"):
            self.ask(request)

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

    def handle_closed(self, exc: BaseException | None = None) -> None:
        if exc is not None:
            print("no answer:", exc, flush=True)


def serve(port: int, folder: str) -> ssl_ext.tls_listener:
    files = os.path.join(folder, "server.pem"), os.path.join(folder, "server.key")
    context = ssl_ext.server_context(*files, dtls=True)
    return ssl_ext.tls_listener(("127.0.0.1", port), Session, context=context)


if __name__ == "__main__":
    role, number, certificates = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if role == "server":
        serve(number, certificates)
    else:
        authority = os.path.join(certificates, "ca.pem")
        Client(number, ssl_ext.client_context(ca=authority, dtls=True))
    asynccore.loop()
