"""Programs that are frozen: what PyInstaller is told about us.

*Facts.* PyInstaller looks for modules by itself: it follows the import statements that it sees, in
folders, and asks no finder. So in an environment where `asynccore enable` or `asynccore run` makes
`import asyncore` ours, it packs the standard library's or pyasyncore's, and what we load by name
not at all. It takes hooks from the packages that are to be packed, by an entry point.
*Consequence.* Where the names are ours in the process that freezes, PyInstaller is sent to the
files that hand over (`legacy_names`), and told what these load.
*Trade-off.* Freezing where the names are not ours changes nothing: that is what the program got
there when it ran.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from pkgutil import walk_packages

from ..legacy_names._asynccore_names import TARGETS

HERE = Path(__file__).parent
HOUSE = HERE.parent.parent
LEGACY_NAMES = HERE.parent / "legacy_names"

# What would bring Twisted, uvloop or rich along (a program that wants them imports them itself),
# and commands.
_LEFT_OUT = (
    "twisted",
    "uvloop",
    "command_line",
    "old_programs",
    "freezing",
    "hosts.processes",
    "legacy_names.",
    "__main__",
)


def hook_dirs() -> list[str]:
    """Return the folders with hooks; the entry point `hook-dirs` of the group `pyinstaller40`."""
    return [str(HERE)]


def is_ours(name: str) -> bool:
    """Whether an import of this name, in this process, gives what is in this house."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None:
        return False
    if name not in TARGETS:
        return HOUSE in Path(spec.origin).parents
    return spec.name in TARGETS.values() or os.path.samefile(
        os.path.dirname(spec.origin), LEGACY_NAMES
    )


def submodules(package: str) -> list[str]:
    """Return the modules of one of our packages, but for what needs something optional."""
    return sorted(_submodules(HOUSE / package, package))


def _submodules(folder: Path, package: str) -> Iterator[str]:
    for found in walk_packages([str(folder)], f"{package}."):
        # asynccore.compat and asynccore.ssl_ext lead to all of the other two.
        if found.name not in ("asynccore.compat", "asynccore.ssl_ext"):
            if not any(word in found.name for word in _LEFT_OUT):
                yield found.name


def hidden_imports(name: str) -> list[str]:
    """Return what a module loads that PyInstaller does not see, if the module is ours."""
    if not is_ours(name):
        return []
    if name in TARGETS:
        return ["_asynccore_names", *submodules("asynccore")]
    return submodules(name)
