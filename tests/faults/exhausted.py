"""Run in a child process with few descriptors: `python exhausted.py POLLER`. Prints what it did."""

from __future__ import annotations

import errno
import os
import resource
import socket
import sys

from tests.faults.support import Echo, World


def fill() -> list[int]:
    """Take all descriptors that are left."""
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError as why:
        assert why.errno == errno.EMFILE
    return taken


def main(poller: str) -> None:
    # Few, so that this is quick; room for the interpreter, the poller and some connections.
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    "".encode("idna")  # its modules are imported, while files can be opened
    world = World(poller)
    clock = world.fake_clock()
    witness = world.peer()
    other = world.accepted(witness)

    # accept(): the peer waits in the backlog, and the listener rests.
    late = [socket.socket(), socket.socket()]
    taken = fill()
    for sock in late:
        sock.connect(world.server.address)
    world.passes(5)
    assert len(world.children) == 1 and sum("can't accept" in line for line in world.said) == 1
    world.idle_but_for_timers()
    world.echoes(witness)
    clock.advance(1.5)
    world.passes(3)
    assert sum("can't accept" in line for line in world.said) == 2
    world.echoes(witness)

    # connect(), and connect_name() to an address and to a name: errors, and no more.
    client = Echo(world)
    try:
        client.create_socket()
    except OSError as why:
        assert why.errno == errno.EMFILE
    else:
        raise AssertionError("a socket beyond the limit")
    client.connect_name(*world.server.address)
    world.until(lambda: world.errors)
    error = world.errors.pop()
    assert error.errno == errno.EMFILE and len(error.errors) == 1, error
    named = Echo(world)
    named.connect_name("localhost", world.server.address[1], family=socket.AF_INET)
    world.until(lambda: world.errors)
    print(repr(world.errors.pop()))

    # There is room again.
    for fd in taken:
        os.close(fd)
    clock.advance(1.5)
    world.until(lambda: len(world.children) == 3)
    for again in (client, named):
        again.connect_name(*world.server.address)
        world.until(lambda again=again: again.connected)
        again.close()
    for sock in late:
        world.echoes(sock)
        sock.close()
    world.only(other)
    assert not world.errors
    world.close()
    print("4 survived")


if __name__ == "__main__":
    main(sys.argv[1])
