"""Compile the C programs: the load generators and the C echo server."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import CannotMeasure

SOURCES = Path(__file__).resolve().parent
COMPILER = "cc"  # POSIX's name for the C compiler


class CompilerError(Exception):
    """There is no usable C compiler; the text says why."""


@dataclass(frozen=True)
class Tools:
    """Paths of the compiled programs and the compiler's own version line."""

    load: Path
    echo_server: Path
    compiler: str
    directory: Path

    def tls_load(self) -> Path:
        """The load generator for TLS, compiled when it is first wanted.

        Raises CannotMeasure when it cannot be: the other workloads need none of it.
        """
        target = self.directory / "tls_load"
        if not target.exists():
            try:
                # dlopen(3) was in a library of its own before glibc 2.34.
                _compile(SOURCES / "tls_load.c", target, "-ldl")
            except CompilerError as error:
                raise CannotMeasure(" ".join(str(error).split())) from error
        return target


def _compile(source: Path, target: Path, *libraries: str) -> None:
    command = [COMPILER, "-O2", "-Wall", "-Wextra", "-o", str(target), str(source), *libraries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompilerError(f"{' '.join(command)} failed:\n{done.stderr.rstrip()}")


@contextlib.contextmanager
def tools() -> Iterator[Tools]:
    """The programs, in a temporary directory that goes away at the end.

    Raises CompilerError when ``cc`` is missing or refuses the sources.
    """
    if shutil.which(COMPILER) is None:
        raise CompilerError(f"no C compiler: {COMPILER!r} is not on PATH")
    version = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=False)
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        load, echo_server = Path(directory, "load"), Path(directory, "echo_server")
        _compile(SOURCES / "load.c", load)
        _compile(SOURCES / "echo_server.c", echo_server)
        yield Tools(load, echo_server, version.stdout.partition("\n")[0], Path(directory))
