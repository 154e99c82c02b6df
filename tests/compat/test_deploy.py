"""docs/deploy.md: systemd finds its units right; supervisord, circus and HAProxy are run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import asynccore
from asynccore.running import draining, graceful, loop, service_manager
from compat.command_line import cli, configuration, demo
from tests.ports import free_port, held_ports

if sys.platform == "win32":
    pytest.skip("neither is there on Windows", allow_module_level=True)

from compat.command_line import workers

PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"
PATIENCE = 60.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.S | re.M)


def file_named(name: str) -> str:
    (found,) = (b for b in [*blocks("ini"), *blocks("toml")] if b.splitlines()[0].endswith(name))
    return found


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="this system has no systemd-analyze"
)
def test_the_units(tmp_path: Path):
    program = tmp_path / "asynccore"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in ("server.socket", "server.service"):
        text = file_named(f"/{name}").replace("/opt/app/.venv/bin/asynccore", str(program))
        (tmp_path / name).write_text(text.replace("WorkingDirectory=/opt/app", ""))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
    units = [str(tmp_path / "server.socket"), str(tmp_path / "server.service")]
    done = subprocess.run(
        [*command, *units], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    ours = [line for line in done.stderr.splitlines() if "server." in line]
    assert (done.returncode, ours) == (0, [])


def test_the_configuration(tmp_path: Path):
    file = tmp_path / "asynccore.toml"
    file.write_text(file_named("/asynccore.toml"))
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    command = cli._commands(cli.parser())["run"]
    assert configuration.read(str(file), command)["workers"] == 4


# sd_notify(3) ---------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What NOTIFY_SOCKET names."""
    starting = list(loop.starting)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock
    loop.starting[:] = starting


def heard(sock: socket.socket) -> list[bytes]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(100))
    return found


def test_a_loop_says_that_it_is_ready(manager: Any, tmp_path: Path, new_map: Any, monkeypatch: Any):
    environ = {service_manager.VARIABLE: str(tmp_path / "notify")}
    monkeypatch.setattr(service_manager, "present", None)
    service_manager.enter(environ)
    assert heard(manager) == []
    for _ in range(2):
        asynccore.loop(0, map=new_map, count=1)
    assert heard(manager) == [b"READY=1"]
    assert environ == {}, "children are not to say it again"
    found = draining.Draining({draining.VARIABLE: "5"})
    found._begun_by = os.getpid()
    monkeypatch.setattr(draining, "engines", list)
    monkeypatch.setattr(draining.os, "kill", lambda *args: None)
    before = draining.signal.getsignal(draining.signal.SIGTERM)
    try:
        found.drain(draining.signal.SIGTERM, None)
    finally:
        draining.signal.signal(draining.signal.SIGTERM, before)
    assert heard(manager) == [b"STOPPING=1"]
    assert graceful.GRACE == 30.0


def test_a_manager_that_has_gone_and_a_child(manager: Any, tmp_path: Path, monkeypatch: Any):
    for address in (str(tmp_path / "no"), "@asynccore-nobody"):
        service_manager.Notifier({service_manager.VARIABLE: address}).begin()
    notifier = service_manager.Notifier({service_manager.VARIABLE: str(tmp_path / "notify")})
    monkeypatch.setattr(notifier, "_pid", 1)
    notifier.begin()
    notifier.say("x")
    assert heard(manager) == []


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
def test_programs_say_it_once(
    more: list[str], manager: Any, tmp_path: Path, user_environment: dict[str, str]
):
    with held_ports(1) as (held,):
        port = held if more else 0
        script = str(demo.examples() / "echo_server.py")
        command = ["-m", "asynccore", "run", *more, "--drain", "5", script, str(port)]
        env = {**user_environment, service_manager.VARIABLE: str(tmp_path / "notify")}
        with subprocess.Popen(
            [sys.executable, *command], env=env, stdout=subprocess.DEVNULL
        ) as process:
            manager.settimeout(PATIENCE)
            try:
                assert manager.recv(100) == b"READY=1"
                process.terminate()
                assert manager.recv(100) == b"STOPPING=1"
                assert process.wait(PATIENCE) == 0
            finally:
                process.kill()
        manager.setblocking(False)
        assert heard(manager) == []


def test_workers_without_a_loop_are_not_said_to_be_ready(
    manager: Any, tmp_path: Path, user_environment: dict[str, str]
):
    command = [sys.executable, "-m", "asynccore", "run", "--workers", "2", "-c", "pass"]
    env = {**user_environment, service_manager.VARIABLE: str(tmp_path / "notify")}
    assert subprocess.run(command, env=env, check=False, timeout=PATIENCE).returncode == 0
    assert heard(manager) == []


# supervisord ----------------------------------------------------------------------------------


def test_supervisord_runs_it(tmp_path: Path, user_environment: dict[str, str]):
    with held_ports(1) as (port,):
        script = demo.examples() / "echo_server.py"
        text = file_named("/server.conf").split("\n", 1)[1]
        text = text.replace(
            "/opt/app/.venv/bin/asynccore", f"{sys.executable} -m asynccore"
        ).replace("/opt/app/server.py 8080", f"{script} {port}")
        text = text.replace("/opt/app", str(tmp_path))
        conf = tmp_path / "supervisord.conf"
        conf.write_text(
            f"[supervisord]\nnodaemon=true\nuser={os.environ.get('USER', 'root')}\n"
            f"logfile={tmp_path}/log\npidfile={tmp_path}/pid\nchildlogdir={tmp_path}\n{text}"
        )
        if os.geteuid():
            conf.write_text(re.sub(r"user=.*\n", "", conf.read_text()))
        command = [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-c", str(conf)]
        with subprocess.Popen(
            command, env=user_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                with connected(port) as client:
                    client.sendall(b"hello")
                    assert client.recv(5, socket.MSG_WAITALL) == b"hello"
                    process.terminate()
                    assert client.recv(1) == b"", "the workers have drained"
                assert process.wait(PATIENCE) == 0
            finally:
                process.kill()
        assert "stopped: server (exit status 0)" in (tmp_path / "log").read_text()


def connected(port: int) -> socket.socket:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), PATIENCE)
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.05)


# circus, HAProxy, Kubernetes ------------------------------------------------------------------


@contextlib.contextmanager
def running(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; it is killed at the end if it is still there."""
    with subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def echoed(client: socket.socket, data: bytes = b"hello") -> bool:
    client.settimeout(PATIENCE)
    client.sendall(data)
    return client.recv(len(data), socket.MSG_WAITALL) == data


def test_circus_runs_it(tmp_path: Path, user_environment: dict[str, str]):
    pytest.importorskip("circus", reason="circus is not installed")
    with held_ports(1) as (port,):
        text = file_named("/server.ini").replace(
            "/opt/app/.venv/bin/asynccore", f"{sys.executable} -m asynccore"
        )
        script = demo.examples() / "echo_server.py"
        text = text.replace("/opt/app/server.py 8080", f"{script} {port}")
        ini = tmp_path / "server.ini"
        sockets = "".join(
            f"{name} = ipc://{tmp_path}/{name}\n" for name in ("endpoint", "pubsub_endpoint")
        )
        ini.write_text(f"[circus]\n{sockets}{text.replace('/opt/app', str(tmp_path))}")
        log = tmp_path / "log"
        command = [sys.executable, "-W", "ignore", "-m", "circus.circusd", "--log-output", str(log)]
        with running([*command, str(ini)], user_environment) as process:
            with connected(port) as client:
                assert echoed(client)
                process.terminate()
                assert client.recv(1) == b"", "the workers have drained"
            assert process.wait(PATIENCE) == 0


def healthz(port: int) -> int:
    """Return the status of an instance, 0 if nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as answer:
        answer.close()
        return answer.code
    except OSError:
        return 0


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="this system has no haproxy")
def test_an_instance_behind_haproxy_ends_and_nobody_is_cut(
    tmp_path: Path, user_environment: dict[str, str]
):
    (text,) = (b for b in blocks("text") if b.startswith("# /etc/haproxy"))
    script = str(demo.examples() / "echo_server.py")
    text = text.replace("/run/haproxy.sock", str(tmp_path / "admin"))
    with held_ports(3) as (front, *ports), contextlib.ExitStack() as stack:
        instances = []
        for name, host, port in zip(("one", "two"), ("10.0.0.1", "10.0.0.2"), ports, strict=True):
            metrics = free_port()
            options = ["--workers", "1", "--drain", "30", "--metrics", str(metrics)]
            options += ["--proxy-protocol", "127.0.0.1"]
            command = [sys.executable, "-m", "asynccore", "run", *options, script, str(port)]
            instances.append(stack.enter_context(running(command, user_environment)))
            text = text.replace(
                f"server {name} {host}:8080", f"server {name} 127.0.0.1:{port} port {metrics}"
            )
            end = time.monotonic() + PATIENCE
            while healthz(metrics) != 200:
                assert time.monotonic() < end
                time.sleep(0.1)
        config = tmp_path / "haproxy.cfg"
        config.write_text(text.replace("bind :8080", f"bind 127.0.0.1:{front}"))
        stack.enter_context(running(["haproxy", "-db", "-f", str(config)], user_environment))
        clients = [stack.enter_context(connected(front)) for _ in range(6)]
        assert all(map(echoed, clients))
        instances[0].terminate()
        for _ in range(30):
            assert all(map(echoed, clients)), "who is connected goes on"
            with connected(front) as newcomer:
                assert echoed(newcomer), "who comes is served"
            time.sleep(0.02)


def test_the_manifests_of_kubernetes():
    validator = pytest.importorskip("kubernetes_validate", reason="its validator is not installed")
    yaml = pytest.importorskip("yaml")
    (text,) = blocks("yaml")
    documents = list(yaml.safe_load_all(text))
    assert [document["kind"] for document in documents] == [
        "Deployment",
        "Service",
        "PodDisruptionBudget",
    ]
    for document in documents:
        validator.validate(document, validator.latest_version(), strict=True)
    pod = documents[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    probes = {
        name: probe["httpGet"]["path"] for name, probe in container.items() if "Probe" in name
    }
    assert probes == {
        "startupProbe": "/readyz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/livez",
    }
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > wait + graceful.GRACE + workers.LAST_WORDS


def test_the_containerfile() -> None:
    """It was built by buildah and run by crun, read-only, as nobody and as process 1."""
    (text,) = blocks("dockerfile")
    lines = text.replace("\\\n", "").splitlines()[1:]
    said = dict(line.split(" ", 1) for line in lines)
    name, *words = json.loads(said["CMD"])
    assert name == "asynccore"
    arguments = cli.parser().parse_args(words)
    script, port = arguments.script
    assert said["COPY"].split() == [script, "."]
    assert said["EXPOSE"].split() == [port, arguments.metrics.rpartition(":")[2]]
    assert (said["USER"], said["STOPSIGNAL"]) == ("nobody", "SIGTERM")
    assert "'asynccore[metrics]'" in said["RUN"]
    page = PAGE.read_text("utf-8")
    (stop,) = re.findall(r"podman stop --time (\d+)", page)
    assert int(stop) > arguments.drain + workers.LAST_WORDS
    ports = re.findall(r"containerPort: (\d+)", page)
    assert ports == said["EXPOSE"].split(), "those of the manifests"
