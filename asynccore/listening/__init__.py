"""Accepting: limits, sockets that others opened, and what stands in front of a listener."""

from __future__ import annotations
