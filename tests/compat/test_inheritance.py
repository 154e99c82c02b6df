"""The legacy names under `asynccore run`: in the program, in what it starts, and for how long."""

from __future__ import annotations

import os
import shutil
import sys
from multiprocessing import get_all_start_methods
from pathlib import Path

import pytest

from compat.command_line.runner import NAMES_FOLDER, CannotRun, environment, interpreter_options
from tests.tls.support import server_certificate

RUN = ("-m", "asynccore", "run")
SHOW = "import asyncore, asynchat, smtpd; print([m.__name__ for m in (asyncore, asynchat, smtpd)])"
OURS = "['asynccore', 'asynccore.asynchat', 'asynccore.smtpd']\n"


def test_the_names_are_the_modules_themselves(python):
    code = (
        "import asynchat, asyncore, smtpd, sys, asynccore, asynccore.smtpd as s;"
        "print(asyncore is asynccore, asynchat is asynccore.asynchat, smtpd is s);"
        "print(asyncore.__spec__.name, asyncore.__package__, asyncore is sys.modules['asyncore'])"
    )
    wanted = "True True True\nasynccore asynccore True\n"
    assert python(*RUN, "-c", code) == (0, wanted, "")


@pytest.mark.parametrize("statement", ["import {0}", "from {0} import *", "import {0} as x"])
@pytest.mark.parametrize("name", ["asyncore", "asynchat", "smtpd"])
def test_no_warning_about_removed_modules(name, statement, python):
    code = statement.format(name)
    assert python("-W", "error", *RUN, "-c", code) == (0, "", "")


CHILDREN = {
    "subprocess": "import subprocess, sys; subprocess.run([sys.executable, 'show.py'], check=True)",
    "shell": "import os, sys; os.system(f'\"{sys.executable}\" show.py')",
    "module": "import subprocess, sys; subprocess.run([sys.executable, '-m', 'show'], check=True)",
    "grandchild": """
import subprocess, sys
code = "import subprocess, sys; subprocess.run([sys.executable, 'show.py'], check=True)"
subprocess.run([sys.executable, '-c', code], check=True)
""",
}
MULTIPROCESSING = """
import multiprocessing
def show(derived):
    import show
    print(derived.__mro__[1].__module__.split('.')[0], derived.__module__, flush=True)
import asyncore
class Derived(asyncore.dispatcher): pass
if __name__ == '__main__':
    process = multiprocessing.get_context({way!r}).Process(target=show, args=(Derived,))
    process.start()
    process.join()
"""
# How multiprocessing starts its children; "forkserver" is the default of Linux since Python 3.14.
START_METHODS = [way for way in ("spawn", "forkserver") if way in get_all_start_methods()]
CHILDREN |= {way: MULTIPROCESSING.format(way=way) for way in START_METHODS}
if sys.platform != "win32":
    CHILDREN["exec"] = "import os, sys; os.execv(sys.executable, [sys.executable, 'show.py'])"
    CHILDREN["fork"] = "import os; os.fork() and os.wait() or exec('import show')"


@pytest.mark.parametrize("way", CHILDREN)
def test_children_inherit_the_names(way, python, tmp_path):
    (tmp_path / "show.py").write_text(SHOW)
    (tmp_path / "parent.py").write_text(CHILDREN[way])
    wanted = OURS + "asynccore __mp_main__\n" * (way in START_METHODS)
    assert python(*RUN, "parent.py") == (0, wanted, "")


def test_the_engine_is_inherited(python, tmp_path):
    show = "import os; print(os.environ['ASYNCCORE_ENGINE'])"
    (tmp_path / "parent.py").write_text(
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {show!r}], check=True)"
    )
    for choice in ("--engine", "select"), ("--engine=select",):
        assert python(*RUN, *choice, "parent.py") == (0, "select\n", "")


@pytest.mark.parametrize("way", START_METHODS)
def test_multiprocessing_inherits_the_engine_and_tls(way, python, tmp_path):
    (tmp_path / "parent.py").write_text(f"""
import multiprocessing, os
def show():
    print(os.environ["ASYNCCORE_ENGINE"], os.environ.get("ASYNCCORE_TLS_CERT"), flush=True)
if __name__ == '__main__':
    process = multiprocessing.get_context({way!r}).Process(target=show)
    process.start()
    process.join()
""")
    certificate = tmp_path / "server.pem"
    certificate.write_bytes(server_certificate().private_key_and_cert_chain_pem.bytes())
    options = ("--engine", "select", "--tls-cert", certificate)
    assert python(*RUN, *options, "parent.py") == (0, f"select {certificate}\n", "")


def test_smtpd_as_a_module(python):
    # An error on warnings: runpy has one for a module that was imported before it is run.
    status, out, err = python("-W", "error", *RUN, "-m", "smtpd", "--version")
    assert (status, "Python SMTP proxy version" in out + err) == (0, True)
    status, out, err = python(*RUN, "-m", "smtpd", "--no-such-option")
    assert (status, "no-such-option" in out + err) == (1, True)


@pytest.mark.parametrize("name", ["asyncore", "asynchat"])
def test_the_others_do_nothing_as_a_module(name, python):
    assert python(*RUN, "-m", name, "localhost", "8025") == (0, "", "")


def test_other_packages_that_provide_the_names_lose(python, tmp_path, user_environment):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("asyncore", "asynchat", "smtpd"):
        (other / f"{name}.py").write_text("")
    path = [str(other), user_environment.get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    assert python("-c", SHOW, env=env)[1] != OURS
    assert python(*RUN, "-c", SHOW, env=env, cwd="/") == (0, OURS, "")


def test_what_stands_beside_the_script_wins_as_ever(python, tmp_path):
    (tmp_path / "smtpd.py").write_text("")
    (tmp_path / "script.py").write_text("import asyncore, smtpd; print(smtpd, asyncore.__name__)")
    status, out, err = python(*RUN, "script.py")
    assert (status, err) == (0, "")
    assert out == f"<module 'smtpd' from {str(tmp_path / 'smtpd.py')!r}> asynccore\n"


# An interpreter that cannot have asynccore ---------------------------------------------------


@pytest.fixture
def lonely_names(tmp_path):
    """PYTHONPATH with the folder of the names, no asynccore beside it, and another smtpd."""
    folder = tmp_path / "elsewhere" / "compat" / "legacy_names"
    folder.parent.mkdir(parents=True)
    shutil.copytree(NAMES_FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    fallback = tmp_path / "fallback"
    fallback.mkdir()
    (fallback / "smtpd.py").write_text("print('the fallback', __name__)")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(fallback)])}


def test_without_asynccore_the_names_fall_back(python, lonely_names):
    # -S: no site-packages, and so no asynccore.
    code = "import smtpd, sys; print(smtpd is sys.modules['smtpd'], smtpd.__file__)"
    status, out, err = python("-S", "-c", code, env=lonely_names)
    assert (status, err) == (0, "")
    assert out.startswith("the fallback smtpd\nTrue ")
    assert os.path.join("fallback", "smtpd") in out
    assert python("-S", "-m", "smtpd", env=lonely_names) == (0, "the fallback __main__\n", "")


def test_without_asynccore_and_without_fallback(python, lonely_names):
    hide = "import importlib, os, sys; sys.path[:] = [p for p in sys.path if 'legacy_names' in p];"
    code = "\ntry: import asynchat\nexcept ModuleNotFoundError as e: print(e.name, e, sys.path)"
    assert python("-S", "-c", hide + code, env=lonely_names) == (
        0,
        "asynchat No module named 'asynchat' []\n",
        "",
    )


def test_a_python_that_is_too_old_falls_back(python, lonely_names, user_environment):
    paths = [lonely_names["PYTHONPATH"], user_environment.get("PYTHONPATH", "")]
    env = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    code = "import sys; sys.version_info = (3, 9); import smtpd; print('asynccore' in sys.modules)"
    assert python("-c", code, env=env) == (0, "the fallback smtpd\nFalse\n", "")


def test_an_asynccore_that_is_broken_is_not_hidden(python, lonely_names, tmp_path):
    broken = tmp_path / "elsewhere" / "asynccore"
    broken.mkdir()
    (broken / "__init__.py").write_text("import no_such_module")
    status, out, err = python("-S", "-c", "import smtpd", env=lonely_names)
    assert (status, out) == (1, "")
    # Python 3.15 adds a hint: without site-packages it may be there.
    assert "\nModuleNotFoundError: No module named 'no_such_module'" in err


def test_the_asynccore_beside_the_folder_serves_other_environments(python, lonely_names, tmp_path):
    core = tmp_path / "elsewhere" / "asynccore"
    core.mkdir()
    (core / "__init__.py").write_text("")
    (core / "smtpd.py").write_text("print('beside', __name__)")
    code = "import sys; before = sys.path[:]; import smtpd; print(sys.path == before)"
    assert python("-S", "-c", code, env=lonely_names) == (0, "beside asynccore.smtpd\nTrue\n", "")


# The parts -----------------------------------------------------------------------------------


def test_environment_puts_the_folder_first_and_once():
    folder = str(NAMES_FOLDER)
    first = environment({"HOME": "/h", "PYTHONPATH": f"a{os.pathsep}b"})
    assert first == {"HOME": "/h", "PYTHONPATH": os.pathsep.join([folder, "a", "b"])}
    assert environment(first) == first
    assert environment({}) == environment({"PYTHONPATH": ""}) == {"PYTHONPATH": folder}


def test_environment_with_an_engine():
    assert environment({"ASYNCCORE_ENGINE": "poll"}, "select")["ASYNCCORE_ENGINE"] == "select"
    assert environment({"ASYNCCORE_ENGINE": "poll"})["ASYNCCORE_ENGINE"] == "poll"
    with pytest.raises(ValueError, match="unknown engine 'steam'"):
        environment({}, "steam")


def test_environment_refuses_a_folder_that_cannot_be_named(monkeypatch):
    monkeypatch.setattr("compat.command_line.runner.NAMES_FOLDER", Path(f"odd{os.pathsep}folder"))
    with pytest.raises(CannotRun, match="cannot stand in PYTHONPATH"):
        environment({})


@pytest.mark.parametrize(
    ("command_line", "options"),
    [
        ("python bin/asynccore run x", None),
        ("python -s bin/asynccore run x", None),
        ("python -m asynccore run x", []),
        ("python -X dev -m asynccore run x", ["-X", "dev"]),
        ("python -W ignore bin/asynccore run x", None),
        ("python -um asynccore run x", ["-u"]),
        ("python -masynccore run x", []),
        ("python -bb -masynccore run x", ["-b", "-b"]),
        ("python -Werror -W x -Xdev -umasynccore run x", "-W error -W x -X dev -u".split()),
        ("python --check-hash-based-pycs never a run x", None),
        (
            "python --check-hash-based-pycs never -m a run x",
            ["--check-hash-based-pycs", "never"],
        ),
        ("python -c code run x", None),
        ("python -Oc code run x", None),
        ("python -uccode run x", None),
    ],
)
def test_interpreter_options(command_line, options):
    assert interpreter_options(command_line.split(), 2) == options


def test_interpreter_options_of_an_embedding_program():
    assert interpreter_options(["program"], 0) is None
