"""`python -m tests.interpreters [MODULE…]`: asyncio's and Twisted's suites over our event loops.

See event_loops.py, and docs/interpreter-suites.md for what may fall. The suites of the classic
modules are a part of the ordinary test run: `python -m pytest tests/interpreters`.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from .event_loops import PROJECTS, Project, Verdict, missing, verdicts


def attempt(project: Project, module: str) -> list[Verdict] | str:
    """Return what came of a module, or why there is nothing to be judged."""
    try:
        return list(verdicts(project, module))
    except Exception as why:
        return f"{type(why).__name__}: {why}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.interpreters",
        description="The suites of asyncio and Twisted, with our event loops.",
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as test_events")
    parser.add_argument(
        "--project", choices=sorted(PROJECTS), action="append", help="one alone (all)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="modules at a time (1)")
    options = parser.parse_args()
    chosen = []
    for name in options.project or sorted(PROJECTS):
        project = PROJECTS[name]
        for module in options.modules or project.modules:
            if module not in project.modules:
                continue
            why = missing(project, module)
            if why:
                print(f"{project.name}: {module}: skipped, for {why}")
            else:
                chosen.append((project, module))
    failed = 0
    sums: dict[tuple[str, str], list[int]] = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        waiting = [(*one, pool.submit(attempt, *one)) for one in chosen]
        for project, module, future in waiting:
            found = future.result()
            if isinstance(found, str):
                failed += 1
                print(f"{project.name}: {module}: {found}", flush=True)
                continue
            for verdict in found:
                total = sums.setdefault((project.name, verdict.way), [0, 0])
                total[0] += verdict.passed
                total[1] += len(verdict.fallen)
                says = f"{verdict.passed} pass with {project.reference}, {len(verdict.fallen)} fall"
                print(f"{project.name}: {module} ({verdict.way}): {says}", flush=True)
                failed += len(verdict.trouble)
                for line in verdict.trouble:
                    print(f"    {line}", flush=True)
    for (name, way), (passed, fallen) in sums.items():
        print(f"{name} ({way}): of {passed} tests that pass with its own, {fallen} fall")
    if not chosen:
        print("there is nothing to run")
        return 2
    print(f"{failed} not as listed" if failed else "all is as listed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
