"""What a scanner finds: our default server, by Mozilla's "intermediate" profile.

sslyze pins a cryptography of its own, older than ours: it gets an environment of its own, in the
folder that `ASYNCCORE_SCANNER` names, or one of the test's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from OpenSSL import SSL

from asynccore import ChannelMap
from ssl_ext import server_context
from tests.tls.pki import ca_pem, issue
from tests.tls.support import authority
from tests.tls_peers.support import Listener, program

FOLDER = "ASYNCCORE_SCANNER"

pytestmark = [
    pytest.mark.xdist_group("sslyze"),
    pytest.mark.skipif(
        sys.version_info >= (3, 15), reason="sslyze needs nassl, of which 3.15 has no wheel"
    ),
]

# Below the bound that pytest has for everything, in seconds.
PATIENCE = 200.0


@pytest.fixture(scope="module")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The program, installed if need be."""
    named = os.environ.get(FOLDER)
    folder = Path(named) if named else tmp_path_factory.mktemp("scanner")
    bin = folder / ("Scripts" if sys.platform == "win32" else "bin")
    found = bin / ("sslyze.exe" if sys.platform == "win32" else "sslyze")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not found.exists():
            _install(folder, bin)
    yield str(found)


def _install(folder: Path, bin: Path) -> None:
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(bin / "python"), "-m", "pip", "install", "--quiet", "sslyze>=6.1"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            why = f"sslyze can't be installed here: {done.stderr.strip()[-300:]}"
            # Where nobody reads the reasons of skipped tests, it would never run again.
            (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


def scan(scanner: str, channels: ChannelMap, context: Any, folder: Path) -> tuple[int, str]:
    """Have a server scanned; return the exit status, and what is said about compliance."""
    listener = Listener(channels, context)
    ca = folder / "ca.pem"
    ca.write_bytes(ca_pem(authority()))
    done = program(
        channels,
        [
            scanner,
            "--mozilla_config=intermediate",
            f"--certinfo_ca_file={ca}",
            f"localhost:{listener.port}",
        ],
    )
    _, _, verdict = done.stdout.decode().partition("COMPLIANCE AGAINST")
    assert verdict, done.stderr.decode() or done.stdout.decode()
    return done.returncode, verdict


def test_our_default_server_complies(scanner: str, channels: ChannelMap, tmp_path: Path) -> None:
    status, verdict = scan(
        scanner, channels, server_context(issue(names=["localhost"]).pem), tmp_path
    )
    assert status == 0, verdict
    assert "OK - Compliant" in verdict


def test_a_server_as_openssl_makes_it_does_not(
    scanner: str, channels: ChannelMap, tmp_path: Path
) -> None:
    leaf = issue(names=["localhost"])
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(leaf.certificate)
    context.use_privatekey(leaf.key)
    status, verdict = scan(scanner, channels, context, tmp_path)
    assert status != 0
    assert "FAILED - Not compliant" in verdict and "X448" in verdict


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_a_scanner_that_can_not_be_installed(
    ci: str, outcome: type[BaseException], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "no network")

    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(outcome, match="can't be installed here: no network"):
        _install(tmp_path, tmp_path)
