"""The command that runs suites over hosts finds what it is there to find; see __main__.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.hosts import __main__ as hosts

LOOPS = """
    ours, theirs = socket.socketpair()
    theirs.send(b"x")
    class Reader(asynccore.dispatcher):
        def handle_read(self):
            assert self.recv(10) == b"x"
            self.close()
    map = {}
    Reader(ours, map)
    asynccore.loop(map=map)
    theirs.close()
"""


def run(host: str, tmp_path: Path, body: str, patience: int = 60, bound: float = 100) -> hosts.Run:
    name = host.partition(":")[2]
    if name in ("uvloop", "twisted", "select") and importlib.util.find_spec("twisted") is None:
        pytest.skip("Twisted is not installed")
    file = tmp_path / "test_it.py"
    file.write_text(f"import socket, time\nimport asynccore\ndef test_it():{body}")
    words = hosts.command(host, [str(file)])
    words += ["-o", f"faulthandler_timeout={patience}", "-p", "no:cacheprovider"]
    return hosts.run(words, host, bound)


@pytest.mark.parametrize("host", ["engine:asyncio", "attach:asyncio", "attach:select"])
def test_the_host_is_what_runs(host: str, tmp_path: Path) -> None:
    one = run(host, tmp_path, LOOPS)
    assert one.status == 0 and "1 passed" in hosts.verdict(one), one.output
    assert "\n0 " not in one.output


@pytest.mark.parametrize("host", ["engine:asyncio", "attach:asyncio"])
def test_that_nothing_was_done_by_a_host_is_a_failure(host: str, tmp_path: Path) -> None:
    one = run(host, tmp_path, " pass")
    assert one.status == 1 and "1 passed" in one.output, one.output


def test_a_failure_is_one(tmp_path: Path) -> None:
    one = run("attach:asyncio", tmp_path, LOOPS + "    assert not map, 1\n    assert map, 2\n")
    assert one.status == 1 and "1 failed" in hosts.verdict(one), one.output


@pytest.mark.parametrize("how", ["the test", "the host"])
def test_what_hangs_is_ended(how: str, tmp_path: Path) -> None:
    """By pytest, which says where; or by its end, with the processes that it has started."""
    hang = LOOPS + "    time.sleep(1000)\n"
    if how == "the test":
        one = run("attach:asyncio", tmp_path, hang, patience=1)
        assert one.status == 1 and "Timeout" in one.output and "test_it" in one.output
    else:
        one = run("attach:asyncio", tmp_path, hang, bound=1)
        assert one.status is None and "did not end" in hosts.verdict(one)
