"""The wake-up: a pipe, or a pair of sockets on Windows."""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.core.fakes import fresh_module

KINDS = ["socketpair"] + (["pipe"] if sys.platform != "win32" else [])


@pytest.fixture(params=KINDS)
def wakeup(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    module = fresh_module("asynccore.pollers.wakeup")
    if request.param == "socketpair":
        # The module asks at each call, so it must go on believing it.
        class OtherSystem:
            platform = "win32"

        monkeypatch.setattr(module, "sys", OtherSystem)
    made = module.Wakeup()
    assert bool(made._sockets) == (request.param == "socketpair")
    yield made
    made.close()


def readable(wakeup: Any) -> bool:
    return bool(select.select([wakeup], [], [], 0)[0])


def test_set_makes_it_readable_and_clear_takes_all_back(wakeup: Any) -> None:
    assert not readable(wakeup)
    for _ in range(5):
        wakeup.set()
    assert readable(wakeup)
    assert readable(wakeup)
    wakeup.clear()
    assert not readable(wakeup)
    wakeup.set()
    assert readable(wakeup)


def test_clear_without_set_does_not_block(wakeup: Any) -> None:
    wakeup.clear()
    assert not readable(wakeup)


def test_a_full_one_drops_what_does_not_fit(wakeup: Any) -> None:
    while True:
        try:
            if wakeup._sockets:
                wakeup._sockets[1].send(b"\0" * 65536)
            else:
                os.write(wakeup.signal_fileno(), b"\0" * 65536)
        except BlockingIOError:
            break
    wakeup.set()
    assert readable(wakeup)
    assert wakeup.clear() is True
    assert not readable(wakeup)


def test_signals_are_told_from_other_wake_ups(wakeup: Any) -> None:
    def signalled() -> None:
        if wakeup._sockets:
            wakeup._sockets[1].send(b"\x0f")
        else:
            os.write(wakeup.signal_fileno(), b"\x0f")

    signalled()
    assert wakeup.clear() is False
    signalled()
    wakeup.set()
    signalled()
    assert wakeup.clear() is True
    assert wakeup.clear() is False
    assert not readable(wakeup)


def test_the_end_for_signals_does_not_block(wakeup: Any) -> None:
    """`signal.set_wakeup_fd` takes no other."""
    before = signal.set_wakeup_fd(wakeup.signal_fileno())
    assert signal.set_wakeup_fd(before) == wakeup.signal_fileno()
    wakeup.close()
    assert wakeup.signal_fileno() == -1


def test_another_thread_ends_a_wait(wakeup: Any) -> None:
    about_to_wait = threading.Event()

    def other() -> None:
        about_to_wait.wait()
        wakeup.set()

    thread = threading.Thread(target=other)
    thread.start()
    about_to_wait.set()
    assert select.select([wakeup], [], [], 60)[0] == [wakeup]
    thread.join()


def test_close_gives_the_descriptors_back_and_may_be_called_again(wakeup: Any) -> None:
    fd = wakeup.fileno()
    wakeup.close()
    assert wakeup.fileno() == -1
    with pytest.raises(OSError) as caught:
        os.fstat(fd)
    assert caught.value.errno == errno.EBADF
    wakeup.close()


def test_a_late_set_finds_nobody(wakeup: Any) -> None:
    wakeup.close()
    wakeup.set()


def test_an_unexpected_error_is_not_hidden(wakeup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EIO, "broken")

    if wakeup._sockets:

        class Broken:
            send = fail
            recv = fail

            def close(self) -> None: ...

        real = wakeup._sockets
        monkeypatch.setattr(wakeup, "_sockets", (Broken(), Broken()))
        with pytest.raises(OSError, match="broken"):
            wakeup.set()
        with pytest.raises(OSError, match="broken"):
            wakeup.clear()
        wakeup._sockets = real
    else:
        with monkeypatch.context() as patch:
            patch.setattr("posix.write", fail)
            with pytest.raises(OSError, match="broken"):
                wakeup.set()


def test_it_is_not_inherited_by_programs(wakeup: Any) -> None:
    assert not os.get_inheritable(wakeup.fileno())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_renewed_one_has_parted_from_the_process_that_it_came_from(wakeup: Any) -> None:
    """In one process: a duplicate of the reading end stands for the other process."""
    if wakeup._sockets:
        wakeup.renew()  # nothing to part from on Windows
        return
    reader = os.dup(wakeup.fileno())
    numbers = wakeup.fileno(), wakeup.signal_fileno()
    wakeup.renew()
    assert (wakeup.fileno(), wakeup.signal_fileno()) == numbers
    assert not any(map(os.get_inheritable, numbers))
    wakeup.set()
    assert readable(wakeup)
    # Nobody writes to the old one any more.
    assert os.read(reader, 1) == b""
    os.close(reader)
    wakeup.close()
    wakeup.renew()
    assert wakeup.fileno() == -1


def test_one_that_is_forgotten_gives_its_descriptors_back(wakeup: Any) -> None:
    other = type(wakeup)()
    fd = other.fileno()
    del other
    gc.collect()
    with pytest.raises(OSError):
        os.fstat(fd)


def test_one_that_could_not_be_made_goes_without_a_word(
    wakeup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of descriptors. The check for unraisable exceptions hears what its destructor says."""

    def fail(*args: object, **options: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "pipe", fail)
    monkeypatch.setattr(socket, "socketpair", fail)
    with pytest.raises(OSError, match="too many open files"):
        type(wakeup)()
    gc.collect()
