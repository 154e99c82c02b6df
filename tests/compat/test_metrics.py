"""`run --metrics`: what is served, for one process and for workers, healthy and not."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import asynccore
from asynccore.monitoring import address, counts, details
from asynccore.monitoring import server as watched
from compat.command_line import cli, demo, metrics, top
from tests.ports import free_port, held_ports

if sys.platform == "win32":
    pytest.skip("Windows has no such sockets", allow_module_level=True)

PATIENCE = 60.0

PROBES = ("/livez", "/readyz", "/healthz")


class Echo(asynccore.dispatcher_with_send):
    def handle_read(self) -> None:
        data = self.recv(4096)
        if data == b"hang":
            time.sleep(0.3)
        self.send(data)

    def handle_close(self) -> None:
        self.close()


class Server(asynccore.dispatcher):
    def __init__(self, map: Any) -> None:
        super().__init__(map=map)
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(10)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        Echo(sock, self._map)


class Watched:
    """A server in a thread of this process, and who serves its numbers."""

    def __init__(self, folder: Path) -> None:
        self.map = asynccore.ChannelMap()
        self.listener = Server(self.map)
        self.thread = threading.Thread(target=asynccore.loop, kwargs={"map": self.map})
        self.thread.start()
        self.answering = watched.Server(folder / f"{os.getpid()}.sock", patience=0.1)
        self.family = metrics.Family(os.getpid())
        self.serving = metrics.server(self.family, socket.create_server(("127.0.0.1", 0)))
        self.http = threading.Thread(target=self.serving.serve_forever, args=(0.01,))
        self.http.start()

    def close(self) -> None:
        self.serving.shutdown()
        self.http.join()
        self.serving.server_close()
        self.answering.close()
        asynccore.call_soon_threadsafe(asynccore.close_all, self.map, map=self.map)
        self.thread.join()

    def get(self, path: str) -> tuple[int, str]:
        return get(self.serving.socket.getsockname()[1], path)

    def echo(self, data: bytes) -> socket.socket:
        client = socket.create_connection(self.listener.socket.getsockname(), PATIENCE)
        client.sendall(data)
        return client


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    made = address.usual_folder()
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def program(folder: Path) -> Iterator[Watched]:
    made = Watched(folder)
    yield made
    made.close()


def number(text: str, name: str) -> float:
    (found,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return float(found.rpartition(" ")[2])


def test_numbers(program: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(counts.handshakes, "TLSv1.3", 3)
    monkeypatch.setitem(counts.failed_handshakes, "PeerRefused", 2)
    status, text = program.get("/metrics")
    assert status == 200
    with program.echo(b"hello") as client:
        assert client.recv(5) == b"hello"
        program.family.measure()
        client.sendall(b"more")  # in the batch that is measured
        assert client.recv(4) == b"more"
        _, text = program.get("/metrics")
    assert number(text, "asynccore_bytes_received_total") == 9
    assert number(text, "asynccore_accepted_total") == 1
    assert number(text, "asynccore_processes") == 1
    assert number(text, "asynccore_loop_lag_seconds_count") == 1
    assert number(text, "asynccore_handler_seconds_count") >= 1
    echo = f'asynccore_channels{{class="{Echo.__module__}.Echo",state="connected"}}'
    assert number(text, echo) == 1
    assert number(text, 'asynccore_tls_handshakes_total{version="TLSv1.3"}') == 3
    assert number(text, 'asynccore_tls_failed_handshakes_total{failure="PeerRefused"}') == 2
    assert program.get("/other")[0] == 404


def test_who_asks_nothing_is_not_awaited(program: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    assert metrics._Handler.timeout == metrics.PEER_TIME
    monkeypatch.setattr(metrics._Handler, "timeout", 0.05)
    with socket.create_connection(program.serving.socket.getsockname(), PATIENCE) as silent:
        assert silent.recv(1) == b""


def test_it_pauses_when_descriptors_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        serving = metrics.server(metrics.Family(os.getpid()), listening)
        with monkeypatch.context() as patched:
            patched.setattr(time, "sleep", pauses.append)
            with pytest.raises(BlockingIOError):  # for EMFILE, which would hit the test, too
                serving.get_request()
    assert pauses == [metrics._REST]


@pytest.mark.parametrize("answer", [b'{"pid": 5, "la', b"HTTP/1.1 400\r\n"])
def test_an_answer_that_is_not_whole_counts_for_nothing(answer: bytes, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / f"{os.getpid()}.sock"))
        listening.listen()

        def reply() -> None:
            conn, _ = listening.accept()
            with conn:
                conn.recv(100)
                conn.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        assert metrics.Family(os.getpid()).ailments() == ["no process answers"]
        thread.join()


def test_only_one_batch_is_measured_for_a_machine(program: Watched) -> None:
    engine = asynccore.engine.engine_for(program.map)
    with program.echo(b"x") as client:
        assert client.recv(1) == b"x"
        program.get("/metrics")
        assert engine.counts_bytes and engine.meter is None
        with program.echo(b"y") as other:
            assert other.recv(1) == b"y"
            # Bytes are counted without a clock.
            assert all(channel._ac_times is None for channel in list(program.map.values()))
        program.family.measure()
        for _ in range(5):
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        assert engine.meter is None
        meter = details.sampled(engine)
        assert 1 <= sum(meter.buckets) < 5
        # Who looks has it all measured from then on, and no sample ends that.
        seen = top.ask(program.answering.path)
        assert all(channel["quiet"] >= 0 for channel in seen["maps"][0]["channels"])
        program.family.measure()
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert engine.meter is not None is not meter


def test_health(program: Watched) -> None:
    for probe in PROBES:
        assert program.get(probe) == (200, "ok\n")
    for probe in PROBES:
        with program.echo(b"hang") as client:
            time.sleep(0.05)
            assert program.get(probe) == (503, f"a loop of process {os.getpid()} lags\n")
            assert client.recv(4) == b"hang"
    asynccore.call_soon_threadsafe(
        lambda: program.listener._ac_as_listener().rest(program.listener), map=program.map
    )
    for probe in PROBES[1:]:
        assert program.get(probe) == (503, f"a listener of process {os.getpid()} rests\n")
    assert program.get("/livez") == (200, "ok\n")


def test_who_drains_is_not_healthy(program: Watched) -> None:
    with program.echo(b"x") as client:
        assert client.recv(1) == b"x"
        asynccore.running.graceful.drain(program.map, 60, 60)
        end = time.monotonic() + PATIENCE
        while program.get("/healthz")[0] == 200:
            assert time.monotonic() < end
        for probe in PROBES[1:]:
            assert program.get(probe) == (503, f"process {os.getpid()} drains\n")
        assert program.get("/livez") == (200, "ok\n")


def test_workers_that_are_replaced_leave_the_others_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    drains = [True, False]

    def ask(self: object, request: str) -> list[dict[str, Any]]:
        if request == "lag":
            return [{"pid": pid, "lags": [0.1]} for pid in range(len(drains))]
        rests = [{"paused": ["resting"]}]
        return [
            {"pid": pid, "maps": [{"draining": it, "channels": rests if it else ()}, {}]}
            for pid, it in enumerate(drains)
        ]

    monkeypatch.setattr(metrics.Family, "ask", ask)
    family = metrics.Family(1)
    assert family.obstacles() == []
    drains[1] = True
    assert family.obstacles() == ["process 0 drains", "process 1 drains"]
    assert family.ailments() == []


@pytest.mark.parametrize("lag", [None, metrics.MOST_LAG + 0.01, metrics.MOST_LAG])
def test_one_loop_that_lags_is_enough(lag: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [{"pid": 5, "lags": [0.1, lag, 0.1]}, {"pid": 6, "lags": [0.1]}]
    monkeypatch.setattr(metrics.Family, "ask", lambda self, request: answers)
    expected = [] if lag == metrics.MOST_LAG else ["a loop of process 5 lags"]
    assert metrics.Family(1).ailments() == expected


def test_who_has_ended_is_not_healthy(folder: Path) -> None:
    family = metrics.Family(os.getpid())
    assert family.ailments() == family.obstacles() == ["no process answers"]


def test_it_ends_with_the_program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = iter([True, True, False])
    monkeypatch.setattr(metrics.Family, "is_alive", lambda self: next(alive))
    slept: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert metrics.main(1, listening, slept.append) == 0
    assert slept == [metrics.INTERVAL] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere shutdown() leaves the port bound")
def test_its_port_is_free_as_soon_as_the_program_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = listening.getsockname()
        shutdown = metrics._Server.shutdown

        def look(self: metrics._Server) -> None:
            try:
                socket.create_server(place).close()
            finally:
                shutdown(self)

        def wait(seconds: float) -> bool:
            # Once it has answered, its thread waits for who comes next.
            get(place[1], "/nowhere")
            return True

        monkeypatch.setattr(metrics._Server, "shutdown", look)
        assert metrics.main(os.getpid(), listening, wait) == 0


def test_who_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    assert metrics.Family(os.getpid()).is_alive()
    for error, alive in ((ProcessLookupError, False), (PermissionError, True)):

        def kill(pid: int, signum: int, error: Any = error) -> None:
            raise error

        monkeypatch.setattr(metrics.os, "kill", kill)
        assert metrics.Family(1).is_alive() is alive


def test_where(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert metrics.parse("80") == ("127.0.0.1", 80)
    assert metrics.parse("[::1]:80") == ("::1", 80)
    for text in ("x", "h:x", "70000"):
        assert cli.main(["run", "--metrics", text, "x.py"]) == 2
        assert f"where metrics are served is [HOST:]PORT, not {text!r}" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["run", "--metrics", str(port), "x.py"]) == 1
        assert f"can't serve metrics at {port}: Address already in use" in capsys.readouterr().err
    assert cli.main(["run", "--metrics", "0", "--top=a/b", "x.py"]) == 2
    assert "leave the path out" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert cli.main(["run", "--metrics", "0", "x.py"]) == 2
    assert "pip install 'asynccore[metrics]'" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_a_real_program(more: list[str], user_environment: dict[str, str], tmp_path: Path) -> None:
    env = {**user_environment, "XDG_RUNTIME_DIR": str(tmp_path)}
    port = free_port()
    with held_ports(1) as (held,):
        served = held if more else 0
        command = ["run", *more, "--metrics", str(port), str(demo.examples() / "echo_server.py")]
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "asynccore", *command, str(served)],
            env=env,
            stdout=subprocess.DEVNULL,
        )
        try:
            wanted = (2.0 if more else 1.0, (200, "ok\n"))
            end = time.monotonic() + PATIENCE
            found = None
            while found != wanted:
                assert process.poll() is None and time.monotonic() < end, found
                time.sleep(0.05)
                with contextlib.suppress(OSError):  # it comes up beside the program
                    count = number(get(port, "/metrics")[1], "asynccore_processes")
                    # Not healthy if this machine has no time for a loop just then.
                    found = (count, get(port, "/healthz"))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
    while True:
        try:
            get(port, "/healthz")
        except OSError:
            return  # it has ended with the program
        assert time.monotonic() < end
        time.sleep(0.05)
