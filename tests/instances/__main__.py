"""`python -m tests.instances [--connections N] [--sigterm-alone]`: instances replaced under load.

Two instances on hosts of their own, HAProxy on a third and clients on a fourth: network namespaces
of Linux, joined by a bridge. HAProxy is configured as docs/deploy.md has it, passes TLS through and
says who the clients are. One instance after the other is drained and replaced, while clients
connect and talk. The exit status is 1 if a single connection was cut or refused, or saw a client's
address that wasn't its own.

With `--sigterm-alone` nobody tells HAProxy beforehand that an instance is about to end.

It needs root, `ip` and `haproxy`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.tls.support import authority, server_certificate, write_pem

# How long anything here may take, in seconds: HAProxy looks once in a second.
PATIENCE = 60.0

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "deploy.md"

# As on that page.
INSTANCES = {"one": "10.0.0.1", "two": "10.0.0.2"}
PROXY, CLIENTS = "10.0.0.100", "10.0.0.50"

# Each line is answered with the address of whoever sent it.
PROGRAM = """
import asynchat, asyncore, os, socket

class Session(asynchat.async_chat):
    def __init__(self, sock, addr):
        asynchat.async_chat.__init__(self, sock)
        self.set_terminator(b"\\n")
        self.reply = ("%s %s\\n" % (addr[0], os.environ["INSTANCE"])).encode()

    def collect_incoming_data(self, data):
        pass

    def found_terminator(self):
        self.push(self.reply)

class Server(asyncore.dispatcher):
    def __init__(self):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("0.0.0.0", 8080))
        self.listen(100)

    def handle_accepted(self, sock, addr):
        Session(sock, addr)

Server()
asyncore.loop()
"""


class Outcome(NamedTuple):
    """What the clients have seen."""

    connections: int
    answered_by: dict[str, int]  # connections by instance
    failures: list[str]


def missing() -> str | None:
    """Return what is not there, `None` if everything is."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    for program in ("ip", "haproxy"):
        if shutil.which(program) is None:
            return f"this system has no {program}"
    if os.geteuid():
        return "network namespaces need root"
    name = f"acc{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if tried.returncode:
        return f"network namespaces can't be had here: {tried.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return None


# Hosts ----------------------------------------------------------------------------------------


class Host:
    """A network namespace with an address on the bridge that all of them share."""

    def __init__(self, name: str, address: str) -> None:
        self.name = f"acc{os.getpid()}{name}"
        self.address = address
        self._processes: list[subprocess.Popen[Any]] = []
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")

    def command(self, *words: object) -> list[str]:
        """Return the command that runs another one here. It becomes that process."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def start(self, *words: object, **options: Any) -> subprocess.Popen[Any]:
        """Start a program here; what is still there at the end is killed."""
        process = subprocess.Popen(self.command(*words), **options)
        self._processes.append(process)
        return process

    def delete(self) -> None:
        """End everything."""
        for process in self._processes:
            process.kill()
            process.wait()
        ip("netns", "delete", self.name)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def hosts() -> Iterator[dict[str, Host]]:
    """The four hosts, on one network."""
    made: dict[str, Host] = {}
    try:
        for name, address in {"proxy": PROXY, "clients": CLIENTS, **INSTANCES}.items():
            made[name] = Host(name, address)
        bridge = made["proxy"].name
        ip("-n", bridge, "link", "add", "bridge", "type", "bridge")
        ip("-n", bridge, "link", "set", "bridge", "up")
        ip("-n", bridge, "address", "add", f"{PROXY}/24", "dev", "bridge")
        for name in ("clients", *INSTANCES):
            host = made[name]
            peer = ("peer", "name", "eth0", "netns", host.name)
            ip("-n", bridge, "link", "add", name, "type", "veth", *peer)
            ip("-n", bridge, "link", "set", name, "master", "bridge", "up")
            ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            ip("-n", host.name, "link", "set", "eth0", "up")
        yield made
    finally:
        for host in made.values():
            host.delete()


# The service ----------------------------------------------------------------------------------


class Service:
    """HAProxy and the instances, which are there while the context is open."""

    def __init__(self, folder: Path, all_hosts: dict[str, Host]) -> None:
        self.folder = folder
        self.hosts = all_hosts
        self.running: dict[str, subprocess.Popen[Any]] = {}
        leaf = server_certificate()
        self.pem = write_pem(folder, "both.pem", leaf.private_key_pem, *leaf.cert_chain_pems)
        self.ca = write_pem(folder, "ca.pem", authority().cert_pem)
        (folder / "program.py").write_text(PROGRAM)
        self.runtime = folder / "run"
        self.runtime.mkdir(0o700)
        for name in INSTANCES:
            self.start(name)
        (text,) = re.findall(r"^```text\n(# /etc/haproxy.*?)^```$", PAGE.read_text(), re.S | re.M)
        (folder / "haproxy.cfg").write_text(text.replace("/run/haproxy.sock", self.admin))
        self.hosts["proxy"].start("haproxy", "-db", "-f", folder / "haproxy.cfg", **QUIET)
        for name in INSTANCES:
            self.wait_until_up(name)

    @property
    def admin(self) -> str:
        """Where HAProxy takes commands."""
        return str(self.folder / "admin")

    def start(self, name: str) -> None:
        """Start an instance."""
        command = [sys.executable, "-m", "asynccore", "run", "--workers", 2, "--drain", 30]
        command += ["--metrics", "0.0.0.0:9100", "--proxy-protocol", PROXY, "--tls-cert", self.pem]
        env = {**os.environ, "INSTANCE": name, "XDG_RUNTIME_DIR": str(self.runtime)}
        with (self.folder / f"{name}.log").open("a") as log:
            self.running[name] = self.hosts[name].start(
                *command, self.folder / "program.py", env=env, stdout=log, stderr=log, cwd=ROOT
            )

    def tell_haproxy(self, command: str) -> str:
        """Give HAProxy a command, and return its answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.admin)
            sock.sendall(f"{command}\n".encode())
            with sock.makefile() as file:
                return file.read()

    def wait_until_up(self, name: str) -> None:
        """Wait until an instance is ready, and HAProxy gives it connections."""
        end = time.monotonic() + PATIENCE
        ask = self.hosts["proxy"].command(sys.executable, "-c", ASK, INSTANCES[name])
        while time.monotonic() < end and subprocess.run(ask).returncode:
            time.sleep(0.1)
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                for line in self.tell_haproxy("show stat").splitlines():
                    fields = line.split(",")
                    if fields[:2] == ["instances", name] and fields[17:18] == ["UP"]:
                        return
            time.sleep(0.1)
        log = (self.folder / f"{name}.log").read_text()
        raise AssertionError(f"the instance {name} does not come up: {log}")

    def replace(self, name: str, told: bool) -> None:
        """Drain an instance, wait until it has ended, and start it anew."""
        if told:
            self.tell_haproxy(f"set server instances/{name} state drain")
        process = self.running[name]
        process.terminate()
        if process.wait(PATIENCE) != 0:
            raise AssertionError(f"the instance {name} has ended with {process.returncode}")
        self.start(name)
        if told:
            self.tell_haproxy(f"set server instances/{name} state ready")
        self.wait_until_up(name)


# Whether an instance answers 200.
ASK = """
import sys, urllib.request
try:
    urllib.request.urlopen(f"http://{sys.argv[1]}:9100/healthz", timeout=10).close()
except OSError:
    sys.exit(1)
"""

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def replace_under_load(connections: int, told: bool = True, clients: int = 6) -> Outcome:
    """Replace both instances while clients connect; return what these have seen."""
    with tempfile.TemporaryDirectory() as folder, hosts() as all_hosts:
        service = Service(Path(folder), all_hosts)
        load = all_hosts["clients"].start(
            *(sys.executable, "-m", "tests.instances.load", PROXY, service.ca, clients),
            *(connections,),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert load.stdin is not None and load.stdout is not None
        bound = threading.Timer(10 * PATIENCE, load.kill)
        bound.start()
        try:
            load.stdout.readline()  # the first connections have been served
            for name in INSTANCES:
                service.replace(name, told)
            load.stdin.close()
            found = json.loads(load.stdout.readline())
        finally:
            bound.cancel()
            load.stdin.close()
            load.stdout.close()
    return Outcome(**found)


def main(argv: list[str]) -> int:
    """Run what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.instances", description=__doc__)
    parser.add_argument("--connections", type=int, default=1000, help="at least; default: 1000")
    parser.add_argument("--sigterm-alone", action="store_true")
    options = parser.parse_args(argv)
    lacks = missing()
    if lacks is not None:
        print(lacks)
        return 2
    begun = time.monotonic()
    outcome = replace_under_load(options.connections, not options.sigterm_alone)
    by = ", ".join(f"{count:,} by {name}" for name, count in sorted(outcome.answered_by.items()))
    print(
        f"{outcome.connections:,} connections ({by}) in {time.monotonic() - begun:.0f} s, both "
        f"instances replaced: {len(outcome.failures)} failed",
        *outcome.failures[:20],
        sep="\n",
    )
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
