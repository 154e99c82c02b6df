"""A machine with a systemd of its own, which does what docs/deploy.md tells it.

*Facts.* systemd is process 1, or none. At its start it mounts, empties /tmp, and starts all that a
system has. It keeps services apart by control groups, and so needs a tree of these.
*Consequence.* It is process 1 of namespaces of its own: processes, mounts, network, control groups.
Its file system lies over this one's, which nothing is written to. It knows no units but those that
it is given, and targets without anything in them.
*Trade-off.* Linux and root alone can have it. There is no journal; what services print is lost.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = Path("/lib/systemd/systemd")

# A bound for what should take a moment, in seconds.
PATIENCE = 60.0

_NAMESPACES = ("--cgroup", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child")

# The targets that units come with by default (systemd.special(7)).
_TARGETS = ("sysinit", "basic", "shutdown", "sockets", "network", "multi-user")

# $1 is a folder of this machine for mounts, $2 one with files, and $3 "nothing else".
_BEGIN = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
root=$1/root
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
for folder in run tmp etc/systemd/system; do mount -t tmpfs tmpfs "$root/$folder"; done
"""

_GO_ON = """
cp -R "$2/." "$root"
ip link set lo up
export container=tests SYSTEMD_UNIT_PATH=/etc/systemd/system SYSTEMD_GENERATOR_PATH=/nowhere
exec chroot "$root" {systemd} --system --unit=basic.target
"""

# What a program is started with, in place of a virtual environment, whose folder may be one that a
# service does not see; and so may be the one that a Python has its own shared library from.
_LAUNCHER = """\
#!/bin/sh
export PYTHONPATH=/opt/asynccore:{folders} LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/{python} -m asynccore "$@"
"""


def obstacle(folder: Path) -> str | None:
    """Return why there can be no such machine here; `None` if there can. `folder` is for trying."""
    if sys.platform != "linux":
        return "systemd needs Linux"
    if os.geteuid():
        return "only root makes namespaces and mounts"
    if not SYSTEMD.exists():
        return "there is no systemd"
    for program in ("unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    if _control_groups() is None:
        return "there are no control groups of version 2"
    tried = subprocess.run(
        ["unshare", *_NAMESPACES, "sh", "-c", _BEGIN, "sh", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return f"namespaces can't be had: {tried.stderr.strip()}" if tried.returncode else None


def _control_groups() -> Path | None:
    """Return where the tree of control groups is mounted."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None


class Machine:
    """A running machine. `files` are put into it: their absolute paths, and what is in them."""

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        mounts, self._tree = folder / "mounts", folder / "files"
        mounts.mkdir()
        self._put("/opt/app/.venv/bin/asynccore", self._launcher(), 0o755)
        for target in _TARGETS:
            text = f"[Unit]\nDescription={target}\nDefaultDependencies=no\n"
            self._put(f"/etc/systemd/system/{target}.target", text)
        for path, text in files.items():
            self._put(path, text)
        tree = _control_groups()
        assert tree is not None
        self._group = tree / f"asynccore-{os.getpid()}"
        self._group.mkdir()
        begin = _BEGIN + self._binds() + _GO_ON.format(systemd=SYSTEMD)
        join = f'echo $$ > "{self._group}/cgroup.procs"; exec unshare "$@"'
        command = ["sh", "-c", join, "sh", *_NAMESPACES, "sh", "-c", begin, "sh"]
        self._log = open(folder / "log", "w+")
        self._process = subprocess.Popen(
            [*command, str(mounts), str(self._tree)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self._pid = self._wait_for_systemd()
        except BaseException:
            self.close()
            raise

    def _put(self, path: str, text: str, mode: int = 0o644) -> None:
        file = self._tree / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        file.chmod(mode)

    def _folders(self) -> dict[str, str]:
        """Return what this Python imports from beside its library, and where that is in there."""
        library = os.path.realpath(sys.base_prefix)
        others = [entry for entry in sys.path if os.path.isdir(entry)]
        others = [entry for entry in others if not os.path.realpath(entry).startswith(library)]
        places = {entry: f"/opt/packages/{n}" for n, entry in enumerate(others)}
        return {**places, sys.base_prefix: "/opt/python", str(ROOT): "/opt/asynccore"}

    def _binds(self) -> str:
        return "".join(
            f'mkdir -p "$root{there}"; mount --bind "{here}" "$root{there}"\n'
            for here, there in self._folders().items()
        )

    def _launcher(self) -> str:
        folders = [it for it in self._folders().values() if it.startswith("/opt/packages")]
        python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        return _LAUNCHER.format(folders=":".join(folders), python=python)

    def _wait_for_systemd(self) -> int:
        end = time.monotonic() + PATIENCE
        while True:
            assert self._process.poll() is None and time.monotonic() < end, self.log()
            for child in psutil.Process(self._process.pid).children():
                self._pid = child.pid
                if self.run("systemctl", "is-active", "basic.target").returncode == 0:
                    return child.pid
            time.sleep(0.05)

    def log(self) -> str:
        """Return what was printed."""
        self._log.seek(0)
        return self._log.read()

    def command(self, *words: str) -> list[str]:
        """Return a command that runs another one in the machine."""
        spaces = ("--mount", "--pid", "--net", "--root", "--wd=/")
        return ["nsenter", "--target", str(self._pid), *spaces, *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine, and return what it has printed."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def systemctl(self, *words: str) -> str:
        """Run systemctl, which must succeed."""
        done = self.run("systemctl", *words)
        assert done.returncode == 0, done.stderr + self.run("systemctl", "status", "-a").stdout
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", unit, "--value", "-p", name).strip()

    def processes(self, unit: str) -> set[int]:
        """Return the processes of a unit, by their numbers in the machine."""
        path = f"/sys/fs/cgroup{self.show(unit, 'ControlGroup')}/cgroup.procs"
        return set(map(int, self.run("cat", path).stdout.split()))

    def close(self) -> None:
        """End it with all that runs in there."""
        self._process.kill()  # process 1 ends with it, and the others with that
        self._process.wait(PATIENCE)
        self._log.close()
        end = time.monotonic() + PATIENCE
        folders = sorted(self._group.rglob("*/"), reverse=True)
        for group in [*(it for it in folders if it.is_dir()), self._group]:
            while group.exists():
                try:
                    group.rmdir()
                except OSError:  # the last process is about to go
                    assert time.monotonic() < end
                    time.sleep(0.01)
