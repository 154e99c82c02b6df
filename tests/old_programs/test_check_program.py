"""What a program is ready for is no finding, and what is found stands where it is said to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compat.old_programs import sources
from compat.old_programs.check import command, removal
from compat.old_programs.check.program import Version, load
from tests.old_programs.make_removed_names import still_there


def findings(text: str, target: Version = (3, 13)) -> list[str]:
    source = sources.parse(Path("x.py"), text, "utf-8")
    found = command.judge([load(source, target)])
    return [f"{f.line}:{f.column} {f.code}" for f in found if not f.code.startswith("AC3")]


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import Queue\nexcept ImportError:\n    import queue as Queue\n",
        "try:\n    import queue\nexcept ImportError:\n    import Queue as queue\n",
        "try:\n    from collections import Mapping\nexcept:\n    Mapping = dict\n",
        "import sys\nif sys.version_info[0] < 3:\n    import Queue\n",
        "import sys\nif sys.version_info >= (3,):\n    import queue\nelse:\n    import Queue\n",
        "import sys\nif sys.version_info.major == 2:\n    import Queue\n",
        "import sys\nif sys.version_info[:2] < (2, 7):\n    import Queue\n",
        "import sys\nif sys.version < '3':\n    import Queue\n",
        "import sys\nif sys.version[0] == '2':\n    import Queue\n",
        "import sys\nif sys.hexversion < 0x3000000:\n    import Queue\n",
        "import sys\nPY2 = sys.version_info[0] == 2\nif PY2:\n    import Queue\n",
        "import six\nif not six.PY3:\n    import Queue\n",
        "import six\nx = unicode if six.PY2 and 1 else str\n",
        "import six\nif six.PY3 or x:\n    pass\nelse:\n    raw_input()\n",
        "if str is bytes:\n    raw_input()\n",
        "try:\n    unicode\nexcept NameError:\n    unicode = str\nx = unicode(1)\n",
        "try:\n    x = long(1)\nexcept NameError:\n    x = 1\n",
        "def f(file, long=1):\n    return file, long\n",
        "def f(buffer):\n    return lambda: buffer\n",
        "from six.moves import xrange\nfor i in xrange(3):\n    pass\n",
        "import ssl\nif hasattr(ssl, 'wrap_socket'):\n    ssl.wrap_socket(1)\n",
        "import ssl\ntry:\n    ssl.wrap_socket(1)\nexcept AttributeError:\n    pass\n",
        "class A:\n    def has_key(self, key): pass\nA().has_key(1)\n",
        "import mailbox\nbox.iteritems()\n",
        "thing.isAlive()\n",  # of nobody knows what
        "try:\n    from StringIO import StringIO\nexcept ImportError:\n"
        "    from io import BytesIO as StringIO\nimport socket\n"
        "def f(sock):\n    StringIO().write(sock.recv(1))\n",
        "for key in message.keys():\n    del message[key]\n",
        "d = {}\nfor key in d.keys():\n    del d[key]\n    break\n",
        "names = list(d.keys())\nnames.sort()\n",
        "x = range(3)[1]\n",
        "'abc'.encode('utf-8')\n",
        "import codecs\ncodecs.encode(b'x', 'hex')\n",
        "import asyncore, asynchat, smtpd\n",
    ],
)
def test_what_a_program_is_ready_for(text: str) -> None:
    assert findings(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("try:\n    import cStringIO\nexcept ImportError:\n    import StringIO\n", ["4:5 AC140"]),
        ("try:\n    import Queue\nexcept ValueError:\n    pass\n", ["2:5 AC140"]),
        ("import sys\nif sys.version_info < (4,):\n    import Queue\n", ["3:5 AC140"]),
        ("import sys\nif sys.platform == 'x':\n    import Queue\n", ["3:5 AC140"]),
        ("import Queue as q, email.MIMEText\n", ["1:1 AC140", "1:1 AC140"]),
        ("from email.Utils import formatdate\n", ["1:1 AC140"]),
        ("from collections import Mapping\n", ["1:1 AC141"]),
        ("import collections as c\nx = c.Mapping\n", ["2:5 AC141"]),
        ("def f():\n    raw_input()\n", ["2:5 AC130"]),
        ("print >>f, 'x'\n", ["1:1 AC110"]),
        ("raise 'x'\n", ["1:1 AC112"]),
        ("d = {}\nd.has_key(1)\nclass A:\n    pass\n", ["2:1 AC131"]),
        ("import threading\nt.isAlive()\n", ["2:1 AC142"]),
        ("x = f.func_name\n", ["1:5 AC142"]),
        ("x = 'ä'; y = raw_input()\n", ["1:14 AC130"]),
        ("print 'ä', raw_input()\n", ["1:1 AC110", "1:12 AC130"]),
        ("x = map(f, y)[0]\n", ["1:5 AC132"]),
        ("it.next()\nprint 1\n", ["1:1 AC131", "2:1 AC110"]),
        ("x = d.items() + []\n", ["1:5 AC132"]),
        ("d = dict()\nfor k in d.keys():\n    d.pop(k)\n", ["2:10 AC133"]),
    ],
)
def test_what_it_is_not_ready_for(text: str, found: list[str]) -> None:
    assert findings(text) == found


def test_the_version_decides() -> None:
    text = "import imp, telnetlib\nfrom inspect import getargspec\nx = async_\n"
    assert findings(text, (3, 10)) == []
    assert findings(text, (3, 11)) == ["2:1 AC141"]
    assert findings(text, (3, 12)) == ["1:1 AC140", "2:1 AC141"]
    assert findings(text, (3, 13)) == ["1:1 AC140", "1:1 AC140", "2:1 AC141"]


def test_classes_are_known_across_files() -> None:
    base = sources.parse(
        Path("base.py"), "import asynchat\nclass Base(asynchat.async_chat): pass\n", "utf-8"
    )
    user = sources.parse(
        Path("user.py"),
        "import asynchat\nfrom base import Base\nclass User(Base):\n"
        "    def found_terminator(self):\n        self.push('x')\n",
        "utf-8",
    )
    found = command.judge([load(source, (3, 13)) for source in (base, user)])
    assert [(f.path.name, f.line) for f in found if f.code == "AC201"] == [("user.py", 5)]


# The data ---------------------------------------------------------------------------------------

RUNNING = sys.version_info[:2]


def test_what_is_said_to_be_removed_is_not_here() -> None:
    """In this interpreter, without the packages that bring something back."""
    modules = {name for name, since in removal._table("MODULES").items() if since <= RUNNING}
    asked: dict[str, list[str]] = {name: [] for name in modules}
    for name, since in removal._table("NAMES").items():
        module, _, last = name.rpartition(".")
        if since <= RUNNING and module not in modules:
            asked.setdefault(module, []).append(last)
    there = still_there(sys.executable, asked)
    assert modules & there.keys() == set()
    assert {module: names for module, names in there.items() if names} == {}


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("imp", (3, 12)), ("telnetlib", (3, 13)), ("nntplib", (3, 13)), ("cgi", (3, 13)),
        ("pipes", (3, 13)), ("crypt", (3, 13)), ("distutils", (3, 12)), ("binhex", (3, 11)),
        ("formatter", (3, 10)), ("urllib2", (3, 0)), ("Queue", (3, 0)), ("sets", (3, 0)),
    ],
)  # fmt: skip
def test_modules_that_are_known_to_be_gone(name: str, version: Version) -> None:
    assert removal.module(name, version) == version
    assert removal.module(name, (version[0], version[1] - 1)) is None
    assert removal.remedy(name) or name in ("binhex", "formatter")


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("collections.Mapping", (3, 10)), ("asyncio.coroutine", (3, 11)),
        ("ssl.wrap_socket", (3, 12)), ("ssl.match_hostname", (3, 12)), ("time.clock", (3, 8)),
        ("base64.encodestring", (3, 9)), ("inspect.getargspec", (3, 11)),
        ("string.letters", (3, 0)), ("configparser.SafeConfigParser", (3, 12)),
    ],
)  # fmt: skip
def test_names_that_are_known_to_be_gone(name: str, version: Version) -> None:
    assert removal.name(name, version) == version
    assert removal.name(name, (version[0], version[1] - 1)) is None
    assert removal.remedy(name)


def test_every_remedy_is_of_something_that_is_gone() -> None:
    newest = (3, 15)
    known = {
        *removal._table("MODULES"), *removal._table("NAMES"), *removal._table("METHODS"),
    }  # fmt: skip
    assert {*removal._INSTEAD, *removal._BACK} - known == set()
    assert removal.method("isAlive", newest) == ("threading.Thread.isAlive", (3, 9))
