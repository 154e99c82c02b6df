"""What is closed answers alike, whatever its class: docs/architecture.md has the rule.

A new method is in none of these tables, and fails here until somebody has decided.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from errno import EBADF, EOPNOTSUPP
from types import FunctionType
from typing import Any

import pytest

import asynccore
import ssl_ext
from asynccore import asynchat
from tests.tls.support import HOST, client_raw, server_raw, shake

ADDRESS = ("127.0.0.1", 1)

# Sockets ----------------------------------------------------------------------------------------

# What each method is called with. All of them raise EBADF, as those of `socket.socket` do.
CALLS: dict[str, tuple[Any, ...]] = {
    "accept": (),
    "bind": (ADDRESS,),
    "connect": (ADDRESS,),
    "connect_ex": (ADDRESS,),
    "do_handshake": (),
    "get_inheritable": (),
    "getpeername": (),
    "getsockname": (),
    "getsockopt": (socket.SOL_SOCKET, socket.SO_ERROR),
    "listen": (),
    "read": (1,),
    "recv": (1,),
    "recv_into": (bytearray(1),),
    "recvfrom": (1,),
    "recvfrom_into": (bytearray(1),),
    "send": (b"x",),
    "sendall": (b"x",),
    "sendmsg": ([b"x"],),
    "sendto": (b"x", ADDRESS),
    "set_inheritable": (False,),
    "setblocking": (False,),
    "setsockopt": (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    "settimeout": (1,),
    "shutdown": (socket.SHUT_RDWR,),
    "unwrap": (),
    "write": (b"x",),
}
# What would be in clear, or would block: refused before, too.
NEVER = {"detach", "dup", "makefile"}
# What is known still, or concerns nothing that is open.
GOES_ON = (
    {"close": None, "fileno": -1, "pending": 0}
    | {"getblocking": False, "gettimeout": 0.0}
    | {"selected_alpn_protocol": None, "user_name": None, "version": "TLSv1.3"}
)
# Datagrams have no way back, and are bounded, before anything is asked.
OTHERWISE = {("DTLSSocket", "unwrap"): ssl_ext.HandshakeError}


def client_and_server() -> list[Any]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    client = ssl_ext.OpenSSLSocket(client_raw(), ours, server_hostname=HOST)
    server = ssl_ext.TransparentSocket(server_raw(), theirs, server_side=True)
    shake(client, server)
    return [client, server]


def accepting() -> list[Any]:
    listener = socket.create_server(("127.0.0.1", 0))
    return [ssl_ext.AcceptingSocket(server_raw(), listener)]


def datagrams() -> list[Any]:
    raw = socket.socket(type=socket.SOCK_DGRAM)
    return [ssl_ext.DTLSSocket(ssl_ext.client_context(dtls=True), raw, server_hostname=HOST)]


# The first of each is looked at.
SOCKETS: dict[str, Callable[[], list[Any]]] = {
    "OpenSSLSocket": client_and_server,
    "TransparentSocket": lambda: client_and_server()[::-1],
    "DTLSSocket": datagrams,
    "AcceptingSocket": accepting,
}


def methods(cls: type) -> list[str]:
    found = [name for name in dir(cls) if not name.startswith("_")]
    return [name for name in found if isinstance(getattr(cls, name), FunctionType)]


@pytest.mark.parametrize("kind", SOCKETS)
def test_a_closed_socket_answers_as_any_other(kind: str) -> None:
    made = SOCKETS[kind]()
    for sock in made:
        sock.close()
    sock, cls = made[0], type(made[0])
    assert cls.__name__ == kind and len(methods(cls)) > 20
    told = {}
    for name in methods(cls):
        try:
            told[name] = getattr(sock, name)(*CALLS.get(name, ()))
        except OSError as why:
            told[name] = type(why) if (kind, name) in OTHERWISE else why.errno
        except ValueError as why:
            told[name] = EBADF if name == "listen" and "client's socket" in str(why) else why
    expected = {
        name: OTHERWISE.get((kind, name), EBADF)
        if name in CALLS
        else EOPNOTSUPP
        if name in NEVER
        else GOES_ON[name]
        for name in methods(cls)
    }
    if told.get("version") is None:
        expected.pop("version", None), told.pop("version", None)  # it never shook hands
    assert told == expected


@pytest.mark.parametrize("name", sorted(CALLS.keys() & set(dir(socket.socket))))
def test_so_does_a_plain_one(name: str) -> None:
    sock = socket.socket()
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        number = getattr(sock, name)(*CALLS[name])
        raise OSError(number, "Bad file descriptor")  # connect_ex returns it
    assert caught.value.errno == EBADF


# Channels ---------------------------------------------------------------------------------------

NOTHING = None
# The end has come, and nothing is sent.
CHANNEL: dict[str, tuple[tuple[Any, ...], Any]] = {
    "close": ((), NOTHING),
    "close_when_done": ((), NOTHING),
    "del_channel": ((), NOTHING),
    "discard_buffers": ((), NOTHING),
    "initiate_send": ((), NOTHING),
    "pause_reading": ((), NOTHING),
    "push": ((b"x",), NOTHING),
    "push_with_producer": ((asynchat.simple_producer(b"x"),), NOTHING),
    "recv": ((1,), b""),
    "recvfrom": ((1,), (b"", None)),
    "resume_reading": ((), NOTHING),
    "send": ((b"x",), 0),
    "sendto": ((b"x", ADDRESS), 0),
    "shutdown_write": ((), NOTHING),
    "touch": ((), NOTHING),
    "writelines": (([b"x"],), NOTHING),
    # what needs a connection
    "set_deadline": ((1,), RuntimeError),
    "start_tls": ((client_raw(),), RuntimeError),
    "unwrap": ((), RuntimeError),
    # and what sets options of the socket, or makes another thing of it
    "accept": ((), EBADF),
    "bind": ((ADDRESS,), EBADF),
    "connect": ((ADDRESS,), EBADF),
    "listen": ((1,), EBADF),
    "set_keepalive": ((), EBADF),
    "set_nodelay": ((), EBADF),
    "set_reuse_addr": ((), NOTHING),  # it never raises, in the classic module, either
    "set_reuse_port": ((), EBADF),
}
# What is there for the next connection, or for none: asked of any channel at any time.
ANY_TIME = set(
    "add_channel call_later connect_name create_socket get_terminator handshake_begun "
    "handshake_ended log log_info readable set_socket set_terminator user_name writable "
    "collect_incoming_data found_terminator".split()
)
CLASSES: list[Any] = [
    asynccore.dispatcher,
    asynccore.dispatcher_with_send,
    asynchat.async_chat,
    asynchat.line_chat,
    ssl_ext.tls_dispatcher,
    ssl_ext.tls_dispatcher_with_send,
    ssl_ext.tls_async_chat,
    ssl_ext.tls_line_chat,
]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("speaks", [False, True])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_a_closed_channel_answers_as_any_other(cls: Any, speaks: bool, pair: Any) -> None:
    map: dict[int, Any] = {}
    options: dict[str, Any] = {}
    if speaks:
        if not issubclass(cls, ssl_ext.TLSMixin):
            return
        options = {"context": server_raw(), "server_side": True}
    channel = cls(pair[0], map, **options)
    channel.close()
    assert not map and channel.is_closed
    named = {name for name in methods(cls) if not name.startswith("handle_")} - ANY_TIME
    told = {}
    for name in named:
        try:
            told[name] = getattr(channel, name)(*CHANNEL[name][0])
        except OSError as why:
            told[name] = why.errno
        except RuntimeError:
            told[name] = RuntimeError
    expected = {name: CHANNEL[name][1] for name in named}
    if told["send"] is None:
        expected["send"] = None  # `dispatcher_with_send` tells nobody how much was sent
    assert told == expected
