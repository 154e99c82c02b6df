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

from .activation import InheritedSocket as InheritedSocket
from .activation import listen_fds as listen_fds
from .buffered import dispatcher_with_send as dispatcher_with_send
from .channels import ChannelMap as ChannelMap
from .connecting import ConnectError as ConnectError
from .dispatcher import dispatcher as dispatcher
from .errors import _DISCONNECTED as _DISCONNECTED
from .errors import RERAISED
from .errors import ExitNow as ExitNow
from .errors import _strerror as _strerror
from .graceful import graceful_close as graceful_close
from .logs import use_logging as use_logging
from .loop import _exception as _exception
from .loop import call_at as call_at
from .loop import call_every as call_every
from .loop import call_later as call_later
from .loop import call_soon_threadsafe as call_soon_threadsafe
from .loop import close_all as close_all
from .loop import loop as loop
from .loop import poll as poll
from .loop import poll2 as poll2
from .loop import poll3 as poll3
from .loop import read as read
from .loop import readwrite as readwrite
from .loop import stop as stop
from .loop import write as write
from .removed import _DEPRECATION_MSG as _DEPRECATION_MSG
from .resolver import set_resolver as set_resolver
from .statistics import ChannelStatistics as ChannelStatistics
from .statistics import Statistics as Statistics
from .statistics import collect_statistics as collect_statistics
from .statistics import statistics as statistics
from .statistics import warn_slow_handlers as warn_slow_handlers
from .timers import Timer as Timer
from .tracebacks import compact_traceback as compact_traceback
from .trigger import Trigger as Trigger

if sys.platform != "win32":
    from .files import file_dispatcher as file_dispatcher
    from .files import file_wrapper as file_wrapper

__version__ = "0.1.0"

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

# A program may keep it, copy it, change it, or put its own mapping in its place.
try:
    socket_map = socket_map  # type: ignore[has-type] # reloaded: keep the channels
except NameError:
    socket_map = ChannelMap()
