"""`asynccore run --tls-cert <(…)`: what comes from a pipe is there for everybody who reads it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compat.command_line import cli, runner
from ssl_ext import termination
from tests.tls.support import server_certificate

if sys.platform == "win32":
    pytest.skip("Windows has no pipes that are files", allow_module_level=True)


def pem() -> bytes:
    certificate = server_certificate()
    chain = [blob.bytes() for blob in certificate.cert_chain_pems]
    return b"".join([*chain, certificate.private_key_pem.bytes()])


@pytest.fixture
def pipe() -> Iterator[str]:
    """A pipe with a certificate and its key in it, as a shell makes one."""
    reader, writer = os.pipe()
    assert os.write(writer, pem()) == len(pem())
    os.close(writer)
    yield f"/dev/fd/{reader}"
    os.close(reader)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The environments that programs would be started with; what they inherit is closed."""
    seen: list[Any] = []
    monkeypatch.setattr(runner, "_become", lambda command, env: seen.append(env) or 0)
    monkeypatch.setattr(sys, "orig_argv", ["python", "asynccore"])
    monkeypatch.setattr(sys, "argv", ["asynccore"])
    yield seen
    for env in seen:
        for path in {path for name, path in env.items() if name in termination.VARIABLES}:
            if path.startswith("/proc/self/fd/"):
                os.close(int(path.rpartition("/")[2]))


@pytest.mark.skipif(sys.platform != "linux", reason="memfd_create(2) is Linux's")
@pytest.mark.parametrize("way", ["option", "both options", "variable"])
def test_a_pipe_is_read_once(
    pipe: str, told: Any, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {
        "option": [f"--tls-cert={pipe}"],
        "both options": [f"--tls-cert={pipe}", f"--tls-key={pipe}"],
        "variable": [],
    }[way]
    if way == "variable":
        monkeypatch.setenv(termination.CERT_VARIABLE, pipe)
    assert cli.main(["run", *arguments, "script.py"]) == 0
    (env,) = told
    settings = termination.settings_of(env)
    for _ in range(3):
        assert Path(settings.cert).read_bytes() == pem()
        termination.make_context(settings)
    assert os.get_inheritable(int(settings.cert.rpartition("/")[2]))


@pytest.mark.skipif(sys.platform != "linux", reason="memfd_create(2) is Linux's")
def test_a_file_stays_a_file(told: Any, tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.write_bytes(pem())
    assert cli.main(["run", f"--tls-cert={file}", "script.py"]) == 0
    assert told[0][termination.CERT_VARIABLE] == str(file)


def test_where_nothing_can_be_kept_that_is_said(
    pipe: str, told: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(runner.sys, "platform", "darwin")
    assert cli.main(["run", f"--tls-cert={pipe}", "script.py"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "is a pipe, which can be read only once" in said


# Descriptors that can't be ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "said"),
    [
        ("99999999999999999999", "no process has so many descriptors"),
        ("9" * 5000, "no process has so many descriptors"),
        ("1048577", "no process has so many descriptors"),
        ("-1", "LISTEN_FDS is a number of sockets"),
        ("1e3", "LISTEN_FDS is a number of sockets"),
        ("", "LISTEN_FDS is a number of sockets"),
    ],
)
def test_absurd_numbers_of_sockets(
    count: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", count)
    assert cli.main(["run", "script.py"]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1 and len(told) < 200


@pytest.mark.parametrize("fd", ["-1", "99999", "99999999999", "9" * 30])
def test_absurd_descriptors(fd: str, capsys: Any) -> None:
    assert cli.main(["run", f"--fd={fd}", "script.py"]) == 2
    told = capsys.readouterr().err
    assert "there is no descriptor" in told
    assert told.count("\n") == 1
