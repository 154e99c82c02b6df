"""What the site shows beside the pages in this folder.

CHANGELOG.md and CONTRIBUTING.md stand where people and forges look for them; the site has the same
files, with their links led from the root of the repository to this folder. The page of the command
is what its `--help` prints, so that it cannot be out of date.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
FROM_THE_ROOT = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}


def command_page() -> str:
    """Return a page with the help of each command."""
    sys.path.insert(0, str(ROOT))
    os.environ["COLUMNS"] = "88"  # what argparse wraps at
    os.environ["NO_COLOR"] = "1"
    from compat.command_line import cli

    parser = cli.parser()
    parts = [
        "# The command\n\n`asynccore` and `python -m asynccore` are the same command. "
        "[Running scripts unchanged](../running-scripts.md) explains it.\n",
        f"```text\n{parser.format_help()}```\n",
    ]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                parts.append(f"## asynccore {name}\n\n```text\n{command.format_help()}```\n")
    return "\n".join(parts)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages whose texts stand elsewhere."""
    pages = {"reference/command.md": command_page()}
    for page, name in FROM_THE_ROOT.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        pages[page] = re.sub(r"\]\(docs/", "](", text)
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    return files
