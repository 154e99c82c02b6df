"""The options of `asynccore run`: the command line, then variables, then a file, then the usual."""

from __future__ import annotations

import sys

import pytest

from compat.command_line import cli, configuration, runner
from compat.command_line.runner import Options

COMMAND = cli._commands(cli.parser())["run"]

# Each key, with a value as TOML and as text, and what it becomes; and two others.
EVERY = {
    "engine": ('"poll"', "poll", "select"),
    "text": ('"latin-1"', "latin-1", "utf-8"),
    "workers": ("3", 3, 5),
    "drain": ("2.5", 2.5, 7.0),
    "watchdog": ("9", 9.0, 4.0),
    "max-connections-per-worker": ("500", 500, 7),
    "top": ('"a/b"', "a/b", "c/d"),
    "metrics": ("9100", "9100", "[::1]:9"),
    "log-level": ('"error"', "error", "debug"),
    "log-file": ('"a.log"', "a.log", "b.log"),
    "log-format": ('"json"', "json", "text"),
    "fd": ("[4, 5]", (4, 5), (6,)),
    "proxy-protocol": ('"10.0.0.1"', "10.0.0.1", "10.0.0.2,unix:"),
    "tls-cert": ('"a.pem"', "a.pem", "b.pem"),
    "tls-key": ('"a.key"', "a.key", "b.key"),
    "tls-password-file": ('"a.pw"', "a.pw", "b.pw"),
    "tls-client-ca": ('"a.ca"', "a.ca", "b.ca"),
}


def value_of(options: Options, key: str) -> object:
    for group, fields in (("tls", options.tls), ("log", options.log)):
        if key.startswith(f"{group}-"):
            return (fields or {}).get(key[len(group) + 1 :].replace("-", "_"))
    return getattr(options, "fds" if key == "fd" else key.replace("-", "_"))


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command line; return the options, with those that pass by in the environment."""
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(runner, "run", lambda program, python, options: seen.append(options) or 0)

    def call(*arguments: str) -> Options:
        assert cli.main(["run", *arguments, "script.py"]) == 0
        return seen.pop()

    return call


def test_every_option_can_be_configured():
    assert set(EVERY) == set(configuration.options(COMMAND))


@pytest.mark.parametrize("key", EVERY)
def test_the_order(key, run, tmp_path, monkeypatch):
    toml, wanted, other = EVERY[key]
    usual = value_of(run(), key)
    assert usual in (None, ())
    (tmp_path / "pyproject.toml").write_text(f"[tool.asynccore]\n{key} = {toml}\n")
    assert value_of(run(), key) == usual, "nobody has named the file"
    assert value_of(run("--config", "pyproject.toml"), key) == wanted
    monkeypatch.setenv("ASYNCCORE_CONFIG", "pyproject.toml")
    assert value_of(run(), key) == wanted
    text = str(other[0] if key == "fd" else other)
    monkeypatch.setenv(configuration.variable_of(key), text)
    found = value_of(run(), key)
    # What the program's own process reads from the variable is left to that.
    assert found == (usual if key.startswith(configuration._PASSED_ON) else other)
    argument = f"--{key}={toml.strip(chr(34))}" if key != "fd" else "--fd=8"
    assert value_of(run(argument), key) == (wanted if key != "fd" else (8,))


def test_variables_reach_the_program(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(runner, "_become", lambda command, env: seen.append(env) or 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text("[tool.asynccore]\nengine = 'poll'\ndrain = 3\ntop = true\n")
    monkeypatch.setenv("ASYNCCORE_CONFIG", "c.toml")
    monkeypatch.setenv("ASYNCCORE_DRAIN", "5")
    monkeypatch.setenv("ASYNCCORE_LOG_LEVEL", "error")
    monkeypatch.delenv("ASYNCCORE_ENGINE", raising=False)
    assert cli.main(["run", "script.py"]) == 0
    (env,) = seen
    assert env["ASYNCCORE_ENGINE"] == "poll"
    assert env["ASYNCCORE_DRAIN"] == "5"
    assert env["ASYNCCORE_TOP"] == "1"
    assert env["ASYNCCORE_LOG_LEVEL"] == "error"
    assert "ASYNCCORE_CONFIG" not in env


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("worker = 3", "unknown key 'worker' in [tool.asynccore] (did you mean workers?)"),
        ("log_level = 'info'", "unknown key 'log_level' in [tool.asynccore] (did you mean log-le"),
        ("xyz = 1", "unknown key 'xyz' in [tool.asynccore]\n"),
        ("workers = 'many'", "c.toml: workers can't be 'many'"),
        ("workers = true", "c.toml: workers can't be True"),
        ("workers = [1, 2]", "c.toml: workers is one value, not [1, 2]"),
        ("log-level = 'loud'", "c.toml: log-level can't be 'loud': choose from debug, info"),
        ("fd = [[1]]", "c.toml: fd can't be [1]"),
        ("workers = ", "c.toml: "),
    ],
)
def test_what_can_not_be(table, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(f"[tool.asynccore]\n{table}\n")
    assert cli.main(["run", "--config", "c.toml", "script.py"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["tool = 1", "[tool]\nasynccore = 'x'", "[[tool.asynccore]]"])
def test_what_is_no_table(text, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text(f"{text}\n")
    assert cli.main(["run", "--config", "c.toml", "script.py"]) == 2
    assert "c.toml: [tool.asynccore] is to be a table: " in capsys.readouterr().err


def test_a_variable_that_can_not_be(capsys, monkeypatch):
    monkeypatch.setenv("ASYNCCORE_WORKERS", "many")
    assert cli.main(["run", "script.py"]) == 2
    assert "ASYNCCORE_WORKERS can't be 'many'" in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys):
    assert cli.main(["run", "--config", "no.toml", "script.py"]) == 1
    assert "No such file or directory: 'no.toml'" in capsys.readouterr().err


@pytest.mark.skipif(sys.version_info >= (3, 11), reason="Python has a parser itself since 3.11")
def test_without_a_parser(capsys, monkeypatch, tmp_path):
    (tmp_path / "c.toml").touch()
    monkeypatch.setitem(sys.modules, "tomli", None)
    assert cli.main(["run", "--config", str(tmp_path / "c.toml"), "script.py"]) == 2
    assert "pip install 'asynccore[config]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "error"),
    [
        ("ASYNCCORE_DRAIN", "a drain is a number of seconds, at least 0, not 'soon'"),
        ("ASYNCCORE_TEXT", "--text takes an encoding such as latin-1 or utf-8, not 'soon'"),
        ("ASYNCCORE_LOG_LEVEL", "unknown log level 'soon'"),
        ("ASYNCCORE_WATCHDOG", "ASYNCCORE_WATCHDOG can't be 'soon'"),
    ],
)
def test_a_wrong_variable_is_told_before_the_program_begins(variable, error, python):
    status, out, err = python(
        *("-m", "asynccore", "run", "-c", "print('begun')"), env={variable: "soon"}
    )
    assert (status, out) == (2, "")
    assert error in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_an_import_ignores_a_drain_that_is_none(python):
    status, out, err = python(
        *("-c", "import asynccore; print('imported')"), env={"ASYNCCORE_DRAIN": "soon"}
    )
    assert (status, out) == (0, "imported\n")
    assert "ASYNCCORE_DRAIN is ignored: a drain is a number" in err


def test_nothing_is_started_for_options_that_contradict_each_other(monkeypatch):
    from compat.command_line import metrics

    monkeypatch.setattr(metrics, "start", lambda where: pytest.fail("it was started"))
    with pytest.raises(ValueError, match="--watchdog needs --workers"):
        runner.run(["x.py"], [], Options(metrics="0", watchdog=1.0))
