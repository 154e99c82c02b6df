"""Without pyOpenSSL, cryptography and certifi all but TLS works, and TLS says what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_ext import requirements
from tests.project.checkout import ROOT

MISSING = ("OpenSSL", "certifi", "cryptography", "service_identity")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which the packages that TLS needs are not installed, for child processes, too."""
    for name in MISSING:
        error = f'ModuleNotFoundError("No module named {name!r}", name={name!r})'
        (tmp_path / f"{name}.py").write_text(f"raise {error}\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )


def test_unchanged_programs_run(environment: dict[str, str]) -> None:
    done = run(environment, "-m", "asynccore", "demo")
    assert done.returncode == 0, done.stdout
    assert "did what they should" in done.stdout


IMPORTS = """
import compat
compat.install()
import asyncore, asynchat, smtpd
import asynccore.hardened_smtpd, asynccore.testing, asynccore.producers, asynccore.pollers
import ssl_ext, ssl_ext.errors
ssl_ext.TLSError, compat.ClassicLoop, compat.create_server, compat.attach
print("imported")
"""


def test_all_other_names_are_there(environment: dict[str, str]) -> None:
    done = run(environment, "-c", IMPORTS)
    assert (done.returncode, done.stdout) == (0, "imported\n")


@pytest.mark.parametrize(
    "code",
    [
        "import ssl_ext; ssl_ext.client_context()",
        "from ssl_ext import tls_async_chat",
        "import asynccore.ssl_ext; asynccore.ssl_ext.TLSSMTPServer",
    ],
)
def test_tls_names_the_command_that_helps(environment: dict[str, str], code: str) -> None:
    done = run(environment, "-c", code)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == (
        "ModuleNotFoundError: TLS needs pyOpenSSL, which is not installed: "
        "pip install pyOpenSSL certifi"
    )


def test_so_does_the_command_line(environment: dict[str, str]) -> None:
    done = run(environment, "-m", "asynccore", "run", "--tls-cert", "a.pem", "-c", "pass")
    assert done.returncode == 2
    assert done.stdout == (
        "asynccore run: there is no TLS: TLS needs pyOpenSSL, which is not installed: "
        "pip install pyOpenSSL certifi\n"
    )


def test_what_they_need_themselves_is_not_taken_for_them(tmp_path: Path) -> None:
    (tmp_path / "certifi.py").write_text("import something_else\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = run({**os.environ, "PYTHONPATH": path}, "-c", "import ssl_ext; ssl_ext.Context")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].endswith("No module named 'something_else'")


def test_the_command_is_whole() -> None:
    assert set(requirements.COMMAND.split()[2:]) == set(requirements._NEEDED.values())
