"""Run suites that know nothing of hosts over one: `pytest -p tests.hosts.everywhere --host=…`.

`--host=engine:asyncio`, `engine:uvloop` or `engine:twisted` makes that the default engine, as
`asynccore run --engine` does: each wait of `loop()` and `poll()` runs the host.

`--host=attach:asyncio`, `attach:uvloop`, or one of Twisted's reactors, `attach:select`,
`attach:poll`, `attach:epoll`, `attach:asyncioreactor`: each pass of an outermost `loop()` and
`poll()` is made by a host to which the map is attached for so long. Passes within handlers are as
ever; the summary says how many were made by the host. None at all is a failure.

`--inner=select` forces a poller that the host can't watch as one descriptor.

What has nothing to do with a host is left out, and so is the little that can't hold over one; see
below, each with its reason. `python -m tests.hosts` runs everything else over every host.

*Trade-off.* A map that stays attached for its whole life meets less of the code that begins and
ends an attachment; tests/hosts/test_asyncio.py and test_twisted.py have such maps.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from threading import current_thread, get_ident, main_thread
from typing import Any

import pytest

from asynccore import pollers
from asynccore.engine import Engine
from asynccore.running.hosting import Attachment
from asynccore.testing import RecordingPoller
from compat.hosts.asyncio_poller import ReservedDescriptors
from compat.hosts.host_poller import HostPoller

_run_pass = Engine.run_pass

# Passes, or with `engine:` waits.
made_by_host = made_as_ever = 0


class _Passes(Attachment):
    """An attachment that lasts until its channels or timers had something to do."""

    def __init__(self, engine: Engine, driver: Driver) -> None:
        super().__init__(engine, driver.host())
        self._driver = driver
        self._before = engine.events, engine.callbacks
        self.over = False

    def _run(self) -> None:
        if not self.attached or self.over:
            return
        deferred = bool(self.engine.deferred)
        super()._run()
        engine = self.engine
        did = (engine.events, engine.callbacks) != self._before
        if did or deferred or not engine.map:
            self.ended()

    def ended(self) -> None:
        if not self.over:  # uvloop would end its next run, too
            self.over = True
            self._driver.leave()


class Driver:
    """Runs a host until it is told to leave it. A forked child has none: it is the parent's."""

    pid = os.getpid()

    def host(self) -> Any:
        raise NotImplementedError

    def run(self, passes: _Passes, timeout: float | None) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        """The present run may end."""

    def takes(self) -> bool:
        """Whether the host can be run here and now."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the host keeps."""


class AsyncioDriver(Driver):
    def __init__(self, kind: str) -> None:
        self._module = importlib.import_module(kind)
        self._loop = self._module.new_event_loop()
        # What uvloop opens for each run, when it is run again and again as only here, would get
        # the numbers of descriptors that a test has just closed, and poll(2) find those open.
        self._reserved = ReservedDescriptors() if kind == "uvloop" else None

    def takes(self) -> bool:
        # Loops of other threads would have to be closed by somebody.
        return current_thread() is main_thread() and asyncio._get_running_loop() is None

    def host(self) -> Any:
        from compat.hosts.asyncio_host import AsyncioHost

        return AsyncioHost(self._loop)

    def run(self, passes: _Passes, timeout: float | None) -> None:
        loop = self._loop
        handle = None
        if passes.over:
            return
        looks = 8  # a look, what it finds, and what that asks for

        def look() -> None:
            nonlocal handle, looks
            looks -= 1
            if looks:
                handle = loop.call_soon(look)
            else:
                loop.stop()

        if timeout == 0:
            handle = loop.call_soon(look)
        elif timeout is not None:
            handle = loop.call_later(timeout, loop.stop)
        if self._reserved is not None:
            self._reserved.lend()
        try:
            loop.run_forever()
        finally:
            if self._reserved is not None:
                self._reserved.keep()
            if handle is not None:
                handle.cancel()

    def leave(self) -> None:
        if self._loop.is_running():  # else the next run would end at once
            self._loop.stop()

    def close(self) -> None:
        self._loop.close()
        if self._reserved is not None:
            self._reserved.close()


class TwistedDriver(Driver):
    def __init__(self, kind: str) -> None:
        importlib.import_module(f"twisted.internet.{kind}reactor").install()
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._reactor.startRunning(installSignalHandlers=False)
        self._inside = False
        self._thread = get_ident()

    def takes(self) -> bool:
        return self._thread == get_ident() and not self._inside

    def close(self) -> None:
        self._reactor.stop()
        self._reactor.iterate(0)
        self._reactor.waker.connectionLost(None)

    def host(self) -> Any:
        from compat.hosts.twisted_host import TwistedHost

        return TwistedHost(self._reactor)

    def run(self, passes: _Passes, timeout: float | None) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        looks = 3  # a look, what it finds, and what that asks for
        self._inside = True
        try:
            while not passes.over:
                left = None if until is None else max(0.0, until - time.monotonic())
                due = self._reactor.timeout()
                wait = min((t for t in (left, due) if t is not None), default=None)
                self._reactor.iterate(wait)
                if left == 0:
                    looks -= 1
                    if not looks:
                        break
        finally:
            self._inside = False


class OnAsyncioDriver(AsyncioDriver):
    """The reactor that runs on asyncio's loop, whose `iterate` sleeps all of the time it gets."""

    def __init__(self) -> None:
        super().__init__("asyncio")
        from twisted.internet import asyncioreactor

        asyncioreactor.install(self._loop)
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._reactor.startRunning(installSignalHandlers=False)

    def host(self) -> Any:
        from compat.hosts.twisted_host import TwistedHost

        return TwistedHost(self._reactor)

    def close(self) -> None:
        self._reactor.stop()
        self._reactor.iterate(0)
        self._reactor.waker.connectionLost(None)
        super().close()


driver: Driver | None = None


def count_waits(kind: type[HostPoller]) -> None:
    """Count the waits that a kind of poller makes in its host."""
    run_host = kind._run_host

    def run_and_count(self: HostPoller, timeout: float | None) -> None:
        global made_by_host
        made_by_host += 1
        run_host(self, timeout)

    kind._run_host = run_and_count  # type: ignore[method-assign]


def run_pass(self: Engine, timeout: float | None, short: bool = False) -> None:
    """Make a pass as `Engine.run_pass` does, by a host, which knows no short ones."""
    global made_as_ever, made_by_host
    poller = self.poller
    if (
        driver is None
        or driver.pid != os.getpid()
        or not driver.takes()
        or self.hosting is not None
        or self.owner is not None  # this is inside of a handler
        or not (self.map or (self._outstays and self.busy()))
        or self.clock is not time.monotonic
        or isinstance(poller, RecordingPoller)
    ):
        made_as_ever += 1
        _run_pass(self, timeout, short)
        return
    made_by_host += 1
    if timeout is not None:
        timeout = min(timeout, 86400.0)  # as the engine does: reactors fail with more
    passes = _Passes(self, driver)
    try:
        passes.begin()
        driver.run(passes, timeout)
        stopped = not passes.attached and passes.exception is None
    finally:
        passes.detach()
    if passes.exception is not None:
        raise passes.exception
    self.stopping = self.stopping or stopped


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--host", help="engine:NAME or attach:NAME")
    parser.addoption("--inner", help="the poller inside of a host's")


def pytest_configure(config: pytest.Config) -> None:
    global driver
    way, _, name = str(config.getoption("--host")).partition(":")
    if way == "engine":
        os.environ[pollers.ENGINE_VARIABLE] = name
        HostPoller.inner = config.getoption("--inner")
        made = pollers.make()
        count_waits(type(made))  # type: ignore[arg-type]
        made.close()  # what is made once for the whole process is no test's leak
        return
    assert way == "attach", "--host=engine:NAME or --host=attach:NAME"
    if name in ("asyncio", "uvloop"):
        driver = AsyncioDriver(name)
    elif name == "asyncioreactor":
        driver = OnAsyncioDriver()
    else:
        driver = TwistedDriver(name)
    Engine.run_pass = run_pass  # type: ignore[method-assign]


# Engines with a fake clock and a fake poller, which no host could wait for: asynccore/testing.py.
_FAKES = "with_fakes"

# Nothing in there loops.
_WITHOUT_LOOP = ("tests/tls/test_socket.py",)

# Attached maps: in there a fake clock tells whether the engine's own wait would sleep. What waits
# in a host is an engine's poller like any other, and has them all.
_WITH_A_CLOCK = ("tests/tls/test_torture.py", "tests/tls/test_torture_states.py")

# Attached maps: these run programs of their own, where nothing is attached; and so do those that
# call `run_script`. An engine is inherited.
_PROGRAMS = ("tests/tls/test_page.py",)

# Attached maps: fixtures and tests that count the poller's own waits, also those without an event.
# A host waits by itself, and makes a pass when there is something to do. And the tests that count
# the calls that a pass makes, to which attaching and detaching adds.
_COUNT_WAITS = ("waits",)
_COUNTING = (
    "test_answers_that_alternate",
    "test_a_connection_takes_few_calls",
    "test_poll_with_a_map_for_one_pass",
)

# These count the calls of a pass whose wait is one system call. One in a host takes more.
_COUNTING_A_WAIT = ("test_a_turn_with_nothing_to_do_costs_what_a_classic_one_does",)
_CALL_COUNTS = "/test_call_counts.py"

# uvloop gives `signal.set_wakeup_fd` a descriptor of its own whenever it runs on the main thread.
_WAKE_UP_FD = (
    "test_the_wake_up_is_where_signals_write",
    "test_a_wake_up_that_is_there_already_is_used_at_once",
    "test_a_loop_inside_of_another_takes_the_signals_and_gives_them_back",
    "test_a_descriptor_that_the_program_has_set_stays",
    "test_a_wake_up_that_others_put_back_is_taken_away",
    "test_a_wake_up_that_is_closed_under_another_is_forgotten",
    "test_a_descriptor_of_others_that_is_gone_is_no_obstacle",
    "test_a_loop_that_does_not_wait_costs_no_signals",
    "test_a_wake_up_that_is_closed_gets_no_more_signals",
)

# uvloop opens a pair of sockets whenever it is run, and what interrupts it in the middle of that,
# as a KeyboardInterrupt does, leaves them open.
_INTERRUPTS = ("test_a_signal_that_another_thread_gets_ends_the_wait",)

# What uvloop's poller keeps in reserve stays open when that is lost: its numbers may be others'.
_LOSE_A_POLLER = (
    "test_a_lost_poller_closes_nothing",
    "test_what_stands_in_front_of_a_poller_asks_it",
)


def left_out(item: pytest.Item, host: str) -> bool:
    """Whether a test has nothing to do with a host, or can't hold over it."""
    fixtures = getattr(item, "fixturenames", ())
    name = getattr(item, "originalname", "")
    file = item.nodeid.partition("::")[0]
    if _FAKES in fixtures or file in _WITHOUT_LOOP or name in _COUNTING_A_WAIT:
        return True
    names = getattr(getattr(getattr(item, "function", None), "__code__", None), "co_names", ())
    if file.endswith(_CALL_COUNTS) and "calls" in names:
        return True
    if host.startswith("engine:"):
        return host == "engine:uvloop" and name in (*_INTERRUPTS, *_LOSE_A_POLLER)
    if host == "attach:uvloop" and name in _WAKE_UP_FD:
        return True
    return (
        file in _WITH_A_CLOCK
        or file in _PROGRAMS
        or "run_script" in names
        or name in _COUNTING
        or any(fixture in fixtures for fixture in _COUNT_WAITS)
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    host = config.getoption("--host")
    out = [item for item in items if left_out(item, host)]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in set(out)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    # What is made once for the process is made anew after a test that has lost it, and is no leak
    # of the next one either.
    if driver is None:
        pollers.make().close()


def pytest_sessionfinish(session: pytest.Session) -> None:
    # xdist's workers don't tell how many they made.
    ran = session.testscollected and not session.config.getoption("numprocesses", None)
    if ran and not made_by_host and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure() -> None:
    if driver is not None:
        driver.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if driver is None:
        terminalreporter.write_line(f"{made_by_host:,} waits in the host")
    else:
        terminalreporter.write_line(
            f"{made_by_host:,} passes by the host, {made_as_ever:,} as ever"
        )
