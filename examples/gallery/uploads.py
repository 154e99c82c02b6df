"""Multipart uploads: files of any size are read piece by piece, by aiohttp.

asynccore run examples/gallery/uploads.py [port [legacy port]]
"""

import hashlib

from aiohttp import web

from common import LineServer, announce, run, spawn


class Uploads:
    def __init__(self):
        self.files = []

    async def upload(self, request):
        answer = []
        async for part in await request.multipart():
            if part.filename is None:
                answer.append(f"{part.name}: {await part.text()}")
                continue
            digest, size = hashlib.sha256(), 0
            while chunk := await part.read_chunk():
                digest.update(chunk)
                size += len(chunk)
            self.files.append(part.filename)
            answer.append(f"{part.filename}: {size} bytes, SHA-256 {digest.hexdigest()}")
        return web.Response(text="\n".join(answer) + "\n")


async def serve(uploads, port):
    app = web.Application()
    app.router.add_post("/", uploads.upload)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    announce("uploads", runner.addresses[0][1])


def start(port=8009, legacy_port=7009):
    uploads = Uploads()
    LineServer("uploads", legacy_port, lambda line: " ".join(uploads.files) or "nothing yet")
    spawn(serve(uploads, port))


if __name__ == "__main__":
    run(start)
