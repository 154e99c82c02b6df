"""The parent of `asynccore run --workers`: nothing that befalls it leaves workers on their own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import asynccore
from asynccore.testing import FakeClock

if sys.platform == "win32":
    pytest.skip("Windows has no fork", allow_module_level=True)

from compat.command_line import workers
from compat.command_line.workers import UP, Workers

ROOT = Path(__file__).parents[2]

# A bound for what should take a moment; a test that reaches it fails.
PATIENCE = 30.0


class Sparse:
    """A world in which the next `failures` starts fail."""

    def __init__(self, count: int = 2) -> None:
        self.clock = FakeClock()
        self.failures = 0
        self.pid = 100
        self.killed: list[int] = []
        self.said: list[str] = []
        self.workers = Workers(count, self)

    def start(self, number: int) -> int:
        if self.failures:
            self.failures -= 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.pid += 1
        return self.pid

    def kill(self, pid: int, signum: int) -> None:
        self.killed.append(pid)

    retire = None  # type: ignore[assignment]  # nobody gets so far

    def say(self, text: str) -> None:
        self.said.append(text)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.workers.tick()


def test_a_worker_that_can_not_be_started_is_tried_again() -> None:
    world = Sparse()
    world.failures = 1
    world.workers.begin()
    assert world.workers.pids() == [101]
    assert not world.workers.over()
    assert len(world.said) == 1 and "can't start worker 1" in world.said[0]
    assert world.workers.wait() == pytest.approx(UP)
    world.failures = 2
    for _ in range(3):
        world.pass_time(UP)
    assert sorted(world.workers.pids()) == [101, 102]
    assert world.workers.wait() is None


def test_a_restart_that_fails_is_no_failure_of_the_worker() -> None:
    world = Sparse(1)
    world.workers.begin()
    world.failures = 20
    world.workers.ended(101, -9)
    for _ in range(25):
        world.pass_time(UP)
    assert world.workers.pids() == [102]
    assert world.workers.exit_status == 0


def test_a_signal_ends_the_trying() -> None:
    world = Sparse(1)
    world.failures = 1
    world.workers.begin()
    world.workers.stop(signal.SIGTERM)
    assert world.workers.over()


def test_a_successor_that_can_not_be_started_leaves_the_old_ones() -> None:
    world = Sparse()
    world.workers.begin()
    world.failures = 1
    world.workers.replace_all()
    world.workers.tick()
    world.pass_time(2 * UP)
    assert world.workers.pids() == [101, 102]
    assert world.killed == []
    assert "can't replace worker 1" in world.said[-1]
    world.workers.replace_all()
    world.workers.tick()
    assert 103 in world.workers.pids()


# Real processes ------------------------------------------------------------------------------


WORKER = """
import asyncore, os, socket, sys, time
class Waiting(asyncore.dispatcher):
    def writable(self): return False
Waiting(socket.socketpair()[0])
open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
asyncore.loop()
"""


def seen(folder: Path) -> set[int]:
    return {int(file.name) for file in folder.iterdir()}


def is_alive(pid: int) -> bool:
    """Whether a process runs: one that has ended and that nobody reaps counts as gone."""
    try:
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            return " Z " not in Path(f"/proc/{pid}/stat").read_text()
        return False
    return bool(state.strip()) and "Z" not in state


def wait_for(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


@contextlib.contextmanager
def supervised(folder: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    script = folder.parent / "worker.py"
    script.write_text(WORKER)
    with subprocess.Popen(
        [sys.executable, "-m", "asynccore", "run", "--workers", "2", str(script), str(folder)],
        cwd=ROOT,
        start_new_session=True,
        **options,
    ) as process:
        try:
            wait_for(lambda: len(seen(folder)) >= 2)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pids"
    made.mkdir()
    return made


def test_a_standard_error_that_nobody_reads(folder: Path) -> None:
    reader, writer = os.pipe()
    with supervised(folder, stdout=writer, stderr=writer) as process:
        os.close(writer)
        os.close(reader)
        first = seen(folder)
        os.kill(min(first), signal.SIGKILL)
        wait_for(lambda: len(seen(folder)) == 3)
        assert process.poll() is None
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert not any(map(is_alive, seen(folder)))


def test_workers_end_with_a_parent_that_is_killed(folder: Path) -> None:
    with supervised(folder) as process:
        pids = seen(folder)
        assert len(pids) == 2 and all(map(is_alive, pids))
        process.kill()
        process.wait(PATIENCE)
        wait_for(lambda: not any(map(is_alive, pids)))


def test_one_that_has_ended_takes_nobody_with_it(folder: Path) -> None:
    with supervised(folder) as process:
        gone, stays = sorted(seen(folder))
        os.kill(gone, signal.SIGKILL)
        wait_for(lambda: len(seen(folder)) == 3)
        assert is_alive(stays)
        assert process.poll() is None


def test_where_the_kernel_does_not_tell_a_loop_looks() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    program = f"""
        import os, sys
        os.environ["ASYNCCORE_SUPERVISOR"] = f"{{os.getpid()}}:{reader}"
        import asynccore
        assert "ASYNCCORE_SUPERVISOR" in os.environ
        asynccore.call_later(0, lambda: print("loops", flush=True))
        asynccore.call_later(600, print)
        asynccore.loop(until_idle=True)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        pass_fds=[reader],
        stdout=subprocess.PIPE,
    ) as process:
        os.close(reader)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"loops\n"
            assert process.poll() is None
            os.close(writer)
            assert process.wait(PATIENCE) == -signal.SIGTERM
        finally:
            process.kill()


def test_it_is_for_the_process_that_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from asynccore.running import loop, supervision

    environ = {supervision.VARIABLE: f"{os.getpid() + 1}:0"}
    supervision.watch(environ)
    assert supervision.VARIABLE in environ
    supervision.watch({})
    before = len(loop.starting)
    supervision.enter()
    assert len(loop.starting) == before + 1
    asynccore.loop(map={}, count=1)
    assert len(loop.starting) == before


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_what_is_inherited_is_reaped() -> None:
    pid = os.fork()
    if not pid:
        os._exit(7)
    found: list[tuple[int, int]] = []
    end = time.monotonic() + PATIENCE
    while (pid, 7) not in found and time.monotonic() < end:
        found += workers._ended([])
        select.select([], [], [], 0.01)
    assert (pid, 7) in found


def test_what_others_have_reaped_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(pid: int, options: int) -> tuple[int, int]:
        raise ChildProcessError

    monkeypatch.setattr(os, "waitpid", nobody)
    assert [pid for pid, _ in workers._ended([5, 6])] == [5, 6]
