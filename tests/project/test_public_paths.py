"""Each public name is where it has always been, and says so.

A program pickles its dispatchers, filters warnings by their module, and reads tracebacks: all of
these show `__module__`. It is the public path, and no room behind it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pickle
import sys
import traceback
from types import FunctionType
from typing import Any

import pytest

import asynccore

# Classes and functions, by the paths where programs find them.
NAMES: dict[str, set[str]] = {
    "asynccore": set(
        "call_at call_every call_later call_soon_threadsafe ChannelMap ChannelStatistics close_all "
        "collect_statistics compact_traceback ConnectError dispatcher dispatcher_with_send ExitNow "
        "graceful_close InheritedSocket listen_fds listener loop poll poll2 poll3 read readwrite "
        "set_resolver Statistics statistics stop Timer Trigger use_logging warn_slow_handlers "
        "write".split()
    ),
    "asynccore.asynchat": set(
        "async_chat fifo find_prefix_at_end line_chat simple_producer".split()
    ),
    "asynccore.smtpd": set(
        "DebuggingServer Devnull MailmanProxy Options PureProxy SMTPChannel SMTPServer".split()
    ),
    "asynccore.channels": {"ChannelMap", "reports_changes"},
    "asynccore.engine": {"Engine", "engine_for", "engines", "look_again"},
    "asynccore.hardened_smtpd": {"HardenedSMTPChannel", "HardenedSMTPServer"},
    "asynccore.pollers": {"Poller", "available", "check", "default_name", "make", "register"},
    "asynccore.producers": {"file_producer"},
    "asynccore.testing": {"FakeClock", "Fakes", "no_leaks"},
    "ssl_ext": set(
        "AcceptingSocket CertificateError Cipher client_context Context DTLSSocket HandshakeError "
        "insecure_context load_certificates load_identity OpenSSLSocket PeerRefused pin secure "
        "server_context TLSError TLSMixin TLSSMTPChannel TLSSMTPServer tls_async_chat "
        "tls_dispatcher tls_dispatcher_with_send tls_line_chat tls_listener TransparentSocket "
        "TruncationError user_name".split()
    ),
    "ssl_ext.errors": set(
        "CertificateError HandshakeError PeerRefused TLSError TruncationError".split()
    ),
    "ssl_ext.peer": {"Cipher", "user_name"},
    "compat": set(
        "attach ClassicLoop ClassicReactor converse create_connection create_datagram_endpoint "
        "create_server drain event_loop hand_over install install_reactor LegacyModuleWarning "
        "read_line run_coroutine to_channel to_streams uninstall wait_closed".split()
    ),
    "compat.twisted_transports": {"ClassicReactor", "hand_over", "install", "install_reactor"},
}
if sys.platform != "win32":
    NAMES["asynccore"] |= {"file_dispatcher", "file_wrapper"}
if importlib.util.find_spec("twisted") is None:
    del NAMES["compat.twisted_transports"]
    NAMES["compat"] -= {"ClassicReactor", "hand_over", "install_reactor"}

# What is public by two paths says the shorter one. The engine and the pollers are public for those
# who write tools, and say where they are written.
ELSEWHERE = {
    "asynccore.channels": {"ChannelMap": "asynccore"},
    "asynccore.engine": dict.fromkeys(NAMES["asynccore.engine"], "asynccore.engine.engine"),
    "asynccore.pollers": {"Poller": "asynccore.pollers.base"},
    "compat": {"ClassicReactor": "compat.twisted_transports"},
    "compat.twisted_transports": dict.fromkeys(("hand_over", "install_reactor"), "compat"),
    "ssl_ext.errors": dict.fromkeys(NAMES["ssl_ext"], "ssl_ext"),
    "ssl_ext.peer": dict.fromkeys(NAMES["ssl_ext"], "ssl_ext"),
}

PUBLIC = [(path, name) for path in NAMES for name in sorted(NAMES[path])]
EACH = pytest.mark.parametrize(("path", "name"), PUBLIC)


def fetch(path: str, name: str) -> Any:
    face = importlib.import_module(path.partition(".")[0])
    getattr(face, name, None)  # what is loaded later is told then
    return getattr(importlib.import_module(path), name)


@EACH
def test_it_says_where_it_is_public(path: str, name: str) -> None:
    assert fetch(path, name).__module__ == ELSEWHERE.get(path, {}).get(name, path)


@EACH
def test_it_is_pickled_by_that_path(path: str, name: str) -> None:
    thing = fetch(path, name)
    if thing.__name__ != name:
        assert name in ("look_again", "poll3")  # older names
        return
    said = pickle.dumps(thing, 0).decode()
    assert said.startswith(f"c{thing.__module__}\n{name}\n")
    assert pickle.loads(said.encode()) is thing


@pytest.mark.parametrize("path", ["asynccore", "asynccore.asynchat", "asynccore.smtpd", "compat"])
def test_the_list_is_whole(path: str) -> None:
    """What is in a face for programs, and was written in this house."""
    module = importlib.import_module(path)
    found = {
        name
        for name, thing in vars(module).items()
        if isinstance(thing, (type, FunctionType))
        and not name.startswith("_")
        and thing.__module__ == path
    }
    later = set(getattr(module, "_LATER", ()))
    assert (found | later) - NAMES[path] <= {"parseargs", "usage"}


@EACH
def test_its_source_is_found_or_said_to_be_missing(path: str, name: str) -> None:
    """Never the lines of something else."""
    thing = fetch(path, name)
    if isinstance(thing, FunctionType):
        assert f"def {thing.__name__}(" in inspect.getsource(thing)
        return
    try:
        source = inspect.getsource(thing)
    except OSError:
        source = f"class {name}"
    assert source.lstrip().startswith((f"class {name}", "@"))
    methods = [it for it in vars(thing).values() if isinstance(it, FunctionType)]
    for method in methods:
        if not method.__code__.co_filename.startswith("<"):
            assert method.__name__ in inspect.getsource(method)


def test_an_exception_is_shown_without_its_room() -> None:
    shown = traceback.format_exception_only(asynccore.ConnectError(111, "refused"))
    assert shown == ["asynccore.ConnectError: [Errno 111] refused\n"]
