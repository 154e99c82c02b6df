"""Like things are called alike: names, orders, kinds and defaults of parameters.

docs/architecture.md has the rules for readers. What is public is looked at as it is, and compared
with the rest of what is public; a new function that breaks a rule fails here, and what the classic
modules, asyncio and `ssl` have by their own signatures is as it is there.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import ssl
from collections.abc import Callable, Iterator
from inspect import Parameter
from itertools import combinations
from types import FunctionType
from typing import Any, NamedTuple, cast

import pytest

import asynccore
import ssl_ext
from asynccore import asynchat, hardened_smtpd
from ssl_ext.sockets.proxy import SocketProxy
from tests.classic.table import SURFACE
from tests.project.test_public_paths import NAMES, fetch

OURS = ("asynccore", "compat", "ssl_ext")

# Every name that a parameter of a public function has. Take one of these for a parameter of the
# same meaning, and write down here what there is no name for yet.
VOCABULARY = set(
    # what a function is about
    "sock fd file data channel channel_class dispatcher_class callback args source factory "
    "protocol_factory coro reader reactor context certificate key password mapping resolver logger "
    "engine poller map host port address local_addr remote_addr path exc "
    # times, in seconds
    "timeout delay when interval seconds idle handshake_timeout shutdown_timeout "
    "happy_eyeballs_delay "
    # how much
    "buffer_size limit count offset backlog mtu size lines line "
    # sides and options of a connection
    "server_side server_hostname family proto reuse_port allow_broadcast which on close "
    "proxy_protocol unset_environment until_idle suppress_ragged_eofs prelude max_handshakes "
    # contexts
    "ca check_hostname strict pins crl stapling stapled alpn minimum_version maximum_version "
    "ciphers resume keylog dtls client_auth sni sni_required "
    # mail
    "localaddr remoteaddr data_size_limit enable_SMTPUTF8 decode_data tls auth_required "
    "auth_in_clear certificate_user login_by_certificate limits server conn addr peer kwargs "
    "mechanism user arg reason "
    # tests and tools
    "now clock wall mask settings options queue depth code thunk after events".split()
)

# Given by name alone, and what each is unless it is given: `...` if that differs.
BY_NAME: dict[str, Any] = {
    "backlog": 128,
    "family": 0,
    "handshake_timeout": 60.0,
    "happy_eyeballs_delay": 0.25,
    "local_addr": None,
    "map": None,
    "max_handshakes": ...,
    "mtu": 1232,
    "reader": None,
    "reactor": None,
    "server_hostname": None,
    "server_side": None,
    "shutdown_timeout": 30.0,
    "suppress_ragged_eofs": False,
}

# A class that is made secure keeps the timeouts of its own.
OWN_DEFAULTS = {"ssl_ext.secure": {"handshake_timeout", "shutdown_timeout"}}

# As the classic modules have them, whose subclasses pass them on.
CLASSIC_ORDERS = {
    ("sock", "map"),
    ("fd", "map"),
    ("localaddr", "remoteaddr", "data_size_limit", "map", "enable_SMTPUTF8", "decode_data"),
    ("server", "conn", "addr", "data_size_limit", "map", "enable_SMTPUTF8", "decode_data"),
}

# About one map, which is not left out.
ABOUT_A_MAP = {"asynccore.testing.engine_with_fakes"}

# Made by functions of ours alone.
MADE_BY_US = {"asynccore.Timer", "ssl_ext.Context"}

# Known to those who write tools, or classic throughout.
LEFT_OUT = {
    *("asynccore.asynchat", "asynccore.smtpd", "ssl_ext.errors"),
    *("asynccore.channels", "asynccore.engine", "asynccore.pollers"),
}


class Signature(NamedTuple):
    """A public function or method, and its parameters without `self`."""

    name: str
    parameters: tuple[Parameter, ...]

    @property
    def by_position(self) -> list[str]:
        return [
            it.name
            for it in self.parameters
            if it.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        ]


def of(function: Callable[..., Any], name: str, skip: int = 0) -> Signature:
    return Signature(name, tuple(inspect.signature(function).parameters.values())[skip:])


def is_classic(method: str) -> bool:
    """Whether the classic modules have a method of this name, for whatever class."""
    return any(
        re.search(rf"^(3\.\d+ )?\w+\.{method}\(", text, re.MULTILINE) for text in SURFACE.values()
    )


def is_ours(thing: object) -> bool:
    return (getattr(thing, "__module__", None) or "").partition(".")[0] in OURS


def is_foreign(cls: type, method: str) -> bool:
    """Whether a class has a method because a class of somebody else has it."""
    theirs: list[type] = [base for base in cls.__mro__ if not is_ours(base)]
    if issubclass(cls, SocketProxy):
        theirs += ssl.SSLSocket.__mro__  # whose methods it has
    return any(method in vars(base) for base in theirs)


def methods_of(cls: type) -> Iterator[tuple[str, FunctionType]]:
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        method = inspect.unwrap(method) if callable(method) else method
        if name.startswith("_") or not isinstance(method, FunctionType) or is_classic(name):
            continue
        if is_ours(method) and not is_foreign(cls, name):
            yield name, method


def public() -> list[Signature]:
    found = {}
    for path, names in NAMES.items():
        if path in LEFT_OUT:
            continue
        for name in sorted(names):
            thing = fetch(path, name)
            full = f"{path}.{name}"
            if not isinstance(thing, type):
                if not re.search(rf"^{name}\(", SURFACE["asyncore"], re.MULTILINE):
                    found[full] = of(thing, full)
                continue
            if "__init__" in vars(thing) and full not in MADE_BY_US:
                found[full] = of(thing.__init__, full, 1)
            for method, function in methods_of(thing):
                found[f"{full}.{method}"] = of(function, f"{full}.{method}", 1)
    return list(found.values())


PUBLIC = public()


def is_taken_as_it_is(one: Signature) -> bool:
    """Whether the order of what it takes is that of the classic modules or of asyncio."""
    if tuple(one.by_position) in CLASSIC_ORDERS or one.name in ABOUT_A_MAP:
        return True
    path, _, name = one.name.rpartition(".")
    if path == "compat" and name.startswith("create_"):
        return one.by_position == of(getattr(asyncio.BaseEventLoop, name), name, 1).by_position
    return False


# The rules --------------------------------------------------------------------------------------


def unknown_names(one: Signature) -> set[str]:
    return {it.name for it in one.parameters if not it.name.startswith("_")} - VOCABULARY


def given_by_position(one: Signature) -> set[str]:
    return set() if is_taken_as_it_is(one) else set(one.by_position) & set(BY_NAME)


def other_defaults(one: Signature) -> dict[str, Any]:
    return {
        it.name: it.default
        for it in one.parameters
        if BY_NAME.get(it.name, ...) is not ...
        and it.default not in (BY_NAME[it.name], Parameter.empty)
        and it.name not in OWN_DEFAULTS.get(one.name, ())
    }


def broken(rule: Callable[[Signature], Any]) -> dict[str, Any]:
    """Return what breaks a rule, and how."""
    return {one.name: found for one in PUBLIC if (found := rule(one))}


def reversed_orders(functions: list[Signature]) -> list[tuple[str, str, str]]:
    """Return pairs of parameters that two functions take in opposite orders."""
    orders: dict[tuple[str, str], str] = {}
    for one in functions:
        for pair in combinations(one.by_position, 2):
            orders.setdefault(pair, one.name)
    return sorted(
        (f"{a}, {b}", orders[a, b], orders[b, a]) for a, b in orders if a < b and (b, a) in orders
    )


def shown(one: Signature) -> list[str]:
    return [f"{'*' if it.kind is Parameter.KEYWORD_ONLY else ''}{it.name}" for it in one.parameters]


def different_methods(functions: list[Signature]) -> dict[str, list[list[str]]]:
    """Return methods of one name that take different things."""
    found: dict[str, list[list[str]]] = {}
    for one in functions:
        path, _, method = one.name.rpartition(".")
        if path in NAMES:
            continue  # a function, or a constructor
        kinds = found.setdefault(method, [])
        if shown(one) not in kinds:
            kinds.append(shown(one))
    return {method: kinds for method, kinds in found.items() if len(kinds) > 1}


def shown_with_defaults(function: Callable[..., Any], less: set[str]) -> list[str]:
    """Return the parameters of a constructor but for those of TLS."""
    parameters = of(function, "", 1).parameters
    return [str(it).replace("'", "") for it in parameters if it.name not in less]


def kind_of(cls: type, name: str) -> str:
    """Return whether a class has a method or something to be read by a name."""
    found = inspect.getattr_static(cls, name)
    return "method" if isinstance(found, FunctionType) else "attribute"


def different_kinds(one: type, other: type) -> list[str]:
    common = {name for name in dir(one) if not name.startswith("_")} & set(dir(other))
    return [name for name in sorted(common) if kind_of(one, name) != kind_of(other, name)]


def test_its_parameters_have_the_names_of_the_house() -> None:
    assert broken(unknown_names) == {}


def test_options_are_given_by_name() -> None:
    assert broken(given_by_position) == {}


def test_the_same_default_everywhere() -> None:
    assert broken(other_defaults) == {}


def test_one_order() -> None:
    assert len(PUBLIC) > 150
    assert reversed_orders(PUBLIC) == []


def test_methods_of_one_name_take_the_same() -> None:
    assert different_methods(PUBLIC) == {}


# What speaks TLS, what it is without, and what belongs to TLS.
TWINS = [
    (ssl_ext.tls_dispatcher, asynccore.dispatcher),
    (ssl_ext.tls_dispatcher_with_send, asynccore.dispatcher_with_send),
    (ssl_ext.tls_async_chat, asynchat.async_chat),
    (ssl_ext.tls_line_chat, asynchat.line_chat),
    (ssl_ext.tls_listener, asynccore.listener),
    (ssl_ext.TLSSMTPServer, hardened_smtpd.HardenedSMTPServer),
    (ssl_ext.TLSSMTPChannel, hardened_smtpd.HardenedSMTPChannel),
    (ssl_ext.DTLSSocket, ssl_ext.OpenSSLSocket),
    (ssl_ext.TransparentSocket, ssl_ext.OpenSSLSocket),
]
OF_TLS = set(
    "context server_side server_hostname tls auth_required auth_in_clear certificate_user "
    "login_by_certificate max_handshakes mtu _verified".split()
)


@pytest.mark.parametrize(("secure", "plain"), TWINS, ids=lambda cls: cls.__name__)
def test_what_speaks_tls_takes_what_its_twin_takes(secure: type, plain: type) -> None:
    theirs = [re.sub(": .*?(?= = |$)", "", it) for it in shown_with_defaults(init(plain), OF_TLS)]
    ours = [re.sub(": .*?(?= = |$)", "", it) for it in shown_with_defaults(init(secure), OF_TLS)]
    assert ours == theirs


def init(cls: type) -> Callable[..., Any]:
    return cast("Callable[..., Any]", cls.__init__)  # type: ignore[misc]


# What a channel and its socket tell of a peer.
PEER = set(
    "peer_certificate peer_chain peer_names tls_version cipher alpn_protocol session_reused "
    "server_name user_name".split()
)


def test_a_channel_and_its_socket_tell_of_a_peer_alike() -> None:
    assert PEER <= set(dir(ssl_ext.TLSMixin)) & set(dir(ssl_ext.OpenSSLSocket))
    assert kind_of(ssl_ext.TLSMixin, "cipher") == "attribute"
    assert different_kinds(ssl_ext.TLSMixin, ssl_ext.OpenSSLSocket) == []


# Made-up functions that break a rule each -------------------------------------------------------


def made_up(text: str, name: str = "asynccore.made_up") -> Signature:
    space: dict[str, Any] = {}
    exec(f"def made_up({text}): ...", space)
    return of(space["made_up"], name)


@pytest.mark.parametrize("text", ["hostname", "*, local_address=None", "*, ssl_timeout=60.0"])
def test_another_name_is_found(text: str) -> None:
    assert unknown_names(made_up(text)) == {text.split("=")[0].removeprefix("*, ")}


@pytest.mark.parametrize(
    "text", ["channel, map=None", "context, server_side=None", "address, backlog"]
)
def test_what_is_an_option_by_position_is_found(text: str) -> None:
    assert len(given_by_position(made_up(text))) == 1


def test_a_classic_order_is_none() -> None:
    assert given_by_position(made_up("sock=None, map=None")) == set()
    assert given_by_position(made_up("map=None, sock=None")) == {"map"}
    assert given_by_position(made_up("map", "asynccore.testing.engine_with_fakes")) == set()


@pytest.mark.parametrize(
    "text", ["*, family=None", "*, handshake_timeout=None", "*, server_side=False", "*, map=3"]
)
def test_another_default_is_found(text: str) -> None:
    assert len(other_defaults(made_up(text))) == 1


def test_another_order_is_found() -> None:
    one, other = made_up("address, channel_class"), made_up("channel_class, address", "other")
    assert reversed_orders([one]) == []
    found = [("address, channel_class", "asynccore.made_up", "other")]
    assert reversed_orders([one, other, *PUBLIC])[:1] and reversed_orders([one, other]) == found


def test_a_method_that_takes_something_else_is_found() -> None:
    one = made_up("host, port, *, family=0", "asynccore.dispatcher.connect_name")
    assert "connect_name" in different_methods([one, *PUBLIC])


def test_an_attribute_there_and_a_method_here_is_found() -> None:
    class Channel:
        cipher = None

    class Socket:
        def cipher(self) -> None: ...

    assert different_kinds(Channel, Socket) == ["cipher"]
