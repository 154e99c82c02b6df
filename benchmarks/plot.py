"""The pictures: small panels by topic, one bar for each server, and the limit; and one overview.

A panel of a topic has ratios, because only these can be compared between machines; the overview
has rates, because a newcomer wants to see something of which there is so much in a second. The thin
line at the end of a bar reaches from the lowest to the highest of the rounds. All servers are in
the tables; the panels have those that people know.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import servers
from benchmarks.results import Results

OURS, PEERS, LIMIT, ERROR = "#1f6fb2", "#b8bec6", "#c2410c", "#444444"
BAR_INCHES, HEAD_INCHES, WIDTH_INCHES = 0.19, 0.75, 9.0
COLUMNS = 2
TITLE_CHARACTERS = 44  # a longer title reaches into the next panel, or out of the picture

# README and the start page show the overview on telephones, 350 pixels wide. Its letters are larger
# than the others' in points, and the picture is narrower.
OVERVIEW_POINTS, OVERVIEW_WIDTH_INCHES, OVERVIEW_BAR_INCHES = 10.0, 6.4, 0.26

# What panels have: ourselves in the usual ways, and the peers that people know.
KNOWN = {
    "asynccore", "asynccore-one", "asynccore-both", "asynccore-asked", "asynccore-joined",
    "asynccore-chat", "pyasyncore-select", "pyasyncore-poll", "pyasyncore-chat", "asyncio",
    "uvloop", "twisted", "gevent", "c", "asynccore-mail", "hardened-mail", "standard-mail",
    "aiosmtpd-mail",
    "aiosmtpd-uvloop-mail", "twisted-mail", "asynccore-tls", "asyncio-tls", "uvloop-tls",
    "twisted-tls", "gevent-tls",
}  # fmt: skip

# The pictures of a page: their names, titles, and the workloads that each has.
TOPICS = {
    "connections": ("Many connections", ("echo", "idle", "predicates", "flood", "accept", "churn")),
    "data": ("Data, lines and mail", ("stream", "lines", "lines-ahead", "mail", "mail-large")),
    "costs": ("Timers, memory, and loops pass by pass", ("timers", "memory", "pump")),
    "tls": ("TLS", ("tls-echo", "tls-echo-large", "tls-handshakes", "tls-bulk", "tls-memory")),
}

OVERVIEW_SERVERS = {
    "asynccore": ("asynccore", "asynccore-tls", "asynccore-mail"),
    "pyasyncore": ("pyasyncore-poll", "standard-mail"),
    "asyncio": ("asyncio", "asyncio-tls", "aiosmtpd-mail"),
    "uvloop": ("uvloop", "uvloop-tls", "aiosmtpd-uvloop-mail"),
    "Twisted": ("twisted", "twisted-tls", "twisted-mail"),
}
OVERVIEW = (
    ("echo", "Echo, 50 connections", "requests per second"),
    ("idle", "… beside {idle} idle ones", "requests per second"),
    ("tls-echo", "Echo over TLS", "requests per second"),
    ("mail", "Mails of 2 kB", "mails per second"),
)


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
    return [(label, value) for label, value, _, _ in _bars(results, panel)]


# A label, the figure, and the lowest and highest of the rounds.
Bar = tuple[str, "float | None", float, float]


def _bars(results: Results, panel: Panel) -> list[Bar]:
    rows: list[Bar] = []
    for name in results.measured(panel.workload, [it for it in servers.BY_NAME if it in KNOWN]):
        label = servers.BY_NAME[name].label.replace("`", "")
        if panel.other is None:
            values = list(results.values(panel.workload, name, panel.figure).values())
            value = results.median(panel.workload, name, panel.figure)
        else:
            values = results.ratios(panel.workload, panel.figure, name, panel.other)
            value = results.ratio(panel.workload, panel.figure, name, panel.other)
        rows.append((label, value, min(values, default=0.0), max(values, default=0.0)))
    return rows


def _draw(axes: Any, rows: list[Bar], written: str, points: float = 7.0) -> None:
    heights = [value or 0.0 for _, value, _, _ in rows]
    colours = [OURS if label.startswith("asynccore") else PEERS for label, *_ in rows]
    axes.barh(range(len(rows)), heights, color=colours, height=0.72)
    for place, (_, value, low, high) in enumerate(rows):
        if value is not None and low < high:
            axes.errorbar(
                value, place, xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
                ecolor=ERROR, elinewidth=0.7, capsize=1.5, capthick=0.7,
            )  # fmt: skip
    widest = max([*(high for *_, high in rows), *heights, 1e-9])
    for place, (_, value, _, high) in enumerate(rows):
        text = "cannot" if value is None else format(value, written)
        end = max(value or 0.0, high if value else 0.0)
        shown = axes.text(end + widest * 0.02, place, text, va="center", fontsize=points)
        shown.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # over the line
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows], fontsize=points)
    axes.invert_yaxis()
    axes.set_xlim(0, widest * 1.2)
    axes.tick_params(axis="x", labelsize=6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _panel(axes: Any, panel: Panel, rows: list[Bar], idle: str) -> None:
    _draw(axes, rows, ".2f")
    axes.axvline(1.0, color=LIMIT, linewidth=1.0, linestyle="--", label=f"1 = {panel.line}")
    axes.set_xlim(0, max(1.15, axes.get_xlim()[1]))
    axes.set_xlabel(panel.axis, fontsize=6.5)
    title = textwrap.fill(panel.title.format(idle=idle), TITLE_CHARACTERS)
    axes.set_title(title, fontsize=8.5, loc="left")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    return pyplot


# A fixed salt and no date: the same figures give the same file.
_STYLE = {"svg.hashsalt": "benchmarks", "font.family": "DejaVu Sans"}


def write(results: Results, directory: Path) -> dict[str, str]:
    """Draw each topic that was measured into an SVG file; return the titles by the files' names.

    Raises ImportError without matplotlib.
    """
    pyplot = _pyplot()
    written = {}
    for name, (title, workloads) in TOPICS.items():
        panels = [panel for workload in workloads for panel in PANELS if panel.workload == workload]
        filled = [(panel, _bars(results, panel)) for panel in panels]
        filled = [(panel, rows) for panel, rows in filled if any(value for _, value, *_ in rows)]
        if not filled:
            continue
        lines = -(-len(filled) // COLUMNS)
        heights = [
            HEAD_INCHES + BAR_INCHES * max(len(rows) for _, rows in filled[at : at + COLUMNS])
            for at in range(0, len(filled), COLUMNS)
        ]
        with pyplot.rc_context(_STYLE):
            figure, grid = pyplot.subplots(
                lines, COLUMNS, figsize=(WIDTH_INCHES, sum(heights)), squeeze=False,
                layout="constrained", height_ratios=heights,
            )  # fmt: skip
            for axes in grid.flat[len(filled) :]:
                axes.set_visible(False)
            for axes, (panel, rows) in zip(grid.flat, filled, strict=False):
                _panel(axes, panel, rows, f"{results.idle:,}")
            file = f"benchmarks-{name}.svg"
            _save(figure, directory / file)
            pyplot.close(figure)
        written[file] = title
    return written


def overview_bars(results: Results, workload: str) -> list[Bar]:
    """The rates of the servers that the overview has, of one workload."""
    rows: list[Bar] = []
    for label, names in OVERVIEW_SERVERS.items():
        for name in results.measured(workload, names):
            values = results.values(workload, name, "rate").values()
            median = results.median(workload, name, "rate")
            rows.append((label, median, min(values, default=0.0), max(values, default=0.0)))
    return rows


def write_overview(results: Results, path: Path) -> bool:
    """Draw the picture of README and of the start page; False if too little was measured."""
    panels = [(overview_bars(results, workload), *texts) for workload, *texts in OVERVIEW]
    panels = [panel for panel in panels if panel[0]]
    if len(panels) < 2:
        return False
    pyplot = _pyplot()
    with pyplot.rc_context(_STYLE):
        figure = overview(pyplot, panels, f"{results.idle:,}")
        _save(figure, path)
        pyplot.close(figure)
    return True


def overview(pyplot: Any, panels: list[tuple[list[Bar], str, str]], idle: str) -> Any:
    """The figure of the overview, of the bars, the title and the axis of each panel."""
    height = 2 * (1.0 + OVERVIEW_BAR_INCHES * max(len(rows) for rows, _, _ in panels))
    figure, grid = pyplot.subplots(
        2, 2, figsize=(OVERVIEW_WIDTH_INCHES, height), layout="constrained"
    )
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (rows, title, axis) in zip(grid.flat, panels, strict=False):
        _draw(axes, rows, ",.0f", OVERVIEW_POINTS)
        axes.set_title(title.format(idle=idle), fontsize=OVERVIEW_POINTS + 1, loc="left")
        axes.set_xlabel(axis, fontsize=OVERVIEW_POINTS)
        axes.set_xticks([])  # each bar has its figure
        axes.set_xlim(0, axes.get_xlim()[1] * 1.15)  # for the figure of the longest
    return figure
