"""WebSocket: a chat by the package websockets, and the legacy server talks to all of it.

asynccore run examples/gallery/websocket_server.py [port [legacy port]]
"""

from websockets.asyncio.server import broadcast, serve

from common import LineServer, announce, run, spawn


class Chat:
    def __init__(self):
        self.guests = set()

    async def talk(self, guest):
        self.guests.add(guest)
        try:
            async for message in guest:
                broadcast(self.guests, message)
        finally:
            self.guests.discard(guest)

    def announce(self, line):
        broadcast(self.guests, f"* {line}")
        return f"told {len(self.guests)}"


async def listen(chat, port):
    server = await serve(chat.talk, "127.0.0.1", port)
    announce("websocket_server", server.sockets[0].getsockname()[1])


def start(port=8012, legacy_port=7012):
    chat = Chat()
    LineServer("websocket_server", legacy_port, chat.announce)
    spawn(listen(chat, port))


if __name__ == "__main__":
    run(start)
