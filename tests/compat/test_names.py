"""`compat.install()` and `compat.uninstall()` in one process."""

from __future__ import annotations

import importlib
import os
import sys
import types
import warnings
from importlib.machinery import ModuleSpec

import pytest

import asynccore
import asynccore.asynchat
import asynccore.smtpd
import compat
from compat import engines

OURS = {
    "asyncore": asynccore,
    "asynchat": asynccore.asynchat,
    "smtpd": asynccore.smtpd,
}


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """No legacy module was imported, no engine chosen; all is put back afterwards."""
    for name in OURS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delenv("ASYNCCORE_ENGINE", raising=False)
    yield
    compat.uninstall()


def found():
    return {name: sys.modules.get(name) for name in OURS}


def other_module(name, monkeypatch):
    """Pretend that a classic module was imported before."""
    module = types.ModuleType(name)
    module.__file__ = f"/lib/{name}.py"
    module.dispatcher = type("dispatcher", (), {"__module__": name})
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_install_and_uninstall():
    compat.install()
    assert found() == OURS
    for name, module in OURS.items():
        assert importlib.import_module(name) is module
    compat.uninstall()
    assert found() == dict.fromkeys(OURS)
    assert "ASYNCCORE_ENGINE" not in os.environ


def test_twice_is_as_good_as_once():
    compat.install("poll")
    compat.install("select")
    assert os.environ["ASYNCCORE_ENGINE"] == "select"
    compat.install()
    assert os.environ["ASYNCCORE_ENGINE"] == "select"
    compat.uninstall()
    assert found() == dict.fromkeys(OURS)
    assert "ASYNCCORE_ENGINE" not in os.environ
    compat.uninstall()


def test_the_engine_that_was_chosen_before_comes_back(monkeypatch):
    monkeypatch.setenv("ASYNCCORE_ENGINE", "poll")
    compat.install("select")
    assert os.environ["ASYNCCORE_ENGINE"] == "select"
    compat.uninstall()
    assert os.environ["ASYNCCORE_ENGINE"] == "poll"


def test_the_engine_is_the_default_of_new_pollers():
    compat.install("select")
    assert asynccore.pollers.default_name() == "select"


@pytest.mark.parametrize("name", ["steam", "EPOLL", ""])
def test_an_unknown_engine_names_the_choices(name):
    with pytest.raises(ValueError) as raised:
        compat.install(name)
    here = ", ".join((*asynccore.pollers.available(), *engines.HOSTS))
    assert str(raised.value) == f"unknown engine {name!r}: choose from {here}"
    assert found() == dict.fromkeys(OURS)


@pytest.mark.parametrize("name", engines.HOSTS)
def test_a_host_that_is_not_installed_says_what_to_install(name, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda needed: None)
    with pytest.raises(ValueError, match=rf"pip install 'asynccore\[{name}\]'"):
        compat.install(name)
    assert found() == dict.fromkeys(OURS)


def test_a_folder_of_plugins_is_no_twisted(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda needed: ModuleSpec(needed, None))
    with pytest.raises(ValueError, match="pip install"):
        compat.install("twisted")
    assert found() == dict.fromkeys(OURS)


def test_a_module_imported_before_is_named_and_comes_back(monkeypatch):
    other = other_module("asyncore", monkeypatch)
    user = types.ModuleType("program_that_uses_it")
    user.asyncore = other
    heir = types.ModuleType("program_that_derived")
    heir.dispatcher = other.dispatcher
    stranger = types.ModuleType("program_that_does_not")
    for module in (user, heir, stranger):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.warns(compat.LegacyModuleWarning) as caught:
        compat.install()
    assert found() == OURS
    (warning,) = caught
    assert warning.filename == __file__
    text = str(warning.message)
    assert "asyncore (from /lib/asyncore.py)" in text
    assert "asynchat" not in text
    assert "names bound earlier" in text
    assert "classes already derived" in text
    assert "still use them: program_that_derived, program_that_uses_it." in text
    compat.uninstall()
    assert found() == {"asyncore": other, "asynchat": None, "smtpd": None}


def test_a_module_without_file_that_nobody_uses(monkeypatch):
    del other_module("smtpd", monkeypatch).__file__
    with pytest.warns(compat.LegacyModuleWarning, match="unknown place.*use them: none found"):
        compat.install()


def test_no_warning_when_the_names_were_ours_already(monkeypatch):
    for name, module in OURS.items():
        monkeypatch.setitem(sys.modules, name, module)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compat.install()
    compat.uninstall()
    assert found() == OURS


def test_a_blocked_name_is_no_module(monkeypatch):
    # None in sys.modules is how a program forbids an import.
    monkeypatch.setitem(sys.modules, "smtpd", None)
    compat.install()
    assert found() == OURS
    compat.uninstall()
    assert sys.modules["smtpd"] is None


def test_what_was_rebound_since_is_left_alone(monkeypatch):
    compat.install()
    other = other_module("smtpd", monkeypatch)
    compat.uninstall()
    assert found() == {"asyncore": None, "asynchat": None, "smtpd": other}


def test_a_program_that_installs_by_itself(python):
    code = (
        "import compat; compat.install('select')\n"
        "from asyncore import dispatcher\n"
        "import asynchat, smtpd, asynccore, os\n"
        "print(dispatcher is asynccore.dispatcher, issubclass(asynchat.async_chat, dispatcher))\n"
        "print(issubclass(smtpd.SMTPServer, dispatcher), os.environ['ASYNCCORE_ENGINE'])\n"
    )
    assert python("-W", "error", "-c", code) == (0, "True True\nTrue select\n", "")
