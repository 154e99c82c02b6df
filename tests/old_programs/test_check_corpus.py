"""`asynccore check` on the programs of the corpus: what it finds, and what of it is right.

The tables were made by reading the programs. A line that begins with "wrong" holds what is found
and should not be, one with "missed" what should be and is not.
"""

from __future__ import annotations

from collections import Counter

import pytest

from compat.old_programs.check import command
from tests.old_programs.talks import CORPUS

TARGET = (3, 13)
PROGRAMS = {path.stem: path for path in CORPUS.rglob("*.py")}

EXPECTED = {
    "y2001_quote": """
        AC111 23
        AC112 21
        AC115 29
        AC141 6 19 19 25 26
        AC201 32
        AC307 8
        AC309 48
    """,
    "y2009_job_queue": """
        AC111 31
        AC140 4
        AC201 15 21 32
        AC203 28
        AC302 15
        AC306 24
        AC307 18
        AC309 44
    """,
    "y2009_mail_counter": """
        AC110 20 28
        AC131 19
        AC140 6 7
        AC204 15
        AC307 10
    """,
    "y2015_commands": """
        AC141 35
        AC306 26
        AC307 20
    """,
    "y2015_own_loop": """
        AC307 10
        AC308 35
    """,
    "y2015_stats": """
        AC140 5
        AC141 15 35 37
        AC142 38
        AC306 30
        AC307 23
    """,
    "y2015_uploads": """
        AC121 9 11 31
        AC306 22
        AC307 14
    """,
    "datagrams_py2": """
        AC141 10
        AC307 3
    """,
    "producers_py2": """
        AC140 2
        AC201 11 16 25 27 38
        AC306 19
        AC307 13
        AC309 37
    """,
    "records_py2": """
        AC115 24
        AC140 2 2
        AC141 3
        AC202 33
        AC203 19
        AC206 28
        AC307 5
    """,
    "ticker_py2": """
        AC201 12 38
        AC307 7
        AC308 43
    """,
    "waiting_tls_py2": """
        AC111 15
        AC141 8
        AC301 13
        AC307 5
        AC309 33
    """,
    "y2001_chat": """
        AC110 51 61
        AC131 31 38
        AC132 29
        AC141 19 26 30
        AC201 10 13 30 35
        AC202 27 31
        AC203 19
        AC205 35 35
        AC206 23
        AC306 15
        AC307 5
        AC309 54
    """,
    "y2001_echo": """
        AC110 26
        AC114 26
        AC115 15
        AC141 42
        AC202 15
        AC206 11
        AC307 8
        AC309 38
    """,
    "y2001_finger": """
        missed AC202 9
        AC111 25
        AC112 10
        AC116 5 5
        AC130 40
        AC131 9
        AC141 24
        AC201 16 26 28
        AC206 17
        AC306 19
        AC307 13
    """,
    "y2001_httpd": """
        AC111 53
        AC114 16 35
        AC115 26
        AC117 37 41
        AC131 28
        AC140 2
        AC141 22 24 25
        AC201 13 34 35
        AC206 19
        AC306 18
        AC307 7
        AC309 52
    """,
    "y2001_mail_sink": """
        AC110 10 11
        AC140 3 3
        AC141 10
        AC204 7
        AC307 5
    """,
    "y2001_monitor": """
        AC110 28 33
        AC113 30
        AC114 28
        AC116 10
        AC140 2
        AC201 8 11 36
        AC202 18 20
        AC206 9 17
        AC306 13
        AC307 5
        AC309 47
    """,
    "y2001_news_client": """
        AC110 24 28
        AC201 10 13
        AC202 23
        AC205 28
        AC206 9 22
        AC306 18
        AC307 4
    """,
    "y2001_web_client": """
        AC110 29
        AC119 5
        AC201 23
        AC202 28
        AC205 29
        AC206 8
        AC307 4
    """,
    "y2009_bot": """
        missed AC206 36
        missed AC202 39
        AC110 32
        AC114 32
        AC201 14 18
        AC202 27
        AC206 13 25 30
        AC306 20
        AC307 9
        AC309 59
    """,
    "y2009_digest": """
        AC110 24
        AC119 11
        AC131 23
        AC140 3
        AC201 20
        AC307 8
    """,
    "y2009_line_server": """
        AC110 82
        AC111 36 38
        AC112 49
        AC130 45
        AC131 48 52
        AC201 26 35 37 39
        AC202 42 43 44 47 51 53
        AC203 32
        AC306 28
    """,
    "y2009_memcache": """
        AC131 35
        AC201 15 26 27 37 38 40
        AC202 32 35
        AC203 21
        AC205 37
        AC306 17
        AC307 8
        AC309 52
    """,
    "y2009_numbers": """
        AC110 42
        AC201 26
        AC203 20 25
        AC307 9
        AC309 41
    """,
    "y2009_secure_echo": """
        AC111 27
        AC141 14
        AC301 26
        AC304 18
        AC307 11
        AC309 53
    """,
    "y2015_careful": """
    """,
    "y2015_line_json": """
        AC201 13 28
        AC203 20
        AC306 16
        AC307 10
    """,
    "y2015_mail_json": """
        AC204 11
        AC307 10
    """,
    "y2015_tls_echo": """
        AC141 36
        AC306 15
        AC307 9
    """,
    "rooms_py3": """
        AC306 23 50
        AC307 8
    """,
}  # fmt: skip


def table(name: str, marks: tuple[str, ...] = ("", "wrong")) -> Counter[tuple[str, int]]:
    """Return how often each code is expected in each line."""
    found: Counter[tuple[str, int]] = Counter()
    for line in EXPECTED[name].split("\n"):
        words = line.split()
        mark = words.pop(0) if words and words[0] in ("wrong", "missed") else ""
        if words and mark in marks:
            found.update((words[0], int(number)) for number in words[1:])
    return found


def test_every_table_has_a_program() -> None:
    assert EXPECTED.keys() <= PROGRAMS.keys()
    assert len(EXPECTED) >= 30


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_found(name: str) -> None:
    found = Counter(
        (finding.code, finding.line) for finding in command.check(PROGRAMS[name], TARGET)
    )
    assert found == table(name)


def test_false_alarms_are_rare() -> None:
    """At most one in twenty findings."""
    wrong = sum(table(name, ("wrong",)).total() for name in EXPECTED)
    assert wrong * 20 <= sum(table(name).total() for name in EXPECTED)
