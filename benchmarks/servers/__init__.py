"""The servers that are measured. Each runs in a process of its own."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass

C_SERVER = "c"
BARE = "bare"
# Over TLS all need these: the certificate's maker, and what two of them are made of.
TLS_NEEDS = {"trustme": "trustme", "OpenSSL": "pyOpenSSL"}


@dataclass(frozen=True)
class Server:
    """One row of the tables: a module of this package with its options.

    ``needs`` is what must be importable, ``distribution`` what installs it.
    """

    name: str
    label: str
    module: str | None = None
    options: tuple[str, ...] = ()
    needs: str | None = None
    distribution: str | None = None
    tls: bool = False

    def missing(self) -> str | None:
        """Why this server cannot be started here, or None."""
        for module, distribution in TLS_NEEDS.items() if self.tls else ():
            if importlib.util.find_spec(module) is None:
                return f"{distribution} is not installed"
        if self.needs is None or importlib.util.find_spec(self.needs) is not None:
            return None
        if self.distribution is None:
            return f"module {self.needs} cannot be imported"
        return f"{self.distribution} is not installed"

    def command(self, role: str) -> list[str]:
        """The command line; port 0 lets the kernel choose."""
        assert self.module is not None
        module = f"benchmarks.servers.{self.module}"
        return [sys.executable, "-m", module, "0", "--role", role, *self.options]


def _asynccore(name: str, label: str, *options: str) -> Server:
    return Server(name, label, "classic", ("--module", "asynccore", *options), "asynccore")


def _hosted(host: str, label: str, module: str, distribution: str) -> tuple[Server, Server]:
    """asynccore's map attached to a host, and its own `loop()` with the host as its engine."""
    ours = ("--module", "asynccore")
    return (
        Server(
            f"asynccore-on-{host}",
            f"asynccore attached to {label}",
            "classic",
            (*ours, "--attach", host),
            module,
            distribution,
        ),
        Server(
            f"asynccore-in-{host}",
            f"asynccore, `--engine {host}`",
            "classic",
            (*ours, "--poller", host),
            module,
            distribution,
        ),
    )


def _pyasyncore(name: str, label: str, *options: str) -> Server:
    options = ("--module", "pyasyncore", *options)
    return Server(name, label, "classic", options, "asyncore", "pyasyncore")


def _tls(
    kind: str, label: str, needs: str | None = None, distribution: str | None = None
) -> Server:
    return Server(f"{kind}-tls", label, "tls", ("--kind", kind), needs, distribution, tls=True)


def _mail(
    kind: str, label: str, needs: str | None = None, distribution: str | None = None
) -> Server:
    return Server(f"{kind}-mail", label, "mail", ("--kind", kind), needs, distribution)


ALL = (
    _asynccore("asynccore", "asynccore"),
    _asynccore("asynccore-one", "asynccore, `readable` overridden", "--predicates", "one"),
    _asynccore("asynccore-both", "asynccore, both overridden", "--predicates", "both"),
    _asynccore("asynccore-asked", "asynccore, both must be asked", "--predicates", "asked"),
    # An hour: what is measured is the keeping of the times, not the ends.
    _asynccore("asynccore-timeouts", "asynccore, `idle_timeout` set", "--idle-timeout", "3600"),
    _asynccore("asynccore-scraped", "asynccore, `run --metrics`", "--scraped"),
    *_hosted("asyncio", "asyncio", "asyncio", "asynccore"),
    *_hosted("uvloop", "uvloop", "uvloop", "uvloop"),
    *_hosted("twisted", "Twisted's epoll reactor", "twisted", "Twisted"),
    _asynccore("asynccore-chat", "asynccore, `async_chat.push`", "--chat"),
    Server("asynccore-protocol", "asynccore, asyncio Protocol", "protocols", (), "asynccore"),
    _pyasyncore("pyasyncore-select", "pyasyncore, select", "--poller", "select"),
    _pyasyncore("pyasyncore-poll", "pyasyncore, poll", "--poller", "poll"),
    _pyasyncore(
        "pyasyncore-both",
        "pyasyncore, poll, both overridden",
        *("--poller", "poll", "--predicates", "both"),
    ),
    _pyasyncore(
        "pyasyncore-chat", "pyasyncore, poll, `async_chat.push`", "--poller", "poll", "--chat"
    ),
    _asynccore("asynccore-joined", "asynccore, `joins_replies`", "--joins-replies"),
    Server("asyncio-streams", "asyncio streams", "asyncio_", ("--streams",)),
    Server("uvloop-streams", "uvloop streams", "uvloop_", ("--streams",), "uvloop", "uvloop"),
    _mail("asynccore", "asynccore smtpd"),
    _mail("hardened", "asynccore hardened_smtpd"),
    _mail("standard", "classic smtpd, poll", "smtpd", "standard-smtpd"),
    _mail("aiosmtpd", "aiosmtpd on asyncio", "aiosmtpd", "aiosmtpd"),
    Server(
        "aiosmtpd-uvloop-mail",
        "aiosmtpd on uvloop",
        "mail",
        ("--kind", "aiosmtpd-uvloop"),
        "aiosmtpd",
        "aiosmtpd",
    ),
    _mail("twisted", "Twisted ESMTP", "twisted", "Twisted"),
    Server("asyncio", "asyncio Protocol", "asyncio_"),
    Server(
        "asyncio-64k", "asyncio Protocol, 64 KiB receives", "asyncio_", ("--receive-size", "65536")
    ),
    Server("uvloop", "uvloop Protocol", "uvloop_", (), "uvloop", "uvloop"),
    Server("twisted", "Twisted, epoll reactor", "twisted_", (), "twisted", "Twisted"),
    Server("gevent", "gevent StreamServer", "gevent_", (), "gevent", "gevent"),
    Server(BARE, "bare epoll loop in Python", "bare"),
    Server(C_SERVER, "C epoll server (the limit)"),
    _tls("asynccore", "asynccore TLS, `OpenSSLSocket`", "ssl_ext"),
    _tls("asyncio", "asyncio TLS"),
    _tls("asyncio-streams", "asyncio streams, TLS"),
    _tls("uvloop", "uvloop TLS", "uvloop", "uvloop"),
    _tls("twisted", "Twisted TLS", "twisted", "Twisted"),
    _tls("gevent", "gevent TLS", "gevent", "gevent"),
    _tls("bare", "bare epoll loop over pyOpenSSL"),
    _tls("blocking", "blocking loop over `ssl`"),
)

BY_NAME = {server.name: server for server in ALL}
