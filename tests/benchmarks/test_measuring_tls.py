"""Each server does each kind of work over TLS for a moment. No figure is judged here."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks need Linux: epoll and affinity", allow_module_level=True)
if shutil.which("cc") is None:
    pytest.skip("the benchmarks need a C compiler", allow_module_level=True)
pytest.importorskip("psutil", reason="psutil belongs to the bench extra")

from benchmarks import native, servers, tls_workloads, workloads
from benchmarks.harness import Bench
from benchmarks.machine import Cores
from benchmarks.results import CannotMeasure, Results
from benchmarks.run import once

SERVERS = [server for server in servers.ALL if server.tls and server.missing() is None]
KINDS = ("rate", "cpu")
FIGURES = {
    "tls-echo": {"rate", "cpu", "per_core"},
    "tls-handshakes": {
        "full",
        "resumed",
        *(f"{s}_{k}" for s in ("full", "resumed") for k in KINDS),
    },
    "tls-bulk": {"rate", "cpu", "per_core"},
    "tls-memory": {"bytes"},
}
FIGURES["tls-echo-large"] = FIGURES["tls-lines"] = FIGURES["tls-echo"]
FIGURES["tls-handshakes-rsa"] = FIGURES["tls-handshakes"]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    cores = sorted(os.sched_getaffinity(0))
    with native.tools() as tools:
        yield Bench(tools, Cores(server=cores[-1], load=cores[0]), seconds=0.2, idle=50)


@pytest.mark.parametrize("role", ["echo", "lines", "rsa", "stream"])
@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_every_server_works_over_tls(
    bench: Bench, server: servers.Server, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_workloads, "BULK", 1_000_001)  # not a multiple of a record
    # How many resume in so short a window depends on the machine; test below: too few are refused.
    monkeypatch.setattr(tls_workloads, "RESUMED_SHARE", 0.0)
    wanted = [
        workload
        for workload in tls_workloads.ALL
        if workload.role == role and server.name in workload.servers
    ]
    if not wanted:
        return  # takes no part in this role
    versions: dict[str, str] = {}
    with bench.server(server, role, versions) as running:
        for workload in wanted:
            measured = workload.measure(bench, running)
            assert set(measured) == FIGURES[workload.name]
            # So few connections may find room in what the process already has.
            assert measured[workload.figure] > 0 or workload.name == "tls-memory"
    assert versions[server.name]


def test_every_kind_of_work_over_tls_is_one_of_all() -> None:
    assert set(FIGURES) == {workload.name for workload in tls_workloads.ALL}
    assert set(FIGURES) <= set(workloads.BY_NAME)


def test_a_window_lasts_until_a_handshake_is_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A handshake takes several passes of the load, and the window would be over after one.
    monkeypatch.setattr(tls_workloads, "PARALLEL", 1)
    monkeypatch.setattr(tls_workloads, "RESUMED_SHARE", 0.0)
    with bench.server(servers.BY_NAME["asyncio-tls"], "echo", {}) as running:
        measured = tls_workloads.handshakes(dataclasses.replace(bench, seconds=0.0), running)
    assert min(measured["full"], measured["resumed"]) > 0


def test_handshakes_that_are_not_resumed_give_no_figure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than all: what a server is that knows no session any more.
    monkeypatch.setattr(tls_workloads, "RESUMED_SHARE", 1.1)
    with bench.server(servers.BY_NAME["asyncio-tls"], "echo", {}) as running:
        with pytest.raises(CannotMeasure, match=r"only \d+ of \d+ handshakes were resumed"):
            tls_workloads.handshakes(bench, running)


def test_a_tls_load_that_does_not_compile_ends_no_run(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tls_load.c").write_text("#error no libssl\n", encoding="utf-8")
    monkeypatch.setattr(native, "SOURCES", tmp_path)
    tools = dataclasses.replace(bench.tools, directory=tmp_path)
    results = Results("python -m benchmarks", 1, 1.0, 5, "2026-01-02")
    sample = once(
        dataclasses.replace(bench, tools=tools),
        workloads.BY_NAME["tls-echo"],
        "asyncio-tls",
        1,
        results,
    )
    assert sample.figures == {}
    assert sample.error is not None
    assert "no libssl" in sample.error
    assert "\n" not in sample.error  # it goes into a table


def test_the_tls_load_says_that_the_library_is_missing(bench: Bench, tmp_path: Path) -> None:
    source = (native.SOURCES / "tls_load.c").read_text(encoding="utf-8")
    (tmp_path / "tls_load.c").write_text(source.replace("libssl.so", "libno.so"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "SOURCES", tmp_path)
        tools = dataclasses.replace(bench.tools, directory=tmp_path)
        tools.tls_load()
    other = dataclasses.replace(bench, tools=tools)
    with (
        pytest.raises(CannotMeasure, match="OpenSSL's library is not on this machine"),
        other.server(servers.BY_NAME["asyncio-tls"], "echo", {}) as running,
    ):
        tls_workloads.echo(other, running)


@pytest.mark.parametrize("module", list(servers.TLS_NEEDS))
def test_a_server_over_tls_is_missing_without_its_needs(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "TLS_NEEDS", {f"no_{module}": servers.TLS_NEEDS[module]})
    expected = f"{servers.TLS_NEEDS[f'no_{module}']} is not installed"
    assert servers.BY_NAME["asyncio-tls"].missing() == expected
    assert servers.BY_NAME["asyncio"].missing() is None
