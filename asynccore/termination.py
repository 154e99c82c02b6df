"""TLS in front of listeners that know nothing of it, where `asynccore run --tls-cert` says so.

Facts. The program is unmodified, and may start others. Who asked for TLS must not get plaintext,
whatever else goes wrong. This floor knows nothing of TLS.

Consequence. An environment variable, which child processes inherit, says that there is to be TLS.
Every TCP socket that a dispatcher listens on is then replaced by what `ssl_ext.termination` puts
in front of it. If that can't be had, `listen` raises.

Trade-off. Unix sockets stay plain: they are for this machine, under the guard of their file mode.
A program that listens without a dispatcher is not reached. Without the variable `listen` and
`accept` pay for one look at a module attribute.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .dispatcher import dispatcher

# The file of the server's certificate chain; the variables beside it are `ssl_ext.termination`'s.
VARIABLE = "ASYNCCORE_TLS_CERT"

wanted = bool(os.environ.get(VARIABLE))

_HERE = os.path.dirname(os.path.abspath(__file__))
_TCP = (socket.AF_INET, socket.AF_INET6)


def cover(channel: dispatcher) -> Any:
    """Put TLS in front of a channel's listening socket, and return what `channel.socket` is now.

    What is no TCP socket, or does TLS by itself already, stays what it is. Raises as
    `ssl_ext.termination.in_front_of` does, and `OSError` if there is no such thing.
    """
    sock = channel.socket
    # A TLS socket of the standard library, or one that has a will of its own already.
    does_tls = hasattr(type(sock), "do_handshake") or hasattr(type(sock), "poll_interest")
    if not does_tls and sock.family in _TCP and sock.type == socket.SOCK_STREAM:
        channel.socket = sock = find().in_front_of(channel)
        channel._ac_touch()
    return sock


def find() -> Any:
    """Import `ssl_ext.termination`, from beside this package.

    It may be in no folder of `sys.path`, and a program may have an `ssl_ext` of its own. Raises
    `OSError` without it.
    """
    # Hardly anybody gets here, and these load much.
    from importlib import import_module
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    name = "ssl_ext"
    try:
        if name not in sys.modules:
            spec = PathFinder.find_spec(name, [os.path.dirname(_HERE)])
            if spec is not None and spec.loader is not None:
                module = sys.modules[name] = module_from_spec(spec)
                spec.loader.exec_module(module)
        return import_module("ssl_ext.termination")
    except ImportError as why:
        raise OSError(f"{VARIABLE} is set, and there is no TLS: {why}") from why
