"""What the figures were measured on, and the two cores that are used."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil


class UnfitMachine(Exception):
    """The benchmarks cannot run here; the text says why."""


@dataclass(frozen=True)
class Cores:
    """Numbers of the core for the server and of the core for the load."""

    server: int
    load: int


def pick_cores() -> Cores:
    """The last allowed core for the server, the first for load and harness.

    Raises UnfitMachine on anything but Linux (epoll, affinity) and with fewer than two cores.
    """
    if sys.platform != "linux":
        raise UnfitMachine("the benchmarks need Linux (epoll and CPU affinity)")
    allowed = psutil.Process().cpu_affinity()
    if len(allowed) < 2:
        raise UnfitMachine("the benchmarks need two cores: one for the server, one for the load")
    return Cores(server=allowed[-1], load=allowed[0])


def raise_descriptor_limit(wanted: int) -> int:
    """Soft RLIMIT_NOFILE up to the hard one, and that to `wanted` if the system lets us.

    See getrlimit(2). Returns the new soft limit, which the processes of the run inherit.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        with contextlib.suppress(ValueError, PermissionError):  # CAP_SYS_RESOURCE, fs.nr_open
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe(compiler: str) -> dict[str, str]:
    """Name → text for the report: CPU, cores, memory, kernel, interpreter, compiler, load."""
    cores = psutil.cpu_count() or 1
    hypervisor = "hypervisor" in Path("/proc/cpuinfo").read_text()
    busy = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "CPU": _cpu_model() + (" (virtual machine)" if hypervisor else ""),
        "Cores": str(cores),
        "Memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "C compiler": compiler,
        "Load average before the run": busy,
    }
