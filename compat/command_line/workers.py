"""`asynccore run --workers N`: several processes that run one program and share its ports.

Facts. A worker that ends at once, again and again, needs a human, not another start. A signal
between fork and exec reaches the child while it still has the parent's handlers. A terminal sends
Ctrl-C to parent and workers alike, and a program interrupted twice can't tidy up.

Who supervises can be killed itself, lose its terminal, and find no room for another process.

Consequence. What to do is decided in `Workers`, which knows neither processes nor time; `supervise`
feeds it with signals, ends of children and the clock, one at a time and in one thread. Workers are
forked with signals blocked, and become `python SCRIPT …`, each with its own process id in the
variables that socket activation needs. Each has the reading end of a pipe whose other end only the
parent has, and ends when the parent has ended, however that came about (`_end_with_parent`).
What can't be said is not said, and what can't be started is tried again.

Trade-off. The parent does nothing else: no logs, no limits, no commands. It never kills what
doesn't heed SIGTERM; who started it may.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from asynccore import logs
from asynccore.engine import signals
from asynccore.running import supervision

# A worker that ends sooner has not come up, in seconds. startsecs of supervisord.
UP = 1.0

# So often in a row may a worker not come up. StartLimitBurst of systemd.
ATTEMPTS = 5

# The wait before the first new start, doubled for each further one, in seconds. RestartSec of
# systemd.
PAUSE = 0.1

# How long workers may take to end by the terminal's own Ctrl-C before it is passed on, in seconds.
INTERRUPT_GRACE = 1.0

# What a process ends with that could not become the program; the shell's "command not found".
_NOT_STARTED = 127


class Worker:
    """One of the N places for a process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid: int | None = None
        self.started = 0.0
        self.failures = 0  # starts in a row that did not come up
        self.start_at: float | None = None  # when to start it again
        self.successor: int | None = None  # the process that is to replace this one
        self.successor_started = 0.0


class Workers:
    """Decides what happens to `count` workers.

    `start()` returns the process id of a new one, `kill(pid, signal)` signals one, `clock()` is
    the time in seconds, and `say(text)` tells the user. After each event, `tick()` does what is
    due; `wait()` tells when to call it again at the latest.
    """

    def __init__(
        self,
        count: int,
        start: Callable[[], int],
        kill: Callable[[int, int], object],
        clock: Callable[[], float],
        say: Callable[[str], object],
    ) -> None:
        self._start, self._kill, self._clock, self._say = start, kill, clock, say
        self._workers = [Worker(number) for number in range(1, count + 1)]
        self._retiring: set[int] = set()  # replaced, and asked to end
        self._to_replace: deque[Worker] = deque()
        self._replacing: Worker | None = None
        self._stop: int | None = None  # the signal that was passed on
        self._pass_on_at: float | None = None
        self.exit_status = 0

    def begin(self) -> None:
        """Start all workers."""
        for worker in self._workers:
            self._launch(worker)

    def pids(self) -> list[int]:
        """Return the ids of all processes that have not ended."""
        found = [pid for w in self._workers for pid in (w.pid, w.successor) if pid is not None]
        return found + list(self._retiring)

    def over(self) -> bool:
        """Whether no process is left and none is to be started."""
        return not self.pids() and all(worker.start_at is None for worker in self._workers)

    def stop(self, signum: int, grace: float = 0.0) -> None:
        """Pass a signal on to all workers, after `grace` seconds, and start no more."""
        self._stop = signum
        self._replacing = None
        self._to_replace.clear()
        for worker in self._workers:
            worker.start_at = None
        self._pass_on_at = self._clock() + grace

    def replace_all(self) -> None:
        """Replace the workers one by one: the next one begins, then the old one is ended."""
        if self._stop is None:
            self._to_replace = deque(w for w in self._workers if w is not self._replacing)

    def ended(self, pid: int, status: int) -> None:
        """Note that a process ended with an exit status, or by the signal of that negated number.

        A worker that ends with 0 has done its work; any other is started again.
        """
        self._retiring.discard(pid)
        for worker in self._workers:
            if worker.successor == pid:
                worker.successor = None
                self._not_replaced(worker, status)
            elif worker.pid == pid:
                worker.pid = None
                if worker.successor is not None:
                    # It ended by itself while it was replaced: its successor is there already.
                    worker.pid, worker.successor = worker.successor, None
                    worker.started = worker.successor_started
                    self._replacing = None
                else:
                    self._worker_ended(worker, pid, status)

    def tick(self) -> None:
        """Do what is due."""
        now = self._clock()
        if self._pass_on_at is not None and now >= self._pass_on_at:
            self._pass_on_at = None
            assert self._stop is not None
            for pid in self.pids():
                self._kill(pid, self._stop)
        for worker in self._workers:
            if worker.start_at is not None and now >= worker.start_at:
                worker.start_at = None
                self._launch(worker)
        self._replace(now)

    def wait(self) -> float | None:
        """Return the seconds until something is due, `None` if nothing will be."""
        due = [w.start_at for w in self._workers if w.start_at is not None]
        if self._pass_on_at is not None:
            due.append(self._pass_on_at)
        if self._replacing is not None:
            due.append(self._replacing.successor_started + UP)
        return max(0.0, min(due) - self._clock()) if due else None

    def _launch(self, worker: Worker) -> None:
        try:
            worker.pid = self._start()
        except OSError as why:  # EAGAIN: too many processes; ENOMEM
            self._say(f"can't start worker {worker.number}: {why}; trying again in {UP:g} s")
            worker.start_at = self._clock() + UP
        else:
            worker.started = self._clock()

    def _worker_ended(self, worker: Worker, pid: int, status: int) -> None:
        who = f"worker {worker.number} (process {pid}) ended {in_words(status)}"
        if self._stop is not None:
            if status not in (0, -self._stop, 128 + self._stop):
                self._say(who)
                self.exit_status = 1
            return
        if status == 0:
            return
        came_up = self._clock() - worker.started >= UP
        worker.failures = 0 if came_up else worker.failures + 1
        if worker.failures >= ATTEMPTS:
            self._say(f"{who}, {ATTEMPTS} times in a row within {UP:g} s of its start; giving up")
            self.exit_status = 1
            self.stop(signal.SIGTERM)
            return
        pause = PAUSE * 2 ** max(0, worker.failures - 1)
        self._say(f"{who}; starting it again in {pause:g} s")
        worker.start_at = self._clock() + pause

    def _not_replaced(self, worker: Worker, status: int) -> None:
        """A successor ended: if it never came up, the present workers stay."""
        if self._stop is None and self._replacing is worker:
            self._say(
                f"the new worker {worker.number} ended {in_words(status)} within {UP:g} s of its"
                " start; the old ones stay"
            )
            self._to_replace.clear()
            self._replacing = None

    def _replace(self, now: float) -> None:
        worker = self._replacing
        if worker is not None and now - worker.successor_started >= UP:
            old, worker.pid, worker.successor = worker.pid, worker.successor, None
            worker.started, worker.failures = worker.successor_started, 0
            self._replacing = worker = None
            if old is not None:
                self._retiring.add(old)
                self._kill(old, signal.SIGTERM)
        # They are replaced one at a time: the next begins when the one before has ended.
        while self._to_replace and worker is None and not self._retiring:
            candidate = self._to_replace.popleft()
            if candidate.pid is not None:
                try:
                    candidate.successor = self._start()
                except OSError as why:
                    self._say(f"can't replace worker {candidate.number}: {why}; the old ones stay")
                    self._to_replace.clear()
                else:
                    self._replacing = worker = candidate
                    candidate.successor_started = now


def in_words(status: int) -> str:
    """Say how a process ended: an exit status, or the negated number of a signal."""
    if status >= 0:
        return f"with exit status {status}"
    try:
        return f"by {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"


if sys.platform != "win32":
    import fcntl

    _PASSED_ON = (signal.SIGTERM, signal.SIGINT)
    _HANDLED = (*_PASSED_ON, signal.SIGHUP, signal.SIGCHLD)

    def supervise(
        command: list[str], environment: Callable[[int], Mapping[str, str]], count: int
    ) -> int:
        """Run `count` processes of a command until all have ended; return the exit status.

        `environment(pid)` is the environment of the process with that id. SIGTERM and SIGINT are
        passed on; SIGHUP replaces the workers one by one. The status is 0 if each worker ended
        with 0 or by the signal that was passed on, and 1 otherwise.
        """
        with _signals() as (heard, handled):
            had_terminal = signals.has_terminal()
            lifelines: dict[int, int] = {}

            def start() -> int:
                return _fork(command, environment, handled, lifelines)

            workers = Workers(count, start, _kill, time.monotonic, _say)
            workers.begin()
            while not workers.over():
                workers.tick()
                for signum in heard(workers.wait()):
                    if signum in _PASSED_ON:
                        at_keyboard = signum == signal.SIGINT and _in_foreground()
                        workers.stop(signum, INTERRUPT_GRACE if at_keyboard else 0.0)
                    elif signum == signal.SIGHUP and had_terminal and not signals.has_terminal():
                        workers.stop(signum)  # The terminal was closed.
                    elif signum == signal.SIGHUP:
                        workers.replace_all()
                for pid, status in _ended(workers.pids()):
                    if pid in lifelines:
                        os.close(lifelines.pop(pid))
                    workers.ended(pid, status)
            return workers.exit_status

    @contextmanager
    def _signals() -> Iterator[tuple[Callable[[float | None], bytes], list[signal.Signals]]]:
        """Give a function that waits and returns the numbers of signals, and which these are.

        What was ignored (by nohup, or a shell's `&`) stays so.
        """
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        handled = [s for s in _HANDLED if signal.getsignal(s) is not signal.SIG_IGN]
        if signal.SIGCHLD not in handled:
            handled.append(signal.SIGCHLD)  # Ignoring it would lose the exit status.
        before = {s: signal.signal(s, lambda *_: None) for s in handled}
        earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def heard(timeout: float | None) -> bytes:
            ready, _, _ = select.select([reader], [], [], timeout)
            return os.read(reader, 4096) if ready else b""

        try:
            yield heard, handled
        finally:
            signal.set_wakeup_fd(earlier)
            for signum, handler in before.items():
                signal.signal(signum, handler)
            os.close(reader)
            os.close(writer)

    def _fork(
        command: list[str],
        environment: Callable[[int], Mapping[str, str]],
        handled: Sequence[signal.Signals],
        lifelines: dict[int, int],
    ) -> int:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        theirs, ours = os.pipe()  # the other workers don't inherit ours
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, handled)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(ours)
                _become_worker(command, environment, handled, mask, theirs)
            lifelines[pid] = ours
            return pid
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _become_worker(
        command: list[str],
        environment: Callable[[int], Mapping[str, str]],
        handled: Sequence[signal.Signals],
        mask: set[int] | set[signal.Signals],
        lifeline: int,
    ) -> None:  # pragma: no cover - in a child that becomes another program
        try:
            for signum in handled:
                signal.signal(signum, signal.SIG_DFL)
            env = {**environment(os.getpid()), **_end_with_parent(lifeline)}
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.execve(command[0], command, env)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(_NOT_STARTED)

    def _end_with_parent(lifeline: int) -> dict[str, str]:
        """Have this process get SIGTERM when the other end of a pipe is closed.

        Where the kernel doesn't do that by itself, the environment that is returned has the loop of
        the program look. PR_SET_PDEATHSIG of Linux is no use here: it ends where a program becomes
        another user (prctl(2)), which servers do.
        """
        os.set_inheritable(lifeline, True)
        if sys.platform != "linux":
            return {supervision.VARIABLE: f"{os.getpid()}:{lifeline}"}
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGTERM)
        flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
        if select.select([lifeline], [], [], 0)[0]:
            os._exit(_NOT_STARTED)  # the parent has ended meanwhile
        return {}

    def _kill(pid: int, signum: int) -> None:
        # It was not reaped yet, so the number can't be somebody else's.
        try:
            os.kill(pid, signum)
        except PermissionError as why:
            _say(f"can't signal process {pid}: {why}")  # it has become another user

    def _ended(pids: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Reap what has ended; give process ids and exit statuses.

        Also what is nobody's: process 1 of a container inherits the orphans. What was reaped by
        others has a status that nobody knows.
        """
        left = set(pids)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                yield from ((pid, _NOT_STARTED) for pid in left)
                return
            if not pid:
                return
            left.discard(pid)
            yield pid, os.waitstatus_to_exitcode(status)

    def _say(text: str) -> None:
        logs.put(f"asynccore run: {text}", sys.stderr)

    def _in_foreground() -> bool:
        """Whether the terminal's Ctrl-C reaches this process, and so its workers."""
        try:
            tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            return False
        try:
            return os.tcgetpgrp(tty) == os.getpgrp()
        finally:
            os.close(tty)
