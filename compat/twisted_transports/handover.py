"""Handing a dispatcher's connection over to a Twisted protocol, in mid-conversation."""

from __future__ import annotations

import socket
from typing import Any

from asynccore.classic.former import formerly
from asynccore.dispatchers.dispatcher import dispatcher
from asynccore.running.graceful import has_output


@formerly("reactor")
def hand_over(channel: dispatcher, factory: Any, *, reactor: Any = None) -> Any:
    """Give the connection of a dispatcher to a protocol of `factory`; the dispatcher is closed.

    What an `async_chat` has received and not delivered yet goes to the protocol, which begins with
    `connectionMade`. May be called from a handler, such as `found_terminator`. `reactor` is any
    reactor, by default the installed one. `handle_close` is not called.

    Returns Twisted's transport, or `None` if the factory builds no protocol, which closes the
    connection. Raises `TypeError` if the channel has no plain stream socket (TLS can't be handed
    over), and `ValueError` if it isn't connected, or output of it is yet to be sent: wait until
    `write_buffer_size` is 0.
    """
    sock = channel.socket
    if type(sock) is not socket.socket or sock.type != socket.SOCK_STREAM:
        raise TypeError(f"{channel!r} has no plain stream socket, but {sock!r}")
    if not channel.connected:
        raise ValueError(f"{channel!r} is not connected")
    if has_output(channel):
        raise ValueError(f"{channel!r} has output to send before it can be handed over")
    if reactor is None:
        from twisted.internet import reactor
    received: bytes = getattr(channel, "ac_in_buffer", b"")
    transport: Any = reactor.adoptStreamConnection(sock.fileno(), sock.family, factory)
    channel.close()  # The transport has a duplicate of the descriptor.
    if transport is not None and received and transport.connected:
        transport.protocol.dataReceived(received)
    return transport
