"""`asynccore status`: what `import asyncore` gives here, and what else there is.

Facts. Which module a name leads to depends on the environment, on the folder and on what is
installed; whoever asks has often been surprised by one of these.

Consequence. A new interpreter is asked, in this folder and with this environment. What is installed
is looked up without importing it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import asynccore
from asynccore import pollers

from .. import engines
from ..legacy_names._asynccore_names import TARGETS
from . import enabling

# What each name leads to: "NAME<tab>MODULE<tab>FILE", or the exception.
_PROBE = """
import warnings
warnings.simplefilter("ignore")
for name in {names}:
    try:
        module = __import__(name)
    except BaseException as why:
        print(name, type(why).__name__, why, sep="\\t")
    else:
        print(name, module.__name__, getattr(module, "__file__", None), sep="\\t")
"""

# What is installed by `pip install 'asynccore[EXTRA]'`, by the names of distributions.
EXTRAS = {
    "top": ("rich", "textual"),
    "uvloop": ("uvloop",),
    "twisted": ("Twisted",),
    "auth": ("bcrypt",),
    "shell": ("shtab",),
    "metrics": ("prometheus_client",),
    "port": ("fissix", "libcst", "rich"),
}
if sys.version_info < (3, 11):
    EXTRAS["config"] = ("tomli",)


def report() -> str:
    """Return all of it as lines of text."""
    version = ".".join(map(str, sys.version_info[:3]))
    lines = [
        f"asynccore {asynccore.__version__} in {Path(asynccore.__file__).parent}",
        f"Python {version}: {sys.executable}, {_environment()}",
        f"enabled: {_enabled()}",
        "",
        *_names(),
        "",
        f"engines: {', '.join(_engines())}",
        f"extras: {', '.join(_extras())}",
    ]
    variables = {name: value for name, value in os.environ.items() if name[:10] == "ASYNCCORE_"}
    if variables:
        lines += ["", *(f"{name}={value}" for name, value in sorted(variables.items()))]
    return "\n".join(lines)


def _environment() -> str:
    if Path(sys.prefix, "conda-meta").is_dir():
        return f"an environment of conda: {sys.prefix}"
    if enabling.in_virtual_environment():
        return f"a virtual environment: {sys.prefix}"
    return "no virtual environment"


def _enabled() -> str:
    found = [
        str(folder / enabling.PTH)
        for folder in enabling.places()
        if (folder / enabling.PTH).exists()
    ]
    if found:
        return f"yes, by {', '.join(found)}"
    return "no ('asynccore enable' has 'python SCRIPT' get asynccore by itself)"


def _names() -> list[str]:
    """Say what the legacy names lead to without `asynccore run`."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE.format(names=tuple(TARGETS))],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = []
    for line in done.stdout.splitlines():
        name, *found = line.split("\t")
        if len(found) != 2:
            continue
        module, where = found
        whose = "asynccore" if module == TARGETS.get(name) else "not asynccore"
        lines.append(f"import {name:8} gives {module}: {where} ({whose})")
    lines.append("under 'asynccore run' they give asynccore, asynccore.asynchat, asynccore.smtpd")
    return lines


def _engines() -> list[str]:
    here = pollers.available()
    default = os.environ.get(engines.VARIABLE) or here[0]
    names = [*here, *(name for name in engines.HOSTS if find_spec(name) is not None)]
    return [f"{name} (default)" if name == default else name for name in names]


def _extras() -> list[str]:
    found = []
    for extra, packages in EXTRAS.items():
        try:
            versions = [f"{name} {metadata.version(name)}" for name in packages]
        except metadata.PackageNotFoundError:
            found.append(f"{extra} (missing: pip install 'asynccore[{extra}]')")
        else:
            found.append(f"{extra} ({', '.join(versions)})")
    return found
