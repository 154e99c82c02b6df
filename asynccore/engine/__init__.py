"""The engine: one pass over a map, and all that it knows of the channels in it."""

from __future__ import annotations

from . import by_names as by_names
from .engine import Engine as Engine
from .engine import descriptor_changed as descriptor_changed
from .engine import engine_for as engine_for
from .engine import engines as engines
from .engine import leave_map as leave_map

__all__ = ["Engine", "engine_for", "engines", "look_again"]

look_again = descriptor_changed  # its name before there were rooms
