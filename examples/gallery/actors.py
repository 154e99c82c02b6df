"""Actors: pykka's, each with a thread and a mailbox of its own; the loop awaits their answers.

asynccore run examples/gallery/actors.py [port [legacy port]]

Lines "add 5" and "total" to either port: on the first one a coroutine answers, and on the other
one the legacy server, which only tells the actor what to do.
"""

import asyncio

import pykka

from common import LineServer, announce, run, spawn


class Account(pykka.ThreadingActor):
    use_daemon_thread = True  # it ends with the program

    def __init__(self):
        super().__init__()
        self.total = 0

    def add(self, amount):
        if amount < 0:
            raise ValueError("amounts are positive")
        self.total += amount
        return self.total

    def get_total(self):
        return self.total


async def converse(account, reader, writer):
    async for line in reader:
        word, _, amount = line.decode().strip().partition(" ")
        future = account.add(int(amount)) if word == "add" else account.get_total()
        try:
            answer = await asyncio.to_thread(future.get)  # the loop goes on meanwhile
        except ValueError as why:
            answer = why
        writer.write(f"{answer}\r\n".encode())
        await writer.drain()
    writer.close()


async def serve(account, port):
    server = await asyncio.start_server(
        lambda reader, writer: converse(account, reader, writer), "127.0.0.1", port
    )
    announce("actors", server.sockets[0].getsockname()[1])


def start(port=8015, legacy_port=7015):
    account = Account.start().proxy()

    def tell(line):
        account.add.defer(int(line.partition(" ")[2]))
        return "told"

    LineServer("actors", legacy_port, tell)
    spawn(serve(account, port))


if __name__ == "__main__":
    run(start)
