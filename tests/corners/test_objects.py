"""Dispatchers as objects: pickled, copied, hashed, compared."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import asynccore
from asynccore import asynchat
from tests.corners.support import Reader, drive, passes

UNCONNECTED = [asynccore.dispatcher, asynccore.dispatcher_with_send, asynchat.async_chat]


@pytest.mark.parametrize("kind", UNCONNECTED)
@pytest.mark.parametrize("how", ["pickle", "copy", "deepcopy"])
def test_without_a_socket(kind: Any, how: str) -> None:
    """Session objects are saved before they connect, or after they were closed."""
    original = kind(map={})
    original.name = "saved"
    if how == "pickle":
        made = pickle.loads(pickle.dumps(original))
    else:
        made = getattr(copy, how)(original)
    assert type(made) is kind and made is not original
    assert made.name == "saved" and made.socket is None and not made.connected


@pytest.mark.parametrize("how", [pickle.dumps, copy.deepcopy])
def test_after_it_had_a_socket(how: Any, channels: Any, pair: Any) -> None:
    channel = asynccore.dispatcher_with_send(pair()[0], channels)
    passes(channels, None)
    channel.close()
    channel.socket = None
    channel.out_buffer = b"unsent"
    made = how(channel)
    if isinstance(made, bytes):
        made = pickle.loads(made)
    assert made.out_buffer == b"unsent" and made.socket is None
    assert made._map == {} and made._map is not channels


@pytest.mark.parametrize("kind", UNCONNECTED)
def test_a_copy_without_a_socket_can_be_used(kind: Any, engine: str, pair: Any) -> None:
    made = copy.deepcopy(kind(map={}))
    end, peer = pair()
    made.handle_read = lambda: got.append(made.recv(10))
    made.handle_write = made.handle_connect = lambda: None
    got: list[bytes] = []
    made.set_socket(end)
    made.connected = True
    peer.send(b"x")
    drive(lambda: got, made._map, engine)
    made.close()
    assert got == [b"x"]


def test_with_a_socket_it_says_why_not(channels: Any, pair: Any) -> None:
    channel = Reader(pair()[0], channels)
    with pytest.raises(TypeError, match="socket"):
        pickle.dumps(channel)


def test_a_map_is_copied_without_its_engine(channels: Any, pair: Any) -> None:
    channel = Reader(pair()[0], channels)
    passes(channels, None)
    made = copy.copy(channels)
    assert made == channels and type(made) is type(channels)
    assert made is not channels and getattr(made, "engine", None) is None
    assert list(channels.values()) == [channel]


def test_hashed_by_default_by_identity(pair: Any) -> None:
    channels: dict[int, Any] = {}
    one, other = (Reader(pair()[0], channels) for _ in range(2))
    assert one != other and len({one, other, one}) == 2
    asynccore.close_all(channels)


@pytest.mark.parametrize("hashable", [True, False])
def test_a_hash_and_an_equality_of_its_own(
    hashable: bool, channels: Any, engine: str, pair: Any
) -> None:
    class Named(Reader):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named)

        __hash__ = (lambda self: 7) if hashable else None  # type: ignore[assignment]

    ends = [pair() for _ in range(3)]
    made = [Named(end, channels) for end, _ in ends]
    for number, (_, peer) in enumerate(ends):
        peer.send(b"%d" % number)
    drive(lambda: all(channel.received for channel in made), channels, engine)
    made[1].close()
    passes(channels, engine)
    assert [channel.received for channel in made] == [b"0", b"1", b"2"]
    assert len(channels) == 2


def test_a_channel_that_is_false(channels: Any, engine: str, pair: Any) -> None:
    """One with a length, for example."""

    class Empty(Reader):
        def __len__(self) -> int:
            return 0

    end, peer = pair()
    channel = Empty(end, channels)
    peer.send(b"x")
    drive(lambda: channel.received, channels, engine)
    peer.close()
    asynccore.loop(timeout=5, map=channels, poller=engine)
    assert channel.events == ["read", "close"]
