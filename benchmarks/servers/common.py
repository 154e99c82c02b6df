"""What every Python server needs: options, the first line of output, an end with the harness.

A server is ``python -m benchmarks.servers.NAME PORT [--role ...]``. It listens on
127.0.0.1, prints one JSON line with its port (PORT may be 0) and versions, and runs until
it is killed.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import importlib.metadata
import json
import os
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

HOST = "127.0.0.1"
BACKLOG = 1024  # the same for every server; below Linux's somaxconn of 4,096
RECEIVE_SIZE = 65536  # bytes asked of recv where a program chooses it itself
ROLES = ["echo", "stream", "timers", "lines", "counted", "fair", "pump"]
HEAD = 4  # bytes of a length in front of a message, in network order
PUSH = b"push "  # begins a line that asks for so many bytes
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    port: int
    role: str
    receive_size: int | None
    poller: str | None
    attach: str | None
    predicates: str
    chat: bool
    joins_replies: bool
    streams: bool
    idle_timeout: float | None
    scraped: bool
    module: str


def parse() -> Options:
    """Options of this server process; also ties its life to the harness."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--role", choices=ROLES, default="echo")
    parser.add_argument("--receive-size", type=int, help="bytes for each receive (asyncio)")
    parser.add_argument("--poller", help="classic servers: select, poll, epoll or a host")
    parser.add_argument("--attach", help="asynccore: the host that the map is attached to")
    parser.add_argument("--predicates", choices=["none", "one", "both", "asked"], default="none")
    parser.add_argument("--chat", action="store_true", help="async_chat.push for streams")
    parser.add_argument("--joins-replies", action="store_true", help="of async_chat (asynccore)")
    parser.add_argument("--streams", action="store_true", help="asyncio's, for lines")
    parser.add_argument("--idle-timeout", type=float, help="seconds, of each channel (asynccore)")
    parser.add_argument("--scraped", action="store_true", help="count as for `run --metrics`")
    parser.add_argument("--module", choices=["asynccore", "pyasyncore"], default="asynccore")
    options = Options(**vars(parser.parse_args()))
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return options


@functools.cache
def _harness() -> IO[str]:
    """The pipe to the harness. What the server prints from now on goes where its errors go.

    Nobody reads the pipe while work is measured: the classic modules print what went wrong with a
    connection, and a pipe that is full of it holds up the server.
    """
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


def say(event: dict[str, object]) -> None:
    """Tell the harness something."""
    print(json.dumps(event), file=_harness(), flush=True)


def announce(port: int, version: str) -> None:
    """Tell the harness the port that was bound and what exactly is being measured."""
    say({"port": port, "version": version})


def version_of(distribution: str) -> str:
    """``name version`` of an installed distribution."""
    return f"{distribution} {importlib.metadata.version(distribution)}"


@functools.lru_cache(maxsize=4)
def payload(size: int) -> bytes:
    """``size`` bytes, made once, so that no request pays for making them."""
    return b"x" * size


def pieces(request: bytes) -> Iterator[bytes]:
    """The writes that answer the request ``TOTAL CHUNK``: TOTAL bytes in pieces of CHUNK."""
    total, chunk = map(int, request.split())
    piece = payload(chunk)
    for _ in range(total // chunk):
        yield piece
    if total % chunk:
        yield piece[: total % chunk]
