"""`asynccore enable` and `disable`: the legacy names for every `python SCRIPT` of an environment.

*Facts.* `site` runs each line of a `.pth` file that starts with "import", at every start of the
interpreter, and prints a traceback when one fails; it goes on doing so after the package that
wrote the file is gone.
*Consequence.* Two files go into site-packages: the `.pth`, and a copy of `_asynccore_names.py`,
which needs nothing else. It puts a finder in place that only compares a name with three others,
and that finds nothing when asynccore has been uninstalled.
*Trade-off.* The copy is as old as the last `enable`; it only knows where to look, the rest is
read from the installed packages.
"""

from __future__ import annotations

import importlib.util
import os
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

from .runner import NAMES_FOLDER

HELPER = "_asynccore_names.py"
PTH = "asynccore-legacy-names.pth"
PTH_LINE = "import _asynccore_names; _asynccore_names.enable()\n"

# A plugin of Twisted's, where it is written and where it is put.
PLUGIN = Path(__file__).parents[1] / "twisted_transports" / "plugin.py"
PLUGIN_PLACE = Path("twisted", "plugins", "asynccore_reactor.py")

# What an enabled environment is asked afterwards, and what it must answer.
PROBE = "import asyncore; print(asyncore.__name__)"
ANSWER = "asynccore"


class Refused(Exception):
    """Nothing was changed; the text says why."""


def in_virtual_environment() -> bool:
    """Whether this interpreter runs in an environment of `venv`, `virtualenv` or conda."""
    # An environment of conda has an interpreter of its own, and so the same prefix as its base.
    return sys.prefix != sys.base_prefix or Path(sys.prefix, "conda-meta").is_dir()


def site_packages(where: str | None = None) -> Path:
    """Return the folder that the two files belong into.

    `where` is None for a virtual environment, "user" for the user's own site-packages, "system"
    for the interpreter's, which is everybody's. Raises Refused where that is not possible.
    """
    if where == "user":
        if not site.ENABLE_USER_SITE:
            raise Refused("this Python does not look into the user's site-packages")
        return Path(site.getusersitepackages())
    if where is None and not in_virtual_environment():
        raise Refused(
            f"{sys.prefix} is not a virtual environment. Make one (python -m venv .venv), or say"
            " --user (for every program you run with this Python) or --system (for everybody's)"
        )
    return Path(sysconfig.get_path("purelib"))


def places() -> list[Path]:
    """Return the folders in which this interpreter reads `.pth` files."""
    found = [Path(sysconfig.get_path("purelib"))]
    if site.ENABLE_USER_SITE:
        found.append(Path(site.getusersitepackages()))
    return found


def enable(folder: Path) -> str:
    """Put the two files into `folder`; return what was done, in words.

    Raises Refused when a program of this environment would not get asynccore all the same, which
    is tried, and OSError when the files cannot be written.
    """
    wanted = {
        folder / HELPER: (NAMES_FOLDER / HELPER).read_bytes(),
        folder / PTH: PTH_LINE.encode(),
    }
    missing = {file: text for file, text in wanted.items() if _read(file) != text}
    if not missing:
        return f"already enabled: {folder / PTH}"
    was_there = any(file.exists() for file in wanted)
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in missing.items():
        file.write_bytes(text)
    answer = _probe()
    if answer != ANSWER:
        disable(folder)
        raise Refused(
            f"{sys.executable} cannot import asynccore by itself, install it there first"
            f" (import asyncore gave: {answer})"
        )
    written = "\n".join(f"  wrote {file}" for file in wanted)
    return (
        f"{'renewed' if was_there else 'enabled'}: programs run by {sys.executable} now get"
        f" asynccore for asyncore, asynchat and smtpd\n{written}\n"
        "undo it with: asynccore disable"
    )


def disable(folder: Path) -> str:
    """Remove the two files from `folder`; return what was done, in words."""
    # The .pth goes first: without the other file it would print an error at each start.
    files = [folder / PTH, folder / HELPER]
    files += (folder / "__pycache__").glob(f"{Path(HELPER).stem}.*.pyc")
    found = [file for file in files if file.exists()]
    if not found:
        return f"not enabled: there is no {folder / PTH}"
    for file in found:
        file.unlink()
    removed = "\n".join(f"  removed {file}" for file in found)
    return f"disabled: asyncore, asynchat and smtpd are what they were\n{removed}"


def enable_reactor(folder: Path) -> str:
    """Put the plugin for Twisted into `folder`; return what was done, in words.

    Raises Refused where Twisted is not installed: a folder of its name would be taken for it.
    """
    if not _has_twisted():
        raise Refused(
            f"{sys.executable} has no Twisted: pip install 'asynccore[twisted]' comes first"
        )
    file = folder / PLUGIN_PLACE
    if _read(file) == PLUGIN.read_bytes():
        return f"already enabled: {file}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(PLUGIN.read_bytes())
    return (
        "enabled: trial --reactor=asynccore and twistd --reactor=asynccore find it now\n"
        f"  wrote {file}\n"
        "undo it with: asynccore disable --reactor"
    )


def disable_reactor(folder: Path) -> str:
    """Remove the plugin from `folder`, and folders that are empty then; return what was done."""
    file = folder / PLUGIN_PLACE
    if not file.exists():
        return f"not enabled: there is no {file}"
    file.unlink()
    cache = file.parent / "__pycache__"
    for compiled in cache.glob(f"{file.stem}.*.pyc"):
        compiled.unlink()
    for place in (cache, file.parent, file.parent.parent):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
    return f"disabled: Twisted does not find the reactor any more\n  removed {file}"


def _has_twisted() -> bool:
    # What an uninstalled Twisted leaves behind is a package without a file.
    found = importlib.util.find_spec("twisted")
    return found is not None and found.origin is not None


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _probe() -> str:
    """Return what a new interpreter of this environment answers, or its last line of error."""
    # PYTHONPATH could make work here what would fail elsewhere.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=sys.prefix,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"
