"""Where PyInstaller looks for modules."""

from __future__ import annotations
