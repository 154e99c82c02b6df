"""`python -m tests.gallery [PROGRAM…]`: real clients ask the programs of `examples/gallery`.

Each program runs by itself on the classic loop and under `--engine twisted` and `asyncio`, and then
all of them in one process, on each engine, where the checks are made two at a time.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from .checks import PROGRAMS, Program
from .programs import ENGINES, Ports, started

# The program that runs all others; its checks are called "everything: http_server" and so on.
EVERYTHING = "everything"


class Result(NamedTuple):
    name: str
    engine: str
    trouble: str  # "": none
    seconds: float


def missing(program: Program) -> list[str]:
    """Return the modules that a program or its check needs and that are not installed."""
    return [name for name in program.needs if importlib.util.find_spec(name) is None]


def attempt(name: str, engine: str, check: object, *args: object) -> Result:
    begin = time.monotonic()
    trouble = ""
    try:
        check(*args)  # type: ignore[operator]
    except Exception:
        trouble = traceback.format_exc()
    return Result(name, engine, trouble, time.monotonic() - begin)


def check_alone(program: Program, engine: str) -> None:
    """Run one program, and check it."""
    if program.name == "irc_client":
        with started(engine, "irc_server", "0", "0", announces=2) as server:
            port = str(server["irc_server"])
            with started(engine, "irc_client", port, "0", announces=2) as ports:
                program.check({**server, **ports})
        return
    with started(engine, program.name, *program.arguments, announces=program.announces) as ports:
        program.check(ports)


def check_together(programs: list[Program], engine: str, jobs: int) -> list[Result]:
    """Run programs in one process, and check them, some at a time."""
    results: list[Result] = []

    def check_all() -> None:
        names = [program.name for program in programs]
        announces = sum(program.announces for program in programs)
        with (
            started(engine, EVERYTHING, "--free-ports", *names, announces=announces) as ports,
            ThreadPoolExecutor(jobs) as pool,
        ):
            results.extend(pool.map(lambda program: check_one(program, ports), programs))

    def check_one(program: Program, ports: Ports) -> Result:
        return attempt(f"{EVERYTHING}: {program.name}", engine, program.check, ports)

    whole = attempt(EVERYTHING, engine, check_all)
    return [*results, whole]


def all_results(programs: list[Program], engines: list[str], jobs: int) -> Iterator[Result]:
    pairs = [(program, engine) for program in programs for engine in engines]
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda pair: attempt(pair[0].name, pair[1], check_alone, *pair), pairs)
    for engine in engines:
        yield from check_together(programs, engine, jobs)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.gallery", description="Real clients ask the gallery's programs."
    )
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=", ".join(PROGRAMS))
    parser.add_argument("--engine", action="append", choices=ENGINES, help="(default: each)")
    parser.add_argument("--jobs", type=int, default=2, help="programs at a time (2)")
    options = parser.parse_args()
    for name in options.programs:
        if name not in PROGRAMS:
            parser.error(f"{name!r} is none of {', '.join(PROGRAMS)}")
    chosen = []
    for name in options.programs or PROGRAMS:
        lacking = missing(PROGRAMS[name])
        if lacking:
            print(f"{name}: skipped, for it needs {', '.join(lacking)}")
        else:
            chosen.append(PROGRAMS[name])
    passed = failed = 0
    for result in all_results(chosen, options.engine or list(ENGINES), options.jobs):
        if result.trouble:
            failed += 1
        else:
            passed += 1
        said = result.trouble or f"ok ({result.seconds:.1f} s)"
        print(f"{result.name} on {result.engine}: {said}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
