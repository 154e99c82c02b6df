"""Starts programs of the gallery, tells their ports, and sees to it that they end well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "examples" / "gallery"

# The classic loop, and hosts that it waits in.
ENGINES = ("classic", "twisted", "asyncio")

# A bound for what hangs, in seconds: starting everything takes ten seconds on a busy machine.
PATIENCE = 90.0

Ports = dict[str, int]


class Failed(Exception):
    """A program that did not start, or did not end, as it should."""


def environment() -> dict[str, str]:
    ours = ("PYTHON", "ASYNCCORE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**env, "PYTHONPATH": str(ROOT)}


def wait_until_idle(pid: int) -> None:
    """Wait until a process has nothing left to do: what it calls may swallow an interrupt.

    Twisted logs what a callback of its reactor's raises, and the interpreter what a finalizer does.
    """
    program = psutil.Process(pid)
    quiet = 0
    while quiet < 5:
        quiet = quiet + 1 if program.status() == psutil.STATUS_SLEEPING else 0
        time.sleep(0.02)


@contextmanager
def started(engine: str, program: str, *arguments: str, announces: int = 1) -> Iterator[Ports]:
    """Run a program on an engine; give the ports that it announces, by name.

    It is interrupted in the end, and must end then without a word on standard error.
    """
    options = () if engine == "classic" else ("--engine", engine)
    words = [sys.executable, "-m", "asynccore", "run", *options]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [*words, str(FOLDER / f"{program}.py"), *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

        def said() -> str:
            errors.seek(0)
            return errors.read()

        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            ports: Ports = {}
            for _ in range(announces):
                name, found, port = process.stdout.readline().partition(" on port ")
                if not found:
                    raise Failed(f"{program} did not start: {said()}")
                ports[name] = int(port)
            yield ports
            if sys.platform != "win32":  # where a child can't be interrupted alone
                wait_until_idle(process.pid)
                process.send_signal(signal.SIGINT)
                out = process.stdout.read()
                process.wait()
                if (process.returncode, out[-8:], said()) != (0, "stopped\n", ""):
                    raise Failed(f"{program} ended with {process.returncode}: {out}\n{said()}")
        finally:
            process.kill()
            process.wait()
            watchdog.cancel()
            watchdog.join()
            if process.stdout is not None:
                process.stdout.close()
