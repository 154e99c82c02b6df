"""Every block of Python in docs/ is run, or says why it can't be: see page.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages.page import PART, SKIP
from tests.project.checkout import ROOT
from tests.project.test_site import pages
from tests.tls.test_page import write_files_of_the_page

BLOCK = re.compile(r"^```python\b(.*)$", re.MULTILINE)
FILES = {"tutorial.md", "start.md"}  # whose blocks are files, which test_tutorial.py runs


def read(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


# A page says it once for all of its blocks, where they are samples that a test of its own reads.
SAMPLES = re.compile(r'^<!-- blocks: ".+" -->$', re.MULTILINE)
TYPED = [
    page
    for page in sorted(pages())
    if BLOCK.search(read(page)) and page not in FILES and not SAMPLES.search(read(page))
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader stands: the files that the pages read are there."""
    write_files_of_the_page(tmp_path)
    (tmp_path / "report.pdf").write_bytes(b"%PDF")
    return tmp_path


@pytest.mark.parametrize("page", TYPED)
def test_the_blocks_of_a_page_run(page: str, folder: Path) -> None:
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.pages.page", page],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": python_path, "KEY_PASSWORD": "secret"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    tried = int(done.stdout.splitlines()[-1].removesuffix(" tried"))
    text = read(page)
    # Each block is an example, and so is each word about one.
    assert tried == len(BLOCK.findall(text)) + len(SKIP.findall(text))
    assert "Traceback" not in done.stdout, done.stdout


@pytest.mark.parametrize("page", sorted(pages()))
def test_a_block_is_a_fence_that_names_its_language(page: str) -> None:
    """What is only indented would be run by nobody."""
    inside, before = False, ""
    for line in read(page).splitlines():
        if re.match(r"\s*```", line):
            inside = not inside
            assert not inside or line.strip() != "```" or page == "architecture.md", line
        elif not inside and not before:
            assert not re.match(r" {4}(?![-*\d ])\S", line), line
        before = line


@pytest.mark.parametrize("page", sorted(pages()))
def test_only_the_pages_of_files_have_titles(page: str) -> None:
    titles = [rest for rest in BLOCK.findall(read(page)) if rest]
    assert not titles or page in FILES


def test_some_blocks_are_parts_and_some_are_not_run() -> None:
    samples = [page for page in pages() if SAMPLES.search(read(page))]
    assert samples == ["check.md"]  # tests/old_programs/test_check_page.py
    together = "\n".join(map(read, TYPED))
    assert len(PART.findall(together)) > 10
    assert 0 < len(SKIP.findall(together)) < 10
