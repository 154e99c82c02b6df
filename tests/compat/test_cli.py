"""The command line itself; what its commands do is tested beside them."""

from __future__ import annotations

import os
import sys
import types

import pytest

import asynccore
from compat.command_line import cli, runner


@pytest.fixture
def became(monkeypatch):
    """Record what this process would have become."""
    seen = []
    monkeypatch.setattr(runner, "_become", lambda command, env: seen.append((command, env)) or 42)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-u", "-m", "asynccore", "run"])
    monkeypatch.setattr(sys, "argv", ["asynccore", "run"])
    return seen


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["script.py"], ["script.py"]),
        (["script.py", "-m", "x", "--engine", "y", "--help"],) * 2,
        (["-"], ["-"]),
        (["-m", "module", "-c", "x", "--engine"],) * 2,
        (["-c", "code", "-m", "--version"],) * 2,
        (["--", "-script.py"],) * 2,
    ],
)
@pytest.mark.parametrize("engine", [[], ["--engine", "select"], ["--engine=select"]])
def test_run(arguments, program, engine, became, monkeypatch):
    monkeypatch.delenv("ASYNCCORE_ENGINE", raising=False)
    assert cli.main(["run", *engine, *arguments]) == 42
    ((command, env),) = became
    assert command == [sys.executable, "-u", *program]
    wanted = runner.environment(os.environ, "select" if engine else None)
    assert env == {**wanted, "ASYNCCORE_RUN": str(os.getpid())}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "run: error: what to run is missing: SCRIPT, -m MODULE or -c CODE"),
        (["run", "--engine", "poll"], "what to run is missing"),
        (["run", "-u", "script.py"], "unrecognized arguments: -u"),
        (["run", "--eng", "poll", "script.py"], "unrecognized arguments: --eng"),
        ([], "the following arguments are required: COMMAND"),
        (["walk"], "invalid choice: 'walk'"),
        (["enable", "--user", "--system"], "not allowed with argument"),
    ],
)
def test_usage_errors(arguments, message, became, capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(arguments)
    assert raised.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert became == []


def test_an_engine_that_is_not_there(became, capsys):
    engine = "steam"
    assert cli.main(["run", "--engine", engine, "script.py"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("asynccore run: ")
    assert repr(engine) in err
    assert ", ".join(asynccore.pollers.available()) in err
    assert became == []


def test_an_interpreter_that_ignores_the_environment(became, monkeypatch, capsys):
    flags = types.SimpleNamespace(ignore_environment=1)
    monkeypatch.setattr(runner, "sys", types.SimpleNamespace(flags=flags))
    assert cli.main(["run", "script.py"]) == 2
    assert "python -E and -I ignore the environment" in capsys.readouterr().err
    assert became == []


def test_an_interpreter_without_a_name(became, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", "")
    assert cli.main(["run", "script.py"]) == 2
    assert "does not know its own executable" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows starts a child instead")
def test_what_was_printed_before_comes_first(monkeypatch):
    done = []
    monkeypatch.setattr(sys.stdout, "flush", lambda: done.append("flush"))
    monkeypatch.setattr(os, "execve", lambda *arguments: done.append(arguments))
    runner._become(["python", "x"], {"A": "b"})
    assert done == ["flush", ("python", ["python", "x"], {"A": "b"})]


def test_help_and_version(python):
    status, out, err = python("-m", "asynccore", "--help")
    assert (status, err) == (0, "")
    for command in ("run", "enable", "disable", "demo"):
        assert f"\n    {command} " in out
    assert python("-m", "compat", "--version") == (0, f"asynccore {asynccore.__version__}\n", "")


def test_what_other_commands_need_is_not_loaded_for_run(python):
    """`asynccore run` stands before every start of a program."""
    code = """
import sys
from compat.command_line import cli
try:
    cli.main(["run"])
except SystemExit as why:
    print(why.code, {"smtplib", "email", "site"} & {name.split(".")[0] for name in sys.modules})
print(sorted(name for name in sys.modules if name.startswith("compat.command_line.")))
"""
    status, out, err = python("-S", "-c", code)
    assert (status, out.splitlines()) == (
        0,
        [
            "2 set()",
            str([f"compat.command_line.{it}" for it in ("cli", "configuration", "runner")]),
        ],
    ), err
