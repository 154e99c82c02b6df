"""HTTPS: aiohttp's server on a connection that is made secure by ssl_ext.

asynccore run examples/gallery/https_server.py [port [legacy port]]
"""

from aiohttp import web

import compat
import ssl_ext
from common import LineServer, announce, certificate, run, spawn

versions = []


async def page(request):
    tls = request.transport.get_extra_info("ssl_object")
    versions.append(tls.version())
    return web.Response(text=f"{request.scheme} by {tls.version()}\n")


async def serve(port):
    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    pem = certificate()
    context = ssl_ext.server_context(certificate=pem, key=pem)
    server = compat.create_server(runner.server, "127.0.0.1", port, ssl=context)
    announce("https_server", server.sockets[0].getsockname()[1])


def start(port=8010, legacy_port=7010):
    LineServer("https_server", legacy_port, lambda line: " ".join(versions) or "none yet")
    spawn(serve(port))


if __name__ == "__main__":
    run(start)
