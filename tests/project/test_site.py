"""The site in docs/: no page, public name or link is missing. `tox -e docs` builds it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.project.checkout import ROOT, project_files
from tests.project.test_public_paths import NAMES
from tests.project.test_repository import settings

DOCS = ROOT / "docs"
MADE = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}  # by site_hooks.py
MADE_FROM_CODE = {"reference/command.md"}

# Public by a second path, and written down under the first.
SECOND_PATHS = {"ssl_ext.errors", "ssl_ext.peer", "asynccore.channels", "compat.twisted_transports"}


def pages() -> dict[str, Path]:
    """The pages in docs/, by their paths there."""
    return {
        path.relative_to(DOCS).as_posix(): path
        for path in project_files()
        if path.suffix == ".md" and path.is_relative_to(DOCS)
    }


def configuration() -> str:
    return (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def address() -> str:
    (found,) = re.findall(r"^site_url: (\S+)$", configuration(), re.MULTILINE)
    return found


def test_every_page_can_be_reached_from_the_navigation() -> None:
    _, _, navigation = configuration().partition("\nnav:\n")
    named = re.findall(r"([\w/-]+\.md)$", navigation, re.MULTILINE)
    assert len(named) == len(set(named))
    hidden = set(pages()) - set(named)
    assert not hidden, f"write a line for each in nav: of mkdocs.yml: {sorted(hidden)}"
    assert set(named) - set(pages()) == set(MADE) | MADE_FROM_CODE


# The reference -------------------------------------------------------------------------------


@cache
def documented() -> set[str]:
    found: set[str] = set()
    for name, path in pages().items():
        if name.startswith("reference/"):
            text = path.read_text(encoding="utf-8")
            found.update(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
            found.update(re.findall(r"\{ #(\S+) ", text))
    return found


def public_names() -> list[str]:
    found = []
    for path, names in NAMES.items():
        for name in sorted(names):
            if path not in SECOND_PATHS or not any(
                name in others for other, others in NAMES.items() if other not in SECOND_PATHS
            ):
                found.append(f"{path}.{name}")
    return found


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_is_in_the_reference(name: str) -> None:
    assert name in documented(), f"write a line '::: {name}' on a page in docs/reference/"


def test_the_reference_names_nothing_twice() -> None:
    lines = [
        line
        for name, path in pages().items()
        if name.startswith("reference/")
        for line in re.findall(r"^::: (\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert sorted(lines) == sorted(set(lines))


# Links ---------------------------------------------------------------------------------------

LINK = re.compile(r"(?<!`)\]\(([^()\s]+)\)")
FENCE = re.compile(r"^(```+).*?^\1$", re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    return FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """What Python-Markdown calls the headings of a page, and the names that it gives itself."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE):
        own = re.search(r"\{ #(\S+)", heading)
        plain = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)
        slug = re.sub(r"[^\w\s-]", "", plain.lower()).strip()
        found.add(own[1] if own else re.sub(r"[-\s]+", "-", slug))
    return found | set(re.findall(r'id="([^"]+)"', text)) | documented()


def text_of(page: str) -> str | None:
    if page in MADE:
        return (ROOT / MADE[page]).read_text(encoding="utf-8")
    found = pages().get(page)
    return found.read_text(encoding="utf-8") if found else None


@pytest.mark.parametrize("page", sorted(pages()))
def test_links_within_the_site_lead_somewhere(page: str) -> None:
    dead = []
    for link in LINK.findall(prose(text_of(page) or "")):
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = page
        if file:
            path = (DOCS / page).parent / file
            target = path.resolve().relative_to(DOCS).as_posix()
            if path.is_file() and path.suffix != ".md":
                continue
        text = text_of(target)
        if target in MADE_FROM_CODE:
            continue
        if text is None or (anchor and anchor not in anchors(text)):
            dead.append(link)
    assert dead == []


def test_links_of_the_readme_are_absolute_and_lead_to_pages() -> None:
    """It is shown where no file stands beside it: on a package index, for example."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = LINK.findall(prose(readme))
    assert len(links) > 10
    for link in links:
        assert link.startswith(address()), link
        name, _, _ = link.removeprefix(address()).partition("#")
        if name.endswith("/"):
            assert text_of(name[:-1] + ".md") is not None, link
        else:
            assert (DOCS / name).is_file(), link


def test_the_site_has_one_address() -> None:
    urls = settings()["project"]["urls"]
    assert urls["Documentation"] == address()
    assert all(url.startswith(address()) for url in urls.values())
