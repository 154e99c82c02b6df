"""What is said on a terminal: colours and progress where rich is, plain lines where it is not."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(words: str, total: int) -> Iterator[Callable[[], object]]:
    """Show how many of `total` are done, on a terminal; the context is called after each.

    It is drawn on standard error, and gone at the end.
    """
    # A bar that is gone before it can be seen only flickers.
    if total < 20 or not sys.stderr.isatty():
        yield lambda: None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        yield lambda: None
        return
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=total)
        yield lambda: bar.advance(task)
