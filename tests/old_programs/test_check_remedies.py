"""Programs of the corpus to which the remedies that `check` names are applied, by hand.

Nothing is left then that would stop them or lose data, and each answers a real client.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from compat.old_programs import sources
from compat.old_programs.check import command
from compat.old_programs.check.findings import LOOK
from compat.old_programs.check.program import load
from tests.old_programs import talks

# What is written for what, in the order of the findings.
REMEDIES: dict[str, Sequence[tuple[str, str]]] = {
    "y2001_quote": [
        ("sys.maxint", "sys.maxsize"),
        ("self.buffer = ''", "self.buffer = b''"),
        ("string.atoi (string.strip (data))", "int (data.strip())"),
        ("raise IndexError, 'too large'", "raise IndexError ('too large')"),
        ("except (ValueError, IndexError), why", "except (ValueError, IndexError) as why"),
        ("types.StringType", "str"),
        (
            "string.zfill (len (quote), 4) + ' ' + quote + '\\r\\n'",
            "b'%04d %s\\r\\n' % (len (quote), quote.encode())",
        ),
        ("self.buffer <> ''", "self.buffer != b''"),
    ],
    "y2009_mail_counter": [
        ("email.Parser", "email.parser"),
        ("email.Utils", "email.utils"),
        ("self.counts.iteritems()", "self.counts.items()"),
        ("print '%s: %d' % (address, count)", "print('%s: %d' % (address, count))"),
        ("print 'done'", "print('done')"),
    ],
    "y2009_job_queue": [
        ("import Queue", "import queue"),
        ("Queue.Queue()", "queue.Queue()"),
        ("channel.push('%d\\n' % (number * number))", "channel.push(b'%d\\n' % (number * number))"),
        ("set_terminator('\\n')", "set_terminator(b'\\n')"),
        ("''.join", "b''.join"),
        ("except ValueError, e", "except ValueError as e"),
        ("self.push('error: %s\\n' % e)", "self.push(('error: %s\\n' % e).encode())"),
    ],
    "y2015_stats": [
        ("import cgi\n", "import html\n"),
        ("import collections\n", "import collections.abc\n"),
        ("time.clock()", "time.perf_counter()"),
        ("collections.Mapping", "collections.abc.Mapping"),
        ("cgi.escape", "html.escape"),
        ("isAlive", "is_alive"),
    ],
    "y2015_commands": [("inspect.getargspec", "inspect.getfullargspec")],
    "y2015_uploads": [
        ("data, async=False", "data, later=False"),
        ("if async else", "if later else"),
        ("data, async=len", "data, later=len"),
    ],
    "y2015_own_loop": [],
}


def remedied(name: str) -> str:
    text = (talks.CORPUS / "by_hand" / f"{name}.py").read_text(encoding="utf-8")
    for before, after in REMEDIES[name]:
        assert before in text, before
        text = text.replace(before, after)
    return text


def test_each_program_is_remedied() -> None:
    files = {path.stem for path in (talks.CORPUS / "by_hand").glob("*.py")}
    assert files == REMEDIES.keys() == talks.BY_HAND.keys()


@pytest.mark.parametrize("name", REMEDIES)
def test_after_the_remedies_it_answers(
    name: str, tmp_path: Path, certificate: tuple[Path, Path, Path]
) -> None:
    text = remedied(name)
    found = command.judge([load(sources.parse(Path("x.py"), text, "utf-8"), (3, 15))])
    assert [finding for finding in found if finding.level != LOOK] == []
    script = tmp_path / f"{name}.py"
    script.write_text(text, encoding="utf-8")
    talks.run(script, name, *certificate[1:])
