"""Mistakes of a program are answered at once, in words that name them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

import asynccore
from asynccore import pollers
from tests.corners.support import QuietReader, Reader, drive, passes


@pytest.mark.parametrize("how", ["constructor", "set_socket"])
def test_a_closed_socket(how: str, channels: Any) -> None:
    sock = socket.socket()
    sock.close()
    channel = asynccore.dispatcher(map=channels)
    with pytest.raises((ValueError, OSError), match=r"closed|Bad file descriptor|WinError"):
        if how == "set_socket":
            channel.set_socket(sock)
        else:
            asynccore.dispatcher(sock, channels)
    assert not channels


def test_a_negative_key_in_a_map_that_reports() -> None:
    channels = asynccore.ChannelMap()
    with pytest.raises(ValueError, match="-1"):
        channels[-1] = object()
    assert not channels


def test_a_negative_key_in_a_plain_map(engine: str, pair: Any) -> None:
    end, _ = pair()
    channel = Reader(end, {})
    channels = {-1: channel}
    with pytest.raises(ValueError, match="-1"):
        passes(channels, engine)
    channel.close()


def test_an_object_without_the_event_methods(channels: Any, engine: str, pair: Any) -> None:
    end, _ = pair()
    channels[end.fileno()] = object()
    for _ in range(2):
        with pytest.raises(TypeError, match="handle_read_event"):
            passes(channels, engine)
    del channels[end.fileno()]
    # It did no lasting harm.
    other_end, peer = pair()
    channel = QuietReader(other_end, channels)
    peer.send(b"x")
    drive(lambda: channel.received, channels, engine)


def test_an_unknown_engine_by_argument(channels: Any, pair: Any) -> None:
    with pytest.raises(ValueError, match=r"'uring'.*select"):
        asynccore.loop(map=channels, poller="uring")
    QuietReader(pair()[0], channels)
    with pytest.raises(ValueError, match=r"'uring'.*select"):
        asynccore.loop(map=channels, poller="uring")


def test_an_unknown_engine_by_environment(
    channels: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(pollers.ENGINE_VARIABLE, "uring")
    end, peer = pair()
    channel = QuietReader(end, channels)
    with pytest.raises(ValueError, match=r"ASYNCCORE_ENGINE=uring.*select"):
        passes(channels, None)
    monkeypatch.delenv(pollers.ENGINE_VARIABLE)
    peer.send(b"x")
    drive(lambda: channel.received, channels)


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
def test_a_timeout_that_is_none(timeout: float, channels: Any, pair: Any) -> None:
    QuietReader(pair()[0], channels)
    for call in (asynccore.loop, asynccore.poll):
        with pytest.raises(ValueError, match="timeout"):
            call(timeout=timeout, map=channels)


def test_calls_without_a_socket(channels: Any) -> None:
    channel = asynccore.dispatcher(map=channels)
    for call in (lambda: channel.recv(1), lambda: channel.send(b"x"), lambda: channel.listen(1)):
        with pytest.raises(AttributeError, match="NoneType"):
            call()
    channel.accepting = False
    channel.close()


def test_a_callback_that_can_not_be_called(channels: Any) -> None:
    with pytest.raises(TypeError, match="None"):
        asynccore.call_later(1.0, None, map=channels)  # type: ignore[arg-type]
