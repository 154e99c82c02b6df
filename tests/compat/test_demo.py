"""`asynccore demo`, whose exit status tells the truth."""

from __future__ import annotations

import shutil
import smtplib

import pytest

from asynccore import pollers
from compat.command_line import cli, demo

ENGINE = "select"  # everywhere

# What each example is broken by, and what the demo must then have missed.
BREAKAGES = {
    "wrong bytes": ("echo_server.py", "self.send(chunk)", "self.send(chunk.upper())", "HELLO"),
    "ends": ("echo_server.py", "self.send(chunk)", "raise SystemExit('tired')", "tired"),
    "says nothing": ("echo_server.py", "goodbye after", "gone after", "'gone after 100005 bytes'"),
    "no address": ("chat_server.py", "listening on", "serving", "expected 'listening on"),
    "never starts": ("chat_server.py", "import asynchat", "import no_such", "No module named"),
    "not said": ("chat_server.py", 'b": "', 'b"> "', "expected b'Ann: hello Bob\\r\\n'"),
    "unread mail": ("mail_sink.py", '["Subject"]', '["From"]', "subject None"),
    "refused mail": ("mail_sink.py", "self.count += 1", "return '550 no'", "550"),
}


def test_all_examples_do_what_they_should(capfd):
    assert cli.main(["demo"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert "  smtpd is asynccore.smtpd" in lines
    for name in demo.CONVERSATIONS:
        assert f"$ asynccore run {name} 0" in lines
    assert sum(line.startswith("  listening on 127.0.0.1:") for line in lines) == 3
    assert lines[-1] == "All of these programs, none of them changed, did what they should."
    assert "FAILED" not in out


def test_the_engine_reaches_the_programs(monkeypatch, capfd, tmp_path):
    show = "import os, sys; print('listening on 127.0.0.1:' + os.environ['ASYNCCORE_ENGINE'])"
    for name in demo.CONVERSATIONS:
        (tmp_path / name).write_text(show)
    assert demo.main(ENGINE, tmp_path) == 1
    assert f"listening on 127.0.0.1:{ENGINE}" in capfd.readouterr().out


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_program_is_found_out(name, monkeypatch, tmp_path, capfd):
    script, before, after, shown = BREAKAGES[name]
    broken = shutil.copytree(demo.examples(), tmp_path / "examples") / script
    source = broken.read_text()
    assert source.count(before) >= 1
    broken.write_text(source.replace(before, after))
    monkeypatch.setattr(demo, "CONVERSATIONS", {script: demo.CONVERSATIONS[script]})
    if name not in ("ends", "never starts"):
        monkeypatch.setattr(demo, "LAST_WORDS", 0)  # the others would go on for ever
    assert demo.main(None, broken.parent) == 1
    out, err = capfd.readouterr()
    assert err == ""
    assert "  FAILED: " in out
    assert shown in out
    assert out.splitlines()[-1] == "1 of 2 steps failed"


def test_silence_is_a_failure(monkeypatch, tmp_path, capfd):
    (tmp_path / "silent.py").write_text("import threading; threading.Event().wait()")
    monkeypatch.setattr(demo, "CONVERSATIONS", {"silent.py": demo.echo})
    monkeypatch.setattr(demo, "_check_names", lambda engine: None)
    monkeypatch.setattr(demo, "PATIENCE", 0.01)
    monkeypatch.setattr(demo, "LAST_WORDS", 0)
    assert demo.main(None, tmp_path) == 1
    assert "got none in 0.01 s" in capfd.readouterr().out


def test_a_program_that_ends_too_early_is_a_failure(monkeypatch, tmp_path, capfd):
    (tmp_path / "short.py").write_text("print('listening on 127.0.0.1:1')\nprint('a')\n")

    def until_the_end(program):
        assert program.line() == "a"
        with pytest.raises(demo.Mismatch, match="but the program ended"):
            program.line()
        program._process.wait()

    monkeypatch.setattr(demo, "CONVERSATIONS", {"short.py": until_the_end})
    assert demo.main(None, tmp_path) == 1
    assert "it ended with status 0" in capfd.readouterr().out


def test_names_of_somebody_else_are_a_failure(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(demo, "CONVERSATIONS", {})
    monkeypatch.setattr(demo, "TARGETS", {"asyncore": "somebody_else"})
    assert demo.main(None, tmp_path) == 1
    assert "asyncore is somebody_else: expected 'somebody_else', got 'asynccore'" in (
        capfd.readouterr().out
    )


def test_smtp_errors_are_failures(monkeypatch, tmp_path, capfd):
    def refuse(program):
        raise smtplib.SMTPServerDisconnected("gone")

    (tmp_path / "any.py").write_text("print('listening on 127.0.0.1:1')")
    monkeypatch.setattr(demo, "CONVERSATIONS", {"any.py": refuse})
    assert demo.main(None, tmp_path) == 1
    assert "FAILED: gone" in capfd.readouterr().out


def test_without_examples_it_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(demo, "_PLACES", (tmp_path / "nowhere",))
    assert cli.main(["demo"]) == 1
    assert "the example programs are in none of" in capsys.readouterr().err


@pytest.mark.parametrize("script", demo.CONVERSATIONS)
def test_the_examples_know_nothing_of_us(script):
    source = (demo.examples() / script).read_text()
    for name in ("asynccore", "compat", "ssl_ext", "asyncio"):
        assert name not in source


@pytest.mark.parametrize("script", demo.CONVERSATIONS)
@pytest.mark.parametrize("engine", pollers.available())
def test_the_examples_on_every_engine(script, engine, capsys):
    demo._check_program(demo.examples() / script, engine, demo.CONVERSATIONS[script])
