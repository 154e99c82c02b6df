"""The Markdown report: what it means, one table for each workload, machine and versions.

Targets are a page of their own: they are for those who work on asynccore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks import servers, targets, workloads
from benchmarks.results import Results
from benchmarks.workload import Workload

BASIS = "asynccore"
BASIS_TLS = "asynccore-tls"

Cell = Callable[[Results, Workload, str], str]


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _plain(figure: str, factor: float = 1.0, suffix: str = "") -> Cell:
    def cell(results: Results, workload: Workload, server: str) -> str:
        value = results.median(workload.name, server, figure)
        return "–" if value is None else _number(value * factor) + suffix

    return cell


def _spread(figure: str) -> Cell:
    def cell(results: Results, workload: Workload, server: str) -> str:
        values = results.values(workload.name, server, figure).values()
        return f"{_number(min(values))} – {_number(max(values))}" if values else "–"

    return cell


def _ratio(figure: str, other: str) -> Cell:
    def cell(results: Results, workload: Workload, server: str) -> str:
        value = results.ratio(workload.name, figure, server, other)
        return "–" if value is None else f"{value:.2f}"

    return cell


def _speed(shape: str) -> Cell:
    """Throughput, and what became too late in which share of the rounds."""

    def cell(results: Results, workload: Workload, server: str) -> str:
        late = results.values(workload.name, server, f"{shape}_late").values()
        in_time = results.values(workload.name, server, shape)
        if not late:
            return _plain(shape)(results, workload, server)
        text = f"{max(late):.0f} MiB took over {workloads.STREAM_TIMEOUT:.0f} s"
        if not in_time:
            return text
        shown = _plain(shape)(results, workload, server)
        return f"{shown} ({text} in {len(late)} of {len(late) + len(in_time)} rounds)"

    return cell


def _transfers(shape: str, text: str) -> tuple[tuple[str, Cell], ...]:
    return (
        (f"{text}, MiB/s", _speed(shape)),
        ("÷ asyncio", _ratio(shape, "asyncio")),
        ("growth", _plain(f"{shape}_growth")),
    )


_PERCENT = _plain("cpu", 100, " %")
_LATENCY: tuple[tuple[str, Cell], ...] = (
    ("median wait, µs", _plain("p50_us")),
    ("99 %, µs", _plain("p99_us")),
    ("server's core", _PERCENT),
)
_VISITS: tuple[tuple[str, Cell], ...] = (
    ("connections/s", _plain("rate")),
    ("server's core", _PERCENT),
    ("for each second of CPU", _plain("per_core")),
    ("lowest – highest", _spread("per_core")),
    ("÷ asynccore's", _ratio("per_core", BASIS)),
    ("÷ uvloop's", _ratio("per_core", "uvloop")),
)
_C = servers.C_SERVER


def _of_server_cpu(figure: str, text: str) -> tuple[tuple[str, Cell], ...]:
    return (
        (f"{text}/s of CPU", _plain(figure)),
        ("lowest – highest", _spread(figure)),
        ("÷ asynccore's", _ratio(figure, BASIS_TLS)),
        (f"{text}/s", _plain(f"{figure}_rate")),
        ("server's core", _plain(f"{figure}_cpu", 100, " %")),
    )


_SHAKES = (*_of_server_cpu("full", "full"), *_of_server_cpu("resumed", "resumed"))
_TLS_ECHO = (
    ("requests/s of CPU", _plain("per_core")),
    ("lowest – highest", _spread("per_core")),
    ("÷ asynccore's", _ratio("per_core", BASIS_TLS)),
    ("÷ bare loop's", _ratio("per_core", "bare-tls")),
    ("requests/s", _plain("rate")),
    ("server's core", _PERCENT),
)


def _talk(unit: str, basis: str, other: str) -> tuple[tuple[str, Cell], ...]:
    return (
        (f"{unit}/s", _plain("rate")),
        ("lowest – highest", _spread("rate")),
        ("÷ asynccore's", _ratio("rate", basis)),
        ("÷ classic's", _ratio("rate", other)),
        ("server's core", _PERCENT),
        ("for each second of CPU", _plain("per_core")),
    )


_LINES = _talk("lines", BASIS, "pyasyncore-poll")
_MAILS = _talk("mails", "asynccore-mail", "standard-mail")

COLUMNS: dict[str, tuple[tuple[str, Cell], ...]] = {
    "echo": (
        ("requests/s", _plain("rate")),
        ("lowest – highest", _spread("rate")),
        ("÷ asynccore", _ratio("rate", BASIS)),
        ("÷ C", _ratio("rate", _C)),
        *_LATENCY,
    ),
    "idle": (
        ("requests/s", _plain("rate")),
        ("lowest – highest", _spread("rate")),
        ("kept", _plain("kept")),
        ("÷ asynccore", _ratio("rate", BASIS)),
        *_LATENCY,
    ),
    "predicates": (
        ("requests/s", _plain("rate")),
        ("without idle ones", _plain("without")),
        ("kept", _plain("kept")),
        ("÷ asynccore", _ratio("rate", BASIS)),
        *_LATENCY,
    ),
    "stream": (
        *_transfers("one", "one write"),
        *_transfers("many", "many"),
        *_transfers("wait", "many, peer waits"),
    ),
    "accept": _VISITS,
    "churn": _VISITS,
    "flood": (
        ("requests/s", _plain("rate")),
        ("without the flood", _plain("without")),
        ("kept", _plain("kept")),
        ("÷ asynccore", _ratio("rate", BASIS)),
        *_LATENCY,
    ),
    "timeouts": (
        ("requests/s", _plain("rate")),
        ("without idle ones", _plain("without")),
        ("kept", _plain("kept")),
        ("÷ asynccore", _ratio("rate", BASIS)),
        *_LATENCY,
    ),
    "metrics": (
        ("requests/s", _plain("rate")),
        ("lowest – highest", _spread("rate")),
        ("÷ asynccore", _ratio("rate", BASIS)),
        *_LATENCY,
    ),
    "timers": (
        ("made, s", _plain("add")),
        ("cancelled, s", _plain("cancel")),
        ("run, s", _plain("expire")),
        ("all, s", _plain("total")),
        ("all ÷ asynccore", _ratio("total", BASIS)),
        ("all ÷ asyncio", _ratio("total", "asyncio")),
        ("all ÷ uvloop", _ratio("total", "uvloop")),
    ),
    "memory": (
        ("bytes", _plain("bytes")),
        ("lowest – highest", _spread("bytes")),
        ("÷ asynccore", _ratio("bytes", BASIS)),
        ("÷ asyncio", _ratio("bytes", "asyncio")),
    ),
    "lines": _LINES,
    "lines-alone": _LINES,
    "lines-ahead": _LINES,
    "counted": _talk("messages", BASIS, "pyasyncore-poll"),
    "fair": (
        ("99.9 %, µs", _plain("p999_us")),
        ("without the transfer, µs", _plain("alone_p999_us")),
        ("longer", _plain("wait")),
        ("lowest – highest", _spread("wait")),
        ("lines/s", _plain("rate")),
        ("server's core", _PERCENT),
    ),
    "mail": _MAILS,
    "mail-pipelined": _MAILS,
    "mail-large": _MAILS,
    "mail-huge": _MAILS,
    "pump": (
        ("3 channels, µs", _plain("of_3")),
        ("÷ asynccore's", _ratio("of_3", BASIS)),
        ("30 channels, µs", _plain("of_30")),
        ("30: ÷ asynccore's", _ratio("of_30", BASIS)),
    ),
    "tls-echo": _TLS_ECHO,
    "tls-echo-large": _TLS_ECHO,
    "tls-lines": (
        ("lines/s of CPU", _plain("per_core")),
        ("lowest – highest", _spread("per_core")),
        ("÷ asynccore's", _ratio("per_core", BASIS_TLS)),
        ("lines/s", _plain("rate")),
        ("server's core", _PERCENT),
    ),
    "tls-handshakes": _SHAKES,
    "tls-handshakes-rsa": _SHAKES,
    "tls-bulk": (
        ("MiB/s of CPU", _plain("per_core")),
        ("lowest – highest", _spread("per_core")),
        ("÷ asynccore's", _ratio("per_core", BASIS_TLS)),
        ("÷ blocking loop's", _ratio("per_core", "blocking-tls")),
        ("MiB/s", _plain("rate")),
        ("server's core", _PERCENT),
    ),
    "tls-memory": (
        ("bytes", _plain("bytes")),
        ("lowest – highest", _spread("bytes")),
        ("÷ asynccore's", _ratio("bytes", BASIS_TLS)),
        ("÷ asyncio's", _ratio("bytes", "asyncio-tls")),
    ),
}


def table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A Markdown table: the first ``texts`` columns to the left, the others to the right."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [
        "-" * widths[i] if i < texts else "-" * (widths[i] - 1) + ":" for i in range(len(widths))
    ]
    return "\n".join([line(header), line(rule), *(line(row) for row in rows)])


def targets_table(results: Results) -> str:
    """Each target of the workloads that ran, with pass or miss."""
    ran = {sample.workload for sample in results.samples}
    rows = []
    for target in targets.ALL:
        if target.workload in ran:
            value = target.value(results)
            shown = "–" if value is None else f"{value:.2f}"
            rows.append([target.text, target.verdict(results), target.bound_text(), shown])
    return table(["target", "verdict", "bound", "measured"], rows, texts=2)


def workload_table(results: Results, workload: Workload) -> str:
    """The figures of one workload, and below it who could not do it."""
    columns = COLUMNS[workload.name]
    rows, failures = [], []
    for name in results.measured(workload.name, workload.servers):
        label = servers.BY_NAME[name].label
        error = results.error(workload.name, name)
        if error is not None:
            failures.append(f"- {label}: cannot. `{error}`")
        cells = [cell(results, workload, name) for _, cell in columns]
        if error is not None and set(cells) == {"–"}:
            cells[0] = "cannot"
        rows.append([label, *cells])
    text = table(["server", *(title for title, _ in columns)], rows)
    return "\n".join([text, "", *failures]) if failures else text


def _sections(results: Results) -> Iterator[tuple[str, list[str]]]:
    for workload in workloads.ALL:
        if any(sample.workload == workload.name for sample in results.samples):
            idle = f"{results.idle:,}"
            title, text = (t.format(idle=idle) for t in (workload.title, workload.explanation))
            yield title, [text, workload_table(results, workload)]
    machine = [[name, text] for name, text in results.machine.items()]
    versions = results.versions | {k: f"not measured: {v}" for k, v in results.missing.items()}
    rows = [[servers.BY_NAME[name].label, versions[name]] for name in servers.BY_NAME if
            name in versions]  # fmt: skip
    yield (
        "Machine and versions",
        [table(["what", "value"], machine, 2), table(["server", "version"], rows, 2)],
    )


def summary(results: Results) -> str:
    """What ``python -m benchmarks`` prints: the tables without the explanations."""
    parts = ["## Targets", targets_table(results)]
    for title, paragraphs in _sections(results):
        tables = [text for text in paragraphs if text.startswith("|")]
        parts += [f"## {title}", *tables]
    return "\n\n".join(parts) + "\n"


def _how(results: Results) -> list[str]:
    return [
        "This page is written by the command below, from what it measured; nobody edits it.",
        '<!-- not typed: "it takes long, on a quiet machine" -->',
        f"```console\n$ {results.command}\n```",
        f"Measured on {results.date}, {results.rounds} interleaved rounds of {results.seconds:g} s "
        "for each figure. The server has one core, the load generator another. A figure is the "
        "median over the rounds; a ratio is the median of the rounds' own ratios, because two "
        "servers of one round saw the same state of the machine. “÷ asynccore” divides the row's "
        "figure by asynccore's. The thin lines in the pictures reach from the lowest to the "
        "highest of the rounds.",
    ]


# -- what it means ----------------------------------------------------------------------------

OVERVIEW = "benchmarks-overview.svg"


def _rate(results: Results, workload: str, server: str) -> str:
    """A rate to three digits: more than that no run on a shared machine can promise."""
    value = results.median(workload, server, "rate")
    if value is None:
        return "none"
    digits = max(0, len(f"{value:.0f}") - 3)
    return f"{round(value / 10**digits) * 10**digits:,}"


def numbers(results: Results) -> str:
    """The sentences beside the overview, in README and on the start page."""

    def rate(workload: str, server: str) -> str:
        return _rate(results, workload, server)

    sentences = [
        f"On one core, asynccore answers {rate('echo', 'asynccore')} requests a second on 50 "
        f"connections. Beside {results.idle:,} idle connections it answers "
        f"{rate('idle', 'asynccore')}, asyncio {rate('idle', 'asyncio')}, uvloop "
        f"{rate('idle', 'uvloop')}, and Twisted {rate('idle', 'twisted')}. pyasyncore falls from "
        f"{rate('echo', 'pyasyncore-poll')} to {rate('idle', 'pyasyncore-poll')}."
    ]
    if results.median("tls-echo", "asynccore-tls", "rate") is not None:
        sentences.append(
            f"Over TLS asynccore answers {rate('tls-echo', 'asynccore-tls')}, asyncio "
            f"{rate('tls-echo', 'asyncio-tls')}, and uvloop {rate('tls-echo', 'uvloop-tls')}."
        )
    if results.median("mail", "asynccore-mail", "rate") is not None:
        sentences.append(
            f"It takes {rate('mail', 'asynccore-mail')} mails a second, the classic smtpd "
            f"{rate('mail', 'standard-mail')}."
        )
    return " ".join(sentences)


# Where more is better, at what users do: workload, figure, our server, and what to call it.
_JUDGED = (
    ("echo", "rate", "asynccore", "echo"),
    ("idle", "rate", "asynccore", "echo beside idle connections"),
    ("stream", "one", "asynccore", "64 MiB by one write"),
    ("lines", "rate", "asynccore", "lines"),
    ("accept", "per_core", "asynccore", "accepting"),
    ("tls-echo", "rate", "asynccore-tls", "echo over TLS"),
    ("tls-handshakes", "full", "asynccore-tls", "TLS handshakes"),
    ("tls-bulk", "per_core", "asynccore-tls", "64 MiB over TLS"),
    ("mail", "rate", "asynccore-mail", "mails"),
)
_NO_PEERS = {"bare", "c", "bare-tls", "blocking-tls"}  # limits: nobody writes programs so


def faster(results: Results) -> list[str]:
    """Who is faster than asynccore at what, by more than a tenth."""
    found = []
    for workload, figure, ours, what in _JUDGED:
        ratios = {
            name: results.ratio(workload, figure, name, ours)
            for name in workloads.BY_NAME[workload].servers
            if name not in _NO_PEERS and not name.startswith(("asynccore", "hardened"))
        }
        named = [
            f"{servers.BY_NAME[name].label} ({ratio:.2f} of our rate)"
            for name, ratio in ratios.items()
            if ratio is not None and ratio > 1.1
        ]
        if named:
            found.append(f"- {what}: {', '.join(named)}")
    return found


def _meaning(results: Results) -> list[str]:
    def said(workload: str, server: str, figure: str = "kept") -> str:
        value = results.median(workload, server, figure)
        return "nothing (it cannot)" if value is None else f"{value:.0%}"

    paragraphs = [
        f"- **Many idle connections** matter most. Beside {results.idle:,} of them "
        f"asynccore keeps {said('idle', 'asynccore')} of its rate, and pyasyncore "
        f"{said('idle', 'pyasyncore-poll')} with poll. With select, pyasyncore cannot serve so "
        "many.\n"
        "- **asyncio's rate** beside idle connections depends on where the allocator puts its "
        f"large receive buffers (cpython issue 85451): it keeps {said('idle', 'asyncio')}, and "
        f"{said('idle', 'asyncio-64k')} with receives of 64 KiB.\n"
        "- **A few busy connections** show less difference between the loops, because system calls "
        "take most of the time. Don't change loops for that.\n"
        "- **Predicates that read your own attributes** are asked before every wait, as the "
        f"classic loop asks them: asynccore then keeps {said('predicates', 'asynccore-asked')}.\n"
        "- **Your own code** is not in these figures. A handler that takes a millisecond hides all "
        "of them."
    ]
    found = faster(results)
    if found:
        paragraphs += ["These were faster than asynccore by more than a tenth:", "\n".join(found)]
    return paragraphs


def document(results: Results, pictures: Mapping[str, str], overview: bool) -> str:
    """The whole of ``benchmarks.md``, with pictures (titles by file names) if there are any."""
    parts = ["# How fast", "What was measured, and what it means for a program."]
    if overview:
        parts += [
            f"![Requests and mails per second of asynccore and its peers]({OVERVIEW})",
            numbers(results),
            "## What it means",
            *_meaning(results),
        ]
    for name, title in pictures.items():
        parts += [f"## {title}", f"![{title}: each server beside a peer]({name})"]
    parts += ["## How it was measured", *_how(results)]
    for title, paragraphs in _sections(results):
        parts += [f"## {title}", *paragraphs]
    return "\n\n".join(parts) + "\n"


def targets_document(results: Results) -> str:
    """The whole of ``benchmark-targets.md``."""
    return (
        "\n\n".join(
            [
                "# Targets",
                "These are the figures that we want asynccore to reach, and the "
                "[figures](benchmarks.md) of the last whole run. A target that we miss stays in "
                "the table until we meet it.",
                *_how(results),
                targets_table(results),
            ]
        )
        + "\n"
    )
