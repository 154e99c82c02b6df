"""Each server does each kind of work for a moment, and everything that was started ends.

No figure is judged here: only that it was taken.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks need Linux: epoll and affinity", allow_module_level=True)
if shutil.which("cc") is None:
    pytest.skip("the benchmarks need a C compiler", allow_module_level=True)
psutil: Any = pytest.importorskip("psutil", reason="psutil belongs to the bench extra")

from benchmarks import native, servers, workloads  # noqa: E402
from benchmarks.harness import ROOT, Bench, Process  # noqa: E402
from benchmarks.machine import Cores  # noqa: E402
from benchmarks.results import CannotMeasure, Results, Sample  # noqa: E402

# Of each framework one; what is not installed is missing from the list, as in a run.
SERVERS = [
    server
    for server in servers.ALL
    if server.missing() is None
    and server.name != "asyncio-64k"
    and not server.tls
    and server.module != "mail"
    and "--streams" not in server.options
]
# What each workload's figures must contain.
FIGURES = {
    "echo": {"rate", "cpu", "p50_us", "p99_us"},
    "idle": {"rate", "cpu", "kept", "without"},
    "timeouts": {"rate", "cpu", "kept", "without"},
    "flood": {"rate", "cpu", "kept", "without", "p99_us"},
    "accept": {"rate", "cpu", "per_core"},
    "churn": {"rate", "cpu", "per_core"},
    "memory": {"bytes"},
}


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    cores = sorted(os.sched_getaffinity(0))
    with native.tools() as tools:
        yield Bench(tools, Cores(server=cores[-1], load=cores[0]), seconds=0.02, idle=10)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_every_server_echoes(bench: Bench, server: servers.Server) -> None:
    if server.name.endswith("-chat"):
        return  # takes part in the streams alone
    versions: dict[str, str] = {}
    with bench.server(server, "echo", versions) as running:
        for name, figures in FIGURES.items():
            measured = workloads.BY_NAME[name].measure(bench, running)
            assert figures <= set(measured)
            assert measured.get("rate", 1) > 0
    assert versions[server.name]


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_every_server_streams(
    bench: Bench, server: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if server.name not in workloads.BY_NAME["stream"].servers:
        return
    monkeypatch.setattr(workloads, "MIB", 20_001)  # not a multiple of the small write
    with bench.server(server, "stream", {}) as running:
        measured = workloads.stream(bench, running)
    assert set(measured) == {s + e for s in workloads.STREAM_SHAPES for e in ("", "_growth")}


TALKS = ("lines-ahead", "counted", "fair", "mail", "mail-pipelined")


@pytest.mark.parametrize(
    ("workload", "name"), [(name, s) for name in TALKS for s in workloads.BY_NAME[name].servers]
)
def test_every_server_of_lines_and_mails(bench: Bench, workload: str, name: str) -> None:
    server = servers.BY_NAME[name]
    if server.missing() is not None:
        return  # as in a run
    kind = workloads.BY_NAME[workload]
    with bench.server(server, kind.role, {}) as running:
        measured = kind.measure(Bench(bench.tools, bench.cores, 0.1, 0), running)
    wanted = {"alone_p999_us", "p999_us", "wait"} if workload == "fair" else {"per_core"}
    assert {"rate", "cpu"} | wanted <= set(measured)


@pytest.mark.parametrize("name", workloads.BY_NAME["pump"].servers)
def test_a_loop_pass_by_pass(bench: Bench, name: str) -> None:
    server = servers.BY_NAME[name]
    if server.missing() is not None:
        return  # as in a run
    with bench.server(server, "pump", {}) as running:
        measured = workloads.pump(bench, running)
    assert measured["of_3"] > 0 and measured["of_30"] > measured["of_3"]


@pytest.mark.parametrize("name", workloads.BY_NAME["timers"].servers)
def test_every_loop_with_timers_makes_cancels_and_runs_them(
    bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers.BY_NAME[name]
    if server.missing() is not None:
        return  # as in a run
    monkeypatch.setattr(workloads, "TIMERS", 1000)
    with bench.server(server, "timers", {}) as running:
        measured = workloads.timers(bench, running)
    parts = [measured[part] for part in ("add", "cancel", "expire")]
    assert min(parts) > 0
    assert measured["total"] == pytest.approx(sum(parts))


def test_the_flood_connects(bench: Bench) -> None:
    with bench.server(servers.BY_NAME["c"], "echo", {}) as running:
        with running.load("flood", 1, 1_000_000, 5, 64, 0.01, 0.05) as load:
            windows = [(load.event(60), load.event(60))[1] for _ in range(2)]
        assert running.process.ended(within=0.0) is False
    assert windows[0]["flood"] == 0
    assert windows[1]["flood"] > 5  # so that some were reset


def test_a_window_lasts_until_something_is_counted(bench: Bench) -> None:
    # A mail takes several passes of the load, and the window would be over after one.
    brief = dataclasses.replace(bench, seconds=0.0)
    with bench.server(servers.BY_NAME["asynccore-mail"], "mail", {}) as running:
        assert workloads.mail(brief, running)["rate"] > 0


def test_what_a_server_prints_does_not_hold_it_up(bench: Bench) -> None:
    more_than_a_pipe_holds = 2**20
    program = f"""
from benchmarks.servers import common
common.announce(1, "a version")
print("error: x" * {more_than_a_pipe_holds})
common.say({{"event": "end"}})
"""
    process = Process([sys.executable, "-c", program], bench.cores.server)
    try:
        assert process.event(60) == {"port": 1, "version": "a version"}
        assert process.event(60) == {"event": "end"}
        assert process.last_error().startswith("error: x")
    finally:
        process.stop()


def test_a_server_that_dies_says_why(bench: Bench) -> None:
    broken = servers.Server("broken", "broken", "no_such_server")
    with (
        pytest.raises(CannotMeasure, match=r"No module named benchmarks\.servers\.no_such_server"),
        bench.server(broken, "echo", {}),
    ):
        pass


def test_a_transfer_that_takes_too_long_is_noted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workloads, "STREAM_TIMEOUT", 0.0)
    with bench.server(servers.BY_NAME["c"], "stream", {}) as running:
        measured = workloads.stream(bench, running)
    assert measured == {f"{shape}_late": 16 for shape in workloads.STREAM_SHAPES}


@pytest.mark.parametrize(
    ("answer", "reason"), [(b"!" * 64, "other bytes"), (b"", "closed a connection")]
)
def test_a_wrong_echo_is_no_figure(bench: Bench, answer: bytes, reason: str) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(64)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        words = ["ping", listener.getsockname()[1], 1, 0, 64, 0, 1]
        load = Process([str(bench.tools.load), *map(str, words)], bench.cores.load)
        try:
            with pytest.raises(CannotMeasure, match=reason):
                load.event(60)
        finally:
            load.stop()
            thread.join()


@contextlib.contextmanager
def _command_line(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m benchmarks`` with its temporary files below ``directory``; ended at last."""
    # A shell lets its background jobs ignore SIGINT, and children inherit that; a signal that
    # is handled here has its default action in the child.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks", "--servers", "c", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_the_command_line_measures_and_writes(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    arguments = ("--only", "echo", "--rounds", "1", "--seconds", "0.02", "--output")
    with _command_line(tmp_path / "tmp", *arguments, str(tmp_path / "out")) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "## Echo" in output
    assert "## Echo" in (tmp_path / "out" / "benchmarks.md").read_text(encoding="utf-8")
    assert not list((tmp_path / "tmp").iterdir())


def test_a_saved_run_is_rendered_again_to_the_same_files(tmp_path: Path) -> None:
    results = Results("python -m benchmarks", 1, 1.0, 5, "2026-01-02")
    results.samples = [Sample("echo", name, 1, {"rate": 9.0}) for name in ("asynccore", "c")]
    (tmp_path / "saved.json").write_text(json.dumps(results.to_json()), encoding="utf-8")
    written = []
    for name in ("one", "two"):
        arguments = ("--render", str(tmp_path / "saved.json"), "--output", str(tmp_path / name))
        # A process of its own: matplotlib keeps its fonts open for as long as it lives.
        with _command_line(tmp_path, *arguments) as process:
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert written[0] == written[1]
    if importlib.util.find_spec("matplotlib") is None:  # it belongs to the bench extra
        assert set(written[0]) == {"benchmarks.md", "benchmark-targets.md", "benchmarks.json"}
        assert "no plot" in errors
        return
    picture = written[0]["benchmarks-connections.svg"]
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert b"](benchmarks-connections.svg)" in written[0]["benchmarks.md"]


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["--rounds", "0"]])
def test_bad_options_are_refused(tmp_path: Path, arguments: list[str]) -> None:
    with _command_line(tmp_path, *arguments) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert arguments[0] in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with _command_line(tmp_path, "--seconds", "0.02", "--rounds", "9999") as process:
        assert process.stderr is not None
        assert "round 1" in process.stderr.readline()
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert not list(tmp_path.iterdir())
    # Both programs run from the temporary directory, so that this finds them. One that was being
    # started just then dies with its parent (PR_SET_PDEATHSIG), which takes the kernel a moment.
    left = [p for p in psutil.process_iter(["cmdline"]) if _is_below(p, tmp_path)]
    assert psutil.wait_procs(left, timeout=10)[1] == []


def _is_below(process: Any, directory: Path) -> bool:
    words = process.info["cmdline"] or [""]
    return bool(words[0].startswith(str(directory)))


def test_a_killed_run_takes_its_children_with_it(tmp_path: Path) -> None:
    with _command_line(tmp_path, "--seconds", "30", "--only", "echo") as process:
        children: list[Any] = []
        while len(children) < 2 and process.poll() is None:
            children = psutil.Process(process.pid).children()
        process.kill()
        process.communicate(timeout=60)
    assert len(children) == 2
    assert psutil.wait_procs(children, timeout=10)[1] == []
