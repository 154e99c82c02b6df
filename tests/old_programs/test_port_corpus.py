"""`asynccore port --write` over the corpus: each program runs then, and answers a real client."""

from __future__ import annotations

import hashlib
import shutil
import struct
import sys
from pathlib import Path

import pytest
import trustme

from compat.command_line import cli
from tests.old_programs import talks


# Programs for `port` alone.
def _record(text: bytes, digest: bytes | None = None) -> bytes:
    digest = digest or hashlib.md5(text, usedforsecurity=False).digest()
    return struct.pack("!L16s", len(text), digest) + text


MORE_TALKS = {
    "records_py2": talks.Talk(
        [
            (_record("grün".encode()), struct.pack("!LL", 1, 5) + "grün".encode()),
            (_record(b"two"), struct.pack("!LL", 2, 3) + b"two"),
            (_record(b"3", bytes(16)), struct.pack("!LL", 0, 8) + "wrong ä".encode()),
        ]
    ),
    "ticker_py2": talks.Talk([(b"", b"1 here\n1 here\n"), (b"x\n", b"")]),
    "datagrams_py2": talks.Talk([(b"abc", b"ABC")], "udp"),
    "producers_py2": talks.Talk(
        [(b"", b"hello\n"), (b"gr\xfcn\n", b"gr\xfcn\ngr\xfcn\n> gr\xfcn\n")]
    ),
    "waiting_tls_py2": talks.Talk([(b"hello", b"hello"), (b"again", b"again")], "tls"),
}
PROGRAMS = {
    **{talks.CORPUS / f"{name}.py": talk for name, talk in talks.TALKS.items()},
    **{talks.CORPUS / "port" / f"{name}.py": talk for name, talk in MORE_TALKS.items()},
}


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate with that of its authority, and its key."""
    folder = tmp_path_factory.mktemp("identity")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    chain, key = folder / "cert.pem", folder / "key.pem"
    issued.private_key_pem.write_to_path(str(key))
    for pem in (*issued.cert_chain_pems, authority.cert_pem):
        pem.write_to_path(str(chain), append=True)
    return chain, key


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_a_ported_program_answers(
    program: Path, identity: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Path(shutil.copy(program, tmp_path))
    assert cli.main(["port", "--write", str(script)]) == 0
    once = script.read_bytes()
    assert capsys.readouterr() == (f"ported {script}\n", "")
    assert cli.main(["port", "--write", str(script)]) == 0
    assert capsys.readouterr() == ("", "")
    assert script.read_bytes() == once
    talk = PROGRAMS[program]
    files = map(str, identity if talk.by == "tls" else ())
    talks.converse(
        lambda port: [sys.executable, *STRICTLY, "-u", str(script), str(port), *files],
        talk,
        tmp_path,
        identity[0],
    )


# aiosmtpd 1.4.6 imports a name that Python 3.15 warns of.
STRICTLY = ("-W", "error", "-W", "ignore:'typing.ByteString':DeprecationWarning")

# Programs of which nothing is left to do, and some of which something is.
ON_ASYNCIO = {
    *("y2001_chat", "y2001_finger", "y2001_mail_sink", "y2001_monitor", "y2009_numbers"),
    *("y2015_line_json", "y2015_mail_json", "records_py2"),
}


HALF_WAY = {"y2009_line_server", "y2009_secure_echo", "y2001_web_client", "ticker_py2"}
GO_ON = [program for program in PROGRAMS if program.stem in ON_ASYNCIO | HALF_WAY]


@pytest.mark.parametrize("program", GO_ON, ids=lambda program: program.stem)
def test_a_program_on_asyncio_answers_as_before(
    program: Path, identity: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Path(shutil.copy(program, tmp_path))
    assert cli.main(["port", "--write", str(script)]) == 0
    before = script.read_bytes()
    assert cli.main(["port", "--write", "--step", "asyncio", str(script)]) == 0
    once = script.read_bytes()
    assert once != before
    classic = b"import asynccore" in once or b"from asynccore" in once
    assert classic == (program.stem in HALF_WAY)
    assert cli.main(["port", "--write", "--step", "asyncio", str(script)]) == 0
    assert script.read_bytes() == once
    assert cli.main(["port", "--write", str(script)]) == 0
    assert script.read_bytes() == once
    talk = PROGRAMS[program]
    files = map(str, identity if talk.by == "tls" else ())
    talks.converse(
        lambda port: [sys.executable, *STRICTLY, "-u", str(script), str(port), *files],
        talk,
        tmp_path,
        identity[0],
    )
