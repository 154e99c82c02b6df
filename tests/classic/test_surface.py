"""Every name of the classic modules is there, and is called in the same way.

Ours may add keyword-only parameters that have defaults, and annotations; nothing else.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from types import ModuleType
from typing import Any

import pytest

from tests.classic import table
from tests.classic.surface import entries, shape, star_names, without_new_keywords
from tests.classic.surface import lines as lines_of
from tests.differential.reference import CLASSIC

OURS = {"asyncore": "asynccore", "asynchat": "asynccore.asynchat", "smtpd": "asynccore.smtpd"}
# The classic ones raise TypeError with the options that their own server hands them.
TAKES_OPTIONS_TOO = {"PureProxy.process_message", "MailmanProxy.process_message"}

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
modules = pytest.mark.parametrize("name", OURS)
in_the_library = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="3.12 removed the modules from the standard library"
)


def standard(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(name)


def split(line: str) -> tuple[str, str]:
    if "(" in line:
        name, _, rest = line.partition("(")
        return name, "(" + rest
    name, _, what = line.partition(": ")
    return name, what


def lookup(module: ModuleType, name: str) -> Any:
    item: Any = module
    for part in name.split("."):
        item = inspect.getattr_static(item, part) if inspect.isclass(item) else getattr(item, part)
    return item


def problems(module: ModuleType, surface: dict[str, str]) -> list[str]:
    """Compare a module with the surface that it must have."""
    found = []
    for name, what in sorted(surface.items()):
        try:
            item = lookup(module, name)
        except AttributeError:
            if not instance_attribute(module, name):
                found.append(f"{name} is missing")
            continue
        if what.startswith("("):
            if name in TAKES_OPTIONS_TOO:
                what = what.replace(")", ", **kwargs)")
            if not callable(item):
                found.append(f"{name} can't be called")
            elif shape(item) != what and shape(without_new_keywords(item)) != what:
                found.append(f"{name}{shape(item)} was {what}")
        elif what == "class" and not inspect.isclass(item):
            found.append(f"{name} is no class")
        elif what == "property" and not isinstance(item, property):
            found.append(f"{name} is no property")
    return found


def instance_attribute(module: ModuleType, name: str) -> bool:
    """Whether a dunder that the class itself lacks is inherited by its instances anyway."""
    return name.endswith(("__del__", "__repr__")) and name.rpartition(".")[0] in dir(module)


@in_the_library
@modules
def test_the_table_is_right(name: str) -> None:
    module = standard(name)
    assert set(lines_of(module)) == table.lines(table.SURFACE[name], VERSION)
    assert star_names(name) == table.lines(table.STAR[name], VERSION)


@modules
def test_like_the_table(name: str) -> None:
    surface = dict(map(split, table.lines(table.SURFACE[name])))
    assert problems(importlib.import_module(OURS[name]), surface) == []


@in_the_library
@modules
def test_like_the_standard_library(name: str) -> None:
    module = standard(name)
    mine = importlib.import_module(OURS[name])
    # The registry comes with the first warning that the module gives.
    assert set(dir(module)) - {"__warningregistry__"} <= set(dir(mine))
    assert problems(mine, entries(module)) == []


@pytest.mark.parametrize("name", ["asyncore", "asynchat"])
def test_like_the_distributions(name: str) -> None:
    module = getattr(CLASSIC, name)
    mine = importlib.import_module(OURS[name])
    packaging = {"__path__"}  # they are packages, where the library had modules
    assert set(dir(module)) - packaging <= set(dir(mine))
    assert problems(mine, entries(module)) == []


@modules
def test_import_star(name: str) -> None:
    """Programs use what it gives, modules included, and count on nothing else being replaced."""
    versions = [table.lines(table.STAR[name], version) for version in ("3.10", "3.11")]
    expected, either = versions[0] & versions[1], versions[0] | versions[1]
    if name == "asynchat":
        either.add("fifo")  # from the days of `from asynchat import *`: Python 2.0 to 3.6
    given = star_names(OURS[name])
    assert expected - given == set(), "not given"
    assert given - either == set(), "replaces names of the program"


@modules
def test_inheritance(name: str) -> None:
    module = importlib.import_module(OURS[name])
    if name == "asynchat":
        assert issubclass(module.async_chat, importlib.import_module("asynccore").dispatcher)
    elif name == "smtpd":
        chat = importlib.import_module("asynccore.asynchat").async_chat
        assert issubclass(module.SMTPChannel, chat)
        assert issubclass(module.PureProxy, module.SMTPServer)
    else:
        assert issubclass(module.dispatcher_with_send, module.dispatcher)


def test_the_comparison_finds_differences() -> None:
    module = ModuleType("other")
    exec("def poll(timeout=1.0, map=None): ...\ndef loop(a, *, b=1): ...", module.__dict__)
    surface = {"poll": "(timeout=0.0, map=None)", "loop": "(a)", "gone": "name"}
    assert problems(module, surface) == [
        "gone is missing",
        "poll(timeout=1.0, map=None) was (timeout=0.0, map=None)",
    ]
