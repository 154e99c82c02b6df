"""`asynccore run --tls-cert`: the unmodified examples, with TLS clients of the standard library."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from asynccore import dispatcher
from asynccore.channels import inspectors
from asynccore.listening import interception
from compat.command_line import cli, demo, runner
from ssl_ext import AcceptingSocket
from ssl_ext.termination import VARIABLES, Settings, in_front_of, make_context, settings_of
from tests.ports import held_ports
from tests.tls.pki import issue
from tests.tls.support import (
    ADDRESS,
    authority,
    client_certificate,
    server_certificate,
    strange_certificate,
    write_pem,
)

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP and no fork")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Certificates and keys as somebody would keep them."""
    folder = tmp_path_factory.mktemp("tls")
    leaf = server_certificate()
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    locked = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"tell nobody")
    )
    (folder / "password").write_text("tell nobody\n")
    (folder / "wrong").write_text("tell everybody\n")
    (folder / "nothing.pem").write_text("nothing at all\n")
    return {
        "both": write_pem(folder, "both.pem", leaf.private_key_pem, *leaf.cert_chain_pems),
        "cert": write_pem(folder, "cert.pem", *leaf.cert_chain_pems),
        "key": write_pem(folder, "key.pem", leaf.private_key_pem),
        "other": write_pem(folder, "other.pem", client_certificate().private_key_pem),
        "locked": write_pem(folder, "locked.pem", trustme.Blob(locked)),
        "ca": write_pem(folder, "ca.pem", authority().cert_pem),
        "password": folder / "password",
        "wrong": folder / "wrong",
        "nothing": folder / "nothing.pem",
        "missing": folder / "missing.pem",
    }


class Program(demo.Program):
    """A running example, to which one connects by TLS."""

    context: ssl.SSLContext

    def connect(self) -> Any:
        return self.context.wrap_socket(super().connect(), server_hostname=self.address[0])

    def connect_plain(self) -> socket.socket:
        return super().connect()


def trusting(certificate: Any = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


@pytest.fixture
def started(user_environment: dict[str, str], tmp_path: Path) -> Callable[..., Any]:
    """Start `asynccore run OPTIONS… SCRIPT` in a folder where a program has odd neighbours."""
    (tmp_path / "ssl_ext.py").write_text("raise SystemExit('not this one')")

    @contextmanager
    def start(
        script: str | Path, *options: object, port: str = "0", popen: Any = None, **env: str
    ) -> Iterator[Program]:
        command = [sys.executable, "-u", "-m", "asynccore", "run", *map(str, options)]
        with subprocess.Popen(
            [*command, str(demo.examples() / script), port],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            env={**user_environment, **env},
            **(popen or {}),
        ) as process:
            program = Program(process)
            program.context = trusting()
            try:
                yield program
            except demo.PROBLEMS as problem:
                raise AssertionError(f"{problem}{program.last_words()}") from problem
            finally:
                program.kill()

    return start


# The examples ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "conversation"), [("echo_server.py", demo.echo), ("chat_server.py", demo.chat)]
)
def test_an_unmodified_server(
    started: Any, files: Any, script: str, conversation: Callable[[Any], None]
) -> None:
    with started(script, "--tls-cert", files["both"]) as program:
        program.listen()
        with program.connect_plain() as stalls, program.connect_plain() as fails:
            # Neither is noticed: not by the other clients, and not by the program.
            fails.sendall(b"/quit\r\n" * 100)
            fails.shutdown(socket.SHUT_WR)
            stalls.sendall(b"\x16")
            conversation(program)
            program.check_running()


def test_mail(started: Any, files: Any) -> None:
    options = ("--tls-cert", files["cert"], "--tls-key", files["locked"])
    with started("mail_sink.py", *options, "--tls-password-file", files["password"]) as program:
        program.listen()
        host, port = program.address
        with smtplib.SMTP_SSL(
            host, port, local_hostname="c", timeout=demo.PATIENCE, context=trusting()
        ) as session:
            session.sendmail("a@b", ["c@d"], "Subject: x\r\n\r\ny")
        assert program.line() == "message 1: from a@b to c@d, subject 'x', 3 lines"


def test_client_certificates(started: Any, files: Any) -> None:
    options = ("--tls-cert", files["both"], "--tls-client-ca", files["ca"])
    with started("echo_server.py", *options) as program:
        program.listen()
        for certificate in (None, strange_certificate()):
            program.context = trusting(certificate)
            with pytest.raises((ssl.SSLError, ConnectionError)):
                with program.connect() as client:
                    client.sendall(b"x")
                    if not client.recv(1):
                        raise ConnectionResetError
        program.context = trusting(client_certificate())
        demo.echo(program)  # counts from its first connection


def test_child_processes_and_other_folders(started: Any, files: Any, tmp_path: Path) -> None:
    """Paths are what they were where the command was given; the legacy names need no compat."""
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import os, subprocess, sys\n"
        "os.chdir('/')\n"
        f"command = [sys.executable, '-u', {str(demo.examples() / 'echo_server.py')!r}, '0']\n"
        "sys.exit(subprocess.call(command))\n"
    )
    relative = os.path.relpath(files["both"], tmp_path)
    with started(parent, "--tls-cert", relative) as program:
        program.listen()
        with program.connect() as client:
            client.sendall(b"hello")
            assert demo._receive(client, 5) == b"hello"
        assert program.line() == "goodbye after 5 bytes"
        # The child lives on without its parent, and ends by what it can't print.
        _end_child(program)


@pytest.mark.parametrize("name", ["ssl_ext", "compat"])
def test_a_program_with_modules_of_our_names(
    started: Any, files: Any, tmp_path: Path, name: str
) -> None:
    """It imports its own, and what listens speaks TLS all the same."""
    (tmp_path / f"{name}.py").write_text("WHOSE = 'mine'\n")
    script = tmp_path / "program.py"
    text = (demo.examples() / "echo_server.py").read_text()
    script.write_text(f"import {name}\nassert {name}.WHOSE == 'mine'\n{text}")
    with started(script, "--tls-cert", files["both"]) as program:
        program.listen()
        demo.echo(program)
        program.check_running()


def _end_child(program: Program) -> None:
    import psutil  # type: ignore[import-untyped]

    for child in psutil.Process(program._process.pid).children(recursive=True):
        child.kill()


# How programs listen that have it from the example of some book: by the socket's own methods.
LISTENERS = {
    "has its socket listen": """
    def __init__(self):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.bind(('127.0.0.1', 0))
        self.kept = self.socket
        self.kept.listen(5)
        self.accepting = True
""",
    "is given its socket": """
    def __init__(self):
        self.kept = socket.socket()
        self.kept.bind(('127.0.0.1', 0))
        self.kept.listen(5)
        asyncore.dispatcher.__init__(self, self.kept)
        self.accepting = True
""",
    "assigns its socket": """
    def __init__(self):
        asyncore.dispatcher.__init__(self)
        self.socket = self.kept = socket.socket()
        self.kept.setblocking(0)
        self._fileno = self.kept.fileno()
        self.add_channel()
        self.bind(('127.0.0.1', 0))
        self.kept.listen(5)
        self.accepting = True
""",
}


@pytest.mark.parametrize("accepts_from", ["socket", "kept"])
@pytest.mark.parametrize("listens", LISTENERS.values(), ids=LISTENERS)
def test_a_program_that_uses_the_socket_itself(
    started: Any, files: Any, tmp_path: Path, listens: str, accepts_from: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import asyncore, socket\n"
        "class Echo(asyncore.dispatcher_with_send):\n"
        "    def handle_read(self):\n"
        "        self.send(self.recv(100))\n"
        "class Listener(asyncore.dispatcher):"
        f"{listens}"
        "        print('listening on %s:%d' % self.kept.getsockname())\n"
        "    def handle_accept(self):\n"
        f"        conn, addr = self.{accepts_from}.accept()\n"
        "        Echo(conn)\n"
        "Listener()\n"
        "asyncore.loop()\n"
    )
    with started(script, "--tls-cert", files["both"]) as program:
        program.listen()
        with program.connect_plain() as plain:
            plain.sendall(b"in clear")
            with contextlib.suppress(ConnectionError):
                while answer := plain.recv(100):
                    assert answer[:1] == b"\x15"  # an alert (RFC 8446 section 5.1)
        with program.connect() as client:
            client.sendall(b"hello")
            assert demo._receive(client, 5) == b"hello"


def test_the_environment_says_it_too(started: Any, files: Any) -> None:
    with started("echo_server.py", ASYNCCORE_TLS_CERT=str(files["both"])) as program:
        program.listen()
        demo.echo(program)


# What can't be right --------------------------------------------------------------------------


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record what this process would have become."""
    seen: list[Any] = []

    def become(command: list[str], env: dict[str, str]) -> int:
        seen.append((command, env))
        return 0

    monkeypatch.setattr(runner, "_become", become)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "asynccore", "run"])
    monkeypatch.setattr(sys, "argv", ["asynccore", "run"])
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return seen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "key"}, "TLS needs a certificate: --tls-cert FILE"),
        ({"client-ca": "ca"}, "TLS needs a certificate: --tls-cert FILE"),
        ({"cert": "missing"}, "can't read the certificate: No such file or directory: "),
        ({"cert": "cert", "key": "missing"}, "can't read the key: No such file or directory: "),
        ({"cert": "nothing"}, "there is no certificate in PEM form in "),
        ({"cert": "cert"}, " (--tls-key FILE)"),
        ({"cert": "cert", "key": "other"}, " (--tls-key FILE)"),
        ({"cert": "cert", "key": "locked"}, " (--tls-password-file FILE)"),
        ({"cert": "cert", "key": "locked", "password-file": "wrong"}, "the password is wrong"),
        ({"cert": "both", "password-file": "password"}, " (--tls-password-file FILE)"),
        (
            {"cert": "both", "password-file": "missing"},
            "can't read the password: No such file or directory: ",
        ),
        ({"cert": "both", "client-ca": "nothing"}, "there is no certificate in PEM form in "),
    ],
)
def test_errors_come_before_the_program(
    files: Any, became: Any, capsys: Any, options: dict[str, str], message: str
) -> None:
    words = [word for name, file in options.items() for word in (f"--tls-{name}", files[file])]
    assert cli.main(["run", *map(str, words), "script.py"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("asynccore run: ") and message in err
    assert became == []


VARIABLE_OF = dict(zip(("cert", "key", "password-file", "client-ca"), VARIABLES, strict=True))


@pytest.mark.parametrize(
    ("options", "variables", "expected"),
    [
        ({"cert": "both"}, {}, {"cert": "both"}),
        ({"cert": "both"}, {"client-ca": "ca"}, {"cert": "both", "client-ca": "ca"}),
        ({"client-ca": "ca"}, {"cert": "both"}, {"cert": "both", "client-ca": "ca"}),
        ({"cert": "cert"}, {"key": "key"}, {"cert": "cert", "key": "key"}),
        (
            {"password-file": "password", "cert": "cert"},
            {"cert": "nothing", "key": "locked", "password-file": "wrong"},
            {"cert": "cert", "key": "locked", "password-file": "password"},
        ),
        (
            {"client-ca": "ca"},
            {"cert": "both", "client-ca": ""},
            {"cert": "both", "client-ca": "ca"},
        ),
    ],
)
def test_what_the_program_is_told(
    files: Any, became: Any, monkeypatch: Any, options: Any, variables: Any, expected: Any
) -> None:
    """Each option goes before its own variable, and the other variables count."""
    for name, file in variables.items():
        monkeypatch.setenv(VARIABLE_OF[name], str(files.get(file, "")))
    words = [word for name, file in options.items() for word in (f"--tls-{name}", files[file])]
    assert cli.main(["run", *map(str, words), "script.py"]) == 0
    ((command, env),) = became
    assert command[-1] == "script.py"
    told = {name: value for name, value in env.items() if name.startswith("ASYNCCORE_TLS_")}
    assert told == {VARIABLE_OF[name]: str(files[file]) for name, file in expected.items()}
    assert settings_of(told) == Settings(
        *(str(files[expected[name]]) if name in expected else None for name in VARIABLE_OF)
    )


def test_paths_are_absolute_for_the_program() -> None:
    assert Settings("a", "b", "c", "d").variables() == {
        variable: os.path.abspath(name) for variable, name in zip(VARIABLES, "abcd", strict=True)
    }


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"CERT": "/missing.pem"}, "/missing.pem"),
        ({"CLIENT_CA": "/ca.pem"}, "--tls-cert FILE, or ASYNCCORE_TLS_CERT=FILE"),
        ({"CERT": ""}, "ASYNCCORE_TLS_CERT is empty: give it the path of a file"),
        ({"CERT": "both", "CLIENT_CA": ""}, "ASYNCCORE_TLS_CLIENT_CA is empty"),
        ({"CERT": "both", "CLIENT_CAS": "x"}, "there is no variable ASYNCCORE_TLS_CLIENT_CAS, but"),
    ],
)
def test_an_environment_that_can_not_be_right(
    files: Any, became: Any, monkeypatch: Any, capsys: Any, variables: Any, message: str
) -> None:
    for name, file in variables.items():
        monkeypatch.setenv(f"ASYNCCORE_TLS_{name}", str(files.get(file, file)))
    assert cli.main(["run", "script.py"]) == 2
    assert message in capsys.readouterr().err
    assert became == []


@pytest.mark.parametrize("name", VARIABLE_OF)
def test_an_empty_option(files: Any, became: Any, capsys: Any, name: str) -> None:
    """An empty client CA would be every certificate of the current folder."""
    options = {"cert": str(files["both"]), name: ""}
    words = [f"--tls-{option}={file}" for option, file in options.items()]
    assert cli.main(["run", *words, "script.py"]) == 2
    assert f"--tls-{name} is empty: give it the path of a file" in capsys.readouterr().err
    assert became == []


def test_an_option_that_there_is_not(became: Any, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--tls-bogus", "x", "script.py"])
    assert "--tls-bogus (those of TLS are --tls-cert, --tls-key, " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["run", "--bogus", "script.py"])
    assert "those of TLS" not in capsys.readouterr().err


@pytest.mark.parametrize("content", ["nothing", "missing", "cert"])
def test_a_listener_without_tls_is_an_os_error(files: Any, monkeypatch: Any, content: str) -> None:
    """Which is what programs expect of `listen`, also where nobody has looked beforehand."""
    from ssl_ext import termination as front

    monkeypatch.setenv(interception.VARIABLE, str(files[content]))
    monkeypatch.setattr(front, "_context", None)
    channel = dispatcher(map={})
    channel.create_socket()
    channel.bind((ADDRESS, 0))
    inspectors.append(interception.look_at)
    try:
        with pytest.raises(OSError, match=r"certificate|private key"):
            channel.listen(1)
    finally:
        inspectors.remove(interception.look_at)
    assert not isinstance(channel.socket, AcceptingSocket)
    channel.close()


def test_one_context_for_all_listeners(files: Any, monkeypatch: Any) -> None:
    from ssl_ext import termination as front

    monkeypatch.setenv(interception.VARIABLE, str(files["both"]))
    monkeypatch.setattr(front, "_context", None)
    # The process of the tests is not to get a handler.
    monkeypatch.setattr(front, "_renew_on_hangup", lambda: None, raising=False)
    with socket.create_server((ADDRESS, 0)) as one, socket.create_server((ADDRESS, 0)) as two:
        channels: list[Any] = [dispatcher(map={}) for _ in range(2)]
        channels[0].socket, channels[1].socket = one, two
        fronts = [in_front_of(channel) for channel in channels]
        assert all(isinstance(front, AcceptingSocket) for front in fronts)
        assert fronts[0].context is fronts[1].context
    assert make_context(Settings(str(files["both"]))).server_side


# Renewed files --------------------------------------------------------------------------------


@pytest.fixture
def renewed(tmp_path: Path) -> Callable[[bytes | None], Path]:
    """Put a certificate, or what one asks for, where the programs of a test look for it."""
    path = tmp_path / "renewed.pem"

    def renew(content: bytes | None = None) -> Path:
        new = tmp_path / "new.pem"
        new.write_bytes(issue(ip=ADDRESS).pem if content is None else content)
        return new.replace(path)

    renew(None)
    return renew


def shown(program: Program) -> bytes:
    """Return the certificate that a new connection sees."""
    with program.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        found: bytes | None = client.getpeercert(binary_form=True)
    assert found is not None
    return found


def until_another(program: Program, before: bytes) -> bytes:
    """Connect until another certificate is seen; each connection is a round trip."""
    end = time.monotonic() + demo.PATIENCE
    while (found := shown(program)) == before:
        assert time.monotonic() < end, "the old certificate is still shown"
    return found


@posix
def test_hangup_renews_at_once(started: Any, renewed: Any) -> None:
    with started("echo_server.py", "--tls-cert", renewed()) as program:
        program.listen()
        first = shown(program)
        assert program.line() == "goodbye after 1 bytes"
        renewed(b"nothing at all")
        program._process.send_signal(signal.SIGHUP)
        assert "TLS goes on with the files of before: there is no certificate" in program.line()
        assert shown(program) == first
        renewed()
        program._process.send_signal(signal.SIGHUP)
        second = until_another(program, first)
        assert shown(program) == second


@posix
def test_hangup_that_the_program_handles_is_its_own(
    started: Any, renewed: Any, tmp_path: Path
) -> None:
    """Its handler may be set before or after it listens."""
    script = tmp_path / "script.py"
    text = (demo.examples() / "echo_server.py").read_text()
    for when in ("before", "after"):
        script.write_text(
            "import signal\n"
            "def mine(*_): print('mine')\n"
            + (
                "signal.signal(signal.SIGHUP, mine)\n" + text
                if when == "before"
                else text.replace(
                    "asyncore.loop(", "signal.signal(signal.SIGHUP, mine); asyncore.loop("
                )
            )
        )
        with started(script, "--tls-cert", renewed()) as program:
            program.listen()
            shown(program)
            assert program.line() == "goodbye after 1 bytes"  # it is in its loop
            program._process.send_signal(signal.SIGHUP)
            assert program.line() == "mine"


@posix
def test_a_closed_terminal_ends_the_program_as_ever(
    started: Any, renewed: Any, monkeypatch: Any
) -> None:
    """A SIGHUP while the terminal is there renews."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()

    def become_its_session() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    try:
        options = {"preexec_fn": become_its_session, "pass_fds": [theirs]}
        with started("echo_server.py", "--tls-cert", renewed(), popen=options) as program:
            program.listen()
            first = shown(program)
            renewed()
            program._process.send_signal(signal.SIGHUP)
            until_another(program, first)
            os.close(theirs)
            os.close(ours)
            assert program._process.wait(demo.PATIENCE) == -signal.SIGHUP
    finally:
        for fd in (ours, theirs):
            with contextlib.suppress(OSError):
                os.close(fd)


@posix
def test_workers_see_new_files(started: Any, renewed: Any) -> None:
    with held_ports(1) as (held,):
        port = str(held)
        options = ("--workers", "2", "--tls-cert", renewed())
        group = {"start_new_session": True}
        with started("echo_server.py", *options, port=port, popen=group) as program:
            try:
                _see_new_files_twice(program, renewed)
            finally:  # they would outlive their parent, and hold its output open
                os.killpg(program._process.pid, signal.SIGKILL)


def _see_new_files_twice(program: Program, renewed: Any) -> None:
    program.line()  # unbuffered: two workers may mix text and line ends
    program.line()
    program.address = (ADDRESS, int(program._process.args[-1]))  # type: ignore[index]
    first = shown(program)
    renewed()
    second = until_another(program, first)
    end = time.monotonic() + demo.PATIENCE
    row = 0
    while row < 20:  # each worker looks by itself
        row = row + 1 if shown(program) == second else 0
        assert time.monotonic() < end, "one worker still shows the old certificate"
