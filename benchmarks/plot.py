"""The picture: one panel for each workload, one bar for each server, and the limit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import servers
from benchmarks.results import Results

OURS, PEERS, LIMIT = "#1f6fb2", "#b8bec6", "#c2410c"
BAR_INCHES, HEAD_INCHES, WIDTH_INCHES = 0.3, 1.15, 9.0


@dataclass(frozen=True)
class Panel:
    """A workload's figure as ratio to ``other`` (None: the figure itself is a ratio)."""

    workload: str
    figure: str
    title: str
    axis: str
    other: str | None
    line: str


PANELS = (
    Panel("echo", "rate", "Echo, 50 connections", "requests per second ÷ the C server's",
          servers.C_SERVER, "C server"),
    Panel("idle", "kept", "The same with {idle} idle connections",
          "rate with idle connections ÷ rate without", None, "nothing lost"),
    Panel("predicates", "kept", "Overridden predicates, {idle} idle connections",
          "rate with idle connections ÷ rate without", None, "nothing lost"),
    Panel("stream", "one", "64 MiB by one write", "throughput ÷ the C server's",
          servers.C_SERVER, "C server"),
    Panel("stream", "many", "64 MiB by 4 KiB writes", "throughput ÷ asyncio's",
          "asyncio", "asyncio"),
    Panel("stream", "wait", "64 MiB by 4 KiB writes to a peer that reads when all are made",
          "throughput ÷ asyncio's", "asyncio", "asyncio"),
    Panel("accept", "per_core", "Accepting and closing",
          "connections per second of server CPU ÷ uvloop's", "uvloop", "uvloop"),
    Panel("churn", "per_core", "Connect, one round trip, close",
          "connections per second of server CPU ÷ uvloop's", "uvloop", "uvloop"),
    Panel("flood", "kept", "Echo beside 5,000 unfinished connections a second",
          "rate beside the flood ÷ rate without", None, "nothing lost"),
    Panel("timers", "total", "A million timers made, cancelled, run (less is better)",
          "seconds ÷ asyncio's", "asyncio", "asyncio"),
    Panel("memory", "bytes", "Memory of an idle connection (less is better)",
          "bytes ÷ asyncio's", "asyncio", "asyncio"),
    Panel("lines", "rate", "Lines, 20 connections", "lines per second ÷ uvloop's",
          "uvloop", "uvloop"),
    Panel("lines-ahead", "rate", "Lines, 20 at a time", "lines per second ÷ Twisted's",
          "twisted", "Twisted"),
    Panel("mail", "rate", "Mails of 2 kB", "mails per second ÷ the classic smtpd's",
          "standard-mail", "classic smtpd"),
    Panel("mail-large", "rate", "Mails of 100 kB", "mails per second ÷ the classic smtpd's",
          "standard-mail", "classic smtpd"),
    Panel("pump", "of_3", "loop(timeout=0, count=1), 3 channels (less is better)",
          "time ÷ pyasyncore's", "pyasyncore-select", "pyasyncore"),
    Panel("tls-echo", "per_core", "TLS: echo of 64 bytes, 50 connections",
          "requests per second of server CPU ÷ the bare loop's", "bare-tls", "bare loop"),
    Panel("tls-echo-large", "per_core", "TLS: echo of 16,000 bytes, 50 connections",
          "requests per second of server CPU ÷ the bare loop's", "bare-tls", "bare loop"),
    Panel("tls-handshakes", "full", "TLS: full handshakes, P-256",
          "handshakes per second of server CPU ÷ asyncio's", "asyncio-tls", "asyncio"),
    Panel("tls-handshakes", "resumed", "TLS: resumed handshakes, P-256",
          "handshakes per second of server CPU ÷ asyncio's", "asyncio-tls", "asyncio"),
    Panel("tls-handshakes-rsa", "full", "TLS: full handshakes, RSA-2048",
          "handshakes per second of server CPU ÷ asyncio's", "asyncio-tls", "asyncio"),
    Panel("tls-bulk", "per_core", "TLS: 64 MiB by one write",
          "throughput for each second of server CPU ÷ the blocking loop's",
          "blocking-tls", "blocking loop"),
    Panel("tls-memory", "bytes", "TLS: memory of an idle connection (less is better)",
          "bytes ÷ asyncio's", "asyncio-tls", "asyncio"),
)  # fmt: skip


def bars(results: Results, panel: Panel) -> list[tuple[str, float | None]]:
    """(label, ratio) for each server that took part; None when it could not do it."""
    rows: list[tuple[str, float | None]] = []
    took_part = results.measured(panel.workload, list(servers.BY_NAME))
    for name in took_part:
        if panel.other is None:
            value = results.median(panel.workload, name, panel.figure)
        else:
            value = results.ratio(panel.workload, panel.figure, name, panel.other)
        rows.append((servers.BY_NAME[name].label.replace("`", ""), value))
    return rows


def _draw(axes: Any, panel: Panel, rows: list[tuple[str, float | None]], idle: str) -> None:
    labels = [label for label, _ in rows]
    heights = [value or 0.0 for _, value in rows]
    colours = [OURS if label.startswith("asynccore") else PEERS for label in labels]
    drawn = axes.barh(range(len(rows)), heights, color=colours, height=0.7)
    texts = ["cannot" if value is None else f"{value:.2f}" for _, value in rows]
    for text in axes.bar_label(drawn, labels=texts, padding=4, fontsize=8):
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # over the line
    axes.axvline(1.0, color=LIMIT, linewidth=1.2, linestyle="--", label=f"1 = {panel.line}")
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max([1.0, *heights]) * 1.15)
    axes.set_xlabel(panel.axis, fontsize=8)
    axes.set_title(panel.title.format(idle=idle), fontsize=10, loc="left")
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 1.0))


def write(results: Results, path: Path) -> bool:
    """Draw the panels into an SVG file; False when there is nothing to draw.

    Raises ImportError without matplotlib.
    """
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    filled = [(panel, bars(results, panel)) for panel in PANELS]
    filled = [(panel, rows) for panel, rows in filled if any(value for _, value in rows)]
    if not filled:
        return False
    heights = [HEAD_INCHES + BAR_INCHES * len(rows) for _, rows in filled]
    # A fixed salt and no date: the same figures give the same file.
    with pyplot.rc_context({"svg.hashsalt": "benchmarks", "font.family": "DejaVu Sans"}):
        figure, grid = pyplot.subplots(
            len(filled), 1, figsize=(WIDTH_INCHES, sum(heights)), squeeze=False,
            layout="constrained", height_ratios=heights,
        )  # fmt: skip
        for axes, (panel, rows) in zip(grid[:, 0], filled, strict=True):
            _draw(axes, panel, rows, f"{results.idle:,}")
        figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})
        pyplot.close(figure)
    return True
