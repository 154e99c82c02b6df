"""HTTP server: pages by aiohttp; the legacy server tells how many were asked for.

asynccore run examples/gallery/http_server.py [port [legacy port]]
"""

import asyncio

from aiohttp import web

from common import LineServer, announce, run, spawn


class Pages:
    def __init__(self):
        self.requests = 0

    @web.middleware
    async def count(self, request, handler):
        self.requests += 1
        return await handler(request)

    async def hello(self, request):
        return web.Response(text=f"Hello, {request.match_info['name']}\n")

    async def ticks(self, request):
        """Send a line now and then: many of these are under way at a time."""
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(3):
            await asyncio.sleep(0.01)
            await response.write(f"tick {number}\n".encode())
        return response

    async def upper(self, request):
        return web.Response(text=(await request.text()).upper())


async def serve(pages, port):
    app = web.Application(middlewares=[pages.count])
    app.router.add_get("/hello/{name}", pages.hello)
    app.router.add_get("/ticks", pages.ticks)
    app.router.add_post("/upper", pages.upper)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    announce("http_server", runner.addresses[0][1])


def start(port=8001, legacy_port=7001):
    pages = Pages()
    LineServer("http_server", legacy_port, lambda line: f"{pages.requests} requests")
    spawn(serve(pages, port))


if __name__ == "__main__":
    run(start)
