"""`asynccore run --metrics` and `asynccore metrics`: numbers for Prometheus, and health checks.

Facts. A program that is scraped must not wait for who scrapes it, nor load a library for that; the
numbers of several workers are to be summed; one that hangs answers nothing. Who asks whether it
lives starts it anew if not, which helps nobody where it drains or rests; who asks whether it is
ready sends clients elsewhere.

Consequence. A process of its own serves HTTP, and asks the program at the socket that
`asynccore top` asks, or those of all its workers. `prometheus_client` writes the numbers. It is
started detached, so that the program has no child that it does not know of, and ends with it.

Trade-off. Windows, which has no such sockets, has no metrics. Counters begin with the first look.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from asynccore.engine.meter import BOUNDS

from . import top

# A loop that takes longer to answer, in seconds, is not healthy: `server.PATIENCE`, after which it
# counts as stuck, is the same.
MOST_LAG = 1.0

# How often the loops are asked how long they take to answer, and whether the program has ended.
INTERVAL = 1.0

# How long somebody may take to ask, and to read the answer, in seconds. Who is silent must not keep
# the health checks waiting; those of Kubernetes and HAProxy wait a second or two.
PEER_TIME = 5.0

# How long the server pauses when descriptors run out, in seconds.
_REST = 0.1

_HOST = "127.0.0.1"


def parse(text: str) -> tuple[str, int]:
    """Return the host and port of "[HOST:]PORT". Raises `ValueError`."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"where metrics are served is [HOST:]PORT, not {text!r}")
    return host.removeprefix("[").removesuffix("]") or _HOST, int(port)


def listener(text: str | None, fd: int | None = None) -> socket.socket:
    """Return a socket that listens there. Raises `ValueError`, and `OSError` with the address."""
    if fd is not None:
        return socket.socket(fileno=fd)
    _need_library()
    host, port = parse(text or "")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as why:
        raise OSError(why.errno, f"can't serve metrics at {text}: {why.strerror}") from None


def _need_library() -> None:
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise ValueError(
            "metrics need the package prometheus_client: pip install 'asynccore[metrics]'"
        ) from None


def start(text: str) -> None:
    """Start a process that serves the numbers of this one, or of what it becomes.

    Raises `ValueError`, and `OSError` if it can't listen there.
    """
    if sys.platform == "win32":
        raise ValueError("Windows has no metrics")
    with listener(text) as made:
        root = str(Path(__file__).parent.parent.parent)
        # The shell in between ends at once, so that the program gets no child.
        served = [sys.executable, "-m", "asynccore", "metrics", str(os.getpid())]
        command = ["/bin/sh", "-c", '"$@" &', "sh", *served, "--fd", str(made.fileno())]
        subprocess.run(command, cwd=root, pass_fds=[made.fileno()], check=True)


class Family:
    """The processes of a program, and what is known of their loops."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.lags = [0] * (len(BOUNDS) + 1)
        self.lag_seconds = 0.0

    def is_alive(self) -> bool:
        """Whether the program, or the parent of its workers, still runs."""
        try:
            # A process that nobody has reaped yet counts as alive.
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # it has become another user
        return True

    def ask(self, request: str) -> Iterator[dict[str, Any]]:
        """Give what each of the processes answers; one that doesn't is left out."""
        for path in top.family(self.pid):
            try:
                yield top.ask(path, request)
            except OSError:
                continue

    def measure(self) -> None:
        """Measure the lag of each loop once; a loop that doesn't answer has the most."""
        for answer in self.ask("lag"):
            for lag in answer["lags"]:
                seconds = MOST_LAG if lag is None else lag
                self.lags[bisect_left(BOUNDS, seconds)] += 1
                self.lag_seconds += seconds

    def ailments(self) -> list[str]:
        """Return why the program does not live, in words; nothing if it does."""
        answers = list(self.ask("lag"))
        if not answers:
            return ["no process answers"]
        return [
            f"a loop of process {answer['pid']} lags"
            for answer in answers
            if any(lag is None or lag > MOST_LAG for lag in answer["lags"])
        ]

    def obstacles(self) -> list[str]:
        """Return why the program is not ready for clients, in words; nothing if it is."""
        wrong = self.ailments()
        draining: list[str] = []
        answers = list(self.ask("numbers"))
        for answer in answers:
            if any(map.get("draining") for map in answer["maps"]):
                draining.append(f"process {answer['pid']} drains")
                continue
            for map in answer["maps"]:
                for channel in map.get("channels", ()):
                    if "resting" in channel.get("paused", ()):
                        wrong.append(f"a listener of process {answer['pid']} rests")
        # Workers that were replaced drain beside others, who take new clients.
        return wrong + draining if len(draining) == len(answers) else wrong


class Numbers:
    """A collector of `prometheus_client`: the sum over the processes of a family."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterable[Any]:
        """Give the metrics of this moment."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        totals: Counter[str] = Counter()
        channels: Counter[tuple[str, str]] = Counter()
        handlers = [0] * (len(BOUNDS) + 1)
        shaken: dict[str, Counter[str]] = {"handshakes": Counter(), "failed_handshakes": Counter()}
        for seen in self._family.ask("numbers"):
            totals["processes"] += 1
            for name, counter in shaken.items():
                counter.update(seen.get(name, {}))
            for map in seen["maps"]:
                _add(totals, map, _OF_MAPS)
                times = map.get("handlers")
                if times:
                    handlers = [a + b for a, b in zip(handlers, times["counts"], strict=True)]
                    totals["handler_seconds"] += times["seconds"]
                for channel in map.get("channels", ()):
                    channels[channel["class"], channel["state"]] += 1
                    _add(totals, channel, _OF_LISTENERS)
        for name, about in _COUNTERS.items():
            yield CounterMetricFamily(f"asynccore_{name}", about, value=totals[name])
        for name, about in _GAUGES.items():
            yield GaugeMetricFamily(f"asynccore_{name}", about, value=totals[name])
        found = GaugeMetricFamily(
            "asynccore_channels", "Channels by class and state.", labels=["class", "state"]
        )
        for labels, count in sorted(channels.items()):
            found.add_metric(labels, count)
        yield found
        refused = CounterMetricFamily(
            "asynccore_refused", "Connections refused, by reason.", labels=["reason"]
        )
        refused.add_metric(["max_connections_per_peer"], totals["refused"])
        yield refused
        for name, label in (("handshakes", "version"), ("failed_handshakes", "failure")):
            by = CounterMetricFamily(
                f"asynccore_tls_{name}", f"TLS {name} by {label}.".replace("_", " "), labels=[label]
            )
            for value, count in sorted(shaken[name].items()):
                by.add_metric([value], count)
            yield by
        for name, counts, seconds, about in (
            ("handler_seconds", handlers, totals["handler_seconds"], "Times of handlers."),
            (
                "loop_lag_seconds",
                self._family.lags,
                self._family.lag_seconds,
                "How long loops took to answer.",
            ),
        ):
            yield HistogramMetricFamily(
                f"asynccore_{name}", about, buckets=_buckets(counts), sum_value=seconds
            )


_OF_MAPS = (
    *("passes", "events", "callbacks", "timers", "accept_pauses"),
    *("bytes_received", "bytes_sent"),
)
_OF_LISTENERS = ("accepted", "refused")

_COUNTERS = {
    "passes": "Passes of the loops.",
    "events": "Descriptors that were reported as ready.",
    "callbacks": "Timers and callbacks that ran.",
    "accept_pauses": "How often a listener stopped accepting for a while.",
    "bytes_received": "Bytes received, since the first look.",
    "bytes_sent": "Bytes sent, since the first look.",
    "accepted": "Connections that the present listeners have accepted.",
}
_GAUGES = {"processes": "Processes that answer.", "timers": "Timers that are pending."}


def _add(totals: Counter[str], found: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        totals[name] += found.get(name) or 0


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    found, so_far = [], 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
        so_far += count
        found.append((bound, float(so_far)))
    return found


# What is asked of a family at each place; those of Kubernetes' own servers have these names.
_PROBES = {
    "/healthz": Family.obstacles,
    "/readyz": Family.obstacles,
    "/livez": Family.ailments,
}


class _Handler(BaseHTTPRequestHandler):
    family: Family
    registry: Any
    timeout = PEER_TIME

    def do_GET(self) -> None:
        """Answer /metrics and the probes."""
        from prometheus_client.exposition import choose_encoder

        status, kind = 200, "text/plain; charset=utf-8"
        if self.path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            text = encode(self.registry)
        elif self.path in _PROBES:
            wrong = _PROBES[self.path](self.family)
            status, text = (503, "\n".join(wrong).encode()) if wrong else (200, b"ok")
            text += b"\n"
        else:
            status, text = 404, f"there are /metrics, {', '.join(_PROBES)}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: whoever scrapes does so all the time."""


class _Server(ThreadingHTTPServer):
    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; if that fails, the listener is ready still, and asking at once would spin."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_REST)
            raise

    def handle_error(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        """Report what went wrong, unless it is that who asked has gone: HAProxy asks like that."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def server(family: Family, listening: socket.socket) -> ThreadingHTTPServer:
    """Return an HTTP server for a family, on a socket that listens."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Numbers(family))
    handler = type("Handler", (_Handler,), {"family": family, "registry": registry})
    made = _Server(("", 0), handler, bind_and_activate=False)
    made.socket.close()
    made.socket = listening
    return made


def _watch(pid: int) -> Callable[[float], object]:
    """Return what waits for some seconds, and returns true as soon as a process has ended."""
    if sys.platform != "linux":
        return time.sleep
    try:
        # The port is free at once for the next start. It is Linux' alone (pidfd_open(2)).
        ended = select.poll()
        ended.register(os.pidfd_open(pid), select.POLLIN)
    except (AttributeError, OSError):  # green threads have no poll(2); a kernel may be older
        return time.sleep
    return lambda seconds: ended.poll(1000 * seconds)


def main(pid: int, listening: socket.socket, wait: Callable[[float], object] | None = None) -> int:
    """Serve the numbers of a process, or of its workers, until it ends.

    `wait` takes seconds, and may return true as soon as the process has ended.
    """
    _need_library()
    wait = wait or _watch(pid)
    family = Family(pid)
    serving = server(family, listening)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    try:
        while family.is_alive():
            family.measure()
            if wait(INTERVAL):
                break
    except KeyboardInterrupt:
        pass
    # The thread waits for the listener still, and so keeps it open behind its close().
    with suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    serving.shutdown()
    thread.join()
    return 0
