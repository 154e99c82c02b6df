"""pyftpdlib, which is the largest program on asynchat that still has users, unchanged.

Its channels have a `_closed` of their own, their own `add_channel`, `close`, `send` and `recv`, and
an event loop instead of `asyncore.loop`.
"""

from __future__ import annotations

import ftplib
import io
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import asynccore

PATIENCE = 60.0  # seconds, for what takes a fraction of one
SERVER = Path(__file__).with_name("ftp_server.py")
CONTENT = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[ftplib.FTP]:
    command = [sys.executable, "-m", "asynccore", "run", str(SERVER), str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None and program.stderr is not None
            port, _, file = program.stdout.readline().partition(" ")
            assert port, program.stderr.read()
            assert file.strip() == asynccore.__file__
            with ftplib.FTP() as client:
                client.connect("127.0.0.1", int(port), timeout=PATIENCE)
                client.login("user", "secret")
                yield client
        finally:
            program.terminate()
            program.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_files_go_both_ways(ftp: ftplib.FTP, passive: bool, tmp_path: Path) -> None:
    ftp.set_pasv(passive)
    ftp.storbinary("STOR file", io.BytesIO(CONTENT))
    for _ in range(3):  # each on a connection of its own, which has to end
        got = io.BytesIO()
        ftp.retrbinary("RETR file", got.write)
        assert got.getvalue() == CONTENT
    assert ftp.nlst() == ["file"]
    ftp.rename("file", "other")
    assert (tmp_path / "other").read_bytes() == CONTENT
    assert ftp.quit().startswith("221")
