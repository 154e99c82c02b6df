"""CGI: a script as a child process for each request, by twisted.web.

asynccore run examples/gallery/cgi_server.py [port [legacy port]]
"""

import pathlib
import sys

from common import LineServer, install_reactor, listen, run

install_reactor()

from twisted.web import resource, server, twcgi

SCRIPT = pathlib.Path(__file__).with_name("cgi_script.py")


class PythonScript(twcgi.FilteredScript):
    filter = sys.executable
    runs = 0

    def runProcess(self, env, request, qargs=()):
        PythonScript.runs += 1
        super().runProcess(env, request, qargs)


def start(port=8004, legacy_port=7004):
    root = resource.Resource()
    root.putChild(b"hello", PythonScript(str(SCRIPT)))
    listen("cgi_server", port, server.Site(root))
    LineServer("cgi_server", legacy_port, lambda line: f"{PythonScript.runs} runs")


if __name__ == "__main__":
    run(start)
