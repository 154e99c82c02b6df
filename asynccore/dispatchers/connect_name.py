"""Connecting by name: what a dispatcher offers for it."""

from __future__ import annotations

import socket as _socket
from typing import Any

from ..channels import Map
from ..classic.former import formerly
from ..connecting.attempts import ConnectByName
from ..connecting.happy_eyeballs import ATTEMPT_DELAY
from ..connecting.stand_in import StandIn
from ..connecting.target import Target
from ..engine.engine import engine_for
from .timeouts import ChannelTimes, Timed


class ConnectsByName(Timed):
    """What a dispatcher has for connecting by name."""

    connected = False
    addr: tuple[str, int] | Any = None
    socket: _socket.socket | Any = None
    _map: Map
    _ac_closed = False
    _ac_ended = 0
    _ac_connects = 0  # how often it began to connect
    _ac_by_name: ConnectByName | None = None
    _ac_name_given = False  # by another thread, and the loop's has not come to it yet

    @formerly(attempt_delay="happy_eyeballs_delay", local_address="local_addr")
    def connect_name(
        self,
        host: str,
        port: int | str,
        *,
        family: int = 0,
        happy_eyeballs_delay: float = ATTEMPT_DELAY,
        local_addr: tuple[str, int] | None = None,
    ) -> None:
        """Look a host up and connect to it by TCP, without holding up the loop (RFC 8305).

        `host` is a name, an international one too, or a numeric address; `port` a number or a
        service's name. `family` limits it to `AF_INET` or `AF_INET6`. Addresses are tried one
        after another, `happy_eyeballs_delay` seconds apart while none has failed, in families that
        take turns. `local_addr` is the numeric host (`""` for any) and port to connect from.

        The first connection becomes the channel's, with the peer's address in `addr`, and
        `handle_connect` follows. If there is none, `handle_error` follows with one `ConnectError`
        current, and the channel is closed. `connect_timeout` covers the look-up and all attempts.
        No socket need be made before. The loop goes on meanwhile; `close()` ends it all; calling
        this again begins anew. Safe from any thread.

        Raises `TypeError` and `ValueError` for arguments that can't be right, and `RuntimeError`
        if the channel has a socket.
        """
        target = Target(host, port, family, happy_eyeballs_delay, local_addr)
        if self._fileno is not None:
            raise RuntimeError(
                f"connect_name() makes a socket of its own, and {self!r} has one: close() it first"
            )
        self._ac_engine = engine_for(self._map)
        self._ac_name_given = True
        self._ac_engine.run_on_loop(self._ac_connect_name, target)

    def _ac_is_under_way(self) -> bool:
        return self._ac_by_name is not None or self._ac_name_given or super()._ac_is_under_way()

    def _ac_connect_name(self, target: Target) -> None:
        before, engine = self._ac_by_name, self._ac_engine
        assert engine is not None, "connect_name() has found it"
        self.connected = self._ac_closed = False
        self._ac_ended = 0
        self.connecting = True
        self._ac_connects += 1
        self.addr = target.host, target.port
        self._ac_drop_times()
        self._ac_by_name = ConnectByName(self, engine, target)
        self._ac_name_given = False
        if before is not None:
            before.cancel()
        self.socket = StandIn(repr(self._ac_by_name), self._ac_by_name.cancel)
        if self._ac_has_timeouts:
            self._ac_rearm()
        self._ac_by_name.look_up()

    def _ac_timing(self) -> ChannelTimes | None:
        engine = self._ac_engine
        if self._ac_times is None and self._ac_by_name is not None and engine is not None:
            # There is no descriptor yet whose events it could note, and nothing but this to time.
            self._ac_times = ChannelTimes(self, engine.timers)
            self._ac_times.connecting_since = self._ac_by_name.began
        return super()._ac_timing()
