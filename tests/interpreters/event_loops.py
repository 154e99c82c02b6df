"""asyncio's and Twisted's own suites for event loops, with ours as the loop under test.

Facts. CPython tests its event loops in `test.test_asyncio`, Twisted its reactors by
`ReactorBuilder`; both are installed with what they test. They look into private state here and
there, and put mocks into asyncio's modules, which another implementation can't satisfy.

Consequence. Each module runs with the project's own loop, which says what passes here and today,
and in each way of ours, in processes of their own. What passes there and falls here must be listed
with a reason, in docs/interpreter-suites.md; what is listed must fall.

Trade-off. Many of these tests wait by the clock. What falls on a busy machine is run again alone,
up to twice, and counts if it falls each time.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.interpreters.runner import PASSED, ROOT, Outcome, report_of, worse

PAGE = ROOT / "docs" / "interpreter-suites.md"

# The longest module takes 25 s with an idle machine, and eight times that with a busy one.
BOUND_SECONDS = 400

# How often what falls is run again.
AGAIN = 2


class Project(NamedTuple):
    """Whose suite it is, and how it is run."""

    name: str
    package: str
    child: str  # the program beside this file
    reference: str
    ways: tuple[str, ...]
    modules: tuple[str, ...]


ASYNCIO = Project(
    "asyncio",
    "test.test_asyncio",
    "loop_child.py",
    "asyncio",
    ("own", "pumped"),
    # Left out are those for Windows' loop alone, and test_futures, test_pep492, test_protocols,
    # test_selector_events and test_transports, which run no loop, or a mock of one.
    (
        *("test_base_events", "test_buffered_proto", "test_context", "test_eager_task_factory"),
        *("test_events", "test_futures2", "test_locks", "test_queues", "test_runners"),
        *("test_sendfile", "test_server", "test_sock_lowlevel", "test_ssl", "test_sslproto"),
        *("test_staggered", "test_streams", "test_subprocess", "test_taskgroups", "test_tasks"),
        *("test_threads", "test_timeouts", "test_unix_events", "test_waitfor"),
    ),
)

TWISTED = Project(
    "Twisted",
    "twisted.internet.test",
    "reactor_child.py",
    "epoll",
    ("ChannelMap", "dict"),
    (
        *("test_core", "test_fdset", "test_newtls", "test_process", "test_socket", "test_stdio"),
        *("test_tcp", "test_threads", "test_time", "test_tls", "test_udp", "test_unix"),
    ),
)

PROJECTS = {project.name.lower(): project for project in (ASYNCIO, TWISTED)}


def missing(project: Project, module: str) -> str:
    """Return why a module can't be run here; "" if it can."""
    try:
        found = importlib.util.find_spec(project.package)
    except ModuleNotFoundError:
        found = None
    if found is None or found.submodule_search_locations is None:
        return f"{project.package} is not installed"
    folders = [Path(folder) for folder in found.submodule_search_locations]
    if not any((folder / f"{module}.py").exists() for folder in folders):
        return f"{project.package} has no {module} in this version"
    return ""


# -- what is listed -----------------------------------------------------------------------------


class Listed(NamedTuple):
    """A row of the page: a pattern of test ids without the package, the versions, the reason."""

    pattern: str
    versions: str
    reason: str

    @property
    def may_pass(self) -> bool:
        """Whether the test is another one in some releases of that version ("3.12 in part")."""
        return self.versions.endswith(" in part")

    def applies(self, version: tuple[int, int]) -> bool:
        """Whether it is about a version of Python: "all", "3.12", "3.12 on", "to 3.11"."""
        if self.versions == "all":
            return True
        found = re.fullmatch(r"(?:(to) )?3\.(\d+)(?: (on)| in part)?", self.versions)
        assert found is not None, f"{self.versions!r} is no range of versions"
        to, minor, on = found.groups()
        if to:
            return version[1] <= int(minor)
        return version[1] >= int(minor) if on else version[1] == int(minor)


def listed_on(page: str, project: Project, version: tuple[int, int]) -> list[Listed]:
    """Return the rows of a project's table that are about a version of Python.

    The table is the one after the heading "What of <project>'s suite does not hold".
    """
    _, _, rest = page.partition(f"## What of {project.name}'s suite does not hold\n")
    section = rest.partition("\n## ")[0]
    rows = [
        Listed(pattern, versions.strip(), reason.strip())
        for pattern, versions, reason in re.findall(
            r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", section, re.MULTILINE
        )
    ]
    return [row for row in rows if row.applies(version)]


# -- running ------------------------------------------------------------------------------------


def run(project: Project, module: str, way: str, selectors: Iterable[str] = ()) -> Outcome:
    """Run a module in a process and a folder of its own. Raises AssertionError if it dies."""
    child = Path(__file__).with_name(project.child)
    debug = ["PYTHONASYNCIODEBUG"]
    return report_of(child, module, way, selectors, bound=BOUND_SECONDS, without=debug)


@dataclass
class Verdict:
    """What came of a module in one way.

    passed   how many tests pass with the reference
    fallen   those of them that fall here, each with what happened
    trouble  what is wrong: tests that fall and are not listed, and such as are and pass
    """

    project: Project
    module: str
    way: str
    passed: int
    fallen: dict[str, str]
    trouble: list[str]
    used: list[str]
    seconds: float


def judge(reference: Outcome, ours: Outcome, prefix: str, listed: Sequence[Listed]) -> list[str]:
    """Return what is wrong with a module's outcome: see `Verdict.trouble`."""
    fallen = worse(reference, ours)
    expected = {
        name: row
        for name in reference.outcomes
        for row in listed
        if fnmatch.fnmatchcase(name.removeprefix(prefix), row.pattern)
    }
    trouble = [
        f"{name} falls, and is not listed: {what}"
        for name, what in fallen.items()
        if name not in expected
    ]
    for name, row in expected.items():
        if ours.outcomes.get(name) in PASSED and not row.may_pass:
            trouble.append(f"{name} passes, and is listed")
    return trouble


def stale(outcomes: Iterable[Outcome], prefix: str, listed: Iterable[Listed]) -> list[str]:
    """Return the rows that name no test, though their module was run."""
    names = [name.removeprefix(prefix) for one in outcomes for name in one.outcomes]
    modules = {name.partition(".")[0] for name in names}
    return [
        f"{row.pattern} is listed, and there is no such test"
        for row in listed
        if row.pattern.partition(".")[0] in modules
        and not row.may_pass
        and not any(fnmatch.fnmatchcase(name, row.pattern) for name in names)
    ]


def verdicts(project: Project, module: str, page: str | None = None) -> Iterator[Verdict]:
    """Run a module with the reference and in each way, beside each other, and judge."""
    prefix = f"{project.package}."
    text = PAGE.read_text(encoding="utf-8") if page is None else page
    listed = listed_on(text, project, sys.version_info[:2])
    with ThreadPoolExecutor(2) as pool:
        ways = (project.reference, *project.ways)
        waiting = {way: pool.submit(run, project, module, way) for way in ways}
    reference = waiting[project.reference].result()
    no_test = stale([reference], prefix, listed)
    for way in project.ways:
        ours = waiting[way].result()
        expected = {
            name
            for name in reference.outcomes
            if any(fnmatch.fnmatchcase(name.removeprefix(prefix), row.pattern) for row in listed)
        }
        for _ in range(AGAIN):
            unlisted = worse(reference, ours).keys() - expected
            if not unlisted:
                break
            again = run(project, module, way, sorted(unlisted))
            ours.outcomes.update(again.outcomes)
            ours.details.update(again.details)
        yield Verdict(
            project,
            module,
            way,
            sum(word in PASSED for word in reference.outcomes.values()),
            worse(reference, ours),
            judge(reference, ours, prefix, listed) + no_test,
            ours.pollers,
            ours.seconds,
        )
