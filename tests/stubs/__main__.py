"""`python -m tests.stubs`: write stubs/, by which type checkers know the legacy names.

*Facts.* On Python 3.12 and later nothing tells mypy or pyright what `import asyncore` is; on 3.10
and 3.11 they know the standard library's modules, and ask those first. Both look for a folder
`asyncore-stubs` in site-packages (PEP 561).
*Consequence.* Such folders are in the wheel. They hand on the names of asynccore's modules, so the
signatures are ours, and on 3.10 and 3.11 nothing changes.
*Trade-off.* Each name is listed, for a stub hands on nothing else; this program writes the lists,
and a test compares.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from compat.legacy_names._asynccore_names import TARGETS
from tests.classic.table import SURFACE
from tests.project.checkout import ROOT
from tests.project.test_public_paths import NAMES

HEAD = "# Written by `python -m tests.stubs`: `{}` is `{}` to type checkers, too.\n"
NOT_ON_WINDOWS = {"file_dispatcher", "file_wrapper"}


def names(legacy: str) -> list[str]:
    """What a program finds in a module: the classic names, and ours."""
    module = import_module(TARGETS[legacy])
    classic = re.findall(r"^(?:3\.\d+ )?(\w+)(?:\(|:)", SURFACE[legacy], re.MULTILINE)
    classic += re.findall(r"^(\w+)\.", SURFACE[legacy], re.MULTILINE)
    found = set(classic) | NAMES[module.__name__] | set(module.__all__)
    if legacy == "asyncore":
        found |= {"socket_map", *NOT_ON_WINDOWS}
    found = {name for name in found if not name.startswith("__")}
    return sorted(name for name in found if hasattr(module, name) or name in NOT_ON_WINDOWS)


def lines(legacy: str) -> Iterator[str]:
    target = TARGETS[legacy]
    module = import_module(target)
    yield HEAD.format(legacy, target)
    modules, others, elsewhere = [], [], []
    for name in names(legacy):
        thing = getattr(module, name, None)
        if isinstance(thing, ModuleType):
            # A stub hands on a module under its own name only, so the legacy ones are meant.
            modules.append(f"import {name} as {name}\n")
        elif name in NOT_ON_WINDOWS:
            elsewhere.append(f"    from {target} import {name} as {name}\n")
        else:
            others.append(f"from {target} import {name} as {name}\n")
    yield from sorted(modules)
    if modules:
        yield "\n"
    yield from others
    if elsewhere:
        yield '\nif sys.platform != "win32":\n'
        yield from elsewhere


def write() -> None:
    for legacy in TARGETS:
        file = ROOT / "stubs" / f"{legacy}-stubs" / "__init__.pyi"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines(legacy)), encoding="utf-8")


if __name__ == "__main__":
    if sys.platform == "win32":
        sys.exit("the lists are written where all names are")
    write()
