# Written by `python -m tests.stubs`: `asynchat` is `asynccore.asynchat` to type checkers, too.
import asyncore as asyncore

from asynccore.asynchat import _DEPRECATION_MSG as _DEPRECATION_MSG
from asynccore.asynchat import _deprecated as _deprecated
from asynccore.asynchat import async_chat as async_chat
from asynccore.asynchat import deque as deque
from asynccore.asynchat import fifo as fifo
from asynccore.asynchat import find_prefix_at_end as find_prefix_at_end
from asynccore.asynchat import line_chat as line_chat
from asynccore.asynchat import simple_producer as simple_producer
from asynccore.asynchat import warn as warn
