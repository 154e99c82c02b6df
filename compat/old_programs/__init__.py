"""Programs as they were written: found, read as Python 2 or 3, checked, and ported."""

from __future__ import annotations
