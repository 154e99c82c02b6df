"""file_dispatcher over pipes and files, and datagrams: the same hooks and bytes on both sides."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.reference import CLASSIC, Side, ours
from tests.differential.scripts import budget

PASSES = 4  # more than any step here needs
posix = pytest.mark.skipif(sys.platform == "win32", reason="file_dispatcher is for POSIX")
Events = list[tuple[str, Any]]


def join(events: Events) -> Events:
    """Join neighbouring reads, and what is reported again and again, into one."""
    joined: Events = []
    for what, detail in events:
        if joined and joined[-1][0] == what == "read":
            joined[-1] = (what, joined[-1][1] + detail)
        elif not (joined and joined[-1] == (what, detail) and what in ("close", "room")):
            joined.append((what, detail))
    return joined


def file_class(side: Side) -> Any:
    class File(side.asyncore.file_dispatcher):  # type: ignore[misc,name-defined]
        events: Events
        reads = True
        output = b""

        def readable(self) -> bool:
            return self.reads

        def writable(self) -> bool:
            return bool(self.output)

        def handle_read(self) -> None:
            data = self.recv(16)
            if data:
                self.events.append(("read", data))

        def handle_write(self) -> None:
            self.events.append(("room", None))
            self.output = self.output[self.send(self.output[:64]) :]

        def handle_expt(self) -> None:
            self.events.append(("expt", None))

        def handle_close(self) -> None:
            self.events.append(("close", None))
            self.close()

        def handle_error(self) -> None:
            self.events.append(("error", sys.exc_info()[0]))
            self.close()

    return File


def run_pipe(side: Side, script: list[tuple[str, bytes]]) -> tuple[Events, bytes]:
    """Two channels on the ends of two pipes, whose other ends the script holds."""
    from_script, into_channel = os.pipe()
    out_of_channel, to_script = os.pipe()
    map = side.new_map()
    events: Events = []
    reader = file_class(side)(from_script, map)
    writer = file_class(side)(to_script, map)
    reader.events, writer.events = events, []
    writer.reads = False
    os.close(from_script)
    os.close(to_script)
    os.set_blocking(out_of_channel, False)
    ends = {"in": into_channel, "out": out_of_channel}
    sent = b""
    try:
        for what, data in script:
            if what == "feed" and "in" in ends:
                os.write(ends["in"], data)
            elif what == "emit":
                writer.output += data
            elif what == "end" and "in" in ends:
                os.close(ends.pop("in"))
            elif what == "gone" and "out" in ends:
                os.close(ends.pop("out"))
            elif what == "stop":
                reader.reads = False
            elif what == "go":
                reader.reads = True
            events.append(("step", what))
            side.loop(map, PASSES * 4)
            if "out" in ends:
                with contextlib.suppress(BlockingIOError):
                    sent += os.read(ends["out"], 65536)
        events.append(("left", sorted(type(channel).__name__ for channel in map.values())))
        events.append(("connected", (reader.connected, writer.connected)))
        events += join(writer.events)
    finally:
        side.asyncore.close_all(map)
        reader.close()
        writer.close()
        for fd in ends.values():
            os.close(fd)
    return join(events), sent


pipe_scripts = st.lists(
    st.tuples(
        st.sampled_from(["feed", "feed", "emit", "emit", "end", "gone", "stop", "go", "nothing"]),
        st.binary(min_size=1, max_size=40),
    ),
    max_size=10,
)


@posix
def test_pipes(poller_name: str) -> None:
    @budget(80)
    @given(pipe_scripts, st.booleans())
    def run(script: list[tuple[str, bytes]], plain_map: bool) -> None:
        original = run_pipe(CLASSIC, script)
        assert run_pipe(ours(poller_name, plain_map), script) == original

    run()


@posix
def test_regular_files_are_always_ready(poller_name: str, tmp_path: Path) -> None:
    path = tmp_path / "file"

    def run(side: Side) -> tuple[Events, bytes]:
        path.write_bytes(bytes(range(100)))
        map = side.new_map()
        with path.open("r+b") as file:
            channel = file_class(side)(file, map)
            channel.events = []
            channel.output = b"<written>"
            side.loop(map, 20)
        assert not map
        return sorted(channel.events, key=repr), path.read_bytes()

    assert run(ours(poller_name)) == run(CLASSIC)


def run_datagrams(side: Side, script: list[tuple[str, bytes]]) -> Events:
    events: Events = []

    class Datagrams(side.asyncore.dispatcher):  # type: ignore[misc,name-defined]
        output: list[tuple[bytes, Any]] = []

        def writable(self) -> bool:
            return bool(self.output)

        def handle_read(self) -> None:
            data, sender = self.socket.recvfrom(1000)
            events.append(("datagram", data))
            if data == b"echo":
                self.output = [*self.output, (data, sender)]

        def handle_write(self) -> None:
            data, to = self.output[0]
            self.output = self.output[1:]
            self.socket.sendto(data, to)

        def handle_connect(self) -> None:
            events.append(("connect", None))

        def handle_close(self) -> None:
            events.append(("close", None))

        def handle_error(self) -> None:
            events.append(("error", sys.exc_info()[0]))

    map = side.new_map()
    channel = Datagrams(map=map)
    channel.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        for what, data in script:
            if what == "send":
                peer.sendto(data, channel.socket.getsockname())
            elif what == "connect":
                channel.connect(peer.getsockname())
            side.loop(map, PASSES)
            with contextlib.suppress(BlockingIOError):
                events.append(("answer", peer.recv(1000)))
        events.append(("flags", (channel.connected, channel.connecting, len(map))))
        channel.close()
        assert not map
    return events


@budget(60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["send", "send", "connect", "nothing"]),
            st.sampled_from([b"echo", b"a", b"", b"x" * 900]),
        ),
        max_size=8,
    ),
    st.sampled_from(["select", None]),
)
def test_datagrams(script: list[tuple[str, bytes]], poller: str | None) -> None:
    from tests.conftest import available_pollers

    side = ours(poller or available_pollers()[0])
    assert run_datagrams(side, script) == run_datagrams(CLASSIC, script)
