"""Cookies: who comes again is known by aiohttp; the legacy server tells of all visitors.

asynccore run examples/gallery/cookies.py [port [legacy port]]
"""

import secrets

from aiohttp import web

from common import LineServer, announce, run, spawn


class Visitors:
    def __init__(self):
        self.visits = {}

    async def page(self, request):
        visitor = request.cookies.get("visitor")
        response = web.Response()
        if visitor not in self.visits:
            visitor = secrets.token_urlsafe(12)
            response.set_cookie("visitor", visitor, httponly=True, samesite="Lax", max_age=3600)
        self.visits[visitor] = self.visits.get(visitor, 0) + 1
        response.text = f"visit {self.visits[visitor]}\n"
        return response

    async def leave(self, request):
        self.visits.pop(request.cookies.get("visitor"), None)
        response = web.Response(text="forgotten\n")
        response.del_cookie("visitor")
        return response

    def summary(self, line):
        return f"{len(self.visits)} visitors, {sum(self.visits.values())} visits"


async def serve(visitors, port):
    app = web.Application()
    app.router.add_get("/", visitors.page)
    app.router.add_get("/leave", visitors.leave)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    announce("cookies", runner.addresses[0][1])


def start(port=8008, legacy_port=7008):
    visitors = Visitors()
    LineServer("cookies", legacy_port, visitors.summary)
    spawn(serve(visitors, port))


if __name__ == "__main__":
    run(start)
