"""The arithmetic of a run, and what the report makes of it, from made-up figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import plot, report, servers, targets, workloads
from benchmarks.__main__ import _put_numbers
from benchmarks.results import Results, Sample


def _results(*samples: Sample) -> Results:
    return Results("python -m benchmarks", 3, 1.0, 5000, "2026-01-02", samples=list(samples))


def _echo(server: str, *rates: float) -> list[Sample]:
    return [Sample("echo", server, i, {"rate": rate}) for i, rate in enumerate(rates, 1)]


def test_ratio_pairs_the_rounds() -> None:
    # Round 2 is ten times slower for both: the ratio of each round is 2 all the same.
    results = _results(*_echo("asynccore", 200, 20, 220), *_echo("uvloop", 100, 10, 110))
    assert results.ratio("echo", "rate", "asynccore", "uvloop") == 2.0
    assert results.median("echo", "asynccore", "rate") == 200


def test_ratio_ignores_rounds_that_lack_a_partner() -> None:
    results = _results(*_echo("asynccore", 200, 300), *_echo("uvloop", 100))
    assert results.ratio("echo", "rate", "asynccore", "uvloop") == 2.0
    assert results.ratio("echo", "rate", "asynccore", "twisted") is None


def test_results_survive_json() -> None:
    failed = Sample("idle", "pyasyncore-select", 1, {}, "ValueError: too many")
    results = _results(*_echo("c", 1.5), failed)
    results.versions["c"] = "cc 1"
    again = Results.from_json(json.loads(json.dumps(results.to_json())))
    assert again == results
    assert again.error("idle", "pyasyncore-select") == "ValueError: too many"


@pytest.mark.parametrize(
    ("ours", "verdict"), [(95.0, "pass"), (94.0, "miss"), (None, "not measured")]
)
def test_verdict_at_least(ours: float | None, verdict: str) -> None:
    samples = _echo("uvloop", 100) + (_echo("asynccore", ours) if ours else [])
    target = next(t for t in targets.ALL if (t.workload, t.other) == ("echo", "uvloop"))
    assert target.verdict(_results(*samples)) == verdict


@pytest.mark.parametrize(("ours", "verdict"), [(1000.0, "pass"), (1001.0, "miss")])
def test_verdict_at_most(ours: float, verdict: str) -> None:
    samples = [
        Sample("memory", name, 1, {"bytes": size})
        for name, size in (("asynccore", ours), ("asyncio", 1000.0))
    ]
    target = next(t for t in targets.ALL if t.workload == "memory")
    assert target.verdict(_results(*samples)) == verdict


def test_the_best_of_several_counts() -> None:
    target = next(t for t in targets.ALL if (t.workload, t.figure) == ("tls-handshakes", "full"))
    rates = {"asynccore-tls": 300.0, "asyncio-tls": 100.0, "twisted-tls": 200.0}
    samples = [Sample("tls-handshakes", name, 1, {"full": rate}) for name, rate in rates.items()]
    assert target.value(_results(*samples)) == 1.5
    assert target.verdict(_results(*samples)) == "pass"
    assert target.verdict(_results(samples[0])) == "not measured"


def test_tls_has_its_tables() -> None:
    figures = {"full": 300.0, "full_rate": 250.0, "full_cpu": 0.5, "resumed": 700.0}
    samples = [
        Sample("tls-handshakes", name, 1, figures) for name in ("asynccore-tls", "uvloop-tls")
    ]
    text = report.document(_results(*samples), {}, False)
    assert "## TLS: handshakes, P-256" in text
    assert "50.0 %" in text
    assert "| uvloop TLS " in text
    text = report.targets_document(_results(*samples))
    assert "full TLS handshakes, P-256, rate ÷ the best peer's" in text


def test_descriptions_agree() -> None:
    """Every name that a workload, target, column or panel uses exists."""
    assert set(report.COLUMNS) == set(workloads.BY_NAME)
    for workload in workloads.ALL:
        assert {*workload.servers, *workload.quick} <= set(servers.BY_NAME)
        assert set(workload.quick) <= set(workload.servers)
    for target in targets.ALL:
        took_part = workloads.BY_NAME[target.workload].servers
        others = target.best_of or (target.other or target.server,)
        assert {target.server, *others} <= set(took_part)
    for panel in plot.PANELS:
        took_part = workloads.BY_NAME[panel.workload].servers
        assert panel.other is None or panel.other in took_part


def test_table_aligns_and_keeps_the_texts_left() -> None:
    assert report.table(["a", "bb"], [["xyz", "1"]]).split("\n") == [
        "| a   | bb |",
        "| --- | -: |",
        "| xyz |  1 |",
    ]
    assert "| -- |" in report.table(["a", "bb"], [["xyz", "1"]], texts=2)


def test_report_names_failures_lateness_and_missing_peers() -> None:
    results = _results(
        Sample("idle", "pyasyncore-select", 1, {}, "ValueError: too many"),
        Sample("stream", "pyasyncore-poll", 1, {"one_late": 64.0, "many": 500.0}),
        *_echo("asynccore", 100, 90, 110),
    )
    results.missing["gevent"] = "gevent is not installed"
    text = report.document(results, {"benchmarks-tls.svg": "TLS"}, False)
    assert "pyasyncore, select: cannot. `ValueError: too many`" in text
    assert "64 MiB took over 10 s" in text
    assert "not measured: gevent is not installed" in text
    assert "90.0 – 110" in text
    assert "5,000 idle" in text
    assert "](benchmarks-tls.svg)" in text
    assert "{idle}" not in text
    assert "## Memory" not in text  # was not run


def test_report_says_how_often_a_transfer_was_late() -> None:
    results = _results(
        Sample("stream", "asyncio", 1, {"one": 500.0}),
        Sample("stream", "asyncio", 2, {"one_late": 64.0}),
    )
    assert "500 (64 MiB took over 10 s in 1 of 2 rounds)" in report.summary(results)


def test_summary_is_the_tables() -> None:
    text = report.summary(_results(*_echo("asynccore", 100)))
    assert workloads.BY_NAME["echo"].explanation not in text
    assert "| asynccore " in text


def test_bars_show_who_could_not() -> None:
    failed = Sample("idle", "pyasyncore-select", 1, {}, "ValueError")
    fine = Sample("idle", "asynccore", 1, {"kept": 0.5})
    panel = next(p for p in plot.PANELS if p.workload == "idle")
    assert plot.bars(_results(failed, fine), panel) == [
        ("asynccore", 0.5),
        ("pyasyncore, select", None),
    ]


def test_a_bar_reaches_from_the_lowest_to_the_highest_round() -> None:
    results = _results(*_echo("asynccore", 100, 90, 120), *_echo("c", 100, 100, 100))
    panel = next(p for p in plot.PANELS if p.workload == "echo")
    assert plot._bars(results, panel)[0] == ("asynccore", 1.0, 0.9, 1.2)


def test_topics_have_every_panel_and_fit_a_screen() -> None:
    shown = [name for _, names in plot.TOPICS.values() for name in names]
    assert len(shown) == len(set(shown)) and set(shown) <= set(workloads.BY_NAME)
    assert set(servers.BY_NAME) >= plot.KNOWN
    for names in plot.OVERVIEW_SERVERS.values():
        assert set(names) <= plot.KNOWN


def _overview() -> Results:
    rates = {
        "echo": {"asynccore": 134493, "pyasyncore-poll": 125647},
        "idle": {"asynccore": 123121, "pyasyncore-poll": 9876, "asyncio": 1000, "uvloop": 139555},
        "tls-echo": {"asynccore-tls": 90208, "asyncio-tls": 60264},
    }
    return _results(
        *(
            Sample(workload, name, 1, {"rate": float(rate), "kept": 0.5})
            for workload, found in rates.items()
            for name, rate in found.items()
        )
    )


# Draws the overview of a file. Prints each text with its size and its room in its half.
TEXTS = """
import json, sys
from benchmarks import plot
from benchmarks.results import Results
results = Results.from_json(json.load(open(sys.argv[1])))
panels = [(plot.overview_bars(results, workload), *texts) for workload, *texts in plot.OVERVIEW]
pyplot = plot._pyplot()
with pyplot.rc_context(plot._STYLE):
    figure = plot.overview(pyplot, [panel for panel in panels if panel[0]], "5,000")
    figure.canvas.draw()
    width, found = figure.bbox.width, []
    for at, axes in enumerate(figure.axes):
        texts = [*axes.texts, axes.title, axes._left_title, axes.xaxis.label]
        for text in [*texts, *axes.get_xticklabels(), *axes.get_yticklabels()]:
            if text.get_text() and axes.get_visible():
                box = text.get_window_extent()
                half = at % 2 / 2
                room = min(box.x0 / width - half, half + 0.5 - box.x1 / width)
                found.append([text.get_text(), text.get_fontsize(), room])
print(json.dumps([figure.get_figwidth(), found]))
"""


def test_the_overview_can_be_read_on_a_telephone(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib belongs to the bench extra")
    rates = {"asynccore": 134493.0, "pyasyncore-poll": 125647.0, "asyncio": 1e5, "uvloop": 139555.0}
    samples = [
        Sample(workload, name, at, {"rate": rate * at})
        for workload in ("echo", "idle")
        for name, rate in rates.items()
        for at in (1, 2, 3)
    ]
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(_results(*samples).to_json()), encoding="utf-8")
    # A process of its own: matplotlib keeps its fonts open for as long as it lives.
    command = [sys.executable, "-c", TEXTS, str(saved)]
    printed = subprocess.run(command, cwd=DOCS.parent, capture_output=True, text=True, check=True)
    inches, texts = json.loads(printed.stdout)
    assert len(texts) == 2 * (2 + 2 * len(rates))
    for text, points, room in texts:
        assert room > 0.005, f"{text} leaves its half of the picture"
        assert points / 72 / inches * 350 >= 7, f"{text} is too small to read"


def test_the_sentences_have_three_digits_and_say_what_was_not_measured() -> None:
    text = report.numbers(_overview())
    assert "answers 134,000 requests a second on 50 connections" in text
    assert "from 126,000 to 9,880" in text
    assert "uvloop 140,000, and Twisted none" in text
    assert "Over TLS asynccore answers 90,200, asyncio 60,300, and uvloop none" in text
    assert "mails" not in text


def test_it_says_who_is_faster() -> None:
    (line,) = report.faster(_overview())
    assert line == "- echo beside idle connections: uvloop Protocol (1.13 of our rate)"
    text = report.document(_overview(), {}, True)
    assert line in text
    assert "keeps 50% of its rate" in text
    assert text.index("## What it means") < text.index("## How it was measured")
    assert "## Targets" not in text


DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["../README.md", "index.md"])
def test_the_numbers_on_a_page_are_those_of_the_last_whole_run(page: str) -> None:
    saved = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    text = (DOCS / page).read_text(encoding="utf-8")
    _, _, rest = text.partition("<!-- numbers -->\n")
    shown, _, _ = rest.partition("<!-- end of numbers -->")
    assert " ".join(shown.split()) == report.numbers(Results.from_json(saved))


def test_numbers_are_put_between_two_comments(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- numbers -->\nold\n<!-- end of numbers -->\n\nafter\n")
    _put_numbers(page, "one sentence " * 20)
    text = page.read_text()
    assert "old" not in text and text.startswith("before\n") and text.endswith("\nafter\n")
    assert max(map(len, text.splitlines())) <= 100
