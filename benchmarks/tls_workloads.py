"""The kinds of work over TLS.

Facts.  A client has about as much cryptography to do as its server, and one process makes it.
Consequence.  The load is often the slower side, and what a second gave says little.
Trade-off.  Rates are for each second of the server's processor time. A server that waits for
nothing but the load is then judged by its work; one that idles for a reason of its own is found
out by the plain rate and the share of its core, which stand beside in the tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.results import CannotMeasure
from benchmarks.workload import (
    ACTIVE,
    MESSAGE,
    MIB,
    PATIENCE,
    WARMUP_SHARE,
    Figures,
    Workload,
    per_core,
    window,
)

if TYPE_CHECKING:
    from benchmarks.harness import Bench, Running

LINE = 40  # bytes of a line, its end included
LARGE = 16000  # bytes of a message that nearly fills a record (16,384: RFC 8446, section 5.1)
PARALLEL = 20  # peers that shake hands at a time: more than one, far fewer than any backlog
RESUMED_SHARE = 0.9  # of the handshakes; the first ones have no session to come back to
BULK = 64 * MIB  # bytes of one transfer
HELD_SHARE = 10  # a tenth of the idle connections: memory grows evenly, handshakes are slow

# What a server did before decides how dear large allocations are to it: so each begins afresh.
_MALLOC = (
    "uvloop and asyncio allocate some 256 KiB for what they receive, which glibc's malloc, as it "
    "comes, takes from the system and gives back again and again, or does not, by what else was "
    "allocated before; with `MALLOC_TRIM_THRESHOLD_=100000000` and "
    "`MALLOC_MMAP_THRESHOLD_=100000000` in the environment of this command it keeps them."
)

PEERS = ("asynccore-tls", "asyncio-tls", "uvloop-tls", "twisted-tls", "gevent-tls")
LINES = ("asynccore-tls", "asyncio-streams-tls", *PEERS[1:])
QUICK = PEERS[:2]


def echo(bench: Bench, running: Running) -> Figures:
    """Ping-pong with small messages."""
    return _ping(bench, running, MESSAGE)


def echo_large(bench: Bench, running: Running) -> Figures:
    """Ping-pong with messages that nearly fill a record."""
    return _ping(bench, running, LARGE)


def _ping(bench: Bench, running: Running, size: int) -> Figures:
    warmup = bench.seconds * WARMUP_SHARE
    with running.tls_load("ping", ACTIVE, size, warmup, bench.seconds) as load:
        return per_core(window(running, load, "requests"))


def lines(bench: Bench, running: Running) -> Figures:
    """Lines, each after the answer to the one before."""
    return _ping(bench, running, LINE)


def _shake(bench: Bench, running: Running, resume: bool) -> Figures:
    # The two figures share the time of one.
    warmup, seconds = bench.seconds / 2 * WARMUP_SHARE, bench.seconds / 2
    with running.tls_load("shake", PARALLEL, int(resume), warmup, seconds) as load:
        load.event(bench.seconds * 2 + PATIENCE)
        before = running.process.cpu_seconds()
        end = load.event(bench.seconds * 2 + PATIENCE)
        used = running.process.cpu_seconds() - before
    if resume and end["resumed"] < RESUMED_SHARE * end["requests"]:
        raise CannotMeasure(f"only {end['resumed']} of {end['requests']} handshakes were resumed")
    return per_core({"rate": end["requests"] / end["seconds"], "cpu": used / end["seconds"]})


def handshakes(bench: Bench, running: Running) -> Figures:
    """Connections with one small message each, first with full handshakes, then with resumed."""
    figures: Figures = {}
    for name in ("full", "resumed"):
        measured = _shake(bench, running, name == "resumed")
        figures[name] = measured["per_core"]
        figures.update({f"{name}_{key}": measured[key] for key in ("rate", "cpu")})
    return figures


def bulk(bench: Bench, running: Running) -> Figures:
    """One-way transfers on one connection, after a first one that is not counted."""
    repeat = 5 if bench.seconds >= 1 else 2
    taken = before = 0.0
    with running.tls_load("bulk", BULK, BULK, repeat + 1) as load:
        for number in range(repeat + 1):
            load.event(PATIENCE)
            seconds = load.event(PATIENCE)["seconds"]
            if number:
                taken += seconds
            else:
                before = running.process.cpu_seconds()
        used = running.process.cpu_seconds() - before
    size = repeat * BULK / MIB
    return per_core({"rate": size / taken, "cpu": used / taken})


def memory(bench: Bench, running: Running) -> Figures:
    """Growth of the resident set for each connection that has done one round trip."""
    more = _held(bench.idle)
    with running.tls_load("hold", ACTIVE, more, MESSAGE) as load:
        load.event(PATIENCE)
        before = running.process.system.memory_info().rss
        load.proceed()
        load.event(PATIENCE)
        grown = running.process.system.memory_info().rss - before
        load.proceed()
    return {"bytes": grown / more}


def _held(idle: int) -> int:
    return max(1, idle // HELD_SHARE)


ALL = (
    *(
        Workload(
            name,
            f"TLS: echo of {size:,} bytes, {ACTIVE} connections",
            explanation,
            "per_core",
            "requests/s of server CPU",
            True,
            "echo",
            measure,
            (*PEERS, "bare-tls"),
            (*QUICK, "bare-tls"),
            held=lambda idle: 0,
        )
        for name, size, measure, explanation in (
            (
                "tls-echo",
                MESSAGE,
                echo,
                "Ping-pong. The load decrypts and encrypts as much as the server and can be the "
                "slower side; so rates are for each second of server CPU, here and below. "
                f"{_MALLOC}",
            ),
            ("tls-echo-large", LARGE, echo_large, "The same, with a server of its own."),
        )
    ),
    Workload(
        "tls-lines",
        f"TLS: lines, {ACTIVE} connections",
        f"{LINE}-byte lines are sent back, each after the answer to the one before, by "
        "`async_chat` on an `OpenSSLSocket`, and its like.",
        "per_core",
        "lines/s of server CPU",
        True,
        "lines",
        lines,
        LINES,
        LINES,
        held=lambda idle: 0,
    ),
    *(
        Workload(
            name,
            f"TLS: handshakes, {key}",
            f"{PARALLEL} peers at a time connect, shake hands, get {MESSAGE} bytes echoed and "
            f"close; the certificate's key is {key}. Full handshakes, then such as resume the "
            "session of the connection before; a server that resumes fewer than "
            f"{RESUMED_SHARE:.0%} of these has no figure.",
            "full",
            "handshakes/s of server CPU",
            True,
            role,
            handshakes,
            PEERS,
            QUICK,
            held=lambda idle: 0,
        )
        for name, key, role in (
            ("tls-handshakes", "P-256", "echo"),
            ("tls-handshakes-rsa", "RSA-2048", "rsa"),
        )
    ),
    Workload(
        "tls-bulk",
        f"TLS: sending {BULK // MIB} MiB",
        f"One connection, {BULK // MIB} MiB by one write, again and again. The blocking loop is "
        "the standard library's `ssl`.",
        "per_core",
        "MiB/s of server CPU",
        True,
        "stream",
        bulk,
        (*PEERS, "blocking-tls"),
        (*QUICK, "blocking-tls"),
        held=lambda idle: 0,
    ),
    Workload(
        "tls-memory",
        "TLS: memory of an idle connection",
        f"Growth of the server's resident memory, divided by the connections that were opened and "
        f"have done one round trip each: one for every {HELD_SHARE} of {{idle}}.",
        "bytes",
        "bytes",
        False,
        "echo",
        memory,
        PEERS,
        QUICK,
        held=_held,
    ),
)
