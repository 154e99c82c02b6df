"""Runs the fuzz targets for as long as you like: `python -m tests.fuzz --minutes 30 [smtp] …`.

Each round has a seed of its own, counted up from `--seed`. The exit status is 1 after a failure,
which is printed, made as small as it can be, with the seed that finds it again.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import time
import traceback
from types import ModuleType

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz import chat, proxy, smtp
from tests.smtpd.dialogue import FQDN

TARGETS: dict[str, ModuleType] = {"smtp": smtp, "chat": chat, "proxy": proxy}
ROUND = 300  # cases; some seconds, so that --minutes is kept to


def run_round(target: ModuleType, number: int, shrink: bool = True) -> None:
    """Check `ROUND` cases. Raises what the target raises, with the case in a note or printed."""
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]

    @seed(number)
    @settings(
        max_examples=ROUND,
        phases=phases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=target.cases)
    def fuzz(case: object) -> None:
        target.check(case)

    fuzz()


def main(argv: list[str]) -> int:
    """Run what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="for each target; default: 2")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("targets", nargs="*", help="smtp, chat, proxy; default: all")
    options = parser.parse_args(argv)
    unknown = set(options.targets).difference(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    for name in options.targets or TARGETS:
        end = time.monotonic() + 60 * options.minutes
        rounds = 0
        while rounds == 0 or time.monotonic() < end:
            number = options.seed + rounds
            try:
                run_round(TARGETS[name], number)
            except Exception as error:
                traceback.print_exc(file=sys.stdout)
                print(*getattr(error, "__notes__", ()), sep="\n")
                print(f"{name}: failed with --seed {number}")
                return 1
            rounds += 1
        print(f"{name}: {rounds * ROUND} cases from seed {options.seed}, all invariants held")
    return 0


if __name__ == "__main__":
    # It may ask the DNS, for each of a million channels.
    socket.getfqdn = lambda name="": FQDN
    sys.exit(main(sys.argv[1:]))
