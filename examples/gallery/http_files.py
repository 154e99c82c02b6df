"""Files by HTTP: aiohttp has the kernel send them; the legacy server renames them.

asynccore run examples/gallery/http_files.py [port [legacy port]]
"""

import os
import pathlib

from aiohttp import web

from common import LineServer, announce, new_folder, run, spawn


def some_files():
    folder = pathlib.Path(new_folder())
    (folder / "large").write_bytes(os.urandom(64) * 50_000)
    (folder / "small").write_text("A few words.\n")
    (folder / "empty").touch()
    return folder


async def serve(folder, port):
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    announce("http_files", runner.addresses[0][1])


def start(port=8016, legacy_port=7016):
    folder = some_files()

    def rename(line):
        old, _, new = line.partition(" ")
        (folder / old).rename(folder / new)
        return " ".join(sorted(path.name for path in folder.iterdir()))

    LineServer("http_files", legacy_port, rename)
    spawn(serve(folder, port))


if __name__ == "__main__":
    run(start)
