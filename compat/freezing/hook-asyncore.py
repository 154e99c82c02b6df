"""What `asyncore` loads that PyInstaller does not see."""

from __future__ import annotations

from asynccore.neighbours import resolve

freezing = resolve("compat.freezing")

hiddenimports = freezing.hidden_imports("asyncore")
