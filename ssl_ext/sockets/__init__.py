"""The OpenSSL-wrapped sockets: streams, datagrams, and accepting them."""

from __future__ import annotations
