"""Where PyInstaller looks for `asyncore`."""

from __future__ import annotations

from typing import Any

from asynccore.neighbours import resolve

freezing = resolve("compat.freezing")


def pre_find_module_path(api: Any) -> None:
    """Send it to the file that hands over, where that is what the program would get."""
    if freezing.is_ours("asyncore"):
        api.search_dirs = [str(freezing.LEGACY_NAMES)]
