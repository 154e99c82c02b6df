"""HTTP/2: an ASGI application by hypercorn, over TLS of the module ssl.

asynccore run examples/gallery/http2_server.py [port [legacy port]]
"""

import asyncio
import socket

import hypercorn
from hypercorn.asyncio import serve

from common import LineServer, announce, certificate, run, spawn

versions = []


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    versions.append(scope["http_version"])
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await asyncio.sleep(0.01)  # meanwhile the other streams of the connection go on
    answer = f"HTTP/{scope['http_version']} {scope['path']} ".encode() + body
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def start(port=8011, legacy_port=7011):
    LineServer("http2_server", legacy_port, lambda line: " ".join(versions) or "none yet")
    listener = socket.create_server(("127.0.0.1", port))
    announce("http2_server", listener.getsockname()[1])
    config = hypercorn.Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.certfile = config.keyfile = certificate()
    config.loglevel = "WARNING"
    forever = asyncio.Event().wait
    spawn(serve(application, config, shutdown_trigger=forever))


if __name__ == "__main__":
    run(start)
