"""What a look shows beyond `statistics`: for machines, and of one channel.

Facts. What is public in `statistics` stays as it is. Programs have attributes of their own under
any name, and objects in their maps that are no dispatchers. To measure each handler takes a third
of the time of an echo.

Consequence. All of it is read off here with a guard around each, into what JSON can say. A meter
for machines is used for one batch of events now and then.
"""

from __future__ import annotations

import weakref
from typing import Any

from ..channels import FULL, PAUSED, RESTING, UNREAD
from ..connecting.target import show
from ..engine.engine import Engine
from ..engine.meter import BOUNDS, Meter
from ..running import graceful
from . import counts

_PAUSES = {RESTING: "resting", FULL: "full", PAUSED: "paused", UNREAD: "replies unread"}

_TIMEOUTS = ("connect_timeout", "idle_timeout", "write_timeout", "handshake_timeout")


def of_map(engine: Engine) -> dict[str, Any]:
    """Return what belongs to a map as a whole."""
    meter = engine.meter or _samples.get(engine)
    found: dict[str, Any] = {"draining": graceful.is_closing(engine)}
    if meter is not None:
        found["handlers"] = {
            "bounds": BOUNDS,
            "counts": list(meter.buckets),
            "seconds": meter.seconds,
        }
        found["classes"] = {
            f"{cls.__module__}.{cls.__qualname__}": list(times)
            for cls, times in meter.by_class.items()
        }
    return found


def sampled(engine: Engine) -> Meter:
    """Return the meter of an engine that is used now and then."""
    return _samples.setdefault(engine, Meter(engine.clock))


_samples: weakref.WeakKeyDictionary[Engine, Meter] = weakref.WeakKeyDictionary()


def of_process() -> dict[str, Any]:
    """Return what belongs to the process."""
    return {
        "handshakes": dict(counts.handshakes),
        "failed_handshakes": dict(counts.failed_handshakes),
    }


def of_channel(engine: Engine, channel: Any, timed: bool) -> dict[str, Any]:
    """Return what there is to say about one channel; how long it is quiet, if that is `timed`."""
    cls = type(channel)
    sock = getattr(channel, "socket", None)
    found: dict[str, Any] = {"class": f"{cls.__module__}.{cls.__qualname__}"}
    for name in ("getsockname", "getpeername"):
        try:
            found[name[3:-4]] = show(getattr(sock, name)())  # "sock" and "peer"
        except Exception:
            continue  # it has none, or what stands in for a socket knows none
    try:
        found["tls"] = sock.version()  # type: ignore[union-attr]
    except Exception:
        pass  # no TLS
    if not hasattr(cls, "_ac_timing"):
        return found
    times = channel._ac_timing() if timed else channel._ac_times
    if times is not None:
        found["quiet"] = engine.clock() - times.active
    reasons = channel._ac_pause_reasons
    found["paused"] = [word for bit, word in _PAUSES.items() if reasons & bit]
    timeouts = {name: getattr(channel, f"_ac_{name}", None) for name in _TIMEOUTS}
    found["timeouts"] = {name: seconds for name, seconds in timeouts.items() if seconds is not None}
    acceptor = channel._ac_acceptor
    if acceptor is not None:
        found["accepted"], found["refused"] = acceptor.accepted, acceptor.refused
        found["pauses"] = acceptor.pauses
    return found
