"""Event loops of other projects: how each of them drives a map, or waits for one."""

from __future__ import annotations
