"""`asynccore run --workers`: the decisions with a fake clock, and real processes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from asynccore.engine import signals
from asynccore.testing import FakeClock
from compat.command_line import cli, demo, runner

if sys.platform == "win32":
    pytest.skip("Windows has no fork", allow_module_level=True)

from compat.command_line import workers
from compat.command_line.workers import ATTEMPTS, LAST_WORDS, PAUSE, UP, Workers, in_words
from tests.ports import free_port, held_ports

TERM, INT = signal.SIGTERM, signal.SIGINT


# Decisions ------------------------------------------------------------------------------------


class World:
    """Processes that exist only by number."""

    def __init__(self, count: int = 2, **options: float) -> None:
        self.clock = FakeClock()
        self.running: list[int] = []
        self.numbers: dict[int, int] = {}
        self.killed: list[tuple[int, int]] = []
        self.retired: list[int] = []
        self.said: list[str] = []
        self._next = 100
        self.workers = Workers(count, self, **options)
        self.workers.begin()

    def start(self, number: int) -> int:
        self._next += 1
        self.running.append(self._next)
        self.numbers[self._next] = number
        return self._next

    def kill(self, pid: int, signum: int) -> None:
        self.killed.append((pid, signum))

    def retire(self, pid: int) -> None:
        self.retired.append(pid)

    def say(self, text: str) -> None:
        self.said.append(text)

    def end(self, pid: int, status: int) -> None:
        self.running.remove(pid)
        self.workers.ended(pid, status)
        self.workers.tick()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.workers.tick()


def test_they_serve_once_a_loop_has_begun_in_each():
    world = World(3)
    for pid in (102, 101, 101):
        world.workers.begun(pid)
        world.pass_time(2 * UP)
        assert not world.workers.serve()
    world.end(103, 1)
    assert not world.workers.serve(), "it is to be started again"
    world.pass_time(2 * PAUSE)
    world.workers.begun(104)
    assert world.workers.serve()
    world.workers.stop(TERM)
    assert not world.workers.serve()


def test_who_begins_after_an_interrupt_is_interrupted_again():
    world = World()
    world.workers.begun(101)
    world.workers.stop(INT, grace=1)
    world.workers.begun(102)
    assert world.killed == [], "the terminal's own Ctrl-C may be on its way"
    world.pass_time(1)
    world.end(101, -INT)
    world.workers.begun(102)
    assert world.killed == [(101, INT), (102, INT), (102, INT)]
    world = World(1)
    world.workers.stop(TERM)
    world.workers.tick()
    world.workers.begun(101)
    assert world.killed == [(101, TERM)], "the second one would end it at once"


def test_who_has_done_its_work_keeps_nobody_waiting():
    world = World(2)
    world.workers.begun(101)
    world.end(102, 0)
    assert world.workers.serve()


def test_as_many_as_asked_for():
    world = World(3)
    assert world.running == world.workers.pids() == [101, 102, 103]
    assert world.workers.wait() is None
    assert not world.workers.over()


def test_a_dead_worker_is_started_again_after_a_pause():
    world = World()
    world.pass_time(UP)
    world.end(101, -9)
    assert world.said == ["worker 1 (process 101) ended by SIGKILL; starting it again in 0.1 s"]
    assert world.running == [102]
    assert world.workers.wait() == pytest.approx(PAUSE)
    world.pass_time(2 * PAUSE)
    assert world.running == [102, 103]
    assert world.workers.wait() is None


def test_the_pause_doubles_and_then_it_gives_up():
    world = World()
    pauses = []
    while not world.killed:
        world.end(max(world.running), 3)
        if (wait := world.workers.wait()) is not None and not world.killed:
            pauses.append(wait)
            world.pass_time(wait)
    assert pauses == pytest.approx([PAUSE * 2**n for n in range(ATTEMPTS - 1)])
    assert world.killed == [(101, TERM)]
    assert world.said[-1].endswith(
        "ended with exit status 3, 5 times in a row within 1 s of its start; giving up"
    )
    assert not world.workers.over()
    world.end(101, -TERM)
    assert world.workers.over()
    assert world.workers.exit_status == 1


def test_who_came_up_begins_counting_anew():
    world = World(1)
    for _ in range(3 * ATTEMPTS):
        for _ in range(ATTEMPTS - 1):
            world.end(world.running[0], 1)
            world.pass_time(10)
        world.pass_time(UP)
        world.end(world.running[0], 1)
        assert world.workers.wait() == pytest.approx(PAUSE)
        world.pass_time(2 * PAUSE)
    assert world.killed == []


def test_a_worker_that_has_done_its_work_is_not_started_again():
    world = World()
    world.end(101, 0)
    assert world.workers.wait() is None
    world.end(102, 0)
    assert world.workers.over()
    assert world.workers.exit_status == 0
    assert world.said == []


@pytest.mark.parametrize(
    ("status", "wanted"), [(0, 0), (-TERM, 0), (128 + TERM, 0), (1, 1), (-9, 1), (-INT, 1)]
)
def test_the_exit_status_after_a_signal(status, wanted):
    world = World()
    world.workers.stop(TERM)
    world.workers.tick()
    assert world.killed == [(101, TERM), (102, TERM)]
    world.end(101, status)
    world.end(102, 0)
    assert world.workers.over()
    assert world.workers.exit_status == wanted
    assert len(world.said) == wanted


@pytest.mark.parametrize(
    ("statuses", "wanted"), [((0, -INT), 130), ((-INT, 0), 130), ((-INT, 1), 1), ((1, -INT), 1)]
)
def test_the_exit_status_after_ctrl_c(statuses, wanted):
    world = World()
    world.workers.stop(INT)
    for pid, status in zip((101, 102), statuses, strict=True):
        world.end(pid, status)
    assert world.workers.over()
    assert world.workers.exit_status == wanted


def test_a_signal_is_passed_on_after_a_grace_to_who_is_left():
    world = World()
    world.workers.stop(INT, 1.0)
    world.workers.tick()
    assert world.workers.wait() == 1.0
    world.end(101, -INT)
    assert world.killed == []
    world.pass_time(1.0)
    assert world.killed == [(102, INT)]
    assert world.workers.wait() is None


def test_a_second_signal_is_passed_on_too():
    world = World(1)
    for signum in (TERM, INT):
        world.workers.stop(signum)
        world.workers.tick()
    assert world.killed == [(101, TERM), (101, INT)]


def test_nothing_is_started_after_a_signal():
    world = World(1)
    world.end(101, 1)
    world.workers.stop(TERM)
    assert world.workers.over()
    world.workers.replace_all()
    world.pass_time(99)
    assert world.running == []


def test_replacing_one_by_one():
    world = World()
    world.workers.replace_all()
    world.workers.tick()
    assert world.running == [101, 102, 103]
    assert world.workers.wait() == UP
    world.pass_time(UP / 2)
    assert world.retired == []
    world.pass_time(UP / 2)
    assert world.retired == [101]
    assert world.running == [101, 102, 103, 104]  # the next, while the old one ends
    assert world.numbers == {101: 1, 102: 2, 103: 1, 104: 2}
    world.pass_time(UP)
    assert world.retired == [101, 102]
    world.end(101, -TERM)
    world.end(102, 7)
    world.pass_time(99)
    assert world.running == world.workers.pids() == [103, 104]
    assert world.said == world.killed == []


def test_who_drains_for_too_long_is_killed():
    world = World(1, drain=10.0)
    world.workers.replace_all()
    world.workers.tick()
    world.pass_time(UP)
    assert world.retired == [101]
    assert world.workers.wait() == 10 + LAST_WORDS
    world.pass_time(10 + LAST_WORDS)
    assert world.killed == [(101, signal.SIGKILL)]
    assert world.said == ["process 101 did not end in time; killing it"]
    world.workers.stop(TERM)
    world.workers.tick()
    world.pass_time(9)
    world.end(101, -9)
    world.end(102, 0)
    assert world.workers.over()
    assert world.killed == [(101, 9), (102, TERM), (101, TERM)]


def test_one_more_and_one_less():
    world = World()
    world.workers.add()
    assert world.running == [101, 102, 103]
    assert world.workers.numbers() == {1, 2, 3}
    for _ in range(3):
        world.workers.remove()
    assert world.retired == [103, 102], "one stays"
    assert world.workers.numbers() == {1}
    world.workers.add()
    assert world.numbers[104] == 2
    world.end(103, 0)
    world.workers.stop(TERM)
    world.workers.add()
    world.workers.remove()
    world.workers.tick()
    assert world.workers.numbers() == set()
    assert sorted(world.killed) == [(101, TERM), (102, TERM), (104, TERM)]


def test_one_less_while_that_one_is_replaced():
    world = World()
    world.workers.replace_all()
    world.workers.tick()
    world.pass_time(UP)
    world.workers.remove()
    assert world.retired == [101, 102, 104]
    world.pass_time(UP)
    assert world.workers.numbers() == {1}
    world.workers.replace_all()
    world.workers.add()
    world.workers.remove()
    world.workers.tick()
    assert world.numbers[max(world.running)] == 1


def test_silence():
    world = World(2, watchdog=8.0)
    assert world.workers.wait() is None, "before its first sign of life nobody is missed"
    world.workers.answered(101)
    world.workers.answered(102)
    world.workers.answered(999)  # somebody who has ended
    for _ in range(3):
        assert world.workers.wait() == 2.0
        world.pass_time(2.0)
    world.workers.answered(102)
    world.pass_time(2.0)
    assert world.killed == [(101, signal.SIGABRT)]
    assert world.said == ["process 101 has not answered for 8 s; replacing it"]
    world.pass_time(LAST_WORDS - 1)
    world.workers.answered(102)
    world.pass_time(1)
    assert world.killed[1:] == [(101, signal.SIGKILL)]
    world.end(101, -9)
    world.pass_time(PAUSE)
    assert world.running == [102, 103]


def test_no_silence_is_held_against_anybody_if_it_was_the_parent_that_slept():
    world = World(1, watchdog=8.0)
    world.workers.answered(101)
    world.pass_time(1000)
    assert world.killed == []
    for _ in range(4):
        world.pass_time(2)
    assert world.killed == [(101, signal.SIGABRT)]


def test_who_has_accepted_enough_is_replaced_once():
    world = World(2)
    for _ in range(2):
        world.workers.worn(102)
        world.workers.tick()
    assert world.running == [101, 102, 103] and world.numbers[103] == 2
    assert world.said == ["worker 2 (process 102) has accepted enough; replacing it"]
    world.workers.worn(102)
    world.workers.worn(101)
    world.pass_time(UP)
    assert world.retired == [102]
    assert world.numbers[max(world.running)] == 1, "one after the other"
    world.workers.worn(102)  # which goes already
    world.pass_time(UP)
    assert world.retired == [102, 101] and len(world.running) == 4
    world.workers.stop(TERM)
    world.workers.worn(103)
    world.workers.tick()
    assert len(world.running) == 4


def test_a_new_worker_that_does_not_come_up_ends_the_replacing():
    world = World()
    world.workers.replace_all()
    world.workers.tick()
    world.end(103, 1)
    world.pass_time(99)
    assert world.running == [101, 102]
    assert world.killed == []
    assert world.said == [
        "the new worker 1 ended with exit status 1 before it could take over; the old ones stay"
    ]


def test_a_new_worker_takes_over_once_its_loop_has_begun_as_that_of_the_old_one_has():
    world = World()
    for pid in (101, 102):
        world.workers.begun(pid)
    world.workers.replace_all()
    world.workers.tick()
    world.pass_time(99)  # it looks for its database
    assert world.retired == []
    assert world.workers.wait() is None
    world.workers.begun(103)
    world.workers.tick()
    assert world.retired == [101]
    world.pass_time(99)
    world.end(104, 1)  # it has looked in vain
    world.pass_time(99)
    assert world.retired == [101]
    assert world.said == [
        "the new worker 2 ended with exit status 1 before it could take over; the old ones stay"
    ]
    world.workers.replace_all()
    world.workers.tick()
    world.pass_time(99)
    assert world.retired == [101], "what a former successor has begun does not count"


def test_an_old_worker_that_ends_while_being_replaced():
    world = World()
    world.workers.replace_all()
    world.workers.tick()
    world.end(101, 1)
    assert world.running == [102, 103, 104]  # 103 is in its place, and 104 comes for 102
    world.pass_time(UP)
    assert world.retired == [102]


def test_a_worker_that_waits_for_its_start_needs_no_replacing():
    world = World(1)
    world.end(101, 1)
    world.workers.replace_all()
    world.workers.tick()
    assert world.running == []
    world.pass_time(2 * PAUSE)
    assert world.running == [102]


def test_a_signal_while_replacing_reaches_all():
    world = World()
    world.workers.replace_all()
    world.workers.tick()
    world.workers.stop(TERM)
    world.workers.tick()
    assert sorted(world.killed) == [(101, TERM), (102, TERM), (103, TERM)]
    for pid in (103, 101, 102):
        world.end(pid, -TERM)
    assert world.workers.over()
    assert world.workers.exit_status == 0


def test_ends_in_words():
    assert in_words(3) == "with exit status 3"
    assert in_words(-TERM) == "by SIGTERM"
    assert in_words(-63) == "by signal 63"


# In this process ------------------------------------------------------------------------------


def environment(pid: int) -> dict[str, str]:
    return {"WORKER": str(pid), "PATH": os.environ["PATH"]}


def code(text: str) -> list[str]:
    return [sys.executable, "-S", "-c", text]


forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@forks
def test_a_start_that_fails_leaves_nothing_open(monkeypatch):
    def socketpair(**options: object) -> None:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(socket, "socketpair", socketpair)
    children = workers.Children(["true"], lambda pid: {}, [])
    before = psutil.Process().num_fds()
    with pytest.raises(OSError, match="too many"):
        children.start(1)
    assert psutil.Process().num_fds() == before


def test_workers_run_in_their_environment(tmp_path):
    before = [signal.getsignal(s) for s in workers._HANDLED]
    write = f"import os; open(r'{tmp_path}/' + os.environ['WORKER'], 'w').write(str(os.getpid()))"
    assert workers.supervise(code(write), environment, 3) == 0
    files = list(tmp_path.iterdir())
    assert len(files) == 3
    assert all(file.read_text() == file.name for file in files)
    assert [signal.getsignal(s) for s in workers._HANDLED] == before


@forks
@pytest.mark.parametrize("foreground", [False, True])
@pytest.mark.parametrize("signum", [TERM, INT, signal.SIGHUP])
def test_signals_are_passed_on(signum, foreground, monkeypatch, capfd):
    """A worker signals its parent, and waits for what comes back."""
    monkeypatch.setattr(workers, "INTERRUPT_GRACE", 0.01)
    monkeypatch.setattr(workers, "_in_foreground", lambda: foreground)
    monkeypatch.setattr(signals, "has_terminal", iter([True, False, False]).__next__)
    text = (
        "import os, signal\n"
        f"signal.signal({int(signum)}, lambda *_: os._exit(0))\n"
        f"os.kill(os.getppid(), {int(signum)})\n"
        "while True: signal.pause()"
    )
    assert workers.supervise(code(text), environment, 1) == 0
    assert capfd.readouterr() == ("", "")


@forks
def test_hangup_replaces(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(workers, "UP", 0.0)
    text = (
        "import os, signal, sys\n"
        f"first = r'{tmp_path}/first'\n"
        "if os.path.exists(first): os.kill(os.getppid(), 15)\n"
        "else: open(first, 'w'); os.kill(os.getppid(), 1)\n"
        "while True: signal.pause()"
    )
    assert workers.supervise(code(text), environment, 1) == 0
    assert capfd.readouterr() == ("", "")


@forks
def test_giving_up(monkeypatch, capfd):
    monkeypatch.setattr(workers, "PAUSE", 0.001)
    assert workers.supervise(code("raise SystemExit(3)"), environment, 2) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("ended with exit status 3") >= ATTEMPTS
    assert err.count("giving up") == 1


@forks
def test_what_is_ignored_stays_ignored(capfd):
    """As nohup has it: nothing is handled, and the worker ignores it too."""
    before = [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGHUP, signal.SIGCHLD)]
    try:
        text = "import signal; print(signal.getsignal(1) == signal.SIG_IGN)"
        assert workers.supervise(code(text), environment, 1) == 0
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGCHLD, before[1])
    assert capfd.readouterr().out == "True\n"


def test_the_terminal(monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setattr(os, "open", lambda *_: os.dup(reader))
    assert signals.has_terminal()
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp())
    assert workers._in_foreground()
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp() + 1)
    assert not workers._in_foreground()

    def refuse(*_):
        raise OSError

    monkeypatch.setattr(os, "open", refuse)
    assert not signals.has_terminal()
    assert not workers._in_foreground()
    os.close(reader)
    os.close(writer)


# The command line -----------------------------------------------------------------------------


def test_the_options(monkeypatch):
    seen = []
    monkeypatch.setattr(
        runner, "run", lambda program, interpreter, options: seen.append((program, options)) or 7
    )
    arguments = ["--workers", "4", "--fd=5", "--fd", "6", "--top", "script.py", "--top", "x"]
    assert cli.main(["run", *arguments]) == 7
    assert cli.main(["run", "--engine", "poll", "--top=p/s", "--", "script.py"]) == 7
    assert cli.main(["run", "--top", "-m", "mod", "--workers", "x"]) == 7
    assert seen == [
        (["script.py", "--top", "x"], runner.Options(None, 4, (5, 6), "1")),
        (["--", "script.py"], runner.Options("poll", None, (), "p/s")),
        (["-m", "mod", "--workers", "x"], runner.Options(None, None, (), "1")),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "--workers is at least 1, not 0"),
        (["--watchdog", "2"], "--watchdog needs --workers"),
        (["--watchdog", "0", "--workers", "2"], "--watchdog is more than 0 seconds, not 0"),
        (["--drain=-1"], "a drain is a number of seconds, at least 0, not '-1.0'"),
        (["--workers", "2", "--top=s"], "several workers can't share one --top=PATH"),
        (["--fd", "9999"], "there is no descriptor 9999 to inherit: Bad file descriptor"),
    ],
)
def test_what_cannot_work(arguments, message, capsys):
    assert cli.main(["run", *arguments, "script.py"]) == 2
    assert message in capsys.readouterr().err


def test_a_file_is_no_socket(capsys, tmp_path):
    with open(tmp_path / "file", "w") as file:
        assert cli.main(["run", "--fd", str(file.fileno()), "script.py"]) == 2
    assert "is no socket" in capsys.readouterr().err


def test_contradicting_activation(capsys, monkeypatch):
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "many")
    assert cli.main(["run", "script.py"]) == 2
    assert "LISTEN_FDS is a number of sockets" in capsys.readouterr().err


def test_the_environment_of_the_program(monkeypatch):
    seen = []
    monkeypatch.setattr(runner, "_become", lambda command, env: seen.append(env) or 0)
    monkeypatch.setattr(sys, "orig_argv", ["python", "asynccore"])
    monkeypatch.setattr(sys, "argv", ["asynccore"])
    monkeypatch.setenv("ASYNCCORE_SOCKETS", "1:2")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        assert cli.main(["run", f"--fd={one.fileno()}", "--top=x/s", "script.py"]) == 0
        assert cli.main(["run", "script.py"]) == 0
        assert one.get_inheritable()
        assert seen[0]["ASYNCCORE_SOCKETS"] == f"{os.getpid()}:{one.fileno()}"
    assert seen[0]["ASYNCCORE_TOP"] == "x/s"
    assert not {"ASYNCCORE_SOCKETS", "ASYNCCORE_TOP", "ASYNCCORE_REUSE_PORT"} & set(seen[1])


def test_the_environment_of_workers(monkeypatch):
    seen = []
    monkeypatch.setattr(
        workers, "supervise", lambda command, env, *args: seen.append((env(4711), args)) or 5
    )
    monkeypatch.setattr(sys, "orig_argv", ["python", "asynccore"])
    monkeypatch.setattr(sys, "argv", ["asynccore"])
    for name, value in {"LISTEN_PID": os.getpid(), "LISTEN_FDS": 0}.items():
        monkeypatch.setenv(name, str(value))
    with socket.socket() as one:
        arguments = ["--workers", "3", "--top", f"--fd={one.fileno()}", "script.py"]
        assert cli.main(["run", *arguments]) == 5
        ((env, args),) = seen
        assert args == (3, 30.0, None)
        assert env["ASYNCCORE_DRAIN"] == "30.0"
        assert env["ASYNCCORE_REUSE_PORT"] == env["ASYNCCORE_TOP"] == "1"
        assert env["ASYNCCORE_SOCKETS"] == f"4711:{one.fileno()}"
        assert env["LISTEN_PID"] == "4711"


# Real programs --------------------------------------------------------------------------------

UDP = """
import asyncore, socket, sys

class Answer(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.bind(("127.0.0.1", port))
        print("bound")
    def writable(self):
        return False
    def handle_read(self):
        data, peer = self.socket.recvfrom(100)
        self.socket.sendto(data.upper(), peer)

Answer(int(sys.argv[1]))
asyncore.loop()
"""


@contextlib.contextmanager
def started(arguments: list[str], env: dict[str, str], **more: object) -> Iterator[demo.Program]:
    """Run the command line in a session of its own; whatever is left of it is killed."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "asynccore", "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=env,
        **more,  # type: ignore[call-overload]
    ) as process:
        program = demo.Program(process)
        program.process = process  # type: ignore[attr-defined]
        try:
            yield program
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            program.kill()


@pytest.fixture
def held_port() -> Iterator[int]:
    """A TCP port that nobody else gets, and that workers may share: bound, and not listening."""
    with held_ports(1) as (held,):
        yield held


def lines(program: demo.Program, count: int) -> list[str]:
    return [program.line() for _ in range(count)]


def count_lines(program: demo.Program, text: str, count: int) -> None:
    """Wait for lines that workers print: unbuffered, so that text and line ends may mix."""
    assert "".join(lines(program, count)) == text * count


def test_two_echo_servers(held_port, user_environment):
    script = demo.examples() / "echo_server.py"
    arguments = ["--workers", "2", str(script), str(held_port)]
    with started(arguments, user_environment) as program:
        count_lines(program, f"listening on 127.0.0.1:{held_port}", 2)
        for _ in range(8):
            with socket.create_connection(("127.0.0.1", held_port), timeout=30) as client:
                client.sendall(b"hello")
                assert client.recv(5, socket.MSG_WAITALL) == b"hello"
        count_lines(program, "goodbye after 5 bytes", 8)
        program.process.send_signal(signal.SIGINT)
        count_lines(program, "stopped", 2)
        assert program.process.wait(30) == 0


@pytest.mark.parametrize("mode", [[], ["-X", "dev"]])
def test_ctrl_c_ends_workers_quietly(mode, held_port, user_environment, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import asyncore; server = asyncore.listener(('127.0.0.1', {held_port}), print)\n"
        "asyncore.call_later(0, print, 'it runs')\nasyncore.loop()\n"
    )
    command = [sys.executable, "-u", *mode, "-m", "asynccore", "run", "--workers", "2", script]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, env=user_environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            printed = ""
            while printed.count("it runs") < 2:
                printed += process.stdout.readline()
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert rest.count("Traceback") == (2 if mode else 0), rest
    assert mode or not rest.strip()
    assert process.returncode == -INT


def test_a_killed_worker_comes_back(held_port, user_environment, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os; print(os.getpid())\n" + (demo.examples() / "echo_server.py").read_text()
    )
    arguments = ["--workers", "1", str(script), str(held_port)]
    with started(arguments, user_environment) as program:
        first, _ = lines(program, 2)
        os.kill(int(first), signal.SIGKILL)
        said, second, listening = lines(program, 3)
        assert said == (
            f"asynccore run: worker 1 (process {first}) ended by SIGKILL;"
            " starting it again in 0.1 s"
        )
        assert second != first
        assert listening == f"listening on 127.0.0.1:{held_port}"
        program.process.terminate()
        assert program.process.wait(30) == 0


def test_udp(user_environment, tmp_path: Path):
    (tmp_path / "script.py").write_text(UDP)
    address = ("127.0.0.1", free_port(socket.SOCK_DGRAM))
    arguments = ["--workers", "2", str(tmp_path / "script.py"), str(address[1])]
    with started(arguments, user_environment) as program:
        count_lines(program, "bound", 2)
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(30)
            client.sendto(b"hello", address)
            assert client.recv(100) == b"HELLO"


@pytest.mark.parametrize("count", [[], ["--workers", "2"]])
@pytest.mark.parametrize("way", ["LISTEN_FDS", "--fd"])
def test_an_inherited_socket(count, way, user_environment, tmp_path: Path):
    """Nobody could bind this port: it is bound already, without SO_REUSEPORT."""
    script = str(demo.examples() / "echo_server.py")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        fd = listener.fileno()
        run = [sys.executable, "-u", "-m", "asynccore", "run", *count]
        if way == "--fd":
            command = [*run, f"--fd={fd}", script, str(port)]
        else:
            # What a service manager does between fork and exec.
            activate = (
                "import os, sys; fd = int(sys.argv[1]); os.dup2(fd, 3); os.environ.update("
                "LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); os.execv(sys.argv[2], sys.argv[2:])"
            )
            command = [sys.executable, "-c", activate, str(fd), *run, script, str(port)]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=user_environment,
            pass_fds=[fd],
        ) as process:
            program = demo.Program(process)
            try:
                count_lines(program, f"listening on 127.0.0.1:{port}", 2 if count else 1)
                with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
                    client.sendall(b"hello")
                    assert client.recv(5, socket.MSG_WAITALL) == b"hello"
                assert program.line() == "goodbye after 5 bytes"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                program.kill()


def test_without_it_the_port_is_taken(user_environment):
    """The negative control of the test above."""
    script = str(demo.examples() / "echo_server.py")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = [script, str(listener.getsockname()[1])]
        with started(arguments, user_environment) as program:
            assert program.process.wait(30) == 1


def test_a_log_of_workers(held_port, user_environment, tmp_path: Path):
    script = str(demo.examples() / "echo_server.py")
    log = tmp_path / "log"
    arguments = ["--workers", "1", "--log-file", str(log), "--log-format=json", script]
    with started([*arguments, str(held_port)], user_environment) as program:
        program.line()
        (child,) = psutil.Process(program.process.pid).children()
        os.kill(child.pid, signal.SIGKILL)
        program.line()
        (said,) = map(json.loads, log.read_text().splitlines())
        assert said["message"].endswith("ended by SIGKILL; starting it again in 0.1 s")
        assert said["process"] == program.process.pid
        program.process.terminate()
        assert program.process.wait(30) == 0


def test_a_log_that_can_not_be(capsys):
    assert cli.main(["run", "--log-file", "/no/such/folder/log", "script.py"]) == 1
    assert "No such file or directory: '/no/such/folder/log'" in capsys.readouterr().err
