"""`loop` and the functions around it, graceful ends, and hosting by another event loop."""

from __future__ import annotations
