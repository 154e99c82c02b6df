"""`asynccore run PROGRAM` and `python PROGRAM` are told apart by nothing but the legacy names."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

RUN = ("-m", "asynccore", "run")

# What `python SCRIPT first --second` and the like are to do: a script for each.
SCRIPTS = {
    "argv": "import sys; print(sys.argv)",
    "path": "import os, sys; print(sys.path[0], os.getcwd())",
    "globals": "print(__name__, __file__, __doc__, __package__, __spec__, type(__loader__))",
    "all globals": "print(sorted(globals()))",
    "main module": """
        import __main__, sys
        here = 1
        print(__main__ is sys.modules['__main__'], __main__.here, __main__.__file__)
        """,
    "pickle": """
        import pickle
        class Thing: pass
        print(Thing, type(pickle.loads(pickle.dumps(Thing()))) is Thing, Thing.__module__)
        """,
    "neighbour": "import neighbour; print(neighbour.__file__)",
    "flags": "import sys; print(sys.flags, sys.warnoptions, sys._xoptions)",
    "signal handlers": """
        import signal
        print([(n, signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM)])
        """,
    "stdin": "import sys; print(sys.stdin.read().upper())",
    "exit nothing": "import sys; sys.exit()",
    "exit 3": "import sys; print('bye'); sys.exit(3)",
    "exit 256": "raise SystemExit(256)",
    "exit -1": "raise SystemExit(-1)",
    "exit text": "raise SystemExit('a reason')",
    "exit object": "raise SystemExit((1, 'two'))",
    "exit false": "raise SystemExit(False)",
    "os._exit": "import os; os._exit(7)",
    "atexit": "import atexit; atexit.register(print, 'at exit'); raise SystemExit(4)",
    "exception": """
        def deep(n):
            return deep(n - 1) if n else 1 / n
        deep(3)
        """,
    "chained exception": """
        try:
            {}['key']
        except KeyError as error:
            raise RuntimeError('outer') from error
        """,
    "exception in a thread": """
        import threading
        t = threading.Thread(target=lambda: 1 / 0, name='worker')
        t.start()
        t.join()
        """,
    "exception at exit": """
        import atexit
        class Ends:
            __repr__ = lambda self: 'the end'
            def __call__(self):
                1 / 0
        atexit.register(Ends())
        """,
    "printed traceback": """
        import traceback
        def f():
            traceback.print_stack()
        f()
        """,
    "frames": """
        import sys
        frame, names = sys._getframe(), []
        while frame:
            names.append((frame.f_code.co_filename, frame.f_code.co_name))
            frame = frame.f_back
        print(names)
        """,
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "warning": "import warnings; warnings.warn('careful')",
    "syntax error": "def broken(:\n    pass",
    "indentation": "if True:\nprint(1)",
    "declared encoding": "# -*- coding: latin-1 -*-\nprint(ascii('\u00e9'))",
    "wrong encoding": "# -*- coding: no-such-coding -*-\nprint(1)",
    "future import": "from __future__ import annotations\nx: undefined = 1\nprint(__annotations__)",
    "not inherited flags": "print(1 .__class__, eval('0_1'))",
}
if sys.platform != "win32":
    SCRIPTS["SIGTERM"] = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    SCRIPTS["SIGINT"] = (
        "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)"
    )
    SCRIPTS["descriptors"] = "import os; print(sorted(os.listdir('/dev/fd')))"


def dedented(source: str) -> str:
    lines = source.strip("\n").split("\n")
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[margin:] for line in lines) + "\n"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script(name, python, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "neighbour.py").write_text("")
    script = folder / "script.py"
    # Latin-1 is what one of them declares, and the same as UTF-8 for the others.
    script.write_text(dedented(SCRIPTS[name]), encoding="latin-1")
    program = ("a folder/script.py", "first", "--second", "-m", "x", "--engine", "select")
    wanted = python(*program, input="input")
    status, out, err = python(*RUN, *program, input="input")
    # What old programs end with is followed by a line; 3.14 knows more of these errors by then.
    hint = "asynccore: more is told by: asynccore check 'a folder/script.py'\n"
    assert err.endswith(hint) or name not in ("syntax error", "indentation")
    if name in ("syntax error", "indentation", "wrong encoding"):
        err = err.removesuffix(hint)
    assert (status, out, err) == wanted


def test_scripts_are_told_apart_when_they_differ(python, tmp_path):
    (tmp_path / "one.py").write_text("1 / 0")
    (tmp_path / "two.py").write_text("1 / 1")
    assert python(*RUN, "one.py") != python("two.py")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with every other kind of program that Python runs, and some that it refuses."""
    show = "import sys; print(__name__, __file__, __package__, sys.argv, sys.path[0]); 1 / 0\n"
    (tmp_path / "module.py").write_text(show)
    for folder in ("package", "program", "empty"):
        (tmp_path / folder).mkdir()
    (tmp_path / "package" / "__init__.py").write_text("print('package', __file__)\n")
    (tmp_path / "package" / "__main__.py").write_text(show)
    (tmp_path / "package" / "part.py").write_text("from . import __file__ as f; print(f)\n" + show)
    (tmp_path / "program" / "__main__.py").write_text(show)
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", show)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    (tmp_path / "nulls.py").write_bytes(b"x = 1\0\n")
    return tmp_path


@pytest.mark.parametrize(
    "program",
    [
        ("program", "argument"),
        ("program/", "argument"),
        ("program.zip", "argument"),
        ("-m", "module", "--argument", "-m", "x"),
        ("-m", "package"),
        ("-m", "package.part"),
        ("-m", "program"),
        ("-c", "import sys; print(sys.argv, repr(sys.path[0])); 1 / 0", "-c", "--help"),
        ("-",),
        ("--", "module.py"),
        # Errors, in Python's own words.
        ("no-such-file.py",),
        ("empty",),
        ("empty.zip",),
        ("nulls.py",),
        ("-m", "no_such_module"),
        ("-m", "package.no_such_part"),
        ("-m", "empty"),
        ("-m",),
        ("-c",),
    ],
    ids=" ".join,
)
def test_other_programs_and_errors(program, python, programs):
    source = "import sys; print(sys.argv, __name__); 1 / 0"
    wanted = python(*program, input=source)
    assert python(*RUN, *program, input=source) == wanted


def test_a_script_given_by_an_absolute_path(python, programs):
    program = (programs / "module.py", "x")
    assert python(*RUN, *program, cwd="/") == python(*program, cwd="/")


@pytest.mark.parametrize(
    "options", [("-u",), ("-O", "-X", "dev"), ("-W", "error", "-B"), ("-bb",), ("-ub",)]
)
def test_options_of_python_reach_the_program(options, python, tmp_path):
    (tmp_path / "script.py").write_text(
        "import sys; print(sys.flags, sys.warnoptions, sys.stdout.write_through)"
    )
    wanted = python(*options, "script.py")
    assert python(*options, *RUN, "script.py") == wanted
    cluster = (*options[:-1], f"{options[-1]}m") if len(options) == 1 else (*options, "-m")
    assert python(*cluster, *RUN[1:], "script.py") == wanted


@pytest.mark.parametrize("option", ["-E", "-I"])
def test_without_the_environment_it_refuses(option, installed, tmp_path):
    (tmp_path / "script.py").write_text("print('ran')")
    status, out, err = installed(option, *RUN, "script.py")
    assert (status, out) == (2, "")
    assert "asynccore run: python -E and -I ignore the environment" in err


@pytest.mark.parametrize("way", [("-m", "asynccore"), ("-m", "compat")])
def test_a_program_s_own_compat_and_cli_are_not_in_the_way(way, python, tmp_path):
    if way[1] == "asynccore":
        (tmp_path / "compat.py").write_text("raise AssertionError('the wrong one')")
    (tmp_path / "cli.py").write_text("raise AssertionError('the wrong one')")
    (tmp_path / "script.py").write_text("import asyncore; print(asyncore.__name__)")
    assert python(*way, "run", "script.py") == (0, "asynccore\n", "")
