"""Look at an installed asynccore; run by tox in an environment that has the wheel and no more.

A program of its own, because pytest is not installed there: it exits with a message if something
is missing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sysconfig
from pathlib import Path

PACKAGES = ("asynccore", "ssl_ext", "compat")


def main() -> None:
    site_packages = Path(sysconfig.get_path("purelib"))
    packed = {str(path) for path in importlib.metadata.files("asynccore") or ()}
    for package in PACKAGES:
        file = importlib.import_module(package).__file__
        if file is None or not Path(file).is_relative_to(site_packages):
            raise SystemExit(f"{package} was imported from {file}, not from the wheel")
        if f"{package}/py.typed" not in packed:
            raise SystemExit(f"{package}/py.typed is missing")
    print(f"asynccore {importlib.metadata.version('asynccore')}: complete")


if __name__ == "__main__":
    main()
