"""What asynccore is to reach, and whether a run shows that it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import tls_workloads
from benchmarks.results import Results


@dataclass(frozen=True)
class Target:
    """A bound on one figure of ``server``, or on its ratio to ``other``'s."""

    workload: str
    text: str
    figure: str
    bound: float
    server: str = "asynccore"
    other: str | None = None
    at_least: bool = True
    best_of: tuple[str, ...] = ()
    """Instead of one other: those of which the best counts."""

    def value(self, results: Results) -> float | None:
        """What the run shows, None when it was not measured."""
        if self.best_of:
            ratios = (
                results.ratio(self.workload, self.figure, self.server, other)
                for other in self.best_of
            )
            return min((ratio for ratio in ratios if ratio is not None), default=None)
        if self.other is None:
            return results.median(self.workload, self.server, self.figure)
        return results.ratio(self.workload, self.figure, self.server, self.other)

    def verdict(self, results: Results) -> str:
        """``pass``, ``miss`` or ``not measured``."""
        value = self.value(results)
        if value is None:
            return "not measured"
        good = value >= self.bound if self.at_least else value <= self.bound
        return "pass" if good else "miss"

    def bound_text(self) -> str:
        """The bound as the table shows it."""
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g}"


def _echo(other: str, text: str, bound: float) -> Target:
    return Target("echo", f"echo, rate ÷ {text}", "rate", bound, other=other)


def _stream(server: str, name: str) -> list[Target]:
    targets = []
    shapes = {"one": f"one `{name}`", "many": f"many `{name}`s"}
    for shape, text in {**shapes, "wait": f"{shapes['many']}, peer waits"}.items():
        targets += [
            Target("stream", f"64 MiB by {text}, throughput ÷ asyncio's", shape, 1.0, server,
                   "asyncio"),
            # 4 is linear, 16 quadratic; 8 lies as many times above the one as below the other.
            Target("stream", f"64 MiB by {text}, time ÷ that of 16 MiB", f"{shape}_growth", 8.0,
                   server, at_least=False),
        ]  # fmt: skip
    return targets


def _hosts() -> list[Target]:
    return [
        Target(workload, f"{workload}, rate on {host} ÷ that of the own loop", "rate", 0.95,
               f"asynccore-{way}-{host}", "asynccore")
        for workload in ("echo", "idle")
        for way, host in (("on", "asyncio"), ("on", "uvloop"), ("on", "twisted"))
    ]  # fmt: skip


OURS_TLS, *PEERS_TLS = tls_workloads.PEERS


def _tls() -> Iterator[Target]:
    sizes = (("tls-echo", tls_workloads.MESSAGE), ("tls-echo-large", tls_workloads.LARGE))
    others = (
        ("asyncio", "asyncio's", 1.5),
        ("uvloop", "uvloop's", 2.0),
        ("twisted", "Twisted's", 2.0),
        ("bare", "a bare epoll loop's", 0.8),
    )
    for workload, size in sizes:
        for other, text, bound in others:
            yield Target(workload, f"TLS echo of {size:,} bytes, rate ÷ {text}", "per_core", bound,
                         OURS_TLS, f"{other}-tls")  # fmt: skip
    for workload, key in (("tls-handshakes", "P-256"), ("tls-handshakes-rsa", "RSA-2048")):
        for figure in ("full", "resumed"):
            yield Target(workload, f"{figure} TLS handshakes, {key}, rate ÷ the best peer's",
                         figure, 1.0, OURS_TLS, best_of=tuple(PEERS_TLS))  # fmt: skip
    yield Target("tls-bulk", "TLS bulk, throughput ÷ a blocking loop's", "per_core", 0.9,
                 OURS_TLS, "blocking-tls")  # fmt: skip
    yield Target("tls-memory", "bytes for each idle TLS connection ÷ asyncio's", "bytes", 1.0,
                 OURS_TLS, "asyncio-tls", at_least=False)  # fmt: skip


def _talk() -> Iterator[Target]:
    for workload, text in (("lines", "lines"), ("lines-alone", "lines on one connection")):
        for other, name, bound in (
            ("pyasyncore-poll", "pyasyncore's", 1.15),
            ("uvloop", "uvloop's", 0.9),
        ):
            yield Target(workload, f"{text}, rate ÷ {name}", "rate", bound, other=other)
    yield Target("lines-ahead", "lines, 20 at a time, joined replies, rate ÷ Twisted's", "rate",
                 1.0, "asynccore-joined", "twisted")  # fmt: skip
    yield Target("counted", "messages with their length in front, rate ÷ pyasyncore's", "rate",
                 1.15, other="pyasyncore-poll")  # fmt: skip
    yield Target("fair", "wait of one line in a thousand beside 64 MiB ÷ that without", "wait", 1.5,
                 at_least=False)  # fmt: skip
    yield Target("mail-pipelined", "mails to 10, pipelined, rate ÷ Twisted's", "rate", 1.0,
                 "asynccore-mail", "twisted-mail")  # fmt: skip
    yield Target("tls-lines", "TLS lines, rate ÷ asyncio streams'", "per_core", 1.5, OURS_TLS,
                 "asyncio-streams-tls")  # fmt: skip
    for other, name, bound in (
        ("standard-mail", "the classic smtpd's", 1.3),
        ("twisted-mail", "Twisted's", 1.2),
        ("aiosmtpd-mail", "aiosmtpd's", 2.5),
    ):
        yield Target(
            "mail", f"mails of 2 kB, rate ÷ {name}", "rate", bound, "asynccore-mail", other
        )
    yield Target("mail", "mails of 2 kB, hardened ÷ plain", "rate", 0.93, "hardened-mail",
                 "asynccore-mail")  # fmt: skip
    for workload, size in (("mail-large", "100 kB"), ("mail-huge", "10 MB")):
        yield Target(workload, f"mails of {size}, rate ÷ the classic smtpd's", "rate", 1.25,
                     "asynccore-mail", "standard-mail")  # fmt: skip
    for count in (3, 30):
        text = f"a pass over {count} channels, time ÷ pyasyncore's"
        yield Target("pump", text, f"of_{count}", 1.5, other="pyasyncore-select",
                     at_least=False)  # fmt: skip


ALL = (
    _echo("uvloop", "uvloop's", 0.95),
    _echo("asyncio", "asyncio's", 3.5),
    _echo("asyncio-64k", "asyncio's with 64 KiB receives", 1.1),
    _echo("twisted", "Twisted's", 2.0),
    _echo("c", "the C server's", 0.8),
    Target("idle", "rate kept with idle connections", "kept", 0.9),
    Target("predicates", "rate kept, `readable` overridden", "kept", 0.6, "asynccore-one"),
    Target("predicates", "rate kept, both overridden", "kept", 0.45, "asynccore-both"),
    Target("predicates", "rate kept, both must be asked", "kept", 0.45, "asynccore-asked"),
    *_hosts(),
    Target("echo", "echo by an asyncio Protocol, rate ÷ the same on asyncio", "rate", 2.5,
           "asynccore-protocol", "asyncio"),
    *_stream("asynccore", "send"),
    *_stream("asynccore-chat", "push"),
    Target("accept", "connections accepted and closed ÷ uvloop's", "rate", 1.0, other="uvloop"),
    Target("accept", "the same for each second of server CPU ÷ uvloop's", "per_core", 1.0,
           other="uvloop"),
    Target("timeouts", "rate with 4 × the idle connections, all with timeouts ÷ rate without "
           "timeouts", "rate", 0.95, "asynccore-timeouts", "asynccore"),
    Target("metrics", "echo while its bytes are counted ÷ echo", "rate", 0.97,
           "asynccore-scraped", "asynccore"),
    Target("memory", "bytes for each idle connection ÷ asyncio's", "bytes", 1.0,
           other="asyncio", at_least=False),
    *_talk(),
    *_tls(),
)  # fmt: skip
