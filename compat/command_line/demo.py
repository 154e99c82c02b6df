"""`asynccore demo`: classic programs, started by `asynccore run`, with a client to check them.

The programs are the files of `examples/`: written as in 2010, they know nothing of asynccore.
Each is a child process on a port that the system chose; what it printed, and what it sent, is
compared with what a classic program does. Any difference, and any silence, is a failure.
"""

from __future__ import annotations

import queue
import re
import smtplib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from .. import engines
from ..legacy_names._asynccore_names import TARGETS

# How long a program may take to start or to answer, in seconds; both take milliseconds.
PATIENCE = 20.0

# How long a program that did something unexpected may go on, in seconds.
LAST_WORDS = 1.0

# In an installed package the folder is `compat.examples`, in a checkout it is at the top.
_COMPAT = Path(__file__).parent.parent
_PLACES = (_COMPAT / "examples", _COMPAT.parent / "examples")


class Mismatch(Exception):
    """A program did not do what it should; the text says what was expected, and what came."""


# How a conversation fails: a wrong answer, a connection that breaks or times out, a refusal.
PROBLEMS = (Mismatch, OSError, smtplib.SMTPException)


def examples() -> Path:
    """Return the folder of the example programs; raises FileNotFoundError without one."""
    for place in _PLACES:
        if (place / "echo_server.py").is_file():
            return place
    raise FileNotFoundError(f"the example programs are in none of {', '.join(map(str, _PLACES))}")


def main(engine: str | None = None, folder: Path | None = None) -> int:
    """Show every example program at work; return 0 when all did what they should, otherwise 1.

    `engine` is passed on to `asynccore run`, and `ValueError` raised for one that can't be used;
    `folder` holds the programs (default: `examples()`).
    """
    if engine is not None:
        engines.check(engine)
    folder = examples() if folder is None else folder
    steps: dict[str, Callable[[], None]] = {
        "-c 'import asyncore, asynchat, smtpd'": partial(_check_names, engine)
    }
    for name, conversation in CONVERSATIONS.items():
        steps[f"{name} 0"] = partial(_check_program, folder / name, engine, conversation)
    failed = 0
    for shown, step in steps.items():
        print(f"$ asynccore run {shown}")
        try:
            step()
        except PROBLEMS as problem:
            print(f"  FAILED: {problem}")
            failed += 1
    if failed:
        print(f"{failed} of {len(steps)} steps failed")
        return 1
    print("All of these programs, none of them changed, did what they should.")
    return 0


class Program:
    """A running example program: the lines it prints, and the address it listens on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.address: tuple[str, int] = ("", 0)

    def _read(self) -> None:
        # A thread, because a pipe cannot be waited for with a limit on every platform.
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self) -> str:
        """Return the next line that the program printed; raises Mismatch on its end or silence."""
        try:
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise Mismatch(f"expected a line of output, got none in {PATIENCE:g} s") from None
        if line is None:
            self._lines.put(None)
            raise Mismatch("expected a line of output, but the program ended")
        return line

    def listen(self) -> None:
        """Wait until the program says where it listens."""
        line = self.line()
        found = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)", line)
        if found is None:
            raise Mismatch(f"expected 'listening on 127.0.0.1:PORT', got {line!r}")
        self.address = ("127.0.0.1", int(found[1]))
        print(f"  {line}")

    def connect(self) -> socket.socket:
        """Return a new connection to the program, on which nothing takes longer than PATIENCE."""
        return socket.create_connection(self.address, timeout=PATIENCE)

    def check_running(self) -> None:
        """Raise Mismatch if the program has ended by itself."""
        status = self._process.poll()
        if status is not None:
            raise Mismatch(f"expected a running program, but it ended with status {status}")

    def last_words(self) -> str:
        """End the program; return what it printed and nobody read, to be put behind a message."""
        # What ends by itself, with a traceback most likely, may finish that.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WORDS)
        self.kill()
        lines = [f"\n    {line}" for line in iter(self._lines.get, None)]
        return "".join(["; the program said:", *lines]) if lines else ""

    def kill(self) -> None:
        """End the program, and wait until all that it printed was read."""
        if sys.platform == "win32":
            # There the program is a child of `asynccore run`, and would outlive it.
            tree = ["taskkill", "/F", "/T", "/PID", str(self._process.pid)]
            subprocess.run(tree, capture_output=True, check=False)
        self._process.kill()
        self._process.wait()
        self._reader.join()


def _check_names(engine: str | None) -> None:
    code = "import asyncore, asynchat, smtpd\nfor m in asyncore, asynchat, smtpd: print(m.__name__)"
    with _started(["-c", code], engine) as program:
        for name, target in TARGETS.items():
            expect(f"{name} is {target}", target, program.line())


def _check_program(
    script: Path, engine: str | None, conversation: Callable[[Program], None]
) -> None:
    # Port 0 lets the system choose a free one; the program says which.
    with _started([str(script), "0"], engine) as program:
        program.listen()
        conversation(program)
        program.check_running()


@contextmanager
def _started(what: list[str], engine: str | None) -> Iterator[Program]:
    """Run `what` by the real command line in a child process, and end it."""
    choice = [] if engine is None else ["--engine", engine]
    # -u, for a program of 2010 does not flush what it prints into a pipe.
    command = [sys.executable, "-u", "-m", "asynccore", "run", *choice, *what]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        program = Program(process)
        try:
            yield program
        except PROBLEMS as problem:
            raise Mismatch(f"{problem}{program.last_words()}") from None
        finally:
            program.kill()


def expect(what: str, wanted: object, got: object) -> None:
    """Print that `what` went as wanted; raises Mismatch if it did not."""
    if wanted != got:
        raise Mismatch(f"{what}: expected {wanted!r}, got {got!r}")
    print(f"  {what}")


def echo(program: Program) -> None:
    """A short line and 100,000 bytes come back unchanged."""
    with program.connect() as client:
        client.sendall(b"hello")
        expect("sent 'hello', got it back", b"hello", _receive(client, 5))
        block = bytes(range(250)) * 400
        client.sendall(block)
        same = _receive(client, len(block)) == block
        expect(f"sent {len(block):,} bytes more, got them back", True, same)
    expect("the program counted 100,005 bytes", "goodbye after 100005 bytes", program.line())


def chat(program: Program) -> None:
    """Two guests hear what the other one says, and that it leaves."""
    with program.connect() as ann, program.connect() as bob:
        ann_hears, bob_hears = ann.makefile("rb"), bob.makefile("rb")
        with ann_hears, bob_hears:
            for guest, hears, name in ((ann, ann_hears, b"Ann"), (bob, bob_hears, b"Bob")):
                expect(f"{name.decode()} is asked for a name", b"your name?\r\n", hears.readline())
                guest.sendall(name + b"\r\n")
                expect(
                    f"{name.decode()} is let in", b"welcome, " + name + b"\r\n", hears.readline()
                )
            expect("Ann sees Bob come in", b"* Bob came in\r\n", ann_hears.readline())
            # The line arrives in two halves: finding its end is what asynchat is for.
            ann.sendall(b"hello ")
            ann.sendall(b"Bob\r\n")
            expect(
                "Ann says 'hello Bob', Bob hears it", b"Ann: hello Bob\r\n", bob_hears.readline()
            )
            bob.sendall(b"/quit\r\n")
            expect("Bob quits", b"bye\r\n", bob_hears.readline())
            expect("Ann sees Bob go", b"* Bob went away\r\n", ann_hears.readline())


def mail(program: Program) -> None:
    """A message sent by smtplib is accepted and read."""
    host, port = program.address
    with smtplib.SMTP(host, port, local_hostname="localhost", timeout=PATIENCE) as client:
        refused = client.sendmail(
            "ann@example.org",
            ["bob@example.org", "carol@example.org"],
            "Subject: a demo\r\n\r\nOne line.\r\n.A dot at the start of a line.\r\n",
        )
        expect("sent a message to Bob and Carol", {}, refused)
    expect(
        "the program read it: sender, two recipients, subject, four lines",
        "message 1: from ann@example.org to bob@example.org, carol@example.org,"
        " subject 'a demo', 4 lines",
        program.line(),
    )


def _receive(client: socket.socket, size: int) -> bytes:
    """Return `size` bytes, or fewer if the peer closes before."""
    received = bytearray()
    while len(received) < size and (chunk := client.recv(size - len(received))):
        received += chunk
    return bytes(received)


CONVERSATIONS: dict[str, Callable[[Program], None]] = {
    "echo_server.py": echo,
    "chat_server.py": chat,
    "mail_sink.py": mail,
}
