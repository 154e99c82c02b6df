"""Mutual TLS, the user by certificate: `mutual_tls.py server|client PORT CERTIFICATES [NAME]`."""

from __future__ import annotations

import os
import signal
import sys

import asynccore
import ssl_ext


class Echo(ssl_ext.tls_line_chat):
    handshake_timeout = 10.0
    idle_timeout = 60.0
    user: str | None = None

    def handle_handshake(self) -> None:
        self.user = self.user_name("common_name")

    def handle_line(self, line: bytes) -> None:
        self.push(f"{self.user}: ".encode() + line + b"\n")

    def handle_tls_error(self, exc: ssl_ext.TLSError) -> None:
        self.close()

    def handle_closed(self, exc: BaseException | None = None) -> None:
        print(self.user, "refused" if isinstance(exc, ssl_ext.TLSError) else "gone", flush=True)


class Client(ssl_ext.tls_line_chat):
    said = b""

    def handle_connect(self) -> None:
        self.push(b"hello\n")

    def handle_line(self, line: bytes) -> None:
        self.said = line
        self.close()

    def handle_tls_error(self, exc: ssl_ext.TLSError) -> None:
        self.close()

    def handle_closed(self, exc: BaseException | None = None) -> None:
        print("server says", self.said or exc, flush=True)


def reload(context: ssl_ext.Context) -> None:
    try:
        context.reload()
    except (OSError, ValueError) as exc:
        print("not reloaded:", exc, flush=True)


def main(role: str, port: str, folder: str, name: str = "") -> None:
    def file(name: str) -> str:
        return os.path.join(folder, name)

    if role == "server":
        context = ssl_ext.server_context(
            file("server.pem"), file("server.key"), client_auth="required", ca=file("ca.pem")
        )
        if sys.platform != "win32":
            signal.signal(
                signal.SIGHUP,
                lambda signum, frame: asynccore.call_soon_threadsafe(reload, context),
            )
        signal.signal(signal.SIGTERM, lambda signum, frame: asynccore.graceful_close())
        server = ssl_ext.tls_listener(("127.0.0.1", int(port)), Echo, context=context)
        print("listening", server.socket.getsockname()[1], flush=True)
    else:
        trust = ssl_ext.client_context(
            ca=file("ca.pem"),
            certificate=file(name + ".pem") if name else None,
            key=file(name + ".key") if name else None,
        )
        Client(context=trust).connect_name("localhost", int(port))
    asynccore.loop()


if __name__ == "__main__":
    main(*sys.argv[1:])
