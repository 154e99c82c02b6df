"""The kinds of work. Each measures one server once and returns named figures."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks import tls_workloads
from benchmarks.results import CannotMeasure
from benchmarks.servers import BARE, C_SERVER
from benchmarks.workload import (
    ACTIVE,
    HOSTED,
    MESSAGE,
    MIB,
    PATIENCE,
    PEERS,
    QUICK,
    WARMUP_SHARE,
    WITH_BARE,
    Figures,
    Workload,
    per_core,
    window,
)

if TYPE_CHECKING:  # a report is made from these descriptions without psutil
    from benchmarks.harness import Bench, Running

SMALL = 4096  # bytes of a small write
LINE = 40  # bytes of a line, its end included
AHEAD = 20  # lines that are sent at a time
COUNTED = 100  # bytes of a message whose length is in front of it
MANY_TALKERS = 200  # connections that send lines beside one that takes BULK
BULK = 64 * MIB
RECIPIENTS = 10  # of a mail whose commands are sent at once
TALKERS = 20  # connections that send lines or mails
TIMERS = 1_000_000  # pending at a time
TIMED_FACTOR = 4  # times the idle connections: 20,000 of them with timeouts
FLOOD_RATE = 5000  # connections a second that never say anything
FLOOD_HELD = 2000  # of these, those that stay open; the older ones are reset
# One write; many small ones; many small ones to a peer that reads when all are made.
STREAM_SHAPES = ("one", "many", "wait")
STREAM_TIMEOUT = 10.0  # seconds for one transfer; the slowest linear server needs 0.3


def _ping(bench: Bench, running: Running, idle: int) -> list[Figures]:
    warmup = bench.seconds * WARMUP_SHARE
    with running.load("ping", ACTIVE, idle, MESSAGE, warmup, bench.seconds) as load:
        return [window(running, load, "requests") for _ in range(2 if idle else 1)]


def _kept(without: Figures, figures: Figures) -> Figures:
    return {**figures, "without": without["rate"], "kept": figures["rate"] / without["rate"]}


def echo(bench: Bench, running: Running) -> Figures:
    """Ping-pong on the active connections alone."""
    return _ping(bench, running, 0)[0]


def idle(bench: Bench, running: Running) -> Figures:
    """Ping-pong without and then with idle connections, in one server process."""
    return _kept(*_ping(bench, running, bench.idle))


def timeouts(bench: Bench, running: Running) -> Figures:
    """The same with so many idle connections that their timeouts would weigh."""
    return _kept(*_ping(bench, running, min(bench.idle * TIMED_FACTOR, bench.most)))


def flood(bench: Bench, running: Running) -> Figures:
    """Ping-pong without and then with connections that are opened and left alone."""
    warmup = bench.seconds * WARMUP_SHARE
    words = (ACTIVE, FLOOD_RATE, FLOOD_HELD, MESSAGE, warmup, bench.seconds)
    with running.load("flood", *words) as load:
        without, figures = (window(running, load, "requests") for _ in range(2))
    return _kept(without, figures)


def timers(bench: Bench, running: Running) -> Figures:
    """Seconds of processor time for making, cancelling and running so many timers."""
    running.process.proceed(str(TIMERS))
    end = running.process.event(PATIENCE)
    return {key: float(value) for key, value in end.items() if key != "event"}


def _transfer(running: Running, mebibytes: int, shape: str) -> float:
    """Median seconds of a few transfers in one of the STREAM_SHAPES."""
    total = mebibytes * MIB
    chunk = total if shape == "one" else SMALL
    wait = int(shape == "wait")
    repeat = 5 if running.bench.seconds >= 1 else 3
    with running.load("stream", total, chunk, wait, repeat, STREAM_TIMEOUT) as load:
        patience = STREAM_TIMEOUT + PATIENCE
        times = [float(load.event(patience)["seconds"]) for _ in range(repeat)]
    return statistics.median(times)


def stream(bench: Bench, running: Running) -> Figures:
    """MiB/s and growth of time for each shape; what is too slow is noted as late."""
    figures: Figures = {}
    for shape in STREAM_SHAPES:
        times = []
        for mebibytes in (16, 64):
            try:
                times.append(_transfer(running, mebibytes, shape))
            except CannotMeasure:
                if running.process.ended(within=0.5):
                    raise
                figures[f"{shape}_late"] = mebibytes
                break
        else:
            figures[shape] = 64 / times[1]
            figures[f"{shape}_growth"] = times[1] / times[0]
    return figures


def accept(bench: Bench, running: Running) -> Figures:
    """Connections that are opened, half-closed by the peer and closed by the server."""
    with running.load("accept", ACTIVE, bench.seconds * WARMUP_SHARE, bench.seconds) as load:
        return per_core(window(running, load, "connections"))


def churn(bench: Bench, running: Running) -> Figures:
    """Connections that are opened, do one round trip and are closed by the peer."""
    warmup = bench.seconds * WARMUP_SHARE
    with running.load("churn", ACTIVE, MESSAGE, warmup, bench.seconds) as load:
        return per_core(window(running, load, "connections"))


def memory(bench: Bench, running: Running) -> Figures:
    """Growth of the resident set for each connection that has done one round trip."""
    base = ACTIVE
    with running.load("hold", base, bench.idle, MESSAGE) as load:
        load.event(PATIENCE)
        before = running.process.system.memory_info().rss
        load.proceed()
        load.event(PATIENCE)
        grown = running.process.system.memory_info().rss - before
        load.proceed()
    return {"bytes": grown / bench.idle}


def _lines(bench: Bench, running: Running, active: int, depth: int) -> Figures:
    words = (active, LINE, depth, bench.seconds * WARMUP_SHARE, bench.seconds)
    with running.load("lines", *words) as load:
        figures = window(running, load, "requests")
    figures["rate"] *= depth
    return per_core(figures)


def lines(bench: Bench, running: Running) -> Figures:
    """Lines, each after the answer to the one before."""
    return _lines(bench, running, TALKERS, 1)


def lines_alone(bench: Bench, running: Running) -> Figures:
    """The same on one connection."""
    return _lines(bench, running, 1, 1)


def lines_ahead(bench: Bench, running: Running) -> Figures:
    """Many lines at a time."""
    return _lines(bench, running, TALKERS, AHEAD)


def counted(bench: Bench, running: Running) -> Figures:
    """Messages that begin with their length."""
    words = (TALKERS, COUNTED, bench.seconds * WARMUP_SHARE, bench.seconds)
    with running.load("counted", *words) as load:
        return per_core(window(running, load, "requests"))


def fair(bench: Bench, running: Running) -> Figures:
    """Lines without and then with a connection that takes as much as it can."""
    words = (MANY_TALKERS, LINE, BULK, bench.seconds * WARMUP_SHARE, bench.seconds)
    with running.load("fair", *words) as load:
        without, figures = (window(running, load, "requests") for _ in range(2))
    alone = without["p999_us"]
    return {**figures, "alone_p999_us": alone, "wait": figures["p999_us"] / max(alone, 1)}


def _mail(
    bench: Bench, running: Running, size: int, recipients: int = 1, talkers: int = TALKERS
) -> Figures:
    words = (talkers, size, recipients, bench.seconds * WARMUP_SHARE, bench.seconds)
    with running.load("mail", *words) as load:
        return per_core(window(running, load, "mails"))


def mail(bench: Bench, running: Running) -> Figures:
    """Short messages over connections that stay."""
    return _mail(bench, running, 2048)


def mail_large(bench: Bench, running: Running) -> Figures:
    """Messages with a picture in them."""
    return _mail(bench, running, 102_400)


def mail_huge(bench: Bench, running: Running) -> Figures:
    """Messages with a film in them."""
    return _mail(bench, running, 10 * MIB, talkers=1)


def mail_pipelined(bench: Bench, running: Running) -> Figures:
    """Short messages to many, with the commands sent at once."""
    return _mail(bench, running, 2048, RECIPIENTS)


def pump(bench: Bench, running: Running) -> Figures:
    """Microseconds of processor time for a pass of a loop in which nothing happens."""
    running.process.proceed()
    end = running.process.event(PATIENCE)
    return {key: float(value) for key, value in end.items() if key != "event"}


_LINES = (
    *("asynccore", "asynccore-joined", "pyasyncore-poll", "asyncio-streams", "asyncio"),
    *("uvloop-streams", "uvloop", "twisted", "gevent"),
)
_MAIL = (
    *("asynccore-mail", "hardened-mail", "standard-mail", "aiosmtpd-mail", "aiosmtpd-uvloop-mail"),
    "twisted-mail",
)
_FAIR = ("asynccore", "pyasyncore-poll", "asyncio", "uvloop", "twisted", "gevent")
_PUMP = ("asynccore", "pyasyncore-select", "pyasyncore-poll")
_TIMED = ("asynccore", "asynccore-timeouts")
_SCRAPED = ("asynccore", "asynccore-scraped")
_TIMERS = ("asynccore", "asyncio", "uvloop")
_PREDICATES = (
    "asynccore",
    "asynccore-one",
    "asynccore-both",
    "asynccore-asked",
    "pyasyncore-poll",
    "pyasyncore-both",
)

ALL = (
    Workload(
        "echo",
        f"Echo, {ACTIVE} connections",
        f"{MESSAGE}-byte ping-pong on {ACTIVE} connections. The bare loop makes the same system "
        "calls without classes, handlers or errors: no server in pure Python can be faster.",
        "rate",
        "requests/s",
        True,
        "echo",
        echo,
        (*WITH_BARE[:1], *HOSTED, *WITH_BARE[1:]),
    ),
    Workload(
        "idle",
        f"Echo, {ACTIVE} connections and {{idle}} idle ones",
        "The same before and after {idle} connections are opened that stay silent, in one server "
        "process; “kept” is the second rate divided by the first.",
        "rate",
        "requests/s",
        True,
        "echo",
        idle,
        (*PEERS[:1], *HOSTED, *PEERS[1:]),
    ),
    Workload(
        "predicates",
        "Overridden predicates, {idle} idle connections",
        "The same with echo classes that override `readable` (it returns True), or "
        "`writable`, too (it returns `bool(self.out_buffer)`). Such are told by their code "
        "and need no asking. Those that “must be asked” read plain attributes of the program, "
        "`paused` and `backlog`, before every wait.",
        "rate",
        "requests/s",
        True,
        "echo",
        idle,
        _PREDICATES,
        _PREDICATES,
    ),
    Workload(
        "stream",
        "Sending 64 MiB",
        f"One connection, 64 MiB by one write, by {64 * MIB // SMALL:,} writes of "
        f"{SMALL // 1024} KiB, and by as many to a peer that begins to read when all are made, "
        "so that everything goes through the server's own buffer. The receiver drops the bytes in "
        "the kernel. “Growth” is the time for 64 MiB divided by the time for 16 MiB: 4 is linear, "
        "16 quadratic.",
        "one",
        "MiB/s",
        True,
        "stream",
        stream,
        (
            "asynccore",
            "asynccore-chat",
            "pyasyncore-poll",
            "pyasyncore-chat",
            *("asyncio", "uvloop", "twisted", "gevent", C_SERVER),
        ),
        ("asynccore", "asynccore-chat", "asyncio", "uvloop"),
    ),
    Workload(
        "accept",
        "Accepting and closing",
        f"{ACTIVE} peers at a time connect, half-close at once and wait for the server to close. "
        "The load needs about as long as a fast server and then limits the plain rate; so a rate "
        "for each second of server CPU stands beside it.",
        "per_core",
        "connections/s of server CPU",
        True,
        "echo",
        accept,
        WITH_BARE,
    ),
    Workload(
        "churn",
        "Connection churn",
        f"{ACTIVE} peers at a time connect, send {MESSAGE} bytes, get them back and close.",
        "per_core",
        "connections/s of server CPU",
        True,
        "echo",
        churn,
        QUICK,
    ),
    Workload(
        "flood",
        "Echo beside a flood of unfinished connections",
        f"{ACTIVE} connections play ping-pong, first alone, then beside {FLOOD_RATE:,} new "
        f"connections a second that send nothing; when {FLOOD_HELD:,} are open, the oldest is "
        "reset. “Kept” is the second rate divided by the first.",
        "rate",
        "requests/s",
        True,
        "echo",
        flood,
        QUICK,
        held=lambda idle: FLOOD_HELD,
    ),
    Workload(
        "timeouts",
        "Idle timeouts",
        f"Echo on {ACTIVE} connections, with {TIMED_FACTOR} times {{idle}} idle ones beside them "
        "(or as many as the limit of descriptors allows); all channels have an `idle_timeout` of "
        "an hour, or none.",
        "rate",
        "requests/s",
        True,
        "echo",
        timeouts,
        _TIMED,
        _TIMED,
    ),
    Workload(
        "metrics",
        "Metrics",
        f"Echo on {ACTIVE} connections, without `asynccore run --metrics` and as it is once the "
        "numbers have been read.",
        "rate",
        "requests/s",
        True,
        "echo",
        echo,
        _SCRAPED,
        _SCRAPED,
    ),
    Workload(
        "timers",
        "Timers",
        f"{TIMERS:,} timers are made for some time in the next five minutes, and all cancelled; "
        "then as many that are due at once are run. Seconds of processor time.",
        "total",
        "s",
        False,
        "timers",
        timers,
        _TIMERS,
        _TIMERS,
        held=lambda idle: 0,
    ),
    Workload(
        "memory",
        "Memory of an idle connection",
        "Growth of the server's resident memory, divided by {idle} connections that have done "
        "one round trip each. Kernel memory is not in it.",
        "bytes",
        "bytes",
        False,
        "echo",
        memory,
        quick=("asynccore", "asyncio", "uvloop"),
    ),
    *(
        Workload(
            name,
            title,
            text,
            "rate",
            "lines/s",
            True,
            "lines",
            measure,
            servers,
            servers,
            held=lambda idle: 0,
        )
        for name, title, text, measure, servers in (
            (
                "lines",
                f"Lines, {TALKERS} connections",
                f"{LINE}-byte lines are sent back, each after the answer to the one before, by "
                "`async_chat` and its like. The bare loop sends back what comes, lines or not.",
                lines,
                (*_LINES, BARE),
            ),
            (
                "lines-alone",
                "Lines, one connection",
                "The same on one connection.",
                lines_alone,
                (*_LINES, BARE),
            ),
            (
                "lines-ahead",
                f"Lines, {AHEAD} at a time",
                f"The same on {TALKERS} connections, with {AHEAD} lines sent at a time.",
                lines_ahead,
                _LINES,
            ),
        )
    ),
    Workload(
        "counted",
        "Messages with their length in front",
        f"{COUNTED}-byte messages behind 4 bytes that say so are sent back on {TALKERS} "
        "connections, each after the answer to the one before; `async_chat` with numbers as "
        "terminators, and its like.",
        "rate",
        "messages/s",
        True,
        "counted",
        counted,
        _LINES,
        _LINES,
        held=lambda idle: 0,
    ),
    Workload(
        "fair",
        f"Lines beside a transfer of {BULK // MIB} MiB",
        f"{MANY_TALKERS} connections send {LINE}-byte lines, first alone, then beside one to which "
        f"the server pushes {BULK // MIB} MiB again and again. “Longer” is the wait that one of a "
        "thousand lines exceeds then, divided by that without.",
        "wait",
        "times",
        False,
        "fair",
        fair,
        _FAIR,
        _FAIR,
        held=lambda idle: 0,
    ),
    *(
        Workload(
            name,
            title,
            text,
            "rate",
            "mails/s",
            True,
            "mail",
            measure,
            _MAIL,
            _MAIL,
            held=lambda idle: 0,
        )
        for name, title, text, measure in (
            (
                "mail",
                "Mails of 2 kB",
                f"{TALKERS} connections say EHLO once, and send messages one after the other.",
                mail,
            ),
            (
                "mail-pipelined",
                f"Mails to {RECIPIENTS} recipients, pipelined",
                f"The same to {RECIPIENTS} recipients, with MAIL, RCPT and DATA sent at once "
                "(RFC 2920).",
                mail_pipelined,
            ),
            ("mail-large", "Mails of 100 kB", "The same with messages of 100 KiB.", mail_large),
            (
                "mail-huge",
                "Mails of 10 MB",
                "The same with messages of 10 MiB, from one connection: a hundredth of the rate "
                "above is linear.",
                mail_huge,
            ),
        )
    ),
    Workload(
        "pump",
        "A loop that is run pass by pass",
        "`loop(timeout=0, count=1)` on 3 and 30 channels to which nothing happens, as it is called "
        "by programs that have a loop of their own. Microseconds of processor time for each call.",
        "of_3",
        "µs",
        False,
        "pump",
        pump,
        _PUMP,
        _PUMP,
        held=lambda idle: 0,
    ),
    *tls_workloads.ALL,
)

BY_NAME = {workload.name: workload for workload in ALL}
