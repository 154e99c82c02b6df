"""A legacy, an asyncio and a Twisted server in one process, all under load: none starves.

What is compared are counts. Every connection always has a request under way, so a server that is
kept from its work by the others falls behind, whatever the machine is busy with.
"""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("twisted.internet", reason="Twisted is not installed")

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("three_servers.py")

SERVERS = ("legacy", "asyncio", "twisted")

# Requests of each connection of the server that is the first to serve so many: more than ten, so
# that what a server is ahead by in one turn says little.
ENOUGH = 16

# The least that a connection of any other server has been served meanwhile, of what one of the
# first has been. Twisted's transports write in a turn of their own, and so a request takes two
# turns of a reactor where the others need one. The rest is for a busy machine.
SHARE = 0.2

HOW = {
    "asyncio": ("attached", "asyncio"),
    "uvloop": ("attached", "uvloop"),
    "reactor": ("reactor", "poll"),
    "classic loop": ("classic",),
    "engine asyncio": ("engine", "asyncio"),
    "engine uvloop": ("engine", "uvloop"),
}

# The connections to each server. One that has far more of them than the others must not take all
# of the time.
LOADS = {
    "alike": {"legacy": 40, "asyncio": 40, "twisted": 40},
    "most on legacy": {"legacy": 150, "asyncio": 5, "twisted": 5},
    "most on asyncio": {"legacy": 5, "asyncio": 150, "twisted": 5},
    "most on Twisted": {"legacy": 5, "asyncio": 5, "twisted": 150},
}


@contextmanager
def three_servers(how: tuple[str, ...]) -> Iterator[dict[str, int]]:
    """Run the servers, and give their ports."""
    process = subprocess.Popen(
        [sys.executable, str(CHILD), *how],
        env={**os.environ, "PYTHONPATH": str(ROOT), "ASYNCCORE_CHECKOUT": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        try:
            yield json.loads(process.stdout.readline())
            process.stdin.write("end\n")
            process.stdin.flush()
            assert process.wait(30) == 0
        finally:
            process.kill()


def served(ports: dict[str, int], load: dict[str, int]) -> dict[str, int]:
    """Ask until one server has answered `ENOUGH` for each connection; return how many each has."""
    enough = ENOUGH * max(load.values())
    counts = dict.fromkeys(SERVERS, 0)
    peers: list[tuple[str, socket.socket]] = []
    with selectors.DefaultSelector() as selector:
        try:
            for name in SERVERS:
                for _ in range(load[name]):
                    peer = socket.create_connection(("127.0.0.1", ports[name]), timeout=30)
                    peers.append((name, peer))
            # Accepting is no matter of this.
            for _, peer in peers:
                peer.send(b"x")
                assert peer.recv(10) == b"x"
            for name, peer in peers:
                selector.register(peer, selectors.EVENT_READ, name)
                peer.send(b"x")
            while max(counts.values()) < enough:
                ready = selector.select(30)
                assert ready, f"nobody answers any more: {counts}"
                for key, _ in ready:
                    peer = key.fileobj  # type: ignore[assignment]
                    assert peer.recv(10) == b"x"
                    counts[key.data] += 1
                    peer.send(b"x")
        finally:
            for _, peer in peers:
                peer.close()
    return counts


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_none_of_three_servers_starves(how: tuple[str, ...]) -> None:
    if "uvloop" in how and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed; it has no Windows version")
    with three_servers(how) as ports:
        # One process serves all loads: starting it takes longer than all of them.
        for title, load in LOADS.items():
            counts = served(ports, load)
            rounds = {name: count / load[name] for name, count in counts.items()}
            print(title, counts, rounds)
            first = max(counts, key=lambda name: counts[name])
            assert load[first] == max(load.values()), "few connections keep many from being served"
            assert min(rounds.values()) >= SHARE * rounds[first], (title, counts, rounds)
