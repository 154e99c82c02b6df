"""Which map a call is for that names none.

Facts. A handler of `loop(map=mine)` that sets a timer means the loop that runs it, and a timer in
`socket_map` would never run. A handler may run a loop over another map. Threads have loops of
their own.

Consequence. A call is for the map whose pass runs on this thread, the innermost if there are
several, and else for `socket_map`. Nothing is noted in a pass for that: who owns an engine is known
already, and the order is found on the stack.

Trade-off. It goes through all engines, of which there are few.
"""

from __future__ import annotations

import sys
from threading import get_ident
from types import FrameType

from ..channels import Map
from ..classic.namespace import default_map
from .engine import Engine, engine_for, engines


def current_engine(map: Map | None = None) -> Engine:
    """Return the engine of a map, or of the one whose pass runs here, or else of `socket_map`.

    Raises `TypeError` for what is no map.
    """
    if map is not None:
        return engine_for(map)
    here = get_ident()
    owned = [engine for engine in engines() if engine.owner == here]
    if not owned:
        return engine_for(default_map())
    return owned[0] if len(owned) == 1 else _innermost(owned)


def _innermost(owned: list[Engine]) -> Engine:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        present = frame.f_locals.get("self")
        if isinstance(present, Engine) and present in owned:
            return present
        frame = frame.f_back
    return owned[0]
