"""twisted.web with keep-alive, a large answer by a producer, a deferred answer, an idle client."""

from __future__ import annotations

import http.client
import shutil
import subprocess
from typing import Any

from beside import LOCAL, reactor, serve
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.static import Data


class Later(Resource):
    """Answers with what a thread finds out."""

    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        def answer(result: int) -> None:
            request.write(b"%d" % result)
            request.finish()

        deferToThread(lambda: 6 * 7).addCallback(answer)
        return NOT_DONE_YET


class Upload(Resource):
    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        return b"%d" % len(request.content.read())


class Idle(Site):
    """Connections that ask for nothing end at once: TimeoutMixin's timer runs."""

    timeOut = 0.01  # in seconds


def clients(number: int) -> None:
    connection = http.client.HTTPConnection(LOCAL, number, timeout=30)
    for _ in range(20):
        connection.request("GET", "/later")
        assert connection.getresponse().read() == b"42"
    connection.request("GET", "/large")
    assert connection.getresponse().read() == b"L" * 4_000_000
    connection.request("POST", "/upload", body=b"U" * 2_000_000)
    assert connection.getresponse().read() == b"2000000"
    connection.close()
    if shutil.which("curl"):
        found = subprocess.run(
            ["curl", "--silent", "--noproxy", "*", f"http://{LOCAL}:{number}/later"],
            capture_output=True,
            check=True,
            timeout=30,
        )
        assert found.stdout == b"42"


def idle(number: int) -> None:
    connection = http.client.HTTPConnection(LOCAL, number, timeout=30)
    connection.connect()
    assert connection.sock.recv(1) == b""
    connection.close()


root = Resource()
root.putChild(b"later", Later())
root.putChild(b"large", Data(b"L" * 4_000_000, "text/plain"))
root.putChild(b"upload", Upload())
serve(Site(root), clients)
serve(Idle(root, timeout=0.01), idle)
assert reactor.getDelayedCalls() == [], reactor.getDelayedCalls()
