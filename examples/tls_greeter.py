#!/usr/bin/env python
"""Mutual TLS: greets its clients by the names in their certificates, and says what they said.

usage: tls_greeter.py port server.pem server.key ca.pem
"""

import sys

import asynccore
import ssl_ext


class Greeter(ssl_ext.tls_async_chat):
    user = None

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.set_terminator(b"\n")

    def handle_handshake(self):
        # Nothing was received before this, and nobody without a certificate comes here.
        self.user = self.user_name("common_name")
        print("%s is here, by %s" % (self.user, self.tls_version))

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        line = self._get_data().decode("utf-8", "replace")
        self.push(("%s, you said: %s\n" % (self.user, line)).encode())

    def handle_tls_error(self, exc):
        print("not with us: %s" % type(exc).__name__)
        self.close()


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__.strip())
    port, certificate, key, ca = sys.argv[1:]
    context = ssl_ext.server_context(certificate, key, client_auth="required", ca=ca)
    server = ssl_ext.tls_listener(("127.0.0.1", int(port)), Greeter, context=context)
    print("listening on %s:%d" % server.socket.getsockname())
    try:
        asynccore.loop()
    except KeyboardInterrupt:
        print("stopped")
