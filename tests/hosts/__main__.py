"""`python -m tests.hosts [HOST…]`: the tests of the engine, timeouts and TLS over every host.

What can't hold over a host, and what has nothing to do with one, is in everywhere.py, each with its
reason.

Two hosts are run at a time, or `--jobs`. A host whose tests don't end is ended, and then none is
begun any more: what hangs once, hangs at each, and the time is somebody's.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

from asynccore.pollers import ENGINE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]

SUITES = ("tests/core", "tests/corners", "tests/tls")
# The programs in there call `loop()` by themselves, in threads, with functions of their own: that
# is what an engine is for. A map that is attached for each pass is another program.
OF_ENGINES = (*SUITES, "tests/field")

# What each host needs that may not be installed.
NEEDS = {"uvloop": "uvloop", "twisted": "twisted"}
REACTORS = ("select", "poll", "epoll", "asyncioreactor")
ENGINES = tuple(f"engine:{name}" for name in ("asyncio", "uvloop", "twisted"))
HOSTS = ENGINES + tuple(f"attach:{name}" for name in ("asyncio", "uvloop", *REACTORS))

# One test may take so long, in seconds: none takes a tenth of it. What hangs shows where, and ends
# the tests over its host.
PATIENCE = 60
# And all of them over one host, should that not end them: five times what they take.
BOUND = 600


class Run(NamedTuple):
    host: str
    status: int | None  # None: it did not end
    seconds: float
    output: str


def missing(host: str) -> str | None:
    """Return what a host needs and is not there: a package, or an operating system."""
    way, _, name = host.partition(":")
    if name == "epoll" and sys.platform != "linux":
        return "Linux"
    if name == "poll" and sys.platform == "win32":
        return "poll(2)"
    needed = "twisted" if way == "attach" and name in REACTORS else NEEDS.get(name)
    return None if needed is None or importlib.util.find_spec(needed) else needed


def command(host: str, suites: Sequence[str] | None = None) -> list[str]:
    if suites is None:
        suites = OF_ENGINES if host.startswith("engine:") else SUITES
    return [
        *(sys.executable, "-W", "error", "-m", "pytest", "-q"),
        *("-p", "tests.hosts.everywhere", f"--host={host}"),
        *("-o", f"faulthandler_timeout={PATIENCE}", "-o", "faulthandler_exit_on_timeout=true"),
        *suites,
    ]


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the tests over one host, with what they have started."""
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(words: list[str], host: str, bound: float = BOUND) -> Run:
    """Run the tests over one host in a process of its own, for a process has one reactor."""
    begin = time.monotonic()
    output: IO[bytes]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if name != ENGINE_VARIABLE},
        )
        status: int | None = None
        try:
            status = process.wait(bound)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if status is None:
                end(process)
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Run(host, status, time.monotonic() - begin, text)


def runs(hosts: list[str], jobs: int) -> Iterator[Run]:
    """Run the tests over hosts, some at a time, until one does not end."""
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(run, command(host), host) for host in hosts]
        for future in waiting:
            if future.cancelled():
                continue
            one = future.result()
            if one.status is None:
                for other in waiting:
                    other.cancel()
            yield one


def verdict(one: Run) -> str:
    if one.status is None:
        return f"did not end within {BOUND} s"
    lines = one.output.splitlines()
    says = [line for line in lines if " in the host" in line or " by the host" in line]
    return "; ".join(line.strip("= ") for line in (lines[-1:] + says))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hosts", description="The contract suites over event loops."
    )
    parser.add_argument("hosts", nargs="*", metavar="HOST", help=f"of {', '.join(HOSTS)}")
    parser.add_argument("--jobs", type=int, default=2, help="hosts at a time (2)")
    options = parser.parse_args()
    for host in options.hosts:
        if host not in HOSTS:
            parser.error(f"{host!r} is none of {', '.join(HOSTS)}")
    chosen = []
    for host in options.hosts or HOSTS:
        needed = missing(host)
        if needed is None:
            chosen.append(host)
        else:
            print(f"{host}: skipped, for it needs {needed}")
    done = 0
    failed = []
    for one in runs(chosen, options.jobs):
        done += 1
        if one.status != 0:
            failed.append(one.host)
            print(one.output)
        print(f"{one.host}: {verdict(one)}", flush=True)
    if failed or done < len(chosen):
        print(f"failed: {', '.join(failed)}; not run: {len(chosen) - done}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
