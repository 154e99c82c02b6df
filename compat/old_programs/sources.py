"""The files of a program: found, decoded, and parsed as Python 3, or else as Python 2.

*Facts.* Programs of twenty years lie in folders with links that lead back up, in encodings that
nobody wrote down, with tabs, and in two languages of one name. Python reads the one of them that
it is; `ast` alone tells exactly what the running Python accepts, and nothing but a grammar of
Python 2 tells whether the rest was once a program. `fissix`, the kept copy of `lib2to3`, has one.
*Consequence.* A file is Python 3 if `ast` reads it, Python 2 if only `fissix` does, and neither
otherwise; what stands in the way is kept with it. Whatever can't be read is one line, and the
rest goes on.
*Trade-off.* What both read counts as Python 3, though it may have been written for Python 2; and
`fissix` is looked for only when there is something that Python 3 does not read.
"""

from __future__ import annotations

import ast
import io
import os
import stat
import sys
import tokenize
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# Folders that hold no part of a program: what tools keep, and other people's packages.
_LEFT_OUT = {"__pycache__", "node_modules", "__pypackages__"}
_SUFFIXES = (".py", ".pyw")

# What `pip install` is given for the packages that read and write other people's programs.
EXTRA = "asynccore[port]"

# What `from … import *` brings, as far as anything asks for it.
STARRED = {
    "asyncore": ("dispatcher", "dispatcher_with_send", "loop", "poll", "socket_map", "ExitNow"),
    "asynchat": ("async_chat", "simple_producer"),
    "smtpd": ("SMTPServer", "SMTPChannel", "DebuggingServer", "PureProxy"),
}


class Unreadable(Exception):
    """A file or folder that can't be read; the text says why."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class NeedsExtra(ImportError):
    """A package of the extra `port` is missing; the text says what to install."""

    def __init__(self, package: str, what_for: str) -> None:
        super().__init__(f"{what_for} needs the package {package}: pip install '{EXTRA}'")


@dataclass
class Found:
    """The files below some paths, in order, and what could not be looked into."""

    files: list[Path] = field(default_factory=list)
    problems: list[Unreadable] = field(default_factory=list)


def find(paths: Iterable[str | os.PathLike[str]]) -> Found:
    """Return the Python files that paths name, and those in the folders they name.

    A file that is named is taken whatever it is called. In folders, those with a suffix of
    Python's are, and those whose first line starts a Python. Hidden folders, virtual environments
    and caches are left out. Each file comes once, by whichever links it is reached.
    """
    found = Found()
    seen: set[tuple[int, int]] = set()
    for path in map(Path, paths):
        try:
            status = path.stat()
        except (OSError, ValueError) as why:
            found.problems.append(Unreadable(path, _reason(why)))
            continue
        if stat.S_ISDIR(status.st_mode):
            _search(path, seen, found)
        elif not stat.S_ISREG(status.st_mode):
            found.problems.append(Unreadable(path, "is neither a file nor a folder"))
        elif _is_new(status, seen):
            found.files.append(path)
    return found


def _is_new(status: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    known = (status.st_dev, status.st_ino)
    if known in seen:
        return False
    seen.add(known)
    return True


def _search(top: Path, seen: set[tuple[int, int]], found: Found) -> None:
    folders = [top]
    while folders:
        folder = folders.pop()
        inner = []
        try:
            if not _is_new(folder.stat(), seen):
                continue
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            # What `venv` and virtualenv leave: packages of others.
            if any(entry.name == "pyvenv.cfg" for entry in entries):
                continue
            for entry in entries:
                path = folder / entry.name
                if entry.name.startswith(".") or entry.name in _LEFT_OUT:
                    continue
                try:
                    status = entry.stat()
                except OSError as why:
                    # A link that leads nowhere matters only where a program was expected.
                    if entry.name.endswith(_SUFFIXES):
                        found.problems.append(Unreadable(path, _reason(why)))
                    continue
                if stat.S_ISDIR(status.st_mode):
                    inner.append(path)
                elif (
                    stat.S_ISREG(status.st_mode)
                    and (entry.name.endswith(_SUFFIXES) or _is_script(path))
                    and _is_new(status, seen)
                ):
                    found.files.append(path)
        except OSError as why:
            found.problems.append(Unreadable(folder, _reason(why)))
        folders += reversed(inner)


def _is_script(path: Path) -> bool:
    if path.suffix:
        return False
    try:
        with open(path, "rb") as file:
            first = file.readline(200)
    except OSError:
        return False
    return first.startswith(b"#!") and b"python" in first


def _reason(why: Exception) -> str:
    return getattr(why, "strerror", None) or str(why)


@dataclass(frozen=True)
class Source:
    """One file, and what it was read as."""

    path: Path
    text: str  # with the line ends of the file
    encoding: str  # what gives the file's bytes again
    python: int  # 3 or 2; 0 for what is neither, or can't be told without the extra
    tree: ast.Module | None = None  # of Python 3
    tree2: Any = None  # of Python 2: a `fissix.pytree.Node`, whose lines end in "\n"
    problem: SyntaxError | None = None  # why this Python does not compile it
    encoding_problem: bool = False  # that is the reason
    missing: NeedsExtra | None = None  # what would tell whether it is Python 2


def with_plain_ends(text: str) -> str:
    r"""Return a text whose lines end in "\n"."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read(path: Path) -> Source:
    """Return a file, parsed. Raises `Unreadable` if it can't be opened or is no text."""
    try:
        data = path.read_bytes()
    except OSError as why:
        raise Unreadable(path, _reason(why)) from None
    if b"\0" in data:
        raise Unreadable(path, "is no text: it contains null bytes")
    text, encoding, problem = _decode(data)
    return parse(path, text, encoding, problem)


def _decode(data: bytes) -> tuple[str, str, SyntaxError | None]:
    """Return the text, its encoding, and why Python 3 does not decode it.

    What no declaration fits is read as Latin-1, in which every byte is a character: names and
    structure are what counts, and the bytes can be had again.
    """
    encoding = "utf-8"
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding), encoding, None
    except SyntaxError as why:
        # It looks at the first two lines, and does not say where in them the trouble is.
        words, at = why.msg, 0
    except LookupError as why:  # a codec from bytes to bytes, as hex
        return data.decode("latin-1"), "latin-1", _problem(str(why), data, 0)
    except UnicodeDecodeError:
        words, at = "", 0
    try:
        data.decode(encoding)
    except UnicodeDecodeError as why:
        at = why.start
        words = f"a byte that is not {encoding}: {data[at]:#x}"
    return data.decode("latin-1"), "latin-1", _problem(words, data, at)


def _problem(words: str, data: bytes, at: int) -> SyntaxError:
    line = data.count(b"\n", 0, at) + 1
    column = at - (data.rfind(b"\n", 0, at) + 1) + 1
    return SyntaxError(words, (None, line, column, None))


def parse(path: Path, text: str, encoding: str, problem: SyntaxError | None = None) -> Source:
    """Return a text, parsed; `problem` is what was wrong with its encoding."""
    bad = problem is not None
    try:
        tree = _parse3(text)
        return Source(path, text, encoding, 3, tree=tree, problem=problem, encoding_problem=bad)
    except SyntaxError as why:
        problem = problem or why
    source = Source(path, text, encoding, 0, problem=problem, encoding_problem=bad)
    try:
        return replace(source, python=2, tree2=parse2(text))
    except NeedsExtra as why:
        return replace(source, missing=why)
    except SyntaxError:
        return source  # It is neither; what Python 3 says is of more use.


def _parse3(text: str) -> ast.Module:
    with warnings.catch_warnings():
        # The parser has opinions on escapes, which are no concern of the caller.
        warnings.simplefilter("ignore")
        # Bytes are decoded already, so the coding line counts no more.
        try:
            tree = ast.parse(text.removeprefix("\ufeff"))
        except (RecursionError, MemoryError) as why:
            raise SyntaxError("nested too deeply for the parser") from why
        except ValueError as why:  # what it says of a lone surrogate
            raise SyntaxError(str(why)) from why
    _forbid_commas(tree)
    return tree


def _forbid_commas(tree: ast.Module) -> None:
    """Raise SyntaxError for `except X, name:`, which Python 3.14 reads as two exceptions."""
    if sys.version_info < (3, 14):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Tuple):
            first, last = node.type.elts[0], node.type.elts[-1]
            # The place of a tuple in brackets is that of the bracket.
            bare = (first.lineno, first.col_offset) == (node.type.lineno, node.type.col_offset)
            # Exceptions have names with capitals; what is assigned to has none, or is a tuple.
            name = last.attr if isinstance(last, ast.Attribute) else getattr(last, "id", "")
            if bare and (name.islower() or isinstance(last, ast.Tuple)):
                words = "multiple exception types must be parenthesized"
                raise SyntaxError(words, (None, node.lineno, node.col_offset + 1, None))


def parse2(text: str) -> Any:
    """Return the concrete tree of a Python 2 text, a `fissix.pytree.Node`.

    Raises `SyntaxError` if it is no Python 2, `NeedsExtra` where fissix is not installed.
    """
    try:
        from fissix import pygram, pytree
        from fissix.pgen2 import driver, parse, tokenize
    except ImportError as why:
        raise NeedsExtra("fissix", "reading Python 2") from why
    except OSError as why:
        # It keeps a folder with grammars in the user's home.
        raise NeedsExtra(f"fissix, which could not be loaded ({why})", "reading Python 2") from why
    plain = with_plain_ends(text).removeprefix("\ufeff")
    if not plain.endswith("\n"):
        plain += "\n"
    problem = SyntaxError("is no Python 2")
    # `from __future__ import print_function` makes it a name, and so does a program for both.
    for grammar in (pygram.python_grammar, pygram.python_grammar_no_print_statement):
        try:
            return driver.Driver(grammar, convert=pytree.convert).parse_string(plain)
        except (parse.ParseError, tokenize.TokenError, RecursionError) as why:
            problem = SyntaxError(str(why))
        except SyntaxError as why:
            problem = why
    raise problem
