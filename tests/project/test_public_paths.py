"""Each public name is where it has always been, and says so.

A program pickles its dispatchers, filters warnings by their module, and reads tracebacks: all of
these show `__module__`. It is the public path, and no room behind it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import pickle
import re
import subprocess
import sys
import traceback
from types import FunctionType
from typing import Any

import pytest

import asynccore
from tests.project.checkout import ROOT

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
    "asynccore.pollers": set(
        "available check default_name Events make OutOfRange Poller PollerLost register".split()
    ),
    "asynccore.producers": {"file_producer", "Producer"},
    "asynccore.testing": set(
        "engine_with_fakes FakeClock Fakes no_channel_leaks no_descriptor_leaks no_leaks "
        "no_thread_leaks no_timer_leaks RecordingPoller".split()
    ),
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
TWISTED = {"ClassicReactor", "hand_over", "install_reactor"}
if importlib.util.find_spec("twisted") is None:
    del NAMES["compat.twisted_transports"]
    NAMES["compat"] -= TWISTED

# What is public by two paths says the shorter one. The engine and the pollers are public for those
# who write tools, and say where they are written.
ELSEWHERE = {
    "asynccore.channels": {"ChannelMap": "asynccore"},
    "asynccore.engine": dict.fromkeys(NAMES["asynccore.engine"], "asynccore.engine.engine"),
    "asynccore.pollers": dict.fromkeys(
        ("Events", "OutOfRange", "Poller", "PollerLost"), "asynccore.pollers.base"
    ),
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


# `from asyncore import *` gives what it always gave, which tests/classic has a table of.
CLASSIC = {"asynccore", "asynccore.asynchat", "asynccore.smtpd"}

# Rooms in which more is written than their public names, for other rooms.
ROOMS = {"asynccore.channels", "asynccore.pollers", "ssl_ext.peer"}


def is_written_here(thing: object) -> bool:
    return issubclass(type(thing), (type, FunctionType))  # tuple[int, int] has a __class__ of type


@pytest.mark.parametrize("path", sorted(NAMES.keys() - ROOMS))
def test_the_list_is_whole(path: str) -> None:
    """What is in a face for programs, and was written in this house."""
    module = importlib.import_module(path)
    found = {
        name
        for name in dir(module)
        if not name.startswith("_")
        and is_written_here(thing := getattr(module, name, None))
        and thing.__module__ == path
    }
    assert found - NAMES[path] <= {"parseargs", "usage"}


@pytest.mark.parametrize("path", sorted(NAMES.keys() - CLASSIC))
def test_all_is_what_is_public(path: str) -> None:
    module = importlib.import_module(path)
    told = module.__all__
    assert len(told) == len(set(told))
    assert {name for name in told if is_written_here(getattr(module, name))} == NAMES[path]


WITHOUT_TWISTED = """
import sys
sys.modules["twisted"] = None
import compat
assert "asyncio" not in sys.modules
names = {}
exec("from compat import *", names)
print(*sorted(names.keys() - {"__builtins__"}))
"""


def test_all_of_compat_can_be_had_without_twisted() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TWISTED], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == NAMES["compat"] - TWISTED


@pytest.mark.parametrize("path", ["compat", "ssl_ext"])
def test_type_checkers_know_the_same_of_the_second_path(path: str) -> None:
    """`asynccore.compat` and `asynccore.ssl_ext`."""
    stub = (ROOT / "asynccore" / f"{path}.pyi").read_text(encoding="utf-8")
    found = re.findall(rf"^from {path} import (\w+) as \1$", stub, re.MULTILINE)
    assert set(found) - {"errors", "peer"} == NAMES[path] | (TWISTED if path == "compat" else set())


def test_type_checkers_are_told_all_of_compat() -> None:
    tree = ast.parse(inspect.getsource(importlib.import_module("compat")))
    told = [
        ast.literal_eval(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert told == [sorted(NAMES["compat"] | TWISTED)]


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
