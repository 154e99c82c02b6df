"""`python -m tests.pages.page PAGE`: type the blocks of Python on a page, one after the other.

A program of its own for each page, because a page may install the old names, a reactor or
gevent's sockets. The blocks share one namespace, as lines do that a reader types. What is different
from that:

- a listener gets a free port, whatever the page says, and where it is bound;
- a loop ends after a moment, for most would serve for ever; what it had in its map is closed;
- a block with a title is a file, and another test runs it;
- `<!-- skip: next "why" -->` before a block says that it can't be run;
- `<!-- part of FILE -->` before a block says that it is shown there, not typed: it must be in FILE.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
import unittest
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

import asynccore
import compat

ROOT = Path(__file__).resolve().parents[2]
MOMENT = 0.3  # seconds; what a page shows takes a hundredth of it

PART = re.compile(r"<!-- part of (\S+) -->\n+```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SKIP = re.compile(r'<!-- skip: next "(.+)" -->\n+```python')


def parts(document: Document) -> Iterable[Region]:
    """Find what is shown from other files, in place of the parser of blocks that are typed."""
    for found in PART.finditer(document.text):
        yield Region(found.start(), found.end(), (found[1], found[2]), _is_there)


def _is_there(example: Example) -> str | None:
    """The lines of a part stand in its file in this order; a page may leave others out."""
    name, shown = example.parsed
    rest = iter((ROOT / name).read_text(encoding="utf-8").splitlines())
    for line in filter(None, map(str.strip, shown.splitlines())):
        if not any(other.strip() == line for other in rest):
            return f"{name} has no line {line!r} there"
    return None


def typed(document: Document) -> Iterable[Region]:
    """Find the blocks that are typed: those that are not parts of files."""
    shown = [(found.start(), found.end()) for found in PART.finditer(document.text)]
    for region in PythonCodeBlockParser()(document):
        if not any(start <= region.start < end for start, end in shown):
            yield region


def bound_the_loop() -> None:
    """Have each loop end after a moment, and each listener take a free port."""
    real_loop, real_bind = asynccore.loop, asynccore.dispatcher.bind

    def loop(*args: Any, **kwargs: Any) -> None:
        map = kwargs.get("map") or (args[2] if len(args) > 2 else None)
        timer = asynccore.call_later(MOMENT, asynccore.stop, map=map)
        try:
            real_loop(*args, **kwargs)
        finally:
            timer.cancel()
            asynccore.close_all(map, ignore_all=True)

    def bind(self: Any, addr: Any) -> None:
        real_bind(self, (addr[0], 0) if isinstance(addr, tuple) else addr)

    def install_reactor(*args: Any) -> Any:
        reactor = real_install(*args)
        real_listen = reactor.listenTCP
        reactor.listenTCP = lambda port, *args, **kwargs: real_listen(0, *args, **kwargs)
        return reactor

    asynccore.loop = loop
    asynccore.dispatcher.bind = bind  # type: ignore[method-assign]
    if importlib.util.find_spec("twisted.internet"):
        real_install = compat.install_reactor
        compat.install_reactor = install_reactor


def main(name: str) -> None:
    compat.install()
    bound_the_loop()
    path = ROOT / "docs" / name
    document = Sybil(parsers=[parts, typed, SkipParser()]).parse(path)
    document.namespace["__name__"] = "page"
    tried = 0
    for example in document.examples():
        with contextlib.suppress(unittest.SkipTest):
            example.evaluate()
        tried += 1
    # What would run at the end of the process belongs to nobody any more.
    asynccore.close_all(ignore_all=True)
    print(f"{tried} tried")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
