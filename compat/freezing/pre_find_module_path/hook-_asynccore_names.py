"""Where PyInstaller looks for what the files of the legacy names import."""

from __future__ import annotations

from typing import Any

from asynccore.neighbours import resolve

freezing = resolve("compat.freezing")


def pre_find_module_path(api: Any) -> None:
    """Send it to the file beside them, whether an enabled environment has a copy or not."""
    api.search_dirs = [str(freezing.LEGACY_NAMES)]
