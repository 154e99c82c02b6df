#!/usr/bin/env python
"""A TLS client: says hello, and prints the line that comes back.

usage: tls_hello.py port ca.pem [client.pem client.key]
"""

import sys

import asynccore
import ssl_ext


class Hello(ssl_ext.tls_async_chat):
    status = 1

    def __init__(self, port, context):
        super().__init__(context=context)
        self.set_terminator(b"\n")
        self.connect_name("localhost", port)  # which the server's certificate must be for
        self.push(b"hello\n")

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        print(self._get_data().decode("utf-8", "replace"))
        self.status = 0
        self.close()

    def handle_error(self):
        exc = sys.exc_info()[1]
        if not isinstance(exc, OSError):
            raise
        print("nobody answers: %s" % exc)
        self.close()

    def handle_tls_error(self, exc):
        print("%s: %s" % (type(exc).__name__, exc.reason))
        self.close()


if __name__ == "__main__":
    if len(sys.argv) not in (3, 5):
        sys.exit(__doc__.strip())
    port, ca, *own = sys.argv[1:]
    certificate, key = own or (None, None)
    client = Hello(int(port), ssl_ext.client_context(ca=ca, certificate=certificate, key=key))
    asynccore.loop()
    sys.exit(client.status)
