"""The core is carried along: vendored in another package, and in an archive of zipapp's."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipapp
from pathlib import Path

from tests.project.checkout import ROOT

# Nothing but the standard library is there: no site-packages, and no environment.
BARE = [sys.executable, "-I", "-S", "-W", "error"]

PROGRAM = """\
import socket
import sys

{imports}


class Chat(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(b"\\n")
        self.line = b""

    def collect_incoming_data(self, data):
        self.line += data

    def found_terminator(self):
        self.push(self.line + b"!\\n")
        asyncore.call_later(0, asyncore.stop)


ours, theirs = socket.socketpair()
Chat(ours)
theirs.sendall(b"hello\\n")
sink = smtpd.DebuggingServer(("127.0.0.1", 0), None)
asyncore.loop()
print(theirs.recv(100), asyncore.dispatcher.__module__)
asyncore.close_all()
theirs.close()
"""


def run(*arguments: str) -> str:
    done = subprocess.run([*BARE, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def copy_core(folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "asynccore", folder / "asynccore", ignore=ignored)


def test_it_works_under_a_longer_name(tmp_path: Path) -> None:
    vendored = tmp_path / "library" / "_vendor"
    copy_core(vendored)
    imports = f"""\
sys.path.insert(0, {str(tmp_path)!r})
from library._vendor import asynccore as asyncore
from library._vendor.asynccore import asynchat, smtpd
"""
    (tmp_path / "program.py").write_text(PROGRAM.format(imports=imports))
    said = run(str(tmp_path / "program.py"))
    assert said == "b'hello!\\n' library._vendor.asynccore\n"


def test_it_works_in_an_archive(tmp_path: Path) -> None:
    folder = tmp_path / "program"
    copy_core(folder)
    imports = "import asynccore as asyncore\nfrom asynccore import asynchat, smtpd\n"
    (folder / "__main__.py").write_text(PROGRAM.format(imports=imports))
    zipapp.create_archive(folder, tmp_path / "program.pyz")
    assert run(str(tmp_path / "program.pyz")) == "b'hello!\\n' asynccore\n"
