"""`python -m tests.site SITE [--pictures DIR]`: look at a site that mkdocs has built.

Each page is parsed: links and anchors within the site lead somewhere, and nothing is fetched from
elsewhere when a page is shown, be it a script, a style sheet, a font or a picture.

With `--pictures`, pages are shown in a headless Chromium, wide and narrow, in both colour schemes.
A page that scrolls sideways, logs an error, asks another host or copies a prompt fails, and the
pictures are left for somebody to look at. That needs playwright and a chromium (its own, or the
system's).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

# What a browser fetches by itself, by element and attribute.
FETCHED = {
    ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"),
    ("object", "data"), ("embed", "src"),
}  # fmt: skip
FETCHED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload"}

WIDTHS = (1280, 390)  # a laptop's window, and a telephone's
SHOWN = ("", "benchmarks/", "reference/asynccore/", "tutorial/", "engine/", "libraries/")

# How many blocks of a page have a prompt in what the theme's copy button takes from them.
COPIED_PROMPTS = """
[...document.querySelectorAll("pre code:has(.gp)")].filter(code => {
  code.setAttribute("data-md-copying", "");
  const copied = code.innerText;
  code.removeAttribute("data-md-copying");
  return /^(\\$|>>>) /m.test(copied);
}).length
"""


class Page(HTMLParser):
    """What one page links to, fetches, and has names for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names.update(given[name] for name in ("id", "name") if name in given)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and FETCHED_LINKS & set(given.get("rel", "").split()):
            self.fetched.append(given["href"])
        self.fetched += [given[name] for of, name in FETCHED if of == tag and name in given]


def is_elsewhere(link: str) -> bool:
    return bool(urlsplit(link).netloc) or link.startswith("//")


def faults(site: Path, address: str) -> Iterator[str]:
    """Everything that is wrong with the files of a site, which will be at an address."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    if len(pages) < 10:
        yield f"{site} has {len(pages)} pages: it is no site of ours"
    for path, page in pages.items():
        where = path.relative_to(site).as_posix()
        for link in page.fetched:
            if is_elsewhere(link):
                yield f"{where} fetches {link}"
        if where == "404.html":  # its links begin at the root of the site, wherever that is
            continue
        for link in page.links + page.fetched:
            link = link.removeprefix(address) if link.startswith(address) else link
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                yield f"{where} links to {link}, which is not there"
            elif parts.fragment and target in pages:
                if unquote(parts.fragment) not in pages[target].names | {"__tabbed", ""}:
                    yield f"{where} links to {link}: no such place on that page"
    for path in site.rglob("*.css"):
        for url in re.findall(r"url\(\s*['\"]?([^'\")]+)", path.read_text(encoding="utf-8")):
            if is_elsewhere(url) and not url.startswith("data:"):
                yield f"{path.relative_to(site)} fetches {url}"


@contextlib.contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve a site on a free port; yields its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def photograph(site: Path, folder: Path) -> Iterator[str]:
    """Show pages in a browser, keep pictures of them, and yield what is wrong."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    viewport={"width": width, "height": 900}, color_scheme=scheme
                )
                for name in SHOWN:
                    yield from _look(context, address, name, folder, f"{width}-{scheme}")
                context.close()
        browser.close()


def _look(context: Any, address: str, name: str, folder: Path, kind: str) -> Iterator[str]:
    said: list[str] = []
    page = context.new_page()
    page.on("console", lambda it: it.type in ("error", "warning") and said.append(it.text))
    page.on("pageerror", lambda it: said.append(str(it)))
    page.on(
        "request",
        lambda it: it.url.startswith((address, "data:", "blob:")) or said.append(f"asks {it.url}"),
    )
    page.goto(address + name, wait_until="networkidle")
    width = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    if prompts := page.evaluate(COPIED_PROMPTS):
        said.append(f"copies the prompts of {prompts} blocks")
    title = name.strip("/").replace("/", "-") or "start"
    page.screenshot(path=folder / f"{title}-{kind}.png", full_page=name != "reference/asynccore/")
    page.close()
    if width > 0:
        said.append(f"scrolls sideways by {width} pixels")
    yield from (f"/{name} at {kind}: {it}" for it in said)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.site")
    parser.add_argument("site", type=Path, help="the folder that mkdocs has written")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="where pictures go")
    options = parser.parse_args()
    configuration = (Path(__file__).parents[2] / "mkdocs.yml").read_text(encoding="utf-8")
    (address,) = re.findall(r"^site_url: (\S+)$", configuration, re.MULTILINE)
    found = list(faults(options.site.resolve(), address))
    if options.pictures:
        found += photograph(options.site.resolve(), options.pictures)
    for fault in found:
        print(fault)
    print(f"{len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
