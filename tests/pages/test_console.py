"""Every command of the pages is typed as it stands, unless the page says why not.

What it prints is compared with what the page shows, where "…" stands for anything. A page has a
folder of its own with the files that it speaks of. Its `pip install` is not typed: the environment
in `.venv` has asynccore already. The page's ports are free ones underneath, see other_ports.py.
A command that serves is connected to, and ended by Ctrl-C before the next one, unless that looks
at it.

`<!-- not typed: "why" -->` before a block says why its commands are not typed.
"""

from __future__ import annotations

import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from compat.command_line import demo
from tests.project.checkout import ROOT
from tests.project.test_repository import settings
from tests.project.test_site import pages
from tests.tls.pki import issue
from tests.tls.test_page import can_make_certificates

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell is typed into")

# These are typed as whole conversations, by tests of their own.
ELSEWHERE = {
    "docs/tls.md": "tests/tls/test_page.py",
    "docs/tutorial.md": "tests/pages/test_tutorial.py",
    "docs/old-programs.md": "tests/old_programs/test_old_programs_page.py",
}

BLOCK = re.compile(
    r'^(?:<!-- (?:not typed: "(?P<why>[^"]+)"|(?P<setup>setup)) -->\n+)?'
    r"^```(?P<language>console|sh)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
FILE = re.compile(r'^```python title="(.+?)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Command(NamedTuple):
    typed: str
    shown: list[str]

    @property
    def words(self) -> list[str]:
        return shlex.split(self.typed, comments=True)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[re.Match[str]]:
    return BLOCK.finditer(read(page))


def commands(text: str) -> list[Command]:
    found: list[Command] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:], []))
        elif found and not line.startswith("#"):
            found[-1].shown.append(line)
    return found


PAGES = sorted(
    page
    for page in ["README.md", "CONTRIBUTING.md", *(f"docs/{name}" for name in pages())]
    if BLOCK.search(read(page))
)
TYPED = [
    page
    for page in PAGES
    if page not in ELSEWHERE and not all(it["why"] or it["setup"] for it in blocks(page))
]


class Desk:
    """A folder with what a page speaks of, and a shell's environment."""

    def __init__(self, page: str, folder: Path) -> None:
        self.folder = folder
        self.environment = folder / ".venv"
        self._make_environment()
        self._make_files(page)
        self.told = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.told.bind(("127.0.0.1", 0))
        ports = self.environment / "ports"
        ports.mkdir()
        (ports / "told").write_text(str(self.told.getsockname()[1]))
        ours = ("PYTHON", "ASYNCCORE", "VIRTUAL_ENV")
        self.variables = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        self.variables["PATH"] = f"{self.environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.variables["XDG_RUNTIME_DIR"] = str(folder)
        self.variables["PYTHONUNBUFFERED"] = "1"
        self.process_id = ""  # of the last server

    def _make_environment(self) -> None:
        venv.create(self.environment, with_pip=False, symlinks=True)
        (packages,) = self.environment.glob("lib/python*/site-packages")
        shutil.copy(Path(__file__).with_name("other_ports.py"), packages / "_other_ports.py")
        beside = [path for path in sys.path if path.endswith("site-packages")]
        lines = [str(ROOT), *beside, "import _other_ports"]
        (packages / "page.pth").write_text("\n".join(lines) + "\n")
        modules = {
            "asynccore": "asynccore",
            "trial": "twisted.trial",
            "twistd": "twisted.application.twist",
        }
        for name, module in modules.items():
            script = self.environment / "bin" / name
            script.write_text(f'#!/bin/sh\nexec {self.environment}/bin/python -m {module} "$@"\n')
            script.chmod(0o755)

    def _make_files(self, page: str) -> None:
        certificate = issue(names=("localhost",))
        shutil.copytree(demo.examples(), self.folder / "examples")
        shutil.copy(demo.examples() / "echo_server.py", self.folder / "server.py")
        for name, text in (FILES | BY_PAGE.get(page, {})).items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)
        (self.folder / "server.pem").write_bytes(certificate.pem)
        (self.folder / "server.key").write_bytes(certificate.key_pem())

    @contextmanager
    def typing(self, command: Command) -> Iterator[str]:
        """Type a command; yields what it has printed once it has ended, or listens."""
        typed = command.typed.replace(" 4711", f" {self.process_id}")
        while select.select([self.told], [], [], 0)[0]:
            self.told.recv(100)  # the server before may have had more listeners
        with subprocess.Popen(
            ["/bin/sh", "-c", f"exec {typed}"],
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                looks = command.words[:3] == ["asynccore", "top", "4711"]  # until Ctrl-C
                printed, address = self._wait(process, len(command.shown), looks)
                if address is not None:
                    self.process_id = str(process.pid)
                    socket.create_connection(address, timeout=demo.PATIENCE).close()
                yield printed
                if address is not None or looks:
                    process.send_signal(signal.SIGINT)
                    process.wait(demo.PATIENCE)
                else:
                    assert process.wait(demo.PATIENCE) in (0, 1), printed
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _wait(
        self, process: subprocess.Popen[bytes], lines: int, looks: bool
    ) -> tuple[str, tuple[str, int] | None]:
        """Read until the end, or until the process listens and has printed so many lines."""
        assert process.stdout is not None
        printed, address = b"", None
        end = time.monotonic() + demo.PATIENCE
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([process.stdout, self.told], [], [], left)
            if self.told in ready:
                address = ("127.0.0.1", int(self.told.recv(100)))
            if process.stdout in ready:
                data = os.read(process.stdout.fileno(), 65536)
                printed += data
                if not data or looks:
                    return printed.decode(), None
            if address is not None and printed.count(b"\n") >= lines:
                return printed.decode(), address
        raise AssertionError(f"neither ended nor listens: {printed.decode()}")


FILES = {
    "my.py": "import smtpd\n\n\nclass Server(smtpd.SMTPServer):\n    pass\n",
    "mypackage/__init__.py": "",
    "mypackage/test_it.py": "from twisted.trial.unittest import TestCase\n\n\n"
    "class Test(TestCase):\n    def test_it(self):\n        pass\n",
    "lib/old.py": "print('old')\n",
    "users": "ann:$2y$05$oZ0TUkKhzMSBSMBVT1IR6.AbIHHuUUcvWPPTlvtGPxMFJZ1WlE0vO\n",
    "program/__main__.py": "print('hello')\n",
    "pyproject.toml": '[tool.asynccore]\nworkers = 2\ndrain = 30\ntop = true\n'
    'log-format = "json"\ntls-cert = "server.pem"\n',
}  # fmt: skip
OLD_PROGRAM = """
import asyncore
import asynchat
import socket
import ssl
import sys


class Session(asynchat.async_chat):
    max_line_length = 512

    def handle_accepted(self, sock):
        options = {"certfile": "server.pem", "server_side": True}
        self.socket = ssl.wrap_socket(sock, **options)
        self.set_socket(self.socket)
        self.set_terminator(b"\\r\\n")

    def handle_error(self):
        self.close()

    def collect_incoming_data(self, data):
        self.line = data

    def found_terminator(self):
        line = self.line
        print "heard", line
"""
BY_PAGE = {"docs/check.md": {"server.py": OLD_PROGRAM}}


def says(shown: list[str], printed: str) -> bool:
    """Whether what was printed begins with the lines that are shown."""
    pattern = "".join(
        "(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in shown
    )
    return re.match(pattern, printed) is not None


def is_setup(words: list[str]) -> bool:
    """Whether a command makes the environment that is there; what it installs must exist."""
    if words[0] == "source" or words[1:3] == ["-m", "venv"]:
        return True
    if Path(words[0]).name != "pip":
        return False
    assert words[1] == "install"
    extras = set(settings()["project"]["optional-dependencies"])
    named = re.fullmatch(r"(?:asynccore|\.)(?:\[(.+)\])?", words[-1])
    assert named is not None and set(filter(None, (named[1] or "").split(","))) <= extras
    return True


def is_lacking(words: list[str]) -> bool:
    """Whether this machine or environment has not what a command needs."""
    text = " ".join(words)
    needed = {
        r"\b(trial|twistd)\b|twisted": "twisted",
        r"asynccore port\b": "libcst",
        r"--metrics\b": "prometheus_client",
        r"--auth-file\b": "bcrypt",
        r"asynccore top\b": "rich",
        r"uvloop\b": "uvloop",
    }
    for pattern, module in needed.items():
        if re.search(pattern, text):
            try:
                __import__(module)
            except ImportError:
                return True
    return words[0] == "openssl" and not can_make_certificates()


@pytest.mark.parametrize("page", TYPED)
def test_the_commands_of_a_page(page: str, tmp_path: Path) -> None:
    desk = Desk(page, tmp_path)
    for name, code in FILE.findall(read(page)):
        (tmp_path / name).write_text(code, encoding="utf-8")
    with ExitStack() as table:
        table.callback(desk.told.close)
        for block in blocks(page):
            if block["why"] or block["setup"]:
                continue
            running = table.enter_context(ExitStack())
            for command in commands(block["text"]):
                words = command.words
                if is_setup(words) or is_lacking(words):
                    continue
                if words[:2] != ["asynccore", "top"]:  # that looks at the one before
                    running.close()
                printed = running.enter_context(desk.typing(command))
                assert says(command.shown, printed), (command, printed)
                assert "Traceback" not in printed, (command, printed)
            running.close()


@pytest.mark.parametrize("page", PAGES)
def test_a_block_has_commands_or_says_why_they_are_not_typed(page: str) -> None:
    for block in blocks(page):
        if not block["setup"] and page not in ELSEWHERE:
            assert commands(block["text"]), block["text"]
            assert block["language"] == "console", block["text"]


def test_the_tests_of_other_pages_are_there() -> None:
    assert all((ROOT / test).is_file() for test in ELSEWHERE.values())
    assert set(ELSEWHERE) <= set(PAGES)


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        (["a", "…", "z"], "a\nb\nc\nz\n", True),
        (["a…z"], "a to z\nmore\n", True),
        (["a"], "b\na\n", False),
        (["a", "z"], "a\nb\nz\n", False),
        ([], "anything\n", True),
    ],
)
def test_what_is_shown_is_compared(shown: list[str], printed: str, expected: bool) -> None:
    assert says(shown, printed) is expected
