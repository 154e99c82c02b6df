"""`asynccore run --workers N`: several processes that run one program and share its ports.

Facts. A worker that ends at once, again and again, needs a human, not another start. A signal
between fork and exec reaches the child while it still has the parent's handlers. A terminal sends
Ctrl-C to parent and workers alike, and a program interrupted twice can't tidy up.

Who supervises can be killed itself, lose its terminal, and find no room for another process. A
worker that hangs says nothing. Who waits in the queue of a listening socket is lost with it.

Consequence. What to do is decided in `Workers`, which knows neither processes nor time; `supervise`
feeds it with signals, ends of children and the clock, one at a time and in one thread. Workers are
forked with signals blocked, and become `python SCRIPT …`, each with its own process id in the
variables that socket activation needs. Each has the reading end of a pipe whose other end only the
parent has, and ends when the parent has ended, however that came about (`_end_with_parent`).
What can't be said is not said, and what can't be started is tried again. A pair of sockets
(`asynccore.worker`) brings the parent each worker's listening sockets, which it hands down to the
next process in that place, and signs of life.

Trade-off. The parent does nothing else: no logs, no limits, no commands. It kills what has been
silent for too long under `--watchdog`, and what drains for longer than it may; else never what
doesn't heed SIGTERM, as who started it may.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from asynccore import logs
from asynccore.engine import signals
from asynccore.running import service_manager, supervision
from asynccore.worker import ANSWERS, BEGINS, CLOSES, HOPELESS, LISTENS, REPLACED, WORN
from asynccore.worker import VARIABLE as PLACE

# A worker that ends sooner has not come up, in seconds. startsecs of supervisord.
UP = 1.0

# So often in a row may a worker not come up. StartLimitBurst of systemd.
ATTEMPTS = 5

# The wait before the first new start, doubled for each further one, in seconds. RestartSec of
# systemd.
PAUSE = 0.1

# How long workers may take to end by the terminal's own Ctrl-C before it is passed on, in seconds.
INTERRUPT_GRACE = 1.0

# How long a worker may take to end after it should have, in seconds, before SIGKILL. It prints its
# tracebacks meanwhile, or runs what the program has behind its loop.
LAST_WORDS = 5.0

# The exit status if Ctrl-C has ended a worker: what a shell says of a program that it ended.
INTERRUPTED = 128 + signal.SIGINT

_SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has none, nor workers

# What a worker may say at once, in bytes.
_LONGEST = 4096

# What a process ends with that could not become the program; the shell's "command not found".
_NOT_STARTED = 127


class Worker:
    """A place for a process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid: int | None = None
        self.has_begun = False  # a loop has, in some process of this place
        self.started = 0.0
        self.failures = 0  # starts in a row that did not come up
        self.start_at: float | None = None  # when to start it again
        self.successor: int | None = None  # the process that is to replace this one
        self.successor_started = 0.0
        self.successor_has_begun = False

    def may_be_replaced(self) -> bool:
        """Whether the successor runs a loop, if somebody in this place did.

        A new program may look for its database for a while, and then end.
        """
        return self.successor_has_begun or not self.has_begun

    def hand_over(self) -> None:
        """Have the successor be the process of this place."""
        self.pid, self.successor = self.successor, None
        self.started = self.successor_started
        self.has_begun |= self.successor_has_begun


class Processes(Protocol):
    """What the decisions need of the system."""

    def start(self, number: int) -> int:
        """Start a process for the place of that number; return its id. Raises `OSError`."""

    def kill(self, pid: int, signum: int) -> None:
        """Signal a process."""

    def retire(self, pid: int) -> None:
        """Tell a process that another one has taken its place, and end it by SIGTERM."""

    def clock(self) -> float:
        """Return the time in seconds."""

    def say(self, text: str) -> None:
        """Tell the user."""


class Workers:
    """Decides what happens to `count` workers.

    `drain` is how long they may take to end, in seconds, `watchdog` how long they may be silent;
    `None` for ever. After each event, `tick()` does what is due; `wait()` tells when to call it
    again at the latest.
    """

    def __init__(
        self,
        count: int,
        processes: Processes,
        drain: float | None = None,
        watchdog: float | None = None,
    ) -> None:
        self._processes = processes
        self._drain, self._watchdog = drain, watchdog
        self._workers = [Worker(number) for number in range(1, count + 1)]
        self._retiring: set[int] = set()  # replaced, and asked to end
        self._to_replace: deque[Worker] = deque()
        self._replacing: Worker | None = None
        self._stop: int | None = None  # the signal that was passed on
        self._pass_on_at: float | None = None
        self._kill_at: dict[int, float] = {}
        self._told: str | None = None
        self._hopeless: set[int] = set()  # they have said why another start would not help
        self._answered: dict[int, float] = {}  # when who has a loop that runs was last heard of
        self._ticked = processes.clock()
        self.exit_status = 0

    def begin(self) -> None:
        """Start all workers."""
        for worker in self._workers:
            self._launch(worker)

    def pids(self) -> list[int]:
        """Return the ids of all processes that have not ended."""
        found = [pid for w in self._workers for pid in (w.pid, w.successor) if pid is not None]
        return found + list(self._retiring)

    def numbers(self) -> set[int]:
        """Return the numbers of the places that have a process, or are to have one."""
        if self._stop is not None:
            return set()
        return {w.number for w in self._workers if w.pid is not None or w.start_at is not None}

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
        self._pass_on_at = self._processes.clock() + grace

    def replace_all(self) -> None:
        """Replace the workers one by one: the next one begins, then the old one is ended."""
        if self._stop is None:
            self._told = None
            self._to_replace = deque(self._workers)

    def add(self) -> None:
        """Start one worker more."""
        if self._stop is None:
            free = set(range(1, len(self._workers) + 2)) - {w.number for w in self._workers}
            self._workers.append(Worker(min(free)))
            self._launch(self._workers[-1])

    def remove(self) -> None:
        """End the worker that came last, unless there is no other."""
        if self._stop is None and len(self._workers) > 1:
            worker = self._workers.pop()
            if worker in self._to_replace:
                self._to_replace.remove(worker)
            if worker is self._replacing:
                self._replacing = None
            for pid in (worker.pid, worker.successor):
                if pid is not None:
                    self._retire(pid)

    def begun(self, pid: int) -> None:
        """Note that the first loop of a process begins."""
        for worker in self._workers:
            if worker.pid == pid:
                worker.has_begun = True
            elif worker.successor == pid:
                worker.successor_has_begun = True
        if self._stop == signal.SIGINT and self._pass_on_at is None:
            # It lost the interrupt: a weak reference's callback in the import system, say, only
            # prints what is raised in it.
            self._processes.kill(pid, self._stop)

    def serve(self) -> bool:
        """Whether a loop has begun in each place; one that has done its work counts no more."""
        numbers = self.numbers()
        return self._stop is None and all(
            worker.has_begun for worker in self._workers if worker.number in numbers
        )

    def answered(self, pid: int) -> None:
        """Note that a process lives, and its loops run."""
        if self._watchdog is not None and pid in self.pids():
            self._answered[pid] = self._processes.clock()

    def worn(self, pid: int) -> None:
        """Replace the worker of a process, which has accepted as many connections as it may."""
        for worker in self._workers:
            awaited = worker.successor is not None or worker in self._to_replace
            if worker.pid == pid and self._stop is None and not awaited:
                self._say(
                    f"worker {worker.number} (process {pid}) has accepted enough; replacing it"
                )
                self._to_replace.append(worker)

    def hopeless(self, pid: int, why: str) -> None:
        """Note that a process can't do its work, and why; it is about to end."""
        if why != self._told:
            self._told = why  # all of them have the same reason
            self._say(why)
        self._hopeless.add(pid)

    def ended(self, pid: int, status: int) -> None:
        """Note that a process ended with an exit status, or by the signal of that negated number.

        A worker that ends with 0 has done its work; any other is started again.
        """
        self._retiring.discard(pid)
        self._kill_at.pop(pid, None)
        self._answered.pop(pid, None)
        for worker in self._workers:
            if worker.successor == pid:
                worker.successor = None
                self._not_replaced(worker, status)
            elif worker.pid == pid:
                worker.pid = None
                if worker.successor is not None:
                    # It ended by itself while it was replaced: its successor is there already.
                    worker.hand_over()
                    self._replacing = None
                else:
                    self._worker_ended(worker, pid, status)

    def tick(self) -> None:
        """Do what is due."""
        now = self._processes.clock()
        if self._pass_on_at is not None and now >= self._pass_on_at:
            self._pass_on_at = None
            assert self._stop is not None
            for pid in self.pids():
                self._processes.kill(pid, self._stop)
                if self._stop == signal.SIGTERM:
                    self._kill_if_it_stays(pid)
        for worker in self._workers:
            if worker.start_at is not None and now >= worker.start_at:
                worker.start_at = None
                self._launch(worker)
        self._replace(now)
        self._look_for_silence(now)
        for pid in [pid for pid, when in self._kill_at.items() if now >= when]:
            del self._kill_at[pid]
            self._processes.say(f"process {pid} did not end in time; killing it")
            self._processes.kill(pid, _SIGKILL)

    def wait(self) -> float | None:
        """Return the seconds until something is due, `None` if nothing will be."""
        due = [w.start_at for w in self._workers if w.start_at is not None]
        due += self._kill_at.values()
        if self._pass_on_at is not None:
            due.append(self._pass_on_at)
        if self._replacing is not None and self._replacing.may_be_replaced():
            due.append(self._replacing.successor_started + UP)
        if self._watchdog is not None and self._answered:
            due.append(min(self._answered.values()) + self._watchdog)
            due.append(self._ticked + self._watchdog / supervision.ANSWERS)
        return max(0.0, min(due) - self._processes.clock()) if due else None

    def _launch(self, worker: Worker) -> None:
        try:
            worker.pid = self._processes.start(worker.number)
        except OSError as why:  # EAGAIN: too many processes; ENOMEM
            self._say(f"can't start worker {worker.number}: {why}; trying again in {UP:g} s")
            worker.start_at = self._processes.clock() + UP
        else:
            worker.started = self._processes.clock()

    def _worker_ended(self, worker: Worker, pid: int, status: int) -> None:
        who = f"worker {worker.number} (process {pid}) ended {in_words(status)}"
        if self._stop is not None:
            if status == -signal.SIGINT == -self._stop and self.exit_status == 0:
                self.exit_status = INTERRUPTED
            if status not in (0, -self._stop, 128 + self._stop):
                if pid not in self._hopeless:
                    self._say(who)
                self.exit_status = 1
            return
        if status == 0:
            return
        if pid in self._hopeless:
            self.exit_status = 1
            self.stop(signal.SIGTERM)
            return
        came_up = self._processes.clock() - worker.started >= UP
        worker.failures = 0 if came_up else worker.failures + 1
        if worker.failures >= ATTEMPTS:
            self._say(f"{who}, {ATTEMPTS} times in a row within {UP:g} s of its start; giving up")
            self.exit_status = 1
            self.stop(signal.SIGTERM)
            return
        pause = PAUSE * 2 ** max(0, worker.failures - 1)
        self._say(f"{who}; starting it again in {pause:g} s")
        worker.start_at = self._processes.clock() + pause

    def _not_replaced(self, worker: Worker, status: int) -> None:
        """A successor ended: if it never came up, the present workers stay."""
        if self._stop is None and self._replacing is worker:
            self._say(
                f"the new worker {worker.number} ended {in_words(status)} before it could take"
                " over; the old ones stay"
            )
            self._to_replace.clear()
            self._replacing = None

    def _replace(self, now: float) -> None:
        worker = self._replacing
        up = worker is not None and now - worker.successor_started >= UP
        if worker is not None and up and worker.may_be_replaced():
            old, worker.failures = worker.pid, 0
            worker.hand_over()
            self._replacing = None
            if old is not None:
                self._retire(old)
        # One at a time: the next begins when the one before is up. The old ones end meanwhile.
        while self._to_replace and self._replacing is None:
            candidate = self._to_replace.popleft()
            if candidate.pid is not None:
                try:
                    candidate.successor = self._processes.start(candidate.number)
                except OSError as why:
                    self._say(f"can't replace worker {candidate.number}: {why}; the old ones stay")
                    self._to_replace.clear()
                else:
                    self._replacing = candidate
                    candidate.successor_started = now
                    candidate.successor_has_begun = False

    def _retire(self, pid: int) -> None:
        self._retiring.add(pid)
        self._processes.retire(pid)
        self._kill_if_it_stays(pid)

    def _kill_if_it_stays(self, pid: int) -> None:
        if self._drain is not None:
            self._kill_at[pid] = self._processes.clock() + self._drain + LAST_WORDS

    def _look_for_silence(self, now: float) -> None:
        """Replace who has not answered for too long. SIGABRT has it say where it is, and end."""
        if self._watchdog is None:
            return
        if now - self._ticked > self._watchdog / 2:
            # It was this process that stood still, and perhaps all of them did.
            self._answered = dict.fromkeys(self._answered, now)
        self._ticked = now
        for pid in [p for p, when in self._answered.items() if now - when >= self._watchdog]:
            del self._answered[pid]
            self._say(f"process {pid} has not answered for {self._watchdog:g} s; replacing it")
            self._processes.kill(pid, signal.SIGABRT)
            self._kill_at[pid] = now + LAST_WORDS

    def _say(self, text: str) -> None:
        self._processes.say(text)


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
    _COUNTS = (signal.SIGTTIN, signal.SIGTTOU)
    _HANDLED = (*_PASSED_ON, signal.SIGHUP, signal.SIGCHLD)

    class Environment(Protocol):
        """Makes the environment of a process."""

        def __call__(self, pid: int) -> Mapping[str, str]:
            """Return the environment of the process with that id."""

    def supervise(
        command: list[str],
        environment: Environment,
        count: int,
        drain: float | None = None,
        watchdog: float | None = None,
    ) -> int:
        """Run `count` processes of a command until all have ended; return the exit status.

        SIGTERM and SIGINT are passed on; SIGHUP replaces the workers one by one; SIGTTIN starts one
        more, SIGTTOU ends one. `drain` and `watchdog` are those of `Workers`. The status is 0 if
        each worker ended with 0 or by the signal that was passed on, and 1 otherwise. If SIGINT has
        ended a worker, this process ends by SIGINT, too, instead of with 0.
        """
        had_terminal = signals.has_terminal()
        # In the background of a terminal these two say something else (termios(3)).
        counts = () if had_terminal and not _in_foreground() else _COUNTS
        with _signals(counts) as (reader, handled):
            children = Children(command, environment, handled)
            workers = Workers(count, children, drain, watchdog)
            notifier = service_manager.Notifier(os.environ)
            workers.begin()
            told = False
            while not workers.over():
                workers.tick()
                if not told and workers.serve():
                    notifier.begin()
                    told = True
                children.drop_listeners(workers.numbers())
                for signum in children.wait(reader, workers):
                    if signum in _PASSED_ON:
                        notifier.say(service_manager.STOPPING)
                        at_keyboard = signum == signal.SIGINT and _in_foreground()
                        workers.stop(signum, INTERRUPT_GRACE if at_keyboard else 0.0)
                    elif signum == signal.SIGHUP and had_terminal and not signals.has_terminal():
                        workers.stop(signum)  # The terminal was closed.
                    elif signum == signal.SIGHUP:
                        workers.replace_all()
                    elif signum == signal.SIGTTIN:
                        workers.add()
                    elif signum == signal.SIGTTOU:
                        workers.remove()
                for pid, status in _ended(workers.pids()):
                    children.forget(pid)
                    workers.ended(pid, status)
            children.drop_listeners(set())
        if workers.exit_status == INTERRUPTED:
            # A shell that runs a script stops at Ctrl-C only if the signal ended the command
            # (bash(1), "Signals"), and to systemd that is a clean end.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        return workers.exit_status

    class _Child:
        def __init__(self, number: int, lifeline: int, pair: socket.socket) -> None:
            self.number = number
            self.lifeline = lifeline
            self.pair = pair

    class Children:
        """The processes of a command, and what each has listened on: `Processes`."""

        def __init__(
            self, command: list[str], environment: Environment, handled: Sequence[signal.Signals]
        ) -> None:
            self._command, self._environment, self._handled = command, environment, handled
            self._children: dict[int, _Child] = {}
            # Of each place, by what is told apart by: a socket has one number in all processes.
            self._listeners: dict[int, dict[int, int]] = {}
            self.clock = time.monotonic

        def start(self, number: int) -> int:
            """Start a process for a place, with the sockets of the one before. Raises `OSError`."""
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            theirs, lifeline = os.pipe()  # the other workers don't inherit ours
            try:
                pair, their_pair = socket.socketpair(type=socket.SOCK_DGRAM)
            except OSError:  # EMFILE, and it is tried again and again
                os.close(theirs)
                os.close(lifeline)
                raise
            pair.setblocking(False)
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._handled)
            try:
                pid = os.fork()
                if pid == 0:
                    os.close(lifeline)
                    self._become_worker(number, their_pair.fileno(), mask, theirs)
            except OSError:
                os.close(lifeline)
                pair.close()
                raise
            finally:
                os.close(theirs)
                their_pair.close()
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._children[pid] = _Child(number, lifeline, pair)
            return pid

        def _become_worker(
            self, number: int, pair: int, mask: set[int] | set[signal.Signals], lifeline: int
        ) -> None:  # pragma: no cover - in a child that becomes another program
            try:
                for signum in self._handled:
                    signal.signal(signum, signal.SIG_DFL)
                handed_down = list(self._listeners.get(number, {}).values())
                for fd in (pair, *handed_down):
                    os.set_inheritable(fd, True)
                place = f"{os.getpid()}:{number}:{pair}:{','.join(map(str, handed_down))}"
                env = {**self._environment(os.getpid()), **_end_with_parent(lifeline)}
                env[PLACE] = place
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                os.execve(self._command[0], self._command, env)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(_NOT_STARTED)

        def kill(self, pid: int, signum: int) -> None:
            """Signal a process."""
            # It was not reaped yet, so the number can't be somebody else's.
            try:
                os.kill(pid, signum)
            except PermissionError as why:
                self.say(f"can't signal process {pid}: {why}")  # it has become another user

        def retire(self, pid: int) -> None:
            """Tell a process that another one has taken its place, and end it."""
            with suppress(OSError):
                self._children[pid].pair.send(REPLACED)
            self.kill(pid, signal.SIGTERM)

        def say(self, text: str) -> None:
            """Print a line on the standard error."""
            logs.emit("info", text)
            if logs.printing:
                logs.put(f"asynccore run: {text}", sys.stderr)

        def wait(self, reader: int, workers: Workers) -> bytes:
            """Wait for signals, and for what workers say; return the numbers of the signals."""
            files: list[int | socket.socket] = [reader]
            files += [child.pair for child in self._children.values()]
            ready, _, _ = select.select(files, [], [], workers.wait())
            signums = os.read(reader, 4096) if reader in ready else b""
            # What was said before a signal came is to be known when that is heeded.
            for pid in self._children:
                self._listen_to(pid, workers)
            return signums

        def _listen_to(self, pid: int, workers: Workers) -> None:
            child = self._children[pid]
            kept = self._listeners.setdefault(child.number, {})
            while True:
                try:
                    said, fds, _, _ = socket.recv_fds(child.pair, _LONGEST, 1)
                except OSError:
                    return  # that was all
                what = said[:1]
                if what == BEGINS:
                    workers.begun(pid)
                elif what == ANSWERS:
                    workers.answered(pid)
                elif what == WORN:
                    workers.worn(pid)
                elif what == HOPELESS:
                    workers.hopeless(pid, said[1:].decode("utf-8", "replace"))
                for fd in fds:
                    number = os.fstat(fd).st_ino
                    if what == LISTENS and number not in kept:
                        kept[number] = fd
                        continue
                    os.close(fd)
                    if what == CLOSES and number in kept:
                        os.close(kept.pop(number))

        def forget(self, pid: int) -> None:
            """A process has ended."""
            child = self._children.pop(pid, None)
            if child is not None:
                os.close(child.lifeline)
                child.pair.close()

        def drop_listeners(self, numbers: Collection[int]) -> None:
            """Close what was listened on in all places but these: nobody accepts there any more."""
            for number in set(self._listeners).difference(numbers):
                for fd in self._listeners.pop(number).values():
                    os.close(fd)

    @contextmanager
    def _signals(more: Sequence[signal.Signals]) -> Iterator[tuple[int, list[signal.Signals]]]:
        """Give a descriptor that tells the numbers of signals, and which these are.

        What was ignored (by nohup, or a shell's `&`) stays so.
        """
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        handled = [s for s in (*_HANDLED, *more) if signal.getsignal(s) is not signal.SIG_IGN]
        if signal.SIGCHLD not in handled:
            handled.append(signal.SIGCHLD)  # Ignoring it would lose the exit status.
        before = {s: signal.signal(s, lambda *_: None) for s in handled}
        earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        try:
            yield reader, handled
        finally:
            signal.set_wakeup_fd(earlier)
            for signum, handler in before.items():
                signal.signal(signum, handler)
            os.close(reader)
            os.close(writer)

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
