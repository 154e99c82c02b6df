"""The order of measuring: every server in round 1, then every server in round 2, and so on."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from benchmarks.harness import Bench
from benchmarks.results import CannotMeasure, Results, Sample
from benchmarks.servers import BY_NAME
from benchmarks.workload import Workload

Case = tuple[Workload, str]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def once(bench: Bench, workload: Workload, server: str, number: int, results: Results) -> Sample:
    """One server, started, measured with one workload, and stopped."""
    try:
        with bench.server(BY_NAME[server], workload.role, results.versions) as running:
            return Sample(workload.name, server, number, workload.measure(bench, running))
    except CannotMeasure as reason:
        return Sample(workload.name, server, number, {}, str(reason))


def rounds(bench: Bench, cases: Sequence[Case], count: int, results: Results) -> None:
    """Measure all ``cases`` ``count`` times; ``results`` grows as figures come in.

    A case that failed is not tried again: what cannot be done once cannot be done.
    """
    given_up: set[tuple[str, str]] = set()
    begin = time.monotonic()
    for number in range(1, count + 1):
        for workload, server in cases:
            if (workload.name, server) in given_up:
                continue
            sample = once(bench, workload, server, number, results)
            results.samples.append(sample)
            value = sample.figures.get(workload.figure)
            if value is None:
                given_up.add((workload.name, server))
                shown = f"cannot: {sample.error or 'too slow'}"
            else:
                shown = f"{value:,.0f} {workload.unit}"
            elapsed = time.monotonic() - begin
            _say(f"{elapsed:5.0f} s  round {number}  {workload.name:<10}  {server:<17}  {shown}")
