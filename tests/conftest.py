"""What every test gets: a look at what it left behind, and a few ready-made parts.

*Facts.* A socket, thread or child that outlives its test is found much later, in another test,
as an unexplained failure; and the interpreter closes forgotten sockets silently enough that a
leak in the package itself would pass.
*Consequence.* Around each test the descriptors, threads, children, the global map and the
exceptions that nobody could raise are compared.
*Trade-off.* The cheap look comes first, and the garbage collector runs only when it shows a
difference: what needs a collection to go away is held by a reference cycle, which the classic
modules have as well (a dispatcher knows its map, and its map knows the dispatcher).
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, NamedTuple

import pytest

# pytest, xdist and coverage keep threads of their own; only what appears during a test counts.
# A thread that was told to end may need a moment for it: the wait has an upper bound, and a
# test that leaves nothing behind does not wait at all.
_THREAD_GRACE_SECONDS = 5.0


def pytest_configure() -> None:
    # A shell starts background jobs with SIGINT ignored, and children inherit that: programs
    # that the tests interrupt would not notice. A handler, unlike SIG_IGN, ends at exec.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # nohup does the same to SIGHUP, and workers that are to be replaced would wait for ever.
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _take(nothing: None) -> None:
    pass


def pytest_collection_finish() -> None:
    # All that was imported stays. Else each collection, of which many tests make some, would look
    # through it again: about as long as twenty tests take.
    hypothesis = sys.modules.get("hypothesis")
    if hypothesis is not None:
        # At its first test it asks who refers to its source of random numbers, and does not see
        # what is frozen.
        hypothesis.given(hypothesis.strategies.none())(_take)()
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many faults `tests/faults` tried and survived; here, for xdist loads only this."""
    tried = survived = 0
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                for name, value in report.user_properties:
                    if name == "faults":
                        tried += value[0]
                        survived += value[1]
    if tried:
        terminalreporter.write_line(f"faults: {tried:,} tried, {survived:,} survived")


# Descriptors -------------------------------------------------------------------------------


def _descriptor_folder() -> str | None:
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            return folder
    return None


_DESCRIPTORS = _descriptor_folder()


def open_descriptors() -> dict[int, str]:
    """Return what is open: descriptor to a name, which for a socket or a pipe is its own.

    Empty where the platform has no folder of descriptors (Windows).
    """
    if _DESCRIPTORS is None:
        return {}
    found: dict[int, str] = {}
    for entry in os.listdir(_DESCRIPTORS):
        fd = int(entry)
        try:
            name = os.readlink(f"{_DESCRIPTORS}/{entry}")
            # libffi keeps its own file open from the first import of ctypes on.
            if "/libffi." not in name:
                found[fd] = name
        except OSError:
            # Either the descriptor of the listing itself, or /dev/fd without links (BSD).
            with contextlib.suppress(OSError):
                status = os.fstat(fd)
                found[fd] = f"{status.st_mode:o}:{status.st_dev}:{status.st_ino}"
    return found


# Children ----------------------------------------------------------------------------------


def _has_children() -> bool:
    """Whether a child of this process runs or waits to be reaped; reaps nothing."""
    if not hasattr(os, "waitid"):
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


# The package's own state -------------------------------------------------------------------


def _socket_maps() -> dict[str, MutableMapping[int, Any]]:
    """The global maps of whichever implementations are loaded, by module name."""
    maps: dict[str, MutableMapping[int, Any]] = {}
    for name in ("asynccore", "asyncore"):
        module = sys.modules.get(name)
        found = getattr(module, "socket_map", None)
        if found is not None and not any(found is other for other in maps.values()):
            maps[name] = found
    return maps


class _Snapshot(NamedTuple):
    descriptors: dict[int, str]
    threads: frozenset[threading.Thread]
    children: bool
    channels: dict[str, dict[int, str]]

    @classmethod
    def take(cls) -> _Snapshot:
        return cls(
            open_descriptors(),
            frozenset(threading.enumerate()),
            _has_children(),
            {
                name: {fd: type(channel).__name__ for fd, channel in list(channels.items())}
                for name, channels in _socket_maps().items()
            },
        )

    def left_by(self, later: _Snapshot) -> list[str]:
        """Name what `later` holds and this one does not."""
        # By what they lead to: one that has only moved to another number is no leak.
        more = Counter(later.descriptors.values()) - Counter(self.descriptors.values())
        left = [
            f"descriptor {fd} ({what})"
            for fd, what in later.descriptors.items()
            if what in more and self.descriptors.get(fd) != what
        ]
        left += [f"thread {thread.name}" for thread in later.threads - self.threads]
        if later.children and not self.children:
            left.append("a child process")
        for name, channels in later.channels.items():
            before = self.channels.get(name, {})
            left += [
                f"{name}.socket_map[{fd}] ({what})"
                for fd, what in channels.items()
                if before.get(fd) != what
            ]
        return left


class _Unraisable:
    """Collects what the interpreter could only report: exceptions in destructors.

    ResourceWarning ("unclosed socket") is among them as soon as warnings are errors.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __enter__(self) -> _Unraisable:
        self._hook = sys.unraisablehook
        sys.unraisablehook = self._note
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.unraisablehook = self._hook

    def _note(self, unraisable: sys.UnraisableHookArgs) -> None:
        # Only text is kept: keeping the object would resurrect it.
        self.seen.append(f"{unraisable.exc_value!r} in {unraisable.object!r:.200}")


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Fail a test that leaves descriptors, threads, children or channels behind."""
    before = _Snapshot.take()
    with _Unraisable() as unraisable:
        yield
        left = before.left_by(_Snapshot.take())
        if left:
            gc.collect()
            for thread in threading.enumerate():
                if thread not in before.threads and thread is not threading.current_thread():
                    thread.join(_THREAD_GRACE_SECONDS)
            left = before.left_by(_Snapshot.take())
    # One test's leak must not be found again in each test after it.
    if any(".socket_map[" in what for what in left):
        for name, channels in _socket_maps().items():
            for fd in set(channels) - set(before.channels.get(name, {})):
                del channels[fd]
    problems = [f"left open: {what}" for what in left]
    problems += [f"unraisable: {what}" for what in unraisable.seen]
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.fixture(autouse=True)
def no_coverage_in_children(request: pytest.FixtureRequest) -> Iterator[None]:
    """Children are not measured, but for those of tests/hosts.

    The others run what is also tested in one process. There are hundreds, each of which would start
    several times slower. Some become another program, some are killed, and a signal that arrives
    while coverage reads a file would leave that open.
    """
    held: dict[str, str] = {}
    if request.path.parent.name != "hosts":
        for name in list(os.environ):
            if name.startswith("COVERAGE_PROCESS_"):
                held[name] = os.environ.pop(name)
    yield
    os.environ.update(held)


# Pollers -----------------------------------------------------------------------------------


def available_pollers() -> tuple[str, ...]:
    """Return the names of the pollers of this platform, the best first.

    Where `ASYNCCORE_ENGINE` names a host, return that alone: see tests/hosts/everywhere.py.
    """
    from asynccore import pollers

    engine = os.environ.get(pollers.ENGINE_VARIABLE)
    if engine and engine not in pollers.available():
        return (engine,)
    return tuple(pollers.available())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # Asked for at collection, not when this file is imported: coverage has started by then.
    if "poller_name" in metafunc.fixturenames:
        metafunc.parametrize("poller_name", available_pollers(), indirect=True)


@pytest.fixture
def poller_name(request: pytest.FixtureRequest) -> str:
    """Each poller of this platform in turn, by its name in `loop(poller=...)`."""
    name: str = request.param
    return name


# Parts -------------------------------------------------------------------------------------


@pytest.fixture
def new_map() -> Iterator[dict[int, Any]]:
    """An empty map of the test's own; what is left in it is closed afterwards."""
    import asynccore

    channels: dict[int, Any] = {}
    yield channels
    asynccore.close_all(channels, ignore_all=True)


def connected_pair(family: int = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
    """Return two ends of one TCP connection over the loopback, both blocking.

    Unlike `socket.socketpair` these have peer names, urgent data, RST and a listening side.
    """
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((host, 0))
        listener.listen(1)
        client = socket.create_connection(listener.getsockname()[:2], timeout=30)
        try:
            server, _ = listener.accept()
        except BaseException:
            client.close()
            raise
    client.settimeout(None)
    server.settimeout(None)
    return client, server


@pytest.fixture
def tcp_pair() -> Iterator[Callable[..., tuple[socket.socket, socket.socket]]]:
    """A function that makes connected TCP pairs; they are closed after the test."""
    made: list[socket.socket] = []

    def pair(family: int = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
        ends = connected_pair(family)
        made.extend(ends)
        return ends

    yield pair
    for end in made:
        end.close()
