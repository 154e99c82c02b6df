"""Forward proxy: by twisted.web; the legacy server tells which hosts were asked for.

asynccore run examples/gallery/forward_proxy.py [port [legacy port]]
"""

from urllib.parse import urlsplit

from common import LineServer, install_reactor, listen, run

install_reactor()

from twisted.web import http, proxy

hosts = []


class Request(proxy.ProxyRequest):
    def process(self):
        hosts.append(urlsplit(self.uri.decode()).netloc)
        super().process()


class Channel(proxy.Proxy):
    requestFactory = Request


class Factory(http.HTTPFactory):
    protocol = Channel


def start(port=8005, legacy_port=7005):
    listen("forward_proxy", port, Factory())
    LineServer("forward_proxy", legacy_port, lambda line: " ".join(hosts) or "none yet")


if __name__ == "__main__":
    run(start)
