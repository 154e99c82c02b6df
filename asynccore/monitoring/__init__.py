"""What a loop has done: statistics, and the socket that `asynccore top` asks."""

from __future__ import annotations
