"""Peers that write records of their own, in TLS 1.2 and 1.3, as no library does."""

from __future__ import annotations

import hmac
import os
import socket
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL

from ssl_ext import OpenSSLSocket, client_context, server_context
from tests.tls.pki import ca_pem
from tests.tls.support import (
    HOST,
    TLS13,
    authority,
    client_raw,
    server_certificate,
    server_raw,
    shake,
)
from tests.tls.test_contexts import pem

KEY_UPDATE = b"\x18\0\0\1\0\x16"  # RFC 8446 section 4.6.3, and the record's inner type
USER_CANCELED = b"\1\x5a\x15"  # section 6.1
CLOSE_NOTIFY = b"\1\0\x15"


class Sealing:
    """Makes records of a side whose secrets are known (RFC 8446 sections 5.2, 7.2 and 7.3)."""

    def __init__(self) -> None:
        self.secrets: dict[bytes, bytes] = {}
        self.secret = b""
        self.number = 0

    def note(self, connection: object, line: bytes) -> None:
        label, _, secret = line.split()
        self.secrets[label] = bytes.fromhex(secret.decode())

    def derived(self, name: bytes, size: int) -> bytes:
        info = struct.pack(">HB", size, 6 + len(name)) + b"tls13 " + name + b"\0\1"
        return hmac.digest(self.secret, info, "sha256")[:size]

    def record(self, inner: bytes) -> bytes:
        head = b"\x17\x03\x03" + struct.pack(">H", len(inner) + 16)
        nonce = int.from_bytes(self.derived(b"iv", 12), "big") ^ self.number
        self.number += 1
        sealed = AESGCM(self.derived(b"key", 16)).encrypt(nonce.to_bytes(12, "big"), inner, head)
        return head + sealed

    def key_updates(self, count: int) -> bytes:
        made = []
        for _ in range(count):
            made.append(self.record(KEY_UPDATE))
            self.secret, self.number = self.derived(b"traffic upd", 32), 0
        return b"".join(made)


class OlderSealing:
    """Makes records of a side of TLS 1.2 (RFC 5246 sections 5, 6.2.3.3 and 6.3, RFC 5288)."""

    def __init__(self, connection: SSL.Connection, role: str) -> None:
        server, client = connection.server_random(), connection.client_random()
        master = connection.master_key()
        assert server and client and master
        label = b"key expansion" + server + client
        link, block = label, b""
        while len(block) < 40:
            link = hmac.digest(master, link, "sha256")
            block += hmac.digest(master, link + label, "sha256")
        side = 0 if role == "client" else 1
        self.cipher = AESGCM(block[16 * side :][:16])
        self.salt = block[32 + 4 * side :][:4]
        self.number = 1  # the end of the handshake was the first

    def record(self, kind: int, body: bytes) -> bytes:
        number = struct.pack(">Q", self.number)
        self.number += 1
        head = struct.pack(">BHH", kind, 0x0303, len(body))
        sealed = number + self.cipher.encrypt(self.salt + number, body, number + head)
        return struct.pack(">BHH", kind, 0x0303, len(sealed)) + sealed


class Attacker:
    """A connection, whose `end` is attacked by the other, which is `there` and writes records of
    its own to `sock`."""

    def __init__(self, role: str, version: int = TLS13) -> None:
        self.sealing = Sealing()
        context = client_raw(version) if role == "client" else server_raw(version)
        context.set_keylog_callback(self.sealing.note)
        context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
        ours, self.sock = socket.socketpair()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        there = OpenSSLSocket(
            context,
            self.sock,
            server_side=role == "server",
            server_hostname=HOST if role == "client" else None,
        )
        if role == "client":
            self.end = OpenSSLSocket(
                server_context(pem(server_certificate())), ours, server_side=True
            )
        else:
            trusting = client_context(ca=ca_pem(authority()))
            self.end = OpenSSLSocket(trusting, ours, server_hostname=HOST)
        shake(there, self.end)
        self.there = there
        if version == TLS13:
            self.sealing.secret = self.sealing.secrets[f"{role.upper()}_TRAFFIC_SECRET_0".encode()]
            # Two tickets went with a server's handshake.
            self.sealing.number = 2 if role == "server" else 0
        else:
            assert there.connection is not None
            self.older = OlderSealing(there.connection, role)

    def close(self) -> None:
        self.end.close()
        self.there.close()


def hello_again() -> bytes:
    """A ClientHello, as in a renegotiation."""
    body = b"\3\3" + os.urandom(32) + b"\0\0\2\xc0\x2b\1\0"
    return b"\1" + struct.pack(">I", len(body))[1:] + body


# 4,096 empty HelloRequests (RFC 5246 section 7.4.1.1), which a client skips.
HELLO_REQUESTS = b"\x16\x03\x03\x40\0" + b"\0\0\0\0" * 4096
