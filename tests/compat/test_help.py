"""What the command line says: its help, its manual page and its errors, as files to be approved.

`ASYNCCORE_APPROVE=1` in the environment writes the files anew; then look at the difference.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from compat.command_line import cli
from tests.project.test_repository import settings

APPROVED = Path(__file__).parent / "approved"
MANUAL = Path(__file__).parents[2] / "docs" / "asynccore.1"

COMMANDS = sorted(cli._commands(cli.parser()))


def approve(file: Path, text: str) -> None:
    if os.environ.get("ASYNCCORE_APPROVE"):
        file.write_text(text, encoding="utf-8")
    wanted = file.read_text(encoding="utf-8") if file.exists() else ""
    # argparse breaks lines in other places since Python 3.13.
    assert text.split() == wanted.split(), (
        f"{file} is to be approved: run this test with ASYNCCORE_APPROVE=1"
    )


@pytest.fixture(autouse=True)
def width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main([*command.split(), "--help"])
    assert raised.value.code == 0
    approve(APPROVED / f"help-{command or 'all'}.txt", capsys.readouterr().out)


def test_the_manual_page(monkeypatch, capsys):
    from argparse_manpage.cli import main

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    page = "--module compat.command_line.cli --function parser --project-name asynccore"
    more = "--prog asynccore --format single-commands-section --manual-title asynccore --version 0"
    monkeypatch.setattr(sys, "argv", ["argparse-manpage", *page.split(), *more.split()])
    main()
    approve(MANUAL, capsys.readouterr().out)


ERRORS = {
    "run --engin poll script.py": 2,
    "run --workrs 3 script.py": 2,
    "run --tls-crt a --xyz script.py": 2,
    "run --engine=pol script.py": 2,
    "run --engine=steam script.py": 2,
    "run": 2,
    "run --watchdog 3 script.py": 2,
    "run --max-connections-per-worker 3 script.py": 2,
    "run --workers 2 --max-connections-per-worker 0 script.py": 2,
    "run --drain -1 script.py": 2,
    "run --drain soon script.py": 2,
    "run --workers 0 script.py": 2,
    "run -u script.py": 2,
    "demo --engine nope": 2,
    "demo --workers 2": 2,
    "top --onc 4711": 2,
}


def test_errors(capsys, monkeypatch):
    from asynccore import pollers

    monkeypatch.setattr(pollers, "available", lambda: ("epoll", "poll", "select"))
    said = []
    for line, wanted in ERRORS.items():
        try:
            status = cli.main(line.split())
        except SystemExit as why:
            status = why.code
        out, err = capsys.readouterr()
        assert (status, out) == (wanted, ""), line
        said.append(f"$ asynccore {line}\n{err}")
    approve(APPROVED / "errors.txt", "\n".join(said))


# Launchers ------------------------------------------------------------------------------------

LAUNCHER = """\
import sys
from asynccore.__main__ import command_line
if __name__ == "__main__":
    sys.exit(command_line())
"""

NEIGHBOUR = """
import asyncore, sys, neighbour
print(asyncore.__name__, neighbour.__name__, sys.flags.ignore_environment, sys.flags.no_user_site)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").touch()
    (tmp_path / "script.py").write_text(NEIGHBOUR)
    return tmp_path / "script.py"


@pytest.mark.parametrize(
    "options", [["-E"], ["-s"], ["-sE"], *([["-sP"]] if sys.version_info >= (3, 11) else [])]
)
def test_what_the_launcher_says_to_python_is_not_the_user_s(options, installed, tmp_path, script):
    """pipx writes `python -E`, others `python -sP`, into its first line."""
    launcher = tmp_path / "asynccore"
    launcher.write_text(LAUNCHER)
    done = installed(*options, launcher, "run", script)
    assert done == (0, "asynccore neighbour 0 0\n", "")


def test_what_the_user_says_is(installed, script):
    assert installed("-s", "-m", "asynccore", "run", script)[1] == "asynccore neighbour 0 1\n"


# A port in use --------------------------------------------------------------------------------

LISTENS = """
import asyncore, sys
class Listener(asyncore.dispatcher):
    def __init__(self):
        asyncore.dispatcher.__init__(self)
        self.create_socket()
        self.bind(("127.0.0.1", int(sys.argv[1])))
        self.listen(5)
Listener()
"""


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("more", [[], ["--workers", "3"]])
def test_a_port_in_use_is_told_in_one_line(more, taken, python, tmp_path):
    if more and sys.platform == "win32":
        pytest.skip("Windows has no workers")
    (tmp_path / "server.py").write_text(LISTENS)
    status, out, err = python("-m", "asynccore", "run", *more, "server.py", taken)
    said = f"asynccore run: can't listen at 127.0.0.1:{taken}: "
    assert (status, out) == (1, "")
    assert err.startswith(said) and err.count("\n") == 1


def test_a_traceback_for_who_develops(taken, python, tmp_path):
    (tmp_path / "server.py").write_text(LISTENS)
    run = ("-X", "dev", "-m", "asynccore", "run", "server.py", taken)
    status, _, err = python(*run)
    assert status == 1
    assert "Traceback" in err and f"'127.0.0.1:{taken}'" in err


def test_other_exceptions_are_told_as_ever(taken, python, tmp_path):
    """The hook is there, for the program caught what it is for."""
    (tmp_path / "server.py").write_text(LISTENS.replace("\nListener()", "\n") + AGAIN)
    status, _, err = python("-m", "asynccore", "run", "server.py", taken)
    assert status == 1
    assert err.startswith("Traceback") and err.endswith("ZeroDivisionError: division by zero\n")


AGAIN = """
try:
    Listener()
except OSError as why:
    print(why.errno, why.args)
1 / 0
"""


# status and completion ------------------------------------------------------------------------


def test_status(installed, tmp_path):
    status, out, err = installed("-m", "asynccore", "status", env={"ASYNCCORE_TOP": "1"})
    assert (status, err) == (0, "")
    assert f"a virtual environment: {tmp_path / 'env'}" in out
    assert "\nenabled: no " in out
    assert "under 'asynccore run' they give asynccore" in out
    assert "epoll (default)" in out or sys.platform != "linux"
    assert "\nextras: top (missing: pip install 'asynccore[top]'), uvloop" in out
    assert out.endswith("\nASYNCCORE_TOP=1\n")
    assert installed("-m", "asynccore", "enable")[0] == 0
    _, out, _ = installed("-m", "asynccore", "status")
    assert "\nenabled: yes, by " in out
    assert "import asyncore gives asynccore: " in out
    assert "(not asynccore)" not in out


def test_status_in_this_process(monkeypatch, capsys, tmp_path):
    from compat.command_line import enabling, status

    monkeypatch.setattr(enabling, "places", lambda: [tmp_path])
    (tmp_path / enabling.PTH).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smtpd.py").write_text("1 / 0")
    assert cli.main(["status"]) == 0
    out = capsys.readouterr().out
    assert "no virtual environment" in out
    assert f"enabled: yes, by {tmp_path / enabling.PTH}" in out
    assert "import smtpd    gives ZeroDivisionError: division by zero (not asynccore)" in out
    (tmp_path / "conda-meta").mkdir()
    monkeypatch.setattr(status, "EXTRAS", {"x": ("no-such-package",), "y": ("pytest",)})
    text = status.report()
    assert f"an environment of conda: {tmp_path}" in text
    assert "x (missing: pip install 'asynccore[x]'), y (pytest " in text


def test_status_knows_every_extra_of_users():
    from compat.command_line import status

    extras = set(settings()["project"]["optional-dependencies"])
    ours = {"test", "bench", "docs", "gallery"}
    assert extras - ours - set(status.EXTRAS) <= {"config"}  # that is for Python 3.10 alone


def test_completion(capsys, monkeypatch):
    assert cli.main(["completion", "bash"]) == 0
    assert "--watchdog" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert cli.main(["completion", "zsh"]) == 2
    assert "pip install 'asynccore[shell]'" in capsys.readouterr().err
