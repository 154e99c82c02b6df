"""The page that says which test holds which behaviour names tests that exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.corners.support import ROOT

PAGE = ROOT / "docs" / "legacy-corners.md"
NAMED = re.compile(r"`([\w/]+\.py)((?:::\w+)+)`")


def rows() -> list[str]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [
        line
        for line, after in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith("| ") and not line.startswith("| ---") and not after.startswith("| ---")
    ]


def names_in(body: list[ast.stmt], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.ClassDef):
            found |= names_in(node.body, f"{prefix}::{node.name}")
        elif isinstance(node, ast.FunctionDef):
            found.add(f"{prefix}::{node.name}")
    return found


def test_every_row_names_its_tests() -> None:
    assert len(rows()) > 40
    silent = [row for row in rows() if not NAMED.search(row)]
    assert silent == []


def test_every_test_that_is_named_exists() -> None:
    named: dict[str, set[str]] = {}
    for path, name in NAMED.findall(PAGE.read_text(encoding="utf-8")):
        named.setdefault(path, set()).add(name)
    missing: list[str] = []
    for path, names in named.items():
        file = ROOT / "tests" / path
        present = (
            names_in(ast.parse(file.read_text(encoding="utf-8")).body) if file.exists() else ()
        )
        missing += [path + name for name in sorted(names.difference(present))]
    assert missing == []


@pytest.mark.parametrize("code", ["class A:\n  def test_b(self): pass", "def test_c(): pass"])
def test_tests_are_found_in_classes_and_outside(code: str) -> None:
    assert names_in(ast.parse(code).body) in ({"::A::test_b"}, {"::test_c"})
