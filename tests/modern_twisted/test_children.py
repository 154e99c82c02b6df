"""Child processes under `loop()`, whose end is noticed without a signal handler."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.protocol import ProcessProtocol

from compat.hosts import processes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes")

Loop = Callable[..., None]


class Recorder(ProcessProtocol):
    def __init__(self) -> None:
        self.out = b""
        self.ended: list[Any] = []

    def connectionMade(self) -> None:
        self.transport.write(b"through the pipes\n")
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self.out += data

    def processEnded(self, reason: Any) -> None:
        self.ended.append(reason.value.exitCode)


CAT_AND_EXIT_3 = ["/bin/sh", "-c", "cat; exit 3"]


def refused(pid: int) -> int:
    raise OSError(errno.ENOSYS, "no such system call")


@pytest.mark.parametrize("way", ["pidfd", "refused", "missing"])
def test_the_end_of_a_child(
    reactor: Any, loop: Loop, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "refused":
        monkeypatch.setattr(os, "pidfd_open", refused, raising=False)
    elif way == "missing":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    elif not hasattr(os, "pidfd_open"):
        pytest.skip("no pidfd_open on this platform, or in this Python")
    monkeypatch.setattr(processes, "INTERVAL", 0.01)
    before = signal.getsignal(signal.SIGCHLD)
    protocol = Recorder()
    reactor.spawnProcess(protocol, CAT_AND_EXIT_3[0], CAT_AND_EXIT_3)
    loop()
    assert protocol.out == b"through the pipes\n"
    assert protocol.ended == [3]
    assert signal.getsignal(signal.SIGCHLD) is before


def test_a_child_without_pipes_keeps_the_loop(reactor: Any, loop: Loop) -> None:
    class Bare(Recorder):
        def connectionMade(self) -> None:
            pass

    protocol = Bare()
    reactor.spawnProcess(protocol, "/bin/sh", ["/bin/sh", "-c", "exit 4"], childFDs={})
    loop()
    assert protocol.ended == [4]


def test_the_reactor_stops_before_its_child(reactor: Any, loop: Loop) -> None:
    protocol = Recorder()
    transport = reactor.spawnProcess(
        protocol, "/bin/sh", ["/bin/sh", "-c", "trap '' HUP PIPE; exec sleep 60"]
    )
    loop(lambda: reactor.running)
    pid = transport.pid
    reactor.stop()
    loop()
    assert protocol.ended == []
    transport.signalProcess("KILL")
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    transport.reapProcess()
    assert len(protocol.ended) == 1
