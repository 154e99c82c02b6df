"""Look-ups at call time, the package's surface, and the small classic helpers."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from types import ModuleType
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap
from asynccore.classic import namespace, removal
from tests.core.fakes import fresh_module


def test_package_is_what_is_imported_under_the_name_now(monkeypatch: pytest.MonkeyPatch) -> None:
    assert namespace.package() is asynccore
    other = ModuleType("asynccore")
    monkeypatch.setitem(sys.modules, "asynccore", other)
    assert namespace.package() is other


def test_default_map_is_looked_up_at_call_time(monkeypatch: pytest.MonkeyPatch) -> None:
    mine: dict[int, Any] = {}
    monkeypatch.setattr(asynccore, "socket_map", mine)
    assert namespace.default_map() is mine
    assert asynccore.dispatcher()._map is mine


@pytest.mark.parametrize(
    ("module", "legacy"),
    [
        ("asynccore", "asyncore"),
        ("asynccore.monitoring.server", "asynccore.monitoring.server"),
        ("asynccore.asynchat", "asynchat"),
        ("asynccore.smtpd", "smtpd"),
        ("__main__", "__main__"),
        ("asynccore_tools.smtpd", "asynccore_tools.smtpd"),
    ],
)
def test_legacy_name(module: str, legacy: str) -> None:
    assert namespace.legacy_name(module) == legacy


CLASSIC_NAMES = """
    EAGAIN EALREADY EBADF ECONNABORTED ECONNRESET EINPROGRESS EINVAL EISCONN ENOTCONN EPIPE
    ESHUTDOWN EWOULDBLOCK ExitNow _DISCONNECTED _exception _reraised_exceptions _strerror
    close_all compact_traceback dispatcher dispatcher_with_send errorcode file_dispatcher
    file_wrapper loop os poll poll2 poll3 read readwrite select socket socket_map sys time
    warnings write
""".split()


@pytest.mark.parametrize("name", CLASSIC_NAMES)
def test_the_classic_names_are_there(name: str) -> None:
    if name.startswith("file_") and sys.platform == "win32":
        pytest.skip("files can't be polled on Windows")
    assert hasattr(asynccore, name)


def test_a_star_import_brings_the_classic_names_alone() -> None:
    brought: dict[str, Any] = {}
    exec("from asynccore import *", brought)
    public = {name for name in CLASSIC_NAMES if not name.startswith("_")}
    if sys.platform == "win32":
        public -= {"file_dispatcher", "file_wrapper"}
    assert brought.keys() - {"__builtins__"} == public
    assert len(asynccore.__all__) == len(public)
    assert brought["socket_map"] is asynccore.socket_map


def test_what_is_new_is_there_by_its_name() -> None:
    new = {"ChannelMap", "Timer", "call_at", "call_later", "call_soon_threadsafe", "stop"}
    assert (new | {"use_logging"}) <= set(dir(asynccore))
    assert not new & set(asynccore.__all__)


def test_on_windows_there_are_no_files() -> None:
    elsewhere = fresh_module("asynccore", "win32")
    assert not hasattr(elsewhere, "file_dispatcher") and not hasattr(elsewhere, "file_wrapper")
    assert set(asynccore.__all__) - set(elsewhere.__all__) <= {"file_dispatcher", "file_wrapper"}
    assert all(hasattr(elsewhere, name) for name in elsewhere.__all__)


def test_reloading_keeps_the_channels() -> None:
    before = asynccore.socket_map
    try:
        importlib.reload(asynccore)
        assert asynccore.socket_map is before
    finally:
        assert isinstance(before, ChannelMap)


# compact_traceback --------------------------------------------------------------------------


def innermost() -> None:
    raise KeyError("here")


def test_compact_traceback_tells_where_what_and_how() -> None:
    try:
        innermost()
    except KeyError as why:
        (file, function, line), kind, value, text = asynccore.compact_traceback()
        assert (file, function, line) == (
            __file__,
            "innermost",
            str(innermost.__code__.co_firstlineno + 1),  # text, as the classic one has it
        )
        assert kind is KeyError and value is why
        assert text.startswith(f"[{__file__}|test_compact_traceback_tells_where_what_and_how|")
        assert text.endswith(f"] [{__file__}|innermost|{line}]")


def test_compact_traceback_needs_an_exception() -> None:
    with pytest.raises(AssertionError, match="traceback does not exist"):
        asynccore.compact_traceback()


# What announced the removal -----------------------------------------------------------------


def test_deprecated_warns_where_its_caller_was_called() -> None:
    def announce() -> None:
        removal._deprecated("asyncore", remove=(3, 12))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        announce()
    (warning,) = caught
    assert warning.category is DeprecationWarning
    assert "'asyncore'" in str(warning.message) and "3.12" in str(warning.message)
    assert os.path.samefile(warning.filename, __file__)


def test_the_message_has_a_place_for_the_name() -> None:
    assert "smtpd" in asynccore._DEPRECATION_MSG.format(name="smtpd")
