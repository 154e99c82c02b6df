"""`python -m tests.soak --minutes N [--poller P] [--seed S]`: mixed load in one process.

After a warm-up, the memory and the descriptors of the process are looked at in each quiet moment
between two rounds. What is printed is how much they have grown for a million events since, by a
straight line through all looks. The exit status is 1 where that is more than the bounds below, or
where a round has not ended cleanly.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import asynccore
from asynccore import asynchat, pollers, smtpd
from asynccore.engine import engine_for

# Growth per million events that is still noise. An object that is left behind by each tenth
# connection makes some 2 MB (a channel is about 1 KB, and a connection about 5 events).
MOST_MEMORY = 1 << 20  # bytes
MOST_DESCRIPTORS = 0.5

WARM_UP_ROUNDS = 20  # caches, arenas and the buffers of the interpreter are filled by then
CONNECTIONS = 20  # of each kind, in one round
PATIENCE = 60.0  # seconds that a round may take


class Look(NamedTuple):
    """The process in a quiet moment."""

    events: int
    memory: int
    descriptors: int


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much the second numbers grow for one of the first (least squares)."""
    if len(points) < 2:
        return 0.0
    middle = sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)
    spread = sum((x - middle[0]) ** 2 for x, _ in points)
    if not spread:
        return 0.0
    return sum((x - middle[0]) * (y - middle[1]) for x, y in points) / spread


# The load --------------------------------------------------------------------------------------


class Echo(asynccore.dispatcher_with_send):
    def handle_read(self) -> None:
        self.send(self.recv(8192))

    def handle_close(self) -> None:
        self.close()


class ChatEcho(asynchat.async_chat):
    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        self.push(self._get_data() + b"\n")


class Listener(asynccore.dispatcher):
    def __init__(self, map: Any, kind: Callable[..., Any]) -> None:
        super().__init__(None, map)
        self.kind = kind
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(128)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.kind(sock, self._map)


class Mail(smtpd.SMTPServer):
    messages = 0

    def process_message(self, *args: Any, **kwargs: Any) -> None:
        self.messages += 1


class Dialogue(asynchat.async_chat):
    """A client that says something and is done when it has heard enough."""

    def __init__(self, load: Load, says: bytes, until: bytes) -> None:
        super().__init__(None, load.map)
        self.load = load
        self.until = until
        self.heard = b""
        self.says = says
        self.set_terminator(None)
        load.open += 1

    def handle_connect(self) -> None:
        self.push(self.says)

    def collect_incoming_data(self, data: bytes) -> None:
        self.heard += data
        if self.heard.endswith(self.until):
            self.close()

    def handle_close(self) -> None:
        self.load.failures.append(f"ended after {self.heard[-50:]!r}")
        self.close()

    def handle_error(self) -> None:
        self.load.failures.append(repr(sys.exc_info()[1]))
        self.close()

    def close(self) -> None:
        if not self._ac_closed:
            self.load.open -= 1
        super().close()


class Dropper(asynccore.dispatcher):
    """A client that goes away at once, or before it is there."""

    def handle_connect(self) -> None:
        self.close()

    def handle_error(self) -> None:
        self.close()


class Load:
    """Servers in one map, and rounds of clients for them."""

    def __init__(self, poller: str | None, chance: random.Random) -> None:
        self.map: Any = asynccore.ChannelMap()
        self.poller = poller
        self.chance = chance
        self.open = 0  # clients, timers and errands that are not done
        self.failures: list[str] = []
        self.echo = Listener(self.map, Echo)
        self.chat = Listener(self.map, ChatEcho)
        self.mail = Mail(("127.0.0.1", 0), None, map=self.map)
        self.engine = engine_for(self.map)
        self.servers = len(self.map)

    def round(self) -> None:
        """Open connections of all kinds, and run until all are done."""
        end = time.monotonic() + PATIENCE
        for number in range(CONNECTIONS):
            text = self.chance.randbytes(self.chance.choice([1, 100, 40_000])).replace(b"\n", b".")
            self._dial(Dialogue(self, text + b"\n", b"\n"), self.chance.choice("ec"))
            letter = b"HELO soak\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
            letter += b"Subject: %d\r\n\r\n%s\r\n.\r\nQUIT\r\n" % (
                number,
                text.hex().encode()[:900],
            )
            self._dial(Dialogue(self, letter, b"221 Bye\r\n"), "m")
            dropper = Dropper(map=self.map)
            dropper.connect_timeout = 60
            dropper.connect_name(*self.echo.socket.getsockname())
            if number % 2:
                asynccore.call_later(self.chance.random() / 100, dropper.close, map=self.map)
            asynccore.call_later(3600, print, map=self.map).cancel()
            self.open += 1
            asynccore.call_later(0.001, self._done, map=self.map)
        pushed = [Dialogue(self, b"", b"pushed\n") for _ in range(CONNECTIONS)]
        thread = threading.Thread(target=self._from_a_thread, args=(pushed,))
        thread.start()
        while self._busy() and time.monotonic() < end:
            asynccore.loop(0.1, map=self.map, count=1, poller=self.poller)
        thread.join()
        if self._busy():
            self.failures.append(
                f"left: {self.open} jobs, {list(self.map.values())[self.servers :]}, "
                f"{len(self.engine.timers)} timers"
            )

    def _busy(self) -> bool:
        return bool(self.open or len(self.map) > self.servers or len(self.engine.timers))

    def _done(self) -> None:
        self.open -= 1

    def _dial(self, client: Dialogue, whom: str) -> None:
        server = {"e": self.echo, "c": self.chat, "m": self.mail}[whom]
        client.connect_name(*server.socket.getsockname())

    def _from_a_thread(self, clients: list[Dialogue]) -> None:
        for client in clients:
            asynccore.call_soon_threadsafe(lambda: None, map=self.map)
            self._dial(client, "c")
            client.push(b"pushed\n")

    def look(self) -> Look:
        gc.collect()
        return Look(self.engine.events, memory(), descriptors())


def memory() -> int:
    """Return the resident memory of this process in bytes; by psutil where there is no /proc."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import psutil

        return int(psutil.Process().memory_info().rss)


def descriptors() -> int:
    """Return how many descriptors are open; 0 where the platform doesn't say."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            return len(os.listdir(folder))
    return 0


def soak(seconds: float, poller: str | None, seed: int) -> int:
    """Run the load for so long, print what has grown, and return the exit status."""
    print(f"poller {poller or pollers.available()[0]}, seed {seed}", flush=True)
    load = Load(poller, random.Random(seed))
    looks: list[Look] = []
    try:
        for _ in range(WARM_UP_ROUNDS):
            load.round()
        end = time.monotonic() + seconds
        while not load.failures and (len(looks) < 10 or time.monotonic() < end):
            for _ in range(5):
                load.round()
            looks.append(load.look())
    finally:
        asynccore.close_all(load.map)
    for failure in load.failures:
        print(f"failed: {failure}")
    events = looks[-1].events - looks[0].events if looks else 0
    grown = 1e6 * slope([(look.events, look.memory) for look in looks])
    opened = 1e6 * slope([(look.events, look.descriptors) for look in looks])
    print(f"{events:,} events, {load.mail.messages:,} messages")
    print(f"memory: {grown / 1024:+,.0f} KiB per million events (bound {MOST_MEMORY >> 10:,} KiB)")
    print(f"descriptors: {opened:+.2f} per million events (bound {MOST_DESCRIPTORS})")
    return int(bool(load.failures) or grown > MOST_MEMORY or opened > MOST_DESCRIPTORS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Mixed load.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--poller", choices=pollers.available())
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    return soak(options.minutes * 60, options.poller, options.seed)


if __name__ == "__main__":
    sys.exit(main())
