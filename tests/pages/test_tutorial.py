"""Every step of docs/tutorial.md and docs/start.md: its files, its commands, its conversation.

A step is typed as the page has it, in a folder of its own, and in the order of the page. Two things
differ: the port is a free one, and so are the commands that make no server, which are typed as they
stand. The lines of a conversation are what a client sends (">"), what it gets ("<"), and a signal.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import pytest

from compat.command_line import demo
from tests.ports import held_ports
from tests.project.checkout import ROOT
from tests.tls.support import authority, write_pem
from tests.tls.test_page import can_make_certificates

pytestmark = pytest.mark.xdist_group("tutorial")

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    title: str
    files: dict[str, str]
    setup: list[str]  # commands that end by themselves
    server: str
    outputs: list[str]
    talk: list[str]


def steps(page: str) -> dict[str, Step]:
    """The numbered sections of a page, by their titles, as far as they start a server."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        step = Step(title, {}, [], "", [], [])
        for language, name, code in BLOCK.findall(section):
            if language == "python":
                step.files[name] = code
            elif language == "text":
                step.talk.extend(code.splitlines())
            elif language == "console":
                for part in code.split("$ ")[1:]:
                    command, *outputs = part.splitlines()
                    if "7007" in command:
                        step = step._replace(server=command, outputs=outputs)
                    else:
                        step.setup.append(command)
        if step.server:
            found[title] = step
    return found


TUTORIAL = steps("tutorial.md")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files of the tutorial, and the certificates that its commands make."""
    place = tmp_path_factory.mktemp("tutorial")
    for step in TUTORIAL.values():
        for name, code in step.files.items():
            (place / name).write_text(code, encoding="utf-8")
        for command in step.setup:
            if can_make_certificates():
                words = shlex.split(command)
                subprocess.run(words, cwd=place, check=True, capture_output=True, timeout=60)
    if not (place / "ca.pem").exists():
        write_pem(place, "ca.pem", authority().cert_pem)
        for name, host in (("server", "localhost"), ("ann", None)):
            leaf = authority().issue_cert(*[host] if host else [], common_name=name)
            write_pem(place, f"{name}.pem", *leaf.cert_chain_pems)
            write_pem(place, f"{name}.key", leaf.private_key_pem)
    return place


@contextmanager
def reserved_port() -> Iterator[str]:
    """A port for workers, who share it, so that it can't be 0. Nobody else gets it meanwhile."""
    with held_ports(1) as (held,):
        yield str(held)


@contextmanager
def started(step: Step, folder: Path) -> Iterator[demo.Program]:
    words = shlex.split(step.server)
    with reserved_port() if "--workers" in words else nullcontext("0") as port:
        with _started(words, port, step, folder) as program:
            yield program


@contextmanager
def _started(words: list[str], port: str, step: Step, folder: Path) -> Iterator[demo.Program]:
    if words[0] == "asynccore":
        words[:1] = [sys.executable, "-m", "asynccore"]
    else:
        words[0] = sys.executable
    words = [port if word == "7007" else word for word in words]
    if "--workers" not in words:
        words = ["0.2" if word in ("2", "3") else word for word in words]  # seconds to wait
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": python_path}
    # Unbuffered, Python writes the end of a line by itself: another worker's line may be before it.
    env.pop("PYTHONUNBUFFERED", None)
    process = subprocess.Popen(
        words,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    )
    with process:
        program = demo.Program(process)
        try:
            for _ in step.outputs:
                program.listen()
            yield program
        finally:
            program.kill()


def connect(program: demo.Program, step: Step, folder: Path) -> socket.socket:
    plain = program.connect()
    if "secure.py" not in step.server:
        return plain
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "ann.pem", folder / "ann.key")
    return context.wrap_socket(plain, server_hostname="localhost")


def talk(step: Step, program: demo.Program, folder: Path) -> None:
    with connect(program, step, folder) as sock, sock.makefile("rb") as answers:
        for line in step.talk:
            if line == "(SIGTERM)":
                program._process.send_signal(signal.SIGTERM)
            elif line.startswith("> "):
                sock.sendall(line[2:].encode() + b"\n")
            else:
                assert answers.readline() == line[2:].encode() + b"\n", line
        if step.talk[-1] in ("> bye", "< nobody seems to be there", "< the room closes"):
            assert answers.read() == b""


def test_the_page_has_steps_that_are_all_run() -> None:
    assert [title[0] for title in TUTORIAL] == list("12345678")
    assert all(step.talk for step in TUTORIAL.values())


@pytest.mark.skipif(sys.platform == "win32", reason="neither SIGTERM nor workers are there")
@pytest.mark.parametrize("title", TUTORIAL)
def test_a_step_does_what_the_page_says(title: str, folder: Path) -> None:
    step = TUTORIAL[title]
    with started(step, folder) as program:
        talk(step, program, folder)
        if "(SIGTERM)" in step.talk:
            assert program._process.wait(demo.PATIENCE) == 0


def test_who_has_no_certificate_does_not_enter(folder: Path) -> None:
    step = TUTORIAL["7. Mutual TLS"]
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    with started(step, folder) as program, program.connect() as plain:
        with pytest.raises(ssl.SSLError, match=r"certificate required|bad certificate|handshake"):
            with context.wrap_socket(plain, server_hostname="localhost") as sock:
                sock.sendall(b"hello\n")
                sock.recv(100)


def test_a_line_that_is_too_long_is_told(folder: Path) -> None:
    step = TUTORIAL["3. Nobody may stay for ever"]
    with started(step, folder) as program, program.connect() as sock:
        sock.sendall(b"x" * 2000 + b"\n")
        with sock.makefile("rb") as answers:
            assert answers.readline() == b"that was too long\n"


START = steps("start.md")


def test_the_first_program_runs_unchanged(tmp_path: Path) -> None:
    step = START["2. Run a program of your own"]
    for name, code in step.files.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    with started(step, tmp_path) as program, program.connect() as sock:
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"
