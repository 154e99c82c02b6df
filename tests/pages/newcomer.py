"""`python newcomer.py`: type what docs/start.md says where asynccore is installed, and no more.

A program of its own, because pytest is not installed there: tox's `dist` runs it beside the wheel.
It exits with a message if something is not as the page says.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compat.command_line import demo

PAGE = Path(__file__).resolve().parents[2] / "docs" / "start.md"
SCRIPTS = Path(sysconfig.get_path("scripts"))
SERVER = re.compile(r"(asynccore run|python) .*echo\.py 7007")


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, code in re.findall(r'^```python title="(.+?)"\n(.*?)^```$', text, re.M | re.S):
            (folder / title).write_text(code, encoding="utf-8")
        for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
            for command in re.findall(r"^\$ (.+)$", block, re.M):
                print("$", command)
                type_in(command, folder)
    print("all as the page says")


def type_in(command: str, folder: Path) -> None:
    words = shlex.split(command)
    if words[0] == "source" or "venv" in words or words[:2] == ["pip", "install"]:
        return  # that has been done: this environment is what it makes
    if words[0] == "openssl" and shutil.which("openssl") is None:
        sys.exit("openssl is not installed")
    program = {"asynccore": str(SCRIPTS / "asynccore"), "python": sys.executable}
    words[0] = program.get(words[0], words[0])
    if SERVER.match(command):
        with serving(words, folder) as running:
            talk(running, folder if "--tls-cert" in words else None)
        if words[0] == sys.executable:  # the page says how to undo it, in its text
            subprocess.run([program["asynccore"], "disable"], cwd=folder, check=True)
    else:
        subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=100)


@contextmanager
def serving(words: list[str], folder: Path) -> Iterator[demo.Program]:
    with socket.socket() as reserved:  # workers share a port, so it can't be 0
        port = "0"
        if "--workers" in words:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            reserved.bind(("127.0.0.1", 0))
            port = str(reserved.getsockname()[1])
        words = [port if word == "7007" else word for word in words]
        process = subprocess.Popen(
            words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        with process:
            program = demo.Program(process)
            try:
                program.listen()
                yield program
            finally:
                program.kill()


def talk(program: demo.Program, certificates: Path | None) -> None:
    with program.connect() as sock:
        if certificates is not None:
            context = ssl.create_default_context(cafile=str(certificates / "server.pem"))
            sock = context.wrap_socket(sock, server_hostname="localhost")
        sock.sendall(b"hello")
        demo.expect("an echo", b"hello", sock.recv(100))
        sock.close()


if __name__ == "__main__":
    main()
