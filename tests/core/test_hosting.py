"""A map that a host drives, with a host that does only what it is told."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
from asynccore import pollers
from asynccore.engine import Engine, engine_for
from asynccore.pollers.fileobj import FileobjPoller
from asynccore.pollers.layered import LayeredPoller
from asynccore.running.hosting import Attachment, Watcher
from asynccore.testing import RecordingPoller

POLLERS = pollers.available()


class Call:
    """A call that is still to come."""

    def __init__(self, delay: float, callback: Callable[[], object]) -> None:
        self.delay = delay
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeHost:
    """Notes what it is asked, and asks the kernel when told to."""

    def __init__(self) -> None:
        self.watched: dict[int, tuple[bool, bool, Callable[[], object]]] = {}
        self.calls: list[Call] = []

    def watch(self, fd: int, read: bool, write: bool, callback: Callable[[], object]) -> None:
        os.fstat(fd)
        self.watched[fd] = read, write, callback

    def unwatch(self, fd: int) -> None:
        os.fstat(fd)  # still open, or a later descriptor of the same number is deaf
        del self.watched[fd]

    def call_later(self, delay: float, callback: Callable[[], object]) -> Call:
        self.calls.append(Call(delay, callback))
        return self.calls[-1]

    def pending(self) -> list[Call]:
        self.calls = [call for call in self.calls if call.callback is not None]
        return self.calls

    def tick(self) -> bool:
        """Call back for what is ready now; tell whether anything was."""
        reading = [fd for fd, (read, _, _) in self.watched.items() if read]
        writing = [fd for fd, (_, write, _) in self.watched.items() if write]
        ready = select.select(reading, writing, [], 0)
        for fd in {*ready[0], *ready[1]}:
            if fd in self.watched:
                self.watched[fd][2]()
        now = [call for call in self.pending() if call.delay == 0]
        for call in now:
            assert call.callback is not None
            callback, call.callback = call.callback, None
            callback()
        return bool(ready[0] or ready[1] or now)

    def run(self) -> None:
        """Tick until nothing is ready."""
        for _ in range(1000):
            if not self.tick():
                return
        raise AssertionError("the host spins")


class Attached(Attachment):
    """Notes how it ends."""

    def __init__(self, engine: Engine, host: FakeHost) -> None:
        super().__init__(engine, host)
        self.told: list[object] = []

    def ended(self) -> None:
        self.told.append(self.exception or "ended")

    def emptied(self) -> None:
        self.told.append("empty")


class Echo(asynccore.dispatcher_with_send):
    def handle_read(self) -> None:
        data = self.recv(65536)
        if data == b"exit":
            raise asynccore.ExitNow("so told")
        if data:
            self.send(data)


class World:
    """A host, a map with one echoing channel, and its peer."""

    def __init__(self, poller: str | None = None) -> None:
        self.map: dict[int, Any] = {}
        self.peer, own = socket.socketpair()
        self.peer.setblocking(False)
        self.channel = Echo(own, self.map)
        self.engine = engine_for(self.map)
        self.engine.use(poller)
        self.host = FakeHost()
        self.attachment = Attached(self.engine, self.host)

    def close(self) -> None:
        self.attachment.detach()
        asynccore.close_all(self.map)
        self.peer.close()


@pytest.fixture(params=POLLERS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(request.param)
    yield world
    world.close()


def test_the_host_drives_the_channels(world: World) -> None:
    world.attachment.begin()
    world.host.run()
    world.peer.send(b"hello")
    world.host.run()
    assert world.peer.recv(100) == b"hello"


def test_the_host_watches_one_descriptor_where_there_is_one(world: World) -> None:
    world.attachment.begin()
    poller = world.engine.poller
    assert poller is not None
    fd = poller.fileno()
    expected = {fd} if fd >= 0 else {world.channel._fileno, world.engine.wakeup.fileno()}  # type: ignore[union-attr]
    assert set(world.host.watched) == expected
    world.attachment.detach()
    assert world.host.watched == {}


def test_what_does_not_fit_is_sent_when_it_does(world: World) -> None:
    world.attachment.begin()
    world.host.run()
    world.channel.send(b"x" * 2_000_000)  # between passes
    got = 0
    while got < 2_000_000:
        world.host.run()
        got += len(world.peer.recv(1 << 20))
    world.host.run()
    assert world.channel.out_buffer == b""


def test_a_channel_that_comes_between_passes_is_watched(world: World) -> None:
    world.attachment.begin()
    world.host.run()
    peer, own = socket.socketpair()
    with peer:
        Echo(own, world.map)
        # A plain dict says nothing, but its channel does.
        world.host.run()
        peer.send(b"new")
        world.host.run()
        assert peer.recv(10) == b"new"


def test_closing_between_passes_lets_the_host_go_first(world: World) -> None:
    world.attachment.begin()
    world.host.run()
    fd = world.channel._fileno
    world.channel.close()  # FakeHost looks whether it is still open
    world.host.run()
    assert fd not in world.host.watched
    assert world.attachment.told == ["empty"]


def test_what_leaves_a_handler_ends_the_attachment_and_not_the_host(world: World) -> None:
    world.attachment.begin()
    world.host.run()
    world.peer.send(b"exit")
    world.host.run()
    assert isinstance(world.attachment.exception, asynccore.ExitNow)
    assert world.attachment.told == [world.attachment.exception]
    assert world.host.watched == {} and world.host.pending() == []
    assert world.channel._fileno in world.map  # as it was
    # And another host, or the map's own loop, goes on.
    world.attachment = Attached(world.engine, world.host)
    world.attachment.begin()
    world.peer.send(b"again")
    world.host.run()
    assert world.peer.recv(10) == b"again"


def test_a_map_has_one_host() -> None:
    world = World()
    world.attachment.begin()
    with pytest.raises(RuntimeError, match="attached already"):
        Attached(world.engine, FakeHost()).begin()
    world.close()


def test_stop_ends_the_attachment(world: World) -> None:
    world.attachment.begin()
    world.host.run()
    asynccore.stop(map=world.map)
    world.host.run()
    assert world.attachment.told == ["ended"]
    assert not world.engine.stopping
    assert world.host.watched == {}
    asynccore.loop(timeout=0, map=world.map, count=1)  # as ever


def test_timers_are_told_to_the_host(world: World) -> None:
    world.attachment.begin()
    world.host.run()
    before = [call.delay for call in world.host.pending()]
    assert all(delay <= 1.0 for delay in before)  # the review
    ran: list[int] = []
    asynccore.call_later(0, ran.append, 1, map=world.map)
    world.host.run()
    assert ran == [1]
    timer = asynccore.call_later(0.25, ran.append, 2, map=world.map)
    world.host.run()
    assert min(call.delay for call in world.host.pending()) <= 0.25
    timer.cancel()


def test_timers_run_without_channels() -> None:
    world = World()
    world.attachment.begin()
    world.channel.close()
    world.host.run()
    ran: list[int] = []
    asynccore.call_later(0, ran.append, 1, map=world.map)
    world.host.run()
    assert ran == [1]
    world.close()


def test_other_threads_leave_their_work_to_the_host(world: World) -> None:
    world.attachment.begin()
    world.host.run()
    ran: list[int] = []

    def elsewhere() -> None:
        world.channel.send(b"from elsewhere")
        asynccore.call_soon_threadsafe(lambda: ran.append(threading.get_ident()), map=world.map)
        world.channel.close()
        assert world.map  # not here

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert world.channel.socket.fileno() >= 0
    world.host.run()
    assert world.peer.recv(100) == b"from elsewhere"
    assert ran == [threading.get_ident()]
    assert world.map == {}


def test_a_handler_may_detach(world: World) -> None:
    world.channel.handle_read = world.attachment.detach  # type: ignore[method-assign]
    world.attachment.begin()
    world.peer.send(b"x")
    world.host.run()
    assert world.attachment.told == ["ended"]
    assert world.host.watched == {} and world.host.pending() == []


def test_a_handler_may_run_a_loop_of_its_own(world: World) -> None:
    def handle_read() -> None:
        del world.channel.handle_read
        asynccore.loop(timeout=0, map=world.map, count=2)

    world.channel.handle_read = handle_read  # type: ignore[method-assign]
    world.attachment.begin()
    world.peer.send(b"nested")
    world.host.run()
    assert world.peer.recv(10) == b"nested"
    world.channel.send(b"after")  # still reported
    world.host.run()
    assert world.peer.recv(10) == b"after"


def test_a_new_poller_is_watched_in_the_place_of_the_old_one() -> None:
    world = World()
    world.attachment.begin()
    world.host.run()
    world.engine.use("select")
    world.channel.send(b"")
    world.channel.touch()
    world.engine.wake()
    world.attachment._run()  # the old descriptor is watched no more, so somebody has to
    world.peer.send(b"hello")
    world.host.run()
    assert world.peer.recv(10) == b"hello"
    world.close()


def test_predicates_of_its_own_are_asked_after_every_pass(world: World) -> None:
    asked: list[int] = []
    world.channel.readable = lambda: bool(asked.append(1)) or True  # type: ignore[method-assign]
    world.attachment.begin()
    world.host.run()
    before = len(asked)
    world.peer.send(b"x")
    world.host.run()
    assert len(asked) > before > 0


@pytest.mark.skipif("epoll" not in POLLERS, reason="kqueue and select take regular files")
def test_a_file_that_is_always_ready_is_asked_again_and_again(tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    world = World()
    got: list[bytes] = []

    class Reader(asynccore.file_dispatcher):
        def writable(self) -> bool:
            return False

        def handle_read(self) -> None:
            got.append(self.recv(1))
            if got[-1] == b"c":
                self.close()

    with path.open("rb") as file:
        Reader(file, world.map)
        world.attachment.begin()
        world.host.run()
    assert got == [b"a", b"b", b"c"]
    world.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_leaves_the_host_alone(world: World) -> None:
    world.attachment.begin()
    world.host.run()
    child = os.fork()
    if child == 0:
        ok = world.engine.hosting is None and not world.attachment.attached
        asynccore.loop(timeout=0, map=world.map, count=1)
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    world.peer.send(b"hello")
    world.host.run()
    assert world.peer.recv(10) == b"hello"


def test_run_due_runs_what_is_due_without_looking_for_events() -> None:
    world = World()
    world.peer.send(b"x")
    ran: list[int] = []
    world.engine.calls.append((ran.append, (1,)))
    world.engine.timers.call_later(0, ran.append, 2)
    world.engine.run_due()
    assert ran == [1, 2]
    with pytest.raises(BlockingIOError):
        world.peer.recv(10)
    world.close()


@pytest.mark.skipif("epoll" not in POLLERS, reason="kqueue and select take regular files")
def test_a_poller_tells_whether_it_is_always_ready(tmp_path: Any) -> None:
    poller = pollers.make("epoll")
    with (tmp_path / "file").open("wb") as file:
        assert not poller.always_ready
        poller.set(file.fileno(), pollers.READ)
        assert poller.always_ready
        poller.set(file.fileno(), 0)
        assert not poller.always_ready
    poller.close()


def test_descriptors_that_are_ready_at_once_make_one_pass() -> None:
    world = World("select")
    peers = [socket.socketpair() for _ in range(10)]
    for peer, own in peers:
        Echo(own, world.map)
        peer.send(b"x")
    world.attachment.begin()
    world.host.tick()
    before = world.engine.passes
    world.peer.send(b"x")
    world.host.tick()
    assert world.engine.passes - before <= 2
    world.host.run()
    for peer, _ in peers:
        assert peer.recv(10) == b"x"
        peer.close()
    world.close()


def test_what_the_host_refuses_is_looked_at_again_at_once(tmp_path: Any) -> None:
    class Refuses(FakeHost):
        def watch(self, fd: int, read: bool, write: bool, callback: Callable[[], object]) -> None:
            if fd == channel._fileno:
                raise PermissionError("as epoll says of regular files")
            super().watch(fd, read, write, callback)

    world = World("select")
    channel = world.channel
    world.host = Refuses()
    world.attachment = Attached(world.engine, world.host)
    world.attachment.begin()
    world.peer.send(b"x")
    for _ in range(5):
        world.host.tick()
    assert world.peer.recv(10) == b"x"
    world.attachment.detach()
    assert world.host.pending() == []
    world.close()


def test_a_poller_that_waits_in_a_host_makes_room_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Elsewhere(RecordingPoller):
        name = "elsewhere"

    monkeypatch.setitem(pollers._registered, "elsewhere", Elsewhere)
    world = World("elsewhere")
    asynccore.loop(timeout=0, map=world.map, count=1)
    assert world.engine.poller_name() == "elsewhere"
    world.attachment.begin()
    world.peer.send(b"x")
    world.host.run()
    assert world.peer.recv(10) == b"x"
    world.attachment.detach()
    assert world.engine.poller is None
    assert world.engine.poller_name() == "elsewhere"
    world.engine.use_later(pollers.available()[0])
    world.close()


def test_detach_takes_back_the_pass_that_it_asked_for() -> None:
    world = World("select")
    world.attachment.begin()
    world.host.run()
    world.peer.send(b"hello")
    for _, _, ready in list(world.host.watched.values()):
        ready()  # the host is asked for one pass for all that is ready
    assert [call.delay for call in world.host.pending()] == [0]
    world.attachment.detach()
    assert world.host.pending() == []
    asynccore.loop(timeout=0, map=world.map, count=1)
    assert world.peer.recv(100) == b"hello"
    world.close()


def test_the_host_watches_descriptors_behind_pollers_that_translate() -> None:
    key, peer = socket.socketpair()
    with key, peer:
        poller = LayeredPoller(FileobjPoller(pollers.make("select")))
        poller.set(key, pollers.READ)
        host = FakeHost()
        Watcher(host, lambda: None).follow(poller)
        assert list(host.watched) == [key.fileno()]
        assert poller.innermost.interest == {key.fileno(): pollers.READ}
        poller.close()
