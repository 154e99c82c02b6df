#!/usr/bin/env python
"""The echo service of echo_server.py, not changed, for whom shows a certificate of our authority.

usage: tls_echo_server.py port server.pem server.key ca.pem
"""

import sys

import compat

compat.install()  # for echo_server says "import asyncore"

import asyncore
import echo_server
import ssl_ext

if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__.strip())
    port, certificate, key, ca = sys.argv[1:]
    context = ssl_ext.server_context(certificate, key, client_auth="required", ca=ca)
    SecureListener = ssl_ext.secure(echo_server.Listener, context)
    SecureListener(("127.0.0.1", int(port)))
    try:
        asyncore.loop()
    except KeyboardInterrupt:
        print("stopped")
