"""What `asynccore top` asks: a Unix socket that tells the owner what the channels do.

Facts. A loop that a handler holds can't answer, and that is when one wants to look. What is in a
map keeps its loop alive and is counted by programs (`len(socket_map)`). A Unix socket is protected
by its folder everywhere, by its own mode on most systems (unix(7)).

Consequence. A thread of its own serves one request at a time with blocking calls. It has the
snapshot made on the loop's thread, waits for it only so long, and else tells where that thread
is. The socket is made in a folder that nobody else can enter, with mode 0600, and the kernel is
asked who connected.

A request is a line, the answer is a line of JSON:

    statistics -> {"pid": 1, "program": [...], "maps": [SNAPSHOT or {"stuck": [FRAME, ...]}, ...]}
    numbers -> the same, for machines: only one batch of events after each `lag` is measured
    lag -> {"pid": 1, "lags": [SECONDS until a loop answered, or null, ...]}
    who -> {"pid": 1, "parent": 1, "worker": NUMBER or null, "program": [...]}
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import signal
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import logs, worker
from ..classic.namespace import default_map, package
from ..engine.engine import Engine, engines, starting
from . import address, details
from .address import USUAL, VARIABLE, check_private, usual_folder, usual_path

# How long a loop may take for the snapshot, in seconds, until it counts as stuck.
PATIENCE = 1.0

# How long somebody may take to send a request, and to take the answer, in seconds.
_REQUEST_TIME = 5.0

_AF_UNIX = getattr(socket, "AF_UNIX", -1)  # nothing gets so far on Windows, where it is missing

# How long the thread pauses when descriptors run out, in seconds.
_REST = 0.1

# A request is one word.
_LONGEST_REQUEST = 64

# How many frames of a stuck thread are told.
_FRAMES = 8


class Server:
    """Serves snapshots at a Unix socket until `close`. Raises `OSError` if it can't be opened."""

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self.path = path
        self._patience = patience
        self._pid = os.getpid()
        self._listener = _listen(path)
        self._thread = threading.Thread(target=self._serve, name="asynccore top", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Remove the socket and end the thread. In a forked child the parent's go on."""
        try:
            if self._pid == os.getpid():
                with contextlib.suppress(OSError):
                    self.path.unlink()
                with contextlib.suppress(OSError):
                    self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
                self._thread.join(_REQUEST_TIME)
        finally:
            self._listener.close()

    def _serve(self) -> None:
        if sys.platform != "win32":
            # A signal is to end the wait of the loop, not this one.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError as why:
                if why.errno in (errno.EINVAL, errno.EBADF, errno.ENOTSOCK):
                    return  # closed
                time.sleep(_REST)  # EMFILE: who connected waits still, and accept would spin
                continue
            with conn, contextlib.suppress(OSError):
                conn.settimeout(_REQUEST_TIME)
                if _is_owner(conn):
                    self._answer(conn)

    def _answer(self, conn: socket.socket) -> None:
        with conn.makefile("rb") as lines:
            request = lines.readline(_LONGEST_REQUEST).strip()
        if request == b"statistics":
            answer: dict[str, Any] = look(self._patience)
        elif request == b"numbers":
            answer = look(self._patience, measured=False)
        elif request == b"lag":
            answer = {"pid": os.getpid(), "lags": lags(self._patience)}
        elif request == b"who":
            answer = who()
        else:
            answer = {"error": f"unknown request {request.decode('ascii', 'replace')!r}"}
        conn.sendall(json.dumps(answer, default=repr).encode() + b"\n")


def look(patience: float = PATIENCE, measured: bool = True) -> dict[str, Any]:
    """Return what all loops of this process do; one that doesn't answer in time is stuck.

    `patience` is in seconds. Handlers are `measured` from the first look on, or only now and then.
    Not to be called on a loop's thread.
    """
    asked = [(engine, _ask(engine, measured)) for engine in _watched_engines()]
    maps = [reply(engine, patience) for engine, reply in asked]
    return {**who(), "maps": maps, **details.of_process()}


def lags(patience: float = PATIENCE) -> list[float | None]:
    """Return how long each loop takes to answer, in seconds; `None` for one that takes too long."""
    asked: list[tuple[float, list[float], threading.Event]] = []
    for engine in engines():
        if engine.loops:
            answered: list[float] = []
            done = threading.Event()
            asked.append((time.monotonic(), answered, done))
            engine.call_soon_threadsafe(_note, answered, done, engine)
    found: list[float | None] = []
    for began, answered, done in asked:
        found.append(answered[0] - began if done.wait(patience) else None)
    return found


def _note(answered: list[float], done: threading.Event, engine: Engine) -> None:
    answered.append(time.monotonic())
    done.set()
    if engine.meter is None:
        engine.meter = details.sampled(engine)
        engine.calls.append((_stop_sampling, (engine,)))  # once the next batch was handled


def _stop_sampling(engine: Engine) -> None:
    if engine.meter is details.sampled(engine):
        engine.meter = None


def who() -> dict[str, Any]:
    """Return which process this is."""
    place = worker.present
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "worker": None if place is None else place.number,
        "program": sys.orig_argv,
    }


def _watched_engines() -> list[Engine]:
    """Return the engines of maps in use, that of the default map first."""
    default = default_map()
    found = [engine for engine in engines() if engine.map]
    return sorted(found, key=lambda engine: engine.map is not default)


def _ask(engine: Engine, measured: bool) -> Callable[[Engine, float], dict[str, Any]]:
    """Have a snapshot made where it can't meet a pass; return what waits for it."""
    done = threading.Event()
    made: list[dict[str, Any]] = []

    def make() -> None:
        try:
            made.append(_snapshot(engine, measured))
        except Exception as why:  # it must not end the program's loop
            made.append({"error": repr(why)})
        done.set()

    def reply(engine: Engine, patience: float) -> dict[str, Any]:
        if done.wait(patience):
            return made[0]
        return {"stuck": _where(engine.owner)}

    engine.run_on_loop(make)
    return reply


def _snapshot(engine: Engine, measured: bool) -> dict[str, Any]:
    # From the first look on.
    if not engine.counts_bytes or (measured and engine.meter is None):
        package().collect_statistics(True, map=engine.map)
        if not measured:
            engine.meter = None
    found: dict[str, Any] = package().statistics(map=engine.map).as_dict()
    for channel in found["channels"]:
        channel.update(details.of_channel(engine, engine.map.get(channel["fd"]), measured))
    return {**found, **details.of_map(engine)}


def _where(thread: int | None) -> list[str]:
    """Return what a thread is at, as "FILE:LINE FUNCTION", the innermost first."""
    frame = sys._current_frames().get(thread) if thread is not None else None
    found: list[str] = []
    while frame is not None and len(found) < _FRAMES:
        code = frame.f_code
        found.append(f"{code.co_filename}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return found


def _listen(path: Path) -> socket.socket:
    check_private(path.parent)
    _remove_dead(path)
    listener = socket.socket(_AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_dead(path: Path) -> None:
    """Remove the socket of a process that is gone. Raises `OSError` if somebody serves it."""
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise FileExistsError(errno.EEXIST, f"{path} is no socket, and stays")
    with socket.socket(_AF_UNIX, socket.SOCK_STREAM) as other:
        other.settimeout(_REQUEST_TIME)
        try:
            other.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, f"another process serves {path}")


def _sweep(folder: Path) -> None:
    """Remove the sockets of processes that were killed, and so left them, from the usual folder."""
    check_private(folder)
    for path in folder.glob("*.sock"):
        if path.stem.isdecimal():
            try:
                os.kill(int(path.stem), 0)
            except ProcessLookupError:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # it lives, as another user's


def _is_owner(conn: socket.socket) -> bool:
    """Whether this user, or root, connected, as far as the system tells (SO_PEERCRED, unix(7))."""
    if sys.platform != "linux":
        return True
    pid_uid_gid = struct.Struct("3i")
    raw = conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, pid_uid_gid.size)
    _, uid, _ = pid_uid_gid.unpack(raw)
    return uid in (address.user_id(), 0)


_server: Server | None = None


def begin(wanted: str) -> Server | None:
    """Serve at the path `wanted`, or at the usual one, until the process ends.

    What prevents it is told on the standard error: the program goes on without.
    """
    global _server
    try:
        if wanted == USUAL:
            folder = usual_folder()
            folder.mkdir(mode=0o700, exist_ok=True)
            _sweep(folder)
            path = usual_path(os.getpid())
        else:
            path = Path(wanted).absolute()
        server = Server(path)
    except OSError as why:
        logs.put(f"asynccore top: not available: {why}", sys.stderr)
        return None
    _server = server
    atexit.register(_at_exit, server)
    return server


def _at_exit(server: Server) -> None:
    # A second Ctrl-C, while somebody's request is awaited: the process ends as it is, at once.
    with contextlib.suppress(KeyboardInterrupt):
        server.close()


def _after_fork_in_child() -> None:
    """Leave the parent's socket to the parent."""
    global _server
    if _server is not None:
        _server.close()
        _server = None


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork_in_child)


# What the environment asks for, when this package is first imported; see `address.VARIABLE`.
wanted = os.environ.get(VARIABLE, "")

_begun_by = 0  # the process id; a forked child begins anew


def begin_once() -> None:
    """Serve at the place that is `wanted`, once in each process: called when a loop begins."""
    global _begun_by
    if _begun_by != os.getpid():
        _begun_by = os.getpid()
        begin(wanted)


if wanted:
    starting.append(begin_once)
