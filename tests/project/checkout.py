"""Where the checkout is, and which of its files belong to the project."""

from __future__ import annotations

import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("asynccore", "ssl_ext", "compat")


def module_files() -> dict[str, Path]:
    """Return every module of the three packages, by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def project_files() -> list[Path]:
    """Return what git tracks or would track; without git (an unpacked archive), all files."""
    git = shutil.which("git")
    if git is not None and (ROOT / ".git").exists():
        listed = subprocess.run(
            [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        paths = [ROOT / name for name in listed.decode().split("\0") if name]
    else:
        left_out = [".git", *(ROOT / ".gitignore").read_text(encoding="utf-8").split()]
        paths = [path for path in ROOT.rglob("*") if not _is_ignored(path, left_out)]
    return [path for path in paths if path.is_file()]


def _is_ignored(path: Path, patterns: list[str]) -> bool:
    """Whether a name on the way to a path is one of .gitignore's."""
    parts = path.relative_to(ROOT).parts
    return any(fnmatch(part, pattern.rstrip("/")) for part in parts for pattern in patterns)
