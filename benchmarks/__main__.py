"""The command line: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

try:
    import psutil
except ImportError:
    sys.exit("benchmarks: psutil is not installed; install the project with its 'bench' extra")

from benchmarks import machine, native, plot, report, run, servers, workloads
from benchmarks.harness import ROOT, Bench
from benchmarks.results import Results
from benchmarks.workload import ACTIVE

# Three rounds are the fewest that have a median worth the name; five are affordable.
FULL = {"rounds": 5, "seconds": 3.0, "idle": 5000}
QUICK = {"rounds": 3, "seconds": 0.4, "idle": 1000}


def _positive(kind: type) -> type:
    def parse(text: str) -> float:
        value = kind(text)
        if not value > 0:
            raise ValueError(text)
        return float(value) if kind is float else int(value)

    parse.__name__ = f"positive {kind.__name__}"
    return parse  # type: ignore[return-value]


def parser() -> argparse.ArgumentParser:
    """The options."""
    it = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure asynccore beside its peers and print medians and ratios.",
    )
    it.add_argument("--quick", action="store_true", help="short rounds, fewer servers")
    it.add_argument(
        "--only",
        action="append",
        choices=list(workloads.BY_NAME),
        metavar="WORKLOAD",
        help="one workload; may be repeated: " + ", ".join(workloads.BY_NAME),
    )
    it.add_argument(
        "--servers",
        action="append",
        choices=list(servers.BY_NAME),
        metavar="SERVER",
        help="one server; may be repeated: " + ", ".join(servers.BY_NAME),
    )
    it.add_argument("--rounds", type=_positive(int), help=f"default {FULL['rounds']}")
    it.add_argument(
        "--seconds",
        type=_positive(float),
        help=f"measured time of one figure, default {FULL['seconds']:g}",
    )
    it.add_argument(
        "--idle", type=_positive(int), help=f"number of idle connections, default {FULL['idle']}"
    )
    it.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where the pages, pictures and figures go (default: docs/ of the "
        "checkout after a full run, nowhere after a partial one)",
    )
    it.add_argument("--json", action="store_true", help="print the raw figures as JSON")
    it.add_argument(
        "--render",
        type=Path,
        metavar="FILE",
        help="measure nothing; report what --json once printed into FILE (with --output: write it)",
    )
    return it  # fmt: skip


def _cases(options: argparse.Namespace, results: Results) -> list[run.Case]:
    cases = []
    for workload in workloads.ALL:
        if options.only and workload.name not in options.only:
            continue
        wanted = workload.quick if options.quick and not options.servers else workload.servers
        for name in wanted:
            if options.servers and name not in options.servers:
                continue
            reason = servers.BY_NAME[name].missing()
            if reason is None:
                cases.append((workload, name))
            else:
                results.missing[name] = reason
    return cases


def _measure(options: argparse.Namespace, arguments: Sequence[str]) -> Results:
    defaults = QUICK if options.quick else FULL
    chosen = {name: getattr(options, name) or value for name, value in defaults.items()}
    results = Results(
        command=shlex.join(["python", "-m", "benchmarks", *arguments]),
        rounds=int(chosen["rounds"]),
        seconds=float(chosen["seconds"]),
        idle=int(chosen["idle"]),
        date=datetime.date.today().isoformat(),
    )
    cores = machine.pick_cores()
    cases = _cases(options, results)
    held = max(workload.held(results.idle) for workload, _ in cases) if cases else 0
    others = ACTIVE + 50  # 50: listener, poller, libraries, modules
    needed = held + others
    limit = machine.raise_descriptor_limit(held * workloads.TIMED_FACTOR + others)
    if limit < needed:
        raise machine.UnfitMachine(f"{needed} descriptors are needed, the hard limit is {limit}")
    process = psutil.Process()
    before = process.cpu_affinity()
    with native.tools() as tools:
        results.machine = machine.describe(tools.compiler)
        process.cpu_affinity([cores.load])
        stolen = psutil.cpu_times().steal
        try:
            bench = Bench(tools, cores, results.seconds, results.idle, limit - others)
            run.rounds(bench, cases, results.rounds, results)
        finally:
            process.cpu_affinity(before)
        stolen = psutil.cpu_times().steal - stolen
    results.machine["Time stolen by the hypervisor"] = f"{stolen:.1f} s of both cores"
    return results


def _write(results: Results, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, str] = {}
    overview = False
    try:
        pictures = plot.write(results, directory)
        overview = plot.write_overview(results, directory / report.OVERVIEW)
    except ImportError:
        print("benchmarks: no plot, matplotlib is not installed", file=sys.stderr)
    pages = {
        "benchmarks.md": report.document(results, pictures, overview),
        "benchmark-targets.md": report.targets_document(results),
        "benchmarks.json": json.dumps(results.to_json()).replace('{"workload"', '\n{"workload"'),
    }
    for name, text in pages.items():
        (directory / name).write_text(text.rstrip() + "\n", encoding="utf-8")
    if overview and directory.resolve() == ROOT / "docs":
        for page in (ROOT / "README.md", directory / "index.md"):
            _put_numbers(page, report.numbers(results))
    print(f"benchmarks: written to {directory}", file=sys.stderr)


def _put_numbers(page: Path, numbers: str) -> None:
    """Write the sentences of the overview between two comments of a page."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition("<!-- numbers -->\n")
    _, end, after = rest.partition("<!-- end of numbers -->")
    assert begin and end, page
    wrapped = textwrap.fill(numbers, 100, break_on_hyphens=False)
    page.write_text(f"{before}{begin}\n{wrapped}\n\n{end}{after}", encoding="utf-8")


def _terminated(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure or render, print, write; 0 when asynccore itself could be measured throughout."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminated)  # so that the context managers run
    try:
        if options.render:
            results = Results.from_json(json.loads(options.render.read_text(encoding="utf-8")))
        else:
            results = _measure(options, arguments)
    except (machine.UnfitMachine, native.CompilerError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: interrupted; everything that was started has ended", file=sys.stderr)
        return 130
    print(json.dumps(results.to_json(), indent=1) if options.json else report.summary(results))
    partial = options.quick or options.only or options.servers or options.render or options.json
    directory = options.output or (None if partial else ROOT / "docs")
    if directory is not None:
        _write(results, directory)
    failed = any(s.error and s.server.startswith("asynccore") for s in results.samples)
    return 1 if failed or any(n.startswith("asynccore") for n in results.missing) else 0


if __name__ == "__main__":
    sys.exit(main())
