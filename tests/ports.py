"""A port for a program that has to be told one. Whoever can, binds port 0 and says what it got."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

# Below those that a system gives to who asks for any: from 32768 on by Linux, and from 49152 on
# elsewhere (RFC 6335, section 6). So nobody gets one between this test and the program by chance.
_FIRST, _COUNT = 20_000, 12_000

# Each process of a test run begins elsewhere.
_numbers = itertools.count(os.getpid() * 64)


def free_port(kind: int = socket.SOCK_STREAM, count: int = 1) -> int:
    """Return a port of 127.0.0.1 that is free, and so many less one behind it."""
    while True:
        first = _FIRST + next(_numbers) % _COUNT
        if all(_is_free(kind, first + number) for number in range(count)):
            return first


def _is_free(kind: int, port: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """Hold ports for programs with SO_REUSEPORT, as workers and HAProxy: nobody else gets any."""
    with ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(count)]
        for holder in holders:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(("127.0.0.1", 0))
        yield [holder.getsockname()[1] for holder in holders]
