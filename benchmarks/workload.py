"""What a kind of work is, and what all kinds share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.servers import BARE, C_SERVER

if TYPE_CHECKING:  # a report is made from these descriptions without psutil
    from benchmarks.harness import Bench, Process, Running

Figures = dict[str, float]

MESSAGE = 64  # bytes of a ping
ACTIVE = 50  # connections that talk
MIB = 2**20
WARMUP_SHARE = 0.2  # of the measured seconds, before each window
PATIENCE = 60.0  # seconds for opening idle connections, beyond the measured time

PEERS = (
    "asynccore",
    "pyasyncore-select",
    "pyasyncore-poll",
    "asyncio",
    "asyncio-64k",
    "uvloop",
    "twisted",
    "gevent",
    C_SERVER,
)
# What a host, or a protocol of another make, costs shows where the same bytes go both ways.
HOSTED = (
    "asynccore-protocol",
    *(
        f"asynccore-{how}-{host}"
        for host in ("asyncio", "uvloop", "twisted")
        for how in ("on", "in")
    ),
)
# What pure Python could reach: the same system calls with nothing around them.
WITH_BARE = (*PEERS[:-1], BARE, C_SERVER)
QUICK = ("asynccore", "pyasyncore-poll", "asyncio-64k", "uvloop", C_SERVER)


@dataclass(frozen=True)
class Workload:
    """A kind of work: who takes part and how one figure set is taken.

    ``figure`` names the key shown in the tables, ``unit`` its unit, ``more_is_better``
    the direction. ``{idle}`` in the texts stands for the number of idle connections.
    """

    name: str
    title: str
    explanation: str
    figure: str
    unit: str
    more_is_better: bool
    role: str
    measure: Callable[[Bench, Running], Figures]
    servers: tuple[str, ...] = PEERS
    quick: tuple[str, ...] = QUICK
    held: Callable[[int], int] = lambda idle: idle
    """Connections that are open at a time, from the number of idle ones."""


def window(running: Running, load: Process, count: str) -> Figures:
    """One measured window of the load: rate, and the share of a core the server used."""
    timeout = running.bench.seconds * 2 + PATIENCE
    load.event(timeout)
    before = running.process.cpu_seconds()
    end = load.event(timeout)
    used = running.process.cpu_seconds() - before
    figures = {"rate": end[count] / end["seconds"], "cpu": used / end["seconds"]}
    figures.update({key: end[key] for key in ("p50_us", "p99_us", "p999_us") if key in end})
    return figures


def per_core(figures: Figures) -> Figures:
    """The window with its rate for each second of the server's processor time, too."""
    # The load has to open and close, too, and can be the slower side.
    return {**figures, "per_core": figures["rate"] / max(figures["cpu"], 0.01)}
