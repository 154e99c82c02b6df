"""`python -m tests.freezing`: freeze a program by PyInstaller and cx_Freeze, and run the results.

It is frozen as `asynccore run -m …` and in an enabled environment: in both, `import asyncore` is
ours when the program runs, so it must be ours when it is frozen. It takes half a minute, and wants
a virtual environment with asynccore as a wheel: tox -e freezing. What PyInstaller asks our hooks
for is in the suite, too (tests/compat/test_freezing.py).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """\
import asynchat
import asyncore
import smtpd

print(asyncore.__name__, asynchat.__name__, smtpd.__name__)
sink = smtpd.DebuggingServer(("127.0.0.1", 0), None)
asyncore.loop(timeout=0.01, count=2)
asyncore.close_all()
print("served")
"""
EXPECTED = "asynccore asynccore.asynchat asynccore.smtpd\nserved\n"

PYINSTALLER = ["-m", "PyInstaller", "--log-level", "ERROR", "program.py"]
CX_FREEZE = [
    "-m", "cx_Freeze", "build_exe", "--script", "program.py", "--build-exe", "dist/program",
    "--packages=asynccore", "--includes=asyncore,asynchat,smtpd,_asynccore_names",
]  # fmt: skip


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def freeze(how: str, *command: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
        run(*command, folder=folder)
        said = run(str(folder / "dist" / "program" / "program"), folder=folder)
    if said != EXPECTED:
        raise SystemExit(f"frozen {how}, the program says:\n{said}")
    print(f"{how}: passed")


def main() -> None:
    asynccore = (sys.executable, "-m", "asynccore")
    freeze("by PyInstaller under run", *asynccore, "run", *PYINSTALLER)
    freeze("by cx_Freeze under run", *asynccore, "run", *CX_FREEZE)
    here = Path.cwd()
    run(*asynccore, "enable", folder=here)
    try:
        freeze("by PyInstaller in an enabled environment", sys.executable, *PYINSTALLER)
    finally:
        run(*asynccore, "disable", folder=here)


if __name__ == "__main__":
    main()
