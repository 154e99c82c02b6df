"""The modules as programs read, rebind and star-import them."""

from __future__ import annotations

import builtins
import importlib
import inspect
import socket
import sys
import warnings
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, smtpd
from tests.corners.support import Foreign, Listener, Reader, drive

# What `dir()` shows on the classic modules of 3.10 and 3.11, where an interpreter has no original.
CLASSIC_SMTPD = """COMMASPACE DATA_SIZE_DEFAULT DEBUGSTREAM DebuggingServer Devnull NEWLINE Options
    PureProxy SMTPChannel SMTPServer __all__ __version__ asynchat asyncore collections errno getopt
    get_email_header_part os parseargs program socket sys time usage warn""".split()


def classic(name: str) -> Any:
    """Import a module of the standard library, or what stands for it from Python 3.12 on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("asyncore", asynccore), ("asynchat", asynchat)],
    ids=["asyncore", "asynchat"],
)
def test_everything_that_dir_shows_is_there(name: str, ours: Any) -> None:
    original = classic(name)
    assert original.__file__ != ours.__file__
    # The substitute for asynchat is a package, and so has a `__path__`. The registry comes with the
    # first warning that a module gives.
    assert set(dir(original)) - {"__path__", "__warningregistry__"} <= set(dir(ours))


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 and later have no smtpd")
def test_everything_that_dir_shows_on_smtpd_is_there() -> None:
    assert set(dir(classic("smtpd"))) - {"__warningregistry__"} <= set(dir(smtpd))


@pytest.mark.parametrize(
    ("name", "ours"),
    [("asyncore", asynccore), ("asynchat", asynchat)],
    ids=["asyncore", "asynchat"],
)
def test_classes_have_all_classic_attributes(name: str, ours: Any) -> None:
    for key, value in vars(classic(name)).items():
        if inspect.isclass(value) and value.__module__ == name:
            missing = set(dir(value)) - set(dir(getattr(ours, key)))
            # What a class of two modules ago lacks: the names that CPython adds by itself.
            assert {it for it in missing if not it.startswith("__")} == set(), key


def test_dispatcher_instances_have_the_classic_attributes() -> None:
    channels: dict[int, Any] = {}
    theirs = vars(classic("asyncore").dispatcher(None, channels))
    ours = asynccore.dispatcher(None, channels)
    assert {name for name in theirs if not hasattr(ours, name)} == set()


def test_star_import_brings_the_names_of_old_programs() -> None:
    names: dict[str, Any] = {}
    builtins.exec("from asynccore import *", names)
    for name in (
        "EALREADY EBADF ECONNABORTED ECONNRESET EINPROGRESS EINVAL EISCONN ENOTCONN EPIPE "
        "ESHUTDOWN EWOULDBLOCK EAGAIN errorcode ExitNow close_all compact_traceback dispatcher "
        "dispatcher_with_send loop poll poll2 poll3 read readwrite write socket_map select socket "
        "sys time os warnings"
    ).split():
        assert name in names, name
    assert names["socket_map"] is asynccore.socket_map
    if sys.platform != "win32":
        assert {"file_dispatcher", "file_wrapper"} <= set(names)


def test_star_import_of_asynchat_and_smtpd() -> None:
    names: dict[str, Any] = {}
    builtins.exec("from asynccore.asynchat import *\nfrom asynccore.smtpd import *", names)
    assert names["async_chat"] is asynchat.async_chat
    assert {"SMTPServer", "DebuggingServer", "PureProxy"} <= set(names)


def test_modules_that_programs_read_as_attributes() -> None:
    for name in ("select", "socket", "time", "os", "sys", "warnings"):
        assert getattr(asynccore, name) is sys.modules[name]
    assert asynccore.poll3 is asynccore.poll2
    assert asynccore._reraised_exceptions == (
        asynccore.ExitNow,
        KeyboardInterrupt,
        SystemExit,
    )
    assert asynccore.ECONNRESET in asynccore._DISCONNECTED
    assert asynccore.errorcode[asynccore.EWOULDBLOCK] in ("EAGAIN", "EWOULDBLOCK")
    assert asynccore._strerror(asynccore.EPIPE) == "Broken pipe"
    assert "987654" in asynccore._strerror(987654)
    assert asynchat.asyncore is asynccore
    assert issubclass(asynccore.ExitNow, Exception)


def test_older_names_of_asynchat() -> None:
    assert asynchat.find_prefix_at_end(b"qwerty\r", b"\r\n") == 1
    assert asynchat.find_prefix_at_end("qwertydkjf", "\r\n") == 0
    producer = asynchat.simple_producer(b"abcde", 2)
    assert [producer.more() for _ in range(4)] == [b"ab", b"cd", b"e", b""]
    queue = asynchat.fifo([1])
    queue.push(2)
    assert (len(queue), queue.first(), queue.is_empty()) == (2, 1, False)
    assert [queue.pop(), queue.pop(), queue.pop()] == [(1, 1), (1, 2), (0, None)]


def test_names_of_smtpd_and_assigning_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CLASSIC_SMTPD:
        if name != "get_email_header_part":
            assert hasattr(smtpd, name), name
    monkeypatch.setattr(smtpd, "__version__", "ACME mail 1.0")
    assert smtpd.__version__ == "ACME mail 1.0"
    assert smtpd.NEWLINE == "\n" and smtpd.COMMASPACE == ", "
    assert smtpd.EMPTYSTRING == ""  # which older programs import
    assert smtpd.DATA_SIZE_DEFAULT == 33554432
    assert isinstance(smtpd.DEBUGSTREAM, smtpd.Devnull)


class TestRebinding:
    def test_a_map_put_in_place_of_socket_map_is_used(
        self, default_map: Any, monkeypatch: pytest.MonkeyPatch, engine: str, pair: Any
    ) -> None:
        class MyDict(dict[int, Any]):
            pass

        mine = MyDict()
        monkeypatch.setattr(asynccore, "socket_map", mine)
        mine_end, peer = pair()
        channel = Reader(mine_end)
        assert mine == {mine_end.fileno(): channel} and not default_map
        peer.send(b"hello")
        drive(lambda: channel.received, poller=engine)
        asynccore.close_all()
        assert not mine and mine_end.fileno() == -1

    def test_socket_map_rebound_midway(
        self, default_map: Any, monkeypatch: pytest.MonkeyPatch, engine: str, pair: Any
    ) -> None:
        first_end, first_peer = pair()
        second_end, second_peer = pair()

        class Rebinds(Reader):
            def handle_read(self) -> None:
                super().handle_read()
                if asynccore.socket_map is default_map:
                    asynccore.socket_map = {}
                    self.other = Reader(second_end)

        channel = Rebinds(first_end)
        monkeypatch.setattr(asynccore, "socket_map", default_map)  # restored afterwards
        first_peer.send(b"1")
        drive(lambda: channel.received, default_map, engine)
        rebound = asynccore.socket_map
        assert rebound == {second_end.fileno(): channel.other}
        second_peer.send(b"2")
        drive(lambda: channel.other.received, None, engine)
        # The first map is as it was.
        first_peer.send(b"3")
        drive(lambda: channel.received == b"13", default_map, engine)
        asynccore.close_all(rebound)

    def test_a_loop_of_the_programs_own(
        self, default_map: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        called: list[Any] = []
        original = asynccore.loop

        def loop(*args: Any, **kwargs: Any) -> None:
            called.append(kwargs)
            original(*args, **kwargs)

        monkeypatch.setattr(asynccore, "loop", loop)
        asynccore.loop(timeout=0, count=1)
        assert called == [{"timeout": 0, "count": 1}]

    @pytest.mark.parametrize(("name", "use_poll"), [("poll", False), ("poll2", True)])
    def test_a_poll_function_of_the_programs_own(
        self,
        name: str,
        use_poll: bool,
        channels: Any,
        monkeypatch: pytest.MonkeyPatch,
        engine: str,
        pair: Any,
    ) -> None:
        original = getattr(asynccore, name)
        called: list[Any] = []

        def poll(timeout: float = 0.0, map: Any = None) -> None:
            called.append((timeout, map is channels))
            original(timeout, map)

        monkeypatch.setattr(asynccore, name, poll)
        end, peer = pair()
        channel = Reader(end, channels)
        peer.send(b"x")
        peer.close()
        asynccore.loop(0.5, use_poll, channels)
        assert channel.events == ["read", "close"]
        assert called and set(called) == {(0.5, True)}
        Reader(pair()[0], channels)
        del called[:]
        asynccore.loop(0, use_poll, channels, 3)
        assert len(called) == 3

    def test_socket_map_captured_as_a_default_argument(self, engine: str, pair: Any) -> None:
        def serve(map: Any = asynccore.socket_map) -> None:
            asynccore.loop(timeout=1, map=map, poller=engine)

        end, peer = pair()
        channel = Reader(end)
        peer.send(b"x")
        peer.close()
        serve()
        assert channel.received == b"x" and not asynccore.socket_map

    def test_a_socket_module_of_the_programs_own(
        self, channels: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[Any] = []

        class FakeModule:
            AF_INET, SOCK_STREAM = socket.AF_INET, socket.SOCK_STREAM

            @staticmethod
            def socket(*args: Any) -> socket.socket:
                made.append(args)
                return socket.socket(*args)

        monkeypatch.setattr(asynccore, "socket", FakeModule)
        channel = asynccore.dispatcher(map=channels)
        channel.create_socket()
        assert made == [(socket.AF_INET, socket.SOCK_STREAM)]


class TestProgramsThatSelectThemselves:
    def test_read_write_and_exception_call_the_events(self, channels: Any) -> None:
        it = Foreign()
        asynccore.read(it)
        asynccore.write(it)
        asynccore._exception(it)
        assert it.events == ["read", "write", "expt"]

    @pytest.mark.parametrize("function", ["read", "write", "_exception"])
    def test_what_an_event_raises_goes_to_handle_error(self, function: str) -> None:
        class Failing:
            seen: Any = None

            def fail(self) -> None:
                raise ZeroDivisionError

            handle_read_event = handle_write_event = handle_expt_event = fail

            def handle_error(self) -> None:
                self.seen = sys.exc_info()[0]

        it = Failing()
        getattr(asynccore, function)(it)
        assert it.seen is ZeroDivisionError

    @pytest.mark.parametrize("function", ["read", "write", "_exception"])
    @pytest.mark.parametrize("kind", [asynccore.ExitNow, KeyboardInterrupt, SystemExit])
    def test_exit_exceptions_come_out(self, function: str, kind: type[BaseException]) -> None:
        class Failing:
            def fail(self) -> None:
                raise kind

            handle_read_event = handle_write_event = handle_expt_event = fail

        with pytest.raises(kind):
            getattr(asynccore, function)(Failing())

    @pytest.mark.skipif(not hasattr(asynccore.select, "poll"), reason="no poll() on Windows")
    def test_readwrite_takes_the_bits_of_poll(self) -> None:
        select = asynccore.select

        for bits, expected in (
            (select.POLLIN, ["read"]),
            (select.POLLOUT, ["write"]),
            (select.POLLPRI, ["expt"]),
            (select.POLLHUP, ["close"]),
            (select.POLLERR, ["close"]),
            (select.POLLNVAL, ["close"]),
            (select.POLLIN | select.POLLHUP, ["read", "close"]),
        ):
            it = Foreign()
            asynccore.readwrite(it, bits)
            assert it.events == expected

    def test_a_program_with_its_own_select(self, channels: Any) -> None:
        import select

        listener = Listener(channels)
        with socket.create_connection(listener.address) as peer:
            ready, _, _ = select.select(list(channels), [], [], 10)
            for fd in ready:
                asynccore.read(channels[fd])
            (child,) = listener.children
            peer.send(b"own select")
            while not child.received:
                ready, _, _ = select.select(list(channels), [], [], 10)
                for fd in ready:
                    asynccore.read(channels[fd])
        assert child.received == b"own select"

    @pytest.mark.parametrize("name", ["poll", "poll2", "poll3"])
    def test_poll_functions_called_directly(
        self, name: str, channels: Any, engine: str, pair: Any
    ) -> None:
        function = getattr(asynccore, name)
        function(0.0, {})  # an empty map: nothing to wait for
        end, peer = pair()
        channel = Reader(end, channels)
        function(0.0, channels)
        assert channel.events == []
        peer.send(b"x")
        function(5, channels)
        assert channel.received == b"x"
        peer.send(b"y")
        function(timeout=5, map=channels)
        assert channel.received == b"xy"


class TestCompactTraceback:
    def test_the_exception_is_current_in_handle_error(
        self, channels: Any, engine: str, pair: Any
    ) -> None:
        seen: list[Any] = []

        class Failing(Reader):
            def handle_read(self) -> None:
                raise ValueError("in a handler")

            def handle_error(self) -> None:
                (file, function, _line), kind, value, info = asynccore.compact_traceback()
                seen.append((file, function, kind, str(value), info, sys.exc_info()[0]))
                self.close()

        end, peer = pair()
        Failing(end, channels)
        peer.send(b"x")
        drive(lambda: seen, channels, engine)
        ((file, function, kind, value, info, current),) = seen
        assert (file, function) == (__file__, "handle_read")
        assert kind is current is ValueError and value == "in a handler"
        assert info.startswith("[") and info.endswith("]") and "|handle_read|" in info

    def test_without_an_exception_it_says_so(self) -> None:
        with pytest.raises(AssertionError, match="traceback does not exist"):
            asynccore.compact_traceback()
