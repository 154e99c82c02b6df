# Written by `python -m tests.stubs`: `asyncore` is `asynccore` to type checkers, too.
import os as os
import select as select
import socket as socket
import sys as sys
import time as time
import warnings as warnings

from asynccore import ChannelMap as ChannelMap
from asynccore import ChannelStatistics as ChannelStatistics
from asynccore import ConnectError as ConnectError
from asynccore import EAGAIN as EAGAIN
from asynccore import EALREADY as EALREADY
from asynccore import EBADF as EBADF
from asynccore import ECONNABORTED as ECONNABORTED
from asynccore import ECONNRESET as ECONNRESET
from asynccore import EINPROGRESS as EINPROGRESS
from asynccore import EINVAL as EINVAL
from asynccore import EISCONN as EISCONN
from asynccore import ENOTCONN as ENOTCONN
from asynccore import EPIPE as EPIPE
from asynccore import ESHUTDOWN as ESHUTDOWN
from asynccore import EWOULDBLOCK as EWOULDBLOCK
from asynccore import ExitNow as ExitNow
from asynccore import InheritedSocket as InheritedSocket
from asynccore import Statistics as Statistics
from asynccore import Timer as Timer
from asynccore import Trigger as Trigger
from asynccore import _DEPRECATION_MSG as _DEPRECATION_MSG
from asynccore import _DISCONNECTED as _DISCONNECTED
from asynccore import _exception as _exception
from asynccore import _reraised_exceptions as _reraised_exceptions
from asynccore import _strerror as _strerror
from asynccore import call_at as call_at
from asynccore import call_every as call_every
from asynccore import call_later as call_later
from asynccore import call_soon_threadsafe as call_soon_threadsafe
from asynccore import close_all as close_all
from asynccore import collect_statistics as collect_statistics
from asynccore import compact_traceback as compact_traceback
from asynccore import dispatcher as dispatcher
from asynccore import dispatcher_with_send as dispatcher_with_send
from asynccore import errorcode as errorcode
from asynccore import graceful_close as graceful_close
from asynccore import listen_fds as listen_fds
from asynccore import listener as listener
from asynccore import loop as loop
from asynccore import poll as poll
from asynccore import poll2 as poll2
from asynccore import poll3 as poll3
from asynccore import read as read
from asynccore import readwrite as readwrite
from asynccore import set_resolver as set_resolver
from asynccore import socket_map as socket_map
from asynccore import statistics as statistics
from asynccore import stop as stop
from asynccore import use_logging as use_logging
from asynccore import warn_slow_handlers as warn_slow_handlers
from asynccore import write as write

if sys.platform != "win32":
    from asynccore import file_dispatcher as file_dispatcher
    from asynccore import file_wrapper as file_wrapper
