"""No public name is without a test: each is at least mentioned by one."""

from __future__ import annotations

import inspect
import re
from types import ModuleType

import pytest

import asynccore
import asynccore.testing
import compat
from asynccore import asynchat, hardened_smtpd, smtpd
from tests.project.checkout import ROOT

MODULES = [asynccore, asynchat, smtpd, hardened_smtpd, asynccore.testing, compat]


def mentioned() -> set[str]:
    words: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        if path.name != "test_public_names.py":
            words.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return words


def public_names(module: ModuleType) -> list[str]:
    """The names that are defined in our packages, and the methods of the classes among them."""
    found = []
    for name, thing in vars(module).items():
        home = getattr(thing, "__module__", None) or ""
        if name.startswith("_") or home.partition(".")[0] not in ("asynccore", "compat"):
            continue
        found.append(name)
        if inspect.isclass(thing):
            found += [method for method in vars(thing) if not method.startswith("_")]
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_tested(module: ModuleType) -> None:
    names = public_names(module)
    assert len(names) > 1
    words = mentioned()
    assert [name for name in names if name not in words] == []
