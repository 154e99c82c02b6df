"""Processes of a measurement: one server, one load, each on its own core.

Whatever is started is ended: by the context managers here, and should this process be
killed outright, by the kernel (each child asks for PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import Cores
from benchmarks.native import Tools
from benchmarks.results import CannotMeasure
from benchmarks.servers import C_SERVER, Server

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 20.0  # seconds for a server to say its port; Twisted alone takes about one
STOP_TIMEOUT = 5.0  # seconds between SIGTERM and SIGKILL


class Process:
    """A child on one core whose output is one JSON object for each line."""

    def __init__(self, command: Sequence[str], core: int) -> None:
        self._errors = tempfile.TemporaryFile()  # closed in stop()
        self._line = b""
        # A session of its own: Ctrl-C reaches the harness only, which then ends the others.
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            start_new_session=True,
        )
        self.system = psutil.Process(self._popen.pid)
        self.system.cpu_affinity([core])

    def event(self, timeout: float) -> dict[str, Any]:
        """The next line; raises CannotMeasure after ``timeout`` seconds or at the end."""
        assert self._popen.stdout is not None
        descriptor = self._popen.stdout.fileno()
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._line:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise CannotMeasure(f"nothing happened for {timeout:.0f} s")
                data = os.read(descriptor, 65536)
                if not data:
                    raise CannotMeasure(self.last_error() or "ended early")
                self._line += data
        line, _, self._line = self._line.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        if event.get("event") == "error":
            raise CannotMeasure(event["message"])
        return event

    def proceed(self, text: str = "") -> None:
        """Send the line that a waiting process asks for."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(text.encode() + b"\n")
        self._popen.stdin.flush()

    def ended(self, within: float) -> bool:
        """Whether the process is over ``within`` that many seconds."""
        try:
            self._popen.wait(within)
        except subprocess.TimeoutExpired:
            return False
        return True

    def last_error(self) -> str:
        """The last line on the child's standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def cpu_seconds(self) -> float:
        """User and system time so far, seconds."""
        times = self.system.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        """End the process; returns when it is gone."""
        try:
            self._popen.terminate()
            if not self.ended(STOP_TIMEOUT):
                self._popen.kill()
        finally:
            self._popen.__exit__(None, None, None)  # closes the pipes and waits
            self._errors.close()


@dataclass(frozen=True)
class Bench:
    """What a workload needs to measure a server once."""

    tools: Tools
    cores: Cores
    seconds: float
    idle: int
    most: int = sys.maxsize
    """Connections that the descriptor limit allows beside the active ones."""

    @contextlib.contextmanager
    def server(self, server: Server, role: str, versions: dict[str, str]) -> Iterator[Running]:
        """The server, listening; stopped at the end. Its version is noted in ``versions``."""
        if server.name == C_SERVER:
            command = [str(self.tools.echo_server), "0", role]
        else:
            command = server.command(role)
        process = Process(command, self.cores.server)
        try:
            hello = process.event(START_TIMEOUT)
            versions[server.name] = hello.get("version", self.tools.compiler)
            yield Running(self, process, hello["port"])
        except CannotMeasure as reason:
            # What the load saw is a symptom; a traceback of the server is the cause.
            if process.ended(within=0.5) and process.last_error():
                raise CannotMeasure(process.last_error()) from reason
            raise
        finally:
            process.stop()


@dataclass(frozen=True)
class Running:
    """A listening server."""

    bench: Bench
    process: Process
    port: int

    def load(self, mode: str, *arguments: object) -> AbstractContextManager[Process]:
        """The load generator at work on this server; stopped at the end."""
        return self._at_work(self.bench.tools.load, mode, *arguments)

    def tls_load(self, mode: str, *arguments: object) -> AbstractContextManager[Process]:
        """The same over TLS; raises CannotMeasure when there is no such load on this machine."""
        return self._at_work(self.bench.tools.tls_load(), mode, *arguments)

    @contextlib.contextmanager
    def _at_work(self, program: Path, mode: str, *arguments: object) -> Iterator[Process]:
        words = [str(program), mode, str(self.port), *map(str, arguments)]
        process = Process(words, self.bench.cores.load)
        try:
            yield process
        finally:
            process.stop()
