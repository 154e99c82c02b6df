"""The channels of transports that speak TLS, by `ssl_ext`."""

from __future__ import annotations

import socket

from asynccore.channels import Map
from asynccore.ssl_ext import Context, tls_dispatcher_with_send

from .streams import StreamChannel, StreamTransport, Timeouts, set_nodelay


class TLSStreamChannel(tls_dispatcher_with_send, StreamChannel):
    """What the map holds for a transport that speaks TLS."""

    def __init__(
        self,
        transport: StreamTransport,
        sock: socket.socket | None = None,
        map: Map | None = None,
        *,
        context: Context | None = None,
        server_side: bool = False,
        server_hostname: str | None = None,
        timeouts: Timeouts = (None, None),
    ) -> None:
        self.transport = transport
        if timeouts[0] is not None:
            self.handshake_timeout = timeouts[0]
        if timeouts[1] is not None:
            self.shutdown_timeout = timeouts[1]
        # TLSMixin's constructor is passed over, for it calls one that takes other arguments.
        self.tls_context = context
        self.server_side = server_side
        self.server_hostname = server_hostname
        StreamChannel.__init__(self, transport, sock, map)

    def handle_connect(self) -> None:
        """Connected, and the handshake is over: `handle_handshake` follows."""
        self.connected = True
        self.connecting = False
        set_nodelay(self.socket)

    def handle_handshake(self) -> None:
        """TLS stands."""
        self.transport.established()

    def handle_tls_error(self, exc: BaseException) -> None:
        """TLS has failed."""
        self.transport.fail(exc, "TLS failed")


def upgrade(
    channel: StreamChannel,
    context: Context,
    server_side: bool,
    server_hostname: str | None,
    timeouts: Timeouts,
) -> TLSStreamChannel:
    """Return a channel that goes on with a connection, with TLS; what is queued goes first."""
    map, transport, output = channel._map, channel.transport, channel.out_buffer
    sock = channel.leave()
    secured = TLSStreamChannel(transport, sock, map, timeouts=timeouts)
    if output:
        secured.out_buffer = output
    try:
        secured.start_tls(context, server_side=server_side, server_hostname=server_hostname)
        secured.tls_context = context  # get_extra_info() tells the protocol of it.
    except BaseException:
        transport.channel = secured
        transport.abort()
        raise
    return secured
