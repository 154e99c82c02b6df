"""asynccore: the classic asyncore, asynchat and smtpd modules, on an engine of today.

This package *is* `asyncore` once the legacy names are installed (`compat.install()`, or
`asynccore run SCRIPT`); `asynccore.asynchat` is `asynchat`, and `asynccore.smtpd` is `smtpd`.

New beside the classic names: `loop(poller=...)`, `stop`, `call_later`, `call_at`,
`call_soon_threadsafe` and `use_logging`.
"""

from __future__ import annotations

# Programs read these modules and numbers as attributes of this one, and `from asyncore import *`
# hands them on, as the classic module does.
import os as os
import select as select
import socket as socket
import sys as sys
import time as time
import warnings as warnings
from errno import EAGAIN as EAGAIN
from errno import EALREADY as EALREADY
from errno import EBADF as EBADF
from errno import ECONNABORTED as ECONNABORTED
from errno import ECONNRESET as ECONNRESET
from errno import EINPROGRESS as EINPROGRESS
from errno import EINVAL as EINVAL
from errno import EISCONN as EISCONN
from errno import ENOTCONN as ENOTCONN
from errno import EPIPE as EPIPE
from errno import ESHUTDOWN as ESHUTDOWN
from errno import EWOULDBLOCK as EWOULDBLOCK
from errno import errorcode as errorcode
from typing import TYPE_CHECKING as _TYPE_CHECKING

from . import worker as _worker
from .channels import ChannelMap as ChannelMap
from .classic.namespace import publish as _publish
from .classic.rebinding import observe as _observe
from .classic.removal import _DEPRECATION_MSG as _DEPRECATION_MSG
from .classic.tracebacks import compact_traceback as compact_traceback
from .connecting.attempts import ConnectError as ConnectError
from .connecting.resolver import set_resolver as set_resolver
from .dispatchers.buffered import dispatcher_with_send as dispatcher_with_send
from .dispatchers.channel_listener import listener as listener
from .dispatchers.dispatcher import dispatcher as dispatcher
from .dispatchers.trigger import Trigger as Trigger
from .engine.timers import Timer as Timer
from .errors import _DISCONNECTED as _DISCONNECTED
from .errors import RERAISED
from .errors import ExitNow as ExitNow
from .errors import _strerror as _strerror
from .listening.socket_activation import InheritedSocket as InheritedSocket
from .listening.socket_activation import listen_fds as listen_fds
from .logs import use_logging as use_logging
from .monitoring.statistics import ChannelStatistics as ChannelStatistics
from .monitoring.statistics import Statistics as Statistics
from .monitoring.statistics import collect_statistics as collect_statistics
from .monitoring.statistics import statistics as statistics
from .monitoring.statistics import warn_slow_handlers as warn_slow_handlers
from .neighbours import NEIGHBOURS as _NEIGHBOURS
from .running.graceful import graceful_close as graceful_close
from .running.loop import _exception as _exception
from .running.loop import call_at as call_at
from .running.loop import call_every as call_every
from .running.loop import call_later as call_later
from .running.loop import call_soon_threadsafe as call_soon_threadsafe
from .running.loop import close_all as close_all
from .running.loop import loop as loop
from .running.loop import poll as poll
from .running.loop import poll2 as poll2
from .running.loop import poll3 as poll3
from .running.loop import read as read
from .running.loop import readwrite as readwrite
from .running.loop import stop as stop
from .running.loop import write as write

if sys.platform != "win32":
    from .dispatchers.files import file_dispatcher as file_dispatcher
    from .dispatchers.files import file_wrapper as file_wrapper

__version__ = "0.2.0"

# What `from asyncore import *` gives: the classic names alone, for anything more could hide names
# of the program.
__all__ = [
    "EAGAIN",
    "EALREADY",
    "EBADF",
    "ECONNABORTED",
    "ECONNRESET",
    "EINPROGRESS",
    "EINVAL",
    "EISCONN",
    "ENOTCONN",
    "EPIPE",
    "ESHUTDOWN",
    "EWOULDBLOCK",
    "ExitNow",
    "close_all",
    "compact_traceback",
    "dispatcher",
    "dispatcher_with_send",
    "errorcode",
    "loop",
    "os",
    "poll",
    "poll2",
    "poll3",
    "read",
    "readwrite",
    "select",
    "socket",
    "socket_map",
    "sys",
    "time",
    "warnings",
    "write",
]
if sys.platform != "win32":
    __all__ += ["file_dispatcher", "file_wrapper"]

_reraised_exceptions = RERAISED

_publish(globals())
_observe(sys.modules[__name__])

# A program may keep it, copy it, change it, or put its own mapping in its place.
try:
    socket_map = socket_map  # type: ignore[has-type] # reloaded: keep the channels
except NameError:
    socket_map = ChannelMap()

if not _TYPE_CHECKING:  # for which a module would have any name then

    def __getattr__(name: str) -> object:
        """Load a package that stands beside this one, when it is first used as a part of it."""
        if name in _NEIGHBOURS:
            from importlib import import_module

            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# Each enters itself among what is called when a loop begins. Nobody else pays for it.
if os.environ.get("ASYNCCORE_TOP"):
    from .monitoring import server as _server
if any(name.startswith("ASYNCCORE_LOG_") for name in os.environ):
    from .monitoring import log_output as _log_output

    _log_output.enter(os.environ)
if os.environ.get("ASYNCCORE_DRAIN"):
    from .running import draining as _draining

    _draining.enter()
# After the drain has its handler: whoever hears of these two may send the signal at once.
if os.environ.get("ASYNCCORE_SUPERVISOR") or _worker.present is not None:
    from .running import supervision as _supervision

    _supervision.enter()
if os.environ.get("NOTIFY_SOCKET"):
    from .running import service_manager as _service_manager

    _service_manager.enter(os.environ)
